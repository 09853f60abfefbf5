"""Analytics over time: which rows, in which form."""

import zoneinfo
from collections.abc import Iterator
from typing import Any

import pytest

from domain.tracing.analytics import BUCKETS_MAX
from tests.http.conftest import Site, a_span, a_trace, field_errors

MARCH = "started_after=2026-03-01&started_before=2026-04-01"
VOLUME = ("volume", "errors", "latency")
USAGE = ("cost", "tokens")
HOUR = "2026-03-{:02}T{:02}:00:00+00:00"


@pytest.fixture
async def filled(site: Site, head: dict[str, str]) -> dict[str, str]:
    """Sunday the 1st, 22:00 and 23:00; Monday the 2nd, 00:00."""
    span = a_span(
        started_at="2026-03-02T00:30:00Z",
        model="gpt-4o",
        token_usage={"prompt_tokens": "12", "completion_tokens": 5.0},
        cost={"total": 0.5},
    )
    odd = {"prompt_tokens": 10.5, "completion_tokens": "n/a"}
    bodies = [
        {"started_at": "2026-03-01T22:00:00Z", "ended_at": "2026-03-01T22:00:01Z"},
        {"started_at": "2026-03-01T23:59:59Z", "ended_at": "2026-03-02T00:00:02Z"},
        {"started_at": "2026-03-02T00:00:00Z", "status": "ERROR", "session_id": "t"},
    ]
    for body in bodies[:2]:
        body["session_id"] = "s"
    bodies[0]["spans"] = [span, a_span(model="tiny", token_usage=odd), a_span()]
    for body in bodies:
        assert (await site.http.post("/traces", headers=head, json=a_trace(**body))).is_success
    return head


async def rows(site: Site, head: dict[str, str], query: str) -> Any:
    answer = await site.http.get(f"/traces/analytics?{query}", headers=head)
    assert answer.status_code == 200, answer.text
    return answer.json()


def volume(bucket: str, count: int, errors: int, *took: float | None) -> dict[str, Any]:
    names = ("avg_latency_ms", "p50_latency_ms", "p90_latency_ms", "p99_latency_ms")
    figures = dict(zip(names, took or [None] * 4, strict=True))
    counts = {"trace_count": count, "error_count": errors, "latency_count": count if took else 0}
    return {"bucket": bucket, **counts, **figures}


@pytest.mark.parametrize("metric", VOLUME)
async def test_traces_by_day(site: Site, filled: dict[str, str], metric: str) -> None:
    assert await rows(site, filled, f"{MARCH}&metric={metric}") == [
        volume(HOUR.format(1, 0), 2, 0, 2000.0, 2000.0, 2800.0, 2980.0),
        volume(HOUR.format(2, 0), 1, 1),
    ]


async def test_latencies_come_with_the_number_of_traces_that_have_one(
    site: Site, filled: dict[str, str]
) -> None:
    [week] = await rows(site, filled, "started_after=2026-03-02&started_before=2026-04-01")
    assert (week["trace_count"], week["latency_count"], week["avg_latency_ms"]) == (1, 0, None)
    [week] = await rows(site, filled, f"{MARCH}&granularity=week&session_id=s")
    assert (week["trace_count"], week["latency_count"]) == (2, 2)
    open_one = a_trace(started_at="2026-03-01T22:00:00Z", status="RUNNING", session_id="s")
    assert (await site.http.post("/traces", headers=filled, json=open_one)).is_success
    [week] = await rows(site, filled, f"{MARCH}&granularity=week&session_id=s")
    assert (week["trace_count"], week["latency_count"], week["avg_latency_ms"]) == (3, 2, 2_000)


