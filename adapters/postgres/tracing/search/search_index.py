"""Keeps the index of words in traces (docs/adr/0045).

Writers add a row to a queue. A worker computes the terms of the traces in it and stores them in a
row for each trace. SEGMENT_TRACES of a project become a segment: postings by term. A trace that is
deleted, or changes after that, becomes garbage of its segment.

Nothing here waits for a writer, and a writer of the same trace waits for two statements at most.
Several workers may compute the terms of the same trace; the latest ones are stored.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from asyncpg import Record

from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_projects
from adapters.postgres.database.pool import IN_PROJECT, Connection, Pool, affected_rows
from adapters.postgres.database.read_transactions import RETRY_LATER, read_snapshot
from adapters.postgres.database.removed_projects import not_removed
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.database.tenants import ALL_TENANTS
from adapters.postgres.database.transactions import transaction
from adapters.postgres.tracing.payloads.payload_text import DamagedText
from adapters.postgres.tracing.search.search_postings import (
    BUCKETS,
    SEGMENT_TERMS_MAX,
    SEGMENT_TRACES,
    build_postings,
    pack_terms,
    pack_traces,
    places_of,
    since_epoch_us,
    without_places,
    without_traces,
)
from adapters.postgres.tracing.trace_loader import fetch_whole_traces
from application.concurrency import compute
from domain.ids import ErasureId, ProjectId, TraceId
from domain.tracing.search.search_terms import PARTIAL, TraceTerms, trace_terms
from domain.tracing.trace import Trace

QUEUED_AT_ONCE: Final = 512  # writes that one call looks at
BYTES_AT_ONCE: Final = 16 << 20  # of payloads that one call reads, or one trace
GARBAGE_SHARE_MIN: Final = SEGMENT_TRACES // 8  # removing less costs as much
SEGMENTS_AT_ONCE: Final = 100  # that one call cleans: to find them, all garbage is counted
NEVER: Final = datetime(1, 1, 1, tzinfo=UTC)
NO_TERMS: Final = TraceTerms(frozenset())
READING_MAX_S: Final = 60  # of what one call reads: no client waits for it
READ_BYTES_MAX: Final = 256 << 20  # of payloads and errors of a trace
NO_SEGMENT: Final = 0  # in place of that of a trace with too many terms

SELECT_QUEUED: Final = f"""
SELECT id, queued.project_id, queued.trace_id,
  (coalesce(payload_bytes, 0) + coalesce(error_bytes, 0))::bigint AS size
FROM (
  SELECT * FROM search_queue WHERE {not_removed("search_queue")} ORDER BY id LIMIT {QUEUED_AT_ONCE}
) AS queued LEFT JOIN LATERAL (
  SELECT sum(raw_bytes) AS payload_bytes FROM trace_payloads AS p
  WHERE p.project_id = queued.project_id AND p.trace_id = queued.trace_id
) AS payloads ON true LEFT JOIN LATERAL (
  SELECT sum(octet_length(error)) AS error_bytes FROM spans AS s
  WHERE s.project_id = queued.project_id AND s.trace_id = queued.trace_id
) AS errors ON true
ORDER BY id
"""
SELECT_START: Final = f"SELECT started_at FROM traces WHERE {IN_PROJECT} AND trace_id = $2"
# Traces that are being written or deleted stay in the queue. A lock of the key lets no trace be
# deleted before its terms are stored, so that deleting it deletes them too.
LOCK_EXISTING: Final = """
SELECT traces.project_id, traces.trace_id
FROM traces JOIN unnest($1::uuid[], $2::uuid[]) AS wanted (project_id, trace_id)
  ON traces.project_id = wanted.project_id AND traces.trace_id = wanted.trace_id
ORDER BY traces.project_id, traces.trace_id FOR KEY SHARE OF traces SKIP LOCKED
"""
LOCK_INDEXED: Final = """
SELECT t.project_id, t.trace_id, t.segment
FROM search_traces AS t JOIN unnest($1::uuid[], $2::uuid[]) AS wanted (project_id, trace_id)
  ON t.project_id = wanted.project_id AND t.trace_id = wanted.trace_id
