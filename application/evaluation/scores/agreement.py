"""Judges held against people, and what people may label next: the port, and the use cases."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from application.evaluation.ports.agreement import HumanLabels
from application.ports import Clock
from domain.evaluation.agreement.annotation_queue import QueueItem, daily_seed
from domain.evaluation.agreement.calibration import Calibration, calibrate
from domain.evaluation.scores.query import CreatedWithin
from domain.ids import ProjectId


@dataclass(frozen=True, slots=True)
class ReadAgreement:
    labels: HumanLabels

    async def __call__(
        self, project: ProjectId, name: str, threshold: float, within: CreatedWithin
    ) -> Sequence[Calibration]:
        """Of each judge that has scored under the name, those with the most labels first."""
        found = await self.labels.compare_with_human_labels(project, name, threshold, within)
        # Of ten thousand pairs it takes a while, in which nobody else would get a turn.
        return await asyncio.to_thread(lambda: [calibrate(one, threshold) for one in found])


@dataclass(frozen=True, slots=True)
class ReadAnnotationQueue:
    labels: HumanLabels
    clock: Clock

    async def __call__(
        self, project: ProjectId, name: str, threshold: float, limit: int
    ) -> Sequence[QueueItem]:
        """What is most worth a label; the same all day but for what has been labelled since."""
        seed = daily_seed(project, name, self.clock())
        return await self.labels.annotation_queue(project, name, threshold, seed, limit)
