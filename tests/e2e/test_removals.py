"""Removed data is gone in every process, and swept even if workers are killed."""

import asyncio
import contextlib
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import asyncpg
import httpx
import pytest

from adapters.embedded.process import free_port
from adapters.embedded.valkey import start_valkey
from domain.identity.organization import FIRST_PROJECT
from entrypoints.composition.sign_in import development_issuer
from entrypoints.settings import Settings, read_settings
from tests.e2e.conftest import own_environ
from tests.support.waiting import WAIT_MAX_S, until_while

pytestmark = pytest.mark.e2e

KEY_CACHE_S = 1
TRACES = 3_000
KILLS = 1


@dataclass
class Installation:
    """Servers for this module, two API processes, and workers started by tests."""

    environ: dict[str, str]
    ports: tuple[int, int]
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    clients: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def settings(self) -> Settings:
        return read_settings(self.environ)

    def start(self, command: str, **more: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-m", "entrypoints.cli", *command.split()], env=self.environ | more
        )
        self.children.append(child)
        return child

    def person(self, process: int = 0) -> httpx.Client:
        """Returns a client of the user who owns everything here."""
        from application.clock import utc_now

        token = development_issuer(self.settings).token(
            subject="ada", email="ada@example.com", name="Ada", expires_in_s=600, now=utc_now()
        )
        return self.client(process, Authorization=f"Bearer {token}")

    def client(self, process: int, **headers: str) -> httpx.Client:
        url = f"http://127.0.0.1:{self.ports[process]}"
        return self.clients.enter_context(
            httpx.Client(base_url=url, headers=headers, timeout=WAIT_MAX_S)
        )

    def rows(self, project: str) -> int:
        async def counted() -> int:
            connection = await asyncpg.connect(self.environ["PANDAPROBE_DATABASE_URL"])
            try:
                sql = "SELECT count(*) FROM span_rows WHERE project_id = $1"
                return int(await connection.fetchval(sql, uuid.UUID(project)))
            finally:
                await connection.close()

        return asyncio.run(counted())


@pytest.fixture(scope="module")
def installation(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("removals")
    redis, redis_url = start_valkey(folder)
    environ = own_environ(folder, 1) | {
        "PANDAPROBE_APP_ENV": "test",
        "PANDAPROBE_DATABASE_URL": database_url,
        "PANDAPROBE_REDIS_URL": redis_url,
        "PANDAPROBE_AUTH_DEV_ISSUER": "on",
        "PANDAPROBE_API_KEY_CACHE_SECONDS": str(KEY_CACHE_S),
        "PANDAPROBE_LOG_LEVEL": "ERROR",
    }
    made = Installation(environ, (free_port(), free_port()))
    try:
        for process, port in enumerate(made.ports):
            api = made.start("serve", PANDAPROBE_PORT=str(port))
            client = made.client(process)
            until_while(api, lambda client=client: is_up(client))
        yield made
    finally:
        made.clients.close()
        for child in made.children:
            child.kill()
            child.wait()
        redis.stop()


def is_up(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return client.get("/health/ready").status_code == 200
    return False


def a_trace(name: str = "run") -> dict[str, str]:
    return {"name": name, "started_at": "2026-03-01T09:00:00Z"}


def create_key(person: httpx.Client) -> tuple[str, str, dict[str, str]]:
    """Returns the organization's path, the id of a new key, and the headers of its client."""
    [organization] = person.get("/organizations").json()
    path = f"/organizations/{organization['id']}"
    made = person.post(f"{path}/api-keys", json={"name": "bot"}).json()
    return path, made["id"], {"X-API-Key": made["raw_key"], "X-Project-Name": "bot"}


def test_removed_project_is_gone_in_every_process(installation: Installation) -> None:
    person = installation.person()
    path, _, head = create_key(person)
    here, elsewhere = (installation.client(process, **head) for process in (0, 1))
    for client in (here, elsewhere):
        assert client.post("/traces", json=a_trace()).status_code == 202
        assert client.get("/traces").json()["total"] >= 1
    [old] = [one["id"] for one in person.get(f"{path}/projects").json() if one["name"] == "bot"]
    assert person.delete(f"{path}/projects/{old}").status_code == 204
    # The other process still has the name cached, but shows nothing of the project.
    assert elsewhere.get("/traces").json()["total"] == 0
    by_id = installation.person(1)
    assert by_id.get("/traces", headers={"X-Project-ID": old}).status_code == 404
    # The removed project accepts nothing: a client that retries gets a new project.
    answers = [elsewhere.post("/traces", json=a_trace("new")) for _ in range(2)]
    assert [one.status_code for one in answers] in ([503, 202], [202, 202])
    assert all("retry-after" in one.headers for one in answers if one.status_code == 503)
    stored = sum(one.status_code == 202 for one in answers)
    assert here.get("/traces").json()["total"] == stored
    [new] = [one["id"] for one in person.get(f"{path}/projects").json() if one["name"] == "bot"]
    assert new != old


def test_revoked_key_is_refused_here_at_once_and_elsewhere_soon(
    installation: Installation,
) -> None:
    person = installation.person()
    path, key, head = create_key(person)
    here, elsewhere = (installation.client(process, **head) for process in (0, 1))
    assert [client.get("/traces").status_code for client in (here, elsewhere)] == [200, 200]
    assert person.delete(f"{path}/api-keys/{key}").status_code == 204
    assert here.get("/traces").status_code == 401
    api = installation.children[1]
    until_while(api, lambda: elsewhere.get("/traces").status_code == 401)


# tests/contracts/identity/test_project_purge.py cancels sweeps, and goes on.
@pytest.mark.exhaustive
def test_sweep_completes_although_workers_are_killed(installation: Installation) -> None:
    person = installation.person()
    [organization] = person.get("/organizations").json()
    path = f"/organizations/{organization['id']}"
    seeding = installation.start(
        f"seed --traces {TRACES} --project large --organization {organization['id']}"
    )
    assert seeding.wait(WAIT_MAX_S) == 0
    named = {one["name"]: one["id"] for one in person.get(f"{path}/projects").json()}
    kept = installation.rows(named[FIRST_PROJECT])
    before = installation.rows(named["large"])
    assert before > TRACES
    assert person.delete(f"{path}/projects/{named['large']}").status_code == 204
    left = before
    for _ in range(KILLS):
        worker = installation.start("worker")
        until_while(worker, lambda left=left: installation.rows(named["large"]) < left)
        worker.kill()
        worker.wait()
        left = installation.rows(named["large"])
    assert 0 < left < before
    worker = installation.start("worker")
    until_while(worker, lambda: installation.rows(named["large"]) == 0)
    assert installation.rows(named[FIRST_PROJECT]) == kept
