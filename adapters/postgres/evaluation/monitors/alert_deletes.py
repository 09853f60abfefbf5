"""Deletes alerts and their changes, in the transaction that deletes what they belong to."""

from typing import Final, Literal
from uuid import UUID

from adapters.postgres.database.bounded_delete import delete_some
from adapters.postgres.database.pool import OF_PROJECT, Connection
from domain.ids import MonitorId, ProjectId

CHANGES_PER_DELETE: Final = 5_000  # rows of one statement
DELETE_ALERTS: Final = f"DELETE FROM alerts WHERE {OF_PROJECT} AND monitor_id = $2"
DELETE_CHANGES: Final = delete_some(
    "alert_changes", f"{OF_PROJECT} AND {{of}} = $2", CHANGES_PER_DELETE
)


async def delete_alerts(connection: Connection, project: ProjectId, monitor: MonitorId) -> None:
    """Deletes the alerts of a monitor. It must be locked, so that no alert is added meanwhile."""
    await delete_changes(connection, project, "monitor_id", monitor)
    await connection.execute(DELETE_ALERTS, project, monitor)


async def delete_changes(
    connection: Connection, project: ProjectId, of: Literal["monitor_id", "alert_id"], value: UUID
) -> None:
    """Deletes changes of a monitor or an alert, which must be locked."""
    while await connection.execute(DELETE_CHANGES.format(of=of), project, value) != "DELETE 0":
        pass
