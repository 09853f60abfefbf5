"""Repricings in memory."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from adapters.memory.store import MemoryStore, by_creation
from application.pricing.ports import REPRICED_SPANS_BATCH, REPRICINGS_KEPT_MAX
from domain.errors import Conflict
from domain.ids import ProjectId
from domain.tracing.repricing import PricedSpan, Repricing
from domain.tracing.span import Span
from domain.tracing.trace import Trace
from domain.tracing.usage import CostSource, Pricing, SpanCost


@dataclass(frozen=True, slots=True)
class MemoryRepricings:
    store: MemoryStore

    async def create(self, repricing: Repricing) -> Repricing:
        self.store.check_exists(repricing.project_id)
        if (known := self.store.repricings.get(_repricing_key(repricing))) is not None:
            return known
        ours = by_creation(self.store.repricings.of(repricing.project_id), newest_first=True)
        if any(one.completed_at is None for one in ours):
            raise Conflict("Another repricing of this project is under way: wait for its end")
        for one in ours[REPRICINGS_KEPT_MAX - 1 :]:
            del self.store.repricings[_repricing_key(one)]
            self.store.repricings_held.pop(_repricing_key(one), None)
        self.store.repricings[_repricing_key(repricing)] = repricing
        self.store.repricings_held[_repricing_key(repricing)] = repricing.created_at
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
            for trace in self.store.traces.of(project)
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
    if usage.prompt_tokens + usage.completion_tokens == 0:
        return None
    return PricedSpan(trace.id, span.id, span.started_at, span.model, usage, charge)


def _is_next(repricing: Repricing, span: PricedSpan) -> bool:
    since, until = repricing.started_after, repricing.started_before
    return (
        (since is None or span.started_at >= since)
        and (until is None or span.started_at < until)
        and (repricing.place is None or span.place > repricing.place)
    )
