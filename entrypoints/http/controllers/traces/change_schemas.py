"""Changes of traces and spans on the wire.

A key that is left out changes nothing. Null clears what may be empty, and changes nothing else.
"""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from application.tracing.edit import EDITED_TRACES_MAX
from domain.ids import TraceId
from domain.tracing.change import UNCHANGED, Clearable, SpanChange, TraceChange
from domain.tracing.payload import EMPTY_OBJECT, JsonText
from domain.tracing.span import SpanKind, SpanStatus
from domain.tracing.trace import TraceStatus
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.traces.schemas import Cost, Name, Tags, Word
from entrypoints.http.requests.scalar_types import parse_instant
from entrypoints.http.requests.wire_types import (
    AnyJson,
    Instant,
    OptionalObject,
    OptionalPlainObject,
    empty_object,
    optional_object_of,
    payload,
)


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
            input=_payload(self.input),
            output=_payload(self.output),
            ended_at=_instant(self.ended_at),
            session_id=_said(self.session_id),
            user_id=_said(self.user_id),
            environment=_said(self.environment),
            release=_said(self.release),
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
            input=_payload(self.input),
            output=_payload(self.output),
            model=_said(self.model),
            token_usage=_object(self.token_usage),
            ended_at=_instant(self.ended_at),
            error=_said(self.error),
            completion_started_at=_instant(self.completion_start_time),
            model_parameters=_object(self.model_parameters),
            cost=_said(self.cost),
        )


def _said[T](value: T | UnsetType | None) -> Clearable[T]:
    return UNCHANGED if value is UNSET else value


def _instant(value: str | float | UnsetType | None) -> Clearable[datetime]:
    if value is UNSET:
        return UNCHANGED
    return None if value is None else parse_instant(value)


def _payload(value: Raw | UnsetType) -> Clearable[JsonText]:
    return UNCHANGED if value is UNSET else payload(value)


def _object(value: Raw | UnsetType) -> Clearable[JsonText]:
    return UNCHANGED if value is UNSET else optional_object_of(value)


type TraceIds = Annotated[list[UUID], Meta(min_length=1, max_length=EDITED_TRACES_MAX)]


def ids_of(trace_ids: list[UUID]) -> list[TraceId]:
    return [TraceId(one) for one in trace_ids]


class BatchDeleteRequest(msgspec.Struct, frozen=True):
    """The traces to remove; those that aren't there are passed over."""

    trace_ids: TraceIds


class BatchDeleteResponse(msgspec.Struct, frozen=True):
    """How many traces were removed."""

    deleted: int


class BatchTagsRequest(msgspec.Struct, frozen=True):
    """Tags are removed first and added then: one that is in both lists is there in the end."""

    trace_ids: TraceIds
    add_tags: Tags = []
    remove_tags: Tags = []


class BatchTagsResponse(msgspec.Struct, frozen=True):
    """How many of the traces are there, changed or not."""

    updated: int
