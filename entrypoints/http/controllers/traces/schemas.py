"""Wire schemas of traces and spans: creation, changes, responses and queries.

In a change, a key that is left out changes nothing. Null clears optional fields, and changes
nothing elsewhere.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from itertools import starmap
from typing import Annotated, Any, Final, Self
from uuid import UUID, uuid4

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from application.tracing.edit import EDITED_TRACES_MAX
from domain.errors import FieldError
from domain.evaluation.scores.score import (
    BRIEF_SCORES_MAX,
    DataType,
    ScoreBrief,
    ScoreOutcome,
    ScoreSource,
)
from domain.ids import ProjectId, SpanId, TraceId
from domain.page import LIMIT_DEFAULT, SortOrder
from domain.tracing import analytics, facet_values
from domain.tracing.change import UNCHANGED, Clearable, Unchanged
from domain.tracing.facet_values import (
    FACET_LIMIT_DEFAULT,
    FACET_LIMIT_MAX,
    MEMBER_KEY_CHARS_MAX,
    FacetField,
)
from domain.tracing.payloads.payload import EMPTY_OBJECT, OBJECT_VALUES_MAX
from domain.tracing.payloads.payload_detail import ShownPayloads
from domain.tracing.query import ScoredOutcome, TraceFilter, TraceSort, score_errors
from domain.tracing.search import search_match
from domain.tracing.search.search_query import QUERY_CHARS_MAX
from domain.tracing.search.search_texts import SearchField
from domain.tracing.span import Span, SpanChange, SpanKind, SpanStatus, Totals
from domain.tracing.text_preview import PREVIEW_CHARS_MAX
from domain.tracing.trace import Trace, TraceChange, TraceStatus, TraceSummary
from domain.tracing.trace_detail import ShownSpan, TraceDetail, shown_cost
from domain.tracing.usage import COST_MAX_USD, CostSource, as_float
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.traces import examples
from entrypoints.http.controllers.traces.search_parameters import (
    check_search_text,
    search_errors,
)
from entrypoints.http.requests import cursors
from entrypoints.http.requests import wire_types as wire
from entrypoints.http.requests.scalar_types import (
    NUL_MESSAGE,
    InvalidValue,
    parse_instant,
    parse_optional_instant,
)
from entrypoints.http.response_structs import (
    GIVEN,
    OPTIONAL,
    WHOLE,
    ResponseStruct,
    Source,
    by_position,
)

NAME_CHARS_MAX: Final = 512
LABEL_CHARS_MAX: Final = 255  # of ids, labels and tags: they fit into an index entry
TAGS_MAX: Final = 100
METADATA_KEYS_MAX: Final = 20  # in one query: each is a condition of its own
METADATA_VALUES_MAX: Final = 100  # for one key
TOKEN_BOUND_MAX: Final = 2**62  # beyond what any span has
SPAN_BOUND_MAX: Final = 2**31 - 1  # beyond what any trace has
FILTER_VALUES_MAX: Final = 100  # of one filter
RESPONSE_SPANS_ON_LOOP_MAX: Final = 1_000
RESPONSE_BYTES_ON_LOOP_MAX: Final = 4 << 20
SENT_AT_ONCE_SPANS_MAX: Final = 200  # the response of as many takes 1 ms
SENT_AT_ONCE_BYTES_MAX: Final = 1 << 20  # of payloads
TOO_MANY_SPANS: Final = "too many spans"

type Name = Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]
type Label = Annotated[str, Meta(max_length=LABEL_CHARS_MAX)]
type Tags = Annotated[list[Label], Meta(max_length=TAGS_MAX)]
type Several = Annotated[list[str], Meta(max_length=FILTER_VALUES_MAX)]
type SeveralStatuses = Annotated[list[TraceStatus], Meta(max_length=FILTER_VALUES_MAX)]
type Excluded = Several
type SeveralKinds = Annotated[list[SpanKind], Meta(max_length=FILTER_VALUES_MAX)]
type LeastCost = Annotated[float, Meta(ge=0)]
type SpanBound = Annotated[int, Meta(ge=0, le=SPAN_BOUND_MAX)]
type ScoreBound = Annotated[float, Meta(ge=0, le=1)]
type TokenBound = Annotated[int, Meta(ge=0, le=TOKEN_BOUND_MAX)]
UNPRICED: Final = Meta(
    description=(
        "Spans whose cost is unknown, and so isn't in `total_cost`: they called a model or have "
        "tokens, but neither a cost nor a price"
    )
)
_COST_MEANING: Final = "USD by part. The cost is `total`, else `total_cost`, else the sum of all."
type Cost = Annotated[dict[str, float], Meta(description=_COST_MEANING)]
type NewCost = Annotated[
    dict[str, Annotated[float, Meta(ge=0, le=COST_MAX_USD)]],
    Meta(max_length=OBJECT_VALUES_MAX, description=_COST_MEANING),
]

_TRACE_SKEW: Final = Meta(description="It ended before it started: its latency is null.")
_FAILED_SPAN: Final = Meta(
    description="A span has the status ERROR, whatever the status of the trace."
)
_SPAN_SKEW: Final = Meta(
    description=(
        "It ended, or began to answer, before it started: the duration in question is null."
    )
)


class TracePath(msgspec.Struct, frozen=True):
    trace_id: Annotated[TraceId, Meta(description="The trace's id", examples=[examples.TRACE_ID])]


class SpanPath(TracePath, frozen=True):
    span_id: Annotated[SpanId, Meta(description="The span's id", examples=[examples.SPAN_ID])]


class SpanCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A span as clients send it."""

    span_id: SpanId | UnsetType = UNSET
    parent_span_id: SpanId | None = None
    name: Name
    kind: SpanKind | UnsetType = UNSET
    status: SpanStatus | UnsetType = UNSET
    input: wire.AnyJson = msgspec.field(default_factory=wire.null)
    output: wire.AnyJson = msgspec.field(default_factory=wire.null)
    model: Label | None = None
    token_usage: wire.TokenUsage = msgspec.field(default_factory=wire.null)
    metadata: wire.PlainObject = msgspec.field(default_factory=wire.empty_object)
    started_at: wire.Instant
    ended_at: wire.Instant | None = None
    error: str | None = None
    completion_start_time: wire.Instant | None = None
    model_parameters: wire.OptionalObject = msgspec.field(default_factory=wire.null)
    cost: NewCost | None = None

    def to_domain(self) -> Span:
        """Raises ValueError for values that the types alone can't refuse."""
        ended, completion = self.ended_at, self.completion_start_time
        return Span(
            id=SpanId(uuid4()) if self.span_id is UNSET else self.span_id,
            name=self.name,
            started_at=parse_instant(self.started_at),
            parent_id=self.parent_span_id,
            kind=None if self.kind is UNSET else self.kind,
            status=None if self.status is UNSET else self.status,
            ended_at=None if ended is None else parse_instant(ended),
            completion_started_at=None if completion is None else parse_instant(completion),
            error=self.error,
            model=self.model,
            input=wire.optional_json(self.input),
            output=wire.optional_json(self.output),
            metadata=wire.require_object(self.metadata),
            token_usage=wire.token_usage(self.token_usage),
            model_parameters=wire.optional_object(self.model_parameters),
            cost=self.cost,
        )


class TraceCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A trace as clients send it."""

    trace_id: TraceId | UnsetType = UNSET
    name: Name
    status: TraceStatus | UnsetType = UNSET
    input: wire.AnyJson = msgspec.field(default_factory=wire.null)
    output: wire.AnyJson = msgspec.field(default_factory=wire.null)
    metadata: wire.PlainObject = msgspec.field(default_factory=wire.empty_object)
    started_at: wire.Instant
    ended_at: wire.Instant | None = None
    session_id: Label | None = None
    user_id: Label | None = None
    tags: Tags = []
    environment: Label | None = None
    release: Label | None = None
    spans: Annotated[list[SpanCreate], wire.max_items_from("max_spans")] = []

    def to_domain(self, config: HttpConfig) -> Trace:
        """Raises ValueError for values that the types alone can't refuse."""
        ended = self.ended_at
        return Trace(
            id=TraceId(uuid4()) if self.trace_id is UNSET else self.trace_id,
            name=self.name,
            started_at=parse_instant(self.started_at),
            status=None if self.status is UNSET else self.status,
            ended_at=None if ended is None else parse_instant(ended),
            session_id=self.session_id,
            user_id=self.user_id,
            environment=self.environment,
            release=self.release,
            input=wire.optional_json(self.input),
            output=wire.optional_json(self.output),
            metadata=wire.require_object(self.metadata),
            tags=tuple(self.tags),
            spans=spans_to_domain(self.spans, config),
        )


def spans_to_domain(spans: list[SpanCreate], config: HttpConfig) -> tuple[Span, ...]:
    """Raises ValueError if there are too many, or one is invalid."""
    if len(spans) > config.max_spans:
        raise ValueError(TOO_MANY_SPANS)
    return tuple([span.to_domain() for span in spans])


class TraceAccepted(msgspec.Struct, frozen=True):
    """The trace is stored. `task_id` is a random id without further meaning."""

    trace_id: UUID
    task_id: UUID


class SpansAccepted(msgspec.Struct, frozen=True):
    """The ids of the spans in the order of the request."""

    span_ids: list[UUID]


def _cost(span: Span) -> dict[str, float] | None:
    cost = shown_cost(span)
    return None if cost is None else dict(cost)


class SpanResponse(ResponseStruct[Span], frozen=True, kw_only=True):
    span_id: Annotated[UUID, Source("id")]
    trace_id: Annotated[UUID, GIVEN]
    parent_span_id: Annotated[UUID | None, Source("parent_id")]
    name: str
    kind: Annotated[SpanKind, Source("kind", is_set=True)]
    status: Annotated[SpanStatus, Source("status", is_set=True)]
    input: Raw
    output: Raw
    model: str | None
    token_usage: wire.OptionalObject
    metadata: wire.JsonObject
    started_at: wire.ResponseInstant
    ended_at: wire.ResponseInstant | None
    error: str | None
    completion_start_time: Annotated[wire.ResponseInstant | None, Source("completion_started_at")]
    model_parameters: wire.OptionalObject
    cost: Annotated[Cost | None, Source(WHOLE, _cost)]
    latency_ms: float | None
    time_to_first_token_ms: float | None
    clock_skew: Annotated[bool, _SPAN_SKEW]
    cost_source: Annotated[CostSource, Source("charge.source", is_set=True)]


