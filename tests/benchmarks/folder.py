"""Where a benchmark keeps its servers' data."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def bench_folder() -> Iterator[Path]:
    """A folder that `nobody`, as whom postgres runs for root, can enter; gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="pandaprobe-bench-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
