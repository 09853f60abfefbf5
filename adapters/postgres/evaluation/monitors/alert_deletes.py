"""Taking away alerts, and what changed, in the transaction that takes away what they belong to."""

from typing import Final, Literal
from uuid import UUID

from adapters.postgres.database.pool import OF_PROJECT, Connection
from domain.ids import MonitorId, ProjectId

STEP: Final = 5_000  # rows of one statement
DROP_ALERTS: Final = f"DELETE FROM alerts WHERE {OF_PROJECT} AND monitor_id = $2"
DROP_CHANGES: Final = f"""
DELETE FROM alert_changes WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM alert_changes WHERE {OF_PROJECT} AND {{of}} = $2 LIMIT {STEP}
))
"""


async def drop_alerts(connection: Connection, project: ProjectId, monitor: MonitorId) -> None:
    """Of a locked monitor: nobody adds to them meanwhile."""
    await drop_changes(connection, project, "monitor_id", monitor)
    await connection.execute(DROP_ALERTS, project, monitor)


async def drop_changes(
    connection: Connection, project: ProjectId, of: Literal["monitor_id", "alert_id"], value: UUID
) -> None:
    """Of a locked monitor or alert."""
    while await connection.execute(DROP_CHANGES.format(of=of), project, value) != "DELETE 0":
        pass
