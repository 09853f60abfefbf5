"""Score analytics: summaries, trends, distributions, histories and comparisons.

All functions take scores that are already filtered, in any order. Only scored NUMERIC values are
numbers; pending, failed and skipped scores are at most counted. Scores of runs and other ones are
never combined: see `scores_of_source`. Neither are values of the heuristic judge and of model
judges: see `comparable_scores`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

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

BINS_MAX: Final = 100  # of a distribution
BINS_DEFAULT: Final = 10
HISTORY_DEFAULT: Final = 50
COMPARED_SESSIONS_MAX: Final = 100  # sessions on a page
COMPARED_SESSIONS_DEFAULT: Final = 20
PERIOD_BOUNDS: Final = "date_from and date_to"  # parameters of the period of a trend
HEURISTIC: Final = "heuristic"
MODEL: Final = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSummary:
    """The summary of the scores of one name.

    It covers the scores of one source, or `from_runs`. The statistics cover the comparable numbers,
    `counted` in all, and are None without any; `left_out` counts the other numbers of the name.
    `scored` counts values of every data type, `failed` excludes skipped scores, `latest_at` covers
    every status. `judge_kind` is the kind of judge that gave the numbers, if that kind can't be
    mixed with another.
    """

    name: str
    mean: float | None
    minimum: float | None
    maximum: float | None
    median: float | None
    scored: int
    failed: int
    latest_at: datetime
    judge_kind: str | None
    from_runs: bool
    counted: int
    left_out: int


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """The mean of the numbers created in one time bucket; a point has at least one number."""

    bucket: datetime
    mean: float
    count: int


@dataclass(frozen=True, slots=True)
class HistogramBin:
    """One of several equal bins of [0, 1], numbered from 1, and its count."""

    number: int
    lower: float
    upper: float
    count: int


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


def comparable_scores[S: Score](scores: Sequence[S]) -> tuple[list[S], str | None]:
    """The numbers of one name that may be averaged, and the kind of judge that gave them.

    If both the heuristic judge and models gave numbers, only those of the kind with the newest
    number are kept. Numbers of rules and computed metrics are always kept.
    """
    found = newest_first(numeric_scores(scores))
    kinds = [kind for one in found if (kind := one.judge_kind) in {HEURISTIC, MODEL}]
    if not kinds:
        return found, None
    other = MODEL if kinds[0] == HEURISTIC else HEURISTIC
    return [one for one in found if one.judge_kind != other], kinds[0]


def mean(values: Sequence[float]) -> float:
    """The mean of at least one value. SQL may differ in the last digits of the double."""
    return math.fsum(values) / len(values)


def summaries(scores: Iterable[Score], *, source: ScoreSource | None = None) -> list[ScoreSummary]:
    """One summary for each name with a score of the source, sorted by name."""
    by_name = group_by(scores, lambda one: one.name)
    return [
        _summary(name, chosen, some)
        for name, some in by_name.items()
        if (chosen := scores_of_source(some, source))
    ]


def _summary(name: str, scores: Sequence[Score], of_name: Sequence[Score]) -> ScoreSummary:
    compared, kind = comparable_scores(scores)
    values = sorted(number for one in compared if (number := one.number) is not None)
    return ScoreSummary(
        name=name,
        mean=mean(values) if values else None,
        minimum=min(values, default=None),
        maximum=max(values, default=None),
        median=percentile(values, 0.5) if values else None,
        scored=sum(one.outcome is ScoreOutcome.SCORED for one in scores),
        failed=sum(one.outcome is ScoreOutcome.FAILED for one in scores),
        latest_at=max(one.created_at for one in scores),
        judge_kind=kind,
        from_runs=scores[0].is_automated,
        counted=len(values),
        left_out=len(numeric_scores(of_name)) - len(values),
    )


def trend(
    scores: Iterable[Score],
    name: str,
    granularity: Granularity,
    *,
    source: ScoreSource | None = None,
) -> Sequence[TrendPoint]:
    """The means over time by creation, ascending; buckets without a number are left out.

    Raises Invalid for more than BUCKETS_MAX points.
    """
    compared, _ = comparable_scores(_chosen(scores, name, source))
    buckets = group_by(compared, lambda one: granularity.bucket(one.created_at))
    points = [
        TrendPoint(bucket, mean([float(one.number or 0) for one in some]), len(some))
        for bucket, some in buckets.items()
    ]
    return check_bucket_count(points, PERIOD_BOUNDS)


def distribution(
    scores: Iterable[Score], name: str, parts: int, *, source: ScoreSource | None = None
) -> list[HistogramBin]:
    """A histogram of the numbers in `parts` equal bins, ascending; empty bins are left out.

    A bin contains its lower bound and not its upper; the last one contains 1.0. The caller has
    checked that `parts` is between 1 and BINS_MAX.
    """
    compared, _ = comparable_scores(_chosen(scores, name, source))
    bins = group_by(compared, lambda one: bin_number(one.number or 0.0, parts))
    return [histogram_bin(number, parts, len(some)) for number, some in bins.items()]


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
    of_session = [
        one for one in scores if one.session_id == session_id and (name is None or one.name == name)
    ]
    chosen = [
        one
        for some in group_by(of_session, lambda one: one.name).values()
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
