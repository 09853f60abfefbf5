"""Prices and repricings over one store with traces, and what tests of them share."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from adapters.memory.model_prices import MemoryModelPrices
from adapters.memory.repricings import MemoryRepricings
from adapters.memory.store import MemoryStore
from adapters.postgres.engine import Pool
from adapters.postgres.model_prices import PostgresModelPrices
from adapters.postgres.reading.analytics import PostgresTraceAnalytics
from adapters.postgres.repricings import PostgresRepricings
from adapters.postgres.sessions import PostgresSessions
from adapters.postgres.tracing import PostgresTraces
from application.tracing.ports import Sessions, TraceAnalytics, Traces
from application.tracing.pricing import ModelPrices
from application.tracing.repricing import REPRICING_HELD, Repricings
from domain.ids import ProjectId
from domain.tracing.model_price import ModelPrice
from domain.tracing.repricing import Repricing
from domain.tracing.usage import Pricing as Prices
from tests.builders import NOON, prices
from tests.contracts import data_plane

LATER = NOON + REPRICING_HELD


@dataclass(frozen=True)
class Pricing:
    prices: ModelPrices
    repricings: Repricings
    traces: Traces
    sessions: Sessions
    analytics: TraceAnalytics

    async def walked(self, repricing: Repricing, pricing: Prices) -> Repricing:
        """All steps of it; it is stored already."""
        going: Repricing | None = repricing
        while going is not None and going.completed_at is None:
            going = await self.repricings.step(going, pricing, NOON, LATER)
        assert going is not None
        return going

    async def repriced(self, of: ProjectId, pricing: Prices, **said: Any) -> Repricing:
        """A repricing that isn't dry, from its beginning to its end."""
        asked = a_repricing(of, **{"is_dry": False} | said)
        return await self.walked(await self.repricings.create(asked), pricing)


def over_memory() -> Pricing:
    store = MemoryStore()
    plane = data_plane.over_memory(store)
    return Pricing(
        MemoryModelPrices(store),
        MemoryRepricings(store),
        plane.traces,
        plane.sessions,
        plane.analytics,
    )


@asynccontextmanager
async def over_postgres(pool: Pool) -> AsyncIterator[Pricing]:
    async with PostgresTraces.over(pool, prices()) as traces:
        yield Pricing(
            PostgresModelPrices(pool, traces.edits.prices.forget),
            PostgresRepricings(pool, traces.edits),
            traces,
            PostgresSessions(pool, traces.edits),
            PostgresTraceAnalytics(pool),
        )


def a_price(of: ProjectId, **said: Any) -> ModelPrice:
    known: dict[str, Any] = {
        "id": uuid.uuid4(),
        "project_id": of,
        "match": "our-*",
        "input": Decimal("0.20"),
        "output": Decimal("0.4"),
        "created_at": NOON,
    }
    return ModelPrice(**known | said)


def a_repricing(of: ProjectId, **said: Any) -> Repricing:
    known: dict[str, Any] = {"id": uuid.uuid4(), "project_id": of, "created_at": NOON}
    return Repricing(**known | said)
