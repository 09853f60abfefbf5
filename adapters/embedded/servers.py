"""Runs both servers on one folder for the duration of a block."""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from adapters.embedded.postgres import start_postgres
from adapters.embedded.process import Child, StartError, ensure_folder
from adapters.embedded.valkey import start_valkey

SERVING_ROLE: Final = "pandaprobe"
ADDRESSES: Final = "servers.env"  # of running servers; written by the process that has the lock


@dataclass(frozen=True, slots=True)
class Servers:
    """The URLs of running servers, which contain their passwords, and their processes.

    `owner_url` is that of the superuser, who migrates and owns the tables. The role of
    `database_url`, who serves, exists once `prepare_serving_role` has run.
    """

    database_url: str
    owner_url: str
    redis_url: str
    children: tuple[Child, ...]


def serving_url(owner_url: str) -> str:
    """The URL of the serving role, whose password follows from that of the superuser."""
    owner = urlsplit(owner_url)
    password = hashlib.sha256(f"{SERVING_ROLE}:{owner.password}".encode()).hexdigest()
    return owner._replace(
        netloc=f"{SERVING_ROLE}:{password}@{owner.hostname}:{owner.port}"
    ).geturl()


@contextmanager
def lock_folder(data: Path) -> Iterator[None]:
    """Locks `data` for this process. The kernel releases the lock however the process ends.

    Deletes the addresses of servers that a killed process left: `is_locked` makes them look valid.
    Raises StartError if another process holds it.
    """
    ensure_folder(data, 0o755)  # postgres, as another user, has to traverse it
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
        (data / ADDRESSES).unlink(missing_ok=True)
        yield
    finally:
        os.close(lock)


def is_locked(data: Path) -> bool:
    """Whether a process holds the lock of `data` now."""
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
def run_servers(data: Path, postgres_options: Mapping[str, str] | None = None) -> Iterator[Servers]:
    """Runs PostgreSQL and Valkey with their data in `data` until the block ends.

    `postgres_options` override the default settings of the server. Call it from the main thread.
    Raises StartError.
    """
    data = data.resolve()
    with lock_folder(data), ExitStack() as stack:
        postgres, owner_url = start_postgres(data, postgres_options)
        stack.callback(postgres.stop)
        valkey, redis_url = start_valkey(data)
        stack.callback(valkey.stop)
        yield Servers(serving_url(owner_url), owner_url, redis_url, (postgres, valkey))
