"""Agreement of judges with people, held to worked examples of the literature."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.evaluation.agreement import (
    Confusion,
    Pair,
    corrected_rate,
    kappa,
    labels,
    share,
    weighted_kappa,
)

SCORES = st.floats(0, 1)
PAIRS = st.lists(st.builds(Pair, SCORES, SCORES), min_size=1, max_size=60)


def same(i: int, j: int) -> float:
    return float(i == j)


def test_kappa_of_fleiss_three_diagnoses():
    # Fleiss, Statistical Methods for Rates and Proportions, on 100 patients: 0.676 +- 0.087.
    found = kappa([[75, 1, 4], [5, 4, 1], [0, 0, 10]], same)
    assert found.value == pytest.approx(0.676, abs=0.0005)
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(0.087, abs=0.001)


def test_kappa_of_fifty_grants():
    # Two readers, 20 times yes and 15 times no by both: agreement 0.7, by chance 0.5.
    found = Confusion(20, 5, 10, 15)
    assert found.agreement.value == pytest.approx(0.7)
    assert found.kappa.value == pytest.approx(0.4)


def test_wilsons_interval():
    # Newcombe (1998), Statistics in Medicine 17, 857-872: 81 of 263, and 0 of 20.
    found = share(81, 263)
    assert (found.low, found.high) == (
        pytest.approx(0.2553, abs=5e-5),
        pytest.approx(0.3662, abs=5e-5),
    )
    none = share(0, 20)
    assert (none.low, none.high) == (0.0, pytest.approx(0.1611, abs=5e-5))


def test_the_corrected_pass_rate():
    assert corrected_rate(0.80, 0.85, 0.90) == pytest.approx(0.8667, abs=5e-5)
    found = Confusion(both_pass=90, judge_alone=15, person_alone=10, both_fail=85)
    estimate = found.corrected(passed=800, judged=1_000)
    assert estimate.value == pytest.approx(0.8667, abs=5e-5)
    assert estimate.low < 0.8667 < estimate.high <= 1.0


@pytest.mark.parametrize("pair", [Confusion(5, 5, 5, 5), Confusion(1, 9, 9, 1)])
def test_a_judge_no_better_than_chance_has_no_corrected_rate(pair):
    assert pair.corrected(8, 10) is None


def test_what_nobody_said_is_not_known():
    nothing = Confusion.of([], 0.5)
    figures = (nothing.agreement, nothing.sensitivity, nothing.specificity, nothing.kappa)
    assert figures == (None,) * 4
    assert weighted_kappa([]) is None
    assert Confusion(5, 0, 0, 0).specificity is None
    assert Confusion(5, 0, 0, 0).corrected(5, 5) is None
    assert Confusion(5, 0, 0, 0).kappa is None  # chance alone agrees in all
    assert Confusion(9, 1, 1, 9).corrected(0, 0) is None


def test_a_threshold_is_reached_by_meeting_it():
    assert Confusion.of([Pair(0.5, 0.5), Pair(0.49, 0.5)], 0.5) == Confusion(1, 0, 1, 0)


def test_scores_stand_for_the_nearest_label():
    table = labels([Pair(0.0, 1.0), Pair(0.1, 0.3), Pair(0.09, 0.29)])
    assert table[0][5] == table[1][2] == table[0][1] == 1
    assert sum(map(sum, table)) == 3


@given(PAIRS)
def test_quadratic_weights_are_one_minus_the_ratio_of_squared_differences(pairs):
    """As a mean of squares over all pairs of labels, which is how Cohen (1968) tells it."""
    ours = weighted_kappa(pairs)
    table = labels(pairs)
    judge = [i for i in range(6) for j in range(6) for _ in range(table[i][j])]
    person = [j for i in range(6) for j in range(6) for _ in range(table[i][j])]
    seen = math.fsum((a - b) ** 2 for a, b in zip(judge, person, strict=True)) / len(judge)
    chance = math.fsum((a - b) ** 2 for a in judge for b in person) / len(judge) ** 2
    assume(chance > 0)
    assert ours.value == pytest.approx(1 - seen / chance, abs=1e-9)


@given(PAIRS)
def test_agreement_regards_both_alike(pairs):
    turned = [Pair(one.person, one.judge) for one in pairs]
    there, back = Confusion.of(pairs, 0.5), Confusion.of(turned, 0.5)
    assert there.agreement == back.agreement
    assert (there.kappa is None) == (back.kappa is None)
    if there.kappa is not None:
        assert there.kappa.value == pytest.approx(back.kappa.value)


@given(PAIRS)
def test_who_says_the_same_agrees_wholly(pairs):
    alike = [Pair(one.person, one.person) for one in pairs]
    assert Confusion.of(alike, 0.5).agreement.value == 1.0
    found = weighted_kappa(alike)
    assert found is None or found.value == pytest.approx(1.0)


@given(st.integers(0, 50), st.integers(1, 50))
def test_an_interval_holds_its_share(some, more):
    found = share(some, some + more)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    turned = share(more, some + more)
    assert turned.low == pytest.approx(1 - found.high)
