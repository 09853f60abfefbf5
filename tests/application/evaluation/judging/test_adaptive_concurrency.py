"""Adaptive concurrency: the limit halves on a 429, rises with successes, and is never exceeded."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.memory.evaluation.scripted_judge import (
    DEFAULT_OUTCOME,
    ScriptedAnswer,
    ScriptedJudge,
    make_judge_call,
)
from application.evaluation.judging.adaptive_concurrency import (
    SUCCESSES_PER_SLOT,
    AdaptiveLimiter,
)
from application.evaluation.judging.judge_client import ConcurrencyLimit, RateLimitFeedback
from domain.evaluation.judging.judge import JudgeUnavailable
from domain.evaluation.judging.models import provider_of
from domain.evaluation.scores.outcome import FailCode
from domain.ids import ProjectId
from tests.contracts.evaluation.judging.test_judge import scripted
from tests.support.builders.values import OURS, THEIRS
from tests.support.fixtures.evaluation.judge_policies import Ask, ask_through, run_loop
from tests.support.waiting import in_time

QUESTION = scripted().question()
PROJECTS = [ProjectId(uuid.UUID(int=n)) for n in range(3)]


def failure(code: FailCode) -> JudgeUnavailable:
    return JudgeUnavailable(code, retry_after_s=0, calls=(make_judge_call(code=code),))


LIMITED = failure(FailCode.RATE_LIMITED)


class LimitedJudge:
    """A scripted judge behind a limiter that allows `limit_max` questions at most."""

    def __init__(self, *script: ScriptedAnswer, limit_max: int) -> None:
        self.judge = ScriptedJudge({QUESTION.metric.name: script} if script else {})
        self.limiter = AdaptiveLimiter(limit_max)
        limiters = {provider_of(QUESTION.model): self.limiter}
        policies = [ConcurrencyLimit(limiters), RateLimitFeedback(limiters)]
        self.ask: Ask = ask_through(policies, self.judge)

    async def ask_together(self, questions: int) -> int:
        """Ask concurrently. Return how many questions reach the judge before its first answer."""
        self.judge.gate = asyncio.Event()
        self.judge.most_at_once = 0
        tasks = [asyncio.create_task(self.ask(QUESTION)) for _ in range(questions)]
        await run_loop()
        reached = self.judge.most_at_once
        self.judge.gate.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.judge.gate = None
        return reached

    async def ask_in_turn(self, questions: int) -> None:
        for _ in range(questions):
            await asyncio.gather(self.ask(QUESTION), return_exceptions=True)


async def test_concurrent_questions_are_limited():
    limited = LimitedJudge(limit_max=3)
    assert await limited.ask_together(10) == 3
    assert len(limited.judge.asked) == 10


async def test_limit_halves_on_429_and_rises_after_20_successes():
    limited = LimitedJudge(LIMITED, DEFAULT_OUTCOME, limit_max=8)
    await limited.ask_in_turn(1)
    assert limited.limiter.limit == 4
    assert await limited.ask_together(8) == 4
    await limited.ask_in_turn(SUCCESSES_PER_SLOT - 8 - 1)
    assert limited.limiter.limit == 4
    await limited.ask_in_turn(1)
    assert limited.limiter.limit == 5


async def test_burst_of_429_halves_limit_once():
    limited = LimitedJudge(LIMITED, limit_max=8)
    assert await limited.ask_together(4) == 4
    assert limited.limiter.limit == 4


async def test_limit_stays_between_one_and_maximum():
    limited = LimitedJudge(*[LIMITED] * 5, DEFAULT_OUTCOME, limit_max=2)
    await limited.ask_in_turn(5)
    assert limited.limiter.limit == 1
    await limited.ask_in_turn(3 * SUCCESSES_PER_SLOT)
    assert limited.limiter.limit == 2


async def test_only_429_lowers_limit():
    limited = LimitedJudge(failure(FailCode.PROVIDER_ERROR), DEFAULT_OUTCOME, limit_max=8)
    await limited.ask_in_turn(2)
    assert limited.limiter.limit == 8


async def test_failed_question_releases_its_slot():
    limiter = AdaptiveLimiter(1)
    for _ in range(10):
        with pytest.raises(KeyError):
            async with limiter.slot(OURS):
                raise KeyError
    async with in_time(), limiter.slot(OURS):
        assert limiter.limit == 1


async def test_cancelled_question_releases_its_slot_and_queue_position():
    limited = LimitedJudge(limit_max=1)
    limited.judge.gate = asyncio.Event()
    first, waiting, last = (asyncio.create_task(limited.ask(QUESTION)) for _ in range(3))
    await run_loop()
    waiting.cancel()
    first.cancel()
    limited.judge.gate.set()
    assert (await last).outcome.value == DEFAULT_OUTCOME.value
    assert [one.cancelled() for one in (first, waiting)] == [True, True]
    assert (await limited.ask(QUESTION)).outcome.value == DEFAULT_OUTCOME.value


async def test_slot_of_a_question_that_is_cancelled_as_it_gets_one_goes_to_the_next():
    limiter = AdaptiveLimiter(1)

    async def hold() -> None:
        async with limiter.slot(OURS):
            pass

    async with limiter.slot(OURS):
        first, second = asyncio.create_task(hold()), asyncio.create_task(hold())
        await run_loop(3)
    first.cancel()  # it has the slot now, and doesn't run yet
    async with in_time():
        await second
    assert first.cancelled()


type Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "leave", "cancel", "succeed", "rate limit"]), st.integers(0, 9)
    ),
    max_size=60,
)


@given(limit_max=st.integers(1, 5), steps=STEPS)
def test_every_question_gets_slot_and_limit_is_never_exceeded(
    limit_max: int, steps: Sequence[Step]
):
    asyncio.run(_check_slots(limit_max, steps))


async def _check_slots(limit_max: int, steps: Sequence[Step]) -> None:
    limiter, inside = AdaptiveLimiter(limit_max), list[asyncio.Event]()
    tasks: list[asyncio.Task[None]] = []
    done: list[int] = []

    async def one(number: int) -> None:
        async with limiter.slot(PROJECTS[number % len(PROJECTS)]):
            leave = asyncio.Event()
            inside.append(leave)
            try:
                await leave.wait()
            finally:
                inside.remove(leave)
        done.append(number)

    actions: dict[str, Callable[[int], object]] = {
        "enter": lambda _: tasks.append(asyncio.create_task(one(len(tasks)))),
        "leave": lambda n: inside and inside[n % len(inside)].set(),
        "cancel": lambda n: tasks and tasks[n % len(tasks)].cancel(),
        "succeed": lambda _: [limiter.record_success() for _ in range(SUCCESSES_PER_SLOT)],
        "rate limit": lambda _: limiter.record_rate_limit(limiter.epoch),
    }
    for action, number in steps:
        before = len(inside)
        actions[action](number)
        await run_loop(3)
        assert 1 <= limiter.limit <= limit_max
        assert len(inside) <= max(limiter.limit, before)
    while any(not task.done() for task in tasks):
        assert inside, "a question waits although no slot is held"
        inside[0].set()
        await run_loop(3)
    assert sorted(done) == [n for n, task in enumerate(tasks) if not task.cancelled()]
    assert (limiter._held, limiter._waiting) == ({}, {})


class Line:
    """Questions of projects that wait for slots, and which of them have one, in order."""

    def __init__(self, limit_max: int) -> None:
        self.limiter = AdaptiveLimiter(limit_max)
        self.held: list[tuple[ProjectId, asyncio.Event]] = []
        self.granted: list[ProjectId] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, project: ProjectId, questions: int) -> None:
        self.tasks += [asyncio.create_task(self._hold(project)) for _ in range(questions)]
        await run_loop(3)

    async def answer(self, project: ProjectId) -> None:
        """Answers the question of the project that has a slot the longest."""
        next(leave for one, leave in self.held if one == project).set()
        await run_loop(3)

    async def end(self) -> None:
        while self.held:
            await self.answer(self.held[0][0])
        await asyncio.gather(*self.tasks)

    async def _hold(self, project: ProjectId) -> None:
        async with self.limiter.slot(project):
            held = (project, asyncio.Event())
            self.held.append(held)
            self.granted.append(project)
            await held[1].wait()
            self.held.remove(held)


async def test_project_does_not_wait_for_all_questions_of_another():
    line = Line(4)
    await line.ask(OURS, 100)
    await line.ask(THEIRS, 100)
    for _ in range(2):
        await line.answer(OURS)
    assert Counter(one for one, _ in line.held) == {OURS: 2, THEIRS: 2}
    for _ in range(3):
        await line.answer(THEIRS)
    assert Counter(one for one, _ in line.held) == {OURS: 2, THEIRS: 2}
    await line.end()
    assert Counter(line.granted) == {OURS: 100, THEIRS: 100}


async def test_projects_take_turns_at_a_single_slot():
    line = Line(1)
    for project in PROJECTS:
        await line.ask(project, 3)
    await line.end()
    first = PROJECTS[0]  # it had the free slot, and was the first to wait for it again
    assert line.granted == [first, *PROJECTS, *PROJECTS, *PROJECTS[1:]]


async def test_project_alone_has_all_slots():
    line = Line(4)
    await line.ask(OURS, 9)
    assert len(line.held) == 4
    await line.end()
    assert line.granted == [OURS] * 9


async def test_successes_since_a_429_open_a_slot_for_a_question_that_waits():
    line = Line(2)
    for _ in range(SUCCESSES_PER_SLOT - 1):
        line.limiter.record_success()
    line.limiter.record_rate_limit(line.limiter.epoch)
    await line.ask(OURS, 2)
    for _ in range(SUCCESSES_PER_SLOT):
        assert line.granted == [OURS]
        line.limiter.record_success()
        await run_loop(3)
    assert line.granted == [OURS, OURS]
    await line.end()
