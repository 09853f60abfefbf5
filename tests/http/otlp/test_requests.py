"""OTLP requests over HTTP: types, codings, sizes, answers and errors."""

import gzip
import uuid
import zlib
from typing import Any

import pytest

from domain.errors import Invalid, Unavailable
from domain.ids import TraceId
from domain.tracing.otel.fragments import otel_span_id
from domain.tracing.otel.requests import Encoding
from entrypoints.http.config import HttpConfig
from entrypoints.http.middleware.otlp_errors import PATHS, PREFIXES
from tests.http.conftest import VERSION, Site
from tests.support.builders.otlp_requests import (
    SPAN_ID,
    TRACE_ID,
    encoded,
    logs_request,
    record,
    span,
    traces_request,
)
from tests.support.clients.asgi_client import chunk, exchange
from tests.support.clients.otlp_exporter import (
    OtlpExporter,
    error_of,
    partial_success,
    read_trace,
)
from tests.support.fakes.otlp_store import RecordedOtlpTraces

TRACE = TraceId(uuid.UUID(bytes=TRACE_ID))
EMPTY = {Encoding.PROTOBUF: b"", Encoding.JSON: b"{}"}
INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE = 3, 5, 14


@pytest.fixture(params=Encoding)
def encoding(request: pytest.FixtureRequest) -> Encoding:
    return request.param


@pytest.fixture
def exporter(either: Site, encoding: Encoding) -> OtlpExporter:
    return OtlpExporter(either.http, either.headers(), encoding)


@pytest.fixture
def local(site: Site, encoding: Encoding) -> OtlpExporter:
    """An exporter of the site in memory alone, for what doesn't depend on the store."""
    return OtlpExporter(site.http, site.headers(), encoding)


class TestStored:
    async def test_span_is_stored_when_the_answer_comes(self, exporter: OtlpExporter) -> None:
        answer = await exporter.export(traces_request(span({"gen_ai.request.model": "gpt-4o"})))
        assert (answer.status_code, answer.content) == (200, EMPTY[exporter.encoding])
        assert answer.headers["content-type"] == exporter.encoding
        trace = await read_trace(exporter.http, exporter.headers, str(TRACE))
        [stored] = trace["spans"]
        assert stored["span_id"] == str(otel_span_id(TRACE, SPAN_ID.hex()))
        assert (stored["name"], stored["model"]) == ("chat", "gpt-4o")

    async def test_repetition_changes_nothing(self, exporter: OtlpExporter) -> None:
        for _ in range(2):
            assert (await exporter.export(traces_request(span()))).status_code == 200
            trace = await read_trace(exporter.http, exporter.headers, str(TRACE))
            assert len(trace["spans"]) == 1

    async def test_record_adds_to_its_span(self, exporter: OtlpExporter) -> None:
        details = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}
        name = "gen_ai.client.inference.operation.details"
        answer = await exporter.export(logs_request(record(details, event_name=name)), "logs")
        assert (answer.status_code, answer.content) == (200, EMPTY[exporter.encoding])
        await exporter.export(traces_request(span()))
        trace = await read_trace(exporter.http, exporter.headers, str(TRACE))
        assert [one["model"] for one in trace["spans"]] == ["gpt-4o"]

    async def test_spans_of_many_traces(self, exporter: OtlpExporter) -> None:
        ids = [uuid.UUID(int=number + 1) for number in range(200)]
        answer = await exporter.export(traces_request(*(span(trace_id=one.bytes) for one in ids)))
        assert answer.status_code == 200
        page = await exporter.http.get("/traces?limit=1", headers=dict(exporter.headers))
        assert page.json()["total"] == 200

    async def test_large_body(self, exporter: OtlpExporter) -> None:
        """It is decoded in a thread, and each span again when it is written."""
        spans = [
            span({"input.value": "x" * 100_000}, span_id=bytes([1, *[0] * 6, number]))
            for number in range(60)
        ]
        body = encoded(traces_request(*spans), exporter.encoding)
        answer = await exporter.post(gzip.compress(body), headers={"content-encoding": "gzip"})
        assert answer.status_code == 200
        trace = await read_trace(exporter.http, exporter.headers, str(TRACE))
        assert len(trace["spans"]) == 60
        assert {one["input"] for one in trace["spans"]} == {"x" * 100_000}

    @pytest.mark.parametrize("prefix", PREFIXES)
    @pytest.mark.parametrize("end", ["", "/"])
    @pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
    async def test_every_path_answers_itself(
        self, local: OtlpExporter, prefix: str, end: str, signal: str
    ) -> None:
        local.prefix = prefix
        answer = await local.post(
            b"" if local.encoding is Encoding.PROTOBUF else b"{}", signal + end
        )
        assert (answer.status_code, answer.content) == (200, EMPTY[local.encoding])

    async def test_empty_request_is_a_success(self, local: OtlpExporter) -> None:
        for signal in ("traces", "logs"):
            assert (await local.post(b"", signal)).content == EMPTY[local.encoding]

    async def test_unknown_records_are_dropped(self, local: OtlpExporter) -> None:
        answer = await local.export(logs_request(record(event_name="http.request")), "logs")
        assert (answer.status_code, answer.content) == (200, EMPTY[local.encoding])

    async def test_metrics_are_not_decoded(self, local: OtlpExporter, site: Site) -> None:
        answer = await local.post(b"\xff", "metrics")
        assert (answer.status_code, answer.content) == (200, EMPTY[local.encoding])
        assert site.trace_count() == 0


