"""Comparing two groups of traces, such as those of two releases.

The groups are what users happened to ask, not a test: there are no pairs. So means of scores are
compared by Welch's interval of the difference of independent means. Scores are mostly 0 and 1, and
some dozens of equal scores have no variance. So each group gets imaginary scores at 0 and 1, half
of z² in all, weighted by its share of scores there. With scores of 0 and 1 alone that is close to
the interval of Agresti and Caffo (2000, The American Statistician 54, 280-288): its bounds differ
by at most 0.02 for 30 scores and 0.003 for 100. With others it is Welch's.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from statistics import NormalDist
from typing import Final, Self

from domain.errors import Invalid
from domain.evaluation.experiments.intervals import student_quantile
from domain.evaluation.metrics.metric import is_rule_fingerprint
from domain.evaluation.scores.score import ScoreOutcome, TraceScore
from domain.ids import TraceId
from domain.tracing.analytics import Latencies
from domain.tracing.span import Totals
from domain.tracing.trace import Trace, TraceStatus

GROUP_TRACES_MAX: Final = 10_000  # of each group, the newest
GROUP_METRICS_MAX: Final = 50  # that a request names
GROUP_MEANS_MAX: Final = 500  # of one group: names of scores and how they were made
GROUP_SCORES_MIN: Final = 30  # of each group: with fewer no interval is shown
LOWEST_MAX: Final = 5  # traces of a group with the lowest scores of a metric
CONFIDENCE: Final = 0.95
_TOLERANCE: Final = 1e-9  # smaller differences are rounding errors


@dataclass(frozen=True, slots=True)
class ScoreKind:
    """Scores that may be averaged: of one name, of runs or sent, made in one way.

    Scores that a run didn't give, or that a person corrected, have no judge and no fingerprint.
    """

    name: str
    is_of_run: bool
    judge_kind: str | None = None
    fingerprint: str | None = None

    @property
    def is_decided_before_judging(self) -> bool:
        """Whether the metric decided by itself, whatever judge has scored other traces."""
        return self.fingerprint is not None and is_rule_fingerprint(self.fingerprint)

    @property
    def is_judged(self) -> bool:
        return self.fingerprint is not None and not self.is_decided_before_judging


@dataclass(frozen=True, slots=True)
class LowScore:
    """A trace, and its score."""

    trace_id: TraceId
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreFigures:
    """The scores of a kind, at most one of each trace.

    `numbers` have a number; `labels` are scored without one. `variance` is that of a sample, None
    without two numbers. `extremes` counts numbers that are 0 or 1. `lowest` are the traces with the
    lowest numbers.
    """

    kind: ScoreKind
    numbers: int
    labels: int = 0
    skipped: int = 0
    failed: int = 0
    mean: float | None = None
    variance: float | None = None
    extremes: int = 0
    lowest: Sequence[LowScore] = ()

    @property
    def scores(self) -> int:
        return self.numbers + self.labels + self.skipped + self.failed

    def pooled(self, other: Self) -> Self:
        """Both as if they were of this kind. The other has a number."""
        assert other.mean is not None, "scores that are pooled have a number"
        numbers = self.numbers + other.numbers
        own = other.mean if self.mean is None else self.mean
        mean = (self.numbers * own + other.numbers * other.mean) / numbers
        squares = self.numbers * (own - mean) ** 2 + other.numbers * (other.mean - mean) ** 2
        for one in (self, other):
            squares += (one.numbers - 1) * (one.variance or 0.0)
        lowest = sorted((*self.lowest, *other.lowest), key=lambda one: (one.value, one.trace_id))
        return replace(
            self,
            numbers=numbers,
            labels=self.labels + other.labels,
            skipped=self.skipped + other.skipped,
            failed=self.failed + other.failed,
            mean=mean,
            variance=squares / (numbers - 1) if numbers > 1 else None,
            extremes=self.extremes + other.extremes,
            lowest=tuple(lowest[:LOWEST_MAX]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFigures:
    """The measurements of a group: of its newest traces, at most GROUP_TRACES_MAX.

    `total` traces match, or at least as many. `failed` traces have the status ERROR, `erroneous`
    ones have it or a span that has. `unpriced_traces` have a span whose cost is unknown. The
    instants are the starts of the oldest and of the newest trace.
    """

    total: int
    total_is_at_least: bool = False
    traces: frozenset[TraceId] = frozenset()
    failed: int = 0
    erroneous: int = 0
    latencies: Latencies | None = None
    tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced_traces: int = 0
    unpriced_spans: int = 0
    first_started_at: datetime | None = None
    last_started_at: datetime | None = None
    scores: Sequence[ScoreFigures] = ()

    @property
    def count(self) -> int:
        return len(self.traces)

    @property
    def latency_count(self) -> int:
        """How many of the traces have a latency."""
        return 0 if self.latencies is None else self.latencies.count

    @classmethod
    def from_traces(
        cls, traces: Sequence[Trace], total: int, scores: Iterable[tuple[ScoreKind, TraceScore]]
    ) -> Self:
        """Summarises settled traces, with the newest score of each name of a trace."""
        every = [Totals.from_spans(one.spans) for one in traces]
        latencies = [us for one in traces if (us := one.latency_us) is not None]
        starts = [one.started_at for one in traces]
        kinds = dict[ScoreKind, list[TraceScore]]()
        for kind, score in scores:
            kinds.setdefault(kind, []).append(score)
        totals = sum(every, Totals())
        return cls(
            total=total,
            traces=frozenset(one.id for one in traces),
            failed=sum(one.status is TraceStatus.ERROR for one in traces),
            erroneous=sum(one.has_error for one in traces),
            latencies=Latencies.from_microseconds(latencies) if latencies else None,
            tokens=totals.tokens,
            cost=totals.cost,
            unpriced_traces=sum(one.unpriced > 0 for one in every),
            unpriced_spans=totals.unpriced,
            first_started_at=min(starts, default=None),
            last_started_at=max(starts, default=None),
            scores=tuple(_figures(kind, some) for kind, some in kinds.items()),
        )


def check_kinds(count: int) -> None:
    """Raises Invalid for more kinds of scores than a comparison shows."""
    if count > GROUP_MEANS_MAX:
        message = (
            f"has to name some: the traces have more than {GROUP_MEANS_MAX} kinds of scores, by "
            "name, judge and fingerprint"
        )
        raise Invalid.semantic("metrics", message)


def _figures(kind: ScoreKind, scores: Sequence[TraceScore]) -> ScoreFigures:
    numbers = sorted((number, one.trace_id) for one in scores if (number := one.number) is not None)
    values = [number for number, _ in numbers]
    mean = math.fsum(values) / len(values) if values else None
    outcomes = [one.outcome for one in scores]
    variance = None
    if mean is not None and len(values) > 1:
        variance = math.fsum((one - mean) ** 2 for one in values) / (len(values) - 1)
    return ScoreFigures(
        kind=kind,
        numbers=len(values),
        labels=outcomes.count(ScoreOutcome.SCORED) - len(values),
        skipped=outcomes.count(ScoreOutcome.SKIPPED),
        failed=outcomes.count(ScoreOutcome.FAILED),
        mean=mean,
        variance=variance,
        extremes=sum(one in {0.0, 1.0} for one in values),
        lowest=tuple(LowScore(trace, number) for number, trace in numbers[:LOWEST_MAX]),
    )


class NoInterval(StrEnum):
    """Why the interval of a difference is missing."""

    TOO_FEW = "too_few"  # fewer than GROUP_SCORES_MIN in a group
    SHARED_TRACES = "shared_traces"  # some traces are in both groups
    ONE_GROUP = "one_group"  # the other group has no number that was made in this way


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The mean of `b` minus that of `a`, with its two-sided interval of CONFIDENCE."""

    value: float
    low: float | None = None
    high: float | None = None
    no_interval: NoInterval | None = None

    @property
    def is_beyond_chance(self) -> bool | None:
        """Whether the interval leaves out 0; None without one.

        Equal scores have no variance: then the means may differ by the last digit of a double.
        """
        if self.low is None or self.high is None:
            return None
        return self.low > _TOLERANCE or self.high < -_TOLERANCE


