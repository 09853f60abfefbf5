"""Model prices of projects, in memory."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from adapters.memory.store import MemoryStore
from application.pricing.ports import UNPRICED_MODELS_MAX, UNPRICED_SPANS_MAX
from domain.errors import Conflict
from domain.ids import ProjectId
from domain.tracing.model_price import PRICES_MAX, ModelPrice, UnpricedModel, newest_first
from domain.tracing.span import Span
from domain.tracing.usage import CostSource


@dataclass(frozen=True, slots=True)
class MemoryModelPrices:
    store: MemoryStore

    async def create(self, price: ModelPrice) -> ModelPrice:
        project = price.project_id
        self.store.check_exists(project)
        key = (project, price.id)
        is_full = len(self.store.model_prices.of(project)) >= PRICES_MAX
        if key not in self.store.model_prices and is_full:
            raise Conflict(f"A project has {PRICES_MAX} prices at most: delete one first")
        return self.store.model_prices.setdefault(key, price)

    async def for_projects(
        self, projects: Collection[ProjectId]
    ) -> Mapping[ProjectId, Sequence[ModelPrice]]:
        prices = self.store.model_prices
        return {project: newest_first(prices.of(project)) for project in projects}

    async def delete(self, project: ProjectId, price: UUID) -> bool:
        return self.store.model_prices.discard(project, price)

    async def list_unpriced(self, project: ProjectId, since: datetime) -> Sequence[UnpricedModel]:
        spans = [span for trace in self.store.traces.of(project) for span in trace.spans]
        meant = [span for span in spans if span.started_at >= since and _is_unpriced(span)]
        meant.sort(key=lambda span: span.started_at, reverse=True)
        of_model: defaultdict[str, list[Span]] = defaultdict(list)
        for span in meant[:UNPRICED_SPANS_MAX]:
            of_model[span.model or ""].append(span)
        found = [_sum_usage(model, some) for model, some in of_model.items()]
        return sorted(found, key=lambda one: (-one.spans, one.model))[:UNPRICED_MODELS_MAX]


def _is_unpriced(span: Span) -> bool:
    assert span.usage is not None
    assert span.charge is not None
    has_tokens = span.usage.prompt_tokens + span.usage.completion_tokens > 0
    return bool(span.model) and has_tokens and span.charge.source is CostSource.UNPRICED


def _sum_usage(model: str, spans: Sequence[Span]) -> UnpricedModel:
    usages = [span.usage for span in spans if span.usage is not None]
    return UnpricedModel(
        model,
        len(spans),
        sum(usage.prompt_tokens for usage in usages),
        sum(usage.completion_tokens for usage in usages),
        max(span.started_at for span in spans),
    )
