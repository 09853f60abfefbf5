"""Claims of the annotation queue: several people label one queue, each with items of their own.

A claim reserves an item for its holder for CLAIM_TIME. It ends earlier with a label, because a
labelled trace is in no queue, or if the holder skips the item. If the label is undone meanwhile,
the item is the holder's again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from domain.evaluation.agreement.calibration import QueueItem, SelectionReason, interleave
from domain.evaluation.scores.score import TraceScore
from domain.ids import TraceId

CLAIM_TIME: Final = timedelta(minutes=10)
CLAIM_COUNT_MAX: Final = 20  # items without a label that a holder has at a time
CLAIM_COUNT_DEFAULT: Final = 3
CLAIMS_MAX: Final = 5_000  # of a project at a time
SKIPPED_MAX: Final = 100  # of one request
HOLDER_CHARS_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueClaim:
    """`holder` has the item of `trace` until `expires_at`. `place` is that of the item."""

    name: str
    trace: TraceId
    holder: str
    why: SelectionReason
    place: int
    claimed_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """Asks for `count` items for `holder`: those that it has already, then new ones.

    `skipped` traces aren't among them, and the holder's claims of them end. `day` is the start of
    the day whose labels count.
    """

    name: str
    threshold: float
    seed: str
    holder: str
    count: int
    skipped: frozenset[TraceId]
    day: datetime
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueProgress:
    """The traces in a queue, claimed ones included, and those labelled since the day began.

    Both count up to CANDIDATES_MAX and LABELS_MAX of the newest.
    """

    length: int
    labelled_today: int


@dataclass(frozen=True, slots=True)
class ClaimedItem:
    item: QueueItem
    claim: QueueClaim


@dataclass(frozen=True, slots=True)
class ClaimedItems:
    items: Sequence[ClaimedItem]
    progress: QueueProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimableItems:
    """The items that a holder can have: its own, and unclaimed ones in both orders of the queue.

    `done` is how many items come before the next one: labelled today, or claimed by anyone.
    `claims` counts the claims of the project.
    """

    held: Sequence[ClaimedItem]
    uncertain: Sequence[TraceScore]
    by_chance: Sequence[TraceScore]
    done: int
    claims: int


def claim_items(found: ClaimableItems, request: ClaimRequest) -> list[ClaimedItem]:
    """The items that the holder has now, with new claims.

    A fifth of all new items is random, whatever the number of requests and of holders: places go on
    from those before.
    """
    until = request.now + CLAIM_TIME
    kept = [
        ClaimedItem(one.item, replace(one.claim, expires_at=until))
        for one in found.held[: request.count]
    ]
    room = max(min(request.count - len(kept), CLAIMS_MAX - found.claims), 0)
    new = interleave(found.uncertain[:room], found.by_chance[:room], found.done)
    return kept + [
        ClaimedItem(
            item,
            QueueClaim(
                name=request.name,
                trace=item.score.trace_id,
                holder=request.holder,
                why=item.why,
                place=place,
                claimed_at=request.now,
                expires_at=until,
            ),
        )
        for place, item in enumerate(new, found.done + 1)
    ]
