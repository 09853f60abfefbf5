"""Compares two traces step by step: which steps were added, are missing, or changed.

Steps are aligned by kind and name in tree order, so that a step that was wrapped in another one,
or moved to another parent, is still found.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from domain.ids import SpanId
from domain.tracing.outline import OutlineRow
from domain.tracing.span import Span, SpanKind, SpanStatus
from domain.tracing.spans.span_tree import labelled_spans
from domain.tracing.trace import Trace, TraceSummary, in_order

COMPARED_SPANS_MAX: Final = 5_000
"""How many spans of a trace are compared: the first ones by start. Aligning them takes 3 MB."""

STEPS_MAX: Final = 1_000  # on one page
STEPS_DEFAULT: Final = 200
ERROR_CHARS_MAX: Final = 500  # of the error of a compared step


class StepChange(StrEnum):
    """The change of a step from the first trace to the second."""

    SAME = "same"
    CHANGED = "changed"
    MISSING = "missing"
    ADDED = "added"


class StepField(StrEnum):
    """A field that two aligned steps are compared by. Times, tokens and cost are only shown."""

    MODEL = "model"
    STATUS = "status"
    ERROR = "error"
    INPUT = "input"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedStep:
    """A step of one of the traces.

    `label` is its position in the tree, as in the evidence of judges. `cost` is in USD, None if the
    span is unpriced. Sizes are those of the payloads in bytes. `error` has at most ERROR_CHARS_MAX
    characters.
    """

    label: str
    span_id: SpanId
    status: SpanStatus
    model: str | None
    latency_ms: float | None
    tokens: int
    cost: float | None
    input_bytes: int | None
    output_bytes: int | None
    error: str | None

    @classmethod
    def from_span(cls, label: str, span: Span, trace_started_at: datetime) -> Self:
        row = OutlineRow.from_span(span, trace_started_at)
        return cls(
            label=label,
            span_id=span.id,
            status=span.status or SpanStatus.UNSET,
            model=span.model,
            latency_ms=span.latency_ms,
            tokens=row.tokens,
            cost=row.cost,
            input_bytes=row.input_bytes,
            output_bytes=row.output_bytes,
            error=None if span.error is None else span.error[:ERROR_CHARS_MAX],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPair:
    """A step of both traces, or of one: `a` is None if it was added, `b` if it is missing."""

    change: StepChange
    kind: SpanKind
    name: str
    differences: Sequence[StepField] = ()
    a: ComparedStep | None = None
    b: ComparedStep | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCounts:
    """How many steps of each change there are."""

    same: int = 0
    changed: int = 0
    missing: int = 0
    added: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceComparison:
    """Two traces, and their steps in the order of both.

    `compared_a` and `compared_b` are numbers of spans, at most COMPARED_SPANS_MAX. `steps` are
    those from the place `first` on; `counts` counts all steps, and `total` those that pages show.
    """

    a: TraceSummary
    b: TraceSummary
    compared_a: int
    compared_b: int
    counts: StepCounts
    total: int
    first: int = 0
    steps: Sequence[StepPair] = field(default=())

    @property
    def next(self) -> int | None:
        """The place from which the next page starts; None if nothing follows."""
        end = self.first + len(self.steps)
        return end if self.steps and end < self.total else None

    @classmethod
    def from_traces(
        cls,
        a: Trace,
        b: Trace,
        *,
        first: int = 0,
        limit: int = STEPS_DEFAULT,
        only_changes: bool = False,
    ) -> Self:
        """From two settled traces. `only_changes` leaves out the steps that are the same.

        Deterministic: equal traces give equal comparisons. With n and m spans it takes time in
        proportion to n * m / 64.
        """
        ours = labelled_spans(in_order(a.spans)[:COMPARED_SPANS_MAX])
        theirs = labelled_spans(in_order(b.spans)[:COMPARED_SPANS_MAX])
        found: list[_Aligned] = []
        for one, other in _aligned([span for _, span in ours], [span for _, span in theirs]):
            pair = (None if one is None else ours[one], None if other is None else theirs[other])
            found.append(_Aligned(*pair))
        listed = [one for one in found if not only_changes or one.change is not StepChange.SAME]
        counted = Counter(one.change for one in found)
        return cls(
            a=TraceSummary.from_trace(a),
            b=TraceSummary.from_trace(b),
            compared_a=len(ours),
            compared_b=len(theirs),
            counts=StepCounts(**{change.value: counted[change] for change in StepChange}),
            total=len(listed),
            first=first,
            steps=[one.pair(a, b) for one in listed[first : first + limit]],
        )


class _Aligned:
    """A labelled span of one trace or of both."""

    __slots__ = ("a", "b", "change", "differences")

    def __init__(self, a: tuple[str, Span] | None, b: tuple[str, Span] | None) -> None:
        self.a, self.b = a, b
        self.differences: Sequence[StepField] = ()
        if a is None:
            self.change = StepChange.ADDED
        elif b is None:
            self.change = StepChange.MISSING
        else:
            self.differences = _differences(a[1], b[1])
            self.change = StepChange.CHANGED if self.differences else StepChange.SAME

    def pair(self, a: Trace, b: Trace) -> StepPair:
        # One of the two exists; the name and kind of both are the same.
        span = next(one[1] for one in (self.a, self.b) if one is not None)
        return StepPair(
            change=self.change,
            kind=span.kind or SpanKind.OTHER,
            name=span.name,
            differences=self.differences,
            a=None if self.a is None else ComparedStep.from_span(*self.a, a.started_at),
            b=None if self.b is None else ComparedStep.from_span(*self.b, b.started_at),
        )


def _differences(one: Span, other: Span) -> Sequence[StepField]:
    """The fields with different values. Payloads are compared as they were sent."""
    return [name for name in StepField if getattr(one, name) != getattr(other, name)]


# --- alignment -------------------------------------------------------------------------------

type Places = Sequence[tuple[int | None, int | None]]
"""Pairs of places in two sequences, ascending; None where the other sequence has nothing."""


def _aligned(ours: Sequence[Span], theirs: Sequence[Span]) -> Places:
    """Steps with the same content first, then, between them, those of the same kind and name.

    Without the first, one of several calls of a tool would be aligned with any other.
    """
    return _refined(
        align([_content(span) for span in ours], [_content(span) for span in theirs]),
        [_role(span) for span in ours],
        [_role(span) for span in theirs],
    )


def _content(span: Span) -> Hashable:
    return (*_role(span), span.status, span.error, span.input, span.output)


def _role(span: Span) -> tuple[str, str]:
    return (span.kind or SpanKind.OTHER, span.name)


def _refined(places: Places, ours: Sequence[Hashable], theirs: Sequence[Hashable]) -> Places:
    """The same pairs, and between them what else can be aligned."""
    found: list[tuple[int | None, int | None]] = []
    at_a = at_b = 0
    ends = [pair for pair in places if None not in pair]
    for end_a, end_b in [*ends, (len(ours), len(theirs))]:
        assert end_a is not None and end_b is not None  # noqa: PT018 - pairs with None are left out
        for one, other in align(ours[at_a:end_a], theirs[at_b:end_b]):
            found.append(
                (
                    None if one is None else at_a + one,
                    None if other is None else at_b + other,
                )
            )
        if end_a < len(ours):
            found.append((end_a, end_b))
        at_a, at_b = end_a + 1, end_b + 1
    return found


def align(a: Sequence[Hashable], b: Sequence[Hashable]) -> Places:
    """Pairs the most equal items of two sequences that are in the same order in both.

    A longest common subsequence, exact, by bit-parallel dynamic programming (Hyyrö 2004): one
    integer of `len(a)` bits for each item of `b`. Between two pairs, the items of `a` come first.
    """
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    middle = _common(a[start : len(a) - end], b[start : len(b) - end])
    found: list[tuple[int | None, int | None]] = [(at, at) for at in range(start)]
    at_a = at_b = start
    for one, other in [(start + x, start + y) for x, y in middle] + [(len(a) - end, len(b) - end)]:
        found += [(at, None) for at in range(at_a, one)]
        found += [(None, at) for at in range(at_b, other)]
        if one < len(a) - end:
            found.append((one, other))
        at_a, at_b = one + 1, other + 1
    return found + [(len(a) - at, len(b) - at) for at in range(end, 0, -1)]


def _common(a: Sequence[Hashable], b: Sequence[Hashable]) -> Sequence[tuple[int, int]]:
    """The places of a longest common subsequence."""
    if not a or not b:
        return []
    positions: dict[Hashable, int] = {}
    for at, item in enumerate(a):
        positions[item] = positions.get(item, 0) | 1 << at
    mask = (1 << len(a)) - 1
    # A bit of row n is 0 where one more item of `a` lengthens the subsequence with b[: n + 1].
    row, rows = mask, []
    for item in b:
        both = row & positions.get(item, 0)
        row = (row + both | row - both) & mask
        rows.append(row)
    found: list[tuple[int, int]] = []
    at_a, at_b = len(a) - 1, len(b) - 1
    while at_a >= 0 and at_b >= 0:
        if rows[at_b] >> at_a & 1:
            at_a -= 1
        elif at_b and not rows[at_b - 1] >> at_a & 1:
            at_b -= 1
        else:
            found.append((at_a, at_b))
            at_a, at_b = at_a - 1, at_b - 1
    return found[::-1]
