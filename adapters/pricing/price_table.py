"""The price book over an operator's own table."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import Final, Self

from adapters.pricing.genai_prices import MODELS_MAX
from adapters.pricing.model_names import PREFIXES_MAX, PROVIDERS
from domain.pricing.model_price import RATE_MAX, Rate, Tariff, first_price, matches_model
from domain.tracing.span import SELF_HOSTED_PROVIDERS
from domain.tracing.usage import Price, Usage

TABLE_BYTES_MAX: Final = 1 << 20
TABLE_ROWS_MAX: Final = 10_000


class PriceTableError(ValueError):
    """A price table that can't be used. The message names the file, the row and the key."""


@dataclass(frozen=True, slots=True)
class _Row:
    match: str
    provider: str | None
    tariff: Tariff

    def matches(self, names: Sequence[str], provider: str | None) -> bool:
        """`names` are as of `_left_out`. A provider of None is one that the table doesn't know."""
        if self.provider is None:
            return matches_model(self.match, names[0])
        return provider in {None, self.provider} and any(
            matches_model(self.match, name) for name in names
        )


class TablePriceBook:
    """The prices of a PRICE_TABLE file. Models without a row are unpriced.

    The file is a JSON array of `{"match", "provider"?, "input", "output", "cache_read"?,
    "cache_write"?, "from"?, "to"?}`. `match` is a case-insensitive pattern with `*` and `?`.
    Prices are decimal strings in USD per million tokens. Cache tokens without their own price
    cost `input`. `from` is inclusive, `to` is exclusive. The first matching row wins. A row with a
    provider matches models with that prefix, and models without any prefix. A prefix that no row
    has as its provider is left out, unless the models of that provider are self-hosted.
    """

    def __init__(self, rows: Sequence[_Row], version: str) -> None:
        self._rows = tuple(rows)
        self.version = version
        own = {row.provider for row in rows if row.provider is not None}
        self._providers = own | SELF_HOSTED_PROVIDERS
        self._tariffs = lru_cache(maxsize=MODELS_MAX)(self._look_up)

    async def load(self) -> bool:
        return True

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Reads the table. Raises PriceTableError if the file can't be read or a row is invalid."""
        try:
            with path.open("rb") as file:
                text = file.read(TABLE_BYTES_MAX + 1)
            if len(text) > TABLE_BYTES_MAX:
                raise PriceTableError(f"{path}: larger than {TABLE_BYTES_MAX} bytes")
            rows = json.loads(text, parse_float=str, parse_int=str)
        except OSError as problem:
            raise PriceTableError(f"{path}: {problem.strerror}") from problem
        except (ValueError, RecursionError) as problem:
            if isinstance(problem, PriceTableError):
                raise
            raise PriceTableError(f"{path}: not JSON: {problem}") from problem
        if not isinstance(rows, list) or len(rows) > TABLE_ROWS_MAX:
            raise PriceTableError(f"{path}: must be an array of at most {TABLE_ROWS_MAX} rows")
        version = f"table {hashlib.sha256(text).hexdigest()[:12]}"
        return cls([_parse_row(row, f"{path}: row {at}") for at, row in enumerate(rows)], version)

    def price(self, model: str, usage: Usage, at: datetime) -> Price | None:
        return first_price(self._tariffs(model), usage, at, self.version)

    def _look_up(self, model: str) -> tuple[Tariff, ...]:
        names, provider = self._left_out(model.strip().lower())
        return tuple(row.tariff for row in self._rows if row.matches(names, provider))

    def _left_out(self, name: str) -> tuple[Sequence[str], str | None]:
        """The name with all its prefixes, and without the first ones up to one that is known."""
        names = [name]
        for _ in range(PREFIXES_MAX):
            prefix, slash, rest = names[-1].partition("/")
            for known in (prefix, PROVIDERS.get(prefix)):
                if slash and known in self._providers:
                    return names, known
            if not slash:
                break
            names.append(rest)
        return names, None


_RATES: Final = (("input", True), ("output", True), ("cache_read", False), ("cache_write", False))
_KEYS: Final = {"match", "provider", *(key for key, _ in _RATES), "from", "to"}


def _parse_row(row: object, place: str) -> _Row:
    if not isinstance(row, dict):
        raise PriceTableError(f"{place}: must be an object")
    if unknown := sorted(row.keys() - _KEYS):
        raise PriceTableError(f"{place}: unknown key '{unknown[0]}'")
    match, provider = row.get("match"), row.get("provider")
    if not isinstance(match, str) or not match:
        raise PriceTableError(f"{place}: 'match' must be a pattern such as \"gpt-4o*\"")
    if provider is not None and not isinstance(provider, str):
        raise PriceTableError(f"{place}: 'provider' must be a string")
    rates = [
        Rate(_amount(row.get(key), f"{place}: '{key}'")) if key in row or is_required else None
        for key, is_required in _RATES
    ]
    since, until = (_instant(row.get(key), f"{place}: '{key}'") for key in ("from", "to"))
    tariff = Tariff(*rates, since=since, until=until)
    return _Row(match.strip().lower(), provider.lower() if provider else None, tariff)


def _amount(value: object, place: str) -> Decimal:
    try:
        amount = Decimal(value) if isinstance(value, str) else Decimal("nan")
    except InvalidOperation:
        amount = Decimal("nan")
    if not amount.is_finite() or not 0 <= amount <= RATE_MAX:
        raise PriceTableError(f'{place} must be USD per million tokens, such as "2.50"')
    return amount


def _instant(value: object, place: str) -> datetime | None:
    if value is None:
        return None
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        instant = None
    if instant is None:
        raise PriceTableError(f'{place} must be a date or time, such as "2026-03-01"')
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
