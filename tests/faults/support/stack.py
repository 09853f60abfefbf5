"""All parts of an installation, each of which a test can kill, stop or freeze.

Parts are restarted as a process manager would: with the same command and address, and nothing else.
No test repairs anything by hand after a fault.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import httpx

from adapters.embedded.postgres import start_postgres
from adapters.embedded.process import Child, StartError, free_port, spawn
from adapters.embedded.valkey import start_valkey
from entrypoints.composition import database
from entrypoints.settings import Settings, read_settings
from tests.e2e.conftest import ROOT, own_environ
from tests.support.fixtures.first_key import first_key
from tests.support.fixtures.servers import migrated_postgres
from tests.support.waiting import WAIT_MAX_S

UNREADY_MAX_S: Final = 4.0
"""Within this time /health/ready names a failed part: a check takes 2 s, giving up 0.5 s."""
READY_AGAIN_MAX_S: Final = 5.0
"""Within this time after all parts are back, the service is ready again."""
STARTED_MAX_S: Final = float(WAIT_MAX_S)  # no promise, unlike those above
TICK_S: Final = 0.05
STOP_MAX_S: Final = 20.0
DATABASE_PARTS: Final = frozenset({"postgres", "migrations", "queue"})
COMMANDS: Final = ("serve", "serve-2", "worker", "worker-2")  # of which most have the first ones
AMPLE: Final = "100000/second"  # so that each request asks Redis, and none is refused


def until(is_so: Callable[[], bool], within_s: float, what: str) -> float:
    """Polls; returns the seconds that it took. Fails after `within_s`."""
    begin = time.monotonic()
    while not is_so():
        assert time.monotonic() - begin < within_s, f"not within {within_s} s: {what}"
        time.sleep(TICK_S)
    return time.monotonic() - begin


def pause_s(length_s: float) -> None:
    """Waits for the length of a fault: the only wait here that is fixed in time."""
    time.sleep(length_s)


def with_port(url: str, port: int) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}").geturl()


def with_host(url: str, port: int) -> str:
    """Adds another server on this machine."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc},127.0.0.1:{port}").geturl()