class TestRejected:
    async def test_some_are_rejected_alone(self, exporter: OtlpExporter) -> None:
        bad = span(span_id=b"\1" * 8, start_time_unix_nano=0)
        answer = await exporter.export(traces_request(span(), bad, span(trace_id=b"")))
        count, message = partial_success(answer)
        assert count == 2
        assert "0101010101010101: no_start_time" in message
        assert "invalid_id" in message
        trace = await read_trace(exporter.http, exporter.headers, str(TRACE))
        assert len(trace["spans"]) == 1

    async def test_rejected_records_are_counted(self, exporter: OtlpExporter) -> None:
        answer = await exporter.export(logs_request(record(), record(trace_id=b"")), "logs")
        assert partial_success(answer, "logs")[0] == 1

    async def test_answer_shows_the_first_ten(self, local: OtlpExporter) -> None:
        bad = [span(start_time_unix_nano=0, span_id=bytes([1] * 7 + [n])) for n in range(30)]
        count, message = partial_success(await local.export(traces_request(span(), *bad)))
        assert count == 30
        assert message.count("no_start_time") == 10
        assert message.endswith("20 more")

    async def test_nothing_stored_is_400(self, local: OtlpExporter, site: Site) -> None:
        """Exporters log a 400, and no partial success."""
        answer = await local.export(traces_request(span(start_time_unix_nano=0)))
        error = error_of(answer)
        assert (error.status, error.code) == (400, INVALID_ARGUMENT)
        assert f"{SPAN_ID.hex()}: no_start_time" in error.message
        assert site.store.projects == {}

    @pytest.mark.parametrize("body", [b"\xff", b"[", b'{"resourceSpans": 1}'])
    async def test_undecodable_body_is_400(
        self, local: OtlpExporter, site: Site, body: bytes
    ) -> None:
        error = error_of(await local.post(body))
        assert (error.status, error.code) == (400, INVALID_ARGUMENT)
        assert site.store.projects == {}, "a refused request creates no project"

    async def test_refused_traces_are_rejected_and_others_stored(self, encoding: Encoding) -> None:
        erased = Invalid.field("trace_id", "this trace was erased")
        store = RecordedOtlpTraces(failures={TRACE: erased})
        site = Site(swapped={"otlp": store})
        async with site.http:
            exporter = OtlpExporter(site.http, site.headers(), encoding)
            other = span(trace_id=b"\2" * 16)
            count, message = partial_success(
                await exporter.export(traces_request(span(), other, span(span_id=b"\3" * 8)))
            )
            assert (count, len(store.puts)) == (2, 1)
            assert f"2 of trace {TRACE.hex}: not_storable (this trace was erased)" in message
            assert (await exporter.export(traces_request(span()))).status_code == 400

    @pytest.mark.parametrize(("wait_s", "sent"), [(1, "2"), (2, "2"), (15, "3")])
    async def test_failing_store_is_503(self, encoding: Encoding, wait_s: int, sent: str) -> None:
        store = RecordedOtlpTraces(failures={TRACE: Unavailable("Full", retry_after_s=wait_s)})
        site = Site(swapped={"otlp": store})
        async with site.http:
            exporter = OtlpExporter(site.http, site.headers(), encoding)
            answer = await exporter.export(traces_request(span()))
        assert error_of(answer).code == UNAVAILABLE
        assert answer.headers.get_list("retry-after") == [sent]


class TestTypesAndCodings:
    @pytest.mark.parametrize(
        "content_type",
        [
            "application/json; charset=utf-8",
            "Application/JSON",
            "application/x-protobuf",
            "APPLICATION/X-PROTOBUF;a=b",
        ],
    )
    async def test_accepted_types(
        self, site: Site, head: dict[str, str], content_type: str
    ) -> None:
        encoding = Encoding.JSON if "json" in content_type.lower() else Encoding.PROTOBUF
        body = encoded(traces_request(span()), encoding)
        sent = head | {"content-type": content_type}
        answer = await site.http.post("/v1/traces", headers=sent, content=body)
        assert (answer.status_code, answer.headers["content-type"]) == (200, encoding)

    @pytest.mark.parametrize(
        "content_type", ["", "text/plain", "application/protobuf", "application/x-ndjson"]
    )
    async def test_other_types_are_415(
        self, site: Site, head: dict[str, str], content_type: str
    ) -> None:
        sent = head | ({"content-type": content_type} if content_type else {})
        answer = await site.http.post("/v1/traces", headers=sent, content=b"{}")
        error = error_of(answer)
        assert (error.status, error.code) == (415, INVALID_ARGUMENT)
        assert "application/x-protobuf or application/json" in error.message
        assert answer.headers["content-type"] == "application/json"

    @pytest.mark.parametrize("coding", ["gzip", "identity", "deflate"])
    async def test_codings(self, local: OtlpExporter, coding: str) -> None:
        body = encoded(traces_request(span()), local.encoding)
        packed = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}[coding](body)
        answer = await local.post(packed, headers={"content-encoding": coding})
        assert answer.status_code == 200

    async def test_unknown_coding_is_415(self, local: OtlpExporter) -> None:
        error = error_of(await local.post(b"", headers={"content-encoding": "snappy"}))
        assert (error.status, error.code) == (415, INVALID_ARGUMENT)

    async def test_invalid_coding_is_400(self, local: OtlpExporter) -> None:
        error = error_of(await local.post(b"x", headers={"content-encoding": "gzip"}))
        assert (error.status, error.code) == (400, INVALID_ARGUMENT)


