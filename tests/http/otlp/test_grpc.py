"""OTLP over gRPC: the same requests, limits and answers as over HTTP, with statuses of gRPC."""

import asyncio
import gzip
import struct
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

import grpc
import pytest
from grpc import aio
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    SimpleSpanProcessor,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from adapters.memory.token_buckets import MemoryTokenBuckets
from application.use_cases import UseCases
from domain.identity.api_key import Scope
from domain.tracing.otel.requests import Encoding, RejectionReason
from entrypoints.composition.memory import replace_ports
from entrypoints.http.middleware.load_shedding import (
    BODIES_MAX_BYTES,
    OVERLOADED,
    REQUESTS_MAX,
    LoadShedding,
)
from entrypoints.http.middleware.otlp_errors import OtlpErrors
from entrypoints.http.middleware.volume_limits import VolumeLimits
from entrypoints.server.grpc_calls import PATHS, STATUS_MESSAGE_MAX_BYTES, Answer, call, parse_peer
from tests.http.conftest import CONFIG, TOKEN, Site
from tests.http.otlp.test_overload import BlockedStore, Down, until_inside
from tests.support.builders.otlp_requests import (
    TRACE_ID,
    encoded,
    logs_request,
    record,
    span,
    traces_request,
)
from tests.support.clients.grpc_exporter import (
    INVALID,
    LOOPBACK,
    METHODS,
    OK,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    GrpcAnswer,
    GrpcExporter,
    grpc_exporter,
    grpc_server,
    open_channel,
)
from tests.support.clients.otlp_exporter import OtlpExporter, read_trace
from tests.support.fakes.clocks import MicrosecondClock
from tests.support.waiting import in_time, until

TRACE = str(uuid.UUID(bytes=TRACE_ID))
SPAN = traces_request(span({"gen_ai.request.model": "gpt-4o"}))
MESSAGE = encoded(SPAN, Encoding.PROTOBUF)
BODY_MAX_BYTES = 10_000


@pytest.fixture
async def exporter(site: Site) -> AsyncIterator[GrpcExporter]:
    async with grpc_exporter(site.app, site.headers()) as exporter:
        yield exporter


async def reasons(site: Site, exporter: GrpcExporter) -> list[str]:
    """Why something was rejected, as the project's list says."""
    answer = await site.http.get("/ingest/rejections", headers=dict(exporter.headers))
    assert answer.status_code == 200
    return [one["reason"] for one in answer.json()["items"]]


# Parts of HTTP/2: a frame without settings, its type, and the number of a setting.
EMPTY_SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
CLIENT_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + EMPTY_SETTINGS
SETTINGS_FRAME = 4
MAX_CONCURRENT_STREAMS = 3


# --- what is stored ----------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_spans_are_stored_as_over_http(
    site: Site, exporter: GrpcExporter, compression: grpc.Compression
) -> None:
    exporter.compression = compression
    answer = await exporter.send(MESSAGE)
    assert (answer.code, answer.body) == (OK, b"")
    assert len(answer.trailers["x-request-id"]) == 36
    over_http = site.headers(project="over-http")
    assert (await OtlpExporter(site.http, over_http).export(SPAN)).status_code == 200
    stored = await read_trace(site.http, exporter.headers, TRACE)
    expected = await read_trace(site.http, over_http, TRACE)
    assert stored == expected | {"project_id": stored["project_id"]}


async def test_logs_are_stored_and_metrics_are_accepted(site: Site, exporter: GrpcExporter) -> None:
    assert (await exporter.send(MESSAGE)).code is OK
    body = logs_request(record(body={"string_value": "Hello"})).SerializeToString()
    assert (await exporter.send(body, "logs")).code is OK
    assert (await exporter.send(b"anything", "metrics")).code is OK
    [span] = (await read_trace(site.http, exporter.headers, TRACE))["spans"]
    assert "Hello" in str(span["input"])


