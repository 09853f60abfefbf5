"""Session metrics of version 2 in a run: their signals, and what is stored."""

import pytest

from adapters.memory.evaluation.scripted_judge import ScriptedJudge
from application.evaluation.ports.work_queue import ATTEMPTS_MAX
from domain.evaluation.judging.judge import JudgeUnavailable
from domain.evaluation.runs.run import RunStatus
from domain.evaluation.scores.outcome import FailCode, Scored
from domain.evaluation.sessions.signals import DEFAULT_WEIGHTS
from domain.tracing.trace import TraceStatus
from tests.support.fixtures.evaluation_harness import Laboratory, metadata

RELIABILITY = "agent_reliability_v2"
NOBODY = (JudgeUnavailable(FailCode.JUDGE_UNREACHABLE),)


async def test_reliability_needs_no_judge_and_stores_no_trace_scores():
    lab = Laboratory()
    lab.session(9)
    [dead] = lab.session(1, status=TraceStatus.ERROR)
    run = await lab.run(RELIABILITY, "chat")
    await lab.work()
    assert (lab.judge.asked, lab.embedder.asked) == ([], [])
    scores = await lab.of_run(run)
    assert [*scores] == [("chat", RELIABILITY)]
    score = scores["chat", RELIABILITY]
    assert score.value == "0.3"  # 1.5 of ten: 0.9 · 1 / 1.5 + 0.1
    marks = metadata(score)
    assert marks["judge_kind"] == '"measured"'
    assert str(dead.id) in marks["worst_trace"]
    assert "trace_success" in marks["worst_trace"]
    assert "model" not in marks


async def test_unavailable_judge_delays_no_computed_metric():
    lab = Laboratory(judge=ScriptedJudge({"confidence": NOBODY, "tool_correctness": NOBODY}))
    lab.session(2)
    run = await lab.run(f"agent_reliability {RELIABILITY} agent_consistency_v2", "chat")
    await lab.attempts(ATTEMPTS_MAX)
    assert await lab.told(run, "chat") == {
        "agent_reliability": "judge_unreachable",
        "agent_consistency_v2": "judge_unreachable",
        RELIABILITY: "1.0",
    }
    assert (await lab.progress(run)).run.status is RunStatus.COMPLETED


async def test_scores_of_versions_1_and_2_are_stored():
    lab = Laboratory(judge=ScriptedJudge({"confidence": [Scored(0.4, "")]}))
    traces = lab.session(2)
    both = f"agent_consistency agent_reliability agent_consistency_v2 {RELIABILITY}"
    run = await lab.run(both, "chat")
    await lab.work()
    told = await lab.told(run, "chat")
    assert told[RELIABILITY] == "1.0"
    assert 0 < float(told["agent_reliability"]) <= 0.4
    assert 0 < float(told["agent_consistency_v2"]) <= 0.4
    for trace in traces:
        assert set(await lab.told(run, trace)) == set(DEFAULT_WEIGHTS)
    prints = {metadata(one)["fingerprint"] for key, one in (await lab.of_run(run)).items()
              if key[0] == "chat"}  # fmt: skip
    assert len(prints) == 4


@pytest.mark.parametrize(
    ("weights", "score", "kind"),
    [
        ({"confidence": 1.0}, "0.4", '"model"'),
        ({"coherence": 1e-9}, "1.0", '"embedding"'),
        ({"confidence": 0}, "1.0", '"measured"'),
    ],
)
async def test_judged_signal_counts_if_the_run_has_a_weight_for_it(weights, score, kind):
    lab = Laboratory(judge=ScriptedJudge({"confidence": [Scored(0.4, "")]}))
    [trace] = lab.session(1)
    run = await lab.run(RELIABILITY, "chat", signal_weights=weights)
    await lab.work()
    found = (await lab.of_run(run))["chat", RELIABILITY]
    assert (found.value, metadata(found)["judge_kind"]) == (score, kind)
    stored = {name for name, weight in weights.items() if weight}
    assert set(await lab.told(run, trace)) == stored


async def test_weighted_signals_are_part_of_the_fingerprint():
    lab = Laboratory()
    lab.session(1)
    found = set()
    for weights in ({}, {"tool_loop": 0.5}, {"confidence": 1.0}):
        run = await lab.run(RELIABILITY, "chat", signal_weights=weights)
        await lab.work()
        found.add(metadata((await lab.of_run(run))["chat", RELIABILITY])["fingerprint"])
    assert len(found) == 3
