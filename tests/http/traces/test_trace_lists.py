"""Lists of traces by every filter and sort, and the list of users."""

from typing import Any
from urllib.parse import quote, urlencode

import pytest

from entrypoints.http.controllers.traces.schemas import METADATA_KEYS_MAX, METADATA_VALUES_MAX
from tests.http.conftest import Site, a_span, a_trace, field_errors

# Ended after 1 s, after 2.0005 s, before its start, and not at all.
RUNS: dict[str, dict[str, Any]] = {
    "one": {
        "started_at": "2026-03-01T09:00:00Z",
        "ended_at": "2026-03-01T09:00:01Z",
        "environment": "prod",
        "release": "1",
        "tags": ["a", "b"],
        "metadata": {"k": "v", "n": 1.50, "t": True, "x.y": "dotted", "": "empty", "o": {"k": "v"}},
        "spans": [a_span(model="gpt-4o"), a_span(model="tiny", status="ERROR")],
    },
    "two": {
        "started_at": "2026-03-01T09:00:01Z",
        "ended_at": "2026-03-01T09:00:03.000500Z",
        "environment": "",
        "release": "1",
        "tags": ["b", "c"],
        "metadata": {"k": "w", "n": 1.5, "t": None, "z": "ä & = + %"},
        "status": "ERROR",
    },
    "three": {
        "started_at": "2026-03-01T09:00:02Z",
        "ended_at": "2026-03-01T09:00:01Z",
        "metadata": {"k": 7, "t": "true", "long": "x" * 2_000},
        "spans": [a_span(model="gpt-4o-mini")],
    },
    "four": {"started_at": "2026-03-01T09:00:03Z", "status": "RUNNING", "tags": ["é", "A"]},
}


@pytest.fixture
async def filled(site: Site, head: dict[str, str]) -> dict[str, str]:
    for name, said in RUNS.items():
        body = a_trace(name=name, **said)
        assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202
    return head


async def names(site: Site, head: dict[str, str], query: str) -> list[str]:
    answer = await site.http.get(f"/traces?sort_order=asc&{query}", headers=head)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert page["total"] == len(page["items"])
    return [one["name"] for one in page["items"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("environment=prod", ["one"]),
        ("environment=", ["two"]),
        ("release=1", ["one", "two"]),
        ("release=1&environment=prod", ["one"]),
        ("tags=b", ["one", "two"]),
        ("tags=a&tags=c&tags=a", ["one", "two"]),
        ("tags=B", []),
        ("tags=", []),
        (f"tags={quote('é')}", ["four"]),
        ("model=gpt-4o", ["one"]),
        ("model=tiny", ["one"]),
        ("model=gpt", []),
        ("min_latency_ms=1000", ["one", "two"]),
        ("min_latency_ms=1000.0001", ["two"]),
        ("max_latency_ms=1000", ["one"]),
        ("min_latency_ms=0&max_latency_ms=2000.5", ["one", "two"]),
        ("max_latency_ms=2000.4999", ["one"]),
        ("max_latency_ms=-1000", []),
        ("min_latency_ms=-1e3&max_latency_ms=1e300", ["one", "two"]),
        ("min_latency_ms=2&max_latency_ms=1", []),
        ("has_error=true", ["one", "two"]),
        ("has_error=0", ["three", "four"]),
        ("has_failed_span=true", ["one"]),
        ("has_failed_span=false&has_error=true", ["two"]),
        ("has_error=OFF", ["three", "four"]),
        ("has_error=true&status=COMPLETED", ["one"]),
        ("status=RUNNING", ["four"]),
        ("name=O", ["one", "two", "four"]),
        ("statuses=RUNNING&statuses=ERROR", ["two", "four"]),
        ("names=one&names=four&names=O", ["one", "four"]),
        ("names=on", []),
        ("names=one&name=TW", []),
        ("environments=prod&environments=", ["one", "two"]),
        ("environments=prod&environments=dev&release=1", ["one"]),
        (f"tags_all=A&tags_all={quote('é')}", ["four"]),
        ("tags_all=A&tags_all=b", []),
        ("min_tokens=1", []),
        ("min_span_count=1000", []),
        ("min_span_count=0", ["one", "two", "three", "four"]),
        ("min_tokens=0&min_cost=0", ["one", "two", "three", "four"]),
        ("score=m", []),
        ("span_kind=RETRIEVER", []),
        ("span_name=nothing&span_kind=TOOL", []),
    ],
)
async def test_each_filter_applies(
    site: Site, filled: dict[str, str], query: str, found: list[str]
) -> None:
    assert await names(site, filled, query) == found


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ([("metadata.k", "v")], ["one"]),
        ([("metadata.k", "v"), ("metadata.k", "w")], ["one", "two"]),
        ([("metadata.k", "7")], ["three"]),
        ([("metadata.n", "1.5")], ["one", "two"]),
        ([("metadata.n", "1.50")], []),
        ([("metadata.t", "true")], ["one", "three"]),
        ([("metadata.t", "null")], ["two"]),
        ([("metadata.t", "True")], []),
        ([("metadata.x.y", "dotted")], ["one"]),
        ([("metadata.x", "dotted")], []),
        ([("metadata.", "empty")], ["one"]),
        ([("metadata.o", '{"k":"v"}')], []),
        ([("metadata.z", "ä & = + %")], ["two"]),
        ([("metadata.long", "x" * 2_000)], ["three"]),
        ([("metadata.k", "v"), ("metadata.t", "true")], ["one"]),
        ([("metadata.k", "v"), ("metadata.t", "null")], []),
        ([("metadata.missing", "null")], []),
        ([("metadata.k", "")], []),
    ],
)
async def test_metadata_filters_by_top_level_keys(
    site: Site, filled: dict[str, str], conditions: list[tuple[str, str]], found: list[str]
) -> None:
    assert await names(site, filled, urlencode(conditions)) == found


