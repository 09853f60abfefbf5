"""How the C library keeps freed memory in `serve` and `worker`."""

import subprocess
import sys
from typing import Final

import pytest

# Prints what glibc knows of its heaps, after some threads have used them.
COUNT_HEAPS: Final = """
import ctypes, sys, threading
from entrypoints.processes.heap import limit_heap

if sys.argv[1] == "limited":
    limit_heap()
elif sys.argv[1] == "worker":
    from entrypoints.settings import Settings
    from entrypoints.startup import CommandError
    from entrypoints.worker.worker import work

    def opening(*_):
        raise CommandError("it has started")

    try:
        places = {"database_url": "postgresql://localhost", "redis_url": "redis://localhost"}
        work(Settings(**places), opening)
    except CommandError:
        pass
c_library = ctypes.CDLL(None)
if not hasattr(c_library, "malloc_info"):
    sys.exit("this C library doesn't say")
ready = threading.Barrier(5)

def use():
    ready.wait()
    kept = [bytes(10_000 + n) for n in range(100)]
    ready.wait()

threads = [threading.Thread(target=use) for _ in range(4)]
for one in threads:
    one.start()
ready.wait()
ready.wait()
for one in threads:
    one.join()
c_library.malloc_info(0, ctypes.c_void_p.in_dll(c_library, "stdout"))
c_library.fflush(None)
"""


def heaps(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", COUNT_HEAPS, how], capture_output=True, text=True, check=False
    )
    if "doesn't say" in done.stderr:
        pytest.skip("not glibc")
    assert done.returncode == 0, done.stderr
    return done.stdout.count("<heap nr=")


def test_threads_share_one_heap():
    assert heaps("limited") == 1
    assert heaps("worker") == 1
    assert heaps("as it is") > 1
