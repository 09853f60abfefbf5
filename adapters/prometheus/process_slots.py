"""A folder in which several processes of one machine keep their figures, each in files of its own.

The files outlive a process that is killed, so that no sum of a counter ever falls: that would look
as if all had been counted anew. Who starts takes the first free seat, and with it the files of
whoever had it before: there are never more files than processes were there at once.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SEATS_MAX: Final = 256  # processes of one folder
LIVE: Final = "gauge_live"  # how the library's files of gauges begin that end with their process
_GATE: Final = "gate.lock"


class SeatError(Exception):
    """The folder can't be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One process's place in a folder, for as long as it lives."""

    folder: Path
    number: int
    lock: int

    def leave(self) -> None:
        os.close(self.lock)

    def files(self) -> list[str]:
        """The files of all processes, but for the gauges of those that are gone."""
        files = [one for one in self.folder.glob("*.db") if _has_begun(one)]
        gone = {n for n in {_seat_of(one) for one in files} if _is_free(self.folder, n)}
        kept = (one for one in files if not (one.name.startswith(LIVE) and _seat_of(one) in gone))
        return sorted(map(str, kept))


def take_seat(folder: Path, seats_max: int = SEATS_MAX) -> Seat:
    """The first free seat of `folder`, which is made where it is missing. Raises SeatError.

    Who finds all seats free empties the folder first: after a stop of everything, as for a new
    version, figures begin anew.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / _GATE):
            taken = [n for n in range(seats_max) if not _is_free(folder, n)]
            number = next((n for n in range(seats_max) if n not in taken), None)
            if number is None:
                raise SeatError(f"{folder}: more than {seats_max} processes share it")
            for file in folder.glob("*.db"):
                if not taken or (file.name.startswith(LIVE) and _seat_of(file) == number):
                    file.unlink()
            lock = _opened(_lock_of(folder, number))
            fcntl.flock(lock, fcntl.LOCK_EX)  # free, but for a moment in which others look at it
    except OSError as error:
        raise SeatError(f"{folder}: {error.strerror}") from error
    return Seat(folder, number, lock)


def _is_free(folder: Path, number: int) -> bool:
    if not _lock_of(folder, number).exists():
        return True
    lock = _opened(_lock_of(folder, number))
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = _opened(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _lock_of(folder: Path, number: int) -> Path:
    return folder / f"{number}.lock"


def _seat_of(file: Path) -> int:
    return int(file.stem.rpartition("_")[2])


def _has_begun(file: Path) -> bool:
    """Whether anything was written; a file is empty for a moment once it is made."""
    with suppress(FileNotFoundError):
        return file.stat().st_size > 0
    return False
