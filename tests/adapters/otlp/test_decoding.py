"""Requests become fragments; a bad span or record costs itself alone."""

from uuid import UUID

import pytest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from adapters.otlp.decoding.limits import ATTRIBUTES_MAX, EVENTS_MAX, LEVELS_MAX, NODES_MAX
from adapters.otlp.decoding.requests import KEPT_DECODED_BYTES, Codec
from adapters.otlp.decoding.stored import decode_sent, encode_sent
from domain.tracing.otel.fragments import (
    Rank,
    Scope,
    SentEvent,
    SentLink,
    SentRecord,
    SentSpan,
)
from domain.tracing.otel.requests import (
    REJECTIONS_LISTED_MAX,
    DecodedRequest,
    Encoding,
    RejectionReason,
    Signal,
    TooManyItems,
    UndecodableRequest,
)
from tests.support.builders.otlp_requests import (
    SPAN_ID,
    START_NS,
    TRACE_ID,
    Request,
    any_value,
    encoded,
    encoded_pair,
    encoded_value,
    key_values,
    length_delimited,
    logs_request,
    record,
    span,
    traces_of_encoded,
    traces_request,
)

ITEMS_MAX = 50_000
OTHER_ID = bytes.fromhex("2122232425262728")

BOTH = pytest.mark.parametrize("encoding", Encoding)


def decode_body(
    body: bytes,
    encoding: Encoding = Encoding.PROTOBUF,
    signal: Signal = Signal.TRACES,
    items_max: int = ITEMS_MAX,
) -> DecodedRequest:
    return Codec().decode(signal, encoding, body, items_max)


def decode(
    request: Request, encoding: Encoding = Encoding.PROTOBUF, items_max: int = ITEMS_MAX
) -> DecodedRequest:
    is_traces = request.DESCRIPTOR.name == "ExportTraceServiceRequest"
    signal = Signal.TRACES if is_traces else Signal.LOGS
    return decode_body(encoded(request, encoding), encoding, signal, items_max)


def only_span(request: DecodedRequest) -> SentSpan:
    [fragment] = request.fragments
    assert not request.rejections
    sent = fragment.decode()
    assert isinstance(sent, SentSpan)
    return sent


def only_record(request: DecodedRequest) -> SentRecord:
    [fragment] = request.fragments
    assert not request.rejections
    sent = fragment.decode()
    assert isinstance(sent, SentRecord)
    return sent


def reasons(request: DecodedRequest) -> list[RejectionReason]:
    return [rejection.reason for rejection in request.rejections]


ATTRIBUTES = {
    "text": "Wörter\0",
    "yes": True,
    "whole": -(1 << 63),
    "real": 0.5,
    "items": ["a", 1, [None]],
    "members": {"b": {"c": 2.5}},
    "utf8": b"plain",
    "bytes": b"\xff\xfe",
    "nan": float("nan"),
    "infinity": float("inf"),
    "negative": float("-inf"),
    "nothing": None,
}
DECODED_ATTRIBUTES = ATTRIBUTES | {
    "utf8": "plain",
    "bytes": "//4=",
    "nan": "NaN",
    "infinity": "Infinity",
    "negative": "-Infinity",
}


