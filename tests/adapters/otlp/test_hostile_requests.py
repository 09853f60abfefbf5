"""No bytes lead to an error that isn't declared, to unbounded work, or to a blocked loop."""

import asyncio
import random
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.otlp.decoding.protobuf_values import ID_FIELDS_MAX
from adapters.otlp.decoding.requests import Codec
from adapters.otlp.decoding.stored import decode_sent, encode_sent
from domain.tracing.otel.requests import (
    DecodedRequest,
    Encoding,
    Signal,
    UnacceptableRequest,
)
from tests.support.builders.hostile_bodies import filled
from tests.support.builders.otlp_corpus import CAPTURES
from tests.support.builders.otlp_requests import (
    encoded,
    encoded_pair,
    length_delimited,
    logs_request,
    record,
    span,
    traces_of_encoded,
    traces_request,
    varint,
)
from tests.support.hypothesis_scale import scaled
from tests.support.loop_blocks import watched_loop

CODEC: Final = Codec()
BLOCK_MAX_MS: Final = 50.0
ITEMS_MAX: Final = 1_000

REQUEST: Final = traces_request(
    span({"a": [1, 2.5, {"k": "v"}], "b": b"\xff", "c": "é"}, flags=0x300),
    span({"d": True}, end_time_unix_nano=0),
    resource={"service.name": "s"},
    scope="l",
)
LOGS: Final = logs_request(record({"a": 1}), record({"gen_ai.response.id": "r"}))
SEEDS: Final = [
    *((one.signal, one.encoding, one.body) for one in CAPTURES if len(one.body) < 10_000),
    *((Signal.TRACES, encoding, encoded(REQUEST, encoding)) for encoding in Encoding),
    *((Signal.LOGS, encoding, encoded(LOGS, encoding)) for encoding in Encoding),
]
INTERESTING: Final = [
    *(b"\x00", b"\xff", b"\x80", b"\x7f", b"\x0a\x00", b"\xff" * 9 + b"\x01", b"\x0b", b"\x0c"),
    *(b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"null", b"-1", b"1e999", b"\\ud800"),
    *(b"{" * 300, b"[" * 3_000, b"\xed\xa0\x80", b'"\\u0000"', b"18446744073709551616"),
]


def decode(signal: Signal, encoding: Encoding, body: bytes) -> DecodedRequest | None:
    """None if the request as a whole isn't acceptable."""
    try:
        request = CODEC.decode(signal, encoding, body, ITEMS_MAX)
    except UnacceptableRequest:
        return None
    assert request.items == request.accepted + request.rejected + request.ignored
    for fragment in request.fragments:
        sent = fragment.decode()
        assert decode_sent(encode_sent(sent)) == sent
    CODEC.encode_answer(signal, encoding, request.rejections, request.rejected)
    return request


def mutated(body: bytes, chance: random.Random) -> bytes:
    data = bytearray(body)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0:
                del data[at:]
            case 1:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 2:
                data[at:at] = chance.choice(INTERESTING)
            case 3:
                del data[at : at + chance.randrange(1, 20)]
            case 4:
                data[at : at + 1] = bytes(
                    byte ^ 1 << chance.randrange(8) for byte in data[at : at + 1]
                )
            case 5:
                start = chance.randrange(len(data) + 1)
                data[at:at] = data[start : start + chance.randrange(200)]
    return bytes(data)


def test_mutated_requests():
    chance = random.Random(17)
    outcomes = {True: 0, False: 0}
    for number in range(scaled(20_000)):
        signal, encoding, body = SEEDS[number % len(SEEDS)]
        outcomes[decode(signal, encoding, mutated(body, chance)) is not None] += 1
    assert min(outcomes.values()) > 0


def test_mutated_spans_cost_no_other():
    chance = random.Random(17)
    good = span().SerializeToString()
    parts = [one.SerializeToString() for one in REQUEST.resource_spans[0].scope_spans[0].spans]
    outcomes = set()
    for number in range(scaled(10_000)):
        body = traces_of_encoded(good, mutated(parts[number % len(parts)], chance), good)
        request = decode(Signal.TRACES, Encoding.PROTOBUF, body)
        assert request is not None
        assert request.items == 3
        assert request.accepted >= 2
        outcomes |= {rejection.reason for rejection in request.rejections}
    assert len(outcomes) > 1


@pytest.mark.parametrize(("unknown", "is_named"), [(1, True), (ID_FIELDS_MAX, False)])
def test_ids_of_a_refused_span_are_looked_for_in_few_fields(unknown: int, is_named: bool):
    """A refused span may have tens of millions of fields, and looking at each takes a minute."""
    name = length_delimited(5, b"\xff")
    sent = span().SerializeToString()
    request = decode(
        Signal.TRACES, Encoding.PROTOBUF, traces_of_encoded(b"\x78\x00" * unknown + sent + name)
    )
    assert request is not None
    [refused] = request.rejections
    assert (refused.trace_id is not None, refused.span_id is not None) == (is_named, is_named)


@given(st.sampled_from(Signal), st.sampled_from(Encoding), st.binary(max_size=100))
def test_any_bytes(signal: Signal, encoding: Encoding, body: bytes):
    decode(signal, encoding, body)


