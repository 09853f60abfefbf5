"""Tariffs: token rates of a model, by token type and prompt size, with their validity."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Final

from domain.tracing.usage import EXACT, Price, Usage

RATE_MAX: Final = 1_000_000  # USD per million tokens: far above any real price, safe to store
_PER_MILLION: Final = -6

type RateSteps = tuple[tuple[int, Decimal], ...]
"""(tokens, rate), ascending: with more prompt tokens than that, the rate applies to all tokens."""


@dataclass(frozen=True, slots=True)
class Rate:
    """USD per million tokens."""

    flat: Decimal
    steps: RateSteps = ()

    def at(self, prompt_tokens: int) -> Decimal:
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
        read = usage.cache_read_tokens if self.cache_read is not None else 0
        written = usage.cache_write_tokens if self.cache_write is not None else 0
        total = Decimal(0)
        for rate, tokens in (
            (self.prompt, usage.prompt_tokens - read - written),
            (self.cache_read, read),
            (self.cache_write, written),
            (self.completion, usage.completion_tokens),
        ):
            if rate is not None and tokens:
                amount = EXACT.multiply(rate.at(usage.prompt_tokens), Decimal(tokens))
                total = EXACT.add(total, amount.scaleb(_PER_MILLION, EXACT))
        return total


def matches_model(pattern: str, model: str) -> bool:
    """Whether the pattern matches a model, with or without its `<provider>/` prefix.

    Both are in lower case; `*` and `?` match any characters and any single one.
    """
    _, slash, rest = model.partition("/")
    return fnmatchcase(model, pattern) or (bool(slash) and fnmatchcase(rest, pattern))


def first_price(
    tariffs: Sequence[Tariff], usage: Usage, at: datetime, version: str
) -> Price | None:
    """The price by the first tariff in force at `at`; None if there is none."""
    for tariff in tariffs:
        if tariff.is_in_force(at):
            return Price(tariff.cost(usage), version, tariff.since)
    return None