ORDER BY t.project_id, t.trace_id FOR UPDATE OF t
"""
INSERT_GARBAGE: Final = """
WITH old AS MATERIALIZED (
  SELECT t.project_id, t.trace_id, t.segment
  FROM search_traces AS t JOIN unnest($1::uuid[], $2::uuid[], $3::bigint[])
    AS sent (project_id, trace_id, queue_id)
    ON t.project_id = sent.project_id AND t.trace_id = sent.trace_id
  WHERE t.segment > 0 AND t.queue_id < sent.queue_id
)
INSERT INTO search_garbage (project_id, trace_id, segment)
SELECT project_id, trace_id, segment FROM old ON CONFLICT DO NOTHING
"""
# Those whose terms have become garbage are in no segment until they get one again.
LEAVE_SEGMENT: Final = """
UPDATE search_traces AS t SET segment = NULL
FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS sent (project_id, trace_id, queue_id)
WHERE t.project_id = sent.project_id AND t.trace_id = sent.trace_id
  AND t.segment > 0 AND t.queue_id < sent.queue_id
"""
# Not if another worker has added the row since it was looked for, and it is in a segment already:
# then that has no garbage, and the trace stays in the queue.
STORE_TRACES: Final = """
INSERT INTO search_traces AS known (project_id, trace_id, queue_id, started_at, segment)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::bigint[])
ON CONFLICT (project_id, trace_id) DO UPDATE SET queue_id = excluded.queue_id,
  started_at = excluded.started_at, segment = excluded.segment
WHERE known.queue_id < excluded.queue_id AND coalesce(known.segment, 0) = 0
RETURNING project_id, trace_id
"""
STORE_TERMS: Final = """
INSERT INTO search_terms (project_id, trace_id, started_at, terms)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bytea[])
ON CONFLICT (project_id, trace_id) DO UPDATE SET started_at = excluded.started_at,
  terms = excluded.terms
"""
# By ctid, as those that are queued: segments leave few rows, of which the statistics are made. No
# other transaction changes the rows, whose traces are locked here.
DELETE_TERMS: Final = """
DELETE FROM search_terms WHERE ctid = ANY(ARRAY(
  SELECT known.ctid
  FROM unnest($1::uuid[], $2::uuid[]) AS gone (project_id, trace_id) CROSS JOIN LATERAL (
    SELECT ctid FROM search_terms
    WHERE project_id = gone.project_id AND trace_id = gone.trace_id OFFSET 0
  ) AS known
))
"""
# Those of traces that were stored or don't exist. Another worker deletes those that are locked. The
# queue is nearly empty whenever its statistics are made, so the planner takes it for one row: by
# ctid, and with a look-up of each, that can't mislead it to compare all writes with each other.
DELETE_QUEUED: Final = """
DELETE FROM search_queue WHERE ctid = ANY(ARRAY(
  SELECT queued.ctid
  FROM (
    SELECT project_id, id FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bigint[])
      AS sent (project_id, id, trace_id, newest)
    WHERE EXISTS (
      SELECT 1 FROM search_traces AS t WHERE t.project_id = sent.project_id
        AND t.trace_id = sent.trace_id AND t.queue_id >= sent.newest OFFSET 0
    ) OR NOT EXISTS (
      SELECT 1 FROM traces
      WHERE traces.project_id = sent.project_id AND traces.trace_id = sent.trace_id OFFSET 0
    )
    OFFSET 0
  ) AS done CROSS JOIN LATERAL (
    SELECT ctid FROM search_queue
    WHERE search_queue.project_id = done.project_id AND search_queue.id = done.id
    FOR UPDATE SKIP LOCKED
  ) AS queued
))
"""

COUNT_NEW: Final = f"""
SELECT count(*) FROM (
  SELECT 1 FROM search_terms WHERE {IN_PROJECT} LIMIT $2
) AS found
"""
# Oldest first, so that segments follow each other in time. Skips what another worker writes.
LOCK_NEW: Final = f"""
SELECT t.trace_id FROM (
  SELECT trace_id, started_at FROM search_terms WHERE {IN_PROJECT}
  ORDER BY started_at, trace_id LIMIT $2
) AS new CROSS JOIN LATERAL (
  SELECT trace_id FROM search_traces WHERE {IN_PROJECT} AND trace_id = new.trace_id
  LIMIT 1 FOR UPDATE SKIP LOCKED
) AS t
"""
SELECT_TERMS: Final = f"""
SELECT trace_id, started_at, terms FROM search_terms
WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[]) ORDER BY started_at, trace_id
"""
INSERT_SEGMENT: Final = """
INSERT INTO search_segments (project_id, first_started_at, last_started_at, traces)
VALUES ($1, $2, $3, $4) RETURNING segment
"""
INSERT_POSTINGS: Final = """
INSERT INTO search_postings (project_id, bucket, segment, postings)
SELECT $1, bucket, $2, postings FROM unnest($3::smallint[], $4::bytea[]) AS sent (bucket, postings)
RETURNING 1
"""
MOVE_TO_SEGMENT: Final = f"""
UPDATE search_traces SET segment = $2
WHERE {IN_PROJECT} AND trace_id = ANY($3::uuid[])
"""

SELECT_DUE_GARBAGE: Final = f"""
SELECT project_id, segment FROM search_garbage WHERE {not_removed("search_garbage")}
GROUP BY project_id, segment HAVING count(*) >= {GARBAGE_SHARE_MIN} OR min(since) < $1
ORDER BY min(since) LIMIT {SEGMENTS_AT_ONCE}
"""
SELECT_ERASED_SEGMENTS: Final = f"""
SELECT DISTINCT segment FROM erased_traces AS e CROSS JOIN LATERAL (
  SELECT segment FROM search_garbage
  WHERE project_id = e.project_id AND trace_id = e.trace_id OFFSET 0
) AS garbage
WHERE e.{IN_PROJECT} AND e.erasure_id = $2 ORDER BY segment LIMIT $3
"""
LOCK_SEGMENT: Final = f"""
SELECT traces FROM search_segments WHERE {IN_PROJECT} AND segment = $2 FOR UPDATE
"""
DELETE_GARBAGE: Final = f"""
DELETE FROM search_garbage WHERE {IN_PROJECT} AND segment = $2 RETURNING trace_id
"""
# Bucket by bucket, since the key begins with them.
SELECT_POSTINGS: Final = f"""
SELECT bucket, postings FROM search_postings WHERE {IN_PROJECT}
  AND bucket = ANY($3::smallint[]) AND segment = $2
