"""Evaluation of sessions in a run: signals are reused or evaluated, and aggregated."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from adapters.judges.heuristic import HeuristicJudge
from adapters.memory.evaluation.runs import MemoryTargets
from adapters.memory.evaluation.scripted_judge import ScriptedEmbedder, ScriptedJudge
from adapters.memory.evaluation.work_queue import MemoryWorkQueue
from application.evaluation.execution.session_signals import UNANSWERED_MAX
from application.evaluation.ports.work_queue import ATTEMPTS_MAX, SignalKey
from domain.evaluation.judging.judge import JudgeRefused, JudgeUnavailable
from domain.evaluation.runs.run import RunStatus
from domain.evaluation.scores.outcome import FailCode, Scored
from domain.evaluation.scores.score import DataType, ScoreOutcome, ScoreSource, TraceScore
from domain.evaluation.sessions.signals import DEFAULT_WEIGHTS, SESSION_TRACES_MAX
from domain.ids import ProjectId, ScoreId, TraceId
from domain.tracing.trace import Trace
from tests.support.builders.evaluated_traces import model
from tests.support.builders.values import THEIRS, at
from tests.support.fixtures.evaluation.evaluation_harness import EvaluationHarness, metadata
from tests.support.waiting import until

SESSION_METRICS = "agent_consistency agent_reliability"
SIGNALS = tuple(DEFAULT_WEIGHTS)
JUDGED = ("confidence", "tool_correctness")
AUTH = JudgeRefused(FailCode.AUTH)
DOWN = JudgeUnavailable(FailCode.JUDGE_UNREACHABLE)


def scripted_judge(*answers: Any) -> ScriptedJudge:
    """Return a judge that gives both judged signals the same sequence of answers."""
    return ScriptedJudge(dict.fromkeys(JUDGED, answers))


def asked_metrics(harness: EvaluationHarness) -> list[str]:
    return [question.metric.name for question in harness.judge.asked]


def session_results(results: dict[str, str]) -> list[str]:
    return [results["agent_consistency"], results["agent_reliability"]]


# --- stored scores --------------------------------------------------------------------------


async def test_signals_are_stored_as_trace_scores_and_aggregated():
    harness = EvaluationHarness(judge=scripted_judge(Scored(0.6, "so so")))
    traces = harness.session(2, environment="production")
    run = await harness.run(SESSION_METRICS, "chat")
    assert await harness.work() == 1
    assert [await harness.results(run, trace) for trace in traces] == [
        {
            "confidence": "0.6",
            "coherence": (await harness.results(run, traces[0]))["coherence"],
            "loop_detection": "no_previous_traces",
            "tool_correctness": "0.6",
        },
        {
            "confidence": "0.6",
            "coherence": (await harness.results(run, traces[1]))["coherence"],
            "loop_detection": (await harness.results(run, traces[1]))["loop_detection"],
            "tool_correctness": "0.6",
        },
    ]
    for trace in traces:
        for score in await harness.scores_of(trace):
            assert score.id == run.score_id(str(trace.id), score.name)
            assert (score.run_id, score.environment) == (run.id, "production")
            assert score.source is ScoreSource.AUTOMATED
    scores = await harness.scores_of_run(run)
    fields = metadata(scores["chat", "agent_reliability"])
    assert fields["total_traces_in_session"] == fields["traces_evaluated"] == "2"
    assert fields["coverage"] == "1.0"
    assert fields["judge_kind"] == '"model"'
    assert {"threshold", "success", "fingerprint", "model", "per_trace_signals"} <= set(fields)
    progress = await harness.progress(run)
    assert progress.run.status is RunStatus.COMPLETED
    assert (progress.tally.scored, progress.tally.failed, progress.tally.skipped) == (2, 0, 0)


async def test_heuristic_judge_scores_session():
    harness = EvaluationHarness()
    harness.session(3)
    run = await harness.run(SESSION_METRICS, "chat", model="heuristic/1")
    await harness.work(harness.use_cases(replace(harness.ports, judge=HeuristicJudge())))
    score = (await harness.scores_of_run(run))["chat", "agent_reliability"]
    assert score.outcome is ScoreOutcome.SCORED
    assert metadata(score)["judge_kind"] == '"heuristic"'


async def test_sessions_with_same_judge_and_weights_have_same_fingerprint():
    harness = EvaluationHarness()
    harness.session(2, "one")
    harness.session(3, "two")
    harness.put(model("hi"), session_id="without tools")
    first = await harness.run(SESSION_METRICS, "one", "two", "without tools")
    await harness.work()
    fingerprints = {
        key: metadata(score)["fingerprint"]
        for key, score in (await harness.scores_of_run(first)).items()
        if key[1] in SESSION_METRICS
    }
    assert len(fingerprints) == 6
    assert len(set(fingerprints.values())) == 2, "one per metric"
    second = await harness.run(SESSION_METRICS, "one", signal_weights={"confidence": 0.5})
    harness.judge.revision = "scripted/2"
    third = await harness.run(SESSION_METRICS, "one")
    await harness.work()
    for other in (second, third):
        score = (await harness.scores_of_run(other))["one", "agent_reliability"]
        assert metadata(score)["fingerprint"] not in fingerprints.values()


async def test_weights_of_run_override_defaults():
    harness = EvaluationHarness(judge=scripted_judge(Scored(0.5, "")))
    harness.put(session_id="chat", output="book a flight to Oslo")
    usual = await harness.run("agent_reliability", "chat")
    light = await harness.run("agent_reliability", "chat", signal_weights={"confidence": 0.1})
    await harness.work()
    assert await harness.results(usual, "chat") == {"agent_reliability": "0.5"}
    assert await harness.results(light, "chat") == {"agent_reliability": "0.6"}


# --- stored signals ---------------------------------------------------------------------------


async def test_stored_signals_are_reused_without_question():
    harness = EvaluationHarness()
    traces = harness.session(3)
    first = await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    before = len(harness.judge.asked), len(harness.embedder.asked)
    second = await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    assert (len(harness.judge.asked), len(harness.embedder.asked)) == before
    assert await harness.results(second, "chat") == await harness.results(first, "chat")
    assert await harness.results(second, traces[0]) == {"loop_detection": "no_previous_traces"}
    assert await harness.results(second, traces[1]) == {}


async def test_scores_of_trace_run_are_used_as_signals():
    harness = EvaluationHarness()
    [trace] = harness.session(1)
    await harness.run("confidence coherence tool_correctness", trace)
    await harness.work()
    asked = len(harness.judge.asked)
    run = await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    assert len(harness.judge.asked) == asked
    assert set(await harness.results(run, trace)) == {"loop_detection"}
    assert (await harness.scores_of_run(run))[
        "chat", "agent_consistency"
    ].outcome is ScoreOutcome.SCORED


async def test_signals_with_other_fingerprint_are_evaluated_again():
    harness = EvaluationHarness()
    traces = harness.session(2)
    await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    harness.judge.revision = "scripted/2"
    run = await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    assert set(await harness.results(run, traces[1])) == set(JUDGED)
    harness.embedder = ScriptedEmbedder("scripted/other")
    run = await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    assert set(await harness.results(run, traces[1])) == {"coherence", "loop_detection"}


async def test_only_changed_trace_is_evaluated_again():
    harness = EvaluationHarness()
    traces = harness.session(5)
    await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    harness.change(traces[1], output="Nothing is booked")
    run = await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    assert [set(await harness.results(run, trace)) for trace in traces] == [
        {"loop_detection"},  # skipped without an earlier answer, so there is no signal to reuse
        set(SIGNALS),
        {"loop_detection"},  # its window holds the changed output
        {"loop_detection"},
        {"loop_detection"},
    ]


async def test_ids_and_names_do_not_change_evidence():
    harness = EvaluationHarness()
    [trace] = harness.session(1)
    await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    asked = len(harness.judge.asked)
    harness.change(trace, name="renamed", user_id="another")
    await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    assert len(harness.judge.asked) == asked


async def _annotate(harness: EvaluationHarness, trace: Trace, **overrides: Any) -> None:
    fields: dict[str, Any] = {
        "id": ScoreId(uuid.uuid4()),
        "project_id": harness.project,
        "trace_id": trace.id,
        "name": "confidence",
        "outcome": ScoreOutcome.SCORED,
        "value": "0.0",
        "source": ScoreSource.ANNOTATION,
        "created_at": at(100),
        "updated_at": at(100),
    }
    await harness.ports.trace_scores.add(TraceScore(**fields | overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        {"data_type": DataType.BOOLEAN, "value": "false"},
        {"data_type": DataType.CATEGORICAL, "value": "low"},
        {"value": "0.0"},
        {"source": ScoreSource.PROGRAMMATIC},
    ],
    ids=["boolean", "categorical", "numeric", "programmatic"],
)
async def test_score_by_person_is_not_used_as_signal(overrides):
    """The score has everything else that a signal has."""
    harness = EvaluationHarness(judge=scripted_judge(Scored(0.9, "")))
    [trace] = harness.session(1)
    first = await harness.run("agent_consistency", "chat")
    await harness.work()
    automated = (await harness.scores_of_run(first))[str(trace.id), "confidence"]
    await _annotate(harness, trace, metadata=automated.metadata, **overrides)
    del harness.store.trace_scores[harness.project, automated.id]
    harness.store.verdicts.clear()
    asked = len(harness.judge.asked)
    run = await harness.run("agent_consistency", "chat")
    await harness.work()
    assert asked_metrics(harness)[asked:] == ["confidence"]
    assert await harness.results(run, "chat") == await harness.results(first, "chat")


async def test_signal_corrected_by_person_is_kept_and_not_reused():
    harness = EvaluationHarness(judge=scripted_judge(Scored(0.9, "")))
    [trace] = harness.session(1)
    first = await harness.run("agent_consistency", "chat")
    await harness.work()
    await harness.patch(first, trace, "confidence", "0.0")
    second = await harness.run("agent_consistency", "chat")
    await harness.work()
    assert await harness.results(second, "chat") == await harness.results(first, "chat")
    assert (await harness.results(first, trace))["confidence"] == "0.0"
    assert (await harness.results(second, trace))["confidence"] == "0.9"


async def test_signals_of_another_project_are_not_reused():
    harness = EvaluationHarness()
    [trace] = harness.session(1)
    await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    other = replace(harness, project=THEIRS)
    harness.store.traces[THEIRS, trace.id] = trace
    asked = len(harness.judge.asked)
    run = await other.run(SESSION_METRICS, "chat")
    await other.work()
    assert len(harness.judge.asked) == asked + 2
    assert set(await other.results(run, trace)) == set(SIGNALS)


# --- missing signals -------------------------------------------------------------------------


async def test_failed_signal_is_left_out_and_evaluated_by_next_run():
    bad = JudgeRefused(FailCode.BAD_VERDICT)
    harness = EvaluationHarness(judge=ScriptedJudge({"confidence": [bad, Scored(0.9, "")]}))
    traces = harness.session(1)
    first = await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    assert (await harness.results(first, traces[0]))["confidence"] == "bad_verdict"
    results = await harness.results(first, "chat")
    assert results["agent_consistency"] == "insufficient_signals"
    assert float(results["agent_reliability"]) > 0
    progress = await harness.progress(first)
    assert (progress.tally.failed, progress.tally.skipped) == (0, 1), (
        "the tally counts session metrics only"
    )
    second = await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    assert (await harness.results(second, traces[0]))["confidence"] == "0.9"
    assert float((await harness.results(second, "chat"))["agent_consistency"]) > 0


async def test_session_without_signals_gets_no_score():
    harness = EvaluationHarness(judge=scripted_judge(JudgeRefused(FailCode.REJECTED)))
    harness.put(model("hi"), session_id="chat", output="", started_at=at(0))
    harness.put(session_id="chat", output="", started_at=at(1))
    run = await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    assert set((await harness.results(run, "chat")).values()) == {"insufficient_signals"}
    scores = await harness.scores_of_run(run)
    assert not [one for one in scores.values() if one.outcome is ScoreOutcome.SCORED]
    skipped = scores["chat", "agent_reliability"]
    assert metadata(skipped)["coverage"] == "0.0"
    assert "2 signals failed and 6 were skipped" in skipped.reason


async def test_refused_credentials_cost_one_question_and_session_results():
    harness = EvaluationHarness(judge=scripted_judge(AUTH))
    traces = harness.session(4)
    run = await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    assert len(harness.judge.asked) == 1
    assert set((await harness.results(run, "chat")).values()) == {"insufficient_signals"}
    codes = [(await harness.results(run, trace))[name] for trace in traces for name in JUDGED]
    assert sorted(codes) == ["auth", *["circuit_open"] * 7]


async def test_session_without_traces_fails_with_target_gone():
    harness = EvaluationHarness()
    run = await harness.run(SESSION_METRICS, "unknown")
    await harness.work()
    assert set((await harness.results(run, "unknown")).values()) == {"target_gone"}
    assert (await harness.progress(run)).run.status is RunStatus.FAILED


async def test_too_large_session_is_refused_without_reading():
    harness = EvaluationHarness()
    harness.session(SESSION_TRACES_MAX + 1)
    run = await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    assert set((await harness.results(run, "chat")).values()) == {"trace_too_large"}
    assert harness.judge.asked == harness.embedder.asked == []
    assert len(await harness.scores_of_run(run)) == 2


async def test_too_large_trace_counts_as_trace_without_signals():
    harness = EvaluationHarness()
    small, large = harness.session(1)[0], harness.put(model("a"), model("b"), session_id="chat")
    run = await harness.run(SESSION_METRICS, "chat")
    targets = MemoryTargets(harness.store, spans_max=1)
    await harness.work(harness.use_cases(replace(harness.ports, targets=targets)))
    assert await harness.results(run, large) == dict.fromkeys(SIGNALS, "trace_too_large")
    assert (await harness.results(run, small))["confidence"] == "0.8"
    fields = metadata((await harness.scores_of_run(run))["chat", "agent_reliability"])
    assert (fields["coverage"], fields["total_traces_in_session"]) == ("0.5", "2")


@dataclass(frozen=True, slots=True)
class ReplacedTarget(MemoryTargets):
    """Raises or returns `replacement` instead of loading the trace `replaced`."""

    replaced: TraceId | None = None
    replacement: Any = None

    async def load_trace(self, project: ProjectId, trace: TraceId) -> Any:
        if trace != self.replaced:
            return await super(ReplacedTarget, self).load_trace(project, trace)
        if isinstance(self.replacement, Exception):
            raise self.replacement
        return self.replacement


async def test_concurrently_deleted_trace_is_not_counted():
    harness = EvaluationHarness()
    traces = harness.session(3)
    run = await harness.run(SESSION_METRICS, "chat")
    missing = await harness.ports.targets.load_trace(harness.project, TraceId(uuid.uuid4()))
    targets = ReplacedTarget(harness.store, replaced=traces[1].id, replacement=missing)
    await harness.work(harness.use_cases(replace(harness.ports, targets=targets)))
    assert await harness.results(run, traces[1]) == {}
    fields = metadata((await harness.scores_of_run(run))["chat", "agent_reliability"])
    assert fields["total_traces_in_session"] == "2"


async def test_unreadable_trace_counts_as_trace_without_signals():
    harness = EvaluationHarness()
    traces = harness.session(3)
    run = await harness.run(SESSION_METRICS, "chat")
    targets = ReplacedTarget(
        harness.store, replaced=traces[1].id, replacement=ValueError("not JSON")
    )
    await harness.work(harness.use_cases(replace(harness.ports, targets=targets)))
    assert await harness.results(run, traces[1]) == dict.fromkeys(SIGNALS, "internal")
    assert {score for score, _ in harness.faults} == {
        run.score_id(str(traces[1].id), name) for name in SIGNALS
    }
    assert (
        metadata((await harness.scores_of_run(run))["chat", "agent_reliability"])["coverage"]
        == "0.6667"
    )


async def test_exception_fails_only_its_signal():
    harness = EvaluationHarness(judge=ScriptedJudge({"tool_correctness": [RuntimeError("odd")]}))
    [trace] = harness.session(1)
    run = await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    assert (await harness.results(run, trace))["tool_correctness"] == "internal"
    assert [score for score, _ in harness.faults] == [
        run.score_id(str(trace.id), "tool_correctness")
    ]
    assert float((await harness.results(run, "chat"))["agent_consistency"]) > 0


# --- an unavailable judge --------------------------------------------------------------------


async def test_unanswered_signal_is_not_stored_and_retried():
    harness = EvaluationHarness(judge=ScriptedJudge({"confidence": [DOWN, Scored(0.9, "")]}))
    [trace] = harness.session(1)
    run = await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    assert "confidence" not in await harness.results(run, trace)
    assert set((await harness.results(run, "chat")).values()) == {"pending"}
    await harness.attempts(2)
    assert asked_metrics(harness) == ["confidence", "tool_correctness", "confidence"]
    assert (await harness.results(run, trace))["confidence"] == "0.9"
    assert float((await harness.results(run, "chat"))["agent_consistency"]) > 0


async def test_failed_signal_is_stored_only_after_last_attempt():
    """A stored score would prevent evaluation in the next attempt."""
    script = {
        "confidence": [DOWN, Scored(0.9, "")],
        "tool_correctness": [JudgeRefused(FailCode.BAD_VERDICT), Scored(0.7, "")],
    }
    harness = EvaluationHarness(judge=ScriptedJudge(script))
    [trace] = harness.session(1)
    run = await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    assert set(await harness.results(run, trace)) == {"coherence", "loop_detection"}
    await harness.attempts(2)
    assert (await harness.results(run, trace))["tool_correctness"] == "0.7"


async def test_unavailable_judge_leaves_session_without_score():
    harness = EvaluationHarness(judge=scripted_judge(DOWN))
    traces = harness.session(3)
    run = await harness.run(SESSION_METRICS, "chat")
    await harness.attempts(ATTEMPTS_MAX)
    results = await harness.results(run, "chat")
    assert session_results(results) == ["judge_unreachable", "judge_unreachable"]
    for trace in traces:
        signals = await harness.results(run, trace)
        assert {signals[name] for name in JUDGED} == {"judge_unreachable"}
    progress = await harness.progress(run)
    assert progress.run.status is RunStatus.FAILED
    assert progress.run.error_message == "judge_unreachable: 2 of 2 failed executions"


async def test_answered_signals_count_and_others_are_left_out_after_last_attempt():
    harness = EvaluationHarness(
        judge=ScriptedJudge({"confidence": [DOWN], "tool_correctness": [Scored(0.5, "")]})
    )
    harness.session(2)
    run = await harness.run(SESSION_METRICS, "chat")
    await harness.attempts(ATTEMPTS_MAX - 1)
    assert set((await harness.results(run, "chat")).values()) == {"pending"}
    await harness.attempts(2)
    results = await harness.results(run, "chat")
    assert results["agent_consistency"] == "insufficient_signals"
    assert 0 < float(results["agent_reliability"]) <= 0.6
    assert asked_metrics(harness).count("tool_correctness") == 2, (
        "answered questions are not asked again"
    )


async def test_unavailable_judge_is_not_asked_about_every_trace():
    harness = EvaluationHarness(
        judge=scripted_judge(DOWN), policy=replace(EvaluationHarness().policy, concurrent_traces=1)
    )
    harness.session(20)
    run = await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    questions = len(harness.judge.asked)
    assert UNANSWERED_MAX <= questions <= UNANSWERED_MAX + 1
    await harness.attempts(ATTEMPTS_MAX + 1)
    assert len(harness.judge.asked) <= ATTEMPTS_MAX * (UNANSWERED_MAX + 1)
    assert set((await harness.results(run, "chat")).values()) == {"judge_unreachable"}
    assert len(await harness.scores_of_run(run)) == 2 + 20 * len(SIGNALS)


async def test_answer_resets_count_of_unanswered_questions():
    mostly_down = [DOWN, DOWN, Scored(0.9, "")] * 10
    harness = EvaluationHarness(
        judge=ScriptedJudge({"confidence": mostly_down}),
        policy=replace(EvaluationHarness().policy, concurrent_traces=1),
    )
    for n in range(9):
        harness.put(model("hi"), session_id="chat", started_at=at(n), output=f"Answer {n}")
    run = await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    assert len(harness.judge.asked) == 9
    assert len([key for key in await harness.scores_of_run(run) if key[1] == "confidence"]) == 3


async def test_unavailable_embedder_fails_only_its_signals():
    harness = EvaluationHarness(
        embedder=ScriptedEmbedder(script=[JudgeUnavailable(FailCode.RATE_LIMITED)])
    )
    traces = harness.session(2)
    run = await harness.run(SESSION_METRICS, "chat")
    await harness.attempts(ATTEMPTS_MAX)
    assert (await harness.results(run, traces[1]))["coherence"] == "rate_limited"
    assert (await harness.results(run, traces[1]))["confidence"] == "0.8"
    assert session_results(await harness.results(run, "chat")) == ["0.768", "0.8"]


# --- concurrency -----------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3])
async def test_concurrent_traces_of_session_are_limited(limit):
    harness = EvaluationHarness(policy=replace(EvaluationHarness().policy, concurrent_traces=limit))
    harness.session(8)
    await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    assert harness.judge.most_at_once <= limit * len(JUDGED)
    assert len(harness.judge.asked) == 8 * len(JUDGED)


async def test_session_of_cancelled_run_causes_no_further_question():
    harness = EvaluationHarness(policy=replace(EvaluationHarness().policy, concurrent_traces=1))
    traces = harness.session(5)
    run = await harness.run(SESSION_METRICS, "chat")
    harness.judge.gate = asyncio.Event()
    working = asyncio.create_task(harness.work())
    await until(lambda: harness.judge.asked)
    await harness.cancel(run)
    harness.judge.gate.set()
    await working
    assert len({one.evidence.hash for one in harness.judge.asked}) == 1, (
        "only questions about the first trace"
    )
    assert await harness.results(run, traces[1]) == {}
    assert set((await harness.results(run, "chat")).values()) == {"cancelled"}
    assert (await harness.progress(run)).run.status is RunStatus.CANCELLED


@dataclass(frozen=True, slots=True)
class SlowTargets(MemoryTargets):
    """Takes more than half of a lease for each trace, while a worker requeues overdue targets."""

    harness: EvaluationHarness = field(default_factory=EvaluationHarness)
    overdue: list[int] = field(default_factory=list)

    async def load_trace(self, project: ProjectId, trace: TraceId) -> Any:
        self.harness.forward(seconds=90)
        self.overdue.append(await self.harness.use_cases().requeue_overdue())
        return await super(SlowTargets, self).load_trace(project, trace)


async def test_stored_signals_renew_lease():
    """Reading stored signals writes nothing, but can take longer than a lease."""
    harness = EvaluationHarness(policy=replace(EvaluationHarness().policy, concurrent_traces=1))
    harness.session(5)
    await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    run = await harness.run(SESSION_METRICS, "chat")
    targets = SlowTargets(harness.store, harness=harness)
    await harness.work(harness.use_cases(replace(harness.ports, targets=targets)))
    assert targets.overdue == [0] * 5
    assert (await harness.progress(run)).run.status is RunStatus.COMPLETED


@dataclass(frozen=True, slots=True)
class DeletedSignals(MemoryWorkQueue):
    """Deletes signals as soon as they are found."""

    harness: EvaluationHarness = field(default_factory=EvaluationHarness)

    async def find_signals(
        self, project: ProjectId, trace: TraceId, wanted: Mapping[str, SignalKey]
    ) -> Sequence[TraceScore]:
        found = await super(DeletedSignals, self).find_signals(project, trace, wanted)
        for score in found:
            assert await self.harness.ports.trace_scores.delete(project, score.id)
        return found


async def test_signal_deleted_during_use_stays_deleted():
    harness = EvaluationHarness()
    traces = harness.session(2)
    await harness.run(SESSION_METRICS, "chat")
    await harness.work()
    known = {score.name for score in await harness.scores_of(traces[1])}
    run = await harness.run(SESSION_METRICS, "chat")
    await harness.work(
        harness.use_cases(
            replace(harness.ports, work_queue=DeletedSignals(harness.store, harness=harness))
        )
    )
    assert (await harness.progress(run)).run.status is RunStatus.COMPLETED
    assert (known, await harness.scores_of(traces[1])) == (set(DEFAULT_WEIGHTS), [])
