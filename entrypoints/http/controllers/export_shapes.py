"""Whole traces on the wire, as an export shows them and an import takes them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.errors import Invalid
from domain.evaluation.score import (
    DataType,
    ScoreOutcome,
    ScoreSource,
    TraceScore,
    checked_value,
)
from domain.exporting.archive import ArchivedTrace, on_one_line
from domain.ids import ProjectId, ScoreId, TraceId, UserId
from domain.tracing.span import Span, SpanKind, SpanStatus
from domain.tracing.usage import UNPRICED, Charge, CostSource, Usage, charged
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.score_shapes import ScoreName, TraceScoreResponse, Value
from entrypoints.http.controllers.trace_shapes import (
    SpanCreate,
    SpanResponse,
    TraceCreate,
    TraceResponse,
    Word,
)
from entrypoints.http.scalars import parse_instant
from entrypoints.http.wire import Instant, PlainObject, empty_object, object_of

AMOUNT_MAX: Final = 401  # characters of an exact amount: tokens times a price have fewer

type ExactAmount = Annotated[
    str,
    Meta(
        max_length=AMOUNT_MAX,
        pattern=r"^[0-9]{1,200}(\.[0-9]{1,200})?$",
        description="With `cost_source` table: the price of the tokens in USD, exactly",
    ),
]


class ExportedSpan(SpanResponse, frozen=True, kw_only=True):
    cost_amount: ExactAmount | UnsetType = UNSET


class ExportEnd(msgspec.Struct, frozen=True):
    """What the last line of an export says of all of it.

    `sha256` is of the whole text without this member.
    """

    complete: bool
    traces: int
    spans: int
    scores: int
    sha256: str


class ExportedTrace(TraceResponse, frozen=True, kw_only=True):
    """A trace with all that was said of it. On the last line of an export `export` ends it."""

    spans: list[ExportedSpan]  # type: ignore[assignment]  # nothing here is ever assigned
    scores: list[TraceScoreResponse]
    export: ExportEnd | UnsetType = UNSET

    @classmethod
    def line(cls, project: ProjectId, archived: ArchivedTrace) -> bytes:
        """One line of an export, without its end."""
        shown = TraceResponse.of(project, archived.trace)
        fields = {name: getattr(shown, name) for name in TraceResponse.__struct_fields__}
        fields["spans"] = [
            _with_amount(wire, span)
            for wire, span in zip(shown.spans, archived.trace.spans, strict=True)
        ]
        scores = [TraceScoreResponse.of(score) for score in archived.scores]
        return on_one_line(msgspec.json.encode(cls(**fields, scores=scores)))


class ExportLines:
    """The lines of an export of one project, a batch at a time.

    What `add` gives never ends where a line does: what is broken off between two batches can't be
    read as whole lines. The last line tells what all of them come to.
    """

    def __init__(self, project: ProjectId) -> None:
        self.rows = 0
        self._project = project
        self._spans = 0
        self._scores = 0
        self._digest = sha256()

    def add(self, batch: Sequence[ArchivedTrace]) -> bytes:
        lines = [ExportedTrace.line(self._project, one)[:-1] for one in batch]
        text = (b"}\n" if self.rows else b"") + b"}\n".join(lines)
        self._digest.update(text)
        self.rows += len(batch)
        self._spans += sum(len(one.trace.spans) for one in batch)
        self._scores += sum(len(one.scores) for one in batch)
        return text

    def end(self) -> bytes:
        if not self.rows:
            return b""
        self._digest.update(b"}\n")
        digest = self._digest.hexdigest()
        end = ExportEnd(True, self.rows, self._spans, self._scores, digest)
        return b',"export":%b}\n' % msgspec.json.encode(end)


def _with_amount(wire: SpanResponse, span: Span) -> SpanResponse:
    charge = span.charge
    if charge is None or charge.source is not CostSource.TABLE:
        return wire
    fields = {name: getattr(wire, name) for name in SpanResponse.__struct_fields__}
    return ExportedSpan(**fields, cost_amount=f"{charge.amount:f}")


class ImportedSpan(SpanCreate, frozen=True, kw_only=True):
    """A span as an export has it. Without a word of who charged it, its charge is found anew."""

    span_id: UUID
    cost_source: CostSource | None = None
    cost_amount: ExactAmount | None = None

    def to_domain(self) -> Span:
        """With the charge that it had. Raises ValueError for what the types alone can't refuse."""
        span = super().to_domain()
        cost, usage = span.cost, Usage.of(span.token_usage)
        match self.cost_source:
            case CostSource.TABLE if (text := self._amount()) is not None:
                charge, cost = Charge(Decimal(text), CostSource.TABLE), None
            case CostSource.CLIENT if cost:
                charge = charged(cost, None, usage, span.started_at, lambda *_: None)
            case CostSource.UNPRICED if not cost:
                charge = UNPRICED
            case _:
                return span
        return replace(
            span,
            kind=span.kind or SpanKind.OTHER,
            status=span.status or SpanStatus.UNSET,
            cost=cost,
            usage=usage,
            charge=charge,
        )

    def _amount(self) -> str | None:
        if self.cost_amount is not None:
            return self.cost_amount
        total = (self.cost or {}).get("total")
        return None if total is None else repr(total)


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
                    checked_value(value, data_type)
                except Invalid as invalid:
                    yield "value", invalid.errors[0].message

    def to_domain(self, trace: TraceId) -> TraceScore:
        author = self.author_user_id
        return TraceScore(
            id=ScoreId(self.id),
            project_id=ProjectId(self.project_id),
            trace_id=trace,
            name=self.name,
            outcome=self.outcome,
            value=self.value,
            data_type=self.data_type,
            source=self.source,
            author_id=None if author is None else UserId(author),
            reason=self.reason,
            metadata=object_of(self.metadata),
            environment=self.environment,
            created_at=parse_instant(self.created_at),
            updated_at=parse_instant(self.updated_at),
        )


class ImportedTrace(TraceCreate, frozen=True, kw_only=True):
    """A trace as an export has it. The keys of an export that aren't listed are computed anew."""

    trace_id: UUID
    tags: list[Word] = msgspec.field(default_factory=list)
    spans: list[ImportedSpan] = msgspec.field(default_factory=list)  # type: ignore[assignment]  # nothing here is ever assigned
    scores: list[ImportedScore] = msgspec.field(default_factory=list)

    def archived(self, config: HttpConfig) -> ArchivedTrace:
        """Raises ValueError for what the types alone can't refuse."""
        # A stored trace has as many spans as were added: what bounds it here is the body.
        trace = self.to_domain(replace(config, max_spans=len(self.spans)))
        return ArchivedTrace(trace, tuple([one.to_domain(trace.id) for one in self.scores]))
