"""Sessions over HTTP: totals under filters, detail, deletion."""

from typing import Any

import pytest

from entrypoints.http.controllers.traces import examples, schemas
from tests.http.conftest import Site, a_span, a_trace, field_errors

TRACES: list[dict[str, Any]] = [
    {
        "session_id": "chat",
        "user_id": "ada",
        "started_at": "2026-03-01T09:00:00Z",
        "ended_at": "2026-03-01T09:00:02Z",
        "tags": ["v2", "prod"],
        "spans": [a_span(token_usage={"prompt_tokens": 30}, cost={"total": 0.25})],
    },
    {
        "session_id": "chat",
        "user_id": "bob",
        "started_at": "2026-03-01T09:05:00Z",
        "ended_at": "2026-03-01T09:05:01.250Z",
        "status": "ERROR",
        "tags": ["prod"],
        "spans": [a_span(token_usage={"completion_tokens": 11}), a_span(cost={"total": 0.5})],
    },
    {"session_id": "chat", "started_at": "2026-03-01T08:00:00Z", "tags": ["old"]},
    {
        "session_id": "Solo%_",
        "user_id": "bob",
        "started_at": "2026-03-01T09:02:00Z",
        "spans": [a_span(status="ERROR")],
    },
    {
        "session_id": "",
        "started_at": "2026-03-01T07:00:00Z",
        "ended_at": "2026-03-01T10:00:00Z",
    },
    {"started_at": "2026-03-01T11:00:00Z"},
]
CHAT = {
    "session_id": "chat",
    "trace_count": 3,
    "first_trace_at": "2026-03-01T08:00:00+00:00",
    "last_trace_at": "2026-03-01T09:05:01.250000+00:00",
    "total_latency_ms": 3250.0,
    "has_error": True,
    "has_failed_span": False,
    "user_id": "ada",
    "tags": ["old", "prod", "v2"],
    "total_span_count": 3,
    "total_tokens": 41,
    "total_cost": 0.75,
    "unpriced_span_count": 1,
}


@pytest.fixture
async def filled(site: Site, head: dict[str, str]) -> dict[str, str]:
    for body in TRACES:
        done = await site.http.post("/traces", headers=head, json=a_trace(**body))
        assert done.status_code == 202
    return head


async def test_response_matches_the_documented_example(site: Site, head: dict[str, str]) -> None:
    await site.http.post("/traces", headers=head, json=examples.TRACE)
    project = str(next(iter(site.store.projects)))
    page = (await site.http.get("/sessions", headers=head)).json()
    assert page == {
        "items": [examples.SESSION],
        "total": 1,
        "limit": 50,
        "offset": 0,
        "next_cursor": None,
    }
    detail = (await site.http.get("/sessions/conv-42", headers=head)).json()
    shown = schemas.TRACE_RESPONSE | {"project_id": project}
    assert detail == examples.SESSION | {"traces": [shown]}


async def test_totals_of_a_session(site: Site, filled: dict[str, str]) -> None:
    page = (await site.http.get("/sessions?query=chat", headers=filled)).json()
    assert page["items"] == [CHAT]
    [solo] = (await site.http.get("/sessions?query=solo", headers=filled)).json()["items"]
    assert (solo["last_trace_at"], solo["total_latency_ms"]) == (None, None)
    # The error of a span isn't the trace's.
    assert (solo["has_error"], solo["has_failed_span"]) == (False, True)
    assert solo["total_span_count"] == 1


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["", "chat", "Solo%_"]),
        ("sort_order=asc", ["Solo%_", "chat", ""]),
        ("sort_by=trace_count", ["chat", "Solo%_", ""]),
        ("sort_by=latency", ["", "chat", "Solo%_"]),
        ("sort_by=latency&sort_order=asc", ["chat", "", "Solo%_"]),
        ("sort_by=cost", ["chat", "Solo%_", ""]),
        ("user_id=bob", ["chat", "Solo%_"]),
        ("has_error=true", ["chat"]),
        ("has_error=no", ["", "Solo%_"]),
        ("has_failed_span=true", ["Solo%_"]),
        ("has_failed_span=no&has_error=no", [""]),
        ("user_id=ada&has_error=false", ["chat"]),
        ("tags=old", ["chat"]),
        ("tags=none", []),
        ("query=%25", ["Solo%_"]),
        ("query=_", ["Solo%_"]),
        ("query=", ["", "chat", "Solo%_"]),
        ("started_after=2026-03-01T09:00:00Z", ["chat", "Solo%_"]),
        ("started_before=2026-03-01T08:00:00Z", [""]),
        ("limit=1&offset=1", ["chat"]),
        ("offset=9", []),
    ],
)
async def test_filters_and_sorts_apply(
    site: Site, filled: dict[str, str], query: str, found: list[str]
) -> None:
    page = (await site.http.get(f"/sessions?{query}", headers=filled)).json()
    assert [one["session_id"] for one in page["items"]] == found


async def test_filters_select_traces_first(site: Site, filled: dict[str, str]) -> None:
    path = "/sessions?user_id=ada&started_after=2026-03-01T08:30:00Z"
    [chat] = (await site.http.get(path, headers=filled)).json()["items"]
    assert chat == CHAT | {
        "trace_count": 1,
        "first_trace_at": "2026-03-01T09:00:00+00:00",
        "last_trace_at": "2026-03-01T09:00:02+00:00",
        "total_latency_ms": 2000.0,
        "has_error": False,
        "tags": ["prod", "v2"],
        "total_span_count": 1,
        "total_tokens": 30,
        "total_cost": 0.25,
        "unpriced_span_count": 0,
    }


