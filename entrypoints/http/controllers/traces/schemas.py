"""Traces and spans on the wire: as they come in, as they are changed, and as they are shown.

In a change a key that is left out changes nothing. Null clears what may be empty, and changes
nothing else.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Self
from uuid import UUID, uuid4

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from domain.ids import ProjectId, SpanId, TraceId
from domain.tracing.change import UNCHANGED, Clearable
from domain.tracing.payload import EMPTY_OBJECT, JsonText
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
    ShownInstant,
    capped,
    empty_object,
    instant,
    null,
    object_of,
    optional_instant,
    optional_object_of,
    payload,
    raw,
    said,
)

NAME_MAX: Final = 512  # characters
WORD_MAX: Final = 255  # characters of ids, labels and tags: what an index entry holds with ease
TAGS_MAX: Final = 100
TOO_MANY_SPANS: Final = "too many spans"

type Name = Annotated[str, Meta(min_length=1, max_length=NAME_MAX)]
type Word = Annotated[str, Meta(max_length=WORD_MAX)]
type Tags = Annotated[list[Word], Meta(max_length=TAGS_MAX)]
type Cost = Annotated[
    dict[str, float],
    Meta(description="USD by part. `total`, else `total_cost`, else their sum is the cost."),
]


class TracePath(msgspec.Struct, frozen=True):
    trace_id: Annotated[UUID, Meta(description="The trace's id", examples=[examples.TRACE_ID])]


class SpanCreate(msgspec.Struct, frozen=True, kw_only=True):
    """A span as clients send it. Keys that aren't listed are ignored."""

    span_id: UUID | UnsetType = UNSET
    parent_span_id: UUID | None = None
    name: Name
    kind: SpanKind | UnsetType = UNSET
    status: SpanStatus | UnsetType = UNSET
    input: AnyJson = msgspec.field(default_factory=null)
    output: AnyJson = msgspec.field(default_factory=null)
    model: Word | None = None
    token_usage: OptionalObject = msgspec.field(default_factory=null)
    metadata: PlainObject = msgspec.field(default_factory=empty_object)
    started_at: Instant
    ended_at: Instant | None = None
    error: str | None = None
    completion_start_time: Instant | None = None
    model_parameters: OptionalObject = msgspec.field(default_factory=null)
    cost: Cost | None = None

    def to_domain(self) -> Span:
        """Raises ValueError for what the types alone can't refuse."""
        ended, completion = self.ended_at, self.completion_start_time
        return Span(
            id=SpanId(uuid4() if self.span_id is UNSET else self.span_id),
            name=self.name,
            started_at=parse_instant(self.started_at),
            parent_id=None if self.parent_span_id is None else SpanId(self.parent_span_id),
            kind=said(self.kind),
            status=said(self.status),
            ended_at=None if ended is None else parse_instant(ended),
            completion_started_at=None if completion is None else parse_instant(completion),
            error=self.error,
            model=self.model,
            input=payload(self.input),
            output=payload(self.output),
            metadata=object_of(self.metadata),
            token_usage=optional_object_of(self.token_usage),
            model_parameters=optional_object_of(self.model_parameters),
            cost=self.cost,
        )


class TraceCreate(msgspec.Struct, frozen=True, kw_only=True):
    """A trace as clients send it. Keys that aren't listed are ignored."""

    trace_id: UUID | UnsetType = UNSET
    name: Name
    status: TraceStatus | UnsetType = UNSET
    input: AnyJson = msgspec.field(default_factory=null)
    output: AnyJson = msgspec.field(default_factory=null)
    metadata: PlainObject = msgspec.field(default_factory=empty_object)
    started_at: Instant
    ended_at: Instant | None = None
    session_id: Word | None = None
    user_id: Word | None = None
    tags: Tags = []
    environment: Word | None = None
    release: Word | None = None
    spans: Annotated[list[SpanCreate], capped("max_spans")] = []

    def to_domain(self, config: HttpConfig) -> Trace:
        """Raises ValueError for what the types alone can't refuse."""
        ended = self.ended_at
        return Trace(
            id=TraceId(uuid4() if self.trace_id is UNSET else self.trace_id),
            name=self.name,
            started_at=parse_instant(self.started_at),
            status=said(self.status),
            ended_at=None if ended is None else parse_instant(ended),
            session_id=self.session_id,
            user_id=self.user_id,
            environment=self.environment,
            release=self.release,
            input=payload(self.input),
            output=payload(self.output),
            metadata=object_of(self.metadata),
            tags=tuple(self.tags),
            spans=spans_of(self.spans, config),
        )


