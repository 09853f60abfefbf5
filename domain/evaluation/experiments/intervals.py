"""Intervals and tests of the mean over items, from Student's distribution.

An item is one observation, the mean of its repetitions: repetitions of an item aren't independent.

Scores are mostly 0 and 1, and most items don't change. A few items without any change have no
variance, and Student's interval then claims to know the difference exactly. So the interval gets
imaginary items, after Agresti and Coull (1998, The American Statistician 52, 119-126): z² of them
at the ends of the range, weighted by the share of observed items without variation. Without any
change it is as wide as the rule of three (Hanley and Lippman-Hand 1983, JAMA 249, 1743-1745), and
with continuous scores it is Student's.

docs/adr/0051-gate-without-resampling.md compares it with the bootstrap.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Final

_STEPS_MAX: Final = 500  # of the continued fraction; it needs fewer than 100
_EXACT: Final = 1e-15
_TINY: Final = 1e-300
_BISECTIONS: Final = 80
_NORMAL_FROM: Final = 1e7  # degrees of freedom


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The bounds of an observation, and the values at which items show no variation."""

    low: float
    high: float
    flat: frozenset[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanEstimate:
    """A mean over `n` items. Without two items there is no error and no interval."""

    n: int
    mean: float
    error: float | None = None  # the standard error of the mean
    low: float | None = None
    high: float | None = None

    def p_above(self, limit: float, tolerance: float = 0.0) -> float | None:
        """The p-value of the t-test that the mean isn't above `limit`; None without an error.

        Differences up to `tolerance` are rounding errors.
        """
        if self.error is None:
            return None
        distance = self.mean - limit
        if self.error <= tolerance:
            return 0.0 if distance > tolerance else 1.0
        return 1 - student_cdf(distance / self.error, self.n - 1)


def estimate_mean(
    values: Sequence[float], confidence: float, within: Range | None = None
) -> MeanEstimate | None:
    """The mean with its two-sided interval; None without a value.

    `within` are the bounds of the values: imaginary items are added then.
    """
    n = len(values)
    if not n:
        return None
    mean = math.fsum(values) / n
    if n == 1:
        return MeanEstimate(n=1, mean=mean)
    squares = math.fsum((one - mean) ** 2 for one in values)
    error = math.sqrt(squares / (n - 1) / n)
    tail = (1 + confidence) / 2
    quantile = student_quantile(tail, n - 1)
    middle, spread = mean, error
    if within is not None:
        flat = sum(one in within.flat for one in values) / n
        added = flat * NormalDist().inv_cdf(tail) ** 2
        total = n + added
        middle = (n * mean + added * (within.low + within.high) / 2) / total
        squares += n * (mean - middle) ** 2
        squares += added / 2 * ((within.low - middle) ** 2 + (within.high - middle) ** 2)
        spread = math.sqrt(squares / (total - 1) / total)
    low, high = middle - quantile * spread, middle + quantile * spread
    if within is not None:
        low, high = max(low, within.low), min(high, within.high)
    return MeanEstimate(n=n, mean=mean, error=error, low=min(low, mean), high=max(high, mean))


def student_cdf(t: float, freedom: float) -> float:
    """The probability that Student's t with these degrees of freedom is at most `t`."""
    if freedom >= _NORMAL_FROM:
        return NormalDist().cdf(t)
    if math.isinf(t):
        return 0.0 if t < 0 else 1.0
    tail = _incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5) / 2
    return tail if t < 0 else 1 - tail


@lru_cache(maxsize=256)
def student_quantile(probability: float, freedom: float) -> float:
    """The inverse of `student_cdf`, for 0 < probability < 1."""
    if probability < 0.5:  # noqa: PLR2004 - the middle
        return -student_quantile(1 - probability, freedom)
    low, high = 0.0, 1.0
    while student_cdf(high, freedom) < probability:
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if student_cdf(middle, freedom) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function, by Lentz's continued fraction."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    log = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(log + a * math.log(x) + b * math.log1p(-x)) / a
    result, c, d = 1.0, 1.0, 0.0
    for step in range(_STEPS_MAX):
        half = step // 2
        if step == 0:
            factor = 1.0
        elif step % 2 == 0:
            factor = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        else:
            factor = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        d = 1 / (1 + factor * d or _TINY)
        c = 1 + factor / c or _TINY
        result *= c * d
        if abs(1 - c * d) < _EXACT:
            break
    return front * (result - 1)
