"""Keeps traces of users and sessions under erasure from moving to others."""

from collections.abc import Sequence
from typing import Final

from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_projects_shared
from adapters.postgres.database.pool import Connection
from adapters.postgres.database.statements.columns import arrays
from application.privacy.ports import trace_was_erased
from domain.ids import ProjectId
from domain.privacy.erasure import DataSubject

type ProjectSubject = tuple[ProjectId, DataSubject]

IS_SUBJECT_BEING_ERASED: Final = """
SELECT EXISTS (
  SELECT 1 FROM unnest($1::uuid[], $2::text[], $3::text[]) AS lost (project_id, kind, owner)
  JOIN erasures ON erasures.project_id = lost.project_id AND erasures.kind = lost.kind
    AND erasures.owner = lost.owner
  WHERE erasures.owner IS NOT NULL
)
"""


async def check_not_erased(connection: Connection, lost: Sequence[ProjectSubject]) -> None:
    """Checks subjects that lose a trace in this transaction, which has the trace locked.

    Raises Invalid if one of them is being erased. No erasure starts before the transaction ends.
    """
    if not lost:
        return
    # An erasure takes this lock exclusively when it starts. So its traces stay those of the erased
    # subject until they are deleted.
    projects = list({project for project, _ in lost})
    await lock_projects_shared(connection, AdvisoryLock.TRACE_OWNERS, projects)
    rows = [(project, owner.kind.value, owner.id) for project, owner in lost]
    if await connection.fetchval(IS_SUBJECT_BEING_ERASED, *arrays(rows)):
        raise trace_was_erased()
