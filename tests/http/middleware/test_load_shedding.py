"""Load shedding: requests beyond the bounds are refused early."""

import asyncio
import gzip
import json
import uuid
from dataclasses import replace
from typing import Any

import httpx
import pytest

from domain.errors import Unavailable
from domain.identity.organization import Organization
from domain.ids import OrganizationId
from entrypoints.http.endpoint import UNAUTHENTICATED_BODY_MAX_BYTES
from entrypoints.http.middleware.byte_limit import VERY_LARGE_READ_BYTES
from entrypoints.http.middleware.fair_queueing import CALLER, ORGANIZATION, UNAUTHENTICATED
from entrypoints.http.middleware.load_shedding import (
    OVERLOADED,
    SHUTTING_DOWN,
    AdmissionTicket,
    LoadShedding,
    admission_ticket,
)
from entrypoints.http.requests.body_io import BODY_STEP_BYTES, BodyTimeout, BodyTooLarge, read_body
from tests.http.conftest import Site, a_trace
from tests.support.builders.values import NOON
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
    shedding = LoadShedding(blocked, requests_max=3, refusal_delay_s=0)
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
    assert (shedding.requests, shedding.memory.held) == (0, 0)


async def test_clients_that_read_slowly_hold_no_place():
    may_read, parts = asyncio.Event(), 3
    reading = 0

    async def stream(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in range(parts):
            more = part < parts - 1
            await send({"type": "http.response.body", "body": b"part", "more_body": more})

    async def send_slowly(message):
        nonlocal reading
        if message["type"] == "http.response.body":
            reading += 1
            await may_read.wait()

    shedding = LoadShedding(stream, requests_max=1, refusal_delay_s=0)
    scope = {"type": "http", "path": "/traces"}
    slow = [asyncio.create_task(shedding(dict(scope), None, send_slowly)) for _ in range(2)]
    async with in_time():
        while reading < 1:
            await asyncio.sleep(0)
        async with client(shedding) as http:
            assert (await http.get("/traces")).status_code == 200
        may_read.set()
        await asyncio.gather(*slow)
    assert reading == 2 * parts
    assert shedding.requests == 0


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
        self.seen.append(self.shedding.memory.held)


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
    assert app.memory.held == 0


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
        assert shedding.memory.held == 0
        blocked.size = 1_000
        assert (await http.get("/c")).status_code == 204
    assert (shedding.requests, shedding.memory.held) == (0, 0)


async def test_health_checks_are_exempt(site: Site):
    shedding = LoadShedding(site.app, requests_max=0, refusal_delay_s=0)
    async with client(shedding) as http:
        assert (await http.get("/health")).status_code == 200
        assert (await http.get("/health/ready")).status_code == 200
        assert (await http.get("/")).status_code == 503


def layer_of(site: Site) -> LoadShedding:
    app = site.app
    while not isinstance(app, LoadShedding):
        app = app.app
    return app


def stall(site: Site, path: str, headers: dict[str, str], address: str = "192.0.2.1") -> Any:
    """A task with a request of which only the first byte of the body arrives."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "http_version": "1.1",
        "scheme": "http",
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": (address, 1),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }

    async def run() -> int:
        await site.app(scope, receive_of(b"{", ends=False), send)
        return int(sent[0]["status"])

    return asyncio.create_task(run())


async def test_slow_bodies_of_one_organization_leave_places_for_others(site: Site) -> None:
    keys = [site.headers() for _ in range(6)]
    other = Organization(id=OrganizationId(uuid.uuid4()), name="other", created_at=NOON)
    site.store.organizations[other.id] = other
    theirs = site.headers(organization_id=other.id)
    shedding = layer_of(site)
    waiting = [stall(site, "/traces", key) for key in keys for _ in range(95)]
    waiting += [
        stall(site, "/cli/auth/exchange", {}, address=f"192.0.2.{client}")
        for client in range(27)
        for _ in range(20)
    ]
    async with in_time():
        while shedding.bodies < ORGANIZATION.bodies + UNAUTHENTICATED.bodies:
            await asyncio.sleep(0)
        assert (await site.http.post("/traces", json=a_trace(), headers=theirs)).status_code == 202
        assert (await site.http.get("/traces", headers=keys[0])).status_code == 200
        assert (await site.http.get("/health/ready")).status_code == 200
        refused = [task for task in waiting if task.done()]
        assert {await task for task in refused} == {503}
        held = [task for task in waiting if not task.done()]
        assert len(held) == shedding.bodies == ORGANIZATION.bodies + UNAUTHENTICATED.bodies
    assert shedding.requests == 0
    for task in held:
        task.cancel()
    await asyncio.wait(held)
    assert (shedding.bodies, shedding.memory.held, len(shedding.queue)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("bound", "said"), [("requests_max", "requests are in progress"), ("bodies_max", "bodies are")]
)
async def test_readiness_says_that_requests_are_refused(bound: str, said: str) -> None:
    site = Site()
    setattr(layer_of(site), bound, 0)
    async with site.http:
        ready = await site.http.get("/health/ready")
    assert ready.status_code == 503
    load = ready.json()["checks"]["load"]
    assert not load["ok"]
    assert load["detail"].startswith(f"0 {said}")
    assert load["detail"].endswith("as many as this process accepts")


async def test_as_many_requests_and_bodies_as_the_maximum_are_accepted() -> None:
    site = Site()
    shedding = layer_of(site)
    shedding.requests_max = shedding.bodies_max = 1
    async with site.http:
        head = site.headers()
        assert (await site.http.get("/traces", headers=head)).status_code == 200
        sent = await site.http.post("/traces", headers=head, json=a_trace())
        assert sent.status_code == 202
    tickets = AdmissionTicket(shedding), AdmissionTicket(shedding)
    with tickets[0].receive_body(), pytest.raises(Unavailable), tickets[1].receive_body():
        pytest.fail("a body beyond the maximum")
    with tickets[1].receive_body():
        assert shedding.bodies == 1


async def test_work_is_over_once_the_response_starts() -> None:
    shedding = LoadShedding(BlockedApp())
    ticket = AdmissionTicket(shedding)
    await ticket.begin_work(shedding.work.most)
    assert shedding.work.held == shedding.work.most
    ticket.release_slot()
    assert shedding.work.held == 0
    ticket.leave()
    assert shedding.work.held == 0


async def test_read_that_waits_for_the_process_in_vain_holds_nothing_of_the_caller() -> None:
    shedding = LoadShedding(BlockedApp())
    await shedding.reads.large.acquire(shedding.reads.large.most)
    ticket, again = AdmissionTicket(shedding), AdmissionTicket(shedding)
    for one in (ticket, again):
        one.identify({"a": CALLER})
    waiting = asyncio.create_task(ticket.take_room(VERY_LARGE_READ_BYTES))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    shedding.reads.large.release(shedding.reads.large.most)
    async with in_time():
        await again.take_room(VERY_LARGE_READ_BYTES)
        await identified_ticket(shedding, "a", 0).take_room(VERY_LARGE_READ_BYTES)
    assert shedding.reads.held == 2 * VERY_LARGE_READ_BYTES


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/cli/auth/exchange", {"code": "x", "code_verifier": "y"}),
        ("/session", {"method": "key", "bind": "x" * 43, "key": "x"}),
        ("/session/check", {"key": "x"}),
    ],
)
async def test_body_without_credentials_may_be_small_only(
    site: Site, path: str, sent: dict[str, str]
) -> None:
    text = json.dumps(sent).ljust(UNAUTHENTICATED_BODY_MAX_BYTES)
    assert (await site.http.post(path, content=text)).status_code == 401
    refused = await site.http.post(path, content=f"{text} ")
    assert refused.status_code == 413
    assert str(UNAUTHENTICATED_BODY_MAX_BYTES) in refused.json()["detail"]


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


async def test_steps_in_time_do_not_extend_the_time_of_the_whole_body():
    async def receive():
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"x" * BODY_STEP_BYTES, "more_body": True}

    with pytest.raises(BodyTimeout):
        await read_body(receive, 20 * BODY_STEP_BYTES, lambda _: None, timeout_s=0)


async def test_body_that_arrives_too_slowly_is_refused():
    with pytest.raises(BodyTimeout):
        await read_body(receive_of(b"{", ends=False), 100, lambda _: None, step_timeout_s=0.05)
    reserved, part = [], b"x" * BODY_STEP_BYTES
    with pytest.raises(BodyTimeout):  # each step that was reached gives time for the next
        await read_body(
            receive_of(part, part, part[1:], ends=False),
            1 << 20,
            reserved.append,
            step_timeout_s=0.05,
        )
    assert len(reserved) == 3


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


def identified_ticket(shedding: LoadShedding, caller: str, most: int) -> AdmissionTicket:
    ticket = AdmissionTicket(shedding)
    ticket.identify({caller: replace(CALLER, body_bytes=most)})
    return ticket


async def test_body_of_unknown_size_waits_for_room_and_gives_back_what_it_does_not_need():
    shedding = LoadShedding(BlockedApp(), bodies_max_bytes=100)
    first, second = (identified_ticket(shedding, caller, 100) for caller in ("a", "b"))
    await first.acquire_body_bytes(60)
    waiting = asyncio.create_task(second.acquire_body_bytes(60))
    await asyncio.sleep(0)
    first.release_body_bytes(10)
    await asyncio.sleep(0)
    assert not waiting.done()
    first.release_body_bytes(20)
    async with in_time():
        await waiting
    assert shedding.memory.held == 90
    with pytest.raises(Unavailable):
        first.reserve_body_bytes(20)
    first.leave()
    second.leave()
    assert shedding.memory.held == 0


async def test_caller_that_waits_for_its_own_share_holds_nothing_of_others():
    shedding = LoadShedding(BlockedApp(), bodies_max_bytes=100)
    first, second = (identified_ticket(shedding, "a", 50) for _ in range(2))
    await first.acquire_body_bytes(40)
    waiting = asyncio.create_task(second.acquire_body_bytes(40))
    await asyncio.sleep(0)
    assert shedding.memory.held == 40
    await identified_ticket(shedding, "b", 50).acquire_body_bytes(40)
    waiting.cancel()
    await asyncio.wait([waiting])
    first.leave()
    async with in_time():
        await identified_ticket(shedding, "a", 50).acquire_body_bytes(50)
    assert shedding.memory.held == 90


async def test_wait_for_the_process_that_is_given_up_holds_nothing_of_the_caller():
    shedding = LoadShedding(BlockedApp(), bodies_max_bytes=100)
    full = identified_ticket(shedding, "a", 100)
    await full.acquire_body_bytes(100)
    waiting = asyncio.create_task(identified_ticket(shedding, "b", 50).acquire_body_bytes(50))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    full.leave()
    ticket = identified_ticket(shedding, "b", 50)
    ticket.reserve_body_bytes(50)  # raises if the share is held
    assert shedding.memory.held == 50