@BOTH
def test_span_is_decoded_completely(encoding: Encoding):
    link = Span.Link(
        trace_id=TRACE_ID, span_id=OTHER_ID, trace_state="c=d", attributes=key_values({"l": 1})
    )
    sent = span(
        ATTRIBUTES,
        parent_span_id=OTHER_ID,
        flags=0x301,
        kind=3,
        status=Status(code=2, message="it failed"),
        trace_state="a=b",
        events=[Span.Event(time_unix_nano=7, name="e", attributes=key_values({"k": [1]}))],
        links=[link],
        dropped_attributes_count=1,
        dropped_links_count=3,
    )
    request = traces_request(sent, resource={"service.name": "bot"}, scope="lib", version="1.2")
    request.resource_spans[0].scope_spans[0].schema_url = "https://schema"
    request.resource_spans[0].schema_url = "https://another"

    decoded = decode(request, encoding)

    assert only_span(decoded) == SentSpan(
        span_id="1112131415161718",
        start_ns=START_NS,
        name="chat",
        parent_span_id="2122232425262728",
        parent_is_remote=True,
        kind=3,
        end_ns=START_NS + 1_000,
        status_code=2,
        status_message="it failed",
        attributes=DECODED_ATTRIBUTES,
        events=(SentEvent(7, "e", {"k": [1]}),),
        links=(SentLink(TRACE_ID.hex(), OTHER_ID.hex(), "c=d", {"l": 1}),),
        trace_state="a=b",
        dropped={"attributes": 1, "links": 3},
        scope=Scope("lib", "1.2", "https://schema"),
        resource={"service.name": "bot"},
    )
    [fragment] = decoded.fragments
    assert fragment.trace_id == UUID(bytes=TRACE_ID)
    assert fragment.span_id == SPAN_ID.hex()
    assert fragment.size > 100
    assert (decoded.items, decoded.accepted, decoded.rejected) == (1, 1, 0)


@BOTH
@pytest.mark.parametrize(
    ("flags", "is_remote"), [(0, None), (1, None), (0x100, False), (0x200, None), (0x300, True)]
)
def test_flags_say_where_the_parent_is(encoding: Encoding, flags: int, is_remote: bool | None):
    sent = only_span(decode(traces_request(span(flags=flags)), encoding))
    assert sent.parent_is_remote is is_remote


@BOTH
def test_last_value_of_key_counts(encoding: Encoding):
    twice = span()
    twice.attributes.extend([*key_values({"k": 1}), *key_values({"k": "last"})])
    assert only_span(decode(traces_request(twice), encoding)).attributes == {"k": "last"}


@BOTH
def test_resource_attributes_that_tell_of_the_machine_are_dropped(encoding: Encoding):
    resource = {
        "service.name": "bot",
        "service.version": "1",
        "deployment.environment.name": "staging",
        "telemetry.sdk.language": "python",
        "k8s.pod.name": "p",
        "cloud.region": "eu",
        "langfuse.environment": "staging",
        "langfuse.release": "r1",
        "cloud.account.id": "secret",
        "process.command_line": "secret",
        "process.owner": "secret",
        "host.id": "secret",
        "host.name": "secret",
        "os.type": "secret",
        "servicename": "secret",
    }
    sent = only_span(decode(traces_request(span(), resource=resource), encoding))
    assert sent.resource == {key: value for key, value in resource.items() if value != "secret"}
    assert b"secret" not in encode_sent(sent)


@BOTH
@pytest.mark.parametrize("size", [0, 1, 7, 9, 16])
def test_span_with_id_of_another_length_is_rejected(encoding: Encoding, size: int):
    decoded = decode(traces_request(span(span_id=b"\x01" * size), span()), encoding)
    assert reasons(decoded) == [RejectionReason.INVALID_ID]
    assert len(decoded.fragments) == 1


@BOTH
@pytest.mark.parametrize(
    "ids",
    [
        {"span_id": bytes(8)},
        {"trace_id": bytes(16)},
        {"trace_id": TRACE_ID[:15]},
        {"trace_id": b""},
        {"parent_span_id": b"\x01"},
    ],
)
def test_span_with_invalid_id_is_rejected(encoding: Encoding, ids: dict[str, bytes]):
    decoded = decode(
        traces_request(span(**ids), resource={"service.name": "s"}, scope="l"), encoding
    )
    [rejection] = decoded.rejections
    assert rejection.reason is RejectionReason.INVALID_ID
    assert (rejection.scope, rejection.service) == ("l", "s")
    assert decoded.is_all_rejected
    assert decoded.rejected_by == {(RejectionReason.INVALID_ID, "l"): 1}


