"""Joins the blocks of traces that came in several writes, and removes values that were replaced.

A joined block has the same part of the text as the blocks before it, so no row of a span changes.
Bytes that no row has the place of are blanked: they take no space, and can't be read again. Long
texts that other traces have too are stored once (`shared_texts.py`).
"""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Final
from uuid import UUID

from adapters.postgres.database.payload_objects import remove_objects
from adapters.postgres.database.pool import Connection, Pool
from adapters.postgres.database.removed_projects import not_removed
from adapters.postgres.database.tenants import ALL_TENANTS
from adapters.postgres.database.transactions import transaction
from adapters.postgres.tracing.payloads.frames import compressed, compressed_with
from adapters.postgres.tracing.payloads.payload_objects import (
    LOCK_TRACE,
    OBJECT_BYTES_MIN,
    Orphans,
    move_blocks,
)
from adapters.postgres.tracing.payloads.payload_text import (
    BLOCK_BYTES_MAX,
    BLOCK_COLUMNS,
    DECOMPRESSED_ON_LOOP_MAX,
    SPAN_SIZES,
    Block,
    DamagedText,
    Range,
    TraceKey,
    block_from_row,
    decompressed,
    with_data,
)
from adapters.postgres.tracing.payloads.shared_texts import (
    NewTexts,
    find_long_texts,
    intact_texts,
    list_repeated,
    lock_texts,
    note_long_texts,
    release_texts,
    remove_unused_texts,
)
from application.concurrency import compute

