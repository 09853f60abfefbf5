"""Wire schemas of traces and spans: creation, changes and responses.

In a change, a key that is left out changes nothing. Null clears optional fields, and changes
nothing elsewhere.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final, Self
from uuid import UUID, uuid4

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from application.tracing.edit import EDITED_TRACES_MAX
from domain.ids import ProjectId, SpanId, TraceId
from domain.tracing import analytics
from domain.tracing.change import UNCHANGED, Clearable
from domain.tracing.payload import EMPTY_OBJECT
from domain.tracing.span import Span, SpanChange, SpanKind, SpanStatus, Totals
from domain.tracing.trace import Trace, TraceChange, TraceStatus, TraceSummary
from domain.tracing.usage import CostSource, as_float
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.traces import examples
from entrypoints.http.requests.scalar_types import parse_instant
from entrypoints.http.requests.wire_types import (
    AnyJson,
    Instant,
    JsonObject,
    OptionalObject,
    OptionalPlainObject,
    PlainObject,
    ResponseInstant,
    Usd,
    empty_object,
    max_items_from,
    null,
    optional_json,
    optional_object,
    require_object,
    unset_to_none,
)
from entrypoints.http.response_structs import GIVEN, WHOLE, ResponseStruct, Source

NAME_CHARS_MAX: Final = 512
LABEL_CHARS_MAX: Final = 255  # of ids, labels and tags: they fit into an index entry
TAGS_MAX: Final = 100
TOO_MANY_SPANS: Final = "too many spans"

type Name = Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]
type Label = Annotated[str, Meta(max_length=LABEL_CHARS_MAX)]
type Tags = Annotated[list[Label], Meta(max_length=TAGS_MAX)]
type Cost = Annotated[
    dict[str, float],
    Meta(description="USD by part. The cost is `total`, else `total_cost`, else the sum of all."),
]


class TracePath(msgspec.Struct, frozen=True):
    trace_id: Annotated[TraceId, Meta(description="The trace's id", examples=[examples.TRACE_ID])]


class SpanCreate(msgspec.Struct, frozen=True, kw_only=True):
    """A span as clients send it. Unknown keys are ignored."""

    span_id: UUID | UnsetType = UNSET
    parent_span_id: UUID | None = None
    name: Name
    kind: SpanKind | UnsetType = UNSET
    status: SpanStatus | UnsetType = UNSET
    input: AnyJson = msgspec.field(default_factory=null)
    output: AnyJson = msgspec.field(default_factory=null)
    model: Label | None = None
    token_usage: OptionalObject = msgspec.field(default_factory=null)
    metadata: PlainObject = msgspec.field(default_factory=empty_object)
    started_at: Instant
    ended_at: Instant | None = None
    error: str | None = None
    completion_start_time: Instant | None = None
    model_parameters: OptionalObject = msgspec.field(default_factory=null)
    cost: Cost | None = None

    def to_domain(self) -> Span:
        """Raises ValueError for values that the types alone can't refuse."""
        ended, completion = self.ended_at, self.completion_start_time
        return Span(
            id=SpanId(uuid4() if self.span_id is UNSET else self.span_id),
            name=self.name,
            started_at=parse_instant(self.started_at),
            parent_id=None if self.parent_span_id is None else SpanId(self.parent_span_id),
            kind=unset_to_none(self.kind),
            status=unset_to_none(self.status),
            ended_at=None if ended is None else parse_instant(ended),
            completion_started_at=None if completion is None else parse_instant(completion),
            error=self.error,
            model=self.model,
            input=optional_json(self.input),
            output=optional_json(self.output),
            metadata=require_object(self.metadata),
            token_usage=optional_object(self.token_usage),
            model_parameters=optional_object(self.model_parameters),
            cost=self.cost,
        )