async def test_detail_pages_traces_and_keeps_totals(site: Site, filled: dict[str, str]) -> None:
    starts = [f"2026-03-01T{time}:00+00:00" for time in ("08:00", "09:00", "09:05")]
    for query, shown in (("", starts), ("?limit=1", starts[:1]), ("?limit=5&offset=2", starts[2:])):
        detail = (await site.http.get(f"/sessions/chat{query}", headers=filled)).json()
        assert [one["started_at"] for one in detail.pop("traces")] == shown
        assert detail == CHAT
    beyond = (await site.http.get("/sessions/chat?offset=3", headers=filled)).json()
    assert beyond == CHAT | {"traces": []}


async def test_deleting_a_session_deletes_its_traces(site: Site, filled: dict[str, str]) -> None:
    done = await site.http.delete("/sessions/chat", headers=filled)
    assert (done.status_code, done.json()) == (200, {"deleted": 3})
    for method in ("GET", "DELETE"):
        assert (
            await site.http.request(method, "/sessions/chat", headers=filled)
        ).status_code == 404
    assert (await site.http.get("/traces", headers=filled)).json()["total"] == 3
    assert (await site.http.get("/sessions", headers=filled)).json()["total"] == 2


async def test_sessions_of_other_projects_are_hidden(site: Site, filled: dict[str, str]) -> None:
    theirs = site.headers(project="theirs")
    assert (await site.http.get("/sessions", headers=theirs)).json()["total"] == 0
    for method in ("GET", "DELETE"):
        assert (
            await site.http.request(method, "/sessions/chat", headers=theirs)
        ).status_code == 404
    assert site.trace_count() == len(TRACES)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/sessions?limit=201&offset=x", {"query.limit", "query.offset"}),
        ("/sessions?sort_by=started_at&sort_order=DESC", {"query.sort_by", "query.sort_order"}),
        ("/sessions?has_error=2&started_after=x", {"query.has_error", "query.started_after"}),
        ("/sessions?query=%00&user_id=%FF", {"query.query", "query.user_id"}),
        ("/sessions?tags=" + "x" * 256, {"query.tags"}),
        ("/sessions/chat?limit=1001", {"query.limit"}),
        ("/sessions/chat?limit=0&offset=-1", {"query.limit", "query.offset"}),
        ("/sessions/%00?limit=x", {"path.session_id", "query.limit"}),
    ],
)
async def test_invalid_parameters_are_named(
    site: Site, head: dict[str, str], path: str, fields: set[str]
) -> None:
    assert set(field_errors(await site.http.get(path, headers=head))) == fields


async def test_large_traces_read_like_small_ones(site: Site, head: dict[str, str]) -> None:
    """Their responses are made in a thread."""
    spans = [a_span(input={"n": n}) for n in range(schemas.RESPONSE_SPANS_ON_LOOP_MAX)]
    body = a_trace(trace_id=examples.TRACE_ID, session_id="large", spans=spans)
    assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202
    url = f"/traces/{examples.TRACE_ID}"
    small = (await site.http.get(url, headers=head)).json()
    [within] = (await site.http.get("/sessions/large", headers=head)).json()["traces"]
    assert within == small
    added = await site.http.post(f"{url}/spans", headers=head, json=[a_span(name="one more")])
    large = await site.http.patch(url, headers=head, json={})
    assert large.headers["content-type"] == "application/json"
    assert large.json() == (await site.http.get(url, headers=head)).json()
    [within] = (await site.http.get("/sessions/large", headers=head)).json()["traces"]
    assert within == large.json()
    shown = {span["span_id"]: span for span in large.json()["spans"]}
    assert shown.pop(added.json()["span_ids"][0])["name"] == "one more"
    assert list(shown.values()) == small["spans"]


async def test_details_are_added_to_each_session(site: Site, head: dict[str, str]) -> None:
    asked = {"messages": [{"role": "user", "content": "Where is it?"}]}
    for body in (
        a_trace(session_id="a", input=asked, started_at="2026-03-01T09:00:00Z"),
        a_trace(session_id="a", input="And now?", started_at="2026-03-01T09:01:00Z"),
        a_trace(session_id="b", started_at="2026-03-01T09:02:00Z"),
    ):
        assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202
    for value in ("0.25", "0.5"):
        score = {"session_id": "a", "name": "helpful", "value": value}
        sent = await site.http.post("/evaluations/session-scores", headers=head, json=score)
        assert sent.status_code == 201, sent.text
    plain = (await site.http.get("/sessions", headers=head)).json()["items"]
    assert not {"input_preview", "scores"} & plain[0].keys()
    page = (await site.http.get("/sessions?include=preview,scores", headers=head)).json()
    assert [one["input_preview"] for one in page["items"]] == [None, "Where is it?"]
    bare, scored = page["items"]
    assert bare["scores"] == []
    [score] = scored["scores"]
    assert (score["name"], score["value"]) == ("helpful", "0.5")
    only = (await site.http.get("/sessions?include=scores&query=b", headers=head)).json()
    assert only["items"] == [plain[0] | {"scores": []}]
    none = await site.http.get("/sessions?include=preview,scores&query=none", headers=head)
    assert none.json()["items"] == []
    for include in ("errors", "preview,", ""):
        answer = await site.http.get(f"/sessions?include={include}", headers=head)
        assert list(field_errors(answer)) == ["query.include"]
