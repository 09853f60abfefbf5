"""Model prices of projects, and repricings, in memory."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from adapters.memory.store import MemoryStore, by_creation
from application.pricing.ports import (
    REPRICED_SPANS_BATCH,
    REPRICINGS_KEPT_MAX,
    UNPRICED_MODELS_MAX,
    UNPRICED_SPANS_MAX,
)
from domain.errors import Conflict
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId
from domain.pricing.model_price import PRICES_MAX, ModelPrice, UnpricedModel, newest_first
from domain.pricing.repricing import PricedSpan, Repricing
from domain.tracing.span import Span, priced_models
from domain.tracing.trace import Trace
from domain.tracing.usage import CostSource, Pricing, SpanCost


@dataclass(frozen=True, slots=True)
class MemoryRepricings:
    store: MemoryStore

    async def create(self, repricing: Repricing, *, audit: AuditEntry | None = None) -> Repricing:
        self.store.check_exists(repricing.project_id)
        if (known := self.store.repricings.get(_repricing_key(repricing))) is not None:
            return known
        ours = by_creation(
            self.store.repricings.in_project(repricing.project_id), newest_first=True
        )
        if any(one.completed_at is None for one in ours):
            raise Conflict("Another repricing of this project is under way: wait for its end")
        for one in ours[REPRICINGS_KEPT_MAX - 1 :]:
            del self.store.repricings[_repricing_key(one)]
            self.store.repricings_held.pop(_repricing_key(one), None)
        self.store.repricings[_repricing_key(repricing)] = repricing
        self.store.repricings_held[_repricing_key(repricing)] = repricing.created_at
        self.store.record(audit)
        return repricing

    async def get(self, project: ProjectId, repricing: UUID) -> Repricing:
        return self.store.repricings.require(project, repricing)

    async def claim(self, now: datetime, until: datetime) -> Repricing | None:
        held = self.store.repricings_held
        free = [
            (held[key], key)
            for key, one in self.store.repricings.live()
            if one.completed_at is None and held[key] <= now
        ]
        if not free:
            return None
        _, key = min(free)
        held[key] = until
        one = self.store.repricings[key]
        self.store.repricings[key] = replace(one, attempts=one.attempts + 1)
        return self.store.repricings[key]

    async def step(
        self, repricing: Repricing, pricing: Pricing, now: datetime, until: datetime
    ) -> Repricing | None:
        project, key = repricing.project_id, _repricing_key(repricing)
        stored = self.store.repricings.find(*key)
        if stored is None or stored != repricing or stored.completed_at is not None:
            return None
        spans = [
            found
            for trace in self.store.traces.in_project(project)
            for span in trace.spans
            if (found := _priced_span(trace, span)) is not None and _is_next(repricing, found)
        ]
        looked_at = sorted(spans, key=lambda one: one.place)[:REPRICED_SPANS_BATCH]
        charged = [(one, one.cost_under(pricing)) for one in looked_at if repricing.selects(one)]
        if not repricing.is_dry:
            for span, charge in charged:
                self._charge(project, span, charge)
        after = repricing.after(looked_at, charged, REPRICED_SPANS_BATCH, now)
        self.store.repricings[key] = after
        self.store.repricings_held[key] = until
        return after

    async def release(self, repricing: Repricing, now: datetime) -> None:
        key = _repricing_key(repricing)
        if key in self.store.repricings:
            self.store.repricings_held[key] = now

    async def fail(self, failed: Repricing) -> None:
        known = self.store.repricings.get(_repricing_key(failed))
        if known is not None and known == replace(failed, completed_at=None, error=None):
            self.store.repricings[_repricing_key(failed)] = failed

    def _charge(self, project: ProjectId, priced: PricedSpan, charge: SpanCost) -> None:
        trace = self.store.traces[project, priced.trace_id]
        spans = (
            replace(span, charge=charge) if span.id == priced.span_id else span
            for span in trace.spans
        )
        # Bypasses the timestamp, because a new cost does not change the content of a trace.
        dict.__setitem__(self.store.traces, (project, trace.id), replace(trace, spans=tuple(spans)))


def _repricing_key(repricing: Repricing) -> tuple[ProjectId, UUID]:
    return (repricing.project_id, repricing.id)


def _priced_span(trace: Trace, span: Span) -> PricedSpan | None:
    usage, charge = span.usage, span.charge
    if not span.model or usage is None or charge is None or charge.source is CostSource.CLIENT:
        return None
    if usage.prompt_tokens + usage.completion_tokens == 0 or span.usage_role is not None:
        return None
    models = priced_models(span.model, span.provider, span.request_model)
    return PricedSpan(trace.id, span.id, span.started_at, span.model, usage, charge, models)


def _is_next(repricing: Repricing, span: PricedSpan) -> bool:
    since, until = repricing.started_after, repricing.started_before
    return (
        (since is None or span.started_at >= since)
        and (until is None or span.started_at < until)
        and (repricing.place is None or span.place > repricing.place)
    )


@dataclass(frozen=True, slots=True)
class MemoryModelPrices:
    store: MemoryStore

    async def create(self, price: ModelPrice, *, audit: AuditEntry | None = None) -> ModelPrice:
        project = price.project_id
        self.store.check_exists(project)
        key = (project, price.id)
        is_full = len(self.store.model_prices.in_project(project)) >= PRICES_MAX
        if key not in self.store.model_prices and is_full:
            raise Conflict(f"A project has {PRICES_MAX} prices at most: delete one first")
        if key not in self.store.model_prices:
            self.store.record(audit)
        return self.store.model_prices.setdefault(key, price)

    async def for_projects(
        self, projects: Collection[ProjectId]
    ) -> Mapping[ProjectId, Sequence[ModelPrice]]:
        prices = self.store.model_prices
        return {project: newest_first(prices.in_project(project)) for project in projects}

    async def delete(
        self, project: ProjectId, price: UUID, *, audit: AuditEntry | None = None
    ) -> bool:
        is_gone = self.store.model_prices.discard(project, price)
        self.store.record(audit if is_gone else None)
        return is_gone

    async def list_unpriced(self, project: ProjectId, since: datetime) -> Sequence[UnpricedModel]:
        spans = [span for trace in self.store.traces.in_project(project) for span in trace.spans]
        meant = [span for span in spans if span.started_at >= since and _is_unpriced(span)]
        meant.sort(key=lambda span: span.started_at, reverse=True)
        by_model: defaultdict[str, list[Span]] = defaultdict(list)
        for span in meant[:UNPRICED_SPANS_MAX]:
            by_model[span.model or ""].append(span)
        found = [_sum_usage(model, some) for model, some in by_model.items()]
        return sorted(found, key=lambda one: (-one.spans, one.model))[:UNPRICED_MODELS_MAX]


def _is_unpriced(span: Span) -> bool:
    assert span.usage is not None
    assert span.charge is not None
    has_tokens = span.usage.prompt_tokens + span.usage.completion_tokens > 0
    is_counted = has_tokens and span.usage_role is None
    return bool(span.model) and is_counted and span.charge.source is CostSource.UNPRICED


def _sum_usage(model: str, spans: Sequence[Span]) -> UnpricedModel:
    usages = [span.usage for span in spans if span.usage is not None]
    return UnpricedModel(
        model,
        len(spans),
        sum(usage.prompt_tokens for usage in usages),
        sum(usage.completion_tokens for usage in usages),
        max(span.started_at for span in spans),
    )
