"""Deletes traces after their retention time, in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from adapters.memory.store import MemoryStore
from application.privacy.ports import PROJECTS_AT_ONCE
from domain.ids import ProjectId, TraceId

TRACES_PER_STEP = 1_000  # traces that one step deletes


@dataclass(frozen=True, slots=True)
class MemoryExpiredTraces:
    store: MemoryStore

    async def projects(self, now: datetime) -> Sequence[ProjectId]:
        found = [project for project in self.store.projects if self._of(project, now)]
        return sorted(found)[:PROJECTS_AT_ONCE]

    async def delete(self, project: ProjectId, now: datetime) -> int:
        gone = self._of(project, now)[:TRACES_PER_STEP]
        sessions = {self.store.traces[project, trace].session_id for trace in gone}
        for trace in gone:
            self.store.delete_trace(project, trace)
        self.store.delete_session_scores(project, sessions - self.store.sessions_of(project))
        return len(gone)

    def _of(self, project: ProjectId, now: datetime) -> list[TraceId]:
        """Expired traces, the oldest first."""
        known = self.store.projects.get(project)
        if known is None or known.retention_days is None:
            return []
        until, made_at = now - timedelta(days=known.retention_days), self.store.traces.made_at
        ages = [(made_at[project, one.id], one.id) for one in self.store.traces.of(project)]
        return [trace for made, trace in sorted(ages) if made < until]
