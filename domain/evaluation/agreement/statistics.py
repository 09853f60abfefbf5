"""Statistics of how far a judge agrees with people, and of its pass rate.

They are computed from pairs of scores of the same target under the same name: the judge's and a
person's, in [0, 1]. Passing means reaching the threshold. Statistics come with a 95 % interval.

Cohen's kappa uses the variance of Fleiss, Cohen and Everitt (1969, Psychological Bulletin 72,
323-327), also for quadratic weights on the scale of 0 to 5. It is a large-sample variance: valid
from 2k² pairs on for k labels (Cicchetti 1981, Applied Psychological Measurement 5, 101-104), and
of first order, so it is 0 if both agree in all pairs or one of them is constant, however few pairs
there are. There is no interval then. Proportions use Wilson's interval (1927). The corrected pass
rate is the estimator of Rogan and Gladen (1978), which arXiv 2511.21140 applies to judges, with the
interval of Lang and Reiczigel (2014, Preventive Veterinary Medicine 113, 13-22): imaginary pairs
keep a judge that made no mistake in a few pairs from counting as one that never makes any. The mean
absolute error has the interval of `estimate_mean`. Spearman's rank correlation uses Fisher's z with
the standard error of Bonett and Wright (2000, Psychometrika 65, 23-28).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from domain.evaluation.experiments.intervals import Range, estimate_mean
from domain.evaluation.metrics.rubrics import LABEL_MAX

Z: Final = 1.959963984540054  # of the normal distribution, two-sided 95 %

SPEARMAN_MIN: Final = 4  # pairs
KAPPA_INTERVAL_MIN: Final = 8  # pairs: 2k² of the fewest labels, pass and fail

_CONFIDENCE: Final = 0.95
_ERRORS: Final = Range(low=0, high=1, flat=frozenset({0.0}))  # of a judge
_IMAGINARY_PAIRS: Final = 2  # of those that people pass, and of those that they fail
_EXACT: Final = 1e-13  # relative tolerance: smaller differences are rounding errors
_NO_VARIANCE: Final = 1e-24


@dataclass(frozen=True, slots=True)
class IntervalEstimate:
    """A statistic with its 95 % interval.

    Both bounds are None if the pairs don't determine an interval.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ScorePair:
    """The scores of a judge and a person for one target, both in [0, 1]."""

    judge: float
    person: float


@dataclass(frozen=True, slots=True)
class ConfusionMatrix:
    """How many pairs pass or fail by the judge and by the person."""

    both_pass: int
    judge_alone: int  # passes what the person fails
    person_alone: int
    both_fail: int

    @classmethod
    def from_pairs(cls, pairs: Sequence[ScorePair], threshold: float) -> "ConfusionMatrix":
        seen = [(one.judge >= threshold, one.person >= threshold) for one in pairs]
        return cls(
            both_pass=seen.count((True, True)),
            judge_alone=seen.count((True, False)),
            person_alone=seen.count((False, True)),
            both_fail=seen.count((False, False)),
        )

    @property
    def n(self) -> int:
        return self.both_pass + self.judge_alone + self.person_alone + self.both_fail

    @property
    def agreement(self) -> IntervalEstimate | None:
        return proportion(self.both_pass + self.both_fail, self.n)

    @property
    def sensitivity(self) -> IntervalEstimate | None:
        """The share of pairs passed by people that the judge passes; None without such pairs."""
        return proportion(self.both_pass, self.both_pass + self.person_alone)

    @property
    def specificity(self) -> IntervalEstimate | None:
        """The share of pairs failed by people that the judge fails; None without such pairs."""
        return proportion(self.both_fail, self.both_fail + self.judge_alone)

    @property
    def kappa(self) -> IntervalEstimate | None:
        table = [[self.both_pass, self.judge_alone], [self.person_alone, self.both_fail]]
        return kappa(table, lambda i, j: float(i == j))

    def corrected(self, passed: int, judged: int) -> IntervalEstimate | None:
        """The estimated pass rate by people, from `passed` of `judged` by the judge.

        (p + q0 - 1) / (q0 + q1 - 1), with specificity q0 and sensitivity q1, clamped to [0, 1].
        None if one of them is unknown, nothing was judged, or the judge is no better than chance:
        its rate carries no information then.
        """
        q1, q0 = self.sensitivity, self.specificity
        if q1 is None or q0 is None or judged == 0:
            return None
        value = corrected_rate(passed / judged, q0.value, q1.value)
        if value is None:
            return None
        n, rate = _with_imaginary(passed, judged, Z**2)
        passing, sensitivity = _with_imaginary(
            self.both_pass, self.both_pass + self.person_alone, _IMAGINARY_PAIRS
        )
        failing, specificity = _with_imaginary(
            self.both_fail, self.both_fail + self.judge_alone, _IMAGINARY_PAIRS
        )
        better = specificity + sensitivity - 1
        if better <= 0:  # of a few pairs only: the rate may be any
            return IntervalEstimate(value, 0.0, 1.0)
        middle = (rate + specificity - 1) / better
        by_failing = (1 - middle) * specificity * (1 - specificity) / failing
        by_passing = middle * sensitivity * (1 - sensitivity) / passing
        variance = rate * (1 - rate) / n + (1 - middle) * by_failing + middle * by_passing
        error = Z * math.sqrt(variance) / better
        middle += 2 * Z**2 * (by_passing - by_failing)
        low, high = max(min(middle - error, value), 0.0), min(max(middle + error, value), 1.0)
        if low == high:  # the pairs and the judged scores contradict each other
            return IntervalEstimate(value, None, None)
        return IntervalEstimate(value, low, high)


def _with_imaginary(some: int, total: int, added: float) -> tuple[float, float]:
    """How many there are with `added` imaginary ones, and the share of `some` and half of these."""
    return total + added, (some + added / 2) / (total + added)


