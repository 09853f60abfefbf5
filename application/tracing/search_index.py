"""Tasks of workers: the index of search follows the traces."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from application.batches import run_in_batches
from application.ports import Clock
from application.tracing.ports import SearchIndex

GARBAGE_KEPT: Final = timedelta(hours=6)  # so that many traces are removed together


@dataclass(frozen=True, slots=True)
class IndexTraces:
    """Indexes the traces that were written."""

    index: SearchIndex

    async def __call__(self) -> int:
        """The number of writes. Raises Unavailable; earlier batches stay indexed."""
        return await run_in_batches(self.index.add_traces)


@dataclass(frozen=True, slots=True)
class CleanSearchIndex:
    """Removes terms of traces that were deleted or changed GARBAGE_KEPT ago."""

    index: SearchIndex
    clock: Clock

    async def __call__(self) -> int:
        """The number of groups of traces. Raises Unavailable; earlier groups stay clean."""
        before = self.clock() - GARBAGE_KEPT
        return await run_in_batches(lambda: self.index.remove_garbage(before))
