"""The ports of tracing: prices, traces, spans, sessions, analytics."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final, Protocol

from domain.identity.audit import AuditEntry
from domain.ids import ProjectId, SpanId, TraceId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.analytics import (
    Granularity,
    ModelUsage,
    Period,
    SessionBucket,
    TraceBucket,
    UsageBucket,
    UserSummary,
)
from domain.tracing.facet_values import FacetQuery, FacetValue
from domain.tracing.outline import TraceOutline
from domain.tracing.payloads.payload import JsonText
from domain.tracing.payloads.payload_detail import PayloadExtent, PayloadName
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.search.search_match import SearchHit, SearchPage, SpanHit
from domain.tracing.search.search_query import SearchQuery
from domain.tracing.search.search_within import FoundWithinPage
from domain.tracing.session import Session, SessionFilter, SessionSort, SessionSummary
from domain.tracing.session_turn import SessionTurn
from domain.tracing.span import Span, SpanChange
from domain.tracing.spans.error_groups import ErrorFilter, ErrorGroup, ErrorSort
from domain.tracing.spans.span_analytics import SpanAnalytics, SpanAnalyticsQuery
from domain.tracing.spans.span_query import SpanFilter, SpanSort, SpanSummary
from domain.tracing.text_preview import TracePreview
from domain.tracing.trace import Trace, TraceChange, TraceSummary
from domain.tracing.trace_breakdown import TraceAnalyticsQuery, TraceGroup
from domain.tracing.trace_detail import ShownSpan, TraceDetail
from domain.tracing.usage import Price, Usage

LISTED_MAX: Final = 1_000  # keys of a PayloadStore


class PriceBook(Protocol):
    """Prices of tokens by model. Contract of PriceBook: tests/contracts/pricing/test_prices.py."""

    @property
    def version(self) -> str:
        """Name and version of the price table, e.g. `genai-prices 0.2.3`."""
        ...

    async def load(self) -> bool:
        """Loads the prices unless they are in memory, without blocking the event loop.

        False if they can't be loaded; then no model has a price.
        """
        ...

    def price(self, model: str, usage: Usage, at: datetime) -> Price | None:
        """The price of `usage` at the instant `at`; None if the model is unknown.

        `model` may have a prefix `<provider>/`. Deterministic for a version; never raises.
        Without an earlier `load`, the first call blocks while the prices are loaded.
        """
        ...


class Traces(Protocol):
    """The traces of every project, seen one project at a time.

    No method reads or writes outside its project: the same trace id in another project is another
    trace. Writes are atomic, durable on return, and visible to all readers from then on. An
    interrupted write may still happen.
    Contract of Traces: tests/contracts/tracing/test_traces.py.
    """

    async def put(self, project: ProjectId, trace: Trace) -> None:
        """Merges `trace` with the stored one, as `Trace.merged` and `settled` do.

        Idempotent. Concurrent calls for one trace lose nothing. Raises Invalid, naming the
        fields, if a value can't be stored, if the trace was erased, or if it would leave a user or
        session that is being erased; then only this trace fails. Raises Unavailable if the store
        can't be reached or too many writes wait already.
        """
        ...

    async def add_spans(self, project: ProjectId, trace: TraceId, spans: Sequence[Span]) -> None:
        """Merges spans into a stored trace, whose other fields stay.

        Raises NotFound if the project has no such trace; Invalid and Unavailable as `put`.
        """
        ...

    async def change(self, project: ProjectId, trace: TraceId, change: TraceChange) -> Trace:
        """The whole trace after `change.applied`. Concurrent calls for one trace lose nothing.

        Raises NotFound; TooLargeToRead, without a change; Invalid and Unavailable as `put`.
        """
        ...

    async def change_span(
        self, project: ProjectId, trace: TraceId, span: SpanId, change: SpanChange
    ) -> Span:
        """The span after `change.applied`; as `change`."""
        ...

    async def retag(
        self,
        project: ProjectId,
        traces: Sequence[TraceId],
        add: Sequence[str],
        remove: Sequence[str],
    ) -> int:
        """Changes tags as `retagged` does; the number of traces that exist, each counted once.

        Raises Unavailable.
        """
        ...

    async def get(self, project: ProjectId, trace: TraceId) -> Trace:
        """The whole trace, settled, spans in order.

        Raises NotFound, TooLargeToRead, Unavailable.
        """
        ...

    async def revision(self, project: ProjectId, trace: TraceId) -> str:
        """A text that changes with every change of the trace and its spans, prices included.

        It reads one row. Raises NotFound, Unavailable.
        """
        ...

    async def outline(
        self, project: ProjectId, trace: TraceId, first: int, limit: int
    ) -> TraceOutline:
        """`limit` spans from the place `first` on, without payloads, as `from_trace` does it.

        Raises NotFound, Unavailable.
        """
        ...

    async def span(
        self, project: ProjectId, trace: TraceId, span: SpanId, extent: PayloadExtent
    ) -> ShownSpan:
        """One span, with as much of its payloads as `extent` says. Raises NotFound, Unavailable."""
        ...

    async def spans_by_id(
        self, project: ProjectId, trace: TraceId, spans: Sequence[SpanId], extent: PayloadExtent
    ) -> Sequence[ShownSpan]:
        """The spans of `spans` that the trace has, by (started_at, id), each as in `span`.

        Raises NotFound if the project has no such trace, TooLargeToRead if these are several spans,
        and Unavailable.
        """
        ...

    async def spans(
        self, project: ProjectId, trace: TraceId, extent: PayloadExtent, window: PageRequest
    ) -> Page[ShownSpan]:
        """The spans of a trace by (started_at, id), as `paginate` does it, each as in `span`.

        Reads no payload of other spans, except those stored in the same block. Raises NotFound,
        TooLargeToRead if the page has several spans, Unavailable.
        """
        ...

    async def detail(
        self, project: ProjectId, trace: TraceId, extent: PayloadExtent
    ) -> TraceDetail:
        """The whole trace as it is shown, as `from_trace` does it.

        Raises NotFound, TooLargeToRead, Unavailable.
        """
        ...

    async def payload(
        self, project: ProjectId, trace: TraceId, span: SpanId | None, name: PayloadName
    ) -> JsonText | None:
        """One payload of a span, or of the trace if `span` is None; None if it has none.

        Raises NotFound if the trace or the span doesn't exist, and Unavailable.
        """
        ...

    async def summaries(
        self,
        project: ProjectId,
        matching: TraceFilter,
        sort: TraceSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[TraceSummary]:
        """The traces that match, as `paginate` does it.

        Beyond COUNTED_TRACES_MAX the total of several conditions may be a lower bound, unless the
        window has `counts_all`. Raises Unavailable.
        """
        ...

    async def previews(
        self, project: ProjectId, traces: Sequence[TraceId]
    ) -> Mapping[TraceId, TracePreview]:
        """The previews of the traces that exist. Reads no payload. Raises Unavailable."""
        ...

    async def delete(
        self, project: ProjectId, traces: Sequence[TraceId], *, audit: AuditEntry | None = None
    ) -> int:
        """Deletes traces with their spans; the number that existed. Raises Unavailable.

        As all methods of ports with `audit`, it stores this entry of the audit log with the change,
        in one transaction, and only if there is a change. This entry gets the number.
        """
        ...


class Spans(Protocol):
    """The spans of all traces of each project, with the guarantees of `Traces`.

    Contract of Spans: tests/contracts/tracing/spans/test_spans.py.
    """

    async def summaries(
        self,
        project: ProjectId,
        matching: SpanFilter,
        sort: SpanSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[SpanSummary]:
        """The spans that match, as `paginate` does it.

        The total is exact up to COUNTED_SPANS_MAX; beyond it, it may be a lower bound. Raises
        Unavailable, and Invalid as `check_sortable`.
        """
        ...

    async def error_groups(
        self,
        project: ProjectId,
        matching: ErrorFilter,
        sort: ErrorSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[ErrorGroup]:
        """The groups of errors, as the function `error_groups` and `paginate` do it.

        Raises Unavailable, and Invalid as `check_failed_count`.
        """
        ...

    async def analytics(self, project: ProjectId, query: SpanAnalyticsQuery) -> SpanAnalytics:
        """The figures of spans, as `SpanAnalytics.from_cells` of `span_cells`.

        Raises Unavailable; Invalid for more than CELLS_MAX cells or BUCKETS_MAX buckets, and if
        more than READ_SPANS_MAX spans have to be read.
        """
        ...


class TraceSearch(Protocol):
    """Finds traces by words in their texts.

    Contract of TraceSearch: tests/contracts/tracing/search/test_search.py.
    """

    async def find(
        self, project: ProjectId, query: SearchQuery, matching: TraceFilter, window: PageRequest
    ) -> SearchPage[SearchHit]:
        """The traces that match both, newest first, as `find_matches` of their present texts.

        `window` has no offset. Every stored trace is found, whether it is indexed or not. If a
        limit ends the page before it is full, or leaves out a trace that is too large, the page
        says so. Raises Unavailable.
        """
        ...

    async def find_within(
        self, project: ProjectId, trace: TraceId, query: SearchQuery, window: PageRequest
    ) -> FoundWithinPage:
        """The places that the query finds in one trace, as `find_within` of its present texts.

        `window` has no offset. Reads no index. Raises NotFound, Unavailable.
        """
        ...


class SpanSearch(Protocol):
    """Finds spans by words in their own texts.

    Contract of SpanSearch: tests/contracts/tracing/spans/test_span_search.py.
    """

    async def find(
        self, project: ProjectId, query: SearchQuery, matching: SpanFilter, window: PageRequest
    ) -> SearchPage[SpanHit]:
        """The spans that match both, as `find_span_matches` of their present texts.

        In the order of `SpanSort.STARTED_AT`, newest first; else as `TraceSearch.find`.
        """
        ...


class SearchIndex(Protocol):
    """The index of `TraceSearch` and `SpanSearch`, which workers keep, for all projects.

    Contract of SearchIndex: tests/contracts/tracing/search/test_search.py.
    """

    async def add_traces(self) -> int:
        """Indexes some traces that were written; the number of writes, 0 if there are no more.

        Nothing that is found changes. Raises Unavailable.
        """
        ...

    async def remove_garbage(self, before: datetime) -> int:
        """Removes some terms of traces that were deleted or changed; returns the groups cleaned.

        It looks at traces that were changed before `before`, and at groups with many such traces.
        Each group is a transaction. Raises Unavailable; earlier groups stay clean.
        """
        ...


class PayloadStore(Protocol):
    """The storage of blocks of payloads outside the database, which has the keys of the objects.

    A key begins with the id of its project and a slash. An object never changes. All methods end
    within some seconds. Contract of PayloadStore:
    tests/contracts/tracing/payloads/test_payload_store.py.
    """

    async def put(self, key: str, data: bytes) -> None:
        """Stores an object; durable on return. Raises Unavailable."""
        ...

    async def get(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """The objects that exist, by key. Raises Unavailable."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Deletes the objects that exist. Raises Unavailable; then some may be gone."""
        ...

    async def list_keys(self, after: str, before: datetime) -> Sequence[str]:
        """Keys of objects in their order: the next LISTED_MAX after a text.

        Objects that were stored at `before` or later are left out. Raises Unavailable.
        """
        ...


