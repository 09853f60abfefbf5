"""Writes entries of the audit log, in the transaction of the change that they are about."""

from datetime import datetime, timedelta
from typing import Final

from adapters.postgres.database.pool import Connection
from adapters.postgres.database.tenants import add_tenant
from adapters.postgres.identity.identity_rows import INSERT_AUDIT_ENTRY, audit_row
from domain.identity.audit import AuditEntry

# How long a change in several transactions takes at most. It bounds what is read of a log.
CHANGE_TAKES_MAX: Final = timedelta(minutes=10)
HAS_ENTRY: Final = """
SELECT EXISTS (
  SELECT 1 FROM audit_log
  WHERE organization_id = $1 AND at >= $2 AND action = $3 AND resource_id = $4
)
"""


async def store_audit_entry(connection: Connection, entry: AuditEntry | None) -> None:
    """Stores the entry, if there is one. It is numbered when the transaction commits.

    The log is the organization's, which the scope of the transaction then includes.
    """
    if entry is not None:
        await add_tenant(connection, entry.organization_id)
        await connection.execute(INSERT_AUDIT_ENTRY, *audit_row(entry))


async def store_audit_entry_once(
    connection: Connection, entry: AuditEntry | None, made_at: datetime
) -> None:
    """As `store_audit_entry`, unless another request does the same to the same object just now.

    For a change in several transactions: the first one, which has locked the object, calls this.
    Entries from before `made_at`, when the object was made, are about an earlier one of its id.
    """
    if entry is not None:
        await add_tenant(connection, entry.organization_id)
        since = max(made_at, entry.at - CHANGE_TAKES_MAX)
        key = (entry.organization_id, since, entry.action, entry.resource_id)
        if not await connection.fetchval(HAS_ENTRY, *key):
            await connection.execute(INSERT_AUDIT_ENTRY, *audit_row(entry))
