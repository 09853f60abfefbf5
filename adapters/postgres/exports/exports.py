"""Exports, and their files in pieces.

Every write locks the row of the export first. So nothing is stored for a worker that was presumed
dead once another one has taken over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from adapters.postgres.database.advisory_locks import AdvisoryLock
from adapters.postgres.database.pool import IN_PROJECT, require_row
from adapters.postgres.database.read_transactions import RETRY_LATER, PoolReader
from adapters.postgres.database.removed_projects import not_removed
from adapters.postgres.database.statements.bounded_delete import delete_some
from adapters.postgres.database.statements.columns import Column, Table, columns
from adapters.postgres.database.tenants import ALL_TENANTS
from adapters.postgres.database.transactions import project_transaction, transaction
from adapters.postgres.identity.audit_log import store_audit_entry, store_audit_entry_once
from application.exports.ports import EXPORTS_MAX
from domain.errors import Conflict
from domain.exports.export import Export, ExportStatus, FileFormat, RowKind
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId
from domain.tracing.query import TraceFilter

PIECES_PER_TRANSACTION: Final = 200  # pieces that one transaction deletes: 50 MB
TOO_MANY_EXPORTS: Final = f"This project keeps {EXPORTS_MAX} exports already: delete one"
EXPORT_NOT_FOUND: Final = "Export not found"

_FILTER_DECODER: Final = msgspec.json.Decoder(TraceFilter)
EXPORTS: Final = Table(
    "exports",
    (
        *columns("project_id uuid, id uuid"),
        Column("format", "text", read=FileFormat),
        Column("row_kind", "text", read=RowKind),
        Column("matching", "json", write=msgspec.json.encode, read=_FILTER_DECODER.decode),
        Column("status", "text", read=ExportStatus),
        *columns("attempts int, traces_total bigint, traces_done bigint, rows bigint"),
        *columns("size bigint, sha256 text, error text, created_at timestamptz"),
        *columns("due_at timestamptz, completed_at timestamptz, expires_at timestamptz"),
    ),
)
_export_row: Final = EXPORTS.compile_row()
_export_from_row: Final = EXPORTS.compile_reader(Export)
_SELECT_LIST: Final = EXPORTS.select()
INSERT_EXPORT: Final = EXPORTS.insert()
SELECT_EXPORT: Final = f"SELECT {_SELECT_LIST} FROM exports WHERE {IN_PROJECT} AND id = $2"
LOCK_EXPORT: Final = f"{SELECT_EXPORT} FOR UPDATE"
SELECT_EXPORTS: Final = f"""
SELECT {_SELECT_LIST} FROM exports WHERE {IN_PROJECT} ORDER BY created_at DESC, id DESC
LIMIT {EXPORTS_MAX}
"""
# Pieces of a deleted export may exist for a while: they are not read.
SELECT_PIECE: Final = f"""
SELECT content FROM export_pieces WHERE {IN_PROJECT} AND export_id = $2 AND number = $3
  AND EXISTS (SELECT 1 FROM exports WHERE {IN_PROJECT} AND id = $2)