_span_response: Final = by_position(SpanResponse)


def span_responses(trace: TraceId, spans: Iterable[ShownSpan]) -> list[SpanResponse]:
    """The response of each span, as `from_domain` makes it. A payload that isn't whole is null."""
    return list(starmap(_span_response, span_fields(trace, spans)))


def span_fields(trace: TraceId, spans: Iterable[ShownSpan]) -> Iterator[Sequence[Any]]:
    """The fields of a SpanResponse of each span, in their order.

    Written by hand, because reading a large trace consists of little else.
    """
    format_instant = wire.microsecond_formatter()
    null = wire.null()
    for one in spans:
        (
            id_, parent, name, kind, status, started, ended, answered, model, error, cost, source,
            usage, parameters, input_, output, metadata, _, _, _, _, _,
        ) = one  # fmt: skip
        latency = None if ended is None or ended < started else (ended - started) / 1_000
        first_token = (
            None if answered is None or answered < started else (answered - started) / 1_000
        )
        is_skewed = (ended is not None and latency is None) or (
            answered is not None and first_token is None
        )
        yield (
            id_, trace, parent, name, kind, status,
            null if input_ is None else Raw(input_),
            null if output is None else Raw(output),
            model,
            null if usage is None else Raw(usage),
            null if metadata is None else Raw(metadata),
            format_instant(started),
            None if ended is None else format_instant(ended),
            error,
            None if answered is None else format_instant(answered),
            null if parameters is None else Raw(parameters),
            cost, latency, first_token, is_skewed, source,
        )  # fmt: skip


def _spans(trace: Trace) -> list[SpanResponse]:
    return [SpanResponse.from_domain(span, trace_id=trace.id) for span in trace.spans]


class TraceResponse(ResponseStruct[Trace], frozen=True, kw_only=True):
    trace_id: Annotated[UUID, Source("id")]
    project_id: Annotated[UUID, GIVEN]
    name: str
    status: Annotated[TraceStatus, Source("status", is_set=True)]
    input: Raw
    output: Raw
    metadata: wire.JsonObject
    started_at: wire.ResponseInstant
    ended_at: wire.ResponseInstant | None
    session_id: str | None
    user_id: str | None
    tags: list[str]
    environment: str | None
    release: str | None
    spans: Annotated[list[SpanResponse], Source(WHOLE, _spans)]
    clock_skew: Annotated[bool, _TRACE_SKEW]
    total_tokens: Annotated[int, GIVEN]
    total_cost: Annotated[float, GIVEN]
    unpriced_span_count: Annotated[int, GIVEN, UNPRICED]

    @classmethod
    def from_trace(cls, project: ProjectId, trace: Trace, **given: Any) -> Self:
        """`trace` is settled."""
        totals = Totals.from_spans(trace.spans)
        tokens, cost = totals.tokens, as_float(totals.cost)
        return cls.from_domain(
            trace,
            project_id=project,
            total_tokens=tokens,
            total_cost=cost,
            unpriced_span_count=totals.unpriced,
            **given,
        )

    @classmethod
    def from_detail(cls, project: ProjectId, found: TraceDetail) -> Self:
        """The response with the payloads that are shown whole."""
        shown, totals = found.payloads, found.totals
        whole = replace(
            found.trace,
            input=shown.input,
            output=shown.output,
            metadata=EMPTY_OBJECT if shown.metadata is None else shown.metadata,
        )
        response = cls.from_domain(
            whole,
            project_id=project,
            total_tokens=totals.tokens,
            total_cost=as_float(totals.cost),
            unpriced_span_count=totals.unpriced,
        )
        # The response is new: nothing else refers to its list.
        response.spans.extend(span_responses(found.trace.id, found.spans))
        return response


def traces_are_large(traces: Iterable[Trace]) -> bool:
    """Whether writing the responses of the traces takes more than about 10 ms."""
    payload_bytes = spans = 0
    for trace in traces:
        spans += len(trace.spans)
        if spans > RESPONSE_SPANS_ON_LOOP_MAX:
            return True
        owners: list[Trace | Span] = [trace, *trace.spans]
        for one in owners:
            payload_bytes += len(one.input or b"") + len(one.output or b"") + len(one.metadata)
    return payload_bytes > RESPONSE_BYTES_ON_LOOP_MAX


def is_sent_in_parts(found: TraceDetail) -> bool:
    if len(found.spans) > SENT_AT_ONCE_SPANS_MAX:
        return True
    return _payload_bytes([found.payloads, *found.spans]) > SENT_AT_ONCE_BYTES_MAX


def spans_are_large(owners: Iterable[ShownPayloads | ShownSpan]) -> bool:
    """As `traces_are_large`, of some spans as they are shown."""
    return _payload_bytes(owners) > RESPONSE_BYTES_ON_LOOP_MAX


def _payload_bytes(owners: Iterable[ShownPayloads | ShownSpan]) -> int:
    payloads = (part for one in owners for part in (one.input, one.output, one.metadata))
    return sum(len(one or b"") for one in payloads)


class ChangedSpanResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A changed span, for a caller that may not read: its ids, and what the caller wrote.

    The other fields are null or empty, whatever is stored.
    """

    span_id: UUID
    trace_id: UUID
    parent_span_id: UUID | None = None
    name: str | None
    kind: SpanKind | None
    status: SpanStatus | None
    input: Raw
    output: Raw
    model: str | None
    token_usage: wire.OptionalObject
    metadata: wire.JsonObject
    started_at: wire.ResponseInstant | None = None
    ended_at: wire.ResponseInstant | None
    error: str | None
    completion_start_time: wire.ResponseInstant | None
    model_parameters: wire.OptionalObject
    cost: Cost | None
    latency_ms: float | None = None
    time_to_first_token_ms: float | None = None
    clock_skew: bool | None = None
    cost_source: CostSource | None = None

    @classmethod
    def from_change(cls, trace: TraceId, span: SpanId, change: SpanChange) -> Self:
        cost = _written(change.cost)
        return cls(
            span_id=span,
            trace_id=trace,
            name=change.name,
            kind=change.kind,
            status=change.status,
            input=wire.raw_json(_written(change.input)),
            output=wire.raw_json(_written(change.output)),
            model=_written(change.model),
            token_usage=wire.raw_json(_written(change.token_usage)),
            metadata=wire.raw_json(change.metadata),
            ended_at=wire.format_optional_instant(_written(change.ended_at)),
            error=_written(change.error),
            completion_start_time=wire.format_optional_instant(
                _written(change.completion_started_at)
            ),
            model_parameters=wire.raw_json(_written(change.model_parameters)),
            cost=None if cost is None else dict(cost),
        )


class ChangedTraceResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A changed trace, for a caller that may not read: its ids, and what the caller wrote.

    The other fields are null or empty, whatever is stored.
    """

    trace_id: UUID
    project_id: UUID
    name: str | None
    status: TraceStatus | None
    input: Raw
    output: Raw
    metadata: wire.JsonObject
    started_at: wire.ResponseInstant | None = None
    ended_at: wire.ResponseInstant | None
    session_id: str | None
    user_id: str | None
    tags: list[str]
    environment: str | None
    release: str | None
    spans: list[SpanResponse] = []
    clock_skew: bool | None = None
    total_tokens: int | None = None
    total_cost: float | None = None
    unpriced_span_count: int | None = None

    @classmethod
    def from_change(cls, project: ProjectId, trace: TraceId, change: TraceChange) -> Self:
        return cls(
            trace_id=trace,
            project_id=project,
            name=change.name,
            status=change.status,
            input=wire.raw_json(_written(change.input)),
            output=wire.raw_json(_written(change.output)),
            metadata=wire.raw_json(change.metadata),
            ended_at=wire.format_optional_instant(_written(change.ended_at)),
            session_id=_written(change.session_id),
            user_id=_written(change.user_id),
            tags=list(change.tags or ()),
            environment=_written(change.environment),
            release=_written(change.release),
        )


def _written[T](value: Clearable[T]) -> T | None:
    return None if isinstance(value, Unchanged) else value


class ListedScore(ResponseStruct[ScoreBrief], frozen=True, kw_only=True):
    """The newest score of a name. `value` is set if the outcome is `scored`.

    `threshold` is that of its metric, as `threshold` of its metadata, and `passed` whether the
    number reaches it: both are null for scores without one, such as those of people.
    """

    id: UUID
    name: str
    outcome: ScoreOutcome
    value: str | None
    data_type: DataType
    source: ScoreSource
    judge_kind: str | None
    threshold: float | None
    passed: bool | None
    created_at: wire.ResponseInstant


INCLUDED: Final = Meta(description="Only if `include` asks for it")


class SnippetPartResponse(ResponseStruct[search_match.SnippetPart], frozen=True):
    """A part of a text; `is_match` if the query found it."""

    text: str
    is_match: bool


class SearchMatchResponse(ResponseStruct[search_match.SearchMatch], frozen=True, kw_only=True):
    """A text that has a term of the query: in a span, or in the trace itself without `span_id`."""

    span_id: Annotated[UUID | None, Source("span")]
    field: SearchField
    snippet: Annotated[
        list[SnippetPartResponse],
        Meta(
            description=(
                f"The text around it, {search_match.SNIPPET_CHARS_MAX} characters at most, in "
                "parts that follow each other"
            )
        ),
    ]


SEARCH_MATCHES: Final = Meta(
    description=(
        "Only with `query`: where its terms were found first, "
        f"{search_match.MATCHES_MAX} places at most"
    )
)


