"""A folder in which several processes of one machine keep their metrics, each in its own files.

The files outlive a process that is killed, so that no sum of a counter decreases: Prometheus would
take a decrease for a restart from zero. A starting process takes the lowest free slot and reuses
its files, so there are at most as many files as there were processes at the peak.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SLOTS_MAX: Final = 256  # processes per folder
LIVE_GAUGE_PREFIX: Final = "gauge_live"  # the library's files of gauges that end with their process


class ProcessSlotError(Exception):
    """The folder can't be used; the message says why."""


@dataclass(frozen=True, slots=True)
class ProcessSlot:
    """The slot of a process in a folder, held while the process lives."""

    folder: Path
    number: int
    lock: int  # file descriptor

    def release(self) -> None:
        os.close(self.lock)

    def files(self) -> list[str]:
        """The files of all processes, without the live gauges of processes that have ended."""
        files = [file for file in self.folder.glob("*.db") if _has_content(file)]
        free = {n for n in {_slot_of(file) for file in files} if _is_free(self.folder, n)}
        return sorted(
            str(file)
            for file in files
            if not (file.name.startswith(LIVE_GAUGE_PREFIX) and _slot_of(file) in free)
        )


def acquire_slot(folder: Path, slots_max: int = SLOTS_MAX) -> ProcessSlot:
    """Acquires the lowest free slot of `folder`, which is created if missing.

    If all slots are free, the folder is emptied first: after all processes were stopped, as for a
    new version, the metrics start from zero. Raises ProcessSlotError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _opened(folder / "gate.lock") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            used = [n for n in range(slots_max) if not _is_free(folder, n)]
            number = next((n for n in range(slots_max) if n not in used), None)
            if number is None:
                raise ProcessSlotError(f"{folder}: more than {slots_max} processes share it")
            for file in folder.glob("*.db"):
                is_live_gauge = file.name.startswith(LIVE_GAUGE_PREFIX)
                if not used or (is_live_gauge and _slot_of(file) == number):
                    file.unlink()
            lock = _open_lock(_lock_path(folder, number))
            fcntl.flock(lock, fcntl.LOCK_EX)  # free, except while another process tests it
    except FileExistsError as error:
        raise ProcessSlotError(f"{folder} isn't a folder") from error
    except OSError as error:
        raise ProcessSlotError(f"{folder}: {error.strerror}") from error
    return ProcessSlot(folder, number, lock)


def _is_free(folder: Path, number: int) -> bool:
    if not _lock_path(folder, number).exists():
        return True
    with _opened(_lock_path(folder, number)) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    lock = _open_lock(path)
    try:
        yield lock
    finally:
        os.close(lock)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _lock_path(folder: Path, number: int) -> Path:
    return folder / f"{number}.lock"


def _slot_of(file: Path) -> int:
    return int(file.stem.rpartition("_")[2])


def _has_content(file: Path) -> bool:
    """Whether anything was written; a new file is empty for a moment."""
    with suppress(FileNotFoundError):
        return file.stat().st_size > 0
    return False
