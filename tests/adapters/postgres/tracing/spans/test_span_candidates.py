"""Searches of spans read as many candidates as a page needs, and their pages are whole."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.postgres.tracing.spans.span_search import PostgresSpanSearch, SpanSearchLimits
from domain.ids import ProjectId
from domain.page import PageRequest
from domain.tracing.search.search_query import SearchQuery
from domain.tracing.span import Span
from domain.tracing.spans.span_query import SpanFilter
from domain.tracing.trace import Trace
from tests.support.builders.values import NOON, span, trace
from tests.support.fixtures.data_plane import fill, index_traces, over_postgres, project
from tests.support.hypothesis_scale import crossed

pytestmark = pytest.mark.service

HOUR = timedelta(hours=1)
LIMITS = [
    SpanSearchLimits(),
    SpanSearchLimits(spans_at_once=2),
    SpanSearchLimits(few_traces=7, spans_at_once=5),
    SpanSearchLimits(few_traces=1),
    SpanSearchLimits(spans=5, texts=3),
    SpanSearchLimits(few_traces=0),
]
FILTERS: list[dict[str, Any]] = [
    {},
    {"name": "other"},
    {"environment": "staging"},
    {"started_after": NOON + 2 * HOUR, "started_before": NOON + 9 * HOUR},
    {"started_after": NOON + 30 * HOUR},
]


def many(seed: int) -> list[Trace]:
    """Traces with a word, of which some have spans hours before or after their start."""
    chance = random.Random(seed)
    made = []
    for _ in range(40):
        at = NOON + chance.randrange(12) * HOUR + chance.choice((0, 1)) * timedelta(minutes=59)
        spans = [
            span(
                name=chance.choice(("step", "other")),
                input=chance.choice((b'"word"', b'"word"', b'"none"')),
                started_at=at + chance.choice((0, 0, 0, 0, 1, -2, 5)) * HOUR,
            )
            for _ in range(chance.randrange(1, 4))
        ]
        environment = chance.choice((None, "staging"))
        made.append(trace(*spans, started_at=at, environment=environment, input=b'"word"'))
    return made


async def find_all(
    search: PostgresSpanSearch, project_id: ProjectId, conditions: dict[str, Any]
) -> list[object]:
    """The ids of all hits, three at a time; pages may end early."""
    found, window, query = list[object](), PageRequest(limit=3), SearchQuery.parse("word")
    while True:
        page = await search.find(project_id, query, SpanFilter(**conditions), window)
        found += [hit.span.id for hit in page.hits]
        if page.end is None:
            return found
        assert len(page.hits) == 3 or not page.is_complete
        assert page.end != window.after
        window = replace(window, after=page.end)


def in_order(sent: Sequence[Trace], conditions: dict[str, Any]) -> list[object]:
    matching = SpanFilter(**conditions)

    def place(one: tuple[Trace, Span]) -> tuple[object, ...]:
        return one[1].started_at, one[0].id, one[1].id

    pairs = [(one, step) for one in sent for step in one.spans if step.input == b'"word"']
    pairs = [(one, step) for one, step in pairs if matching.matches(one, step)]
    return [step.id for _, step in sorted(pairs, key=place, reverse=True)]


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.exhaustive)])
async def test_pages_follow_each_other_wherever_spans_started(serving_pool, seed):
    chance, sent, ours = random.Random(seed), many(seed), project()
    async with over_postgres(serving_pool) as plane:
        for some in (sent[:15], sent[15:32], sent[32:]):
            await fill(plane, ours, *some)
            await index_traces(plane, chance.choice((1, 3, 4)))
        search = plane.tracing.span_search
        assert isinstance(search, PostgresSpanSearch)
        for limits, conditions in crossed(LIMITS, FILTERS):
            found = await find_all(replace(search, limits=limits), ours, conditions)
            assert found == in_order(sent, conditions), (limits, conditions)


async def test_rare_word_of_many_traces_is_found_in_the_newest(serving_pool):
    """One of ten traces has it. A page compares the spans of some of these, and no others."""
    ours, query = project(), SearchQuery.parse("rare")
    async with over_postgres(serving_pool) as plane:
        sent = [
            trace(
                span(input=b'"rare"' if n % 10 == 0 else b'"other"', started_at=at),
                *(span(started_at=at) for _ in range(4)),
                started_at=at,
            )
            for n in range(300)
            for at in [NOON - n * HOUR / 4]
        ]
        await fill(plane, ours, *sent)
        await index_traces(plane, 10)
    # Fewer traces than have the word, and fewer spans than there are down to the last hit.
    limits = SpanSearchLimits(few_traces=20, spans=60)
    search = PostgresSpanSearch(serving_pool, limits=limits)
    page = await search.find(ours, query, SpanFilter(), PageRequest(limit=3))
    assert [hit.span.trace_id for hit in page.hits] == [one.id for one in sent[:30:10]]
    assert page.is_complete
