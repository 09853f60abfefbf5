"""Session metrics, version 1: golden values, and no number without signals."""

import json
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.evaluation.scores.outcome import FailCode, Failed, Outcome, Scored, SkipCode, Skipped
from domain.evaluation.scores.score import json_text
from domain.evaluation.sessions.metrics import agent_consistency, agent_reliability
from domain.evaluation.sessions.signals import (
    DEFAULT_WEIGHTS,
    SESSION_TRACES_MAX,
    TraceSignals,
    default_and_given_weights,
    validate_weights,
)
from tests.support.builders.evaluated_traces import assert_no_risk_raises

SESSION_METRICS = {"agent_consistency": agent_consistency, "agent_reliability": agent_reliability}
ORDER = (
    "confidence",
    "loop_detection",
    "tool_correctness",
    "coherence",
)  # the order of the golden vectors
PERFECT = (1, 1, 1, 1)
FAILED_TRACE = (0, 0, 0, 0)
USUAL = (0.5, 0.8, 0.9, 0.7)
NONE = (None,) * 4
"""A trace without signals."""

type Row = tuple[float | None, ...]


def signals(row: Row, number: int = 0) -> TraceSignals:
    """Return the signals of a trace: a number for a scored one, None for a skipped one."""
    return TraceSignals(
        f"t{number}",
        {
            name: Skipped(SkipCode.NO_STEPS) if value is None else Scored(value, "")
            for name, value in zip(ORDER, row, strict=True)
        },
    )


def session(*rows: Row) -> list[TraceSignals]:
    return [signals(row, number) for number, row in enumerate(rows)]


def value(outcome: Outcome) -> float | str:
    """Return the score, or the code without one."""
    return outcome.value if isinstance(outcome, Scored) else outcome.code.value


def both(*rows: Row, **weights: float) -> list[float | str]:
    some = session(*rows)
    return [value(agent_reliability(some, weights)), value(agent_consistency(some, weights))]


# --- golden vectors --------------------------------------------------------------------------

OTHER_WEIGHTS = {
    "confidence": 2,
    "loop_detection": 0.5,
    "tool_correctness": 0.1,
    "coherence": 0.5,
}
GOOD = (0.95, 1, 0.95, 0.8)


@pytest.mark.parametrize(
    ("rows", "weights", "scores"),
    [
        ([PERFECT] * 3, {}, [1.0, 1.0]),
        ([USUAL], {}, [0.5, 0.21]),
        ([USUAL], OTHER_WEIGHTS, [0.0, 0.0]),
        ([(0.1,) * 4], {}, [0.1, 0.0]),
        ([GOOD] * 9 + [(0.1, 0.3, 0.2, 0.4)], {}, [0.415, 0.1612]),
        ([PERFECT] * 5 + [FAILED_TRACE], {}, [0.0, 0.0]),
        ([PERFECT] * 6 + [FAILED_TRACE], {}, [0.45, 0.0]),
        ([(1, 0, 0, 0)] * 3, {}, [0.0, 1.0]),
        ([(0.95, 1, 0.95, 0.55)] * 10, {}, [0.55, 0.9255]),
        ([(0.7,) * 4] * 5, {}, [0.7, 0.448]),
        ([USUAL] * 2 + [NONE] * 2, {}, [0.5, 0.21]),
        ([(None, 0.2, 0.3, 0.4)], {}, [0.2, "insufficient_signals"]),
        ([USUAL] + [NONE] * 2, {}, ["insufficient_signals"] * 2),
        ([NONE] * 2, {}, ["insufficient_signals"] * 2),
        ([], {}, ["target_gone"] * 2),
    ],
)
def test_golden_values(rows, weights, scores):
    assert both(*rows, **weights) == scores


