"""Runs that a model judges, with memory adapters and a fake provider on loopback."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from adapters.judges.model import ModelJudge
from application.evaluation.judging.evaluation_policy import DEFAULT_POLICY
from domain.evaluation.metrics.metric import EvaluationMethod
from domain.evaluation.metrics.registry import METRIC_REGISTRY
from domain.evaluation.runs.run import EvalRun, RunStatus
from domain.tracing.trace import Trace
from tests.support.builders.evaluated_traces import model, tool
from tests.support.fakes.model_provider import (
    FORMATS,
    GRADE,
    HttpReply,
    ModelReply,
    Provider,
    provider,
)
from tests.support.fixtures.evaluation.evaluation_harness import PLAN, EvaluationHarness, metadata

JUDGED = [
    name for name, metric in METRIC_REGISTRY.items() if metric.method is EvaluationMethod.JUDGED
]
SPANS = (model(PLAN), tool("search", {"to": "Oslo"}, "HAT123"))


@dataclass(slots=True)
class RunSetup:
    harness: EvaluationHarness
    server: Provider

    async def run(self, *traces: Trace, metrics: list[str] = JUDGED, attempts: int = 1) -> EvalRun:
        run = await self.harness.run(metrics, *traces, model=self.server.model)
        await self.harness.attempts(attempts)
        return run


@pytest.fixture(params=FORMATS, ids=lambda api_format: api_format.provider)
async def setup(request: pytest.FixtureRequest) -> AsyncIterator[RunSetup]:
    async with provider(request.param) as server:
        judge = ModelJudge(server.endpoint())
        yield RunSetup(EvaluationHarness(judge=judge, policy=DEFAULT_POLICY), server)
        await judge.close()


async def test_model_judges_every_metric_of_trace(setup):
    trace = setup.harness.put(*SPANS)
    run = await setup.run(trace)
    results = await setup.harness.results(run, trace)
    expected = dict.fromkeys(JUDGED, str(GRADE / 5)) | {"argument_correctness": "1.0"}
    assert results == expected
    for score in (await setup.harness.scores_of_run(run)).values():
        fields = metadata(score)
        assert fields["judge_kind"] == '"model"'
        assert fields["model"] == f'"{setup.server.model}"'
        assert fields["usage"].startswith('{"calls":1,"input_tokens":1000,"output_tokens":50,')
        assert fields["cache"] == '"miss"'
    assert len(setup.server.requests) == len(JUDGED)
    assert setup.harness.faults == []


@pytest.mark.parametrize(
    ("status", "code"), [(401, "auth"), (402, "quota"), (404, "unknown_model")]
)
async def test_terminal_refusal_costs_one_request_per_run(setup, status, code):
    """No. 10."""
    traces = [setup.harness.put(*SPANS) for _ in range(3)]
    setup.server.reply_with(HttpReply(status=status, body={"error": {"message": "no"}}))
    run = await setup.run(*traces)
    assert len(setup.server.requests) == 1
    results = [await setup.harness.results(run, trace) for trace in traces]
    codes = sorted(code for result in results for code in result.values())
    assert codes == sorted([code, *["circuit_open"] * (3 * len(JUDGED) - 1)])
    assert (await setup.harness.progress(run)).run.status is RunStatus.FAILED
    setup.server.reply_with(HttpReply(status=status, body={}))
    await setup.run(*traces)
    assert len(setup.server.requests) == 1, "another run sends one request again"


async def test_too_long_evidence_is_halved_and_sent_again(setup):
    text = "word " * 300
    large = [tool(f"t{n}", given=text, got=text) for n in range(60)]
    trace, other = setup.harness.put(*large), setup.harness.put(*large, output="Something else")
    good = '{"evidence": [], "reason": "fine", "cannot_judge": false, "label": 4}'
    setup.server.reply_with(setup.server.format.too_long, ModelReply(text=good))
    run = await setup.run(trace, metrics=["task_completion"])
    first, second = setup.server.requests
    assert len(second.user) < len(first.user) * 0.6
    [score] = (await setup.harness.scores_of_run(run)).values()
    assert score.value == "0.8"
    assert metadata(score)["truncated"] == "true"
    spent = await setup.harness.ports.judging.ledger.run_spending(setup.harness.project, run.id)
    assert (spent.calls, spent.failed) == (2, 1)
    setup.server.reply_with(setup.server.format.too_long)
    run = await setup.run(other, metrics=["task_completion"])
    assert await setup.harness.results(run, other) == {"task_completion": "too_long"}
    assert len(setup.server.requests) == 2


async def test_refused_question_fails_only_itself(setup):
    trace = setup.harness.put(*SPANS)
    setup.server.reply_with(ModelReply(text="", finish_reason="filter"))
    run = await setup.run(trace)
    assert set((await setup.harness.results(run, trace)).values()) == {"content_filtered"}
    assert len(setup.server.requests) == len(JUDGED)


async def test_target_waits_for_retry_after_of_provider(setup):
    trace = setup.harness.put(*SPANS)
    rate_limited = HttpReply(status=429, body={}, headers=[("retry-after", "1800")])
    setup.server.reply_with(rate_limited)
    run = await setup.run(trace, metrics=["task_completion"])
    assert await setup.harness.results(run, trace) == {"task_completion": "pending"}
    assert len(setup.server.requests) == 1
    setup.server.script = ()
    setup.harness.forward(minutes=29)
    await setup.harness.use_cases().requeue_overdue()
    await setup.harness.work()
    assert len(setup.server.requests) == 1
    setup.harness.forward(minutes=2)
    await setup.harness.use_cases().requeue_overdue()
    await setup.harness.work()
    assert await setup.harness.results(run, trace) == {"task_completion": str(GRADE / 5)}
