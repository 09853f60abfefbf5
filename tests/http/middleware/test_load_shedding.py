"""What a process takes on at once, and what it refuses early."""

import asyncio
import gzip
import json

import httpx
import pytest

from domain.errors import Unavailable
from entrypoints.http.middleware.load_shedding import BUSY, LEAVING, Overload, intake_of
from entrypoints.http.requests.body_io import Slow, TooLarge, received
from tests.http.conftest import Site, a_trace
from tests.support.waiting import in_time


class Held:
    """An app that answers once it is let go; `size` bytes of room are taken before."""

    def __init__(self, size: int = 0) -> None:
        self.size = size
        self.inside = 0
        self.free = asyncio.Event()

    async def __call__(self, scope, receive, send):
        intake_of(scope).take(self.size)
        self.inside += 1
        await self.free.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def client(app) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def reached(held: Held, count: int) -> None:
    async with in_time():
        while held.inside < count:
            await asyncio.sleep(0)


async def test_beyond_the_most_requests_are_refused_while_those_inside_finish():
    held = Held()
    overload = Overload(held, requests_max=3)
    async with client(overload) as http:
        inside = [asyncio.create_task(http.get("/traces")) for _ in range(3)]
        await reached(held, 3)
        refused = await http.get("/traces")
        assert refused.status_code == 503
        assert json.loads(refused.content) == {"detail": BUSY}
        assert int(refused.headers["retry-after"]) >= 1
        held.free.set()
        assert [one.status_code for one in await asyncio.gather(*inside)] == [204] * 3
        assert (await http.get("/traces")).status_code == 204
    assert (overload.requests, overload.bodies_bytes) == (0, 0)


async def test_what_has_no_answer_at_the_end_is_told_so():
    held, sent = Held(), []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "path": "/traces"}
    task = asyncio.create_task(Overload(held)(scope, None, send))
    await reached(held, 1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert [message.get("status") for message in sent] == [503, None]
    assert json.loads(sent[1]["body"]) == {"detail": LEAVING}


class Looking:
    """Takes no traces, and looks what room is taken meanwhile."""

    def __init__(self) -> None:
        self.overload = None
        self.seen = []

    async def put(self, *_: object) -> None:
        self.seen.append(self.overload.bodies_bytes)


async def test_an_inflated_body_takes_its_room_too():
    looking = Looking()
    site = Site(swapped={"traces": looking})
    app = site.app
    while not isinstance(app, Overload):
        app = app.app
    looking.overload = app
    body = json.dumps(a_trace(input="x" * 10_000)).encode()
    sent = gzip.compress(body)
    async with site.http:
        head = site.headers() | {"content-encoding": "gzip"}
        assert (await site.http.post("/traces", headers=head, content=sent)).status_code == 202
    assert looking.seen == [len(sent) + len(body)]
    assert app.bodies_bytes == 0


async def test_bodies_share_a_room_and_one_that_is_alone_gets_what_it_needs():
    held = Held(size=60)
    overload = Overload(held, bodies_max_bytes=100)
    async with client(overload) as http:
        first = asyncio.create_task(http.get("/a"))
        await reached(held, 1)
        with pytest.raises(Unavailable):  # answered by the app, which isn't there
            await http.get("/b")
        held.free.set()
        assert (await first).status_code == 204
        assert overload.bodies_bytes == 0
        held.size = 1_000
        assert (await http.get("/c")).status_code == 204
    assert (overload.requests, overload.bodies_bytes) == (0, 0)


async def test_whether_it_lives_is_always_answered(site: Site):
    overload = Overload(site.app, requests_max=0)
    async with client(overload) as http:
        assert (await http.get("/health")).status_code == 200
        assert (await http.get("/health/ready")).status_code == 200
        assert (await http.get("/")).status_code == 503


def receiving(*parts: bytes, ends: bool = True):
    """A receive that gives the parts, and then hangs where the body doesn't end."""
    left = list(parts)

    async def receive():
        if not left:
            await asyncio.Event().wait()
        part = left.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(left) or not ends}

    return receive


async def test_a_body_has_to_come_in_time():
    taken = []
    with pytest.raises(Slow):
        await received(receiving(b"{", ends=False), 100, taken.append, within_s=0.05)
    assert taken == [1]


async def test_each_part_of_a_body_takes_its_room():
    taken = []
    assert await received(receiving(b"ab", b"", b"c"), 100, taken.append) == b"abc"
    assert taken == [2, 0, 1]


async def test_what_is_too_large_is_not_read_on():
    taken = []
    with pytest.raises(TooLarge):
        await received(receiving(b"abc", b"d", b"e"), 3, taken.append)
    assert taken == [3]


async def test_a_large_body_is_read_like_any_other(site: Site):
    trace = a_trace(input="x" * (300 << 10))
    headers = site.headers()
    sent = await site.http.post("/traces", json=trace, headers=headers)
    assert sent.status_code == 202
    stored = await site.http.get(f"/traces/{sent.json()['trace_id']}", headers=headers)
    assert stored.json()["input"] == trace["input"]
    broken = await site.http.post("/traces", json={**trace, "name": 1}, headers=headers)
    assert broken.status_code == 422
