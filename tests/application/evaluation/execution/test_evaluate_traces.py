"""Evaluation of traces in a run: metrics are independent, and failures are isolated."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from adapters.memory.evaluation.runs import MemoryTargets
from adapters.memory.evaluation.scripted_judge import ScriptedEmbedder, ScriptedJudge
from adapters.memory.evaluation.work_queue import MemoryWorkQueue
from application.evaluation.judging.trace_context import LARGE_TRACE_STEPS
from application.evaluation.ports.work_queue import ATTEMPTS_MAX, IN_FLIGHT_TARGETS_MAX
from domain.errors import Unavailable
from domain.evaluation.judging.judge import JudgeRefused, JudgeUnavailable
from domain.evaluation.metrics.metric import DefinitionKind, EvaluationMethod
from domain.evaluation.metrics.registry import METRIC_REGISTRY
from domain.evaluation.runs.run import RunStatus
from domain.evaluation.scores.outcome import FailCode, Scored
from domain.evaluation.scores.score import ScoreOutcome, ScoreSource, ScoreStatus
from domain.ids import ProjectId, TraceId
from domain.tracing.trace import TraceStatus
from tests.support.builders.custom_metrics import JUDGE, definition
from tests.support.builders.evaluated_traces import model, offering, tool
from tests.support.fixtures.evaluation.evaluation_harness import PLAN, EvaluationHarness, metadata
from tests.support.waiting import until

JUDGED = [
    name for name, metric in METRIC_REGISTRY.items() if metric.method is EvaluationMethod.JUDGED
]
MEASURED = [
    name for name, metric in METRIC_REGISTRY.items() if metric.method is EvaluationMethod.COMPUTED
]
SPANS = (model(PLAN), tool("search", {"to": "Oslo"}, "HAT123"))
AUTH = JudgeRefused(FailCode.AUTH)
DOWN = JudgeUnavailable(FailCode.JUDGE_UNREACHABLE)


# --- stored scores --------------------------------------------------------------------------


async def test_every_metric_of_the_catalogue_replaces_its_pending_score():
    harness = EvaluationHarness()
    trace = harness.put(*SPANS, environment="production")
    names = [*JUDGED, *MEASURED, "coherence"]
    run = await harness.run(names, trace)
    before = await harness.scores_of_run(run)
    assert {score.status for score in before.values()} == {ScoreStatus.PENDING}
    assert await harness.work() == 1
    after = await harness.scores_of_run(run)
    assert {key: score.id for key, score in after.items()} == {
        key: score.id for key, score in before.items()
    }
    assert not [score for score in after.values() if score.outcome is ScoreOutcome.PENDING]
    assert {score.environment for score in after.values()} == {"production"}
    assert {score.source for score in after.values()} == {ScoreSource.AUTOMATED}
    assert [question.metric.name for question in harness.judge.asked] == JUDGED
    results = await harness.results(run, trace)
    assert {name: results[name] for name in JUDGED} == dict.fromkeys(JUDGED, "0.8")
    assert results["tool_success_rate"] == "1.0"
    assert results["answer_repetition"] == "no_previous_traces"
    progress = await harness.progress(run)
    assert progress.run.status is RunStatus.COMPLETED
    assert progress.tally.evaluated == 1
    assert harness.faults == []


async def test_judged_score_has_all_its_metadata():
    good = Scored(1.0, "All of it is done", {"evidence": ["s2"], "label": 5})
    harness = EvaluationHarness(judge=ScriptedJudge({"task_completion": [good]}))
    trace = harness.put(*SPANS)
    run = await harness.run("task_completion", trace)
    await harness.work()
    score = (await harness.scores_of_run(run))[str(trace.id), "task_completion"]
    assert (score.value, score.reason) == ("1.0", "All of it is done")
    [question] = harness.judge.asked
    assert metadata(score) == {
        "task": '"book a flight to Oslo"',
        "outcome": '"I booked HAT123."',
        "evidence": '["s2"]',
        "label": "5",
        "judge_kind": '"model"',
        "model": '"openai/tiny"',
        "fingerprint": '"scripted/1/task_completion"',
        "usage": '{"calls":1,"input_tokens":1000,"output_tokens":50,"usd":1e-09}',
        "cache": '"miss"',
        "evidence_hash": f'"{question.evidence.hash}"',
        "truncated": "false",
        "omitted_steps": "0",
        "threshold": "0.5",
        "success": "true",
    }


async def test_embedded_score_has_all_its_metadata():
    harness = EvaluationHarness()
    trace = harness.put(*SPANS, output="I book a flight to Oslo")
    run = await harness.run("coherence task_completion", trace)
    await harness.work()
    scores = await harness.scores_of_run(run)
    fields = metadata(scores[str(trace.id), "coherence"])
    assert fields["judge_kind"] == '"embedding"'
    assert fields["fingerprint"] == '"scripted/embedder/1"'
    assert fields["success"] == "true"
    judged = metadata(scores[str(trace.id), "task_completion"])
    assert fields["evidence_hash"] == judged["evidence_hash"]
    assert harness.embedder.asked == [["book a flight to Oslo", "I book a flight to Oslo"]]


async def test_questions_about_one_trace_share_evidence_and_boundary():
    harness = EvaluationHarness()
    traces = [harness.put(*SPANS, output=text) for text in ("It is booked", "I booked it")]
    await harness.run(JUDGED, *traces)
    await harness.work()
    assert len(harness.judge.asked) == 2 * len(JUDGED)
    assert len({id(question.evidence) for question in harness.judge.asked}) == 2
    boundaries = {question.boundary for question in harness.judge.asked}
    assert len(boundaries) == 2
    assert all(len(each) == 16 and int(each, 16) >= 0 for each in boundaries)
    assert {question.deadline_s for question in harness.judge.asked} == {60.0}


async def test_secrets_are_redacted_for_judge_embedder_and_score():
    key = "sk-" + "a1B2" * 8
    harness = EvaluationHarness()
    trace = harness.put(tool("search", {"key": key}, key), input=f"use {key}", output=f"used {key}")
    run = await harness.run([*JUDGED, "coherence"], trace)
    await harness.work()
    assert harness.judge.asked
    assert not [one for one in harness.judge.asked if key in repr(one)]
    assert harness.embedder.asked == [["use [secret:1]", "used [secret:1]"]]
    assert not [one for one in (await harness.scores_of_run(run)).values() if key in repr(one)]


async def test_large_trace_evaluated_in_thread_gets_same_scores():
    harness = EvaluationHarness()
    small, large = (
        harness.put(*SPANS),
        harness.put(*SPANS, output="I booked HAT123. " * 100 * LARGE_TRACE_STEPS),
    )
    run = await harness.run([*JUDGED, "tool_success_rate"], small, large)
    await harness.work()
    assert await harness.results(run, large) == await harness.results(run, small)


# --- scores without a judge ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "spans", "fields", "result"),
    [
        ("argument_correctness", (model("hi"),), {}, "no_tool_calls"),
        ("tool_correctness", (model("hi"),), {}, "no_tools"),
        ("plan_adherence", (model("hi"),), {}, "no_plan"),
        ("plan_quality", (model("hi"),), {}, "no_plan"),
        ("task_completion", (), {"input": None}, "no_input"),
        ("task_completion", (), {"status": TraceStatus.RUNNING}, "trace_running"),
        ("task_completion", (model(),), {"output": ""}, "empty_output"),
        ("task_completion", (model(),), {"output": "…"}, "0.0"),
        ("confidence", (tool(),), {"output": ""}, "no_steps"),
        ("coherence", (), {"output": " "}, "empty_input_or_output"),
    ],
)
async def test_trace_without_data_is_scored_without_judge(metric, spans, fields, result):
    harness = EvaluationHarness()
    trace = harness.put(*spans, **fields)
    run = await harness.run(metric, trace)
    await harness.work()
    assert await harness.results(run, trace) == {metric: result}
    assert harness.judge.asked == []
    assert harness.embedder.asked == []


async def test_output_without_words_is_scored_by_rule():
    harness = EvaluationHarness()
    trace = harness.put(model(), output=":")
    run = await harness.run("task_completion", trace)
    await harness.work()
    fields = metadata((await harness.scores_of_run(run))[str(trace.id), "task_completion"])
    assert fields["judge_kind"] == '"rule"'
    assert fields["fingerprint"] == '"rule/1"'
    assert fields["success"] == "false"
    assert {"evidence_hash", "threshold", "task", "outcome"} <= set(fields)


@pytest.mark.parametrize(("output", "is_shown"), [("", False), ("…", False), ("Done", True)])
async def test_output_without_words_is_hidden_when_tool_calls_are_judged(output, is_shown):
    harness = EvaluationHarness()
    await harness.run("task_completion step_efficiency", harness.put(*SPANS, output=output))
    await harness.work()
    shown = {one.metric.name: one.is_output_shown for one in harness.judge.asked}
    assert shown == {"task_completion": is_shown, "step_efficiency": True}


# --- refused questions -----------------------------------------------------------------------

PAIR_CODES = [code for code in FailCode if not code.is_transient and not code.opens_circuit]


@pytest.mark.parametrize("code", PAIR_CODES)
async def test_refused_question_fails_only_its_metric(code):
    harness = EvaluationHarness(judge=ScriptedJudge({"plan_quality": [JudgeRefused(code)]}))
    trace = harness.put(*SPANS)
    run = await harness.run("plan_quality step_efficiency", trace)
    await harness.work()
    assert await harness.results(run, trace) == {
        "plan_quality": code.value,
        "step_efficiency": "0.8",
    }
    assert (await harness.progress(run)).run.status is RunStatus.COMPLETED


@pytest.mark.parametrize("code", [code for code in FailCode if code.opens_circuit])
async def test_refusal_that_opens_circuit_costs_one_question(code):
    harness = EvaluationHarness(judge=ScriptedJudge(dict.fromkeys(JUDGED, (JudgeRefused(code),))))
    traces = [harness.put(*SPANS) for _ in range(3)]
    run = await harness.run([*JUDGED, "coherence", "tool_success_rate"], *traces)
    await harness.work()
    assert len(harness.judge.asked) == 1
    results = [await harness.results(run, trace) for trace in traces]
    codes = [one[name] for one in results for name in JUDGED]
    assert sorted(codes) == sorted([code.value, *["circuit_open"] * (3 * len(JUDGED) - 1)])
    assert {one["tool_success_rate"] for one in results} == {"1.0"}
    assert "circuit_open" not in {one["coherence"] for one in results}
    assert (await harness.progress(run)).tally.failed == 3 * len(JUDGED)


async def test_open_circuit_does_not_affect_another_run():
    harness = EvaluationHarness(judge=ScriptedJudge({"confidence": [AUTH, Scored(0.6, "")]}))
    trace = harness.put(*SPANS)
    worker = harness.use_cases()
    first = await harness.run("confidence", trace)
    await harness.work(worker)
    second = await harness.run("confidence", trace)
    await harness.work(worker)
    assert await harness.results(first, trace) == {"confidence": "auth"}
    assert await harness.results(second, trace) == {"confidence": "0.6"}
    failed = (await harness.progress(first)).run
    assert (failed.status, failed.error_message) == (
        RunStatus.FAILED,
        "auth: 1 of 1 failed executions",
    )


async def test_unknown_model_fails_only_judged_metrics():
    harness = EvaluationHarness(judge=ScriptedJudge(unknown=frozenset({"mystery"})))
    trace = harness.put(*SPANS)
    run = await harness.run("confidence tool_success_rate", trace, model="mystery")
    await harness.work()
    assert await harness.results(run, trace) == {
        "confidence": "unknown_model",
        "tool_success_rate": "1.0",
    }


@pytest.mark.parametrize("code", [FailCode.UNKNOWN_MODEL, FailCode.MISCONFIGURED])
async def test_model_that_cannot_be_asked_fails_only_metrics_that_name_it(code):
    harness = EvaluationHarness(
        judge=ScriptedJudge(dict.fromkeys(["polite", "brief"], (JudgeRefused(code),)))
    )
    misnamed = tuple(
        definition(DefinitionKind.JUDGE, JUDGE | {"model": "openai/mistyped"}, name=name)
        for name in ("polite", "brief")
    )
    traces = [harness.put(*SPANS) for _ in range(2)]
    run = await harness.run(["polite", *JUDGED, "brief"], *traces, definitions=misnamed)
    await harness.work()
    results = [await harness.results(run, trace) for trace in traces]
    assert [one[name] for one in results for name in JUDGED] == ["0.8"] * 2 * len(JUDGED)
    codes = [one[name] for one in results for name in ("polite", "brief")]
    assert codes == [code.value, *["circuit_open"] * 3]


async def test_refused_key_stops_questions_to_all_models_of_its_provider():
    harness = EvaluationHarness(judge=ScriptedJudge({"polite": [AUTH]}))
    other = definition(DefinitionKind.JUDGE, JUDGE | {"model": "openai/other"}, name="polite")
    trace = harness.put(*SPANS)
    run = await harness.run("polite confidence", trace, definitions=(other,))
    await harness.work()
    assert await harness.results(run, trace) == {"polite": "auth", "confidence": "circuit_open"}


async def test_refusing_embedder_does_not_affect_judge():
    harness = EvaluationHarness(embedder=ScriptedEmbedder(script=[AUTH]))
    traces = [harness.put(*SPANS), harness.put(*SPANS)]
    run = await harness.run("coherence confidence", *traces)
    await harness.work()
    assert len(harness.embedder.asked) == 1
    assert [await harness.results(run, trace) for trace in traces] == [
        {"coherence": "auth", "confidence": "0.8"},
        {"coherence": "circuit_open", "confidence": "0.8"},
    ]


# --- unavailable judges ----------------------------------------------------------------------


async def test_unavailable_judge_postpones_target_and_leaves_other_metrics_scored():
    good = Scored(0.6, "")
    harness = EvaluationHarness(judge=ScriptedJudge({"confidence": [DOWN, good]}))
    trace = harness.put(*SPANS)
    run = await harness.run("confidence plan_quality tool_success_rate", trace)
    await harness.work()
    assert await harness.results(run, trace) == {
        "confidence": "pending",
        "plan_quality": "0.8",
        "tool_success_rate": "1.0",
    }
    worker = harness.use_cases()
    harness.forward(seconds=9)
    await worker.evaluate_target(harness.project, run.id, str(trace.id))
    assert (await harness.results(run, trace))["confidence"] == "pending"
    harness.forward(seconds=1)
    await worker.requeue_overdue()
    await harness.work(worker)
    assert (await harness.results(run, trace))["confidence"] == "0.6"
    asked = [question.metric.name for question in harness.judge.asked]
    assert asked == ["confidence", "plan_quality", "confidence"]
    assert (await harness.progress(run)).run.status is RunStatus.COMPLETED


@pytest.mark.parametrize(
    ("code", "retry_after_s"), [(FailCode.RATE_LIMITED, 7), (FailCode.PROVIDER_ERROR, 90)]
)
async def test_target_waits_for_longest_retry_after_of_its_metrics(code, retry_after_s):
    script = {
        name: [JudgeUnavailable(code, retry_after_s=seconds), Scored(0.6, "")]
        for name, seconds in (("confidence", retry_after_s), ("plan_quality", 1))
    }
    harness = EvaluationHarness(judge=ScriptedJudge(script))
    trace = harness.put(*SPANS)
    run = await harness.run("confidence plan_quality", trace)
    await harness.work()
    wait_s = max(retry_after_s, 10)
    for seconds, result in ((wait_s - 1, "pending"), (1, "0.6")):
        harness.forward(seconds=seconds)
        await harness.use_cases().evaluate_target(harness.project, run.id, str(trace.id))
        assert await harness.results(run, trace) == dict.fromkeys(script, result)


async def test_pending_metrics_fail_with_last_code_after_last_attempt():
    harness = EvaluationHarness(judge=ScriptedJudge({"confidence": [DOWN]}))
    first = await harness.run("confidence tool_success_rate", harness.put(*SPANS))
    await harness.attempts(ATTEMPTS_MAX - 1)
    assert (await harness.progress(first)).run.status is RunStatus.RUNNING
    await harness.attempts(2)
    assert len(harness.judge.asked) == ATTEMPTS_MAX
    [target] = {target for target, _ in await harness.scores_of_run(first)}
    assert await harness.results(first, target) == {
        "confidence": "judge_unreachable",
        "tool_success_rate": "1.0",
    }
    assert (await harness.progress(first)).run.status is RunStatus.COMPLETED


async def test_next_target_starts_after_target_failed_its_last_attempt():
    harness = EvaluationHarness(judge=ScriptedJudge({"confidence": [DOWN]}))
    traces = [harness.put(*SPANS) for _ in range(IN_FLIGHT_TARGETS_MAX + 1)]
    run = await harness.run("confidence", *traces)
    last = str(traces[-1].id)
    await harness.attempts(ATTEMPTS_MAX)
    assert [job.target for job in harness.jobs.sent] == []
    assert (await harness.results(run, last)) == {"confidence": "pending"}
    assert len(harness.judge.asked) == ATTEMPTS_MAX * IN_FLIGHT_TARGETS_MAX + 1, (
        "the last target was started"
    )


# --- exceptions ----------------------------------------------------------------------------------


async def test_exception_fails_one_metric_and_is_reported_with_score_id():
    broken = RuntimeError("postgres://user:password@host")
    harness = EvaluationHarness(judge=ScriptedJudge({"confidence": [broken]}))
    trace = harness.put(*SPANS)
    run = await harness.run("confidence plan_quality", trace)
    await harness.work()
    assert await harness.results(run, trace) == {"confidence": "internal", "plan_quality": "0.8"}
    assert harness.faults == [(run.score_id(str(trace.id), "confidence"), broken)]
    score = (await harness.scores_of_run(run))[str(trace.id), "confidence"]
    assert "password" not in repr(score)


@dataclass(frozen=True, slots=True)
class UnreadableTarget(MemoryTargets):
    unreadable: TraceId | None = None

    async def load_trace(self, project: ProjectId, trace: TraceId) -> Any:
        if trace == self.unreadable:
            raise ValueError("not JSON")
        return await super(UnreadableTarget, self).load_trace(project, trace)


async def test_unreadable_trace_fails_alone():
    harness = EvaluationHarness()
    unreadable, good = harness.put(*SPANS), harness.put(*SPANS)
    run = await harness.run("confidence tool_success_rate", unreadable, good)
    targets = UnreadableTarget(harness.store, unreadable=unreadable.id)
    await harness.work(harness.use_cases(replace(harness.ports, targets=targets)))
    assert await harness.results(run, unreadable) == dict.fromkeys(run.metrics, "internal")
    assert await harness.results(run, good) == {"confidence": "0.8", "tool_success_rate": "1.0"}
    assert {score for score, _ in harness.faults} == {
        run.score_id(str(unreadable.id), name) for name in run.metrics
    }


async def test_outcome_that_cannot_be_stored_fails_alone():
    odd = Scored(0.5, "", {"label": float("nan")})
    harness = EvaluationHarness(judge=ScriptedJudge({"confidence": [odd]}))
    trace = harness.put(*SPANS)
    run = await harness.run("confidence plan_quality", trace)
    await harness.work()
    assert await harness.results(run, trace) == {"confidence": "internal", "plan_quality": "0.8"}
    assert [score for score, _ in harness.faults] == [run.score_id(str(trace.id), "confidence")]


async def test_deleted_metric_fails_alone():
    harness = EvaluationHarness()
    trace = harness.put(*SPANS)
    run = await harness.run("withdrawn confidence", trace)
    await harness.work()
    assert await harness.results(run, trace) == {"withdrawn": "internal", "confidence": "0.8"}


@dataclass(frozen=True, slots=True)
class FailingWorkQueue(MemoryWorkQueue):
    """A work queue whose method `broken` raises Unavailable."""

    broken: str = ""

    async def record_all(self, *args: Any) -> int:
        await self._check("record_all")
        return await super(FailingWorkQueue, self).record_all(*args)

    async def is_live(self, *args: Any) -> bool:
        await self._check("is_live")
        return await super(FailingWorkQueue, self).is_live(*args)

    async def close(self, *args: Any) -> Any:
        await self._check("close")
        return await super(FailingWorkQueue, self).close(*args)

    async def release(self, *args: Any) -> None:
        await self._check("release")
        await super(FailingWorkQueue, self).release(*args)

    async def _check(self, method: str) -> None:
        if method == self.broken:
            raise Unavailable("no database")


@pytest.mark.parametrize("broken", ["record_all", "is_live", "close"])
async def test_unavailable_database_leaves_target_for_later_attempt(broken):
    harness = EvaluationHarness()
    trace = harness.put(*SPANS)
    run = await harness.run("confidence tool_success_rate", trace)
    failing = FailingWorkQueue(harness.store, broken=broken)
    with pytest.raises(Unavailable):
        await harness.work(harness.use_cases(replace(harness.ports, work_queue=failing)))
    assert harness.faults == []
    assert (await harness.progress(run)).run.status is RunStatus.RUNNING
    await harness.attempts(2)
    assert await harness.results(run, trace) == {"confidence": "0.8", "tool_success_rate": "1.0"}
    assert (await harness.progress(run)).run.status is RunStatus.COMPLETED


# --- targets that change ---------------------------------------------------------------------


async def test_deleted_trace_fails_every_metric_with_target_gone():
    harness = EvaluationHarness()
    deleted, kept = harness.put(*SPANS), harness.put(*SPANS)
    run = await harness.run("confidence coherence tool_success_rate", deleted, kept)
    await harness.ports.targets.load_trace(harness.project, deleted.id)
    del harness.store.traces[harness.project, deleted.id]
    await harness.work()
    assert await harness.results(run, deleted) == dict.fromkeys(run.metrics, "target_gone")
    assert (await harness.results(run, kept))["confidence"] == "0.8"
    assert (await harness.progress(run)).tally.evaluated == 2


async def test_too_large_trace_is_refused_without_reading():
    harness = EvaluationHarness()
    trace = harness.put(*SPANS)
    run = await harness.run("confidence tool_success_rate", trace)
    small = replace(harness.ports, targets=MemoryTargets(harness.store, spans_max=1))
    await harness.work(harness.use_cases(small))
    assert await harness.results(run, trace) == dict.fromkeys(run.metrics, "trace_too_large")


async def test_trace_is_evaluated_as_stored_when_worker_reads_it():
    harness = EvaluationHarness()
    trace = harness.put(*SPANS)
    run = await harness.run("confidence tool_success_rate", trace)
    failed = replace(trace.spans[1], error="no such flight")
    harness.change(replace(trace, spans=(trace.spans[0], failed)))
    await harness.work()
    assert (await harness.results(run, trace))["tool_success_rate"] == "0.0"
    [question] = harness.judge.asked
    assert question.evidence.facts.failed_calls == 1


# --- concurrency -----------------------------------------------------------------------------


async def run_during_question(
    harness: EvaluationHarness, action: Callable[[], Awaitable[object]], questions: int = 1
) -> None:
    """Work, and call `action` while this many questions wait for their answers."""
    harness.judge.gate = asyncio.Event()
    working = asyncio.create_task(harness.work())
    await until(lambda: len(harness.judge.asked) >= questions)
    await action()
    harness.judge.gate.set()
    await working
    harness.judge.gate = None


async def test_concurrent_correction_by_person_is_kept():
    harness = EvaluationHarness()
    trace = harness.put(*SPANS)
    run = await harness.run("confidence tool_success_rate", trace)
    await run_during_question(harness, lambda: harness.patch(run, trace, "confidence", "0.1"))
    score = (await harness.scores_of_run(run))[str(trace.id), "confidence"]
    assert (score.value, score.source) == ("0.1", ScoreSource.ANNOTATION)
    assert (await harness.results(run, trace))["tool_success_rate"] == "1.0"
    assert (await harness.progress(run)).run.status is RunStatus.COMPLETED


async def test_cancelled_run_starts_no_further_execution():
    harness = EvaluationHarness(policy=replace(EvaluationHarness().policy, concurrent_metrics=1))
    trace, later = harness.put(*SPANS), harness.put(*SPANS)
    run = await harness.run("tool_success_rate confidence plan_quality", trace, later)
    await run_during_question(harness, lambda: harness.cancel(run))
    assert [question.metric.name for question in harness.judge.asked] == ["confidence"]
    assert await harness.results(run, trace) == {
        "tool_success_rate": "1.0",
        "confidence": "cancelled",
        "plan_quality": "cancelled",
    }
    assert set((await harness.results(run, later)).values()) == {"cancelled"}
    assert (await harness.progress(run)).run.status is RunStatus.CANCELLED


async def test_deleted_trace_causes_no_further_question():
    harness = EvaluationHarness(policy=replace(EvaluationHarness().policy, concurrent_metrics=1))
    trace = harness.put(*SPANS)
    run = await harness.run("confidence coherence plan_quality tool_success_rate", trace)

    async def delete() -> None:
        harness.store.delete_trace(run.project_id, trace.id)

    await run_during_question(harness, delete)
    assert [question.metric.name for question in harness.judge.asked] == ["confidence"]
    assert harness.embedder.asked == []
    assert await harness.results(run, trace) == {}
    assert (await harness.progress(run)).run.status.is_final


@pytest.mark.parametrize("with_scores", [True, False])
async def test_deleted_run_starts_no_further_execution(with_scores):
    harness = EvaluationHarness(policy=replace(EvaluationHarness().policy, concurrent_metrics=1))
    trace = harness.put(*SPANS)
    run = await harness.run("tool_success_rate confidence plan_quality", trace)

    async def delete() -> None:
        await harness.runs.delete(harness.project, run.id, harness.now, with_scores=with_scores)

    await run_during_question(harness, delete)
    assert len(harness.judge.asked) == 1
    stored = {score.name: score.value or score.code for score in await harness.scores_of(trace)}
    kept = {"tool_success_rate": "1.0", "confidence": "cancelled", "plan_quality": "cancelled"}
    assert stored == ({} if with_scores else kept)


async def test_target_of_cancelled_run_is_not_evaluated():
    harness = EvaluationHarness()
    trace = harness.put(*SPANS)
    run = await harness.run("confidence", trace)
    await harness.cancel(run)
    await harness.work()
    assert harness.judge.asked == []
    assert await harness.results(run, trace) == {"confidence": "cancelled"}


async def test_two_workers_with_same_message_ask_once():
    harness = EvaluationHarness()
    trace = harness.put(*SPANS)
    run = await harness.run("confidence plan_quality", trace)
    workers = [harness.use_cases(), harness.use_cases()]
    await asyncio.gather(
        *(worker.evaluate_target(harness.project, run.id, str(trace.id)) for worker in workers)
    )
    assert sorted(one.metric.name for one in harness.judge.asked) == ["confidence", "plan_quality"]
    assert len(await harness.scores_of(trace)) == 2


async def test_worker_that_lost_its_lease_writes_nothing():
    harness = EvaluationHarness()
    trace = harness.put(*SPANS)
    run = await harness.run("confidence plan_quality", trace)
    other = ScriptedJudge(dict.fromkeys(JUDGED, (Scored(0.3, ""),)))

    async def take_over() -> None:
        harness.forward(minutes=2)
        worker = harness.use_cases(replace(harness.ports, judge=other))
        await worker.evaluate_target(harness.project, run.id, str(trace.id))

    await run_during_question(harness, take_over)
    assert set((await harness.results(run, trace)).values()) == {"0.3"}
    assert (await harness.progress(run)).run.status is RunStatus.COMPLETED


@pytest.mark.parametrize(("broken", "minutes"), [("", 0), ("release", 2)])
async def test_another_worker_completes_work_of_stopped_worker(broken, minutes):
    """At once, or when the lease has expired if the target couldn't be released."""
    harness = EvaluationHarness(policy=replace(EvaluationHarness().policy, concurrent_metrics=1))
    trace = harness.put(*SPANS)
    run = await harness.run("tool_success_rate confidence plan_quality", trace)
    harness.judge.gate = asyncio.Event()
    queue = FailingWorkQueue(harness.store, broken=broken)
    stopped = harness.use_cases(replace(harness.ports, work_queue=queue))
    working = asyncio.create_task(harness.work(stopped))
    await until(lambda: harness.judge.asked)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    harness.judge.gate = None
    harness.forward(minutes=minutes)
    await harness.use_cases().requeue_overdue()
    await harness.work()
    assert [one.metric.name for one in harness.judge.asked] == [
        *("confidence", "confidence", "plan_quality")
    ]
    assert (await harness.results(run, trace))["tool_success_rate"] == "1.0"
    assert (await harness.progress(run)).run.status is RunStatus.COMPLETED


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_concurrent_questions_of_target_are_limited(limit):
    harness = EvaluationHarness(
        policy=replace(EvaluationHarness().policy, concurrent_metrics=limit)
    )
    await harness.run(JUDGED, harness.put(*SPANS))
    await harness.work()
    assert len(harness.judge.asked) == len(JUDGED)
    assert harness.judge.most_at_once == limit


async def test_declared_tools_are_judged_without_tool_calls():
    harness = EvaluationHarness()
    trace = harness.put(offering({"name": "search", "description": "finds flights"}))
    run = await harness.run("tool_correctness", trace)
    await harness.work()
    fields = metadata((await harness.scores_of_run(run))[str(trace.id), "tool_correctness"])
    assert fields["tools_called"] == "[]"
    assert fields["available_tools"] == '[{"name":"search","description":"finds flights"}]'