def spans_of(spans: list[SpanCreate], config: HttpConfig) -> tuple[Span, ...]:
    """Raises ValueError where there are too many, or one can't be."""
    if len(spans) > config.max_spans:
        raise ValueError(TOO_MANY_SPANS)
    return tuple([span.to_domain() for span in spans])


class TraceUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """New values of a trace. `metadata` is merged, a key at a time; `tags` replace the old ones."""

    name: Name | None = None
    status: TraceStatus | None = None
    input: AnyJson | UnsetType = UNSET
    output: AnyJson | UnsetType = UNSET
    metadata: OptionalPlainObject = msgspec.field(default_factory=empty_object)
    ended_at: Instant | UnsetType | None = UNSET
    session_id: Word | UnsetType | None = UNSET
    user_id: Word | UnsetType | None = UNSET
    tags: Tags | None = None
    environment: Word | UnsetType | None = UNSET
    release: Word | UnsetType | None = UNSET

    def to_domain(self, _: HttpConfig) -> TraceChange:
        """Raises ValueError for what the types alone can't refuse."""
        return TraceChange(
            name=self.name,
            status=self.status,
            tags=None if self.tags is None else tuple(self.tags),
            metadata=optional_object_of(self.metadata) or EMPTY_OBJECT,
            input=_clearable_payload(self.input),
            output=_clearable_payload(self.output),
            ended_at=_clearable_instant(self.ended_at),
            session_id=_clearable(self.session_id),
            user_id=_clearable(self.user_id),
            environment=_clearable(self.environment),
            release=_clearable(self.release),
        )


class SpanUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """New values of a span. `metadata` is merged, a key at a time."""

    name: Name | None = None
    kind: SpanKind | None = None
    status: SpanStatus | None = None
    input: AnyJson | UnsetType = UNSET
    output: AnyJson | UnsetType = UNSET
    model: Word | UnsetType | None = UNSET
    token_usage: OptionalObject | UnsetType = UNSET
    metadata: OptionalPlainObject = msgspec.field(default_factory=empty_object)
    ended_at: Instant | UnsetType | None = UNSET
    error: str | UnsetType | None = UNSET
    completion_start_time: Instant | UnsetType | None = UNSET
    model_parameters: OptionalObject | UnsetType = UNSET
    cost: Cost | UnsetType | None = UNSET

    def to_domain(self, _: HttpConfig) -> SpanChange:
        """Raises ValueError for what the types alone can't refuse."""
        return SpanChange(
            name=self.name,
            kind=self.kind,
            status=self.status,
            metadata=optional_object_of(self.metadata) or EMPTY_OBJECT,
            input=_clearable_payload(self.input),
            output=_clearable_payload(self.output),
            model=_clearable(self.model),
            token_usage=_clearable_object(self.token_usage),
            ended_at=_clearable_instant(self.ended_at),
            error=_clearable(self.error),
            completion_started_at=_clearable_instant(self.completion_start_time),
            model_parameters=_clearable_object(self.model_parameters),
            cost=_clearable(self.cost),
        )


def _clearable[T](value: T | UnsetType | None) -> Clearable[T]:
    return UNCHANGED if value is UNSET else value


def _clearable_instant(value: str | float | UnsetType | None) -> Clearable[datetime]:
    if value is UNSET:
        return UNCHANGED
    return None if value is None else parse_instant(value)


def _clearable_payload(value: Raw | UnsetType) -> Clearable[JsonText]:
    return UNCHANGED if value is UNSET else payload(value)


def _clearable_object(value: Raw | UnsetType) -> Clearable[JsonText]:
    return UNCHANGED if value is UNSET else optional_object_of(value)


class TraceAccepted(msgspec.Struct, frozen=True):
    """`task_id` is a receipt; the trace itself is stored already."""

    trace_id: UUID
    task_id: UUID


class SpansAccepted(msgspec.Struct, frozen=True):
    """The ids of the spans in the order of the request."""

    span_ids: list[UUID]


