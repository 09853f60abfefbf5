"""Traces in a run: each metric is evaluated on its own, and a failure affects only what it must."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from adapters.memory.evaluation.runs import MemoryTargets, MemoryWorkQueue
from adapters.memory.evaluation.scripted_judge import ScriptedEmbedder, ScriptedJudge
from application.evaluation.judging.trace_context import LARGE_TRACE_STEPS
from application.evaluation.ports.work_queue import ATTEMPTS_MAX, IN_FLIGHT_TARGETS_MAX
from domain.errors import Unavailable
from domain.evaluation.judging.judge import JudgeRefused, JudgeUnavailable
from domain.evaluation.metrics.metric import EvaluationMethod
from domain.evaluation.metrics.registry import METRIC_REGISTRY
from domain.evaluation.runs.run import RunStatus
from domain.evaluation.scores.outcome import FailCode, Scored
from domain.evaluation.scores.score import ScoreOutcome, ScoreSource, ScoreStatus
from domain.ids import ProjectId, TraceId
from domain.tracing.trace import TraceStatus
from tests.support.builders.evaluated_traces import model, offering, tool
from tests.support.fixtures.evaluation_harness import PLAN, Laboratory, metadata

JUDGED = [
    name for name, metric in METRIC_REGISTRY.items() if metric.method is EvaluationMethod.JUDGED
]
MEASURED = [
    name for name, metric in METRIC_REGISTRY.items() if metric.method is EvaluationMethod.COMPUTED
]
SPANS = (model(PLAN), tool("search", {"to": "Oslo"}, "HAT123"))
AUTH = JudgeRefused(FailCode.AUTH)
DOWN = JudgeUnavailable(FailCode.JUDGE_UNREACHABLE)


# --- what is stored --------------------------------------------------------------------------


async def test_every_metric_of_the_catalogue_replaces_its_pending_score():
    lab = Laboratory()
    trace = lab.put(*SPANS, environment="production")
    names = [*JUDGED, *MEASURED, "coherence"]
    run = await lab.run(names, trace)
    before = await lab.of_run(run)
    assert {score.status for score in before.values()} == {ScoreStatus.PENDING}
    assert await lab.work() == 1
    after = await lab.of_run(run)
    assert {key: score.id for key, score in after.items()} == {
        key: score.id for key, score in before.items()
    }
    assert not [score for score in after.values() if score.outcome is ScoreOutcome.PENDING]
    assert {score.environment for score in after.values()} == {"production"}
    assert {score.source for score in after.values()} == {ScoreSource.AUTOMATED}
    assert [question.metric.name for question in lab.judge.asked] == JUDGED
    told = await lab.told(run, trace)
    assert {name: told[name] for name in JUDGED} == dict.fromkeys(JUDGED, "0.8")
    assert told["tool_success_rate"] == "1.0"
    assert told["answer_repetition"] == "no_previous_traces"
    progress = await lab.progress(run)
    assert progress.run.status is RunStatus.COMPLETED
    assert progress.tally.evaluated == 1
    assert lab.faults == []


async def test_judged_score_has_all_its_metadata():
    good = Scored(1.0, "All of it is done", {"evidence": ["s2"], "label": 5})
    lab = Laboratory(judge=ScriptedJudge({"task_completion": [good]}))
    trace = lab.put(*SPANS)
    run = await lab.run("task_completion", trace)
    await lab.work()
    score = (await lab.of_run(run))[str(trace.id), "task_completion"]
    assert (score.value, score.reason) == ("1.0", "All of it is done")
    [question] = lab.judge.asked
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
    lab = Laboratory()
    trace = lab.put(*SPANS, output="I book a flight to Oslo")
    run = await lab.run("coherence task_completion", trace)
    await lab.work()
    scores = await lab.of_run(run)
    marks = metadata(scores[str(trace.id), "coherence"])
    assert marks["judge_kind"] == '"embedding"'
    assert marks["fingerprint"] == '"scripted/embedder/1"'
    assert marks["success"] == "true"
    judged = metadata(scores[str(trace.id), "task_completion"])
    assert marks["evidence_hash"] == judged["evidence_hash"]
    assert lab.embedder.asked == [["book a flight to Oslo", "I book a flight to Oslo"]]


async def test_questions_about_one_trace_share_evidence_and_boundary():
    lab = Laboratory()
    traces = [lab.put(*SPANS, output=said) for said in ("It is booked", "I booked it")]
    await lab.run(JUDGED, *traces)
    await lab.work()
    assert len(lab.judge.asked) == 2 * len(JUDGED)
    assert len({id(question.evidence) for question in lab.judge.asked}) == 2
    fences = {question.boundary for question in lab.judge.asked}
    assert len(fences) == 2
    assert all(len(fence) == 16 and int(fence, 16) >= 0 for fence in fences)
    assert {question.deadline_s for question in lab.judge.asked} == {60.0}


async def test_secrets_are_redacted_for_judge_embedder_and_score():
    key = "sk-" + "a1B2" * 8
    lab = Laboratory()
    trace = lab.put(tool("search", {"key": key}, key), input=f"use {key}", output=f"used {key}")
    run = await lab.run([*JUDGED, "coherence"], trace)
    await lab.work()
    assert lab.judge.asked
    assert not [one for one in lab.judge.asked if key in repr(one)]
    assert lab.embedder.asked == [["use [secret:1]", "used [secret:1]"]]
    assert not [one for one in (await lab.of_run(run)).values() if key in repr(one)]


async def test_large_trace_evaluated_in_thread_gets_same_scores():
    lab = Laboratory()
    small, large = (
        lab.put(*SPANS),
        lab.put(*SPANS, output="I booked HAT123. " * 100 * LARGE_TRACE_STEPS),
    )
    run = await lab.run([*JUDGED, "tool_success_rate"], small, large)
    await lab.work()
    assert await lab.told(run, large) == await lab.told(run, small)


# --- without a question ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "spans", "said", "told"),
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
async def test_trace_without_data_is_scored_without_judge(metric, spans, said, told):
    lab = Laboratory()
    trace = lab.put(*spans, **said)
    run = await lab.run(metric, trace)
    await lab.work()
    assert await lab.told(run, trace) == {metric: told}
    assert lab.judge.asked == []
    assert lab.embedder.asked == []


async def test_output_without_words_is_scored_by_rule():
    lab = Laboratory()
    trace = lab.put(model(), output=":")
    run = await lab.run("task_completion", trace)
    await lab.work()
    marks = metadata((await lab.of_run(run))[str(trace.id), "task_completion"])
    assert marks["judge_kind"] == '"rule"'
    assert marks["fingerprint"] == '"rule/1"'
    assert marks["success"] == "false"
    assert {"evidence_hash", "threshold", "task", "outcome"} <= set(marks)


@pytest.mark.parametrize(("output", "is_shown"), [("", False), ("…", False), ("Done", True)])
async def test_output_without_words_is_hidden_when_tool_calls_are_judged(output, is_shown):
    lab = Laboratory()
    await lab.run("task_completion step_efficiency", lab.put(*SPANS, output=output))
    await lab.work()
    shown = {one.metric.name: one.is_output_shown for one in lab.judge.asked}
    assert shown == {"task_completion": is_shown, "step_efficiency": True}


# --- refused questions -----------------------------------------------------------------------

PAIR_CODES = [code for code in FailCode if not code.is_transient and not code.opens_circuit]


@pytest.mark.parametrize("code", PAIR_CODES)
async def test_refused_question_fails_only_its_metric(code):
    lab = Laboratory(judge=ScriptedJudge({"plan_quality": [JudgeRefused(code)]}))
    trace = lab.put(*SPANS)
    run = await lab.run("plan_quality step_efficiency", trace)
    await lab.work()
    assert await lab.told(run, trace) == {"plan_quality": code.value, "step_efficiency": "0.8"}
    assert (await lab.progress(run)).run.status is RunStatus.COMPLETED


@pytest.mark.parametrize("code", [code for code in FailCode if code.opens_circuit])
async def test_refusal_that_opens_circuit_costs_one_question(code):
    lab = Laboratory(judge=ScriptedJudge(dict.fromkeys(JUDGED, (JudgeRefused(code),))))
    traces = [lab.put(*SPANS) for _ in range(3)]
    run = await lab.run([*JUDGED, "coherence", "tool_success_rate"], *traces)
    await lab.work()
    assert len(lab.judge.asked) == 1
    told = [await lab.told(run, trace) for trace in traces]
    codes = [one[name] for one in told for name in JUDGED]
    assert sorted(codes) == sorted([code.value, *["circuit_open"] * (3 * len(JUDGED) - 1)])
    assert {one["tool_success_rate"] for one in told} == {"1.0"}
    assert "circuit_open" not in {one["coherence"] for one in told}
    assert (await lab.progress(run)).tally.failed == 3 * len(JUDGED)


async def test_open_circuit_does_not_affect_another_run():
    lab = Laboratory(judge=ScriptedJudge({"confidence": [AUTH, Scored(0.6, "")]}))
    trace = lab.put(*SPANS)
    do = lab.over()
    first = await lab.run("confidence", trace)
    await lab.work(do)
    second = await lab.run("confidence", trace)
    await lab.work(do)
    assert await lab.told(first, trace) == {"confidence": "auth"}
    assert await lab.told(second, trace) == {"confidence": "0.6"}
    failed = (await lab.progress(first)).run
    assert (failed.status, failed.error_message) == (
        RunStatus.FAILED,
        "auth: 1 of 1 failed executions",
    )


async def test_unknown_model_fails_only_judged_metrics():
    lab = Laboratory(judge=ScriptedJudge(unknown=frozenset({"mystery"})))
    trace = lab.put(*SPANS)
    run = await lab.run("confidence tool_success_rate", trace, model="mystery")
    await lab.work()
    assert await lab.told(run, trace) == {"confidence": "unknown_model", "tool_success_rate": "1.0"}


async def test_refusing_embedder_does_not_affect_judge():
    lab = Laboratory(embedder=ScriptedEmbedder(script=[AUTH]))
    traces = [lab.put(*SPANS), lab.put(*SPANS)]
    run = await lab.run("coherence confidence", *traces)
    await lab.work()
    assert len(lab.embedder.asked) == 1
    assert [await lab.told(run, trace) for trace in traces] == [
        {"coherence": "auth", "confidence": "0.8"},
        {"coherence": "circuit_open", "confidence": "0.8"},
    ]


# --- unavailable judges ----------------------------------------------------------------------


async def test_unavailable_judge_postpones_target_and_leaves_other_metrics_scored():
    good = Scored(0.6, "")
    lab = Laboratory(judge=ScriptedJudge({"confidence": [DOWN, good]}))
    trace = lab.put(*SPANS)
    run = await lab.run("confidence plan_quality tool_success_rate", trace)
    await lab.work()
    assert await lab.told(run, trace) == {
        "confidence": "pending",
        "plan_quality": "0.8",
        "tool_success_rate": "1.0",
    }
    do = lab.over()
    lab.forward(seconds=9)
    await do.evaluate_target(lab.project, run.id, str(trace.id))
    assert (await lab.told(run, trace))["confidence"] == "pending"
    lab.forward(seconds=1)
    await do.requeue_overdue()
    await lab.work(do)
    assert (await lab.told(run, trace))["confidence"] == "0.6"
    asked = [question.metric.name for question in lab.judge.asked]
    assert asked == ["confidence", "plan_quality", "confidence"]
    assert (await lab.progress(run)).run.status is RunStatus.COMPLETED


@pytest.mark.parametrize(
    ("code", "after"), [(FailCode.RATE_LIMITED, 7), (FailCode.PROVIDER_ERROR, 90)]
)
async def test_target_waits_for_retry_after_of_provider(code, after):
    busy = JudgeUnavailable(code, retry_after_s=after)
    lab = Laboratory(judge=ScriptedJudge({"confidence": [busy, Scored(0.6, "")]}))
    trace = lab.put(*SPANS)
    run = await lab.run("confidence", trace)
    await lab.work()
    waits = max(after, 10)
    for seconds, told in ((waits - 1, "pending"), (1, "0.6")):
        lab.forward(seconds=seconds)
        await lab.over().evaluate_target(lab.project, run.id, str(trace.id))
        assert await lab.told(run, trace) == {"confidence": told}


async def test_pending_metrics_fail_with_last_code_after_last_attempt():
    lab = Laboratory(judge=ScriptedJudge({"confidence": [DOWN]}))
    first = await lab.run("confidence tool_success_rate", lab.put(*SPANS))
    await lab.attempts(ATTEMPTS_MAX - 1)
    assert (await lab.progress(first)).run.status is RunStatus.RUNNING
    await lab.attempts(2)
    assert len(lab.judge.asked) == ATTEMPTS_MAX
    [target] = {target for target, _ in await lab.of_run(first)}
    assert await lab.told(first, target) == {
        "confidence": "judge_unreachable",
        "tool_success_rate": "1.0",
    }
    assert (await lab.progress(first)).run.status is RunStatus.COMPLETED


async def test_next_target_starts_after_target_failed_its_last_attempt():
    lab = Laboratory(judge=ScriptedJudge({"confidence": [DOWN]}))
    traces = [lab.put(*SPANS) for _ in range(IN_FLIGHT_TARGETS_MAX + 1)]
    run = await lab.run("confidence", *traces)
    last = str(traces[-1].id)
    await lab.attempts(ATTEMPTS_MAX)
    assert [job.target for job in lab.jobs.sent] == []
    assert (await lab.told(run, last)) == {"confidence": "pending"}
    assert len(lab.judge.asked) == ATTEMPTS_MAX * IN_FLIGHT_TARGETS_MAX + 1, "the last was taken up"


# --- faults ----------------------------------------------------------------------------------


async def test_exception_fails_one_metric_and_is_reported_with_score_id():
    broken = RuntimeError("postgres://user:password@host")
    lab = Laboratory(judge=ScriptedJudge({"confidence": [broken]}))
    trace = lab.put(*SPANS)
    run = await lab.run("confidence plan_quality", trace)
    await lab.work()
    assert await lab.told(run, trace) == {"confidence": "internal", "plan_quality": "0.8"}
    assert lab.faults == [(run.score_id(str(trace.id), "confidence"), broken)]
    score = (await lab.of_run(run))[str(trace.id), "confidence"]
    assert "password" not in repr(score)


@dataclass(frozen=True, slots=True)
class PoisonedTargets(MemoryTargets):
    poison: TraceId | None = None

    async def load_trace(self, project: ProjectId, trace: TraceId) -> Any:
        if trace == self.poison:
            raise ValueError("not JSON")
        return await super(PoisonedTargets, self).load_trace(project, trace)


async def test_unreadable_trace_fails_alone():
    lab = Laboratory()
    poison, good = lab.put(*SPANS), lab.put(*SPANS)
    run = await lab.run("confidence tool_success_rate", poison, good)
    targets = PoisonedTargets(lab.store, poison=poison.id)
    await lab.work(lab.over(replace(lab.ports, targets=targets)))
    assert await lab.told(run, poison) == dict.fromkeys(run.metrics, "internal")
    assert await lab.told(run, good) == {"confidence": "0.8", "tool_success_rate": "1.0"}
    assert {score for score, _ in lab.faults} == {
        run.score_id(str(poison.id), name) for name in run.metrics
    }


async def test_outcome_that_cannot_be_stored_fails_alone():
    odd = Scored(0.5, "", {"label": float("nan")})
    lab = Laboratory(judge=ScriptedJudge({"confidence": [odd]}))
    trace = lab.put(*SPANS)
    run = await lab.run("confidence plan_quality", trace)
    await lab.work()
    assert await lab.told(run, trace) == {"confidence": "internal", "plan_quality": "0.8"}
    assert [score for score, _ in lab.faults] == [run.score_id(str(trace.id), "confidence")]


async def test_deleted_metric_fails_alone():
    lab = Laboratory()
    trace = lab.put(*SPANS)
    run = await lab.run("withdrawn confidence", trace)
    await lab.work()
    assert await lab.told(run, trace) == {"withdrawn": "internal", "confidence": "0.8"}


@dataclass(frozen=True, slots=True)
class FailingAssignments(MemoryWorkQueue):
    """Its `broken` method raises Unavailable."""

    broken: str = ""

    async def record_all(self, *args: Any) -> int:
        await self._check("record_all")
        return await super(FailingAssignments, self).record_all(*args)

    async def is_live(self, *args: Any) -> bool:
        await self._check("is_live")
        return await super(FailingAssignments, self).is_live(*args)

    async def close(self, *args: Any) -> Any:
        await self._check("close")
        return await super(FailingAssignments, self).close(*args)

    async def _check(self, method: str) -> None:
        if method == self.broken:
            raise Unavailable("no database")


@pytest.mark.parametrize("broken", ["record_all", "is_live", "close"])
async def test_unavailable_database_leaves_target_for_later_attempt(broken):
    lab = Laboratory()
    trace = lab.put(*SPANS)
    run = await lab.run("confidence tool_success_rate", trace)
    failing = FailingAssignments(lab.store, broken=broken)
    with pytest.raises(Unavailable):
        await lab.work(lab.over(replace(lab.ports, work_queue=failing)))
    assert lab.faults == []
    assert (await lab.progress(run)).run.status is RunStatus.RUNNING
    await lab.attempts(2)
    assert await lab.told(run, trace) == {"confidence": "0.8", "tool_success_rate": "1.0"}
    assert (await lab.progress(run)).run.status is RunStatus.COMPLETED


# --- targets that change ---------------------------------------------------------------------


async def test_deleted_trace_fails_every_metric_with_target_gone():
    lab = Laboratory()
    gone, there = lab.put(*SPANS), lab.put(*SPANS)
    run = await lab.run("confidence coherence tool_success_rate", gone, there)
    await lab.ports.targets.load_trace(lab.project, gone.id)
    del lab.store.traces[lab.project, gone.id]
    await lab.work()
    assert await lab.told(run, gone) == dict.fromkeys(run.metrics, "target_gone")
    assert (await lab.told(run, there))["confidence"] == "0.8"
    assert (await lab.progress(run)).tally.evaluated == 2


async def test_too_large_trace_is_refused_without_reading():
    lab = Laboratory()
    trace = lab.put(*SPANS)
    run = await lab.run("confidence tool_success_rate", trace)
    small = replace(lab.ports, targets=MemoryTargets(lab.store, spans_max=1))
    await lab.work(lab.over(small))
    assert await lab.told(run, trace) == dict.fromkeys(run.metrics, "trace_too_large")


async def test_trace_is_evaluated_as_stored_when_worker_reads_it():
    lab = Laboratory()
    trace = lab.put(*SPANS)
    run = await lab.run("confidence tool_success_rate", trace)
    failed = replace(trace.spans[1], error="no such flight")
    lab.change(replace(trace, spans=(trace.spans[0], failed)))
    await lab.work()
    assert (await lab.told(run, trace))["tool_success_rate"] == "0.0"
    [question] = lab.judge.asked
    assert question.evidence.facts.failed_calls == 1


# --- concurrency -----------------------------------------------------------------------------


async def while_asked(
    lab: Laboratory, deed: Callable[[], Awaitable[object]], questions: int = 1
) -> None:
    """Works, and calls `deed` while so many questions wait for their answers."""
    lab.judge.gate = asyncio.Event()
    working = asyncio.create_task(lab.work())
    while len(lab.judge.asked) < questions:
        await asyncio.sleep(0)
    await deed()
    lab.judge.gate.set()
    await working
    lab.judge.gate = None


async def test_concurrent_correction_by_person_is_kept():
    lab = Laboratory()
    trace = lab.put(*SPANS)
    run = await lab.run("confidence tool_success_rate", trace)
    await while_asked(lab, lambda: lab.patch(run, trace, "confidence", "0.1"))
    score = (await lab.of_run(run))[str(trace.id), "confidence"]
    assert (score.value, score.source) == ("0.1", ScoreSource.ANNOTATION)
    assert (await lab.told(run, trace))["tool_success_rate"] == "1.0"
    assert (await lab.progress(run)).run.status is RunStatus.COMPLETED


async def test_cancelled_run_starts_no_further_execution():
    lab = Laboratory(policy=replace(Laboratory().policy, concurrent_metrics=1))
    trace, later = lab.put(*SPANS), lab.put(*SPANS)
    run = await lab.run("tool_success_rate confidence plan_quality", trace, later)
    await while_asked(lab, lambda: lab.cancel(run))
    assert [question.metric.name for question in lab.judge.asked] == ["confidence"]
    assert await lab.told(run, trace) == {
        "tool_success_rate": "1.0",
        "confidence": "cancelled",
        "plan_quality": "cancelled",
    }
    assert set((await lab.told(run, later)).values()) == {"cancelled"}
    assert (await lab.progress(run)).run.status is RunStatus.CANCELLED


async def test_deleted_trace_causes_no_further_question():
    lab = Laboratory(policy=replace(Laboratory().policy, concurrent_metrics=1))
    trace = lab.put(*SPANS)
    run = await lab.run("confidence coherence plan_quality tool_success_rate", trace)

    async def gone() -> None:
        lab.store.delete_trace(run.project_id, trace.id)

    await while_asked(lab, gone)
    assert [question.metric.name for question in lab.judge.asked] == ["confidence"]
    assert lab.embedder.asked == []
    assert await lab.told(run, trace) == {}
    assert (await lab.progress(run)).run.status.is_final


@pytest.mark.parametrize("with_scores", [True, False])
async def test_deleted_run_starts_no_further_execution(with_scores):
    lab = Laboratory(policy=replace(Laboratory().policy, concurrent_metrics=1))
    trace = lab.put(*SPANS)
    run = await lab.run("tool_success_rate confidence plan_quality", trace)

    async def delete() -> None:
        await lab.runs.delete(lab.project, run.id, lab.now, with_scores=with_scores)

    await while_asked(lab, delete)
    assert len(lab.judge.asked) == 1
    left = {score.name: score.value or score.code for score in await lab.scores_of(trace)}
    kept = {"tool_success_rate": "1.0", "confidence": "cancelled", "plan_quality": "cancelled"}
    assert left == ({} if with_scores else kept)


async def test_target_of_cancelled_run_is_not_evaluated():
    lab = Laboratory()
    trace = lab.put(*SPANS)
    run = await lab.run("confidence", trace)
    await lab.cancel(run)
    await lab.work()
    assert lab.judge.asked == []
    assert await lab.told(run, trace) == {"confidence": "cancelled"}


async def test_two_workers_with_same_message_ask_once():
    lab = Laboratory()
    trace = lab.put(*SPANS)
    run = await lab.run("confidence plan_quality", trace)
    workers = [lab.over(), lab.over()]
    await asyncio.gather(
        *(one.evaluate_target(lab.project, run.id, str(trace.id)) for one in workers)
    )
    assert sorted(one.metric.name for one in lab.judge.asked) == ["confidence", "plan_quality"]
    assert len(await lab.scores_of(trace)) == 2


async def test_worker_that_lost_its_lease_writes_nothing():
    lab = Laboratory()
    trace = lab.put(*SPANS)
    run = await lab.run("confidence plan_quality", trace)
    other = ScriptedJudge(dict.fromkeys(JUDGED, (Scored(0.3, ""),)))

    async def take_over() -> None:
        lab.forward(minutes=2)
        do = lab.over(replace(lab.ports, judge=other))
        await do.evaluate_target(lab.project, run.id, str(trace.id))

    await while_asked(lab, take_over)
    assert set((await lab.told(run, trace)).values()) == {"0.3"}
    assert (await lab.progress(run)).run.status is RunStatus.COMPLETED


async def test_another_worker_completes_work_of_killed_worker():
    lab = Laboratory(policy=replace(Laboratory().policy, concurrent_metrics=1))
    trace = lab.put(*SPANS)
    run = await lab.run("tool_success_rate confidence plan_quality", trace)
    lab.judge.gate = asyncio.Event()
    working = asyncio.create_task(lab.work())
    while not lab.judge.asked:
        await asyncio.sleep(0)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    lab.judge.gate = None
    lab.forward(minutes=2)
    await lab.attempts(2)
    assert [one.metric.name for one in lab.judge.asked] == [
        *("confidence", "confidence", "plan_quality")
    ]
    assert (await lab.told(run, trace))["tool_success_rate"] == "1.0"
    assert (await lab.progress(run)).run.status is RunStatus.COMPLETED


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_concurrent_questions_of_target_are_limited(limit):
    lab = Laboratory(policy=replace(Laboratory().policy, concurrent_metrics=limit))
    await lab.run(JUDGED, lab.put(*SPANS))
    await lab.work()
    assert len(lab.judge.asked) == len(JUDGED)
    assert lab.judge.most_at_once == limit


async def test_declared_tools_are_judged_without_tool_calls():
    lab = Laboratory()
    trace = lab.put(offering({"name": "search", "description": "finds flights"}))
    run = await lab.run("tool_correctness", trace)
    await lab.work()
    marks = metadata((await lab.of_run(run))[str(trace.id), "tool_correctness"])
    assert marks["tools_called"] == "[]"
    assert marks["available_tools"] == '[{"name":"search","description":"finds flights"}]'
