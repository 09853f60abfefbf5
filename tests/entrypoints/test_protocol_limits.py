"""Limits of connections: sizes, counts and times that clients cannot exceed."""

import asyncio
import contextlib
import logging
import resource
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from adapters.otlp.decoding.answers import encode_error
from domain.tracing.otel.requests import Encoding
from entrypoints.http.middleware.request_ids import HEADER
from entrypoints.observability.logs import quiet_libraries
from entrypoints.server.protocol_limits import (
    CONNECTIONS_MAX,
    BoundedConnection,
    grpc_connections,
    raise_file_limit,
)
from tests.support.waiting import WAIT_MAX_S

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE = b"x" * (1 << 20)
LONG_S, SHORT_S = float(WAIT_MAX_S), 0.1
STOPPING = list[asyncio.Task[None]]()  # servers of earlier tests


async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(HEADER, b"1")]})
    parts = {"/large": 64, "/longer": 16}.get(scope["path"], 0)
    for _ in range(parts):
        await send({"type": "http.response.body", "body": LARGE, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def read_whole_body(scope, receive, send):
    while (await receive()).get("more_body", False):
        pass
    names = b",".join(name for name, _ in scope["headers"])
    head = [(HEADER, b"1"), (b"x-names", names)]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def abort(_scope, _receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(HEADER, b"1")]})
    await send({"type": "http.response.body", "body": LARGE, "more_body": True})


