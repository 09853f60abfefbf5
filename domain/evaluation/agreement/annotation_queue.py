"""What is most worth a person's label: where a judge is least sure, and a fifth by chance.

Those by chance are there for what nobody would have looked at: they are drawn from everything that
waits, whether or not it is uncertain, by a hash that a seed turns.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from domain.evaluation.scores.score import ScoreSource, TraceScore, newest_first
from domain.ids import ProjectId, TraceId

CANDIDATES_MAX: Final = 10_000  # scores that are chosen from, the newest
QUEUE_LENGTH_MAX: Final = 100
QUEUE_LENGTH_DEFAULT: Final = 20
RANDOM_EVERY: Final = 5  # places


class SelectionReason(StrEnum):
    """Why a score is offered."""

    UNCERTAIN = "uncertain"  # no other lies nearer to the threshold
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class QueueItem:
    score: TraceScore
    why: SelectionReason


def unlabelled_scores(scores: Iterable[TraceScore]) -> list[TraceScore]:
    """Of the scores of a name the newest of a judge on each trace of which no person has spoken."""
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
    """At most `limit` of those `unlabelled_scores`, each once."""
    open_ = unlabelled_scores(scores)
    uncertain = sorted(open_, key=lambda one: (abs((one.number or 0.0) - threshold), one.id))
    by_chance = sorted(open_, key=lambda one: random_key(seed, one.trace_id))
    return interleave(uncertain[:limit], by_chance[:limit])


def interleave(uncertain: Sequence[TraceScore], by_chance: Sequence[TraceScore]) -> list[QueueItem]:
    """The first of both, each at most once: every RANDOM_EVERY-th place is by chance.

    Both are of the same scores, in their order, and as long as the answer is to be.
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
    """The same all day (UTC), so that whoever asks again sees the same."""
    told = f"{project} {now.date().isoformat()} {name}"
    return hashlib.sha256(told.encode(errors="replace")).hexdigest()


def random_key(seed: str, trace: TraceId) -> str:
    """By what is drawn; in SQL `md5(seed || trace_id::text)`."""
    return hashlib.md5(f"{seed}{trace}".encode(), usedforsecurity=False).hexdigest()