@pytest.mark.parametrize(
    ("rows", "aggregation", "flagged"),
    [
        ([USUAL], {"mean_top_k_risk": 0.5, "max_risk": 0.5}, []),
        (
            [GOOD] * 9 + [(0.1, 0.3, 0.2, 0.4)],
            {"mean_top_k_risk": 0.55, "max_risk": 0.9},
            ["t9"],
        ),
    ],
)
def test_reliability_metadata(rows, aggregation, flagged):
    found = agent_reliability(session(*rows), {})
    metadata: Any = found.metadata
    assert metadata["aggregation"] == {
        "method": "max_compose_top_k",
        "top_k_percentile": 0.15,
        "ensemble_weight": 0.1,
        **aggregation,
    }
    assert metadata["flagged_traces"] == flagged
    assert metadata["raw_risk"] == pytest.approx(1 - found.value, abs=1e-4)
    assert found.reason == ("1 of 10 traces flagged" if flagged else "No trace flagged")


@pytest.mark.parametrize(
    ("rows", "weights", "rms"),
    [
        ([USUAL], {}, 0.79),
        ([USUAL], OTHER_WEIGHTS, 1.26),
        ([GOOD] * 9 + [(0.1, 0.3, 0.2, 0.4)], {}, 0.8388),
    ],
)
def test_consistency_metadata(rows, weights, rms):
    metadata: Any = agent_consistency(session(*rows), weights).metadata
    assert metadata["aggregation"] == {"method": "weighted_rms", "rms_value": rms}
    assert metadata["raw_instability"] == rms


def test_per_trace_signals_are_unweighted():
    rows = session(USUAL, (None, 0.2, 0.3, 0.4), NONE)
    risks = {"confidence_risk": 0.5, "coherence_risk": 0.3, "loop_risk": 0.2, "tool_risk": 0.1}
    others = {"coherence_risk": 0.6, "loop_risk": 0.8, "tool_risk": 0.7}
    assert agent_reliability(rows, {}).metadata["per_trace_signals"] == {
        "t0": risks | {"step_risk": 0.5},
        "t1": others | {"step_risk": 0.8},
    }
    # One of three has confidence; coverage is reported anyway.
    assert agent_consistency(rows, {}).metadata["per_trace_signals"] == {
        "t0": risks | {"situational_penalty": 0.58, "weighted_uncertainty": 0.79},
        "t1": others,
    }


@pytest.mark.parametrize(
    ("rows", "coverage"), [([USUAL] * 2 + [NONE] * 2, 0.5), ([USUAL] + [NONE] * 2, 0.3333), ([], 0)]
)
def test_coverage_is_always_reported(rows, coverage):
    for metric in SESSION_METRICS.values():
        metadata = metric(session(*rows), {}).metadata
        assert metadata["coverage"] == coverage
        assert metadata["total_traces_in_session"] == len(rows)
        assert metadata["traces_evaluated"] == rows.count(USUAL)
        assert metadata["signal_weights"] == DEFAULT_WEIGHTS


@pytest.mark.parametrize(
    ("risk", "score", "band"), [(0.2, 0.8, "even"), (0.5, 0.5, "varies"), (0.51, 0.49, "uneven")]
)
def test_consistency_descriptions(risk, score, band):
    found = agent_consistency(session((1 - risk, 1, 1, 1)), {})
    assert (value(found), band in found.reason) == (score, True)


def test_risk_of_exactly_one_half_is_not_flagged():
    # 0.8 · (1 - 0.375) = 0.5
    assert agent_reliability(session((1, 1, 0.375, 1)), {}).metadata["flagged_traces"] == []
    assert agent_reliability(session((0.4999, 1, 1, 1)), {}).metadata["flagged_traces"] == ["t0"]


@pytest.mark.parametrize("count", [1, 6, 7, 20, 21, 40, 60, 100, 1_000])
def test_tail_is_15_percent_rounded_up(count):
    bad = math.ceil(count * 15 / 100)
    assert both(*[FAILED_TRACE] * bad, *[PERFECT] * (count - bad))[0] == 0.0
    if bad > 1:
        assert both(*[FAILED_TRACE] * (bad - 1), *[PERFECT] * (count - bad + 1))[0] > 0.0