@pytest.fixture
async def small(encoding: Encoding) -> Any:
    """A site that accepts bodies of 10,000 bytes with three spans."""
    config = HttpConfig(
        version=VERSION, environment="test", otlp_max_body_bytes=10_000, otlp_max_spans=3
    )
    site = Site(config=config)
    async with site.http:
        yield OtlpExporter(site.http, site.headers(), encoding)


class TestSizes:
    async def test_larger_body_is_413_with_the_limit(self, small: OtlpExporter) -> None:
        error = error_of(await small.post(b" " * 10_001))
        assert (error.status, error.code) == (413, INVALID_ARGUMENT)
        assert "10000 bytes" in error.message

    async def test_larger_inflated_body_is_413(self, small: OtlpExporter) -> None:
        for size in (10_001, 50_000_000):
            body = gzip.compress(b" " * size)
            error = error_of(await small.post(body, headers={"content-encoding": "gzip"}))
            assert (error.status, error.code) == (413, INVALID_ARGUMENT)

    async def test_more_spans_are_413_with_the_limit(self, small: OtlpExporter) -> None:
        spans = [span(span_id=bytes([1] * 7 + [number])) for number in range(4)]
        error = error_of(await small.export(traces_request(*spans)))
        assert (error.status, error.code) == (413, INVALID_ARGUMENT)
        assert "3 spans" in error.message
        assert (await small.export(traces_request(*spans[:3]))).status_code == 200

    async def test_metrics_are_bounded(self, small: OtlpExporter) -> None:
        assert error_of(await small.post(b" " * 10_001, "metrics")).status == 413

    async def test_body_limit_is_not_that_of_other_endpoints(self) -> None:
        config = HttpConfig(version=VERSION, environment="test", max_body_bytes=1_024)
        site = Site(config=config)
        async with site.http:
            exporter = OtlpExporter(site.http, site.headers())
            answer = await exporter.export(traces_request(span({"input.value": "x" * 5_000})))
        assert answer.status_code == 200


class TestErrors:
    @pytest.mark.parametrize("path", sorted(PATHS))
    async def test_wrong_method_is_405(self, site: Site, path: str, encoding: Encoding) -> None:
        for sent in (path, f"{path}/"):
            answer = await site.http.get(sent, headers={"content-type": encoding})
            assert error_of(answer).status == 405
            assert set(answer.headers["allow"].split(", ")) == {"OPTIONS", "POST"}

    async def test_errors_are_never_compressed(self, local: OtlpExporter) -> None:
        text = {"traceloop.association.properties.session_id": "\0"}
        bad = [span(text, span_id=bytes([1] * 7 + [n])) for n in range(30)]
        body = encoded(traces_request(*bad), local.encoding)
        answer = await local.post(body, headers={"accept-encoding": "gzip, zstd"})
        assert "content-encoding" not in answer.headers
        assert len(error_of(answer).message) > 1_024

    async def test_unexpected_fault_is_500(self, encoding: Encoding) -> None:
        site = Site(swapped={"otlp": RecordedOtlpTraces(failures={TRACE: RuntimeError("secret")})})
        async with site.http:
            exporter = OtlpExporter(site.http, site.headers(), encoding)
            error = error_of(await exporter.export(traces_request(span())))
        assert (error.status, error.code, error.message) == (500, 13, "Internal server error")

    async def test_aborted_body_is_400(self, site: Site, head: dict[str, str]) -> None:
        sent = head | {"content-type": "application/x-protobuf"}
        parts = [chunk(b"a"), {"type": "http.disconnect"}]
        messages, _ = await exchange(site.app, "POST", "/v1/traces", sent, parts)
        assert messages[0]["status"] == 400

    async def test_other_errors_keep_their_form(self, site: Site) -> None:
        for path in ("/traces", "/v1", "/v1/trace", "/v1/traces/x"):
            answer = await site.http.get(path, headers={"content-type": Encoding.PROTOBUF})
            assert list(answer.json()) == ["detail"]
