"""Session metrics, version 2: golden values, and the guarantees beyond version 1."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.evaluation.scores.outcome import FailCode, Failed, Outcome, Scored, SkipCode, Skipped
from domain.evaluation.scores.score import json_text
from domain.evaluation.sessions.metrics import (
    INTERVAL_TRACES_MIN,
    agent_consistency_v2,
    agent_reliability,
    agent_reliability_v2,
)
from domain.evaluation.sessions.signals import (
    COMPUTED_SIGNALS,
    DEFAULT_WEIGHTS,
    SESSION_TRACES_MAX,
    WEIGHT_COUNTED_MAX,
    TraceSignals,
    consistency_weights,
    reliability_weights,
)
from tests.support.builders.evaluated_traces import assert_no_risk_raises

SKIPPED = Skipped(SkipCode.NO_TOOL_CALLS)
DOWN = Failed(FailCode.JUDGE_UNREACHABLE)
NAMES = (*DEFAULT_WEIGHTS, *COMPUTED_SIGNALS)
METRICS = (agent_reliability_v2, agent_consistency_v2)


def one(number: int = 0, /, **scores: float | Outcome) -> TraceSignals:
    """Return a trace with these signals; numbers become scores."""
    results = {
        name: Scored(score, "") if isinstance(score, int | float) else score
        for name, score in scores.items()
    }
    return TraceSignals(f"t{number}", results)


def session(*traces: dict[str, Any]) -> list[TraceSignals]:
    return [one(number, **scores) for number, scores in enumerate(traces)]


def traces_with_success(*values: float) -> list[TraceSignals]:
    """Return traces with these values of `trace_success`."""
    return session(*({"trace_success": value} for value in values))


def judged(*rows: tuple[float, float, float, float]) -> list[TraceSignals]:
    """Return traces with these judged signals, in the order of the golden values."""
    order = ("confidence", "loop_detection", "tool_correctness", "coherence")
    return session(*(dict(zip(order, row, strict=True)) for row in rows))


def value(outcome: Outcome) -> float | str:
    return outcome.value if isinstance(outcome, Scored) else outcome.code.value


# --- golden vectors --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "first", "second"),
    [
        (5, 0.0, 0.0),
        (6, 0.0, 0.0),
        (7, 0.45, 0.0429),
        (13, 0.45, 0.4385),
        (14, 0.6, 0.4714),
        (20, 0.6, 0.6),
        (21, 0.675, 0.6143),
    ],
)
def test_one_failed_trace_among_perfect_ones(count, first, second):
    failed, perfect = (0.0,) * 4, (1.0,) * 4
    assert value(agent_reliability(judged(failed, *[perfect] * (count - 1)), {})) == first
    assert value(agent_reliability_v2(traces_with_success(0, *[1] * (count - 1)), {})) == second


def test_tail_counts_its_last_trace_partially():
    # 1.5 of ten traces: all of 0.8, half of 0.6; then 0.9 · 1.1 / 1.5 + 0.1 · 0.8 = 0.74
    found = agent_reliability_v2(traces_with_success(1, 0.2, *[1] * 5, 0.4, 1, 0.9), {})
    assert found.value == 0.26
    metadata: Any = found.metadata
    assert metadata["aggregation"] == {
        "method": "max_compose_fractional_tail",
        "tail_percentile": 0.15,
        "ensemble_weight": 0.1,
        "mean_tail_risk": 0.7333,
        "max_risk": 0.8,
    }
    assert (metadata["raw_risk"], metadata["flagged_traces"]) == (0.74, ["t1", "t7"])
    assert found.reason == "2 of 10 traces flagged"


@pytest.mark.parametrize(
    ("rows", "score"),
    [
        ([(1, 0, 0, 0)] * 3, 0.0),  # 1.0 in version 1
        ([(1, 1, 1, 1)] * 3, 1.0),
        # 1 - 0.5 · 0.8 · (1 - 0.08) · 0.7 = 0.7424
        ([(0.5, 0.8, 0.9, 0.7)], 0.2576),
        ([(0, 1, 1, 1), (1, 1, 1, 1)], 0.2929),
    ],
)
def test_noisy_or_combines_risks(rows, score):
    assert value(agent_consistency_v2(judged(*rows), {})) == score


def test_signal_without_weight_covers_no_trace():
    """Otherwise a trace of which nothing that counts was measured would look perfect."""
    some = session({"coherence": 0.9}, {"coherence": 0.9, "loop_detection": 0.0})
    found = agent_consistency_v2(some, {"coherence": 0})
    assert (value(found), found.metadata["traces_evaluated"]) == (0.0, 1)
    few = session(*[{"coherence": 0.9}] * 2, {"coherence": 0.9, "loop_detection": 0.0})
    assert value(agent_consistency_v2(few, {"coherence": 0})) == "insufficient_signals"
    nothing = dict.fromkeys(DEFAULT_WEIGHTS, 0)
    assert value(agent_consistency_v2(few, nothing)) == "insufficient_signals"


def test_consistency_metadata():
    found = agent_consistency_v2(judged((0.5, 0.8, 0.9, 0.7)), {})
    metadata: Any = found.metadata
    assert metadata["aggregation"] == {"method": "noisy_or_rms", "rms_value": 0.7424}
    assert metadata["raw_instability"] == 0.7424
    assert metadata["per_trace_signals"] == {
        "t0": {
            "confidence_risk": 0.5,
            "coherence_risk": 0.3,
            "loop_risk": 0.2,
            "tool_risk": 0.1,
            "step_risk": 0.7424,
        }
    }
    assert (metadata["worst_trace"]["signal"], "uneven" in found.reason) == ("confidence", True)


# --- weights ---------------------------------------------------------------------------------


def test_judged_signal_counts_only_with_a_weight():
    some = session({"confidence": 0.1, "coherence": 0.2, "trace_success": 1, "tool_loop": 0.8})
    assert value(agent_reliability_v2(some, {})) == 0.8
    assert value(agent_reliability_v2(some, {"confidence": 0.5})) == 0.55
    assert value(agent_reliability_v2(some, {"confidence": 0, "tool_loop": 0})) == 1.0
    assert value(agent_reliability_v2(some, {"confidence": 9})) == 0.0
    metadata: Any = agent_reliability_v2(some, {"confidence": 0.5}).metadata
    assert metadata["signal_weights"] == {**dict.fromkeys(COMPUTED_SIGNALS, 1.0), "confidence": 0.5}
    assert metadata["per_trace_signals"]["t0"] == {
        "tool_loop_risk": 0.2,
        "trace_success_risk": 0.0,
        "confidence_risk": 0.9,
        "step_risk": 0.45,
    }


def test_failure_of_an_unweighted_judge_is_ignored():
    some = session({"trace_success": 1, "confidence": DOWN, "tool_correctness": DOWN})
    assert value(agent_reliability_v2(some, {})) == 1.0
    failed = agent_reliability_v2(some, {"confidence": 1})
    assert value(failed) == "insufficient_signals"
    assert failed.reason.endswith("1 signal failed and 0 were skipped")


def test_weights_are_clamped_and_may_all_be_0():
    assert reliability_weights({"tool_loop": 1e308})["tool_loop"] == WEIGHT_COUNTED_MAX
    nothing = dict.fromkeys(COMPUTED_SIGNALS, 0.0)
    assert reliability_weights(nothing) == {}
    assert value(agent_reliability_v2(traces_with_success(1), nothing)) == "insufficient_signals"


# --- further metadata ------------------------------------------------------------------------


def test_worst_trace_is_reported_with_its_signal():
    some = session(
        {"trace_success": 1, "tool_success_rate": 0.5},
        {"trace_success": 1, "tool_loop": 0.25},
        {"trace_success": 1, "tool_success_rate": 0.25},
    )
    metadata: Any = agent_reliability_v2(some, {}).metadata
    assert metadata["worst_trace"] == {"trace_id": "t1", "signal": "tool_loop", "risk": 0.75}
    assert agent_reliability_v2(traces_with_success(1, 1), {}).metadata["worst_trace"] is None


@pytest.mark.parametrize(
    ("values", "slope"),
    [((0, 0.5, 1), 0.5), ((1, 0.75, 0.5), -0.25), ((0.5, 0.5), 0.0), ((1,), None)],
)
def test_slope(values, slope):
    assert agent_reliability_v2(traces_with_success(*values), {}).metadata["slope"] == slope


def test_slope_keeps_the_index_of_traces_without_signals():
    some = session({"trace_success": 0}, {"trace_success": SKIPPED}, {"trace_success": 1})
    assert agent_reliability_v2(some, {}).metadata["slope"] == 0.5


@pytest.mark.parametrize("metric", METRICS)
def test_interval_from_8_traces_on(metric):
    def interval(*values):
        some = session(*({"trace_success": each, "confidence": each} for each in values))
        return metric(some, {}).metadata["interval"]

    assert interval(0, *[0.5] * (INTERVAL_TRACES_MIN - 2)) is None
    found = interval(0, *[0.5] * (INTERVAL_TRACES_MIN - 1))
    assert (found["level"], found["low"] < found["high"]) == (0.95, True)
    assert interval(*[0.5] * INTERVAL_TRACES_MIN) is None  # of no width
    found = interval(0, *[1] * 9)
    assert found == interval(*[1] * 9, 0)
    # With probability 1/3, ten draws miss the one failed trace of ten.
    assert (found["low"] < 0.5, found["high"]) == (True, 1.0)


# --- without signals -------------------------------------------------------------------------

scores = st.integers(0, 10_000).map(lambda n: n / 10_000)
outcomes = st.sampled_from([SKIPPED, DOWN]) | scores.map(lambda score: Scored(score, ""))
metrics = st.sampled_from(METRICS)
weights = st.dictionaries(
    st.sampled_from([*NAMES, "other"]), st.floats(0, 2) | st.sampled_from([0.0, 1e308])
)


def traces(of: st.SearchStrategy[Outcome]) -> st.SearchStrategy[list[TraceSignals]]:
    some = st.lists(st.dictionaries(st.sampled_from(NAMES), of), max_size=25)
    return some.map(lambda found: [TraceSignals(f"t{n}", each) for n, each in enumerate(found)])


@given(metrics, traces(st.sampled_from([SKIPPED, DOWN])), weights)
def test_score_is_absent_without_scored_signals(metric, some, given_weights):
    expected = "insufficient_signals" if some else "target_gone"
    assert value(metric(some, given_weights)) == expected


@given(metrics, traces(outcomes), weights)
def test_score_needs_half_of_the_traces(metric, some, given_weights):
    counts = consistency_weights if metric is agent_consistency_v2 else reliability_weights
    counted = counts(given_weights)
    evaluated = sum(
        any(isinstance(each.outcomes.get(name), Scored) for name in counted) for each in some
    )
    found = metric(some, given_weights)
    assert found.metadata["traces_evaluated"] == evaluated
    assert not isinstance(found, Scored) or 2 * evaluated >= len(some) > 0
    json.loads(json_text(found.metadata))  # finite, whatever the weights


def test_too_large_session_is_skipped():
    assert value(
        agent_reliability_v2(traces_with_success(*[1] * (SESSION_TRACES_MAX + 1)), {})
    ) == ("trace_too_large")


# --- properties ------------------------------------------------------------------------------

rows = st.lists(st.dictionaries(st.sampled_from(COMPUTED_SIGNALS), scores, min_size=1), min_size=1)
ONE_DEAD = [{"trace_success": 0.0}, *[{"trace_success": 1.0}] * 5]  # where version 1 jumps by 0.45


@given(rows.filter(lambda some: len(some) <= 60), weights)
@example(ONE_DEAD, {})
def test_perfect_trace_raises_reliability_by_less_than_012(some, given_weights):
    counted = reliability_weights(given_weights)
    # Each trace has the signals that count, so coverage is complete.
    filled = [dict.fromkeys(counted, 1.0) | each for each in some]
    before = agent_reliability_v2(session(*filled), given_weights)
    after = agent_reliability_v2(session(*filled, dict.fromkeys(counted, 1.0)), given_weights)
    if not counted:
        assert value(before) == value(after) == "insufficient_signals"
    else:
        assert before.value <= after.value < before.value + 0.12


@given(metrics, traces(outcomes), weights, st.data())
def test_raising_any_risk_never_raises_a_session_score(metric, some, given_weights, data):
    assert_no_risk_raises(metric, some, given_weights, data)


@given(metrics, traces(outcomes), weights, st.randoms())
def test_score_and_interval_ignore_trace_order(metric, some, given_weights, chance):
    shuffled = [*some]
    chance.shuffle(shuffled)
    original, reordered = metric(some, given_weights), metric(shuffled, given_weights)
    assert value(original) == value(reordered)
    assert original.metadata.get("interval") == reordered.metadata.get("interval")


@given(metrics, traces(outcomes), weights)
def test_interval_is_ordered_within_0_and_1(metric, some, given_weights):
    interval: Any = metric(some, given_weights).metadata.get("interval")
    assert interval is None or 0 <= interval["low"] <= interval["high"] <= 1
