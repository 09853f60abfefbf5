"""Runs modules such as pytest in processes of their own that have imported the libraries already.

A new interpreter would import them for each run, which takes two thirds of its processor time.
"""

import asyncio
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from tests.support.waiting import WAIT_MAX_S

# Not what is given to pytest as a plugin: it would warn that it can't rewrite its assertions.
LIBRARIES: Final = ["pytest", "httpx", "execnet"]
OUTPUTS: Final = (1, 2)
CONTEXT: Final = get_context("forkserver")


async def run_forked(
    module: str, arguments: Sequence[str], folder: Path, environ: Mapping[str, str], output: Path
) -> int:
    """Runs `python -m module` in `folder` with these variables alone; returns its exit status.

    What it prints goes to the file `output`.
    """
    CONTEXT.set_forkserver_preload(LIBRARIES)
    values = (module, tuple(arguments), folder, dict(environ), output)
    process = CONTEXT.Process(target=_run, args=values)
    process.start()
    await asyncio.to_thread(process.join, WAIT_MAX_S)
    if (status := process.exitcode) is None:
        process.kill()
    assert status is not None, f"it hangs; its output is in {output}"
    return status


def _run(
    module: str, arguments: Sequence[str], folder: Path, environ: Mapping[str, str], output: Path
) -> None:
    printed = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in OUTPUTS:
        os.dup2(printed, descriptor)
    os.close(printed)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    installed = [path for path in sys.path if path.startswith((sys.prefix, sys.base_prefix))]
    sys.path[:] = ["", *filter(None, environ.get("PYTHONPATH", "").split(os.pathsep)), *installed]
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)
