"""Fair queueing: concurrency quotas of callers, and delayed refusals."""

import asyncio
import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.postgres.database.pool import WRITE_TIMEOUT_S, PoolSettings
from application.read_room import MEDIUM_READ_BYTES, room_of_request
from domain.errors import NotFound, Unavailable
from domain.limits import Limit
from entrypoints.http.middleware.byte_limit import VERY_LARGE_READ_BYTES
from entrypoints.http.middleware.fair_queueing import (
    CALLER,
    ORGANIZATION,
    SLOT_TIMEOUT_S,
    UNAUTHENTICATED,
    FairQueue,
    Ticket,
)
from entrypoints.http.middleware.load_shedding import (
    BODIES_MAX,
    BODIES_MAX_BYTES,
    DELAYED_REFUSALS_MAX,
    READS_MAX_BYTES,
    REQUESTS_MAX,
    LoadShedding,
    admission_ticket,
)
from entrypoints.http.middleware.rate_limits import RouteClass
from tests.http.conftest import CONFIG, Site, a_trace
from tests.support.clients.asgi_client import exchange
from tests.support.waiting import WAIT_MAX_S, in_time


async def run_ready_tasks() -> None:
    """Lets the event loop run until every task that can continue has."""
    for _ in range(20):
        await asyncio.sleep(0)


SMALL = replace(CALLER, requests=3, slots=2, bodies=2, body_bytes=100)
LARGER = replace(ORGANIZATION, requests=4, slots=3, bodies=3, body_bytes=150, read_bytes=150)


def ticket(queue: FairQueue, caller: str, **shares: Any) -> Ticket:
    """A ticket of a caller of the organization "acme"."""
    small = replace(SMALL, **shares)
    return queue.ticket({caller: small, "acme": LARGER})


def entered(queue: FairQueue, caller: str, **shares: Any) -> Ticket:
    made = ticket(queue, caller, **shares)
    made.enter()
    return made


def test_caller_and_organization_beyond_their_shares_are_refused_and_others_are_not() -> None:
    queue = FairQueue()
    tickets = [entered(queue, "ada") for _ in range(3)]
    refused = ticket(queue, "ada")
    with pytest.raises(Unavailable, match="this caller"):
        refused.enter()
    refused.leave()  # it gives back no place of the others
    with pytest.raises(Unavailable, match="this caller"):
        entered(queue, "ada")
    entered(queue, "bob")
    with pytest.raises(Unavailable, match="this organization"):
        entered(queue, "eve")
    queue.ticket({"eve": SMALL, "other": LARGER}).enter()
    tickets[0].leave()
    entered(queue, "eve")


def test_bodies_that_are_received_have_shares_of_their_own() -> None:
    queue = FairQueue()
    received = [ticket(queue, name) for name in ("ada", "ada", "bob")]
    for one in received[:2]:
        one.begin_body()
    with pytest.raises(Unavailable, match="bodies of this caller"):
        ticket(queue, "ada").begin_body()
    received[2].begin_body()
    with pytest.raises(Unavailable, match="bodies of this organization"):
        ticket(queue, "eve").begin_body()
    for _ in range(3):
        entered(queue, "ada")  # they aren't in progress
    for one in received:
        one.end_body()
    ticket(queue, "ada").begin_body()


def test_bytes_of_bodies_have_shares_and_a_single_body_always_fits() -> None:
    queue = FairQueue()
    large = entered(queue, "ada")
    large.reserve_body_bytes(1_000)
    for caller, holder in (("ada", "caller"), ("bob", "organization")):
        with pytest.raises(Unavailable, match=holder):
            entered(queue, caller).reserve_body_bytes(1)
    queue.ticket({"eve": SMALL, "other": LARGER}).reserve_body_bytes(100)
    large.leave()
    small = entered(queue, "ada")
    small.reserve_body_bytes(60)
    small.reserve_body_bytes(60)


async def test_body_that_waits_for_its_organization_in_vain_keeps_nothing_of_its_caller() -> None:
    queue = FairQueue()
    await ticket(queue, "ada").acquire_body_bytes(100)
    waiting = asyncio.create_task(ticket(queue, "bob").acquire_body_bytes(100))
    await run_ready_tasks()
    waiting.cancel()
    await asyncio.wait([waiting])
    ticket(queue, "bob").reserve_body_bytes(50)  # raises if the share is held
    assert waiting.cancelled()


