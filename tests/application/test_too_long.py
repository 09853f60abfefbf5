"""Evidence that is too long for the judge: half of it is shown, and no less."""

import pytest

from adapters.memory.evaluation.scripted_judge import FAIR, ScriptedJudge, a_call
from application.evaluation.matter import Matter
from application.evaluation.too_long import answered, halved
from domain.evaluation.evidence.builder import EVIDENCE_TOKENS_MIN
from domain.evaluation.judging.judge import Answer, JudgeRefused, JudgeUnavailable
from domain.evaluation.metrics.judged_metrics import TASK_COMPLETION
from domain.evaluation.scores.outcome import FailCode
from tests.application.test_matter import matter
from tests.support.builders.evaluated_traces import tool
from tests.support.fixtures.evaluation_harness import Laboratory, metadata

TEXT = "word " * 300
LONG = [tool(f"t{n}", given=TEXT, got=TEXT) for n in range(60)]
TOO_LONG = JudgeRefused(FailCode.TOO_LONG, calls=(a_call(code=FailCode.TOO_LONG),))
NAME = TASK_COMPLETION.name


async def asked(judge: ScriptedJudge, whole: Matter) -> Answer:
    return await answered(whole, lambda it: judge.ask(it.question(TASK_COMPLETION)))


async def test_it_is_asked_once_more_with_half_of_it():
    judge, whole = ScriptedJudge({NAME: [TOO_LONG, FAIR]}), matter(*LONG)
    answer = await asked(judge, whole)
    assert answer.outcome.value == FAIR.value
    first, second = judge.asked
    assert first.evidence == whole.evidence
    assert second.evidence.tokens <= first.evidence.tokens // 2
    assert second.evidence.truncated
    assert second.boundary == first.boundary


async def test_the_hash_stays_that_of_the_whole():
    whole = matter(*LONG)
    half = halved(whole)
    assert half is not None
    assert half.evidence.hash != whole.evidence.hash
    assert half.evidence_hash == whole.evidence_hash == whole.evidence.hash


@pytest.mark.parametrize(
    "then",
    [
        JudgeRefused(FailCode.TOO_LONG),
        JudgeRefused(FailCode.REJECTED),
        JudgeUnavailable(FailCode.RATE_LIMITED, retry_after_s=7),
    ],
)
async def test_what_comes_of_the_second_counts(then):
    judge = ScriptedJudge({NAME: [TOO_LONG, then]})
    with pytest.raises(type(then)) as failure:
        await asked(judge, matter(*LONG))
    assert failure.value is then
    assert len(judge.asked) == 2


async def test_another_refusal_is_none_of_its_business():
    judge = ScriptedJudge({NAME: [JudgeRefused(FailCode.REJECTED)]})
    with pytest.raises(JudgeRefused):
        await asked(judge, matter(*LONG))
    assert len(judge.asked) == 1


async def test_where_there_is_no_less_of_it_it_is_not_asked_again():
    judge, small = ScriptedJudge({NAME: [TOO_LONG]}), matter(tool())
    assert small.evidence.tokens <= EVIDENCE_TOKENS_MIN
    with pytest.raises(JudgeRefused) as refused:
        await asked(judge, small)
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


async def test_a_verdict_on_half_is_remembered_of_the_whole():
    """The next run asks nothing, though it begins with all of it; both requests are told."""
    lab = Laboratory(judge=ScriptedJudge({NAME: [TOO_LONG, FAIR]}))
    trace = lab.put(*LONG)
    runs = []
    for _ in range(2):
        runs.append(await lab.run(NAME, trace))
        await lab.work()
    assert len(lab.judge.asked) == 2
    for run in runs:
        score = (await lab.of_run(run))[str(trace.id), NAME]
        assert score.value == "0.8"
        assert metadata(score)["evidence_hash"].strip('"') == lab.judge.asked[0].evidence.hash
    spent = await lab.ports.judging.ledger.of_run(lab.project, runs[0].id)
    assert (spent.calls, spent.failed) == (2, 1)
