"""Sessions in a run: signals are used again or evaluated, and aggregated to session scores."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from adapters.judges.heuristic import HeuristicJudge
from adapters.memory.evaluation.runs import MemoryTargets, MemoryWorkQueue
from adapters.memory.evaluation.scripted_judge import ScriptedEmbedder, ScriptedJudge
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
from tests.support.fixtures.evaluation_harness import Laboratory, metadata

BOTH = "agent_consistency agent_reliability"
SIGNALS = tuple(DEFAULT_WEIGHTS)
JUDGED = ("confidence", "tool_correctness")
AUTH = JudgeRefused(FailCode.AUTH)
DOWN = JudgeUnavailable(FailCode.JUDGE_UNREACHABLE)


def judged(*told: Any) -> ScriptedJudge:
    """Both judged signals get the same answers, question by question."""
    return ScriptedJudge(dict.fromkeys(JUDGED, told))


def asked_of(lab: Laboratory) -> list[str]:
    return [question.metric.name for question in lab.judge.asked]


def session_score(told: dict[str, str]) -> list[str]:
    return [told["agent_consistency"], told["agent_reliability"]]


# --- what is stored --------------------------------------------------------------------------


async def test_signals_are_stored_as_trace_scores_and_aggregated():
    lab = Laboratory(judge=judged(Scored(0.6, "so so")))
    traces = lab.session(2, environment="production")
    run = await lab.run(BOTH, "chat")
    assert await lab.work() == 1
    assert [await lab.told(run, trace) for trace in traces] == [
        {
            "confidence": "0.6",
            "coherence": (await lab.told(run, traces[0]))["coherence"],
            "loop_detection": "no_previous_traces",
            "tool_correctness": "0.6",
        },
        {
            "confidence": "0.6",
            "coherence": (await lab.told(run, traces[1]))["coherence"],
            "loop_detection": (await lab.told(run, traces[1]))["loop_detection"],
            "tool_correctness": "0.6",
        },
    ]
    for trace in traces:
        for score in await lab.scores_of(trace):
            assert score.id == run.score_id(str(trace.id), score.name)
            assert (score.run_id, score.environment) == (run.id, "production")
            assert score.source is ScoreSource.AUTOMATED
    scores = await lab.of_run(run)
    marks = metadata(scores["chat", "agent_reliability"])
    assert marks["total_traces_in_session"] == marks["traces_evaluated"] == "2"
    assert marks["coverage"] == "1.0"
    assert marks["judge_kind"] == '"model"'
    assert {"threshold", "success", "fingerprint", "model", "per_trace_signals"} <= set(marks)
    progress = await lab.progress(run)
    assert progress.run.status is RunStatus.COMPLETED
    assert (progress.tally.scored, progress.tally.failed, progress.tally.skipped) == (2, 0, 0)


async def test_heuristic_judge_scores_session():
    lab = Laboratory()
    lab.session(3)
    run = await lab.run(BOTH, "chat", model="heuristic/1")
    await lab.work(lab.over(replace(lab.ports, judge=HeuristicJudge())))
    score = (await lab.of_run(run))["chat", "agent_reliability"]
    assert score.outcome is ScoreOutcome.SCORED
    assert metadata(score)["judge_kind"] == '"heuristic"'


async def test_sessions_with_same_judge_and_weights_have_same_fingerprint():
    lab = Laboratory()
    lab.session(2, "one")
    lab.session(3, "two")
    lab.put(model("hi"), session_id="without tools")
    first = await lab.run(BOTH, "one", "two", "without tools")
    await lab.work()
    prints = {
        key: metadata(score)["fingerprint"]
        for key, score in (await lab.of_run(first)).items()
        if key[1] in BOTH
    }
    assert len(prints) == 6
    assert len(set(prints.values())) == 2, "one of each metric"
    second = await lab.run(BOTH, "one", signal_weights={"confidence": 0.5})
    lab.judge.revision = "scripted/2"
    third = await lab.run(BOTH, "one")
    await lab.work()
    for other in (second, third):
        score = (await lab.of_run(other))["one", "agent_reliability"]
        assert metadata(score)["fingerprint"] not in prints.values()


async def test_weights_of_run_override_defaults():
    lab = Laboratory(judge=judged(Scored(0.5, "")))
    lab.put(session_id="chat", output="book a flight to Oslo")
    usual = await lab.run("agent_reliability", "chat")
    light = await lab.run("agent_reliability", "chat", signal_weights={"confidence": 0.1})
    await lab.work()
    assert await lab.told(usual, "chat") == {"agent_reliability": "0.5"}
    assert await lab.told(light, "chat") == {"agent_reliability": "0.6"}


# --- known signals ---------------------------------------------------------------------------


async def test_stored_signals_are_reused_without_question():
    lab = Laboratory()
    traces = lab.session(3)
    first = await lab.run(BOTH, "chat")
    await lab.work()
    before = len(lab.judge.asked), len(lab.embedder.asked)
    second = await lab.run(BOTH, "chat")
    await lab.work()
    assert (len(lab.judge.asked), len(lab.embedder.asked)) == before
    assert await lab.told(second, "chat") == await lab.told(first, "chat")
    assert await lab.told(second, traces[0]) == {"loop_detection": "no_previous_traces"}
    assert await lab.told(second, traces[1]) == {}


async def test_scores_of_trace_run_are_used_as_signals():
    lab = Laboratory()
    [trace] = lab.session(1)
    await lab.run("confidence coherence tool_correctness", trace)
    await lab.work()
    asked = len(lab.judge.asked)
    run = await lab.run(BOTH, "chat")
    await lab.work()
    assert len(lab.judge.asked) == asked
    assert set(await lab.told(run, trace)) == {"loop_detection"}
    assert (await lab.of_run(run))["chat", "agent_consistency"].outcome is ScoreOutcome.SCORED


async def test_signals_with_other_fingerprint_are_evaluated_again():
    lab = Laboratory()
    traces = lab.session(2)
    await lab.run(BOTH, "chat")
    await lab.work()
    lab.judge.revision = "scripted/2"
    run = await lab.run(BOTH, "chat")
    await lab.work()
    assert set(await lab.told(run, traces[1])) == set(JUDGED)
    lab.embedder = ScriptedEmbedder("scripted/other")
    run = await lab.run(BOTH, "chat")
    await lab.work()
    assert set(await lab.told(run, traces[1])) == {"coherence", "loop_detection"}


async def test_only_changed_trace_is_evaluated_again():
    lab = Laboratory()
    traces = lab.session(5)
    await lab.run(BOTH, "chat")
    await lab.work()
    lab.change(traces[1], output="Nothing is booked")
    run = await lab.run(BOTH, "chat")
    await lab.work()
    assert [set(await lab.told(run, trace)) for trace in traces] == [
        {"loop_detection"},  # without an earlier answer it is skipped, and not used as a signal
        set(SIGNALS),
        {"loop_detection"},  # its window holds the changed output
        {"loop_detection"},
        {"loop_detection"},
    ]


async def test_ids_and_names_do_not_change_evidence():
    lab = Laboratory()
    [trace] = lab.session(1)
    await lab.run(BOTH, "chat")
    await lab.work()
    asked = len(lab.judge.asked)
    lab.change(trace, name="renamed", user_id="somebody")
    await lab.run(BOTH, "chat")
    await lab.work()
    assert len(lab.judge.asked) == asked


async def _annotated(lab: Laboratory, trace: Trace, **said: Any) -> None:
    known: dict[str, Any] = {
        "id": ScoreId(uuid.uuid4()),
        "project_id": lab.project,
        "trace_id": trace.id,
        "name": "confidence",
        "outcome": ScoreOutcome.SCORED,
        "value": "0.0",
        "source": ScoreSource.ANNOTATION,
        "created_at": at(100),
        "updated_at": at(100),
    }
    await lab.ports.trace_scores.add(TraceScore(**known | said))


@pytest.mark.parametrize(
    "said",
    [
        {"data_type": DataType.BOOLEAN, "value": "false"},
        {"data_type": DataType.CATEGORICAL, "value": "low"},
        {"value": "0.0"},
        {"source": ScoreSource.PROGRAMMATIC},
    ],
    ids=["boolean", "categorical", "numeric", "a program's"],
)
async def test_score_by_person_is_not_used_as_signal(said):
    """Even if everything else about it looks like a signal."""
    lab = Laboratory(judge=judged(Scored(0.9, "")))
    [trace] = lab.session(1)
    first = await lab.run("agent_consistency", "chat")
    await lab.work()
    machine = (await lab.of_run(first))[str(trace.id), "confidence"]
    await _annotated(lab, trace, metadata=machine.metadata, **said)
    del lab.store.trace_scores[lab.project, machine.id]
    lab.store.verdicts.clear()
    asked = len(lab.judge.asked)
    run = await lab.run("agent_consistency", "chat")
    await lab.work()
    assert asked_of(lab)[asked:] == ["confidence"]
    assert await lab.told(run, "chat") == await lab.told(first, "chat")


async def test_signal_corrected_by_person_is_kept_and_not_reused():
    lab = Laboratory(judge=judged(Scored(0.9, "")))
    [trace] = lab.session(1)
    first = await lab.run("agent_consistency", "chat")
    await lab.work()
    await lab.patch(first, trace, "confidence", "0.0")
    second = await lab.run("agent_consistency", "chat")
    await lab.work()
    assert await lab.told(second, "chat") == await lab.told(first, "chat")
    assert (await lab.told(first, trace))["confidence"] == "0.0"
    assert (await lab.told(second, trace))["confidence"] == "0.9"


async def test_signals_of_another_project_are_not_reused():
    lab = Laboratory()
    [trace] = lab.session(1)
    await lab.run(BOTH, "chat")
    await lab.work()
    theirs = replace(lab, project=THEIRS)
    lab.store.traces[THEIRS, trace.id] = trace
    asked = len(lab.judge.asked)
    run = await theirs.run(BOTH, "chat")
    await theirs.work()
    assert len(lab.judge.asked) == asked + 2
    assert set(await theirs.told(run, trace)) == set(SIGNALS)


# --- missing signals -------------------------------------------------------------------------


async def test_failed_signal_is_left_out_and_evaluated_by_next_run():
    bad = JudgeRefused(FailCode.BAD_VERDICT)
    lab = Laboratory(judge=ScriptedJudge({"confidence": [bad, Scored(0.9, "")]}))
    traces = lab.session(1)
    first = await lab.run(BOTH, "chat")
    await lab.work()
    assert (await lab.told(first, traces[0]))["confidence"] == "bad_verdict"
    told = await lab.told(first, "chat")
    assert told["agent_consistency"] == "insufficient_signals"
    assert float(told["agent_reliability"]) > 0
    progress = await lab.progress(first)
    assert (progress.tally.failed, progress.tally.skipped) == (0, 1), "of its own metrics only"
    second = await lab.run(BOTH, "chat")
    await lab.work()
    assert (await lab.told(second, traces[0]))["confidence"] == "0.9"
    assert float((await lab.told(second, "chat"))["agent_consistency"]) > 0


async def test_session_without_signals_gets_no_score():
    lab = Laboratory(judge=judged(JudgeRefused(FailCode.REJECTED)))
    lab.put(model("hi"), session_id="chat", output="", started_at=at(0))
    lab.put(session_id="chat", output="", started_at=at(1))
    run = await lab.run(BOTH, "chat")
    await lab.work()
    assert set((await lab.told(run, "chat")).values()) == {"insufficient_signals"}
    scores = await lab.of_run(run)
    assert not [one for one in scores.values() if one.outcome is ScoreOutcome.SCORED]
    skipped = scores["chat", "agent_reliability"]
    assert metadata(skipped)["coverage"] == "0.0"
    assert "2 signals failed and 6 were skipped" in skipped.reason


async def test_refused_credentials_cost_one_question_and_session_score():
    lab = Laboratory(judge=judged(AUTH))
    traces = lab.session(4)
    run = await lab.run(BOTH, "chat")
    await lab.work()
    assert len(lab.judge.asked) == 1
    assert set((await lab.told(run, "chat")).values()) == {"insufficient_signals"}
    codes = [(await lab.told(run, trace))[name] for trace in traces for name in JUDGED]
    assert sorted(codes) == ["auth", *["circuit_open"] * 7]


async def test_session_without_traces_fails_with_target_gone():
    lab = Laboratory()
    run = await lab.run(BOTH, "nobody's")
    await lab.work()
    assert set((await lab.told(run, "nobody's")).values()) == {"target_gone"}
    assert (await lab.progress(run)).run.status is RunStatus.FAILED


async def test_too_large_session_is_refused_without_reading():
    lab = Laboratory()
    lab.session(SESSION_TRACES_MAX + 1)
    run = await lab.run(BOTH, "chat")
    await lab.work()
    assert set((await lab.told(run, "chat")).values()) == {"trace_too_large"}
    assert lab.judge.asked == lab.embedder.asked == []
    assert len(await lab.of_run(run)) == 2


async def test_too_large_trace_counts_as_trace_without_signals():
    lab = Laboratory()
    small, large = lab.session(1)[0], lab.put(model("a"), model("b"), session_id="chat")
    run = await lab.run(BOTH, "chat")
    targets = MemoryTargets(lab.store, spans_max=1)
    await lab.work(lab.over(replace(lab.ports, targets=targets)))
    assert await lab.told(run, large) == dict.fromkeys(SIGNALS, "trace_too_large")
    assert (await lab.told(run, small))["confidence"] == "0.8"
    marks = metadata((await lab.of_run(run))["chat", "agent_reliability"])
    assert (marks["coverage"], marks["total_traces_in_session"]) == ("0.5", "2")


@dataclass(frozen=True, slots=True)
class OddTargets(MemoryTargets):
    """Raises or returns `told` for the trace `odd`."""

    odd: TraceId | None = None
    told: Any = None

    async def load_trace(self, project: ProjectId, trace: TraceId) -> Any:
        if trace != self.odd:
            return await super(OddTargets, self).load_trace(project, trace)
        if isinstance(self.told, Exception):
            raise self.told
        return self.told


async def test_concurrently_deleted_trace_is_not_counted():
    lab = Laboratory()
    traces = lab.session(3)
    run = await lab.run(BOTH, "chat")
    gone = await lab.ports.targets.load_trace(lab.project, TraceId(uuid.uuid4()))
    targets = OddTargets(lab.store, odd=traces[1].id, told=gone)
    await lab.work(lab.over(replace(lab.ports, targets=targets)))
    assert await lab.told(run, traces[1]) == {}
    marks = metadata((await lab.of_run(run))["chat", "agent_reliability"])
    assert marks["total_traces_in_session"] == "2"


async def test_unreadable_trace_counts_as_trace_without_signals():
    lab = Laboratory()
    traces = lab.session(3)
    run = await lab.run(BOTH, "chat")
    targets = OddTargets(lab.store, odd=traces[1].id, told=ValueError("not JSON"))
    await lab.work(lab.over(replace(lab.ports, targets=targets)))
    assert await lab.told(run, traces[1]) == dict.fromkeys(SIGNALS, "internal")
    assert {score for score, _ in lab.faults} == {
        run.score_id(str(traces[1].id), name) for name in SIGNALS
    }
    assert metadata((await lab.of_run(run))["chat", "agent_reliability"])["coverage"] == "0.6667"


async def test_exception_fails_only_its_signal():
    lab = Laboratory(judge=ScriptedJudge({"tool_correctness": [RuntimeError("odd")]}))
    [trace] = lab.session(1)
    run = await lab.run(BOTH, "chat")
    await lab.work()
    assert (await lab.told(run, trace))["tool_correctness"] == "internal"
    assert [score for score, _ in lab.faults] == [run.score_id(str(trace.id), "tool_correctness")]
    assert float((await lab.told(run, "chat"))["agent_consistency"]) > 0


# --- an unavailable judge --------------------------------------------------------------------


async def test_unanswered_signal_is_not_stored_and_retried():
    lab = Laboratory(judge=ScriptedJudge({"confidence": [DOWN, Scored(0.9, "")]}))
    [trace] = lab.session(1)
    run = await lab.run(BOTH, "chat")
    await lab.work()
    assert "confidence" not in await lab.told(run, trace)
    assert set((await lab.told(run, "chat")).values()) == {"pending"}
    await lab.attempts(2)
    assert asked_of(lab) == ["confidence", "tool_correctness", "confidence"]
    assert (await lab.told(run, trace))["confidence"] == "0.9"
    assert float((await lab.told(run, "chat"))["agent_consistency"]) > 0


async def test_failed_signal_is_stored_only_after_last_attempt():
    """Otherwise its score would stand in the way of the next attempt."""
    script = {
        "confidence": [DOWN, Scored(0.9, "")],
        "tool_correctness": [JudgeRefused(FailCode.BAD_VERDICT), Scored(0.7, "")],
    }
    lab = Laboratory(judge=ScriptedJudge(script))
    [trace] = lab.session(1)
    run = await lab.run(BOTH, "chat")
    await lab.work()
    assert set(await lab.told(run, trace)) == {"coherence", "loop_detection"}
    await lab.attempts(2)
    assert (await lab.told(run, trace))["tool_correctness"] == "0.7"


async def test_unavailable_judge_leaves_session_without_score():
    lab = Laboratory(judge=judged(DOWN))
    traces = lab.session(3)
    run = await lab.run(BOTH, "chat")
    await lab.attempts(ATTEMPTS_MAX)
    told = await lab.told(run, "chat")
    assert session_score(told) == ["judge_unreachable", "judge_unreachable"]
    for trace in traces:
        signals = await lab.told(run, trace)
        assert {signals[name] for name in JUDGED} == {"judge_unreachable"}
    progress = await lab.progress(run)
    assert progress.run.status is RunStatus.FAILED
    assert progress.run.error_message == "judge_unreachable: 2 of 2 failed executions"


async def test_answered_signals_count_and_others_are_left_out_after_last_attempt():
    lab = Laboratory(
        judge=ScriptedJudge({"confidence": [DOWN], "tool_correctness": [Scored(0.5, "")]})
    )
    lab.session(2)
    run = await lab.run(BOTH, "chat")
    await lab.attempts(ATTEMPTS_MAX - 1)
    assert set((await lab.told(run, "chat")).values()) == {"pending"}
    await lab.attempts(2)
    told = await lab.told(run, "chat")
    assert told["agent_consistency"] == "insufficient_signals"
    assert 0 < float(told["agent_reliability"]) <= 0.6
    assert asked_of(lab).count("tool_correctness") == 2, "what was answered is not asked again"


async def test_unavailable_judge_is_not_asked_about_every_trace():
    lab = Laboratory(judge=judged(DOWN), policy=replace(Laboratory().policy, concurrent_traces=1))
    lab.session(20)
    run = await lab.run(BOTH, "chat")
    await lab.work()
    questions = len(lab.judge.asked)
    assert UNANSWERED_MAX <= questions <= UNANSWERED_MAX + 1
    await lab.attempts(ATTEMPTS_MAX + 1)
    assert len(lab.judge.asked) <= ATTEMPTS_MAX * (UNANSWERED_MAX + 1)
    assert set((await lab.told(run, "chat")).values()) == {"judge_unreachable"}
    assert len(await lab.of_run(run)) == 2 + 20 * len(SIGNALS)


async def test_answer_resets_count_of_unanswered_questions():
    now_and_then = [DOWN, DOWN, Scored(0.9, "")] * 10
    lab = Laboratory(
        judge=ScriptedJudge({"confidence": now_and_then}),
        policy=replace(Laboratory().policy, concurrent_traces=1),
    )
    for n in range(9):
        lab.put(model("hi"), session_id="chat", started_at=at(n), output=f"Answer {n}")
    run = await lab.run(BOTH, "chat")
    await lab.work()
    assert len(lab.judge.asked) == 9
    assert len([key for key in await lab.of_run(run) if key[1] == "confidence"]) == 3


async def test_unavailable_embedder_fails_only_its_signals():
    lab = Laboratory(embedder=ScriptedEmbedder(script=[JudgeUnavailable(FailCode.RATE_LIMITED)]))
    traces = lab.session(2)
    run = await lab.run(BOTH, "chat")
    await lab.attempts(ATTEMPTS_MAX)
    assert (await lab.told(run, traces[1]))["coherence"] == "rate_limited"
    assert (await lab.told(run, traces[1]))["confidence"] == "0.8"
    assert session_score(await lab.told(run, "chat")) == ["0.768", "0.8"]


# --- concurrency -----------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3])
async def test_concurrent_traces_of_session_are_limited(limit):
    lab = Laboratory(policy=replace(Laboratory().policy, concurrent_traces=limit))
    lab.session(8)
    await lab.run(BOTH, "chat")
    await lab.work()
    assert lab.judge.most_at_once <= limit * len(JUDGED)
    assert len(lab.judge.asked) == 8 * len(JUDGED)


async def test_session_of_cancelled_run_causes_no_further_question():
    lab = Laboratory(policy=replace(Laboratory().policy, concurrent_traces=1))
    traces = lab.session(5)
    run = await lab.run(BOTH, "chat")
    lab.judge.gate = asyncio.Event()
    working = asyncio.create_task(lab.work())
    while not lab.judge.asked:
        await asyncio.sleep(0)
    await lab.cancel(run)
    lab.judge.gate.set()
    await working
    assert len({one.evidence.hash for one in lab.judge.asked}) == 1, "of the first trace only"
    assert await lab.told(run, traces[1]) == {}
    assert set((await lab.told(run, "chat")).values()) == {"cancelled"}
    assert (await lab.progress(run)).run.status is RunStatus.CANCELLED


@dataclass(frozen=True, slots=True)
class SlowTargets(MemoryTargets):
    """Takes more than half of a lease for each trace, while a worker requeues overdue targets."""

    lab: Laboratory = field(default_factory=Laboratory)
    overdue: list[int] = field(default_factory=list)

    async def load_trace(self, project: ProjectId, trace: TraceId) -> Any:
        self.lab.forward(seconds=90)
        self.overdue.append(await self.lab.over().requeue_overdue())
        return await super(SlowTargets, self).load_trace(project, trace)


async def test_stored_signals_renew_lease():
    """A session whose signals are all known stores nothing, but takes its time."""
    lab = Laboratory(policy=replace(Laboratory().policy, concurrent_traces=1))
    lab.session(5)
    await lab.run(BOTH, "chat")
    await lab.work()
    run = await lab.run(BOTH, "chat")
    targets = SlowTargets(lab.store, lab=lab)
    await lab.work(lab.over(replace(lab.ports, targets=targets)))
    assert targets.overdue == [0] * 5
    assert (await lab.progress(run)).run.status is RunStatus.COMPLETED


@dataclass(frozen=True, slots=True)
class WithdrawnSignals(MemoryWorkQueue):
    """Deletes signals as soon as they were found."""

    lab: Laboratory = field(default_factory=Laboratory)

    async def find_signals(
        self, project: ProjectId, trace: TraceId, wanted: Mapping[str, SignalKey]
    ) -> Sequence[TraceScore]:
        found = await super(WithdrawnSignals, self).find_signals(project, trace, wanted)
        for score in found:
            assert await self.lab.ports.trace_scores.delete(project, score.id)
        return found


async def test_signal_deleted_during_use_stays_deleted():
    lab = Laboratory()
    traces = lab.session(2)
    await lab.run(BOTH, "chat")
    await lab.work()
    known = {score.name for score in await lab.scores_of(traces[1])}
    run = await lab.run(BOTH, "chat")
    await lab.work(lab.over(replace(lab.ports, work_queue=WithdrawnSignals(lab.store, lab=lab))))
    assert (await lab.progress(run)).run.status is RunStatus.COMPLETED
    assert (known, await lab.scores_of(traces[1])) == (set(DEFAULT_WEIGHTS), [])
