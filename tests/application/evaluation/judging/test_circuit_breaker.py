"""Circuit breaker: the first question of a run runs alone, and its failure stops the others."""

import asyncio
import uuid
from dataclasses import dataclass, field

import pytest

from application.evaluation.judging.circuit_breaker import CIRCUITS_MAX, CircuitBreaker
from domain.evaluation.judging.judge import JudgeRefused, JudgeUnavailable
from domain.evaluation.scores.outcome import FailCode
from domain.ids import RunId
from tests.support.fixtures.evaluation.judge_policies import run_loop
from tests.support.waiting import until

RUN = RunId(uuid.UUID(int=1))
OTHER = RunId(uuid.UUID(int=2))


@dataclass(slots=True)
class Provider:
    """Waits for `gate`, then answers or raises `failure`."""

    failure: Exception | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0

    async def __call__(self) -> str:
        self.asked += 1
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return "an answer"


def open_provider(failure: Exception | None = None) -> Provider:
    provider = Provider(failure)
    provider.gate.set()
    return provider


async def ask_together(breaker: CircuitBreaker, provider: Provider, count: int) -> list[object]:
    questions = [breaker.call(RUN, "p", "m", provider) for _ in range(count)]
    return await asyncio.gather(*questions, return_exceptions=True)


def codes(answers: list[object]) -> list[str]:
    return [getattr(one, "code", one) for one in answers]


async def test_other_questions_wait_for_answer_to_first():
    breaker, provider = CircuitBreaker(), Provider()
    asking = asyncio.create_task(ask_together(breaker, provider, 5))
    await run_loop()
    assert provider.asked == 1
    provider.gate.set()
    assert await asking == ["an answer"] * 5
    assert provider.asked == 5


@pytest.mark.parametrize("code", list(FailCode))
async def test_only_codes_that_affect_every_question_open_circuit(code):
    breaker, provider = CircuitBreaker(), open_provider(JudgeRefused(code))
    answers = await ask_together(breaker, provider, 3)
    if code.opens_circuit:
        assert codes(answers) == [code, FailCode.CIRCUIT_OPEN, FailCode.CIRCUIT_OPEN]
    else:
        assert codes(answers) == [code] * 3


@pytest.mark.parametrize("code", [FailCode.AUTH, FailCode.REJECTED])
async def test_check_raises_only_after_circuit_opens(code):
    breaker = CircuitBreaker()
    breaker.check(RUN, "p", "m")
    await ask_together(breaker, open_provider(JudgeRefused(code)), 1)
    if not code.opens_circuit:
        breaker.check(RUN, "p", "m")
        return
    with pytest.raises(JudgeRefused) as refused:
        breaker.check(RUN, "p", "m")
    assert refused.value.code is FailCode.CIRCUIT_OPEN


async def test_unavailable_judge_leaves_circuit_closed():
    breaker, provider = CircuitBreaker(), open_provider(JudgeUnavailable(FailCode.JUDGE_TIMEOUT))
    assert codes(await ask_together(breaker, provider, 3)) == [FailCode.JUDGE_TIMEOUT] * 3


async def test_other_questions_proceed_after_head_start():
    breaker, provider = CircuitBreaker(head_start_s=0), Provider()
    asking = asyncio.create_task(ask_together(breaker, provider, 3))
    await until(lambda: provider.asked == 3)
    provider.gate.set()
    assert await asking == ["an answer"] * 3


async def test_other_questions_proceed_after_first_is_cancelled():
    breaker, provider = CircuitBreaker(), Provider()
    first = asyncio.create_task(breaker.call(RUN, "p", "m", provider))
    await until(lambda: provider.asked == 1)
    others = asyncio.create_task(ask_together(breaker, provider, 2))
    first.cancel()
    await until(lambda: provider.asked == 3)
    provider.gate.set()
    assert await others == ["an answer"] * 2
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_open_circuit_affects_only_its_run_and_provider():
    breaker, healthy = CircuitBreaker(), open_provider()
    await ask_together(breaker, open_provider(JudgeRefused(FailCode.QUOTA)), 1)
    assert await breaker.call(OTHER, "p", "m", healthy) == "an answer"
    assert await breaker.call(RUN, "q", "m", healthy) == "an answer"
    with pytest.raises(JudgeRefused) as refused:
        await breaker.call(RUN, "p", "m", healthy)
    assert refused.value.code is FailCode.CIRCUIT_OPEN


