"""Groups of errors over HTTP."""

import pytest

from tests.http.conftest import Site, a_span, a_trace, field_errors
from tests.support.endpoints.spec import MARCH

OTHER_PERIOD = "started_after=2026-03-02T00:00:00Z&started_before=2026-03-03T00:00:00Z"


@pytest.fixture
async def stored(site: Site, head: dict[str, str]) -> dict[str, str]:
    """The headers of a project with four failed spans of two groups."""
    errors = ["no order 17", "no order 18", "refused", "no order 19"]
    for day, error in enumerate(errors, start=1):
        span = a_span(status="ERROR", error=error, name=f"step {day}",
                      started_at=f"2026-03-0{min(day, 3)}T09:00:00Z")  # fmt: skip
        body = a_trace(spans=[span], release=f"1.{day}")
        assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202
    return head


async def test_groups_lead_to_their_spans(site: Site, stored: dict[str, str]) -> None:
    page = (await site.http.get(f"/errors?{MARCH}&sort_by=count", headers=stored)).json()
    assert (page["total"], page["next_cursor"]) == (2, None)
    order, refused = page["items"]
    assert (order["pattern"], order["count"], order["is_new"]) == ("no order <number>", 3, True)
    assert (refused["pattern"], refused["count"]) == ("refused", 1)
    assert (order["first_seen"], order["last_seen"]) == (
        *("2026-03-01T09:00:00+00:00", "2026-03-03T09:00:00+00:00"),
    )
    assert order["releases"] == ["1.4", "1.2", "1.1"]
    assert [one["error"] for one in order["samples"]] == [f"no order {n}" for n in (19, 18, 17)]
    path = f"/spans?error_group={order['error_group']}"
    spans = (await site.http.get(path, headers=stored)).json()["items"]
    assert [one["span_id"] for one in spans] == [one["span_id"] for one in order["samples"]]


async def test_new_groups_of_a_period(site: Site, stored: dict[str, str]) -> None:
    [order] = (await site.http.get(f"/errors?{OTHER_PERIOD}", headers=stored)).json()["items"]
    assert (order["is_new"], order["count"]) == (False, 1)
    path = f"/errors?{OTHER_PERIOD}&is_new=true"
    assert (await site.http.get(path, headers=stored)).json()["items"] == []


async def test_pages_follow_the_cursor(site: Site, stored: dict[str, str]) -> None:
    path = f"/errors?{MARCH}&limit=1"
    first = (await site.http.get(path, headers=stored)).json()
    second = await site.http.get(f"{path}&cursor={first['next_cursor']}", headers=stored)
    found = [page["items"][0]["error_group"] for page in (first, second.json())]
    whole = (await site.http.get(f"/errors?{MARCH}", headers=stored)).json()["items"]
    assert found == [one["error_group"] for one in whole]
    foreign = f"/errors?{OTHER_PERIOD}&limit=1&cursor={first['next_cursor']}"
    answer = await site.http.get(foreign, headers=stored)
    assert list(field_errors(answer)) == ["query.cursor"]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("", ["query.started_after", "query.started_before"]),
        (f"{MARCH}&limit=0", ["query.limit"]),
        (f"{MARCH}&sort_by=name", ["query.sort_by"]),
        (f"{MARCH}&is_new=perhaps", ["query.is_new"]),
    ],
)
async def test_bad_queries_name_the_fields(
    site: Site, stored: dict[str, str], query: str, fields: list[str]
) -> None:
    answer = await site.http.get(f"/errors?{query}", headers=stored)
    assert answer.status_code == 422
    assert sorted(field_errors(answer)) == fields
