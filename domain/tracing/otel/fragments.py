"""Fragments: what OpenTelemetry senders say of a span, as decoded from either wire format.

A span is known by its fragments, which arrive in any order and any number of times. Its row is a
function of their set (`MapSpan`). Fragments are stored as they were sent, so that a later version
of the mapping can be applied to them (`OtlpTraces.remap`).
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Protocol
from uuid import uuid5

from domain.frozen_by_types import frozen_by_types
from domain.ids import SpanId, TraceId
from domain.tracing.otel.facts import MappedSpan

type AttributeValue = (
    str | bool | int | float | Sequence[AttributeValue] | Mapping[str, AttributeValue] | None
)
"""A value of an attribute. Bytes are text if they are UTF-8, else base64 text; NaN and infinities
are the texts `NaN`, `Infinity` and `-Infinity`."""

type Attributes = Mapping[str, AttributeValue]

_DIGEST_BYTES: Final = 16


def otel_span_id(trace: TraceId, hex_id: str) -> SpanId:
    """The id of an OpenTelemetry span: UUIDv5 of the 16 lower-case hex digits, by trace.

    Ids of spans are unique only within their trace.
    """
    return SpanId(uuid5(trace, hex_id))


def fragment_digest(trace: TraceId, data: bytes) -> bytes:
    """BLAKE2b of 16 bytes, by which a fragment is known: its trace, and `data`, its stored form.

    Digests of different traces differ. Every store has the same, as the digest decides between
    records that are equal in everything else that they are sorted by.
    """
    digest = hashlib.blake2b(trace.bytes, digest_size=_DIGEST_BYTES)
    digest.update(data)
    return digest.digest()


class Rank(IntEnum):
    """The precedence of a fragment: each attribute comes from the highest rank that has it."""

    STARTED_SPAN = 1
    LOG_RECORD = 2
    ENDED_SPAN = 3


@dataclass(frozen=True, slots=True)
class Scope:
    """The instrumentation scope: which library made the span or record."""

    name: str = ""
    version: str = ""
    schema_url: str = ""


@dataclass(frozen=True, slots=True)
class SentEvent:
    time_ns: int
    name: str
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SentLink:
    """A link to another span. Ids are lower-case hex."""

    trace_id: str
    span_id: str
    trace_state: str = ""
    attributes: Attributes = field(default_factory=dict)


@frozen_by_types(kw_only=True)
class SentSpan:
    """A span as it was sent, ended or only started. Times are Unix nanoseconds; 0 means none.

    `span_id` and `parent_span_id` are 16 lower-case hex digits. `kind` and `status_code` are
    OTLP's numbers. `parent_is_remote` is None if the sender doesn't say. `resource` has only the
    attributes that are kept. `is_truncated` if attributes, events or links
    beyond the limits were dropped. `dropped` counts what the sender itself dropped, by
    `attributes`, `events` and `links`.
    """

    span_id: str
    start_ns: int
    name: str = ""
    parent_span_id: str | None = None
    parent_is_remote: bool | None = None
    kind: int = 0
    end_ns: int = 0
    status_code: int = 0
    status_message: str = ""
    attributes: Attributes = field(default_factory=dict)
    events: Sequence[SentEvent] = ()
    links: Sequence[SentLink] = ()
    trace_state: str = ""
    dropped: Mapping[str, int] = field(default_factory=dict)
    is_truncated: bool = False
    scope: Scope = Scope()
    resource: Attributes = field(default_factory=dict)

    @property
    def rank(self) -> Rank:
        return Rank.ENDED_SPAN if self.end_ns else Rank.STARTED_SPAN


@dataclass(frozen=True, slots=True, kw_only=True)
class SentRecord:
    """A log record as it was sent. `name` is that of the event; `span_id` is None without a span.

    `time_ns` is the time of the event, else the time at which it was observed.
    """

    name: str
    time_ns: int
    span_id: str | None = None
    body: AttributeValue = None
    attributes: Attributes = field(default_factory=dict)
    is_truncated: bool = False
    scope: Scope = Scope()
    resource: Attributes = field(default_factory=dict)

    @property
    def rank(self) -> Rank:
        return Rank.LOG_RECORD


type Sent = SentSpan | SentRecord


class Fragment(Protocol):
    """A span or record of a request. It keeps the decoded form only if it is small.

    `pending_span` markers of Logfire were already turned into started spans (rank 1) of the span
    that they announce.
    """

    @property
    def trace_id(self) -> TraceId: ...

    @property
    def span_id(self) -> str | None:
        """16 lower-case hex digits. None: a record that only names its trace."""
        ...

    @property
    def size(self) -> int:
        """Bytes in the request, which bound how many fragments are decoded at a time."""
        ...

    def decode(self) -> Sent:
        """The fragment, decoded. It was decoded before, so this doesn't fail."""
        ...


type MapSpan = Callable[[TraceId, Sequence[Sent]], MappedSpan]
"""Maps the fragments of one span, at least one of them a SentSpan, to its row.

Independent of their order. Log records that were assigned to the span are among the fragments.
Never raises. Implemented by adapters/otlp.
"""