@pytest.mark.parametrize("code", [code for code in FailCode if code.opens_circuit])
async def test_what_is_wrong_with_a_model_stops_no_other_model(code):
    breaker, healthy = CircuitBreaker(), open_provider()
    await ask_together(breaker, open_provider(JudgeRefused(code)), 1)
    if code.is_of_model:
        assert await breaker.call(RUN, "p", "n", healthy) == "an answer"
        breaker.check(RUN, "p", "n")
        return
    with pytest.raises(JudgeRefused):
        await breaker.call(RUN, "p", "n", healthy)
    with pytest.raises(JudgeRefused):
        breaker.check(RUN, "p", "n")


async def test_first_question_to_another_model_goes_alone_too():
    breaker, provider = CircuitBreaker(), Provider(JudgeRefused(FailCode.UNKNOWN_MODEL))
    assert await breaker.call(RUN, "p", "m", open_provider()) == "an answer"
    others = [asyncio.create_task(breaker.call(RUN, "p", "n", provider)) for _ in range(3)]
    await run_loop()
    assert provider.asked == 1
    provider.gate.set()
    answers = await asyncio.gather(*others, return_exceptions=True)
    assert codes(answers) == [FailCode.UNKNOWN_MODEL, *[FailCode.CIRCUIT_OPEN] * 2]


async def test_open_circuit_of_provider_refuses_questions_to_other_models_at_once():
    breaker, provider = CircuitBreaker(head_start_s=3_600), open_provider()
    await ask_together(breaker, open_provider(JudgeRefused(FailCode.AUTH)), 1)
    others = [asyncio.create_task(breaker.call(RUN, "p", "n", provider)) for _ in range(3)]
    await run_loop()
    assert all(one.done() for one in others)
    answers = await asyncio.gather(*others, return_exceptions=True)
    assert codes(answers) == [FailCode.CIRCUIT_OPEN] * 3


async def test_questions_that_wait_are_refused_when_first_opens_circuit_of_provider():
    breaker, provider = CircuitBreaker(head_start_s=3_600), Provider(JudgeRefused(FailCode.AUTH))
    models = ["m", "n", "n", "n"]
    asking = [asyncio.create_task(breaker.call(RUN, "p", model, provider)) for model in models]
    await run_loop()
    provider.gate.set()
    await run_loop()
    assert all(one.done() for one in asking)
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert codes(answers) == [FailCode.AUTH, *[FailCode.CIRCUIT_OPEN] * 3]


async def test_least_recently_used_circuit_is_evicted_beyond_maximum():
    breaker, healthy = CircuitBreaker(), open_provider()
    await ask_together(breaker, open_provider(JudgeRefused(FailCode.QUOTA)), 1)
    for n in range(CIRCUITS_MAX - 1):
        await breaker.call(RunId(uuid.UUID(int=100 + n)), "p", "m", healthy)
    for n in range(2):  # it was used since the others
        with pytest.raises(JudgeRefused):
            await breaker.call(RUN, "p", "m", healthy)
        await breaker.call(RunId(uuid.UUID(int=5_000 + n)), "p", "m", healthy)
    for n in range(CIRCUITS_MAX):
        await breaker.call(RunId(uuid.UUID(int=10_000 + n)), "p", "m", healthy)
    assert len(breaker) == CIRCUITS_MAX
    assert await breaker.call(RUN, "p", "m", healthy) == "an answer", (
        "the evicted circuit is closed again"
    )
