"""Finds traces by words in their texts: the newest first, each verified against its text.

The index names candidates: traces of the queue, which aren't indexed, new traces, which have their
terms in rows, and traces of segments, which have postings. Segments are read from the newest on,
more at a time the fewer candidates they give, until the page is full.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final
from uuid import UUID

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.read_transactions import PoolReader
from adapters.postgres.database.statements.sql_builder import Parameters, Sql, like
from adapters.postgres.tracing.search.search_index import READ_BYTES_MAX, fetch_readable_traces
from adapters.postgres.tracing.search.search_postings import (
    SEGMENT_TRACES,
    TRACE_BYTES,
    Places,
    bucket_of,
    find_term,
    from_epoch_us,
    list_places,
    pack_term,
    since_epoch_us,
    unpack_trace,
)
from adapters.postgres.tracing.search.search_within import find_within_stored
from adapters.postgres.tracing.trace_filters import fetch_counts, filter_clauses
from adapters.postgres.tracing.trace_rows import SUMMARY_COLUMNS, summary_from_row
from application.concurrency import compute
from domain.ids import ProjectId, TraceId
from domain.page import PageRequest, Position
from domain.tracing.query import TraceFilter, fold_case
from domain.tracing.search.search_match import SearchHit, SearchMatch, SearchPage, find_matches
from domain.tracing.search.search_query import SearchQuery
from domain.tracing.search.search_terms import query_terms
from domain.tracing.search.search_within import WITHIN_BYTES_MAX, FoundWithinPage
from domain.tracing.trace import Trace, TraceSummary

UNINDEXED_MAX: Final = 10_000  # writes of the queue that a request finds candidates in
CANDIDATES_MAX: Final = 20_000  # rows of traces that a request compares with the other filters
TEXTS_MAX: Final = 1_000  # traces whose texts a request reads; those of 3 kB take 0.15 ms each
TEXT_BYTES_MAX: Final = 64 << 20  # of those texts; reading as many takes about a second
TEXT_BYTES_AT_ONCE: Final = 8 << 20
TEXTS_AT_ONCE_MAX: Final = 256
CANDIDATES_AT_ONCE: Final = 256
FIRST_SEGMENTS: Final = 16  # that are read at first
SEGMENTS_AT_ONCE_MAX: Final = 1_024
FILTERED_MAX: Final = 5_000  # if the other filters match no more, candidates are picked from these
LOOKED_INTO_MAX: Final = 200  # if they match no more, the index isn't read

SEARCH_LESS: Final = "search for longer words, or try again later"
NARROW_SEARCH: Final = "search for rarer words, or narrow started_after and started_before"

# If too many writes wait, the newest are read: most searches are for them.
SELECT_UNINDEXED: Final = f"""
WITH queued AS MATERIALIZED (
  SELECT trace_id, written_at FROM search_queue WHERE {IN_PROJECT}
  ORDER BY id DESC LIMIT {UNINDEXED_MAX + 1}
)
SELECT found.started_at, found.trace_id
FROM (SELECT DISTINCT trace_id FROM queued) AS wanted CROSS JOIN LATERAL (
  SELECT started_at, trace_id FROM traces WHERE {IN_PROJECT} AND trace_id = wanted.trace_id OFFSET 0
) AS found
"""
SELECT_OLDEST_WRITE: Final = f"""
SELECT written_at, count FROM (
  SELECT min(written_at) AS written_at, count(*) AS count FROM (
    SELECT written_at FROM search_queue WHERE {IN_PROJECT} ORDER BY id LIMIT {UNINDEXED_MAX + 1}
  ) AS oldest
) AS found
"""
_SELECT_NEW: Final = f"""
SELECT started_at, trace_id FROM search_terms WHERE {IN_PROJECT}
"""
SELECT_PARTIAL: Final = f"""
SELECT started_at, trace_id FROM search_traces WHERE {IN_PROJECT} AND segment = 0
  AND (started_at, trace_id) < ($2, $3) AND started_at >= $4
