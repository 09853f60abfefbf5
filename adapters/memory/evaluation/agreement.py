"""What people said beside what judges did, in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from adapters.memory.store import MemoryStore
from domain.evaluation.agreement import annotation_queue, calibration
from domain.evaluation.agreement.annotation_queue import Offered
from domain.evaluation.agreement.calibration import Fingerprint, JudgeScores
from domain.evaluation.scores.query import CreatedWithin
from domain.evaluation.scores.score import TraceScore, storable_text
from domain.ids import ProjectId
from domain.tracing.payload import scalars


@dataclass(frozen=True, slots=True)
class MemoryLabels:
    store: MemoryStore

    async def held_against_people(
        self, project: ProjectId, name: str, threshold: float, within: CreatedWithin
    ) -> Sequence[JudgeScores]:
        return calibration.held_against_people(
            self._named(project, name), self._fingerprint, threshold, within
        )

    async def offered(
        self, project: ProjectId, name: str, threshold: float, seed: str, limit: int
    ) -> Sequence[Offered]:
        return annotation_queue.offered(self._named(project, name), threshold, seed, limit)

    def _named(self, project: ProjectId, name: str) -> list[TraceScore]:
        return [one for one in self.store.shown_trace_scores(project) if one.name == name]

    def _fingerprint(self, score: TraceScore) -> Fingerprint:
        if (score.project_id, score.id) not in self.store.written_by:
            return None
        told = scalars(score.metadata).get("fingerprint")
        return None if told is None else storable_text(told)
