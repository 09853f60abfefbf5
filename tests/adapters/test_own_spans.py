"""Spans of our own: joined to their callers', sent as OTLP, and never in anybody's way."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.embedded.process import free_port
from adapters.own_spans import (
    AGENT,
    SENT_AT_ONCE,
    SPANS_MAX,
    OwnSpans,
    Place,
    SpanKind,
    here,
    place_of,
)
from entrypoints.http.middleware.tracing import SENDERS

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
OF_CALLER = f"00-{TRACE}-{SPAN}-01"
NEVER_S = 3_600.0


@dataclass
class Collector:
    """Takes OTLP over HTTP on loopback, and answers with `status`."""

    url: str = ""
    status: int = 200
    heads: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    @property
    def spans(self) -> list[dict[str, Any]]:
        return [
            span
            for body in self.bodies
            for resource in body["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length: ")[2].split("\r\n")[0])
        self.heads.append(head)
        self.bodies.append(json.loads(await reader.readexactly(length)))
        writer.write(f"HTTP/1.1 {self.status} -\r\ncontent-length: 0\r\n".encode())
        writer.write(b"connection: close\r\n\r\n")
        await writer.drain()
        writer.close()


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    async with await asyncio.start_server(collector.answer, "127.0.0.1", 0) as server:
        collector.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield collector


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as made:
        yield made


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


async def test_what_is_left_is_sent_at_the_end_as_otlp(collector):
    resource = {"service.name": "ours"}
    headers = {"x-token": "secret"}
    async with OwnSpans.over(collector.url + "/", headers, resource, every_s=NEVER_S) as spans:
        with spans.span("POST /traces", SpanKind.SERVER, place_of(OF_CALLER)) as doing:
            doing.attributes.update(code=202, share=0.5, is_new=True, route="/traces")
            with spans.span("inside"):
                pass
    [body] = collector.bodies
    assert body["resourceSpans"][0]["resource"]["attributes"] == [
        {"key": "service.name", "value": {"stringValue": "ours"}}
    ]
    inner, outer = collector.spans
    assert (outer["traceId"], outer["parentSpanId"]) == (TRACE, SPAN)
    assert (inner["traceId"], inner["parentSpanId"]) == (TRACE, outer["spanId"])
    assert (outer["kind"], inner["kind"], outer["name"]) == (2, 1, "POST /traces")
    assert [one["value"] for one in outer["attributes"]] == [
        {"intValue": "202"}, {"doubleValue": 0.5}, {"boolValue": True}, {"stringValue": "/traces"},
    ]  # fmt: skip
    assert int(outer["startTimeUnixNano"]) <= int(inner["startTimeUnixNano"])
    assert int(inner["endTimeUnixNano"]) <= int(outer["endTimeUnixNano"])
    assert "status" not in outer
    [head] = collector.heads
    assert head.startswith("post /v1/traces http/1.1")
    assert "x-token: secret" in head
    assert "content-type: application/json" in head


async def test_a_span_whose_work_fails_says_so_and_no_more(collector):
    async with OwnSpans.over(collector.url, {}, {}) as spans:
        with pytest.raises(KeyError), spans.span("target"):
            raise KeyError("a secret")
    [span] = collector.spans
    assert span["status"] == {"code": 2}
    assert "secret" not in json.dumps(collector.bodies)
    assert "parentSpanId" not in span


async def test_who_does_not_sample_gets_no_spans(collector):
    async with OwnSpans.over(collector.url, {}, {}) as spans:
        with spans.span("request", SpanKind.SERVER, place_of(f"00-{TRACE}-{SPAN}-00")):
            place = here()
            spans.record("group commit", SpanKind.INTERNAL, 0.1, {}, above=[place] if place else [])
    assert place is not None
    assert collector.bodies == []


async def test_what_many_share_is_below_the_first_and_linked_to_the_others(collector):
    places = [Place(f"{n:032x}", f"{n:016x}") for n in (1, 2, 3)]
    async with OwnSpans.over(collector.url, {}, {}) as spans:
        spans.record("group commit", SpanKind.INTERNAL, 1.5, {"n": 3}, above=places)
    [span] = collector.spans
    assert (span["traceId"], span["parentSpanId"]) == (places[0].trace_id, places[0].span_id)
    assert [one["spanId"] for one in span["links"]] == [one.span_id for one in places[1:]]
    assert int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"]) == 1_500_000_000


async def test_a_trace_of_a_known_id_begins_wherever_it_does(collector):
    place = Place(TRACE, SPAN)
    async with OwnSpans.over(collector.url, {}, {}) as spans:
        with spans.span("request"):
            spans.moment("7" * 32, "start", {"n": 1}, place)
            with spans.span("work", trace_id="7" * 32):
                spans.record("inside", SpanKind.CLIENT, 0.0, {})
    start, inside, work, _ = collector.spans
    assert {one["traceId"] for one in (start, inside, work)} == {"7" * 32}
    assert start["links"] == [{"traceId": TRACE, "spanId": SPAN}]
    assert start["startTimeUnixNano"] == start["endTimeUnixNano"]
    assert "parentSpanId" not in start
    assert "parentSpanId" not in work
    assert inside["parentSpanId"] == work["spanId"]


async def test_each_task_is_in_its_own_span(collector):
    async with OwnSpans.over(collector.url, {}, {}) as spans:

        async def work(name: str) -> None:
            with spans.span(name):
                await asyncio.sleep(0)
                spans.record(f"{name} judge", SpanKind.CLIENT, 0.0, {})

        await asyncio.gather(work("a"), work("b"))
        assert here() is None
    known = {one["name"]: one for one in collector.spans}
    for name in "ab":
        assert known[f"{name} judge"]["parentSpanId"] == known[name]["spanId"]
    assert known["a"]["traceId"] != known["b"]["traceId"]


async def test_too_many_are_dropped_and_counted_and_sent_in_parts(collector):
    told: Counter[str] = Counter()

    def on_spans(what: str, count: int) -> None:
        told[what] += count

    async with OwnSpans.over(collector.url, {}, {}, on_spans, NEVER_S) as spans:
        for _ in range(SPANS_MAX + 3):
            spans.record("x", SpanKind.INTERNAL, 0.0, {})
        assert told == {"dropped": 3}
        await spans.send()
    assert told == {"dropped": 3, "sent": SPANS_MAX}
    assert len(collector.bodies) == SPANS_MAX // SENT_AT_ONCE


async def test_a_collector_that_is_away_costs_spans_and_nothing_else(collector, caplog):
    told: Counter[str] = Counter()

    def on_spans(what: str, count: int) -> None:
        told[what] += count

    away = f"http://127.0.0.1:{free_port()}"
    async with OwnSpans.over(away, {}, {}, on_spans, NEVER_S) as spans:
        for _ in range(2):
            spans.record("x", SpanKind.INTERNAL, 0.0, {})
            await spans.send()
    assert told == {"refused": 2}
    assert len(caplog.records) == 1  # it is told once
    collector.status = 503
    async with OwnSpans.over(collector.url, {}, {}, on_spans) as spans:
        spans.record("x", SpanKind.INTERNAL, 0.0, {})
    assert told == {"refused": 3}


async def test_what_is_on_its_way_at_the_end_is_sent_once_more(collector):
    is_asked = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if is_asked.is_set():
            await collector.answer(reader, writer)
        is_asked.set()
        await reader.read()  # of the first one until it hangs up
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with OwnSpans.over(url, {}, {}, every_s=0.01) as spans:
            for name in "ab":
                spans.record(name, SpanKind.INTERNAL, 0.0, {})
            await is_asked.wait()
    assert [one["name"] for one in collector.spans] == ["a", "b"]


async def test_they_are_sent_by_themselves(collector):
    async with OwnSpans.over(collector.url, {}, {}, every_s=0.01) as spans:
        spans.record("x", SpanKind.INTERNAL, 0.0, {})
        async with asyncio.timeout(10):
            while not collector.bodies:
                await asyncio.sleep(0.01)
    assert len(collector.spans) == 1


def test_our_own_exporter_is_known_where_its_requests_come_in():
    assert AGENT.encode().startswith(SENDERS)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        OF_CALLER[:-1],
        f"01-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        OF_CALLER.upper(),
        f"{OF_CALLER}-more",
    ],
)
def test_what_is_no_traceparent_is_passed_over(header):
    assert place_of(header) is None


@given(st.text())
def test_no_header_breaks_anything(text):
    assert place_of(text) is None or text.strip().startswith("00-")


@pytest.mark.parametrize(("flags", "is_sampled"), [("00", False), ("01", True), ("03", True)])
def test_the_flag_of_a_traceparent_decides(flags, is_sampled):
    assert place_of(f"00-{TRACE}-{SPAN}-{flags}") == Place(TRACE, SPAN, is_sampled)
