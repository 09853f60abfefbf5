"""Rejections of ingested data in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from adapters.memory.store import MemoryStore, delete_rows
from application.tracing.otlp.rejections import REJECTIONS_KEPT_MAX
from domain.ids import ProjectId
from domain.page import Page, PageRequest, Position, SortOrder, paginate
from domain.tracing.otel.requests import (
    RecordedRejection,
    RejectionReason,
    rejection_key,
    with_count_of,
)


@dataclass(frozen=True, slots=True)
class MemoryRejections:
    """Also implements RejectionLog: nothing of it can fail."""

    store: MemoryStore

    def record(self, rejections: Sequence[RecordedRejection]) -> None:
        erased = {(project, trace.hex) for project, trace in self.store.erased}
        for one in rejections:
            if (one.project_id, one.rejection.trace_id) not in erased:
                key = rejection_key(one)
                self.store.rejections[key] = with_count_of(one, self.store.rejections.get(key))
        for project in {one.project_id for one in rejections}:
            ours = sorted(self.store.rejections.in_project(project), key=_newness, reverse=True)
            for one in ours[REJECTIONS_KEPT_MAX:]:
                del self.store.rejections[project, one.id]

    async def add(self, rejections: Sequence[RecordedRejection]) -> None:
        self.record(rejections)

    async def page(
        self, project: ProjectId, reason: RejectionReason | None, window: PageRequest
    ) -> Page[RecordedRejection]:
        ours = [
            one
            for one in self.store.rejections.in_project(project)
            if reason is None or one.rejection.reason is reason
        ]
        return paginate(ours, _position, SortOrder.DESC, window)

    async def delete_expired(self, now: datetime) -> int:
        def is_expired(key: tuple[ProjectId, object], one: RecordedRejection) -> bool:
            project = self.store.projects.get(key[0])
            days = None if project is None else project.retention_days
            return days is not None and one.rejected_at < now - timedelta(days=days)

        return len(delete_rows(self.store.rejections, is_expired))


def _newness(one: RecordedRejection) -> tuple[datetime, UUID]:
    return one.rejected_at, one.id


def _position(one: RecordedRejection) -> Position:
    return Position(one.rejected_at, one.id)
