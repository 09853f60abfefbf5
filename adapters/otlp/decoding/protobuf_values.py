"""Spans and log records from protobuf, decoded by the official generated modules.

Importing those takes 0.1 s and 5 MiB, so this module is imported with the first request.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Final

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from adapters.otlp.decoding import protobuf_limits as limits
from adapters.otlp.decoding.fragments import (
    Context,
    checked_record,
    checked_span,
    dropped_counts,
    parent_id_from,
    parent_is_remote,
    span_id_from,
    too_deep,
    trace_id_from,
    undecodable,
)
from adapters.otlp.decoding.length_prefixes import LENGTH_DELIMITED, Malformed, fields
from adapters.otlp.decoding.limits import (
    ATTRIBUTES_MAX,
    EVENTS_MAX,
    LEVELS_MAX,
    LINKS_MAX,
    MEASURED_BYTES,
    NODES_MAX,
    TooDeep,
)
from adapters.otlp.decoding.outline import Encoded, Group
from adapters.otlp.decoding.protobuf_outline import protobuf_outline
from adapters.otlp.decoding.records import record_ids, record_name
from adapters.otlp.decoding.values import from_double, text_from_bytes
from domain.ids import TraceId
from domain.tracing.otel.fragments import (
    Attributes,
    AttributeValue,
    Scope,
    SentEvent,
    SentLink,
    SentRecord,
    SentSpan,
)
from domain.tracing.otel.requests import Signal

_ID_FIELDS: Final = {Signal.TRACES: (1, 2), Signal.LOGS: (9, 10)}  # trace_id, span_id
_ID_BYTES_SHOWN: Final = 16
ID_FIELDS_MAX: Final = NODES_MAX  # of a rejected span, which may have millions; walked in 0.1 s


class ProtobufDecoder:
    """Implements ItemDecoder."""

    def outline(self, body: bytes, _: Signal, items_max: int) -> list[Group]:
        return protobuf_outline(body, items_max)

    def context(self, group: Group) -> Context:
        resource, _ = _parsed(Resource, b"".join(group.resource), limits.RESOURCE)
        scope, _ = _parsed(InstrumentationScope, b"".join(group.scope), limits.SCOPE)
        attributes = _attributes(resource.attributes)
        try:
            schema_url = bytes(group.schema_url[-1]).decode() if group.schema_url else ""
        except UnicodeDecodeError:
            raise undecodable("the schema URL of the scope isn't UTF-8") from None
        return Context.from_sent(Scope(scope.name, scope.version, schema_url), attributes)

    def span(self, item: Encoded, context: Context) -> tuple[TraceId, SentSpan]:
        span, was_cut = _parsed(Span, bytes(item), limits.SPAN)
        trace_id = trace_id_from(span.trace_id)
        status = span.status
        sent = SentSpan(
            span_id=span_id_from(span.span_id),
            start_ns=span.start_time_unix_nano,
            name=span.name,
            parent_span_id=parent_id_from(span.parent_span_id),
            parent_is_remote=parent_is_remote(span.flags),
            kind=span.kind,
            end_ns=span.end_time_unix_nano,
            status_code=status.code,
            status_message=status.message,
            attributes=_attributes(span.attributes),
            events=tuple(map(_event, islice(span.events, EVENTS_MAX))),
            links=tuple(map(_link, islice(span.links, LINKS_MAX))),
            trace_state=span.trace_state,
            dropped=dropped_counts(
                span.dropped_attributes_count,
                span.dropped_events_count,
                span.dropped_links_count,
            ),
            is_truncated=was_cut
            or len(span.attributes) > ATTRIBUTES_MAX
            or len(span.events) > EVENTS_MAX
            or len(span.links) > LINKS_MAX,
            scope=context.scope,
            resource=context.resource,
        )
        return trace_id, checked_span(sent)

    def record(self, item: Encoded, context: Context) -> tuple[TraceId | None, SentRecord] | None:
        record, was_cut = _parsed(LogRecord, bytes(item), limits.LOG_RECORD)
        attributes = _attributes(record.attributes)
        body = _value(record.body, 0)
        name = record_name(record.event_name, attributes, body)
        if name is None:
            return None
        trace_id, span_id = record_ids(name, attributes, record.trace_id, record.span_id)
        sent = SentRecord(
            name=name,
            time_ns=record.time_unix_nano or record.observed_time_unix_nano,
            span_id=span_id,
            body=body,
            attributes=attributes,
            is_truncated=was_cut or len(record.attributes) > ATTRIBUTES_MAX,
            scope=context.scope,
            resource=context.resource,
        )
        return trace_id, checked_record(sent)

    def ids(self, item: Encoded, signal: Signal) -> tuple[str | None, str | None]:
        found: dict[int, str] = {}
        data = bytes(item)
        try:
            for number, wire_type, start, end in islice(fields(data, 0, len(data)), ID_FIELDS_MAX):
                if wire_type == LENGTH_DELIMITED and number in _ID_FIELDS[signal]:
                    found[number] = data[start : min(end, start + _ID_BYTES_SHOWN)].hex()
        except Malformed:
            pass  # what comes before the malformed field is good enough
        trace, span = _ID_FIELDS[signal]
        return found.get(trace) or None, found.get(span) or None


def _parsed[M: Message](
    message: type[M], data: bytes, message_type: limits.MessageType
) -> tuple[M, bool]:
    """The message within the limits, and whether something was cut. Raises Rejected."""
    was_cut = False
    if len(data) > MEASURED_BYTES:
        data, was_cut = _within_limits(data, message_type)
    try:
        return message.FromString(data), was_cut
    except DecodeError as error:
        _within_limits(data, message_type)  # the library doesn't tell the reason in a stable form
        raise undecodable(
            f"the {message_type.name} isn't valid protobuf, or a text in it isn't UTF-8"
        ) from error


def _within_limits(data: bytes, message_type: limits.MessageType) -> tuple[bytes, bool]:
    """Raises Rejected."""
    try:
        return limits.within_limits(data, message_type)
    except TooDeep:
        raise too_deep() from None
    except Malformed as error:
        raise undecodable(f"the {message_type.name} isn't valid protobuf: {error}") from error


def _attributes(pairs: Sequence[KeyValue]) -> Attributes:
    """The first ATTRIBUTES_MAX. If a key occurs twice, the last value counts."""
    return {pair.key: _value(pair.value, 0) for pair in islice(pairs, ATTRIBUTES_MAX)}


def _value(value: AnyValue, levels: int) -> AttributeValue:  # noqa: PLR0911 - one for each kind
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "int_value":
            return value.int_value
        case "bool_value":
            return value.bool_value
        case "double_value":
            return from_double(value.double_value)
        case "bytes_value":
            return text_from_bytes(value.bytes_value)
        case "array_value":
            _check_levels(levels + 1)
            return [_value(each, levels + 1) for each in value.array_value.values]
        case "kvlist_value":
            _check_levels(levels + 1)
            members = value.kvlist_value.values
            return {pair.key: _value(pair.value, levels + 1) for pair in members}
        case _:
            return None  # `string_value_strindex` belongs to profiles


def _check_levels(levels: int) -> None:
    if levels > LEVELS_MAX:
        raise too_deep()


def _event(event: Span.Event) -> SentEvent:
    attributes = {pair.key: _value(pair.value, 0) for pair in event.attributes}
    return SentEvent(event.time_unix_nano, event.name, attributes)


def _link(link: Span.Link) -> SentLink:
    attributes = {pair.key: _value(pair.value, 0) for pair in link.attributes}
    return SentLink(link.trace_id.hex(), link.span_id.hex(), link.trace_state, attributes)
