"""What PostgreSQL keeps of payloads: replaced values are removed, damage stays with its trace."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from adapters.postgres.database.pool import Pool
from adapters.postgres.tracing.payloads.block_compaction import GAP_BYTES_MAX
from adapters.postgres.tracing.payloads.payload_text import (
    BLOCK_BYTES_MAX,
    DECOMPRESSED_ON_LOOP_MAX,
    Block,
    DamagedText,
    decompressed,
)
from domain.evaluation.scores.outcome import FailCode, Failed
from domain.ids import ProjectId, TraceId
from domain.page import PageRequest, SortOrder
from domain.tracing.payloads.payload_detail import WHOLE_PAYLOADS
from domain.tracing.span import SpanChange
from domain.tracing.trace import TraceChange
from tests.support.builders.otel import START_NS, fragments, sent_span
from tests.support.builders.values import at, span, trace, trace_id
from tests.support.fixtures.data_plane import DataPlane, join_payloads, over_postgres, project

pytestmark = pytest.mark.service

BLOCKS = """
SELECT start, raw_bytes, block FROM trace_payloads
WHERE project_id = $1 AND trace_id = $2 ORDER BY start
"""
FRAGMENTS_IN_ROWS = """
SELECT count(*) FROM span_fragment_rows WHERE project_id = $1 AND data IS NOT NULL
"""
DAMAGE = """
UPDATE trace_payloads SET block = overlay(block placing '\\xff'::bytea from 9)
WHERE project_id = $1 AND trace_id = $2
"""


@pytest.fixture
async def plane(serving_pool: Pool) -> AsyncIterator[DataPlane]:
    async with over_postgres(serving_pool) as plane:
        yield plane


async def stored(pool: Pool, project_id: ProjectId, one: TraceId) -> list[bytes]:
    """The text of each block."""
    rows = await pool.fetch(BLOCKS, project_id, one)
    return [decompressed(one, Block(*row)) for row in rows]


async def test_trace_of_one_write_is_one_block(plane, pool):
    ours, sent = project(), trace(span(input=b"1"), span(started_at=at(1), output=b"2"), input=b"3")
    await plane.traces.put(ours, sent)
    assert await stored(pool, ours, sent.id) == [b"312"]


async def test_writes_are_joined_into_one_block_once_they_are_old(plane, pool):
    ours, sent = project(), trace(input=b"1")
    for n in range(3):
        await plane.traces.put(ours, replace(sent, spans=(span(input=b"%d" % n),)))
    assert len(await stored(pool, ours, sent.id)) == 3
    await plane.tracing.payload_storage.join_blocks(datetime.now(UTC) - timedelta(hours=1))
    assert len(await stored(pool, ours, sent.id)) == 3
    await join_payloads(plane)
    assert await stored(pool, ours, sent.id) == [b"1012"]


async def test_fragments_are_in_the_text_with_the_values_that_they_repeat(plane, pool):
    ours, id_ = project(), trace_id()
    said = "the customer asks where the parcel is " * 100
    first = sent_span({"input.value": said}, span_id="a" * 16)
    late = sent_span({"input.value": said, "output.value": said}, span_id="a" * 16, end_ns=0)
    await plane.otlp.put(ours, id_, fragments(id_, first, sent_span(span_id="b" * 16)))
    [text] = await stored(pool, ours, id_)
    assert said.encode() in text
    await plane.otlp.put(ours, id_, fragments(id_, late))
    await plane.otlp.put(ours, id_, fragments(id_, late))  # is known
    before = await plane.traces.get(ours, id_)
    assert await pool.fetchval(FRAGMENTS_IN_ROWS, ours) == 0
    await join_payloads(plane)
    assert len(await stored(pool, ours, id_)) == 1
    assert await plane.traces.get(ours, id_) == before
    last = sent_span({"llm.model_name": "m"}, span_id="a" * 16, start_ns=START_NS + 1)
    await plane.otlp.put(ours, id_, fragments(id_, last))
    after = await plane.traces.get(ours, id_)
    assert {one.id: one.input for one in after.spans} == {one.id: one.input for one in before.spans}


@pytest.mark.parametrize("by", ["report", "edit", "clearing"])
async def test_replaced_values_are_removed(plane, pool, by):
    ours, secret = project(), b'"secret of Ada"'
    kept, changed = span(input=b'"kept"'), span(input=secret, output=secret)
    sent = trace(kept, changed, input=secret, output=secret)
    await plane.traces.put(ours, sent)
    new = None if by == "clearing" else b"1"
    if by == "report":
        now = replace(changed, input=new, output=new)
        await plane.traces.put(ours, replace(sent, input=new, output=new, spans=(now,)))
    else:
        await plane.traces.change(ours, sent.id, TraceChange(input=new, output=new))
        change = SpanChange(input=new, output=new)
        await plane.traces.change_span(ours, sent.id, changed.id, change)
    await join_payloads(plane)
    assert b"Ada" not in b"".join(await stored(pool, ours, sent.id))
    read = await plane.traces.get(ours, sent.id)
    assert (read.input, read.output) == (new, new)
    assert {one.id: one.input for one in read.spans} == {kept.id: b'"kept"', changed.id: new}


async def test_values_of_a_span_that_is_cleared_are_removed(plane, pool):
    ours, one = project(), span(input=b'"secret of Ada"')
    await plane.traces.put(ours, sent := trace(one))
    await plane.traces.change_span(ours, sent.id, one.id, SpanChange(input=None))
    await join_payloads(plane)
    assert b"Ada" not in b"".join(await stored(pool, ours, sent.id))


async def test_repeated_reports_take_no_space_for_long(plane, pool):
    ours, one = project(), span()
    sent = trace(one)
    for n in range(30):
        changed = replace(one, output=b"[%d]" % n + b" " * GAP_BYTES_MAX)
        await plane.traces.put(ours, replace(sent, spans=(changed,)))
        if n % 10 == 0:
            await join_payloads(plane)
    await join_payloads(plane)
    assert sum(map(len, await stored(pool, ours, sent.id))) == len(changed.output)


async def test_values_may_be_larger_than_a_block(plane, pool):
    ours = project()
    large = b'"' + os.urandom(BLOCK_BYTES_MAX).hex().encode() + b'"'
    sent = trace(span(input=b"1"), span(input=large), span(output=b"2"), output=large)
    await plane.traces.put(ours, sent)
    sizes = [len(text) for text in await stored(pool, ours, sent.id)]
    assert max(sizes) == BLOCK_BYTES_MAX
    assert sum(sizes) == 2 * len(large) + 2
    await plane.traces.add_spans(ours, sent.id, [late := span(input=large)])
    await join_payloads(plane)
    read = await plane.traces.get(ours, sent.id)
    expected = {one.id: (one.input, one.output) for one in (*sent.spans, late)}
    assert {one.id: (one.input, one.output) for one in read.spans} == expected
    assert read.output == large


async def test_damaged_block_is_an_error_of_its_trace_alone(plane, pool):
    ours = project()
    payloads = {"input": b'"asked"', "output": b'"answered"', "session_id": "s"}
    damaged, intact = trace(span(input=b"1"), **payloads), trace(span(input=b"1"), **payloads)
    await plane.traces.put(ours, damaged)
    await plane.traces.put(ours, intact)
    await pool.execute(DAMAGE, ours, damaged.id)
    with pytest.raises(DamagedText) as refused:
        await plane.traces.get(ours, damaged.id)
    assert str(damaged.id) in refused.value.message
    assert (await plane.traces.get(ours, intact.id)).input == b'"asked"'
    turns = await plane.sessions.turns(ours, "s", SortOrder.ASC, PageRequest(limit=5))
    assert {one.summary.id: one.input for one in turns.items} == {
        damaged.id: None,
        intact.id: b'"asked"',
    }
    [shown] = [one for one in turns.items if one.summary.id == damaged.id]
    assert shown.input_preview.size == len(b'"asked"')
    await plane.traces.put(ours, replace(damaged, spans=(late := span(input=b"2"),)))
    await join_payloads(plane)
    assert len(await pool.fetch(BLOCKS, ours, damaged.id)) == 2
    detail = await plane.traces.payload(ours, damaged.id, late.id, "input")
    assert detail == b"2"
    assert await plane.traces.delete(ours, [damaged.id]) == 1


async def test_large_damaged_trace_is_refused_and_its_connection_is_used_again(plane, pool):
    """Its blocks are decompressed while its spans are read, on the connection that they need."""
    ours, text = project(), b'"' + b"x" * DECOMPRESSED_ON_LOOP_MAX + b'"'
    spans = [span(input=b"1") for _ in range(500)]
    await plane.traces.put(ours, damaged := trace(*spans, input=text))
    await pool.execute(DAMAGE, ours, damaged.id)
    for _ in range(5):
        with pytest.raises(DamagedText):
            await plane.traces.detail(ours, damaged.id, WHOLE_PAYLOADS)


async def test_damaged_trace_is_not_evaluated(plane, pool):
    ours, damaged = project(), trace(span(input=b"1"))
    await plane.traces.put(ours, damaged)
    await pool.execute(DAMAGE, ours, damaged.id)
    found = await plane.evaluation.targets.load_trace(ours, damaged.id)
    assert found == Failed(FailCode.INTERNAL)


async def test_write_that_needs_a_damaged_block_does_not_affect_others(plane, pool):
    ours, damaged, other = project(), trace(one := span(input=b"1")), trace(span(input=b"1"))
    await plane.traces.put(ours, damaged)
    await pool.execute(DAMAGE, ours, damaged.id)
    outcomes = await asyncio.gather(
        *(plane.traces.put(ours, sent) for sent in (trace(), trace(), other)),
        plane.traces.put(ours, replace(damaged, spans=(replace(one, output=b"2"),))),
        *(plane.traces.put(ours, trace()) for _ in range(5)),
        return_exceptions=True,
    )
    [refused] = filter(None, outcomes)
    assert isinstance(refused, DamagedText)
    assert (await plane.traces.get(ours, other.id)).spans[0].input == b"1"
