"""kill -9 under load: what was answered with 202 is there, whole, once."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from adapters.embedded.postgres import start_postgres
from adapters.embedded.process import free_port
from adapters.embedded.valkey import start_valkey
from entrypoints import composition
from entrypoints.settings import Settings
from tests.e2e.conftest import own_environ, wait_a_moment
from tests.first_key import first_key

pytestmark = pytest.mark.e2e

CLIENTS = 16
ROUNDS = 3  # of killing the API, and of killing PostgreSQL
BETWEEN_KILLS = 150  # answers
SPANS = 3


class Service:
    """PostgreSQL with its default durability, and `serve` over it; either can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.redis, self.redis_url = start_valkey(folder)
        self.postgres, self.database_url = start_postgres(folder)
        settings = Settings(database_url=self.database_url, redis_url=self.redis_url)
        asyncio.run(composition.migrate(settings))
        self.key = asyncio.run(first_key(settings))
        self.api = self.serve()

    def serve(self) -> subprocess.Popen[bytes]:
        environ = own_environ(self.folder, self.port) | {
            "PANDAPROBE_DATABASE_URL": self.database_url,
            "PANDAPROBE_REDIS_URL": self.redis_url,
            "PANDAPROBE_LOG_LEVEL": "ERROR",
        }
        api = subprocess.Popen([sys.executable, "-m", "entrypoints.cli", "serve"], env=environ)
        for _ in range(600):
            assert api.poll() is None
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/health").status_code == 200:
                    return api
            except httpx.TransportError:
                wait_a_moment(api)
        raise AssertionError("serve isn't ready")

    def kill_api(self) -> None:
        self.api.kill()
        self.api.wait()
        self.api = self.serve()

    def kill_postgres(self) -> None:
        """The whole server at once, as when the machine loses power, and its start again."""
        folder = next(self.folder.glob("pg*"))
        pid = int((folder / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):
            try:
                os.kill(one, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.postgres.stop()
        self.postgres, url = start_postgres(self.folder)
        self.database_url = url
        self.api.terminate()
        self.api.wait(15)
        self.api = self.serve()

    def stop(self) -> None:
        self.api.terminate()
        self.api.wait(15)
        self.postgres.stop()
        self.redis.stop()


@pytest.fixture
def service(enterable_folder: Path) -> Iterator[Service]:
    folder = enterable_folder / f"crash-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)
    service = Service(folder)
    yield service
    service.stop()


def a_trace(number: int) -> dict[str, object]:
    start = "2026-03-01T09:00:00Z"
    return {
        "trace_id": str(uuid.uuid4()),
        "name": f"t{number}",
        "started_at": start,
        "input": {"number": number},
        "spans": [
            {"span_id": str(uuid.uuid4()), "name": f"s{n}", "started_at": start, "input": "x" * 900,
             "token_usage": {"prompt_tokens": 1}}
            for n in range(SPANS)
        ],
    }  # fmt: skip


async def test_nothing_that_was_accepted_is_lost_torn_or_doubled(service):
    base = f"http://127.0.0.1:{service.port}"
    headers = {"X-API-Key": service.key, "X-Project-Name": "crash"}
    accepted: dict[str, int] = {}
    outcomes: Counter[object] = Counter()
    running = True
    answered = asyncio.Event()

    async def client(number: int) -> None:
        chance = random.Random(number)
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=10) as http:
            while running:
                trace = a_trace(chance.randrange(10**9))
                for _ in range(1 + chance.randrange(2)):  # every other one is sent twice
                    try:
                        status = (await http.post("/traces", json=trace)).status_code
                    except httpx.TransportError as error:
                        outcomes[type(error).__name__] += 1
                        await asyncio.sleep(0.01)
                        continue
                    outcomes[status] += 1
                    if status == 202:
                        accepted[trace["trace_id"]] = trace["input"]["number"]
                        answered.set()

    async def more(count: int) -> None:
        goal = len(accepted) + count
        while len(accepted) < goal:
            answered.clear()
            await asyncio.wait_for(answered.wait(), 30)

    clients = [asyncio.create_task(client(n)) for n in range(CLIENTS)]
    for _ in range(ROUNDS):
        await more(BETWEEN_KILLS)
        await asyncio.to_thread(service.kill_api)
        await more(BETWEEN_KILLS)
        await asyncio.to_thread(service.kill_postgres)
    await more(BETWEEN_KILLS)
    running = False
    await asyncio.gather(*clients)

    assert len(accepted) >= 2 * ROUNDS * BETWEEN_KILLS
    assert set(outcomes) - {202, 503} <= {
        "ConnectError", "ReadError", "RemoteProtocolError", "WriteError", "ReadTimeout",
    }, outcomes  # fmt: skip
    listed: Counter[str] = Counter()
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=30) as http:
        total = (await http.get("/traces")).json()["total"]
        for offset in range(0, total, 200):
            page = await http.get("/traces", params={"limit": 200, "offset": offset})
            for item in page.json()["items"]:
                listed[item["trace_id"]] += 1
                assert (item["span_count"], item["total_tokens"]) == (SPANS, SPANS), item
        assert set(listed.values()) == {1}
        assert set(accepted) <= set(listed)
        for id_ in random.Random(1).sample(sorted(accepted), 100):
            found = (await http.get(f"/traces/{id_}")).json()
            assert found["input"] == {"number": accepted[id_]}
            assert [span["input"] for span in found["spans"]] == ["x" * 900] * SPANS
