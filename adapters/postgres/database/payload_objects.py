"""Objects with blocks of payloads outside the database: their keys, and removing them.

What deletes or replaces a block adds its object to `removed_payload_objects`, by a trigger.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from asyncpg import Record

from adapters.postgres.database.pool import Connection, Pool, bounded
from adapters.postgres.database.removed_projects import not_removed
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.database.tenants import ALL_TENANTS
from adapters.postgres.database.transactions import transaction
from application.tracing.ports import PayloadStore
from domain.errors import Unavailable
from domain.ids import ProjectId, TraceId

REMOVED_AT_ONCE: Final = 500  # objects
MISSING_RETRY_AFTER_S: Final = 3_600  # until an operator has configured it
STORE_MISSING: Final = (
    "The payloads are in an object storage that this process isn't configured for: set "
    "PANDAPROBE_PAYLOAD_BUCKET"
)
_SELECT_REMOVED: Final = """
SELECT project_id, trace_id, object_id FROM removed_payload_objects
"""
_TAKE_SOME: Final = f"LIMIT {REMOVED_AT_ONCE} FOR UPDATE SKIP LOCKED"
LOCK_REMOVED: Final = f"""
{_SELECT_REMOVED} WHERE removed_at < $1 AND {not_removed("removed_payload_objects")}
ORDER BY removed_at {_TAKE_SOME}
"""
LOCK_REMOVED_OF_PROJECT: Final = f"{_SELECT_REMOVED} WHERE project_id = $1 {_TAKE_SOME}"
COUNT_REMOVED_OF_PROJECT: Final = """
SELECT count(*) FROM removed_payload_objects WHERE project_id = $1
"""
# For rows that moved to another group, whose rows name the same objects.
FORGET_REMOVED_OF_PROJECT: Final = "DELETE FROM removed_payload_objects WHERE project_id = $1"
# By ctid: the table is nearly empty whenever its statistics are made, so the planner takes it for
# one row, and would compare all rows with each other. The rows are locked.
FORGET_REMOVED: Final = """
DELETE FROM removed_payload_objects WHERE ctid = ANY(ARRAY(
  SELECT known.ctid FROM unnest($1::uuid[], $2::uuid[], $3::uuid[])
    AS gone (project_id, trace_id, object_id) CROSS JOIN LATERAL (
    SELECT ctid FROM removed_payload_objects
    WHERE project_id = gone.project_id AND trace_id = gone.trace_id
      AND object_id = gone.object_id OFFSET 0
  ) AS known
))
"""


def object_key(key: tuple[ProjectId, TraceId], object_id: UUID) -> str:
    """The key of the object with a block of a trace."""
    project, trace = key
    return f"{project}/{trace}/{object_id}"


def store_of(connection: Connection) -> PayloadStore:
    """The store of blocks. Raises Unavailable if none is configured."""
    store = bounded(connection).payload_store
    if store is None:
        raise Unavailable(STORE_MISSING, retry_after_s=MISSING_RETRY_AFTER_S)
    return store


async def remove_objects(pool: Pool, before: datetime) -> int:
    """Deletes some objects whose block was deleted or replaced before an instant; their number."""
    async with transaction(pool, ALL_TENANTS) as connection:
        return await _remove(connection, await connection.fetch(LOCK_REMOVED, before))


async def remove_objects_of_project(connection: Connection, project: ProjectId) -> bool:
    """Deletes some objects of the project whose block is gone; whether any may be left.

    In the transaction of the caller. Raises Unavailable.
    """
    await _remove(connection, await connection.fetch(LOCK_REMOVED_OF_PROJECT, project))
    left: int = await connection.fetchval(COUNT_REMOVED_OF_PROJECT, project)
    return left > 0


async def _remove(connection: Connection, rows: Sequence[Record]) -> int:
    if rows:
        await store_of(connection).delete(
            [object_key((project, trace), id_) for project, trace, id_ in rows]
        )
        await connection.execute(FORGET_REMOVED, *arrays(rows))
    return len(rows)
