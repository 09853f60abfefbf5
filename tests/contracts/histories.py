"""Histories that are played over memory and PostgreSQL at once, whoever's they are."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from adapters.postgres.engine import Engine, Pool, PoolSettings, opened

type Over = Callable[[Pool], AbstractAsyncContextManager[Any]]
"""What is tested, over a pool."""


def assert_any_reads_the_same(
    machine: Any, over_postgres: Over, url: str, *, examples: int, steps: int
) -> None:
    """Plays so many histories of so many steps; the machine's own checks compare.

    One event loop and one pool serve all of them: `machine.runner`, and `machine.postgres` over it.
    """
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        machine.runner = runner
        machine.postgres = runner.run(_opened(over_postgres, url, stack))
        try:
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=examples,
                    stateful_step_count=steps,
                    deadline=None,
                    report_multiple_bugs=False,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
                ),
            )
        finally:
            runner.run(stack.aclose())


async def _opened(over_postgres: Over, url: str, stack: AsyncExitStack) -> Any:
    pool = await stack.enter_async_context(opened(Engine(config={}), PoolSettings(url=url, size=3)))
    return await stack.enter_async_context(over_postgres(pool))