@BOTH
def test_parent_of_zeros_is_null(encoding: Encoding):
    assert (
        only_span(decode(traces_request(span(parent_span_id=bytes(8))), encoding)).parent_span_id
        is None
    )


@BOTH
def test_rejection_names_ids_as_sent(encoding: Encoding):
    decoded = decode(traces_request(span(start_time_unix_nano=0)), encoding)
    [rejection] = decoded.rejections
    assert rejection.reason is RejectionReason.NO_START_TIME
    assert (rejection.trace_id, rejection.span_id) == (TRACE_ID.hex(), SPAN_ID.hex())


@BOTH
@pytest.mark.parametrize("time", [1, (1 << 64) - 1])
def test_any_time_is_taken(encoding: Encoding, time: int):
    sent = only_span(
        decode(traces_request(span(start_time_unix_nano=time, end_time_unix_nano=time)), encoding)
    )
    assert (sent.start_ns, sent.end_ns) == (time, time)


@BOTH
def test_span_without_end_is_started(encoding: Encoding):
    sent = only_span(decode(traces_request(span(end_time_unix_nano=0)), encoding))
    assert sent.rank is Rank.STARTED_SPAN


@BOTH
@pytest.mark.parametrize(
    "bad",
    [
        span(name="a\0b"),
        span({"session.id": "a\0b"}),
        span({"tags": ["a", "b\0"]}),
        span({"gen_ai.request.model": "\0"}),
    ],
)
def test_text_that_no_column_takes_is_rejected(encoding: Encoding, bad: Span):
    decoded = decode(traces_request(bad, span({"gen_ai.prompt": "a\0b"})), encoding)
    assert reasons(decoded) == [RejectionReason.INVALID_TEXT]
    assert len(decoded.fragments) == 1


@BOTH
def test_record_with_text_that_no_column_takes_is_rejected(encoding: Encoding):
    decoded = decode(logs_request(record({"session.id": "a\0b"}), record()), encoding)
    assert reasons(decoded) == [RejectionReason.INVALID_TEXT]
    assert len(decoded.fragments) == 1


@BOTH
def test_scope_with_unstorable_text_rejects_only_its_spans(encoding: Encoding):
    request = traces_request(span(), span(), scope="a\0b")
    request.MergeFrom(traces_request(span(), scope="other"))
    decoded = decode(request, encoding)
    assert reasons(decoded) == [RejectionReason.INVALID_TEXT] * 2
    assert len(decoded.fragments) == 1


@pytest.mark.parametrize("as_list", [True, False])
@pytest.mark.parametrize("place", ["attributes", "events", "links"])
def test_values_may_be_nested_32_levels(as_list: bool, place: str):
    def deep(levels: int) -> bytes:
        pair = encoded_pair("k", encoded_value(levels, as_list=as_list))
        match place:
            case "attributes":
                return span().SerializeToString() + length_delimited(9, pair)
            case "events":
                return span().SerializeToString() + length_delimited(11, length_delimited(3, pair))
        return span().SerializeToString() + length_delimited(13, length_delimited(4, pair))

    body = traces_of_encoded(
        deep(LEVELS_MAX), deep(LEVELS_MAX + 1), deep(LEVELS_MAX + 30), span().SerializeToString()
    )
    decoded = decode_body(body)
    assert reasons(decoded) == [RejectionReason.TOO_DEEP] * 2
    assert len(decoded.fragments) == 2


@BOTH
def test_attributes_and_events_beyond_10_000_are_dropped(encoding: Encoding):
    many = span({f"k{n}": n for n in range(ATTRIBUTES_MAX + 1)})
    sent = only_span(decode(traces_request(many), encoding))
    assert list(sent.attributes) == [f"k{n}" for n in range(ATTRIBUTES_MAX)]
    assert sent.is_truncated

    many = span(events=[Span.Event(time_unix_nano=n) for n in range(EVENTS_MAX + 1)])
    sent = only_span(decode(traces_request(many), encoding))
    assert len(sent.events) == EVENTS_MAX
    assert sent.end_ns == START_NS + 1_000
    assert sent.is_truncated

    most = span({f"k{n}": n for n in range(ATTRIBUTES_MAX)})
    assert not only_span(decode(traces_request(most), encoding)).is_truncated


