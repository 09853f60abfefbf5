"""Agreement statistics, compared with worked examples of the literature."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.evaluation.agreement.statistics import (
    ConfusionMatrix,
    ScorePair,
    corrected_rate,
    kappa,
    label_table,
    mean_absolute_error,
    proportion,
    spearman,
    weighted_kappa,
)

SCORES = st.floats(0, 1)
PAIRS = st.lists(st.builds(ScorePair, SCORES, SCORES), min_size=1, max_size=60)


def same(i: int, j: int) -> float:
    return float(i == j)


def test_kappa_matches_fleiss_example_of_diagnoses():
    # Fleiss, Statistical Methods for Rates and Proportions, on 100 patients: 0.676 +- 0.087.
    found = kappa([[75, 1, 4], [5, 4, 1], [0, 0, 10]], same)
    assert found.value == pytest.approx(0.676, abs=0.0005)
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(0.087, abs=0.001)


def test_weighted_kappa_matches_published_example_of_couples():
    # Hout, Duncan and Sobel (1987), with weights in equal steps: 0.2374 +- 0.0783, and without
    # any 0.1293 +- 0.0686.
    table = [[7, 7, 2, 3], [2, 8, 3, 7], [1, 5, 4, 9], [2, 8, 9, 14]]
    for weight, value, error in (
        (lambda i, j: 1 - abs(i - j) / 3, 0.2374, 0.0783),
        (same, 0.1293, 0.0686),
    ):
        found = kappa(table, weight)
        assert found.value == pytest.approx(value, abs=5e-5)
        assert (found.high - found.low) / 2 / 1.96 == pytest.approx(error, abs=5e-5)


def test_kappa_matches_published_example_of_grants():
    # Two readers, 20 times yes and 15 times no by both: agreement 0.7, by chance 0.5.
    found = ConfusionMatrix(20, 5, 10, 15)
    assert found.agreement.value == pytest.approx(0.7)
    assert found.kappa.value == pytest.approx(0.4)


def test_spearman_matches_published_example():
    # IQ and hours of television a week, as textbooks have it: -29/165.
    iq = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110]
    hours = [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
    found = spearman([ScorePair(a / 200, b / 200) for a, b in zip(iq, hours, strict=True)])
    assert found.value == pytest.approx(-29 / 165)
    # Fisher's z: -0.1776 +- 1.96 * sqrt((1 + 0.0154) / 7) = -0.1776 +- 0.7465
    assert (found.low, found.high) == (
        pytest.approx(-0.7278, abs=5e-5),
        pytest.approx(0.5145, abs=5e-5),
    )


def test_tied_ranks_are_averaged():
    # Ranks 1.5, 1.5, 3, 4 and 1, 3, 3, 3: covariance 3, own 4.5 and 3.
    found = spearman([ScorePair(0.1, 0), ScorePair(0.1, 1), ScorePair(0.2, 1), ScorePair(0.3, 1)])
    assert found.value == pytest.approx(2 / math.sqrt(4.5 * 3))


def test_mean_absolute_error():
    found = mean_absolute_error([ScorePair(n / 10, 0) for n in range(1, 6)])
    assert found.value == pytest.approx(0.3)
    # Student's interval of 0.1 to 0.5, by scipy.stats.t.interval.
    assert (found.low, found.high) == (
        pytest.approx(0.103676, abs=5e-7),
        pytest.approx(0.496324, abs=5e-7),
    )
    assert mean_absolute_error([ScorePair(1, 0.5)]).value == 0.5
    assert mean_absolute_error([]) is None


@pytest.mark.parametrize(("pairs", "least"), [(2, 1.0), (10, 0.3), (100, 0.03)])
def test_few_pairs_without_a_difference_leave_the_mean_absolute_error_open(pairs, least):
    found = mean_absolute_error([ScorePair(0.4, 0.4)] * pairs)
    assert (found.value, found.low) == (0.0, 0.0)
    assert least <= found.high <= 1.5 * least or found.high == 1.0


@given(st.lists(st.builds(ScorePair, SCORES, SCORES), min_size=4, max_size=30))
def test_reversed_order_negates_spearman(pairs):
    found = spearman(pairs)
    turned = spearman([ScorePair(one.judge, 1 - one.person) for one in pairs])
    there = len({one.judge for one in pairs}) > 1 and len({one.person for one in pairs}) > 1
    assert (found is not None) is there
    # 1 - x may make two different numbers equal.
    if found is not None and len({1 - one.person for one in pairs}) == len(
        {one.person for one in pairs}
    ):
        assert turned.value == pytest.approx(-found.value, abs=1e-9)
        assert (found.low is None) is (abs(found.value) == 1.0)
        assert found.low is None or -1.0 <= found.low <= found.value <= found.high <= 1.0


def test_wilson_interval():
    # Newcombe (1998), Statistics in Medicine 17, 857-872: 81 of 263, and 0 of 20.
    found = proportion(81, 263)
    assert (found.low, found.high) == (
        pytest.approx(0.2553, abs=5e-5),
        pytest.approx(0.3662, abs=5e-5),
    )
    none = proportion(0, 20)
    assert (none.low, none.high) == (0.0, pytest.approx(0.1611, abs=5e-5))


def test_corrected_pass_rate():
    assert corrected_rate(0.80, 0.85, 0.90) == pytest.approx(0.8667, abs=5e-5)
    found = ConfusionMatrix(both_pass=90, judge_alone=15, person_alone=10, both_fail=85)
    estimate = found.corrected(passed=800, judged=1_000)
    assert estimate.value == pytest.approx(0.8667, abs=5e-5)
    assert estimate.low < 0.8667 < estimate.high <= 1.0


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "judged", "low", "high"),
    [
        ((50, 100), (199, 200), (27, 650), 0.0274600, 0.1145830),
        ((50, 100), (199, 200), (8, 78), 0.0784716, 0.3837731),
        ((90, 100), (85, 100), (800, 1_000), 0.7982015, 0.9581358),
        ((20, 20), (10, 10), (4_500, 5_000), 0.8533778, 1.0),
    ],
)
def test_corrected_pass_rate_has_the_interval_of_its_authors(
    sensitivity, specificity, judged, low, high
):
    """Compared with the formula of the R script of Lang and Reiczigel, computed by NumPy."""
    (passed, passing), (failed, failing) = sensitivity, specificity
    pairs = ConfusionMatrix(passed, failing - failed, passing - passed, failed)
    found = pairs.corrected(*judged)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-7), pytest.approx(high, abs=1e-7))


@pytest.mark.parametrize(("passing", "failing", "accuracy"), [(27, 3, 0.95), (54, 6, 0.99)])
def test_interval_of_corrected_pass_rate_holds_for_good_judges_and_few_labels(
    passing, failing, accuracy
):
    """Over every possible sample of labels: a judge may make no mistake among few of them."""
    true, judged = passing / (passing + failing), 5_000
    passed = round(judged * (true * accuracy + (1 - true) * (1 - accuracy)))
    covered = 0.0
    for some in range(passing + 1):
        for other in range(failing + 1):
            pairs = ConfusionMatrix(some, failing - other, passing - some, other)
            found = pairs.corrected(passed, judged)
            if found is None or found.low is None:
                continue
            if found.low <= true <= found.high:
                covered += binomial(some, passing, accuracy) * binomial(other, failing, accuracy)
    assert covered > 0.93


def binomial(some: int, index: int, share: float) -> float:
    return math.comb(index, some) * share**some * (1 - share) ** (index - some)


def test_few_labels_of_one_kind_leave_the_corrected_pass_rate_open():
    found = ConfusionMatrix(1, 0, 99, 1).corrected(5, 1_000)
    assert (found.low, found.high) == (0.0, 1.0)


@pytest.mark.parametrize("pair", [ConfusionMatrix(5, 5, 5, 5), ConfusionMatrix(1, 9, 9, 1)])
def test_judge_no_better_than_chance_has_no_corrected_rate(pair):
    assert pair.corrected(8, 10) is None


def test_statistics_without_pairs_are_none():
    nothing = ConfusionMatrix.from_pairs([], 0.5)
    figures = (nothing.agreement, nothing.sensitivity, nothing.specificity, nothing.kappa)
    assert figures == (None,) * 4
    assert weighted_kappa([]) is None
    assert ConfusionMatrix(5, 0, 0, 0).specificity is None
    assert ConfusionMatrix(5, 0, 0, 0).corrected(5, 5) is None
    assert ConfusionMatrix(5, 0, 0, 0).kappa is None  # chance alone agrees in all
    assert ConfusionMatrix(9, 1, 1, 9).corrected(0, 0) is None


def test_score_equal_to_threshold_passes():
    assert ConfusionMatrix.from_pairs(
        [ScorePair(0.5, 0.5), ScorePair(0.49, 0.5)], 0.5
    ) == ConfusionMatrix(1, 0, 1, 0)


def test_scores_map_to_the_nearest_label():
    table = label_table([ScorePair(0.0, 1.0), ScorePair(0.1, 0.3), ScorePair(0.09, 0.29)])
    assert table[0][5] == table[1][2] == table[0][1] == 1
    assert sum(map(sum, table)) == 3


@given(PAIRS)
def test_weighted_kappa_equals_its_definition(pairs):
    """Compared with Cohen (1968), who defines it by a mean of squares over all pairs."""
    ours = weighted_kappa(pairs)
    table = label_table(pairs)
    judge = [i for i in range(6) for j in range(6) for _ in range(table[i][j])]
    person = [j for i in range(6) for j in range(6) for _ in range(table[i][j])]
    seen = math.fsum((a - b) ** 2 for a, b in zip(judge, person, strict=True)) / len(judge)
    chance = math.fsum((a - b) ** 2 for a in judge for b in person) / len(judge) ** 2
    assume(chance > 0)
    assert ours.value == pytest.approx(1 - seen / chance, abs=1e-9)


@given(PAIRS)
def test_agreement_is_symmetric(pairs):
    turned = [ScorePair(one.person, one.judge) for one in pairs]
    there, back = ConfusionMatrix.from_pairs(pairs, 0.5), ConfusionMatrix.from_pairs(turned, 0.5)
    assert there.agreement == back.agreement
    assert (there.kappa is None) == (back.kappa is None)
    if there.kappa is not None:
        assert there.kappa.value == pytest.approx(back.kappa.value)


@pytest.mark.parametrize(
    "table",
    [
        *([[1, 0], [0, 1]], [[1, 1], [0, 0]], [[0, 1], [1, 0]]),  # all cases of two pairs
        *([[50, 0], [0, 50]], [[3333, 0], [0, 6667]]),  # complete agreement
        *([[7, 3], [0, 0]], [[9_999, 0], [1, 0]]),  # one of both is constant
        [[4, 1], [0, 2]],  # one pair less than the minimum
    ],
)
def test_kappa_interval_is_never_empty(table):
    found = kappa(table, lambda i, j: float(i == j))
    assert -1.0 <= found.value <= 1.0
    assert (found.low, found.high) == (None, None)


@pytest.mark.parametrize("table", [[[4, 1], [1, 2]], [[9_998, 1], [1, 0]], [[9_998, 1], [0, 1]]])
def test_kappa_has_an_interval_from_8_pairs_on(table):
    found = kappa(table, lambda i, j: float(i == j))
    assert found.low < found.value < found.high


@given(PAIRS)
def test_intervals_are_never_empty(pairs):
    found = (
        weighted_kappa(pairs),
        ConfusionMatrix.from_pairs(pairs, 0.5).kappa,
        mean_absolute_error(pairs),
    )
    for one in found:
        assert one is None or one.low is None or one.low < one.high


def test_intervals_of_other_statistics_are_never_empty():
    assert spearman([ScorePair(n / 5, n / 5) for n in range(5)]).low is None
    assert mean_absolute_error([ScorePair(1, 0.5), ScorePair(0, 0.5)]).low is None
    found = ConfusionMatrix(2, 0, 0, 2).corrected(passed=5, judged=5)
    assert found.low < found.value == found.high == 1.0


@given(st.tuples(*[st.integers(0, 200)] * 4), st.integers(0, 200), st.integers(0, 200))
def test_corrected_pass_rate_lies_in_its_interval(counts, passed, failed):
    found = ConfusionMatrix(*counts).corrected(passed, passed + failed)
    if found is not None and found.low is not None:
        assert 0.0 <= found.low <= found.value <= found.high <= 1.0
        assert found.low < found.high


def test_pass_rate_that_no_error_of_the_judge_explains_has_no_interval():
    # It passed 3 of 19 that people fail, but none of 69: fewer than its errors alone would be.
    found = ConfusionMatrix(1, 3, 0, 16).corrected(0, 69)
    assert (found.value, found.low, found.high) == (0.0, None, None)


@given(PAIRS)
def test_identical_scores_agree_completely(pairs):
    alike = [ScorePair(one.person, one.person) for one in pairs]
    assert ConfusionMatrix.from_pairs(alike, 0.5).agreement.value == 1.0
    found = weighted_kappa(alike)
    assert found is None or found.value == pytest.approx(1.0)


@given(st.integers(0, 50), st.integers(1, 50))
def test_interval_covers_the_true_value_in_95_percent(some, more):
    found = proportion(some, some + more)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    turned = proportion(more, some + more)
    assert turned.low == pytest.approx(1 - found.high)
