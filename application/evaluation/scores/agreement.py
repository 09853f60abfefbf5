"""Agreement of judges with people, and the annotation queue."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from application.batches import run_in_batches
from application.evaluation.ports.scores import AnnotationClaims, HumanLabels
from application.ports import Clock
from domain.evaluation.agreement.calibration import (
    Calibration,
    CellQuery,
    PairedTraces,
    QueueItem,
    calibrate,
    daily_seed,
    traces_of_cell,
)
from domain.evaluation.agreement.claims import ClaimedItems, ClaimRequest, QueueProgress
from domain.evaluation.scores.score import CreatedWithin
from domain.ids import ProjectId, TraceId


@dataclass(frozen=True, slots=True)
class ReadAgreement:
    labels: HumanLabels

    async def __call__(
        self, project: ProjectId, name: str, threshold: float, within: CreatedWithin
    ) -> Sequence[Calibration]:
        """One calibration for each judge that has scores of the name; most labels first."""
        compared = await self.labels.compare_with_human_labels(project, name, threshold, within)
        # In a thread: with ten thousand pairs it would block the event loop noticeably.
        return await asyncio.to_thread(lambda: [calibrate(one, threshold) for one in compared])


@dataclass(frozen=True, slots=True)
class ReadPairedTraces:
    """The traces behind a number of a confusion matrix."""

    labels: HumanLabels

    async def __call__(
        self,
        project: ProjectId,
        name: str,
        cell: CellQuery,
        within: CreatedWithin,
    ) -> PairedTraces:
        """The traces of the cell that were labelled last."""
        pairs = await self.labels.paired_traces(project, name, within)
        return await asyncio.to_thread(traces_of_cell, pairs, cell)


@dataclass(frozen=True, slots=True)
class ReadAnnotationQueue:
    labels: HumanLabels
    clock: Clock

    async def __call__(
        self, project: ProjectId, name: str, threshold: float, limit: int
    ) -> Sequence[QueueItem]:
        """The traces most worth a label; stable for a day, except for new labels."""
        seed = daily_seed(project, name, self.clock())
        return await self.labels.annotation_queue(project, name, threshold, seed, limit)


@dataclass(frozen=True, slots=True)
class ReadQueueProgress:
    claims: AnnotationClaims
    clock: Clock

    async def __call__(self, project: ProjectId, name: str) -> QueueProgress:
        """How long the queue is, and how many traces were labelled since midnight (UTC)."""
        return await self.claims.progress(project, name, _start_of_day(self.clock()))


@dataclass(frozen=True, slots=True)
class ClaimAnnotations:
    claims: AnnotationClaims
    clock: Clock

    async def __call__(
        self,
        project: ProjectId,
        name: str,
        threshold: float,
        *,
        holder: str,
        count: int,
        skipped: frozenset[TraceId],
    ) -> ClaimedItems:
        """The next items of the queue that no other person has, for CLAIM_TIME."""
        now = self.clock()
        request = ClaimRequest(
            name=name,
            threshold=threshold,
            seed=daily_seed(project, name, now),
            holder=holder,
            count=count,
            skipped=skipped,
            day=_start_of_day(now),
            now=now,
        )
        return await self.claims.claim(project, request)


@dataclass(frozen=True, slots=True)
class DeleteExpiredClaims:
    claims: AnnotationClaims
    clock: Clock

    async def __call__(self) -> int:
        """The number of deleted claims. Raises Unavailable; earlier batches stay deleted."""
        now = self.clock()
        return await run_in_batches(lambda: self.claims.delete_expired(now))


def _start_of_day(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
