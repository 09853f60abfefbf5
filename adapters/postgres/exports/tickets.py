"""Tickets to download an export by a link."""

from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.pool import Pool, translate_errors
from adapters.postgres.database.statements.columns import Column, Table, columns
from adapters.postgres.database.tenants import ALL_TENANTS, within
from domain.exports.ticket import DownloadTicket

DOWNLOAD_TICKETS: Final = Table(
    "download_tickets",
    (
        *columns("digest bytea, organization_id uuid, export_id uuid"),
        Column("project", "uuid", "project_id"),
        *columns("user_id uuid, key_id uuid, session_id uuid, name text"),
        *columns("created_at timestamptz, expires_at timestamptz"),
    ),
    key=("digest",),
)
_ticket_row: Final = DOWNLOAD_TICKETS.compile_row()
_ticket_from_row: Final = DOWNLOAD_TICKETS.compile_reader(DownloadTicket)
INSERT_TICKET: Final = DOWNLOAD_TICKETS.insert()
# Across tenants: only the ticket says whose it is.
SELECT_TICKET: Final = f"""
SELECT {DOWNLOAD_TICKETS.select()} FROM download_tickets WHERE digest = $1
"""
DELETE_TICKET: Final = """
DELETE FROM download_tickets WHERE organization_id = $1 AND digest = $2 RETURNING digest
"""


@dataclass(frozen=True, slots=True)
class PostgresDownloadTickets:
    pool: Pool

    @translate_errors()
    async def add(self, ticket: DownloadTicket) -> None:
        ours = within(self.pool, ticket.organization_id)
        await ours.execute(INSERT_TICKET, *_ticket_row(ticket))

    @translate_errors()
    async def by_digest(self, digest: bytes) -> DownloadTicket | None:
        row = await within(self.pool, ALL_TENANTS).fetchrow(SELECT_TICKET, digest)
        return None if row is None else _ticket_from_row(row)

    @translate_errors()
    async def use(self, ticket: DownloadTicket) -> bool:
        ours = within(self.pool, ticket.organization_id)
        used = await ours.fetchval(DELETE_TICKET, ticket.organization_id, ticket.digest)
        return used is not None
