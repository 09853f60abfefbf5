"""`GET /traces?query=` and `GET /spans?query=`: what they answer, and what they refuse."""

import uuid
from datetime import datetime
from urllib.parse import quote

import pytest

from domain.page import PageRequest
from domain.tracing.search.search_match import SearchPage
from domain.tracing.search.search_query import QUERY_CHARS_MAX, QUERY_WORDS_MAX
from entrypoints.http.controllers.traces.search import counted_page
from tests.http.conftest import Site, a_span, a_trace, field_errors


async def store(site: Site, head: dict[str, str], **said: object) -> str:
    """The id of the trace."""
    answer = await site.http.post("/traces", headers=head, json=a_trace(**said))
    assert answer.status_code == 202
    return answer.json()["trace_id"]


async def search(
    site: Site, head: dict[str, str], query: str, more: str = "", path: str = "/traces"
) -> dict[str, object]:
    answer = await site.http.get(f"{path}?query={quote(query)}{more}", headers=head)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_hits_say_where_they_were_found(site, head):
    step = a_span(
        span_id=str(uuid.uuid4()),
        name="lookup",
        input={"arguments": '{"city": "Zürich <b>now</b>"}'},
    )
    one = await store(site, head, name="weather", spans=[step], input="Is it cold in Zürich?")
    await store(site, head, name="other", input="Is it cold in Paris?")
    page = await search(site, head, "zürich lookup")
    [hit] = page["items"]
    assert hit["trace_id"] == one
    assert hit["matches"] == [
        {
            "span_id": None, "field": "input",
            "snippet": [
                {"text": "Is it cold in ", "is_match": False},
                {"text": "Zürich", "is_match": True},
                {"text": "?", "is_match": False},
            ],
        },
        {
            "span_id": step["span_id"], "field": "name",
            "snippet": [{"text": "lookup", "is_match": True}],
        },
    ]  # fmt: skip
    assert (page["total"], page["next_cursor"]) == (1, None)
    state = page["search"]
    assert state["is_complete"]
    assert "total_is_at_least" not in page
    assert datetime.fromisoformat(state["indexed_until"]).tzinfo is not None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", id="Persian"),
        pytest.param("\u0915\u094d\u200d\u0937", id="Hindi"),
        pytest.param("soft\xadhyphen", id="soft hyphen"),
        pytest.param("two\nlines", id="lines"),
    ],
)
async def test_text_is_found_with_the_invisible_characters_that_it_has(site, head, text):
    """Scripts need joiners, and a query may be copied from a page."""
    step = a_span(span_id=str(uuid.uuid4()), output=f"({text})")
    one = await store(site, head, spans=[step])
    for path in ("/traces", "/spans", f"/traces/{one}/search"):
        for query in (text, f'"{text}"'):
            [hit] = (await search(site, head, query, path=path))["items"]
            assert hit["matches"]


async def test_list_without_query_is_as_it_was(site, head):
    await store(site, head)
    answer = await site.http.get("/traces", headers=head)
    page = answer.json()
    assert page.keys() == {"items", "total", "limit", "offset", "next_cursor"}
    assert "matches" not in page["items"][0]


async def test_pages_are_followed_by_cursors_with_filters_and_includes(site, head):
    for n in range(5):
        await store(
            site, head, name=f"n{n}", input="same words", user_id="u" if n else "v",
            started_at=f"2026-03-01T09:00:0{n}Z",
        )  # fmt: skip
    names, more = [], "&user_id=u&include=preview,models&limit=3"
    page = await search(site, head, '"same words"', more)
    assert (page["total"], page["total_is_at_least"]) == (4, True)
    assert page["items"][0]["input_preview"] is not None
    names += [one["name"] for one in page["items"]]
    cursor = f"&cursor={page['next_cursor']}"
    page = await search(site, head, '"same words"', more + cursor)
    names += [one["name"] for one in page["items"]]
    assert names == ["n4", "n3", "n2", "n1"]
    assert (page["total"], page["total_is_at_least"]) == (1, True)
    assert page["next_cursor"] is None
    # An equal query in other words has the same cursors, and another one hasn't.
    await search(site, head, '"SAME  words!"', more + cursor)
    answer = await site.http.get(f"/traces?query=same{more}{cursor}", headers=head)
    assert field_errors(answer).keys() == {"query.cursor"}


def test_total_of_a_page_that_lacks_large_traces_is_a_lower_bound():
    found = [counted_page(SearchPage([], None, whole), PageRequest()) for whole in (True, False)]
    assert [(one.total, one.total_is_at_least) for one in found] == [(0, False), (0, True)]


async def test_spans_say_where_they_were_found(site, head):
    step = a_span(
        span_id=str(uuid.uuid4()), name="lookup", input={"city": "Zürich <b>now</b>"},
        started_at="2026-03-01T09:00:01Z",
    )  # fmt: skip
    other = a_span(name="lookup", input="Paris", started_at="2026-03-01T09:00:02Z")
    one = await store(site, head, spans=[step, other], input="Zürich lookup")
    page = await search(site, head, "zürich lookup", path="/spans")
    [hit] = page["items"]
    assert (hit["span_id"], hit["trace_id"]) == (step["span_id"], one)
    assert hit["matches"] == [
        {
            "span_id": step["span_id"], "field": "name",
            "snippet": [{"text": "lookup", "is_match": True}],
        },
        {
            "span_id": step["span_id"], "field": "input",
            "snippet": [
                {"text": "Zürich", "is_match": True},
                {"text": " <b>now</b>", "is_match": False},
            ],
        },
    ]  # fmt: skip
    assert (page["total"], page["next_cursor"]) == (1, None)
    assert page["search"]["is_complete"]
    page = (await site.http.get("/spans", headers=head)).json()
    assert page.keys() == {"items", "total", "limit", "offset", "next_cursor"}
    assert "matches" not in page["items"][0]