class PayloadStorage(Protocol):
    """How the payloads of stored traces are kept.

    Contract of PayloadStorage: tests/contracts/tracing/payloads/test_payload_storage.py.
    """

    async def join_blocks(self, before: datetime) -> int:
        """Stores payloads closer together that came in several writes, the last `before` then.

        Removes values that were replaced, and stores long texts once that traces of a project
        repeat. Nothing that is read changes. Takes some traces of all projects, and returns their
        number; 0 if there are no more. Raises Unavailable.
        """
        ...

    async def remove_objects(self, before: datetime) -> int:
        """Deletes objects of a store whose block was deleted or replaced before an instant.

        Takes some of all projects, and returns their number. Raises Unavailable.
        """
        ...

    async def remove_orphans(self, before: datetime) -> int:
        """Deletes objects that were stored before an instant, and that the database doesn't name.

        A write that failed after it had stored them leaves some. Looks at the next LISTED_MAX after
        a random place. Deletes those that a call some minutes ago has found, since clocks may
        differ, and returns their number. Raises Unavailable.
        """
        ...

    async def remove_unused_texts(self, before: datetime) -> int:
        """Deletes long texts that were stored once for several traces, and that none has any more.

        Looks at those that a trace lost before an instant. Takes some of all projects, and returns
        how many it has looked at. Raises Unavailable.
        """
        ...


