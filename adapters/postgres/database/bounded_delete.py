"""Bounded deletes of old rows, across projects."""

from datetime import datetime
from typing import Final

from adapters.postgres.database.pool import Pool, affected_rows, translate_errors
from application.evaluation.ports.judging import DELETED_ROWS_MAX

# Rows that another transaction has locked are skipped; the next call deletes them.
DELETE_OLDEST_ROWS: Final = """
DELETE FROM {table} WHERE (project_id, {key}) IN (
  SELECT project_id, {key} FROM {table} WHERE created_at < $1
  ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
"""


async def delete_older_than(pool: Pool, table: str, key: str, before: datetime) -> int:
    """Deletes the oldest rows from before `before` and returns how many.

    The table needs an index on `created_at`.
    """
    async with translate_errors():
        return affected_rows(
            await pool.execute(
                DELETE_OLDEST_ROWS.format(table=table, key=key), before, DELETED_ROWS_MAX
            )
        )
