"""Public links to traces.

A link is added under the lock of the organization, which allows links or not, and under a lock of
its trace: so it can't outlive either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from adapters.postgres.database.pool import IN_PROJECT, require_row
from adapters.postgres.database.read_transactions import RETRY_LATER, PoolReader
from adapters.postgres.database.statements.columns import Column, Table, columns
from adapters.postgres.database.tenants import ALL_TENANTS
from adapters.postgres.database.transactions import transaction
from adapters.postgres.identity.audit_log import store_audit_entry
from domain.errors import Conflict, Forbidden
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId, TraceId
from domain.sharing.trace_link import (
    LINKS_ARE_OFF,
    LINKS_PER_PROJECT_MAX,
    LINKS_PER_TRACE_MAX,
    TOO_MANY_OF_PROJECT,
    TOO_MANY_OF_TRACE,
    TraceLink,
)

TRACE_LINKS: Final = Table(
    "trace_links",
    (
        *columns("id uuid, digest bytea, organization_id uuid"),
        Column("project", "uuid", "project_id"),
        *columns("trace_id uuid, is_masked boolean, has_scores boolean"),
        *columns("created_by uuid, creator text, created_at timestamptz, expires_at timestamptz"),
    ),
    key=("id",),
)
link_row: Final = TRACE_LINKS.compile_row()
_link_from_row: Final = TRACE_LINKS.compile_reader(TraceLink)
LOCK_ORGANIZATION: Final = "SELECT public_links FROM organizations WHERE id = $1 FOR NO KEY UPDATE"
# The row of the project is gone once it is removed, so nothing can refer to it.
LOCK_TRACE: Final = f"SELECT 1 FROM traces WHERE {IN_PROJECT} AND trace_id = $2 FOR KEY SHARE"
COUNT_LINKS: Final = """
SELECT count(*) AS in_project, count(*) FILTER (WHERE trace_id = $2) AS by_trace
FROM trace_links WHERE project = $1
"""
INSERT_LINK: Final = TRACE_LINKS.insert()
SELECT_LINKS: Final = f"""
SELECT {TRACE_LINKS.select()} FROM trace_links WHERE project = $1 AND trace_id = $2
ORDER BY created_at DESC, id DESC LIMIT {LINKS_PER_TRACE_MAX}
"""
DELETE_LINK: Final = """
DELETE FROM trace_links WHERE project = $1 AND trace_id = $2 AND id = $3 RETURNING id
"""
# Across tenants, by a key that only a digest of 256 random bits finds.
SELECT_LINK: Final = f"""
SELECT {TRACE_LINKS.select("l")}
FROM trace_links AS l JOIN organizations AS o ON o.id = l.organization_id
WHERE l.digest = $1 AND o.public_links
"""


@dataclass(frozen=True, slots=True)
class PostgresTraceLinks(PoolReader):
    async def add(self, link: TraceLink, *, audit: AuditEntry | None = None) -> None:
        organization, project, trace = link.organization_id, link.project_id, link.trace_id
        async with transaction(self.pool, (project, organization)) as connection:
            row = await connection.fetchrow(LOCK_ORGANIZATION, organization)
            if not require_row(row, "Organization not found")["public_links"]:
                raise Forbidden(LINKS_ARE_OFF)
            require_row(await connection.fetchrow(LOCK_TRACE, project, trace), "Trace not found")
            count = await connection.fetchrow(COUNT_LINKS, project, trace)
            assert count is not None
            if count["by_trace"] >= LINKS_PER_TRACE_MAX:
                raise Conflict(TOO_MANY_OF_TRACE)
            if count["in_project"] >= LINKS_PER_PROJECT_MAX:
                raise Conflict(TOO_MANY_OF_PROJECT)
            await connection.execute(INSERT_LINK, *link_row(link))
            await store_audit_entry(connection, audit)

    async def by_trace(self, project: ProjectId, trace: TraceId) -> Sequence[TraceLink]:
        rows = await self._fetch(RETRY_LATER, project, SELECT_LINKS, project, trace)
        return [_link_from_row(row) for row in rows]

    async def delete(
        self, project: ProjectId, trace: TraceId, link: UUID, *, audit: AuditEntry | None = None
    ) -> bool:
        async with transaction(self.pool, project) as connection:
            gone = await connection.fetchval(DELETE_LINK, project, trace, link)
            if gone is not None:
                await store_audit_entry(connection, audit)
        return gone is not None

    async def by_digest(self, digest: bytes) -> TraceLink | None:
        row = await self._fetch_row(RETRY_LATER, ALL_TENANTS, SELECT_LINK, digest)
        return None if row is None else _link_from_row(row)
