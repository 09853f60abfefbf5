"""Random histories of trace writes read the same from memory and from PostgreSQL.

Part of the contracts of Traces, Sessions and TraceAnalytics.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from adapters.postgres.tracing.search.search_postings import SEGMENT_TRACES
from domain.ids import ProjectId, SpanId, TraceId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.analytics import Granularity, Period
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.search.search_match import SearchHit
from domain.tracing.search.search_query import PREFIX_CHARS_MIN, SearchQuery, SearchTerm
from domain.tracing.search.search_texts import searched_values
from domain.tracing.search.search_words import folded, words_of
from domain.tracing.session import SessionFilter, SessionSort
from domain.tracing.span import Span, SpanChange
from domain.tracing.trace import Trace, TraceChange
from domain.tracing.trace_breakdown import TraceAnalyticsQuery, TraceGroupKey
from tests.support.builders import strategies, trace_strategies
from tests.support.fixtures import data_plane
from tests.support.fixtures.data_plane import (
    ALL,
    ALL_TIME,
    DataPlane,
    clean_index,
    index_traces,
    join_payloads,
    over_memory,
    over_postgres,
    remove_unused_texts,
)
from tests.support.fixtures.erasures import ErasingHistories, ErasureSteps, which
from tests.support.fixtures.histories import assert_histories_agree

pytestmark = pytest.mark.service

ids = st.lists(strategies.trace_ids, min_size=1, max_size=2)

type Read = Callable[[DataPlane, PageRequest], Awaitable[Page[Any]]]


@st.composite
def search_queries(draw: st.DrawFn, sent: Sequence[Trace]) -> SearchQuery:
    """Words that follow each other in a text of a trace, or the beginning of one; two at most."""
    texts = [text for trace in sent for value in searched_values(trace) for text in value.texts()]
    sequences = [words for text in texts if (words := words_of(folded(text)))]
    terms = []
    for _ in range(draw(st.integers(1, 2))):
        words = draw(st.sampled_from([*sequences, ["nowhere"]]))
        start = draw(st.integers(0, len(words) - 1))
        some = words[start : start + draw(st.integers(1, 3))]
        is_prefix = len(some[-1]) >= PREFIX_CHARS_MIN and draw(st.booleans())
        if is_prefix:
            some[-1] = some[-1][: draw(st.integers(PREFIX_CHARS_MIN, len(some[-1])))]
        terms.append(SearchTerm(tuple(some), is_prefix))
    return SearchQuery(tuple(terms))


class Histories(ErasingHistories):
    """Two projects that use the same few ids, so that writes often meet."""

    @initialize(
        first=st.lists(trace_strategies.traces(), min_size=2, max_size=5),
        other=st.lists(trace_strategies.traces(), max_size=2),
    )
    def begin(self, first: Sequence[Trace], other: Sequence[Trace]) -> None:
        """Stores some traces first, since an empty history would test little."""
        self.projects = [data_plane.project(), data_plane.project()]
        self.model = over_memory()
        self.erasing = ErasureSteps(self.run_on_both)
        self.sent: list[tuple[ProjectId, Trace]] = []
        self.pages: list[tuple[Read, PageRequest]] = []
        self.put_at_once([*((0, one) for one in first), *((1, one) for one in other)])

    # --- writes ---

    @rule(of=which, trace=trace_strategies.traces())
    def put(self, of: int, trace: Trace) -> None:
        project = self.projects[of]
        self.sent.append((project, trace))
        self.run_on_both(lambda plane: plane.traces.put(project, trace))

    @rule(some=st.lists(st.tuples(which, trace_strategies.traces()), min_size=2, max_size=5))
    def put_at_once(self, some: Sequence[tuple[int, Trace]]) -> None:
        """Callers in one batch are merged in call order."""

        async def act(plane: DataPlane) -> None:
            puts = [plane.traces.put(self.projects[of], one) for of, one in some]
            results = await asyncio.gather(*puts, return_exceptions=True)  # all are over then
            for failure in filter(None, results):
                raise failure

        self.run_on_both(act)

    @rule(data=st.data())
    def put_again(self, data: st.DataObject) -> None:
        if self.sent:
            project, trace = data.draw(st.sampled_from(self.sent))
            self.run_on_both(lambda plane: plane.traces.put(project, trace))

    @rule(
        of=which,
        trace=strategies.trace_ids,
        spans=st.lists(trace_strategies.spans() | strategies.spans(), min_size=1, max_size=3),
    )
    def add_spans(self, of: int, trace: TraceId, spans: Sequence[Span]) -> None:
        self.run_on_both(lambda plane: plane.traces.add_spans(self.projects[of], trace, spans))

    @rule(of=which, trace=strategies.trace_ids, change=trace_strategies.trace_changes)
    def change(self, of: int, trace: TraceId, change: TraceChange) -> None:
        self.run_on_both(lambda plane: plane.traces.change(self.projects[of], trace, change))

    @rule(
        of=which,
        trace=strategies.trace_ids,
        span=trace_strategies.span_ids,
        change=trace_strategies.span_changes,
    )
    def change_span(self, of: int, trace: TraceId, span: SpanId, change: SpanChange) -> None:
        self.run_on_both(
            lambda plane: plane.traces.change_span(self.projects[of], trace, span, change)
        )

    @rule(of=which, some=ids, add=trace_strategies.tags, remove=trace_strategies.tags)
    def retag(
        self, of: int, some: Sequence[TraceId], add: Sequence[str], remove: Sequence[str]
    ) -> None:
        self.run_on_both(lambda plane: plane.traces.retag(self.projects[of], some, add, remove))

    @rule(of=which, gone=ids | trace_strategies.sessions)
    def delete(self, of: int, gone: Sequence[TraceId] | str) -> None:
        """Deletes traces, or a session."""
        project = self.projects[of]
        if isinstance(gone, str):
            self.run_on_both(lambda plane: plane.sessions.delete(project, gone))
        else:
            self.run_on_both(lambda plane: plane.traces.delete(project, gone))

    @rule()
    def join_payloads(self) -> None:
        self.run_on_both(join_payloads)
        self.run_on_both(remove_unused_texts)

    @rule(segment_traces=st.sampled_from([1, 2, 3, SEGMENT_TRACES]))
    def index(self, segment_traces: int) -> None:
        self.run_on_both(lambda plane: index_traces(plane, segment_traces))

    @rule()
    def clean(self) -> None:
        self.run_on_both(clean_index)

    # --- reads ---

    @rule(
        of=which,
        data=st.data(),
        matching=st.just(TraceFilter()) | trace_strategies.filters,
        limit=st.integers(1, 4),
    )
    def search(self, of: int, data: st.DataObject, matching: TraceFilter, limit: int) -> None:
        """Searches for words of a trace that was sent, and reads all pages."""
        sent = [one for _, one in self.sent]
        project, query = self.projects[of], data.draw(search_queries(sent))

        async def act(plane: DataPlane) -> Any:
            hits, window = list[SearchHit](), PageRequest(limit=limit)
            while True:
                page = await plane.tracing.trace_search.find(project, query, matching, window)
                assert page.is_complete
                hits += page.hits
                if page.end is None:
                    return hits
                window = replace(window, after=page.end)

        self.run_on_both(act)

    @rule(
        of=which,
        matching=trace_strategies.filters,
        sort=trace_strategies.sorts,
        order=trace_strategies.orders,
        window=trace_strategies.windows,
    )
    def browse(
        self, of: int, matching: TraceFilter, sort: TraceSort, order: SortOrder, window: PageRequest
    ) -> None:
        project = self.projects[of]
        self._page(
            lambda plane, at: plane.traces.summaries(project, matching, sort, order, at), window
        )

    @rule(
        of=which,
        matching=trace_strategies.session_filters,
        sort=trace_strategies.session_sorts,
        order=trace_strategies.orders,
        window=trace_strategies.windows,
    )
    def browse_sessions(
        self,
        of: int,
        matching: SessionFilter,
        sort: SessionSort,
        order: SortOrder,
        window: PageRequest,
    ) -> None:
        project = self.projects[of]
        self._page(
            lambda plane, at: plane.sessions.summaries(project, matching, sort, order, at), window
        )

    @rule(of=which, window=trace_strategies.windows)
    def browse_users(self, of: int, window: PageRequest) -> None:
        project = self.projects[of]
        self._page(lambda plane, at: plane.analytics.users(project, at), window)

    @rule(data=st.data())
    def read_next_page(self, data: st.DataObject) -> None:
        """Reads the page after one that was read before, whatever was written since."""
        if self.pages:
            read, window = data.draw(st.sampled_from(self.pages))
            self._page(read, window)

    def _page(self, read: Read, window: PageRequest) -> None:
        page = self.run_on_both(lambda plane: read(plane, window))
        if page.end is not None:
            self.pages.append((read, replace(window, offset=0, after=page.end)))

    @rule(of=which, session=trace_strategies.sessions, window=trace_strategies.windows)
    def read_session(self, of: int, session: str, window: PageRequest) -> None:
        self.run_on_both(lambda plane: plane.sessions.get(self.projects[of], session, window))

    @rule(of=which, period=trace_strategies.periods, by=trace_strategies.granularities)
    def figures(self, of: int, period: Period, by: Granularity) -> None:
        self.run_on_both(lambda plane: _figures(plane, self.projects[of], period, by))

    @invariant()
    def every_read_agrees(self) -> None:
        async def read(plane: DataPlane) -> Any:
            found: list[Any] = []
            for project in self.projects:
                page = await plane.traces.summaries(
                    project, TraceFilter(), TraceSort.STARTED_AT, SortOrder.ASC, ALL
                )
                found += [page, *[await plane.traces.get(project, one.id) for one in page.items]]
                found += [
                    await plane.sessions.summaries(
                        project, SessionFilter(), SessionSort.RECENT, SortOrder.ASC, ALL
                    ),
                    await plane.analytics.users(project, ALL),
                    await _figures(plane, project, ALL_TIME, Granularity.HOUR),
                ]
            return found

        self.run_on_both(read)


async def _figures(plane: DataPlane, of: ProjectId, period: Period, by: Granularity) -> Any:
    return [
        await plane.analytics.volume(of, period, by),
        await plane.analytics.usage(of, period, by),
        await plane.analytics.models(of, period),
        await plane.analytics.sessions(of, period, by),
        await plane.analytics.groups(
            of, TraceAnalyticsQuery(period=period, granularity=by, by=TraceGroupKey.USER, groups=1)
        ),
    ]


def test_random_histories_of_traces_agree(pool, serving_url):
    assert_histories_agree(Histories, over_postgres, serving_url, examples=70, steps=15)
