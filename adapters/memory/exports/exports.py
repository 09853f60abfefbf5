"""Exports in memory, with their files."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from adapters.memory.store import MemoryStore
from application.exporting.ports import EXPORTS_MAX
from domain.errors import Conflict, NotFound, Unavailable
from domain.exporting.export import Export, ExportStatus
from domain.ids import ProjectId


@dataclass(frozen=True, slots=True)
class MemoryExports:
    store: MemoryStore

    async def create(self, export: Export) -> Export:
        project = export.project_id
        if project in self.store.removed:
            raise Unavailable("This project was deleted; send the request again")
        if (known := self.store.exports.get((project, export.id))) is not None:
            return known
        if len(await self.all(project)) >= EXPORTS_MAX:
            raise Conflict(f"This project keeps {EXPORTS_MAX} exports already: delete one")
        self._put(export)
        return export

    async def get(self, project: ProjectId, export: UUID) -> Export:
        found = self.store.exports.get((project, export))
        if found is None or project in self.store.removed:
            raise NotFound("Export not found")
        return found

    async def all(self, project: ProjectId) -> Sequence[Export]:
        if project in self.store.removed:
            return []
        ours = [one for (of, _), one in self.store.exports.items() if of == project]
        return sorted(ours, key=lambda one: (one.created_at, one.id), reverse=True)

    async def delete(self, project: ProjectId, export: UUID) -> bool:
        if project in self.store.removed:
            return False
        self.store.export_pieces.pop((project, export), None)
        return self.store.exports.pop((project, export), None) is not None

    async def read_piece(self, project: ProjectId, export: UUID, number: int) -> bytes:
        pieces = self.store.export_pieces.get((project, export), ())
        if project in self.store.removed or number >= len(pieces):
            raise NotFound("Export not found")
        return pieces[number]

    async def claim(self, now: datetime, until: datetime) -> Export | None:
        due = [
            (one.due_at, one.project_id, one.id)
            for one in self.store.exports.values()
            if one.due_at is not None
            and one.due_at <= now
            and one.project_id not in self.store.removed
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
        known = self.store.exports.get(place)
        is_removed = export.project_id in self.store.removed
        if known is None or is_removed or not known.is_of(export):
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
