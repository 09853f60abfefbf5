"""What spans of each project cost, remembered in the process: a write costs no statement for it."""

import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from application.tracing.ports import PriceBook
from domain.ids import ProjectId
from domain.tracing.model_price import ModelPrice, pricing_of
from domain.tracing.span import Span
from domain.tracing.usage import Pricing

REMEMBERED_S: Final = 10.0  # how long a price that was made elsewhere may not count yet
PROJECTS_MAX: Final = 4_096
ROWS_MAX: Final = 20_000  # prices of all of them together: 20 MB


class ProjectPrices:
    """A project's own prices, and those of `book` where none of them fits.

    They are asked for by `load`, and REMEMBERED_S old at most.
    """

    def __init__(
        self,
        load: Callable[
            [Collection[ProjectId]], Awaitable[Mapping[ProjectId, Sequence[ModelPrice]]]
        ],
        book: PriceBook,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._book = book
        self._is_book_loaded = False
        self._clock = clock
        self._known: dict[ProjectId, tuple[float, int, Pricing]] = {}
        self._rows = 0
        self._forgotten = 0

    async def of(
        self, projects: Collection[ProjectId], spans: Iterable[Span] = ()
    ) -> dict[ProjectId, Pricing]:
        """The pricing of each of the projects. Raises what `load` raises.

        Loads the book first where one of `spans` may need it.
        """
        if not self._is_book_loaded and any(map(_may_be_priced, spans)):
            await self._book.load()
            self._is_book_loaded = True
        now = self._clock()
        found: dict[ProjectId, Pricing] = {}
        for project in projects:
            known = self._known.get(project)
            if known is not None and now - known[0] < REMEMBERED_S:
                found[project] = known[2]
        if due := [one for one in projects if one not in found]:
            forgotten = self._forgotten
            loaded = await self._load(due)
            for project in due:
                pricing = pricing_of(loaded[project], self._book.price)
                found[project] = pricing
                # What was forgotten meanwhile may be older than what it was forgotten for.
                if forgotten == self._forgotten:
                    self._keep(project, now, len(loaded[project]), pricing)
        return found

    def forget(self, project: ProjectId) -> None:
        """Asks anew about a project whose prices this process has changed."""
        self._forgotten += 1
        self._drop(project)

    def _keep(self, project: ProjectId, now: float, rows: int, pricing: Pricing) -> None:
        self._drop(project)
        self._known[project] = (now, rows, pricing)
        self._rows += rows
        while len(self._known) > PROJECTS_MAX or self._rows > ROWS_MAX:
            self._drop(next(iter(self._known)))

    def _drop(self, project: ProjectId) -> None:
        if (known := self._known.pop(project, None)) is not None:
            self._rows -= known[1]


def _may_be_priced(span: Span) -> bool:
    return bool(span.model) and (span.token_usage is not None or span.usage is not None)
