"""Contract of TraceSearch and Contract of SearchIndex: what is found, indexed or not."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from adapters.postgres.tracing.search.search_postings import SEGMENT_TRACES
from adapters.postgres.tracing.search.trace_search import PostgresTraceSearch, SearchLimits
from domain.ids import ProjectId
from domain.page import PageRequest
from domain.tracing.query import TraceFilter
from domain.tracing.search.search_match import SearchPage
from domain.tracing.search.search_query import SearchQuery
from domain.tracing.search.search_terms import TERMS_MAX
from domain.tracing.search.search_texts import SearchField
from domain.tracing.span import SpanChange
from domain.tracing.trace import Trace, TraceChange
from tests.support.builders.values import at, span, trace
from tests.support.fixtures.data_plane import DataPlane, clean_index, fill, index_traces, project

pytestmark = pytest.mark.service
INDEXED = pytest.mark.parametrize("indexed", ["queued", "indexed", "packed"])


async def index_as(plane: DataPlane, indexed: str) -> None:
    if indexed != "queued":
        await index_traces(plane, 1 if indexed == "packed" else SEGMENT_TRACES)


async def search(
    plane: DataPlane,
    project_id: ProjectId,
    text: str,
    limit: int = 50,
    after: object = None,
    **given: object,
) -> SearchPage:
    window = PageRequest(limit=limit, after=after)
    matching = TraceFilter(**given)
    return await plane.tracing.trace_search.find(
        project_id, SearchQuery.parse(text), matching, window
    )


async def found(plane: DataPlane, project_id: ProjectId, text: str, **given: object) -> list[str]:
    page = await search(plane, project_id, text, **given)
    assert page.is_complete
    return [hit.trace.name for hit in page.hits]


def given_fields(name: str, text: str, n: int = 0, **fields: object) -> Trace:
    return trace(name=name, started_at=at(n), input=f'{{"text": "{text}"}}'.encode(), **fields)


@INDEXED
async def test_words_are_found_wherever_they_are(plane, indexed):
    ours = project()
    one = trace(
        span(name="get_weather", input=b'{"arguments": "{\\"city\\": \\"Z\\u00fcrich\\"}"}',
             output=b'{"degrees": -12.5}', error="Connection refused"),
        name="Support chat", input=b'[{"role": "user", "content": "Where is my Parcel?"}]',
        output=b'"It is late"',
    )  # fmt: skip
    await fill(plane, ours, one, trace(name="another"))
    await index_as(plane, indexed)
    step = one.spans[0].id
    for text, span_id, field in (
        ("support", None, SearchField.NAME),
        ('"my parcel"', None, SearchField.INPUT),
        ("LATE", None, SearchField.OUTPUT),
        ("weather", step, SearchField.NAME),
        ("get_weather", step, SearchField.NAME),
        ("ZÜRICH", step, SearchField.INPUT),
        ("12.5", step, SearchField.OUTPUT),
        ("refus*", step, SearchField.ERROR),
    ):
        [hit] = (await search(plane, ours, text)).hits
        assert hit.trace.id == one.id
        assert [(match.span, match.field) for match in hit.matches] == [(span_id, field)]
    for text in ("role", "city", '"parcel my"', "refuse", "parcels", "absent"):
        assert (await search(plane, ours, text)).hits == []


@INDEXED
@pytest.mark.parametrize(
    ("text", "queries", "others"),
    [
        (
            "東京タワーは高い",
            ["東京", "タワー", "高い", "東", "京タ", '"東京 タワー"'],
            ["京東", "東タ"],
        ),
        ("서울에서 만나요", ["서울", "에서", "만나"], ["울서"]),
        ("สวัสดีครับ", ["สวัสดี", "ครับ"], ["ดีส"]),
        ("मौसम अच्छा है", ["मौसम", "अच्छा"], ["मौ"]),
        ("Die STRASSE ist naß", ["straße", "NASS", "stra*"], ["stra"]),
        ("Ｆｕｌｌ ﬁne", ["full", "fine"], ["ful"]),
        ("Погода в Москве", ["погода", "моск*"], ["москва"]),
    ],
)
async def test_every_script_is_found(plane, indexed, text, queries, others):
    ours = project()
    await fill(plane, ours, given_fields("it", text))
    await index_as(plane, indexed)
    for query in queries:
        assert await found(plane, ours, query) == ["it"], query
    for query in others:
        assert await found(plane, ours, query) == [], query


@INDEXED
async def test_all_terms_have_to_occur_somewhere_in_the_trace(plane, indexed):
    ours = project()
    one = trace(span(input=b'"alpha"'), span(output=b'"beta gamma"'), name="both")
    await fill(plane, ours, one, given_fields("first", "alpha"), given_fields("second", "beta"))
    await index_as(plane, indexed)
    [hit] = (await search(plane, ours, "beta ALPHA gam*")).hits
    assert hit.trace.id == one.id
    assert {match.span for match in hit.matches} == {one.spans[0].id, one.spans[1].id}
    assert len(hit.matches) == 2


@INDEXED
async def test_pages_follow_each_other_newest_first(plane, indexed):
    ours = project()
    await fill(plane, ours, *(given_fields(f"n{n}", f"word w{n % 3}", n // 2) for n in range(11)))
    await index_as(plane, indexed)
    whole = (await search(plane, ours, "word")).hits
    expected = sorted(whole, key=lambda hit: (hit.trace.started_at, hit.trace.id), reverse=True)
    assert [hit.trace.id for hit in whole] == [hit.trace.id for hit in expected]
    assert len(whole) == 11
    for given in ({}, {"started_before": at(9)}):
        read, after = [], None
        for _ in range(11):
            page = await search(plane, ours, "word", limit=4, after=after, **given)
            read += page.hits
            if (after := page.end) is None:
                break
        assert [hit.trace.id for hit in read] == [hit.trace.id for hit in whole]


@pytest.mark.parametrize("indexed", ["indexed", "packed"])
@pytest.mark.parametrize("limits", [SearchLimits(), SearchLimits(looked_into=0, partial_at_once=1)])
async def test_traces_with_too_many_terms_are_found_among_others(plane, indexed, limits):
    ours, texts = project(), " ".join(f"{n:x}" for n in range(TERMS_MAX + 1))
    sent = [
        given_fields(
            f"n{n}", f"word {texts if n % 4 == 1 else n}", n // 3, user_id="u" if n < 6 else "v"
        )
        for n in range(11)
    ]
    await fill(plane, ours, *sent)
    await index_as(plane, indexed)
    if isinstance(plane.tracing.trace_search, PostgresTraceSearch):
        limited = replace(plane.tracing.trace_search, limits=limits)
        plane = replace(plane, tracing=replace(plane.tracing, trace_search=limited))
    newest_first = sorted(sent, key=lambda one: (one.started_at, one.id), reverse=True)
    for user in ("u", "v", None):
        expected = [one.name for one in newest_first if user in {None, one.user_id}]
        assert await found(plane, ours, "word", user_id=user) == expected
        read, after = [], None
        for _ in range(len(expected)):
            page = await search(plane, ours, "word", limit=2, after=after, user_id=user)
            read += [hit.trace.name for hit in page.hits]
            if (after := page.end) is None:
                break
        assert read == expected


@INDEXED
@pytest.mark.parametrize("filtered", [False, True])
async def test_trace_that_is_too_large_is_reported_and_hides_no_other(plane, indexed, filtered):
    """Reading it would take longer than the request may: then all others weren't found either."""
    ours, long = project(), "word " * 1_000
    sent = [
        given_fields(f"n{n}", long if n == 2 else f"word {n}", n, user_id="u") for n in range(5)
    ]
    await fill(plane, ours, *sent)
    await index_as(plane, indexed)
    names = ["n4", "n3", "n2", "n1", "n0"]
    is_limited = isinstance(plane.tracing.trace_search, PostgresTraceSearch)
    if is_limited:
        limits = SearchLimits(bytes_of_candidate=2_000)
        limited = replace(plane.tracing.trace_search, limits=limits)
        plane = replace(plane, tracing=replace(plane.tracing, trace_search=limited))
        names.remove("n2")
    given = {"user_id": "u"} if filtered else {}
    whole = await search(plane, ours, "word", **given)
    assert [hit.trace.name for hit in whole.hits] == names
    assert (whole.end, whole.is_complete) == (None, not is_limited)
    read, complete, after = [], [], None
    for _ in names:
        page = await search(plane, ours, "word", limit=1, after=after, **given)
        read += [hit.trace.name for hit in page.hits]
        complete.append(page.is_complete)
        if (after := page.end) is None:
            break
    assert read == names
    assert all(complete) is not is_limited


