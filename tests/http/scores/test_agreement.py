"""Agreement with human labels over HTTP; the domain's tests have the statistics."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest

from entrypoints.http.controllers.scores.agreement import NO_INTERVAL
from tests.http.conftest import Site, field_errors
from tests.support.builders.values import NOON
from tests.support.clients.scored_project import ScoredProject

AGREEMENT = "/evaluations/analytics/agreement"
QUEUE = "/evaluations/analytics/annotation-queue"
CLAIMS = f"{QUEUE}/claims"
NOTHING = {"value": None, "low": None, "high": None}


@pytest.fixture
async def shop(either: Site) -> ScoredProject:
    """Ten traces: a judge passes 0 to 5 and fails the others; people label 0 to 7."""
    either.now = NOON
    found = await ScoredProject.new(either)
    for n in range(10):
        trace = await found.store_trace()
        value = "0.9" if n < 6 else "0.2"
        await found.add_judged_score(trace_id=trace, value=value, reason=f"{n}")
        if n < 8:
            label = "1" if n in {0, 1, 2, 3, 7} else "0"
            await found.add_score(trace_id=trace, value=label, source="ANNOTATION")
    return found


async def queue_of(shop: ScoredProject, query: str) -> Any:
    return (await shop.read(f"{QUEUE}?{query}"))["items"]


async def test_judge_is_compared_with_human_labels(shop: ScoredProject) -> None:
    [found] = await shop.read(f"{AGREEMENT}?name=quality")
    assert list(found) == [
        *("fingerprint", "judge_kind", "n", "calibrated", "confusion", "agreement", "kappa"),
        *("weighted_kappa", "spearman", "mean_absolute_error", "sensitivity", "specificity"),
        *("judged", "pass_rate", "corrected_pass_rate"),
    ]
    assert found["fingerprint"] is None
    assert (found["n"], found["calibrated"], found["judged"]) == (8, False, 10)
    assert found["confusion"] == {
        "both_pass": 4,
        "only_judge_passes": 2,
        "only_people_pass": 1,
        "both_fail": 1,
    }
    assert found["agreement"]["value"] == 0.625
    assert found["sensitivity"]["value"] == 0.8
    assert found["specificity"]["value"] == 0.3333
    assert found["pass_rate"]["value"] == 0.6
    for name in ("agreement", "kappa", "weighted_kappa", "spearman", "corrected_pass_rate"):
        figure = found[name]
        assert figure["low"] <= figure["value"] <= figure["high"]
        assert figure["reason"] is None


async def test_traces_of_each_cell_are_listed(shop: ScoredProject) -> None:
    traces = [one["trace_id"] for one in (await shop.read("/traces?limit=200"))["items"]]
    [found] = await shop.read(f"{AGREEMENT}?name=quality")
    listed = []
    for cell, count in found["confusion"].items():
        page = await shop.read(f"{AGREEMENT}/traces?name=quality&cell={cell}")
        assert (page["total"], len(page["items"])) == (count, count)
        assert await shop.read(f"{AGREEMENT}/traces?name=quality&cell={cell}&fingerprint=") == page
        for one in page["items"]:
            assert (one["judge"] >= 0.5) == (cell in {"both_pass", "only_judge_passes"})
            assert (one["person"] >= 0.5) == (cell in {"both_pass", "only_people_pass"})
        listed += [one["trace_id"] for one in page["items"]]
    assert len(set(listed)) == len(listed) == 8
    assert set(listed) < set(traces)
    other = f"{AGREEMENT}/traces?name=quality&cell=both_pass"
    assert (await shop.read(f"{other}&fingerprint=f"))["items"] == []
    assert (await shop.read(f"{other}&threshold=0"))["total"] == 8
    assert (await shop.read(f"{other}&date_to=2026-01-01"))["total"] == 0
    wrong = await shop("GET", f"{AGREEMENT}/traces?name=quality&cell=both")
    assert set(field_errors(wrong)) == {"query.cell"}


async def test_undefined_statistics_are_null_with_a_reason(shop: ScoredProject) -> None:
    [found] = await shop.read(f"{AGREEMENT}?name=quality&threshold=0")
    assert found["specificity"] == NOTHING | {"reason": "people failed nothing"}
    assert found["corrected_pass_rate"] == NOTHING | {"reason": "people failed nothing"}
    assert found["kappa"]["reason"].startswith("judge and people gave one and the same answer")
    assert found["pass_rate"]["value"] == 1.0
    # A judge that is always wrong: sensitivity and specificity are 0.
    for judge, person in (("0", "1"), ("1", "0")):
        trace = await shop.store_trace()
        await shop.add_judged_score(trace_id=trace, name="wrong", value=judge)
        await shop.add_score(trace_id=trace, name="wrong", value=person)
    [found] = await shop.read(f"{AGREEMENT}?name=wrong")
    assert found["corrected_pass_rate"]["value"] is None
    assert "no better than chance" in found["corrected_pass_rate"]["reason"]
    assert found["spearman"] == NOTHING | {"reason": "fewer than 4 pairs"}
    # A judge that passes everything agrees exactly by chance.
    for person in ("0", "1"):
        trace = await shop.store_trace()
        await shop.add_judged_score(trace_id=trace, name="kind", value="0.66")
        await shop.add_score(trace_id=trace, name="kind", value=person)
    [found] = await shop.read(f"{AGREEMENT}?name=kind")
    assert str(found["weighted_kappa"]["value"]) == "0.0"  # not -0.0
    assert found["kappa"] == NOTHING | {"value": 0.0, "reason": NO_INTERVAL}


async def test_agreement_covers_the_period_only(shop: ScoredProject) -> None:
    tomorrow = (NOON + timedelta(days=1)).date().isoformat()
    assert await shop.read(f"{AGREEMENT}?name=quality&date_from={tomorrow}") == []
    assert len(await shop.read(f"{AGREEMENT}?name=quality&date_to={tomorrow}")) == 1


async def test_annotation_queue_lists_unlabelled_scores(shop: ScoredProject) -> None:
    page = await queue_of(shop, "name=quality")
    assert [list(one) for one in page] == [
        [
            *("trace_id", "score_id", "score", "reason"),
            *("fingerprint", "judge_kind", "created_at", "why"),
        ]
    ] * 2
    assert {(one["score"], one["reason"], one["why"]) for one in page} == {
        (0.2, "8", "uncertain"),
        (0.2, "9", "uncertain"),
    }
    assert await queue_of(shop, "name=quality") == page
    assert await queue_of(shop, "name=quality&limit=1") == page[:1]
    await shop.add_score(trace_id=page[0]["trace_id"], value="1")
    assert await queue_of(shop, "name=quality") == page[1:]
    assert await queue_of(shop, "name=other") == []


async def test_every_fifth_item_is_random_and_stable_for_a_day(shop: ScoredProject) -> None:
    for n in range(40):
        trace = await shop.store_trace()
        await shop.add_judged_score(trace_id=trace, name="n", value=f"0.{n + 10}")

    async def queue() -> Any:
        return await queue_of(shop, "name=n&limit=20&threshold=0.3")

    first = await queue()
    assert [one["why"] for one in first] == [*["uncertain"] * 4, "random"] * 4
    near = [abs(one["score"] - 0.3) for one in first if one["why"] == "uncertain"]
    assert near == sorted(near)
    assert len({one["trace_id"] for one in first}) == 20
    assert await queue() == first
    shop.site.now = NOON + timedelta(days=1)
    drawn = [one["trace_id"] for one in await queue() if one["why"] == "random"]
    assert drawn != [one["trace_id"] for one in first if one["why"] == "random"]


async def test_posted_score_does_not_count_as_a_judge_score(shop: ScoredProject) -> None:
    trace = await shop.store_trace()
    forged = {"judge_kind": "model", "fingerprint": "f", "original_value": "1"}
    for source in ("AUTOMATED", "PROGRAMMATIC"):
        await shop.add_score(trace_id=trace, name="n", source=source, metadata=forged)
    await shop.add_score(trace_id=trace, name="n", value="1")
    assert await shop.read(f"{AGREEMENT}?name=n") == []
    assert await queue_of(shop, "name=n") == []


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (AGREEMENT, {"query.name"}),
        (f"{AGREEMENT}?name=n&threshold=1.1&date_from=x", {"query.threshold", "query.date_from"}),
        (f"{AGREEMENT}?name=n&threshold=nan", {"query.threshold"}),
        (f"{QUEUE}?limit=0&threshold=-1", {"query.name", "query.limit", "query.threshold"}),
        (f"{QUEUE}?name=n&limit=101", {"query.limit"}),
    ],
)
async def test_invalid_parameters_are_named(site: Site, path: str, fields: set[str]) -> None:
    assert set(field_errors(await site.http.get(path, headers=site.headers()))) == fields


async def test_labels_of_other_projects_are_ignored(shop: ScoredProject) -> None:
    other = await ScoredProject.new(shop.site)
    assert await other.read(f"{AGREEMENT}?name=quality") == []
    assert await queue_of(other, "name=quality") == []


# --- several people label one queue ----------------------------------------------------------


async def claim(shop: ScoredProject, **body: Any) -> Any:
    answer = await shop("POST", CLAIMS, {"name": "quality"} | body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_queue_tells_its_length_and_what_was_labelled_today(shop: ScoredProject) -> None:
    queue = await shop.read(f"{QUEUE}?name=quality&limit=1")
    assert (len(queue["items"]), queue["queue_length"], queue["labelled_today"]) == (1, 2, 8)
    shop.site.now = NOON + timedelta(days=1)
    tomorrow = await shop.read(f"{QUEUE}?name=quality")
    assert (tomorrow["queue_length"], tomorrow["labelled_today"]) == (2, 0)


async def test_previews_are_shown_where_asked_for(shop: ScoredProject) -> None:
    trace = await shop.store_trace(input={"messages": [{"role": "user", "content": "hello"}]})
    await shop.add_judged_score(trace_id=trace, name="seen", value="0.5")
    [plain] = await queue_of(shop, "name=seen")
    assert plain.keys().isdisjoint({"input_preview", "output_preview", "claimed_until"})
    [item] = await queue_of(shop, "name=seen&include=preview")
    assert (item["input_preview"], item["output_preview"]) == ("hello", None)
    [claimed] = (await claim(shop, name="seen"))["items"]
    assert "input_preview" not in claimed
    answer = await shop("POST", f"{CLAIMS}?include=preview", {"name": "seen"})
    [again] = answer.json()["items"]
    assert again == item | {"claimed_until": claimed["claimed_until"]}
    refused = await shop("GET", f"{QUEUE}?name=seen&include=all", None)
    assert refused.status_code == 422


async def test_holders_of_one_key_get_different_items(shop: ScoredProject) -> None:
    first, second = await claim(shop, count=1, holder="a"), await claim(shop, count=1, holder="b")
    [mine], [theirs] = first["items"], second["items"]
    assert mine["trace_id"] != theirs["trace_id"]
    assert mine["claimed_until"] == "2026-03-01T12:10:00+00:00"
    assert (await claim(shop, count=1, holder="a"))["items"] == [mine]
    assert (await claim(shop, count=1, holder="c"))["items"] == []
    assert first["queue_length"] == 2
    skipped = await claim(shop, count=1, holder="a", skip=[mine["trace_id"]])
    assert skipped["items"] == []
    [given] = (await claim(shop, count=1, holder="c"))["items"]
    assert given["trace_id"] == mine["trace_id"]


async def test_parallel_claims_share_no_item(shop: ScoredProject) -> None:
    for n in range(12):
        trace = await shop.store_trace()
        await shop.add_judged_score(trace_id=trace, name="many", value=f"0.{n + 10}")
    found = await asyncio.gather(
        *(claim(shop, name="many", count=2, holder=f"{n}") for n in range(8))
    )
    given = [one["trace_id"] for some in found for one in some["items"]]
    assert len(given) == len(set(given)) == 12


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"count": 0}, "count"),
        ({"count": 21}, "count"),
        ({"holder": "x" * 65}, "holder"),
        ({"skip": [str(uuid.uuid4())] * 101}, "skip"),
        ({"skip": ["x"]}, "skip.0"),
        ({"threshold": 2}, "threshold"),
        ({"who": "me"}, "who"),
    ],
)
async def test_claims_are_bounded(shop: ScoredProject, overrides: Any, field: str) -> None:
    answer = await shop("POST", CLAIMS, {"name": "quality"} | overrides)
    assert answer.status_code == 422
    assert {one.removeprefix("body.") for one in field_errors(answer)} == {field}
