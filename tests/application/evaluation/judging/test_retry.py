"""Retry: attempts and the waits between them. The clock moves only during a wait."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.judges.model import ModelJudge
from adapters.judges.wire import Endpoint
from adapters.memory.evaluation.scripted_judge import (
    DEFAULT_OUTCOME,
    ScriptedAnswer,
    ScriptedJudge,
    make_judge_call,
)
from application.evaluation.judging.adaptive_concurrency import AdaptiveLimiter
from application.evaluation.judging.evaluation_policy import DEFAULT_POLICY
from application.evaluation.judging.judge_client import (
    JITTER_MAX_S,
    ConcurrencyLimit,
    RateLimitFeedback,
    Retry,
    RetryTiming,
)
from application.evaluation.ports.judging import Judge
from domain.evaluation.judging.judge import JudgeRefused, JudgeUnavailable, Question
from domain.evaluation.judging.models import provider_of
from domain.evaluation.scores.outcome import FailCode
from tests.contracts.evaluation.judging.test_judge import scripted
from tests.support.fixtures.evaluation.judge_policies import Ask, ask_through, run_loop

ATTEMPTS = DEFAULT_POLICY.judge_attempts
QUESTION = scripted().question()


def failure(code: FailCode = FailCode.PROVIDER_ERROR, retry_after_s: int = 0) -> JudgeUnavailable:
    return JudgeUnavailable(code, retry_after_s=retry_after_s, calls=(make_judge_call(code=code),))


def rate_limited(retry_after_s: int = 0) -> JudgeUnavailable:
    return failure(FailCode.RATE_LIMITED, retry_after_s)


@dataclass(slots=True)
class FakeTime:
    """A clock. `chance` is every random number; `slept` records the waits."""

    now: float = 1_000.0
    chance: float = 0.5
    slept: list[float] = field(default_factory=list)

    @property
    def timing(self) -> RetryTiming:
        return RetryTiming(monotonic=lambda: self.now, sleep=self.sleep, random=lambda: self.chance)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def retrying(self, *script: ScriptedAnswer) -> tuple[Ask, ScriptedJudge]:
        judge = ScriptedJudge({QUESTION.metric.name: script} if script else {})
        return ask_through([Retry(ATTEMPTS, self.timing)], judge), judge


async def test_answer_after_two_503_takes_three_attempts():
    """No. 11."""
    ask, judge = FakeTime().retrying(failure(), failure(), DEFAULT_OUTCOME)
    answer = await ask(QUESTION)
    assert answer.outcome.value == DEFAULT_OUTCOME.value
    assert [call.code for call in answer.calls] == [
        *(FailCode.PROVIDER_ERROR, FailCode.PROVIDER_ERROR),
        None,
    ]
    assert len(judge.asked) == 3


async def test_last_failure_is_raised_with_all_calls_after_three_attempts():
    ask, judge = FakeTime().retrying(failure(FailCode.JUDGE_TIMEOUT), failure())
    with pytest.raises(JudgeUnavailable) as raised:
        await ask(QUESTION)
    assert raised.value.code is FailCode.PROVIDER_ERROR, "the last failure is raised"
    assert len(judge.asked) == len(raised.value.calls) == ATTEMPTS == 3


async def test_429_with_retry_after_7_is_retried_after_7_seconds():
    """No. 11."""
    time = FakeTime(chance=0.0)
    ask, _ = time.retrying(rate_limited(7), DEFAULT_OUTCOME)
    await ask(QUESTION)
    assert time.slept == [7]


@pytest.mark.parametrize("seconds", [60, 3_600])
async def test_retry_after_beyond_deadline_is_not_retried(seconds):
    time = FakeTime()
    ask, judge = time.retrying(rate_limited(seconds), DEFAULT_OUTCOME)
    with pytest.raises(JudgeUnavailable) as raised:
        await ask(QUESTION)
    assert raised.value.retry_after_s == seconds
    assert (len(judge.asked), time.slept) == (1, [])


async def test_refusal_is_not_retried():
    refused = JudgeRefused(FailCode.REJECTED, calls=(make_judge_call(code=FailCode.REJECTED),))
    ask, judge = FakeTime().retrying(failure(), refused)
    with pytest.raises(JudgeRefused) as raised:
        await ask(QUESTION)
    assert [call.code for call in raised.value.calls] == [
        FailCode.PROVIDER_ERROR,
        FailCode.REJECTED,
    ]
    assert len(judge.asked) == 2


async def test_each_attempt_gets_remaining_time_of_deadline():
    ask, judge = FakeTime(chance=1.0).retrying(failure(), failure(), DEFAULT_OUTCOME)
    await ask(replace(QUESTION, deadline_s=10.0))
    assert [one.deadline_s for one in judge.asked] == [10.0, 9.0, 7.0]


async def test_retry_stops_if_next_wait_exceeds_deadline():
    time = FakeTime(chance=1.0)
    ask, judge = time.retrying(failure())
    with pytest.raises(JudgeUnavailable):
        await ask(replace(QUESTION, deadline_s=1.5))
    assert (time.slept, len(judge.asked)) == ([1.0], 2)


@given(chance=st.floats(0, 1, exclude_max=True), retry_after_s=st.integers(0, 40))
def test_backoff_has_full_jitter_and_respects_retry_after(chance, retry_after_s):
    time = FakeTime(chance=chance)
    ask, _ = time.retrying(failure(retry_after_s=retry_after_s), failure(), DEFAULT_OUTCOME)
    asyncio.run(_answer(ask, replace(QUESTION, deadline_s=1_000.0)))
    first, second = time.slept
    assert first == max(chance * 1.0, retry_after_s)
    assert second == chance * 2.0 <= JITTER_MAX_S


async def _answer(ask: Ask, question: Question) -> None:
    await ask(question)


async def test_wait_for_slot_does_not_count_against_deadline():
    time, judge = FakeTime(), ScriptedJudge(gate=asyncio.Event())
    limiters = {provider_of(QUESTION.model): AdaptiveLimiter(1)}
    assert judge.gate is not None
    policies = [ConcurrencyLimit(limiters), Retry(ATTEMPTS, time.timing)]
    ask = ask_through(policies, judge)
    tasks = [asyncio.create_task(_answer(ask, QUESTION)) for _ in range(2)]
    await run_loop()
    time.now += 10 * QUESTION.deadline_s
    judge.gate.set()
    await asyncio.gather(*tasks)
    assert [one.deadline_s for one in judge.asked] == [QUESTION.deadline_s] * 2


async def test_each_429_of_an_attempt_halves_concurrency_limit():
    limiter = AdaptiveLimiter(8)
    limiters = {provider_of(QUESTION.model): limiter}
    judge = ScriptedJudge({QUESTION.metric.name: [rate_limited(), rate_limited(), DEFAULT_OUTCOME]})
    policies = [
        ConcurrencyLimit(limiters),
        Retry(ATTEMPTS, FakeTime().timing),
        RateLimitFeedback(limiters),
    ]
    await ask_through(policies, judge)(QUESTION)
    assert limiter.limit == 2


OPENAI_JUDGE = ModelJudge(Endpoint(provider="openai", api_key="k"))


@pytest.mark.parametrize("judge", [ScriptedJudge(gate=asyncio.Event()), OPENAI_JUDGE])
async def test_judge_that_misses_deadline_is_unavailable(judge: Judge):
    ask = ask_through([Retry(ATTEMPTS, RetryTiming())], judge)
    with pytest.raises(JudgeUnavailable) as unavailable:
        await ask(replace(QUESTION, deadline_s=0.0))
    assert unavailable.value.code is FailCode.JUDGE_TIMEOUT


async def test_retry_changes_only_deadline_of_question():
    ask, judge = FakeTime().retrying()
    await ask(QUESTION)
    [question] = judge.asked
    assert replace(question, deadline_s=QUESTION.deadline_s) == QUESTION
