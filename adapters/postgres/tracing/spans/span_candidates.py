"""Reads the spans of the traces that the index of words names, in the order of the list.

The index knows the starts of traces, and the list has the order of the spans' own starts. The
extents of hours say how late a span of a trace may have started. So segments of the index are read
in the order of these bounds, until no trace of the others can have a span that comes next. A page
reads as many candidates as it needs, however many there are.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain
from typing import Final, NamedTuple
from uuid import UUID

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.statements.sql_builder import Parameters, Sql
from adapters.postgres.tracing.search.search_index import NO_SEGMENT
from adapters.postgres.tracing.search.search_postings import (
    SEGMENT_TRACES,
    from_epoch_us,
    since_epoch_us,
)
from adapters.postgres.tracing.search.trace_search import (
    SEGMENTS_AT_ONCE_MAX,
    SELECT_UNINDEXED,
    Place,
    fetch_from_segments,
    fetch_new,
)
from adapters.postgres.tracing.span_filters import (
    SEARCHED_TRACES_MAX,
    other_conditions,
    served_conditions,
    source_of_traces,
)
from adapters.postgres.tracing.spans.span_walk import FIRST_INSTANT, LAST_INSTANT, SpanPlace
from adapters.postgres.tracing.trace_filters import filter_clauses
from domain.ids import ProjectId
from domain.tracing.spans.span_query import SpanFilter

FIRST_SEGMENTS: Final = 2  # of a frequent word, these have too many traces already
FEW_AT_ONCE: Final = 64  # candidates: after a step with fewer, the next one reads more segments
MANY_AT_ONCE: Final = 256  # candidates: with fewer, walking the list never takes less
_US: Final = timedelta(microseconds=1)
_HOUR_US: Final = timedelta(hours=1) // _US
_US_OF: Final = "(extract(epoch FROM {}) * 1000000)::bigint"
_NO_ID: Final = UUID(int=0)
_LAST_ID: Final = UUID(int=2**128 - 1)

# One more than may be read: then there are too many.
SELECT_PARTIAL: Final = f"""
SELECT started_at, trace_id FROM search_traces WHERE {IN_PROJECT} AND segment = {NO_SEGMENT}
ORDER BY started_at DESC LIMIT {SEARCHED_TRACES_MAX + 1}
"""
# Instants are microseconds since the epoch here: there are many, and these are read faster.
SELECT_SEGMENTS: Final = f"""
SELECT segment, {_US_OF.format("first_started_at")}, {_US_OF.format("last_started_at")}
FROM search_segments WHERE {IN_PROJECT}
"""
SELECT_SEGMENTS_OF_TRACES: Final = f"""
SELECT trace_id, segment FROM search_traces
WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[]) AND segment IS NOT NULL
"""
SELECT_EXTENTS: Final = f"""
SELECT {_US_OF.format("hour")}, {_US_OF.format("first_span_at")}, {_US_OF.format("last_span_at")}
FROM trace_hours WHERE {IN_PROJECT} AND first_span_at IS NOT NULL ORDER BY hour
"""


@dataclass(slots=True)
class TraceCandidates:
    """The traces that may have spans with all terms, as far as they are known."""

    connection: Connection
    project: ProjectId
    terms: Sequence[int]
    ids: set[UUID] = field(default_factory=set)
    read: set[int] = field(default_factory=set)  # segments

    async def fetch_unpacked(self) -> list[Place]:
        """Adds the traces that are in no segment, but for those with too many terms."""
        unindexed = await self.connection.fetch(SELECT_UNINDEXED, self.project)
        new = await fetch_new(self.connection, self.project, self.terms)
        places = [(row["started_at"], row["trace_id"]) for row in chain(unindexed, new)]
        self.ids.update(id_ for _, id_ in places)
        return places

    async def fetch_from(self, segments: Sequence[int]) -> list[Place]:
        """Adds those of the segments."""
        if not segments:
            return []
        found = await fetch_from_segments(self.connection, self.project, segments, self.terms)
        places = [*found]
        self.ids.update(id_ for _, id_ in places)
        self.read.update(segments)
        return places

    async def add_among(self, traces: Iterable[UUID], looked_into: int) -> None:
        """Adds those among these traces; all of them if no more than `looked_into` are unknown."""
        unknown = set(traces) - self.ids
        if len(unknown) <= looked_into:
            self.ids.update(unknown)
            return
        rows = await self.connection.fetch(SELECT_SEGMENTS_OF_TRACES, self.project, list(unknown))
        self.ids.update(row["trace_id"] for row in rows if row["segment"] == NO_SEGMENT)
        await self.fetch_from(sorted({row["segment"] for row in rows} - self.read - {NO_SEGMENT}))


class _Part(NamedTuple):
    """The traces of a segment, or one that is in none, that aren't read yet.

    They started in the hours from `first_hour` to `last_hour`, and none of their spans after
    `until`.
    """

    until: int
    first_hour: int
    last_hour: int
    segment: int
    trace: UUID = _NO_ID


@dataclass(frozen=True, slots=True)
class _Extents:
    """Between which instants the spans of the traces of an hour started.

    It lists the hours whose traces have spans in other hours. The spans of all other traces start
    in the hour in which their trace does.
    """

    hours: Sequence[int] = ()
    firsts: Sequence[int] = ()
    lasts: Sequence[int] = ()
    last_of: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    async def fetch(cls, connection: Connection, project: ProjectId) -> "_Extents":
        rows = await connection.fetch(SELECT_EXTENTS, project)
        hours, firsts, lasts = ([row[column] for row in rows] for column in range(3))
        return cls(hours, firsts, lasts, dict(zip(hours, lasts, strict=True)))

    def part(self, first_us: int, last_us: int, segment: int, trace: UUID = _NO_ID) -> _Part:
        """A segment, or one trace, whose traces started between two instants, in µs."""
        first, last = first_us - first_us % _HOUR_US, last_us - last_us % _HOUR_US
        until = last + _HOUR_US - 1
        if last - first > _HOUR_US:
            until = max([until, *self.lasts[self._between(first, last)]])
        else:
            until = max(until, self.last_of.get(first, until), self.last_of.get(last, until))
        return _Part(until, first, last, segment, trace)

    def since(self, part: _Part) -> int:
        """No span of the traces started earlier."""
        return min([part.first_hour, *self.firsts[self._between(part.first_hour, part.last_hour)]])

    def _between(self, first: int, last: int) -> slice:
        return slice(bisect_left(self.hours, first), bisect_right(self.hours, last))


@dataclass(slots=True)
class CandidateWalk:
    """The spans of candidates that match, in descending order, after the place `last`.

    It ends early, and the list goes on after `last`: `is_frequent` if walking the list itself takes
    less than reading the next candidates, `is_at_limit` after `most` candidates.
    """

    candidates: TraceCandidates
    matching: SpanFilter
    wanted: int
    most: int
    spans_at_once: int
    last: SpanPlace | None
    is_over: bool = False
    is_frequent: bool = False
    is_at_limit: bool = False
    _extents: _Extents = field(default_factory=_Extents)
    _has_read: bool = False  # some candidates
    _has_begun: bool = False  # and with them all spans of a part of the list
    _at_once: int = FIRST_SEGMENTS
    _parts: list[_Part] = field(default_factory=list)  # the one with the latest spans last
    _seen: set[UUID] = field(default_factory=set)
    _pending: list[UUID] = field(default_factory=list)  # whose spans are read down to `_read_to`
    _read_to: SpanPlace | None = None
    _waiting: list[SpanPlace] = field(default_factory=list)  # the next one last

    @property
    def may_go_on(self) -> bool:
        return not (self.is_over or self.is_frequent or self.is_at_limit)

    async def open(self) -> None:
        """Reads where candidates may be, and those that are in no segment."""
        connection, project = self.candidates.connection, self.candidates.project
        unpacked = await self.candidates.fetch_unpacked()
        rows = await connection.fetch(SELECT_PARTIAL, project)
        partial: list[Place] = [(row["started_at"], row["trace_id"]) for row in rows]
        self.is_frequent = not self.most or len(partial) > SEARCHED_TRACES_MAX
        if self.is_frequent:
            return
        self._extents = extents = await _Extents.fetch(connection, project)
        rows = await connection.fetch(SELECT_SEGMENTS, project)
        parts = [extents.part(first, last, segment) for segment, first, last in rows]
        for started_at, id_ in chain(unpacked, partial):
            started_us = since_epoch_us(started_at)
            parts.append(extents.part(started_us, started_us, NO_SEGMENT, id_))
        self._parts = sorted(parts)

    async def next(self, wanted: int, most: int) -> list[SpanPlace]:
        """The next spans, `wanted` or more, but not more than `most`; fewer if the walk ends."""
        ready = list[SpanPlace]()
        while self.may_go_on:
            known = self._known_from()
            while self._waiting and len(ready) < most:
                if known is not None and self._waiting[-1] < known:
                    break
                ready.append(self._waiting.pop())
            if ready:
                self._go_to(ready[-1])
            if len(ready) >= min(wanted, most):
                break
            if known is None:
                self.is_over = not self._waiting
                break
            self._go_to(known)
            await self._step()
        return ready

    def _known_from(self) -> SpanPlace | None:
        """All spans from this place on are known; None if all are known."""
        places = [] if self._read_to is None else [self._read_to]
        if self._parts:
            places.append(_after(self._parts[-1].until))
        return max(places, default=None)

    def _go_to(self, place: SpanPlace) -> None:
        if self.last is None or place < self.last:
            self.last = place
            self._has_begun = self._has_read

    async def _step(self) -> None:
        """Reads the next candidates, or more spans of those that it has read."""
        if not self._pending:
            await self._read_parts()
        if self._pending and self.may_go_on:
            await self._read_keys()

    async def _read_parts(self) -> None:
        segments, ids = list[int](), list[UUID]()
        after = since_epoch_us(self.matching.started_after or FIRST_INSTANT)
        while self._parts and len(segments) < self._at_once and len(ids) <= MANY_AT_ONCE:
            part = self._parts.pop()
            if part.until < after:
                self._parts.clear()
            elif self._is_before(part):
                continue
            elif part.segment == NO_SEGMENT:
                ids.append(part.trace)
            else:
                segments.append(part.segment)
        self.candidates.ids.update(ids)
        ids += (id_ for _, id_ in await self.candidates.fetch_from(segments))
        new = set(ids) - self._seen
        among = SEGMENT_TRACES * len(segments) + len(ids)
        is_dense = len(new) > MANY_AT_ONCE and len(new) ** 2 > self.wanted * among
        if is_dense or (len(self._seen) + len(new) > self.most and not self._has_begun):
            self.is_frequent = True
        elif len(self._seen) + len(new) > self.most:
            self.is_at_limit = True
        if len(new) < FEW_AT_ONCE:
            self._at_once = min(2 * self._at_once, SEGMENTS_AT_ONCE_MAX)
        self._has_read = True
        self._seen |= new
        self._pending = [*new]

    def _is_before(self, part: _Part) -> bool:
        """Whether all its spans come before the next one of the list."""
        if self.last is None:
            return False
        last_us = since_epoch_us(self.last.started_at)
        return part.first_hour > last_us and self._extents.since(part) > last_us

    async def _read_keys(self) -> None:
        """The next spans of the pending traces."""
        before = self._read_to or self.last
        rows = await self._fetch_keys(before)
        self._waiting += (SpanPlace(*row) for row in rows)
        self._waiting.sort()
        if len(rows) < self.spans_at_once:
            self._pending, self._read_to = [], None
        else:
            self._read_to = SpanPlace(*rows[-1])

    async def _fetch_keys(self, before: SpanPlace | None) -> Sequence[Record]:
        project = self.candidates.project
        trace_conditions = [one.sql for one in filter_clauses(project, self.matching.trace_filter)]
        conditions = [*served_conditions(self.matching), *other_conditions(self.matching)]
        if before is not None:
            conditions.append(
                Sql(
                    "(s.started_at, s.trace_id, s.span_id) < ({}::timestamptz, {}::uuid, {}::uuid)",
                    tuple(before),
                )
            )
        among = Sql("trace_id = ANY({}::uuid[])", (self._pending,))
        source = source_of_traces([among, *trace_conditions], conditions)
        p = Parameters([project])
        table, where = p.sql(source.table), source.where(p, source.rest)
        # The limit is in the SQL text, so that the planner knows how few rows there will be.
        sql = f"""
        SELECT s.started_at, s.trace_id, s.span_id FROM {table} WHERE {where}
        ORDER BY s.started_at DESC, s.trace_id DESC, s.span_id DESC LIMIT {self.spans_at_once:d}
        """
        rows: Sequence[Record] = await self.candidates.connection.fetch(sql, *p.values)
        return rows


def _after(us: int) -> SpanPlace:
    """The place after all spans that started by an instant."""
    at = from_epoch_us(us)
    if at == LAST_INSTANT:
        return SpanPlace(at, _LAST_ID, _LAST_ID)
    return SpanPlace(at + _US, _NO_ID, _NO_ID)
