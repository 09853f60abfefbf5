"""Session metrics of version 2 in a run: their signals, and what is stored."""

import pytest

from adapters.memory.evaluation.scripted_judge import ScriptedJudge
from application.evaluation.ports.work_queue import ATTEMPTS_MAX
from domain.evaluation.judging.judge import JudgeUnavailable
from domain.evaluation.runs.run import RunStatus
from domain.evaluation.scores.outcome import FailCode, Scored
from domain.evaluation.sessions.signals import DEFAULT_WEIGHTS
from domain.tracing.trace import TraceStatus
from tests.support.fixtures.evaluation.evaluation_harness import EvaluationHarness, metadata

RELIABILITY = "agent_reliability_v2"
UNAVAILABLE = (JudgeUnavailable(FailCode.JUDGE_UNREACHABLE),)


async def test_reliability_needs_no_judge_and_stores_no_trace_scores():
    harness = EvaluationHarness()
    harness.session(9)
    [failed] = harness.session(1, status=TraceStatus.ERROR)
    run = await harness.run(RELIABILITY, "chat")
    await harness.work()
    assert (harness.judge.asked, harness.embedder.asked) == ([], [])
    scores = await harness.scores_of_run(run)
    assert [*scores] == [("chat", RELIABILITY)]
    score = scores["chat", RELIABILITY]
    assert score.value == "0.3"  # 1.5 of ten: 0.9 · 1 / 1.5 + 0.1
    fields = metadata(score)
    assert fields["judge_kind"] == '"measured"'
    assert str(failed.id) in fields["worst_trace"]
    assert "trace_success" in fields["worst_trace"]
    assert "model" not in fields


async def test_unavailable_judge_delays_no_computed_metric():
    harness = EvaluationHarness(
        judge=ScriptedJudge({"confidence": UNAVAILABLE, "tool_correctness": UNAVAILABLE})
    )
    harness.session(2)
    run = await harness.run(f"agent_reliability {RELIABILITY} agent_consistency_v2", "chat")
    await harness.attempts(ATTEMPTS_MAX)
    assert await harness.results(run, "chat") == {
        "agent_reliability": "judge_unreachable",
        "agent_consistency_v2": "judge_unreachable",
        RELIABILITY: "1.0",
    }
    assert (await harness.progress(run)).run.status is RunStatus.COMPLETED


async def test_scores_of_versions_1_and_2_are_stored():
    harness = EvaluationHarness(judge=ScriptedJudge({"confidence": [Scored(0.4, "")]}))
    traces = harness.session(2)
    metrics = f"agent_consistency agent_reliability agent_consistency_v2 {RELIABILITY}"
    run = await harness.run(metrics, "chat")
    await harness.work()
    results = await harness.results(run, "chat")
    assert results[RELIABILITY] == "1.0"
    assert 0 < float(results["agent_reliability"]) <= 0.4
    assert 0 < float(results["agent_consistency_v2"]) <= 0.4
    for trace in traces:
        assert set(await harness.results(run, trace)) == set(DEFAULT_WEIGHTS)
    scores = await harness.scores_of_run(run)
    fingerprints = {metadata(one)["fingerprint"] for key, one in scores.items() if key[0] == "chat"}
    assert len(fingerprints) == 4


@pytest.mark.parametrize(
    ("weights", "score", "kind"),
    [
        ({"confidence": 1.0}, "0.4", '"model"'),
        ({"coherence": 1e-9}, "1.0", '"embedding"'),
        ({"confidence": 0}, "1.0", '"measured"'),
    ],
)
async def test_judged_signal_counts_if_the_run_has_a_weight_for_it(weights, score, kind):
    harness = EvaluationHarness(judge=ScriptedJudge({"confidence": [Scored(0.4, "")]}))
    [trace] = harness.session(1)
    run = await harness.run(RELIABILITY, "chat", signal_weights=weights)
    await harness.work()
    found = (await harness.scores_of_run(run))["chat", RELIABILITY]
    assert (found.value, metadata(found)["judge_kind"]) == (score, kind)
    stored = {name for name, weight in weights.items() if weight}
    assert set(await harness.results(run, trace)) == stored


async def test_weighted_signals_are_part_of_the_fingerprint():
    harness = EvaluationHarness()
    harness.session(1)
    found = set()
    for weights in ({}, {"tool_loop": 0.5}, {"confidence": 1.0}):
        run = await harness.run(RELIABILITY, "chat", signal_weights=weights)
        await harness.work()
        found.add(metadata((await harness.scores_of_run(run))["chat", RELIABILITY])["fingerprint"])
    assert len(found) == 3
