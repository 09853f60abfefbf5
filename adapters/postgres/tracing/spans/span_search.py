"""Finds spans by words in their own texts: the newest first, each verified against its text.

The index names traces whose texts have all words. Their spans are read in the order of the list, as
far as a page needs. If nearly every trace is such, the list of spans is walked, and spans of other
traces are passed over: then words are frequent, and hits come soon.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Final
from uuid import UUID

from adapters.postgres.database.pool import IN_PROJECT
from adapters.postgres.database.read_transactions import PoolReader
from adapters.postgres.tracing.search.search_index import READ_BYTES_MAX, fetch_readable_traces
from adapters.postgres.tracing.search.trace_search import (
    LOOKED_INTO_MAX,
    NARROW_SEARCH,
    SELECT_OLDEST_WRITE,
    TEXT_BYTES_AT_ONCE,
    TEXT_BYTES_MAX,
    TEXTS_AT_ONCE_MAX,
    TEXTS_MAX,
    UNINDEXED_MAX,
)
from adapters.postgres.tracing.span_filters import SEARCHED_TRACES_MAX, SpanSource, find_source
from adapters.postgres.tracing.spans.span_candidates import CandidateWalk, TraceCandidates
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

SELECT_SIZES: Final = f"""
SELECT trace_id, sum(raw_bytes)::bigint AS size FROM trace_payloads
WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[]) GROUP BY trace_id
"""


type _Key = tuple[UUID, UUID]
"""The ids of a trace and of a span of it."""
type _Found = tuple[SpanPlace, tuple[SearchMatch, ...]]


@dataclass(frozen=True, slots=True)
class SpanSearchLimits:
    """The limits of a request's reads.

    Spans of up to `few_traces` traces are read out of order. Spans of a trace with more than
    `bytes_of_candidate` are left out.
    """

    spans: int = WALKED_SPANS_MAX
    texts: int = TEXTS_MAX
    text_bytes: int = TEXT_BYTES_MAX
    bytes_of_candidate: int = READ_BYTES_MAX
    few_traces: int = SEARCHED_TRACES_MAX
    spans_at_once: int = SPANS_AT_ONCE_MAX
    walk: WalkLimits = WALK_LIMITS


LIMITS: Final = SpanSearchLimits()


@dataclass(slots=True)
class _Room:
    """The amount that a request may still read."""

    spans: int
    texts: int
    text_bytes: int

    @property
    def is_left(self) -> bool:
        return self.spans > 0 and self.has_texts

    @property
    def has_texts(self) -> bool:
        return min(self.texts, self.text_bytes) > 0


@dataclass(frozen=True, slots=True)
class PostgresSpanSearch(PoolReader):
    """Each page is read from one snapshot."""

    limits: SpanSearchLimits = field(default=LIMITS, kw_only=True)

    async def find(
        self, project: ProjectId, query: SearchQuery, matching: SpanFilter, window: PageRequest
    ) -> SearchPage[SpanHit]:
        after = None if window.after is None else SpanPlace.at(window.after)
        async with self._visible_by_key(NARROW_SEARCH, project) as connection:
            candidates = TraceCandidates(connection, project, query_terms(query))
            page = _PageSearch(candidates, matching, query, window.limit, self.limits)
            found, end, is_complete = await page.find(after)
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


@dataclass(slots=True)
class _PageSearch:
    candidates: TraceCandidates
    matching: SpanFilter
    query: SearchQuery
    limit: int
    limits: SpanSearchLimits
    room: _Room = field(init=False)
    # The traces of the spans that were read last, once their texts have been looked into; and what
    # the query finds in their spans.
    _looked_into: set[UUID] = field(default_factory=set)
    _is_whole: bool = True  # whether no trace was left out
    _matches: dict[_Key, tuple[SearchMatch, ...] | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.room = _Room(self.limits.spans, self.limits.texts, self.limits.text_bytes)

    async def find(
        self, after: SpanPlace | None
    ) -> tuple[Sequence[_Found], SpanPlace | None, bool]:
        """The hits, where the next page follows, and whether no limit left out any."""
        walk = await self._open(after)
        found, compared, last, at_once = list[_Found](), 0, after, self.limit + 1
        while self.room.is_left:
            is_small = isinstance(walk, CandidateWalk) or walk.source.is_small
            if isinstance(walk, CandidateWalk):
                keys = await walk.next(at_once, min(self.limits.spans_at_once, self.room.spans))
                if walk.is_frequent and not keys:
                    walk = await self._list_after(walk.last)
                    continue
            else:
                # Spans of few traces are sorted for each statement, so one reads more of them.
                some = self.limits.spans_at_once if is_small else at_once
                keys = await walk.next(min(some, self.room.spans))
            self.room.spans -= len(keys)
            # Those of few traces are spread over many segments: reading these would take longer.
            looked_into = min(LOOKED_INTO_MAX, self.room.texts) if is_small else 0
            await self.candidates.add_among((key.trace_id for key in keys), looked_into)
            sizes = await self._fetch_sizes(keys)
            self._looked_into.clear()
            self._matches.clear()
            most = self.limits.bytes_of_candidate
            readable = [key for key in keys if sizes.get(key.trace_id, 0) <= most]
            self._is_whole = self._is_whole and len(readable) == len(keys)
            keys = readable[::-1]  # the next one is the last
            while keys and len(found) <= self.limit and self.room.has_texts:
                batch = self._take(keys, sizes, at_once)
                found += await self._verify(batch, keys)
                compared, last = compared + len(batch), batch[-1]
                at_once = self._next_step(at_once, compared, len(found))
            if len(found) > self.limit:
                shown = found[: self.limit]
                return shown, shown[-1][0], self._is_whole
            if keys:
                break
            last = walk.last
            if walk.is_over:
                return found, None, self._is_whole
            if not (walk.may_go_on or (isinstance(walk, CandidateWalk) and walk.is_frequent)):
                break
        return found, last, False

    async def _open(self, after: SpanPlace | None) -> "CandidateWalk | SpanWalk":
        """Reads the spans of candidates, or of the traces that match if they are fewer."""
        candidates, few = self.candidates, self.limits.few_traces
        if filter_clauses(candidates.project, self.matching.trace_filter):
            looked_into = min(few, LOOKED_INTO_MAX)
            source = await find_source(
                candidates.connection, candidates.project, self.matching, looked_into
            )
            if source.is_small:
                await candidates.fetch_unpacked()
                return self._walk(source, after)
        walk = CandidateWalk(
            candidates, self.matching, self.limit + 1, few, self.limits.spans_at_once, after
        )
        await walk.open()
        return walk

    async def _list_after(self, last: SpanPlace | None) -> SpanWalk:
        connection, project = self.candidates.connection, self.candidates.project
        few = self.limits.few_traces
        return self._walk(await find_source(connection, project, self.matching, few), last)

    def _walk(self, source: SpanSource, last: SpanPlace | None) -> SpanWalk:
        return SpanWalk(
            self.candidates.connection, self.candidates.project, self.matching, source,
            is_descending=True, last=last, limits=self.limits.walk,
        )  # fmt: skip

    def _next_step(self, step: int, compared: int, found: int) -> int:
        """As many spans as are expected to have the other hits, and a quarter more."""
        if not found:
            return min(2 * step, SPANS_AT_ONCE_MAX)
        due = self.limit + 1 - found
        return min(5 * compared * due // (4 * found) + 1, SPANS_AT_ONCE_MAX)

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
            is_known = trace in traces or trace in self._looked_into
            if trace in self.candidates.ids and not is_known:
                size += sizes.get(trace, 0)
                is_full = len(traces) >= min(self.room.texts, TEXTS_AT_ONCE_MAX)
                if traces and (is_full or size > TEXT_BYTES_AT_ONCE):
                    break
                traces.add(trace)
            batch.append(keys.pop())
        self.room.texts -= len(traces)
        self.room.text_bytes -= sum(sizes.get(trace, 0) for trace in traces)
        return batch

    async def _verify(
        self, batch: Sequence[SpanPlace], others: Sequence[SpanPlace]
    ) -> list[_Found]:
        """The hits among a batch. Texts are read once for it and the others of the same traces."""
        ids = {key.trace_id for key in batch if key.trace_id in self.candidates.ids}
        if new := ids - self._looked_into:
            wanted = {
                (key.trace_id, key.span_id) for key in chain(batch, others) if key.trace_id in new
            }
            traces = await fetch_readable_traces(
                self.candidates.connection, self.candidates.project, [TraceId(id_) for id_ in new]
            )
            self._matches |= await compute(
                partial(_find_matches, traces, wanted, self.query), is_long=True
            )
            self._looked_into |= new
        return [
            (key, found)
            for key in batch
            if (found := self._matches.get((key.trace_id, key.span_id))) is not None
        ]


def _find_matches(
    traces: Sequence[Trace], wanted: set[_Key], query: SearchQuery
) -> Mapping[_Key, tuple[SearchMatch, ...] | None]:
    return {
        (trace.id, span.id): find_span_matches(span, query)
        for trace in traces
        for span in trace.spans
        if (trace.id, span.id) in wanted
    }
