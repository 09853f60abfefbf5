"""Figures of scores on the wire."""

from typing import Annotated, Self

import msgspec
from msgspec import Meta

from domain.evaluation.scores import analytics as figures
from domain.evaluation.scores.analytics import (
    BINS_DEFAULT,
    BINS_MAX,
    COMPARED_SESSIONS_DEFAULT,
    COMPARED_SESSIONS_MAX,
    HISTORY_DEFAULT,
)
from domain.evaluation.scores.query import CreatedWithin
from domain.evaluation.scores.score import ScoreStatus
from domain.page import LIMIT_MAX, SortOrder
from domain.tracing.analytics import Granularity
from entrypoints.http.controllers.traces.analytics import BUCKETS
from entrypoints.http.requests.cursors import PageQuery
from entrypoints.http.requests.wire_types import QueryInstant, ShownInstant, instant

type MetricName = Annotated[
    str, Meta(description="The name of the scores", examples=["task_completion"])
]


class CreatedQuery(msgspec.Struct, frozen=True, kw_only=True):
    date_from: Annotated[QueryInstant, Meta(description="Created then or later")] | None = None
    date_to: Annotated[QueryInstant, Meta(description="Created earlier")] | None = None

    @property
    def within(self) -> CreatedWithin:
        return CreatedWithin(self.date_from, self.date_to)


class TrendQuery(CreatedQuery, frozen=True, kw_only=True):
    metric_name: MetricName
    granularity: Annotated[Granularity, Meta(description=BUCKETS)] = Granularity.DAY


class DistributionQuery(CreatedQuery, frozen=True, kw_only=True):
    metric_name: MetricName
    buckets: Annotated[int, Meta(ge=1, le=BINS_MAX, description="Into how many equal parts")] = (
        BINS_DEFAULT
    )


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    metric_name: Annotated[str, Meta(description="Only scores of this name")] | None = None
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="How many, of the newest")] = (
        HISTORY_DEFAULT
    )


class ComparisonQuery(PageQuery, frozen=True, kw_only=True):
    metric_name: MetricName
    sort_order: Annotated[SortOrder, Meta(description="`asc`: the worst first")] = SortOrder.ASC
    limit: Annotated[int, Meta(ge=1, le=COMPARED_SESSIONS_MAX, description="How many to show")] = (
        COMPARED_SESSIONS_DEFAULT
    )


class ScoreSummaryItem(msgspec.Struct, frozen=True, kw_only=True):
    """What the scores of one name come to.

    The figures are null where there is no number. `judge_kind` tells which judge they are from
    where it was one whose numbers aren't averaged with another's.
    """

    metric_name: str
    avg_score: float | None
    min_score: float | None
    max_score: float | None
    median_score: float | None
    success_count: int
    failed_count: int
    latest_score_at: ShownInstant | None
    judge_kind: str | None

    @classmethod
    def of(cls, row: figures.ScoreSummary) -> Self:
        return cls(
            metric_name=row.name,
            avg_score=row.mean,
            min_score=row.minimum,
            max_score=row.maximum,
            median_score=row.median,
            success_count=row.scored,
            failed_count=row.failed,
            latest_score_at=instant(row.latest_at),
            judge_kind=row.judge_kind,
        )


class ScoreTrendItem(msgspec.Struct, frozen=True, kw_only=True):
    """The mean of the numbers that were made in one bucket of time."""

    bucket: ShownInstant
    metric_name: str
    avg_score: float
    count: int

    @classmethod
    def of(cls, name: str, row: figures.TrendPoint) -> Self:
        return cls(
            bucket=instant(row.bucket), metric_name=name, avg_score=row.mean, count=row.count
        )


class ScoreDistributionItem(msgspec.Struct, frozen=True, kw_only=True):
    """How many numbers lie in one of equal parts, counted from 1. The last one holds 1.0."""

    bucket: int
    bucket_min: float
    bucket_max: float
    count: int

    @classmethod
    def of(cls, row: figures.HistogramBin) -> Self:
        return cls(bucket=row.number, bucket_min=row.lower, bucket_max=row.upper, count=row.count)


class SessionScoreHistoryItem(msgspec.Struct, frozen=True, kw_only=True):
    """A score of a session; null where nothing was measured."""

    metric_name: str
    score: float | None
    eval_run_id: str | None
    created_at: ShownInstant | None
    status: ScoreStatus

    @classmethod
    def of(cls, row: figures.HistoryPoint) -> Self:
        return cls(
            metric_name=row.name,
            score=row.number,
            eval_run_id=None if row.run_id is None else str(row.run_id),
            created_at=instant(row.created_at),
            status=row.status,
        )


class SessionComparisonItem(msgspec.Struct, frozen=True, kw_only=True):
    """A session by its newest number of one name."""

    session_id: str
    score: float | None
    evaluated_at: ShownInstant | None
    eval_run_id: str | None

    @classmethod
    def of(cls, row: figures.RankedSession) -> Self:
        return cls(
            session_id=row.session_id,
            score=row.number,
            evaluated_at=instant(row.evaluated_at),
            eval_run_id=None if row.run_id is None else str(row.run_id),
        )