# --- without signals -------------------------------------------------------------------------

nothing = st.sampled_from([Skipped(SkipCode.NO_STEPS), Failed(FailCode.JUDGE_TIMEOUT)])
scores = st.integers(0, 10_000).map(lambda n: n / 10_000)
outcomes = nothing | scores.map(lambda value: Scored(value, ""))


def traces(of: st.SearchStrategy[Outcome]) -> st.SearchStrategy[list[TraceSignals]]:
    one = st.dictionaries(st.sampled_from(ORDER), of)
    return st.lists(one, max_size=25).map(
        lambda found: [TraceSignals(f"t{n}", each) for n, each in enumerate(found)]
    )


weights = st.dictionaries(
    st.sampled_from([*ORDER, "other"]), st.floats(0, 2) | st.sampled_from([0.0, 1e308])
)
metrics = st.sampled_from(list(SESSION_METRICS.values()))


@given(metrics, traces(nothing), weights)
def test_score_is_absent_without_scored_signals(metric, some, given_weights):
    found = metric(some, given_weights)
    assert not isinstance(found, Scored)
    assert value(found) == ("insufficient_signals" if some else "target_gone")


@given(metrics, traces(outcomes), weights)
def test_score_needs_half_of_the_traces(metric, some, given_weights):
    needed = "confidence" if metric is agent_consistency else ""
    evaluated = sum(
        any(isinstance(one, Scored) for name, one in each.outcomes.items() if needed in name)
        for each in some
    )
    judged = {
        type(outcome)
        for each in some
        for name, outcome in each.outcomes.items()
        if name in {"confidence", "tool_correctness"}
    }
    is_answered = Scored in judged or Failed not in judged
    found = metric(some, given_weights)
    is_enough = bool(some) and 2 * evaluated >= len(some)
    assert isinstance(found, Scored) is (is_enough and is_answered)
    json.loads(json_text(found.metadata))  # finite, whatever the weights


def test_reason_counts_failed_and_skipped_signals():
    some = [
        TraceSignals("a", {"confidence": Failed(FailCode.AUTH), "other": Failed(FailCode.AUTH)}),
        TraceSignals("b", {"coherence": Skipped(SkipCode.EMPTY_OUTPUT)}),
        TraceSignals("c", {"coherence": Scored(1.0, "")}),
    ]
    found = agent_reliability(some, {})
    assert found.reason == (
        "Skipped: 1 of 3 traces have the signals it takes; 1 signal failed and 1 was skipped"
    )


DOWN = Failed(FailCode.JUDGE_UNREACHABLE)
NO_TOOLS = Skipped(SkipCode.NO_TOOLS)
ALIKE = Scored(1.0, "")


@pytest.mark.parametrize(
    ("judged", "reliability"),
    [
        ({"confidence": DOWN, "tool_correctness": DOWN}, "insufficient_signals"),
        ({"confidence": DOWN, "tool_correctness": NO_TOOLS}, "insufficient_signals"),
        ({"confidence": ALIKE, "tool_correctness": DOWN}, 1.0),
        ({"confidence": DOWN, "tool_correctness": ALIKE}, 1.0),
        ({"confidence": NO_TOOLS, "tool_correctness": NO_TOOLS}, 1.0),
    ],
)
def test_computed_signals_do_not_replace_the_judge(judged, reliability):
    some = [TraceSignals("a", {"coherence": ALIKE, "loop_detection": ALIKE} | judged)]
    assert value(agent_reliability(some, {})) == reliability


def test_unreachable_judge_is_reported():
    some = [TraceSignals("a", {"coherence": ALIKE, "confidence": DOWN})]
    found = agent_reliability(some, {})
    assert found.reason == (
        "Skipped: the judge failed wherever it was asked; 1 signal failed and 0 were skipped"
    )
    assert found.metadata["coverage"] == 1.0


