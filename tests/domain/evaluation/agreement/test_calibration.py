"""Which scores form pairs, and the reasons of undefined statistics."""

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.agreement.calibration import (
    CALIBRATED_FROM,
    JudgeScores,
    JudgeVolume,
    Undefined,
    calibrate,
    human_label,
    judge_score,
    original_score,
)
from domain.evaluation.agreement.statistics import IntervalEstimate, ScorePair
from domain.evaluation.scores.score import DataType, ScoreChange, ScoreSource, TraceScore
from domain.ids import RunId, TraceId
from tests.support.builders.scores import ADA, trace_score
from tests.support.builders.values import OURS, at

RUN = RunId(UUID(int=9))
TRACE = TraceId(UUID(int=7))


def score(value: str | None = "0.2", **said: Any) -> TraceScore:
    return trace_score(OURS, TRACE, value=value, **said)


def of_run(value: str | None = "0.2", **said: Any) -> TraceScore:
    return score(value, **{"source": ScoreSource.AUTOMATED, "run_id": RUN} | said)


def figures(
    *pairs: tuple[float, float], passed: int = 8, index: int = 10, threshold: float = 0.5
) -> Any:
    rated = JudgeVolume(judge_kind="model", judged=index, passed=passed)
    scores = JudgeScores(fingerprint="f", pairs=[ScorePair(*pair) for pair in pairs], rated=rated)
    return calibrate(scores, threshold)


# --- judge scores and labels-------------------------------------------------------------------


def test_judge_scores_and_human_labels_are_disjoint():
    assert (judge_score(of_run()), human_label(of_run())) == (0.2, None)
    assert (judge_score(score()), human_label(score())) == (None, 0.2)
    given_by_a_program = score(source=ScoreSource.PROGRAMMATIC)
    assert (judge_score(given_by_a_program), human_label(given_by_a_program)) == (None, None)


def test_replaced_run_score_is_judge_score_and_label():
    edited = of_run().patched(ScoreChange(value="0.9"), at(1), ADA)
    assert (judge_score(edited), human_label(edited)) == (0.2, 0.9)
    again = edited.patched(ScoreChange(value="0.8", metadata=b"{}"), at(2), ADA)
    assert (judge_score(again), human_label(again)) == (0.2, 0.8)


def test_editing_only_the_reason_leaves_the_score_to_the_judge():
    noted = of_run().patched(ScoreChange(reason="looked at"), at(1), ADA)
    assert (judge_score(noted), human_label(noted)) == (0.2, None)
    # Once the run is deleted, the judge isn't compared with itself either.
    kept = replace(noted, run_id=None)
    assert (judge_score(kept), human_label(kept)) == (0.2, None)
    changed = noted.patched(ScoreChange(value="0.9"), at(2), ADA)
    assert judge_score(changed) == 0.2
    assert judge_score(replace(changed, run_id=None)) is None
    later = replace(of_run(), run_id=None).patched(ScoreChange(reason="seen"), at(1), ADA)
    assert human_label(later) is None
    assert human_label(later.patched(ScoreChange(value="0.9"), at(2), ADA)) == 0.9


@pytest.mark.parametrize("forged", ['"1"', "1", '"0.5"', "null", "{}", '"x"'])
def test_original_value_from_callers_is_ignored(forged):
    reported = f'{{"a": 1, "original_value": {forged}}}'.encode()
    assert original_score(score(metadata=reported)) is None
    noted = of_run().patched(ScoreChange(metadata=reported), at(1), ADA)
    assert json.loads(noted.metadata) == {"a": 1}
    edited = noted.patched(ScoreChange(value="0.9"), at(2), ADA)
    assert (judge_score(edited), human_label(edited)) == (0.2, 0.9)
    both = of_run().patched(ScoreChange(value="0.9", metadata=reported), at(1), ADA)
    assert (judge_score(both), human_label(both)) == (0.2, 0.9)
    # In a score without a run it is an ordinary key.
    ours = score().patched(ScoreChange(metadata=reported), at(1), ADA)
    assert ours.metadata == reported


