"""Finds objects by their id in several projects, in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from adapters.memory.store import MemoryStore
from domain.evaluation.runs.run import TargetType
from domain.identity.found_object import FOUND_MAX, FoundObject, ObjectKind, uuid_or_none
from domain.ids import MonitorId, ProjectId, RunId, TraceId

_RUNS = {
    TargetType.TRACE: ObjectKind.TRACE_RUN,
    TargetType.SESSION: ObjectKind.SESSION_RUN,
}


@dataclass(frozen=True, slots=True)
class MemoryObjectIndex:
    store: MemoryStore

    async def find(self, projects: Sequence[ProjectId], text: str) -> Sequence[FoundObject]:
        found = [
            FoundObject(kind, project)
            for project in projects
            for kind in self._kinds(project, uuid_or_none(text), text)
        ]
        return sorted(found)[:FOUND_MAX]

    def _kinds(self, project: ProjectId, id_: UUID | None, text: str) -> Iterator[ObjectKind]:
        store = self.store
        sessions = store.sessions_of(project) - store.hidden_sessions(project)
        if text in sessions and store.visible_traces_of(project, text):
            yield ObjectKind.SESSION
        if id_ is None:
            return
        if store.visible_trace(project, TraceId(id_)) is not None:
            yield ObjectKind.TRACE
        if (stored := store.runs.find(project, RunId(id_))) is not None:
            yield _RUNS[stored.run.target_type]
        if store.monitors.find(project, MonitorId(id_)) is not None:
            yield ObjectKind.MONITOR
        if any(one.id == id_ for one in store.datasets.in_project(project)):
            yield ObjectKind.DATASET
        if store.experiments.find(project, id_) is not None:
            yield ObjectKind.EXPERIMENT
        if any(one.id == id_ for one in store.visible_trace_scores(project)):
            yield ObjectKind.TRACE_SCORE
        if any(one.id == id_ for one in store.visible_session_scores(project)):
            yield ObjectKind.SESSION_SCORE
