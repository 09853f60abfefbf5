"""Contract of SpanSearch: which spans words find, in the order and with the filters of the list.

`test_search_histories.py` compares random ones.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from adapters.postgres.tracing.search.search_postings import SEGMENT_TRACES
from adapters.postgres.tracing.spans.span_search import PostgresSpanSearch, SpanSearchLimits
from domain.ids import ProjectId
from domain.page import PageRequest
from domain.tracing.search.search_match import SearchPage, SpanHit
from domain.tracing.search.search_query import SearchQuery
from domain.tracing.search.search_texts import SearchField
from domain.tracing.span import SpanChange, SpanKind, SpanStatus
from domain.tracing.spans.span_query import SpanFilter
from domain.tracing.trace import TraceStatus
from tests.support.builders.values import at, span, trace
from tests.support.fixtures.data_plane import (
    ALL,
    DataPlane,
    clean_index,
    fill,
    index_traces,
    project,
)

pytestmark = pytest.mark.service
INDEXED = pytest.mark.parametrize("indexed", ["queued", "indexed", "packed"])
# With few traces, the spans of all candidates are read; with none, the list is walked.
READING: Final = {"candidates": SpanSearchLimits(), "list": SpanSearchLimits(few_traces=0)}


@pytest.fixture(params=READING)
def searching(request, plane) -> DataPlane:
    return limited(plane, READING[request.param])


def limited(plane: DataPlane, limits: SpanSearchLimits) -> DataPlane:
    search = plane.tracing.span_search
    if isinstance(search, PostgresSpanSearch):
        search = replace(search, limits=limits)
    return replace(plane, tracing=replace(plane.tracing, span_search=search))


async def index_as(plane: DataPlane, indexed: str) -> None:
    if indexed != "queued":
        await index_traces(plane, 1 if indexed == "packed" else SEGMENT_TRACES)


async def search(
    plane: DataPlane, project_id: ProjectId, text: str, window: PageRequest = ALL, **given: Any
) -> SearchPage[SpanHit]:
    query, matching = SearchQuery.parse(text), SpanFilter(**given)
    return await plane.tracing.span_search.find(project_id, query, matching, window)


async def found(plane: DataPlane, project_id: ProjectId, text: str, **given: Any) -> list[str]:
    """The names of all hits, two at a time."""
    names, window = list[str](), PageRequest(limit=2)
    while True:
        page = await search(plane, project_id, text, window, **given)
        assert page.is_complete
        names += [hit.span.name for hit in page.hits]
        if page.end is None:
            return names
        assert len(page.hits) == 2
        window = replace(window, after=page.end)


@INDEXED
async def test_words_are_found_in_texts_of_the_span_itself(searching, indexed):
    plane, ours = searching, project()
    one = span(name="get_weather", input=b'{"city": "Z\\u00fcrich"}', output=b"[-12.5]",
               error="Connection refused")  # fmt: skip
    sent = trace(one, span(name="other"), name="weather", input=b'"refused"', output=b'"later"')
    await fill(plane, ours, sent)
    await index_as(plane, indexed)
    for text, field in (
        ("weather", SearchField.NAME),
        ("ZÜRICH", SearchField.INPUT),
        ("12.5", SearchField.OUTPUT),
        ('"connection refused"', SearchField.ERROR),
    ):
        [hit] = (await search(plane, ours, text)).hits
        assert (hit.span.trace_id, hit.span.id, hit.span.trace.name) == (
            sent.id, one.id, "weather",
        )  # fmt: skip
        [match] = hit.matches
        assert (match.span, match.field) == (one.id, field)
        assert any(part.is_match for part in match.snippet)
    assert await found(plane, ours, "later") == []
    assert await found(plane, ours, "city") == []


@INDEXED
async def test_all_terms_have_to_occur_in_one_span(searching, indexed):
    plane, ours = searching, project()
    await fill(
        plane, ours,
        trace(span(name="a", input=b'"alpha"'), span(name="b", output=b'"beta"')),
        trace(span(name="both", input=b'"alpha"', output=b'"Beta"')),
    )  # fmt: skip
    await index_as(plane, indexed)
    assert await found(plane, ours, "beta alpha") == ["both"]
    assert sorted(await found(plane, ours, "alpha")) == ["a", "both"]


@INDEXED
async def test_newest_spans_come_first_whenever_their_traces_started(searching, indexed):
    plane, ours = searching, project()
    sent = [
        trace(
            *(span(name=f"s{start}", input=b'"word"', started_at=at(start)) for start in starts),
            started_at=at(n),
        )
        for n, starts in enumerate(([9, 2], [1, 7, 3], [-4, 0], [8]))
    ]
    await fill(plane, ours, *sent)
    await index_as(plane, indexed)
    expected = ["s9", "s8", "s7", "s3", "s2", "s1", "s0", "s-4"]
    assert await found(plane, ours, "word") == expected
    assert await found(plane, ours, "word", started_after=at(1), started_before=at(8)) == [
        *("s7", "s3", "s2", "s1")
    ]


@INDEXED
async def test_spans_of_the_first_and_the_last_instant_are_found(searching, indexed):
    """Clients send one of them for a time that isn't set."""
    plane, ours = searching, project()
    first, last = (one.replace(tzinfo=UTC) for one in (datetime.min, datetime.max))
    starts = {"first": (first, first), "last": (last, last), "early": (first, at(0)),
              "late": (last, at(0))}  # fmt: skip
    sent = [
        trace(span(name=name, input=b'"word"', started_at=of_span), started_at=of_trace)
        for name, (of_span, of_trace) in starts.items()
    ]
    await fill(plane, ours, *sent)
    await index_as(plane, indexed)
    names = await found(plane, ours, "word")
    assert (set(names[:2]), set(names[2:])) == ({"last", "late"}, {"first", "early"})


