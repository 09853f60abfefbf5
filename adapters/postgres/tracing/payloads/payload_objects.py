"""Moves blocks of payloads to a store outside the database, and removes orphans from it.

A block is stored as an object before the COMMIT of the row that names it. An object whose row is
deleted or replaced is added to `removed_payload_objects` by a trigger, in the same transaction, and
deleted from the store later. So at each moment every named object exists, and each object that
isn't named is either in that table, or an orphan of a transaction that failed (docs/adr/0046).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID, uuid4

from asyncpg import Record

from adapters.postgres.database.payload_objects import object_key
from adapters.postgres.database.pool import Pool
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.database.table_groups import SELECT_PROJECTS_OF_OTHERS, own_group
from adapters.postgres.database.tenants import ALL_TENANTS
from adapters.postgres.database.transactions import transaction
from adapters.postgres.tracing.payloads.payload_text import TraceKey
from application.concurrency import gather_limited
from application.tracing.ports import LISTED_MAX, PayloadStore
from domain.ids import ProjectId, TraceId

OBJECT_BYTES_MIN: Final = 8 << 10  # smaller blocks stay in the database: a request costs more
NAMED_WITHIN_S: Final = 600.0  # after an object was stored: its write has ended by then
FOUND_MAX: Final = 10 * LISTED_MAX  # objects of one process that may be orphans
MOVED_AT_ONCE: Final = 8  # blocks of a trace, of at most 2 MiB of text each

_TRACE_READERS: Final = "project_id = $1 AND trace_id = $2"
SELECT_LARGE_BLOCKS: Final = f"""
SELECT start FROM trace_payloads
WHERE {_TRACE_READERS} AND object_id IS NULL AND octet_length(block) >= $3
ORDER BY start
"""
SELECT_DATA: Final = f"""
SELECT start, block FROM trace_payloads
WHERE {_TRACE_READERS} AND start = ANY($3::bigint[]) AND object_id IS NULL
"""
# Before several of its blocks are changed, as by all who write to a trace: else two of them might
# wait for each other.
LOCK_TRACE: Final = f"SELECT 1 FROM traces WHERE {_TRACE_READERS} FOR UPDATE"
# Only blocks that are still the same: late writes may have been joined with them meanwhile.
NAME_OBJECTS: Final = f"""
UPDATE trace_payloads SET block = '', object_id = sent.object_id
FROM unnest($3::bigint[], $4::bytea[], $5::uuid[]) AS sent (start, block, object_id)
WHERE {_TRACE_READERS} AND trace_payloads.start = sent.start AND trace_payloads.object_id IS NULL
  AND trace_payloads.block = sent.block
RETURNING sent.object_id
"""
# Nothing in a scope that doesn't show all rows: there it would take every object for an orphan.
SELECT_UNNAMED: Final = """
SELECT sent.project_id, sent.trace_id, sent.object_id
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS sent (project_id, trace_id, object_id)
WHERE current_setting('pandaprobe.scope', true) = 'all' AND NOT EXISTS (
  SELECT 1 FROM trace_payloads AS p WHERE p.project_id = sent.project_id
    AND p.trace_id = sent.trace_id AND p.object_id = sent.object_id OFFSET 0
)
"""


async def move_blocks(
    pool: Pool, store: PayloadStore, key: TraceKey, bytes_min: int = OBJECT_BYTES_MIN
) -> None:
    """Moves the large blocks of a trace to the store. Raises Unavailable; then some may be moved.

    No lock is held while the store works.
    """
    async with transaction(pool, ALL_TENANTS) as connection:
        starts = [row[0] for row in await connection.fetch(SELECT_LARGE_BLOCKS, *key, bytes_min)]
    for at in range(0, len(starts), MOVED_AT_ONCE):
        async with transaction(pool, ALL_TENANTS) as connection:
            some = starts[at : at + MOVED_AT_ONCE]
            rows = await connection.fetch(SELECT_DATA, *key, some)
        if rows:
            await _move(pool, store, key, rows)


async def _move(pool: Pool, store: PayloadStore, key: TraceKey, rows: Sequence[Record]) -> None:
    objects = [(row["start"], row["block"], uuid4()) for row in rows]
    await gather_limited(
        MOVED_AT_ONCE,
        [partial(store.put, object_key(key, id_), data) for _, data, id_ in objects],
    )
    async with transaction(pool, ALL_TENANTS) as connection:
        await connection.execute(LOCK_TRACE, *key)
        named = {row[0] for row in await connection.fetch(NAME_OBJECTS, *key, *arrays(objects))}
    unnamed = [object_key(key, id_) for *_, id_ in objects if id_ not in named]
    if unnamed:
        await store.delete(unnamed)


@dataclass(slots=True)
class Orphans:
    """Finds and deletes objects that no row names.

    The age of an object is by the clock of the store, and compared with that of this process: it
    may be wrong by hours. So one is deleted only if it still isn't named NAMED_WITHIN_S after it
    was found. `monotonic` is in seconds.
    """

    monotonic: Callable[[], float] = time.monotonic
    _found: dict[str, float] = field(default_factory=dict)  # when, by key

    async def remove(self, pool: Pool, store: PayloadStore, before: datetime) -> int:
        """Deletes those found long ago, and looks at the next LISTED_MAX after a random place.

        Objects of other groups of organizations are named in their tables.
        """
        now = self.monotonic()
        due = [key for key, at in self._found.items() if now - at >= NAMED_WITHIN_S]
        orphans = await _list_unnamed(pool, due)
        if orphans:
            await store.delete(orphans)
        for key in due:
            del self._found[key]
        for key in await _list_unnamed(pool, await _list_old_keys(store, before)):
            if len(self._found) < FOUND_MAX:
                self._found.setdefault(key, now)
        return len(orphans)


async def _list_old_keys(store: PayloadStore, before: datetime) -> Sequence[str]:
    start = str(uuid4())
    keys = list(await store.list_keys(start, before))
    if len(keys) < LISTED_MAX:  # the end was reached, or nearly: the rest is at the beginning
        keys += [key for key in await store.list_keys("", before) if key <= start]
    return keys


async def _list_unnamed(pool: Pool, keys: Sequence[str]) -> Sequence[str]:
    """Those of the keys that are of this group, and that no row names."""
    known = {parsed: key for key in keys if (parsed := _parse(key)) is not None}
    if not known:
        return []
    async with transaction(pool, ALL_TENANTS) as connection:
        projects = list({project for project, _, _ in known})
        found = await connection.fetch(SELECT_PROJECTS_OF_OTHERS, projects, own_group(connection))
        others = {row[0] for row in found}
        ours = [one for one in known if one[0] not in others]
        rows = await connection.fetch(SELECT_UNNAMED, *arrays(ours)) if ours else []
    return [known[tuple(row)] for row in rows]


def _parse(key: str) -> tuple[ProjectId, TraceId, UUID] | None:
    """The ids in a key; None for an object that isn't ours."""
    try:
        project, trace, object_id = map(UUID, key.split("/"))
    except ValueError:
        return None
    return ProjectId(project), TraceId(trace), object_id
