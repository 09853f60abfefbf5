"""Prices set by a project, which take precedence over the general price table."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final
from uuid import UUID

from domain.errors import Invalid
from domain.ids import ProjectId
from domain.tracing.tariff import Rate, Tariff, first_price, matches_model
from domain.tracing.usage import Price, Pricing, Usage

PRICES_MAX: Final = 200  # of one project
MATCH_MAX: Final = 255  # characters, as of a model
MODELS_CACHED: Final = 32  # models of a project whose matching prices are cached


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
    tried = [(one.match.lower(), one.tariff, one.version) for one in newest_first(prices)]

    @lru_cache(MODELS_CACHED)
    def of_model(model: str) -> list[tuple[Tariff, str]]:
        name = model.strip().lower()
        return [(tariff, version) for match, tariff, version in tried if matches_model(match, name)]

    def price(model: str, usage: Usage, at: datetime) -> Price | None:
        for tariff, version in of_model(model):
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
