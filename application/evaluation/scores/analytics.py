"""Score analytics: summaries, trends, distributions, and sessions compared."""

from collections.abc import Sequence
from dataclasses import dataclass

from application.evaluation.ports.evaluation import ScoreAnalytics
from domain.evaluation.runs.run import TargetType
from domain.evaluation.scores.analytics import (
    HistogramBin,
    HistoryPoint,
    RankedSession,
    ScoreSummary,
    TrendPoint,
)
from domain.evaluation.scores.query import CreatedWithin
from domain.ids import ProjectId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.analytics import Granularity


@dataclass(frozen=True, slots=True)
class ScoreSummaries:
    analytics: ScoreAnalytics

    async def __call__(
        self, project: ProjectId, of: TargetType, within: CreatedWithin
    ) -> Sequence[ScoreSummary]:
        """One for each score name, by name."""
        return await self.analytics.summaries(project, of, within)


@dataclass(frozen=True, slots=True)
class ScoreTrend:
    analytics: ScoreAnalytics

    async def __call__(
        self,
        project: ProjectId,
        of: TargetType,
        name: str,
        granularity: Granularity,
        within: CreatedWithin,
    ) -> Sequence[TrendPoint]:
        """By time, ascending. Raises Invalid for too many buckets."""
        return await self.analytics.trend(project, of, name, granularity, within)


@dataclass(frozen=True, slots=True)
class ScoreDistribution:
    analytics: ScoreAnalytics

    async def __call__(
        self, project: ProjectId, of: TargetType, name: str, parts: int, within: CreatedWithin
    ) -> Sequence[HistogramBin]:
        """The non-empty bins of [0, 1] divided into `parts`, ascending."""
        return await self.analytics.distribution(project, of, name, parts, within)


@dataclass(frozen=True, slots=True)
class ReadSessionHistory:
    analytics: ScoreAnalytics

    async def __call__(
        self, project: ProjectId, session: str, name: str | None, limit: int
    ) -> Sequence[HistoryPoint]:
        """The newest `limit`, ascending by time; empty for an unknown session."""
        return await self.analytics.history(project, session, name, limit)


@dataclass(frozen=True, slots=True)
class CompareSessions:
    analytics: ScoreAnalytics

    async def __call__(
        self, project: ProjectId, name: str, order: SortOrder, window: PageRequest
    ) -> Page[RankedSession]:
        """Sessions by their newest value of a score name. Raises Invalid for a wrong position."""
        return await self.analytics.comparison(project, name, order, window)