class TraceListItem(ResponseStruct[TraceSummary], frozen=True, kw_only=True):
    trace_id: Annotated[UUID, Source("id")]
    name: str
    status: TraceStatus
    started_at: wire.ResponseInstant
    ended_at: wire.ResponseInstant | None
    session_id: str | None
    user_id: str | None
    tags: list[str]
    environment: str | None
    release: str | None
    latency_ms: float | None
    clock_skew: Annotated[bool, _TRACE_SKEW]
    has_failed_span: Annotated[bool, _FAILED_SPAN]
    span_count: Annotated[int, Source("totals.spans")]
    total_tokens: Annotated[int, Source("totals.tokens")]
    total_cost: Annotated[wire.Usd, Source("totals.cost")]
    unpriced_span_count: Annotated[int, Source("totals.unpriced"), UNPRICED]
    input_preview: Annotated[str | UnsetType | None, OPTIONAL, INCLUDED] = UNSET
    output_preview: Annotated[str | UnsetType | None, OPTIONAL, INCLUDED] = UNSET
    models: Annotated[list[str] | UnsetType, OPTIONAL, INCLUDED] = UNSET
    error_count: Annotated[int | UnsetType, OPTIONAL, INCLUDED] = UNSET
    scores: Annotated[list[ListedScore] | UnsetType, OPTIONAL, INCLUDED] = UNSET
    matches: Annotated[list[SearchMatchResponse] | UnsetType, OPTIONAL, SEARCH_MATCHES] = UNSET


