"""Requests that are in progress when the time for a stop is over: answered, without tracebacks."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import uvicorn

from entrypoints.http.middleware.load_shedding import SHUTTING_DOWN, LoadShedding
from entrypoints.observability.logs import quiet_libraries
from entrypoints.server.asgi import until_cut_off
from entrypoints.server.protocol_limits import BoundedConnection
from tests.support.waiting import in_time, until

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def hang(_scope: Any, _receive: Any, _send: Any) -> None:
    await asyncio.Event().wait()


async def hang_within_response(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"a part", "more_body": True})
    await asyncio.Event().wait()


async def answer_at_stop(app: Callable[..., Awaitable[None]], begun: bytes) -> bytes:
    """What a client reads of a response, once a part of it has begun, while the server stops."""
    served = partial(until_cut_off, LoadShedding(app))
    config = uvicorn.Config(
        served,
        port=0,
        http=BoundedConnection,
        interface="asgi3",
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=0,
    )
    server = uvicorn.Server(config)
    async with in_time():
        running = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        read = await reader.readuntil(begun) if begun else b""
        await until(lambda: server.server_state.tasks)
        server.should_exit = True
        await running
        await until(lambda: not server.server_state.tasks)  # what they log is logged
        read += await reader.read()
        writer.close()
    return read


async def test_unanswered_request_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    answer = await answer_at_stop(hang, b"")
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert SHUTTING_DOWN.encode() in answer
    assert not any(one.exc_info for one in caplog.records)
    assert "ASGI" not in caplog.text


async def test_response_in_progress_ends_without_a_line(caplog: pytest.LogCaptureFixture) -> None:
    quiet_libraries()
    assert b"a part" in await answer_at_stop(hang_within_response, b"a part")
    assert not any(one.exc_info for one in caplog.records)
    assert "ASGI" not in caplog.text


async def test_other_cancellations_are_defects() -> None:
    async def await_cancelled(_scope: Any, _receive: Any, _send: Any) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    async def unused(*_: Any) -> Any:
        raise AssertionError

    with pytest.raises(asyncio.CancelledError):
        await until_cut_off(await_cancelled, {}, unused, unused)
