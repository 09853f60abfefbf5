"""Analytics of scores over HTTP; the domain's tests have the statistics."""

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from tests.http.conftest import Site, field_errors
from tests.support.builders.values import NOON
from tests.support.clients.scored_project import ScoredProject

FIGURES = "/evaluations/analytics"
KINDS = ("trace", "session")


@pytest.fixture
async def shop(either: Site) -> ScoredProject:
    """Scores 0.25, 0.5 and 1.0 of `n` on three days, and two without numbers."""
    found = await ScoredProject.new(either)
    for add_score in (found.add_score, found.add_session_score):
        for day, value in enumerate(("0.25", "0.5", "1.0")):
            either.now = NOON + timedelta(days=day)
            await add_score(name="n", value=value)
        await add_score(name="n", value="true", data_type="BOOLEAN")
        await add_score(name="m", value="good", data_type="CATEGORICAL")
    return found


async def figures(shop: ScoredProject, kind: str, path: str) -> Any:
    return await shop.read(f"{FIGURES}/{kind}-scores/{path}")


@pytest.mark.parametrize("kind", KINDS)
async def test_summary_of_each_name(shop: ScoredProject, kind: str) -> None:
    nothing = dict.fromkeys(("avg_score", "min_score", "max_score", "median_score"))
    last = "2026-03-03T12:00:00+00:00"
    rest = {
        "failed_count": 0,
        "latest_score_at": last,
        "judge_kind": None,
        "from_runs": False,
        "left_out_count": 0,
        "skipped_count": 0,
        "pending_count": 0,
        "passed_count": None,
        "threshold_count": 0,
        "min_threshold": None,
        "max_threshold": None,
        "fingerprints": [],
    }
    assert await figures(shop, kind, "summary") == [
        {"metric_name": "m"} | nothing | {"success_count": 1, "count": 0} | rest,
        {
            "metric_name": "n",
            "avg_score": pytest.approx(7 / 12),
            "min_score": 0.25,
            "max_score": 1.0,
            "median_score": 0.5,
            "success_count": 4,
            "count": 3,
        }
        | rest,
    ]
    [one] = await figures(shop, kind, "summary?date_from=2026-03-02&date_to=2026-03-03")
    assert (one["avg_score"], one["success_count"]) == (0.5, 1)


@pytest.mark.parametrize("kind", KINDS)
async def test_trend_by_time(shop: ScoredProject, kind: str) -> None:
    found = await figures(shop, kind, "trend?metric_name=n")
    assert found[2] == {
        "bucket": "2026-03-03T00:00:00+00:00",
        "metric_name": "n",
        "avg_score": 1.0,
        "count": 1,
        **dict.fromkeys(("p10", "p50", "p90"), 1.0),
        "success_count": 2,
        **dict.fromkeys(("skipped_count", "failed_count", "pending_count"), 0),
        "passed_count": None,
        "threshold_count": 0,
        "judge_kind": None,
        "fingerprints": [],
    }
    assert [(one["bucket"], one["avg_score"], one["count"]) for one in found] == [
        ("2026-03-01T00:00:00+00:00", 0.25, 1),
        ("2026-03-02T00:00:00+00:00", 0.5, 1),
        ("2026-03-03T00:00:00+00:00", 1.0, 1),
    ]
    weeks = await figures(shop, kind, "trend?metric_name=n&granularity=week&date_from=2026-03-02")
    assert [(one["bucket"], one["count"]) for one in weeks] == [("2026-03-02T00:00:00+00:00", 2)]
    assert await figures(shop, kind, "trend?metric_name=m") == []
    both = await figures(shop, kind, "trend?metric_name=m&metric_name=n&empty_buckets=true")
    assert [(one["metric_name"], one["avg_score"], one["success_count"]) for one in both] == [
        ("m", None, 1),
        *(("n", 0.25, 1), ("n", 0.5, 1), ("n", 1.0, 2)),
    ]