@contextlib.asynccontextmanager
async def serving(*, app: Any = app, **bounds: float) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    bounded = type("Bounded", (BoundedConnection,), bounds)
    config = uvicorn.Config(
        app, port=0, http=bounded, lifespan="off", log_config=None, timeout_keep_alive=LONG_S
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    async with asyncio.timeout(LONG_S):
        while not server.started:
            await asyncio.sleep(0)
    try:
        yield server, server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        STOPPING.append(running)


@pytest.fixture(scope="module", autouse=True)
async def all_servers_stop() -> AsyncIterator[None]:
    """Waits for all servers at once: each takes 0.2 s to stop."""
    yield
    await asyncio.gather(*STOPPING)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the server closes the connection."""
    came = bytearray()
    async with asyncio.timeout(LONG_S):
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(1 << 16):
                came += part
    return bytes(came)


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET / HTTP/1.1\r\nHost:", GET[:-2]])
async def test_incomplete_headers_time_out(sent):
    async with serving(headers_timeout_s=SHORT_S) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert await ended(reader) == b""
        writer.close()


async def test_aborted_response_is_no_error_of_the_server(caplog):
    quiet_libraries()
    async with serving(app=abort) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        assert not (await ended(reader)).endswith(b"0\r\n\r\n")
        writer.close()
    assert [one.message for one in caplog.records if one.levelno >= logging.ERROR] == []


async def test_response_before_a_waiting_request_ends_with_the_connection(caplog):
    quiet_libraries()
    has_begun = asyncio.Event()
    received = []

    async def respond_until_disconnected(scope, receive, send):
        await receive()  # the request
        await send({"type": "http.response.start", "status": 200, "headers": [(HEADER, b"1")]})
        has_begun.set()
        received.append(await receive())
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with serving(app=respond_until_disconnected) as (server, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET + GET)
        async with asyncio.timeout(LONG_S):
            await has_begun.wait()
            writer.close()
            while server.server_state.tasks:
                await asyncio.sleep(0)
    assert received == [{"type": "http.disconnect"}]
    assert [one.message for one in caplog.records if one.levelno >= logging.ERROR] == []


async def test_blank_lines_do_not_keep_a_connection_open():
    async with serving(headers_timeout_s=SHORT_S) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\r\n")
        await ended(reader)
        writer.close()


async def test_headers_timeout_does_not_apply_between_requests():
    async with serving(headers_s=LONG_S) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(GET)
            assert b"200 OK" in await reader.readuntil(b"0\r\n\r\n")
        [connection] = server.server_state.connections
        assert connection._headers_timer is None  # nothing but the limit between requests runs
        writer.close()


async def test_unread_response_times_out():
    async with serving(unread_timeout_s=SHORT_S) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 10)
        writer.write(GET.replace(b"/ ", b"/large "))
        async with asyncio.timeout(LONG_S):
            while not server.server_state.connections:
                await asyncio.sleep(0)
            while server.server_state.connections:
                await asyncio.sleep(0.01)
        assert len(await ended(reader)) < 64 * len(LARGE)
        writer.close()


async def test_client_that_reads_on_is_not_timed_out_later():
    async with serving() as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 10)
        writer.write(GET.replace(b"/ ", b"/longer "))
        async with asyncio.timeout(LONG_S):
            while not server.server_state.connections:
                await asyncio.sleep(0)
            [connection] = server.server_state.connections
            while connection._unread_timer is None:
                await asyncio.sleep(0)
            came = b""
            while not came.endswith(b"\r\n0\r\n\r\n"):
                came = came[-7:] + await reader.read(1 << 16)
        assert connection._unread_timer is None
        writer.close()


async def test_connections_beyond_the_maximum_are_closed():
    async with serving(connections_max=1) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        assert b"200 OK" in await reader.readuntil(b"0\r\n\r\n")
        late, late_writer = await asyncio.open_connection("127.0.0.1", port)
        assert await ended(late) == b""
        late_writer.close()
        writer.write(GET)
        assert b"200 OK" in await reader.readuntil(b"0\r\n\r\n")
        writer.close()


def filler(kilobytes: int) -> bytes:
    return b"x" * (kilobytes << 10)


LARGE_HEADS = {
    "endless value": [b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ", *([filler(1)] * 65)],
    "endless path": [b"GET /", *([filler(1)] * 65)],
    "many headers": [
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        *(b"X-%d: %b\r\n" % (number, filler(1)) for number in range(65)),
    ],
    "at once": [b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + filler(65) + b"\r\n\r\n" + GET],
    "second request": [GET, b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ", *([filler(1)] * 65)],
}
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
LARGE_TRAILERS = {
    "endless trailer": [CHUNKED, b"1\r\na\r\n0\r\nX-A: ", *([filler(1)] * 65)],
    "many trailers": [CHUNKED, b"0\r\n", *[b"X-A: " + filler(1) + b"\r\n"] * 65],
    "endless extension": [CHUNKED, b"1;a=", *([filler(1)] * 65)],
}


async def send_slowly(writer: asyncio.StreamWriter, parts: list[bytes]) -> None:
    with contextlib.suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)


@pytest.mark.parametrize("parts", LARGE_HEADS.values(), ids=LARGE_HEADS)
async def test_heads_over_64_kb_are_refused_with_431(parts: list[bytes]) -> None:
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await send_slowly(writer, parts)
        answers = await ended(reader)
        assert b"HTTP/1.1 431 " in answers
        assert b"are larger than 65536 bytes" in answers
        assert answers.count(b"200 OK") == (1 if parts[0] == GET else 0)
        writer.close()


@pytest.mark.parametrize("parts", LARGE_TRAILERS.values(), ids=LARGE_TRAILERS)
async def test_trailers_over_64_kb_close_the_connection(parts: list[bytes]) -> None:
    async with serving(app=read_whole_body) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await send_slowly(writer, parts)
        assert b"HTTP/1.1 431 " in await ended(reader)
        writer.close()


async def test_heads_up_to_64_kb_and_trailers_are_accepted_and_bodies_do_not_count() -> None:
    async with serving(app=read_whole_body) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(CHUNKED[:-2] + b"X-A: " + filler(63) + b"\r\n\r\n")
            for _ in range(100):
                writer.write(b"800\r\n" + filler(2) + b"\r\n")
            writer.write(b"0\r\nX-Trailer: " + filler(1) + b"\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"200 OK" in head
            assert b"x-names: host,transfer-encoding,x-a\r\n" in head
            assert await reader.readuntil(b"0\r\n\r\n")
        writer.close()


async def echo(scope, receive, send):
    body, has_more = b"", True
    while has_more:
        message = await receive()
        body, has_more = body + message.get("body", b""), message.get("more_body", False)
    names = b",".join(name for name, _ in scope["headers"])
    head = [(HEADER, b"1"), (b"x-names", names), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_two_parts(scope, receive, send):
    """Without the last message on the path /broken."""
    await send({"type": "http.response.start", "status": 200, "headers": [(HEADER, b"1")]})
    for part in (b"one,", b"", b"two"):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    if scope["path"] != "/broken":
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def test_response_of_unknown_length_to_http_1_0_ends_with_the_connection() -> None:
    async with serving(app=send_two_parts) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        head, _, body = (await ended(reader)).partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
        assert body == b"one,two"
        writer.close()


async def test_broken_response_to_http_1_0_resets_the_connection() -> None:
    async with serving(app=send_two_parts) as (_, port), asyncio.timeout(LONG_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /broken HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_response_of_known_length_to_http_1_0_has_its_length() -> None:
    async with serving(app=echo) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc")
        head, _, body = (await ended(reader)).partition(b"\r\n\r\n")
        assert b"content-length: 3" in head
        assert body == b"abc"
        writer.close()


UPGRADES = {
    "HTTP/2": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n",
    "WebSocket": b"Connection: keep-alive, upgrade\r\nUPGRADE: websocket\r\n",
    "several": b"Upgrade: TLS/1.2\r\nUpgrade: h2c\r\nConnection: upgrade\r\n",
}


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("pauses", [False, True])
async def test_requests_that_ask_for_another_protocol_are_served_as_others(
    upgrade: bytes,
    is_chunked: bool,
    pauses: bool,
) -> None:
    """The body may look like a request. Other requests may follow it."""
    body = b"GET /within HTTP/1.1\r\nHost: a\r\n\r\n"
    framing, sent = b"Content-Length: %d\r\n" % len(body), body
    if is_chunked:
        framing = b"Transfer-Encoding: chunked\r\n"
        sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    head = b"POST / HTTP/1.1\r\nHost: a\r\n" + upgrade + framing + b"\r\n"
    async with serving(app=echo) as (server, port), asyncio.timeout(LONG_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        while pauses and not server.server_state.tasks:  # until the head was read
            await asyncio.sleep(0)
        writer.write(sent + head + sent + GET)
        for _ in range(2):
            assert b"upgrade," not in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(body)) == body
        assert b"content-length: 0\r\n" in await reader.readuntil(b"\r\n\r\n")
        writer.close()


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("path", [b"/v1/traces", b"/v1/traces/?a=b"])
async def test_otlp_requests_are_refused_in_their_type(encoding: Encoding, path: bytes) -> None:
    async with serving() as (_, port):
        named = path, encoding.encode()
        head = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Type: %b\r\n" % named
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + b"A: " + b"a" * (1 << 17) + b"\r\n\r\n")
        answer, _, body = (await ended(reader)).partition(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert f"content-type: {encoding}".encode() in answer
        detail = "The request line and headers are larger than 65536 bytes"
        assert body == encode_error(encoding, 431, detail)
        writer.close()


@pytest.mark.parametrize("has_grpc", [False, True])
def test_file_limit_covers_the_connections(has_grpc):
    most = raise_file_limit(has_grpc=has_grpc)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 1 <= most <= CONNECTIONS_MAX
    in_all = most + grpc_connections(most) if has_grpc else most
    assert soft == resource.RLIM_INFINITY or in_all < soft


FEW_FILES = """
import logging, resource
from entrypoints.server.protocol_limits import raise_file_limit

logging.basicConfig(format="%(message)s")
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
print(raise_file_limit(), raise_file_limit(has_grpc=True))
"""


def test_limit_of_files_that_leaves_few_connections_is_logged():
    command = [sys.executable, "-c", FEW_FILES]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_MAX_S, check=True)
    most, with_grpc = map(int, ended.stdout.split())
    assert (
        f"open files, 300, leaves room for {most} of {CONNECTIONS_MAX} connections" in ended.stderr
    )
    assert with_grpc + grpc_connections(with_grpc) <= most
