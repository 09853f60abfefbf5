"""The cache of project prices: loading, expiry, invalidation and bounds."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import pytest

from adapters.postgres.database.pool import Pool
from adapters.postgres.tracing.traces import PostgresTraces
from adapters.pricing.price_cache import PRICE_TTL_S, PROJECTS_MAX, ROWS_MAX, ProjectPriceCache
from domain.ids import ProjectId
from domain.pricing.model_price import PRICES_MAX, ModelPrice
from domain.tracing.span import Span
from domain.tracing.usage import CostSource, Price, SpanCost, Usage
from tests.support.builders.values import NOON, OURS, THEIRS, prices, span, trace

USAGE = Usage(1_000_000, 0, is_known=True)


@dataclass
class CountedPrices:
    """Stored prices and a cache over them. `loads` records the projects of each load."""

    rows: int = 0
    loads: list[set[ProjectId]] = field(default_factory=list)
    now: float = 0.0
    meanwhile: list[ProjectId] = field(default_factory=list)  # invalidated during a load

    def __post_init__(self) -> None:
        self.cache = ProjectPriceCache(self.load, prices(), lambda: self.now)

    async def load(
        self, projects: Collection[ProjectId]
    ) -> Mapping[ProjectId, Sequence[ModelPrice]]:
        self.loads.append(set(projects))
        found = {project: [a_price(project)] * self.rows for project in projects}
        while self.meanwhile:
            self.cache.invalidate(self.meanwhile.pop())
            self.rows = 1
        return found

    async def cost(self, project: ProjectId = OURS) -> Decimal:
        price = (await self.cache.get([project]))[project]("gpt-4o", USAGE, NOON)
        assert price is not None
        return price.amount


def a_price(project: ProjectId) -> ModelPrice:
    return ModelPrice(
        id=uuid.uuid4(),
        project_id=project,
        match="*",
        input=Decimal(7),
        output=Decimal(0),
        created_at=NOON,
    )


async def test_prices_are_loaded_once_per_ttl() -> None:
    stored = CountedPrices()
    for _ in range(5):
        assert await stored.cost() == Decimal("2.5")
    assert stored.loads == [{OURS}]
    stored.rows, stored.now = 1, PRICE_TTL_S - 0.001
    assert await stored.cost() == Decimal("2.5")
    stored.now = PRICE_TTL_S
    assert await stored.cost() == 7
    assert len(stored.loads) == 2


async def test_missing_projects_are_loaded_together() -> None:
    stored = CountedPrices()
    await stored.cache.get([OURS])
    other = ProjectId(uuid.uuid4())
    assert (await stored.cache.get([OURS, THEIRS, other])).keys() == {OURS, THEIRS, other}
    assert stored.loads == [{OURS}, {THEIRS, other}]


async def test_own_change_applies_immediately() -> None:
    stored = CountedPrices()
    await stored.cost()
    stored.rows = 1
    stored.cache.invalidate(OURS)
    assert await stored.cost() == 7


async def test_prices_invalidated_during_a_load_are_not_cached() -> None:
    stored = CountedPrices(meanwhile=[OURS])
    assert await stored.cost() == Decimal("2.5")
    assert await stored.cost() == 7


async def test_cache_is_bounded_in_projects_and_prices() -> None:
    stored = CountedPrices(rows=PRICES_MAX)
    many = [ProjectId(uuid.uuid4()) for _ in range(ROWS_MAX // PRICES_MAX + 1)]
    await stored.cache.get(many)
    assert list(stored.cache._entries) == many[1:]
    assert stored.cache._rows == ROWS_MAX
    stored.rows = 0
    more = [ProjectId(uuid.uuid4()) for _ in range(PROJECTS_MAX)]
    await stored.cache.get(more)
    assert list(stored.cache._entries) == more
    assert stored.cache._rows == 0


@dataclass
class CountedBook:
    """Counts how often it was loaded."""

    loads: int = 0
    version: str = "counted"

    async def load(self) -> bool:
        self.loads += 1
        return True

    def price(self, _model: str, _usage: Usage, _at: datetime) -> Price | None:
        assert self.loads, "a lookup before loading would block the event loop"
        return Price(Decimal(3), self.version)


PRICED = span(model="gpt-4o", usage=USAGE)


@pytest.mark.parametrize(
    ("spans", "loads"),
    [
        ([], 0),
        ([span()], 0),
        ([span(model="gpt-4o")], 0),
        ([span(usage=USAGE)], 0),
        ([span(), PRICED], 1),
        ([span(model="gpt-4o", token_usage=b'{"prompt_tokens":1}')], 1),
    ],
)
async def test_book_is_loaded_before_the_first_priced_span(spans: list[Span], loads: int) -> None:
    book = CountedBook()
    cache = ProjectPriceCache(CountedPrices().load, book)
    await cache.get([OURS], spans)
    assert book.loads == loads
    for _ in range(2):
        pricing = (await cache.get([OURS], [PRICED]))[OURS]
    assert book.loads == 1
    assert pricing("gpt-4o", USAGE, NOON) == Price(Decimal(3), "counted")


@pytest.mark.service
async def test_price_book_is_loaded_only_when_a_span_is_priced(pool: Pool) -> None:
    book = CountedBook()
    async with PostgresTraces.open(pool, book) as traces:
        project = ProjectId(uuid.uuid4())
        unpriced, priced, empty = trace(span()), trace(PRICED), trace()
        await traces.put(project, unpriced)
        await traces.put(project, empty)
        assert book.loads == 0
        await traces.add_spans(project, empty.id, [PRICED])
        await traces.put(project, priced)
        found = await traces.get(project, priced.id)
    assert book.loads == 1
    assert found.spans[0].charge == SpanCost(
        Decimal(3), CostSource.TABLE, Price(Decimal(3), "counted")
    )
