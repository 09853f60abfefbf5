"""Finds spans by words in their own texts: the newest first, each verified against its text.

The index names traces whose texts have all words. If these are few, their spans are read in the
order of the list. Otherwise the list of spans is walked, and spans of other traces are passed over:
then words are frequent, and hits come soon.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from uuid import UUID

from adapters.postgres.database.pool import OF_PROJECT, Connection
from adapters.postgres.database.read_transactions import PoolReader
from adapters.postgres.database.sql_builder import Sql
from adapters.postgres.tracing.search.search_index import NO_SEGMENT, fetch_readable_traces
from adapters.postgres.tracing.search.trace_search import (
    LOOKED_INTO_MAX,
    NARROW_SEARCH,
    SEGMENTS_AT_ONCE_MAX,
    SELECT_OLDEST_WRITE,
    SELECT_UNINDEXED,
    TEXT_BYTES_AT_ONCE,
    TEXT_BYTES_MAX,
    TEXTS_AT_ONCE_MAX,
    TEXTS_MAX,
    UNINDEXED_MAX,
    fetch_from_segments,
    fetch_new,
)
from adapters.postgres.tracing.span_filters import (
    SEARCHED_TRACES_MAX,
    SpanSource,
    find_source,
    other_conditions,
    served_conditions,
    source_of_traces,
)
from adapters.postgres.tracing.spans.span_walk import WALK_LIMITS, SpanPlace, SpanWalk, WalkLimits
from adapters.postgres.tracing.spans.spans import SELECT_SPANS, span_summary_from_row
from adapters.postgres.tracing.trace_filters import filter_clauses
from application.concurrency import compute
from domain.ids import ProjectId, TraceId
from domain.page import PageRequest
from domain.tracing.search.search_match import SearchMatch, SearchPage, SpanHit, find_span_matches
from domain.tracing.search.search_query import SearchQuery
from domain.tracing.search.search_terms import query_terms
from domain.tracing.spans.span_query import SpanFilter
from domain.tracing.trace import Trace

WALKED_SPANS_MAX: Final = 100_000  # spans that a request compares with the index
SPANS_AT_ONCE_MAX: Final = 4_096
FIRST_SEGMENTS: Final = 2  # of a frequent word, these have too many traces already

SELECT_NEWEST_SEGMENTS: Final = f"""
SELECT segment FROM search_segments WHERE {OF_PROJECT} ORDER BY last_started_at DESC
"""
# One more than may be read: then there are too many.
SELECT_PARTIAL_IDS: Final = f"""
SELECT trace_id FROM search_traces WHERE {OF_PROJECT} AND segment = {NO_SEGMENT}
LIMIT {SEARCHED_TRACES_MAX + 1}
"""
SELECT_SEGMENTS_OF_TRACES: Final = f"""
SELECT trace_id, segment FROM search_traces
WHERE {OF_PROJECT} AND trace_id = ANY($2::uuid[]) AND segment IS NOT NULL
"""
SELECT_SIZES: Final = f"""
SELECT trace_id, sum(raw_bytes)::bigint AS size FROM trace_payloads
WHERE {OF_PROJECT} AND trace_id = ANY($2::uuid[]) GROUP BY trace_id
"""


type _Found = tuple[SpanPlace, tuple[SearchMatch, ...]]


@dataclass(frozen=True, slots=True)
class SpanSearchLimits:
    """What a request may read. `few_traces` is up to how many traces all spans are read."""

    spans: int = WALKED_SPANS_MAX
    texts: int = TEXTS_MAX
    text_bytes: int = TEXT_BYTES_MAX
    few_traces: int = SEARCHED_TRACES_MAX
    walk: WalkLimits = WALK_LIMITS


LIMITS: Final = SpanSearchLimits()


@dataclass(slots=True)
class _Room:
    """What a request may still read."""

    spans: int
    texts: int
    text_bytes: int

    @property
    def is_left(self) -> bool:
        return self.spans > 0 and self.has_texts

    @property
    def has_texts(self) -> bool:
        return min(self.texts, self.text_bytes) > 0


@dataclass(slots=True)
class _TraceCandidates:
    """The traces that may have spans with all terms, as far as they are known."""

    connection: Connection
    project: ProjectId
    terms: Sequence[int]
    ids: set[UUID] = field(default_factory=set)
    read: set[int] = field(default_factory=set)  # segments

    async def open(self) -> None:
        """Adds the traces that are in no segment, but for those with too many terms."""
        unindexed = await self.connection.fetch(SELECT_UNINDEXED, self.project)
        new = await fetch_new(self.connection, self.project, self.terms)
        self.ids.update(row["trace_id"] for row in (*unindexed, *new))

    async def add_all(self, most: int) -> bool:
        """Adds all others, unless there are more than `most` in all: then it is false."""
        rows = await self.connection.fetch(SELECT_PARTIAL_IDS, self.project)
        self.ids.update(row["trace_id"] for row in rows)
        if len(self.ids) > most or len(rows) > SEARCHED_TRACES_MAX:
            return False
        rows = await self.connection.fetch(SELECT_NEWEST_SEGMENTS, self.project)
        segments = [row["segment"] for row in reversed(rows)]
        at_once = FIRST_SEGMENTS
        while segments:
            await self._read([segments.pop() for _ in range(min(at_once, len(segments)))])
            if len(self.ids) > most:
                return False
            at_once = min(2 * at_once, SEGMENTS_AT_ONCE_MAX)
        return True

    async def add_among(self, traces: Iterable[UUID], looked_into: int) -> None:
        """Adds those among these traces; all of them if no more than `looked_into` are unknown."""
        unknown = set(traces) - self.ids
        if len(unknown) <= looked_into:
            self.ids.update(unknown)
            return
        rows = await self.connection.fetch(SELECT_SEGMENTS_OF_TRACES, self.project, list(unknown))
        self.ids.update(row["trace_id"] for row in rows if row["segment"] == NO_SEGMENT)
        await self._read(sorted({row["segment"] for row in rows} - self.read - {NO_SEGMENT}))

    async def _read(self, segments: Sequence[int]) -> None:
        if segments:
            found = await fetch_from_segments(self.connection, self.project, segments, self.terms)
            self.ids.update(id_ for _, id_ in found)
            self.read.update(segments)


@dataclass(frozen=True, slots=True)
class PostgresSpanSearch(PoolReader):
    """Each page is read from one snapshot."""

    limits: SpanSearchLimits = field(default=LIMITS, kw_only=True)

    async def find(
        self, project: ProjectId, query: SearchQuery, matching: SpanFilter, window: PageRequest
    ) -> SearchPage[SpanHit]:
        few = self.limits.few_traces
        after = None if window.after is None else SpanPlace.at(window.after)
        async with self._visible_by_key(NARROW_SEARCH, project) as connection:
            candidates = _TraceCandidates(connection, project, query_terms(query))
            await candidates.open()
            if await candidates.add_all(few):
                source = _source_of(project, candidates.ids, matching)
            else:
                source = await find_source(connection, project, matching, few)
            walk = SpanWalk(
                connection, project, matching, source, is_descending=True, last=after,
                limits=self.limits.walk,
            )  # fmt: skip
            page = _PageSearch(candidates, walk, query, window.limit, self._room())
            found, end, is_complete = await page.find()
            keys = [key for key, _ in found]
            rows = await connection.fetch(
                SELECT_SPANS, project, [key.trace_id for key in keys], [key.span_id for key in keys]
            )
            oldest = await connection.fetchrow(SELECT_OLDEST_WRITE, project)
        assert oldest is not None
        return SearchPage(
            [
                SpanHit(span_summary_from_row(row), matches)
                for row, (_, matches) in zip(rows, found, strict=True)
            ],
            end and end.position,
            is_complete and oldest["count"] <= UNINDEXED_MAX,
            oldest["written_at"],
        )

    def _room(self) -> _Room:
        return _Room(self.limits.spans, self.limits.texts, self.limits.text_bytes)


def _source_of(project: ProjectId, traces: Iterable[UUID], matching: SpanFilter) -> SpanSource:
    of_trace = [one.sql for one in filter_clauses(project, matching.of_trace)]
    among = Sql("trace_id = ANY({}::uuid[])", (list(traces),))
    conditions = [*served_conditions(matching), *other_conditions(matching)]
    return source_of_traces([among, *of_trace], conditions)


@dataclass(slots=True)
class _PageSearch:
    candidates: _TraceCandidates
    walk: SpanWalk
    query: SearchQuery
    limit: int
    room: _Room

    async def find(self) -> tuple[Sequence[_Found], SpanPlace | None, bool]:
        """The hits, where the next page follows, and whether no limit ended the page early."""
        found, last, at_once = list[_Found](), self.walk.last, self.limit + 1
        is_small = self.walk.source.is_small
        while self.room.is_left:
            # Spans of few traces are sorted for each statement, so one reads more of them.
            some = SPANS_AT_ONCE_MAX if is_small else at_once
            keys = await self.walk.next(min(some, self.room.spans))
            self.room.spans -= len(keys)
            # Those of few traces are spread over many segments: reading these would take longer.
            looked_into = min(LOOKED_INTO_MAX, self.room.texts) if is_small else 0
            await self.candidates.add_among((key.trace_id for key in keys), looked_into)
            sizes = await self._fetch_sizes(keys)
            keys.reverse()  # the next one is the last
            while keys and len(found) <= self.limit and self.room.has_texts:
                batch = self._take(keys, sizes, at_once)
                hits = await self._verify(batch)
                found += hits
                last = batch[-1]
                if 2 * len(hits) < len(batch):
                    at_once = min(2 * at_once, SPANS_AT_ONCE_MAX)
            if len(found) > self.limit:
                shown = found[: self.limit]
                return shown, shown[-1][0], True
            if keys:
                break
            last = self.walk.last
            if self.walk.is_over:
                return found, None, True
            if not self.walk.may_go_on:
                break
        return found, last, False

    async def _fetch_sizes(self, keys: Iterable[SpanPlace]) -> Mapping[UUID, int]:
        """The bytes of the texts of the candidates among them, if they have any."""
        traces = list({key.trace_id for key in keys} & self.candidates.ids)
        rows = await self.candidates.connection.fetch(SELECT_SIZES, self.candidates.project, traces)
        return {row["trace_id"]: row["size"] for row in rows}

    def _take(self, keys: list[SpanPlace], sizes: Mapping[UUID, int], most: int) -> list[SpanPlace]:
        """Takes the next spans from the end, whose traces are read together; at least one."""
        batch, traces, size = list[SpanPlace](), set[UUID](), 0
        while keys and len(batch) < most:
            trace = keys[-1].trace_id
            if trace in self.candidates.ids and trace not in traces:
                size += sizes.get(trace, 0)
                is_full = len(traces) >= min(self.room.texts, TEXTS_AT_ONCE_MAX)
                if traces and (is_full or size > TEXT_BYTES_AT_ONCE):
                    break
                traces.add(trace)
            batch.append(keys.pop())
        self.room.texts -= len(traces)
        self.room.text_bytes -= sum(sizes.get(trace, 0) for trace in traces)
        return batch

    async def _verify(self, batch: Sequence[SpanPlace]) -> list[_Found]:
        wanted = {
            (key.trace_id, key.span_id) for key in batch if key.trace_id in self.candidates.ids
        }
        if not wanted:
            return []
        ids = [TraceId(id_) for id_ in {trace for trace, _ in wanted}]
        traces = await fetch_readable_traces(
            self.candidates.connection, self.candidates.project, ids
        )
        matches = await compute(partial(_matches, traces, wanted, self.query), is_long=True)
        return [
            (key, found)
            for key in batch
            if (found := matches.get((key.trace_id, key.span_id))) is not None
        ]


def _matches(
    traces: Sequence[Trace], wanted: set[tuple[UUID, UUID]], query: SearchQuery
) -> Mapping[tuple[UUID, UUID], tuple[SearchMatch, ...] | None]:
    return {
        (trace.id, span.id): find_span_matches(span, query)
        for trace in traces
        for span in trace.spans
        if (trace.id, span.id) in wanted
    }
