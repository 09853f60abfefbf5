"""OTLP messages in JSON, as far as the OpenAPI document shows them.

Requests are decoded by the port OtlpCodec, which takes more than these types say: enums by name,
64-bit integers as numbers, and fields that are ignored.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

HexTraceId = Annotated[str, Meta(pattern="^[0-9a-fA-F]{32}$", description="16 bytes in hex")]
HexSpanId = Annotated[str, Meta(pattern="^[0-9a-fA-F]{16}$", description="8 bytes in hex")]
UnixNano = Annotated[
    str, Meta(pattern="^[1-9][0-9]{0,18}$", description="Nanoseconds since 1970, as text")
]


class _Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    pass


class OtlpAttribute(_Message, frozen=True, kw_only=True):
    """A key with an `AnyValue`, such as `{"stringValue": "gpt-4o"}`."""

    key: str
    value: dict[str, Any] = {}


class OtlpResource(_Message, frozen=True, kw_only=True):
    attributes: list[OtlpAttribute] = []


class OtlpScope(_Message, frozen=True, kw_only=True):
    name: str = ""
    version: str = ""


class OtlpSpan(_Message, frozen=True, kw_only=True):
    trace_id: HexTraceId
    span_id: HexSpanId
    parent_span_id: HexSpanId | msgspec.UnsetType = msgspec.UNSET
    name: str = ""
    start_time_unix_nano: UnixNano
    end_time_unix_nano: UnixNano | msgspec.UnsetType = msgspec.UNSET
    attributes: list[OtlpAttribute] = []


class OtlpScopeSpans(_Message, frozen=True, kw_only=True):
    scope: OtlpScope = OtlpScope()
    spans: list[OtlpSpan] = []


class OtlpResourceSpans(_Message, frozen=True, kw_only=True):
    resource: OtlpResource = OtlpResource()
    scope_spans: list[OtlpScopeSpans] = []


class ExportTraceServiceRequest(_Message, frozen=True, kw_only=True):
    """Spans by resource and instrumentation scope."""

    resource_spans: list[OtlpResourceSpans] = []


class OtlpLogRecord(_Message, frozen=True, kw_only=True):
    trace_id: HexTraceId
    span_id: HexSpanId
    event_name: str = ""
    time_unix_nano: UnixNano
    body: dict[str, Any] = {}
    attributes: list[OtlpAttribute] = []


class OtlpScopeLogs(_Message, frozen=True, kw_only=True):
    scope: OtlpScope = OtlpScope()
    log_records: list[OtlpLogRecord] = []


class OtlpResourceLogs(_Message, frozen=True, kw_only=True):
    resource: OtlpResource = OtlpResource()
    scope_logs: list[OtlpScopeLogs] = []


class ExportLogsServiceRequest(_Message, frozen=True, kw_only=True):
    """Log records by resource and instrumentation scope."""

    resource_logs: list[OtlpResourceLogs] = []


class ExportMetricsServiceRequest(_Message, frozen=True, kw_only=True):
    """Metrics, of which nothing is kept."""

    resource_metrics: list[dict[str, Any]] = []


class TracePartialSuccess(_Message, frozen=True, kw_only=True):
    """How many spans were rejected, and the first of them by span id and reason."""

    rejected_spans: str
    error_message: str


class ExportTraceServiceResponse(_Message, frozen=True, kw_only=True):
    """Without a member, everything is stored."""

    partial_success: TracePartialSuccess | msgspec.UnsetType = msgspec.UNSET


class LogsPartialSuccess(_Message, frozen=True, kw_only=True):
    """How many records were rejected, and the first of them by span id and reason."""

    rejected_log_records: str
    error_message: str


class ExportLogsServiceResponse(_Message, frozen=True, kw_only=True):
    """Without a member, everything is stored."""

    partial_success: LogsPartialSuccess | msgspec.UnsetType = msgspec.UNSET


class ExportMetricsServiceResponse(_Message, frozen=True, kw_only=True):
    """Without a member: nothing was rejected."""


class RpcStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`google.rpc.Status` with its code, and the message once more as `detail`."""

    code: int
    message: str
    detail: str
