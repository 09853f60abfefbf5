"""The tree of the spans of a trace, and the labels of its steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from domain.tracing.span import Span, SpanKind, SpanStatus

LEVELS_MAX: Final = 8  # of a label; deeper spans are numbered under the last level


def content_order(span: Span) -> tuple[object, ...]:
    """Sort key of steps: by instant, then by content, since ids are random."""
    kind, status = span.kind or SpanKind.OTHER, span.status or SpanStatus.UNSET
    held = (span.input or b"", span.output or b"", span.error or "", span.model or "")
    return (span.started_at, kind.value, span.name, status.value, *held, span.id)


@dataclass(frozen=True, slots=True)
class SpanTree:
    """The tree as indexes into spans that are sorted by (started_at, id).

    A span without a known parent is a root. A cycle is cut at its earliest span, which becomes a
    root. So every span is reachable from exactly one root.
    """

    roots: Sequence[int]
    children: Mapping[int, Sequence[int]]

    @classmethod
    def from_spans(cls, spans: Sequence[Span]) -> Self:
        at = {span.id: index for index, span in enumerate(spans)}
        named = (span.parent_id for span in spans)
        parents = _uncycled([None if one is None else at.get(one) for one in named])
        children: dict[int, list[int]] = {}
        for index, parent in enumerate(parents):
            if parent is not None:
                children.setdefault(parent, []).append(index)
        return cls([index for index, parent in enumerate(parents) if parent is None], children)

    def labelled(self) -> Sequence[tuple[int, str]]:
        """Every index with its label, parents before children: `s1`, `s1.1`, `s1.1.1`, `s2`.

        Labels have at most LEVELS_MAX levels: for a chain of 20,000 spans, full labels would take
        800 MB.
        """
        found: list[tuple[int, str]] = []
        given: dict[str, int] = {}  # number of labels directly below each label
        left = [(index, "s", 0) for index in reversed(self.roots)]
        while left:
            index, above, level = left.pop()
            given[above] = number = given.get(above, 0) + 1
            label = f"s{number}" if above == "s" else f"{above}.{number}"
            found.append((index, label))
            below, deeper = (label, level + 1) if level + 1 < LEVELS_MAX else (above, level)
            left.extend((child, below, deeper) for child in reversed(self.children.get(index, ())))
        return found


def _uncycled(parents: Sequence[int | None]) -> list[int | None]:
    """The same parents, but None for the first index of every cycle."""
    cut = list(parents)
    seen = [0] * len(cut)  # the number of the walk that visited an index, from 1
    for start in range(len(cut)):
        at: int | None = start
        while at is not None and not seen[at]:
            seen[at] = start + 1
            at = cut[at]
        if at is not None and seen[at] == start + 1:  # a cycle within this walk
            first, walk = at, cut[at]
            while walk is not None and walk != at:
                first, walk = min(first, walk), cut[walk]
            cut[first] = None
    return cut


def labelled_spans(spans: Sequence[Span]) -> Sequence[tuple[str, Span]]:
    """The spans in tree order with their labels, the same for equal content whatever the ids."""
    ordered = sorted(spans, key=content_order)
    return [(label, ordered[at]) for at, label in SpanTree.from_spans(ordered).labelled()]
