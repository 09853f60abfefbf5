"""Answers have the wire type of the request."""

import json

import pytest
from google.protobuf.json_format import Parse
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from adapters.otlp.decoding.requests import Codec
from domain.tracing.otel.requests import Encoding, Rejection, RejectionReason, Signal

CODEC = Codec()
REJECTIONS = [
    Rejection(reason=RejectionReason.INVALID_ID, message="no id"),
    *(
        Rejection(reason=RejectionReason.TOO_DEEP, message="deep", span_id=f"{n:016x}")
        for n in range(20)
    ),
]


@pytest.mark.parametrize("signal", Signal)
def test_success_is_an_empty_message(signal: Signal):
    assert CODEC.encode_answer(signal, Encoding.PROTOBUF, [], 0) == b""
    assert CODEC.encode_answer(signal, Encoding.JSON, [], 0) == b"{}"


def test_partial_success_counts_and_names_the_first_ten():
    responses = []
    for signal, response in (
        (Signal.TRACES, ExportTraceServiceResponse),
        (Signal.LOGS, ExportLogsServiceResponse),
    ):
        body = CODEC.encode_answer(signal, Encoding.PROTOBUF, REJECTIONS, 1_000)
        as_json = CODEC.encode_answer(signal, Encoding.JSON, REJECTIONS, 1_000)
        responses.append(response.FromString(body).partial_success)
        assert Parse(as_json, response()) == response.FromString(body)
    traces, logs = responses
    assert traces.rejected_spans == logs.rejected_log_records == 1_000
    assert traces.error_message == logs.error_message
    parts = traces.error_message.split("; ")
    assert parts[0] == "without id: invalid_id (no id)"
    assert parts[1] == "0000000000000000: too_deep (deep)"
    assert len(parts) == 11
    assert parts[-1] == "990 more"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, 3),
        (413, 3),
        (415, 3),
        (422, 3),
        (401, 16),
        (403, 7),
        (404, 5),
        (405, 3),
        (429, 8),
        (500, 13),
        (503, 14),
        (504, 13),
    ],
)
def test_errors_have_the_code_of_their_status(status: int, code: int):
    body = CODEC.encode_error(Encoding.PROTOBUF, status, "Sorry é")
    assert Status.FromString(body) == Status(code=code, message="Sorry é")
    as_json = json.loads(CODEC.encode_error(Encoding.JSON, status, "Sorry é"))
    assert as_json == {"code": code, "message": "Sorry é", "detail": "Sorry é"}