@pytest.mark.parametrize("kind", KINDS)
async def test_distribution_in_buckets(shop: ScoredProject, kind: str) -> None:
    found = await figures(shop, kind, "distribution?metric_name=n&buckets=4")
    rest = dict.fromkeys(("skipped_count", "failed_count", "pending_count"), 0)
    whole = rest | {"success_count": 4}
    assert found == [
        {"bucket": 2, "bucket_min": 0.25, "bucket_max": 0.5, "count": 1} | whole,
        {"bucket": 3, "bucket_min": 0.5, "bucket_max": 0.75, "count": 1} | whole,
        {"bucket": 4, "bucket_min": 0.75, "bucket_max": 1.0, "count": 1} | whole,
    ]
    ten = await figures(shop, kind, "distribution?metric_name=n&date_to=2026-03-02")
    one = rest | {"success_count": 1}
    assert ten == [{"bucket": 3, "bucket_min": 0.2, "bucket_max": 0.3, "count": 1} | one]
    nothing = await figures(shop, kind, "distribution?metric_name=m&buckets=2&empty_buckets=true")
    assert [(one["count"], one["success_count"]) for one in nothing] == [(0, 1), (0, 1)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("summary?date_from=x&date_to=x", {"query.date_from", "query.date_to"}),
        ("trend", {"query.metric_name"}),
        ("trend?granularity=year", {"query.metric_name", "query.granularity"}),
        ("distribution?buckets=0", {"query.metric_name", "query.buckets"}),
        ("distribution?metric_name=n&buckets=101", {"query.buckets"}),
        (
            "trend?judge_kind=rule" + "&metric_name=n" * 21,
            {"query.judge_kind", "query.metric_name"},
        ),
    ],
)
async def test_names_without_numbers_have_no_statistics(
    site: Site, kind: str, path: str, fields: set[str]
) -> None:
    where = f"{FIGURES}/{kind}-scores/{path}"
    assert set(field_errors(await site.http.get(where, headers=site.headers()))) == fields


async def test_history_has_the_newest_in_order(shop: ScoredProject) -> None:
    where = f"history/{quote(shop.session, safe='')}"
    found = await figures(shop, "session", f"{where}?limit=2&metric_name=n")
    assert found == [
        {
            "metric_name": "n",
            "score": score,
            "eval_run_id": None,
            "created_at": f"2026-03-0{day}T12:00:00+00:00",
            "status": "SUCCESS",
            "source": "ANNOTATION",
        }
        for score, day in ((0.5, 2), (1.0, 3))
    ]
    assert len(await figures(shop, "session", where)) == 3
    assert await figures(shop, "session", f"{where}?metric_name=m") == []
    assert await figures(shop, "session", "history/nowhere") == []
    wrong = await shop("GET", f"{FIGURES}/session-scores/{where}?limit=201")
    assert set(field_errors(wrong)) == {"query.limit"}


async def test_sessions_are_compared(shop: ScoredProject) -> None:
    for session, value in (("b", "0.5"), ("a", "0.5"), ("c", "0.75")):
        await shop.store_trace(session_id=session)
        await shop.add_session_score(session_id=session, name="n", value=value)
    page = await figures(shop, "session", "comparison?metric_name=n")
    assert (page["total"], page["limit"], page["offset"]) == (4, 20, 0)
    assert page["items"][0] == {
        "session_id": "a",
        "score": 0.5,
        "evaluated_at": "2026-03-03T12:00:00+00:00",
        "eval_run_id": None,
        "source": "ANNOTATION",
    }
    for order, expected in (
        ("asc", ["a", "b", "c", shop.session]),
        ("desc", [shop.session, "c", "a", "b"]),
    ):
        path = f"comparison?metric_name=n&sort_order={order}&limit=1"
        seen, cursor = [], ""
        while len(seen) < 9:
            page = await figures(shop, "session", f"{path}{cursor}")
            seen += [one["session_id"] for one in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert seen == expected
        second = await figures(shop, "session", f"{path}&offset=1")
        assert [one["session_id"] for one in second["items"]] == expected[1:2]


async def test_invalid_comparisons_are_refused(shop: ScoredProject) -> None:
    where = f"{FIGURES}/session-scores/comparison"
    wrong = await shop("GET", f"{where}?sort_order=up&limit=101&offset=-1&cursor=x")
    names = ("metric_name", "sort_order", "limit", "offset", "cursor")
    assert set(field_errors(wrong)) == {f"query.{name}" for name in names}
    await shop.store_trace(session_id="b")
    await shop.add_session_score(session_id="b", name="n")
    cursor = (await shop.read(f"{where}?metric_name=n&limit=1"))["next_cursor"]
    for other in ("metric_name=m", "metric_name=n&sort_order=desc", "metric_name=n&offset=1"):
        refused = await shop("GET", f"{where}?{other}&cursor={cursor}")
        assert set(field_errors(refused)) == {"query.cursor"}


async def test_analytics_cover_one_project(shop: ScoredProject) -> None:
    other = await ScoredProject.new(shop.site)
    for kind in KINDS:
        assert await figures(other, kind, "summary") == []
        assert await figures(other, kind, "trend?metric_name=n") == []
        assert await figures(other, kind, "distribution?metric_name=n") == []
    where = f"history/{quote(shop.session, safe='')}"
    assert await figures(other, "session", where) == []
    assert (await figures(other, "session", "comparison?metric_name=n"))["total"] == 0
