"""Token usage and cost of a span, and the source of the cost."""

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from decimal import Context, Decimal
from enum import StrEnum
from itertools import repeat
from typing import Final

from domain.frozen_by_types import frozen_by_types
from domain.tracing.payloads.payload import JsonText

COST_MAX_USD: Final = 1_000_000  # of each member of a span's cost: more is a mistake
TOKENS_MAX: Final = 2**53  # exclusive: beyond it a double can't represent every integer
# Enough digits to add any doubles without rounding: 309 before the point, 1074 after it.
EXACT: Final = Context(prec=1_400)

_DOUBLE_MAX: Final = sys.float_info.max
_decoder: Final = json.JSONDecoder(parse_int=str, parse_float=str)
# Finds texts that may contain a number beyond a double: cheap, since every span is searched.
# It begins with the digit for both cases, so that `re` looks for digits only. A long number is
# counted from its first digit alone, not again from each digit.
MAYBE_HUGE: Final = re.compile(rb"[0-9](?:[eE]\+?[0-9]{3}|(?<![0-9]{2})[0-9]{308})")
_HUGE_CHARS: Final = 309
_WINDOW_BYTES: Final = 64 << 10  # of one search, which nothing interrupts
_DIGITS: Final = frozenset("0123456789")
COUNTERS: Final = ("prompt_tokens", "completion_tokens")
_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,5})?")


@frozen_by_types()
class Usage:
    """The tokens of a prompt and its completion; `is_known` if at least one was counted.

    `cache_read_tokens` of the prompt came from a cache, `cache_write_tokens` were written to one.
    They are parts of the prompt: an excess is cut off, first from the written ones.
    `reasoning_tokens` are a part of the completion, cut off likewise.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    is_known: bool = field(default=False, compare=False)
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    def __post_init__(self) -> None:
        if self.reasoning_tokens:
            reasoning = min(max(self.reasoning_tokens, 0), self.completion_tokens)
            object.__setattr__(self, "reasoning_tokens", reasoning)
        if self.has_cached:
            read = min(max(self.cache_read_tokens, 0), self.prompt_tokens)
            written = min(max(self.cache_write_tokens, 0), self.prompt_tokens - read)
            object.__setattr__(self, "cache_read_tokens", read)
            object.__setattr__(self, "cache_write_tokens", written)

    @property
    def unless_recounted(self) -> "Usage | None":
        """None if it has to be counted again from `token_usage`.

        The stored row of a span doesn't record whether tokens were counted. Tokens that are there
        were, and `token_usage` may lack those that an OpenTelemetry sender counted.
        """
        return self if self.is_known or self.has_cached or self.reasoning_tokens else None

    @property
    def has_cached(self) -> bool:
        """Whether part of the prompt has rates of its own."""
        return bool(self.cache_read_tokens or self.cache_write_tokens)

    @classmethod
    def from_token_usage(cls, token_usage: JsonText | None) -> "Usage":
        """Reads a `token_usage` object.

        `12`, `12.0` and `"12"` are valid; fractions, negatives, 2^53 and more, and anything else
        count as 0. Keys other than `prompt_tokens` and `completion_tokens` are ignored: ingestion
        that understands the others passes a Usage with the span.
        """
        if token_usage is None or (b"_tokens" not in token_usage and b"\\" not in token_usage):
            return NO_USAGE  # neither a key, nor an escape that could hide one
        found, _ = _decoder.raw_decode(token_usage.decode().lstrip())
        prompt, completion = (
            _count(found.get("prompt_tokens")),
            _count(found.get("completion_tokens")),
        )
        return cls(prompt or 0, completion or 0, (prompt, completion) != (None, None))


NO_USAGE: Final = Usage()


def huge_counter(token_usage: JsonText) -> str | None:
    """The counter of a `token_usage` object that is a number beyond any double; None without one.

    Such a number isn't a count of tokens, and other readers of the stored text can't represent it.
    """
    if len(token_usage) <= _WINDOW_BYTES:
        if MAYBE_HUGE.search(token_usage) is None:
            return None
    else:
        windows = range(0, len(token_usage), _WINDOW_BYTES)
        ends = (at + _WINDOW_BYTES + _HUGE_CHARS for at in windows)
        if not any(map(MAYBE_HUGE.search, repeat(token_usage), windows, ends)):
            return None
    found = _decoder.decode(token_usage.decode())
    return next((name for name in COUNTERS if _is_huge(found.get(name))), None)


def _is_huge(value: object) -> bool:
    # `Infinity` as a string is text without a number, and counts as 0.
    if not isinstance(value, str) or value[-1:] not in _DIGITS:
        return False
    try:
        return math.isinf(float(value))
    except ValueError:
        return False


def _count(value: object) -> int | None:
    if not isinstance(value, str) or not value.isascii():
        return None
    if len(value) < 16 and value.isdigit():  # noqa: PLR2004 - 15 digits are below 2^53
        return int(value)
    if _NUMBER.fullmatch(value) is None:
        return None
    number = Decimal(value)
    if not 0 <= number < TOKENS_MAX or number != number.to_integral_value():
        return None
    return int(number)


class UsageRole(StrEnum):
    """Why a span's usage isn't counted: another span reports the same call."""

    DUPLICATE = "duplicate"
    ROLLUP = "rollup"


class CostSource(StrEnum):
    """The source of a span's cost."""

    CLIENT = "client"
    TABLE = "table"
    UNPRICED = "unpriced"


