"""Outcomes: numbers in [0, 1], or a code for why there is none."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.scores.outcome import (
    REASON_MAX,
    SKIPPED_PREFIX,
    FailCode,
    Failed,
    Scored,
    SkipCode,
    Skipped,
    clamped,
    format_score,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.85, "0.85"),
        (1, "1.0"),
        (1.0, "1.0"),
        (0, "0.0"),
        (-0.0, "0.0"),
        (2 / 3, "0.6667"),
        (0.00004, "0.0"),
        (0.0001, "0.0001"),
        (0.99996, "1.0"),
        (True, "1.0"),
    ],
)
def test_score_is_stored_as_text_with_four_decimals(value, text):
    assert Scored(value, "r").text == text
    assert format_score(Scored(value, "r").value) == text


@pytest.mark.parametrize("value", [-0.001, 1.001, math.nan, math.inf, -math.inf])
def test_score_outside_0_and_1_is_rejected(value):
    with pytest.raises(ValueError, match="a score of"):
        Scored(value, "r")


def test_clamping_nan_raises():
    assert [clamped(value) for value in (-1, 0.3, 2, math.inf)] == [0, 0.3, 1, 1]
    with pytest.raises(ValueError, match="not a number"):
        clamped(math.nan)


@given(st.floats(0, 1))
def test_score_text_round_trips(value):
    scored = Scored(value, "")
    assert 0 <= scored.value <= 1
    assert float(scored.text) == scored.value
    assert abs(scored.value - value) <= 0.00005 + 1e-12


@pytest.mark.parametrize("code", [*SkipCode, *FailCode])
def test_every_code_has_a_reason_and_is_in_the_metadata(code):
    kind = Skipped if isinstance(code, SkipCode) else Failed
    outcome = kind(code, metadata={"coverage": 0.25})
    assert code.reason in outcome.reason
    assert outcome.metadata == {"coverage": 0.25, "code": str(code)}


def test_skipped_reason_has_one_prefix():
    assert Skipped(SkipCode.NO_PLAN).reason == "Skipped: the trace states no plan"
    assert Skipped(SkipCode.NO_PLAN, "Skipped: why").reason == "Skipped: why"
    assert not Failed(FailCode.INTERNAL).reason.startswith(SKIPPED_PREFIX)


@pytest.mark.parametrize(
    "outcome",
    [
        Scored(1, "x" * 501),
        Skipped(SkipCode.NO_PLAN, "x" * 500),
        Failed(FailCode.INTERNAL, "é" * 999),
    ],
)
def test_reason_has_at_most_500_characters(outcome):
    assert len(outcome.reason) == REASON_MAX
    assert outcome.reason.endswith("…")
    assert len(Scored(1, "x" * 500).reason) == REASON_MAX


def test_circuit_opening_codes_are_not_transient():
    opening = {code for code in FailCode if code.opens_circuit}
    passing = {code for code in FailCode if code.is_transient}
    assert opening == {"auth", "quota", "unknown_model", "misconfigured"}
    assert passing == {"judge_timeout", "judge_unreachable", "rate_limited", "provider_error"}
