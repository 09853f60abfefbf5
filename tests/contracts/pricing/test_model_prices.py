"""Contract of ModelPrices: prices per project, their limit, and models without a price."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from domain.errors import Conflict
from domain.ids import ProjectId
from domain.pricing.model_price import PRICES_MAX, UnpricedModel
from domain.tracing.usage import CostSource
from tests.support.builders.values import at, prices, span, trace
from tests.support.fixtures import data_plane
from tests.support.fixtures.pricing import a_price

USED = b'{"prompt_tokens":1000000,"completion_tokens":10}'


@pytest.fixture
def project() -> ProjectId:
    return data_plane.project()


async def test_prices_are_listed_newest_first_per_project(pricing, project):
    full = a_price(
        project,
        cache_read=Decimal("0.05"),
        cache_write=Decimal(0),
        effective_from=at(1),
        effective_to=at(2),
        created_at=at(1),
    )
    plain = a_price(project)
    for one in (full, plain):
        assert await pricing.prices.create(one) == one
    other_project = data_plane.project()
    found = await pricing.prices.for_projects([project, other_project])
    assert {key: list(some) for key, some in found.items()} == {
        project: [full, plain],
        other_project: [],
    }


async def test_create_with_existing_id_returns_stored_price(pricing, project):
    one = await pricing.prices.create(a_price(project))
    assert await pricing.prices.create(replace(one, match="other")) == one
    assert list((await pricing.prices.for_projects([project]))[project]) == [one]


async def test_price_limit_of_project_is_prices_max(pricing, project):
    created = [a_price(project) for _ in range(PRICES_MAX)]
    for one in created:
        await pricing.prices.create(one)
    with pytest.raises(Conflict, match="delete one"):
        await pricing.prices.create(a_price(project))
    assert await pricing.prices.create(created[0]) == created[0]
    assert await pricing.prices.delete(project, created[0].id)
    assert await pricing.prices.create(a_price(project))
    assert await pricing.prices.create(a_price(data_plane.project()))


async def test_delete_removes_price_only_in_its_project(pricing, project):
    one = await pricing.prices.create(a_price(project))
    assert not await pricing.prices.delete(data_plane.project(), one.id)
    assert await pricing.prices.delete(project, one.id)
    assert not await pricing.prices.delete(project, one.id)
    assert list((await pricing.prices.for_projects([project]))[project]) == []


async def test_project_price_precedes_price_book(pricing, project):
    one = a_price(project, match="GPT-4*", input=Decimal(7), effective_from=at(0))
    await pricing.prices.create(one)
    sent = trace(
        span(model="gpt-4o", token_usage=USED, started_at=at(-1)),
        span(model="openai/gpt-4o", token_usage=USED, started_at=at(1)),
        span(model="gpt-4o", token_usage=USED, started_at=at(2), cost={"total": 1.0}),
        span(model="tiny", token_usage=USED, started_at=at(3)),
    )
    other_project = data_plane.project()
    for each in (project, other_project):
        await pricing.traces.put(each, sent)
    spans, other_spans = [
        (await pricing.traces.get(each, sent.id)).spans for each in (project, other_project)
    ]
    assert spans[0] == other_spans[0]
    assert spans[3] == other_spans[3]
    project_price = spans[1].charge.price
    assert (project_price.version, project_price.since) == (f"project {one.id}", at(0))
    assert spans[1].charge.amount == Decimal("7.000004")
    assert (spans[2].charge.source, spans[2].charge.price) == (CostSource.CLIENT, project_price)
    assert other_spans[1].charge.price.version == prices().version


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("llama3", "ollama"),
        ("ollama/llama3", None),
        ("ollama/llama3", "ollama"),
        ("ollama_chat/llama3", "ollama"),
        ("llama3", "groq"),
        ("groq/llama3", "groq"),
        ("Groq/llama3", "groq"),
    ],
)
async def test_price_of_a_project_is_found_below_one_prefix(pricing, project, model, provider):
    await pricing.prices.create(a_price(project, match="llama3", input=Decimal(3)))
    sent = trace(span(model=model, provider=provider, token_usage=USED))
    await pricing.traces.put(project, sent)
    [stored] = (await pricing.traces.get(project, sent.id)).spans
    assert stored.charge.amount == Decimal("3.000004")


async def test_added_spans_use_project_prices(pricing, project):
    sent = trace()
    await pricing.traces.put(project, sent)
    await pricing.prices.create(a_price(project, match="ours", input=Decimal(3)))
    added = span(model="ours", token_usage=USED)
    await pricing.traces.add_spans(project, sent.id, [added])
    [stored] = (await pricing.traces.get(project, sent.id)).spans
    assert stored.charge.amount == Decimal("3.000004")


# --- unpriced models -----------------------------------------------------------------------


async def test_unpriced_models_are_listed_most_frequent_first(pricing, project):
    priced_span: Callable[..., Any] = lambda model, seconds, **overrides: span(
        model=model, started_at=at(seconds), **{"token_usage": USED} | overrides
    )
    await pricing.traces.put(
        project,
        trace(
            *(
                priced_span("b", 1),
                priced_span("a", 2),
                priced_span("rare", 3),
                priced_span("b", 4),
                priced_span("a", 0),
            ),
            *(
                priced_span("gpt-4o", 1),
                priced_span("a", -3600),
                priced_span("paid", 1, cost={"total": 1.0}),
            ),
            *(priced_span("unused", 1, token_usage=None), priced_span(None, 1), priced_span("", 1)),
        ),
    )
    await pricing.traces.put(data_plane.project(), trace(priced_span("other", 1)))
    assert list(await pricing.prices.list_unpriced(project, at(0))) == [
        UnpricedModel("a", 2, 2_000_000, 20, at(2)),
        UnpricedModel("b", 2, 2_000_000, 20, at(4)),
        UnpricedModel("rare", 1, 1_000_000, 10, at(3)),
    ]
    later = await pricing.prices.list_unpriced(project, at(0) + timedelta(seconds=4))
    assert [one.model for one in later] == ["b"]


async def test_unpriced_models_are_empty_when_all_have_prices(pricing, project):
    await pricing.traces.put(project, trace(span(model="gpt-4o", token_usage=USED)))
    assert list(await pricing.prices.list_unpriced(project, at(-9))) == []
