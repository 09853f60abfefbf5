"""Search over values in memory: every text is looked into."""

from dataclasses import dataclass
from datetime import datetime

from adapters.memory.store import MemoryStore
from domain.errors import NotFound
from domain.ids import ProjectId, TraceId
from domain.page import PageRequest, SortOrder, paginate
from domain.tracing.query import TraceFilter
from domain.tracing.search.search_match import (
    SearchHit,
    SearchPage,
    SpanHit,
    find_matches,
    find_span_matches,
)
from domain.tracing.search.search_query import SearchQuery
from domain.tracing.search.search_within import FoundWithinPage, find_within
from domain.tracing.spans.span_query import SpanFilter, SpanSummary
from domain.tracing.trace import TraceSummary


@dataclass(frozen=True, slots=True)
class MemoryTraceSearch:
    store: MemoryStore

    async def find(
        self, project: ProjectId, query: SearchQuery, matching: TraceFilter, window: PageRequest
    ) -> SearchPage[SearchHit]:
        hits = [
            SearchHit(TraceSummary.from_trace(one), found)
            for one in self.store.matching_traces(project, matching)
            if (found := find_matches(one, query)) is not None
        ]
        page = paginate(hits, lambda hit: hit.position, SortOrder.DESC, window)
        return SearchPage(page.items, page.end)

    async def find_within(
        self, project: ProjectId, trace: TraceId, query: SearchQuery, window: PageRequest
    ) -> FoundWithinPage:
        found = self.store.visible_trace(project, trace)
        if found is None:
            raise NotFound("Trace not found")
        owners = find_within(found, query)
        page = paginate(owners, lambda one: one.position, SortOrder.ASC, window)
        return FoundWithinPage(page.items, page.end)


@dataclass(frozen=True, slots=True)
class MemorySpanSearch:
    store: MemoryStore

    async def find(
        self, project: ProjectId, query: SearchQuery, matching: SpanFilter, window: PageRequest
    ) -> SearchPage[SpanHit]:
        hits = [
            SpanHit(SpanSummary.from_span(trace, span), found)
            for trace in self.store.visible_traces(project)
            for span in trace.spans
            if matching.matches(trace, span)
            and (found := find_span_matches(span, query)) is not None
        ]
        page = paginate(hits, lambda hit: hit.position, SortOrder.DESC, window)
        return SearchPage(page.items, page.end)


@dataclass(frozen=True, slots=True)
class MemorySearchIndex:
    """Every search reads all texts."""

    async def add_traces(self) -> int:
        return 0

    async def remove_garbage(self, before: datetime) -> int:  # noqa: ARG002 - there is none
        return 0