class Stack:
    """PostgreSQL with its default durability, Valkey, `serve` and `worker`, at fixed addresses.

    `data` is PostgreSQL's data folder, if it differs from `folder`. `through` maps a server
    ("postgres", "redis") and its port to the port by which it is reached. With a `standby_port`
    the database URL names two hosts. `migrated` has a database to copy.
    """

    def __init__(
        self,
        folder: Path,
        data: Path | None = None,
        through: Callable[[str, int], int] | None = None,
        more: Mapping[str, str] | None = None,
        standby_port: int | None = None,
        postgres_options: Mapping[str, str] | None = None,
        migrated: Path | None = None,
    ) -> None:
        self.folder, self.data = folder, data or folder
        if migrated is not None:
            migrated_postgres.copy(migrated, self.data)
        self.postgres_port, self.redis_port, self.port = free_port(), free_port(), free_port()
        self._redis_options = {"port": str(self.redis_port), "requirepass": secrets.token_hex(16)}
        self._postgres_options = {"port": str(self.postgres_port), **(postgres_options or {})}
        self.processes: dict[str, Child] = {}
        self.start_postgres()
        self.start_valkey()
        database_url, redis_url = self.database_url, self.redis_url
        if through is not None:
            database_url = with_port(database_url, through("postgres", self.postgres_port))
            redis_url = with_port(redis_url, through("redis", self.redis_port))
        if standby_port is not None:
            database_url = with_host(database_url, standby_port)
        self.environ = own_environ(folder, self.port) | {
            "PANDAPROBE_APP_ENV": "test",
            "PANDAPROBE_DATABASE_URL": database_url,
            "PANDAPROBE_REDIS_URL": redis_url,
            "PANDAPROBE_AUTH_DEV_ISSUER": "on",
            "PANDAPROBE_LOG_LEVEL": "WARNING",
            "PANDAPROBE_RATE_LIMIT_ENABLED": "on",
            "PANDAPROBE_RATE_LIMIT_INGEST": AMPLE,
            "PANDAPROBE_RATE_LIMIT_DEFAULT": AMPLE,
            **(more or {}),
        }
        self.migrate(is_migrated=migrated is not None)
        self.key = asyncio.run(first_key(self.settings))
        self.http = httpx.Client(base_url=self.url, timeout=10)
        self.start_api()
        self.start_worker()
        self.until_ready(STARTED_MAX_S)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> Settings:
        return read_settings(self.environ)

    def headers(self, project: str) -> dict[str, str]:
        return {"X-API-Key": self.key, "X-Project-Name": project}

    def migrate(self, *, is_migrated: bool) -> None:
        if not is_migrated:
            asyncio.run(database.migrate(self.settings))

    # Parts

    def start_postgres(self) -> None:
        self.processes["postgres"], self.database_url = start_postgres(
            self.data, self._postgres_options
        )

    def start_valkey(self) -> None:
        self.processes["valkey"], self.redis_url = start_valkey(self.folder, self._redis_options)

    def start_api(self, **more: str) -> None:
        self.start_command("serve", "serve", more)

    def start_worker(self) -> None:
        self.start_command("worker", "worker", {})

    def start_command(self, part: str, command: str, more: Mapping[str, str]) -> None:
        self.processes[part] = self.spawn(part, [command], more)

    def spawn(self, name: str, words: Sequence[str], more: Mapping[str, str]) -> Child:
        """A command of the product, which the caller ends."""
        return spawn(
            name,
            [sys.executable, "-m", "entrypoints.cli", *words],
            stop_signals=(signal.SIGTERM,),
            log=self.folder / f"{name}.log",
            cwd=ROOT,
            env={**self.environ, **more},
        )

    def log_size(self, command: str) -> int:
        """Returns how many bytes the command has logged so far."""
        return (self.folder / f"{command}.log").stat().st_size

    def log(self, command: str, since: int = 0) -> str:
        with (self.folder / f"{command}.log").open("rb") as file:
            file.seek(since)
            return file.read().decode()

    def pids(self, part: str) -> list[int]:
        """Returns the process and its children: PostgreSQL has one per connection."""
        pid = self.processes[part].process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except FileNotFoundError:
            return [pid]
        return [pid, *map(int, children)]

    def signal(self, part: str, number: signal.Signals) -> None:
        """Signals the process and all its children."""
        for pid in self.pids(part):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def kill(self, part: str) -> None:
        """Kills the process with its children (SIGKILL), as a loss of power would."""
        self.signal(part, signal.SIGKILL)
        self.processes[part].process.wait()

    def kill_backend(self) -> None:
        """Kills one child of PostgreSQL (SIGKILL), which then ends all others and recovers."""
        backends = self.pids("postgres")[1:]
        if backends:
            os.kill(backends[-1], signal.SIGKILL)

    def stop(self, part: str) -> None:
        self.processes[part].stop(STOP_MAX_S)

    def revive(self, within_s: float = STARTED_MAX_S) -> float:
        """Restarts ended parts until all are ready; returns the seconds that it took."""

        def is_whole() -> bool:
            self._start_ended()
            return self.readiness() == (200, frozenset())

        return until(is_whole, within_s, f"ready again; readiness is {self.readiness()}")

    def restart_ended_for(self, length_s: float) -> int:
        """Restarts ended parts for `length_s`; returns how many starts were tried."""
        starts, end = 0, time.monotonic() + length_s
        while time.monotonic() < end:
            starts += self._start_ended()
            time.sleep(TICK_S)
        return starts

    def starts(self) -> dict[str, Callable[[], None]]:
        """What starts each part that is a process of this installation."""
        return {
            "postgres": self.start_postgres,
            "valkey": self.start_valkey,
            "serve": self.start_api,
            "worker": self.start_worker,
        }

    def _start_ended(self) -> int:
        starts = self.starts()
        ended = [part for part in starts if self.processes[part].process.poll() is not None]
        for part in ended:
            with contextlib.suppress(StartError):  # the next round tries again
                starts[part]()
        return len(ended)

    def execute_sql(self, *statements: str) -> None:
        """Executes each statement in its own transaction."""

        async def execute() -> None:
            connection = await asyncpg.connect(self.database_url)
            try:
                for one in statements:
                    await connection.execute(one)
            finally:
                await connection.close()

        asyncio.run(execute())

    def fetch_value(self, query: str) -> Any:
        async def fetch() -> Any:
            connection = await asyncpg.connect(self.database_url)
            try:
                return await connection.fetchval(query)
            finally:
                await connection.close()

        return asyncio.run(fetch())

    # Its state

    def readiness(self) -> tuple[int, frozenset[str]]:
        """Returns the status of /health/ready and the failing parts; 0 if unreachable."""
        try:
            answer = self.http.get("/health/ready")
        except httpx.TransportError:
            return 0, frozenset()
        checks = answer.json()["checks"]
        return answer.status_code, frozenset(name for name, one in checks.items() if not one["ok"])

    def is_alive(self) -> bool:
        return self.http.get("/health").status_code == 200

    def until_ready(self, within_s: float = READY_AGAIN_MAX_S) -> float:
        return until(lambda: self.readiness()[0] == 200, within_s, "ready")

    def until_unready(self, parts: frozenset[str], within_s: float = UNREADY_MAX_S) -> float:
        """Waits until exactly `parts` are named as failing."""
        return until(lambda: self.readiness() == (503, parts), within_s, f"503 for {set(parts)}")

    def close(self) -> None:
        self.http.close()
        for part in (*COMMANDS, "valkey", "postgres"):
            if part in self.processes:
                self.signal(part, signal.SIGCONT)
                self.stop(part)
