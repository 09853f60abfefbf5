"""Load shedding: requests beyond the bounds are refused early."""

import asyncio
import gzip
import json

import httpx
import pytest

from domain.errors import Unavailable
from entrypoints.http.middleware.load_shedding import (
    OVERLOADED,
    SHUTTING_DOWN,
    LoadShedding,
    admission_ticket,
)
from entrypoints.http.requests.body_io import BodyTimeout, BodyTooLarge, read_body
from tests.http.conftest import Site, a_trace
from tests.support.waiting import in_time


class BlockedApp:
    """An app that reserves `size` bytes, and responds once `free` is set."""

    def __init__(self, size: int = 0) -> None:
        self.size = size
        self.inside = 0
        self.free = asyncio.Event()

    async def __call__(self, scope, receive, send):
        admission_ticket(scope).reserve_body_bytes(self.size)
        self.inside += 1
        await self.free.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def client(app) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def wait_until_inside(blocked: BlockedApp, count: int) -> None:
    async with in_time():
        while blocked.inside < count:
            await asyncio.sleep(0)


async def test_requests_beyond_the_maximum_are_refused_and_accepted_ones_finish():
    blocked = BlockedApp()
    shedding = LoadShedding(blocked, requests_max=3)
    async with client(shedding) as http:
        inside = [asyncio.create_task(http.get("/traces")) for _ in range(3)]
        await wait_until_inside(blocked, 3)
        refused = await http.get("/traces")
        assert refused.status_code == 503
        assert json.loads(refused.content) == {"detail": OVERLOADED}
        assert int(refused.headers["retry-after"]) >= 1
        blocked.free.set()
        assert [one.status_code for one in await asyncio.gather(*inside)] == [204] * 3
        assert (await http.get("/traces")).status_code == 204
    assert (shedding.requests, shedding.bodies_bytes) == (0, 0)


async def test_request_cancelled_at_shutdown_gets_503():
    blocked, sent = BlockedApp(), []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "path": "/traces"}
    task = asyncio.create_task(LoadShedding(blocked)(scope, None, send))
    await wait_until_inside(blocked, 1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert [message.get("status") for message in sent] == [503, None]
    assert json.loads(sent[1]["body"]) == {"detail": SHUTTING_DOWN}


class ReservedBytes:
    """Stores no traces, but records how many bytes of bodies are reserved at each write."""

    def __init__(self) -> None:
        self.shedding = None
        self.seen = []

    async def put(self, *_: object) -> None:
        self.seen.append(self.shedding.bodies_bytes)


async def test_decompressed_bodies_are_counted_too():
    reserved = ReservedBytes()
    site = Site(swapped={"traces": reserved})
    app = site.app
    while not isinstance(app, LoadShedding):
        app = app.app
    reserved.shedding = app
    body = json.dumps(a_trace(input="x" * 10_000)).encode()
    sent = gzip.compress(body)
    async with site.http:
        head = site.headers() | {"content-encoding": "gzip"}
        assert (await site.http.post("/traces", headers=head, content=sent)).status_code == 202
    assert reserved.seen == [len(sent) + len(body)]
    assert app.bodies_bytes == 0


async def test_bodies_share_memory_and_a_single_body_always_fits():
    blocked = BlockedApp(size=60)
    shedding = LoadShedding(blocked, bodies_max_bytes=100)
    async with client(shedding) as http:
        first = asyncio.create_task(http.get("/a"))
        await wait_until_inside(blocked, 1)
        with pytest.raises(Unavailable):  # without an app there is no error response
            await http.get("/b")
        blocked.free.set()
        assert (await first).status_code == 204
        assert shedding.bodies_bytes == 0
        blocked.size = 1_000
        assert (await http.get("/c")).status_code == 204
    assert (shedding.requests, shedding.bodies_bytes) == (0, 0)


async def test_health_checks_are_exempt(site: Site):
    shedding = LoadShedding(site.app, requests_max=0)
    async with client(shedding) as http:
        assert (await http.get("/health")).status_code == 200
        assert (await http.get("/health/ready")).status_code == 200
        assert (await http.get("/")).status_code == 503


def receive_of(*parts: bytes, ends: bool = True):
    """A `receive` that returns the parts, and then blocks unless the body ends."""
    left = list(parts)

    async def receive():
        if not left:
            await asyncio.Event().wait()
        part = left.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(left) or not ends}

    return receive


async def test_body_that_does_not_arrive_in_time_is_refused():
    reserved = []
    with pytest.raises(BodyTimeout):
        await read_body(receive_of(b"{", ends=False), 100, reserved.append, timeout_s=0.05)
    assert reserved == [1]


async def test_each_chunk_of_a_body_is_reserved():
    reserved = []
    assert await read_body(receive_of(b"ab", b"", b"c"), 100, reserved.append) == b"abc"
    assert reserved == [2, 0, 1]


async def test_reading_stops_at_the_size_limit():
    reserved = []
    with pytest.raises(BodyTooLarge):
        await read_body(receive_of(b"abc", b"d", b"e"), 3, reserved.append)
    assert reserved == [3]


async def test_large_body_is_parsed_in_a_thread(site: Site):
    trace = a_trace(input="x" * (300 << 10))
    headers = site.headers()
    sent = await site.http.post("/traces", json=trace, headers=headers)
    assert sent.status_code == 202
    stored = await site.http.get(f"/traces/{sent.json()['trace_id']}", headers=headers)
    assert stored.json()["input"] == trace["input"]
    broken = await site.http.post("/traces", json={**trace, "name": 1}, headers=headers)
    assert broken.status_code == 422
