"""Costs that senders state, and prices of mapped spans by the real price book."""

from decimal import Decimal

import pytest

from adapters.pricing.genai_prices import GenaiPriceBook
from domain.tracing.usage import CostSource
from tests.support.builders.otel import flags, mapped

LLM = {"gen_ai.operation.name": "chat"}
USAGE = "gen_ai.usage."


@pytest.fixture(scope="module")
def price():
    return GenaiPriceBook().price


def charge(attributes, price):
    return mapped(LLM | attributes).span.settled(price).charge


def figures(given, output, read=0, write=0):
    sent = {f"{USAGE}input_tokens": given, f"{USAGE}output_tokens": output}
    parts = {"cache_read": read, "cache_write": write}
    return sent | {f"{USAGE}{part}.input_tokens": n for part, n in parts.items() if n}


@pytest.mark.parametrize(
    ("model", "provider", "usage", "usd"),
    [
        ("gpt-4o", "openai", figures(1_000, 100), "0.0035"),
        ("gpt-4o", "openai", figures(1_000, 100, 500), "0.002875"),
        ("gpt-4o-2024-08-06", "openai.chat", figures(1_000, 120, 600), "0.00295"),
        ("gpt-4o-2024-08-06", "strands-agents", figures(1_000, 120, 600), "0.00295"),
        ("gpt-4o-2024-08-06", "langchain", figures(1_000, 120, 600), "0.00295"),
        ("gpt-4o-2024-08-06", "langgraph", figures(1_000, 120, 600), "0.00295"),
        ("gpt-4o-2024-08-06", "microsoft.agent_framework", figures(1_000, 120, 600), "0.00295"),
        (
            "claude-sonnet-4-5",
            "anthropic",
            figures(130_213, 393, 128_955, 1_253),
            "0.04929525",
        ),
        ("claude-sonnet-4-5", "anthropic", figures(5, 393, 128_955, 1_253), "0.04929525"),
        ("gemini-2.5-flash", "gcp.gemini", figures(1_000, 120, 600), "0.000438"),
        ("text-embedding-3-small", "openai", figures(1_000, 0), "0.00002"),
    ],
)
def test_goldens(model, provider, usage, usd, price):
    found = charge(
        {"gen_ai.response.model": model, "gen_ai.provider.name": provider} | usage, price
    )
    assert (found.amount, found.source) == (Decimal(usd), CostSource.TABLE)


def test_unknown_model_has_no_price(price):
    found = charge({"gen_ai.request.model": "llama3.1"} | figures(1_000, 100), price)
    assert found.source is CostSource.UNPRICED


def test_request_model_is_priced_if_response_model_has_no_price(price):
    names = {"gen_ai.response.model": "deployment-7", "gen_ai.request.model": "gpt-4o"}
    found = charge(names | {"gen_ai.provider.name": "openai"} | figures(1_000, 100), price)
    assert (found.amount, found.source) == (Decimal("0.0035"), CostSource.TABLE)


@pytest.mark.parametrize(
    ("attributes", "usd"),
    [
        ({"gen_ai.usage.cost": 0.00295}, "0.00295"),
        ({"gen_ai.usage.cost": "0.00295"}, "0.00295"),
        ({"gen_ai.cost.total_cost": 0.00295, "gen_ai.cost.input_cost": 0.00175}, "0.00295"),
        ({"operation.cost": 0.1234567890123}, "0.1234567890123"),
        ({"llm.cost.total": 3e-07}, "0.0000003"),
        ({"llm.cost.prompt": 0.1, "llm.cost.completion": 0.2}, "0.3"),
        ({"llm.cost.completion": 0.2}, "0.2"),
        ({"llm.cost.prompt": 0.1, "llm.cost.total": 0.5}, "0.5"),
        ({"langfuse.observation.cost_details": '{"total": 0.5, "input": 9}'}, "0.5"),
        ({"langfuse.observation.cost_details": {"input": 0.1, "output": 0.2}}, "0.3"),
        ({"claude_code.api_request.cost_usd": 0.25}, "0.25"),
        ({"gen_ai.usage.cost": 0}, "0"),
        ({"gen_ai.usage.cost": 0.1, "operation.cost": 0.2, "llm.cost.total": 0.3}, "0.1"),
        ({"operation.cost": 0.2, "llm.cost.total": 0.3}, "0.2"),
        ({"gen_ai.usage.cost": "free", "operation.cost": 0.2}, "0.2"),
    ],
)
def test_stated_cost_counts_to_last_digit(attributes, usd, price):
    priced = {"gen_ai.request.model": "gpt-4o"} | figures(1_000, 100)
    found = charge(priced | attributes, price)
    assert (found.amount, found.source) == (Decimal(usd), CostSource.CLIENT)
    assert found.price.amount == Decimal("0.0035")
    assert mapped(attributes).facts.has_stated_cost


@pytest.mark.parametrize(
    ("cost", "usd", "source"),
    [(0, "0.0035", CostSource.TABLE), (0.0, "0.0035", CostSource.TABLE),
     (0.002, "0.002", CostSource.CLIENT)],
)  # fmt: skip
def test_openlit_states_0_for_models_that_it_knows_no_price_of(cost, usd, source, price):
    sent = {"gen_ai.request.model": "gpt-4o", "gen_ai.usage.cost": cost} | figures(1_000, 100)
    one = mapped(LLM | sent, scope="openlit.instrumentation.openai")
    found = one.span.settled(price).charge
    assert (found.amount, found.source) == (Decimal(usd), source)
    assert one.facts.has_stated_cost == (source is CostSource.CLIENT)


@pytest.mark.parametrize("cost", ["NaN", "Infinity", -1, True, "free", [1], {}, 1_000_001, 1e300])
def test_null_cost_is_dropped(cost):
    one = mapped({"gen_ai.usage.cost": cost})
    assert one.span.cost is None
    assert not one.facts.has_stated_cost
    assert ("coerced" in flags(one)) == (cost != {})
