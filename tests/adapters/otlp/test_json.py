"""What JSON has beyond protobuf: spellings, malformed spans in a body that can still be walked."""

import json
from typing import Any

import pytest

from adapters.otlp.decoding.json_outline import json_outline
from adapters.otlp.decoding.limits import LEVELS_MAX, NODES_MAX
from adapters.otlp.decoding.outline import Group
from adapters.otlp.decoding.requests import Codec
from domain.tracing.otel.fragments import AttributeValue, SentLink, SentSpan
from domain.tracing.otel.requests import (
    DecodedRequest,
    Encoding,
    RejectionReason,
    Signal,
    TooManyItems,
    UndecodableRequest,
)

TRACE_ID, SPAN_ID = "0102030405060708090a0b0c0d0e0f10", "1112131415161718"
SPAN = {"traceId": TRACE_ID, "spanId": SPAN_ID, "name": "chat", "startTimeUnixNano": "5"}
GOOD = json.dumps(SPAN)


def body_of(*spans: str) -> bytes:
    """A request of spans that need not be valid JSON."""
    return b'{"resourceSpans":[{"scopeSpans":[{"scope":{"name":"lib"},"spans":[%b]}]}]}' % (
        ",".join(spans).encode(errors="surrogateescape")
    )


def decode(body: bytes, signal: Signal = Signal.TRACES, items_max: int = 1_000) -> DecodedRequest:
    return Codec().decode(signal, Encoding.JSON, body, items_max)


def decode_span(**members: Any) -> SentSpan:
    request = decode(body_of(json.dumps(SPAN | members)))
    assert not request.rejections
    [fragment] = request.fragments
    sent = fragment.decode()
    assert isinstance(sent, SentSpan)
    return sent


def decode_value(value: Any) -> AttributeValue:
    return decode_span(attributes=[{"key": "k", "value": value}]).attributes["k"]


def reasons(*spans: str) -> list[RejectionReason]:
    """Those of the given spans, while a good one on each side is decoded."""
    request = decode(body_of(GOOD, *spans, GOOD))
    assert len(request.fragments) == 2
    assert request.rejected == len(request.rejections) == len(spans)
    assert all(rejection.scope == "lib" for rejection in request.rejections)
    return [rejection.reason for rejection in request.rejections]


def test_ids_are_hex_in_either_case():
    sent = decode_span(
        traceId="ABCDEF" + TRACE_ID[6:],
        spanId="ABCDEFabcdef1718",
        parentSpanId="ABCDEFABCDEFABCD",
        links=[{"traceId": "AB" * 16, "spanId": "CD" * 8}],
    )
    assert sent.span_id == "abcdefabcdef1718"
    assert sent.parent_span_id == "abcdefabcdefabcd"
    assert sent.links == (SentLink("ab" * 16, "cd" * 8),)


@pytest.mark.parametrize(
    "text", ["zz12131415161718", "11 12131415161718", " 1112131415161718", "111", "é" * 8]
)
def test_ids_that_are_not_hex_are_rejected(text: str):
    assert reasons(json.dumps(SPAN | {"spanId": text})) == [RejectionReason.INVALID_ID]


@pytest.mark.parametrize("parent", ["", None, "0000000000000000"])
def test_span_without_parent(parent: str | None):
    assert decode_span(parentSpanId=parent).parent_span_id is None


@pytest.mark.parametrize("time", [1_790_000_000_000_000_000, "1790000000000000000", 1.79e18])
def test_integers_are_numbers_or_strings(time: float | str):
    sent = decode_span(startTimeUnixNano=time, flags="769", droppedEventsCount="2")
    assert sent.start_ns == 1_790_000_000_000_000_000
    assert sent.parent_is_remote
    assert sent.dropped == {"events": 2}
    assert decode_value({"intValue": time}) == 1_790_000_000_000_000_000


@pytest.mark.parametrize(
    ("kind", "number"),
    [(3, 3), ("SPAN_KIND_CLIENT", 3), ("3", 3), ("SPAN_KIND_NEW", 0), (99, 99), (None, 0)],
)
def test_enums_are_numbers_or_names(kind: Any, number: int):
    assert decode_span(kind=kind).kind == number


