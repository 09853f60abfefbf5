"""Traces that change hands: none is taken from whom somebody is erasing."""

from collections.abc import Sequence
from typing import Final

from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_projects_shared
from adapters.postgres.database.columns import arrays
from adapters.postgres.database.pool import Connection
from application.privacy.ports import trace_was_erased
from domain.ids import ProjectId
from domain.tracing.erasure import DataSubject

type Owned = tuple[ProjectId, DataSubject]

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
    # An erasure takes this lock exclusively when it starts: the traces that its owner has then stay
    # theirs until they are deleted.
    projects = list({project for project, _ in lost})
    await lock_projects_shared(connection, AdvisoryLock.TRACE_OWNERS, projects)
    rows = [(project, owner.kind.value, owner.id) for project, owner in lost]
    if await connection.fetchval(IS_ERASED, *arrays(rows)):
        raise trace_was_erased()