async def test_large_reads_of_a_caller_wait_for_each_other() -> None:
    queue = FairQueue()
    shares = {"read_bytes": 100}
    first, second = (ticket(queue, "ada", **shares) for _ in range(2))
    await first.acquire_read_bytes(80)
    with pytest.raises(Unavailable, match="Too many large reads of this caller"):
        await second.acquire_read_bytes(30, wait_s=0)
    other = ticket(queue, "bob", **shares)
    await other.acquire_read_bytes(60, wait_s=0)
    with pytest.raises(Unavailable, match="of this organization"):
        await ticket(queue, "cy", **shares).acquire_read_bytes(80, wait_s=0)
    waiting = asyncio.create_task(second.acquire_read_bytes(30))
    await run_ready_tasks()
    assert not waiting.done()
    first.leave()
    async with in_time():
        await waiting
    await ticket(queue, "cy", **shares).acquire_read_bytes(60, wait_s=0)  # nothing was kept


async def test_large_reads_do_not_wait_for_very_large_ones() -> None:
    queue = FairQueue()
    tickets = [queue.ticket({"ada": CALLER, "acme": ORGANIZATION}) for _ in range(4)]
    await tickets[0].acquire_read_bytes(CALLER.read_bytes)
    very_large = asyncio.create_task(tickets[1].acquire_read_bytes(VERY_LARGE_READ_BYTES + 1))
    await run_ready_tasks()
    assert not very_large.done()
    await tickets[2].acquire_read_bytes(MEDIUM_READ_BYTES, wait_s=0)
    await tickets[3].acquire_read_bytes(2 * MEDIUM_READ_BYTES, wait_s=0)
    tickets[0].leave()
    async with in_time():
        await very_large


async def read_large(scope: Any, receive: Any, send: Any) -> None:
    """Reads twice, as a comparison does, and sends what it has read."""
    admission_ticket(scope).identify({scope["path"]: CALLER})
    await admission_ticket(scope).acquire_slot()
    room = room_of_request.get()
    assert room is not None
    await room.take(16 << 20)
    await room.take(CALLER.read_bytes)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await receive()


async def test_large_reads_have_their_room_until_the_response_is_sent() -> None:
    shedding, is_read = LoadShedding(read_large), asyncio.Event()
    started = asyncio.Semaphore(0)

    async def send(_message: Any) -> None:
        started.release()

    tasks = [
        asyncio.create_task(
            shedding({"type": "http", "path": one}, is_read.wait, send)  # type: ignore[arg-type]  # a minimal scope
        )
        for one in ("/ada", "/bob")
    ]
    async with in_time():
        await started.acquire()
        await run_ready_tasks()
        assert started.locked(), "the other one waits"
        assert shedding.reads.held == CALLER.read_bytes + (16 << 20)
        is_read.set()
        await asyncio.gather(*tasks)
    assert (shedding.reads.held, len(shedding.queue)) == (0, 0)


async def test_requests_without_a_slot_wait_in_order_and_others_do_not() -> None:
    queue, order = FairQueue(), list[int]()
    tickets = [ticket(queue, "ada") for _ in range(5)]

    async def work(number: int) -> None:
        await tickets[number].acquire_slot()
        order.append(number)

    tasks = [asyncio.create_task(work(number)) for number in range(5)]
    await run_ready_tasks()
    assert order == [0, 1]
    async with in_time():
        await ticket(queue, "bob").acquire_slot()
        await queue.ticket({"eve": SMALL, "other": LARGER}).acquire_slot()
    with pytest.raises(Unavailable, match="this organization"):  # which has three slots
        await ticket(queue, "eve").acquire_slot(timeout_s=0.01)
    tickets[0].release_slot()
    tickets[0].release_slot()  # a second release has no effect
    await run_ready_tasks()
    assert order == [0, 1, 2]
    tickets[1].leave()
    tickets[2].leave()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]


