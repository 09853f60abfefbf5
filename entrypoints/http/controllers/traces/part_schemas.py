"""Wire schemas of parts of traces: outlines, spans, and traces without whole payloads."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.errors import FieldError
from domain.ids import ProjectId, SpanId, TraceId
from domain.page import LIMIT_DEFAULT, OFFSET_MAX
from domain.tracing.outline import OUTLINE_SPANS_MAX, OutlineColumns, TraceOutline
from domain.tracing.payloads import payload_detail
from domain.tracing.payloads.payload_detail import (
    PREVIEW_BYTES_MAX,
    READ_SPANS_MAX,
    PayloadDetail,
    PayloadExtent,
)
from domain.tracing.search import search_within
from domain.tracing.search.search_match import SNIPPET_CHARS_MAX
from domain.tracing.search.search_query import QUERY_CHARS_MAX
from domain.tracing.search.search_texts import SearchField
from domain.tracing.search.search_within import WITHIN_BYTES_MAX
from domain.tracing.span import SpanKind, SpanStatus
from domain.tracing.trace_detail import ShownSpan, TraceDetail
from entrypoints.http.controllers.traces import schemas
from entrypoints.http.controllers.traces.search_parameters import check_search_text
from entrypoints.http.requests import cursors
from entrypoints.http.requests import wire_types as wire
from entrypoints.http.response_structs import GIVEN, WHOLE, ResponseStruct, Source, by_position
from entrypoints.http.streams import JsonParts

PREVIEW_BYTES_DEFAULT: Final = 1 << 10  # of each payload, where many spans are shown


class OutlineQuery(msgspec.Struct, frozen=True, kw_only=True):
    limit: Annotated[
        int, Meta(ge=1, le=OUTLINE_SPANS_MAX, description="How many spans to return")
    ] = OUTLINE_SPANS_MAX
    after: Annotated[
        int,
        Meta(ge=0, le=OFFSET_MAX, description="How many spans to skip: `next` of the part before"),
    ] = 0


class OutlineTrace(schemas.TraceListItem, frozen=True, kw_only=True):
    error_count: Annotated[int, Source("totals.errors"), Meta(description="Spans that failed")]


class OutlineSpans(ResponseStruct[OutlineColumns], frozen=True, kw_only=True):
    """Spans by column: all values with the same index belong to one span."""

    span_id: list[UUID]
    parent: Annotated[
        list[int],
        Meta(
            description=(
                "The place of the parent among all spans of the trace; -1 if the span has no "
                "parent, -2 if its parent was not received"
            )
        ),
    ]
    parent_id: Annotated[
        dict[str, UUID],
        Source("parent_id", lambda ids: {str(place): id_ for place, id_ in ids.items()}),
        Meta(description="The ids of parents that were not received, by the place of the child"),
    ]
    name: Annotated[list[int], Meta(description="Indexes of `names`")]
    kind: Annotated[list[int], Meta(description="Indexes of `kinds`")]
    status: Annotated[list[int], Meta(description="Indexes of `statuses`")]
    start_us: Annotated[
        list[int], Meta(description="Microseconds from the start of the trace; may be negative")
    ]
    latency_us: Annotated[
        list[int | None], Meta(description="Null if the span has not ended, or clocks disagree")
    ]
    first_token_us: Annotated[
        list[int | None], Meta(description="Microseconds from the start of the span")
    ]
    model: Annotated[list[int | None], Meta(description="Indexes of `models`")]
    tokens: list[int]
    cost: Annotated[list[float | None], Meta(description="USD; null if the span is unpriced")]
    input_bytes: Annotated[list[int | None], Meta(description="Null if there is no input")]
    output_bytes: Annotated[list[int | None], Meta(description="Null if there is no output")]
    has_error: Annotated[
        list[bool], Meta(description="Whether its status is ERROR or it has an error message")
    ]
    uncounted: Annotated[
        list[int],
        Meta(
            description=(
                "The places of spans whose tokens and cost the sums of the trace leave out, "
                "because other spans report the same calls"
            )
        ),
    ]


class OutlineResponse(ResponseStruct[TraceOutline], frozen=True, kw_only=True):
    """A trace and its spans without payloads, sorted by start and id.

    The place of a span is its index among all spans of the trace. Places of parts with different
    revisions can't be compared.
    """

    trace: Annotated[OutlineTrace, Source("summary")]
    revision: Annotated[str, Meta(description="Changes with every change of the trace")]
    total_spans: Annotated[int, Source("summary.totals.spans")]
    first: Annotated[int, Meta(description="The place of the first span of this part")]
    names: Annotated[list[str], Source("columns.names")]
    kinds: Annotated[list[SpanKind], Source("columns.kinds")]
    statuses: Annotated[list[SpanStatus], Source("columns.statuses")]
    models: Annotated[list[str], Source("columns.models")]
    columns: OutlineSpans
    next: Annotated[
        int | None, Meta(description="`after` of the next part; null if it is the last")
    ]


class PayloadPreview(ResponseStruct[payload_detail.PayloadPreview], frozen=True, kw_only=True):
    """The beginning of a payload that is too large to be shown whole."""

    truncated: Annotated[Literal[True], Source(WHOLE, lambda _: True)]
    bytes: Annotated[int, Source("size"), Meta(description="The size of the whole payload")]
    text: Annotated[
        str,
        Meta(
            description=(
                "Its first `preview_bytes` bytes, which are no complete JSON. A character that "
                "would be cut is left out"
            )
        ),
    ]


class SpanDetailResponse(schemas.SpanResponse, frozen=True, kw_only=True):
    """A span. A payload that isn't shown whole is null."""

    metadata: Annotated[wire.OptionalObject, GIVEN]
    input_bytes: Annotated[int | None, GIVEN, Meta(description="Null if it has no input")]
    output_bytes: Annotated[int | None, GIVEN, Meta(description="Null if it has no output")]
    input_preview: Annotated[PayloadPreview | None, GIVEN]
    output_preview: Annotated[PayloadPreview | None, GIVEN]
    metadata_preview: Annotated[PayloadPreview | None, GIVEN]


