"""Prints what `genai-prices` knows of token prices, as one JSON document.

Run as a process of its own (`adapters.prices` does): the package takes 16 MB and a third of a
second to load, and what it knows of tokens fits in 4 MB. Nothing of ours is imported here.

    {"providers": [{"id", "of_model": match?, "of_id": match?, "fallback": [id],
                    "models": [[match, [[when, rate, rate, rate, rate]]]]}]}
    match   [kind, text] or [kind, [match]]
    when    null, ["from", date] or ["between", time, time], in UTC; the last that holds counts
    rate    USD per million tokens, of prompt, completion, tokens read from a cache and written to
            one: null, the rate, or the rate with its steps, [rate, [[tokens, rate]]]: with more
            prompt tokens than a step it counts for all. Nulls at the end are left out.
"""

import json
import sys
from typing import Any

from genai_prices import data, types


def _match(clause: Any) -> list[object] | None:  # noqa: PLR0911 - a return a kind
    match clause:
        case None:
            return None
        case types.ClauseOr():
            return ["or", [_match(one) for one in clause.or_]]
        case types.ClauseAnd():
            return ["and", [_match(one) for one in clause.and_]]
        case types.ClauseEquals():
            return ["equals", clause.equals.lower()]
        case types.ClauseStartsWith():
            return ["starts", clause.starts_with.lower()]
        case types.ClauseEndsWith():
            return ["ends", clause.ends_with.lower()]
        case types.ClauseContains():
            return ["contains", clause.contains.lower()]
        case types.ClauseRegex():
            return ["regex", clause.regex]
    raise TypeError(f"unknown clause {type(clause).__name__}")


def _when(constraint: Any) -> list[object] | None:
    match constraint:
        case None:
            return None
        case types.StartDateConstraint():
            return ["from", constraint.start_date.isoformat()]
        case types.TimeOfDateConstraint():
            return ["between", *(_utc(t) for t in (constraint.start_time, constraint.end_time))]
    raise TypeError(f"unknown constraint {type(constraint).__name__}")


def _utc(value: Any) -> str:
    if value.utcoffset():
        raise TypeError(f"a time of day that isn't in UTC: {value}")
    return str(value.replace(tzinfo=None).isoformat())


def _rate(price: Any) -> object:
    if price is None:
        return None
    if isinstance(price, types.TieredPrices):
        return [str(price.base), [[tier.start, str(tier.price)] for tier in price.tiers]]
    return str(price)


def _prices(prices: Any) -> list[object]:
    dated = prices if isinstance(prices, list) else [types.ConditionalPrice(prices=prices)]
    return [[_when(one.constraint), *_rates(one.prices)] for one in dated]


def _rates(prices: Any) -> list[object]:
    rates = [
        _rate(prices.input_mtok),
        _rate(prices.output_mtok),
        _rate(prices.cache_read_mtok),
        _rate(prices.cache_write_mtok),
    ]
    while rates and rates[-1] is None:
        rates.pop()
    return rates


def snapshot() -> dict[str, object]:
    return {
        "providers": [
            {
                "id": provider.id,
                "of_model": _match(provider.model_match),
                "of_id": _match(provider.provider_match),
                "fallback": provider.fallback_model_providers or [],
                "models": [[_match(one.match), _prices(one.prices)] for one in provider.models],
            }
            for provider in data.providers
        ]
    }


if __name__ == "__main__":
    json.dump(snapshot(), sys.stdout, separators=(",", ":"))