@pytest.mark.parametrize(
    ("sort", "ascending"),
    [
        ("started_at", ["one", "two", "three", "four"]),
        ("ended_at", ["one|three", "one|three", "two", "four"]),
        ("name", ["four", "one", "three", "two"]),
        ("latency", ["one", "two", "three|four", "three|four"]),
        ("status", ["one|three", "one|three", "two", "four"]),
        ("cost", ["|".join(RUNS)] * 4),
        ("tokens", ["|".join(RUNS)] * 4),
    ],
)
async def test_every_sort_in_both_directions(
    site: Site, filled: dict[str, str], sort: str, ascending: list[str]
) -> None:
    up = await names(site, filled, f"sort_by={sort}")
    down = [
        one["name"]
        for one in (await site.http.get(f"/traces?sort_by={sort}", headers=filled)).json()["items"]
    ]
    assert all(name in place.split("|") for name, place in zip(up, ascending, strict=True))
    nulls = {"ended_at": 1, "latency": 2}.get(sort, 0)  # last in both directions
    with_value = len(up) - nulls
    assert down[:with_value] == up[:with_value][::-1]
    assert set(down[with_value:]) == set(up[with_value:]) <= {"three", "four"}


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("min_latency_ms=x", {"query.min_latency_ms"}),
        ("min_cost=-0.1", {"query.min_cost"}),
        ("min_tokens=1.5", {"query.min_tokens"}),
        ("min_span_count=-1", {"query.min_span_count"}),
        ("score_min=0.5&score_outcome=failed", {"query.score_min", "query.score_outcome"}),
        ("score=m&score_min=0.6&score_max=0.5", {"query.score_min"}),
        ("score=m&score_min=-0.1&score_max=1.5", {"query.score_min", "query.score_max"}),
        ("score=m&score_max=0.5&score_outcome=skipped", {"query.score_max"}),
        ("score=m&score_outcome=pending", {"query.score_outcome"}),
        ("score=%00&score_min=0.5", {"query.score"}),
        ("span_kind=tool&span_name=%00", {"query.span_kind", "query.span_name"}),
        ("statuses=RUNNING&statuses=GONE", {"query.statuses"}),
        ("min_latency_ms=nan&max_latency_ms=inf", {"query.min_latency_ms", "query.max_latency_ms"}),
        ("max_latency_ms=1e400", {"query.max_latency_ms"}),
        ("has_error=maybe", {"query.has_error"}),
        ("has_error=", {"query.has_error"}),
        ("model=%00", {"query.model"}),
        ("environment=%FF", {"query.environment"}),
        ("tags=a&tags=%00", {"query.tags"}),
        ("tags=" + "x" * 256, {"query.tags"}),
        ("&".join(["tags=a"] * 101), {"query.tags"}),
        ("metadata.k=%00", {"query.metadata.k"}),
        ("metadata.k=%ff&metadata.j=%ff", {"query.metadata.k", "query.metadata.j"}),
        ("metadata.%00=v", {"query.metadata"}),
        ("metadata.%ff=v&limit=0", {"query.metadata", "query.limit"}),
        ("&".join(f"metadata.k{n}=v" for n in range(METADATA_KEYS_MAX + 1)), {"query.metadata"}),
        ("&".join(["metadata.k=v"] * (METADATA_VALUES_MAX + 1)), {"query.metadata.k"}),
        ("metadata." + "k" * 300 + "=%00", {"query.metadata." + "k" * 200}),
    ],
)
async def test_invalid_parameters_are_named(
    site: Site, head: dict[str, str], query: str, fields: set[str]
) -> None:
    assert set(field_errors(await site.http.get(f"/traces?{query}", headers=head))) == fields


