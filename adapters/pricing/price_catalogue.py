"""Finds a model and its prices in `genai-prices`.

Importing this module imports the package: up to 13 MB and 0.1 s.
`adapters.pricing.genai_prices` does so at the first look-up.
"""

import re
from dataclasses import replace
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Final

from genai_prices.data import providers
from genai_prices.data_snapshot import find_provider_by_id
from genai_prices.types import (
    ConditionalPrice,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
)

from adapters.pricing.model_names import PREFIXES_MAX, PROVIDERS
from domain.pricing.model_price import Rate, Tariff
from domain.tracing.span import SELF_HOSTED_PROVIDERS

NO_PROVIDERS: Final = frozenset({"models", "litellm", "litellm_proxy"})  # prefixes to strip

_OPENAI_MODELS: Final = ("text-embedding-3-", "text-embedding-ada-002")
_BEDROCK_MODELS: Final = re.compile(
    r"(?:[a-z-]{2,6}\.)?(?:ai21|amazon|anthropic|cohere|deepseek|meta|mistral)\."
)


def find_tariffs(model: str) -> tuple[Tariff, ...]:
    """The prices of a model in the order in which to try them; empty for an unpriced model.

    The package's own look-up isn't used, because it caches every name without a bound.
    """
    name = model.strip().lower()
    for _ in range(PREFIXES_MAX):
        prefix, slash, rest = name.partition("/")
        if prefix in SELF_HOSTED_PROVIDERS:
            return ()
        known = PROVIDERS.get(prefix, prefix)
        if slash and (provider := find_provider_by_id(providers, known)) is not None:
            inner = rest.rpartition("/")[2]  # `vertex_ai/anthropic/claude-…`
            return _tariffs(rest, provider) or _tariffs(inner, provider)
        if prefix not in NO_PROVIDERS and (tariffs := _tariffs(name, _provider_of(name))):
            return tariffs
        name = rest  # the prefix names no provider
    return ()


def _provider_of(name: str) -> Provider | None:
    if name.startswith(_OPENAI_MODELS):
        return find_provider_by_id(providers, "openai")
    if _BEDROCK_MODELS.match(name):
        return find_provider_by_id(providers, "aws")
    return next((p for p in providers if p.model_match and p.model_match.is_match(name)), None)


def _tariffs(name: str, provider: Provider | None) -> tuple[Tariff, ...]:
    model = None if provider is None else provider.find_model(name, all_providers=providers)
    if model is None:
        return ()
    # The last price whose condition holds applies, or the first if none holds.
    prices = model.prices
    conditional = [ConditionalPrice(prices=prices)] if isinstance(prices, ModelPrice) else prices
    listed = [_tariff(price) for price in conditional]
    fallback = [replace(tariff, since=None, holds=None) for tariff in listed[:1]]
    tariffs = (*reversed(listed), *fallback)
    # A model that is priced only by the hour or the page has no price per token.
    return tariffs if any(tariff.prompt or tariff.completion for tariff in tariffs) else ()


def _tariff(price: ConditionalPrice) -> Tariff:
    tokens = price.prices
    rates = map(
        _rate,
        (tokens.input_mtok, tokens.output_mtok, tokens.cache_read_mtok, tokens.cache_write_mtok),
    )
    match price.constraint:
        case None:
            return Tariff(*rates)
        case StartDateConstraint(start_date):
            return Tariff(*rates, since=datetime.combine(start_date, time.min, UTC))
        case constraint:
            return Tariff(*rates, holds=constraint.active)


def _rate(price: Decimal | TieredPrices | None) -> Rate | None:
    if isinstance(price, TieredPrices):
        return Rate(price.base, tuple((tier.start, tier.price) for tier in price.tiers))
    return None if price is None else Rate(price)
