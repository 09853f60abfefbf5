"""Exports in Postgres, and their files in pieces: the port.

Whoever writes one locks its row first, so that of a worker that was taken for dead nothing is kept
once another has begun.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_project
from adapters.postgres.database.columns import Column, Table, compile_reader
from adapters.postgres.database.pool import OF_PROJECT, Pool
from adapters.postgres.database.read_transactions import READ_TIMEOUT_S, reading
from adapters.postgres.database.removed_projects import check_not_removed, not_removed
from adapters.postgres.database.transactions import transaction
from application.exporting.ports import EXPORTS_MAX
from domain.errors import Conflict, NotFound
from domain.exporting.export import Export, ExportStatus, FileFormat, RowKind
from domain.ids import ProjectId
from domain.tracing.query import TraceFilter

ADVICE: Final = "try again later"
STEP: Final = 200  # pieces that one transaction removes: 50 MB
TOO_MANY: Final = f"This project keeps {EXPORTS_MAX} exports already: delete one"
GONE: Final = "Export not found"

_MATCHING: Final = msgspec.json.Decoder(TraceFilter)
EXPORTS: Final = Table(
    "exports",
    ("project_id", "id"),
    (
        Column("project_id", "uuid"),
        Column("id", "uuid"),
        Column("format", "text", read=FileFormat),
        Column("row_kind", "text", read=RowKind),
        Column("matching", "json", write=msgspec.json.encode, read=_MATCHING.decode),
        Column("status", "text", read=ExportStatus),
        Column("attempts", "int"),
        Column("traces_total", "bigint"),
        Column("traces_done", "bigint"),
        Column("rows", "bigint"),
        Column("size", "bigint"),
        Column("sha256", "text"),
        Column("error", "text"),
        Column("created_at", "timestamptz"),
        Column("due_at", "timestamptz"),
        Column("completed_at", "timestamptz"),
        Column("expires_at", "timestamptz"),
    ),
)
_row: Final = EXPORTS.compile_row()
_export: Final = compile_reader(Export, EXPORTS.fields_of(Export))
_SHOWN: Final = EXPORTS.select()
INSERT: Final = EXPORTS.insert()
READ: Final = f"SELECT {_SHOWN} FROM exports WHERE {OF_PROJECT} AND id = $2"
LOCK: Final = f"{READ} FOR UPDATE"
ALL: Final = f"""
SELECT {_SHOWN} FROM exports WHERE {OF_PROJECT} ORDER BY created_at DESC, id DESC
LIMIT {EXPORTS_MAX}
"""
# Of one whose export has gone the pieces may be left for some time.
PIECE: Final = f"""
SELECT content FROM export_pieces WHERE {OF_PROJECT} AND export_id = $2 AND number = $3
  AND EXISTS (SELECT FROM exports WHERE {OF_PROJECT} AND id = $2)
"""
DUE: Final = f"""
SELECT {_SHOWN} FROM exports WHERE due_at <= $1 AND {not_removed("exports")}
ORDER BY due_at, project_id, id LIMIT 1 FOR UPDATE SKIP LOCKED
"""
UPDATE: Final = f"UPDATE exports SET {EXPORTS.assignments()} WHERE {OF_PROJECT} AND id = $2"
ADD_PIECE: Final = f"""
INSERT INTO export_pieces (project_id, export_id, number, content)
SELECT $1::uuid, $2::uuid, coalesce(max(number) + 1, 0), $3
FROM export_pieces WHERE {OF_PROJECT} AND export_id = $2
"""
DELETE: Final = f"DELETE FROM exports WHERE {OF_PROJECT} AND id = $2"
DELETE_PIECES: Final = f"""
DELETE FROM export_pieces WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM export_pieces WHERE {OF_PROJECT} AND export_id = $2 LIMIT {STEP}
))
"""
EXPIRED: Final = f"""
SELECT project_id, id FROM exports WHERE expires_at <= $1 AND {not_removed("exports")}
ORDER BY expires_at, project_id, id LIMIT 1 FOR UPDATE SKIP LOCKED
"""
NOTHING: Final = "DELETE 0"


@dataclass(frozen=True, slots=True)
class PostgresExports:
    """Each read takes `timeout_s` at most."""

    pool: Pool
    timeout_s: float = READ_TIMEOUT_S

    async def create(self, export: Export) -> Export:
        project = export.project_id
        async with transaction(self.pool) as connection:
            await lock_project(connection, AdvisoryLock.EXPORTS, project)
            await check_not_removed(connection, project)
            known = await connection.fetchrow(READ, project, export.id)
            if known is not None:
                return _export(known)
            if len(await connection.fetch(ALL, project)) >= EXPORTS_MAX:
                raise Conflict(TOO_MANY)
            await connection.execute(INSERT, *_row(export))
        return export

    async def get(self, project: ProjectId, export: UUID) -> Export:
        async with reading(self.pool, ADVICE, self.timeout_s) as connection:
            row = await connection.fetchrow(READ, project, export)
        if row is None:
            raise NotFound(GONE)
        return _export(row)

    async def all(self, project: ProjectId) -> Sequence[Export]:
        async with reading(self.pool, ADVICE, self.timeout_s) as connection:
            return [_export(row) for row in await connection.fetch(ALL, project)]

    async def delete(self, project: ProjectId, export: UUID) -> bool:
        """Its pieces go in steps, and it with the last of them: one that is broken off goes on."""
        is_there = False
        while True:
            async with transaction(self.pool) as connection:
                if await connection.fetchrow(LOCK, project, export) is None:
                    return is_there
                is_there = True
                if await connection.execute(DELETE_PIECES, project, export) == NOTHING:
                    await connection.execute(DELETE, project, export)

    async def read_piece(self, project: ProjectId, export: UUID, number: int) -> bytes:
        async with reading(self.pool, ADVICE, self.timeout_s) as connection:
            content: bytes | None = await connection.fetchval(PIECE, project, export, number)
        if content is None:
            raise NotFound(GONE)
        return content

    async def claim(self, now: datetime, until: datetime) -> Export | None:
        while True:
            async with transaction(self.pool) as connection:
                row = await connection.fetchrow(DUE, now)
                if row is None:
                    return None
                export = _export(row)
                if await connection.execute(DELETE_PIECES, *_place(export)) == NOTHING:
                    claimed = export.claimed(until)
                    await connection.execute(UPDATE, *_row(claimed))
                    return claimed

    async def save(self, export: Export, *pieces: bytes) -> bool:
        async with transaction(self.pool) as connection:
            row = await connection.fetchrow(LOCK, *_place(export))
            known = None if row is None else _export(row)
            if known is None or not known.is_of(export):
                return False
            for piece in pieces:
                await connection.execute(ADD_PIECE, *_place(export), piece)
            await connection.execute(UPDATE, *_row(export))
        while export.status is ExportStatus.FAILED:
            async with transaction(self.pool) as connection:
                if await connection.execute(DELETE_PIECES, *_place(export)) == NOTHING:
                    break
        return True

    async def delete_expired(self, now: datetime) -> int:
        async with transaction(self.pool) as connection:
            row = await connection.fetchrow(EXPIRED, now)
            if row is None:
                return 0
            gone = await connection.execute(DELETE_PIECES, *row)
            if gone == NOTHING:
                gone = await connection.execute(DELETE, *row)
            return int(gone.rpartition(" ")[2])


def _place(export: Export) -> tuple[ProjectId, UUID]:
    return export.project_id, export.id