@pytest.mark.parametrize("code", [2, "STATUS_CODE_ERROR", "2"])
def test_status_codes_are_numbers_or_names(code: Any):
    sent = decode_span(status={"code": code, "message": "no"})
    assert (sent.status_code, sent.status_message) == (2, "no")


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        ({"stringValue": ""}, ""),
        ({"stringValue": None}, None),
        ({"boolValue": False}, False),
        ({"intValue": 0}, 0),
        ({"intValue": "-9223372036854775808"}, -(1 << 63)),
        ({"doubleValue": 1}, 1.0),
        ({"doubleValue": "1.5e3"}, 1500.0),
        ({"doubleValue": "NaN"}, "NaN"),
        ({"doubleValue": "-Infinity"}, "-Infinity"),
        ({"bytesValue": "aGk="}, "hi"),
        ({"bytesValue": "aGk"}, "hi"),
        ({"bytesValue": "//4="}, "//4="),
        ({"bytesValue": "__4"}, "//4="),
        ({"arrayValue": {}}, []),
        ({"arrayValue": {"values": None}}, []),
        ({"arrayValue": {"values": [{"intValue": "1"}, {}]}}, [1, None]),
        ({"kvlistValue": {"values": [{"key": "a", "value": {"boolValue": True}}]}}, {"a": True}),
        ({"kvlistValue": {"values": [{"key": "a"}]}}, {"a": None}),
        ({"newValue": 1}, None),
        (None, None),
    ],
)
def test_values(value: Any, decoded: AttributeValue):
    found = decode_value(value)
    assert found == decoded
    assert type(found) is type(decoded)


@pytest.mark.parametrize(
    "member",
    [
        {"name": 7},
        {"attributes": 7},
        {"attributes": [7]},
        {"attributes": {"k": "v"}},
        {"events": [{"name": []}]},
        {"startTimeUnixNano": "-62167219200000000000"},  # the year 0
        {"startTimeUnixNano": "18446744073709551616"},
        {"startTimeUnixNano": "five"},
        {"startTimeUnixNano": 1.5},
        {"startTimeUnixNano": "１"},
        {"startTimeUnixNano": "9" * 5_000},
        {"status": "OK"},
        {"flags": -1},
        {"attributes": [{"key": "k", "value": {"intValue": "9223372036854775808"}}]},
        {"attributes": [{"key": "k", "value": {"intValue": 1.5}}]},
        {"attributes": [{"key": "k", "value": {"doubleValue": "1e999"}}]},
        {"attributes": [{"key": "k", "value": {"doubleValue": "nan"}}]},
        {"attributes": [{"key": "k", "value": {"bytesValue": "a?"}}]},
        {"attributes": [{"key": "k", "value": {"bytesValue": "a"}}]},
        {"attributes": [{"key": "k", "value": "text"}]},
        {"links": [{"traceId": "zz"}]},
    ],
)
def test_members_of_a_wrong_type_cost_one_span(member: dict[str, Any]):
    [reason] = reasons(json.dumps(SPAN | member))
    is_id = "links" in member
    assert reason is (RejectionReason.INVALID_ID if is_id else RejectionReason.UNDECODABLE)


@pytest.mark.parametrize(
    "span",
    [
        '{"name": "a", "spanId": "1112131415161718", }',
        '{"name": "a\udcc3", "spanId": "1112131415161718"}',  # the first byte of two
        '{"name": "\\x", "spanId": "1112131415161718"}',
        '{"name": tru, "spanId": "1112131415161718"}',
        "7",
        '"text"',
        "null",
        "[{}]",
    ],
)
def test_malformed_span_is_rejected_alone(span: str):
    assert reasons(span) == [RejectionReason.UNDECODABLE]
    [rejection] = decode(body_of(span)).rejections
    assert rejection.span_id == (SPAN_ID if "spanId" in span else None)


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ('{"name": 7}', "name of the span must be a string or null"),
        ('{"status": "OK"}', "status of the span must be an object or null"),
        (
            '{"attributes": [{"key": "k", "value": "text"}]}',
            "attributes[0].value of the span must be an object or null",
        ),
        ('"text"', "the span must be an object"),
        ('{"name": "a", }', "the span isn't valid JSON at its byte 14"),
        ('{"name": "\\x"}', "the span isn't valid JSON at its byte 12"),
        ('{"name": "a\udcc3"}', "a text of the span isn't UTF-8"),
        ('{"traceId": "AQIDBAUGBwgJCgsMDQ4PEA=="}', "an id must be in hexadecimal, not in base64"),
    ],
)
def test_rejection_says_what_to_change(span: str, message: str):
    assert [one.message for one in decode(body_of(span)).rejections] == [message]


@pytest.mark.parametrize(
    ("encoding", "body", "message"),
    [
        (
            Encoding.PROTOBUF,
            body_of(GOOD),
            "It seems to be JSON: send it with Content-Type: application/json",
        ),
        (
            Encoding.JSON,
            b"\n\x02\x12\x00",
            "It seems to be protobuf: send it with Content-Type: application/x-protobuf",
        ),
        *(
            (one, b"\x1f\x8b\x08", "The body is compressed: send it with Content-Encoding: gzip")
            for one in Encoding
        ),
        (Encoding.JSON, b"[]", "The body isn't a request in JSON: { is missing at byte 0"),
        (Encoding.JSON, b'\n{"a" 1}', "The body isn't a request in JSON: : is missing at byte 6"),
    ],
)
def test_body_of_another_type_says_which(encoding: Encoding, body: bytes, message: str):
    with pytest.raises(UndecodableRequest) as caught:
        Codec().decode(Signal.TRACES, encoding, body, 1_000)
    assert caught.value.message.endswith(message)


