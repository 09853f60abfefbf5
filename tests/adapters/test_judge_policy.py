"""Patience with a judge: attempts, waits and turns, by a clock that moves where somebody sleeps."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.judges.policy import ATTEMPTS_MAX, WAIT_MAX_S, PatientJudge
from adapters.judges.turns import MORE_AFTER, Turns
from adapters.memory.evaluation.scripted_judge import FAIR, ScriptedJudge, Told, a_call
from domain.evaluation.judging.judge import Answer, JudgeRefused, JudgeUnavailable, Question
from domain.evaluation.scores.outcome import FailCode
from tests.contracts.evaluation.judging.test_judge import scripted

QUESTION = scripted().question()


def late(code: FailCode = FailCode.PROVIDER_ERROR, retry_after_s: int = 0) -> JudgeUnavailable:
    return JudgeUnavailable(code, retry_after_s=retry_after_s, calls=(a_call(code=code),))


def limited(retry_after_s: int = 0) -> JudgeUnavailable:
    return late(FailCode.RATE_LIMITED, retry_after_s)


@dataclass(slots=True)
class Time:
    """`chance` is what random numbers are; an answer takes `answer_s`."""

    now: float = 1_000.0
    chance: float = 0.5
    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def judge(self, *script: Told, at_once: int = 8) -> tuple[PatientJudge, ScriptedJudge]:
        asked = ScriptedJudge({QUESTION.metric.name: script} if script else {})
        patient = PatientJudge(
            asked,
            at_once=at_once,
            clock=self.clock,
            sleep=self.sleep,
            chance=lambda: self.chance,
        )
        return patient, asked


# --- attempts --------------------------------------------------------------------------------


async def test_503_twice_and_then_an_answer_is_an_answer_after_three_attempts():
    """No. 11."""
    patient, asked = Time().judge(late(), late(), FAIR)
    answer = await patient.ask(QUESTION)
    assert answer.outcome.value == FAIR.value
    assert [call.code for call in answer.calls] == [
        *(FailCode.PROVIDER_ERROR, FailCode.PROVIDER_ERROR),
        None,
    ]
    assert len(asked.asked) == 3


async def test_after_as_many_attempts_it_is_put_back_with_all_requests_told():
    patient, asked = Time().judge(late(FailCode.JUDGE_TIMEOUT), late())
    with pytest.raises(JudgeUnavailable) as failure:
        await patient.ask(QUESTION)
    assert failure.value.code is FailCode.PROVIDER_ERROR, "that of the last attempt"
    assert len(asked.asked) == len(failure.value.calls) == ATTEMPTS_MAX


async def test_429_with_retry_after_7_is_asked_again_no_sooner():
    """No. 11."""
    time = Time(chance=0.0)
    patient, _ = time.judge(limited(7), FAIR)
    await patient.ask(QUESTION)
    assert time.slept == [7]


@pytest.mark.parametrize("seconds", [60, 3_600])
async def test_who_is_told_to_come_after_the_deadline_is_put_back_until_then(seconds):
    time = Time()
    patient, asked = time.judge(limited(seconds), FAIR)
    with pytest.raises(JudgeUnavailable) as failure:
        await patient.ask(QUESTION)
    assert failure.value.retry_after_s == seconds
    assert (len(asked.asked), time.slept) == (1, [])


async def test_what_would_fail_again_is_not_tried_again():
    refused = JudgeRefused(FailCode.REJECTED, calls=(a_call(code=FailCode.REJECTED),))
    patient, asked = Time().judge(late(), refused)
    with pytest.raises(JudgeRefused) as failure:
        await patient.ask(QUESTION)
    assert [call.code for call in failure.value.calls] == [
        FailCode.PROVIDER_ERROR,
        FailCode.REJECTED,
    ]
    assert len(asked.asked) == 2


async def test_each_attempt_has_what_is_left_of_the_deadline():
    time = Time(chance=1.0)
    patient, asked = time.judge(late(), late(), FAIR)
    await patient.ask(replace(QUESTION, deadline_s=10.0))
    assert [one.deadline_s for one in asked.asked] == [10.0, 9.0, 7.0]


async def test_no_wait_goes_beyond_the_deadline():
    time = Time(chance=1.0)
    patient, asked = time.judge(late())
    with pytest.raises(JudgeUnavailable):
        await patient.ask(replace(QUESTION, deadline_s=1.5))
    assert (time.slept, len(asked.asked)) == ([1.0], 2)


@given(chance=st.floats(0, 1, exclude_max=True), asked_for=st.integers(0, 40))
def test_a_wait_is_by_chance_within_its_bounds(chance, asked_for):
    time = Time(chance=chance)
    patient, _ = time.judge(late(retry_after_s=asked_for), late(), FAIR)
    asyncio.run(patient.ask(replace(QUESTION, deadline_s=1_000.0)))
    first, second = time.slept
    assert first == max(chance * 1.0, asked_for)
    assert second == chance * 2.0 <= WAIT_MAX_S


# --- turns -----------------------------------------------------------------------------------


async def moments(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def in_turn(patient: PatientJudge) -> Answer:
    async with patient.turn(QUESTION.model):
        return await patient.ask(QUESTION)


async def under_way(judge: ScriptedJudge, patient: PatientJudge, questions: int) -> int:
    """How many of so many questions at once reach the judge while it says nothing."""
    judge.gate = asyncio.Event()
    judge.most_at_once = 0
    tasks = [asyncio.create_task(in_turn(patient)) for _ in range(questions)]
    await moments()
    most = judge.most_at_once
    judge.gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    return most


async def test_no_more_are_asked_at_once_than_may_be():
    patient, judge = Time().judge(at_once=3)
    assert await under_way(judge, patient, 10) == 3
    assert len(judge.asked) == 10


async def test_a_429_halves_them_and_answers_bring_them_back_one_by_one():
    patient, judge = Time().judge(limited(), FAIR, at_once=8)
    await patient.ask(QUESTION)
    assert patient.at_once == 4
    assert await under_way(judge, patient, 8) == 4
    for _ in range(MORE_AFTER - 10):
        await patient.ask(QUESTION)
    assert patient.at_once == 4
    await patient.ask(QUESTION)
    assert patient.at_once == 5


async def test_a_burst_of_429_halves_them_once():
    patient, judge = Time().judge(limited(3_600), at_once=8)
    assert await under_way(judge, patient, 4) == 4
    assert patient.at_once == 4


async def test_it_never_falls_below_one_nor_rises_above_what_was_set():
    patient, _ = Time().judge(*[limited()] * 5, FAIR, at_once=2)
    for _ in range(2):
        await asyncio.gather(patient.ask(QUESTION), return_exceptions=True)
    assert patient.at_once == 1
    for _ in range(3 * MORE_AFTER):
        await patient.ask(QUESTION)
    assert patient.at_once == 2


async def test_only_a_429_is_too_much():
    patient, _ = Time().judge(late(), FAIR, at_once=8)
    await patient.ask(QUESTION)
    assert patient.at_once == 8


async def test_who_waits_for_a_turn_loses_no_time_by_it():
    time = Time()
    patient, judge = time.judge(at_once=1)
    judge.gate = asyncio.Event()
    tasks = [asyncio.create_task(in_turn(patient)) for _ in range(2)]
    await moments()
    time.now += 10 * QUESTION.deadline_s
    judge.gate.set()
    await asyncio.gather(*tasks)
    assert [one.deadline_s for one in judge.asked] == [QUESTION.deadline_s] * 2


async def test_who_is_cancelled_keeps_nobody_from_their_turn():
    patient, judge = Time().judge(at_once=1)
    judge.gate = asyncio.Event()
    first, waiting, last = (asyncio.create_task(in_turn(patient)) for _ in range(3))
    await moments()
    waiting.cancel()
    first.cancel()
    judge.gate.set()
    assert (await last).outcome.value == FAIR.value
    assert [one.cancelled() for one in (first, waiting)] == [True, True]
    assert (await in_turn(patient)).outcome.value == FAIR.value


type Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["come", "leave", "cancel", "well", "too many"]), st.integers(0, 9)),
    max_size=60,
)


@given(most=st.integers(1, 5), steps=STEPS)
def test_whatever_happens_all_get_their_turn_and_never_too_many(most: int, steps: list[Step]):
    asyncio.run(_all_get_their_turn(most, steps))


async def _all_get_their_turn(most: int, steps: list[Step]) -> None:
    turns, inside = Turns(most), list[asyncio.Event]()
    tasks: list[asyncio.Task[None]] = []
    done: list[int] = []

    async def one(number: int) -> None:
        async with turns:
            leave = asyncio.Event()
            inside.append(leave)
            try:
                await leave.wait()
            finally:
                inside.remove(leave)
        done.append(number)

    acts: dict[str, Callable[[int], object]] = {
        "come": lambda _: tasks.append(asyncio.create_task(one(len(tasks)))),
        "leave": lambda n: inside and inside[n % len(inside)].set(),
        "cancel": lambda n: tasks and tasks[n % len(tasks)].cancel(),
        "well": lambda _: [turns.went_well() for _ in range(MORE_AFTER)],
        "too many": lambda _: turns.too_many_erasures(turns.epoch),
    }
    for act, number in steps:
        before = len(inside)
        acts[act](number)
        await moments(3)
        assert 1 <= turns.limit <= most
        assert len(inside) <= max(turns.limit, before)
    while any(not task.done() for task in tasks):
        assert inside, "somebody waits, and nobody goes"
        inside[0].set()
        await moments(3)
    assert sorted(done) == [n for n, task in enumerate(tasks) if not task.cancelled()]


def test_a_question_is_handed_on_as_it_is_but_for_its_deadline():
    patient, asked = Time().judge()
    asyncio.run(patient.ask(QUESTION))
    [handed] = asked.asked
    assert isinstance(handed, Question)
    assert replace(handed, deadline_s=QUESTION.deadline_s) == QUESTION
    assert patient.fingerprint(QUESTION.metric, QUESTION.model) == asked.fingerprint(
        QUESTION.metric, QUESTION.model
    )
