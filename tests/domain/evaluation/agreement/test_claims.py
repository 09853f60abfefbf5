"""Claims of the annotation queue: their bounds, and the random share over several requests."""

from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.agreement.calibration import (
    RANDOM_EVERY,
    SelectionReason,
    build_queue,
    queue_orders,
)
from domain.evaluation.agreement.claims import (
    CLAIM_TIME,
    CLAIMS_MAX,
    ClaimableItems,
    ClaimRequest,
    claim_items,
)
from domain.evaluation.scores.score import ScoreSource
from domain.ids import ScoreId, TraceId
from tests.support.builders.scores import trace_score
from tests.support.builders.values import OURS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCORES = [
    trace_score(
        OURS,
        TraceId(UUID(int=n)),
        id=ScoreId(UUID(int=n)),
        value=f"{n / 40}",
        source=ScoreSource.AUTOMATED,
    )
    for n in range(40)
]


def request(count: int) -> ClaimRequest:
    return ClaimRequest(
        name="m",
        threshold=0.5,
        seed="s",
        holder="a",
        count=count,
        skipped=frozenset(),
        day=NOON,
        now=NOON,
    )


def claimable(done: set[TraceId], claims: int = 0) -> ClaimableItems:
    free = [one for one in SCORES if one.trace_id not in done]
    uncertain, by_chance = queue_orders(free, 0.5, "s")
    return ClaimableItems(
        held=[], uncertain=uncertain, by_chance=by_chance, done=len(done), claims=claims
    )


@given(st.lists(st.integers(1, 7), max_size=12))
def test_any_split_into_requests_gives_the_same_share_of_random_items(counts):
    done: set[TraceId] = set()
    whys: list[SelectionReason] = []
    for count in counts:
        found = claim_items(claimable(done), request(count))
        assert [one.claim.place for one in found] == [
            *range(len(done) + 1, len(done) + 1 + len(found))
        ]
        assert {one.claim.expires_at for one in found} <= {NOON + CLAIM_TIME}
        assert not done & {one.claim.trace for one in found}
        done |= {one.claim.trace for one in found}
        whys += [one.item.why for one in found]
    assert len(done) == len(whys) == min(sum(counts), len(SCORES))
    assert all(
        (why is SelectionReason.RANDOM) == (place % RANDOM_EVERY == 0)
        for place, why in enumerate(whys, 1)
    )


def test_one_request_gives_the_queue():
    found = claim_items(claimable(set()), request(20))
    assert [one.item for one in found] == build_queue(SCORES, 0.5, "s", 20)


def test_full_project_gives_no_new_items():
    assert len(claim_items(claimable(set(), CLAIMS_MAX - 2), request(5))) == 2
    assert claim_items(claimable(set(), CLAIMS_MAX + 1), request(5)) == []
