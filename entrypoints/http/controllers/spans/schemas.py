"""Wire schemas of spans across traces."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.errors import FieldError
from domain.page import LIMIT_DEFAULT, SortOrder
from domain.tracing.search.search_query import QUERY_CHARS_MAX
from domain.tracing.span import SpanKind, SpanStatus
from domain.tracing.spans.error_groups import ERROR_CHARS_MAX, FINGERPRINT_CHARS
from domain.tracing.spans.span_query import SpanFilter, SpanSort, SpanSummary
from domain.tracing.trace import TraceStatus
from domain.tracing.usage import CostSource
from entrypoints.http.controllers.traces import examples
from entrypoints.http.controllers.traces.schemas import (
    EXAMPLE_TRACE,
    FILTER_VALUES_MAX,
    SEARCH_MATCHES,
    SearchMatchResponse,
    SearchState,
    Several,
    SeveralStatuses,
    Tags,
    TokenBound,
    example,
    none_of,
    sorted_unique,
)
from entrypoints.http.controllers.traces.search_parameters import (
    check_search_text,
    search_errors,
)
from entrypoints.http.requests import cursors
from entrypoints.http.requests import wire_types as wire
from entrypoints.http.response_structs import OPTIONAL, ResponseStruct, Source

type ErrorGroupId = Annotated[
    str,
    Meta(
        pattern=rf"^[0-9a-f]{{{FINGERPRINT_CHARS}}}$",
        extra={"expected": f"must be an id of GET /errors: {FINGERPRINT_CHARS} digits in hex"},
    ),
]

type SeveralKinds = Annotated[list[SpanKind], Meta(max_length=FILTER_VALUES_MAX)]
type SeveralSpanStatuses = Annotated[list[SpanStatus], Meta(max_length=FILTER_VALUES_MAX)]

_NOT_OF_TRACE: Final = Meta(description="The trace has none of these")
_SKEW: Final = Meta(
    description="It ended, or began to answer, before it started: it has no such duration."
)
_UNKNOWN_COST: Final = Meta(description="In USD; null if it is unknown")


class SpanConditions(msgspec.Struct, frozen=True, kw_only=True):
    """Which spans. All conditions have to hold."""

    kind: Annotated[SpanKind, Meta(description="Exactly this kind")] | None = None
    name: Annotated[str, Meta(description="Exactly this name")] | None = None
    model: Annotated[str, Meta(description="Exactly this model")] | None = None
    provider: (
        Annotated[str, Meta(description="Exactly this provider; OpenTelemetry spans only")] | None
    ) = None
    status: Annotated[SpanStatus, Meta(description="Exactly this status")] | None = None
    has_error: (
        Annotated[bool, Meta(description="Whether it failed: its status is ERROR")] | None
    ) = None
    error_group: (
        Annotated[ErrorGroupId, Meta(description="It failed with an error of this group")] | None
    ) = None
    started_after: (
        Annotated[wire.QueryInstant, Meta(description="Started then or later")] | None
    ) = None
    started_before: Annotated[wire.QueryEnd, Meta(description="Started earlier")] | None = None
    min_latency_ms: (
        Annotated[float, Meta(description="Has ended, and took at least this long")] | None
    ) = None
    max_latency_ms: (
        Annotated[float, Meta(description="Has ended, and took at most this long")] | None
    ) = None
    min_tokens: (
        Annotated[TokenBound, Meta(description="At least as many tokens, prompt and completion")]
        | None
    ) = None
    max_tokens: Annotated[TokenBound, Meta(description="At most as many tokens")] | None = None
    min_cost: (
        Annotated[float, Meta(ge=0, description="Its cost is known, and at least as many USD")]
        | None
    ) = None
    max_cost: (
        Annotated[float, Meta(ge=0, description="Its cost is known, and at most as many USD")]
        | None
    ) = None
    environment: Annotated[str, Meta(description="The trace's environment")] | None = None
    release: Annotated[str, Meta(description="The trace's release")] | None = None
    session_id: Annotated[str, Meta(description="The trace's session")] | None = None
    user_id: Annotated[str, Meta(description="The trace's user")] | None = None
    tags: Annotated[Tags, Meta(description="The trace has any of these tags")] | None = None
    trace_status: Annotated[TraceStatus, Meta(description="The trace's status")] | None = None
    not_kind: Annotated[SeveralKinds, none_of("kinds")] | None = None
    not_name: Annotated[Several, none_of("names")] | None = None
    not_model: Annotated[Several, none_of("models")] | None = None
    not_provider: Annotated[Several, none_of("providers")] | None = None
    not_status: Annotated[SeveralSpanStatuses, none_of("statuses")] | None = None
    not_environment: Annotated[Several, _NOT_OF_TRACE] | None = None
    not_release: Annotated[Several, _NOT_OF_TRACE] | None = None
    not_session_id: Annotated[Several, _NOT_OF_TRACE] | None = None
    not_user_id: Annotated[Several, _NOT_OF_TRACE] | None = None
    not_tags: Annotated[Several, _NOT_OF_TRACE] | None = None
    not_trace_status: Annotated[SeveralStatuses, _NOT_OF_TRACE] | None = None

    def to_domain(self) -> SpanFilter:
        shared = wire.shared_fields(self, SpanFilter)
        several = {
            name: sorted_unique(value)
            for name, value in shared.items()
            if name == "tags" or name.startswith("not_")
        }
        return SpanFilter(**shared | several)


class SpanListQuery(SpanConditions, frozen=True, kw_only=True):
    """A page of spans, with the fields of `PageQuery`."""

    query: (
        Annotated[
            str,
            Meta(
                max_length=QUERY_CHARS_MAX,
                extra={"check": check_search_text},
                description=(
                    "All of these words occur in the span's own name, input, output or error. "
                    '`"several words"` follow each other, `begin*` is the beginning of a word. '
                    "Only with the newest spans first, and without `offset`"
                ),
                examples=['timeout "tracking number" deliver*'],
            ),
        ]
        | None
    ) = None
    sort_by: Annotated[
        SpanSort, Meta(description="The sort key; ties are sorted by the ids of trace and span")
    ] = SpanSort.STARTED_AT
    sort_order: Annotated[SortOrder, Meta(description=cursors.SORT_ORDER_DESCRIPTION)] = (
        SortOrder.DESC
    )
    limit: cursors.PageLimit = LIMIT_DEFAULT
    offset: cursors.PageOffset = 0
    cursor: cursors.Cursor | None = None

    @classmethod
    def field_errors(cls, fields: Mapping[str, Any]) -> Iterator[FieldError]:
        yield from search_errors(fields)
        yield from cursors.page_errors(fields)


class SpanListItem(ResponseStruct[SpanSummary], frozen=True, kw_only=True):
    """A span without its payloads, and what is known of its trace."""

    span_id: Annotated[UUID, Source("id")]
    trace_id: UUID
    parent_span_id: Annotated[UUID | None, Source("parent_id")]
    name: str
    kind: SpanKind
    status: SpanStatus
    started_at: wire.ResponseInstant
    ended_at: wire.ResponseInstant | None
    completion_start_time: Annotated[wire.ResponseInstant | None, Source("completion_started_at")]
    latency_ms: float | None
    time_to_first_token_ms: float | None
    clock_skew: Annotated[bool, _SKEW]
    model: str | None
    provider: str | None
    prompt_tokens: Annotated[int, Source("usage.prompt_tokens")]
    completion_tokens: Annotated[int, Source("usage.completion_tokens")]
    total_tokens: Annotated[int, Source("tokens")]
    total_cost: Annotated[wire.Usd | None, Source("cost"), _UNKNOWN_COST]
    cost_source: Annotated[CostSource, Source("charge.source")]
    is_counted: Annotated[bool, Meta(description="Whether sums include its tokens and its cost")]
    error: Annotated[str | None, Meta(description=f"At most {ERROR_CHARS_MAX} characters of it")]
    error_group: Annotated[
        str | None, Meta(description="The group of `GET /errors`, if the span failed")
    ]
    input_bytes: int | None
    output_bytes: int | None
    trace_name: Annotated[str, Source("trace.name")]
    trace_status: Annotated[TraceStatus, Source("trace.status")]
    session_id: Annotated[str | None, Source("trace.session_id")]
    user_id: Annotated[str | None, Source("trace.user_id")]
    environment: Annotated[str | None, Source("trace.environment")]
    release: Annotated[str | None, Source("trace.release")]
    tags: Annotated[list[str], Source("trace.tags")]
    matches: Annotated[list[SearchMatchResponse] | UnsetType, OPTIONAL, SEARCH_MATCHES] = UNSET


class SpanPage(wire.PaginatedResponse[SpanListItem], frozen=True, kw_only=True):
    """A page of spans. It may have fewer than `limit`, or none, although `next_cursor` is set.

    With `query`, `total` counts the spans of the page, and one more if another page follows.
    """

    read_until: Annotated[wire.ResponseInstant | UnsetType, cursors.READ_UNTIL] = UNSET
    search: Annotated[SearchState | UnsetType, Meta(description="Only with `query`")] = UNSET


SPANS: Final = cursors.PagedList(
    "spans",
    {
        SpanSort.STARTED_AT: cursors.INSTANT,
        SpanSort.LATENCY: cursors.nullable(cursors.INTEGER),
        SpanSort.COST: cursors.nullable(cursors.AMOUNT),
        SpanSort.TOKENS: cursors.INTEGER,
    },
    cursors.SPAN_ID,
)
SPAN_ITEM: Final[dict[str, Any]] = example(
    SpanListItem.from_domain(SpanSummary.from_span(EXAMPLE_TRACE, EXAMPLE_TRACE.spans[0]))
)
SPAN_PAGE: Final = examples.page_of(SPAN_ITEM)