def protobuf_bodies(size: int) -> Iterator[tuple[str, bytes]]:
    """Requests of about so many bytes, each as expensive as its shape can be."""
    good = span().SerializeToString()
    yield "empty groups", filled(b"", b"\x0a\x00", b"", size)
    yield "empty spans", traces_of_encoded(*[b""] * (size // 2))
    yield "unknown fields outside", filled(b"", b"\x78\x00", b"", size)
    yield "unknown fields in a span", traces_of_encoded(filled(good, b"\x78\x00", b"", size))
    pair = length_delimited(9, encoded_pair("k", b"\x18\x01"))
    yield "attributes", traces_of_encoded(filled(good, pair, b"", size))
    items = length_delimited(5, filled(b"", b"\x0a\x00", b"", size))
    yield "items", traces_of_encoded(good + length_delimited(9, encoded_pair("k", items)))
    yield "nested", traces_of_encoded(good + length_delimited(9, encoded_pair("k", nested(size))))
    text = length_delimited(1, b"x" * size)
    yield "one text", traces_of_encoded(good + length_delimited(9, encoded_pair("k", text)))
    bad = length_delimited(1, b"\xff" * size)
    yield "one bad text", traces_of_encoded(good + length_delimited(9, encoded_pair("k", bad)))
    pairs = filled(b"", length_delimited(1, encoded_pair("k", b"")), b"", size)
    resource = length_delimited(1, pairs)
    yield "resource", length_delimited(1, resource, length_delimited(2, length_delimited(2, good)))


def nested(size: int) -> bytes:
    """A value with as many arrays within each other as fit, made from inside."""
    parts: list[bytes] = []
    length = 0
    while length < size:
        for tag in (b"\x0a", b"\x2a"):  # an item of an array, the array of a value
            parts.append(tag + varint(length))
            length += len(parts[-1])
    return b"".join(reversed(parts))


def json_bodies(size: int) -> Iterator[tuple[str, bytes]]:
    spans = b'{"resourceSpans":[{"scopeSpans":[{"spans":['
    good = (
        b'{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"1112131415161718",'
        b'"startTimeUnixNano":"5"'
    )
    end = b"]}]}]}"
    for name, prefix, part, suffix in (
        ("empty groups", b'{"resourceSpans":[', b"{},", b"{}]}"),
        ("empty scopes", b'{"resourceSpans":[{"scopeSpans":[', b"{},", b"{}]}]}"),
        ("empty spans", spans, b"{},", b"{}" + end),
        ("numbers as spans", spans, b"1,", b"1" + end),
        ("numbers outside", b'{"new":[', b"1,", b"1]}"),
        ("strings outside", b'{"new":[', b'"",', b'""]}'),
        ("members outside", b"{", b'"":0,', b'"":0}'),
        ("brackets outside", b'{"new":', b"[", b"}"),
        ("blanks", b"", b" ", b"{}"),
        ("escapes", spans + good + b',"name":"', b'\\"{', b'"}' + end),
        ("backslashes", spans + good + b',"name":"', b"\\", b'"}' + end),
        ("half of a pair", spans + good + b',"name":"', b"\\ud800", b'"}' + end),
        ("no end", spans + good + b',"name":"', b"x", b""),
        ("not UTF-8", spans + good + b',"name":"', b"\xff", b'"}' + end),
        ("one text", spans + good + b',"name":"', b"x", b'"}' + end),
        ("keys", spans + good, b',"k":0', b"}" + end),
        ("digits", spans + good + b',"flags":', b"9", b"}" + end),
        (
            "attributes",
            spans + good + b',"attributes":[',
            b'{"key":"k","value":{"intValue":1}},',
            b"{}]}" + end,
        ),
        (
            "items",
            spans + good + b',"attributes":[{"key":"k","value":{"arrayValue":{"values":[',
            b"{},",
            b"{}]}}}]}" + end,
        ),
        (
            "nested",
            spans + good + b',"attributes":[{"key":"k","value":',
            b'{"arrayValue":{"values":[',
            end,
        ),
        ("resource", b'{"resourceSpans":[{"resource":{"attributes":[', b"{},", b"{}]}}]}"),
    ):
        yield name, filled(prefix, part, suffix, size)


BODIES = {Encoding.PROTOBUF: protobuf_bodies, Encoding.JSON: json_bodies}


@pytest.mark.parametrize("encoding", Encoding)
def test_expensive_shapes_are_decoded_or_refused(encoding: Encoding):
    for _, body in BODIES[encoding](100_000):
        decode(Signal.TRACES, encoding, body)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", Encoding)
async def test_expensive_shapes_block_nothing(encoding: Encoding):
    CODEC.load()
    blocked: dict[str, float] = {}
    for name, body in BODIES[encoding](scaled(8 << 20)):
        async with watched_loop() as blocks:
            await asyncio.to_thread(decode, Signal.TRACES, encoding, body)
        if blocks.scaled_ms > BLOCK_MAX_MS:
            blocked[name] = blocks.scaled_ms
    assert blocked == {}