@BOTH
def test_pending_span_starts_its_parent(encoding: Encoding):
    pending = span(
        {"logfire.span_type": "pending_span", "logfire.pending_parent_id": "0" * 16, "k": 1},
        parent_span_id=OTHER_ID,
        flags=0x100,
    )
    decoded = decode(traces_request(pending), encoding)
    sent = only_span(decoded)
    assert decoded.fragments[0].span_id == sent.span_id == OTHER_ID.hex()
    assert sent.parent_span_id is None
    assert sent.parent_is_remote is None
    assert sent.rank is Rank.STARTED_SPAN
    assert sent.start_ns == START_NS
    assert sent.attributes["k"] == 1

    pending.attributes[1].value.string_value = "a1a2a3a4a5a6a7a8"
    assert only_span(decode(traces_request(pending), encoding)).parent_span_id == "a1a2a3a4a5a6a7a8"
    pending.parent_span_id = b""
    assert reasons(decode(traces_request(pending), encoding)) == [RejectionReason.INVALID_ID]


@BOTH
@pytest.mark.parametrize(
    "named",
    [
        record(event_name="gen_ai.choice"),
        record({"event.name": "gen_ai.choice"}, event_name=""),
        record({"event.name": "gen_ai.choice"}, event_name="something"),
        record(event_name="", body=any_value("gen_ai.choice")),
        record({"event.name": "choice"}, event_name="", body=any_value("gen_ai.choice")),
    ],
)
def test_record_has_first_known_name(encoding: Encoding, named):
    assert only_record(decode(logs_request(named), encoding)).name == "gen_ai.choice"


@BOTH
def test_record_is_decoded_completely(encoding: Encoding):
    sent = record({"k": 1}, body=any_value({"content": "Hi"}))
    decoded = decode(logs_request(sent, resource={"service.name": "bot"}, scope="lib"), encoding)
    assert only_record(decoded) == SentRecord(
        name="gen_ai.user.message",
        time_ns=START_NS,
        span_id=SPAN_ID.hex(),
        body={"content": "Hi"},
        attributes={"k": 1},
        scope=Scope("lib"),
        resource={"service.name": "bot"},
    )


@BOTH
def test_other_records_are_counted_and_not_kept(encoding: Encoding):
    others = [record(event_name="", body=any_value("hello")), record(event_name="", trace_id=b"")]
    decoded = decode(logs_request(*others, record()), encoding)
    assert (decoded.ignored, decoded.accepted, decoded.items) == (2, 1, 3)


@BOTH
def test_record_without_time_has_observed_time(encoding: Encoding):
    observed = record(time_unix_nano=0, observed_time_unix_nano=5)
    assert only_record(decode(logs_request(observed), encoding)).time_ns == 5
    decoded = decode(logs_request(record(time_unix_nano=0)), encoding)
    assert reasons(decoded) == [RejectionReason.NO_START_TIME]


@BOTH
@pytest.mark.parametrize("none", [b"", bytes(8)])
def test_record_needs_span_unless_found_by_other_facts(encoding: Encoding, none: bytes):
    assert reasons(decode(logs_request(record(span_id=none)), encoding)) == ["invalid_id"]
    for name in ("gen_ai.evaluation.result", "claude_code.tool_result", "claude_code.api_request"):
        decoded = decode(logs_request(record(event_name=name, span_id=none)), encoding)
        assert only_record(decoded).span_id is None
        assert decoded.fragments[0].span_id is None


