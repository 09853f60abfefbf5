"""The folder for the data of a benchmark's servers."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def bench_folder() -> Iterator[Path]:
    """Yields a folder that postgres can enter (for root, it runs as `nobody`), and deletes it."""
    folder = Path(tempfile.mkdtemp(prefix="pandaprobe-bench-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