"""
UPDATE_POSTINGS: Final = f"""
UPDATE search_postings SET postings = sent.postings
FROM unnest($3::smallint[], $4::bytea[]) AS sent (bucket, postings)
WHERE search_postings.{IN_PROJECT} AND segment = $2 AND search_postings.bucket = sent.bucket
"""
DELETE_POSTINGS: Final = f"""
DELETE FROM search_postings WHERE {IN_PROJECT} AND segment = $2 AND bucket = ANY($3::smallint[])
"""
UPDATE_SEGMENT: Final = f"""
UPDATE search_segments SET traces = $3 WHERE {IN_PROJECT} AND segment = $2
"""
DELETE_SEGMENT: Final = f"DELETE FROM search_segments WHERE {IN_PROJECT} AND segment = $2"


@dataclass(frozen=True, slots=True)
class PostgresSearchIndex:
    """Texts are read, then terms computed in threads, then stored in a transaction of their own.

    `segment_traces` traces of a project become a segment, SEGMENT_TRACES at most. Reading may take
    `timeout_s`. A trace with more than `read_bytes_max` of payloads isn't read.
    """

    pool: Pool
    segment_traces: int = SEGMENT_TRACES
    timeout_s: float = READING_MAX_S
    read_bytes_max: int = READ_BYTES_MAX

    async def add_traces(self) -> int:
        # Terms are computed after the snapshot: that has a time limit, and a text may take longer.
        async with read_snapshot(self.pool, RETRY_LATER, ALL_TENANTS, self.timeout_s) as connection:
            queued = _cut(await connection.fetch(SELECT_QUEUED))
            found = await _fetch_queued(connection, queued, self.read_bytes_max)
        if not queued:
            return 0
        indexed = await _index(found)
        done = await self._store(queued, indexed)
        for project in sorted({one.project for one in indexed}):
            await self.pack(project)
        return done

    async def _store(self, queued: Sequence[Record], indexed: Sequence["IndexedTrace"]) -> int:
        """The number of writes that left the queue."""
        newest = {(row["project_id"], row["trace_id"]): row["id"] for row in queued}
        async with transaction(self.pool, ALL_TENANTS) as connection:
            # The order of keys isn't enough: a row that another worker adds after the look at those
            # that exist is locked too late.
            projects = {one.project for one in indexed}
            await lock_projects(connection, AdvisoryLock.SEARCH_INDEX, list(projects))
            keys = arrays(one.key for one in indexed)
            existing = {tuple(row) for row in await connection.fetch(LOCK_EXISTING, *keys)}
            # In the order of the key, as others that change rows of several traces.
            rows = sorted(
                (one.row(newest[one.key]) for one in indexed if one.key in existing),
                key=lambda row: row[:2],
            )
            if rows:
                terms = {one.key: one.packed for one in indexed}
                await _store_rows(connection, rows, terms)
            done = [
                (row["project_id"], row["id"], row["trace_id"],
                 newest[row["project_id"], row["trace_id"]])
                for row in queued
            ]  # fmt: skip
            return affected_rows(await connection.execute(DELETE_QUEUED, *arrays(done)))

    async def pack(self, project: ProjectId) -> None:
        """Makes segments of the new traces of a project, while there are enough."""
        while True:
            async with transaction(self.pool, project) as connection:
                wanted = self.segment_traces
                if await connection.fetchval(COUNT_NEW, project, wanted) < wanted:
                    return
                rows = await connection.fetch(LOCK_NEW, project, wanted)
                if len(rows) < wanted:
                    return  # another worker packs them, or they are being deleted
                locked = [row["trace_id"] for row in rows]
                rows = await connection.fetch(SELECT_TERMS, project, locked)
                if len(rows) < wanted:
                    continue  # another worker has packed some since this one saw them
                await _make_segment(connection, project, _cut_by_terms(rows))

    async def remove_garbage(self, before: datetime) -> int:
        async with transaction(self.pool, ALL_TENANTS) as connection:
            due = await connection.fetch(SELECT_DUE_GARBAGE, before)
        for project, segment in due:
            async with transaction(self.pool, ProjectId(project)) as connection:
                await clean_segment(connection, ProjectId(project), segment)
        return len(due)


@dataclass(frozen=True, slots=True)
class IndexedTrace:
    """The index entry of a trace."""

    project: ProjectId
    trace: TraceId
    started_at: datetime
    terms: TraceTerms

    @property
    def key(self) -> tuple[UUID, UUID]:
        return self.project, self.trace

    @property
    def packed(self) -> bytes:
        """Empty without terms that are stored."""
        return pack_terms(self.terms.terms)

    def row(self, queue_id: int) -> tuple[object, ...]:
        """The columns of STORE_TRACES."""
        segment = NO_SEGMENT if self.terms.is_partial else None
        return (*self.key, queue_id, self.started_at, segment)


async def _store_rows(
    connection: Connection,
    rows: Sequence[tuple[Any, ...]],
    terms: Mapping[tuple[UUID, UUID], bytes],
) -> None:
    """Stores rows of STORE_TRACES, unless later ones are stored, and the terms of the traces."""
    known = await connection.fetch(LOCK_INDEXED, *arrays(row[:2] for row in rows))
    if any(row["segment"] for row in known):
        sent = arrays(row[:3] for row in rows)
        await connection.execute(INSERT_GARBAGE, *sent)
        await connection.execute(LEAVE_SEGMENT, *sent)
    stored = {tuple(row) for row in await connection.fetch(STORE_TRACES, *arrays(rows))}
    stored_terms = [(*row[:2], row[3], terms[row[:2]]) for row in rows if row[:2] in stored]
    if some := [row for row in stored_terms if row[3]]:
        await connection.execute(STORE_TERMS, *arrays(some))
    if without := [row[:2] for row in stored_terms if not row[3]]:
        await connection.execute(DELETE_TERMS, *arrays(without))


def _cut(queued: Sequence[Record]) -> list[Record]:
    """The first writes, with BYTES_AT_ONCE of payloads; of a trace all or none."""
    sizes = dict[tuple[UUID, UUID], int]()
    for row in queued:
        key = (row["project_id"], row["trace_id"])
        if key not in sizes:
            if sizes and sum(sizes.values()) + row["size"] > BYTES_AT_ONCE:
                break
            sizes[key] = row["size"]
    return [row for row in queued if (row["project_id"], row["trace_id"]) in sizes]


def _cut_by_terms(rows: Sequence[Record]) -> list[Record]:
    size, some = 0, list[Record]()
    for row in rows:
        size += len(row["terms"]) // 4
        if size > SEGMENT_TERMS_MAX:
            break
        some.append(row)
    return some


type _Found = Trace | datetime | None
"""A trace; the start of one that is too large; None if none exists, or payloads are damaged."""


async def _fetch_queued(
    connection: Connection, queued: Iterable[Record], bytes_max: int
) -> Mapping[tuple[ProjectId, TraceId], _Found]:
    """Reads the queued traces. A trace with more than `bytes_max` gives its start only."""
    found = dict[tuple[ProjectId, TraceId], _Found]()
    to_read = dict[ProjectId, list[TraceId]]()
    for row in queued:
        project, trace = row["project_id"], row["trace_id"]
        if (project, trace) in found:
            continue
        found[project, trace] = None
        if row["size"] > bytes_max:
            found[project, trace] = await connection.fetchval(SELECT_START, project, trace)
        else:
            to_read.setdefault(project, []).append(trace)
    for project, ids in to_read.items():
        for one in await fetch_readable_traces(connection, project, ids):
            found[project, one.id] = one
    return found


async def _index(found: Mapping[tuple[ProjectId, TraceId], _Found]) -> list[IndexedTrace]:
    """Computes the terms of each trace. A trace that is gone or damaged gets none."""
    traces = [one for one in found.values() if isinstance(one, Trace)]
    terms = iter(await compute(lambda some: list(map(trace_terms, some)), traces, is_long=True))
    indexed = list[IndexedTrace]()
    for (project, trace), one in found.items():
        match one:
            case Trace():
                start, found_terms = one.started_at, next(terms)
            case datetime():
                start, found_terms = one, PARTIAL
            case None:
                start, found_terms = NEVER, NO_TERMS
        indexed.append(IndexedTrace(project, trace, start, found_terms))
    return indexed


async def fetch_readable_traces(
    connection: Connection, project: ProjectId, ids: Sequence[TraceId]
) -> list[Trace]:
    """The traces that exist, but for those with damaged payloads, which no query finds."""
    try:
        return await fetch_whole_traces(connection, project, ids)
    except DamagedText:
        found = list[Trace]()
        for id_ in ids:
            with suppress(DamagedText):
                found += await fetch_whole_traces(connection, project, [id_])
        return found


async def _make_segment(connection: Connection, project: ProjectId, rows: Sequence[Record]) -> None:
    packed = [row["terms"] for row in rows]
    postings = await compute(lambda: list(build_postings(packed)), is_long=True)
    starts = [row["started_at"] for row in rows]
    traces = pack_traces((row["trace_id"].bytes, since_epoch_us(row["started_at"])) for row in rows)
    segment = await connection.fetchval(INSERT_SEGMENT, project, min(starts), max(starts), traces)
    await connection.execute(INSERT_POSTINGS, project, segment, *(arrays(postings) or ([], [])))
    ids = [row["trace_id"] for row in rows]
    await connection.execute(MOVE_TO_SEGMENT, project, segment, ids)
    await connection.execute(DELETE_TERMS, [project] * len(ids), ids)


async def list_erased_segments(
    connection: Connection, project: ProjectId, erasure: ErasureId, limit: int
) -> list[int]:
    """Some segments that have terms of the traces of an erasure."""
    rows = await connection.fetch(SELECT_ERASED_SEGMENTS, project, erasure, limit)
    return [row["segment"] for row in rows]


async def clean_segment(connection: Connection, project: ProjectId, segment: int) -> None:
    """Removes the garbage of a segment from its postings, in the transaction of the caller."""
    traces = await connection.fetchval(LOCK_SEGMENT, project, segment)
    rows = await connection.fetch(DELETE_GARBAGE, project, segment)
    if traces is None or not rows:
        return
    places = places_of(traces, [row["trace_id"].bytes for row in rows])
    rest = without_traces(traces, places.values())
    if not any(rest):
        await connection.execute(DELETE_SEGMENT, project, segment)
        await connection.execute(DELETE_POSTINGS, project, segment, list(range(BUCKETS)))
        return
    gone = sum(1 << place for place in places.values())
    buckets = await connection.fetch(SELECT_POSTINGS, project, segment, list(range(BUCKETS)))

    def clean() -> tuple[list[tuple[int, bytes]], list[int]]:
        changed, empty = list[tuple[int, bytes]](), list[int]()
        for bucket, postings in buckets:
            after = without_places(postings, gone)
            if after is None:
                empty.append(bucket)
            elif after != postings:
                changed.append((bucket, after))
        return changed, empty

    changed, empty = await compute(clean, is_long=True)
    await connection.execute(UPDATE_SEGMENT, project, segment, rest)
    if changed:
        await connection.execute(UPDATE_POSTINGS, project, segment, *arrays(changed))
    if empty:
        await connection.execute(DELETE_POSTINGS, project, segment, empty)