TRACES_PER_TRANSACTION: Final = 16
# After which the others wait for the next one: 16 traces of 20 MB each might take all of its time.
BYTES_PER_TRANSACTION: Final = 16 << 20
# The size of a trace up to which all its blocks are searched for long texts. In a larger one, only
# those that are joined.
SEARCHED_BYTES_MAX: Final = 64 << 20
GAP_BYTES_MAX: Final = 16 << 10  # of blanks within a block
REFERENCE_BYTES: Final = 16  # to a shared text, in the row of a block
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
_TRACE_READERS: Final = "project_id = $1 AND trace_id = $2"
# Its blocks without their data, and the long texts that were found in it before.
SELECT_STORED: Final = f"""
SELECT start, raw_bytes, texts, NULL::uuid AS text_id FROM trace_payloads WHERE {_TRACE_READERS}
UNION ALL SELECT NULL, NULL, NULL, text_id FROM long_texts WHERE {_TRACE_READERS}
ORDER BY start
"""
# The ranges of the text that rows refer to, in order, none touching another.
SELECT_LIVE_RANGES: Final = f"""
SELECT lower(live), upper(live) FROM (
  SELECT unnest(range_agg(int8range(at, at + size))) AS live FROM (
    SELECT payload_at, {" + ".join(f"coalesce({name}, 0)" for name in SPAN_SIZES)}
    FROM spans WHERE {_TRACE_READERS} AND payload_at IS NOT NULL
    UNION ALL
    SELECT input_at, input_bytes FROM trace_payloads
    WHERE {_TRACE_READERS} AND start = 0 AND input_at IS NOT NULL
    UNION ALL
    SELECT output_at, output_bytes FROM trace_payloads
    WHERE {_TRACE_READERS} AND start = 0 AND output_at IS NOT NULL
    UNION ALL
    SELECT data_at, data_bytes FROM span_fragments WHERE {_TRACE_READERS} AND data_at IS NOT NULL
  ) AS places (at, size)
) AS lives ORDER BY live
"""
SELECT_SOME_BLOCKS: Final = f"""
SELECT {", ".join(BLOCK_COLUMNS)} FROM trace_payloads
WHERE {_TRACE_READERS} AND start = ANY($3::bigint[])
"""
DELETE_BLOCKS: Final = f"""
DELETE FROM trace_payloads WHERE {_TRACE_READERS} AND start = ANY($3::bigint[])
"""
# The block at 0 keeps its row, which has the head.
UPDATE_FIRST_BLOCK: Final = f"""
UPDATE trace_payloads SET raw_bytes = $3, block = $4, texts = $5, object_id = NULL,
  written_at = coalesce(written_at, $6)
WHERE {_TRACE_READERS} AND start = 0
"""
INSERT_BLOCK: Final = """
INSERT INTO trace_payloads (project_id, trace_id, start, raw_bytes, block, texts, written_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
KEEP_WAITING: Final = f"""
UPDATE trace_payloads SET written_at = coalesce(written_at, $3) WHERE {_TRACE_READERS} AND start = 0
"""
END_WAITING: Final = f"""
UPDATE trace_payloads SET written_at = NULL WHERE {_TRACE_READERS} AND written_at < $3
"""


@dataclass(frozen=True, slots=True)
class PostgresPayloadStorage:
    """Joins blocks; the text is decompressed and compressed in threads.

    If the pool has a store, it then moves blocks of at least `object_bytes_min` there.
    """

    pool: Pool
    object_bytes_min: int = OBJECT_BYTES_MIN
    bytes_per_transaction: int = BYTES_PER_TRANSACTION
    searched_bytes_max: int = SEARCHED_BYTES_MAX
    orphans: Orphans = field(default_factory=Orphans, compare=False)

    async def join_blocks(self, before: datetime) -> int:
        store, new_texts = self.pool.payload_store, NewTexts()
        # Blocks that aren't moved after the COMMIT still wait for it.
        waits_since = None if store is None else before - timedelta.resolution
        joined: list[TraceKey] = []
        count = size = 0
        async with transaction(self.pool, ALL_TENANTS) as connection:
            rows = await connection.fetch(LOCK_WRITTEN_TRACES, before)
            for key in map(tuple, rows):
                if size > self.bytes_per_transaction:
                    break
                one = JoinedTrace(connection, key, waits_since, new_texts, self.searched_bytes_max)
                await one.join()
                count, size = count + 1, size + one.size
                if one.awaits_texts:  # it is joined again once they are stored
                    await connection.execute(KEEP_WAITING, *key, before - timedelta.resolution)
                    continue
                joined.append(key)
                if store is None:
                    await connection.execute(END_WAITING, *key, before)
        await new_texts.store(self.pool)
        if store is not None:
            for key in joined:
                await move_blocks(self.pool, store, key, self.object_bytes_min)
                await end_waiting(self.pool, key, before)
        return count

    async def remove_objects(self, before: datetime) -> int:
        return await remove_objects(self.pool, before)

    async def remove_orphans(self, before: datetime) -> int:
        store = self.pool.payload_store
        return 0 if store is None else await self.orphans.remove(self.pool, store, before)

    async def remove_unused_texts(self, before: datetime) -> int:
        return await remove_unused_texts(self.pool, before)


async def end_waiting(pool: Pool, key: TraceKey, before: datetime) -> None:
    """Notes that blocks of a trace, written before an instant, are joined and moved."""
    async with transaction(pool, ALL_TENANTS) as connection:
        await connection.execute(LOCK_TRACE, *key)
        await connection.execute(END_WAITING, *key, before)


@dataclass(slots=True)
class JoinedTrace:
    """A trace that is locked while its blocks are joined. `awaits_texts` says to do it again."""

    connection: Connection
    key: TraceKey
    waits_since: datetime | None  # for what is still to be moved to a store
    new_texts: NewTexts
    searched_bytes_max: int = SEARCHED_BYTES_MAX
    awaits_texts: bool = False
    size: int = 0
    _known: set[UUID] = field(default_factory=set)  # long texts that were noted before
    _found: set[UUID] = field(default_factory=set)

    async def join(self) -> None:
        rows = await self.connection.fetch(SELECT_STORED, *self.key)
        live = LiveRanges(
            [tuple(row) for row in await self.connection.fetch(SELECT_LIVE_RANGES, *self.key)]
        )
        self._known = {row["text_id"] for row in rows if row["start"] is None}
        stored = {row["start"]: row for row in rows if row["start"] is not None}
        self.size = sum(row["raw_bytes"] for row in stored.values())
        is_searched = self.size <= self.searched_bytes_max
        are_read = []
        for group in groups_of_blocks([(start, row["raw_bytes"]) for start, row in stored.items()]):
            [(start, size), *others] = group
            if is_searched or others or not live.has_all(start, start + size):
                are_read.append(await self._join_group([start for start, _ in group], live))
            else:
                self._found |= set(stored[start]["texts"] or ())
        if all(are_read):
            await release_texts(self.connection, *self.key, self._known - self._found)

    async def _join_group(self, starts: Sequence[int], live: "LiveRanges") -> bool:
        """Whether the blocks could be read."""
        rows = await self.connection.fetch(SELECT_SOME_BLOCKS, *self.key, starts)
        stored = {self.key: [block_from_row(row) for row in rows]}
        if self.waits_since is None and any(one.object_id for one in stored[self.key]):
            return False  # the store isn't configured any more; others are joined
        blocks = sorted((await with_data(self.connection, stored))[self.key])
        is_long = sum(one.raw_bytes for one in blocks) > DECOMPRESSED_ON_LOOP_MAX
        try:
            parts = await compute(live_parts, self.key, blocks, live, is_long=is_long)
        except DamagedText:
            return False  # readers report it; its bytes stay as they are
        shared = await self._share([one.long_texts for one in parts], is_long=is_long)
        joined = await compute(blocks_of_parts, parts, shared, is_long=is_long)
        if joined != blocks:
            await self._write(starts, joined)
        return True

    async def _share(
        self, found: Sequence[Mapping[UUID, bytes]], *, is_long: bool
    ) -> Collection[UUID]:
        """Those long texts that are shared. One that is damaged will be replaced."""
        texts = {id_: text for some in found for id_, text in some.items()}
        if not texts:
            return ()
        project, trace = self.key
        new = texts.keys() - self._known - self._found
        await note_long_texts(self.connection, project, [(trace, id_) for id_ in new])
        self._found |= texts.keys()
        frames = await lock_texts(self.connection, project, texts)
        shared = await compute(intact_texts, frames, texts, is_long=is_long)
        new = texts.keys() - frames.keys()
        lacking = await list_repeated(self.connection, *self.key, new)
        for id_ in (*lacking, *(frames.keys() - shared)):
            self.awaits_texts |= self.new_texts.add(*self.key, id_, texts[id_])
        return shared

    async def _write(self, starts: Sequence[int], joined: Sequence[Block]) -> None:
        later = [start for start in starts if start]
        if later:
            await self.connection.execute(DELETE_BLOCKS, *self.key, later)
        for block in joined:
            row = (block.raw_bytes, block.data, block.texts or None, self.waits_since)
            if block.start == 0:
                await self.connection.execute(UPDATE_FIRST_BLOCK, *self.key, *row)
            else:
                await self.connection.execute(INSERT_BLOCK, *self.key, block.start, *row)


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

    def has_all(self, first: int, past: int) -> bool:
        return [*self.within(first, past)] == [(first, past)]


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


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the text of a trace, which becomes a block, and the long texts in it by id.

    `block` is the stored one if it has the same text.
    """

    start: int
    text: bytes
    long_texts: Mapping[UUID, bytes]
    block: Block | None


