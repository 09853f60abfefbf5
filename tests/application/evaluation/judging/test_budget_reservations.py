"""Budget reservations: a question that doesn't fit waits for the others of its run."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.memory.evaluation.judge_costs import MemoryBudgets
from adapters.memory.store import MemoryStore
from application.evaluation.judging.budget_reservations import BudgetReserver
from application.evaluation.ports.judging import Reservation
from domain.evaluation.judging.judge import JudgeRefused
from domain.evaluation.runs.run import EvalRun
from domain.evaluation.scores.outcome import FailCode
from domain.ids import ProjectId, RunId
from tests.support.builders.values import NOON, OURS
from tests.support.fixtures.evaluation.evaluation import a_run
from tests.support.fixtures.evaluation.judge_policies import run_loop
from tests.support.waiting import in_time

LIMIT = Decimal(10)


class LateBudgets(MemoryBudgets):
    """Answers some turns after it decided, as a database does."""

    async def reserve(
        self, project: ProjectId, run: RunId, of_run: Decimal | None, usd: Decimal, now: datetime
    ) -> Reservation | None:
        found = await MemoryBudgets.reserve(self, project, run, of_run, usd, now)
        for _ in range(3):
            await asyncio.sleep(0)
        return found


class QuestionsOfRun:
    """Questions of a run: each reserves `held` and then spends `spent`."""

    def __init__(self, run: EvalRun) -> None:
        self.run = run
        self.budgets = LateBudgets(MemoryStore())
        self.reserver = BudgetReserver(self.budgets)
        self.may_end = asyncio.Event()
        self.running = 0
        self.tries = 0

    async def question(self, held: int, spent: int) -> bool:
        """Return whether the budget had room for the question."""
        return await self.reserver.with_turns(self.run, lambda: self.ask(held, spent))

    async def ask(self, held: int, spent: int) -> bool:
        self.tries += 1
        async with self.reserver.reserve(self.run, Decimal(held), NOON) as reservation:
            if reservation is None:
                return False
            self.running += 1
            try:
                await self.may_end.wait()
                await asyncio.sleep(0)
                await self.budgets.settle(OURS, reservation, Decimal(spent))
            finally:
                self.running -= 1
            return True

    def begin(self, questions: Sequence[tuple[int, int]]) -> list[asyncio.Task[bool]]:
        return [asyncio.create_task(self.question(*one)) for one in questions]


def questions_within(limit: Decimal | None = LIMIT) -> QuestionsOfRun:
    return QuestionsOfRun(a_run(OURS, max_cost_usd=limit))


async def test_question_over_budget_waits_until_another_settles_for_less():
    run = questions_within()
    tasks = run.begin([(6, 1)] * 3)
    await run_loop()
    assert run.running == 1
    assert not any(task.done() for task in tasks)
    run.may_end.set()
    assert await asyncio.gather(*tasks) == [True] * 3


async def test_question_that_never_fits_gets_no_reservation():
    run = questions_within()
    run.may_end.set()
    assert await asyncio.gather(*run.begin([(6, 6)] * 3)) == [True, False, False]
    assert await run.question(11, 0) is False


async def test_question_does_not_wait_for_other_runs():
    run = questions_within()
    [busy] = run.begin([(6, 1)])
    await run_loop()
    other = QuestionsOfRun(a_run(OURS, max_cost_usd=Decimal(1)))
    other.reserver = run.reserver
    assert await other.question(2, 1) is False
    assert not busy.done()
    run.may_end.set()
    assert await busy is True


async def test_questions_of_run_without_budget_do_not_wait():
    run = questions_within(None)
    tasks = run.begin([(1_000, 1)] * 5)
    await run_loop()
    assert run.running == 5
    run.may_end.set()
    assert all(await asyncio.gather(*tasks))


async def test_cancelled_question_counts_as_spent_and_unblocks_next():
    run = questions_within()
    first, second, third = run.begin([(4, 1), (4, 1), (4, 1)])
    await run_loop()
    assert run.running == 2
    first.cancel()
    await run_loop()
    assert run.running == 1, (
        "the reservation of the first question counts as spent, so the third waits"
    )
    run.may_end.set()
    assert [await second, await third] == [True, True]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_turns_of_questions_that_are_cancelled_go_to_the_next():
    run = questions_within()

    async def end_and_cancel_next() -> None:
        await run.question(6, 1)
        for one in others[:2]:
            one.cancel()  # it is its turn, and it hasn't tried yet

    first = asyncio.create_task(end_and_cancel_next())
    await run_loop()
    others = run.begin([(6, 1)] * 3)
    await run_loop()
    assert run.tries == 4
    run.may_end.set()
    async with in_time():
        await first
        assert await others[2] is True
    assert run.tries == 5
    for one in others[:2]:
        with pytest.raises(asyncio.CancelledError):
            await one


async def test_turns_of_questions_that_reserve_nothing_go_to_the_next():
    run = questions_within()
    refused = 0

    async def refuse_later() -> bool:
        nonlocal refused
        if run.may_end.is_set():
            refused += 1
            raise JudgeRefused(FailCode.CIRCUIT_OPEN)
        return await run.ask(6, 1)

    [first] = run.begin([(6, 1)])
    await run_loop()
    others = [asyncio.create_task(run.reserver.with_turns(run.run, refuse_later)) for _ in "abc"]
    await run_loop()
    [last] = run.begin([(6, 1)])
    await run_loop()
    run.may_end.set()
    async with in_time():
        assert await asyncio.gather(first, last) == [True, True]
    assert refused == 3
    for one in others:
        with pytest.raises(JudgeRefused):
            await one


async def test_all_questions_that_fit_begin_when_one_ends():
    run = questions_within()
    may_end = run.may_end
    tasks = run.begin([(9, 1)])
    await run_loop()
    run.may_end = asyncio.Event()
    tasks += run.begin([(3, 1)] * 3)
    await run_loop()
    assert run.running == 1
    may_end.set()
    await run_loop()
    assert run.running == 3
    run.may_end.set()
    assert await asyncio.gather(*tasks) == [True] * 4


async def test_run_without_questions_is_removed():
    run = questions_within()
    run.may_end.set()
    await asyncio.gather(*run.begin([(1, 1)] * 3))
    assert len(run.reserver) == 0


QUESTION = st.tuples(st.integers(1, 12), st.integers(0, 12)).filter(lambda one: one[1] <= one[0])


@given(questions=st.lists(QUESTION, max_size=12))
def test_every_question_ends_and_only_unaffordable_ones_are_refused(questions):
    asyncio.run(_check_every_question_ends(questions))


async def _check_every_question_ends(questions: Sequence[tuple[int, int]]) -> None:
    run = questions_within()
    tasks = run.begin(questions)
    run.may_end.set()
    async with in_time():
        answered = await asyncio.gather(*tasks)
    spent = sum(
        one[1] for one, was_answered in zip(questions, answered, strict=True) if was_answered
    )
    assert spent <= LIMIT
    refused = [
        held
        for (held, _), was_answered in zip(questions, answered, strict=True)
        if not was_answered
    ]
    # Each may try when it comes, and once for each reservation, release and end of another.
    assert run.tries <= 4 * len(questions)
    # The spent amount only grows: a refused question cannot fit at the end either.
    assert all(spent + held > LIMIT for held in refused)
