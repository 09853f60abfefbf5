"""How long the event loop is blocked at a stretch.

A block is time in which no task gets its turn. The figure is CPU time of the process, so that other
work on the machine doesn't count, but at most the time that went by, since threads that run in
parallel block nothing. Tests compare it with bounds of the machine that the figures of the
documentation are from, so `scaled_ms` divides it by how much slower this one is.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from entrypoints.server.serve import GC_THRESHOLD, GC_THRESHOLDS_OF_OLDER, THREAD_SWITCH_S

WORK_TEXT: Final = json.dumps([{"role": "user", "content": "x"}] * 20_000)
WORK_REFERENCE_MS: Final = 8.0  # of `_work` on that machine
MEASUREMENTS: Final = 3  # of which the fastest counts


def cpu_ms(work: Callable[[], object]) -> float:
    """The CPU time of some work, of the fastest of MEASUREMENTS."""

    def once() -> float:
        before = time.process_time()
        work()
        return (time.process_time() - before) * 1_000

    return min(once() for _ in range(MEASUREMENTS))


def _work() -> None:
    """Calls of C code and of Python, as a request makes them."""
    json.loads(WORK_TEXT)
    sum(n * n for n in range(100_000))


@dataclass(slots=True)
class Blocks:
    """The longest block so far. `slowness` is at least 1."""

    slowness: float
    longest_ms: float = 0.0

    @property
    def scaled_ms(self) -> float:
        return self.longest_ms / self.slowness


@asynccontextmanager
async def watched_loop() -> AsyncIterator[Blocks]:
    """Watches the running loop until the end of the block."""
    blocks = Blocks(max(1.0, cpu_ms(_work) / WORK_REFERENCE_MS))

    async def watch() -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        while True:
            await asyncio.sleep(0.001)
            wall_now, cpu_now = time.perf_counter(), time.process_time()
            blocked_s = min(wall_now - wall, cpu_now - cpu)
            blocks.longest_ms = max(blocks.longest_ms, blocked_s * 1_000)
            wall, cpu = wall_now, cpu_now

    gc.collect()  # garbage of earlier work would be collected within a block
    thresholds, switch_s = gc.get_threshold(), sys.getswitchinterval()
    # As `serve` does: what the tests have imported is not looked at. It stays frozen, or each later
    # collection would look at all tests that pytest has collected, for a second.
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, *GC_THRESHOLDS_OF_OLDER)
    sys.setswitchinterval(THREAD_SWITCH_S)
    task = asyncio.create_task(watch())
    await asyncio.sleep(0)
    try:
        yield blocks
        await asyncio.sleep(0.002)
    finally:
        task.cancel()
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(switch_s)