async def test_spans_are_followed_by_cursors_with_filters(site, head):
    steps = [
        a_span(name=f"n{n}", kind="TOOL" if n else "LLM", error="same words",
               started_at=f"2026-03-01T09:00:0{n}Z")
        for n in range(5)
    ]  # fmt: skip
    await store(site, head, spans=steps)
    more = "&kind=TOOL&limit=3"
    page = await search(site, head, '"same words"', more, path="/spans")
    assert (page["total"], page["total_is_at_least"]) == (4, True)
    names = [one["name"] for one in page["items"]]
    cursor = f"&cursor={page['next_cursor']}"
    page = await search(site, head, '"SAME  words!"', more + cursor, path="/spans")
    names += [one["name"] for one in page["items"]]
    assert names == ["n4", "n3", "n2", "n1"]
    assert page["next_cursor"] is None
    for path in (f"/spans?query=same{more}", f"/spans?{more}"):
        answer = await site.http.get(path + cursor, headers=head)
        assert field_errors(answer).keys() == {"query.cursor"}


@pytest.mark.parametrize("path", ["/traces", "/spans"])
@pytest.mark.parametrize(
    ("query", "field", "said"),
    [
        ("query=", "query.query", "needs a letter or a digit"),
        ("query=%20--%20", "query.query", "needs a letter or a digit"),
        ("query=ab*", "query.query", "at least 3"),
        ("query=*", "query.query", "without the beginning of a word"),
        ("query=a*b", "query.query", "at the end of a word only"),
        ("query=%22open", "query.query", "close it"),
        (f"query={'x' * (QUERY_CHARS_MAX + 1)}", "query.query", str(QUERY_CHARS_MAX)),
        (f"query={'x+' * (QUERY_WORDS_MAX + 1)}", "query.query", str(QUERY_WORDS_MAX)),
        ("query=word&offset=1", "query.offset", "next_cursor"),
        ("query=word&sort_by=latency", "query.sort_by", "leave it out"),
        ("query=word&sort_order=asc", "query.sort_order", "leave it out"),
        ("query=a%00b", "query.query", ""),
    ],
)
async def test_refusal_of_a_query_says_what_to_change(site, head, path, query, field, said):
    answer = await site.http.get(f"{path}?{query}", headers=head)
    assert answer.status_code == 422, answer.text
    errors = field_errors(answer)
    assert errors.keys() == {field}
    assert said in errors[field]


async def test_a_trace_is_searched(site, head):
    steps = [
        a_span(span_id=str(uuid.uuid4()), name="lookup", output={"city": "my Zürich"}),
        a_span(span_id=str(uuid.uuid4()), name="answer", metadata={"city": "zürich"}),
    ]
    one = await store(site, head, name="weather", spans=steps, input="Is it cold in Paris?")
    path = f"/traces/{one}/search"
    page = await search(site, head, "zürich", "&limit=1", path)
    [hit] = page["items"]
    following = await search(site, head, "zürich", f"&limit=1&cursor={page['next_cursor']}", path)
    [hit_of_next] = following["items"]
    for foreign in (f"/traces/{uuid.uuid4()}/search?query=zürich", f"{path}?query=city"):
        refused = await site.http.get(f"{foreign}&cursor={page['next_cursor']}", headers=head)
        assert set(field_errors(refused)) == {"query.cursor"}
    assert {hit["span_id"], hit_of_next["span_id"]} == {one["span_id"] for one in steps}
    by_id = {hit["span_id"]: hit["matches"], hit_of_next["span_id"]: hit_of_next["matches"]}
    assert by_id[steps[0]["span_id"]] == [
        {
            "field": "output", "text_index": 0, "offset": 3,
            "snippet": [
                {"text": "my ", "is_match": False},
                {"text": "Zürich", "is_match": True},
            ],
        }
    ]  # fmt: skip
    assert [one["field"] for one in by_id[steps[1]["span_id"]]] == ["metadata"]
    assert (page["total"], page["total_is_at_least"], page["is_complete"]) == (2, True, True)
    assert (following["total"], following["total_is_at_least"]) == (1, True)
    [of_trace] = (await search(site, head, '"cold in"', path=path))["items"]
    assert (of_trace["span_id"], of_trace["matches"][0]["field"]) == (None, "input")
    assert (await search(site, head, "berlin", path=path))["items"] == []


@pytest.mark.parametrize(
    ("query", "more", "field"),
    [("", "", "query.query"), ("de*", "", "query.query"), ("a", "&limit=0", "query.limit"),
     ("a", "&cursor=x", "query.cursor"), ("a", "&limit=201", "query.limit")],
)  # fmt: skip
async def test_searches_of_a_trace_that_are_refused(site, head, query, more, field):
    one = await store(site, head)
    answer = await site.http.get(f"/traces/{one}/search?query={quote(query)}{more}", headers=head)
    assert set(field_errors(answer)) == {field}
    other = await site.http.get(f"/traces/{uuid.uuid4()}/search?query=a", headers=head)
    assert other.status_code == 404