async def test_traces_by_hour_and_by_week(site: Site, filled: dict[str, str]) -> None:
    by_hour = await rows(site, filled, f"{MARCH}&granularity=hour")
    assert [one["bucket"] for one in by_hour] == [
        HOUR.format(1, 22),
        HOUR.format(1, 23),
        HOUR.format(2, 0),
    ]
    by_week = await rows(site, filled, f"{MARCH}&granularity=week")
    assert [(one["bucket"], one["trace_count"]) for one in by_week] == [
        ("2026-02-23T00:00:00+00:00", 2),
        ("2026-03-02T00:00:00+00:00", 1),
    ]


@pytest.mark.parametrize("metric", USAGE)
async def test_usage_is_bucketed_by_the_start_of_spans(
    site: Site, filled: dict[str, str], metric: str
) -> None:
    none = {
        *("total_tokens", "prompt_tokens", "completion_tokens"),
        *("total_cost", "unpriced_span_count", "priced_span_count"),
        *("cached_tokens", "reasoning_tokens"),
    }
    some = {"total_tokens": 17, "prompt_tokens": 12, "completion_tokens": 5, "total_cost": 0.5}
    some |= {"priced_span_count": 1, "cached_tokens": 0, "reasoning_tokens": 0}
    assert await rows(site, filled, f"{MARCH}&metric={metric}") == [
        {"bucket": HOUR.format(1, 0)} | dict.fromkeys(none, 0),
        {"bucket": HOUR.format(2, 0), "unpriced_span_count": 0} | some,
    ]


async def test_models_have_no_buckets(site: Site, filled: dict[str, str]) -> None:
    for more in ("", "&granularity=hour"):
        assert await rows(site, filled, f"{MARCH}&metric=models{more}") == [
            {"model": "gpt-4o", "call_count": 1, "total_tokens": 17, "total_cost": 0.5}
            | {"unpriced_span_count": 0},
            {"model": "tiny", "call_count": 1, "total_tokens": 0, "total_cost": 0.0}
            | {"unpriced_span_count": 0},
        ]


async def test_sessions_are_bucketed_by_their_start(site: Site, filled: dict[str, str]) -> None:
    answer = await site.http.get(f"/sessions/analytics?{MARCH}", headers=filled)
    assert answer.json() == [
        {
            "bucket": HOUR.format(1, 0),
            "session_count": 1,
            "avg_traces_per_session": 2.0,
            "avg_session_duration_ms": 4000.0,
            "duration_count": 1,
        },
        {
            "bucket": HOUR.format(2, 0),
            "session_count": 1,
            "avg_traces_per_session": 1.0,
            "avg_session_duration_ms": None,
            "duration_count": 0,
        },
    ]


@pytest.mark.parametrize("path", ["/traces/analytics", "/sessions/analytics"])
@pytest.mark.parametrize(
    ("after", "before", "count"),
    [
        ("2026-03-01T22:00:00Z", "2026-03-02T00:00:00Z", 1),
        ("2026-03-02", "2026-03-02T00:00:00.000001Z", 1),
        ("2026-03-02T00:00:00.000001Z", "2026-03-03", 0),
        ("2026-04-01", "2026-03-01", 0),
        ("2026-03-02", "2026-03-02", 0),
        ("0001-01-01", "9999-12-31", 2),
    ],
)
async def test_period_includes_its_start_and_excludes_its_end(
    site: Site, filled: dict[str, str], path: str, after: str, before: str, count: int
) -> None:
    query = f"started_after={after}&started_before={before}"
    assert len((await site.http.get(f"{path}?{query}", headers=filled)).json()) == count


@pytest.mark.parametrize("path", ["/traces/analytics", "/sessions/analytics"])
async def test_analytics_cover_one_project(site: Site, filled: dict[str, str], path: str) -> None:
    theirs = site.headers(project="theirs")
    assert (await site.http.get(f"{path}?{MARCH}", headers=theirs)).json() == []


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("", {"started_after", "started_before"}),
        ("started_after=2026-03-01", {"started_before"}),
        ("started_before=x&granularity=month", {"started_after", "started_before", "granularity"}),
        (f"{MARCH}&granularity=Day", {"granularity"}),
    ],
)
async def test_invalid_parameters_are_named(
    site: Site, head: dict[str, str], query: str, fields: set[str]
) -> None:
    for path in ("/traces/analytics", "/sessions/analytics"):
        refused = await site.http.get(f"{path}?{query}", headers=head)
        assert set(field_errors(refused)) == {f"query.{one}" for one in fields}
    refused = await site.http.get(f"/traces/analytics?{query}&metric=money", headers=head)
    assert set(field_errors(refused)) == {f"query.{one}" for one in (*fields, "metric")}


