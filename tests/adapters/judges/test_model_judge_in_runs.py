"""Runs judged by a model, over memory and a provider on loopback."""

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
from tests.support.fakes.model_provider import FORMATS, GRADE, Fails, Provider, Says, provider
from tests.support.fixtures.evaluation_harness import PLAN, Laboratory, metadata

JUDGED = [
    name for name, metric in METRIC_REGISTRY.items() if metric.method is EvaluationMethod.JUDGED
]
SPANS = (model(PLAN), tool("search", {"to": "Oslo"}, "HAT123"))


@dataclass(slots=True)
class Scene:
    lab: Laboratory
    there: Provider

    async def run(self, *traces: Trace, metrics: list[str] = JUDGED, attempts: int = 1) -> EvalRun:
        run = await self.lab.run(metrics, *traces, model=self.there.model)
        await self.lab.attempts(attempts)
        return run


@pytest.fixture(params=FORMATS, ids=lambda spoken: spoken.provider)
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with provider(request.param) as there:
        asked = ModelJudge(there.endpoint())
        yield Scene(Laboratory(judge=asked, policy=DEFAULT_POLICY), there)
        await asked.close()


async def test_model_judges_every_metric_of_trace(scene):
    trace = scene.lab.put(*SPANS)
    run = await scene.run(trace)
    told = await scene.lab.told(run, trace)
    graded = dict.fromkeys(JUDGED, str(GRADE / 5)) | {"argument_correctness": "1.0"}
    assert told == graded
    for score in (await scene.lab.of_run(run)).values():
        marks = metadata(score)
        assert marks["judge_kind"] == '"model"'
        assert marks["model"] == f'"{scene.there.model}"'
        assert marks["usage"].startswith('{"calls":1,"input_tokens":1000,"output_tokens":50,')
        assert marks["cache"] == '"miss"'
    assert len(scene.there.got) == len(JUDGED)
    assert scene.lab.faults == []


@pytest.mark.parametrize(
    ("status", "code"), [(401, "auth"), (402, "quota"), (404, "unknown_model")]
)
async def test_terminal_refusal_costs_one_request_per_run(scene, status, code):
    """No. 10."""
    traces = [scene.lab.put(*SPANS) for _ in range(3)]
    scene.there.says(Fails(status=status, body={"error": {"message": "no"}}))
    run = await scene.run(*traces)
    assert len(scene.there.got) == 1
    told = [await scene.lab.told(run, trace) for trace in traces]
    codes = sorted(one for of in told for one in of.values())
    assert codes == sorted([code, *["circuit_open"] * (3 * len(JUDGED) - 1)])
    assert (await scene.lab.progress(run)).run.status is RunStatus.FAILED
    scene.there.says(Fails(status=status, body={}))
    await scene.run(*traces)
    assert len(scene.there.got) == 1, "another run asks again, once"


async def test_too_long_evidence_is_halved_and_sent_again(scene):
    text = "word " * 300
    large = [tool(f"t{n}", given=text, got=text) for n in range(60)]
    trace, other = scene.lab.put(*large), scene.lab.put(*large, output="Something else")
    good = '{"evidence": [], "reason": "fine", "cannot_judge": false, "label": 4}'
    scene.there.says(scene.there.format.too_long, Says(text=good))
    run = await scene.run(trace, metrics=["task_completion"])
    first, second = scene.there.got
    assert len(second.user) < len(first.user) * 0.6
    [score] = (await scene.lab.of_run(run)).values()
    assert score.value == "0.8"
    assert metadata(score)["truncated"] == "true"
    spent = await scene.lab.ports.judging.ledger.of_run(scene.lab.project, run.id)
    assert (spent.calls, spent.failed) == (2, 1)
    scene.there.says(scene.there.format.too_long)
    run = await scene.run(other, metrics=["task_completion"])
    assert await scene.lab.told(run, other) == {"task_completion": "too_long"}
    assert len(scene.there.got) == 2


async def test_refused_question_fails_only_itself(scene):
    trace = scene.lab.put(*SPANS)
    scene.there.says(Says(text="", ended="filter"))
    run = await scene.run(trace)
    assert set((await scene.lab.told(run, trace)).values()) == {"content_filtered"}
    assert len(scene.there.got) == len(JUDGED)


async def test_target_waits_for_retry_after_of_provider(scene):
    trace = scene.lab.put(*SPANS)
    later = Fails(status=429, body={}, head=[("retry-after", "1800")])
    scene.there.says(later)
    run = await scene.run(trace, metrics=["task_completion"])
    assert await scene.lab.told(run, trace) == {"task_completion": "pending"}
    assert len(scene.there.got) == 1
    scene.there.script = ()
    scene.lab.forward(minutes=29)
    await scene.lab.over().requeue_overdue()
    await scene.lab.work()
    assert len(scene.there.got) == 1
    scene.lab.forward(minutes=2)
    await scene.lab.over().requeue_overdue()
    await scene.lab.work()
    assert await scene.lab.told(run, trace) == {"task_completion": str(GRADE / 5)}