ORDER BY started_at DESC, trace_id DESC LIMIT $5
"""
SELECT_SEGMENTS: Final = f"""
SELECT segment, last_started_at FROM search_segments
WHERE {IN_PROJECT} AND first_started_at <= $2 AND ($3::timestamptz IS NULL OR last_started_at >= $3)
ORDER BY last_started_at DESC
"""
SELECT_POSTINGS: Final = f"""
SELECT bucket, segment, postings FROM search_postings
WHERE {IN_PROJECT} AND bucket = ANY($2::smallint[]) AND segment = ANY($3::bigint[])
"""
# A few bytes of each segment. Its row is found by its key, whatever the statistics say.
SELECT_TRACES_OF_SEGMENTS: Final = f"""
SELECT found.trace FROM unnest($2::bigint[], $3::int[]) AS wanted (segment, place)
CROSS JOIN LATERAL (
  SELECT substring(traces FROM place * {TRACE_BYTES} + 1 FOR {TRACE_BYTES}) AS trace
  FROM search_segments WHERE {IN_PROJECT} AND segment = wanted.segment OFFSET 0
) AS found
"""
_SIZE: Final = f"""
((SELECT coalesce(sum(raw_bytes), 0) FROM trace_payloads AS p
  WHERE p.{IN_PROJECT} AND p.trace_id = traces.trace_id)
 + (SELECT coalesce(sum(octet_length(error)), 0) FROM spans AS s
  WHERE s.{IN_PROJECT} AND s.trace_id = traces.trace_id)) AS text_bytes
"""
_FIRST_INSTANT: Final = datetime.min.replace(tzinfo=UTC)
_LAST_INSTANT: Final = datetime.max.replace(tzinfo=UTC)
_LAST_ID: Final = UUID(int=2**128 - 1)

type Place = tuple[datetime, UUID]
"""The start of a trace, and its id."""


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """The limits of a request's reads. A trace with more than `bytes_of_candidate` is left out."""

    candidates: int = CANDIDATES_MAX
    texts: int = TEXTS_MAX
    text_bytes: int = TEXT_BYTES_MAX
    bytes_of_candidate: int = READ_BYTES_MAX
    bytes_of_trace: int = WITHIN_BYTES_MAX
    looked_into: int = LOOKED_INTO_MAX
    partial_at_once: int = TEXTS_MAX


LIMITS: Final = SearchLimits()


@dataclass(slots=True)
class _Room:
    """The amount that a request may still read."""

    candidates: int
    texts: int
    text_bytes: int

    @property
    def is_left(self) -> bool:
        return min(self.candidates, self.texts, self.text_bytes) > 0


@dataclass(slots=True)
class _Candidates:
    """The candidates of one request that come after its cursor, newest first, each once.

    `allowed` are the only ones that match the other filters, None if those aren't known.
    """

    connection: Connection
    project: ProjectId
    terms: Sequence[int]
    before: Place
    after: datetime | None
    allowed: Mapping[UUID, datetime] | None
    limits: SearchLimits
    # The last of the traces with too many terms that was read; None once all were read.
    last_partial: Place | None = None
    segments: list[tuple[datetime, int]] = field(default_factory=list)
    waiting: list[tuple[int, int, datetime, UUID]] = field(default_factory=list)
    seen: set[Place] = field(default_factory=set)
    at_once: int = FIRST_SEGMENTS

    async def open(self) -> None:
        project, fetch = self.project, self.connection.fetch
        if self.allowed is not None and len(self.allowed) <= self.limits.looked_into:
            self.add((started_at, id_) for id_, started_at in self.allowed.items())
            return
        if self.allowed is not None:
            self.after = min(self.allowed.values())
        self.add(_from_rows(await fetch(SELECT_UNINDEXED, project)))
        self.add(_from_rows(await fetch_new(self.connection, project, self.terms)))
        await self._read_partial(self.before)
        rows = await fetch(SELECT_SEGMENTS, project, self.before[0], self.after)
        self.segments = [(row["last_started_at"], row["segment"]) for row in reversed(rows)]

    def add(self, places: Iterable[Place]) -> int:
        """The number of candidates among them."""
        added = 0
        for started_at, id_ in places:
            place = (started_at, id_)
            if place >= self.before or place in self.seen:
                continue
            if self.after is not None and started_at < self.after:
                continue
            if self.allowed is not None and self.allowed.get(id_) != started_at:
                continue
            self.seen.add(place)
            heapq.heappush(self.waiting, (-since_epoch_us(started_at), -id_.int, started_at, id_))
            added += 1
        return added

    async def next(self, limit: int) -> list[Place]:
        """At most `limit` candidates, of which none comes before them; none at the end."""
        while (unread := self._unread_until()) is not None and not self._is_waiting_after(unread):
            if self.last_partial is not None and self.last_partial[0] == unread:
                await self._read_partial(self.last_partial)
            else:
                await self._read_segments()
        some = list[Place]()
        while self.waiting and len(some) < limit:
            if unread is not None and not self._is_waiting_after(unread):
                break
            _, _, started_at, id_ = heapq.heappop(self.waiting)
            some.append((started_at, id_))
        return some

    def _unread_until(self) -> datetime | None:
        """The latest start that an unread candidate can have; None if all are read."""
        starts = [] if self.last_partial is None else [self.last_partial[0]]
        if self.segments:
            starts.append(self.segments[-1][0])
        return max(starts, default=None)

    def _is_waiting_after(self, start: datetime) -> bool:
        return bool(self.waiting) and self.waiting[0][2] > start

    async def _read_partial(self, before: Place) -> None:
        """The next traces with too many terms: all of them are candidates."""
        most = self.limits.partial_at_once
        period = (*before, self.after or _FIRST_INSTANT)
        rows = await self.connection.fetch(SELECT_PARTIAL, self.project, *period, most)
        places = [*_from_rows(rows)]
        self.add(places)
        self.last_partial = places[-1] if len(places) == most else None

    async def _read_segments(self) -> None:
        some = [self.segments.pop()[1] for _ in range(min(self.at_once, len(self.segments)))]
        added = self.add(await fetch_from_segments(self.connection, self.project, some, self.terms))
        if added < CANDIDATES_AT_ONCE:
            self.at_once = min(2 * self.at_once, SEGMENTS_AT_ONCE_MAX)


