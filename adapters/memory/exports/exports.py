"""Exports in memory, with their files."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from adapters.memory.store import MemoryStore, by_creation
from application.exporting.ports import EXPORTS_MAX
from domain.errors import Conflict, NotFound
from domain.exporting.export import Export, ExportStatus
from domain.ids import ProjectId


@dataclass(frozen=True, slots=True)
class MemoryExports:
    store: MemoryStore

    async def create(self, export: Export) -> Export:
        project = export.project_id
        self.store.check_exists(project)
        if (known := self.store.exports.get((project, export.id))) is not None:
            return known
        if len(await self.all(project)) >= EXPORTS_MAX:
            raise Conflict(f"This project keeps {EXPORTS_MAX} exports already: delete one")
        self._put(export)
        return export

    async def get(self, project: ProjectId, export: UUID) -> Export:
        return self.store.exports.require(project, export)

    async def all(self, project: ProjectId) -> Sequence[Export]:
        return by_creation(self.store.exports.of(project), newest_first=True)

    async def delete(self, project: ProjectId, export: UUID) -> bool:
        self.store.export_pieces.discard(project, export)
        return self.store.exports.discard(project, export)

    async def read_piece(self, project: ProjectId, export: UUID, number: int) -> bytes:
        pieces = self.store.export_pieces.find(project, export) or ()
        if number >= len(pieces):
            raise NotFound("Export not found")
        return pieces[number]

    async def claim(self, now: datetime, until: datetime) -> Export | None:
        due = [
            (one.due_at, one.project_id, one.id)
            for _, one in self.store.exports.live()
            if one.due_at is not None and one.due_at <= now
        ]
        if not due:
            return None
        _, project, id_ = min(due)
        claimed = self.store.exports[project, id_].claimed(until)
        self.store.export_pieces.pop((project, id_), None)
        self._put(claimed)
        return claimed

    async def save(self, export: Export, *pieces: bytes) -> bool:
        place = (export.project_id, export.id)
        known = self.store.exports.find(*place)
        if known is None or not known.is_of(export):
            return False
        kept = self.store.export_pieces.get(place, ())
        self.store.export_pieces[place] = (*kept, *pieces)
        if export.status is ExportStatus.FAILED:
            del self.store.export_pieces[place]
        self._put(export)
        return True

    async def delete_expired(self, now: datetime) -> int:
        expired = [place for place, one in self.store.exports.items() if one.expires_at <= now]
        for project, export in expired:
            await self.delete(project, export)
        return len(expired)

    def _put(self, export: Export) -> None:
        self.store.exports[export.project_id, export.id] = export
