"""A trace in an export, and whether importing it again changes anything."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from domain.evaluation.scores.score import Score, SessionScore, TraceScore
from domain.tracing.payload import JsonText
from domain.tracing.span import Span
from domain.tracing.trace import Trace

_BLANKED: Final = bytes.maketrans(b"\n\r", b"  ")


@dataclass(frozen=True, slots=True)
class TraceWithScores:
    """A complete settled trace with its scores, oldest first, without PENDING ones.

    `session_scores` are the scores of its session, in the same order. They are attached to one
    trace of the session only, the first in the export.
    """

    trace: Trace
    scores: tuple[TraceScore, ...] = ()
    session_scores: tuple[SessionScore, ...] = ()


def in_order_of_time[S: Score](scores: Iterable[S]) -> tuple[S, ...]:
    """The order of scores in an export."""
    return tuple(sorted(scores, key=lambda one: (one.created_at, one.id)))


def on_one_line(text: JsonText) -> JsonText:
    """JSON text without line breaks, which can only occur between tokens and carry no meaning."""
    return text.translate(_BLANKED)


def has_nothing_new(sent: Trace, known: Trace) -> bool:
    """Whether `known`, as an export shows it, contains everything in `sent`.

    Merging would only sort the tags then.
    """
    shown = _flat(known, spans=tuple([_flat(span) for span in known.spans]))
    merged = replace(shown.merged(sent), tags=known.tags)
    return merged == shown and set(sent.tags) <= set(known.tags)


def _flat[T: (Span, Trace)](one: T, **more: Any) -> T:
    texts: dict[str, Any] = {
        field.name: on_one_line(value)
        for field in fields(one)
        if isinstance(value := getattr(one, field.name), bytes)
    }
    return replace(one, **texts, **more)
