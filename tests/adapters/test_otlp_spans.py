"""Spans of this server: they continue traces of callers, and export never blocks requests."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace as opentelemetry_trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, TraceFlags

from adapters.embedded.process import free_port
from adapters.otlp_spans import (
    BATCH_SPANS_MAX,
    LINKS_MAX,
    QUEUED_SPANS_MAX,
    USER_AGENT,
    OtlpSpans,
)
from entrypoints.http.middleware.tracing import OWN_EXPORTER
from tests.support.waiting import in_time

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
NEVER_S = 3_600.0


def attributes(pairs: Iterable[KeyValue]) -> dict[str, object]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in pairs}


@dataclass
class Collector:
    """Accepts OTLP over HTTP on loopback, and answers with `status` once `is_open` is set."""

    url: str = ""
    status: int = 200
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    is_asked: asyncio.Event = field(default_factory=asyncio.Event)
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def requests(self) -> list[ExportTraceServiceRequest]:
        return list(map(ExportTraceServiceRequest.FromString, self.bodies))

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length: ")[2].split("\r\n")[0])
        body = await reader.readexactly(length)
        self.is_asked.set()
        await self.is_open.wait()
        self.heads.append(head)
        self.bodies.append(body)
        writer.write(f"HTTP/1.1 {self.status} -\r\ncontent-length: 0\r\n".encode())
        writer.write(b"connection: close\r\n\r\n")
        await writer.drain()
        writer.close()


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    collector.is_open.set()
    async with await asyncio.start_server(collector.answer, "127.0.0.1", 0) as server:
        collector.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield collector
        collector.is_open.set()  # the server waits for its open requests at exit


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as collector:
        yield collector


@pytest.fixture
def outcomes() -> Counter[str]:
    """The number of spans by outcome of their export, as `count_in` counts them."""
    return Counter()


async def until(outcomes: Counter[str], expected: dict[str, int]) -> None:
    async with in_time():
        while outcomes != expected:
            await asyncio.sleep(0.01)


def count_in(outcomes: Counter[str]):
    def count(outcome: str, number: int) -> None:
        outcomes[outcome] += number

    return count


def context(number: int, *, is_sampled: bool = True) -> SpanContext:
    return SpanContext(number, number, is_remote=True, trace_flags=TraceFlags(is_sampled))


async def test_queued_spans_are_exported_at_shutdown(collector):
    resource = {"service.name": "ours"}
    headers = {"x-token": "secret"}
    async with OtlpSpans.exporting(
        collector.url + "/", headers, resource, every_s=NEVER_S
    ) as spans:
        with spans.request(TRACEPARENT) as request:
            spans.record("inside", "internal", 0.0, {"share": 0.5, "is_new": True})
            fields = {"http.response.status_code": 202, "http.route": "/traces"}
            request.ended("POST /traces", fields, has_failed=False)
    [body] = collector.requests
    resource = attributes(body.resource_spans[0].resource.attributes)
    assert resource["service.name"] == "ours"
    assert resource["telemetry.sdk.language"] == "python"
    inner, outer = collector.spans
    assert (outer.trace_id.hex(), outer.parent_span_id.hex()) == (TRACE, SPAN)
    assert (inner.trace_id.hex(), inner.parent_span_id) == (TRACE, outer.span_id)
    assert (outer.kind, inner.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_INTERNAL)
    assert (outer.name, attributes(outer.attributes)) == ("POST /traces", fields)
    assert attributes(inner.attributes) == {"share": 0.5, "is_new": True}
    assert outer.start_time_unix_nano <= inner.start_time_unix_nano
    assert inner.end_time_unix_nano <= outer.end_time_unix_nano
    assert outer.status.code == Status.STATUS_CODE_UNSET
    [head] = collector.heads
    assert head.startswith("post /v1/traces http/1.1")
    assert "x-token: secret" in head
    assert "content-type: application/x-protobuf" in head
    assert f"user-agent: {USER_AGENT}" in head


async def test_failed_span_has_error_status_without_message(collector):
    async with OtlpSpans.exporting(collector.url, {}, {}) as spans:
        with pytest.raises(KeyError), spans.request(""):
            raise KeyError("a secret")
    [span] = collector.spans
    assert (span.status.code, span.status.message) == (Status.STATUS_CODE_ERROR, "")
    assert not any(b"secret" in body for body in collector.bodies)
    assert span.parent_span_id == b""


async def test_unsampled_caller_gets_no_spans(collector):
    async with OtlpSpans.exporting(collector.url, {}, {}) as spans:
        with spans.request(f"00-{TRACE}-{SPAN}-00"):
            current = spans.current()
            spans.record("group commit", "internal", 0.1, {}, above=[current])
    assert collector.bodies == []


async def test_span_shared_by_callers_has_first_as_parent_and_limited_links(collector):
    callers = [context(n) for n in range(1, LINKS_MAX + 9)]
    async with OtlpSpans.exporting(collector.url, {}, {}) as spans:
        spans.record("group commit", "internal", 1.5, {"n": 3}, above=callers)
    [span] = collector.spans
    assert (int.from_bytes(span.trace_id), int.from_bytes(span.parent_span_id)) == (1, 1)
    assert [int.from_bytes(one.span_id) for one in span.links] == [*range(2, LINKS_MAX + 2)]
    assert span.end_time_unix_nano - span.start_time_unix_nano == 1_500_000_000


async def test_spans_of_a_run_share_its_trace_id(collector):
    run = UUID("0192f1c0-0000-7000-8000-000000000007")
    async with OtlpSpans.exporting(collector.url, {}, {}) as spans:
        with spans.request(TRACEPARENT):
            with spans.root(run, "start", {"n": 1}, spans.current()):
                pass
            with spans.root(run, "work", {"n": 2}):
                spans.record("inside", "client", 0.0, {})
    start, inside, work, request = collector.spans
    assert {one.trace_id for one in (start, inside, work)} == {run.bytes}
    [link] = start.links
    assert (link.trace_id, link.span_id) == (request.trace_id, request.span_id)
    assert start.parent_span_id == work.parent_span_id == b""
    assert inside.parent_span_id == work.span_id
    assert request.trace_id.hex() == TRACE


async def test_concurrent_tasks_have_separate_spans(collector):
    async with OtlpSpans.exporting(collector.url, {}, {}) as spans:

        async def work(name: str) -> None:
            with spans.request("") as request:
                await asyncio.sleep(0)
                spans.record(f"{name} judge", "client", 0.0, {})
                request.ended(name, {}, has_failed=False)

        await asyncio.gather(work("a"), work("b"))
        assert spans.current() is None
    by_name = {one.name: one for one in collector.spans}
    for name in "ab":
        assert by_name[f"{name} judge"].parent_span_id == by_name[name].span_id
    assert by_name["a"].trace_id != by_name["b"].trace_id


async def test_spans_beyond_queue_are_dropped_and_rest_is_exported_in_batches(collector, outcomes):
    collector.is_open.clear()
    async with OtlpSpans.exporting(collector.url, {}, {}, count_in(outcomes)) as spans:
        for _ in range(QUEUED_SPANS_MAX + 3):
            spans.record("x", "internal", 0.0, {})
        assert outcomes == {"dropped": 3}
        collector.is_open.set()
        await until(outcomes, {"dropped": 3, "sent": QUEUED_SPANS_MAX})
    assert len(collector.bodies) == QUEUED_SPANS_MAX // BATCH_SPANS_MAX


async def test_consecutive_failures_are_logged_once(collector, outcomes, caplog):
    collector.status = 400
    async with OtlpSpans.exporting(
        collector.url, {}, {}, count_in(outcomes), every_s=0.01
    ) as spans:
        for number in (1, 2):
            spans.record("x", "internal", 0.0, {})
            await until(outcomes, {"refused": number})
        assert len(caplog.records) == 1
        collector.status = 200
        spans.record("x", "internal", 0.0, {})
        await until(outcomes, {"refused": 2, "sent": 1})
        collector.status = 400
        spans.record("x", "internal", 0.0, {})
    assert outcomes == {"refused": 3, "sent": 1}
    assert len(caplog.records) == 2


@pytest.mark.slow
async def test_unreachable_collector_only_loses_spans(outcomes):
    closed_port = f"http://127.0.0.1:{free_port()}"
    async with OtlpSpans.exporting(closed_port, {}, {}, count_in(outcomes), every_s=0.01) as spans:
        spans.record("x", "internal", 0.0, {})
    await until(outcomes, {"refused": 1})
    assert outcomes.total() == 1


@pytest.mark.slow
async def test_silent_collector_delays_shutdown_only_briefly(collector, caplog):
    collector.is_open.clear()
    async with in_time(), OtlpSpans.exporting(collector.url, {}, {}, every_s=0.01) as spans:
        spans.record("x", "internal", 0.0, {})
        await collector.is_asked.wait()
    assert "spans of this server that were not exported: 1" in caplog.messages


async def test_spans_queued_behind_batch_are_exported_at_shutdown(collector):
    collector.is_open.clear()
    async with OtlpSpans.exporting(collector.url, {}, {}, every_s=0.01) as spans:
        spans.record("a", "internal", 0.0, {})
        await collector.is_asked.wait()
        spans.record("b", "internal", 0.0, {})
        asyncio.get_running_loop().call_soon(collector.is_open.set)
    assert [one.name for one in collector.spans] == ["a", "b"]


async def test_spans_are_exported_periodically(collector, outcomes):
    async with OtlpSpans.exporting(
        collector.url, {}, {}, count_in(outcomes), every_s=0.01
    ) as spans:
        spans.record("x", "internal", 0.0, {})
        await until(outcomes, {"sent": 1})
    assert len(collector.spans) == 1


async def test_libraries_of_this_process_create_no_spans(collector):
    async with OtlpSpans.exporting(collector.url, {}, {}) as spans:
        with spans.request(""):
            assert not isinstance(opentelemetry_trace.get_tracer_provider(), TracerProvider)
            with opentelemetry_trace.get_tracer("a library").start_as_current_span("theirs"):
                pass
    assert [one.name for one in collector.spans] == ["request"]


def test_requests_of_own_exporter_are_recognized():
    assert USER_AGENT.encode().startswith(OWN_EXPORTER)


IN_MEMORY = OtlpSpans(SimpleSpanProcessor(InMemorySpanExporter()), {})


def trace_of_request(traceparent: str) -> SpanContext:
    with IN_MEMORY.request(traceparent):
        found = IN_MEMORY.current()
    assert found is not None
    return found


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        TRACEPARENT[:-1],
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        TRACEPARENT.upper(),
        f"{TRACEPARENT}-more",
    ],
)
def test_malformed_traceparent_is_ignored(header):
    found = trace_of_request(header)
    assert (f"{found.trace_id:032x}" != TRACE, found.trace_flags.sampled) == (True, True)


@pytest.mark.parametrize(
    "header", [TRACEPARENT, f"01-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-x"]
)
def test_traceparent_of_later_version_is_read(header):
    assert f"{trace_of_request(header).trace_id:032x}" == TRACE


@given(st.text(st.characters(max_codepoint=255)))
def test_arbitrary_traceparent_gives_valid_context(text):
    assert trace_of_request(text).is_valid


@pytest.mark.parametrize(("flags", "is_sampled"), [("00", False), ("01", True), ("03", True)])
def test_sampled_flag_of_traceparent_is_respected(flags, is_sampled):
    assert trace_of_request(f"00-{TRACE}-{SPAN}-{flags}").trace_flags.sampled == is_sampled