def test_rejection_names_ids_of_span_and_not_of_its_links():
    link = {"links": [{"traceId": "ab" * 16, "spanId": "cd" * 8}]}
    [rejection] = decode(body_of(json.dumps(link | SPAN | {"name": 7}))).rejections
    assert (rejection.trace_id, rejection.span_id) == (TRACE_ID, SPAN_ID)


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ('"name":"\\ud83d"', RejectionReason.INVALID_TEXT),
        (
            '"attributes":[{"key":"session.id","value":{"stringValue":"\\ude00"}}]',
            RejectionReason.INVALID_TEXT,
        ),
        (
            '"attributes":[{"key":"input.value","value":{"stringValue":"\\\\\\ud83d!"}}]',
            RejectionReason.UNDECODABLE,
        ),
    ],
)
def test_half_of_a_surrogate_pair_costs_one_span(member: str, reason: RejectionReason):
    assert reasons(f"{GOOD[:-1]},{member}}}") == [reason]


@pytest.mark.parametrize(
    ("name", "found"),
    [("a\\ud83d", "U+D83D"), ("\\uDE00\\ud83d", "U+DE00"), ("a\\u0000ud83d", "U+0000")],
)
def test_character_that_cannot_be_stored_is_named(name: str, found: str):
    half = '"attributes":[{"key":"input.value","value":{"stringValue":"\\ud801"}}]'
    for members in (f'"name":"{name}"', f'{half},"name":"{name}"'):
        [rejection] = decode(body_of(f"{GOOD[:-1]},{members}}}")).rejections
        assert rejection.message == f"the name contains {found}"
    tags = json.dumps([{"key": "langfuse.tags", "value": {"arrayValue": {"values": []}}}])
    tags = tags.replace("[]", f'[{{"stringValue":"fine"}},{{"stringValue":"{name}"}}]')
    [rejection] = decode(body_of(f'{GOOD[:-1]},"attributes":{tags}}}')).rejections
    assert rejection.message == f"the attribute langfuse.tags contains {found}"


def test_whole_surrogate_pairs_and_escaped_backslashes_are_text():
    sent = decode(body_of(GOOD[:-1] + ',"name":"\\ud83d\\ude00\\\\ud83d"}')).fragments[0].decode()
    assert sent.name == "😀\\ud83d"


# The deepest repeats what 10,000 levels try, at which a recursion would end as well.
@pytest.mark.parametrize(
    "levels", [LEVELS_MAX + 1, 1_000, 10_000, pytest.param(100_000, marks=pytest.mark.exhaustive)]
)
def test_deep_values_cost_one_span(levels: int):
    opening, closing = '{"arrayValue":{"values":[', "]}}"
    value = f"{opening * levels}{closing * levels}"
    deep = f'{GOOD[:-1]},"attributes":[{{"key":"k","value":{value}}}]}}'
    assert reasons(deep) == [RejectionReason.TOO_DEEP]


@pytest.mark.parametrize("as_list", [True, False])
def test_values_may_be_nested_32_levels(as_list: bool):
    value: dict[str, Any] = {"intValue": 1}
    for _ in range(LEVELS_MAX):
        if as_list:
            value = {"arrayValue": {"values": [value]}}
        else:
            value = {"kvlistValue": {"values": [{"key": "k", "value": value}]}}
    assert decode_value(value)


def test_unknown_members_are_ignored():
    deep: Any = "x"
    for _ in range(100):
        deep = {"a": [deep]}
    body = json.dumps(
        {
            "new": deep,
            "resourceSpans": [
                {
                    "new": [],
                    "scopeSpans": [
                        {"new": "}", "scope": {"new": 1}, "spans": [SPAN | {"new": deep}]}
                    ],
                    "resource": {"new": {}, "entityRefs": []},
                }
            ],
        }
    )
    assert decode(body.encode()).accepted == 1


def test_names_are_in_lower_camel_case():
    snake = {"trace_id": TRACE_ID, "span_id": SPAN_ID, "start_time_unix_nano": 5}
    assert reasons(json.dumps(snake)) == [RejectionReason.INVALID_ID]
    assert decode(b'{"resource_spans":[{}]}').items == 0


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        " {} ",
        '{"resourceSpans":null}',
        '{"resourceSpans":[]}',
        '{"resourceSpans":[{"scopeSpans":null}]}',
        '{"resourceSpans":[{"scopeSpans":[{"spans":null}]}]}',
        '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}',
        '{"resourceSpans":[null]}',
    ],
)
def test_empty_requests(body: str):
    assert decode(body.encode()).items == 0


