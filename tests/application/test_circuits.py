"""Circuits: the first question goes alone, and what it finds holds for the run."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from application.evaluation.circuits import CIRCUITS_MAX, Circuits
from domain.evaluation.judging.judge import JudgeRefused, JudgeUnavailable
from domain.evaluation.scores.outcome import FailCode
from domain.ids import RunId

RUN = RunId(uuid.UUID(int=1))
OTHER = RunId(uuid.UUID(int=2))


@dataclass(slots=True)
class Provider:
    """Says nothing until it is told to; then the same to everybody."""

    told: Exception | None = None
    speaks: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0

    async def __call__(self) -> str:
        self.asked += 1
        await self.speaks.wait()
        if self.told is not None:
            raise self.told
        return "an answer"


async def all_of(circuits: Circuits, provider: Provider, count: int) -> list[object]:
    asking = [circuits.ask(RUN, "p", provider) for _ in range(count)]
    return await asyncio.gather(*asking, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def codes(answers: list[object]) -> list[str]:
    return [getattr(one, "code", one) for one in answers]


async def test_the_first_question_goes_alone():
    circuits, provider = Circuits(), Provider()
    asking = asyncio.create_task(all_of(circuits, provider, 5))
    for _ in range(20):
        await asyncio.sleep(0)
    assert provider.asked == 1
    provider.speaks.set()
    assert await asking == ["an answer"] * 5
    assert provider.asked == 5


@pytest.mark.parametrize("code", list(FailCode))
async def test_only_what_no_question_can_get_around_opens_it(code):
    circuits, provider = Circuits(), Provider(JudgeRefused(code))
    provider.speaks.set()
    answers = await all_of(circuits, provider, 3)
    if code.opens_circuit:
        assert codes(answers) == [code, FailCode.CIRCUIT_OPEN, FailCode.CIRCUIT_OPEN]
    else:
        assert codes(answers) == [code] * 3


async def test_a_first_question_without_an_answer_lets_the_others_go():
    circuits, provider = Circuits(), Provider(JudgeUnavailable(FailCode.JUDGE_TIMEOUT))
    provider.speaks.set()
    assert codes(await all_of(circuits, provider, 3)) == [FailCode.JUDGE_TIMEOUT] * 3


async def test_a_first_question_that_takes_long_keeps_nobody():
    circuits, provider = Circuits(head_start_s=0), Provider()
    asking = asyncio.create_task(all_of(circuits, provider, 3))
    await until(lambda: provider.asked == 3)
    provider.speaks.set()
    assert await asking == ["an answer"] * 3


async def test_a_first_question_that_is_given_up_lets_the_others_go():
    circuits, provider = Circuits(), Provider()
    first = asyncio.create_task(circuits.ask(RUN, "p", provider))
    await until(lambda: provider.asked == 1)
    others = asyncio.create_task(all_of(circuits, provider, 2))
    first.cancel()
    await until(lambda: provider.asked == 3)
    provider.speaks.set()
    assert await others == ["an answer"] * 2
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_runs_and_providers_have_circuits_of_their_own():
    circuits, refusing, good = Circuits(), Provider(JudgeRefused(FailCode.QUOTA)), Provider()
    refusing.speaks.set()
    good.speaks.set()
    await all_of(circuits, refusing, 1)
    assert await circuits.ask(OTHER, "p", good) == "an answer"
    assert await circuits.ask(RUN, "q", good) == "an answer"
    with pytest.raises(JudgeRefused) as refused:
        await circuits.ask(RUN, "p", good)
    assert refused.value.code is FailCode.CIRCUIT_OPEN


async def test_of_many_runs_the_ones_used_last_are_remembered():
    circuits, refusing, good = Circuits(), Provider(JudgeRefused(FailCode.QUOTA)), Provider()
    refusing.speaks.set()
    good.speaks.set()
    await all_of(circuits, refusing, 1)
    for n in range(CIRCUITS_MAX - 1):
        await circuits.ask(RunId(uuid.UUID(int=100 + n)), "p", good)
    with pytest.raises(JudgeRefused):
        await circuits.ask(RUN, "p", good)
    asks: list[Awaitable[str]] = [
        circuits.ask(RunId(uuid.UUID(int=10_000 + n)), "p", good) for n in range(CIRCUITS_MAX)
    ]
    for ask in asks:
        await ask
    assert len(circuits) == CIRCUITS_MAX
    assert await circuits.ask(RUN, "p", good) == "an answer", "it is forgotten"