def corrected_rate(rate: float, specificity: float, sensitivity: float) -> float | None:
    """(p + q0 - 1) / (q0 + q1 - 1) in [0, 1]; None if the judge is no better than chance."""
    better = specificity + sensitivity - 1
    if better <= 0:
        return None
    return min(max((rate + specificity - 1) / better, 0.0), 1.0)


def proportion(some: int, total: int) -> IntervalEstimate | None:
    """`some` / `total` with Wilson's interval, which stays inside [0, 1]; None if `total` is 0."""
    if total == 0:
        return None
    rate = some / total
    spread = Z * math.sqrt(rate * (1 - rate) / total + Z**2 / (4 * total**2))
    middle, scale = rate + Z**2 / (2 * total), 1 + Z**2 / total
    low, high = (middle - spread) / scale, (middle + spread) / scale
    # For none or all, the bound is exactly 0 or 1, whatever rounding gives.
    return IntervalEstimate(rate, 0.0 if some == 0 else low, 1.0 if some == total else high)


def label_table(pairs: Sequence[ScorePair]) -> list[list[int]]:
    """Counts of the labels 0 to LABEL_MAX: [judge][person]."""
    table = [[0] * (LABEL_MAX + 1) for _ in range(LABEL_MAX + 1)]
    for one in pairs:
        table[_label(one.judge)][_label(one.person)] += 1
    return table


def weighted_kappa(pairs: Sequence[ScorePair]) -> IntervalEstimate | None:
    """Kappa on the labels 0 to 5, with quadratic weights."""
    return kappa(label_table(pairs), lambda i, j: 1 - ((i - j) / LABEL_MAX) ** 2)


def mean_absolute_error(pairs: Sequence[ScorePair]) -> IntervalEstimate | None:
    """The mean absolute difference of judge and person, with the interval of a mean."""
    found = estimate_mean([abs(one.judge - one.person) for one in pairs], _CONFIDENCE, _ERRORS)
    if found is None:
        return None
    low, high = found.low, found.high
    if low is None or high is None:  # of a single pair
        return IntervalEstimate(found.mean, 0.0, 1.0)
    if high - low < _EXACT:
        return IntervalEstimate(found.mean, None, None)
    return IntervalEstimate(found.mean, low, high)


def spearman(pairs: Sequence[ScorePair]) -> IntervalEstimate | None:
    """The rank correlation of judge and person, from -1 to 1.

    None for fewer than SPEARMAN_MIN pairs, or if one of both is constant.
    """
    if len(pairs) < SPEARMAN_MIN:
        return None
    judge, person = _ranks([one.judge for one in pairs]), _ranks([one.person for one in pairs])
    middle = (len(pairs) + 1) / 2
    both = math.fsum((a - middle) * (b - middle) for a, b in zip(judge, person, strict=True))
    own = [math.fsum((rank - middle) ** 2 for rank in ranks) for ranks in (judge, person)]
    if 0.0 in own:
        return None
    value = min(max(both / math.sqrt(own[0] * own[1]), -1.0), 1.0)
    if math.isclose(abs(value), 1.0, rel_tol=_EXACT):  # Fisher's z is infinite there
        return IntervalEstimate(math.copysign(1.0, value), None, None)
    error = Z * math.sqrt((1 + value**2 / 2) / (len(pairs) - 3))
    at = math.atanh(value)
    return IntervalEstimate(value, math.tanh(at - error), math.tanh(at + error))


def kappa(
    table: Sequence[Sequence[int]], weight: Callable[[int, int], float]
) -> IntervalEstimate | None:
    """Agreement beyond chance, at most 1; None if chance alone would agree in all pairs.

    `table` counts [judge][person]; `weight` is how far a cell counts as agreement, in [0, 1], 1 on
    the diagonal. Without an interval below KAPPA_INTERVAL_MIN pairs.
    """
    size, n = range(len(table)), sum(map(sum, table))
    if n == 0:
        return None
    cells = [[count / n for count in row] for row in table]
    rows = [sum(row) for row in cells]
    columns = [sum(row[j] for row in cells) for j in size]
    observed = math.fsum(weight(i, j) * cells[i][j] for i in size for j in size)
    expected = math.fsum(weight(i, j) * rows[i] * columns[j] for i in size for j in size)
    if math.isclose(expected, 1.0):
        return None
    value = (observed - expected) / (1 - expected)
    by_row = [math.fsum(weight(i, j) * columns[j] for j in size) for i in size]
    by_column = [math.fsum(weight(i, j) * rows[i] for i in size) for j in size]
    spread = math.fsum(
        cells[i][j] * (weight(i, j) - (by_row[i] + by_column[j]) * (1 - value)) ** 2
        for i in size
        for j in size
    )
    middle = (value - expected * (1 - value)) ** 2
    is_told = n >= KAPPA_INTERVAL_MIN and not math.isclose(spread, middle, rel_tol=_EXACT)
    variance = (spread - middle) / (n * (1 - expected) ** 2) if is_told else 0.0
    value = min(max(value, -1.0), 1.0)  # rounding may exceed the scale
    if variance < _NO_VARIANCE:  # no sample statistic is certain
        return IntervalEstimate(value, None, None)
    error = Z * math.sqrt(variance)
    return IntervalEstimate(value, max(value - error, -1.0), min(value + error, 1.0))


def _label(score: float) -> int:
    return math.floor(score * LABEL_MAX + 0.5)


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1; equal values share the mean of their ranks."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    for _, tied in groupby(enumerate(order, start=1), key=lambda placed: values[placed[1]]):
        alike = list(tied)
        rank = (alike[0][0] + alike[-1][0]) / 2
        for _, at in alike:
            ranks[at] = rank
    return ranks
