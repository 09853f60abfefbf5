"""Whole traces on the wire, as an import takes them: lines of an export."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from domain.errors import Invalid
from domain.evaluation.scores.score import (
    DataType,
    ScoreOutcome,
    ScoreSource,
    SessionScore,
    TraceScore,
    validate_value,
)
from domain.exporting.exported_trace import TraceWithScores
from domain.ids import ProjectId, ScoreId, TraceId, UserId
from domain.tracing.span import Span, SpanKind, SpanStatus
from domain.tracing.usage import NO_USAGE, UNPRICED, CostSource, SpanCost, Usage, span_cost
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.exports.schemas import CountedUsage, ExactPrice
from entrypoints.http.controllers.scores.schemas import ScoreName, Value
from entrypoints.http.controllers.traces.schemas import SpanCreate, TraceCreate, Word
from entrypoints.http.requests.scalar_types import parse_instant
from entrypoints.http.requests.wire_types import Instant, PlainObject, empty_object, object_of


class ImportedSpan(SpanCreate, frozen=True, kw_only=True):
    """A span as an export has it. Without a word of who charged it, its charge is found anew."""

    span_id: UUID
    cost_source: CostSource | None = None
    price: ExactPrice | None = None
    usage: CountedUsage | None = None

    def to_domain(self) -> Span:
        """With the charge that it had. Raises ValueError for what the types alone can't refuse."""
        span = super().to_domain()
        if self.usage is not None:
            span = replace(span, usage=self.usage.to_domain())
        price = None if self.price is None else self.price.to_domain()
        cost, charge = span.cost, None
        match self.cost_source:
            case CostSource.TABLE if self.price is not None:
                charge, cost = SpanCost(Decimal(self.price.amount), CostSource.TABLE, price), None
            case CostSource.TABLE:
                cost = None  # what is shown for it is a price, and never was its cost
            case CostSource.CLIENT if cost:
                found = span_cost(cost, None, NO_USAGE, span.started_at, lambda *_: None)
                charge = replace(found, price=price)
            case CostSource.UNPRICED if not cost:
                charge = UNPRICED
        if charge is None:
            return replace(span, cost=cost)
        return replace(
            span,
            kind=span.kind or SpanKind.OTHER,
            status=span.status or SpanStatus.UNSET,
            cost=cost,
            usage=span.usage or Usage.from_token_usage(span.token_usage),
            charge=charge,
        )


class ImportedScore(msgspec.Struct, frozen=True, kw_only=True):
    """A score as an export has it. The run that made it isn't there to belong to."""

    id: UUID
    project_id: UUID
    name: ScoreName
    value: Value | None = None
    data_type: DataType = DataType.NUMERIC
    source: ScoreSource
    outcome: ScoreOutcome
    author_user_id: UUID | None = None
    reason: str | None = None
    metadata: PlainObject = msgspec.field(default_factory=empty_object)
    environment: Word | None = None
    created_at: Instant
    updated_at: Instant

    def __post_init__(self) -> None:
        said = {"value": self.value, "data_type": self.data_type, "outcome": self.outcome}
        for _, message in self.across(said):
            raise ValueError(message)

    @classmethod
    def across(cls, read: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Whether it is over, and there is a value of its data type exactly where it is scored."""
        value, data_type, outcome = (read.get(key) for key in ("value", "data_type", "outcome"))
        if outcome is ScoreOutcome.PENDING:
            yield "outcome", "must not be pending: what was to measure it isn't there"
        elif isinstance(outcome, ScoreOutcome) and "value" in read:
            if (value is not None) is not (outcome is ScoreOutcome.SCORED):
                yield "value", f"is {'missing' if value is None else 'there'}, though {outcome}"
            elif isinstance(value, str) and isinstance(data_type, DataType):
                try:
                    validate_value(value, data_type)
                except Invalid as invalid:
                    yield "value", invalid.errors[0].message

    def of_trace(self, trace: TraceId) -> TraceScore:
        return TraceScore(**self._said, trace_id=trace, environment=self.environment)

    def of_session(self, session: str) -> SessionScore:
        return SessionScore(**self._said, session_id=session)

    @property
    def _said(self) -> dict[str, Any]:
        author = self.author_user_id
        return {
            "id": ScoreId(self.id),
            "project_id": ProjectId(self.project_id),
            "name": self.name,
            "outcome": self.outcome,
            "value": self.value,
            "data_type": self.data_type,
            "source": self.source,
            "author_id": None if author is None else UserId(author),
            "reason": self.reason,
            "metadata": object_of(self.metadata),
            "created_at": parse_instant(self.created_at),
            "updated_at": parse_instant(self.updated_at),
        }


class ImportedTrace(TraceCreate, frozen=True, kw_only=True):
    """A trace as an export has it. The keys of an export that aren't listed are computed anew."""

    trace_id: UUID
    tags: list[Word] = msgspec.field(default_factory=list)
    spans: list[ImportedSpan] = msgspec.field(default_factory=list)  # type: ignore[assignment]  # nothing here is ever assigned
    scores: list[ImportedScore] = msgspec.field(default_factory=list)
    session_scores: list[ImportedScore] = msgspec.field(default_factory=list)

    def archived(self, config: HttpConfig) -> TraceWithScores:
        """Raises ValueError for what the types alone can't refuse."""
        # A stored trace has as many spans as were added: what bounds it here is the body.
        trace = self.to_domain(replace(config, max_spans=len(self.spans)))
        session, said = trace.session_id, self.session_scores
        if session is None and said:
            raise ValueError("has session_scores, but no session_id")
        return TraceWithScores(
            trace,
            tuple([one.of_trace(trace.id) for one in self.scores]),
            () if session is None else tuple([one.of_session(session) for one in said]),
        )
