"""From when on projects keep their data (docs/operation/retention.md).

The times are read first and sent to the statements that delete what is older, because with Citus
no statement joins the table of projects with those that have their rows.
"""

from datetime import datetime
from typing import Final

from adapters.postgres.database.pool import Connection
from adapters.postgres.database.table_groups import own_group
from domain.ids import ProjectId

_KEPT_SINCE: Final = "$1::timestamptz - make_interval(days => retention_days)"
SELECT_ALL_KEPT_SINCE: Final = f"""
SELECT p.id, {_KEPT_SINCE} FROM projects AS p JOIN organizations AS o ON o.id = p.organization_id
WHERE retention_days IS NOT NULL AND o.table_group = $2
  AND o.moving_to IS NULL ORDER BY p.id
"""
SELECT_KEPT_SINCE: Final = f"SELECT {_KEPT_SINCE} FROM projects WHERE id = $2"


async def fetch_all_kept_since(
    connection: Connection, now: datetime
) -> tuple[list[ProjectId], list[datetime]]:
    """The projects of the group with a retention time, and for each when its data expires.

    That is, the instant before which it was stored.
    """
    rows = await connection.fetch(SELECT_ALL_KEPT_SINCE, now, own_group(connection))
    return [ProjectId(row[0]) for row in rows], [row[1] for row in rows]


async def fetch_kept_since(
    connection: Connection, project: ProjectId, now: datetime
) -> datetime | None:
    """The instant before which data of the project expires. None: never, or removed."""
    since: datetime | None = await connection.fetchval(SELECT_KEPT_SINCE, now, project)
    return since
