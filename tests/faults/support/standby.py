"""A second PostgreSQL that follows the first by streaming replication, and can replace it."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from adapters.embedded import postgres, process
from adapters.embedded.process import Child
from tests.faults.support.stack import until

NAME: Final = "standby"
START_MAX_S: Final = 60.0


class Server:
    """The binaries, the user and the folder of a server in `data`, which may not exist yet."""

    def __init__(self, data: Path) -> None:
        self.data, self.folder = data, data / f"pg{postgres.MAJOR}"
        data.mkdir(mode=0o755, exist_ok=True)
        self.account = postgres._choose_account(self.folder)
        self.programs = postgres._find_programs(self.account)
        if not self.folder.exists():
            process.ensure_folder(self.folder, 0o700)
            if self.account is not None:
                os.chown(self.folder, self.account.uid, self.account.gid)

    @property
    def path(self) -> str:
        return postgres._path_for(self.account, self.folder)

    def run(self, program: str, *options: str, password: str = "") -> None:
        completed = subprocess.run(
            [self.programs / program, *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self.folder,
            env=process.inherited_environment() | {"PGPASSWORD": password},
            user=self.account.uid if self.account else None,
            group=self.account.gid if self.account else None,
            extra_groups=[] if self.account else None,
            timeout=START_MAX_S,
            check=False,
        )
        assert completed.returncode == 0, completed.stderr.decode()

    def copy(self, url: str, *options: str) -> None:
        """Fills the folder with a copy of a running server (pg_basebackup)."""
        parts = urlsplit(url)
        address = ("-h", str(parts.hostname), "-p", str(parts.port), "-U", str(parts.username))
        self.run(
            "pg_basebackup",
            *("-D", self.path, "--checkpoint=fast", "--no-password", *address, *options),
            password=parts.password or "",
        )

    def configure(self, **settings: str) -> None:
        """Adds lines to the file that the server itself writes for ALTER SYSTEM."""
        with (self.folder / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def mark(self, name: str) -> None:
        """Creates an empty file that the server looks for at its start."""
        file = self.folder / name
        file.touch(mode=0o600)
        if self.account is not None:
            os.chown(file, self.account.uid, self.account.gid)

    def is_ready(self) -> bool:
        """Whether it accepts connections, also read-only ones."""
        return postgres._pid_file(self.folder)[7:8] == ["ready"]


class Standby:
    """Follows the server at `url`. It serves reads until it is promoted."""

    def __init__(
        self,
        data: Path,
        url: str,
        port: int,
        options: Mapping[str, str] | None = None,
        name: str = NAME,
    ) -> None:
        self.server, self.port, self.options = Server(data), port, options or {}
        parts = urlsplit(url)
        self.url = parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}").geturl()
        self.server.copy(url, "--create-slot", f"--slot={name}", "--wal-method=stream", "--no-sync")
        address = f"host={parts.hostname} port={parts.port} user={parts.username}"
        self.server.configure(
            primary_conninfo=f"{address} password={parts.password} application_name={name}",
            primary_slot_name=name,
        )
        self.server.mark("standby.signal")
        self.child = self.start()

    def start(self) -> Child:
        settings = {**postgres.SETTINGS, **self.options, "port": str(self.port)}
        child, _ = postgres._spawn(
            self.server.data,
            self.server.folder,
            self.server.programs,
            self.server.account,
            settings,
        )
        until(self.server.is_ready, START_MAX_S, f"standby; see {child.log}")
        return child

    def signal(self, number: signal.Signals) -> None:
        """Signals the process and its children."""
        pid = self.child.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                os.kill(one, number)

    def promote(self) -> float:
        """Makes it the primary; returns the seconds until it accepts writes."""
        begin = time.monotonic()
        self.server.run("pg_ctl", "promote", "-D", self.server.path)
        return time.monotonic() - begin
