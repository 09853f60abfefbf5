"""Writes entries of the audit log, in the transaction of the change that they are about."""

from adapters.postgres.database.pool import Connection
from adapters.postgres.identity.identity_rows import INSERT_AUDIT_ENTRY, audit_row
from domain.identity.audit import AuditEntry


async def store_audit_entry(connection: Connection, entry: AuditEntry | None) -> None:
    """Stores the entry, if there is one. It is numbered when the transaction commits."""
    if entry is not None:
        await connection.execute(INSERT_AUDIT_ENTRY, *audit_row(entry))
