"""Caches the prices of each project in the process, so that a write costs no statement for them."""

import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from application.tracing.ports import PriceBook
from domain.ids import ProjectId
from domain.pricing.model_price import ModelPrice, pricing_of
from domain.tracing.span import Span
from domain.tracing.usage import Pricing

PRICE_TTL_S: Final = 10.0  # how long a price created by another process may be ignored
PROJECTS_MAX: Final = 4_096
ROWS_MAX: Final = 20_000  # prices of all projects together: 20 MB


@dataclass(slots=True)
class ProjectPriceCache:
    """The prices of a project, and those of `book` for models without one.

    `load` reads the prices of projects. Cached ones are at most PRICE_TTL_S old.
    """

    load: Callable[[Collection[ProjectId]], Awaitable[Mapping[ProjectId, Sequence[ModelPrice]]]]
    book: PriceBook
    clock: Callable[[], float] = time.monotonic
    _is_book_loaded: bool = False
    # By project: when they were read, their number of rows, and the pricing.
    _entries: dict[ProjectId, tuple[float, int, Pricing]] = field(default_factory=dict)
    _rows: int = 0
    _invalidations: int = 0

    async def get(
        self, projects: Collection[ProjectId], spans: Iterable[Span] = ()
    ) -> dict[ProjectId, Pricing]:
        """The pricing of each project. Raises what `load` raises.

        Loads the book first if one of `spans` may need it.
        """
        if not self._is_book_loaded and any(map(_may_be_priced, spans)):
            await self.book.load()
            self._is_book_loaded = True
        now = self.clock()
        result: dict[ProjectId, Pricing] = {}
        for project in projects:
            entry = self._entries.get(project)
            if entry is not None and now - entry[0] < PRICE_TTL_S:
                result[project] = entry[2]
        if missing := [project for project in projects if project not in result]:
            invalidations = self._invalidations
            loaded = await self.load(missing)
            for project in missing:
                pricing = pricing_of(loaded[project], self.book.price)
                result[project] = pricing
                # After an invalidation during the load, the loaded prices may be outdated.
                if invalidations == self._invalidations:
                    self._store(project, now, len(loaded[project]), pricing)
        return result

    def invalidate(self, project: ProjectId) -> None:
        """Drops the cached prices of a project, after this process has changed them."""
        self._invalidations += 1
        self._drop(project)

    def _store(self, project: ProjectId, now: float, rows: int, pricing: Pricing) -> None:
        self._drop(project)
        self._entries[project] = (now, rows, pricing)
        self._rows += rows
        while len(self._entries) > PROJECTS_MAX or self._rows > ROWS_MAX:
            self._drop(next(iter(self._entries)))

    def _drop(self, project: ProjectId) -> None:
        if (entry := self._entries.pop(project, None)) is not None:
            self._rows -= entry[1]


def _may_be_priced(span: Span) -> bool:
    return bool(span.model) and (span.token_usage is not None or span.usage is not None)
