"""Several things at once, and no more than some."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence


async def at_most[T](limit: int, steps: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """What each step comes to, in order, with `limit` of them under way at once.

    They begin in their order. Where one raises, those under way are cancelled, no other begins,
    and it is raised once none is left; of several the first.
    """
    turns = asyncio.Semaphore(limit)

    async def taken(step: Callable[[], Awaitable[T]]) -> T:
        async with turns:
            return await step()

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(taken(step)) for step in steps]
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    return [task.result() for task in tasks]
