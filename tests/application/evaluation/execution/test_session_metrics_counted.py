"""Session metrics that are counted, in a run: they need no judge, and store no text."""

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
from tests.application.evaluation.execution.test_evaluate_sessions import OddTargets
from tests.support.builders.values import at
from tests.support.fixtures.evaluation_harness import Laboratory, metadata

COUNTED = "outcome_consistency session_error_rate user_repetition"
NOBODY = (JudgeUnavailable(FailCode.JUDGE_UNREACHABLE),)


def put(lab: Laboratory, *asked: str, failed: tuple[int, ...] = ()) -> None:
    """A session of these inputs, a minute after each other."""
    for place, text in enumerate(asked):
        lab.put(
            session_id="chat",
            started_at=at(60 * place),
            input={"messages": [{"role": "user", "content": text}]},
            status=TraceStatus.ERROR if place in failed else TraceStatus.COMPLETED,
        )


async def test_counted_metrics_need_no_judge():
    lab = Laboratory()
    put(lab, "Where is my parcel?", "Who are you there?", "where is MY parcel?", "ok", failed=(2,))
    run = await lab.run(COUNTED, "chat")
    assert lab.jobs.sent == [EvaluateTargetJob(lab.project, run.id, "chat", asks_judge=False)]
    await lab.work()
    assert (lab.judge.asked, lab.embedder.asked) == ([], [])
    assert await lab.told(run, "chat") == {
        "outcome_consistency": "0.0",
        "session_error_rate": "0.75",
        "user_repetition": "0.5",
    }
    scores = await lab.of_run(run)
    assert {target for target, _ in scores} == {"chat"}  # none of a trace
    marks = [metadata(score) for score in scores.values()]
    assert {each["judge_kind"] for each in marks} == {'"measured"'}
    assert len({each["fingerprint"] for each in marks}) == 3
    assert {name: metadata(one)["success"] for (_, name), one in scores.items()} == {
        "outcome_consistency": "false",
        "session_error_rate": "true",
        "user_repetition": "true",
    }
    assert not any("parcel" in str(score) for score in scores.values())


async def test_weights_affect_neither_value_nor_fingerprint():
    lab = Laboratory()
    put(lab, "Where is my parcel?", "Where is my parcel?", failed=(0,))
    told = []
    for weights in ({}, {"trace_success": 0.0, "confidence": 2.0}):
        run = await lab.run(COUNTED, "chat", signal_weights=weights)
        await lab.work()
        scores = await lab.of_run(run)
        told.append({name: (one.value, metadata(one)["fingerprint"])
                     for (_, name), one in scores.items()})  # fmt: skip
    assert told[0] == told[1]
    assert lab.judge.asked == []


async def test_unavailable_judge_delays_no_counted_metric():
    lab = Laboratory(judge=ScriptedJudge({"confidence": NOBODY, "tool_correctness": NOBODY}))
    put(lab, "Where is my parcel?", "Where is my parcel?")
    run = await lab.run(f"agent_reliability {COUNTED}", "chat")
    await lab.attempts(ATTEMPTS_MAX)
    assert await lab.told(run, "chat") == {
        "agent_reliability": "judge_unreachable",
        "outcome_consistency": "1.0",
        "session_error_rate": "1.0",
        "user_repetition": "0.0",
    }
    assert (await lab.progress(run)).run.status is RunStatus.COMPLETED


async def test_unreadable_session_has_no_number():
    lab = Laboratory()
    [trace] = lab.session(1)
    run = await lab.run(COUNTED, "chat")
    targets = OddTargets(lab.store, odd=trace.id, told=ValueError("not JSON"))
    await lab.work(lab.over(replace(lab.ports, targets=targets)))
    assert set((await lab.told(run, "chat")).values()) == {"insufficient_signals"}


async def test_counted_metrics_cost_nothing():
    lab = Laboratory()
    lab.session(3)
    found = await lab.over().estimate_run(
        lab.project,
        TargetType.SESSION,
        RunRequest(metrics=COUNTED.split(), model="openai/gpt-4o"),
        SessionSelection(),
    )
    assert (found.targets, found.looked_at) == (1, 0)
    assert found.questions.high == Decimal(0)


class OddSubject(EvaluatedTrace):
    @property
    def request(self) -> MessageText:
        raise ValueError("odd")


async def test_broken_input_affects_only_its_trace():
    lab = Laboratory()
    put(lab, "Where is my parcel?", "Where is my parcel?", "Who are you there?")
    odd = max(lab.store.traces.values(), key=lambda one: one.started_at)
    run = await lab.run(COUNTED, "chat")
    targets = OddTargets(lab.store, odd=odd.id, told=OddSubject(odd))
    await lab.work(lab.over(replace(lab.ports, targets=targets)))
    assert await lab.told(run, "chat") == {
        "outcome_consistency": "1.0",
        "session_error_rate": "1.0",
        "user_repetition": "0.0",
    }
    assert [(score, str(fault)) for score, fault in lab.faults] == [
        (run.score_id(str(odd.id), "trace_success"), "odd")
    ]
