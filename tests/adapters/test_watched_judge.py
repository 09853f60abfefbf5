"""A judge that is watched: each request to a provider is told, whatever came of it."""

import pytest

from adapters.judges.watched import WatchedJudge
from adapters.memory.judge import ScriptedJudge, a_call
from domain.evaluation.answer import JudgeCall, JudgeRefused, JudgeUnavailable
from domain.evaluation.outcome import FailCode
from domain.evaluation.rules import TASK_COMPLETION
from tests.contracts.test_judge import heuristic, scripted

FAILED = (a_call(code=FailCode.RATE_LIMITED), a_call(code=FailCode.INTERNAL))


async def test_an_answer_tells_its_calls():
    told: list[JudgeCall] = []
    bench = scripted()
    answer = await WatchedJudge(bench.judge, told.append).ask(bench.question())
    assert tuple(told) == answer.calls == (a_call(),)


@pytest.mark.parametrize(
    "error",
    [
        JudgeRefused(FailCode.INTERNAL, calls=FAILED),
        JudgeUnavailable(FailCode.RATE_LIMITED, calls=FAILED),
    ],
)
async def test_a_failure_tells_what_was_asked_in_vain_and_is_raised(error):
    told: list[JudgeCall] = []
    judge = ScriptedJudge({TASK_COMPLETION.name: [error]})
    with pytest.raises(type(error)):
        await WatchedJudge(judge, told.append).ask(scripted().question())
    assert tuple(told) == FAILED


async def test_who_asks_nobody_tells_nothing():
    told: list[JudgeCall] = []
    bench = heuristic()
    await WatchedJudge(bench.judge, told.append).ask(bench.question())
    assert told == []