async def test_slot_is_acquired_once_and_again_after_release() -> None:
    queue = FairQueue()
    first, second = ticket(queue, "ada", slots=1), ticket(queue, "ada", slots=1)
    async with in_time():
        await first.acquire_slot()
        await first.acquire_slot()
    first.release_slot()
    async with in_time():
        await second.acquire_slot()
    with pytest.raises(Unavailable):
        await first.acquire_slot(timeout_s=0.01)
    second.release_slot()
    async with in_time():
        await first.acquire_slot()
    first.leave()
    second.leave()
    assert len(queue) == 0


async def test_waiting_times_out_and_a_cancelled_waiter_holds_no_slot() -> None:
    queue = FairQueue()
    first, late, gone, last = (ticket(queue, "ada", slots=1) for _ in range(4))
    await first.acquire_slot()
    with pytest.raises(Unavailable):
        await late.acquire_slot(timeout_s=0.01)
    waiter = asyncio.create_task(gone.acquire_slot())
    await run_ready_tasks()
    waiter.cancel()
    await asyncio.wait([waiter])
    for each in (late, gone, first):
        each.leave()
    async with in_time():
        await last.acquire_slot()
    last.leave()
    assert len(queue) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("elb")), max_size=60))
async def test_queue_keeps_holders_with_requests_only(steps: list[tuple[str, str]]) -> None:
    queue, inside = FairQueue(), dict[str, list[Ticket]]()
    share = replace(SMALL, slots=3)
    for caller, step in steps:
        tickets = inside.setdefault(caller, [])
        if step == "l":
            if tickets:
                tickets.pop().leave()
        elif step == "b":
            receiving = queue.ticket({caller: share})
            receiving.begin_body()
            receiving.end_body()
            receiving.leave()
        elif len(tickets) < 3:
            tickets.append(queue.ticket({caller: share}))
            tickets[-1].enter()
            tickets[-1].reserve_body_bytes(1)
            await tickets[-1].acquire_slot(timeout_s=WAIT_MAX_S)
        else:
            refused = queue.ticket({caller: share})
            with pytest.raises(Unavailable):
                refused.enter()
            refused.leave()
        assert len(queue) == sum(bool(tickets) for tickets in inside.values())


class SlowTraces:
    """Reads that wait until `free` is set."""

    def __init__(self) -> None:
        self.inside = 0
        self.free = asyncio.Event()

    async def detail(self, *_: object) -> None:
        self.inside += 1
        await self.free.wait()
        raise NotFound("trace not found")


async def test_slow_reads_of_one_key_do_not_block_another_key() -> None:
    slow = SlowTraces()
    site = Site(swapped={"traces": slow})
    ours, theirs = site.headers(), site.headers()
    async with site.http, in_time():
        read = [
            asyncio.create_task(site.http.get(f"/traces/{uuid.uuid4()}", headers=theirs))
            for _ in range(CALLER.slots * 3)
        ]
        while slow.inside < CALLER.slots:
            await asyncio.sleep(0)
        await run_ready_tasks()
        assert slow.inside == CALLER.slots
        # Invalid requests of theirs are refused at once: they need no slot.
        assert (await site.http.get("/traces/x", headers=theirs)).status_code == 422
        one = asyncio.create_task(site.http.get(f"/traces/{uuid.uuid4()}", headers=ours))
        while slow.inside == CALLER.slots:
            await asyncio.sleep(0)
        slow.free.set()
        answers = await asyncio.gather(one, *read)
        assert {answer.status_code for answer in answers} == {404}
        assert slow.inside == CALLER.slots * 3 + 1


class GroupedWrites:
    """A store that commits once it has `together` concurrent writes."""

    def __init__(self, together: int) -> None:
        self.all = asyncio.Barrier(together)

    async def put(self, *_: object) -> None:
        await self.all.wait()


async def test_ingest_needs_no_slot_so_writes_of_one_key_share_a_commit() -> None:
    together = CALLER.slots * 4
    site = Site(swapped={"traces": GroupedWrites(together)})
    headers = site.headers()
    async with site.http, in_time():
        answers = await asyncio.gather(
            *(site.http.post("/traces", json=a_trace(), headers=headers) for _ in range(together))
        )
    assert {answer.status_code for answer in answers} == {202}


