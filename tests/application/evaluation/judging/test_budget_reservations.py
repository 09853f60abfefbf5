"""Budget reservations: a question that doesn't fit waits for the others of its run."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.memory.evaluation.judge_costs import MemoryBudgets
from adapters.memory.store import MemoryStore
from application.evaluation.judging.budget_reservations import BudgetReserver
from domain.evaluation.runs.run import EvalRun
from tests.support.builders.values import NOON, OURS
from tests.support.fixtures.evaluation import a_run
from tests.support.fixtures.judge_policies import run_loop
from tests.support.waiting import in_time

LIMIT = Decimal(10)


class Questions:
    """A reserver, and questions that cost `spent` of the `held` that is reserved for each."""

    def __init__(self, run: EvalRun) -> None:
        self.run = run
        self.budgets = MemoryBudgets(MemoryStore())
        self.reserver = BudgetReserver(self.budgets)
        self.may_end = asyncio.Event()
        self.under_way = 0

    async def question(self, held: int, spent: int) -> bool:
        """Whether the budget had room for it."""
        async with self.reserver.reserve(self.run, Decimal(held), NOON) as reservation:
            if reservation is None:
                return False
            self.under_way += 1
            try:
                await self.may_end.wait()
                await asyncio.sleep(0)
                await self.budgets.settle(OURS, reservation, Decimal(spent))
            finally:
                self.under_way -= 1
            return True

    def begin(self, questions: Sequence[tuple[int, int]]) -> list[asyncio.Task[bool]]:
        return [asyncio.create_task(self.question(*one)) for one in questions]


def questions_within(limit: Decimal | None = LIMIT) -> Questions:
    return Questions(a_run(OURS, max_cost_usd=limit))


async def test_question_over_budget_waits_until_another_settles_for_less():
    ours = questions_within()
    tasks = ours.begin([(6, 1)] * 3)
    await run_loop()
    assert ours.under_way == 1
    assert not any(task.done() for task in tasks)
    ours.may_end.set()
    assert await asyncio.gather(*tasks) == [True] * 3


async def test_question_that_never_fits_gets_no_reservation():
    ours = questions_within()
    ours.may_end.set()
    assert await asyncio.gather(*ours.begin([(6, 6)] * 3)) == [True, False, False]
    assert await ours.question(11, 0) is False


async def test_question_does_not_wait_for_other_runs():
    ours = questions_within()
    [busy] = ours.begin([(6, 1)])
    await run_loop()
    other = Questions(a_run(OURS, max_cost_usd=Decimal(1)))
    other.reserver = ours.reserver
    assert await other.question(2, 1) is False
    assert not busy.done()
    ours.may_end.set()
    assert await busy is True


async def test_questions_of_run_without_budget_do_not_wait():
    ours = questions_within(None)
    tasks = ours.begin([(1_000, 1)] * 5)
    await run_loop()
    assert ours.under_way == 5
    ours.may_end.set()
    assert all(await asyncio.gather(*tasks))


async def test_cancelled_question_counts_as_spent_and_unblocks_next():
    ours = questions_within()
    first, second, third = ours.begin([(4, 1), (4, 1), (4, 1)])
    await run_loop()
    assert ours.under_way == 2
    first.cancel()
    await run_loop()
    assert ours.under_way == 1, "what the first had reserved counts as spent: the third waits"
    ours.may_end.set()
    assert [await second, await third] == [True, True]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_run_without_questions_is_removed():
    ours = questions_within()
    ours.may_end.set()
    await asyncio.gather(*ours.begin([(1, 1)] * 3))
    assert len(ours.reserver) == 0


QUESTION = st.tuples(st.integers(1, 12), st.integers(0, 12)).filter(lambda one: one[1] <= one[0])


@given(questions=st.lists(QUESTION, max_size=12))
def test_every_question_ends_and_only_unaffordable_ones_are_refused(questions):
    asyncio.run(_check_every_question_ends(questions))


async def _check_every_question_ends(questions: Sequence[tuple[int, int]]) -> None:
    ours = questions_within()
    tasks = ours.begin(questions)
    ours.may_end.set()
    async with in_time():
        done = await asyncio.gather(*tasks)
    spent = sum(one[1] for one, had in zip(questions, done, strict=True) if had)
    assert spent <= LIMIT
    refused = [held for (held, _), had in zip(questions, done, strict=True) if not had]
    # Budgets only shrink: a question that was refused then fits even less now.
    assert all(spent + held > LIMIT for held in refused)