def test_non_numeric_scores_are_neither_judge_score_nor_label():
    for data_type, value in ((DataType.BOOLEAN, "true"), (DataType.CATEGORICAL, "0.5")):
        assert human_label(score(value, data_type=data_type)) is None
        assert judge_score(of_run(value, data_type=data_type)) is None
        edited = of_run(value, data_type=data_type).patched(ScoreChange(value=value), at(1), ADA)
        assert (judge_score(edited), human_label(edited)) == (None, None)


# --- figures ---------------------------------------------------------------------------------


def test_corrected_pass_rate_matches_published_example():
    """Pass rate 0.80, specificity 0.85, sensitivity 0.90: 0.8667 (arXiv 2511.21140)."""
    pairs = [(1, 1)] * 90 + [(0, 1)] * 10 + [(0, 0)] * 85 + [(1, 0)] * 15
    found = figures(*pairs, passed=800, index=1_000)
    assert found.corrected_pass_rate.value == pytest.approx(0.8667, abs=5e-5)
    assert found.pass_rate.value == 0.8
    assert found.is_calibrated


@pytest.mark.parametrize("n", [CALIBRATED_FROM - 1, CALIBRATED_FROM])
def test_judge_is_calibrated_from_30_labels_on(n):
    assert figures(*[(1, 1)] * n).is_calibrated is (n == CALIBRATED_FROM)


@pytest.mark.parametrize(
    ("pairs", "unknown"),
    [
        (
            [],
            {
                "agreement": "no trace has both",
                "kappa": "no trace has both",
                "weighted_kappa": "no trace has both",
                "spearman": "fewer than 4 pairs",
                "mean_absolute_error": "no trace has both",
                "sensitivity": "people passed nothing",
                "specificity": "people failed nothing",
                "corrected_pass_rate": "no trace has both",
            },
        ),
        (
            [(1, 1)] * 5,
            {
                "kappa": "judge and people gave one",
                "weighted_kappa": "judge and people gave one",
                "spearman": "the judge, or people, gave one number",
                "specificity": "people failed nothing",
                "corrected_pass_rate": "people failed nothing",
            },
        ),
        (
            [(0, 0), (1, 0), (0.2, 0), (0.3, 0.1)],
            {
                "sensitivity": "people passed nothing",
                "corrected_pass_rate": "people passed nothing",
            },
        ),
        (
            [(1, 0), (0, 1), (0.9, 0.1), (0.1, 0.9)],
            {"corrected_pass_rate": "sensitivity and specificity come to 1 or less"},
        ),
    ],
)
def test_undefined_statistics_carry_a_reason(pairs, unknown):
    found = figures(*pairs)
    names = [name for name in found.__slots__ if isinstance(getattr(found, name), Undefined)]
    assert {*names} == {*unknown}
    for name, reason in unknown.items():
        assert getattr(found, name).reason.startswith(reason)


def test_judge_without_scores_has_no_pass_rate():
    found = figures((1, 1), (0, 0), passed=0, index=0)
    assert (
        found.pass_rate
        == found.corrected_pass_rate
        == Undefined("the judge scored nothing in this time")
    )


shares = st.sampled_from([0.0, 0.2, 0.5, 1.0]) | st.floats(0, 1)


@given(st.lists(st.tuples(shares, shares), max_size=40), shares, st.integers(0, 20))
def test_every_statistic_lies_within_its_interval(pairs, threshold, passed):
    found = figures(*pairs, passed=passed, index=20, threshold=threshold)
    estimates = [
        value
        for name in found.__slots__
        if isinstance(value := getattr(found, name), IntervalEstimate)
    ]
    for one in estimates:
        assert -1.0 <= one.value <= 1.0
        assert one.low is None or -1.0 <= one.low <= one.value <= one.high <= 1.0
    assert found.n == len(pairs)
