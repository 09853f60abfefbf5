"""Analytics over the traces of a project."""

from collections.abc import Sequence
from dataclasses import dataclass

from application.tracing.ports import TraceAnalytics
from domain.ids import ProjectId
from domain.page import Page, PageRequest
from domain.tracing.analytics import (
    Granularity,
    ModelUsage,
    Period,
    SessionBucket,
    TraceBucket,
    UsageBucket,
    UserSummary,
)


@dataclass(frozen=True, slots=True)
class TraceVolume:
    """The number of traces, of failed ones, and latencies, by time bucket."""

    analytics: TraceAnalytics

    async def __call__(
        self, project: ProjectId, period: Period, granularity: Granularity
    ) -> Sequence[TraceBucket]:
        """Ascending by bucket. Raises Invalid, Unavailable."""
        return await self.analytics.volume(project, period, granularity)


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens and cost of spans, by time bucket."""

    analytics: TraceAnalytics

    async def __call__(
        self, project: ProjectId, period: Period, granularity: Granularity
    ) -> Sequence[UsageBucket]:
        """Ascending by bucket. Raises Invalid, Unavailable."""
        return await self.analytics.usage(project, period, granularity)


@dataclass(frozen=True, slots=True)
class TopModels:
    """The models with the most calls."""

    analytics: TraceAnalytics

    async def __call__(self, project: ProjectId, period: Period) -> Sequence[ModelUsage]:
        """Most calls first. Raises Unavailable."""
        return await self.analytics.models(project, period)


@dataclass(frozen=True, slots=True)
class SessionVolume:
    """The number of sessions that began, and their length, by time bucket."""

    analytics: TraceAnalytics

    async def __call__(
        self, project: ProjectId, period: Period, granularity: Granularity
    ) -> Sequence[SessionBucket]:
        """Ascending by bucket. Raises Invalid, Unavailable."""
        return await self.analytics.sessions(project, period, granularity)


@dataclass(frozen=True, slots=True)
class ListUsers:
    """A page of the users of the traced agents, the last seen first."""

    analytics: TraceAnalytics

    async def __call__(self, project: ProjectId, window: PageRequest) -> Page[UserSummary]:
        """Raises Unavailable."""
        return await self.analytics.users(project, window)
