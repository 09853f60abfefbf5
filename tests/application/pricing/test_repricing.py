"""Repricing: the work of a worker, and requests that are refused."""

import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

import pytest

from adapters.memory.pricing.pricing import MemoryRepricings
from adapters.memory.store import MemoryStore
from adapters.memory.tracing.traces import MemoryPriceBook
from application.pricing.ports import REPRICED_SPANS_BATCH, REPRICING_LEASE
from application.pricing.repricing import STEPS_MAX, RepricingRequest
from domain.errors import NotFound, Unavailable
from domain.ids import ProjectId
from domain.pricing.repricing import (
    MODELS_REPORTED_MAX,
    SAMPLE_MAX,
    PricedSpan,
    Repricing,
    RepricingReport,
    RepricingStatus,
)
from domain.tracing.usage import UNPRICED, CostSource, Price, Pricing, SpanCost, Usage
from entrypoints.composition.memory import memory_ports, memory_pricing
from tests.support.builders.values import (
    NOON,
    OURS,
    THEIRS,
    at,
    prices,
    span,
    span_id,
    table_cost,
    trace,
    trace_id,
)
from tests.support.fixtures.in_memory_app import World
from tests.support.fixtures.pricing import a_price

USED = b'{"prompt_tokens":1000000,"completion_tokens":0}'


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def world(store: MemoryStore) -> World:
    return World(memory_ports(store, prices()))


async def stored(world: World, project_id: ProjectId, count: int = 1, model: str = "ours") -> None:
    await world.ports.tracing.traces.put(
        project_id,
        trace(*(span(model=model, token_usage=USED, started_at=at(n)) for n in range(count))),
    )


async def started(world: World, project_id: ProjectId, **said: object) -> uuid.UUID:
    order = RepricingRequest(**{"is_dry": False} | said)
    return (await world.do.pricing.start_repricing(project_id, world.new_id(), order)).id


async def test_reprices_with_present_prices(world: World) -> None:
    await stored(world, OURS)
    await world.ports.pricing.prices.create(a_price(OURS, match="ours", input=Decimal(3)))
    asked = await started(world, OURS)
    assert await world.do.pricing.reprice_spans() == 1
    done = await world.do.pricing.repricings.get(OURS, asked)
    assert (done.status, done.found.total.after) == (RepricingStatus.COMPLETED, 3)
    assert await world.do.pricing.reprice_spans() == 0


async def test_call_is_bounded_so_that_other_projects_have_their_turn(world: World) -> None:
    count = STEPS_MAX * REPRICED_SPANS_BATCH + 1
    await stored(world, OURS, count)
    large = await started(world, OURS, is_dry=True)
    world.forward(seconds=1)
    await stored(world, THEIRS)
    small = await started(world, THEIRS)
    turns = [await world.do.pricing.reprice_spans()]
    world.forward(seconds=1)
    turns += [await world.do.pricing.reprice_spans() for _ in range(3)]
    assert turns == [STEPS_MAX, 1, 1, 0]
    for project_id, one in ((OURS, large), (THEIRS, small)):
        found = await world.do.pricing.repricings.get(project_id, one)
        assert found.status is RepricingStatus.COMPLETED
    with pytest.raises(NotFound):
        await world.do.pricing.repricings.get(THEIRS, large)


async def test_another_worker_continues_after_the_lease(world: World) -> None:
    await stored(world, OURS)
    asked = await started(world, OURS)
    assert await world.ports.pricing.repricings.claim(world.now, world.now + REPRICING_LEASE)
    assert await world.do.pricing.reprice_spans() == 0
    world.now += REPRICING_LEASE
    assert await world.do.pricing.reprice_spans() == 1
    done = await world.do.pricing.repricings.get(OURS, asked)
    assert done.status is RepricingStatus.COMPLETED


async def test_without_a_price_book_nothing_is_repriced(world: World, store: MemoryStore) -> None:
    await stored(world, OURS, model="gpt-4o")
    asked = await started(world, OURS)
    empty = replace(memory_pricing(store, prices()), book=MemoryPriceBook({}))
    broken = world.with_ports(pricing=empty)
    assert await broken.pricing.reprice_spans() == 0
    with pytest.raises(Unavailable, match="price book"):
        await broken.pricing.start_repricing(OURS, world.new_id(), RepricingRequest())
    waiting = await world.do.pricing.repricings.get(OURS, asked)
    assert waiting.status is RepricingStatus.PENDING
    assert await world.do.pricing.reprice_spans() == 0  # it waits, as after any fault
    world.now += REPRICING_LEASE
    assert await world.do.pricing.reprice_spans() == 1


@dataclass(frozen=True, slots=True)
class Stuck(MemoryRepricings):
    """Takes no step beyond the first `fine` spans."""

    fine: int = 0

    async def step(
        self, repricing: Repricing, pricing: Pricing, now: datetime, until: datetime
    ) -> Repricing | None:
        if repricing.found.total.spans >= self.fine:
            raise ZeroDivisionError
        return await MemoryRepricings.step(self, repricing, pricing, now, until)


@pytest.mark.parametrize("fine", [0, 1])
async def test_failing_repricing_is_retried_with_growing_delays_then_fails(
    world: World, store: MemoryStore, fine: int
) -> None:
    await stored(world, OURS, fine * REPRICED_SPANS_BATCH + 1)
    asked = await started(world, OURS)
    stuck = replace(memory_pricing(store, prices()), repricings=Stuck(store, fine))
    turn, waits, seconds = world.with_ports(pricing=stuck).pricing.reprice_spans, [], 0
    while (await world.do.pricing.repricings.get(OURS, asked)).completed_at is None:
        try:
            assert await turn() == 0
        except ZeroDivisionError:
            waits.append(seconds)
            seconds = 0
        world.forward(seconds=30)
        seconds += 30
    # After a successful step, the first failure belongs to the attempt of that step.
    assert waits == [0] + [30] * (1 + fine) + [60, 120, 240, 480, 600, 600, 600, 600]
    found = await world.do.pricing.repricings.get(OURS, asked)
    assert (found.status, found.found.total.spans) == (
        *(RepricingStatus.FAILED, fine * REPRICED_SPANS_BATCH),
    )
    assert "10 times" in found.error
    assert ("after the span" in found.error) is bool(fine)
    assert await world.do.pricing.reprice_spans() == 0
    await started(world, OURS)
    assert await world.do.pricing.reprice_spans() == fine + 1


def test_free_model_has_a_price() -> None:
    usage, free = Usage(1, 0, is_known=True), Price(Decimal(0), "v")
    one = PricedSpan(trace_id(), span_id(), NOON, "m", usage, UNPRICED)
    assert one.cost_under(lambda *_: free) == SpanCost(Decimal(0), CostSource.TABLE, free)


def test_report_is_bounded_and_its_total_is_complete() -> None:
    spans = [
        PricedSpan(
            trace_id(), span_id(), NOON, f"m{n}", Usage(1, 0, is_known=True), table_cost("1")
        )
        for n in range(MODELS_REPORTED_MAX + 3)
    ]
    found = (
        RepricingReport()
        .plus_spans((one, UNPRICED) for one in spans)
        .plus_spans([(spans[0], UNPRICED)])
    )
    assert (len(found.models), len(found.sample)) == (MODELS_REPORTED_MAX, SAMPLE_MAX)
    assert (found.models["m0"].spans, found.others.spans) == (2, 3)
    assert found.total.before == MODELS_REPORTED_MAX + 4
    assert sum(one.spans for one in found.models.values()) + 3 == found.total.spans
