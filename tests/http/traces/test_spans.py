"""The list of spans: the form of its rows, its cursors and its limits."""

import uuid

import pytest
from msgspec import UNSET

from domain.page import Page
from domain.tracing.spans.span_query import SpanSort, SpanSummary
from entrypoints.http.controllers.spans.schemas import SPAN_ITEM
from entrypoints.http.controllers.traces.schemas import EXAMPLE_TRACE
from entrypoints.http.requests.cursors import read_until
from tests.http.conftest import Site, a_span, a_trace, field_errors

FIRST, SECOND = (str(uuid.UUID(int=n)) for n in (1, 2))


@pytest.fixture
async def stored(site: Site, head: dict[str, str]) -> dict[str, str]:
    """The headers of a project with three spans in two traces."""
    failed = a_span(
        name="look-up", kind="TOOL", status="ERROR", error="no order 17",
        started_at="2026-03-01T09:00:02Z", ended_at="2026-03-01T09:00:03Z",
    )  # fmt: skip
    call = a_span(
        name="chat", kind="LLM", model="gpt-4o", input={"n": 1}, cost={"total": 0.25},
        token_usage={"prompt_tokens": 3, "completion_tokens": 4},
        started_at="2026-03-01T09:00:01Z", ended_at="2026-03-01T09:00:01.5Z",
    )  # fmt: skip
    labels = {"session_id": "s", "user_id": "u", "tags": ["t"], "release": "1.0"}
    bodies = [
        a_trace(trace_id=FIRST, name="run", spans=[failed, call], **labels),
        a_trace(trace_id=SECOND, spans=[a_span(name="late", started_at="2026-03-01T09:00:04Z")]),
    ]
    for body in bodies:
        assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202
    return head


async def test_rows_have_figures_and_their_trace(site: Site, stored: dict[str, str]) -> None:
    page = (await site.http.get("/spans", headers=stored)).json()
    assert (page["total"], page["next_cursor"]) == (3, None)
    assert "total_is_at_least" not in page
    late, failed, call = page["items"]
    assert (late["name"], late["latency_ms"], late["total_cost"]) == ("late", None, None)
    assert (failed["status"], failed["error"], len(failed["error_group"])) == (
        *("ERROR", "no order 17"),
        16,
    )
    assert (call["trace_id"], call["trace_name"], call["session_id"]) == (FIRST, "run", "s")
    assert (call["tags"], call["release"], call["environment"]) == (["t"], "1.0", None)
    assert (call["latency_ms"], call["total_tokens"], call["total_cost"]) == (500.0, 7, 0.25)
    assert (call["is_counted"], call["error_group"], call["input_bytes"]) == (True, None, 7)
    assert "input" not in call


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("kind=TOOL", ["look-up"]),
        ("name=chat&model=gpt-4o", ["chat"]),
        ("name=cha", []),
        ("has_error=false", ["late", "chat"]),
        ("tags=t&tags=u", ["look-up", "chat"]),
        ("session_id=s&min_latency_ms=501", ["look-up"]),
        ("min_cost=0.25&max_tokens=7", ["chat"]),
        ("started_before=2026-03-01T09:00:02Z", ["chat"]),
        ("sort_by=cost&sort_order=asc", ["chat", "late", "look-up"]),
        ("sort_by=latency", ["look-up", "chat", "late"]),
        ("sort_by=tokens&limit=1", ["chat"]),
    ],
)
async def test_filters_and_sorts(
    site: Site, stored: dict[str, str], query: str, names: list[str]
) -> None:
    page = (await site.http.get(f"/spans?{query}", headers=stored)).json()
    found = [one["name"] for one in page["items"]]
    assert (found if "sort_by=cost" not in query else [found[0], *sorted(found[1:])]) == names


@pytest.mark.parametrize("sort", ["started_at", "latency", "cost", "tokens"])
async def test_pages_follow_the_cursor(site: Site, stored: dict[str, str], sort: str) -> None:
    path = f"/spans?sort_by={sort}&limit=1"
    whole = (await site.http.get(f"/spans?sort_by={sort}", headers=stored)).json()["items"]
    found, cursor = [], ""
    for _ in whole:
        page = (await site.http.get(f"{path}{cursor}", headers=stored)).json()
        found += page["items"]
        cursor = f"&cursor={page['next_cursor']}"
    assert found == whole
    assert cursor == "&cursor=None"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("kind=BOT", "query.kind"),
        ("limit=201", "query.limit"),
        ("error_group=xyz", "query.error_group"),
        ("min_tokens=-1", "query.min_tokens"),
        ("min_cost=-1", "query.min_cost"),
        ("max_cost=nan", "query.max_cost"),
        ("sort_by=name", "query.sort_by"),
        ("cursor=abc", "query.cursor"),
        ("colour=red", "query.colour"),
    ],
)
async def test_bad_queries_name_the_field(
    site: Site, stored: dict[str, str], query: str, field: str
) -> None:
    answer = await site.http.get(f"/spans?{query}", headers=stored)
    assert answer.status_code == 422
    assert list(field_errors(answer)) == [field]


async def test_cursor_of_other_filters_is_refused(site: Site, stored: dict[str, str]) -> None:
    first = (await site.http.get("/spans?limit=1", headers=stored)).json()
    for query in ("kind=TOOL", "sort_by=tokens", "sort_order=asc"):
        path = f"/spans?{query}&limit=1&cursor={first['next_cursor']}"
        answer = await site.http.get(path, headers=stored)
        assert list(field_errors(answer)) == ["query.cursor"]


def test_page_that_ended_early_says_how_far_spans_were_compared() -> None:
    end = SpanSort.STARTED_AT.position(SpanSummary.from_span(EXAMPLE_TRACE, EXAMPLE_TRACE.spans[0]))
    early: Page[SpanSummary] = Page([], 0, end, total_is_at_least=True)
    assert read_until(early, 1) == SPAN_ITEM["started_at"]
    assert read_until(Page([], 0), 1) is UNSET
    assert read_until(early, 0) is UNSET  # the page is full
