"""Showing traces."""

from dataclasses import dataclass

from application.tracing.ports import Traces
from domain.ids import ProjectId, TraceId
from domain.page import Page, Window
from domain.tracing.query import SortOrder, TraceFilter
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
    """A page of the traces that a filter admits, with the exact number of all of them."""

    traces: Traces

    async def __call__(
        self, project: ProjectId, matching: TraceFilter, order: SortOrder, window: Window
    ) -> Page[TraceSummary]:
        """By (started_at, id). Raises Unavailable."""
        return await self.traces.summaries(project, matching, order, window)
