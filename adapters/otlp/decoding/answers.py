"""Answers to OTLP requests, in the wire type of the request."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import msgspec

# The generated modules are slow to import, and not needed at start-up.
# ruff: noqa: PLC0415
from domain.tracing.otel.requests import Encoding, Rejection, Signal, describe_rejections

# google.rpc.Code, by HTTP status.
_INVALID_ARGUMENT: Final = 3
_INTERNAL: Final = 13
_CODES: Final[dict[int, int]] = {
    HTTPStatus.BAD_REQUEST: _INVALID_ARGUMENT,
    HTTPStatus.UNAUTHORIZED: 16,
    HTTPStatus.FORBIDDEN: 7,
    HTTPStatus.NOT_FOUND: 5,
    HTTPStatus.TOO_MANY_REQUESTS: 8,
    HTTPStatus.INTERNAL_SERVER_ERROR: _INTERNAL,
    HTTPStatus.SERVICE_UNAVAILABLE: 14,
}
_REJECTED_MEMBER: Final = {Signal.TRACES: "rejectedSpans", Signal.LOGS: "rejectedLogRecords"}


def rpc_code(http_status: int) -> int:
    """The code of `google.rpc.Status` for an HTTP status of 400 or above."""
    is_fault_of_server = http_status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return _CODES.get(http_status, _INTERNAL if is_fault_of_server else _INVALID_ARGUMENT)


def encode_error(encoding: Encoding, http_status: int, message: str) -> bytes:
    code = rpc_code(http_status)
    if encoding is Encoding.JSON:
        return msgspec.json.encode({"code": code, "message": message, "detail": message})
    # The package has types, but doesn't say so. Importing it is slow.
    from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

    encoded: bytes = Status(code=code, message=message).SerializeToString()
    return encoded


def encode_answer(
    signal: Signal, encoding: Encoding, rejections: Sequence[Rejection], rejected: int
) -> bytes:
    """An empty message if everything was stored."""
    message = describe_rejections(rejections, rejected)
    if encoding is Encoding.JSON:
        if not rejected:
            return b"{}"
        # 64-bit numbers are strings in the JSON of protobuf.
        partial = {_REJECTED_MEMBER[signal]: str(rejected), "errorMessage": message}
        return msgspec.json.encode({"partialSuccess": partial})
    if not rejected:
        return b""
    return _encode_partial_success(signal, rejected, message)


def _encode_partial_success(signal: Signal, rejected: int, message: str) -> bytes:
    if signal is Signal.LOGS:
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
            ExportLogsPartialSuccess,
            ExportLogsServiceResponse,
        )

        return ExportLogsServiceResponse(
            partial_success=ExportLogsPartialSuccess(
                rejected_log_records=rejected, error_message=message
            )
        ).SerializeToString()
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTracePartialSuccess,
        ExportTraceServiceResponse,
    )

    return ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    ).SerializeToString()
