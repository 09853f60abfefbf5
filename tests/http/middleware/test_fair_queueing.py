"""What one caller has under way at once, and what others notice of it."""

import asyncio
import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.postgres.database.pool import WRITE_TIMEOUT_S, PoolSettings
from domain.errors import NotFound, Unavailable
from domain.limits import Limit
from entrypoints.http.middleware import fair_queueing as shares_
from entrypoints.http.middleware import load_shedding as overload_
from entrypoints.http.middleware.fair_queueing import WORKING_MAX, Shares
from entrypoints.http.middleware.load_shedding import HELD_MAX, Overload, intake_of
from entrypoints.http.middleware.rate_limits import RouteClass
from tests.http.conftest import CONFIG, Site, a_trace
from tests.support.clients.asgi_client import exchange
from tests.support.waiting import WAIT_MAX_S, in_time


async def turned() -> None:
    """A few turns of the loop: whatever could go on has."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_beyond_their_requests_a_caller_is_refused_and_others_are_not() -> None:
    shares = Shares(requests_max=2)
    first, _ = shares.enter("ada"), shares.enter("ada")
    for _ in range(3):
        with pytest.raises(Unavailable):
            shares.enter("ada")
    shares.enter("bob")
    first.leave()
    shares.enter("ada")
    with pytest.raises(Unavailable):
        shares.enter("ada")


async def test_beyond_those_in_work_they_wait_as_they_came_and_others_do_not() -> None:
    shares, order = Shares(working_max=2), list[int]()
    places = [shares.enter("ada") for _ in range(5)]

    async def work(number: int) -> None:
        await places[number].turn()
        order.append(number)

    tasks = [asyncio.create_task(work(number)) for number in range(5)]
    await turned()
    assert order == [0, 1]
    async with in_time():
        await shares.enter("bob").turn()
    places[0].worked()
    places[0].worked()  # to say it twice frees nothing twice
    await turned()
    assert order == [0, 1, 2]
    places[1].leave()
    places[2].leave()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]


async def test_a_turn_is_taken_once_and_can_be_taken_again() -> None:
    shares = Shares(working_max=1)
    first, second = shares.enter("ada"), shares.enter("ada")
    async with in_time():
        await first.turn()
        await first.turn()
    first.worked()
    async with in_time():
        await second.turn()
    with pytest.raises(Unavailable):
        await first.turn(within_s=0.01)
    second.worked()
    async with in_time():
        await first.turn()
    first.leave()
    second.leave()
    assert len(shares) == 0


async def test_nobody_waits_for_ever_and_who_gave_up_holds_nothing() -> None:
    shares = Shares(working_max=1)
    first, late, gone, last = (shares.enter("ada") for _ in range(4))
    await first.turn()
    with pytest.raises(Unavailable):
        await late.turn(within_s=0.01)
    given_up = asyncio.create_task(gone.turn())
    await turned()
    given_up.cancel()
    await asyncio.wait([given_up])
    for place in (late, gone, first):
        place.leave()
    async with in_time():
        await last.turn()
    last.leave()
    assert len(shares) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
async def test_what_all_have_under_way_is_what_is_kept(steps: list[tuple[str, bool]]) -> None:
    shares, inside = Shares(requests_max=3, working_max=3), dict[str, list[Any]]()
    for principal, enters in steps:
        places = inside.setdefault(principal, [])
        if not enters:
            if places:
                places.pop().leave()
        elif len(places) < 3:
            places.append(shares.enter(principal))
            await places[-1].turn(within_s=WAIT_MAX_S)
        else:
            with pytest.raises(Unavailable):
                shares.enter(principal)
        assert len(shares) == sum(bool(places) for places in inside.values())


class Slow:
    """Traces that are found once they are let go."""

    def __init__(self) -> None:
        self.inside = 0
        self.free = asyncio.Event()

    async def get(self, *_: object) -> None:
        self.inside += 1
        await self.free.wait()
        raise NotFound("trace not found")


async def test_a_key_with_many_slow_reads_leaves_room_for_another() -> None:
    slow = Slow()
    site = Site(swapped={"traces": slow})
    ours, theirs = site.headers(), site.headers()
    async with site.http, in_time():
        read = [
            asyncio.create_task(site.http.get(f"/traces/{uuid.uuid4()}", headers=theirs))
            for _ in range(WORKING_MAX * 3)
        ]
        while slow.inside < WORKING_MAX:
            await asyncio.sleep(0)
        await turned()
        assert slow.inside == WORKING_MAX
        # Theirs are refused and stored as ever: what is limited is what is worked on.
        assert (await site.http.get("/traces/x", headers=theirs)).status_code == 422
        one = asyncio.create_task(site.http.get(f"/traces/{uuid.uuid4()}", headers=ours))
        while slow.inside == WORKING_MAX:
            await asyncio.sleep(0)
        slow.free.set()
        answers = await asyncio.gather(one, *read)
        assert {answer.status_code for answer in answers} == {404}
        assert slow.inside == WORKING_MAX * 3 + 1


class Writes:
    """A store that commits once it has so many traces at once."""

    def __init__(self, together: int) -> None:
        self.all = asyncio.Barrier(together)

    async def put(self, *_: object) -> None:
        await self.all.wait()


async def test_traces_are_taken_together_however_many_a_key_sends() -> None:
    together = WORKING_MAX * 4
    site = Site(swapped={"traces": Writes(together)})
    headers = site.headers()
    async with site.http, in_time():
        answers = await asyncio.gather(
            *(site.http.post("/traces", json=a_trace(), headers=headers) for _ in range(together))
        )
    assert {answer.status_code for answer in answers} == {202}


async def begun(scope: Any, _receive: Any, send: Any) -> None:
    """Begins an answer that nobody takes."""
    await intake_of(scope).enter("ada")
    await intake_of(scope).turn()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await asyncio.Event().wait()


async def test_who_takes_their_answers_slowly_holds_up_no_work_of_theirs() -> None:
    overload, count = Overload(begun), WORKING_MAX * 2
    started = asyncio.Semaphore(0)

    async def send(_message: Any) -> None:
        started.release()

    scope = {"type": "http", "path": "/traces"}
    tasks = [
        asyncio.create_task(overload(dict(scope), None, send))  # type: ignore[arg-type]  # of what is looked at
        for _ in range(count)
    ]
    async with in_time():
        for _ in range(count):
            await started.acquire()
    assert (overload.requests, len(overload.shares)) == (count, 1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert (overload.requests, len(overload.shares)) == (0, 0)


def test_the_bounds_leave_room_for_others() -> None:
    assert PoolSettings(url="").size > WORKING_MAX * 2  # connections to the database
    assert shares_.REQUESTS_MAX * 4 <= overload_.REQUESTS_MAX
    assert shares_.TURN_S < WRITE_TIMEOUT_S  # so that a client is told before it gives up


# --- refusals ------------------------------------------------------------------------------------

LONG_S = 3600


async def test_a_refusal_waits_outside_of_what_is_under_way() -> None:
    async def refusing(scope: Any, _receive: Any, send: Any) -> None:
        await intake_of(scope).hold()
        await send({"type": "http.response.start", "status": 429, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    overload = Overload(refusing, requests_max=1, held_s=LONG_S)
    waiting = [asyncio.create_task(exchange(overload, "GET", "/traces", {})) for _ in range(3)]
    await turned()
    assert (overload.requests, overload.held) == (0, 3)
    for one in waiting:
        one.cancel()
    await asyncio.wait(waiting)
    assert (overload.requests, overload.held) == (0, 0)


async def test_who_asks_too_often_is_told_so_later() -> None:
    site = Site(
        config=replace(CONFIG, refusals_held_s=LONG_S),
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


async def test_so_does_one_for_which_there_is_no_room() -> None:
    overload = Overload(Slow(), requests_max=0, held_s=LONG_S)  # type: ignore[arg-type]  # never called
    waiting = asyncio.create_task(exchange(overload, "GET", "/traces", {}))
    await turned()
    assert not waiting.done()
    assert overload.held == 1
    waiting.cancel()
    await asyncio.wait([waiting])
    assert overload.held == 0


async def test_so_many_wait_and_no_more() -> None:
    overload = Overload(Slow(), requests_max=0, held_s=LONG_S)  # type: ignore[arg-type]  # never called
    overload.held = HELD_MAX
    async with in_time():
        [start, _], _ = await exchange(overload, "GET", "/traces", {})
    assert start["status"] == 503
