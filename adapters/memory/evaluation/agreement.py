"""Compares human labels with judge scores, in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from adapters.memory.store import MemoryStore
from domain.evaluation.agreement import annotation_queue, calibration
from domain.evaluation.agreement.annotation_queue import QueueItem
from domain.evaluation.agreement.calibration import Fingerprint, JudgeScores
from domain.evaluation.scores.query import CreatedWithin
from domain.evaluation.scores.score import TraceScore, storable_text
from domain.ids import ProjectId
from domain.tracing.payload import scalar_members


@dataclass(frozen=True, slots=True)
class MemoryHumanLabels:
    store: MemoryStore

    async def compare_with_human_labels(
        self, project: ProjectId, name: str, threshold: float, within: CreatedWithin
    ) -> Sequence[JudgeScores]:
        return calibration.compare_with_human_labels(
            self._named(project, name), self._fingerprint, threshold, within
        )

    async def annotation_queue(
        self, project: ProjectId, name: str, threshold: float, seed: str, limit: int
    ) -> Sequence[QueueItem]:
        return annotation_queue.build_queue(self._named(project, name), threshold, seed, limit)

    def _named(self, project: ProjectId, name: str) -> list[TraceScore]:
        return [one for one in self.store.visible_trace_scores(project) if one.name == name]

    def _fingerprint(self, score: TraceScore) -> Fingerprint:
        if (score.project_id, score.id) not in self.store.written_by:
            return None
        text = scalar_members(score.metadata).get("fingerprint")
        return None if text is None else storable_text(text)