@pytest.mark.parametrize(
    "body",
    [
        "x",
        "[]",
        "null x",
        "{",
        '{"resourceSpans"',
        '{"resourceSpans":',
        '{"resourceSpans":[',
        '{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a',
        '{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]',
        '{"resourceSpans":[{}]} {}',
        '{"resourceSpans":{}}',
        '{"resourceSpans":[7]}',
        "{7:8}",
        "\0",
        "\udcff",
        body_of(GOOD).decode()[:-1],
    ],
)
def test_bodies_that_are_not_requests(body: str):
    with pytest.raises(UndecodableRequest):
        decode(body.encode(errors="surrogateescape"))


@pytest.mark.parametrize(
    ("member", "scope"),
    [
        ('"scope":{"name":"a\\u0000b"}', RejectionReason.INVALID_TEXT),
        ('"scope":{"name":"\\ud83d"}', RejectionReason.INVALID_TEXT),
        ('"scope":{"name":7}', RejectionReason.UNDECODABLE),
        ('"scope":"lib"', RejectionReason.UNDECODABLE),
        ('"schemaUrl":7', RejectionReason.UNDECODABLE),
    ],
)
def test_invalid_scope_rejects_only_its_spans(member: str, scope: RejectionReason):
    group = f'{{"spans":[{GOOD}]}}'
    bad = f'{{"spans":[{GOOD}],{member}}}'
    body = f'{{"resourceSpans":[{{"scopeSpans":[{group},{bad},{group}]}}]}}'
    request = decode(body.encode())
    assert [rejection.reason for rejection in request.rejections] == [scope]
    assert request.accepted == 2


def test_resource_may_be_null():
    body = b'{"resourceSpans":[{"resource":null,"scopeSpans":[{"scope":null,"spans":[%b]}]}]}'
    assert decode(body % GOOD.encode()).accepted == 1


@pytest.mark.slow
def test_attributes_beyond_the_number_of_nodes_are_bounded():
    pair = '{"key":"k","value":{"intValue":1}}'
    wide = (
        f'{GOOD[:-1]},"attributes":[{",".join([pair] * (NODES_MAX + 1))}],"endTimeUnixNano":"9"}}'
    )
    values = ",".join(["{}"] * NODES_MAX)
    array = f'{{"key":"array","value":{{"arrayValue":{{"values":[{values}]}}}}}}'
    long = f'{GOOD[:-1]},"attributes":[{array},{pair}],"status":{{"code":2}}}}'
    request = decode(body_of(wide, long, GOOD))
    wide_sent, long_sent, _ = (fragment.decode() for fragment in request.fragments)
    assert wide_sent.is_truncated
    assert wide_sent.attributes == {"k": 1}
    assert wide_sent.end_ns == 9
    assert long_sent.is_truncated
    assert long_sent.attributes == {}
    assert long_sent.status_code == 2


def test_braces_in_texts_are_not_counted():
    text = "{" * (NODES_MAX + 1)
    sent = decode_span(attributes=[{"key": "k", "value": {"stringValue": text}}])
    assert not sent.is_truncated
    assert sent.attributes == {"k": text}


def test_millions_of_empty_spans_and_groups_are_refused():
    for items in ('{"scopeSpans":[{"spans":[%s]}]}', '{"scopeSpans":[%s]}', "%s"):
        body = '{"resourceSpans":[%s]}' % (items % ",".join(["{}"] * 1_000_000))
        with pytest.raises(TooManyItems):
            decode(body.encode())


def test_walking_finds_what_one_pass_finds():
    text = 'a "quoted" {text] with \\ \\" é😀' + "x" * 100_000
    spans = [
        SPAN | {"name": text[:50], "attributes": [{"key": text, "value": {"stringValue": text}}]},
        SPAN | {"spanId": "ab" * 8, "events": [], "new": [{"a": [[], {}]}]},
    ]
    by_scope = [{"schemaUrl": "url", "scope": {"name": text}, "spans": spans}, {}, {"spans": []}]
    by_resource = [{"scopeSpans": by_scope, "resource": {}}, {"scopeSpans": [{"spans": spans}]}]
    body = {"resourceSpans": by_resource, "a": None}
    for indent in (None, 1):
        for ascii_only in (True, False):
            sent = json.dumps(body, indent=indent, ensure_ascii=ascii_only).encode()
            one_pass = json_outline(sent, Signal.TRACES, 10)
            walked = json_outline(sent, Signal.TRACES, 10, marks_max=0)
            assert as_bytes(walked) == as_bytes(one_pass)
            assert len(walked) == 4


def as_bytes(groups: list[Group]) -> list[list[list[bytes]]]:
    return [
        [[bytes(one) for one in part] for part in (g.items, g.resource, g.scope, g.schema_url)]
        for g in groups
    ]