NARROWED = [
    ({}, ["one", "two", "three"]),
    ({"kind": SpanKind.TOOL}, ["two"]),
    ({"name": "one"}, ["one"]),
    ({"status": SpanStatus.ERROR}, ["three"]),
    ({"has_error": False}, ["one", "two"]),
    ({"model": "gpt-4o"}, ["one"]),
    ({"min_latency_ms": 1_500}, ["two"]),
    ({"min_tokens": 5}, ["one"]),
    ({"user_id": "u"}, ["one", "two"]),
    ({"user_id": "u", "kind": SpanKind.LLM}, ["one"]),
    ({"tags": ("b", "c")}, ["three"]),
    ({"trace_status": TraceStatus.ERROR}, ["three"]),
    ({"user_id": "nobody"}, []),
    ({"model": "nothing"}, []),
]


@INDEXED
async def test_all_filters_of_the_list_narrow_what_is_found(searching, indexed):
    plane, ours = searching, project()
    tokens = b'{"prompt_tokens":3,"completion_tokens":4}'
    one = span(name="one", kind=SpanKind.LLM, model="gpt-4o", token_usage=tokens, input=b'"word"',
               started_at=at(3), ended_at=at(4))  # fmt: skip
    two = span(name="two", kind=SpanKind.TOOL, input=b'"word"', started_at=at(2), ended_at=at(4))
    three = span(name="three", status=SpanStatus.ERROR, error="word", started_at=at(1))
    await fill(
        plane, ours, trace(one, two, span(name="four"), user_id="u", tags=("a",)),
        trace(three, user_id="v", tags=("b",), status=TraceStatus.ERROR),
    )  # fmt: skip
    await index_as(plane, indexed)
    for conditions, names in NARROWED:
        assert await found(plane, ours, "word", **conditions) == names, conditions


@pytest.mark.parametrize("segment_traces", [1, SEGMENT_TRACES])
async def test_changed_span_is_found_by_its_present_text(searching, segment_traces):
    plane, ours = searching, project()
    step, other = span(name="step", input=b'"older"'), span(name="other", input=b'"older"')
    one = trace(step, other)
    await fill(plane, ours, one)
    await index_traces(plane, segment_traces)
    await plane.traces.change_span(ours, one.id, step.id, SpanChange(input=b'"newer"'))
    await plane.traces.add_spans(ours, one.id, [span(name="late", error="newer")])
    for _ in range(2):
        assert sorted(await found(plane, ours, "newer")) == ["late", "step"]
        assert await found(plane, ours, "older") == ["other"]
        await index_traces(plane, segment_traces)
        await clean_index(plane)
    await plane.traces.delete(ours, [one.id])
    assert await found(plane, ours, "newer") == []


@INDEXED
async def test_other_project_finds_nothing(searching, indexed):
    plane, ours, theirs = searching, project(), project()
    await fill(plane, ours, trace(span(name="word")))
    await index_as(plane, indexed)
    assert await found(plane, theirs, "word") == []
    assert await found(plane, ours, "word") == ["word"]
    assert (await search(plane, theirs, "word")).unindexed_since is None


@INDEXED
@pytest.mark.parametrize("few_traces", [0, SpanSearchLimits().few_traces])
async def test_spans_of_a_trace_that_is_too_large_are_left_out(plane, indexed, few_traces):
    limits = SpanSearchLimits(few_traces=few_traces, bytes_of_candidate=2_000, spans_at_once=1)
    ours, names = project(), ["s3", "s2", "s1", "s0"]
    sent = [
        trace(span(name=f"s{n}", started_at=at(n), input=b'"word%s"' % (b" word" * 999 * (n == 2))))
        for n in range(4)
    ]
    await fill(plane, ours, *sent)
    await index_as(plane, indexed)
    plane = limited(plane, limits)
    is_limited = isinstance(plane.tracing.span_search, PostgresSpanSearch)
    if is_limited:
        names.remove("s2")
    page = await search(plane, ours, "word")
    assert [hit.span.name for hit in page.hits] == names
    assert (page.end, page.is_complete) == (None, not is_limited)
