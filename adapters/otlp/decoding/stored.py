"""The stored form of fragments: JSON whose keys are sorted, so that equal ones have equal bytes.

U+0000 may occur in it, as an escape that PostgreSQL's type jsonb doesn't take.
"""

from typing import Any, Final

import msgspec

from domain.tracing.otel.fragments import (
    Scope,
    Sent,
    SentEvent,
    SentLink,
    SentRecord,
    SentSpan,
)


class _Stored(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    pass


class _Scope(_Stored, frozen=True):
    name: str = ""
    version: str = ""
    schema_url: str = ""


class _Event(_Stored, frozen=True):
    time_ns: int
    name: str
    attributes: dict[str, Any] = {}


class _Link(_Stored, frozen=True):
    trace_id: str
    span_id: str
    trace_state: str = ""
    attributes: dict[str, Any] = {}


class _Span(_Stored, frozen=True, tag="span"):
    span_id: str
    start_ns: int
    name: str = ""
    parent_span_id: str | None = None
    parent_is_remote: bool | None = None
    kind: int = 0
    end_ns: int = 0
    status_code: int = 0
    status_message: str = ""
    attributes: dict[str, Any] = {}
    events: tuple[_Event, ...] = ()
    links: tuple[_Link, ...] = ()
    trace_state: str = ""
    dropped: dict[str, int] = {}
    is_truncated: bool = False
    scope: _Scope = _Scope()
    resource: dict[str, Any] = {}


class _Record(_Stored, frozen=True, tag="record"):
    name: str
    time_ns: int
    span_id: str | None = None
    body: Any = None
    attributes: dict[str, Any] = {}
    is_truncated: bool = False
    scope: _Scope = _Scope()
    resource: dict[str, Any] = {}


_encoder: Final = msgspec.json.Encoder(order="sorted")
_decoder: Final = msgspec.json.Decoder(_Span | _Record)


def encode_sent(sent: Sent) -> bytes:
    stored = _Span if isinstance(sent, SentSpan) else _Record
    return _encoder.encode(msgspec.convert(sent, stored, from_attributes=True))


def decode_sent(data: bytes) -> Sent:
    """The fragment that `encode_sent` encoded."""
    stored = _decoder.decode(data)
    scope = Scope(stored.scope.name, stored.scope.version, stored.scope.schema_url)
    if isinstance(stored, _Record):
        return SentRecord(
            name=stored.name,
            time_ns=stored.time_ns,
            span_id=stored.span_id,
            body=stored.body,
            attributes=stored.attributes,
            is_truncated=stored.is_truncated,
            scope=scope,
            resource=stored.resource,
        )
    return SentSpan(
        span_id=stored.span_id,
        start_ns=stored.start_ns,
        name=stored.name,
        parent_span_id=stored.parent_span_id,
        parent_is_remote=stored.parent_is_remote,
        kind=stored.kind,
        end_ns=stored.end_ns,
        status_code=stored.status_code,
        status_message=stored.status_message,
        attributes=stored.attributes,
        events=tuple(SentEvent(e.time_ns, e.name, e.attributes) for e in stored.events),
        links=tuple(
            SentLink(link.trace_id, link.span_id, link.trace_state, link.attributes)
            for link in stored.links
        ),
        trace_state=stored.trace_state,
        dropped=stored.dropped,
        is_truncated=stored.is_truncated,
        scope=scope,
        resource=stored.resource,
    )