class SearchState(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the project a search has looked into."""

    indexed_until: Annotated[
        wire.ResponseInstant,
        Meta(
            description=(
                "Everything that was written before is in the index. Later traces are looked into "
                "one by one, and found too"
            )
        ),
    ]
    is_complete: Annotated[
        bool,
        Meta(
            description=(
                "False if a limit ended the page before it was full: follow `next_cursor`, or "
                "search for rarer words. Also if traces with more than 256 MiB of payloads were "
                "left out: search within them"
            )
        ),
    ]


class TracePage(wire.PaginatedResponse[TraceListItem], frozen=True, kw_only=True):
    """A page of traces.

    With `query`, `total` counts the traces of the page, and one more if another page follows.
    """

    search: Annotated[SearchState | UnsetType, Meta(description="Only with `query`")] = UNSET


class FacetValueResponse(ResponseStruct[facet_values.FacetValue], frozen=True, kw_only=True):
    """A value of a field, and how many of the traces have it."""

    value: str
    count: int


class UserSummary(ResponseStruct[analytics.UserSummary], frozen=True):
    """Totals over the traces of one user."""

    user_id: Annotated[str, Source("id")]
    trace_count: int
    first_seen: wire.ResponseInstant
    last_seen: wire.ResponseInstant
    error_count: int


class TraceUpdate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """New values of a trace. `metadata` is merged key by key; `tags` replace the old ones."""

    name: Name | None = None
    status: TraceStatus | None = None
    input: wire.AnyJson | UnsetType = UNSET
    output: wire.AnyJson | UnsetType = UNSET
    metadata: wire.OptionalPlainObject = msgspec.field(default_factory=wire.empty_object)
    ended_at: wire.Instant | UnsetType | None = UNSET
    session_id: Label | UnsetType | None = UNSET
    user_id: Label | UnsetType | None = UNSET
    tags: Tags | None = None
    environment: Label | UnsetType | None = UNSET
    release: Label | UnsetType | None = UNSET

    def to_domain(self, _: HttpConfig) -> TraceChange:
        """Raises ValueError for values that the types alone can't refuse."""
        return TraceChange(
            name=self.name,
            status=self.status,
            tags=None if self.tags is None else tuple(self.tags),
            metadata=wire.optional_object(self.metadata) or EMPTY_OBJECT,
            input=_clearable(self.input, wire.optional_json),
            output=_clearable(self.output, wire.optional_json),
            ended_at=_clearable(self.ended_at, parse_instant),
            session_id=_clearable(self.session_id),
            user_id=_clearable(self.user_id),
            environment=_clearable(self.environment),
            release=_clearable(self.release),
        )


class SpanUpdate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """New values of a span. `metadata` is merged key by key."""

    name: Name | None = None
    kind: SpanKind | None = None
    status: SpanStatus | None = None
    input: wire.AnyJson | UnsetType = UNSET
    output: wire.AnyJson | UnsetType = UNSET
    model: Label | UnsetType | None = UNSET
    token_usage: wire.TokenUsage | UnsetType = UNSET
    metadata: wire.OptionalPlainObject = msgspec.field(default_factory=wire.empty_object)
    ended_at: wire.Instant | UnsetType | None = UNSET
    error: str | UnsetType | None = UNSET
    completion_start_time: wire.Instant | UnsetType | None = UNSET
    model_parameters: wire.OptionalObject | UnsetType = UNSET
    cost: NewCost | UnsetType | None = UNSET

    def to_domain(self, _: HttpConfig) -> SpanChange:
        """Raises ValueError for values that the types alone can't refuse."""
        return SpanChange(
            name=self.name,
            kind=self.kind,
            status=self.status,
            metadata=wire.optional_object(self.metadata) or EMPTY_OBJECT,
            input=_clearable(self.input, wire.optional_json),
            output=_clearable(self.output, wire.optional_json),
            model=_clearable(self.model),
            token_usage=_clearable(self.token_usage, wire.token_usage),
            ended_at=_clearable(self.ended_at, parse_instant),
            error=_clearable(self.error),
            completion_started_at=_clearable(self.completion_start_time, parse_instant),
            model_parameters=_clearable(self.model_parameters, wire.optional_object),
            cost=_clearable(self.cost),
        )


def _clearable[T](
    value: Any, convert: Callable[[Any], T | None] = lambda given: given
) -> Clearable[T]:
    if value is UNSET:
        return UNCHANGED
    return None if value is None else convert(value)


type TraceIds = Annotated[list[TraceId], Meta(min_length=1, max_length=EDITED_TRACES_MAX)]


class BatchDeleteRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The traces to delete; ids of unknown traces are ignored."""

    trace_ids: TraceIds


class BatchDeleteResponse(msgspec.Struct, frozen=True):
    """How many traces were deleted."""

    deleted: int


class BatchTagsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tags are removed first and added then: a tag in both lists is present in the end."""

    trace_ids: TraceIds
    add_tags: Tags = []
    remove_tags: Tags = []


class BatchTagsResponse(msgspec.Struct, frozen=True):
    """How many of the traces exist, changed or not."""

    updated: int


# --- queries ------------------------------------------------------------------------------------

type _MetadataValues = dict[str, Annotated[list[str], Meta(max_length=METADATA_VALUES_MAX)]]
type GivenMetadata = Annotated[_MetadataValues, Meta(max_length=METADATA_KEYS_MAX)]
type MetadataConditions = Annotated[
    _MetadataValues,
    Meta(
        max_length=METADATA_KEYS_MAX,
        extra_json_schema={
            "patternProperties": {r"^metadata\.": {"type": "string"}},
            "additionalProperties": False,
        },
        description=(
            "`metadata.<key>=<value>`: the top-level key of the metadata, which is everything "
            "after the first dot, equals this string, or the number, boolean or null with this "
            "JSON text. A key that is given several times may equal any of the values. At most "
            f"{METADATA_KEYS_MAX} keys"
        ),
    ),
]
type MetadataExclusions = Annotated[
    _MetadataValues,
    Meta(
        max_length=METADATA_KEYS_MAX,
        extra_json_schema={
            "patternProperties": {r"^not_metadata\.": {"type": "string"}},
            "additionalProperties": False,
        },
        description=(
            "`not_metadata.<key>=<value>`: excludes what `metadata.<key>=<value>` selects; several "
            f"times to exclude several values. At most {METADATA_KEYS_MAX} keys"
        ),
    ),
]


class TraceFilters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The filters of `GET /traces` in a body.

    `metadata` and `not_metadata` map each key to its values.
    """

    session_id: str | None = None
    user_id: str | None = None
    environment: str | None = None
    release: str | None = None
    status: TraceStatus | None = None
    tags: Tags | None = None
    name: str | None = None
    started_after: wire.FilterDate | None = None
    started_before: wire.FilterDate | None = None
    model: str | None = None
    min_latency_ms: float | None = None
    max_latency_ms: float | None = None
    has_error: bool | None = None
    has_failed_span: bool | None = None
    metadata: GivenMetadata | None = None
    environments: Several | None = None
    statuses: SeveralStatuses | None = None
    names: Several | None = None
    tags_all: Tags | None = None
    min_cost: LeastCost | None = None
    min_tokens: TokenBound | None = None
    min_span_count: SpanBound | None = None
    score: str | None = None
    score_min: ScoreBound | None = None
    score_max: ScoreBound | None = None
    score_outcome: ScoredOutcome | None = None
    span_kind: SpanKind | None = None
    span_name: str | None = None
    not_session_id: Excluded | None = None
    not_user_id: Excluded | None = None
    not_environment: Excluded | None = None
    not_release: Excluded | None = None
    not_status: SeveralStatuses | None = None
    not_tags: Excluded | None = None
    not_name: Excluded | None = None
    not_model: Excluded | None = None
    not_score: Excluded | None = None
    not_span_kind: SeveralKinds | None = None
    not_span_name: Excluded | None = None
    not_metadata: GivenMetadata | None = None

    @classmethod
    def field_errors(cls, fields: Mapping[str, Any]) -> Iterator[FieldError]:
        """Keys of other objects may contain U+0000; no stored text that is compared does.

        Conditions on scores need its name, and have to go together.
        """
        for name in ("metadata", "not_metadata"):
            if any("\0" in key for key in fields.get(name) or ()):
                yield FieldError(name, f"a key {NUL_MESSAGE}")
        yield from score_errors(fields)


def none_of(what: str) -> Meta:
    return Meta(description=f"Has none of these {what}")


class TraceMatching(msgspec.Struct, frozen=True, kw_only=True):
    """Which traces. All conditions have to hold."""

    session_id: Annotated[str, Meta(description="Exactly this session")] | None = None
    user_id: Annotated[str, Meta(description="Exactly this user")] | None = None
    environment: Annotated[str, Meta(description="Exactly this environment")] | None = None
    release: Annotated[str, Meta(description="Exactly this release")] | None = None
    status: Annotated[TraceStatus, Meta(description="Exactly this status")] | None = None
    tags: Annotated[Tags, Meta(description="Has any of these tags")] | None = None
    name: Annotated[str, Meta(description="The name contains this text, in any case")] | None = None
    started_after: (
        Annotated[wire.QueryInstant, Meta(description="Started then or later")] | None
    ) = None
    started_before: Annotated[wire.QueryEnd, Meta(description="Started earlier")] | None = None
    model: Annotated[str, Meta(description="Has a span with exactly this model")] | None = None
    min_latency_ms: (
        Annotated[float, Meta(description="Has ended, and took at least this long")] | None
    ) = None
    max_latency_ms: (
        Annotated[float, Meta(description="Has ended, and took at most this long")] | None
    ) = None
    has_error: (
        Annotated[
            bool, Meta(description="Whether the trace or one of its spans has the status ERROR")
        ]
        | None
    ) = None
    has_failed_span: (
        Annotated[bool, Meta(description="Whether one of its spans has the status ERROR")] | None
    ) = None
    metadata: MetadataConditions = msgspec.field(default_factory=dict)
    environments: Annotated[Several, Meta(description="Has one of these environments")] | None = (
        None
    )
    statuses: Annotated[SeveralStatuses, Meta(description="Has one of these statuses")] | None = (
        None
    )
    names: Annotated[Several, Meta(description="Has exactly one of these names")] | None = None
    tags_all: Annotated[Tags, Meta(description="Has all of these tags")] | None = None
    min_cost: (
        Annotated[LeastCost, Meta(description="What is known of its cost is at least as many USD")]
        | None
    ) = None
    min_tokens: (
        Annotated[TokenBound, Meta(description="At least as many tokens, prompt and completion")]
        | None
    ) = None
    min_span_count: Annotated[SpanBound, Meta(description="At least as many spans")] | None = None
    score: (
        Annotated[
            str,
            Meta(
                description=(
                    "Has a score of exactly this name, with a value. Its newest one counts, as "
                    "`include=scores` shows it: of those of runs, or of all others"
                )
            ),
        ]
        | None
    ) = None
    score_min: (
        Annotated[ScoreBound, Meta(description="The number of that score is at least this")] | None
    ) = None
    score_max: (
        Annotated[ScoreBound, Meta(description="The number of that score is at most this")] | None
    ) = None
    score_outcome: (
        Annotated[
            ScoredOutcome,
            Meta(description="The newest evaluation under that name came out like this"),
        ]
        | None
    ) = None
    span_kind: Annotated[SpanKind, Meta(description="Has a span of this kind")] | None = None
    span_name: (
        Annotated[
            str,
            Meta(
                description=(
                    "Has a span with exactly this name, such as that of a tool; with `span_kind`, "
                    "one span has both"
                )
            ),
        ]
        | None
    ) = None
    not_session_id: Annotated[Excluded, none_of("sessions")] | None = None
    not_user_id: Annotated[Excluded, none_of("users")] | None = None
    not_environment: Annotated[Excluded, none_of("environments")] | None = None
    not_release: Annotated[Excluded, none_of("releases")] | None = None
    not_status: Annotated[SeveralStatuses, none_of("statuses")] | None = None
    not_tags: Annotated[Excluded, none_of("tags")] | None = None
    not_name: (
        Annotated[Excluded, Meta(description="The name contains none of these texts, in any case")]
        | None
    ) = None
    not_model: (
        Annotated[Excluded, Meta(description="Has no span with one of these models")] | None
    ) = None
    not_score: (
        Annotated[Excluded, Meta(description="Has no score with one of these names and a value")]
        | None
    ) = None
    not_span_kind: (
        Annotated[SeveralKinds, Meta(description="Has no span of one of these kinds")] | None
    ) = None
    not_span_name: (
        Annotated[Excluded, Meta(description="Has no span with one of these names")] | None
    ) = None
    not_metadata: MetadataExclusions = msgspec.field(default_factory=dict)

    @classmethod
    def field_errors(cls, fields: Mapping[str, Any]) -> Iterator[FieldError]:
        """Conditions on scores need its name, and have to go together."""
        return score_errors(fields)

    def to_domain(self) -> TraceFilter:
        return trace_filter(self)


_MemberKey = Annotated[
    str,
    Meta(
        max_length=MEMBER_KEY_CHARS_MAX,
        description="The key of the metadata, for `metadata_value` only",
    ),
]


class FacetQuery(TraceMatching, frozen=True, kw_only=True):
    """Which values, and conditions as those of `GET /traces`."""

    field: Annotated[
        FacetField,
        Meta(description="The field whose values are returned", examples=["environment"]),
    ]
    key: _MemberKey | None = None
    prefix: Annotated[
        str,
        Meta(
            max_length=LABEL_CHARS_MAX,
            description="Only values that begin with this text, in the same case",
        ),
    ] = ""
    limit: Annotated[
        int, Meta(ge=1, le=FACET_LIMIT_MAX, description="How many values to return")
    ] = FACET_LIMIT_DEFAULT

    @classmethod
    def field_errors(cls, fields: Mapping[str, Any]) -> Iterator[FieldError]:
        yield from TraceMatching.field_errors(fields)
        needs_key = fields.get("field") is FacetField.METADATA_VALUE
        if {"field", "key"} <= fields.keys() and (fields["key"] is None) is needs_key:
            yield FieldError("key", "is required for metadata_value, and for it only")


class TraceConditions(TraceMatching, frozen=True, kw_only=True):
    """Which traces, and in which order."""

    sort_by: Annotated[TraceSort, Meta(description="The sort key; ties are sorted by id")] = (
        TraceSort.STARTED_AT
    )
    sort_order: Annotated[SortOrder, Meta(description=cursors.SORT_ORDER_DESCRIPTION)] = (
        SortOrder.DESC
    )


class Included(StrEnum):
    """What a list of traces shows beyond the traces themselves."""

    PREVIEW = "preview"
    SCORES = "scores"
    MODELS = "models"
    ERRORS = "errors"


def some_of(included: type[StrEnum], example: str, description: str) -> Meta:
    """Describes a parameter `include`: some of the members, separated by commas."""

    def check(text: str) -> None:
        if not set(text.split(",")) <= set(included):
            raise InvalidValue(f"must be some of {', '.join(included)}, separated by commas")

    return Meta(
        extra={"check": check},
        extra_json_schema={"pattern": f"^({'|'.join(included)})(,({'|'.join(included)}))*$"},
        examples=[example],
        description=description,
    )


type Include = Annotated[
    str,
    some_of(
        Included,
        "preview,errors",
        (
            "What else each trace shows, separated by commas. `preview`: `input_preview` and "
            f"`output_preview`, the last words of the user and of the agent, {PREVIEW_CHARS_MAX} "
            "characters at most; `scores`: the newest score of each name, "
            f"{BRIEF_SCORES_MAX} at most; `models`; `errors`: `error_count`, the number of spans "
            "that failed"
        ),
    ),
]


class TraceQuery(TraceConditions, frozen=True, kw_only=True):
    """A page of traces, with the fields of `PageQuery`."""

    query: (
        Annotated[
            str,
            Meta(
                max_length=QUERY_CHARS_MAX,
                extra={"check": check_search_text},
                description=(
                    "All of these words occur in the names, inputs, outputs or errors of the trace "
                    'or its spans. `"several words"` follow each other, `begin*` is the beginning '
                    "of a word. Only with the newest traces first, and without `offset`"
                ),
                examples=['refund "tracking number" deliver*'],
            ),
        ]
        | None
    ) = None
    include: Include | None = None
    limit: cursors.PageLimit = LIMIT_DEFAULT
    offset: cursors.PageOffset = 0
    cursor: cursors.Cursor | None = None

    @classmethod
    def field_errors(cls, fields: Mapping[str, Any]) -> Iterator[FieldError]:
        yield from super().field_errors(fields)
        yield from search_errors(fields)
        yield from cursors.page_errors(fields)

    @property
    def included(self) -> frozenset[str]:
        return frozenset(self.include.split(",")) if self.include else frozenset()


def sorted_unique(values: list[str] | None) -> tuple[str, ...]:
    """A canonical order, so that equal queries have equal cursors."""
    return tuple(sorted(set(values))) if values else ()


def trace_filter(conditions: TraceFilters | TraceMatching, **fields: Any) -> TraceFilter:
    """The filter with the fields of `conditions`, unless `fields` replace them."""
    shared = wire.shared_fields(conditions, TraceFilter) | fields
    return TraceFilter(
        **{name: _canonical(value) for name, value in shared.items() if value is not None}
    )


def given_filter(given: TraceFilters) -> TraceFilter:
    """The filter of a body. Raises ValueError for an invalid instant."""
    return trace_filter(
        given,
        started_after=parse_optional_instant(given.started_after),
        started_before=parse_optional_instant(given.started_before),
    )


def _canonical(value: Any) -> Any:
    match value:
        case list():
            return sorted_unique(value)
        case dict():
            return tuple((key, sorted_unique(value[key])) for key in sorted(value))
        case _:
            return value


TRACES: Final = cursors.PagedList(
    "traces",
    {
        TraceSort.STARTED_AT: cursors.INSTANT,
        TraceSort.ENDED_AT: cursors.nullable(cursors.INSTANT),
        TraceSort.NAME: cursors.TEXT,
        TraceSort.LATENCY: cursors.nullable(cursors.INTEGER),
        TraceSort.STATUS: cursors.enum_position(TraceStatus),
        TraceSort.COST: cursors.AMOUNT,
        TraceSort.TOKENS: cursors.SUM,
        TraceSort.SPAN_COUNT: cursors.INTEGER,
    },
    cursors.ID,
)
USERS: Final = cursors.PagedList("users", {None: cursors.INSTANT}, cursors.TEXT)


# --- examples of responses ----------------------------------------------------------------------


def example(response: msgspec.Struct) -> Any:
    return msgspec.json.decode(msgspec.json.encode(response))


# The responses for the trace of `examples`, with defaults for the fields that it omits.
EXAMPLE_TRACE: Final = (
    msgspec.json.decode(msgspec.json.encode(examples.TRACE), type=TraceCreate)
    .to_domain(HttpConfig(version="", environment=""))
    .settled(lambda *_: None)
)
TRACE_RESPONSE: Final = example(TraceResponse.from_trace(examples.PROJECT_ID, EXAMPLE_TRACE))
SPAN_RESPONSE: Final = TRACE_RESPONSE["spans"][0]
TRACE_ITEM: Final = example(TraceListItem.from_domain(TraceSummary.from_trace(EXAMPLE_TRACE)))
