"""Both servers on one folder, for as long as a block runs."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.embedded.postgres import start_postgres
from adapters.embedded.process import Child, StartError, ensure_folder
from adapters.embedded.valkey import start_valkey


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers answer; the URLs hold their passwords."""

    database_url: str
    redis_url: str
    children: tuple[Child, ...]


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Holds `data` for this process alone; the kernel lets go of it however we end.

    Raises StartError where another process has it.
    """
    ensure_folder(data, 0o755)  # postgres, as another user, has to pass through
    try:
        lock = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StartError(f"{data / 'lock'} can't be opened: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
            raise StartError(
                f"the folder {data} is in use by another start, process {holder or 'unknown'}: "
                "stop that one first, or set PANDAPROBE_DATA_DIR to another folder"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def is_locked(data: Path) -> bool:
    """Whether some process holds `data` right now."""
    try:
        lock = os.open(data / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


@contextmanager
def running(data: Path, postgres_options: Mapping[str, str] | None = None) -> Iterator[Servers]:
    """PostgreSQL and Valkey with their data in `data`, until the block ends.

    `postgres_options` are settings of the server, over those it is given anyway. Call it from
    the main thread. Raises StartError.
    """
    data = data.resolve()
    with locked(data), ExitStack() as stack:
        postgres, database_url = start_postgres(data, postgres_options)
        stack.callback(postgres.stop)
        valkey, redis_url = start_valkey(data)
        stack.callback(valkey.stop)
        yield Servers(database_url, redis_url, (postgres, valkey))
