"""Evidence retry: a question with too long evidence is asked once more with half of it."""

import pytest

from adapters.memory.evaluation.scripted_judge import (
    DEFAULT_OUTCOME,
    ScriptedJudge,
    make_judge_call,
)
from application.evaluation.judging.judge_client import (
    EvidenceRetry,
    JudgeRequest,
    JudgeResponse,
    chain,
)
from application.evaluation.judging.trace_context import TraceContext
from domain.evaluation.evidence.builder import EVIDENCE_TOKENS_MIN
from domain.evaluation.judging.judge import JudgeRefused, JudgeUnavailable
from domain.evaluation.metrics.judged_metrics import TASK_COMPLETION
from domain.evaluation.scores.outcome import FailCode
from tests.support.builders.evaluated_traces import tool
from tests.support.fixtures.evaluation.evaluation_harness import EvaluationHarness, metadata
from tests.support.fixtures.evaluation.judge_policies import trace_context

TEXT = "word " * 300
LONG = [tool(f"t{n}", given=TEXT, got=TEXT) for n in range(60)]
TOO_LONG = JudgeRefused(FailCode.TOO_LONG, calls=(make_judge_call(code=FailCode.TOO_LONG),))
NAME = TASK_COMPLETION.name


async def ask(judge: ScriptedJudge, trace: TraceContext) -> JudgeResponse:
    async def ask_judge(request: JudgeRequest) -> JudgeResponse:
        answer = await judge.ask(request.question)
        return JudgeResponse(answer.outcome, answer.model, answer.calls)

    request = JudgeRequest(trace.question(TASK_COMPLETION), trace)
    return await chain([EvidenceRetry()], ask_judge)(request)


async def test_too_long_evidence_is_halved_and_retried_once():
    judge, full = ScriptedJudge({NAME: [TOO_LONG, DEFAULT_OUTCOME]}), trace_context(*LONG)
    answer = await ask(judge, full)
    assert answer.outcome.value == DEFAULT_OUTCOME.value
    first, second = judge.asked
    assert first.evidence == full.evidence
    assert second.evidence.tokens <= first.evidence.tokens // 2
    assert second.evidence.truncated
    assert second.boundary == first.boundary


async def test_halved_evidence_keeps_hash_of_full_evidence():
    full = trace_context(*LONG)
    halved = full.halved()
    assert halved is not None
    assert halved.evidence.hash != full.evidence.hash
    assert halved.evidence_hash == full.evidence_hash == full.evidence.hash


@pytest.mark.parametrize(
    "failure",
    [
        JudgeRefused(FailCode.TOO_LONG),
        JudgeRefused(FailCode.REJECTED),
        JudgeUnavailable(FailCode.RATE_LIMITED, retry_after_s=7),
    ],
)
async def test_failure_of_second_question_is_raised(failure):
    judge = ScriptedJudge({NAME: [TOO_LONG, failure]})
    with pytest.raises(type(failure)) as raised:
        await ask(judge, trace_context(*LONG))
    assert raised.value is failure
    assert len(judge.asked) == 2


async def test_other_refusals_are_not_retried():
    judge = ScriptedJudge({NAME: [JudgeRefused(FailCode.REJECTED)]})
    with pytest.raises(JudgeRefused):
        await ask(judge, trace_context(*LONG))
    assert len(judge.asked) == 1


async def test_minimal_evidence_is_not_retried():
    judge, small = ScriptedJudge({NAME: [TOO_LONG]}), trace_context(tool())
    assert small.evidence.tokens <= EVIDENCE_TOKENS_MIN
    with pytest.raises(JudgeRefused) as refused:
        await ask(judge, small)
    assert refused.value is TOO_LONG
    assert len(judge.asked) == 1


async def test_evidence_is_never_cut_below_minimum():
    """Evidence below twice the minimum is cut to the minimum, not to half."""
    short = trace_context(*LONG[:2])
    assert EVIDENCE_TOKENS_MIN < short.evidence.tokens < 2 * EVIDENCE_TOKENS_MIN
    halved = short.halved()
    assert halved is not None
    assert halved.policy.evidence_tokens == EVIDENCE_TOKENS_MIN
    assert halved.halved() is None


async def test_verdict_on_halved_evidence_is_cached_for_full_evidence():
    """The next run, which starts with full evidence, asks nothing. The ledger has both requests."""
    harness = EvaluationHarness(judge=ScriptedJudge({NAME: [TOO_LONG, DEFAULT_OUTCOME]}))
    trace = harness.put(*LONG)
    runs = []
    for _ in range(2):
        runs.append(await harness.run(NAME, trace))
        await harness.work()
    assert len(harness.judge.asked) == 2
    for run in runs:
        score = (await harness.scores_of_run(run))[str(trace.id), NAME]
        assert score.value == "0.8"
        assert metadata(score)["evidence_hash"].strip('"') == harness.judge.asked[0].evidence.hash
    spent = await harness.ports.judging.ledger.run_spending(harness.project, runs[0].id)
    assert (spent.calls, spent.failed) == (2, 1)