@INDEXED
async def test_other_filters_narrow_what_is_found(plane, indexed):
    ours = project()
    one = given_fields("one", "word", 1, user_id="u", tags=("a",))
    await fill(
        plane,
        ours,
        one,
        given_fields("two", "word", 2, user_id="v"),
        given_fields("three", "other", 3),
    )
    await index_as(plane, indexed)
    assert await found(plane, ours, "word", user_id="u") == ["one"]
    assert await found(plane, ours, "word", tags=("a", "b")) == ["one"]
    assert await found(plane, ours, "word", name="tw") == ["two"]
    assert await found(plane, ours, "word", started_after=at(2)) == ["two"]
    assert await found(plane, ours, "word", started_before=at(2)) == ["one"]
    assert await found(plane, ours, "word", user_id="w") == []


@pytest.mark.parametrize("segment_traces", [1, SEGMENT_TRACES])
async def test_changed_trace_is_found_by_its_present_text(plane, segment_traces):
    ours = project()
    step = span(input=b'"older"')
    one = given_fields("one", "before", spans=(step,))
    await fill(plane, ours, one)
    await index_traces(plane, segment_traces)
    await plane.traces.change(ours, one.id, TraceChange(name="renamed", input=b'"after"'))
    await plane.traces.change_span(ours, one.id, step.id, SpanChange(input=b'"newer"'))
    await plane.traces.add_spans(ours, one.id, [span(error="late")])
    for _ in range(2):
        for text in ("after", "newer", "late", "renamed"):
            assert await found(plane, ours, text) == ["renamed"], text
        for text in ("before", "older", "one"):
            assert await found(plane, ours, text) == [], text
        await index_traces(plane, segment_traces)
    await plane.traces.put(ours, replace(one, started_at=at(-5)))
    for _ in range(2):
        assert await found(plane, ours, "late") == ["one"]
        await index_traces(plane, segment_traces)
    await plane.traces.delete(ours, [one.id])
    assert await found(plane, ours, "late") == []


async def test_other_project_finds_nothing(plane):
    ours, theirs = project(), project()
    await fill(plane, ours, given_fields("one", "word"))
    assert await found(plane, theirs, "word") == []
    await index_traces(plane, 1)
    assert await found(plane, theirs, "word") == []
    assert await found(plane, ours, "word") == ["one"]


async def test_nothing_is_left_to_index_and_to_clean(plane):
    ours = project()
    one = given_fields("one", "word")
    await fill(plane, ours, one)
    await index_traces(plane, 1)
    await plane.traces.change(ours, one.id, TraceChange(name="renamed"))
    await index_traces(plane, 1)
    await clean_index(plane)
    assert (await search(plane, ours, "word")).unindexed_since is None
    index = plane.tracing.search_index
    assert await index.add_traces() == 0
    assert await index.remove_garbage(datetime.max.replace(tzinfo=UTC)) == 0
    assert await found(plane, ours, "word") == ["renamed"]
