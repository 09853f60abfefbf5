"""Repricing of stored spans: which spans, the progress, and the cost difference."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, Self
from uuid import UUID

from domain.errors import Invalid
from domain.ids import ProjectId, SpanId, TraceId
from domain.tracing.usage import (
    EXACT,
    UNPRICED,
    CostSource,
    Pricing,
    SpanCost,
    Usage,
    first_price_of,
)

MODELS_MAX: Final = 100  # that may be named
MODELS_REPORTED_MAX: Final = 200  # models with a difference of their own
SAMPLE_MAX: Final = 20  # changes that are shown
ATTEMPTS_MAX: Final = 10  # per step; about an hour including the waits
WAIT: Final = timedelta(seconds=30)  # after the first attempt; doubled after each further one
WAIT_MAX: Final = timedelta(minutes=10)

type SpanPosition = tuple[datetime, TraceId, SpanId]


class RepricingStatus(StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class PricedSpan:
    """A span with counted token usage of a model, whose cost wasn't given by the client.

    `models` are the names to look up, best first; none: only `model`.
    """

    trace_id: TraceId
    span_id: SpanId
    started_at: datetime
    model: str
    usage: Usage
    charge: SpanCost
    models: Sequence[str] = ()

    @property
    def place(self) -> SpanPosition:
        """Its position in the order of repricing."""
        return (self.started_at, self.trace_id, self.span_id)

    def cost_under(self, pricing: Pricing) -> SpanCost:
        """The cost under `pricing` at the span's start; the stored cost if it is equal."""
        models = self.models or (self.model,)
        price = first_price_of(models, self.usage, self.started_at, pricing)
        new = UNPRICED if price is None else SpanCost(price.amount, CostSource.TABLE, price)
        known = self.charge
        return known if (new.amount, new.source) == (known.amount, known.source) else new


@dataclass(frozen=True, slots=True)
class CostChange:
    """A span whose cost changed, or that gained or lost its price."""

    trace_id: TraceId
    span_id: SpanId
    started_at: datetime
    model: str
    before: SpanCost
    after: SpanCost


@dataclass(frozen=True, slots=True)
class CostDelta:
    """Over some spans: their number, how many change, and the cost before and after, in USD."""

    spans: int = 0
    changed: int = 0
    before: Decimal = Decimal(0)
    after: Decimal = Decimal(0)

    def plus_span(self, before: SpanCost, after: SpanCost) -> "CostDelta":
        return CostDelta(
            self.spans + 1,
            self.changed + (before != after),
            EXACT.add(self.before, before.amount),
            EXACT.add(self.after, after.amount),
        )


@dataclass(frozen=True, slots=True)
class RepricingReport:
    """The differences found so far. `others` are models beyond MODELS_REPORTED_MAX."""

    total: CostDelta = field(default_factory=CostDelta)
    models: Mapping[str, CostDelta] = field(default_factory=dict)
    others: CostDelta = field(default_factory=CostDelta)
    sample: tuple[CostChange, ...] = ()

    def plus_spans(self, spans: Iterable[tuple[PricedSpan, SpanCost]]) -> "RepricingReport":
        """The report after further spans, each with its new cost."""
        total, models, others = self.total, dict(self.models), self.others
        sample = list(self.sample)
        for span, after in spans:
            before = span.charge
            total = total.plus_span(before, after)
            if span.model in models or len(models) < MODELS_REPORTED_MAX:
                known = models.get(span.model, CostDelta())
                models[span.model] = known.plus_span(before, after)
            else:
                others = others.plus_span(before, after)
            if before != after and len(sample) < SAMPLE_MAX:
                sample.append(
                    CostChange(
                        span.trace_id, span.span_id, span.started_at, span.model, before, after
                    )
                )
        return RepricingReport(total, models, others, tuple(sample))


@dataclass(frozen=True, slots=True, kw_only=True)
class Repricing:
    """Prices spans of a project again, in batches, in the order of their position.

        PENDING ──▶ RUNNING ──▶ COMPLETED, or FAILED, which `error` explains

    It covers spans that started at or after `started_after` and before `started_before`, and only
    `models` if any are named. A dry run computes the difference and changes nothing. `attempts`
    counts attempts since the last step that succeeded.
    """

    id: UUID
    project_id: ProjectId
    started_after: datetime | None = None
    started_before: datetime | None = None
    models: tuple[str, ...] = ()
    is_dry: bool = True
    created_at: datetime
    place: SpanPosition | None = None  # of the last span processed
    found: RepricingReport = field(default_factory=RepricingReport)
    completed_at: datetime | None = None
    attempts: int = 0
    error: str | None = None

    def __post_init__(self) -> None:
        since, until = self.started_after, self.started_before
        if since is not None and until is not None and until <= since:
            raise Invalid.field("to", "must be later than from")

    @property
    def status(self) -> RepricingStatus:
        if self.error is not None:
            return RepricingStatus.FAILED
        if self.completed_at is not None:
            return RepricingStatus.COMPLETED
        return RepricingStatus.PENDING if self.place is None else RepricingStatus.RUNNING

    @property
    def wait(self) -> timedelta:
        """How long to wait after a failed attempt."""
        return min(WAIT * (1 << max(self.attempts - 1, 0)), WAIT_MAX)

    def failed(self, now: datetime) -> Self:
        where = "" if self.place is None else f" after the span that began at {self.place[0]}"
        error = (
            f"The next step{where} failed {ATTEMPTS_MAX} times: see the log of the workers. Spans "
            "repriced before keep their new cost; reprice the rest by `from`, `to` or `models`"
        )
        return replace(self, completed_at=now, error=error)

    def selects(self, span: PricedSpan) -> bool:
        """Whether a span of the period is repriced."""
        return not self.models or span.model in self.models

    def after(
        self,
        looked_at: Sequence[PricedSpan],
        charged: Iterable[tuple[PricedSpan, SpanCost]],
        most: int,
        now: datetime,
    ) -> Self:
        """The repricing after a batch of at most `most` spans; `charged` are the repriced ones."""
        return replace(
            self,
            place=looked_at[-1].place if looked_at else self.place,
            found=self.found.plus_spans(charged),
            completed_at=now if len(looked_at) < most else None,
            attempts=0,
        )