@dataclass(frozen=True, slots=True)
class _Sample:
    n: int
    mean: float
    variance: float
    extremes: int

    def with_imaginary(self, z: float) -> "_Sample":
        added = self.extremes / self.n * z * z / 2
        total = self.n + added
        mean = (self.n * self.mean + added / 2) / total
        squares = (self.n - 1) * self.variance + self.n * (self.mean - mean) ** 2
        squares += added / 2 * (mean**2 + (1 - mean) ** 2)
        return _Sample(self.n, mean, squares / (total - 1), 0)


def mean_difference(
    a: ScoreFigures, b: ScoreFigures, *, are_independent: bool = True
) -> Difference | None:
    """The difference of the means of two groups; None if one has no number."""
    if a.mean is None or b.mean is None:
        return None
    return _difference(
        _Sample(a.numbers, a.mean, a.variance or 0.0, a.extremes),
        _Sample(b.numbers, b.mean, b.variance or 0.0, b.extremes),
        are_independent=are_independent,
    )


def share_difference(
    a: tuple[int, int], b: tuple[int, int], *, are_independent: bool = True
) -> Difference | None:
    """The difference of two shares, each as a number of how many; None if one is of nothing."""
    if not a[1] or not b[1]:
        return None
    samples = []
    for count, n in (a, b):
        share = count / n
        variance = share * (1 - share) * n / (n - 1) if n > 1 else 0.0
        samples.append(_Sample(n, share, variance, n))
    return _difference(*samples, are_independent=are_independent)


