"""OTLP requests made with the official messages, in both wire types."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from domain.tracing.otel.requests import Encoding

TRACE_ID = bytes.fromhex("0102030405060708090a0b0c0d0e0f10")
SPAN_ID = bytes.fromhex("1112131415161718")
START_NS = 1_790_000_000_000_000_000
ID_KEYS = {"traceId", "spanId", "parentSpanId"}

type Request = ExportTraceServiceRequest | ExportLogsServiceRequest


def any_value(value: Any) -> AnyValue:
    match value:
        case None:
            fields = {}
        case bool():
            fields = {"bool_value": value}
        case int():
            fields = {"int_value": value}
        case float():
            fields = {"double_value": value}
        case str():
            fields = {"string_value": value}
        case bytes():
            fields = {"bytes_value": value}
        case Mapping():
            fields = {"kvlist_value": KeyValueList(values=key_values(value))}
        case _:
            fields = {"array_value": ArrayValue(values=map(any_value, value))}
    return AnyValue(**fields)


def key_values(attributes: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def span(attributes: Mapping[str, Any] | None = None, **fields: Any) -> Span:
    """An ended span. `attributes` are Python values."""
    given: dict[str, Any] = {
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
        "name": "chat",
        "start_time_unix_nano": START_NS,
        "end_time_unix_nano": START_NS + 1_000,
    }
    return Span(attributes=key_values(attributes or {}), **{**given, **fields})


def record(attributes: Mapping[str, Any] | None = None, **fields: Any) -> LogRecord:
    given: dict[str, Any] = {
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
        "event_name": "gen_ai.user.message",
        "time_unix_nano": START_NS,
    }
    return LogRecord(attributes=key_values(attributes or {}), **{**given, **fields})


def traces_request(
    *spans: Span, resource: Mapping[str, Any] | None = None, scope: str = "", version: str = ""
) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(
                resource=Resource(attributes=key_values(resource or {})),
                scope_spans=[
                    ScopeSpans(scope=InstrumentationScope(name=scope, version=version), spans=spans)
                ],
            )
        ]
    )


def logs_request(
    *records: LogRecord, resource: Mapping[str, Any] | None = None, scope: str = ""
) -> ExportLogsServiceRequest:
    return ExportLogsServiceRequest(
        resource_logs=[
            ResourceLogs(
                resource=Resource(attributes=key_values(resource or {})),
                scope_logs=[ScopeLogs(scope=InstrumentationScope(name=scope), log_records=records)],
            )
        ]
    )


def encoded(request: Request, encoding: Encoding) -> bytes:
    if encoding is Encoding.PROTOBUF:
        return request.SerializeToString()
    return json.dumps(with_hex_ids(MessageToDict(request))).encode()


def with_hex_ids(value: Any) -> Any:
    """JSON as OTLP has it: protobuf's own JSON has ids in base64."""
    if isinstance(value, dict):
        return {
            key: base64.b64decode(member).hex() if key in ID_KEYS else with_hex_ids(member)
            for key, member in value.items()
        }
    return [with_hex_ids(each) for each in value] if isinstance(value, list) else value


def with_base64_ids(value: Any) -> Any:
    """The inverse of `with_hex_ids`."""
    if isinstance(value, dict):
        return {
            key: base64.b64encode(bytes.fromhex(member)).decode()
            if key in ID_KEYS
            else with_base64_ids(member)
            for key, member in value.items()
        }
    return [with_base64_ids(each) for each in value] if isinstance(value, list) else value


def length_delimited(number: int, *parts: bytes) -> bytes:
    """A field of a protobuf message, made by hand."""
    content = b"".join(parts)
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def varint(number: int) -> bytes:
    digits = []
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


def traces_of_encoded(*spans: bytes) -> bytes:
    """A request in protobuf whose spans need not be valid."""
    items = b"".join(length_delimited(2, one) for one in spans)
    return length_delimited(1, length_delimited(2, items))


def encoded_pair(key: str, value: bytes) -> bytes:
    """A KeyValue in protobuf."""
    return length_delimited(1, key.encode()) + length_delimited(2, value)


def encoded_value(levels: int, *, as_list: bool) -> bytes:
    """An AnyValue in protobuf with so many lists or key-value lists within each other."""
    value = length_delimited(1, b"x")
    for _ in range(levels):
        if as_list:
            value = length_delimited(5, length_delimited(1, value))
        else:
            value = length_delimited(6, length_delimited(1, encoded_pair("k", value)))
    return value
