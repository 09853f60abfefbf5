"""Contract of ModelPrices: prices per project, their limit, and models without a price."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from domain.errors import Conflict
from domain.ids import ProjectId
from domain.tracing.model_price import PRICES_MAX, UnpricedModel
from domain.tracing.usage import CostSource
from tests.support.builders.values import at, prices, span, trace
from tests.support.fixtures import data_plane
from tests.support.fixtures.pricing import a_price

USED = b'{"prompt_tokens":1000000,"completion_tokens":10}'


@pytest.fixture
def ours() -> ProjectId:
    return data_plane.project()


async def test_prices_are_listed_newest_first_per_project(pricing, ours):
    full = a_price(
        ours,
        cache_read=Decimal("0.05"),
        cache_write=Decimal(0),
        effective_from=at(1),
        effective_to=at(2),
        created_at=at(1),
    )
    plain = a_price(ours)
    for one in (full, plain):
        assert await pricing.prices.create(one) == one
    theirs = data_plane.project()
    found = await pricing.prices.for_projects([ours, theirs])
    assert {of: list(some) for of, some in found.items()} == {ours: [full, plain], theirs: []}


async def test_create_with_existing_id_returns_stored_price(pricing, ours):
    one = await pricing.prices.create(a_price(ours))
    assert await pricing.prices.create(replace(one, match="other")) == one
    assert list((await pricing.prices.for_projects([ours]))[ours]) == [one]


async def test_price_limit_of_project_is_prices_max(pricing, ours):
    made = [a_price(ours) for _ in range(PRICES_MAX)]
    for one in made:
        await pricing.prices.create(one)
    with pytest.raises(Conflict, match="delete one"):
        await pricing.prices.create(a_price(ours))
    assert await pricing.prices.create(made[0]) == made[0]
    assert await pricing.prices.delete(ours, made[0].id)
    assert await pricing.prices.create(a_price(ours))
    assert await pricing.prices.create(a_price(data_plane.project()))


async def test_delete_removes_price_only_in_its_project(pricing, ours):
    one = await pricing.prices.create(a_price(ours))
    assert not await pricing.prices.delete(data_plane.project(), one.id)
    assert await pricing.prices.delete(ours, one.id)
    assert not await pricing.prices.delete(ours, one.id)
    assert list((await pricing.prices.for_projects([ours]))[ours]) == []


async def test_project_price_precedes_price_book(pricing, ours):
    one = a_price(ours, match="GPT-4*", input=Decimal(7), effective_from=at(0))
    await pricing.prices.create(one)
    sent = trace(
        span(model="gpt-4o", token_usage=USED, started_at=at(-1)),
        span(model="openai/gpt-4o", token_usage=USED, started_at=at(1)),
        span(model="gpt-4o", token_usage=USED, started_at=at(2), cost={"total": 1.0}),
        span(model="tiny", token_usage=USED, started_at=at(3)),
    )
    theirs = data_plane.project()
    for of in (ours, theirs):
        await pricing.traces.put(of, sent)
    mine, elsewhere = [(await pricing.traces.get(of, sent.id)).spans for of in (ours, theirs)]
    assert mine[0] == elsewhere[0]
    assert mine[3] == elsewhere[3]
    by_theirs = mine[1].charge.price
    assert (by_theirs.version, by_theirs.since) == (f"project {one.id}", at(0))
    assert mine[1].charge.amount == Decimal("7.000004")
    assert (mine[2].charge.source, mine[2].charge.price) == (CostSource.CLIENT, by_theirs)
    assert elsewhere[1].charge.price.version == prices().version


async def test_added_spans_use_project_prices(pricing, ours):
    sent = trace()
    await pricing.traces.put(ours, sent)
    await pricing.prices.create(a_price(ours, match="ours", input=Decimal(3)))
    added = span(model="ours", token_usage=USED)
    await pricing.traces.add_spans(ours, sent.id, [added])
    [stored] = (await pricing.traces.get(ours, sent.id)).spans
    assert stored.charge.amount == Decimal("3.000004")


# --- unpriced models -----------------------------------------------------------------------


async def test_unpriced_models_are_listed_most_frequent_first(pricing, ours):
    of: Callable[..., Any] = lambda model, seconds, **overrides: span(
        model=model, started_at=at(seconds), **{"token_usage": USED} | overrides
    )
    await pricing.traces.put(
        ours,
        trace(
            *(of("b", 1), of("a", 2), of("rare", 3), of("b", 4), of("a", 0)),
            *(of("gpt-4o", 1), of("a", -3600), of("paid", 1, cost={"total": 1.0})),
            *(of("unused", 1, token_usage=None), of(None, 1), of("", 1)),
        ),
    )
    await pricing.traces.put(data_plane.project(), trace(of("theirs", 1)))
    assert list(await pricing.prices.list_unpriced(ours, at(0))) == [
        UnpricedModel("a", 2, 2_000_000, 20, at(2)),
        UnpricedModel("b", 2, 2_000_000, 20, at(4)),
        UnpricedModel("rare", 1, 1_000_000, 10, at(3)),
    ]
    later = await pricing.prices.list_unpriced(ours, at(0) + timedelta(seconds=4))
    assert [one.model for one in later] == ["b"]


async def test_unpriced_models_are_empty_when_all_have_prices(pricing, ours):
    await pricing.traces.put(ours, trace(span(model="gpt-4o", token_usage=USED)))
    assert list(await pricing.prices.list_unpriced(ours, at(-9))) == []
