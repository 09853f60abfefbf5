"""Contract of AnnotationClaims, run against every adapter."""

import asyncio
import uuid
from datetime import timedelta

import pytest

from domain.errors import Unavailable
from domain.evaluation.agreement.calibration import RANDOM_EVERY, SelectionReason
from domain.evaluation.agreement.claims import CLAIM_TIME, ClaimRequest, QueueProgress
from domain.evaluation.scores.score import DataType, ScoreChange
from tests.support.builders.scores import ADA, AUTOMATED, PROGRAMMATIC, trace_score
from tests.support.builders.values import NOON, at, trace
from tests.support.fixtures.data_plane import fill, project
from tests.support.waiting import until_done

NAME, COUNT = "m", 12
DAY = NOON.replace(hour=0)
LATER = NOON + timedelta(minutes=1)


@pytest.fixture
def claims(plane):
    return plane.evaluation.annotation_claims


@pytest.fixture
def ours():
    return project()


def traces(of, count=COUNT):
    return [uuid.uuid5(of, f"{n}") for n in range(count)]


@pytest.fixture
async def queue(plane, ours):
    """The traces with a score each: the first one is nearest to the threshold."""
    known = traces(ours)
    await fill(plane, ours, *(trace(id=one) for one in known))
    for n, one in enumerate(known):
        await judged(plane, ours, one, f"0.{50 + n}")
    return known


async def judged(plane, of, one, value, name=NAME):
    score = trace_score(of, one, name=name, value=value, source=AUTOMATED)
    return await plane.evaluation.trace_scores.add(score)


@pytest.fixture
def label(plane, ours):
    async def label(one, **overrides):
        known = {"name": NAME, "value": "1", "created_at": NOON}
        return await plane.evaluation.trace_scores.add(trace_score(ours, one, **known | overrides))

    return label


def ask(holder, count=3, **overrides):
    known = {"name": NAME, "threshold": 0.5, "seed": "a day", "day": DAY, "now": NOON}
    return ClaimRequest(
        **known | {"holder": holder, "count": count, "skipped": frozenset()} | overrides
    )


@pytest.fixture
def claim(claims, ours):
    """Returns a function that claims items and returns their traces."""

    async def claim(holder, count=3, of=None, **overrides):
        found = await claims.claim(of or ours, ask(holder, count, **overrides))
        return [one.claim.trace for one in found.items]

    return claim


async def test_two_holders_get_different_items(claim, queue):
    first, second = await claim("a", 2), await claim("b", 2)
    assert len({*first, *second}) == 4
    assert set(first) == set(queue[:2])


async def test_holder_gets_own_items_again_and_new_ones_after_them(claim, queue):
    first = await claim("a", 2)
    assert await claim("a", 2) == first
    assert (await claim("a", 3, now=LATER))[:2] == first
    assert len(await claim("a", 3)) == 3
    assert await claim("a", 1) == first[:1]


async def test_claim_says_until_when_and_why(claims, ours, queue):
    [one] = (await claims.claim(ours, ask("a", 1))).items
    assert (one.claim.trace, one.item.score.trace_id) == (queue[0], queue[0])
    assert (one.claim.why, one.item.why) == (SelectionReason.UNCERTAIN,) * 2
    assert (one.claim.claimed_at, one.claim.expires_at) == (NOON, NOON + CLAIM_TIME)
    [again] = (await claims.claim(ours, ask("a", 1, now=LATER))).items
    assert again.item == one.item
    assert (again.claim.claimed_at, again.claim.expires_at) == (NOON, LATER + CLAIM_TIME)


async def test_expired_claim_is_free(claim, queue):
    first = await claim("a", 2)
    over = NOON + CLAIM_TIME
    assert await claim("b", 2, now=over) == first
    assert not {*first} & {*await claim("a", 2, now=over)}


async def test_labelled_item_is_replaced_and_comes_back_if_undone(claim, plane, ours, queue, label):
    first, second = await claim("a", 2)
    given = await label(first)
    [kept, new] = await claim("a", 2)
    assert (kept, new == first) == (second, False)
    await plane.evaluation.trace_scores.delete(ours, given.id)
    assert (await claim("a", 3))[0] == first
    assert first not in await claim("b", COUNT)


