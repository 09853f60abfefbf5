"""Tariffs, which are the token rates of a model, and the prices that a project sets.

Rates depend on the token type and the size of the prompt. Prices of a project take precedence over
the general price table.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fnmatch import translate
from functools import lru_cache
from typing import Final
from uuid import UUID

from domain.errors import Invalid
from domain.ids import ProjectId
from domain.tracing.usage import EXACT, Price, Pricing, Usage

RATE_MAX: Final = 1_000_000  # USD per million tokens: far above any real price, safe to store
PRICES_MAX: Final = 200  # of one project
MATCH_MAX: Final = 255  # characters, as of a model
MODELS_CACHED: Final = 32  # models of a project whose matching prices are cached
PATTERNS_CACHED: Final = 1_024  # of all projects, up to 5 KB each; fnmatch itself keeps 32,768
_PER_MILLION: Final = -6
_FREE: Final = Decimal(0)

type RateSteps = tuple[tuple[int, Decimal], ...]
"""(tokens, rate), ascending: with more prompt tokens than that, the rate applies to all tokens."""


@dataclass(frozen=True, slots=True)
class Rate:
    """USD per million tokens."""

    flat: Decimal
    steps: RateSteps = ()

    def at(self, prompt_tokens: int) -> Decimal:
        if not self.steps:
            return self.flat
        for above, rate in reversed(self.steps):
            if prompt_tokens > above:
                return rate
        return self.flat


@dataclass(frozen=True, slots=True)
class Tariff:
    """The rates of a model from `since` on and before `until`, while `holds`; None is always.

    A rate of None is free, except for cache tokens: without a rate, they cost as much as other
    prompt tokens.
    """

    prompt: Rate | None
    completion: Rate | None
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    since: datetime | None = field(default=None, kw_only=True)
    until: datetime | None = field(default=None, kw_only=True)
    holds: Callable[[datetime], bool] | None = field(default=None, kw_only=True)

    def is_in_force(self, at: datetime) -> bool:
        return (
            (self.since is None or at >= self.since)
            and (self.until is None or at < self.until)
            and (self.holds is None or self.holds(at))
        )

    def cost(self, usage: Usage) -> Decimal:
        """The cost in USD. Exact, whatever the order of the sum."""
        prompt, per_million = usage.prompt_tokens, _FREE
        uncached = prompt
        if usage.has_cached:
            for rate, tokens in (
                (self.cache_read, usage.cache_read_tokens),
                (self.cache_write, usage.cache_write_tokens),
            ):
                if rate is not None and tokens:
                    uncached -= tokens
                    per_million = EXACT.fma(rate.at(prompt), Decimal(tokens), per_million)
        if self.prompt is not None and uncached:
            per_million = EXACT.fma(self.prompt.at(prompt), Decimal(uncached), per_million)
        if self.completion is not None and usage.completion_tokens:
            completion = Decimal(usage.completion_tokens)
            per_million = EXACT.fma(self.completion.at(prompt), completion, per_million)
        return per_million.scaleb(_PER_MILLION, EXACT) if per_million else _FREE


def matches_model(pattern: str, model: str) -> bool:
    """Whether the pattern matches a model, with or without its `<provider>/` prefix.

    Both are in lower case; `*` and `?` match any characters and any single one.
    """
    match = _compiled(pattern).match
    _, slash, rest = model.partition("/")
    return bool(match(model) or (slash and match(rest)))


@lru_cache(PATTERNS_CACHED)
def _compiled(pattern: str) -> re.Pattern[str]:
    # Without brackets, which would be a set of characters, as in claude-opus-4-1[1m].
    return re.compile(translate(pattern.replace("[", "[[]")))


def first_price(
    tariffs: Sequence[Tariff], usage: Usage, at: datetime, version: str
) -> Price | None:
    """The price by the first tariff in force at `at`; None if there is none."""
    for tariff in tariffs:
        if tariff.is_in_force(at):
            return Price(tariff.cost(usage), version, tariff.since)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrice:
    """The token prices of the models matching `match` in a project, in USD per million.

    `match` is a case-insensitive pattern with `*` and `?`. The price is valid for spans that start
    from `effective_from` on and before `effective_to`; None is unbounded. Without a rate of their
    own, cache tokens cost as much as other prompt tokens.
    """

    id: UUID
    project_id: ProjectId
    match: str
    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    effective_from: datetime | None = None
    effective_to: datetime | None = None
    created_at: datetime

    def __post_init__(self) -> None:
        since, until = self.effective_from, self.effective_to
        if since is not None and until is not None and until <= since:
            raise Invalid.field("effective_to", "must be later than effective_from")

    @property
    def version(self) -> str:
        """The identifier of this price in spans that were priced by it."""
        return f"project {self.id}"

    @property
    def tariff(self) -> Tariff:
        read, written = (
            None if rate is None else Rate(rate) for rate in (self.cache_read, self.cache_write)
        )
        return Tariff(
            Rate(self.input),
            Rate(self.output),
            read,
            written,
            since=self.effective_from,
            until=self.effective_to,
        )


def newest_first(prices: Sequence[ModelPrice]) -> list[ModelPrice]:
    """The order in which prices are tried."""
    return sorted(prices, key=lambda one: (one.created_at, one.id), reverse=True)


def pricing_of(prices: Sequence[ModelPrice], otherwise: Pricing) -> Pricing:
    """Prices by the newest of `prices` that matches model and instant, else by `otherwise`."""
    if not prices:
        return otherwise
    tried = [(one.match.strip().lower(), one.tariff, one.version) for one in newest_first(prices)]

    @lru_cache(MODELS_CACHED)
    def rate_tariffs(model: str) -> list[tuple[Tariff, str]]:
        name = model.strip().lower()
        return [(tariff, version) for match, tariff, version in tried if matches_model(match, name)]

    def price(model: str, usage: Usage, at: datetime) -> Price | None:
        for tariff, version in rate_tariffs(model):
            if (found := first_price((tariff,), usage, at, version)) is not None:
                return found
        return otherwise(model, usage, at)

    return price


@dataclass(frozen=True, slots=True)
class UnpricedModel:
    """A model with token usage in a project that had no price when its spans arrived."""

    model: str
    spans: int
    prompt_tokens: int
    completion_tokens: int
    last_seen_at: datetime
