"""Several things at once, and no more than some."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence


async def gather_limited[T](limit: int, steps: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """What each step comes to, in order, with `limit` of them under way at once.

    They begin in their order. Where one raises, no other begins, and it is raised once those under
    way have come to their end, which may have been paid for; of several the first.
    """
    due = iter(enumerate(steps))
    found: dict[int, T] = {}
    failures: list[Exception] = []

    async def some() -> None:
        for number, step in due:
            if failures:
                return
            try:
                found[number] = await step()
            except Exception as failure:  # noqa: BLE001 - it is raised, once the others are done
                failures.append(failure)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(limit, len(steps))):
                group.create_task(some())
    except BaseExceptionGroup as several:  # what ends the process waits for nobody
        raise several.exceptions[0] from None
    if failures:
        raise failures[0]
    return [found[number] for number in range(len(steps))]
