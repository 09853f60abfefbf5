"""Traces in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from adapters.memory.store import MemoryStore
from application.tracing.ports import PriceBook
from domain.errors import NotFound
from domain.ids import ProjectId, TraceId
from domain.page import Page, Window
from domain.tracing.query import SortOrder, TraceFilter
from domain.tracing.span import Span, Totals
from domain.tracing.trace import Trace, TraceStatus, TraceSummary
from domain.tracing.usage import Usage


@dataclass(frozen=True, slots=True)
class MemoryTraces:
    store: MemoryStore
    prices: PriceBook

    async def put(self, project: ProjectId, trace: Trace) -> None:
        known = self.store.traces.get((project, trace.id))
        merged = trace if known is None else known.merged(trace)
        self.store.traces[project, trace.id] = merged.settled(self.prices.price)

    async def add_spans(self, project: ProjectId, trace: TraceId, spans: Sequence[Span]) -> None:
        known = await self.get(project, trace)
        more = replace(known, spans=(*known.spans, *spans))
        self.store.traces[project, trace] = more.settled(self.prices.price)

    async def get(self, project: ProjectId, trace: TraceId) -> Trace:
        found = self.store.traces.get((project, trace))
        if found is None:
            raise NotFound("Trace not found")
        return found

    async def summaries(
        self, project: ProjectId, matching: TraceFilter, order: SortOrder, window: Window
    ) -> Page[TraceSummary]:
        ours = (_summary(trace) for (of, _), trace in self.store.traces.items() if of == project)
        found = [summary for summary in ours if matching.admits(summary)]
        found.sort(key=lambda one: (one.started_at, one.id), reverse=order is SortOrder.DESC)
        return Page(found[window.offset : window.offset + window.limit], len(found))

    async def delete(self, project: ProjectId, traces: Sequence[TraceId]) -> int:
        gone = [self.store.traces.pop((project, trace), None) for trace in dict.fromkeys(traces)]
        return sum(one is not None for one in gone)


def _summary(trace: Trace) -> TraceSummary:
    return TraceSummary(
        id=trace.id,
        name=trace.name,
        status=trace.status or TraceStatus.COMPLETED,
        started_at=trace.started_at,
        ended_at=trace.ended_at,
        session_id=trace.session_id,
        user_id=trace.user_id,
        environment=trace.environment,
        release=trace.release,
        tags=trace.tags,
        totals=Totals.of(trace.spans),
    )


@dataclass(frozen=True, slots=True)
class MemoryPriceBook:
    """USD per million tokens, in and out, by model."""

    per_million: dict[str, tuple[Decimal, Decimal]]
    version: str = "memory"

    def price(self, model: str, usage: Usage, at: object) -> Decimal | None:  # noqa: ARG002 - undated
        prices = self.per_million.get(model.rsplit("/", 1)[-1])
        if prices is None:
            return None
        tokens = (usage.prompt_tokens, usage.completion_tokens)
        return sum((p * n for p, n in zip(prices, tokens, strict=True)), Decimal(0)) / 1_000_000
