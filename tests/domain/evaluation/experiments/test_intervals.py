"""Intervals of means over items, with SciPy as the oracle."""

import math

import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.experiments.intervals import (
    Range,
    estimate_mean,
    student_cdf,
    student_quantile,
)

FREEDOM = (1, 2, 3, 4, 9, 19, 99, 9_999)
DIFFERENCES = Range(low=-1, high=1, flat=frozenset({0.0}))
differences = st.lists(
    st.one_of(st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-1, 1)), min_size=2, max_size=60
)


@pytest.mark.parametrize("freedom", FREEDOM)
def test_students_distribution(freedom):
    for t in (-50, -3, -1, -0.1, 0, 0.2, 1, 2, 5, 100):
        assert math.isclose(student_cdf(t, freedom), scipy.stats.t.cdf(t, freedom), rel_tol=1e-9)
    for probability in (0.001, 0.025, 0.3, 0.5, 0.975, 0.9995):
        expected = scipy.stats.t.ppf(probability, freedom)
        found = student_quantile(probability, freedom)
        assert math.isclose(found, expected, rel_tol=1e-8, abs_tol=1e-9)


def test_student_with_very_many_items_is_normal():
    assert math.isclose(student_cdf(1.5, 1e8), scipy.stats.norm.cdf(1.5), rel_tol=1e-7)
    assert student_cdf(-math.inf, 3) == 0


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=60))
def test_plain_interval_and_test_are_those_of_scipy(values):
    found = estimate_mean(values, 0.9)
    if math.isclose(max(values), min(values), abs_tol=1e-6):
        return
    oracle = scipy.stats.ttest_1samp(values, 0.1, alternative="greater")
    low, high = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert math.isclose(found.p_above(0.1), oracle.pvalue, rel_tol=1e-6, abs_tol=1e-9)
    assert math.isclose(found.low, low, rel_tol=1e-6, abs_tol=1e-9)
    assert math.isclose(found.high, high, rel_tol=1e-6, abs_tol=1e-9)


@given(differences)
def test_interval_contains_the_mean_within_the_range(values):
    found = estimate_mean(values, 0.95, DIFFERENCES)
    assert -1 <= found.low <= found.mean <= found.high <= 1
    mirrored = estimate_mean([-one for one in values], 0.95, DIFFERENCES)
    assert math.isclose(mirrored.high, -found.low, abs_tol=1e-12)
    assert estimate_mean([*reversed(values)], 0.95, DIFFERENCES) == found


@given(differences)
def test_more_confidence_gives_a_wider_interval(values):
    wide, narrow = (estimate_mean(values, one, DIFFERENCES) for one in (0.99, 0.9))
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high


@pytest.mark.parametrize("n", [5, 20, 100, 1_000])
def test_without_any_change_it_is_about_the_exact_bound(n):
    """That of Clopper and Pearson for no change in n items."""
    found = estimate_mean([0.0] * n, 0.95, DIFFERENCES)
    exact = 1 - 0.025 ** (1 / n)
    assert 0.9 * exact <= found.high <= 1.35 * exact


def test_values_without_variation_are_students():
    values = [0.1, -0.2, 0.05, 0.3]
    assert estimate_mean(values, 0.95, DIFFERENCES) == estimate_mean(values, 0.95)


def test_too_few_values():
    assert estimate_mean([], 0.95) is None
    one = estimate_mean([0.5], 0.95)
    assert (one.n, one.mean, one.low, one.p_above(0)) == (1, 0.5, None, None)