async def test_too_many_buckets_are_refused_with_advice(site: Site, head: dict[str, str]) -> None:
    for first in range(0, BUCKETS_MAX + 1, 500):
        hours = range(first, min(first + 500, BUCKETS_MAX + 1))
        batch = {"traces": [a_trace(started_at=3600 * hour) for hour in hours]}
        assert (await site.http.post("/traces/batch", headers=head, json=batch)).is_success
    query = "started_after=1970-01-01&started_before=1990-01-01&granularity="
    refused = await site.http.get(f"/traces/analytics?{query}hour", headers=head)
    assert refused.status_code == 422
    assert "started_after" in refused.json()["detail"]
    assert [one["field"] for one in refused.json()["errors"]] == [""]
    daily = await site.http.get(f"/traces/analytics?{query}day", headers=head)
    assert len(daily.json()) == BUCKETS_MAX // 24 + 1


# --- groups, conditions, zones ---------------------------------------------------------------


@pytest.fixture
async def varied(site: Site, filled: dict[str, str]) -> dict[str, str]:
    """Three more traces, by release, on the 5th."""
    for release, status in (("1", "ERROR"), ("1", "COMPLETED"), (None, "COMPLETED")):
        spans = [a_span(started_at="2026-03-05T23:30:00Z", model="gpt-4o", cost={"total": 1})]
        body = a_trace(
            started_at="2026-03-05T23:30:00Z", release=release, status=status, spans=spans
        )
        assert (await site.http.post("/traces", headers=filled, json=body)).is_success
    return filled


async def test_traces_by_release(site: Site, varied: dict[str, str]) -> None:
    of_none, of_1 = await rows(site, varied, f"{MARCH}&by=release")
    assert (of_none["kind"], of_none["key"], of_none["total"]["trace_count"]) == ("none", None, 4)
    assert (of_1["kind"], of_1["key"], of_1["group_count"]) == ("value", "1", 1)
    assert of_1["total"]["error_count"] == 1
    assert [one["bucket"] for one in of_1["buckets"]] == [HOUR.format(5, 0)]
    [first, other] = await rows(site, varied, f"{MARCH}&by=release&limit=1&metric=cost")
    assert (first["key"], first["total"]["total_cost"]) == ("1", 2.0)
    assert (other["kind"], other["group_count"], other["total"]["cached_tokens"]) == (
        "other",
        1,
        None,
    )


async def test_usage_by_model_is_that_of_spans(site: Site, varied: dict[str, str]) -> None:
    found = await rows(site, varied, f"{MARCH}&by=model&metric=cost")
    assert [(one["kind"], one["key"], one["total"]["total_cost"]) for one in found] == [
        ("value", "gpt-4o", 3.5),
        ("value", "tiny", 0.0),
        ("none", None, 0.0),
    ]
    assert found[0]["total"]["priced_span_count"] == 4
    assert [one["bucket"] for one in found[0]["buckets"]] == [HOUR.format(2, 0), HOUR.format(5, 0)]


async def test_conditions_are_those_of_the_list(site: Site, varied: dict[str, str]) -> None:
    for condition in ("release=1", "status=ERROR", "session_id=s", "not_release=1", "name=zzz"):
        listed = await site.http.get(f"/traces?{MARCH}&{condition}", headers=varied)
        counted = await rows(site, varied, f"{MARCH}&{condition}&granularity=week")
        assert sum(one["trace_count"] for one in counted) == listed.json()["total"]
    [day] = await rows(site, varied, f"{MARCH}&release=1&metric=tokens")
    assert (day["total_cost"], day["priced_span_count"]) == (2.0, None)


