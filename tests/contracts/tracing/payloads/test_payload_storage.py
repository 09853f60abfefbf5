"""Contract of PayloadStorage: after blocks were joined, everything reads as before."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from adapters.postgres.database.pool import Pool
from adapters.s3.payload_store import S3PayloadStore
from domain.page import PageRequest, SortOrder
from domain.tracing.payloads.payload_detail import WHOLE_PAYLOADS, PayloadName
from domain.tracing.span import SpanChange
from domain.tracing.trace import Trace, TraceChange
from domain.tracing.trace_detail import ShownSpan, TraceDetail
from tests.support.builders.values import at, span, trace
from tests.support.fixtures.data_plane import (
    DataPlane,
    join_payloads,
    over_memory,
    over_postgres,
    project,
    remove_unused_texts,
)
from tests.support.fixtures.servers.payload_store import new_bucket, plane_with_store

pytestmark = pytest.mark.service


@pytest.fixture(params=["memory", "postgres", "s3"])
def where(request: pytest.FixtureRequest) -> Pool | tuple[str, S3PayloadStore] | None:
    """A synchronous fixture, so that it may request another by name."""
    match request.param:
        case "memory":
            return None
        case "postgres":
            return request.getfixturevalue("serving_pool")
        case _:
            bucket = new_bucket(request.getfixturevalue("s3_url"))
            return request.getfixturevalue("blocks_url"), bucket


@pytest.fixture
async def plane(where: Pool | tuple[str, S3PayloadStore] | None) -> AsyncIterator[DataPlane]:
    match where:
        case None:
            yield over_memory()
        case (url, bucket):
            async with plane_with_store(url, bucket) as (plane, _):
                yield plane
        case pool:
            async with over_postgres(pool) as plane:
                yield plane


WORDS = "the customer asks where the parcel is, and the carrier says that it is late " * 20


def payload(n: int) -> bytes:
    return f'{{"step": {n}, "text": "{WORDS}"}}'.encode()


async def in_steps(plane: DataPlane, of: object, sent: Trace) -> None:
    """Writes the trace without spans, then each span, then all again."""
    await plane.traces.put(of, replace(sent, spans=()))
    for one in sent.spans:
        await plane.traces.put(of, replace(sent, spans=(one,)))
    await plane.traces.put(of, sent)


def a_trace() -> Trace:
    spans = [
        span(
            started_at=at(n), input=payload(n), output=payload(-n), metadata=b'{"n": %d}' % n,
            token_usage=b'{"prompt_tokens": 1e0}', model_parameters=b'{"t":0.10}',
        )
        for n in range(5)
    ]  # fmt: skip
    return trace(span(), *spans, input=payload(1), output=payload(2), session_id="s")


async def test_trace_that_came_in_steps_reads_as_before(plane):
    ours, sent = project(), a_trace()
    await in_steps(plane, ours, sent)
    before = await plane.traces.get(ours, sent.id)
    await join_payloads(plane)
    assert await plane.traces.get(ours, sent.id) == before
    assert before.input == sent.input
    read = {one.id: (one.input, one.output, one.metadata) for one in before.spans}
    assert read == {one.id: (one.input, one.output, one.metadata) for one in sent.spans}
    for one in sent.spans:
        known = next(known for known in before.spans if known.id == one.id)
        shown = await plane.traces.span(ours, sent.id, one.id, WHOLE_PAYLOADS)
        assert shown == ShownSpan.from_span(known, WHOLE_PAYLOADS)
        for name in PayloadName:
            assert await plane.traces.payload(ours, sent.id, one.id, name) == getattr(one, name)
    detail = await plane.traces.detail(ours, sent.id, WHOLE_PAYLOADS)
    assert detail == TraceDetail.from_trace(before, detail.revision, WHOLE_PAYLOADS)
    turns = await plane.sessions.turns(ours, "s", SortOrder.ASC, PageRequest(limit=5))
    assert [(one.input, one.output) for one in turns.items] == [(sent.input, sent.output)]


async def test_traces_are_written_further_after_they_were_joined(plane):
    ours, sent = project(), a_trace()
    await in_steps(plane, ours, sent)
    await join_payloads(plane)
    await plane.traces.add_spans(ours, sent.id, [added := span(input=payload(9))])
    await plane.traces.change(ours, sent.id, TraceChange(input=b"7", output=None))
    await plane.traces.change_span(ours, sent.id, sent.spans[1].id, SpanChange(output=b"8"))
    before = await plane.traces.get(ours, sent.id)
    assert (before.input, before.output) == (b"7", None)
    await join_payloads(plane)
    after = await plane.traces.get(ours, sent.id)
    assert after == before
    by_id = {one.id: one for one in after.spans}
    assert by_id[added.id].input == payload(9)
    assert (by_id[sent.spans[1].id].input, by_id[sent.spans[1].id].output) == (payload(0), b"8")


async def test_nothing_is_lost_while_others_write(plane):
    ours, sent = project(), a_trace()
    spans = [span(input=payload(n)) for n in range(30)]

    async def write() -> None:
        for one in spans:
            await plane.traces.put(ours, replace(sent, spans=(one,)))

    await asyncio.gather(write(), *(join_payloads(plane) for _ in range(10)))
    await join_payloads(plane)
    read = await plane.traces.get(ours, sent.id)
    assert {one.id: one.input for one in read.spans} == {one.id: one.input for one in spans}


async def test_joined_traces_are_deleted(plane):
    ours, sent = project(), a_trace()
    await in_steps(plane, ours, sent)
    await join_payloads(plane)
    assert await plane.traces.delete(ours, [sent.id]) == 1
    await plane.traces.put(ours, replace(sent, spans=(), input=None, output=None))
    read = await plane.traces.get(ours, sent.id)
    assert (read.input, read.output, read.spans) == (None, None, ())


async def test_traces_with_the_same_long_text_read_as_before(plane):
    ours = project()
    prompt = "".join(random.Random(1).choices("abcdefghij é", k=10_000))
    asked = [json.dumps([{"system": prompt}, {"user": n}]).encode() for n in range(4)]
    sent = [trace(span(input=one, output=payload(1)), input=one, session_id="s") for one in asked]
    for one in sent:
        await plane.traces.put(ours, one)
        await join_payloads(plane)
    before = [await plane.traces.get(ours, one.id) for one in sent]
    assert [(one.input, one.spans[0].input) for one in before] == [(one, one) for one in asked]
    late = span(input=asked[0])
    for one in sent:
        await plane.traces.add_spans(ours, one.id, [late])
    await plane.traces.delete(ours, [sent[0].id])
    await join_payloads(plane)
    await remove_unused_texts(plane)
    for one, known in zip(sent[1:], before[1:], strict=True):
        read = await plane.traces.get(ours, one.id)
        assert read.input == known.input
        found = {of.id: (of.input, of.output) for of in read.spans}
        expected = {of.id: (of.input, of.output) for of in (*known.spans, late)}
        assert found == expected
    turns = await plane.sessions.turns(ours, "s", SortOrder.ASC, PageRequest(limit=5))
    assert {one.input for one in turns.items} == {*asked[1:]}
