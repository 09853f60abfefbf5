"""Spans across traces in memory."""

from dataclasses import dataclass

from adapters.memory.store import MemoryStore
from domain.ids import ProjectId
from domain.page import Page, PageRequest, SortOrder, paginate
from domain.tracing.spans.error_groups import ErrorFilter, ErrorGroup, ErrorSort, error_groups
from domain.tracing.spans.span_analytics import SpanAnalytics, SpanAnalyticsQuery, analyze_spans
from domain.tracing.spans.span_query import SpanFilter, SpanSort, SpanSummary, check_sortable


@dataclass(frozen=True, slots=True)
class MemorySpans:
    store: MemoryStore

    async def summaries(
        self,
        project: ProjectId,
        matching: SpanFilter,
        sort: SpanSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[SpanSummary]:
        found = [
            SpanSummary.from_span(trace, span)
            for trace in self.store.visible_traces(project)
            for span in trace.spans
            if matching.matches(trace, span)
        ]
        check_sortable(len(found), sort)
        return paginate(found, sort.position, order, window)

    async def error_groups(
        self,
        project: ProjectId,
        matching: ErrorFilter,
        sort: ErrorSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[ErrorGroup]:
        found = error_groups(self.store.visible_traces(project), matching)
        return paginate(found, sort.position, order, window)

    async def analytics(self, project: ProjectId, query: SpanAnalyticsQuery) -> SpanAnalytics:
        return analyze_spans(self.store.visible_traces(project), query)
