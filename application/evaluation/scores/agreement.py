"""Agreement of judges with people, and the annotation queue."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from application.evaluation.ports.evaluation import HumanLabels
from application.ports import Clock
from domain.evaluation.agreement.calibration import Calibration, QueueItem, calibrate, daily_seed
from domain.evaluation.scores.score import CreatedWithin
from domain.ids import ProjectId


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
class ReadAnnotationQueue:
    labels: HumanLabels
    clock: Clock

    async def __call__(
        self, project: ProjectId, name: str, threshold: float, limit: int
    ) -> Sequence[QueueItem]:
        """The traces most worth a label; stable for a day, except for new labels."""
        seed = daily_seed(project, name, self.clock())
        return await self.labels.annotation_queue(project, name, threshold, seed, limit)