def test_too_large_session_is_skipped():
    some = session(*[PERFECT] * (SESSION_TRACES_MAX + 1))
    assert value(agent_reliability(some, {})) == "trace_too_large"
    assert value(agent_reliability(some[1:], {})) == 1.0


# --- properties ------------------------------------------------------------------------------


@given(metrics, traces(outcomes), weights, st.data())
def test_raising_any_risk_never_raises_a_session_score(metric, some, given_weights, data):
    assert_no_risk_raises(metric, some, given_weights, data)


@pytest.mark.parametrize(
    ("count", "score"),
    [(5, 0), (6, 0), (7, 0.45), (13, 0.45), (14, 0.6), (20, 0.6), (21, 0.675)],
)
def test_one_failed_trace_among_perfect_ones_in_version_1(count, score):
    assert both(*[PERFECT] * (count - 1), FAILED_TRACE)[0] == score


@given(st.lists(st.tuples(scores, scores, scores, scores), min_size=1, max_size=40))
def test_perfect_trace_raises_reliability_by_at_most_one_step(rows):
    """The score rises by at most 0.45, where the tail gains a second trace, and never falls."""
    before, after = both(*rows)[0], both(*rows, PERFECT)[0]
    assert before - 1e-4 <= after <= before + 0.45 + 1e-4


small_weights = st.dictionaries(st.sampled_from(ORDER), st.integers(0, 20).map(lambda n: n / 10))
signal_rows = st.lists(st.tuples(scores, scores, scores, scores), min_size=1, max_size=40)


@given(signal_rows, small_weights)
def test_scores_are_those_of_the_formulas(rows, given_weights):
    """Computed from fractions, with the tail counted instead of rounded up."""
    weights = {name: Fraction(str(weight)) for name, weight in DEFAULT_WEIGHTS.items()}
    weights |= {name: Fraction(str(weight)) for name, weight in given_weights.items()}
    risks = [
        {
            name: weights[name] * (1 - Fraction(str(score)))
            for name, score in zip(ORDER, row, strict=True)
        }
        for row in rows
    ]
    worst = sorted((max(each.values()) for each in risks), reverse=True)
    tail = [risk for at, risk in enumerate(worst) if at == 0 or 100 * at < 15 * len(worst)]
    raw = Fraction(9, 10) * sum(tail) / len(tail) + worst[0] / 10
    doubts = [each.pop("confidence") * (1 + sum(each.values())) for each in risks]
    rms = math.sqrt(sum(doubt**2 for doubt in doubts) / len(doubts))
    expected = [min(max(float(1 - risk), 0.0), 1.0) for risk in (raw, rms)]
    assert both(*rows, **given_weights) == pytest.approx(expected, abs=5.1e-5)


@given(metrics, traces(outcomes), weights, st.randoms())
def test_score_is_independent_of_trace_order(metric, some, given_weights, chance):
    shuffled = [*some]
    chance.shuffle(shuffled)
    assert value(metric(shuffled, given_weights)) == value(metric(some, given_weights))


# --- weights ---------------------------------------------------------------------------------


def test_weights_override_defaults_and_may_be_0():
    assert default_and_given_weights({"coherence": 0, "other": 3}) == {
        **DEFAULT_WEIGHTS,
        "coherence": 0,
    }
    assert both((1, 1, 1, 0), coherence=0) == [1.0, 1.0]
    assert list(default_and_given_weights({})) == list(DEFAULT_WEIGHTS)


def test_all_invalid_weights_are_named():
    assert validate_weights(None) == {}
    assert validate_weights({"confidence": 0, "other": 2}) == {"confidence": 0, "other": 2}
    bad = {"confidence": -1, "b": float("inf"), "coherence": 1, "d": float("nan")}
    with pytest.raises(Invalid) as raised:
        validate_weights(bad)
    assert [one.field for one in raised.value.errors] == [
        *("signal_weights.confidence", "signal_weights.b", "signal_weights.d"),
    ]
