"""Writes entries of the audit log, in the transaction of the change that they are about."""

from adapters.postgres.database.pool import Connection
from adapters.postgres.database.tenants import add_tenant
from adapters.postgres.identity.identity_rows import INSERT_AUDIT_ENTRY, audit_row
from domain.identity.audit import AuditEntry


async def store_audit_entry(connection: Connection, entry: AuditEntry | None) -> None:
    """Stores the entry, if there is one. It is numbered when the transaction commits.

    The log is the organization's, which the scope of the transaction then includes.
    """
    if entry is not None:
        await add_tenant(connection, entry.organization_id)
        await connection.execute(INSERT_AUDIT_ENTRY, *audit_row(entry))
