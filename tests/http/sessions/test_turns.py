"""Turns of a session: the form of the answer, and the limits of the query."""

import uuid

import pytest

from domain.tracing.payloads.payload_detail import PREVIEW_BYTES_MAX
from domain.tracing.session_turn import TURNS_MAX
from tests.http.conftest import Site, a_span, a_trace, field_errors

FIRST, SECOND = (str(uuid.UUID(int=n)) for n in (1, 2))


@pytest.fixture
async def stored(site: Site, head: dict[str, str]) -> dict[str, str]:
    """The headers of a project with a session of two traces."""
    spans = [a_span(kind="LLM", status="ERROR"), a_span(kind="TOOL")]
    bodies = [
        a_trace(
            trace_id=FIRST, session_id="a/b", spans=spans, input={"n": 1.0},
            output="x" * PREVIEW_BYTES_MAX, started_at="2026-03-01T09:00:00Z",
        ),
        a_trace(trace_id=SECOND, session_id="a/b", started_at="2026-03-01T09:00:01Z"),
    ]  # fmt: skip
    for body in bodies:
        assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202
    score = {"trace_id": FIRST, "name": "helpful", "value": "0.5"}
    sent = await site.http.post("/evaluations/trace-scores", headers=head, json=score)
    assert sent.status_code == 201
    return head


async def test_turns_have_payloads_and_no_spans(site: Site, stored: dict[str, str]) -> None:
    answer = await site.http.get("/sessions/a%2Fb/turns", headers=stored)
    page = answer.json()
    assert (page["total"], page["next_cursor"]) == (2, None)
    first, second = page["items"]
    included = "include=errors,scores&sort_order=asc"
    listed = (await site.http.get(f"/traces?{included}", headers=stored)).json()["items"]
    assert [first["trace"], second["trace"]] == listed
    assert first["trace"]["scores"][0]["name"] == "helpful"
    assert (first["input"], first["output"]) == ({"n": 1.0}, None)
    assert first["output_preview"]["bytes"] == PREVIEW_BYTES_MAX + 2
    assert (first["llm_calls"], first["tool_calls"]) == (1, 1)
    assert (second["input"], second["output"], second["output_preview"]) == (None, None, None)


async def test_pages_follow_the_cursor(site: Site, stored: dict[str, str]) -> None:
    path = "/sessions/a%2Fb/turns?limit=1&sort_order=desc"
    first = (await site.http.get(path, headers=stored)).json()
    other = await site.http.get(f"{path}&cursor={first['next_cursor']}", headers=stored)
    found = [page["items"][0]["trace"]["trace_id"] for page in (first, other.json())]
    assert found == [SECOND, FIRST]
    path = f"/sessions/other/turns?cursor={first['next_cursor']}&sort_order=desc"
    foreign = await site.http.get(path, headers=stored)
    assert list(field_errors(foreign)) == ["query.cursor"]


async def test_unknown_session_is_not_found(site: Site, stored: dict[str, str]) -> None:
    assert (await site.http.get("/sessions/x/turns", headers=stored)).status_code == 404


async def test_page_is_bounded(site: Site, stored: dict[str, str]) -> None:
    path = f"/sessions/a%2Fb/turns?limit={TURNS_MAX + 1}"
    assert list(field_errors(await site.http.get(path, headers=stored))) == ["query.limit"]
