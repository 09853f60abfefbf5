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

WAITING_MAX: Final = 10_000  # scores that are chosen from, the newest
OFFERED_MAX: Final = 100
OFFERED_DEFAULT: Final = 20
BY_CHANCE_EVERY: Final = 5  # places


class Why(StrEnum):
    """Why a score is offered."""

    UNCERTAIN = "uncertain"  # no other lies nearer to the threshold
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Offered:
    score: TraceScore
    why: Why


def waiting(scores: Iterable[TraceScore]) -> list[TraceScore]:
    """Of the scores of a name the newest of a judge on each trace of which no person has spoken."""
    ours = newest_first(scores)
    known = {one.trace_id for one in ours if one.source is ScoreSource.ANNOTATION}
    judged = [
        one for one in ours if one.source is ScoreSource.AUTOMATED and one.number is not None
    ][:WAITING_MAX]
    newest = {one.trace_id: one for one in reversed(judged) if one.trace_id not in known}
    return [*newest.values()]


def offered(scores: Iterable[TraceScore], threshold: float, seed: str, limit: int) -> list[Offered]:
    """At most `limit` of those `waiting`, each once."""
    open_ = waiting(scores)
    uncertain = sorted(open_, key=lambda one: (abs((one.number or 0.0) - threshold), one.id))
    by_chance = sorted(open_, key=lambda one: drawn(seed, one.trace_id))
    return mixed(uncertain[:limit], by_chance[:limit])


def mixed(uncertain: Sequence[TraceScore], by_chance: Sequence[TraceScore]) -> list[Offered]:
    """The first of both, each at most once: every BY_CHANCE_EVERY-th place is by chance.

    Both are of the same scores, in their order, and as long as the answer is to be.
    """
    chosen = by_chance[: len(uncertain) // BY_CHANCE_EVERY]
    ids = {one.id for one in chosen}
    rest = iter([one for one in uncertain if one.id not in ids])
    drawn_ones = iter(chosen)
    return [
        Offered(next(drawn_ones), Why.RANDOM)
        if place % BY_CHANCE_EVERY == 0
        else Offered(next(rest), Why.UNCERTAIN)
        for place in range(1, len(uncertain) + 1)
    ]


def seed_of(project: ProjectId, name: str, now: datetime) -> str:
    """The same all day (UTC), so that whoever asks again sees the same."""
    told = f"{project} {now.date().isoformat()} {name}"
    return hashlib.sha256(told.encode(errors="replace")).hexdigest()


def drawn(seed: str, trace: TraceId) -> str:
    """By what is drawn; in SQL `md5(seed || trace_id::text)`."""
    return hashlib.md5(f"{seed}{trace}".encode(), usedforsecurity=False).hexdigest()
