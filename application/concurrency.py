"""Concurrent steps with a limit, and long computations that leave the event loop its turn."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any


async def gather_limited[T](limit: int, steps: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """The results of the steps, in order; at most `limit` steps run concurrently.

    Steps start in order. After a step raises, no other step starts. The exception is raised once
    the running steps have ended, since their work may be paid for. If several raise, the first.
    """
    waiting = iter(enumerate(steps))
    results: dict[int, T] = {}
    failures: list[Exception] = []

    async def work() -> None:
        for number, step in waiting:
            if failures:
                return
            try:
                results[number] = await step()
            except Exception as failure:  # noqa: BLE001 - it is raised once the others are done
                failures.append(failure)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(limit, len(steps))):
                group.create_task(work())
    except BaseExceptionGroup as group_error:  # the process ends: don't wait for other steps
        raise group_error.exceptions[0] from None
    if failures:
        raise failures[0]
    return [results[number] for number in range(len(steps))]


async def compute[T](function: Callable[..., T], *args: Any, is_long: bool) -> T:
    """The result of `function`. If it `is_long`, it runs in a thread, and other tasks continue."""
    return await asyncio.to_thread(function, *args) if is_long else function(*args)
