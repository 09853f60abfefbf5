"""Comparing two groups of traces, with SciPy as the oracle."""

import math
import random
import statistics
import uuid

import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.experiments.trace_groups import (
    CONFIDENCE,
    GROUP_SCORES_MIN,
    Difference,
    GroupComparison,
    GroupFigures,
    NoInterval,
    ScoreFigures,
    ScoreKind,
    mean_difference,
    share_difference,
)
from domain.ids import TraceId

KIND = ScoreKind("m", is_of_run=True, judge_kind="model", fingerprint="f")
ENOUGH = GROUP_SCORES_MIN
scores = st.lists(st.floats(0.001, 0.999), min_size=ENOUGH, max_size=60)


def figures(values, kind=KIND):
    return ScoreFigures(
        kind=kind,
        numbers=len(values),
        mean=statistics.fmean(values),
        variance=statistics.variance(values) if len(values) > 1 else None,
        extremes=sum(one in {0, 1} for one in values),
    )


def group(*of, traces=100, failed=0):
    ids = frozenset(TraceId(uuid.uuid4()) for _ in range(traces))
    return GroupFigures(total=traces, traces=ids, failed=failed, scores=of)


@given(scores, scores)
def test_interval_of_scores_between_0_and_1_is_that_of_welch(a, b):
    if min(statistics.variance(a), statistics.variance(b)) < 1e-6:
        return
    found = mean_difference(figures(a), figures(b))
    oracle = scipy.stats.ttest_ind(b, a, equal_var=False).confidence_interval(CONFIDENCE)
    assert math.isclose(found.low, max(oracle.low, -1), rel_tol=1e-6, abs_tol=1e-9)
    assert math.isclose(found.high, min(oracle.high, 1), rel_tol=1e-6, abs_tol=1e-9)


def test_interval_of_equal_scores_has_a_width():
    same = figures([1.0] * ENOUGH)
    found = mean_difference(same, same)
    assert (found.value, found.is_beyond_chance) == (0, False)
    assert found.low < -0.05
    assert found.high > 0.05


@pytest.mark.parametrize("score", [0.05, 0.35, 0.7, 0.8])
def test_groups_with_one_and_the_same_score_never_differ_beyond_chance(score):
    """The mean of 30 equal scores may differ from that of 48 by the last digit of a double."""
    samples = [figures([score] * (ENOUGH + more)) for more in range(20)]
    found = [mean_difference(a, b) for a in samples for b in samples]
    assert {one.is_beyond_chance for one in found} == {False}
    less = figures([score - 0.01] * ENOUGH)
    assert {mean_difference(less, one).is_beyond_chance for one in samples} == {True}


@pytest.mark.parametrize(
    ("a", "b", "n"), [(0.95, 0.95, 30), (0.9, 0.6, 50), (0.99, 0.97, 300), (0.5, 0.5, 40)]
)
def test_intervals_of_shares_have_the_true_difference(a, b, n):
    source, hits, rounds = random.Random(7), 0, 1_000
    for _ in range(rounds):
        counts = [sum(source.random() < share for _ in range(n)) for share in (a, b)]
        found = share_difference((counts[0], n), (counts[1], n))
        hits += found.low <= b - a <= found.high
    assert hits / rounds >= 0.93


@pytest.mark.parametrize(
    ("a", "b", "low", "high", "near"),
    [
        ((3, 30), (9, 40), -0.059305, 0.285496, 0.02),
        ((0, 30), (0, 30), -0.085255, 0.085255, 0.02),
        ((0, 30), (30, 30), 0.852245, 1.0, 0.02),
        ((50, 100), (70, 120), -0.048707, 0.212641, 0.003),
        ((990, 1_000), (999, 1_000), 0.001963, 0.016001, 0.001),
    ],
)
def test_interval_of_shares_is_close_to_that_of_agresti_and_caffo(a, b, low, high, near):
    """As statsmodels computes it, by `confint_proportions_2indep(method="agresti-caffo")`."""
    found = share_difference(a, b)
    assert (found.low, found.high) == (
        pytest.approx(low, abs=near),
        pytest.approx(high, abs=near),
    )


