"""Money that is set aside: who finds too little waits for others of the run, for nobody else."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.memory.evaluation.judge_costs import MemoryBudgets
from adapters.memory.store import MemoryStore
from application.evaluation.purse import Purse
from domain.evaluation.runs.run import EvalRun
from tests.support.builders.values import NOON, OURS
from tests.support.fixtures.evaluation import a_run

LIMIT = Decimal(10)


class Till:
    """A purse, and questions that take `spent` of the `held` that is set aside for each."""

    def __init__(self, run: EvalRun) -> None:
        self.run = run
        self.budgets = MemoryBudgets(MemoryStore())
        self.purse = Purse(self.budgets)
        self.leave = asyncio.Event()
        self.under_way = 0

    async def question(self, held: int, spent: int) -> bool:
        """Whether there was money for it."""
        async with self.purse.opened(self.run, Decimal(held), NOON) as reserved:
            if reserved is None:
                return False
            self.under_way += 1
            try:
                await self.leave.wait()
                await asyncio.sleep(0)
                await self.budgets.settle(OURS, reserved, Decimal(spent))
            finally:
                self.under_way -= 1
            return True

    def begin(self, questions: Sequence[tuple[int, int]]) -> list[asyncio.Task[bool]]:
        return [asyncio.create_task(self.question(*one)) for one in questions]


def till(limit: Decimal | None = LIMIT) -> Till:
    return Till(a_run(OURS, max_cost_usd=limit))


async def moments() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_who_finds_too_little_waits_for_what_another_gives_back():
    shop = till()
    tasks = shop.begin([(6, 1)] * 3)
    await moments()
    assert shop.under_way == 1
    assert not any(task.done() for task in tasks)
    shop.leave.set()
    assert await asyncio.gather(*tasks) == [True] * 3


async def test_where_nobody_gives_anything_back_it_is_too_little():
    shop = till()
    shop.leave.set()
    assert await asyncio.gather(*shop.begin([(6, 6)] * 3)) == [True, False, False]
    assert await shop.question(11, 0) is False


async def test_other_runs_are_not_waited_for():
    shop = till()
    [busy] = shop.begin([(6, 1)])
    await moments()
    other = Till(a_run(OURS, max_cost_usd=Decimal(1)))
    other.purse = shop.purse
    assert await other.question(2, 1) is False
    assert not busy.done()
    shop.leave.set()
    assert await busy is True


async def test_without_a_bound_nobody_waits():
    shop = till(None)
    tasks = shop.begin([(1_000, 1)] * 5)
    await moments()
    assert shop.under_way == 5
    shop.leave.set()
    assert all(await asyncio.gather(*tasks))


async def test_who_is_cancelled_or_fails_leaves_nobody_waiting():
    shop = till()
    first, second, third = shop.begin([(4, 1), (4, 1), (4, 1)])
    await moments()
    assert shop.under_way == 2
    first.cancel()
    await moments()
    assert shop.under_way == 1, "what the first had set aside counts as spent: the third waits"
    shop.leave.set()
    assert [await second, await third] == [True, True]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_nothing_is_kept_of_runs_that_are_over():
    shop = till()
    shop.leave.set()
    await asyncio.gather(*shop.begin([(1, 1)] * 3))
    assert len(shop.purse) == 0


PARTS = st.tuples(st.integers(1, 12), st.integers(0, 12)).filter(lambda one: one[1] <= one[0])


@given(questions=st.lists(PARTS, max_size=12))
def test_all_come_to_an_end_and_none_is_refused_that_would_have_fitted(questions):
    asyncio.run(_all_come_to_an_end(questions))


async def _all_come_to_an_end(questions: Sequence[tuple[int, int]]) -> None:
    shop = till()
    tasks = shop.begin(questions)
    shop.leave.set()
    async with asyncio.timeout(5):
        done = await asyncio.gather(*tasks)
    spent = sum(one[1] for one, had in zip(questions, done, strict=True) if had)
    assert spent <= LIMIT
    refused = [held for (held, _), had in zip(questions, done, strict=True) if not had]
    # Money only goes away: what was refused then fits now even less.
    assert all(spent + held > LIMIT for held in refused)
