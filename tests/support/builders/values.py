"""Values for tests; a test sets only the fields it is about."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from adapters.memory.tracing.traces import MemoryPriceBook
from adapters.pricing.price_cache import ProjectPriceCache
from domain.ids import ProjectId, SpanId, TraceId
from domain.pricing.model_price import ModelPrice
from domain.tracing.span import Span
from domain.tracing.trace import Trace
from domain.tracing.usage import CostSource, Price, SpanCost

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
OURS: Final = ProjectId(uuid.UUID(int=0xA << 120))
THEIRS: Final = ProjectId(uuid.UUID(int=0xB << 120))

PRICES: Final[Mapping[str, tuple[Decimal, ...]]] = {
    "gpt-4o": (Decimal("2.50"), Decimal("10.00"), Decimal("1.25")),
    "tiny": (Decimal("0.000001"), Decimal(0)),
}
"""USD per million tokens, in, out and cached: the models that `prices()` lists."""


def prices() -> MemoryPriceBook:
    return MemoryPriceBook(dict(PRICES))


def project_prices() -> ProjectPriceCache:
    """The prices of `prices()`, for projects without their own."""

    async def load(projects: Collection[ProjectId]) -> Mapping[ProjectId, Sequence[ModelPrice]]:
        return dict.fromkeys(projects, ())

    return ProjectPriceCache(load, prices())


def table_cost(amount: str) -> SpanCost:
    """The charge of a span by `prices()`."""
    return SpanCost(Decimal(amount), CostSource.TABLE, Price(Decimal(amount), prices().version))


def at(seconds: float = 0) -> datetime:
    """NOON plus this many seconds."""
    return NOON + timedelta(seconds=seconds)


def trace_id() -> TraceId:
    return TraceId(uuid.uuid4())


def span_id() -> SpanId:
    return SpanId(uuid.uuid4())


def span(**said: Any) -> Span:
    """A span as sent: a new id, a name, a start, and the `said` fields."""
    known: dict[str, Any] = {"id": span_id(), "name": "step", "started_at": NOON}
    return Span(**known | said)


def trace(*spans: Span, **said: Any) -> Trace:
    """A trace as sent: a new id, a name, a start, and the `said` fields."""
    known: dict[str, Any] = {"id": trace_id(), "name": "run", "started_at": NOON, "spans": spans}
    return Trace(**known | said)