def _difference(a: _Sample, b: _Sample, *, are_independent: bool) -> Difference:
    value = b.mean - a.mean
    if not are_independent:
        return Difference(value=value, no_interval=NoInterval.SHARED_TRACES)
    if min(a.n, b.n) < GROUP_SCORES_MIN:
        return Difference(value=value, no_interval=NoInterval.TOO_FEW)
    tail = (1 + CONFIDENCE) / 2
    z = NormalDist().inv_cdf(tail)
    a, b = a.with_imaginary(z), b.with_imaginary(z)
    parts = [one.variance / one.n for one in (a, b)]
    error = math.sqrt(sum(parts))
    if error == 0:  # neither group has any variance, nor an imaginary score
        return Difference(value=value, low=value, high=value)
    freedom = sum(parts) ** 2 / sum(
        part**2 / (one.n - 1) for part, one in zip(parts, (a, b), strict=True)
    )
    spread = student_quantile(tail, freedom) * error
    middle = b.mean - a.mean
    low, high = max(middle - spread, -1.0), min(middle + spread, 1.0)
    return Difference(value=value, low=min(low, value), high=max(high, value))


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanComparison:
    """The means of scores that were made in one way. A group without such scores is None."""

    judge_kind: str | None
    fingerprint: str | None
    a: ScoreFigures | None
    b: ScoreFigures | None
    difference: Difference | None
    no_interval: NoInterval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCoverage:
    """How many traces of a group have a score of a name; `missing` ones have none."""

    scored: int
    skipped: int
    failed: int
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricComparison:
    """The scores of one name, of runs or sent."""

    name: str
    is_of_run: bool
    a: ScoreCoverage
    b: ScoreCoverage
    means: Sequence[MeanComparison]

    @property
    def has_other_fingerprints(self) -> bool:
        """Whether some numbers can't be compared, because they were made in another way."""
        return any(one.a is None or one.b is None for one in self.means)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupComparison:
    """Two groups side by side. `shared` traces are in both: then there are no intervals."""

    a: GroupFigures
    b: GroupFigures
    shared: int
    failures: Difference | None
    metrics: Sequence[MetricComparison] = field(default=())

    @classmethod
    def from_groups(cls, a: GroupFigures, b: GroupFigures) -> Self:
        shared = len(a.traces & b.traces)
        every = [one.kind for group in (a, b) for one in group.scores]
        return cls(
            a=a,
            b=b,
            shared=shared,
            failures=share_difference(
                (a.failed, a.count), (b.failed, b.count), are_independent=not shared
            ),
            metrics=[
                _compare_metric(a, b, name, is_of_run=not is_sent, are_independent=not shared)
                for name, is_sent in sorted({(one.name, not one.is_of_run) for one in every})
            ],
        )


def _compare_metric(
    a: GroupFigures, b: GroupFigures, name: str, *, is_of_run: bool, are_independent: bool
) -> MetricComparison:
    key = (name, is_of_run)
    sides: list[Mapping[ScoreKind, ScoreFigures]] = [
        {one.kind: one for one in group.scores if (one.kind.name, one.kind.is_of_run) == key}
        for group in (a, b)
    ]
    judges = [_judges(side) for side in sides]
    if max(map(len, judges)) == 1:
        sides = [
            _with_decided(side, *(judges[at] or judges[1 - at])) for at, side in enumerate(sides)
        ]
    kinds = {kind: None for side in sides for kind, one in side.items() if one.numbers}
    return MetricComparison(
        name=name,
        is_of_run=is_of_run,
        a=_coverage(a.count, sides[0]),
        b=_coverage(b.count, sides[1]),
        means=[
            _compare_means(kind, *sides, are_independent=are_independent)
            for kind in sorted(kinds, key=lambda one: (one.judge_kind or "", one.fingerprint or ""))
        ],
    )


def _judges(figures: Mapping[ScoreKind, ScoreFigures]) -> list[ScoreKind]:
    return [kind for kind, one in figures.items() if one.numbers and kind.is_judged]


def _with_decided(
    of: Mapping[ScoreKind, ScoreFigures], judge: ScoreKind
) -> Mapping[ScoreKind, ScoreFigures]:
    """Adds the scores that a metric decided by itself to those of the only judge of the group.

    Otherwise the mean of the judge would leave out the worst answers, those without a word.
    """
    found = dict(of)
    for kind, one in of.items():
        if kind.is_decided_before_judging and one.numbers:
            del found[kind]
            found[judge] = found.get(judge, ScoreFigures(kind=judge, numbers=0)).pooled(one)
    return found


def _coverage(traces: int, figures: Mapping[ScoreKind, ScoreFigures]) -> ScoreCoverage:
    every = figures.values()
    return ScoreCoverage(
        scored=sum(one.numbers + one.labels for one in every),
        skipped=sum(one.skipped for one in every),
        failed=sum(one.failed for one in every),
        missing=traces - sum(one.scores for one in every),
    )


def _compare_means(
    kind: ScoreKind,
    figures_a: Mapping[ScoreKind, ScoreFigures],
    figures_b: Mapping[ScoreKind, ScoreFigures],
    *,
    are_independent: bool,
) -> MeanComparison:
    found = (figures_a.get(kind), figures_b.get(kind))
    a, b = (one if one is not None and one.numbers else None for one in found)
    difference = None
    if a is not None and b is not None:
        difference = mean_difference(a, b, are_independent=are_independent)
    return MeanComparison(
        judge_kind=kind.judge_kind,
        fingerprint=kind.fingerprint,
        a=a,
        b=b,
        difference=difference,
        no_interval=NoInterval.ONE_GROUP if difference is None else difference.no_interval,
    )