"""
LOCK_DUE_EXPORT: Final = f"""
SELECT {_SELECT_LIST} FROM exports WHERE due_at <= $1 AND {not_removed("exports")}
ORDER BY due_at, project_id, id LIMIT 1 FOR UPDATE SKIP LOCKED
"""
UPDATE_EXPORT: Final = f"UPDATE exports SET {EXPORTS.assignments()} WHERE {IN_PROJECT} AND id = $2"
INSERT_PIECE: Final = f"""
WITH next AS MATERIALIZED (
  SELECT coalesce(max(number) + 1, 0) AS number
  FROM export_pieces WHERE {IN_PROJECT} AND export_id = $2
)
INSERT INTO export_pieces (project_id, export_id, number, content)
SELECT $1::uuid, $2::uuid, number, $3 FROM next RETURNING 1
"""
DELETE_EXPORT: Final = f"DELETE FROM exports WHERE {IN_PROJECT} AND id = $2"
DELETE_PIECES: Final = delete_some(
    "export_pieces", f"{IN_PROJECT} AND export_id = $2", PIECES_PER_TRANSACTION
)
LOCK_EXPIRED_EXPORT: Final = f"""
SELECT project_id, id FROM exports WHERE expires_at <= $1 AND {not_removed("exports")}
ORDER BY expires_at, project_id, id LIMIT 1 FOR UPDATE SKIP LOCKED
"""
DELETED_NONE: Final = "DELETE 0"


@dataclass(frozen=True, slots=True)
class PostgresExports(PoolReader):
    async def create(self, export: Export, *, audit: AuditEntry | None = None) -> Export:
        project = export.project_id
        async with project_transaction(self.pool, AdvisoryLock.EXPORTS, project) as connection:
            known = await connection.fetchrow(SELECT_EXPORT, project, export.id)
            if known is not None:
                return _export_from_row(known)
            if len(await connection.fetch(SELECT_EXPORTS, project)) >= EXPORTS_MAX:
                raise Conflict(TOO_MANY_EXPORTS)
            await connection.execute(INSERT_EXPORT, *_export_row(export))
            await store_audit_entry(connection, audit)
        return export

    async def get(self, project: ProjectId, export: UUID) -> Export:
        row = await self._fetch_row(RETRY_LATER, project, SELECT_EXPORT, project, export)
        return _export_from_row(require_row(row, EXPORT_NOT_FOUND))

    async def all(self, project: ProjectId) -> Sequence[Export]:
        rows = await self._fetch(RETRY_LATER, project, SELECT_EXPORTS, project)
        return [_export_from_row(row) for row in rows]

    async def delete(
        self, project: ProjectId, export: UUID, *, audit: AuditEntry | None = None
    ) -> bool:
        """Deletes the pieces in several transactions, the export in the last; can be resumed."""
        is_there = False
        while True:
            async with transaction(self.pool, project) as connection:
                row = await connection.fetchrow(LOCK_EXPORT, project, export)
                if row is None:
                    return is_there
                if not is_there:
                    await store_audit_entry_once(connection, audit, row["created_at"])
                is_there = True
                if await connection.execute(DELETE_PIECES, project, export) == DELETED_NONE:
                    await connection.execute(DELETE_EXPORT, project, export)

    async def read_piece(self, project: ProjectId, export: UUID, number: int) -> bytes:
        row = await self._fetch_row(RETRY_LATER, project, SELECT_PIECE, project, export, number)
        content: bytes = require_row(row, EXPORT_NOT_FOUND)["content"]
        return content

    async def claim(self, now: datetime, until: datetime) -> Export | None:
        while True:
            async with transaction(self.pool, ALL_TENANTS) as connection:
                row = await connection.fetchrow(LOCK_DUE_EXPORT, now)
                if row is None:
                    return None
                export = _export_from_row(row)
                if await connection.execute(DELETE_PIECES, *_export_key(export)) == DELETED_NONE:
                    claimed = export.claimed(until)
                    await connection.execute(UPDATE_EXPORT, *_export_row(claimed))
                    return claimed

    async def save(self, export: Export, *pieces: bytes) -> bool:
        async with transaction(self.pool, export.project_id) as connection:
            row = await connection.fetchrow(LOCK_EXPORT, *_export_key(export))
            known = None if row is None else _export_from_row(row)
            if known is None or not known.is_of(export):
                return False
            for piece in pieces:
                await connection.execute(INSERT_PIECE, *_export_key(export), piece)
            await connection.execute(UPDATE_EXPORT, *_export_row(export))
        while export.status is ExportStatus.FAILED:
            async with transaction(self.pool, export.project_id) as connection:
                if await connection.execute(DELETE_PIECES, *_export_key(export)) == DELETED_NONE:
                    break
        return True

    async def delete_expired(self, now: datetime) -> int:
        async with transaction(self.pool, ALL_TENANTS) as connection:
            row = await connection.fetchrow(LOCK_EXPIRED_EXPORT, now)
            if row is None:
                return 0
            gone = await connection.execute(DELETE_PIECES, *row)
            if gone == DELETED_NONE:
                gone = await connection.execute(DELETE_EXPORT, *row)
            return int(gone.rpartition(" ")[2])


def _export_key(export: Export) -> tuple[ProjectId, UUID]:
    return export.project_id, export.id