async def test_skipped_items_are_given_to_others(claim, queue):
    first = await claim("a", 2)
    skipped = frozenset({first[0], uuid.uuid4()})
    again = await claim("a", 2, skipped=skipped)
    assert (again[0], first[0] in again) == (first[1], False)
    assert (await claim("b", 1)) == [first[0]]
    assert first[0] not in await claim("a", COUNT, skipped=frozenset(), now=LATER)


async def test_skipping_what_others_hold_changes_nothing(claim, queue):
    [held] = await claim("a", 1)
    await claim("b", 1, skipped=frozenset({held}))
    assert held not in await claim("c", 3)
    assert await claim("a", 1) == [held]


async def test_every_fifth_item_is_random_over_all_requests(claims, ours, queue, label):
    seen = []
    for n in range(10):
        [one] = (await claims.claim(ours, ask(f"{n % 3}", 1))).items
        seen.append(one.item.why)
        await label(one.claim.trace)
    assert [n for n, why in enumerate(seen, 1) if why is SelectionReason.RANDOM] == [
        RANDOM_EVERY,
        2 * RANDOM_EVERY,
    ]


async def test_concurrent_holders_never_share_an_item(claim, queue):
    found = await asyncio.gather(*(claim(f"{n}", 3) for n in range(8)))
    given = [one for some in found for one in some]
    assert sorted(given) == sorted(queue)
    assert {len(some) for some in found} <= {0, 3}


async def test_concurrent_requests_of_a_holder_get_the_same(claim, queue):
    first, *others = await asyncio.gather(*(claim("a", 3) for _ in range(6)))
    assert len(first) == 3
    assert others == [first] * 5


async def test_queues_of_other_names_and_projects_are_apart(claim, plane, ours, queue):
    await judged(plane, ours, queue[0], "0.5", name="other")
    assert await claim("a", COUNT) == [*await claim("a", COUNT)]
    assert await claim("b", 5, name="other") == [queue[0]]
    assert await claim("b", 5, of=project()) == []
    assert await claim("b", 5, name="unknown") == []


async def test_claims_of_deleted_traces_are_deleted(claim, claims, plane, ours, queue):
    first = await claim("a", 2)
    await plane.traces.delete(ours, first[:1])
    await fill(plane, ours, trace(id=first[0]))
    await judged(plane, ours, first[0], "0.5")
    assert await claim("b", 1) == first[:1]


async def test_removed_project_refuses_claims(evaluating):
    ours, claims = project(), evaluating.plane.evaluation.annotation_claims
    await fill(evaluating.plane, ours, trace())
    await evaluating.remove(ours)
    with pytest.raises(Unavailable):
        await claims.claim(ours, ask("a"))


async def test_expired_claims_are_deleted(claim, claims, queue):
    first = await claim("a", 2)
    await claims.delete_expired(NOON + CLAIM_TIME - timedelta(seconds=1))
    assert await claim("a", 2) == first
    over = NOON + 2 * CLAIM_TIME
    await until_done(claims.delete_expired, over)
    assert await claim("b", 2) == first


async def test_progress_counts_what_waits_and_labels_of_the_day(
    claims, claim, plane, ours, queue, label
):
    async def progress(**overrides):
        return await claims.progress(ours, **{"name": NAME, "day": DAY} | overrides)

    assert await progress() == QueueProgress(length=COUNT, labelled_today=0)
    await claim("a", 3)
    await label(queue[0])
    await label(queue[0], value="0")
    await label(queue[1], value="true", data_type=DataType.BOOLEAN)
    await label(queue[2], source=PROGRAMMATIC)
    await label(queue[3], name="other")
    await label(queue[4], created_at=at(-86_400))
    assert await progress() == QueueProgress(length=COUNT - 3, labelled_today=2)
    [score] = (await claims.claim(ours, ask("b", 1))).items
    edited = score.item.score.id
    change = ScoreChange(value="0.1")
    await plane.evaluation.trace_scores.change(ours, edited, change, LATER, ADA)
    expected = QueueProgress(length=COUNT - 4, labelled_today=3)
    assert await progress() == expected
    assert (await claims.claim(ours, ask("b", 1))).progress == expected
    assert await progress(day=LATER + timedelta(days=1)) == QueueProgress(
        length=COUNT - 4, labelled_today=0
    )
    assert await progress(name="unknown") == QueueProgress(length=0, labelled_today=0)