async def test_rejected_spans_are_a_partial_success(site: Site, exporter: GrpcExporter) -> None:
    answer = await exporter.send(
        traces_request(span(), span(start_time_unix_nano=0)).SerializeToString()
    )
    assert answer.code is OK
    partial = ExportTraceServiceResponse.FromString(answer.body).partial_success
    assert partial.rejected_spans == 1
    assert "no_start_time" in partial.error_message
    assert await reasons(site, exporter) == [RejectionReason.NO_START_TIME]


async def test_official_exporter_is_acknowledged(site: Site) -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    with provider.get_tracer("test").start_as_current_span("chat") as made:
        trace = str(uuid.UUID(int=made.get_span_context().trace_id))
    headers = site.headers()
    async with grpc_server(site.app) as (_, port):

        def export() -> SpanExportResult:
            exporter = OTLPSpanExporter(
                f"http://{LOOPBACK}:{port}",
                headers=tuple(headers.items()),
                compression=grpc.Compression.Gzip,
            )
            try:
                return exporter.export(spans.get_finished_spans())
            finally:
                exporter.shutdown()

        assert await asyncio.to_thread(export) is SpanExportResult.SUCCESS
    assert (await read_trace(site.http, headers, trace))["name"] == "chat"


# --- credentials -------------------------------------------------------------------------------


def basic(user: str, password: str) -> str:
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


async def test_each_form_of_credentials_is_accepted(site: Site, exporter: GrpcExporter) -> None:
    for headers in (
        {"authorization": f"Bearer {site.key()}", "x-project-name": "ours"},
        {"authorization": basic("ours", site.key())},
        {"authorization": f"Bearer%20{site.key()}", "x-project-name": "ours"},
    ):
        exporter.headers = headers
        assert (await exporter.send(MESSAGE)).code is OK
    [ours] = site.store.projects.values()
    exporter.headers = {"authorization": f"Bearer {TOKEN}", "x-project-id": str(ours.id)}
    await site.http.get("/me", headers={"authorization": f"Bearer {TOKEN}"})
    assert (await exporter.send(MESSAGE)).code is grpc.StatusCode.NOT_FOUND  # not Ada's


async def test_person_names_another_organization_of_theirs(
    site: Site, exporter: GrpcExporter
) -> None:
    bearer = {"authorization": f"Bearer {TOKEN}"}
    await site.http.get("/me", headers=bearer)
    made = await site.http.post("/organizations", headers=bearer, json={"name": "Second"})
    second = made.json()["id"]
    [project] = (await site.http.get(f"/organizations/{second}/projects", headers=bearer)).json()
    exporter.headers = bearer | {"x-project-id": project["id"], "x-organization-id": second}
    assert (await exporter.send(MESSAGE)).code is OK


async def test_wrong_credentials(site: Site, exporter: GrpcExporter) -> None:
    code = grpc.StatusCode
    for headers, expected in (
        ({}, code.UNAUTHENTICATED),
        ({"x-api-key": "pp_unknown", "x-project-name": "ours"}, code.UNAUTHENTICATED),
        ({"authorization": basic("ours", "pp_unknown")}, code.UNAUTHENTICATED),
        (site.headers(Scope.READ), code.PERMISSION_DENIED),
        ({"x-api-key": site.key()}, code.INVALID_ARGUMENT),  # which project?
        (
            {"authorization": f"Bearer {TOKEN}", "x-project-id": site.project()},
            code.NOT_FOUND,  # of another organization
        ),
    ):
        exporter.headers = headers
        answer = await exporter.send(MESSAGE)
        assert (answer.code, answer.retry_s) == (expected, None), headers
    assert site.trace_count() == 0


async def test_metadata_that_describes_the_message_is_ignored(
    site: Site, exporter: GrpcExporter
) -> None:
    exporter.headers = site.headers() | {
        "content-length": "1",
        "content-encoding": "zstd",
        "accept-encoding": "gzip",
    }
    assert (await exporter.send(MESSAGE)).code is OK