def test_few_scores_and_shared_traces_have_no_interval():
    few, many = figures([0.5] * (ENOUGH - 1)), figures([0.25] * ENOUGH)
    assert mean_difference(few, many) == Difference(value=-0.25, no_interval=NoInterval.TOO_FEW)
    shared = mean_difference(many, many, are_independent=False)
    assert shared == Difference(value=0, no_interval=NoInterval.SHARED_TRACES)
    assert shared.is_beyond_chance is None
    assert share_difference((0, 0), (1, 40)) is None
    one = group(many)
    compared = GroupComparison.from_groups(one, one)
    assert (compared.shared, compared.failures.no_interval) == (100, NoInterval.SHARED_TRACES)


def test_other_judges_and_fingerprints_are_never_compared():
    other = ScoreKind("m", is_of_run=True, judge_kind="model", fingerprint="g")
    heuristic = ScoreKind("m", is_of_run=True, judge_kind="heuristic", fingerprint="h")
    sent = ScoreKind("m", is_of_run=False)
    values = [0.5, 0.75] * ENOUGH
    a = group(*(figures(values, kind) for kind in (KIND, heuristic, sent)))
    b = group(*(figures(values, kind) for kind in (other, heuristic, sent)), failed=9)
    compared = GroupComparison.from_groups(a, b)
    of_run, of_others = compared.metrics
    assert [(one.fingerprint, one.no_interval) for one in of_run.means] == [
        ("h", None), ("f", NoInterval.ONE_GROUP), ("g", NoInterval.ONE_GROUP)
    ]  # fmt: skip
    assert (of_run.has_other_fingerprints, of_others.has_other_fingerprints) == (True, False)
    assert of_others.means[0].difference.is_beyond_chance is False
    assert compared.failures.is_beyond_chance is True


def test_answers_without_a_word_are_in_the_mean_of_the_judge():
    decided = ScoreKind("m", is_of_run=True, judge_kind="model", fingerprint="rule/1")
    judged, wordless = [0.5, 1.0] * 15, [0.0] * 10
    corrected = figures([1.0], ScoreKind("m", is_of_run=True))
    b = group(figures(judged), figures(wordless, decided), corrected)
    compared = GroupComparison.from_groups(group(figures([0.5, 1.0] * 20)), b)
    [metric] = compared.metrics
    mean = metric.means[-1]
    every = figures(judged + wordless)
    assert (mean.fingerprint, mean.b.numbers, mean.b.extremes) == ("f", 40, every.extremes)
    assert mean.b.mean == pytest.approx(every.mean)
    assert mean.b.variance == pytest.approx(every.variance)
    assert mean.difference.is_beyond_chance is True
    assert (metric.b.scored, len(metric.means)) == (41, 2)


def test_a_group_of_answers_without_a_word_is_compared_with_judged_ones():
    decided = ScoreKind("m", is_of_run=True, judge_kind="model", fingerprint="rule/1")
    failed = ScoreFigures(kind=KIND, numbers=0, failed=2)
    b = group(figures([0.0] * ENOUGH, decided), failed)
    [metric] = GroupComparison.from_groups(group(figures([0.5] * ENOUGH)), b).metrics
    [mean] = metric.means
    assert (mean.difference.value, mean.b.failed, metric.b.failed) == (-0.5, 2, 2)
    [alone] = GroupComparison.from_groups(group(), b).metrics
    assert [one.fingerprint for one in alone.means] == ["rule/1"]


def test_with_several_judges_answers_without_a_word_stay_apart():
    decided = ScoreKind("m", is_of_run=True, judge_kind="model", fingerprint="rule/1")
    other = ScoreKind("m", is_of_run=True, judge_kind="model", fingerprint="g")
    both = group(*(figures([0.5] * ENOUGH, kind) for kind in (KIND, other, decided)))
    single = group(*(figures([0.5] * ENOUGH, kind) for kind in (KIND, decided)))
    for one in (both, single):
        [metric] = GroupComparison.from_groups(one, both).metrics
        assert [mean.fingerprint for mean in metric.means] == ["f", "g", "rule/1"]


def test_coverage_counts_traces_without_a_score():
    skipped = ScoreFigures(kind=ScoreKind("m", is_of_run=True), numbers=0, skipped=5, failed=2)
    a = group(figures([0.5] * 40), skipped, traces=50)
    compared = GroupComparison.from_groups(a, group(traces=3))
    [metric] = compared.metrics
    assert (metric.a.scored, metric.a.skipped, metric.a.failed, metric.a.missing) == (40, 5, 2, 3)
    assert (metric.b.scored, metric.b.missing) == (0, 3)
    assert metric.means[0].b is None
    assert compared.failures.no_interval is NoInterval.TOO_FEW
