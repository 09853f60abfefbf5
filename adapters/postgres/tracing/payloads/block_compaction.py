"""Joins the blocks of traces that came in several writes, and removes values that were replaced.

A joined block has the same part of the text as the blocks before it, so no row of a span changes.
Bytes that no row has the place of are blanked: they take no space, and can't be read again.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from adapters.postgres.database.payload_objects import remove_objects
from adapters.postgres.database.pool import Connection, Pool
from adapters.postgres.database.removed_projects import not_removed
from adapters.postgres.database.tenants import ALL_TENANTS
from adapters.postgres.database.transactions import transaction
from adapters.postgres.tracing.payloads.payload_objects import (
    OBJECT_BYTES_MIN,
    move_blocks,
    remove_orphans,
)
from adapters.postgres.tracing.payloads.payload_text import (
    BLOCK_BYTES_MAX,
    DECOMPRESSED_ON_LOOP_MAX,
    SPAN_SIZES,
    Block,
    DamagedText,
    Range,
    TraceKey,
    compressed,
    decompressed,
    with_data,
)
from application.concurrency import compute

TRACES_PER_TRANSACTION: Final = 16
GAP_BYTES_MAX: Final = 16 << 10  # of blanks within a block
DUE_BLOCKS_MAX: Final = 500  # that are looked at to find them

# Skips locked traces: they are being written, or another worker joins their blocks.
LOCK_WRITTEN_TRACES: Final = f"""
WITH due AS MATERIALIZED (
  SELECT project_id, trace_id FROM trace_payloads
  WHERE written_at < $1 AND {not_removed("trace_payloads")}
  ORDER BY written_at LIMIT {DUE_BLOCKS_MAX}
), first AS MATERIALIZED (
  SELECT DISTINCT project_id, trace_id FROM due
)
SELECT traces.project_id, traces.trace_id
FROM first JOIN traces ON traces.project_id = first.project_id
  AND traces.trace_id = first.trace_id
LIMIT {TRACES_PER_TRANSACTION} FOR UPDATE OF traces SKIP LOCKED
"""
_OF_TRACE: Final = "project_id = $1 AND trace_id = $2"
SELECT_BLOCK_SIZES: Final = f"""
SELECT start, raw_bytes FROM trace_payloads WHERE {_OF_TRACE} ORDER BY start
"""
# The ranges of the text that rows refer to, in order, none touching another.
SELECT_LIVE_RANGES: Final = f"""
SELECT lower(live), upper(live) FROM (
  SELECT unnest(range_agg(int8range(at, at + size))) AS live FROM (
    SELECT payload_at, {" + ".join(f"coalesce({name}, 0)" for name in SPAN_SIZES)}
    FROM spans WHERE {_OF_TRACE} AND payload_at IS NOT NULL
    UNION ALL
    SELECT input_at, input_bytes FROM trace_payloads
    WHERE {_OF_TRACE} AND start = 0 AND input_at IS NOT NULL
    UNION ALL
    SELECT output_at, output_bytes FROM trace_payloads
    WHERE {_OF_TRACE} AND start = 0 AND output_at IS NOT NULL
    UNION ALL
    SELECT data_at, data_bytes FROM span_fragments WHERE {_OF_TRACE} AND data_at IS NOT NULL
  ) AS places (at, size)
) AS lives ORDER BY live
"""
SELECT_SOME_BLOCKS: Final = f"""
SELECT start, raw_bytes, block, object_id FROM trace_payloads
WHERE {_OF_TRACE} AND start = ANY($3::bigint[])
"""
DELETE_BLOCKS: Final = f"""
DELETE FROM trace_payloads WHERE {_OF_TRACE} AND start = ANY($3::bigint[])
"""
# The block at 0 keeps its row, which has the head.
UPDATE_FIRST_BLOCK: Final = f"""
UPDATE trace_payloads SET raw_bytes = $3, block = $4, object_id = NULL,
  written_at = coalesce(written_at, $5)
