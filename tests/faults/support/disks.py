"""Disks small enough for a test to fill: in-memory file systems, if mounting is allowed."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

CHUNK: Final = bytes(64 << 10)
LAST: Final = bytes(1 << 10)


class NotAllowedError(Exception):
    """Nothing may be mounted here; the message is that of `mount`."""


class Disk:
    """A file system mounted at `folder`; `fill` uses up all its free space with a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as out:
            for piece in (CHUNK, LAST):
                with contextlib.suppress(OSError):
                    while out.write(piece) == len(piece):
                        continue

    def free(self) -> None:
        self._filler.unlink()

    @property
    def is_full(self) -> bool:
        return os.statvfs(self.folder).f_bavail == 0


@contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[Disk]:
    """Mounts a file system at `folder` for the length of a block. Raises NotAllowedError."""
    folder.mkdir(mode=0o755)
    options = f"size={size_mb}m,mode=755"
    try:
        _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotAllowedError(str(getattr(error, "stderr", None) or error).strip()) from error
    try:
        yield Disk(folder)
    finally:
        _run("umount", "--lazy", str(folder))


def move_to(disk: Disk, folder: Path) -> None:
    """Moves `folder` with its owners to a disk, and leaves a link in its place."""
    _run("cp", "-a", str(folder), str(disk.folder))
    _run("rm", "-r", str(folder))
    folder.symlink_to(disk.folder / folder.name)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