@BOTH
def test_evaluation_may_name_response_only(encoding: Encoding):
    name = "gen_ai.evaluation.result"
    by_response = record({"gen_ai.response.id": "r-1"}, event_name=name, trace_id=b"", span_id=b"")
    nowhere = record(event_name=name, trace_id=bytes(16), span_id=b"")
    decoded = decode(logs_request(by_response, nowhere), encoding)
    assert decoded.without_trace == 1
    assert reasons(decoded) == [RejectionReason.INVALID_ID]
    assert decoded.accepted == 1


@BOTH
def test_more_spans_than_allowed_are_refused(encoding: Encoding):
    request = traces_request(*[span()] * 3)
    assert len(decode(request, encoding, items_max=3).fragments) == 3
    with pytest.raises(TooManyItems, match="more than 2 spans"):
        decode(request, encoding, items_max=2)


def test_millions_of_empty_groups_are_refused():
    with pytest.raises(TooManyItems, match="too many groups"):
        decode_body(b"\x0a\x00" * 1_000_000)


@BOTH
def test_rejections_are_listed_up_to_a_limit(encoding: Encoding):
    bad = [span(start_time_unix_nano=0)] * REJECTIONS_LISTED_MAX
    decoded = decode(traces_request(*bad, *[span(name="\0")] * 7, scope="s"), encoding)
    assert len(decoded.rejections) == REJECTIONS_LISTED_MAX + 1
    rest = decoded.rejections[-1]
    assert (rest.count, rest.reason) == (7, RejectionReason.INVALID_TEXT)
    assert rest.span_id is None
    assert decoded.rejected == REJECTIONS_LISTED_MAX + 7
    assert decoded.rejected_by[RejectionReason.INVALID_TEXT, "s"] == 7


