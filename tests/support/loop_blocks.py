"""How long the event loop is blocked at a stretch.

A block is time in which no task gets its turn. The figure is CPU time of the process, so that other
work on the machine doesn't count, but at most the time that went by, since threads that run in
parallel block nothing.
"""

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from entrypoints.server.serve import GC_THRESHOLD, GC_THRESHOLDS_OF_OLDER, THREAD_SWITCH_S


@dataclass(slots=True)
class Blocks:
    """The longest block so far."""

    longest_ms: float = 0.0


@asynccontextmanager
async def watched_loop() -> AsyncIterator[Blocks]:
    """Watches the running loop until the end of the block."""
    blocks = Blocks()

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