def live_parts(key: TraceKey, blocks: Sequence[Block], live: LiveRanges) -> list[Part]:
    """The parts of neighbouring blocks; those with GAP_BYTES_MAX between them stay apart.

    One at 0 stays, with nothing in it if need be. Raises DamagedText.
    """
    start, past = blocks[0].start, blocks[-1].start + blocks[-1].raw_bytes
    live_ranges = list(live.within(start, past))
    ranges = [(0, 0)] if start == 0 else []
    for first, end in live_ranges:
        if ranges and first - ranges[-1][1] <= GAP_BYTES_MAX:
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((first, end))
    is_same = len(blocks) == 1 and live_ranges == [(start, past)]
    if is_same:
        text = decompressed(key[1], blocks[0])
        return [Part(start, text, find_long_texts(key[0], text), blocks[0])]
    joined = bytearray(past - start)
    for block in blocks:
        raw = decompressed(key[1], block)
        for first, end in live.within(block.start, block.start + block.raw_bytes):
            joined[first - start : end - start] = raw[first - block.start : end - block.start]
    view = memoryview(joined)
    parts = [(first, bytes(view[first - start : end - start])) for first, end in ranges]
    return [Part(first, part, find_long_texts(key[0], part), None) for first, part in parts]


def blocks_of_parts(parts: Sequence[Part], shared: Collection[UUID]) -> list[Block]:
    """The blocks, which refer to those of the shared texts that they have, where that is smaller.

    A stored block stays if nothing would change.
    """
    return [_block_of(part, shared) for part in parts]


def _block_of(part: Part, shared: Collection[UUID]) -> Block:
    size, stored = len(part.text), part.block
    texts = {id_: text for id_, text in part.long_texts.items() if id_ in shared}
    if stored is not None and stored.texts == tuple(texts):
        return stored
    plain = stored
    if plain is None or plain.texts:
        plain = Block(part.start, size, compressed([part.text], size))
    if texts:
        data = compressed_with(list(texts.values()), part.text)
        if len(data) + REFERENCE_BYTES * len(texts) < len(plain.data):
            return Block(part.start, size, data, None, tuple(texts))
    return plain