async def test_message_is_not_read_before_the_caller_is_known(site: Site) -> None:
    async def read() -> bytes:
        raise AssertionError("the message was read")

    for path in PATHS.values():
        failure = await call(site.app, path, [("x-api-key", "pp_no")], "ipv4:1.2.3.4:5", read)
        assert getattr(failure, "code", None) == grpc.StatusCode.UNAUTHENTICATED.value[0]


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (b"\xff\xff\xff", ""),
        (b"\x1f\x8bnot gzip at all", "not valid gzip"),
        (gzip.compress(MESSAGE)[:-9], "not valid gzip"),
        (traces_request(span(trace_id=bytes(16))).SerializeToString(), "invalid_id"),
    ],
    ids=["protobuf", "gzip", "truncated gzip", "nothing can be stored"],
)
async def test_undecodable_message_is_an_invalid_argument(
    site: Site, exporter: GrpcExporter, message: bytes, says: str
) -> None:
    assert (await exporter.send(MESSAGE)).code is OK  # which creates the project
    answer = await exporter.send(message)
    assert (answer.code, answer.retry_s) == (INVALID, None)
    assert says in answer.message
    assert len(await reasons(site, exporter)) == 1


async def test_long_message_of_a_status_is_cut(site: Site, exporter: GrpcExporter) -> None:
    spans = [span(span_id=n.to_bytes(8), start_time_unix_nano=0) for n in range(1, 20)]
    answer = await exporter.send(traces_request(*spans).SerializeToString())
    assert answer.code is INVALID
    assert len(answer.message.encode()) <= STATUS_MESSAGE_MAX_BYTES


async def test_message_over_the_limit_is_refused() -> None:
    site = Site(config=replace(CONFIG, otlp_max_body_bytes=BODY_MAX_BYTES))
    large = traces_request(span({"a": "x" * BODY_MAX_BYTES})).SerializeToString()
    async with (
        site.http,
        grpc_exporter(site.app, site.headers(), BODY_MAX_BYTES) as exporter,
    ):
        assert (await exporter.send(MESSAGE)).code is OK
        refused = await exporter.send(large)  # by the library, which tells the application nothing
        assert (refused.code, refused.retry_s) == (RESOURCE_EXHAUSTED, None)
        assert await reasons(site, exporter) == []
        exporter.compression = grpc.Compression.Gzip
        inflated = await exporter.send(large)
        assert (inflated.code, inflated.retry_s) == (INVALID, None)
        assert f"larger than {BODY_MAX_BYTES} bytes" in inflated.message
        assert await reasons(site, exporter) == [RejectionReason.BODY_TOO_LARGE]


async def test_rate_limit_says_when_to_repeat() -> None:
    volumes = VolumeLimits(
        MemoryTokenBuckets(MicrosecondClock()), bytes_per_second=1_000, spans_per_second=1
    )
    site = Site(volumes=volumes)
    three = [span(span_id=n.to_bytes(8)) for n in range(1, 4)]
    body = traces_request(*three).SerializeToString()
    async with site.http, grpc_exporter(site.app, site.headers()) as exporter:
        assert (await exporter.send(body)).code is OK
        refused = await exporter.send(body)
        assert refused.code is RESOURCE_EXHAUSTED
        assert refused.retry_s is not None
        assert 1 <= refused.retry_s <= 3
        assert "Rate limit exceeded" in refused.message
        exporter.headers = site.headers()  # another key
        assert (await exporter.send(body)).code is OK


async def test_overload_is_unavailable_and_says_when_to_repeat() -> None:
    down = Site(swapped={"keys": Down()})
    codec = UseCases(replace_ports(down.ports, **down.swapped)).tracing.otlp_codec
    full = OtlpErrors(LoadShedding(down.app, requests_max=0, refusal_delay_s=0), codec.encode_error)
    for app, message in ((down.app, "The database can't be reached"), (full, OVERLOADED)):
        async with grpc_exporter(app, down.headers()) as exporter:
            refused = await exporter.send(MESSAGE)
        assert (refused.code, refused.message) == (UNAVAILABLE, message)
        assert refused.retry_s is not None
        assert 2 <= refused.retry_s <= 3