class Sessions(Protocol):
    """The sessions of each project, with the guarantees of `Traces`.

    A session exists while a trace has its id. Contract of Sessions:
    tests/contracts/tracing/test_sessions.py.
    """

    async def summaries(
        self,
        project: ProjectId,
        matching: SessionFilter,
        sort: SessionSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[SessionSummary]:
        """The sessions that match, as `paginate` does it. Raises Unavailable."""
        ...

    async def first_inputs(
        self, project: ProjectId, sessions: Sequence[str]
    ) -> Mapping[str, str | None]:
        """The preview of the input of the first trace, for each session that exists.

        The first one by (started_at, id); None if it has no input. Reads no payload. Raises
        Unavailable.
        """
        ...

    async def get(self, project: ProjectId, session: str, window: PageRequest) -> Session:
        """The summary of the whole session, and a page of its traces, by (started_at, id).

        Raises NotFound, Unavailable; Invalid if the traces are too large for one page.
        """
        ...

    async def turns(
        self, project: ProjectId, session: str, order: SortOrder, window: PageRequest
    ) -> Page[SessionTurn]:
        """The traces of a session by (started_at, id), as `paginate` does it.

        Raises NotFound, Unavailable.
        """
        ...

    async def delete(
        self, project: ProjectId, session: str, *, audit: AuditEntry | None = None
    ) -> int:
        """Deletes the traces of a session with their spans; their number.

        A large session is deleted in batches, each atomic. After a failure or an interruption the
        rest still exists, and the next call deletes it. Raises Unavailable.
        """
        ...


class TraceAnalytics(Protocol):
    """Analytics over the traces of each project, as the functions of `domain.tracing.analytics`.

    Contract of TraceAnalytics: tests/contracts/tracing/test_trace_analytics.py.
    All raise Unavailable, and Invalid for more than BUCKETS_MAX buckets. With a `zone`, they raise
    Invalid as `bucket_edges`.
    """

    async def volume(
        self, project: ProjectId, period: Period, granularity: Granularity, zone: tzinfo = UTC
    ) -> Sequence[TraceBucket]: ...

    async def usage(
        self, project: ProjectId, period: Period, granularity: Granularity, zone: tzinfo = UTC
    ) -> Sequence[UsageBucket]: ...

    async def model_usage(
        self, project: ProjectId, period: Period, granularity: Granularity, zone: tzinfo = UTC
    ) -> Mapping[str | None, Sequence[UsageBucket]]:
        """As `model_usage_buckets`. Raises Invalid for more than CELLS_MAX buckets in all."""
        ...

    async def groups(self, project: ProjectId, query: TraceAnalyticsQuery) -> Sequence[TraceGroup]:
        """As `trace_groups`, of visible traces.

        Reads the matching traces. Raises Invalid for more than READ_TRACES_MAX, by what the
        roll-ups count, and for more than CELLS_MAX figures.
        """
        ...

    async def models(self, project: ProjectId, period: Period) -> Sequence[ModelUsage]: ...

    async def sessions(
        self, project: ProjectId, period: Period, granularity: Granularity
    ) -> Sequence[SessionBucket]: ...

    async def are_sources_mixed(self, project: ProjectId, period: Period) -> bool:
        """Whether some spans came natively and others by OpenTelemetry.

        Looks at the last NEWEST_SPANS_MAX spans that started in the period: reports of the same
        call start at about the same time.
        """
        ...

    async def facets(self, project: ProjectId, query: FacetQuery) -> Sequence[FacetValue]:
        """As `most_frequent` of the values of visible traces that match.

        Raises Invalid if conditions lead to more than FILTERED_TRACES_MAX traces, or for metadata
        to more than FILTERED_METADATA_MAX.
        """
        ...

    async def users(self, project: ProjectId, window: PageRequest) -> Page[UserSummary]:
        """A page of users by `last_seen`, newest first, then by id, as `paginate` does it."""
        ...