async def test_days_of_a_time_zone(site: Site, varied: dict[str, str]) -> None:
    in_utc = await rows(site, varied, f"{MARCH}&tz=UTC")
    assert [one["bucket"] for one in in_utc] == [HOUR.format(n, 0) for n in (1, 2, 5)]
    in_berlin = await rows(site, varied, f"{MARCH}&tz=Europe/Berlin")
    assert [(one["bucket"], one["trace_count"]) for one in in_berlin] == [
        ("2026-02-28T23:00:00+00:00", 1),
        (HOUR.format(1, 23), 2),
        (HOUR.format(5, 23), 3),
    ]


@pytest.fixture(params=["America/Buenos_Aires", "Asia/Saigon", "Europe/Kiev"])
def old_name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A time zone as Chromium names it, on a machine without a database of time zones."""
    name: str = request.param
    zoneinfo.reset_tzpath(to=())
    zoneinfo.ZoneInfo.clear_cache(only_keys=[name])
    yield name
    zoneinfo.reset_tzpath()


async def test_time_zones_of_browsers_are_known(
    site: Site, varied: dict[str, str], old_name: str
) -> None:
    found = await rows(site, varied, f"{MARCH}&tz={old_name}")
    assert sum(one["trace_count"] for one in found) == 6
    assert HOUR.format(2, 0) not in [one["bucket"] for one in found]


@pytest.mark.parametrize("metric", [*VOLUME, *USAGE])
async def test_empty_buckets_are_filled(site: Site, varied: dict[str, str], metric: str) -> None:
    week = "started_after=2026-03-01&started_before=2026-03-08&fill=true"
    days = [HOUR.format(n, 0) for n in range(1, 8)]
    found = await rows(site, varied, f"{week}&metric={metric}")
    assert [one["bucket"] for one in found] == days
    if metric in VOLUME:
        assert found[-1] == volume(days[-1], 0, 0)
    for by in ("environment", "model") if metric in USAGE else ("environment",):
        for group in await rows(site, varied, f"{week}&metric={metric}&by={by}"):
            assert [one["bucket"] for one in group["buckets"]] == days
    in_berlin = await rows(site, varied, f"{week}&metric={metric}&tz=Europe/Berlin")
    local = ["2026-02-28T23:00:00+00:00", *(HOUR.format(n, 23) for n in range(1, 8))]
    assert [one["bucket"] for one in in_berlin] == local


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("tz=Europe/Atlantis", "query.tz"),
        ("tz=../../etc/passwd", "query.tz"),
        ("tz=Europe", "query.tz"),
        ("tz=Asia/Kolkata", "query.tz"),
        ("by=model", "query.by"),
        ("by=model&metric=cost&environment=prod", "query.by"),
        ("metric=models&release=1", "query.metric"),
        ("metric=models&by=release", "query.by"),
        ("metric=models&by=model", "query.by"),
        ("by=tag", "query.by"),
        ("by=name&limit=51", "query.limit"),
    ],
)
async def test_groupings_without_figures_are_refused(
    site: Site, head: dict[str, str], query: str, field: str
) -> None:
    answer = await site.http.get(f"/traces/analytics?{MARCH}&{query}", headers=head)
    assert answer.status_code == 422
    assert list(field_errors(answer)) == [field]


async def test_filled_buckets_are_limited(site: Site, head: dict[str, str]) -> None:
    period = "started_after=2020-01-01&started_before=2026-01-01&granularity=hour"
    answer = await site.http.get(f"/traces/analytics?{period}&fill=true", headers=head)
    assert (answer.status_code, str(BUCKETS_MAX) in answer.json()["detail"]) == (422, True)
