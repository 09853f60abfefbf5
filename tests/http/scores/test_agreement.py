"""Agreement with people over HTTP. What it means is tested in the domain, and over each adapter."""

from datetime import timedelta
from typing import Any

import pytest

from entrypoints.http.controllers.scores.agreement_schemas import NO_INTERVAL
from tests.http.conftest import Site, mistakes
from tests.support.builders.values import NOON
from tests.support.clients.scored_project import Scored

AGREEMENT = "/evaluations/analytics/agreement"
QUEUE = "/evaluations/analytics/annotation-queue"
NOTHING = {"value": None, "low": None, "high": None}


@pytest.fixture
async def shop(either: Site) -> Scored:
    """Of ten traces a judge passes 0 to 5 and fails the others; people label 0 to 7."""
    either.now = NOON
    found = await Scored.new(either)
    for n in range(10):
        trace = await found.stores()
        value = "0.9" if n < 6 else "0.2"
        await found.gives(trace_id=trace, value=value, source="AUTOMATED", reason=f"{n}")
        if n < 8:
            label = "1" if n in {0, 1, 2, 3, 7} else "0"
            await found.gives(trace_id=trace, value=label, source="ANNOTATION")
    return found


async def test_a_judge_is_held_against_people(shop: Scored) -> None:
    [found] = await shop.got(f"{AGREEMENT}?name=quality")
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


async def test_what_is_not_defined_is_null_with_its_reason(shop: Scored) -> None:
    [found] = await shop.got(f"{AGREEMENT}?name=quality&threshold=0")
    assert found["specificity"] == NOTHING | {"reason": "people failed nothing"}
    assert found["corrected_pass_rate"] == NOTHING | {"reason": "people failed nothing"}
    assert found["kappa"]["reason"].startswith("judge and people gave one and the same answer")
    assert found["pass_rate"]["value"] == 1.0
    # A judge that is wrong throughout: sensitivity and specificity come to 0.
    for judge, person in (("0", "1"), ("1", "0")):
        trace = await shop.stores()
        for value, source in ((judge, "AUTOMATED"), (person, "ANNOTATION")):
            await shop.gives(trace_id=trace, name="wrong", value=value, source=source)
    [found] = await shop.got(f"{AGREEMENT}?name=wrong")
    assert found["corrected_pass_rate"]["value"] is None
    assert "no better than chance" in found["corrected_pass_rate"]["reason"]
    assert found["spearman"] == NOTHING | {"reason": "fewer than 4 pairs"}
    # A judge that passes all agrees by chance alone, and by that exactly.
    for person in ("0", "1"):
        trace = await shop.stores()
        for value, source in (("0.66", "AUTOMATED"), (person, "ANNOTATION")):
            await shop.gives(trace_id=trace, name="kind", value=value, source=source)
    [found] = await shop.got(f"{AGREEMENT}?name=kind")
    assert str(found["weighted_kappa"]["value"]) == "0.0"  # and no -0.0
    assert found["kappa"] == NOTHING | {"value": 0.0, "reason": NO_INTERVAL}


async def test_agreement_is_of_what_was_made_within_the_dates(shop: Scored) -> None:
    tomorrow = (NOON + timedelta(days=1)).date().isoformat()
    assert await shop.got(f"{AGREEMENT}?name=quality&date_from={tomorrow}") == []
    assert len(await shop.got(f"{AGREEMENT}?name=quality&date_to={tomorrow}")) == 1


async def test_what_people_may_label_next(shop: Scored) -> None:
    page = await shop.got(f"{QUEUE}?name=quality")
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
    assert await shop.got(f"{QUEUE}?name=quality") == page
    assert await shop.got(f"{QUEUE}?name=quality&limit=1") == page[:1]
    await shop.gives(trace_id=page[0]["trace_id"], value="1")
    assert await shop.got(f"{QUEUE}?name=quality") == page[1:]
    assert await shop.got(f"{QUEUE}?name=other") == []


async def test_every_fifth_is_by_chance_and_stays_so_all_day(shop: Scored) -> None:
    for n in range(40):
        trace = await shop.stores()
        await shop.gives(trace_id=trace, name="n", value=f"0.{n + 10}", source="AUTOMATED")

    async def queue() -> Any:
        return await shop.got(f"{QUEUE}?name=n&limit=20&threshold=0.3")

    first = await queue()
    assert [one["why"] for one in first] == [*["uncertain"] * 4, "random"] * 4
    near = [abs(one["score"] - 0.3) for one in first if one["why"] == "uncertain"]
    assert near == sorted(near)
    assert len({one["trace_id"] for one in first}) == 20
    assert await queue() == first
    shop.site.now = NOON + timedelta(days=1)
    drawn = [one["trace_id"] for one in await queue() if one["why"] == "random"]
    assert drawn != [one["trace_id"] for one in first if one["why"] == "random"]


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
async def test_what_cannot_be_asked(site: Site, path: str, fields: set[str]) -> None:
    assert set(mistakes(await site.http.get(path, headers=site.headers()))) == fields


async def test_labels_are_of_one_project(shop: Scored) -> None:
    other = await Scored.new(shop.site)
    assert await other.got(f"{AGREEMENT}?name=quality") == []
    assert await other.got(f"{QUEUE}?name=quality") == []
