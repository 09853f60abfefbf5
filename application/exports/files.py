"""Exports as files: requesting them, and reading the file."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from application.batches import run_in_batches
from application.exports.ports import PIECE_BYTES, Exports, MissingFormats
from application.ports import Clock
from domain.errors import Conflict, Invalid
from domain.exports.export import Export, ExportStatus, FileFormat, RowKind
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId
from domain.tracing.query import TraceFilter


@dataclass(frozen=True, slots=True)
class RequestExport:
    """Creates an export, whose file a worker writes."""

    exports: Exports
    missing_formats: MissingFormats
    retention: timedelta
    clock: Clock

    async def __call__(
        self,
        project: ProjectId,
        export: UUID,
        format_: FileFormat,
        row_kind: RowKind,
        matching: TraceFilter,
        *,
        audit: AuditEntry | None = None,
    ) -> Export:
        """The export, or the one that has the id already. Raises Invalid, Conflict, Unavailable."""
        if (advice := self.missing_formats.get(format_)) is not None:
            raise Invalid.field("format", advice)
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
                expires_at=now + self.retention,
            ),
            audit=audit,
        )


async def find_completed(exports: Exports, project: ProjectId, export: UUID) -> Export:
    """Raises NotFound; Conflict if the export failed or isn't complete yet; Unavailable."""
    known = await exports.get(project, export)
    if known.status is ExportStatus.FAILED:
        raise Conflict(f"The export failed: {known.error}")
    if known.status is not ExportStatus.COMPLETED:
        raise Conflict("The export is not complete yet")
    return known


@dataclass(frozen=True, slots=True)
class ReadExportFile:
    """Reads the file of a completed export, whole or a byte range."""

    exports: Exports

    async def find(self, project: ProjectId, export: UUID) -> Export:
        """As `find_completed`."""
        return await find_completed(self.exports, project, export)

    async def __call__(self, export: Export, start: int, end: int) -> AsyncIterator[bytes]:
        """Yields its bytes from `start` up to `end`, exclusive, one piece at a time.

        Raises NotFound if it is deleted meanwhile, Unavailable.
        """
        while start < end:
            number, begin = divmod(start, PIECE_BYTES)
            piece = await self.exports.read_piece(export.project_id, export.id, number)
            part = piece[begin : begin + end - start]
            start += len(part)
            yield part


@dataclass(frozen=True, slots=True)
class DeleteExpiredExports:
    """Deletes exports whose retention has ended, with their files."""

    exports: Exports
    clock: Clock

    async def __call__(self) -> int:
        """The number of deleted rows. Raises Unavailable; earlier batches stay deleted."""
        now = self.clock()
        return await run_in_batches(lambda: self.exports.delete_expired(now))
