"""Waits for conditions. How long a test takes says nothing of whether it passes.

The one limit ends what hangs. It is far beyond what anything takes: a machine that runs two suites
at once is many times slower than a quiet one.
"""

import asyncio
import inspect
import subprocess
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

WAIT_MAX_S: Final = 180
TURNS: Final = 100  # of the event loop, before a look waits for something outside of it
LOOKS: Final = TURNS + 50  # after a second, looking would take the processor from what it waits for
LATE_PAUSES: Final = 5  # between two looks, from then on


def in_time() -> asyncio.Timeout:
    """Ends a block that hangs."""
    return asyncio.timeout(WAIT_MAX_S)


async def until(look: Callable[[], Any], is_so: Callable[[Any], object] = bool) -> Any:
    """Calls `look`, and awaits what it returns if needed, until `is_so` holds; the last result."""
    turns = 0
    async with in_time():
        while True:
            seen = look()
            if inspect.isawaitable(seen):
                seen = await seen
            if is_so(seen):
                return seen
            turns += 1
            if turns < TURNS:
                await asyncio.sleep(0)
            else:
                for _ in range(1 if turns < LOOKS else LATE_PAUSES):
                    await asyncio.sleep(0.02)


async def until_done[**P](
    step: Callable[P, Awaitable[object]], *values: P.args, **options: P.kwargs
) -> None:
    """Calls `step` until it returns nothing true, as steps do that have nothing left to do."""
    async with in_time():
        while await step(*values, **options):
            await asyncio.sleep(0)


def until_while[T](
    process: subprocess.Popen[Any], look: Callable[[], T], is_so: Callable[[T], object] = bool
) -> T:
    """Calls `look` until `is_so` holds; the last result. Fails if `process` ends before."""
    began = time.monotonic()
    while not is_so(seen := look()):
        assert process.poll() is None, "the process ended"
        waited_s = time.monotonic() - began
        assert waited_s < WAIT_MAX_S, seen
        wait_a_moment(process, 1 if waited_s < 1 else LATE_PAUSES)
    return seen


def wait_a_moment(process: subprocess.Popen[Any], pauses: int = 1) -> None:
    """Waits a twentieth of a second, so many times, or less if the process ends."""
    try:
        process.wait(0.05 * pauses)
    except subprocess.TimeoutExpired:
        return
