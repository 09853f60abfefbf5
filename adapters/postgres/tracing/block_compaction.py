"""Joins the blocks of traces that came in several writes, and removes values that were replaced.

A joined block has the same part of the text as the blocks before it, so no row of a span changes.
Bytes that no row has the place of are blanked: they take no space, and can't be read again.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from adapters.postgres.database.columns import arrays
from adapters.postgres.database.pool import Connection, Pool
from adapters.postgres.database.removed_projects import not_removed
from adapters.postgres.database.tenants import ALL_TENANTS
from adapters.postgres.database.transactions import transaction
from adapters.postgres.tracing.payload_text import (
    BLOCK_BYTES_MAX,
    DECOMPRESSED_ON_LOOP_MAX,
    SPAN_SIZES,
    Block,
    DamagedText,
    Range,
    TraceKey,
    compressor,
    decompressed,
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
SELECT start, raw_bytes, block FROM trace_payloads WHERE {_OF_TRACE} AND start = ANY($3::bigint[])
"""
DELETE_BLOCKS: Final = f"""
DELETE FROM trace_payloads WHERE {_OF_TRACE} AND start = ANY($3::bigint[])
"""
# The block at 0 keeps its row, which has the head.
UPDATE_FIRST_BLOCK: Final = f"""
UPDATE trace_payloads SET raw_bytes = $3, block = $4 WHERE {_OF_TRACE} AND start = 0
"""
INSERT_BLOCKS: Final = """
INSERT INTO trace_payloads (project_id, trace_id, start, raw_bytes, block)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::int[], $5::bytea[])
"""
END_WAITING: Final = f"""
UPDATE trace_payloads SET written_at = NULL WHERE {_OF_TRACE} AND written_at IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class PostgresPayloadStorage:
    """Joins blocks; the text is decompressed and compressed in threads."""

    pool: Pool

    async def join_blocks(self, before: datetime) -> int:
        async with transaction(self.pool, ALL_TENANTS) as connection:
            rows = await connection.fetch(LOCK_WRITTEN_TRACES, before)
            for project, trace in rows:
                await _join_blocks(connection, (project, trace))
            return len(rows)


async def _join_blocks(connection: Connection, key: TraceKey) -> None:
    rows = await connection.fetch(SELECT_BLOCK_SIZES, *key)
    live = LiveRanges([tuple(row) for row in await connection.fetch(SELECT_LIVE_RANGES, *key)])
    for group in groups_of_blocks([(row["start"], row["raw_bytes"]) for row in rows]):
        starts = [start for start, _ in group]
        blocks = [Block(*row) for row in await connection.fetch(SELECT_SOME_BLOCKS, *key, starts)]
        is_long = sum(size for _, size in group) > DECOMPRESSED_ON_LOOP_MAX
        try:
            joined = await compute(join, key, sorted(blocks), live, is_long=is_long)
        except DamagedText:
            continue  # readers report it; its bytes stay as they are
        if joined == blocks:
            continue
        later = [start for start in starts if start]
        if later:
            await connection.execute(DELETE_BLOCKS, *key, later)
        for block in joined:
            if block.start == 0:
                await connection.execute(UPDATE_FIRST_BLOCK, *key, *block[1:])
            else:
                await connection.execute(INSERT_BLOCKS, *arrays([(*key, *block)]))
    await connection.execute(END_WAITING, *key)


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
    return [
        Block(first, end - first, compressor().compress(text[first - start : end - start]))
        for first, end in ranges
    ]
