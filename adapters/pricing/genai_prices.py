"""What tokens cost, by the prices that `genai-prices` collects."""

import asyncio
import importlib.metadata
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from adapters.child_environment import passed_on
from domain.tracing.tariff import Rate, Tariff, first_price
from domain.tracing.usage import Price, Usage

MODELS_MAX: Final = 2_048  # model names whose prices are kept at hand, under 2 MB
LOAD_MAX_S: Final = 10.0  # loading takes half a second; a machine that needs longer is in trouble

_SNAPSHOT: Final = Path(__file__).with_name("price_snapshot.py")
_log: Final = logging.getLogger(__name__)


class GenaiPriceBook:
    """The prices that the installed `genai-prices` holds, by provider, model and date.

    The package is loaded by a process of its own, and what it says of tokens is kept in 4 MB.
    `warm` starts that, `loaded` waits for it, and so does a price that is asked for earlier.
    Where it can't be loaded, everything is unpriced, and the log says why.
    """

    def __init__(self) -> None:
        try:
            self.version = f"genai-prices {importlib.metadata.version('genai-prices')}"
        except importlib.metadata.PackageNotFoundError:
            self.version = "genai-prices missing"
        self._catalogue: Future[Catalogue] = Future()
        self._start = threading.Lock()
        self._tariffs = lru_cache(maxsize=MODELS_MAX)(self._look_up)

    def warm(self) -> None:
        """Starts loading, once, and returns at once."""
        if self._start.acquire(blocking=False):  # never released: it is started once
            threading.Thread(target=self._load, name="prices", daemon=True).start()

    async def loaded(self) -> None:
        """Returns once prices are at hand, or can't be had; within LOAD_MAX_S."""
        self.warm()
        await asyncio.wrap_future(self._catalogue)

    @property
    def is_loaded(self) -> bool:
        return self._catalogue.done() and bool(self._catalogue.result().providers)

    def price(self, model: str, usage: Usage, at: datetime) -> Price | None:
        return first_price(self._tariffs(model), usage, at, self.version)

    def _look_up(self, model: str) -> tuple[Tariff, ...]:
        self.warm()
        return self._catalogue.result().tariffs(model)

    def _load(self) -> None:
        catalogue = Catalogue()
        try:
            # -P: the folder of the script holds names like `redis`, which must stay out of reach.
            done = subprocess.run(  # noqa: S603 - our own script, by our own interpreter
                [sys.executable, "-P", str(_SNAPSHOT)],
                capture_output=True,
                timeout=LOAD_MAX_S,
                check=True,
                env=passed_on(),
            )
            catalogue = Catalogue(json.loads(done.stdout)["providers"])
        except (OSError, subprocess.SubprocessError, ValueError, KeyError) as problem:
            said = getattr(problem, "stderr", None) or b""
            _log.warning("prices can't be loaded: %s %s", problem, said.decode(errors="replace"))
        finally:
            self._catalogue.set_result(catalogue)


# Names that tracing libraries use, and the book's own.
PROVIDERS: Final = {
    "x_ai": "x-ai",
    "azure.ai.openai": "azure",
    "az.ai.openai": "azure",
    "azure_ai": "azure",
    "fireworks_ai": "fireworks",
}
PREFIXES_MAX: Final = 4  # parts of a name, as in `litellm_proxy/openrouter/openai/gpt-4o`
NO_PROVIDERS: Final = frozenset({"models", "litellm", "litellm_proxy"})  # say nothing: cut off
FREE_PROVIDERS: Final = frozenset({"ollama", "lmstudio", "vllm", "llama.cpp", "huggingface_local"})

