"""A large trace is sent in parts, which together are the response that is made at once."""

import asyncio
import gzip
import uuid
from collections import deque
from collections.abc import Callable

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import ProjectId
from domain.tracing.payloads.payload_detail import PayloadDetail, PayloadExtent
from domain.tracing.trace import Trace
from domain.tracing.trace_detail import TraceDetail
from entrypoints.http.controllers.traces import part_schemas
from entrypoints.http.controllers.traces.schemas import SENT_AT_ONCE_SPANS_MAX, TraceResponse
from entrypoints.http.streams import LONG_BYTES_MAX, PART_BYTES, PART_ITEMS_MAX, JsonParts
from tests.http.conftest import Site, a_span, a_trace
from tests.support.builders import strategies
from tests.support.builders.values import at, prices, span, trace
from tests.support.clients.asgi_client import exchange

PROJECT = ProjectId(uuid.UUID(int=1))
PATH = f"/traces/{uuid.UUID(int=2)}"


class Item(msgspec.Struct):
    text: str


class Shelf(msgspec.Struct):
    before: msgspec.Raw
    items: list[Item]
    after: int = 1


@pytest.mark.parametrize("count", [0, 1, 16, 17, 500])
def test_parts_are_the_whole(count: int) -> None:
    before = msgspec.Raw(b'{"items":[]}')
    sizes = [10 ** (n % 5) for n in range(count)]
    parts = [*JsonParts(Shelf(before, []), "items", deque(sizes), items, sum)]
    assert b"".join(parts) == msgspec.json.encode(Shelf(before, items(sizes)))
    assert max(part.count(b'"text"') for part in parts) <= PART_ITEMS_MAX
    assert len(parts) > sum(sizes) // (3 * PART_BYTES)


@pytest.mark.parametrize("small", [0, 16, 100])
def test_parts_are_bounded_whatever_the_sizes_of_their_items(small: int) -> None:
    """Making a large part would hold up all other requests."""
    sizes = [1] * small + [PART_BYTES // 2 + 6 * n for n in range(64)]
    before = msgspec.Raw(b"1")
    parts = [*JsonParts(Shelf(before, []), "items", deque(sizes), items, sum)]
    assert max(map(len, parts)) < LONG_BYTES_MAX + PART_BYTES
    assert b"".join(parts) == msgspec.json.encode(Shelf(before, items(sizes)))


def items(sizes: list[int]) -> list[Item]:
    return [Item("\0" * (size // 6)) for size in sizes]


@given(
    sent=strategies.traces(),
    extent=st.builds(PayloadExtent, st.sampled_from(PayloadDetail), st.integers(1, 9)),
)
def test_large_and_small_traces_have_the_same_text(sent: Trace, extent: PayloadExtent) -> None:
    trace = sent.settled(prices().price)
    found = TraceDetail.from_trace(trace, "revision", extent)
    is_full = extent.detail is PayloadDetail.FULL
    text = msgspec.json.encode(part_schemas.whole_response(PROJECT, found, is_full=is_full))
    assert b"".join(part_schemas.response_in_parts(PROJECT, found, is_full=is_full)) == text
    if is_full:
        assert text == msgspec.json.encode(TraceResponse.from_trace(PROJECT, trace))


@pytest.mark.parametrize("detail", PayloadDetail)
def test_parts_of_a_trace_are_bounded(detail: PayloadDetail) -> None:
    long = b'"' + b"x" * (PART_BYTES // 3) + b'"'
    steps = [span(started_at=at(n)) for n in range(100)]
    steps += [span(started_at=at(200 + n), input=long, output=long) for n in range(64)]
    found = TraceDetail.from_trace(
        trace(*steps).settled(prices().price), "revision", PayloadExtent(detail)
    )
    parts = part_schemas.response_in_parts(PROJECT, found, is_full=detail is PayloadDetail.FULL)
    assert max(map(len, parts)) < LONG_BYTES_MAX + PART_BYTES


@pytest.fixture
async def large(site: Site, head: dict[str, str]) -> str:
    """The text of a large trace as it is after a change, which is made at once."""
    spans = [
        a_span(span_id=str(uuid.UUID(int=n + 9)), input=["x" * n], metadata={"n": n})
        for n in range(SENT_AT_ONCE_SPANS_MAX + 1)
    ]
    body = a_trace(trace_id=PATH.removeprefix("/traces/"), input={"spans": []}, spans=spans)
    assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202
    return (await site.http.patch(PATH, headers=head, json={"name": "changed"})).text


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


@pytest.mark.parametrize("coding", CODINGS)
async def test_large_trace_is_sent_in_parts(
    site: Site, head: dict[str, str], large: str, coding: str
) -> None:
    sent, _ = await exchange(site.app, "GET", PATH, head | {"accept-encoding": coding})
    start, *bodies = sent
    headers = dict(start["headers"])
    assert (start["status"], headers[b"content-type"]) == (200, b"application/json")
    assert headers.get(b"content-encoding", b"").decode() == coding
    assert headers[b"vary"] == b"Accept-Encoding"
    assert b"content-length" not in headers
    assert [one["more_body"] for one in bodies] == [True] * (len(bodies) - 1) + [False]
    assert CODINGS[coding](b"".join(one["body"] for one in bodies)).decode() == large


async def test_other_requests_get_their_turn_between_parts(
    site: Site, head: dict[str, str], large: str
) -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turns_before: list[int] = []

    async def app(scope, receive, send):
        async def note(message):
            turns_before.append(turns)
            await send(message)

        await site.app(scope, receive, note)

    task = asyncio.create_task(take_turns())
    await exchange(app, "GET", PATH, head)
    task.cancel()
    parts = turns_before[1:]
    assert len(parts) > 3
    assert sorted(set(parts)) == parts


async def test_known_large_trace_is_not_sent_again(
    site: Site, head: dict[str, str], large: str
) -> None:
    etag = (await site.http.get(PATH, headers=head)).headers["etag"]
    again = await site.http.get(PATH, headers=head | {"if-none-match": etag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert again.headers["vary"] == "Accept-Encoding"


async def test_large_trace_without_payloads_has_their_sizes(
    site: Site, head: dict[str, str], large: str
) -> None:
    whole = (await site.http.get(PATH, headers=head)).json()
    found = (await site.http.get(f"{PATH}?payloads=none", headers=head)).json()
    assert [one["span_id"] for one in found["spans"]] == [one["span_id"] for one in whole["spans"]]
    assert {one["input"] for one in found["spans"]} == {None}
    assert [one["input_bytes"] for one in found["spans"][:3]] == [4, 5, 6]