_span_detail: Final = by_position(SpanDetailResponse)


def span_details(trace: TraceId, spans: Sequence[ShownSpan]) -> list[SpanDetailResponse]:
    return [
        _span_detail(
            *fields,
            one.input_bytes,
            one.output_bytes,
            _preview(one.input_preview),
            _preview(one.output_preview),
            _preview(one.metadata_preview),
        )
        for fields, one in zip(schemas.span_fields(trace, spans), spans, strict=True)
    ]


class TraceDetailResponse(schemas.TraceResponse, frozen=True, kw_only=True):
    """A trace whose payloads were not asked for whole. One that isn't shown whole is null."""

    metadata: Annotated[wire.OptionalObject, GIVEN]
    spans: Annotated[list[SpanDetailResponse], GIVEN]  # type: ignore[assignment]  # nothing adds to it
    input_bytes: Annotated[int | None, GIVEN, Meta(description="Null if it has no input")]
    output_bytes: Annotated[int | None, GIVEN, Meta(description="Null if it has no output")]
    input_preview: Annotated[PayloadPreview | None, GIVEN]
    output_preview: Annotated[PayloadPreview | None, GIVEN]
    metadata_preview: Annotated[PayloadPreview | None, GIVEN]

    @classmethod
    def from_detail(cls, project: ProjectId, found: TraceDetail) -> Self:
        whole = schemas.TraceResponse.from_detail(project, replace(found, spans=()))
        shown = found.payloads
        fields = msgspec.structs.asdict(whole) | {
            "metadata": wire.raw_json(shown.metadata),
            "spans": span_details(found.trace.id, found.spans),
            "input_bytes": shown.input_bytes,
            "output_bytes": shown.output_bytes,
            "input_preview": _preview(shown.input_preview),
            "output_preview": _preview(shown.output_preview),
            "metadata_preview": _preview(shown.metadata_preview),
        }
        return cls(**fields)


