"""Both wire types give the same fragments, rejections and counts, whatever is sent."""

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from adapters.otlp.decoding.requests import Codec
from adapters.otlp.decoding.stored import decode_sent, encode_sent
from domain.tracing.otel.requests import DecodedRequest, Encoding, Signal
from tests.support.builders.otlp_requests import (
    Request,
    any_value,
    encoded,
    key_values,
    logs_request,
    record,
    span,
    traces_request,
)

KEYS = ["k", "session.id", "tags", "event.name", "logfire.span_type", "gen_ai.response.id", "é\0"]
TEXTS = ["", "a", "a\0b", "😀", "pending_span", "gen_ai.choice", "gen_ai.evaluation.result"]

uint64s = st.integers(0, (1 << 64) - 1) | st.sampled_from([0, 1])
uint32s = st.integers(0, (1 << 32) - 1) | st.sampled_from([0, 0x100, 0x300])
texts = st.sampled_from(TEXTS) | st.text(max_size=5)
ids = st.sampled_from([b"", bytes(8), bytes(16), b"\1" * 8, b"\2" * 8, b"\3" * 16, b"\4" * 5])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats()
    | texts
    | st.binary(max_size=5)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
attributes = st.dictionaries(st.sampled_from(KEYS) | texts, values, max_size=4)
spans = st.builds(
    span,
    attributes,
    trace_id=ids,
    span_id=ids,
    parent_span_id=ids,
    name=texts,
    flags=uint32s,
    kind=st.integers(0, 9),
    start_time_unix_nano=uint64s,
    end_time_unix_nano=uint64s,
    status=st.builds(Status, code=st.integers(0, 4), message=texts),
    trace_state=texts,
    events=st.lists(
        st.builds(
            lambda given, **fields: Span.Event(attributes=key_values(given), **fields),
            attributes,
            name=texts,
            time_unix_nano=uint64s,
        ),
        max_size=2,
    ),
    links=st.lists(
        st.builds(
            lambda given, **fields: Span.Link(attributes=key_values(given), **fields),
            attributes,
            trace_id=ids,
            span_id=ids,
        ),
        max_size=2,
    ),
    dropped_attributes_count=uint32s,
    dropped_events_count=uint32s,
    dropped_links_count=uint32s,
)
records = st.builds(
    record,
    attributes,
    trace_id=ids,
    span_id=ids,
    event_name=texts,
    body=values.map(any_value),
    time_unix_nano=uint64s,
    observed_time_unix_nano=uint64s,
)
resources = st.dictionaries(
    st.sampled_from(["service.name", "service.version", "host.id", "k8s.pod.name"]), values
)


def decode(request: Request, encoding: Encoding) -> DecodedRequest:
    is_traces = request.DESCRIPTOR.name == "ExportTraceServiceRequest"
    signal = Signal.TRACES if is_traces else Signal.LOGS
    return Codec().decode(signal, encoding, encoded(request, encoding), 1_000)


def check_both(request: Request, count: int) -> None:
    protobuf, json = (decode(request, encoding) for encoding in Encoding)
    assert protobuf.items == json.items == count
    assert protobuf.rejections == json.rejections
    assert protobuf.rejected_by == json.rejected_by
    assert protobuf.ignored == json.ignored
    assert protobuf.without_trace == json.without_trace
    for one, other in zip(protobuf.fragments, json.fragments, strict=True):
        sent = one.decode()
        stored = encode_sent(sent)
        assert (one.trace_id, one.span_id) == (other.trace_id, other.span_id)
        assert stored == encode_sent(other.decode())
        assert sent == other.decode() == decode_sent(stored)


@given(st.lists(spans, max_size=3), resources, texts)
def test_spans(sent: list[Span], resource: Mapping[str, Any], scope: str):
    check_both(traces_request(*sent, resource=resource, scope=scope), len(sent))


@given(st.lists(records, max_size=3), resources, texts)
def test_records(sent: list[Any], resource: Mapping[str, Any], scope: str):
    check_both(logs_request(*sent, resource=resource, scope=scope), len(sent))
