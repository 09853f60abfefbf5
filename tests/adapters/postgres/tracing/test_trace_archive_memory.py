"""Exports use no more memory for many traces than for few."""

import asyncio
import gc
import os
import tracemalloc
import uuid
from collections.abc import AsyncIterator

import pytest

from adapters.postgres.database.pool import Pool
from adapters.postgres.evaluation.scores.scores import (
    PostgresSessionScores,
    PostgresTraceScores,
)
from adapters.postgres.exports.trace_archive import BATCH_BYTES_MAX, PostgresTraceArchive
from adapters.postgres.tracing.traces import PostgresTraces
from domain.ids import ProjectId
from domain.page import SortOrder
from domain.tracing.query import TraceFilter, TraceSort
from entrypoints.http.controllers.exports.ndjson import NdjsonEncoder
from tests.support.builders.scores import session_score, trace_score
from tests.support.builders.values import at, prices, span, trace

pytestmark = pytest.mark.service

COPIES_MAX = 8  # of one batch at once: from the driver to the lines
LARGE = 200 << 10  # bytes of a payload
TRACES = 400


@pytest.fixture
async def traces(pool: Pool) -> AsyncIterator[PostgresTraces]:
    async with PostgresTraces.open(pool, prices()) as open_traces:
        yield open_traces


# Compressed, a batch has more text for each byte that is read.
@pytest.mark.parametrize("compressible", [pytest.param(False, marks=pytest.mark.exhaustive), True])
async def test_export_memory_is_bounded(pool, traces, compressible):
    ours = ProjectId(uuid.uuid4())

    def large() -> bytes:
        return (
            b'"' + (b"a" * LARGE if compressible else os.urandom(LARGE // 2).hex().encode()) + b'"'
        )

    room = asyncio.Semaphore(8)

    async def put(n: int) -> None:
        async with room:
            await traces.put(ours, trace(span(output=large()), input=large(), started_at=at(n)))

    await asyncio.gather(*map(put, range(TRACES)))
    archive = PostgresTraceArchive(pool, pool, 120)
    gc.collect()
    tracemalloc.start()
    lines, written = NdjsonEncoder(ours), 0
    try:
        asked = archive.read(ours, TraceFilter(), TraceSort.STARTED_AT, SortOrder.ASC, [])
        async with asked as batches:
            async for batch in batches:
                written += len(lines.add(batch))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lines.rows == TRACES
    assert written > 10 * COPIES_MAX * BATCH_BYTES_MAX
    assert most < COPIES_MAX * BATCH_BYTES_MAX


async def test_scores_count_for_the_size_of_a_batch(pool, traces):
    ours, metadata = ProjectId(uuid.uuid4()), b'{"a":"%b"}' % (b"x" * (BATCH_BYTES_MAX // 2))
    of_traces, of_sessions = PostgresTraceScores(pool), PostgresSessionScores(pool)
    for n in range(6):
        one = trace(started_at=at(n), session_id=f"s{n}")
        await traces.put(ours, one)
        if n < 3:
            await of_traces.add(trace_score(ours, one.id, metadata=metadata))
        else:
            await of_sessions.add(session_score(ours, f"s{n}", metadata=metadata))
    archive = PostgresTraceArchive(pool, pool, 120)
    asked = archive.read(ours, TraceFilter(), TraceSort.STARTED_AT, SortOrder.ASC, [])
    async with asked as batches:
        sizes = [len(batch) async for batch in batches]
    assert sizes == [1] * 6
