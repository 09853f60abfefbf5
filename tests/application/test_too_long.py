"""Evidence that is too long for the judge: half of it is shown, and no less."""

import uuid

import pytest

from adapters.memory.judge import FAIR, ScriptedJudge, a_call
from application.evaluation.too_long import answered, halved
from domain.evaluation.answer import JudgeRefused, JudgeUnavailable
from domain.evaluation.gathering import EVIDENCE_TOKENS_MIN
from domain.evaluation.outcome import FailCode
from domain.evaluation.rules import TASK_COMPLETION
from tests.application.laboratory import Laboratory, metadata
from tests.application.test_matter import matter
from tests.domain.evaluation.build import tool

TEXT = "word " * 300
LONG = [tool(f"t{n}", given=TEXT, got=TEXT) for n in range(60)]
TOO_LONG = JudgeRefused(FailCode.TOO_LONG, calls=(a_call(code=FailCode.TOO_LONG),))
NAME = TASK_COMPLETION.name


async def test_it_is_asked_once_more_with_half_of_it():
    judge, whole = ScriptedJudge({NAME: [TOO_LONG, FAIR]}), matter(*LONG)
    answer, shown = await answered(TASK_COMPLETION, whole, judge.ask)
    first, second = judge.asked
    assert first.evidence == whole.evidence
    assert second.evidence == shown.evidence
    assert second.evidence.tokens <= first.evidence.tokens // 2
    assert second.evidence.truncated
    assert second.fence == first.fence
    assert [call.code for call in answer.calls] == [FailCode.TOO_LONG, None]


async def test_the_hash_stays_that_of_the_whole():
    whole = matter(*LONG)
    half = halved(whole)
    assert half is not None
    assert half.evidence.hash != whole.evidence.hash
    assert half.evidence_hash == whole.evidence_hash == whole.evidence.hash
    assert half.evidence_marks == half.evidence.marks() | {"evidence_hash": whole.evidence.hash}


@pytest.mark.parametrize(
    "then",
    [
        TOO_LONG,
        JudgeRefused(FailCode.REJECTED, calls=(a_call(code=FailCode.REJECTED),)),
        JudgeUnavailable(
            FailCode.RATE_LIMITED, retry_after_s=7, calls=(a_call(code=FailCode.RATE_LIMITED),)
        ),
    ],
)
async def test_what_comes_of_the_second_counts_and_both_are_told(then):
    judge = ScriptedJudge({NAME: [TOO_LONG, then]})
    with pytest.raises(type(then)) as failure:
        await answered(TASK_COMPLETION, matter(*LONG), judge.ask)
    assert failure.value.code is then.code
    assert [call.code for call in failure.value.calls] == [FailCode.TOO_LONG, then.code]
    assert getattr(failure.value, "retry_after_s", None) == getattr(then, "retry_after_s", None)
    assert len(judge.asked) == 2


async def test_another_refusal_is_none_of_its_business():
    judge = ScriptedJudge({NAME: [JudgeRefused(FailCode.REJECTED)]})
    with pytest.raises(JudgeRefused):
        await answered(TASK_COMPLETION, matter(*LONG), judge.ask)
    assert len(judge.asked) == 1


async def test_where_there_is_no_less_of_it_it_is_not_asked_again():
    judge, small = ScriptedJudge({NAME: [TOO_LONG]}), matter(tool())
    assert small.evidence.tokens <= EVIDENCE_TOKENS_MIN
    with pytest.raises(JudgeRefused) as refused:
        await answered(TASK_COMPLETION, small, judge.ask)
    assert refused.value is TOO_LONG
    assert len(judge.asked) == 1


async def test_the_half_is_never_less_than_the_least():
    """A model with a tiny window: what is little already is cut to the least, not to half."""
    little = matter(*LONG[:2])
    assert EVIDENCE_TOKENS_MIN < little.evidence.tokens < 2 * EVIDENCE_TOKENS_MIN
    half = halved(little)
    assert half is not None
    assert half.policy.evidence_tokens == EVIDENCE_TOKENS_MIN
    assert halved(half) is None


async def test_a_run_scores_by_half_and_says_so():
    lab = Laboratory(judge=ScriptedJudge({NAME: [TOO_LONG, FAIR]}))
    trace = lab.put(*LONG)
    run = await lab.run(NAME, trace)
    await lab.work()
    score = (await lab.of_run(run))[str(trace.id), NAME]
    assert score.value == "0.8"
    told = metadata(score)
    assert told["truncated"] == "true"
    assert told["evidence_hash"].strip('"') == lab.judge.asked[0].evidence.hash
    assert uuid.UUID(str(score.trace_id)) == trace.id
