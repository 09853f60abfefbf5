"""Taking away what has become too old, a bounded number of rows at a time, across projects."""

from datetime import datetime
from typing import Final

from adapters.postgres.database.pool import Pool, affected, translated
from application.evaluation.ports.judging import DELETED_ROWS_MAX

# What somebody holds is passed by, and goes at the next turn.
SWEEP: Final = """
DELETE FROM {table} WHERE (project_id, {key}) IN (
  SELECT project_id, {key} FROM {table} WHERE created_at < $1
  ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
"""


async def swept(pool: Pool, table: str, key: str, before: datetime) -> int:
    """How many rows were taken, the oldest first, of a table with an index on `created_at`."""
    async with translated():
        return affected(
            await pool.execute(SWEEP.format(table=table, key=key), before, DELETED_ROWS_MAX)
        )
