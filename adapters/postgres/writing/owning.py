"""Traces that change hands: none is taken from whom somebody is erasing."""

from collections.abc import Sequence
from typing import Final

from adapters.postgres.database.columns import arrays
from adapters.postgres.engine import Connection
from application.tracing.erasing import was_erased
from domain.ids import ProjectId
from domain.tracing.erasure import Owner

type Owned = tuple[ProjectId, Owner]

# Whoever begins an erasure waits for those that take traces of its project from anybody, and they
# for it: what was somebody's as their erasure began is theirs until it has gone.
BEGIN: Final = "SELECT pg_advisory_xact_lock(76, hashtext($1::uuid::text))"
# In one order, so that nobody waits in a circle.
TAKE_AWAY: Final = """
SELECT pg_advisory_xact_lock_shared(76, key)
FROM (
  SELECT DISTINCT hashtext(project_id::text) AS key FROM unnest($1::uuid[]) AS project_id
  ORDER BY key
) AS keys
"""
IS_ERASED: Final = """
SELECT EXISTS (
  SELECT FROM unnest($1::uuid[], $2::text[], $3::text[]) AS lost (project_id, kind, owner)
  JOIN erasures ON erasures.project_id = lost.project_id AND erasures.kind = lost.kind
    AND erasures.owner = lost.owner
  WHERE erasures.owner IS NOT NULL
)
"""


async def check_lost(connection: Connection, lost: Sequence[Owned]) -> None:
    """Of owners that lose a trace in this transaction, which has it locked.

    Raises Invalid where one of them is being erased. No erasure begins before the transaction ends.
    """
    if not lost:
        return
    await connection.execute(TAKE_AWAY, list({project for project, _ in lost}))
    rows = [(project, owner.kind.value, owner.id) for project, owner in lost]
    if await connection.fetchval(IS_ERASED, *arrays(rows)):
        raise was_erased()