class TraceCreate(msgspec.Struct, frozen=True, kw_only=True):
    """A trace as clients send it. Unknown keys are ignored."""

    trace_id: UUID | UnsetType = UNSET
    name: Name
    status: TraceStatus | UnsetType = UNSET
    input: AnyJson = msgspec.field(default_factory=null)
    output: AnyJson = msgspec.field(default_factory=null)
    metadata: PlainObject = msgspec.field(default_factory=empty_object)
    started_at: Instant
    ended_at: Instant | None = None
    session_id: Label | None = None
    user_id: Label | None = None
    tags: Tags = []
    environment: Label | None = None
    release: Label | None = None
    spans: Annotated[list[SpanCreate], max_items_from("max_spans")] = []

    def to_domain(self, config: HttpConfig) -> Trace:
        """Raises ValueError for values that the types alone can't refuse."""
        ended = self.ended_at
        return Trace(
            id=TraceId(uuid4() if self.trace_id is UNSET else self.trace_id),
            name=self.name,
            started_at=parse_instant(self.started_at),
            status=unset_to_none(self.status),
            ended_at=None if ended is None else parse_instant(ended),
            session_id=self.session_id,
            user_id=self.user_id,
            environment=self.environment,
            release=self.release,
            input=optional_json(self.input),
            output=optional_json(self.output),
            metadata=require_object(self.metadata),
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


def _shown_cost(span: Span) -> dict[str, float] | None:
    """The cost by the price table, or that of the client."""
    charge = span.charge
    if charge is not None and charge.source is CostSource.TABLE:
        return {"total": as_float(charge.amount)}
    return None if span.cost is None else dict(span.cost)


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
    token_usage: OptionalObject
    metadata: JsonObject
    started_at: ResponseInstant
    ended_at: ResponseInstant | None
    error: str | None
    completion_start_time: Annotated[ResponseInstant | None, Source("completion_started_at")]
    model_parameters: OptionalObject
    cost: Annotated[Cost | None, Source(WHOLE, _shown_cost)]
    latency_ms: float | None
    time_to_first_token_ms: float | None
    cost_source: Annotated[CostSource, Source("charge.source", is_set=True)]


def _spans(trace: Trace) -> list[SpanResponse]:
    return [SpanResponse.from_domain(span, trace_id=trace.id) for span in trace.spans]


class TraceResponse(ResponseStruct[Trace], frozen=True, kw_only=True):
    trace_id: Annotated[UUID, Source("id")]
    project_id: Annotated[UUID, GIVEN]
    name: str
    status: Annotated[TraceStatus, Source("status", is_set=True)]
    input: Raw
    output: Raw
    metadata: JsonObject
    started_at: ResponseInstant
    ended_at: ResponseInstant | None
    session_id: str | None
    user_id: str | None
    tags: list[str]
    environment: str | None
    release: str | None
    spans: Annotated[list[SpanResponse], Source(WHOLE, _spans)]
    total_tokens: Annotated[int, GIVEN]
    total_cost: Annotated[float, GIVEN]

    @classmethod
    def from_trace(cls, project: ProjectId, trace: Trace, **given: Any) -> Self:
        """`trace` is settled."""
        totals = Totals.from_spans(trace.spans)
        tokens, cost = totals.tokens, as_float(totals.cost)
        return cls.from_domain(
            trace, project_id=project, total_tokens=tokens, total_cost=cost, **given
        )


class TraceListItem(ResponseStruct[TraceSummary], frozen=True, kw_only=True):
    trace_id: Annotated[UUID, Source("id")]
    name: str
    status: TraceStatus
    started_at: ResponseInstant
    ended_at: ResponseInstant | None
    session_id: str | None
    user_id: str | None
    tags: list[str]
    environment: str | None
    release: str | None
    latency_ms: float | None
    span_count: Annotated[int, Source("totals.spans")]
    total_tokens: Annotated[int, Source("totals.tokens")]
    total_cost: Annotated[Usd, Source("totals.cost")]


class UserSummary(ResponseStruct[analytics.UserSummary], frozen=True):
    """Totals over the traces of one user."""

    user_id: Annotated[str, Source("id")]
    trace_count: int
    first_seen: ResponseInstant
    last_seen: ResponseInstant
    error_count: int


class TraceUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """New values of a trace. `metadata` is merged key by key; `tags` replace the old ones."""

    name: Name | None = None
    status: TraceStatus | None = None
    input: AnyJson | UnsetType = UNSET
    output: AnyJson | UnsetType = UNSET
    metadata: OptionalPlainObject = msgspec.field(default_factory=empty_object)
    ended_at: Instant | UnsetType | None = UNSET
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
            metadata=optional_object(self.metadata) or EMPTY_OBJECT,
            input=_clearable(self.input, optional_json),
            output=_clearable(self.output, optional_json),
            ended_at=_clearable(self.ended_at, parse_instant),
            session_id=_clearable(self.session_id),
            user_id=_clearable(self.user_id),
            environment=_clearable(self.environment),
            release=_clearable(self.release),
        )


class SpanUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """New values of a span. `metadata` is merged key by key."""

    name: Name | None = None
    kind: SpanKind | None = None
    status: SpanStatus | None = None
    input: AnyJson | UnsetType = UNSET
    output: AnyJson | UnsetType = UNSET
    model: Label | UnsetType | None = UNSET
    token_usage: OptionalObject | UnsetType = UNSET
    metadata: OptionalPlainObject = msgspec.field(default_factory=empty_object)
    ended_at: Instant | UnsetType | None = UNSET
    error: str | UnsetType | None = UNSET
    completion_start_time: Instant | UnsetType | None = UNSET
    model_parameters: OptionalObject | UnsetType = UNSET
    cost: Cost | UnsetType | None = UNSET

    def to_domain(self, _: HttpConfig) -> SpanChange:
        """Raises ValueError for values that the types alone can't refuse."""
        return SpanChange(
            name=self.name,
            kind=self.kind,
            status=self.status,
            metadata=optional_object(self.metadata) or EMPTY_OBJECT,
            input=_clearable(self.input, optional_json),
            output=_clearable(self.output, optional_json),
            model=_clearable(self.model),
            token_usage=_clearable(self.token_usage, optional_object),
            ended_at=_clearable(self.ended_at, parse_instant),
            error=_clearable(self.error),
            completion_started_at=_clearable(self.completion_start_time, parse_instant),
            model_parameters=_clearable(self.model_parameters, optional_object),
            cost=_clearable(self.cost),
        )


def _clearable[T](
    value: Any, convert: Callable[[Any], T | None] = lambda given: given
) -> Clearable[T]:
    if value is UNSET:
        return UNCHANGED
    return None if value is None else convert(value)


type TraceIds = Annotated[list[TraceId], Meta(min_length=1, max_length=EDITED_TRACES_MAX)]


class BatchDeleteRequest(msgspec.Struct, frozen=True):
    """The traces to delete; ids of unknown traces are ignored."""

    trace_ids: TraceIds


class BatchDeleteResponse(msgspec.Struct, frozen=True):
    """How many traces were deleted."""

    deleted: int


class BatchTagsRequest(msgspec.Struct, frozen=True):
    """Tags are removed first and added then: a tag in both lists is present in the end."""

    trace_ids: TraceIds
    add_tags: Tags = []
    remove_tags: Tags = []


class BatchTagsResponse(msgspec.Struct, frozen=True):
    """How many of the traces exist, changed or not."""

    updated: int


# --- examples of responses ----------------------------------------------------------------------


def _example(response: msgspec.Struct) -> Any:
    return msgspec.json.decode(msgspec.json.encode(response))


# The responses for the trace of `examples`, with defaults for the fields that it omits.
_TRACE: Final = (
    msgspec.json.decode(msgspec.json.encode(examples.TRACE), type=TraceCreate)
    .to_domain(HttpConfig(version="", environment=""))
    .settled(lambda *_: None)
)
TRACE_RESPONSE: Final = _example(TraceResponse.from_trace(examples.PROJECT_ID, _TRACE))
SPAN_RESPONSE: Final = TRACE_RESPONSE["spans"][0]
TRACE_ITEM: Final = _example(TraceListItem.from_domain(TraceSummary.of(_TRACE)))
