"""Score analytics: summaries, trends, distributions, histories and comparisons.

All functions take scores that are already filtered, in any order. Only scored NUMERIC values are
numbers; pending, failed and skipped scores are at most counted. Scores of runs and other ones are
never combined: see `scores_of_source`. Neither are values of the heuristic judge and of model
judges: see `comparable_scores`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from domain.errors import Invalid
from domain.evaluation.scores.score import (
    DataType,
    Score,
    ScoreOutcome,
    ScoreSource,
    ScoreStatus,
    SessionScore,
    newest_first,
    scores_of_source,
)
from domain.ids import RunId
from domain.page import Page, PageRequest, Position, SortOrder
from domain.tracing.analytics import Granularity, check_bucket_count, group_by, percentile
from domain.tracing.payloads.payload import scalar_members

BINS_MAX: Final = 100  # of a distribution
BINS_DEFAULT: Final = 10
HISTORY_DEFAULT: Final = 50
COMPARED_SESSIONS_MAX: Final = 100  # sessions on a page
COMPARED_SESSIONS_DEFAULT: Final = 20
PERIOD_BOUNDS: Final = "date_from and date_to"  # parameters of the period of a trend
TREND_NAMES_MAX: Final = 20  # names of one trend
TREND_PERCENTILES: Final = (0.1, 0.5, 0.9)
FINGERPRINTS_MAX: Final = 20  # of one mean, the first by text


class SeparateKind(StrEnum):
    """The kinds of judges whose numbers are never combined."""

    HEURISTIC = "heuristic"
    MODEL = "model"

    @property
    def other(self) -> "SeparateKind":
        is_model = self is SeparateKind.MODEL
        return SeparateKind.HEURISTIC if is_model else SeparateKind.MODEL


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCounts:
    """How many scores have a value of any data type, and how many have none, by outcome."""

    scored: int
    skipped: int
    failed: int
    pending: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSummary(ScoreCounts):
    """The summary of the scores of one name.

    It covers the scores of one source, or `from_runs`. The statistics cover the comparable numbers,
    `counted` in all, and are None without any; `left_out` counts the other numbers of the name.
    `latest_at` covers every outcome. `judge_kind` is the kind of judge that gave the numbers, if
    that kind can't be mixed with another. `with_threshold` counts the numbers with a threshold,
    which is between `minimum_threshold` and `maximum_threshold`; `passed` are those that reach it,
    None if none has one. `fingerprints` are those of the numbers, sorted, FINGERPRINTS_MAX at most.
    """

    name: str
    mean: float | None
    minimum: float | None
    maximum: float | None
    median: float | None
    latest_at: datetime
    judge_kind: str | None
    from_runs: bool
    counted: int
    left_out: int
    passed: int | None
    with_threshold: int
    minimum_threshold: float | None
    maximum_threshold: float | None
    fingerprints: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendPoint(ScoreCounts):
    """The numbers of one name that were created in one time bucket, `count` in all.

    Without numbers, the statistics are None. Fields are those of ScoreSummary.
    """

    bucket: datetime
    name: str
    mean: float | None
    p10: float | None
    p50: float | None
    p90: float | None
    count: int
    passed: int | None
    with_threshold: int
    judge_kind: str | None
    fingerprints: Sequence[str]


@dataclass(frozen=True, slots=True)
class HistogramBin:
    """One of several equal bins of [0, 1], numbered from 1, and its count."""

    number: int
    lower: float
    upper: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram(ScoreCounts):
    """The numbers of one name in bins, ascending; the counts are of the scores of all bins."""

    bins: Sequence[HistogramBin]


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """A score in the history of its session; `number` is None if it was failed or skipped."""

    name: str
    number: float | None
    run_id: RunId | None
    created_at: datetime
    status: ScoreStatus
    source: ScoreSource


@dataclass(frozen=True, slots=True)
class RankedSession:
    """A session with its newest number of one name."""

    session_id: str
    number: float
    evaluated_at: datetime
    run_id: RunId | None
    source: ScoreSource

    @property
    def position(self) -> Position:
        return Position(self.number, self.session_id)


def numeric_scores[S: Score](scores: Iterable[S]) -> list[S]:
    """The scores with a number."""
    return [one for one in scores if one.number is not None]


def run_fingerprint(score: Score) -> str | None:
    """How the score was made; None if no run gave it, since any client can write the metadata."""
    return None if score.run_id is None else scalar_members(score.metadata).get("fingerprint")


def comparable_scores[S: Score](
    scores: Sequence[S], judge_kind: SeparateKind | None = None
) -> tuple[list[S], SeparateKind | None]:
    """The numbers of one name that may be averaged, and the kind of judge that gave them.

    If both the heuristic judge and models gave numbers, only those of `judge_kind` are kept, by
    default those of the kind with the newest number. Numbers of rules and computed metrics are
    always kept. The kind is None if neither gave any of the numbers.
    """
    found = newest_first(numeric_scores(scores))
    said = [one.judge_kind for one in found]
    kinds = [SeparateKind(kind) for kind in said if kind is not None and kind in SeparateKind]
    if judge_kind is not None:
        kinds = [kind for kind in kinds if kind is judge_kind]
    kind = kinds[0] if kinds else None
    kept = judge_kind or kind
    if kept is None:
        return found, None
    return [one for one in found if one.judge_kind != kept.other], kind


def mean(values: Sequence[float]) -> float:
    """The mean of at least one value. SQL may differ in the last digits of the double."""
    return math.fsum(values) / len(values)


def count_outcomes(scores: Iterable[Score]) -> dict[str, int]:
    """The fields of ScoreCounts."""
    outcomes = [one.outcome for one in scores]
    return {outcome.value: outcomes.count(outcome) for outcome in ScoreOutcome}


def count_passed(scores: Iterable[Score]) -> tuple[int | None, list[float]]:
    """How many numbers reach their threshold, None without any threshold; and the thresholds."""
    pairs = [
        (number, threshold)
        for one in scores
        if (number := one.number) is not None and (threshold := one.threshold) is not None
    ]
    passed = sum(number >= threshold for number, threshold in pairs)
    return passed if pairs else None, sorted(threshold for _, threshold in pairs)


def distinct_fingerprints[S: Score](
    scores: Iterable[S], fingerprint_of: Callable[[S], str | None]
) -> Sequence[str]:
    found = {text for one in scores if (text := fingerprint_of(one)) is not None}
    return sorted(found)[:FINGERPRINTS_MAX]


def summaries[S: Score](
    scores: Iterable[S],
    *,
    source: ScoreSource | None = None,
    judge_kind: SeparateKind | None = None,
    fingerprint_of: Callable[[S], str | None] = run_fingerprint,
) -> list[ScoreSummary]:
    """One summary for each name with a score of the source, sorted by name."""
    by_name = group_by(scores, lambda one: one.name)
    return [
        _summary(name, chosen, some, judge_kind, fingerprint_of)
        for name, some in by_name.items()
        if (chosen := scores_of_source(some, source))
    ]


def _summary[S: Score](
    name: str,
    scores: Sequence[S],
    named: Sequence[S],
    judge_kind: SeparateKind | None,
    fingerprint_of: Callable[[S], str | None],
) -> ScoreSummary:
    compared, kind = comparable_scores(scores, judge_kind)
    values = sorted(number for one in compared if (number := one.number) is not None)
    passed, thresholds = count_passed(compared)
    return ScoreSummary(
        name=name,
        mean=mean(values) if values else None,
        minimum=min(values, default=None),
        maximum=max(values, default=None),
        median=percentile(values, 0.5) if values else None,
        **count_outcomes(scores),
        latest_at=max(one.created_at for one in scores),
        judge_kind=kind,
        from_runs=scores[0].is_automated,
        counted=len(values),
        left_out=len(numeric_scores(named)) - len(values),
        passed=passed,
        with_threshold=len(thresholds),
        minimum_threshold=min(thresholds, default=None),
        maximum_threshold=max(thresholds, default=None),
        fingerprints=distinct_fingerprints(compared, fingerprint_of),
    )


def trend[S: Score](
    scores: Iterable[S],
    names: Sequence[str],
    granularity: Granularity,
    *,
    source: ScoreSource | None = None,
    judge_kind: SeparateKind | None = None,
    empty_buckets: bool = False,
    fingerprint_of: Callable[[S], str | None] = run_fingerprint,
) -> Sequence[TrendPoint]:
    """The numbers of each name over time by creation, ascending; the names in the given order.

    Buckets without a score of the source are left out, and those without a number as well unless
    `empty_buckets`. Raises Invalid for more than BUCKETS_MAX points.
    """
    known, points = list(scores), list[TrendPoint]()
    for name in dict.fromkeys(names):
        chosen = _chosen(known, name, source)
        compared, kind = comparable_scores(chosen, judge_kind)
        numbers = group_by(compared, lambda one: granularity.bucket(one.created_at))
        buckets = group_by(chosen, lambda one: granularity.bucket(one.created_at))
        points += [
            TrendPoint(
                bucket=bucket,
                name=name,
                judge_kind=kind,
                fingerprints=distinct_fingerprints(numbers.get(bucket, []), fingerprint_of),
                **count_outcomes(some),
                **_statistics(numbers.get(bucket, [])),
            )
            for bucket, some in buckets.items()
            if empty_buckets or bucket in numbers
        ]
    return check_bucket_count(points, PERIOD_BOUNDS)


def _statistics(compared: Sequence[Score]) -> dict[str, Any]:
    """The fields of a TrendPoint that follow from its numbers."""
    values = sorted(number for one in compared if (number := one.number) is not None)
    passed, thresholds = count_passed(compared)
    shares = dict(zip(("p10", "p50", "p90"), TREND_PERCENTILES, strict=True))
    return {
        "mean": mean(values) if values else None,
        **{name: percentile(values, share) if values else None for name, share in shares.items()},
        "count": len(values),
        "passed": passed,
        "with_threshold": len(thresholds),
    }


def distribution(
    scores: Iterable[Score],
    name: str,
    parts: int,
    *,
    source: ScoreSource | None = None,
    judge_kind: SeparateKind | None = None,
    empty_buckets: bool = False,
) -> Histogram:
    """A histogram of the numbers in `parts` equal bins, ascending.

    Empty bins are left out unless `empty_buckets`. A bin contains its lower bound and not its
    upper; the last one contains 1.0. The caller has checked that `parts` is between 1 and BINS_MAX.
    """
    chosen = _chosen(scores, name, source)
    compared, _ = comparable_scores(chosen, judge_kind)
    found = group_by(compared, lambda one: bin_number(one.number or 0.0, parts))
    counts = {number: len(some) for number, some in found.items()}
    bins = histogram_bins(counts, parts, empty_buckets=empty_buckets)
    return Histogram(bins=bins, **count_outcomes(chosen))


def histogram_bins(
    counts: Mapping[int, int], parts: int, *, empty_buckets: bool
) -> Sequence[HistogramBin]:
    """The bins with their counts, ascending; those without a count too, if `empty_buckets`."""
    numbers = range(1, parts + 1) if empty_buckets else sorted(counts)
    return [histogram_bin(number, parts, counts.get(number, 0)) for number in numbers]


def _chosen[S: Score](scores: Iterable[S], name: str, source: ScoreSource | None) -> list[S]:
    return scores_of_source([one for one in scores if one.name == name], source)


def histogram_bin(number: int, parts: int, count: int) -> HistogramBin:
    """The bin with a number, its bounds rounded to 4 decimals."""
    return HistogramBin(number, round((number - 1) / parts, 4), round(number / parts, 4), count)


def bin_number(number: float, parts: int) -> int:
    """The bin of [0, 1] that contains a number, from 1.

    Computed on the decimal text: 0.29 is the start of bin 30 of 100, though 0.29 · 100 is less than
    29 as a double. In SQL `least(floor(number::text::numeric * parts)::int + 1, parts)`.
    """
    return min(int(Decimal(repr(number)) * parts) + 1, parts)


def history(
    scores: Iterable[SessionScore],
    session_id: str,
    name: str | None,
    limit: int,
    *,
    source: ScoreSource | None = None,
) -> list[HistoryPoint]:
    """The newest `limit` NUMERIC scores of a session, of one name or of all, ascending by time.

    Failed and skipped scores are included without a number. Pending scores are left out. Of each
    name only the scores of the source, or those that `scores_of_source` chooses of this session.
    """
    session_scores = [
        one for one in scores if one.session_id == session_id and (name is None or one.name == name)
    ]
    chosen = [
        one
        for some in group_by(session_scores, lambda one: one.name).values()
        for one in scores_of_source(some, source)
    ]
    found = newest_first(
        one
        for one in chosen
        if one.data_type is DataType.NUMERIC and one.outcome is not ScoreOutcome.PENDING
    )
    return [
        HistoryPoint(one.name, one.number, one.run_id, one.created_at, one.status, one.source)
        for one in reversed(found[:limit])
    ]


def comparison(
    scores: Iterable[SessionScore],
    name: str,
    order: SortOrder,
    window: PageRequest,
    *,
    source: ScoreSource | None = None,
) -> Page[RankedSession]:
    """Sessions ranked by their newest number of one name; ties by session id, always ascending.

    `total` counts the ranked sessions. Raises Invalid for a position of another list.
    """
    newest: dict[str, RankedSession] = {}
    for one in newest_first(_chosen(scores, name, source)):
        if (number := one.number) is not None and one.session_id not in newest:
            ranked = RankedSession(one.session_id, number, one.created_at, one.run_id, one.source)
            newest[one.session_id] = ranked
    in_order = sorted(newest.values(), key=lambda one: comparison_rank(one.position, order))
    start = window.offset
    if (after := window.after) is not None:
        reached = comparison_rank(after, order)
        start = sum(comparison_rank(one.position, order) <= reached for one in in_order)
    cut = in_order[start : start + window.limit]
    has_more = len(in_order) > start + len(cut)
    return Page(cut, len(in_order), cut[-1].position if cut and has_more else None)


def comparison_rank(position: Position, order: SortOrder) -> tuple[float, str]:
    """The ascending sort key of a comparison. `domain.page` would reverse ties as well."""
    if not isinstance(position.value, int | float) or not isinstance(position.id, str):
        raise Invalid.field("query.cursor", "is not a place in this list")
    number = float(position.value)
    return (-number if order is SortOrder.DESC else number, position.id)