@frozen_by_types()
class Price:
    """The cost of a usage in USD, the price version, and since when it is valid; None: always."""

    amount: Decimal
    version: str
    since: datetime | None = None


@frozen_by_types()
class SpanCost:
    """The cost of a span in USD. An unpriced span costs 0, which isn't a price.

    `price` is the result of the price table, even if the client's cost is used instead.
    """

    amount: Decimal
    source: CostSource
    price: Price | None = None

    @property
    def is_known(self) -> bool:
        return self.source is not CostSource.UNPRICED


UNPRICED: Final = SpanCost(Decimal(0), CostSource.UNPRICED)

type Pricing = Callable[[str, Usage, datetime], Price | None]
"""Prices a model's usage at an instant; None if the model isn't listed. Never raises."""


def span_cost(
    cost: Mapping[str, float] | None,
    models: Sequence[str],
    usage: Usage,
    at: datetime,
    pricing: Pricing,
) -> SpanCost:
    """The cost given by the client, else that of the price table, else unpriced.

    The price is that of the first of `models` that has one.
    """
    price = first_price_of(models, usage, at, pricing) if usage.is_known else None
    if cost:
        return SpanCost(stated_amount(cost), CostSource.CLIENT, price)
    return UNPRICED if price is None else SpanCost(price.amount, CostSource.TABLE, price)


def stated_amount(cost: Mapping[str, float]) -> Decimal:
    """The amount of a client's cost: its `total`, else its `total_cost`, else the sum."""
    total = cost.get("total", cost.get("total_cost"))
    return exact_sum(map(_exact, cost.values())) if total is None else _exact(total)


def first_price_of(
    models: Sequence[str], usage: Usage, at: datetime, pricing: Pricing
) -> Price | None:
    """The price of the first of `models` that has one."""
    for model in models:
        if (price := pricing(model, usage, at)) is not None:
            return price
    return None


def _exact(value: float) -> Decimal:
    # The shortest decimal that parses to this double: the client's text, not the binary expansion.
    return Decimal(repr(value))


def exact_sum(amounts: Iterable[Decimal]) -> Decimal:
    """The sum without rounding, in any order."""
    total = Decimal(0)
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total


def as_float(amount: Decimal) -> float:
    """The nearest finite double: sums of finite costs may exceed the largest one."""
    return min(max(float(amount), -_DOUBLE_MAX), _DOUBLE_MAX)
