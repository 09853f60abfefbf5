"""The annotation queue: scores worth labelling, the uncertain ones and a fifth at random.

The random ones find errors that an uncertainty ranking would miss: they are drawn from all
candidates, whether or not the judge is uncertain, by a seeded hash.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from domain.evaluation.scores.score import ScoreSource, TraceScore, newest_first
from domain.ids import ProjectId, TraceId

CANDIDATES_MAX: Final = 10_000  # the newest scores
QUEUE_LENGTH_MAX: Final = 100
QUEUE_LENGTH_DEFAULT: Final = 20
RANDOM_EVERY: Final = 5  # every fifth item


class SelectionReason(StrEnum):
    """Why a score is in the queue."""

    UNCERTAIN = "uncertain"  # nearest to the threshold
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class QueueItem:
    score: TraceScore
    why: SelectionReason


def unlabelled_scores(scores: Iterable[TraceScore]) -> list[TraceScore]:
    """The newest judge score of each trace without a human label, for one name."""
    ours = newest_first(scores)
    known = {one.trace_id for one in ours if one.source is ScoreSource.ANNOTATION}
    judged = [
        one for one in ours if one.source is ScoreSource.AUTOMATED and one.number is not None
    ][:CANDIDATES_MAX]
    newest = {one.trace_id: one for one in reversed(judged) if one.trace_id not in known}
    return [*newest.values()]


def build_queue(
    scores: Iterable[TraceScore], threshold: float, seed: str, limit: int
) -> list[QueueItem]:
    """At most `limit` of the unlabelled scores, each once."""
    open_ = unlabelled_scores(scores)
    uncertain = sorted(open_, key=lambda one: (abs((one.number or 0.0) - threshold), one.id))
    by_chance = sorted(open_, key=lambda one: random_key(seed, one.trace_id))
    return interleave(uncertain[:limit], by_chance[:limit])


def interleave(uncertain: Sequence[TraceScore], by_chance: Sequence[TraceScore]) -> list[QueueItem]:
    """Merges both sequences, each score at most once: every RANDOM_EVERY-th one is random.

    Both hold the same scores in their own order, each as long as the result.
    """
    chosen = by_chance[: len(uncertain) // RANDOM_EVERY]
    ids = {one.id for one in chosen}
    rest = iter([one for one in uncertain if one.id not in ids])
    drawn_ones = iter(chosen)
    return [
        QueueItem(next(drawn_ones), SelectionReason.RANDOM)
        if place % RANDOM_EVERY == 0
        else QueueItem(next(rest), SelectionReason.UNCERTAIN)
        for place in range(1, len(uncertain) + 1)
    ]


def daily_seed(project: ProjectId, name: str, now: datetime) -> str:
    """A seed that is constant during a day (UTC), so that repeated requests give the same queue."""
    text = f"{project} {now.date().isoformat()} {name}"
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def random_key(seed: str, trace: TraceId) -> str:
    """The key of the random order; in SQL `md5(seed || trace_id::text)`."""
    return hashlib.md5(f"{seed}{trace}".encode(), usedforsecurity=False).hexdigest()
