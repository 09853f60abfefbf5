"""Figures of scores: what summaries, trends, distributions, histories and comparisons mean.

Everything takes scores that have been narrowed down already, in any order. Only what is NUMERIC
and was scored is a number; what is pending, failed or skipped is counted at most. The values of
the heuristic judge and those of a model are never mixed: see `comparable_scores`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from domain.errors import Invalid
from domain.evaluation.scores.score import (
    DataType,
    Score,
    ScoreOutcome,
    ScoreStatus,
    SessionScore,
    newest_first,
)
from domain.ids import RunId
from domain.page import Page, PageRequest, Position, SortOrder
from domain.tracing.analytics import BUCKETS_MAX, Granularity, percentile

BINS_MAX: Final = 100  # of a distribution
BINS_DEFAULT: Final = 10
HISTORY_DEFAULT: Final = 50
COMPARED_SESSIONS_MAX: Final = 100  # sessions on a page
COMPARED_SESSIONS_DEFAULT: Final = 20
HEURISTIC: Final = "heuristic"
MODEL: Final = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSummary:
    """What the scores of one name come to.

    The figures are of the comparable numbers, None where there are none. `scored` counts values
    of any data type, `failed` no skipped ones, `latest_at` is of any status. `judge_kind` tells
    which kind of judge the numbers are from, where it was one that can't be mixed with another.
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


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """The mean of the numbers made in one bucket of time; there is one at least."""

    bucket: datetime
    mean: float
    count: int


@dataclass(frozen=True, slots=True)
class HistogramBin:
    """One of equal parts of [0, 1], counted from 1, and how many numbers lie in it."""

    number: int
    lower: float
    upper: float
    count: int


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """A score of a session as its history shows it; `number` is None where nothing was measured."""

    name: str
    number: float | None
    run_id: RunId | None
    created_at: datetime
    status: ScoreStatus


@dataclass(frozen=True, slots=True)
class RankedSession:
    """A session by its newest number under one name."""

    session_id: str
    number: float
    evaluated_at: datetime
    run_id: RunId | None

    @property
    def position(self) -> Position:
        return Position(self.number, self.session_id)


def numeric_scores[S: Score](scores: Iterable[S]) -> list[S]:
    """Those that are numbers."""
    return [one for one in scores if one.number is not None]


def comparable_scores[S: Score](scores: Sequence[S]) -> tuple[list[S], str | None]:
    """Those numbers of one name that may be averaged, and the kind of judge they are from.

    Where both the heuristic judge and models gave some, those of the kind that gave the newest
    stay, and the others are left out. What a person, a rule or a measure gave stays in any case.
    """
    found = newest_first(numeric_scores(scores))
    kinds = [kind for one in found if (kind := one.judge_kind) in {HEURISTIC, MODEL}]
    if not kinds:
        return found, None
    other = MODEL if kinds[0] == HEURISTIC else HEURISTIC
    return [one for one in found if one.judge_kind != other], kinds[0]


def mean(values: Sequence[float]) -> float:
    """The mean of one value at least. SQL may differ in the last digits of the double."""
    return math.fsum(values) / len(values)


def summaries(scores: Iterable[Score]) -> list[ScoreSummary]:
    """One for each name, sorted by name."""
    by_name = _grouped(scores, lambda one: one.name)
    return [_summary(name, by_name[name]) for name in sorted(by_name)]


def _summary(name: str, scores: Sequence[Score]) -> ScoreSummary:
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
    )


def trend(scores: Iterable[Score], name: str, granularity: Granularity) -> Sequence[TrendPoint]:
    """The means over time, by creation, ascending; buckets without a number are left out.

    Raises Invalid where there are more than BUCKETS_MAX.
    """
    compared, _ = comparable_scores([one for one in scores if one.name == name])
    buckets = _grouped(compared, lambda one: granularity.bucket(one.created_at))
    return check_bucket_count(
        [
            TrendPoint(bucket, mean([float(one.number or 0) for one in some]), len(some))
            for bucket, some in sorted(buckets.items())
        ]
    )


def check_bucket_count(points: Sequence[TrendPoint]) -> Sequence[TrendPoint]:
    """The points of a trend. Raises Invalid where there are more than BUCKETS_MAX."""
    if len(points) > BUCKETS_MAX:
        raise Invalid(
            f"more than {BUCKETS_MAX} buckets: narrow date_from and date_to, "
            "or take a coarser granularity"
        )
    return points


def distribution(scores: Iterable[Score], name: str, parts: int) -> list[HistogramBin]:
    """How the numbers spread over `parts` equal parts, ascending; empty parts are left out.

    A part holds its lower bound and not its upper, but the last one holds 1.0. `parts` is 1 to
    PARTS_MAX, which has been checked.
    """
    compared, _ = comparable_scores([one for one in scores if one.name == name])
    counts = _grouped(compared, lambda one: bin_number(one.number or 0.0, parts))
    return [histogram_bin(number, parts, len(counts[number])) for number in sorted(counts)]


def histogram_bin(number: int, parts: int, count: int) -> HistogramBin:
    """The `number`th of `parts`, its bounds rounded to 4 decimals."""
    return HistogramBin(number, round((number - 1) / parts, 4), round(number / parts, 4), count)


def bin_number(number: float, parts: int) -> int:
    """In which of equal parts of [0, 1] a number lies, from 1.

    As it is written: 0.29 begins the 30th of 100 parts, though 0.29 · 100 is less than 29 as a
    double. In SQL `least(floor(number::text::numeric * parts)::int + 1, parts)`.
    """
    return min(int(Decimal(repr(number)) * parts) + 1, parts)


def history(
    scores: Iterable[SessionScore], session_id: str, name: str | None, limit: int
) -> list[HistoryPoint]:
    """The newest `limit` NUMERIC scores of a session, of one name or of all, ascending by time.

    Failed and skipped ones are shown without a number. What is pending is no history yet.
    """
    found = newest_first(
        one
        for one in scores
        if one.session_id == session_id
        and (name is None or one.name == name)
        and one.data_type is DataType.NUMERIC
        and one.outcome is not ScoreOutcome.PENDING
    )
    return [
        HistoryPoint(one.name, one.number, one.run_id, one.created_at, one.status)
        for one in reversed(found[:limit])
    ]


def comparison(
    scores: Iterable[SessionScore], name: str, order: SortOrder, window: PageRequest
) -> Page[RankedSession]:
    """Sessions by their newest number of one name; ties by session, ascending in both orders.

    `total` counts the sessions ranked. Raises Invalid for a position that is none of this list.
    """
    newest: dict[str, RankedSession] = {}
    for one in newest_first(one for one in scores if one.name == name):
        if (number := one.number) is not None and one.session_id not in newest:
            ranked = RankedSession(one.session_id, number, one.created_at, one.run_id)
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
    """What a comparison is sorted by, ascending. `domain.page` would turn ties around as well."""
    if not isinstance(position.value, int | float) or not isinstance(position.id, str):
        raise Invalid.field("query.cursor", "is not a place in this list")
    number = float(position.value)
    return (-number if order is SortOrder.DESC else number, position.id)


def _grouped[T, K](items: Iterable[T], key: Callable[[T], K]) -> Mapping[K, list[T]]:
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found