_OF_OPENAI: Final = ("text-embedding-3-", "text-embedding-ada-002")
_OF_BEDROCK: Final = re.compile(
    r"(?:[a-z-]{2,6}\.)?(?:ai21|amazon|anthropic|cohere|deepseek|meta|mistral)\."
)
_COMPACT_DATE: Final = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The document of `price_snapshot`, and how a model is found in it."""

    providers: Sequence[Mapping[str, Any]] = ()

    def tariffs(self, model: str) -> tuple[Tariff, ...]:
        """Prices of a model in the order in which to try them; none where it is unpriced."""
        name = model.strip().lower()
        for _ in range(PREFIXES_MAX):
            prefix, slash, rest = name.partition("/")
            if prefix in FREE_PROVIDERS:
                return ()
            provider = self._provider(PROVIDERS.get(prefix, prefix)) if slash else None
            if provider is not None:
                inner = rest.rpartition("/")[2]  # `vertex_ai/anthropic/claude-…`
                return self._of(rest, provider) or self._of(inner, provider)
            if prefix not in NO_PROVIDERS and (found := self._of(name, self._provider_of(name))):
                return found
            name = rest  # the prefix says nothing, or is somebody's own word
        return ()

    def _provider(self, said: str) -> Mapping[str, Any] | None:
        for provider in self.providers:
            if provider["id"] == said:
                return provider
        return next((one for one in self.providers if _matches(one["of_id"], said)), None)

    def _provider_of(self, name: str) -> Mapping[str, Any] | None:
        if name.startswith(_OF_OPENAI):
            return self._provider("openai")
        if _OF_BEDROCK.match(name):
            return self._provider("aws")
        return next((one for one in self.providers if _matches(one["of_model"], name)), None)

    def _of(self, name: str, provider: Mapping[str, Any] | None) -> tuple[Tariff, ...]:
        if provider is None:
            return ()
        others = [self._provider(other) for other in provider["fallback"]]
        # Some tools write `-20251211` where the book has `-2025-12-11`.
        for spelling in dict.fromkeys((name, _COMPACT_DATE.sub(r"-\1-\2-\3", name))):
            for place in (provider, *others):
                for match, dated in place["models"] if place else ():
                    if _matches(match, spelling):
                        return _tariffs(dated)
        return ()


def _matches(match: Sequence[Any] | None, text: str) -> bool:  # noqa: PLR0911 - a return a kind
    match match:
        case ["equals", str(said)]:
            return text == said
        case ["starts", str(said)]:
            return text.startswith(said)
        case ["contains", str(said)]:
            return said in text
        case ["ends", str(said)]:
            return text.endswith(said)
        case ["regex", str(said)]:
            return re.search(said, text) is not None
        case ["or", parts]:
            return any(_matches(part, text) for part in parts)
        case ["and", parts]:
            return all(_matches(part, text) for part in parts)
    return False


def _tariffs(dated: Sequence[Sequence[Any]]) -> tuple[Tariff, ...]:
    # The last that holds counts, and the first where none does.
    found = [_tariff(*one) for one in dated]
    found = [*reversed(found), *(replace(one, since=None, holds=None) for one in found[:1])]
    # A model that is priced by the hour or the page only has no price of a token.
    return tuple(found) if any(one.prompt or one.completion for one in found) else ()


def _tariff(
    when: Sequence[str] | None,
    prompt: object = None,
    completion: object = None,
    cache_read: object = None,
    cache_write: object = None,
) -> Tariff:
    rates = map(_rate, (prompt, completion, cache_read, cache_write))
    since, holds = _when(when)
    return Tariff(*rates, since=since, holds=holds)


def _rate(said: Any) -> Rate | None:
    if said is None:
        return None
    if isinstance(said, str):
        return Rate(Decimal(said))
    flat, steps = said
    return Rate(Decimal(flat), tuple((above, Decimal(rate)) for above, rate in steps))


def _when(
    said: Sequence[str] | None,
) -> tuple[datetime | None, Callable[[datetime], bool] | None]:
    """Since when, and at what times of a day."""
    match said:
        case ["from", day]:
            return datetime.fromisoformat(day).replace(tzinfo=UTC), None
        case ["between", start, end]:
            since, until = time.fromisoformat(start), time.fromisoformat(end)
            if until < since:  # over midnight
                return None, lambda at: not until <= at.time() < since
            return None, lambda at: since <= at.time() < until
    return None, None
