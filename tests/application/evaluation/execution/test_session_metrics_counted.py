"""Counted session metrics in a run: they need no judge, and store no text."""

from dataclasses import replace
from decimal import Decimal

from adapters.memory.evaluation.scripted_judge import ScriptedJudge
from application.evaluation.ports.work_queue import ATTEMPTS_MAX
from application.evaluation.runs.run_rules import RunRequest
from application.jobs import EvaluateTargetJob
from domain.evaluation.judging.judge import JudgeUnavailable
from domain.evaluation.runs.run import RunStatus, TargetType
from domain.evaluation.runs.selection import SessionSelection
from domain.evaluation.scores.outcome import FailCode
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.messages import MessageText
from domain.tracing.trace import TraceStatus
from tests.application.evaluation.execution.test_evaluate_sessions import ReplacedTarget
from tests.support.builders.values import at
from tests.support.fixtures.evaluation.evaluation_harness import EvaluationHarness, metadata

COUNTED = "outcome_consistency session_error_rate user_repetition"
UNAVAILABLE = (JudgeUnavailable(FailCode.JUDGE_UNREACHABLE),)


def put_session(harness: EvaluationHarness, *inputs: str, failed: tuple[int, ...] = ()) -> None:
    """Store a session with these inputs, one per minute."""
    for index, text in enumerate(inputs):
        harness.put(
            session_id="chat",
            started_at=at(60 * index),
            input={"messages": [{"role": "user", "content": text}]},
            status=TraceStatus.ERROR if index in failed else TraceStatus.COMPLETED,
        )


async def test_counted_metrics_need_no_judge():
    harness = EvaluationHarness()
    put_session(
        harness,
        "Where is my parcel?",
        "Who are you there?",
        "where is MY parcel?",
        "ok",
        failed=(2,),
    )
    run = await harness.run(COUNTED, "chat")
    assert harness.jobs.sent == [
        EvaluateTargetJob(harness.project, run.id, "chat", asks_judge=False)
    ]
    await harness.work()
    assert (harness.judge.asked, harness.embedder.asked) == ([], [])
    assert await harness.results(run, "chat") == {
        "outcome_consistency": "0.0",
        "session_error_rate": "0.75",
        "user_repetition": "0.5",
    }
    scores = await harness.scores_of_run(run)
    assert {target for target, _ in scores} == {"chat"}  # and no trace
    fields = [metadata(score) for score in scores.values()]
    assert {each["judge_kind"] for each in fields} == {'"measured"'}
    assert len({each["fingerprint"] for each in fields}) == 3
    assert {name: metadata(one)["success"] for (_, name), one in scores.items()} == {
        "outcome_consistency": "false",
        "session_error_rate": "true",
        "user_repetition": "true",
    }
    assert not any("parcel" in str(score) for score in scores.values())


async def test_weights_affect_neither_value_nor_fingerprint():
    harness = EvaluationHarness()
    put_session(harness, "Where is my parcel?", "Where is my parcel?", failed=(0,))
    results = []
    for weights in ({}, {"trace_success": 0.0, "confidence": 2.0}):
        run = await harness.run(COUNTED, "chat", signal_weights=weights)
        await harness.work()
        scores = await harness.scores_of_run(run)
        results.append({name: (one.value, metadata(one)["fingerprint"])
                     for (_, name), one in scores.items()})  # fmt: skip
    assert results[0] == results[1]
    assert harness.judge.asked == []


async def test_unavailable_judge_delays_no_counted_metric():
    harness = EvaluationHarness(
        judge=ScriptedJudge({"confidence": UNAVAILABLE, "tool_correctness": UNAVAILABLE})
    )
    put_session(harness, "Where is my parcel?", "Where is my parcel?")
    run = await harness.run(f"agent_reliability {COUNTED}", "chat")
    await harness.attempts(ATTEMPTS_MAX)
    assert await harness.results(run, "chat") == {
        "agent_reliability": "judge_unreachable",
        "outcome_consistency": "1.0",
        "session_error_rate": "1.0",
        "user_repetition": "0.0",
    }
    assert (await harness.progress(run)).run.status is RunStatus.COMPLETED


async def test_unreadable_session_has_no_number():
    harness = EvaluationHarness()
    [trace] = harness.session(1)
    run = await harness.run(COUNTED, "chat")
    targets = ReplacedTarget(harness.store, replaced=trace.id, replacement=ValueError("not JSON"))
    await harness.work(harness.use_cases(replace(harness.ports, targets=targets)))
    assert set((await harness.results(run, "chat")).values()) == {"insufficient_signals"}


async def test_counted_metrics_cost_nothing():
    harness = EvaluationHarness()
    harness.session(3)
    found = await harness.use_cases().estimate_run(
        harness.project,
        TargetType.SESSION,
        RunRequest(metrics=COUNTED.split(), model="openai/gpt-4o"),
        SessionSelection(),
    )
    assert (found.targets, found.looked_at) == (1, 0)
    assert found.questions.high == Decimal(0)


class BrokenTrace(EvaluatedTrace):
    @property
    def request(self) -> MessageText:
        raise ValueError("odd")


async def test_broken_input_affects_only_its_trace():
    harness = EvaluationHarness()
    put_session(harness, "Where is my parcel?", "Where is my parcel?", "Who are you there?")
    broken = max(harness.store.traces.values(), key=lambda one: one.started_at)
    run = await harness.run(COUNTED, "chat")
    targets = ReplacedTarget(harness.store, replaced=broken.id, replacement=BrokenTrace(broken))
    await harness.work(harness.use_cases(replace(harness.ports, targets=targets)))
    assert await harness.results(run, "chat") == {
        "outcome_consistency": "1.0",
        "session_error_rate": "1.0",
        "user_repetition": "0.0",
    }
    assert [(score, str(fault)) for score, fault in harness.faults] == [
        (run.score_id(str(broken.id), "trace_success"), "odd")
    ]
