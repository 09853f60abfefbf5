"""Traces in memory."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from decimal import Decimal

from adapters.memory.store import MemoryStore
from application.privacy.ports import trace_was_erased
from application.tracing.ports import PriceBook
from domain.errors import NotFound
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId, SpanId, TraceId
from domain.page import Page, PageRequest, SortOrder, paginate
from domain.pricing.model_price import Rate, Tariff, pricing_of
from domain.tracing import analytics, trace_breakdown
from domain.tracing.change import given_fields, retagged
from domain.tracing.facet_values import (
    FacetField,
    FacetQuery,
    FacetValue,
    count_values,
    most_frequent,
)
from domain.tracing.otel.ingestion_warnings import NEWEST_SPANS_MAX
from domain.tracing.outline import TraceOutline
from domain.tracing.payloads.payload import JsonText
from domain.tracing.payloads.payload_detail import PayloadDetail, PayloadExtent, PayloadName
from domain.tracing.payloads.read_limit import (
    READ_BYTES_MAX,
    ROW_BYTES,
    spans_too_large,
    trace_too_large,
)
from domain.tracing.query import ALL_TRACES, TraceFilter, TraceSort
from domain.tracing.session import Session, SessionFilter, SessionSort, SessionSummary, sessions_of
from domain.tracing.session_turn import SessionTurn
from domain.tracing.span import Span, SpanChange
from domain.tracing.text_preview import TracePreview
from domain.tracing.trace import Trace, TraceChange, TraceSummary
from domain.tracing.trace_detail import ShownSpan, TraceDetail
from domain.tracing.usage import Price, Pricing, Usage


@dataclass(frozen=True, slots=True)
class MemoryTraces:
    store: MemoryStore
    prices: PriceBook
    read_bytes_max: int = READ_BYTES_MAX

    def _pricing(self, project: ProjectId) -> Pricing:
        return pricing_of(self.store.model_prices.in_project(project), self.prices.price)

    async def put(self, project: ProjectId, trace: Trace) -> None:
        self.store.check_exists(project)
        if (project, trace.id) in self.store.erased:
            raise trace_was_erased()
        known = self.store.traces.get((project, trace.id))
        merged = trace if known is None else known.merged(trace)
        if known is not None and self.store.leaves_erased_subject(project, known, merged):
            raise trace_was_erased()
        payloads = [name for name in ("input", "output") if getattr(trace, name) is not None]
        self.store.write_natively(project, merged.settled(self._pricing(project)), payloads)

    async def add_spans(self, project: ProjectId, trace: TraceId, spans: Sequence[Span]) -> None:
        known = self._find(project, trace)
        more = replace(known, spans=(*known.spans, *spans))
        self.store.write_natively(project, more.settled(self._pricing(project)))

    async def get(self, project: ProjectId, trace: TraceId) -> Trace:
        found = self._find(project, trace)
        if whole_bytes(found) > self.read_bytes_max:
            raise trace_too_large()
        return found

    def _find(self, project: ProjectId, trace: TraceId) -> Trace:
        found = self.store.visible_trace(project, trace)
        if found is None:
            raise NotFound("Trace not found")
        return found

    async def revision(self, project: ProjectId, trace: TraceId) -> str:
        return _revision(self._find(project, trace))

    async def outline(
        self, project: ProjectId, trace: TraceId, first: int, limit: int
    ) -> TraceOutline:
        whole = self._find(project, trace)
        return TraceOutline.from_trace(whole, _revision(whole), first, limit)

    async def span(
        self, project: ProjectId, trace: TraceId, span: SpanId, extent: PayloadExtent
    ) -> ShownSpan:
        return ShownSpan.from_span(self._span(project, trace, span), extent)

    async def spans_by_id(
        self, project: ProjectId, trace: TraceId, spans: Sequence[SpanId], extent: PayloadExtent
    ) -> Sequence[ShownSpan]:
        wanted, whole = set(spans), self._find(project, trace)
        shown = [ShownSpan.from_span(one, extent) for one in whole.spans if one.id in wanted]
        if len(wanted) > 1:
            self._check(shown, "span_ids")
        return shown

    async def spans(
        self, project: ProjectId, trace: TraceId, extent: PayloadExtent, window: PageRequest
    ) -> Page[ShownSpan]:
        whole = self._find(project, trace)
        shown = [ShownSpan.from_span(one, extent) for one in whole.spans]
        page = paginate(shown, lambda one: one.position, SortOrder.ASC, window)
        if window.limit > 1:
            self._check(page.items, "query.limit")
        return page

    def _check(self, shown: Sequence[ShownSpan], field: str) -> None:
        if _shown_bytes(shown) > self.read_bytes_max:
            raise spans_too_large(field)

    async def detail(
        self, project: ProjectId, trace: TraceId, extent: PayloadExtent
    ) -> TraceDetail:
        whole = self._find(project, trace)
        detail = TraceDetail.from_trace(whole, _revision(whole), extent)
        is_full = extent.detail is PayloadDetail.FULL
        size = whole_bytes(whole) if is_full else _shown_bytes(detail.spans)
        if size > self.read_bytes_max:
            raise trace_too_large("query.payloads")
        return detail

    async def payload(
        self, project: ProjectId, trace: TraceId, span: SpanId | None, name: PayloadName
    ) -> JsonText | None:
        owner = self._find(project, trace) if span is None else self._span(project, trace, span)
        payload: JsonText | None = getattr(owner, name)
        return payload

    def _span(self, project: ProjectId, trace: TraceId, span: SpanId) -> Span:
        """Raises NotFound."""
        known = self.store.visible_trace(project, trace)
        found = () if known is None else (one for one in known.spans if one.id == span)
        if (one := next(iter(found), None)) is None:
            raise NotFound("Span not found")
        return one

    async def change(self, project: ProjectId, trace: TraceId, change: TraceChange) -> Trace:
        changed = change.applied(self._find(project, trace))
        if whole_bytes(changed) > self.read_bytes_max:
            raise trace_too_large()
        payloads = given_fields(change).keys() & {"input", "output"}
        self.store.write_natively(project, changed, payloads)
        return changed

    async def change_span(
        self, project: ProjectId, trace: TraceId, span: SpanId, change: SpanChange
    ) -> Span:
        changed = change.applied(self._span(project, trace, span), self._pricing(project))
        known = self._find(project, trace)
        spans = tuple(changed if one.id == span else one for one in known.spans)
        self.store.write_natively(project, replace(known, spans=spans))
        return changed

    async def retag(
        self,
        project: ProjectId,
        traces: Sequence[TraceId],
        add: Sequence[str],
        remove: Sequence[str],
    ) -> int:
        known = [self.store.visible_trace(project, one) for one in dict.fromkeys(traces)]
        found = [one for one in known if one is not None]
        for one in found:
            self.store.write_natively(project, replace(one, tags=retagged(one.tags, add, remove)))
        return len(found)

    async def summaries(
        self,
        project: ProjectId,
        matching: TraceFilter,
        sort: TraceSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[TraceSummary]:
        found = [
            TraceSummary.from_trace(one) for one in self.store.matching_traces(project, matching)
        ]
        return paginate(found, sort.position, order, window)

    async def previews(
        self, project: ProjectId, traces: Sequence[TraceId]
    ) -> Mapping[TraceId, TracePreview]:
        wanted = set(traces)
        shown = self.store.visible_traces(project)
        return {one.id: TracePreview.from_trace(one) for one in shown if one.id in wanted}

    async def delete(
        self, project: ProjectId, traces: Sequence[TraceId], *, audit: AuditEntry | None = None
    ) -> int:
        known = {one.id for one in self.store.visible_traces(project)} & set(traces)
        for one in known:
            self.store.delete_trace(project, one)
        if audit is not None and known:
            self.store.record(audit.with_detail(traces=len(known)))
        return len(known)


def whole_bytes(trace: Trace) -> int:
    """The approximate size of a trace with its payloads and spans."""
    size = ROW_BYTES + sum(len(one or b"") for one in (trace.input, trace.output, trace.metadata))
    for span in trace.spans:
        values = (span.input, span.output, span.metadata, span.token_usage, span.model_parameters)
        size += ROW_BYTES + len(span.error or "") + sum(len(one or b"") for one in values)
    return size


def _shown_bytes(spans: Sequence[ShownSpan]) -> int:
    """The size of the values of spans as far as they are shown."""
    size = 0
    for span in spans:
        values = (span.input, span.output, span.metadata, span.token_usage, span.model_parameters)
        size += len(span.error or "") + sum(len(one or b"") for one in values)
        previews = (span.input_preview, span.output_preview, span.metadata_preview)
        size += sum(len(one.text) for one in previews if one is not None)
    return size


def _revision(trace: Trace) -> str:
    return hashlib.sha256(repr(trace).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class MemorySessions:
    store: MemoryStore

    async def summaries(
        self,
        project: ProjectId,
        matching: SessionFilter,
        sort: SessionSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[SessionSummary]:
        hidden = self.store.hidden_sessions(project)
        shown = [one for one in self.store.visible_traces(project) if one.session_id not in hidden]
        found = sessions_of(shown, matching)
        return paginate(found, sort.position, order, window)

    async def first_inputs(
        self, project: ProjectId, sessions: Sequence[str]
    ) -> Mapping[str, str | None]:
        found = {one: self._traces(project, one) for one in sessions}
        return {
            session: TracePreview.from_trace(traces[0]).input
            for session, traces in found.items()
            if traces
        }

    async def get(self, project: ProjectId, session: str, window: PageRequest) -> Session:
        traces = self._traces(project, session)
        if not traces:
            raise NotFound("Session not found")
        cut = traces[window.offset : window.offset + window.limit]
        return Session(SessionSummary.from_traces(session, traces), cut)

    async def turns(
        self, project: ProjectId, session: str, order: SortOrder, window: PageRequest
    ) -> Page[SessionTurn]:
        traces = self._traces(project, session)
        if not traces:
            raise NotFound("Session not found")
        turns = map(SessionTurn.from_trace, traces)
        return paginate(turns, lambda one: one.position, order, window)

    async def delete(
        self, project: ProjectId, session: str, *, audit: AuditEntry | None = None
    ) -> int:
        traces = self._traces(project, session)
        for trace in traces:
            self.store.delete_trace(project, trace.id)
        self.store.delete_session_scores(project, {session} - self.store.hidden_sessions(project))
        if audit is not None and traces:
            self.store.record(audit.with_detail(traces=len(traces)))
        return len(traces)

    def _traces(self, project: ProjectId, session: str) -> list[Trace]:
        if session in self.store.hidden_sessions(project):
            return []
        return self.store.visible_traces_of(project, session)


@dataclass(frozen=True, slots=True)
class MemoryTraceAnalytics:
    store: MemoryStore

    async def volume(
        self,
        project: ProjectId,
        period: analytics.Period,
        granularity: analytics.Granularity,
        zone: tzinfo = UTC,
    ) -> Sequence[analytics.TraceBucket]:
        _check_zone(period, granularity, zone)
        return analytics.check_bucket_count(
            analytics.trace_buckets(
                self.store.traces.in_project(project), period, granularity, zone
            )
        )

    async def usage(
        self,
        project: ProjectId,
        period: analytics.Period,
        granularity: analytics.Granularity,
        zone: tzinfo = UTC,
    ) -> Sequence[analytics.UsageBucket]:
        _check_zone(period, granularity, zone)
        return analytics.check_bucket_count(
            analytics.usage_buckets(self._spans(project), period, granularity, zone)
        )

    async def model_usage(
        self,
        project: ProjectId,
        period: analytics.Period,
        granularity: analytics.Granularity,
        zone: tzinfo = UTC,
    ) -> Mapping[str | None, Sequence[analytics.UsageBucket]]:
        _check_zone(period, granularity, zone)
        found = analytics.model_usage_buckets(self._spans(project), period, granularity, zone)
        trace_breakdown.check_cell_count(sum(map(len, found.values())))
        return found

    async def groups(
        self, project: ProjectId, query: trace_breakdown.TraceAnalyticsQuery
    ) -> Sequence[trace_breakdown.TraceGroup]:
        _check_zone(query.period, query.granularity, query.zone)
        found = trace_breakdown.trace_groups(
            self.store.matching_traces(project, query.matching), query
        )
        trace_breakdown.check_cell_count(sum(1 + len(one.buckets) for one in found))
        return found

    async def are_sources_mixed(self, project: ProjectId, period: analytics.Period) -> bool:
        spans = [
            (span.started_at, span.id in (otlp.facts if otlp is not None else {}))
            for one in self.store.traces.in_project(project)
            for otlp in [self.store.otlp.find(project, one.id)]
            for span in one.spans
            if period.includes(span.started_at)
        ]
        return len({is_otlp for _, is_otlp in sorted(spans)[-NEWEST_SPANS_MAX:]}) > 1

    async def models(
        self, project: ProjectId, period: analytics.Period
    ) -> Sequence[analytics.ModelUsage]:
        return analytics.top_models(self._spans(project), period)

    async def sessions(
        self, project: ProjectId, period: analytics.Period, granularity: analytics.Granularity
    ) -> Sequence[analytics.SessionBucket]:
        return analytics.check_bucket_count(
            analytics.session_buckets(self.store.traces.in_project(project), period, granularity)
        )

    async def facets(self, project: ProjectId, query: FacetQuery) -> Sequence[FacetValue]:
        field, key = query.field, query.key
        if query.matching != ALL_TRACES:
            found = self.store.matching_traces(project, query.matching)
            return most_frequent(count_values(found, field, key), query.prefix, query.limit)
        counts = dict(count_values(self._counted(project, field), field, key))
        if field is FacetField.SESSION:
            for hidden in self.store.hidden_sessions(project):
                counts.pop(hidden or "", None)
        return most_frequent(counts, query.prefix, query.limit)

    def _counted(self, project: ProjectId, field: FacetField) -> list[Trace]:
        """The traces whose values count: the totals of a user are of all their traces."""
        if field is FacetField.USER:
            hidden = self.store.hidden_users(project)
            return [
                one for one in self.store.traces.in_project(project) if one.user_id not in hidden
            ]
        return self.store.visible_traces(project)

    async def users(self, project: ProjectId, window: PageRequest) -> Page[analytics.UserSummary]:
        hidden = self.store.hidden_users(project)
        every = [one for one in self.store.traces.in_project(project) if one.user_id not in hidden]
        found = analytics.user_summaries(every)
        return paginate(found, lambda one: one.position, SortOrder.DESC, window)

    def _spans(self, project: ProjectId) -> list[Span]:
        return [span for trace in self.store.traces.in_project(project) for span in trace.spans]


@dataclass(frozen=True, slots=True)
class MemoryPriceBook:
    """USD per million tokens by model: prompt, completion, cache reads, cache writes."""

    per_million: dict[str, tuple[Decimal, ...]]
    version: str = "memory"

    async def load(self) -> bool:
        return bool(self.per_million)

    def price(self, model: str, usage: Usage, at: object) -> Price | None:  # noqa: ARG002 - undated
        prices = self.per_million.get(model.rsplit("/", 1)[-1])
        if prices is None:
            return None
        return Price(Tariff(*map(Rate, prices)).cost(usage), self.version)


def _check_zone(period: analytics.Period, granularity: analytics.Granularity, zone: tzinfo) -> None:
    if zone is not UTC:
        analytics.bucket_edges(period, granularity, zone)
