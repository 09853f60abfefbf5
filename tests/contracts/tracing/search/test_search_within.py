"""Contract of TraceSearch.find_within: what words find within one trace."""

import random
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from adapters.postgres.tracing.search import search_within
from adapters.postgres.tracing.search.trace_search import PostgresTraceSearch
from application.tracing.ports import TraceSearch
from domain.errors import NotFound
from domain.ids import ProjectId, SpanId, TraceId
from domain.page import PageRequest
from domain.tracing.search.search_query import SearchQuery
from domain.tracing.search.search_texts import SearchField
from domain.tracing.search.search_within import FoundWithin, find_within
from domain.tracing.span import SpanChange
from domain.tracing.trace import Trace
from tests.support.builders.values import at, span, trace
from tests.support.fixtures.data_plane import DataPlane, fill, project

pytestmark = pytest.mark.service


async def found(
    search: TraceSearch, project_id: ProjectId, trace_id: TraceId, text: str, limit: int = 2
) -> list[FoundWithin]:
    """Everything that a query finds, `limit` at a time; pages may end early."""
    every, window = list[FoundWithin](), PageRequest(limit=limit)
    while True:
        page = await search.find_within(project_id, trace_id, SearchQuery.parse(text), window)
        every += page.found
        assert len(page.found) <= limit
        if page.end is None:
            assert page.is_complete
            return every
        assert len(page.found) == limit or not page.is_complete
        window = replace(window, after=page.end)


async def test_each_field_is_looked_into(plane: DataPlane) -> None:
    ours = project()
    step = span(
        name="get_weather", input=b'{"city": ["a", "my Z\\u00fcrich"]}', output=b"[-12.5]",
        error="Connection refused", metadata=b'{"customer": "acme"}',
    )  # fmt: skip
    sent = trace(
        step, name="support", input=b'"my parcel"', output=b'{"a": 1, "b": "is late"}',
        metadata=b'{"tenant": "acme"}',
    )  # fmt: skip
    await fill(plane, ours, sent)
    search = plane.tracing.trace_search
    for text, owner, field, text_index, offset in (
        ("support", None, SearchField.NAME, 0, 0),
        ('"my parcel"', None, SearchField.INPUT, 0, 0),
        ("LATE", None, SearchField.OUTPUT, 1, 3),
        ("weather", step.id, SearchField.NAME, 0, 4),
        ("ZÜRICH", step.id, SearchField.INPUT, 1, 3),
        ("12.5", step.id, SearchField.OUTPUT, 0, 1),
        ("refus*", step.id, SearchField.ERROR, 0, 11),
    ):
        [one] = await found(search, ours, sent.id, text)
        [place] = one.places
        assert (one.span, place.field) == (owner, field)
        assert (place.text_index, place.offset) == (text_index, offset)
        assert any(part.is_match for part in place.snippet)
    assert [
        (one.span, [place.field for place in one.places])
        for one in await found(search, ours, sent.id, "acme")
    ] == [(None, [SearchField.METADATA]), (step.id, [SearchField.METADATA])]
    for nowhere in ("city", "customer", "parcel weather", '"parcel my"', "zuri*"):
        assert await found(search, ours, sent.id, nowhere) == []


async def test_spans_with_token_usage_alone_are_looked_into(plane: DataPlane) -> None:
    """Their only stored values aren't searched, and so aren't read."""
    ours = project()
    step = span(name="ask", token_usage=b'{"prompt_tokens": 1}', model_parameters=b'{"seed": 7}')
    sent = trace(step, name="support")
    await fill(plane, ours, sent)
    search = plane.tracing.trace_search
    assert [one.span for one in await found(search, ours, sent.id, "ask")] == [step.id]
    assert await found(search, ours, sent.id, "seed") == []


