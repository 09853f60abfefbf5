"""Deletes items that were copied from the traces of an erased user or session."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.evaluation.datasets.dataset_rows import dataset_from_row
from adapters.postgres.evaluation.datasets.datasets import SELECT_DATASETS_BY_ID, add_version
from domain.ids import ProjectId, TraceId

ERASED_PER_DELETE: Final = 2_000  # items of one transaction, with their payloads

# Locks as writers of items do. The next statement sees what they have committed.
LOCK_DATASETS_OF_ITEMS: Final = f"""
SELECT id FROM datasets WHERE {IN_PROJECT} AND id IN (
  SELECT dataset_id FROM dataset_items WHERE {IN_PROJECT} AND {{which}}
) ORDER BY id FOR UPDATE
"""
ERASE_ITEMS: Final = f"""
DELETE FROM dataset_items WHERE {IN_PROJECT} AND ctid = ANY(ARRAY(
  SELECT ctid FROM dataset_items WHERE {IN_PROJECT} AND {{which}} {{limit}}
)) RETURNING dataset_id, valid_from, valid_to
"""
LINKED_TO_TRACES: Final = "trace_id = ANY($2::uuid[])"
COUNT_ERASED: Final = f"""
UPDATE dataset_versions AS v SET erased = v.erased + lost.items
FROM (
  SELECT v.dataset_id, v.number, count(*) AS items
  FROM unnest($2::uuid[], $3::int[], $4::int[]) AS gone (dataset_id, valid_from, valid_to)
  JOIN dataset_versions AS v ON v.{IN_PROJECT} AND v.dataset_id = gone.dataset_id
    AND v.number >= gone.valid_from AND (gone.valid_to IS NULL OR v.number < gone.valid_to)
  GROUP BY v.dataset_id, v.number
) AS lost
WHERE v.{IN_PROJECT} AND v.dataset_id = lost.dataset_id AND v.number = lost.number
"""


async def erase_items_of_traces(
    connection: Connection, project: ProjectId, traces: Sequence[TraceId], now: datetime
) -> int:
    """Deletes the items with a link to one of the traces, in all versions; how many rows.

    A newest version that loses an item is followed by one without it.
    """
    return await _erase(connection, LINKED_TO_TRACES, (project, list(traces)), now)


async def erase_items_of_owner(
    connection: Connection,
    project: ProjectId,
    owner_column: Literal["user_id", "session_id"],
    owner: str,
    now: datetime,
) -> int:
    """As `erase_items_of_traces`: the first ERASED_PER_DELETE that were copied from the owner's."""
    return await _erase(
        connection, f"{owner_column} = $2", (project, owner), now, ERASED_PER_DELETE
    )


async def _erase(
    connection: Connection,
    which: str,
    values: tuple[ProjectId, object],
    now: datetime,
    most: int | None = None,
) -> int:
    project, _ = values
    if not await connection.fetch(LOCK_DATASETS_OF_ITEMS.format(which=which), *values):
        return 0
    limit = "" if most is None else f"LIMIT {most}"
    gone = await connection.fetch(ERASE_ITEMS.format(which=which, limit=limit), *values)
    if not gone:
        return 0
    await connection.execute(COUNT_ERASED, project, *arrays(tuple(row) for row in gone))
    shorter = sorted({row["dataset_id"] for row in gone if row["valid_to"] is None})
    for row in await connection.fetch(SELECT_DATASETS_BY_ID, project, shorter):
        await add_version(connection, dataset_from_row(row), 0, now)
    return len(gone)
