"""A trace as an export holds it, and when putting one back changes anything."""

from dataclasses import dataclass, replace

from domain.evaluation.score import TraceScore
from domain.tracing.trace import Trace


@dataclass(frozen=True, slots=True)
class ArchivedTrace:
    """A settled trace, whole, with what was said of it: its scores, oldest first, none PENDING."""

    trace: Trace
    scores: tuple[TraceScore, ...] = ()


def in_order_of_time(scores: list[TraceScore]) -> tuple[TraceScore, ...]:
    """The order in which an export shows the scores of a trace."""
    return tuple(sorted(scores, key=lambda one: (one.created_at, one.id)))


def says_nothing_new(sent: Trace, known: Trace) -> bool:
    """Whether `known` holds all that `sent` says: merging would do no more than sort its tags."""
    merged = replace(known.merged(sent), tags=known.tags)
    return merged == known and set(sent.tags) <= set(known.tags)
