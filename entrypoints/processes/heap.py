"""How the C library keeps memory that Python has freed, in a process that reads large values.

By default glibc gives each thread a heap of its own, and keeps blocks of up to 32 MiB in them.
Large values are decoded and compressed in several threads: what one of them has freed in its heap,
another one can't take. With bodies of 53 MB that is 5 to 10 MB more in `serve`. `worker` kept
200 MB after it had indexed and joined a trace of 118 MB, and keeps 35 now.
"""

import ctypes
from typing import Final

LARGE_BLOCK_BYTES: Final = 1 << 20  # larger blocks are given back to the system when they are freed
HEAPS_MAX: Final = 1  # Python's own lock leaves threads little to wait for
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8


def limit_heap() -> None:
    """Call before threads start. Other C libraries stay as they are."""
    c_library = ctypes.CDLL(None)
    if not hasattr(c_library, "gnu_get_libc_version"):
        return
    c_library.mallopt(_M_ARENA_MAX, HEAPS_MAX)
    c_library.mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
