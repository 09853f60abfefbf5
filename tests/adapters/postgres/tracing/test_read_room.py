"""Each read of traces, spans and payloads that may be large asks for room before it reads."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from adapters.postgres.database.pool import Pool
from application.read_room import MEDIUM_READ_BYTES, SMALL_READ_BYTES, ReadRoom, room_of_request
from domain.page import PageRequest
from domain.tracing.payloads.payload_detail import PayloadDetail, PayloadExtent, PayloadName
from domain.tracing.trace import TraceChange
from tests.support.builders.values import at, span, trace
from tests.support.fixtures.data_plane import DataPlane, over_postgres, project

pytestmark = pytest.mark.service


@pytest.fixture
async def plane(serving_pool: Pool) -> AsyncIterator[DataPlane]:
    async with over_postgres(serving_pool) as plane:
        yield plane


FULL = PayloadExtent(PayloadDetail.FULL)
SPAN = span()
READS: dict[str, Callable[[Any, Any, Any], Awaitable[object]]] = {
    "get": lambda traces, of, id_: traces.get(of, id_),
    "detail": lambda traces, of, id_: traces.detail(of, id_, FULL),
    "span": lambda traces, of, id_: traces.span(of, id_, SPAN.id, FULL),
    "spans": lambda traces, of, id_: traces.spans(of, id_, FULL, PageRequest(1)),
    "spans by id": lambda traces, of, id_: traces.spans_by_id(of, id_, [SPAN.id], FULL),
    "payload": lambda traces, of, id_: traces.payload(of, id_, SPAN.id, PayloadName.INPUT),
    "change": lambda traces, of, id_: traces.change(of, id_, TraceChange(tags=("a",))),
}


@pytest.mark.parametrize("name", [*READS, "session"])
@pytest.mark.parametrize(("size", "room"), [(1_000, 0), (SMALL_READ_BYTES, MEDIUM_READ_BYTES)])
async def test_large_reads_ask_for_room(plane, name, size, room):
    ours = project()
    large = span(id=SPAN.id, input=b'"%b"' % (b"x" * size))
    one = trace(large, started_at=at(0), session_id="s")
    await plane.tracing.traces.put(ours, one)
    held = 0

    async def take(asked: int) -> None:
        nonlocal held
        held += asked

    token = room_of_request.set(ReadRoom(take, lambda _: None))
    if name == "session":
        await plane.tracing.sessions.get(ours, "s", PageRequest(10))
    else:
        await READS[name](plane.tracing.traces, ours, one.id)
    room_of_request.reset(token)
    assert held == room
