"""Comparing two traces over HTTP: the form of the answer, its pages and limits."""

import uuid

import pytest

from domain.tracing.comparison import STEPS_MAX
from tests.http.conftest import Site, a_span, a_trace, field_errors

A, B, NONE = (str(uuid.UUID(int=n)) for n in (1, 2, 3))


@pytest.fixture
async def stored(site: Site, head: dict[str, str]) -> dict[str, str]:
    """The headers of the project that has the traces."""
    call = a_span(name="search", started_at="2026-03-01T09:00:01Z", output={"hits": 3})
    failed = {"status": "ERROR", "error": "timeout", "output": None}
    again = a_span(name="search", started_at="2026-03-01T09:00:02Z", **failed)
    extra = a_span(name="fetch", started_at="2026-03-01T09:00:03Z")
    for id_, spans in ((A, [call]), (B, [again, extra])):
        body = a_trace(trace_id=id_, started_at="2026-03-01T09:00:00Z", spans=spans)
        assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202
    return head


async def test_steps_are_aligned(site: Site, stored: dict[str, str]) -> None:
    answer = await site.http.get(f"/traces/compare?a={A}&b={B}", headers=stored)
    found = answer.json()
    assert answer.status_code == 200
    assert (found["a"]["trace_id"], found["b"]["trace_id"]) == (A, B)
    assert (found["a"]["error_count"], found["b"]["error_count"]) == (0, 1)
    assert found["counts"] == {"same": 0, "changed": 1, "missing": 0, "added": 1}
    first, second = found["steps"]
    assert (first["change"], first["differences"]) == ("changed", ["status", "error", "output"])
    assert (first["a"]["label"], first["b"]["error"]) == ("s1", "timeout")
    assert (second["change"], second["name"], second["a"]) == ("added", "fetch", None)


async def test_pages_and_unchanged_steps(site: Site, stored: dict[str, str]) -> None:
    whole = (await site.http.get(f"/traces/compare?a={A}&b={B}", headers=stored)).json()
    path = f"/traces/compare?a={A}&b={B}&limit=1"
    one = (await site.http.get(path, headers=stored)).json()
    two = (await site.http.get(f"{path}&after={one['next']}", headers=stored)).json()
    assert [*one["steps"], *two["steps"]] == whole["steps"]
    assert (one["total"], two["next"]) == (2, None)
    same = await site.http.get(f"/traces/compare?a={A}&b={A}&only_changes=true", headers=stored)
    assert (same.json()["total"], same.json()["counts"]["same"]) == (0, 1)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (f"a={A}", "query.b"),
        (f"a={A}&b=x", "query.b"),
        (f"a={A}&b={B}&limit={STEPS_MAX + 1}", "query.limit"),
        (f"a={A}&b={B}&after=-1", "query.after"),
    ],
)
async def test_queries_have_limits(
    site: Site, stored: dict[str, str], query: str, field: str
) -> None:
    answer = await site.http.get(f"/traces/compare?{query}", headers=stored)
    assert answer.status_code == 422
    assert list(field_errors(answer)) == [field]


@pytest.mark.parametrize("query", [f"a={A}&b={NONE}", f"a={NONE}&b={A}"])
async def test_both_traces_must_exist(site: Site, stored: dict[str, str], query: str) -> None:
    answer = await site.http.get(f"/traces/compare?{query}", headers=stored)
    assert answer.status_code == 404