def whole_response(
    project: ProjectId, found: TraceDetail, *, is_full: bool
) -> schemas.TraceResponse:
    """A TraceDetailResponse unless `is_full`."""
    shape = schemas.TraceResponse if is_full else TraceDetailResponse
    return shape.from_detail(project, found)


def response_in_parts(
    project: ProjectId, found: TraceDetail, *, is_full: bool
) -> JsonParts[ShownSpan]:
    """The same response as `whole_response`, sent in parts: for a large trace."""
    empty = whole_response(project, replace(found, spans=()), is_full=is_full)
    make = schemas.span_responses if is_full else span_details
    make_some = partial(make, found.trace.id)
    size = _long_bytes if is_full else _long_bytes_with_previews
    return JsonParts(empty, "spans", deque(found.spans), make_some, size)


_LONG: Final = ("error", "token_usage", "model_parameters", "input", "output", "metadata")
_long_fields: Final = itemgetter(*map(ShownSpan._fields.index, _LONG))


def _long_bytes(spans: Iterable[ShownSpan]) -> int:
    """The bytes of what may be long. Without a loop in Python: reading large traces takes long."""
    return sum(map(len, filter(None, chain.from_iterable(map(_long_fields, spans)))))


def _long_bytes_with_previews(spans: Sequence[ShownSpan]) -> int:
    previews = (
        one
        for span in spans
        for one in (span.input_preview, span.output_preview, span.metadata_preview)
    )
    return _long_bytes(spans) + sum(len(one.text) for one in previews if one is not None)


def _preview(found: payload_detail.PayloadPreview | None) -> PayloadPreview | None:
    return None if found is None else PayloadPreview.from_domain(found)


class PayloadQuery(msgspec.Struct, frozen=True, kw_only=True):
    download: Annotated[
        bool, Meta(description="Whether browsers save the payload as a file in place of showing it")
    ] = False


type StoredJson = Annotated[msgspec.Raw, Meta(description="Any JSON")]


PAYLOADS: Final = Meta(
    description=(
        "`full`: whole payloads; `preview`: of input, output and metadata, a payload of more than "
        "`preview_bytes` is null, with its beginning in the field `…_preview`; `none`: all three "
        "are null"
    )
)
type PreviewBytes = Annotated[
    int,
    Meta(
        ge=1,
        le=PREVIEW_BYTES_MAX,
        description="The size, in bytes, of the largest payload that `preview` shows whole",
    ),
]


class SpanQuery(msgspec.Struct, frozen=True, kw_only=True):
    payloads: Annotated[PayloadDetail, PAYLOADS] = PayloadDetail.FULL
    preview_bytes: PreviewBytes = PREVIEW_BYTES_MAX

    @property
    def extent(self) -> PayloadExtent:
        return PayloadExtent(self.payloads, self.preview_bytes)


class TraceDetailQuery(SpanQuery, frozen=True, kw_only=True):
    preview_bytes: PreviewBytes = PREVIEW_BYTES_DEFAULT


class TraceSpansQuery(TraceDetailQuery, frozen=True, kw_only=True):
    """A page of spans, with the fields of `PageQuery`."""

    limit: cursors.PageLimit = LIMIT_DEFAULT
    offset: cursors.PageOffset = 0
    cursor: cursors.Cursor | None = None

    @classmethod
    def field_errors(cls, fields: Mapping[str, Any]) -> Iterator[FieldError]:
        return cursors.page_errors(fields)


class SpansRead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The spans to read, and how much of their payloads."""

    span_ids: Annotated[list[SpanId], Meta(min_length=1, max_length=READ_SPANS_MAX)]
    payloads: Annotated[PayloadDetail, PAYLOADS] = PayloadDetail.PREVIEW
    preview_bytes: PreviewBytes = PREVIEW_BYTES_DEFAULT

    @property
    def extent(self) -> PayloadExtent:
        return PayloadExtent(self.payloads, self.preview_bytes)


class SpansReadResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The spans that the trace has, in the order of the request, and the ids that it doesn't."""

    spans: list[SpanDetailResponse]
    unknown_span_ids: list[UUID]

    @classmethod
    def from_found(
        cls, trace: TraceId, asked: Sequence[SpanId], found: Sequence[ShownSpan]
    ) -> Self:
        """Each id counts once, at its first place."""
        shown = {one.span_id: one for one in span_details(trace, found)}
        ids = list(dict.fromkeys(asked))
        return cls(
            spans=[shown[id_] for id_ in ids if id_ in shown],
            unknown_span_ids=[id_ for id_ in ids if id_ not in shown],
        )


class TraceSearchQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page of what a query finds in one trace; without `offset`."""

    query: Annotated[
        str,
        Meta(
            max_length=QUERY_CHARS_MAX,
            extra={"check": check_search_text},
            description=(
                "All of these words occur in the texts of one span, or of the trace itself. "
                '`"several words"` follow each other, `begin*` is the beginning of a word'
            ),
            examples=['refund "tracking number" deliver*'],
        ),
    ]
    limit: cursors.PageLimit = LIMIT_DEFAULT
    cursor: cursors.Cursor | None = None

    @property
    def offset(self) -> int:
        return 0


class FoundPlaceResponse(ResponseStruct[search_within.FoundPlace], frozen=True, kw_only=True):
    """The first text of a field that has a term of the query."""

    field: SearchField
    text_index: Annotated[
        int,
        Meta(
            description=(
                "Which text of the field it is, from 0: of a payload, its strings and numbers in "
                "their order, without keys"
            )
        ),
    ]
    offset: Annotated[
        int,
        Meta(description="Characters of this text, in the form NFKC, before the first term"),
    ]
    snippet: Annotated[
        list[schemas.SnippetPartResponse],
        Meta(
            description=(
                f"The text around it, {SNIPPET_CHARS_MAX} characters at most, in parts that follow "
                "each other"
            )
        ),
    ]


class FoundWithinResponse(ResponseStruct[search_within.FoundWithin], frozen=True, kw_only=True):
    """A span that has all terms, or the trace itself without `span_id`."""

    span_id: Annotated[UUID | None, Source("span")]
    matches: Annotated[
        list[FoundPlaceResponse],
        Source("places"),
        Meta(description="One for each field that has a term"),
    ]


class FoundWithinPage(wire.PaginatedResponse[FoundWithinResponse], frozen=True, kw_only=True):
    """A page of what a query finds in a trace.

    `total` counts the items of the page, and one more if another page follows.
    """

    is_complete: Annotated[
        bool,
        Meta(
            description=(
                "False if the page ended before it was full, because it has looked into "
                f"{WITHIN_BYTES_MAX >> 20} MiB of payloads: follow `next_cursor`"
            )
        ),
    ]


TRACE_SEARCH: Final = cursors.PagedList("trace_search", {None: cursors.INSTANT}, cursors.ID)
TRACE_SPANS: Final = cursors.PagedList("trace_spans", {None: cursors.INSTANT}, cursors.ID)
OUTLINE: Final = schemas.example(
    OutlineResponse.from_domain(
        TraceOutline.from_trace(schemas.EXAMPLE_TRACE, "9f86d081884c7d659a2feaa0c55ad015", 0, 1)
    )
)
SEARCH: Final = {
    "items": [
        {
            "span_id": str(schemas.EXAMPLE_TRACE.spans[0].id),
            "matches": [
                {
                    "field": "output",
                    "text_index": 3,
                    "offset": 4,
                    "snippet": [
                        {"text": "the ", "is_match": False},
                        {"text": "tracking number", "is_match": True},
                        {"text": " is on the way", "is_match": False},
                    ],
                }
            ],
        }
    ],
    "total": 1,
    "limit": LIMIT_DEFAULT,
    "offset": 0,
    "next_cursor": None,
    "is_complete": True,
}
[_SPAN] = span_details(
    schemas.EXAMPLE_TRACE.id,
    [ShownSpan.from_span(schemas.EXAMPLE_TRACE.spans[0], payload_detail.WHOLE_PAYLOADS)],
)
SPAN_DETAIL: Final = schemas.example(_SPAN)