class SpanResponse(msgspec.Struct, frozen=True, kw_only=True):
    span_id: UUID
    trace_id: UUID
    parent_span_id: UUID | None
    name: str
    kind: SpanKind
    status: SpanStatus
    input: Raw
    output: Raw
    model: str | None
    token_usage: OptionalObject
    metadata: JsonObject
    started_at: ShownInstant
    ended_at: ShownInstant | None
    error: str | None
    completion_start_time: ShownInstant | None
    model_parameters: OptionalObject
    cost: Cost | None
    latency_ms: float | None
    time_to_first_token_ms: float | None
    cost_source: CostSource

    @classmethod
    def of(cls, trace: TraceId, span: Span) -> Self:
        """`span` is settled."""
        charge = span.charge
        assert span.kind is not None
        assert span.status is not None
        assert charge is not None
        priced = charge.source is CostSource.TABLE
        said_cost = None if span.cost is None else dict(span.cost)
        return cls(
            span_id=span.id,
            trace_id=trace,
            parent_span_id=span.parent_id,
            name=span.name,
            kind=span.kind,
            status=span.status,
            input=raw(span.input),
            output=raw(span.output),
            model=span.model,
            token_usage=raw(span.token_usage),
            metadata=raw(span.metadata),
            started_at=instant(span.started_at),
            ended_at=optional_instant(span.ended_at),
            error=span.error,
            completion_start_time=optional_instant(span.completion_started_at),
            model_parameters=raw(span.model_parameters),
            cost={"total": as_float(charge.amount)} if priced else said_cost,
            latency_ms=span.latency_ms,
            time_to_first_token_ms=span.time_to_first_token_ms,
            cost_source=charge.source,
        )


class TraceResponse(msgspec.Struct, frozen=True, kw_only=True):
    trace_id: UUID
    project_id: UUID
    name: str
    status: TraceStatus
    input: Raw
    output: Raw
    metadata: JsonObject
    started_at: ShownInstant
    ended_at: ShownInstant | None
    session_id: str | None
    user_id: str | None
    tags: list[str]
    environment: str | None
    release: str | None
    spans: list[SpanResponse]
    total_tokens: int
    total_cost: float

    @classmethod
    def of(cls, project: ProjectId, trace: Trace) -> Self:
        """`trace` is settled."""
        assert trace.status is not None
        totals = Totals.from_spans(trace.spans)
        return cls(
            trace_id=trace.id,
            project_id=project,
            name=trace.name,
            status=trace.status,
            input=raw(trace.input),
            output=raw(trace.output),
            metadata=raw(trace.metadata),
            started_at=instant(trace.started_at),
            ended_at=optional_instant(trace.ended_at),
            session_id=trace.session_id,
            user_id=trace.user_id,
            tags=list(trace.tags),
            environment=trace.environment,
            release=trace.release,
            spans=[SpanResponse.of(trace.id, span) for span in trace.spans],
            total_tokens=totals.tokens,
            total_cost=as_float(totals.cost),
        )


class TraceListItem(msgspec.Struct, frozen=True, kw_only=True):
    trace_id: UUID
    name: str
    status: TraceStatus
    started_at: ShownInstant
    ended_at: ShownInstant | None
    session_id: str | None
    user_id: str | None
    tags: list[str]
    environment: str | None
    release: str | None
    latency_ms: float | None
    span_count: int
    total_tokens: int
    total_cost: float

    @classmethod
    def of(cls, trace: TraceSummary) -> Self:
        return cls(
            trace_id=trace.id,
            name=trace.name,
            status=trace.status,
            started_at=instant(trace.started_at),
            ended_at=optional_instant(trace.ended_at),
            session_id=trace.session_id,
            user_id=trace.user_id,
            tags=list(trace.tags),
            environment=trace.environment,
            release=trace.release,
            latency_ms=trace.latency_ms,
            span_count=trace.totals.spans,
            total_tokens=trace.totals.tokens,
            total_cost=as_float(trace.totals.cost),
        )


def _example(answer: msgspec.Struct) -> Any:
    return msgspec.json.decode(msgspec.json.encode(answer))


# How the trace of `examples` is shown: a field that it doesn't say is shown too.
_TRACE: Final = (
    msgspec.json.decode(msgspec.json.encode(examples.TRACE), type=TraceCreate)
    .to_domain(HttpConfig(version="", environment=""))
    .settled(lambda *_: None)
)
TRACE_RESPONSE: Final = _example(TraceResponse.of(examples.PROJECT_ID, _TRACE))
SPAN_RESPONSE: Final = TRACE_RESPONSE["spans"][0]
PAGE: Final = {
    "items": [_example(TraceListItem.of(TraceSummary.of(_TRACE)))],
    "total": 1,
    "limit": 50,
    "offset": 0,
    "next_cursor": None,
}
