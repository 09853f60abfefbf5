"""Random histories of texts are found alike in PostgreSQL and by looking into all of them.

Part of the contracts of TraceSearch, SpanSearch and SearchIndex.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from adapters.postgres.tracing.search.search_postings import SEGMENT_TRACES
from adapters.postgres.tracing.spans.span_search import PostgresSpanSearch, SpanSearchLimits
from domain.ids import ProjectId, SpanId, TraceId
from domain.page import PageRequest
from domain.tracing.query import TraceFilter
from domain.tracing.search.search_match import SearchHit, SpanHit
from domain.tracing.search.search_query import SearchQuery
from domain.tracing.span import SpanChange, SpanKind
from domain.tracing.spans.span_query import SpanFilter
from domain.tracing.text_preview import TracePreview
from domain.tracing.trace import Trace, TraceChange
from tests.support.builders.values import at, span, trace
from tests.support.fixtures.data_plane import (
    DataPlane,
    clean_index,
    index_traces,
    over_memory,
    over_postgres,
    project,
)
from tests.support.fixtures.histories import ComparedHistories, assert_histories_agree

pytestmark = pytest.mark.service

TRACES: Final = [TraceId(uuid.UUID(int=n)) for n in range(1, 5)]
SPANS: Final = [SpanId(uuid.UUID(int=n)) for n in range(1, 4)]
WORDS: Final = ("alpha", "Alphabet", "beta-gamma", "東京", "京都タワー", "Straße", "late", "12.5")
QUERIES: Final = (
    *("alpha", "alp*", "beta", '"beta gamma"', "gamma alpha", "東京", "京", "京東", "strasse"),
    *('"late alpha"', '"12 5"', "alphabet 京都", "nowhere"),
)
texts: Final = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)
payloads: Final = texts.map(lambda text: json.dumps({"text": text}).encode())
spans: Final = st.builds(
    span, id=st.sampled_from(SPANS), name=st.sampled_from(WORDS), input=payloads | st.none(),
    error=texts | st.none(), kind=st.sampled_from([SpanKind.LLM, SpanKind.TOOL]),
    started_at=st.integers(0, 3).map(at),
)  # fmt: skip
traces: Final = st.builds(
    lambda some, **said: trace(*some, **said),
    st.lists(spans, max_size=2, unique_by=lambda one: one.id),
    id=st.sampled_from(TRACES), name=st.sampled_from(WORDS), output=payloads | st.none(),
    started_at=st.integers(0, 2).map(at), user_id=st.sampled_from(["u", "v"]),
)  # fmt: skip
span_conditions: Final = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.just(SpanKind.TOOL), "name": st.sampled_from(WORDS), "user_id": st.just("u"),
        "started_after": st.integers(0, 3).map(at), "started_before": st.integers(1, 4).map(at),
    },
)  # fmt: skip
# Few, so that they end pages early, and the spans of candidates or all of the list are read.
span_limits: Final = st.builds(
    SpanSearchLimits, spans=st.integers(1, 8), texts=st.integers(1, 4),
    text_bytes=st.sampled_from([1, 1_000]), few_traces=st.integers(0, 4),
    spans_at_once=st.integers(1, 4),
)  # fmt: skip
some_traces: Final = st.sampled_from(TRACES)


async def search(
    plane: DataPlane, project_id: ProjectId, text: str, **conditions: Any
) -> list[SearchHit]:
    """All hits, two at a time."""
    hits, window = list[SearchHit](), PageRequest(limit=2)
    query, matching = SearchQuery.parse(text), TraceFilter(**conditions)
    while True:
        page = await plane.tracing.trace_search.find(project_id, query, matching, window)
        assert page.is_complete
        hits += page.hits
        if page.end is None:
            return hits
        window = replace(window, after=page.end)


async def search_spans(
    plane: DataPlane, project_id: ProjectId, text: str, matching: SpanFilter, most: SpanSearchLimits
) -> list[SpanHit]:
    """All hits, three at most at a time; pages may end early in PostgreSQL."""
    search = plane.tracing.span_search
    if isinstance(search, PostgresSpanSearch):
        search = replace(search, limits=most)
    hits, query, window = list[SpanHit](), SearchQuery.parse(text), PageRequest(limit=3)
    while True:
        page = await search.find(project_id, query, matching, window)
        hits += page.hits
        if page.end is None:
            return hits
        assert len(page.hits) == 3 or not page.is_complete
        assert page.end != window.after
        window = replace(window, after=page.end)


class SearchHistories(ComparedHistories[DataPlane]):
    @initialize(sent=st.lists(traces, min_size=1, max_size=4))
    def begin(self, sent: Sequence[Trace]) -> None:
        self.project, self.model = project(), over_memory()
        for one in sent:
            self.put(one)

    def exists(self, one: TraceId) -> bool:
        return bool(self.runner.run(self.previews_of(one)))

    @rule(sent=traces)
    def put(self, sent: Trace) -> None:
        self.run_on_both(lambda plane: plane.traces.put(self.project, sent))

    @rule(one=some_traces, output=payloads, name=st.sampled_from(WORDS))
    def change(self, one: TraceId, output: bytes, name: str) -> None:
        if self.exists(one):
            change = TraceChange(output=output, name=name)
            self.run_on_both(lambda plane: plane.traces.change(self.project, one, change))

    @rule(one=some_traces, data=st.data(), text=payloads)
    def change_span(self, one: TraceId, data: st.DataObject, text: bytes) -> None:
        if not self.exists(one):
            return
        known = self.runner.run(self.model_trace(one))
        if known.spans:
            step = data.draw(st.sampled_from([span.id for span in known.spans]))
            change = SpanChange(input=text)
            self.run_on_both(
                lambda plane: plane.traces.change_span(self.project, one, step, change)
            )

    async def previews_of(self, one: TraceId) -> Mapping[TraceId, TracePreview]:
        return await self.model.traces.previews(self.project, [one])

    async def model_trace(self, one: TraceId) -> Trace:
        return await self.model.traces.get(self.project, one)

    @rule(some=st.lists(some_traces, min_size=1, max_size=2))
    def delete(self, some: Sequence[TraceId]) -> None:
        self.run_on_both(lambda plane: plane.traces.delete(self.project, some))

    @rule(segment_traces=st.sampled_from([1, 2, 3, SEGMENT_TRACES]))
    def index(self, segment_traces: int) -> None:
        self.run_on_both(lambda plane: index_traces(plane, segment_traces))

    @rule()
    def clean(self) -> None:
        self.run_on_both(clean_index)

    @rule(text=st.sampled_from(QUERIES), conditions=span_conditions, most=span_limits)
    def find_spans(self, text: str, conditions: Any, most: SpanSearchLimits) -> None:
        matching = SpanFilter(**conditions)
        self.run_on_both(lambda plane: search_spans(plane, self.project, text, matching, most))

    @invariant()
    def every_query_finds_the_same(self) -> None:
        async def found(plane: DataPlane) -> Any:
            return [await search(plane, self.project, text) for text in QUERIES] + [
                await search(plane, self.project, "alp*", user_id="u"),
                await search(plane, self.project, "alpha", started_after=at(1)),
            ]

        self.run_on_both(found)


@pytest.mark.exhaustive  # test_search.py has each step
def test_random_histories_of_texts_are_found_alike(pool, serving_url):
    assert_histories_agree(SearchHistories, over_postgres, serving_url, examples=40, steps=12)
