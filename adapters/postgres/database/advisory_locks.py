"""The advisory locks of PostgreSQL: all in one enum, so that no two features share a number."""

from collections.abc import Sequence
from enum import IntEnum, unique
from typing import Final
from uuid import UUID

from adapters.postgres.database.pool import Connection, is_distributed
from domain.ids import OrganizationId, ProjectId


@unique
class AdvisoryLock(IntEnum):
    """The number of each lock, and what the lock serialises.

    PostgreSQL keeps two spaces of keys apart: a key of two 32-bit numbers, and of one 64-bit
    number. The locks of a project or organization are of the first kind: the number of the lock and
    a hash of the id. The locks of the installation are of the second kind; their numbers are large
    because other applications on the same database may use small ones.
    """

    # Held for one project until the transaction ends.
    DISPATCH = 71  # queueing targets of the project's runs: together they stay within the window
    WEBHOOKS = 72  # creating webhooks: each request counts those that the one before has created
    EXPORTS = 73  # requesting exports: each request counts those that the one before has added
    REPRICINGS = 74  # starting a repricing: each request sees the one that is under way
    CUSTOM_METRICS = 75  # creating custom metrics: each request counts those made before it
    TRACE_OWNERS = 76  # starting an erasure (exclusive), and taking traces from an owner (shared)
    MODEL_PRICES = 77  # creating model prices: each request counts those made before it
    EXPERIMENTS = 70  # creating experiments: each request counts those made before it
    ANNOTATION_CLAIMS = 80  # claiming items to label: each request sees the claims before it
    SEARCH_INDEX = 81  # storing what workers have indexed: each finds the rows of those before it
    DATASETS = 79  # creating datasets: each request counts those made before it
    WAITING_EVALUATIONS = 82  # storing those that wait: each request counts those before it

    # Held for one organization until the transaction ends.
    PROJECTS = 78  # creating projects: each request counts those made before it
    REFUSALS = 83  # adding the refusals that a process counted: each sees those of the others

    # Held for the whole installation.
    MIGRATIONS = 5_071_840_223  # running migrations; a session lock
    SCHEDULER_LEADER = 5_071_840_224  # scheduling monitors; held by a transaction that stays open


LOCK_TENANT: Final = "SELECT pg_advisory_xact_lock($1, hashtext($2::uuid::text))"
# Sorted, so that two transactions never wait for each other.
_KEYS: Final = """
FROM (SELECT DISTINCT hashtext(p::text) AS key FROM unnest($2::uuid[]) AS p ORDER BY key) AS keys
"""
LOCK_PROJECTS: Final = f"SELECT pg_advisory_xact_lock($1, key) {_KEYS}"
LOCK_PROJECTS_SHARED: Final = f"SELECT pg_advisory_xact_lock_shared($1, key) {_KEYS}"
# With Citus a process is connected to the coordinator or to a worker, and each node has locks of
# its own. A statement runs where its table is: these take the lock of the coordinator, and that of
# the worker of the group. That of the coordinator alone may be free before the worker has
# committed. That of the worker alone doesn't hold while the group moves to another (docs/adr/0067).
_AT_COORDINATOR: Final = "(SELECT 1 FROM table_groups WHERE number = 1) AS here"
_AT_WORKER: Final = "(SELECT count(*) FROM (SELECT 1 FROM removals LIMIT 1) AS one) AS here"


def on_nodes(lock: str, *places: str) -> list[str]:
    """The statement once for each place."""
    joined = "CROSS JOIN" if " FROM " in lock else "FROM"
    return [f"{lock} {joined} {place}" for place in places]


NODES_OF_PROJECTS: Final = (_AT_COORDINATOR, _AT_WORKER)


async def lock_project(connection: Connection, lock: AdvisoryLock, project: ProjectId) -> None:
    """Waits for the lock of the project, and holds it until the transaction ends."""
    await _lock(connection, LOCK_TENANT, lock, project)


async def lock_organization(
    connection: Connection, lock: AdvisoryLock, organization: OrganizationId
) -> None:
    """As `lock_project` for an organization. Its row stays unlocked.

    For statements through the coordinator, which has the tables of organizations.
    """
    await connection.execute(LOCK_TENANT, lock, organization)


async def lock_organizations(
    connection: Connection, lock: AdvisoryLock, organizations: Sequence[UUID]
) -> None:
    """As `lock_organization` for several ones."""
    await connection.execute(LOCK_PROJECTS, lock, organizations)


async def lock_projects(
    connection: Connection, lock: AdvisoryLock, projects: Sequence[ProjectId]
) -> None:
    """Waits for the lock of all the projects, and holds it until the transaction ends."""
    await _lock(connection, LOCK_PROJECTS, lock, projects)


async def lock_projects_shared(
    connection: Connection, lock: AdvisoryLock, projects: Sequence[ProjectId]
) -> None:
    """As `lock_project` for several projects. Shared holders wait for exclusive ones only."""
    await _lock(connection, LOCK_PROJECTS_SHARED, lock, projects)


async def _lock(connection: Connection, sql: str, lock: AdvisoryLock, tenants: object) -> None:
    is_plain = not is_distributed(connection)
    for statement in [sql] if is_plain else on_nodes(sql, *NODES_OF_PROJECTS):
        await connection.execute(statement, lock, tenants)