async def test_all_terms_are_in_one_span_and_each_field_is_shown_once(plane: DataPlane) -> None:
    ours = project()
    both = span(started_at=at(2), input=b'["refund refund", "refund late"]', output=b'"late"')
    sent = trace(
        span(started_at=at(1), input=b'"refund"'), both, span(started_at=at(3), output=b'"late"'),
        name="refund", input=b'"late"',
    )  # fmt: skip
    await fill(plane, ours, sent)
    of_trace, of_span = await found(plane.tracing.trace_search, ours, sent.id, "refund late")
    assert of_trace.span is None
    assert [one.field for one in of_trace.places] == [SearchField.NAME, SearchField.INPUT]
    assert of_span.span == both.id
    assert [(one.field, one.text_index) for one in of_span.places] == [
        (SearchField.INPUT, 0),
        (SearchField.OUTPUT, 0),
    ]


async def test_present_texts_count(plane: DataPlane) -> None:
    ours = project()
    step = span(input=b'"before"')
    sent = trace(step)
    await fill(plane, ours, sent)
    search = plane.tracing.trace_search
    assert len(await found(search, ours, sent.id, "before")) == 1
    await plane.traces.change_span(ours, sent.id, step.id, SpanChange(input=b'"after"'))
    assert await found(search, ours, sent.id, "before") == []
    assert len(await found(search, ours, sent.id, "after")) == 1


async def test_unknown_traces_and_those_of_others_are_not_found(plane: DataPlane) -> None:
    ours, theirs = project(), project()
    sent = trace(name="support")
    await fill(plane, ours, sent)
    for project_id, id_ in ((theirs, sent.id), (ours, TraceId(uuid.uuid4()))):
        with pytest.raises(NotFound):
            await found(plane.tracing.trace_search, project_id, id_, "support")


def random_trace(random_: random.Random, spans: int) -> Trace:
    def payload() -> bytes:
        words = random_.choices(["alpha", "beta", "gamma", "delta"], k=random_.randrange(4))
        return b'"' + " ".join([*words, "x" * random_.randrange(300)]).encode() + b'"'

    return trace(
        *(
            span(started_at=at(random_.randrange(5)), input=payload(), output=payload())
            for _ in range(spans)
        ),
        input=payload(),
    )


@pytest.mark.parametrize("limit", [1, 3, 200])
async def test_pages_are_those_of_the_whole_trace_also_if_they_end_early(
    plane: DataPlane, limit: int
) -> None:
    random_, ours = random.Random(limit), project()
    sent = random_trace(random_, 60)
    await fill(plane, ours, sent)
    whole = await plane.traces.get(ours, sent.id)
    stored = plane.tracing.trace_search
    searches = [stored]
    if isinstance(stored, PostgresTraceSearch):
        limits = replace(stored.limits, bytes_of_trace=1_000)
        searches.append(replace(stored, limits=limits))
    for text in ("alpha", "alpha beta", '"beta gamma"', "nowhere"):
        expected = list(find_within(whole, SearchQuery.parse(text)))
        for search in searches:
            assert await found(search, ours, sent.id, text, limit) == expected


async def test_more_spans_than_are_read_at_once_are_found(plane: DataPlane) -> None:
    ours = project()
    spans = [span(started_at=at(number // 7)) for number in range(search_within.SPANS_AT_ONCE)]
    sent = trace(*spans, span(started_at=at(999), name="needle"))
    await fill(plane, ours, sent)
    [one] = await found(plane.tracing.trace_search, ours, sent.id, "needle")
    assert one.span == sent.spans[-1].id
    assert len(await found(plane.tracing.trace_search, ours, sent.id, "step", 200)) == len(spans)


async def test_spans_without_a_time_are_found(plane: DataPlane) -> None:
    """Clients send the first instant for a time that isn't set."""
    ours, never = project(), datetime.min.replace(tzinfo=UTC)
    spans = [
        span(id=SpanId(UUID(int=number)), name="needle", started_at=never)
        for number in (1, 2**128 - 1)
    ]
    sent = trace(*spans, name="needle", started_at=never)
    await fill(plane, ours, sent)
    every = await found(plane.tracing.trace_search, ours, sent.id, "needle", limit=1)
    assert [one.span for one in every] == [None, *(one.id for one in spans)]