async def fetch_new(
    connection: Connection, project: ProjectId, terms: Sequence[int]
) -> Sequence[Record]:
    """The starts and ids of the traces that have all terms and are in no segment yet."""
    p = Parameters([project])
    having = [f"position({p.put(pack_term(term))} in terms) > 0" for term in terms]
    rows: Sequence[Record] = await connection.fetch(" AND ".join([_SELECT_NEW, *having]), *p.values)
    return rows


async def fetch_from_segments(
    connection: Connection, project: ProjectId, segments: Sequence[int], terms: Sequence[int]
) -> Iterable[Place]:
    """The traces of the segments that have all terms."""
    buckets = sorted({bucket_of(term) for term in terms})
    rows = await connection.fetch(SELECT_POSTINGS, project, buckets, segments)
    places = list(_places(rows, terms))
    if not places:
        return ()
    segments_and_places = [segment for segment, _ in places], [place for _, place in places]
    traces = await connection.fetch(SELECT_TRACES_OF_SEGMENTS, project, *segments_and_places)
    return _unpacked(row["trace"] for row in traces)


def _places(rows: Iterable[Record], terms: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The segments and places of the traces that have all terms."""
    by_segment: dict[int, dict[int, bytes]] = {}
    for bucket, segment, postings in rows:
        by_segment.setdefault(segment, {})[bucket] = postings
    for segment, buckets in by_segment.items():
        places: Places = (1 << SEGMENT_TRACES) - 1
        for term in terms:
            postings = buckets.get(bucket_of(term))
            places &= 0 if postings is None else find_term(postings, term)
            if not places:
                break
        for place in list_places(places):
            yield segment, place


def _from_rows(rows: Iterable[Record]) -> Iterator[Place]:
    return ((row["started_at"], row["trace_id"]) for row in rows)


def _unpacked(traces: Iterable[bytes]) -> Iterator[Place]:
    for packed in traces:
        id_, started_us = unpack_trace(packed)
        yield from_epoch_us(started_us), UUID(bytes=id_)


@dataclass(frozen=True, slots=True)
class PostgresTraceSearch(PoolReader):
    """Each page is read from one snapshot."""

    limits: SearchLimits = field(default=LIMITS, kw_only=True)

    async def find(
        self, project: ProjectId, query: SearchQuery, matching: TraceFilter, window: PageRequest
    ) -> SearchPage[SearchHit]:
        async with self._visible_by_key(NARROW_SEARCH, project) as connection:
            clauses, part = filter_clauses(project, matching), fold_case(matching.name or "")
            where = [one.sql for one in clauses]
            if part:
                where.append(Sql("search_name LIKE {}", (like(part),)))
            before = (_LAST_INSTANT, _LAST_ID)
            if window.after is not None:
                assert isinstance(window.after.value, datetime)
                assert isinstance(window.after.id, UUID)
                before = (window.after.value, window.after.id)
            if matching.started_before is not None:
                before = min(before, (matching.started_before, UUID(int=0)))
            allowed = None
            if where:
                counted = await fetch_counts(connection, project, clauses, part)
                if counted.most <= FILTERED_MAX:
                    many = [one.clause.scan_condition for one in counted.clauses]
                    allowed = await _fetch_allowed(connection, project, many)
            candidates = _Candidates(
                connection, project, query_terms(query), before, matching.started_after, allowed,
                self.limits,
            )  # fmt: skip
            await candidates.open()
            room = _Room(self.limits.candidates, self.limits.texts, self.limits.text_bytes)
            rest = [] if allowed is not None else where
            page = await _find(candidates, query, rest, window, room)
            oldest = await connection.fetchrow(SELECT_OLDEST_WRITE, project)
        assert oldest is not None
        is_complete = page.is_complete and oldest["count"] <= UNINDEXED_MAX
        return SearchPage(page.hits, page.end, is_complete, oldest["written_at"])

    async def find_within(
        self, project: ProjectId, trace: TraceId, query: SearchQuery, window: PageRequest
    ) -> FoundWithinPage:
        async with self._visible_by_key(SEARCH_LESS, project) as connection:
            return await find_within_stored(
                connection, (project, trace), query, window, self.limits.bytes_of_trace
            )


async def _fetch_allowed(
    connection: Connection, project: ProjectId, where: Sequence[Sql]
) -> Mapping[UUID, datetime]:
    p = Parameters([project])
    conditions = " AND ".join([IN_PROJECT, *p.all_of(where)])
    rows = await connection.fetch(
        f"SELECT trace_id, started_at FROM traces WHERE {conditions}", *p.values
    )
    return {row["trace_id"]: row["started_at"] for row in rows}


async def _find(
    candidates: _Candidates,
    query: SearchQuery,
    where: Sequence[Sql],
    window: PageRequest,
    room: _Room,
) -> SearchPage[SearchHit]:
    hits, last, at_once, is_whole = list[SearchHit](), None, 1, True
    while len(hits) <= window.limit:
        if not room.is_left:
            # Where the next page goes on: after the last trace that this one has looked into.
            return SearchPage(hits, last and Position(*last), is_complete=False)
        some = await candidates.next(min(CANDIDATES_AT_ONCE, room.candidates))
        if not some:
            return SearchPage(hits, is_complete=is_whole)
        room.candidates -= len(some)
        matching = await _fetch_summaries(candidates, where, some)
        most = candidates.limits.bytes_of_candidate
        rows = [row for row in matching if row["text_bytes"] <= most]
        is_whole = is_whole and len(rows) == len(matching)
        while rows and len(hits) <= window.limit and room.is_left:
            batch = _batch(rows, max(window.limit + 1 - len(hits), at_once), room)
            found = await _verify(candidates, query, batch)
            hits += found
            last = (batch[-1]["started_at"], batch[-1]["trace_id"])
            if 2 * len(found) < len(batch):
                at_once = min(2 * len(batch), TEXTS_AT_ONCE_MAX)
        if rows and len(hits) <= window.limit:
            return SearchPage(hits, last and Position(*last), is_complete=False)
        last = some[-1]
    shown = hits[: window.limit]
    return SearchPage(shown, shown[-1].position, is_complete=is_whole)


async def _fetch_summaries(
    candidates: _Candidates, where: Sequence[Sql], places: Sequence[Place]
) -> list[Record]:
    """The rows of the candidates that match the filters, and start when the index says so.

    Others have changed since they were indexed, and are candidates at another place.
    """
    p = Parameters([candidates.project])
    ids = p.put([id_ for _, id_ in places])
    conditions = " AND ".join([IN_PROJECT, f"trace_id = ANY({ids}::uuid[])", *p.all_of(where)])
    columns = ", ".join(f"traces.{name}" for name in SUMMARY_COLUMNS)
    rows = await candidates.connection.fetch(
        f"SELECT {columns}, {_SIZE} FROM traces WHERE {conditions}", *p.values
    )
    wanted = set(places)
    found = [row for row in rows if (row["started_at"], row["trace_id"]) in wanted]
    # From the end, the next one.
    return sorted(found, key=lambda row: (row["started_at"], row["trace_id"]))


def _batch(rows: list[Record], wanted: int, room: _Room) -> list[Record]:
    """Takes the next rows from the end, whose texts are read together; at least one."""
    batch, size = list[Record](), 0
    while rows and len(batch) < min(wanted, room.texts):
        size += rows[-1]["text_bytes"]
        if batch and size > TEXT_BYTES_AT_ONCE:
            break
        batch.append(rows.pop())
    room.texts -= len(batch)
    room.text_bytes -= int(sum(row["text_bytes"] for row in batch))
    return batch


async def _verify(
    candidates: _Candidates, query: SearchQuery, rows: Sequence[Record]
) -> list[SearchHit]:
    ids = [TraceId(row["trace_id"]) for row in rows]
    traces = await fetch_readable_traces(candidates.connection, candidates.project, ids)
    matches = await compute(partial(_matches, traces, query), is_long=True)
    hits = list[SearchHit]()
    for row in rows:
        found = matches.get(row["trace_id"])
        if found is not None:
            summary: TraceSummary = summary_from_row(row)
            hits.append(SearchHit(summary, found))
    return hits


def _matches(
    traces: Sequence[Trace], query: SearchQuery
) -> Mapping[UUID, tuple[SearchMatch, ...] | None]:
    return {one.id: find_matches(one, query) for one in traces}
