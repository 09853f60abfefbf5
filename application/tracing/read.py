"""Reading traces and sessions."""

from dataclasses import dataclass

from application.tracing.ports import Sessions, Traces
from domain.ids import ProjectId, TraceId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.session import Session, SessionFilter, SessionSort, SessionSummary
from domain.tracing.trace import Trace, TraceSummary


@dataclass(frozen=True, slots=True)
class ReadTrace:
    """One trace with all its spans."""

    traces: Traces

    async def __call__(self, project: ProjectId, trace: TraceId) -> Trace:
        """Raises NotFound, Unavailable."""
        return await self.traces.get(project, trace)


@dataclass(frozen=True, slots=True)
class ListTraces:
    """A page of the traces that match a filter, with their exact total."""

    traces: Traces

    async def __call__(
        self,
        project: ProjectId,
        matching: TraceFilter,
        sort: TraceSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[TraceSummary]:
        """Raises Unavailable."""
        return await self.traces.summaries(project, matching, sort, order, window)


@dataclass(frozen=True, slots=True)
class ListSessions:
    """A page of the sessions that match a filter, with their exact total."""

    sessions: Sessions

    async def __call__(
        self,
        project: ProjectId,
        matching: SessionFilter,
        sort: SessionSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[SessionSummary]:
        """Raises Unavailable."""
        return await self.sessions.summaries(project, matching, sort, order, window)


@dataclass(frozen=True, slots=True)
class ReadSession:
    """A session with a page of its traces."""

    sessions: Sessions

    async def __call__(self, project: ProjectId, session: str, window: PageRequest) -> Session:
        """Raises NotFound, Invalid, Unavailable."""
        return await self.sessions.get(project, session, window)
