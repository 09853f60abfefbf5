"""Requests of real instrumentations are decoded whole."""

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from adapters.otlp.decoding.requests import Codec
from adapters.otlp.decoding.stored import decode_sent, encode_sent
from domain.tracing.otel.fragments import SentSpan
from domain.tracing.otel.requests import DecodedRequest, Encoding, Signal
from tests.support.builders.otlp_corpus import CAPTURES, WHOLE, Capture
from tests.support.builders.otlp_requests import encoded

EACH = pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture.name)
IN_PROTOBUF = [one for one in CAPTURES if one.encoding is Encoding.PROTOBUF]


def decode(capture: Capture) -> DecodedRequest:
    return Codec().decode(capture.signal, capture.encoding, capture.body, 1_000)


@EACH
def test_everything_is_accepted_and_stored(capture: Capture):
    request = decode(capture)
    assert request.accepted == request.items > 0
    for fragment in request.fragments:
        sent = fragment.decode()
        assert sent.scope.name
        assert sent.resource["service.name"]
        assert not sent.is_truncated
        assert decode_sent(encode_sent(sent)) == sent


@pytest.mark.parametrize("capture", IN_PROTOBUF, ids=lambda capture: capture.name)
def test_json_gives_the_same(capture: Capture):
    as_json = encoded(capture.message(), Encoding.JSON)
    other = decode(Capture(capture.name, capture.signal, Encoding.JSON, as_json))
    assert [(one.trace_id, one.span_id, one.decode()) for one in decode(capture).fragments] == [
        (one.trace_id, one.span_id, one.decode()) for one in other.fragments
    ]


@pytest.mark.parametrize("capture", IN_PROTOBUF, ids=lambda capture: capture.name)
def test_spans_are_those_of_the_official_library(capture: Capture):
    if capture.signal is Signal.LOGS:
        return
    request = capture.message()
    assert isinstance(request, ExportTraceServiceRequest)
    spans = [
        (span, scope.scope.name)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    for fragment, (span, scope) in zip(decode(capture).fragments, spans, strict=True):
        sent = fragment.decode()
        assert isinstance(sent, SentSpan)
        assert fragment.trace_id.bytes == span.trace_id
        assert (sent.name, sent.start_ns, sent.kind) == (
            span.name,
            span.start_time_unix_nano,
            span.kind,
        )
        assert sent.attributes.keys() == {pair.key for pair in span.attributes}
        assert [event.name for event in sent.events] == [event.name for event in span.events]
        assert sent.scope.name == scope
        if sent.attributes.get("logfire.span_type") != "pending_span":
            assert sent.span_id == span.span_id.hex()
            assert sent.end_ns == span.end_time_unix_nano


def test_no_fact_of_a_machine_is_kept():
    for capture in CAPTURES:
        for fragment in decode(capture).fragments:
            stored = encode_sent(fragment.decode())
            assert not any(word in stored for word in (b'"process.', b'"host.', b'"os.'))


@pytest.mark.skipif(WHOLE is None, reason="OTLP_CORPUS doesn't name a folder with all captures")
def test_all_captures_are_there():
    assert len(CAPTURES) > 20