async def test_maximum_number_of_conditions_is_accepted(site: Site, filled: dict[str, str]) -> None:
    keys = [(f"metadata.k{n}", "v") for n in range(METADATA_KEYS_MAX - 1)]
    values = [("metadata.k", str(n)) for n in range(METADATA_VALUES_MAX)]
    assert await names(site, filled, urlencode(keys + values)) == []
    tags = [("tags", "b"), *(("tags", "x" * 255 if n else "") for n in range(99))]
    assert await names(site, filled, urlencode(tags)) == ["one", "two"]


class TestUsers:
    @pytest.fixture(autouse=True)
    async def users(self, site: Site, head: dict[str, str]) -> None:
        for user, day, status in (
            ("ada", 1, "COMPLETED"),
            ("ada", 3, "ERROR"),
            ("bob", 2, "COMPLETED"),
            ("", 2, "ERROR"),
            (None, 4, "COMPLETED"),
        ):
            failing = a_span(status="ERROR")
            body = a_trace(started_at=f"2026-03-0{day}", status=status, user_id=user)
            body["spans"] = [failing]
            assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202

    async def test_users_are_sorted_by_last_seen(self, site: Site, head: dict[str, str]) -> None:
        page = (await site.http.get("/traces/users", headers=head)).json()
        assert page.pop("items") == [
            {
                "user_id": "ada",
                "trace_count": 2,
                "first_seen": "2026-03-01T00:00:00+00:00",
                "last_seen": "2026-03-03T00:00:00+00:00",
                "error_count": 1,
            },
            *(
                {
                    "user_id": user,
                    "trace_count": 1,
                    "first_seen": "2026-03-02T00:00:00+00:00",
                    "last_seen": "2026-03-02T00:00:00+00:00",
                    "error_count": errors,
                }
                for user, errors in (("bob", 0), ("", 1))
            ),
        ]
        assert page == {"total": 3, "limit": 50, "offset": 0, "next_cursor": None}

    async def test_users_of_other_projects_are_hidden(self, site: Site) -> None:
        theirs = site.headers(project="theirs")
        assert (await site.http.get("/traces/users", headers=theirs)).json()["total"] == 0

    async def test_page_size_is_bounded(self, site: Site, head: dict[str, str]) -> None:
        refused = await site.http.get("/traces/users?limit=201&offset=-1", headers=head)
        assert set(field_errors(refused)) == {"query.limit", "query.offset"}
        page = (await site.http.get("/traces/users?limit=1&offset=1", headers=head)).json()
        assert [one["user_id"] for one in page["items"]] == ["bob"]
        assert (page["total"], page["limit"], page["offset"]) == (3, 1, 1)
