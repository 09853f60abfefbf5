"""Removed data is gone in every process, and swept even if workers are killed."""

import asyncio
import contextlib
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import asyncpg
import httpx
import pytest

from adapters.embedded.process import free_port
from adapters.embedded.valkey import start_valkey
from domain.identity.organization import FIRST_PROJECT
from entrypoints.composition.sign_in import development_issuer
from entrypoints.server.asgi import App
from entrypoints.settings import Settings, read_settings
from tests.e2e.conftest import own_environ
from tests.support.clients.loopback_server import served
from tests.support.waiting import WAIT_MAX_S, until

pytestmark = pytest.mark.e2e

KEY_CACHE_S = 1
TRACES = 3_000
KILLS = 1


@dataclass
class Installation:
    """Servers for this module, two processes with the API, and workers started by tests."""

    environ: dict[str, str]
    urls: tuple[str, str]
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    clients: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    @property
    def settings(self) -> Settings:
        return read_settings(self.environ)

    def start(self, command: str, **more: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-m", "entrypoints.cli", *command.split()], env=self.environ | more
        )
        self.children.append(child)
        return child

    async def person(self, process: int = 0) -> httpx.AsyncClient:
        """Returns a client of the user who owns everything here."""
        from application.clock import utc_now

        token = development_issuer(self.settings).token(
            subject="ada", email="ada@example.com", name="Ada", expires_in_s=600, now=utc_now()
        )
        return await self.client(process, Authorization=f"Bearer {token}")

    async def client(self, process: int, **headers: str) -> httpx.AsyncClient:
        return await self.clients.enter_async_context(
            httpx.AsyncClient(base_url=self.urls[process], headers=headers, timeout=WAIT_MAX_S)
        )

    async def rows(self, project: str) -> int:
        connection = await asyncpg.connect(self.environ["PANDAPROBE_DATABASE_URL"])
        try:
            sql = "SELECT count(*) FROM span_rows WHERE project_id = $1"
            return int(await connection.fetchval(sql, uuid.UUID(project)))
        finally:
            await connection.close()


@pytest.fixture(scope="module")
async def installation(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    folder = tmp_path_factory.mktemp("removals")
    redis, redis_url = start_valkey(folder)
    port = free_port()
    environ = own_environ(folder, port) | {
        "PANDAPROBE_APP_ENV": "test",
        "PANDAPROBE_DATABASE_URL": database_url,
        "PANDAPROBE_REDIS_URL": redis_url,
        "PANDAPROBE_AUTH_DEV_ISSUER": "on",
        "PANDAPROBE_API_KEY_CACHE_SECONDS": str(KEY_CACHE_S),
        "PANDAPROBE_LOG_LEVEL": "ERROR",
    }
    # One of the two is this process, which has imported the API.
    async with served(App(read_settings(environ)), has_lifespan=True) as url:
        made = Installation(environ, (url, f"http://127.0.0.1:{port}"))
        try:
            api = made.start("serve")
            other = await made.client(1)
            await until(lambda: is_up(api, other))
            yield made
        finally:
            await made.clients.aclose()
            for child in made.children:
                child.kill()
                child.wait()
    redis.stop()


async def is_up(api: subprocess.Popen[bytes], client: httpx.AsyncClient) -> bool:
    assert api.poll() is None, "the process ended"
    with contextlib.suppress(httpx.TransportError):
        return (await client.get("/health/ready")).status_code == 200
    return False


def a_trace(name: str = "run") -> dict[str, str]:
    return {"name": name, "started_at": "2026-03-01T09:00:00Z"}


async def create_key(person: httpx.AsyncClient) -> tuple[str, str, dict[str, str]]:
    """Returns the organization's path, the id of a new key, and the headers of its client."""
    [organization] = (await person.get("/organizations")).json()
    path = f"/organizations/{organization['id']}"
    made = (await person.post(f"{path}/api-keys", json={"name": "bot"})).json()
    return path, made["id"], {"X-API-Key": made["raw_key"], "X-Project-Name": "bot"}


async def id_of_bot(person: httpx.AsyncClient, path: str) -> str:
    projects = (await person.get(f"{path}/projects")).json()
    [found] = [one["id"] for one in projects if one["name"] == "bot"]
    return str(found)


async def test_removed_project_is_gone_in_every_process(installation: Installation) -> None:
    person = await installation.person()
    path, _, head = await create_key(person)
    here, elsewhere = [await installation.client(process, **head) for process in (0, 1)]
    for client in (here, elsewhere):
        assert (await client.post("/traces", json=a_trace())).status_code == 202
        assert (await client.get("/traces")).json()["total"] >= 1
    old = await id_of_bot(person, path)
    assert (await person.delete(f"{path}/projects/{old}")).status_code == 204
    # The other process still has the name cached, but shows nothing of the project.
    assert (await elsewhere.get("/traces")).json()["total"] == 0
    by_id = await installation.person(1)
    assert (await by_id.get("/traces", headers={"X-Project-ID": old})).status_code == 404
    # The removed project accepts nothing: a client that retries gets a new project.
    answers = [await elsewhere.post("/traces", json=a_trace("new")) for _ in range(2)]
    assert [one.status_code for one in answers] in ([503, 202], [202, 202])
    assert all("retry-after" in one.headers for one in answers if one.status_code == 503)
    stored = sum(one.status_code == 202 for one in answers)
    assert (await here.get("/traces")).json()["total"] == stored
    assert await id_of_bot(person, path) != old


async def test_revoked_key_is_refused_here_at_once_and_elsewhere_soon(
    installation: Installation,
) -> None:
    person = await installation.person()
    path, key, head = await create_key(person)
    here, elsewhere = [await installation.client(process, **head) for process in (0, 1)]
    for client in (here, elsewhere):
        assert (await client.get("/traces")).status_code == 200
    assert (await person.delete(f"{path}/api-keys/{key}")).status_code == 204
    assert (await here.get("/traces")).status_code == 401
    await until(lambda: elsewhere.get("/traces"), lambda answer: answer.status_code == 401)


# tests/contracts/identity/test_project_purge.py cancels sweeps, and goes on.
@pytest.mark.exhaustive
async def test_sweep_completes_although_workers_are_killed(installation: Installation) -> None:
    person = await installation.person()
    [organization] = (await person.get("/organizations")).json()
    path = f"/organizations/{organization['id']}"
    seeding = installation.start(
        f"seed --traces {TRACES} --project large --organization {organization['id']}"
    )
    assert await asyncio.to_thread(seeding.wait, WAIT_MAX_S) == 0
    projects = (await person.get(f"{path}/projects")).json()
    named = {one["name"]: one["id"] for one in projects}
    kept = await installation.rows(named[FIRST_PROJECT])
    before = await installation.rows(named["large"])
    assert before > TRACES
    assert (await person.delete(f"{path}/projects/{named['large']}")).status_code == 204
    left = before
    for _ in range(KILLS):
        worker = installation.start("worker")
        await until(lambda: installation.rows(named["large"]), lambda rows, left=left: rows < left)
        worker.kill()
        worker.wait()
        left = await installation.rows(named["large"])
    assert 0 < left < before
    installation.start("worker")
    await until(lambda: installation.rows(named["large"]), lambda rows: rows == 0)
    assert await installation.rows(named[FIRST_PROJECT]) == kept
