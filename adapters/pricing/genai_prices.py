"""The price book over the package `genai-prices`."""

import asyncio
import importlib.metadata
import logging
import threading
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Final

from domain.pricing.model_price import Tariff, first_price
from domain.tracing.usage import Price, Usage

MODELS_MAX: Final = 2_048  # model names with cached prices; under 2 MB

_log: Final = logging.getLogger(__name__)


class GenaiPriceBook:
    """The prices of the installed `genai-prices`, by provider, model and date.

    The first call of `price` or `load` imports the package, so a process that prices nothing
    never does. If the import fails, everything is unpriced, and the log says why.
    """

    def __init__(self) -> None:
        try:
            self.version = f"genai-prices {importlib.metadata.version('genai-prices')}"
        except importlib.metadata.PackageNotFoundError:
            self.version = "genai-prices missing"
        self._find: Callable[[str], tuple[Tariff, ...]] | None = None
        self._has_failed = False
        self._loading = threading.Lock()
        # Finding a model takes 14 to 45 µs: a tenth of what storing a whole trace may cost.
        self._tariffs = lru_cache(maxsize=MODELS_MAX)(self._look_up)

    async def load(self) -> bool:
        if self._find is None:
            await asyncio.to_thread(self._finder)
        return not self._has_failed

    def price(self, model: str, usage: Usage, at: datetime) -> Price | None:
        return first_price(self._tariffs(model), usage, at, self.version)

    def _look_up(self, model: str) -> tuple[Tariff, ...]:
        find = self._finder()
        try:
            return find(model)
        except Exception:  # noqa: BLE001 - one model must not fail the traces of others
            _log.exception("looking up the price of a model failed")
            return ()

    def _finder(self) -> Callable[[str], tuple[Tariff, ...]]:
        with self._loading:
            if self._find is None:
                try:
                    from adapters.pricing.price_catalogue import find_tariffs  # noqa: PLC0415 - slow, large
                except Exception as problem:  # noqa: BLE001 - whatever is broken in it
                    _log.warning("prices can't be loaded: %s", problem)
                    self._has_failed = True
                    self._find = lambda _model: ()
                else:
                    self._find = find_tariffs
            return self._find
