"""Disks so small that a test can fill them: file systems in memory, where mounting is allowed."""

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
    """Nothing may be mounted here; the message says what was said."""


class Disk:
    """What is mounted at `folder`; a file of ours takes all that others have left free."""

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
    """A disk of its own at `folder`, for the length of a block. Raises NotAllowedError."""
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


def moved_to(disk: Disk, folder: Path) -> None:
    """Moves `folder` to a disk, owners and all, and leaves a link behind."""
    _run("cp", "-a", str(folder), str(disk.folder))
    _run("rm", "-r", str(folder))
    folder.symlink_to(disk.folder / folder.name)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
