"""Deletes of some of the rows that match, and of all of them in the order of a key."""

from datetime import datetime

from adapters.postgres.database.pool import Pool, affected_rows, translate_errors
from adapters.postgres.database.tenants import ALL_TENANTS, within


def delete_some(table: str, where: str, limit: int | str, *, skip_locked: bool = False) -> str:
    """A statement that deletes at most `limit` of the rows that match.

    By ctid, so that no statistics can mislead the planner. With `skip_locked`, it leaves rows that
    another transaction has locked to the next call. `where` may end with an ORDER BY.
    """
    lock = "FOR UPDATE SKIP LOCKED" if skip_locked else ""
    return f"""
    DELETE FROM {table} WHERE ctid = ANY(ARRAY(
      SELECT ctid FROM {table} WHERE {where} LIMIT {limit} {lock}
    ))
    """


def delete_in_order(table: str, key: str, where: str) -> str:
    """Locks the rows in the order of `key`, then deletes them; a RETURNING may follow.

    Both find the rows by the condition: a join of the locked rows with the table would compare each
    with each, if the table was empty when its statistics were made. Not by ctid, which leaves rows
    that another transaction changed while this one waited.
    """
    return f"""
    WITH locked AS MATERIALIZED (
      SELECT 1 FROM {table} WHERE {where} ORDER BY {key} FOR UPDATE
    )
    DELETE FROM {table} WHERE {where} AND (SELECT count(*) FROM locked) >= 0
    """


async def delete_older_than(pool: Pool, table: str, before: datetime, limit: int) -> int:
    """Deletes the oldest rows from before `before`, across projects, and returns how many.

    At most `limit`. The table needs an index on `created_at`.
    """
    sql = delete_some(table, "created_at < $1 ORDER BY created_at", "$2", skip_locked=True)
    async with translate_errors():
        return affected_rows(await within(pool, ALL_TENANTS).execute(sql, before, limit))