async def test_unknown_methods_and_codings_are_unimplemented(exporter: GrpcExporter) -> None:
    unknown = await exporter.call(METHODS["traces"].replace("v1", "v2"), MESSAGE)
    assert unknown.code is grpc.StatusCode.UNIMPLEMENTED
    exporter.compression = grpc.Compression.Deflate
    assert (await exporter.send(MESSAGE)).code is grpc.StatusCode.UNIMPLEMENTED


async def test_messages_whose_size_is_unknown_wait_for_room() -> None:
    """Each may be as large as the limit. An organization has half of the bound on all bodies."""
    site = Site(config=replace(CONFIG, otlp_max_body_bytes=BODIES_MAX_BYTES // 4))
    app, begun, free = LoadShedding(site.app), 0, asyncio.Event()

    async def read() -> bytes:
        nonlocal begun
        begun += 1
        await free.wait()
        return MESSAGE

    async with site.http:
        calls = []
        for _ in range(3):
            headers = list(site.headers().items())  # a key of its own
            calls.append(
                asyncio.create_task(
                    call(app, PATHS[METHODS["traces"]], headers, "ipv4:192.0.2.1:1", read)
                )
            )
        await until(lambda: begun, lambda count: count == 2)
        await asyncio.wait(calls, timeout=0.05)
        assert begun == 2
        free.set()
        async with in_time():
            answers = await asyncio.gather(*calls)
    assert [type(one) for one in answers[:2]] == [Answer] * 2
    last = answers[2]  # on a machine that stood still, it waited for too long
    assert isinstance(last, Answer) or last.code == UNAVAILABLE.value[0]


async def test_metadata_of_the_request_itself_is_passed_on() -> None:
    sent = dict.fromkeys(("traceparent", "x-forwarded-for", "x-request-id", "user-agent"), "1")
    passed = {}

    async def app(scope, receive, send):
        passed.update(scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def read() -> bytes:
        return MESSAGE

    await call(app, PATHS[METHODS["traces"]], list(sent.items()), "ipv4:192.0.2.1:1", read)
    assert {name: passed.get(name.encode(), b"").decode() for name in sent} == sent


async def test_message_that_has_arrived_holds_its_own_size(site: Site) -> None:
    shedding, held = site.app, []
    while not isinstance(shedding, LoadShedding):
        shedding = shedding.app

    async def noting(scope, receive, send):
        async def note(message):
            held.append(shedding.memory.held)
            await send(message)

        await site.app(scope, receive, note)

    async def read() -> bytes:
        return MESSAGE

    headers = list(site.headers().items())
    await call(noting, PATHS[METHODS["traces"]], headers, "ipv4:192.0.2.1:1", read)
    assert held[0] == len(MESSAGE)


async def test_connection_may_have_as_many_calls_as_the_server_takes(site: Site) -> None:
    """The first frame of the server says so (RFC 9113, 6.5): clients queue further calls."""
    async with grpc_server(site.app) as (_, port):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(CLIENT_PREFACE)
        async with in_time():
            head = await reader.readexactly(9)
            settings = await reader.readexactly(int.from_bytes(head[:3]))
        writer.close()
    assert head[3] == SETTINGS_FRAME
    found = dict(struct.iter_unpack("!HI", settings))
    assert found[MAX_CONCURRENT_STREAMS] == REQUESTS_MAX


async def test_connections_beyond_the_limit_are_closed(site: Site) -> None:
    async with grpc_server(site.app, connections_max=2) as (_, port):
        async with AsyncExitStack() as stack:
            first, second = [await stack.enter_async_context(open_channel(port)) for _ in range(2)]
            for channel in (first, second):
                assert (await GrpcExporter(channel, site.headers()).send(MESSAGE)).code is OK
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(CLIENT_PREFACE)
            async with in_time():
                with suppress(ConnectionError):
                    assert await reader.read() == b""  # its end, and no frame of the server
            writer.close()
            assert (await GrpcExporter(first, site.headers()).send(MESSAGE)).code is OK

        async def send() -> GrpcAnswer:
            async with open_channel(port) as channel:
                return await GrpcExporter(channel, site.headers()).send(MESSAGE)

        await until(send, lambda answer: answer.code is OK)  # once the server has seen them close


async def test_message_that_does_not_arrive_is_refused_and_leaves_room_for_others() -> None:
    site = Site(config=replace(CONFIG, message_timeout_s=0.05))
    never = asyncio.Event()

    async def messages() -> AsyncIterator[bytes]:
        await never.wait()
        yield MESSAGE

    async with (
        site.http,
        grpc_server(LoadShedding(site.app)) as (_, port),
        open_channel(port) as channel,
    ):
        metadata = tuple(site.headers().items())
        async with in_time():
            for _ in range(3):  # more than the bound on all bodies, if their room stayed taken
                calling = channel.stream_unary(METHODS["traces"])(messages(), metadata=metadata)
                with pytest.raises(aio.AioRpcError, match="has to arrive within") as caught:
                    await calling
                assert caught.value.code() is INVALID
            assert (await GrpcExporter(channel, site.headers()).send(MESSAGE)).code is OK


# --- clients that give up, and servers that stop -----------------------------------------------


async def test_client_that_gives_up_interrupts_nothing() -> None:
    store = BlockedStore()
    site = Site(swapped={"otlp": store})
    async with site.http, grpc_exporter(site.app, site.headers()) as exporter:
        sending = asyncio.create_task(exporter.send(MESSAGE))
        await until_inside(store, 1)
        sending.cancel()
        await asyncio.wait([sending])
        store.free.set()
        async with in_time():
            while not store.puts:
                await asyncio.sleep(0.001)
    assert [trace.bytes for _, trace, _ in store.puts] == [TRACE_ID]


async def test_calls_in_progress_finish_when_the_server_stops() -> None:
    store = BlockedStore()
    site = Site(swapped={"otlp": store})
    async with grpc_server(site.app) as (server, port), open_channel(port) as channel:
        exporter = GrpcExporter(channel, site.headers())
        sending = asyncio.create_task(exporter.send(MESSAGE))
        await until_inside(store, 1)
        closing = asyncio.create_task(server.close(grace_s=60))
        await asyncio.wait([closing], timeout=0.05)
        assert not closing.done()
        store.free.set()
        async with in_time():
            assert (await sending).code is OK
            await closing
            refused = await exporter.send(MESSAGE)
        assert (refused.code, len(store.puts)) == (UNAVAILABLE, 1)


async def test_calls_that_outlast_the_stop_are_to_be_repeated() -> None:
    store = BlockedStore()
    site = Site(swapped={"otlp": store})
    async with grpc_server(site.app) as (server, port), open_channel(port) as channel:
        sending = asyncio.create_task(GrpcExporter(channel, site.headers()).send(MESSAGE))
        await until_inside(store, 1)
        async with in_time():
            await server.close(grace_s=0)
            refused = await sending
    assert refused.code in {UNAVAILABLE, grpc.StatusCode.CANCELLED}  # exporters repeat both
    assert not store.puts


# --- the address of the client -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("ipv4:192.0.2.1:49152", ("192.0.2.1", 49152)),
        ("ipv6:%5B2001:db8::1%5D:49152", ("2001:db8::1", 49152)),
        ("ipv6:[::1]:1", ("::1", 1)),
        ("unix:socket", None),
        ("unknown", None),
        ("", None),
    ],
)
def test_peer(peer: str, client: tuple[str, int] | None) -> None:
    assert parse_peer(peer) == client