WHERE {_OF_TRACE} AND start = 0
"""
INSERT_BLOCK: Final = """
INSERT INTO trace_payloads (project_id, trace_id, start, raw_bytes, block, written_at)
VALUES ($1, $2, $3, $4, $5, $6)
"""
END_WAITING: Final = f"""
UPDATE trace_payloads SET written_at = NULL WHERE {_OF_TRACE} AND written_at < $3
"""


@dataclass(frozen=True, slots=True)
class PostgresPayloadStorage:
    """Joins blocks; the text is decompressed and compressed in threads.

    If the pool has a store, it then moves blocks of at least `object_bytes_min` there.
    """

    pool: Pool
    object_bytes_min: int = OBJECT_BYTES_MIN

    async def join_blocks(self, before: datetime) -> int:
        store = self.pool.payload_store
        async with transaction(self.pool, ALL_TENANTS) as connection:
            rows = await connection.fetch(LOCK_WRITTEN_TRACES, before)
            for key in map(tuple, rows):
                # What isn't moved after the COMMIT still waits for it.
                waits_since = None if store is None else before - timedelta.resolution
                await _join_blocks(connection, key, waits_since)
                if store is None:
                    await connection.execute(END_WAITING, *key, before)
        if store is not None:
            for key in map(tuple, rows):
                await move_blocks(self.pool, store, key, self.object_bytes_min)
                async with transaction(self.pool, ALL_TENANTS) as connection:
                    await connection.execute(END_WAITING, *key, before)
        return len(rows)

    async def remove_objects(self, before: datetime) -> int:
        return await remove_objects(self.pool, before)

    async def remove_orphans(self, before: datetime) -> int:
        store = self.pool.payload_store
        return 0 if store is None else await remove_orphans(self.pool, store, before)


async def _join_blocks(connection: Connection, key: TraceKey, waits_since: datetime | None) -> None:
    rows = await connection.fetch(SELECT_BLOCK_SIZES, *key)
    live = LiveRanges([tuple(row) for row in await connection.fetch(SELECT_LIVE_RANGES, *key)])
    for group in groups_of_blocks([(row["start"], row["raw_bytes"]) for row in rows]):
        starts = [start for start, _ in group]
        rows_of_group = await connection.fetch(SELECT_SOME_BLOCKS, *key, starts)
        stored = {key: [Block(*row) for row in rows_of_group]}
        if waits_since is None and any(one.object_id for one in stored[key]):
            continue  # the store isn't configured any more; others are joined
        blocks = sorted((await with_data(connection, stored))[key])
        is_long = sum(size for _, size in group) > DECOMPRESSED_ON_LOOP_MAX
        try:
            joined = await compute(join, key, blocks, live, is_long=is_long)
        except DamagedText:
            continue  # readers report it; its bytes stay as they are
        if joined == blocks:
            continue
        later = [start for start in starts if start]
        if later:
            await connection.execute(DELETE_BLOCKS, *key, later)
        for block in joined:
            if block.start == 0:
                await connection.execute(UPDATE_FIRST_BLOCK, *key, *block[1:3], waits_since)
            else:
                await connection.execute(INSERT_BLOCK, *key, *block[:3], waits_since)


@dataclass(frozen=True, slots=True)
class LiveRanges:
    """The ranges of a text that rows refer to, in order, none touching another."""

    ranges: Sequence[Range]

    def within(self, first: int, past: int) -> Iterator[Range]:
        """The parts of the ranges from `first` to `past`."""
        at = max(0, bisect_left(self.ranges, (first, first)) - 1)
        for start, end in islice(self.ranges, at, None):
            if start >= past:
                return
            if end > first:
                yield max(first, start), min(past, end)


def groups_of_blocks(
    blocks: Sequence[tuple[int, int]], block_bytes: int = BLOCK_BYTES_MAX
) -> Iterator[list[tuple[int, int]]]:
    """Blocks, by start and size in order, that fit into one of `block_bytes` together."""
    group: list[tuple[int, int]] = []
    for start, size in blocks:
        if group and start + size - group[0][0] > block_bytes:
            yield group
            group = []
        group.append((start, size))
    if group:
        yield group


def join(key: TraceKey, blocks: Sequence[Block], live: LiveRanges) -> list[Block]:
    """The blocks in place of neighbours; parts with GAP_BYTES_MAX between them stay apart.

    A block at 0 stays, with nothing in it if need be. Raises DamagedText.
    """
    start, past = blocks[0].start, blocks[-1].start + blocks[-1].raw_bytes
    parts = list(live.within(start, past))
    if len(blocks) == 1 and parts == [(start, past)]:
        return list(blocks)
    ranges = [(0, 0)] if start == 0 else []
    for first, end in parts:
        if ranges and first - ranges[-1][1] <= GAP_BYTES_MAX:
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((first, end))
    text = bytearray(past - start)
    for block in blocks:
        raw = decompressed(key[1], block)
        for first, end in live.within(block.start, block.start + block.raw_bytes):
            text[first - start : end - start] = raw[first - block.start : end - block.start]
    view = memoryview(text)
    return [
        Block(first, end - first, compressed([view[first - start : end - start]], end - first))
        for first, end in ranges
    ]
