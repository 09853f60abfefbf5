"""Files of metrics whose space is reserved before it is written.

The library maps files with holes into memory. On a full disk, a write into a hole ends the process
by SIGBUS, without a line in the log.
"""

import os
from pathlib import Path
from typing import Final

from prometheus_client.mmap_dict import MmapedDict

FIRST_BYTES: Final = 1 << 16  # as many as the library takes, which doubles them if it needs more
AROUND_KEY_BYTES: Final = 64  # at most, of a series besides its key


class ReservedDict(MmapedDict):
    """Keeps series in a file, as its base. Raises OSError if the disk has no space for another."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode:
            with Path(filename).open("ab") as file:
                _reserve(file.fileno(), max(FIRST_BYTES, os.fstat(file.fileno()).st_size))
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]  # the library has no types

    def _init_value(self, key: str) -> None:
        if self._used + len(key.encode()) + AROUND_KEY_BYTES > self._capacity:
            _reserve(self._f.fileno(), 2 * self._capacity)
        super()._init_value(key)  # type: ignore[no-untyped-call]  # the library has no types


def _reserve(file: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):  # not on macOS
        os.posix_fallocate(file, 0, size)
