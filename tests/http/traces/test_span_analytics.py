"""Figures of spans over HTTP."""

from typing import Any

import pytest

from tests.http.conftest import Site, a_span, a_trace, field_errors
from tests.support.endpoints.spec import MARCH

PATH = f"/analytics/spans?{MARCH}"


@pytest.fixture
async def stored(site: Site, head: dict[str, str]) -> dict[str, str]:
    """The headers of a project with calls of two tools and of a model on two days."""

    def step(day: int, **said: Any) -> dict[str, Any]:
        start = f"2026-03-0{day}T09:00:00Z"
        return a_span(started_at=start, ended_at=f"2026-03-0{day}T09:00:01Z") | said

    spans = [
        step(1, name="search", kind="TOOL", status="ERROR", error="no answer in 3 s"),
        step(2, name="search", kind="TOOL", status="ERROR", error="no answer in 9 s"),
        step(2, name="fetch", kind="TOOL"),
        step(1, name="plan", kind="LLM", model="gpt-4o", cost={"total": 0.5}),
        step(2, name="plan", kind="LLM", model="house", ended_at=None),
    ]
    body = a_trace(spans=spans, release="2.0")
    assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202
    return head


async def test_which_tool_fails_most(site: Site, stored: dict[str, str]) -> None:
    path = f"{PATH}&group_by=name&kind=TOOL&sort_by=error_rate"
    found = (await site.http.get(path, headers=stored)).json()
    search, fetch = found["groups"]
    assert (search["key"], search["figures"]["error_rate"]) == ("search", 1.0)
    assert (fetch["key"], fetch["figures"]["error_rate"]) == ("fetch", 0.0)
    assert (found["other"], found["total"]["figures"]["span_count"]) == (None, 3)
    assert (search["buckets"], search["label"]) == ([], None)


async def test_cost_of_a_model_by_day(site: Site, stored: dict[str, str]) -> None:
    path = f"{PATH}&group_by=model&interval=day&sort_by=cost"
    known, unknown = (await site.http.get(path, headers=stored)).json()["groups"]
    [bucket] = known["buckets"]
    assert bucket["bucket"] == "2026-03-01T00:00:00+00:00"
    assert (bucket["figures"]["total_cost"], bucket["figures"]["unpriced_span_count"]) == (0.5, 0)
    figures = unknown["figures"]
    assert (figures["total_cost"], figures["unpriced_span_count"]) == (0.0, 1)
    assert (figures["latency_count"], figures["avg_latency_ms"], figures["p95_latency_ms"]) == (
        *(0, None, None),
    )


async def test_latency_by_release(site: Site, stored: dict[str, str]) -> None:
    path = f"{PATH}&group_by=kind&release=2.0&sort_by=latency&limit=1"
    found = (await site.http.get(path, headers=stored)).json()
    [tools] = found["groups"]
    assert tools["figures"]["avg_latency_ms"] == 1_000
    assert tools["figures"]["p50_latency_ms"] == pytest.approx(1_000, rel=0.06)
    assert (found["other"]["group_count"], found["other"]["key"]) == (1, None)
    none = (await site.http.get(f"{PATH}&group_by=kind&release=3", headers=stored)).json()
    assert (none["groups"], none["total"]["figures"]["error_rate"]) == ([], None)


async def test_errors_over_time(site: Site, stored: dict[str, str]) -> None:
    path = f"{PATH}&group_by=error&interval=day"
    [group] = (await site.http.get(path, headers=stored)).json()["groups"]
    assert (group["label"], len(group["buckets"])) == ("no answer in <number> s", 2)
    [listed] = (await site.http.get(f"/errors?{MARCH}", headers=stored)).json()["items"]
    assert listed["error_group"] == group["key"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("group_by=colour", "query.group_by"),
        ("", "query.group_by"),
        ("group_by=kind&interval=month", "query.interval"),
        ("group_by=kind&limit=51", "query.limit"),
        ("group_by=kind&sort_by=name", "query.sort_by"),
        ("group_by=kind&cursor=x", "query.cursor"),
    ],
)
async def test_bad_queries_name_the_field(
    site: Site, stored: dict[str, str], query: str, field: str
) -> None:
    answer = await site.http.get(f"{PATH}&{query}", headers=stored)
    assert answer.status_code == 422
    assert list(field_errors(answer)) == [field]
