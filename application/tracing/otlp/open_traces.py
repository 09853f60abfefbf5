"""Tasks of workers for OpenTelemetry traces that don't become complete."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from application.batches import run_in_batches
from application.ports import Clock
from application.tracing.otlp.ports import OrphanedRecord, OtlpTraces

RECORD_WAIT: Final = timedelta(hours=24)  # for the span of a log record


@dataclass(frozen=True, slots=True)
class SettleOpenTraces:
    """Settles traces without a root that ended, `wait` after their last fragment."""

    traces: OtlpTraces
    wait: timedelta
    clock: Clock

    async def __call__(self) -> int:
        """The number of settled traces. Raises Unavailable; earlier batches stay settled."""
        before = self.clock() - self.wait
        return await run_in_batches(lambda: self.traces.settle_open_traces(before))


async def ignore_orphans(_: Sequence[OrphanedRecord]) -> None:
    """Reports no record."""


@dataclass(frozen=True, slots=True)
class DeleteOrphanedRecords:
    """Deletes log records whose span hasn't come within RECORD_WAIT, and reports them."""

    traces: OtlpTraces
    clock: Clock
    report: Callable[[Sequence[OrphanedRecord]], Awaitable[None]] = ignore_orphans

    async def __call__(self) -> int:
        """The number of deleted records. Raises Unavailable; earlier batches stay deleted."""
        before = self.clock() - RECORD_WAIT

        async def delete() -> int:
            gone = await self.traces.delete_orphaned_records(before)
            if gone:
                await self.report(gone)
            return len(gone)

        return await run_in_batches(delete)