@BOTH
def test_fragments_of_a_large_request_are_decoded_again(encoding: Encoding):
    text = "x" * (KEPT_DECODED_BYTES // 8)
    spans = [span({"k": f"{text}{n}"}, span_id=bytes([*range(7), n + 1])) for n in range(8)]
    decoded = decode(traces_request(*spans, resource={"service.name": "s"}, scope="l"), encoding)
    assert len(decoded.fragments) == 8
    for number, fragment in enumerate(decoded.fragments):
        sent = fragment.decode()
        assert sent is not fragment.decode()
        assert isinstance(sent, SentSpan)
        assert sent.attributes == {"k": f"{text}{number}"}
        assert sent.resource == {"service.name": "s"}
        assert sent.scope == Scope("l")


@BOTH
def test_empty_request_is_decoded(encoding: Encoding):
    assert decode(traces_request(), encoding).items == 0
    assert decode_body(b"", encoding).items == 0


@BOTH
def test_every_fragment_survives_being_stored(encoding: Encoding):
    sent = only_span(
        decode(traces_request(span({"a\0": "\0", "n": [1, 1.0, True, -0.0, 1e300]})), encoding)
    )
    stored = encode_sent(sent)
    assert decode_sent(stored) == sent
    assert encode_sent(decode_sent(stored)) == stored
    again = span({"n": [1, 1.0, True, -0.0, 1e300], "a\0": "\0"})
    assert encode_sent(only_span(decode(traces_request(again), encoding))) == stored


class TestProtobuf:
    def test_one_bad_text_costs_one_span(self):
        bad = span().SerializeToString() + length_delimited(5, b"\xff")
        decoded = decode_body(traces_of_encoded(bad, span().SerializeToString()))
        [rejection] = decoded.rejections
        assert rejection.reason is RejectionReason.UNDECODABLE
        assert rejection.span_id == SPAN_ID.hex()
        assert len(decoded.fragments) == 1

    def test_span_that_is_not_protobuf_is_rejected_alone(self):
        bad = length_delimited(2, SPAN_ID) + b"\xff\xff"
        decoded = decode_body(traces_of_encoded(bad, span().SerializeToString()))
        [rejection] = decoded.rejections
        assert rejection.reason is RejectionReason.UNDECODABLE
        assert (rejection.trace_id, rejection.span_id) == (None, SPAN_ID.hex())
        assert len(decoded.fragments) == 1

    def test_scope_that_is_not_protobuf_rejects_its_spans(self):
        bad = length_delimited(1, b"\xff") + length_delimited(2, span().SerializeToString())
        good = length_delimited(2, span().SerializeToString())
        body = length_delimited(1, length_delimited(2, bad), length_delimited(2, good))
        decoded = decode_body(body)
        assert reasons(decoded) == [RejectionReason.UNDECODABLE]
        assert len(decoded.fragments) == 1

    @pytest.mark.parametrize(
        "body",
        [
            b"\xff",
            b"\x0a\x05\x00",
            b"\x0b\x0c",  # a group
            b"\x07",
            b"\x00\x00",
            b"{}",
            traces_of_encoded(span().SerializeToString())[:-1],
        ],
    )
    def test_body_that_is_not_protobuf_is_refused(self, body: bytes):
        with pytest.raises(UndecodableRequest):
            decode_body(body)

    def test_unknown_fields_and_wire_types_are_ignored(self):
        unknown = (
            length_delimited(14, b"\xff") + b"\x08\x01" + b"\x19" + bytes(8) + b"\x1d" + bytes(4)
        )
        body = length_delimited(
            1,
            unknown,
            length_delimited(2, unknown, length_delimited(2, span().SerializeToString(), unknown)),
        )
        assert only_span(decode_body(unknown + body)).name == "chat"

    def test_resource_may_come_last_and_in_parts(self):
        def resource(key: str, value: str) -> bytes:
            pair = KeyValue(key=key, value=any_value(value)).SerializeToString()
            return length_delimited(1, length_delimited(1, pair))

        scope_spans = ScopeSpans(spans=[span()]).SerializeToString()
        body = length_delimited(
            1,
            resource("service.name", "a"),
            length_delimited(2, scope_spans),
            resource("service.version", "1"),
        )
        assert only_span(decode_body(body)).resource == {
            "service.name": "a",
            "service.version": "1",
        }

    @pytest.mark.slow
    def test_many_attributes_and_levels_are_bounded(self):
        good = span().SerializeToString()
        deep = good + length_delimited(9, encoded_pair("k", encoded_value(10_000, as_list=False)))
        wide = good + length_delimited(9, encoded_pair("k", b"\x18\x01")) * (NODES_MAX + 1)
        items = length_delimited(5, b"\x0a\x00" * NODES_MAX)
        long = good + length_delimited(9, encoded_pair("k", items))
        decoded = decode_body(traces_of_encoded(deep, wide, long, good))
        assert reasons(decoded) == [RejectionReason.TOO_DEEP]
        wide_sent, long_sent, _ = (fragment.decode() for fragment in decoded.fragments)
        assert wide_sent.is_truncated
        assert wide_sent.attributes == {"k": 1}
        assert long_sent.is_truncated
        assert long_sent.attributes == {}

    @pytest.mark.slow
    def test_flood_of_unknown_fields_is_undecodable(self):
        flood = span().SerializeToString() + b"\x78\x00" * 2_000_001
        assert reasons(decode_body(traces_of_encoded(flood))) == [RejectionReason.UNDECODABLE]

    def test_spans_of_several_resources_and_scopes(self):
        request = traces_request(span(), resource={"service.name": "a"}, scope="x")
        request.resource_spans[0].scope_spans.add(spans=[span()]).scope.name = "y"
        request.resource_spans.append(ResourceSpans(scope_spans=[ScopeSpans(spans=[span()])]))
        sent = [fragment.decode() for fragment in decode(request).fragments]
        assert [(one.scope.name, dict(one.resource)) for one in sent] == [
            ("x", {"service.name": "a"}),
            ("y", {"service.name": "a"}),
            ("", {}),
        ]