async def start_response(scope: Any, _receive: Any, send: Any) -> None:
    """Starts a response that never ends."""
    admission_ticket(scope).identify({"ada": CALLER})
    await admission_ticket(scope).enter_queue()
    await admission_ticket(scope).acquire_slot()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await asyncio.Event().wait()


async def test_slot_is_released_once_the_response_has_started() -> None:
    shedding, count = LoadShedding(start_response), CALLER.slots * 2
    started = asyncio.Semaphore(0)

    async def send(_message: Any) -> None:
        started.release()

    scope = {"type": "http", "path": "/traces"}
    tasks = [
        asyncio.create_task(shedding(dict(scope), None, send))  # type: ignore[arg-type]  # a minimal scope
        for _ in range(count)
    ]
    async with in_time():
        for _ in range(count):
            await started.acquire()
    assert (shedding.requests, len(shedding.queue)) == (count, 1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert (shedding.requests, len(shedding.queue)) == (0, 0)


def test_limits_of_one_caller_leave_capacity_for_others() -> None:
    assert PoolSettings(url="").size > ORGANIZATION.slots  # connections to the database
    assert CALLER.requests < ORGANIZATION.requests < REQUESTS_MAX / 2
    assert CALLER.bodies < ORGANIZATION.bodies < BODIES_MAX / 2
    assert ORGANIZATION.body_bytes <= BODIES_MAX_BYTES / 2
    assert CALLER.read_bytes <= ORGANIZATION.read_bytes <= READS_MAX_BYTES / 2
    assert UNAUTHENTICATED.requests < REQUESTS_MAX / 4
    assert UNAUTHENTICATED.bodies < BODIES_MAX / 4
    assert SLOT_TIMEOUT_S < WRITE_TIMEOUT_S  # so that clients get the refusal before they time out


# --- refusals ------------------------------------------------------------------------------------

LONG_S = 3600


async def test_delayed_refusal_does_not_count_as_in_progress() -> None:
    async def refuse(scope: Any, _receive: Any, send: Any) -> None:
        await admission_ticket(scope).delay_refusal()
        await send({"type": "http.response.start", "status": 429, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    shedding = LoadShedding(refuse, requests_max=1, refusal_delay_s=LONG_S)
    waiting = [asyncio.create_task(exchange(shedding, "GET", "/traces", {})) for _ in range(3)]
    await run_ready_tasks()
    assert (shedding.requests, shedding.delayed_refusals) == (0, 3)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert (shedding.requests, shedding.delayed_refusals) == (0, 0)


async def test_rate_limit_refusal_is_delayed() -> None:
    site = Site(
        config=replace(CONFIG, refusal_delay_s=LONG_S),
        limits={RouteClass.DEFAULT: Limit(1, "day")},
    )
    async with site.http:
        head = site.headers()
        admitted = asyncio.create_task(site.http.get("/traces", headers=head))
        assert (await admitted).status_code == 200
        refused = asyncio.create_task(site.http.get("/traces", headers=head))
        await asyncio.wait([refused], timeout=0.2)
        assert not refused.done()
        refused.cancel()
        await asyncio.wait([refused])


async def test_overload_refusal_is_delayed() -> None:
    shedding = LoadShedding(SlowTraces(), requests_max=0, refusal_delay_s=LONG_S)  # type: ignore[arg-type]  # never called
    waiting = asyncio.create_task(exchange(shedding, "GET", "/traces", {}))
    await run_ready_tasks()
    assert not waiting.done()
    assert shedding.delayed_refusals == 1
    waiting.cancel()
    await asyncio.wait([waiting])
    assert shedding.delayed_refusals == 0


async def test_refusals_beyond_the_maximum_are_not_delayed() -> None:
    shedding = LoadShedding(SlowTraces(), requests_max=0, refusal_delay_s=LONG_S)  # type: ignore[arg-type]  # never called
    shedding.delayed_refusals = DELAYED_REFUSALS_MAX
    async with in_time():
        [start, _], _ = await exchange(shedding, "GET", "/traces", {})
    assert start["status"] == 503
