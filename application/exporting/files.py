"""Exports as files: asking for one, looking how far it is, reading it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from application.exporting.ports import PIECE_BYTES, Exports
from application.ports import Clock
from domain.errors import Conflict, Invalid, NotFound
from domain.exporting.export import Export, ExportStatus, FileFormat, RowKind
from domain.ids import ProjectId
from domain.tracing.query import TraceFilter


@dataclass(frozen=True, slots=True)
class RequestExport:
    """Asks for a file, which a worker writes."""

    exports: Exports
    kept_for: timedelta
    clock: Clock

    async def __call__(
        self,
        project: ProjectId,
        export: UUID,
        format_: FileFormat,
        row_kind: RowKind,
        matching: TraceFilter,
    ) -> Export:
        """The one of this id, if it is there. Raises Invalid, Conflict, Unavailable."""
        if format_ is FileFormat.NDJSON and row_kind is not RowKind.TRACES:
            raise Invalid.field("rows", "must be traces for ndjson: their spans are in them")
        now = self.clock()
        return await self.exports.create(
            Export(
                id=export,
                project_id=project,
                format=format_,
                row_kind=row_kind,
                matching=matching,
                created_at=now,
                due_at=now,
                expires_at=now + self.kept_for,
            )
        )


@dataclass(frozen=True, slots=True)
class ListExports:
    exports: Exports

    async def __call__(self, project: ProjectId) -> Sequence[Export]:
        """All that are kept, the newest first. Raises Unavailable."""
        return await self.exports.all(project)


@dataclass(frozen=True, slots=True)
class ReadExport:
    exports: Exports

    async def __call__(self, project: ProjectId, export: UUID) -> Export:
        """Raises NotFound, Unavailable."""
        return await self.exports.get(project, export)


@dataclass(frozen=True, slots=True)
class DeleteExport:
    """Removes an export with its file; one that is being written is given up."""

    exports: Exports

    async def __call__(self, project: ProjectId, export: UUID) -> None:
        """Raises NotFound, the second time too; Unavailable."""
        if not await self.exports.delete(project, export):
            raise NotFound("Export not found")


@dataclass(frozen=True, slots=True)
class ReadExportFile:
    """The file of an export that is complete, in part or whole."""

    exports: Exports

    async def found(self, project: ProjectId, export: UUID) -> Export:
        """Raises NotFound; Conflict where there is no file yet, or none to come; Unavailable."""
        known = await self.exports.get(project, export)
        if known.status is ExportStatus.FAILED:
            raise Conflict(f"The export failed: {known.error}")
        if known.status is not ExportStatus.COMPLETED:
            raise Conflict("The export is not complete yet")
        return known

    async def __call__(self, export: Export, start: int, end: int) -> AsyncIterator[bytes]:
        """Its bytes from `start` to before `end`, a piece at a time.

        Raises NotFound where it is removed meanwhile, Unavailable.
        """
        while start < end:
            number, begin = divmod(start, PIECE_BYTES)
            piece = await self.exports.read_piece(export.project_id, export.id, number)
            part = piece[begin : begin + end - start]
            start += len(part)
            yield part


@dataclass(frozen=True, slots=True)
class DeleteExpiredExports:
    """Removes what has been kept for as long as it should be."""

    exports: Exports
    clock: Clock

    async def __call__(self) -> int:
        """How many rows; 0 when none is left. Safe to call again. Raises Unavailable."""
        return await self.exports.delete_expired(self.clock())
