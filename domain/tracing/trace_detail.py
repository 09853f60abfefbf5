"""A stored trace as it is read: with its spans, and with as much of the payloads as is wanted.

Spans are tuples with times in microseconds. Making 5,000 of them from rows takes a third of the
time that as many `Span`s take, and a reader needs nothing that only a `Span` can do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Self

from domain.ids import SpanId
from domain.page import Position
from domain.tracing.payloads.payload import EMPTY_OBJECT, JsonView
from domain.tracing.payloads.payload_detail import PayloadExtent, PayloadPreview, ShownPayloads
from domain.tracing.span import Span, SpanKind, SpanStatus, Totals
from domain.tracing.trace import Trace
from domain.tracing.usage import CostSource, as_float

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class ShownSpan(NamedTuple):
    """A settled span as it is shown. Times are whole microseconds since 1970.

    `cost` is that by the price table, or that of the client. The payloads are as in
    `ShownPayloads`.
    """

    id: SpanId
    parent_id: SpanId | None
    name: str
    kind: str
    status: str
    started_us: int
    ended_us: int | None
    completion_started_us: int | None
    model: str | None
    error: str | None
    cost: Mapping[str, float] | None
    cost_source: str
    token_usage: JsonView | None
    model_parameters: JsonView | None
    input: JsonView | None
    output: JsonView | None
    metadata: JsonView | None
    input_bytes: int | None
    output_bytes: int | None
    input_preview: PayloadPreview | None = None
    output_preview: PayloadPreview | None = None
    metadata_preview: PayloadPreview | None = None

    @property
    def position(self) -> Position:
        """The place in the order (started_at, id) of the spans of a trace."""
        return Position(_EPOCH + self.started_us * _MICROSECOND, self.id)

    @classmethod
    def from_span(cls, span: Span, extent: PayloadExtent) -> Self:
        """From a settled span with its payloads."""
        charge = span.charge
        return cls(
            span.id,
            span.parent_id,
            span.name,
            span.kind or SpanKind.OTHER,
            span.status or SpanStatus.UNSET,
            _microseconds(span.started_at),
            None if span.ended_at is None else _microseconds(span.ended_at),
            None
            if span.completion_started_at is None
            else _microseconds(span.completion_started_at),
            span.model,
            span.error,
            shown_cost(span),
            CostSource.UNPRICED if charge is None else charge.source,
            span.token_usage,
            span.model_parameters,
            *ShownPayloads.from_owner(span, extent),
        )


def shown_cost(span: Span) -> Mapping[str, float] | None:
    """The cost by the price table, or that of the client."""
    charge = span.charge
    if charge is not None and charge.source is CostSource.TABLE:
        return {"total": as_float(charge.amount)}
    return span.cost


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceDetail:
    """A trace with its spans, ascending by (started_at, id).

    `trace` has no spans and no payloads. `revision` changes with every change of the trace and its
    spans.
    """

    trace: Trace
    totals: Totals
    revision: str
    payloads: ShownPayloads
    spans: Sequence[ShownSpan]

    @classmethod
    def from_trace(cls, trace: Trace, revision: str, extent: PayloadExtent) -> Self:
        """From a settled trace."""
        return cls(
            trace=replace(trace, input=None, output=None, metadata=EMPTY_OBJECT, spans=()),
            totals=Totals.from_spans(trace.spans),
            revision=revision,
            payloads=ShownPayloads.from_owner(trace, extent),
            spans=[ShownSpan.from_span(one, extent) for one in trace.spans],
        )
