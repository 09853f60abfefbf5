"""A project's own metrics in Postgres: the port."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_project
from adapters.postgres.database.pool import OF_PROJECT, Connection, Pool
from adapters.postgres.database.read_transactions import READ_TIMEOUT_S, reading, snapshot
from adapters.postgres.database.removed_projects import check_not_removed
from adapters.postgres.database.transactions import transaction
from adapters.postgres.evaluation.custom_metrics.definition_rows import (
    METRIC_COLUMNS,
    REVISION_COLUMNS,
    metric_of,
    metric_row,
    revision_of,
    revision_row,
)
from domain.errors import Conflict, NotFound
from domain.evaluation.custom_metrics.custom_metric import (
    METRICS_MAX,
    REVISIONS_MAX,
    CustomMetric,
    Revision,
)
from domain.ids import ProjectId

ADVICE: Final = "try again later"

INSERT: Final = f"""
INSERT INTO custom_metrics ({", ".join(METRIC_COLUMNS)}) VALUES ($1, $2, $3, $4, $5, $6)
"""
INSERT_REVISION: Final = f"""
INSERT INTO custom_metric_revisions ({", ".join(REVISION_COLUMNS)})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
HELD: Final = f"FROM custom_metrics WHERE {OF_PROJECT}"
# By the key of each revision, whatever statistics say.
SHOWN: Final = f"""
SELECT m.*, r.kind, r.description, r.threshold, r.body, r.created_at AS revised_at
FROM (SELECT {", ".join(METRIC_COLUMNS)} {HELD} {{which}}) AS m CROSS JOIN LATERAL (
  SELECT * FROM custom_metric_revisions
  WHERE project_id = m.project_id AND name = m.name AND revision = m.revision
) AS r
"""
READ: Final = SHOWN.format(which="AND name = $2")
ALL: Final = f"{SHOWN.format(which=f'ORDER BY name LIMIT {METRICS_MAX}')} ORDER BY m.name"
NAMED: Final = SHOWN.format(which="AND name = ANY($2::text[])")
LOCK: Final = f"SELECT {HELD} AND name = $2 FOR UPDATE"
PUT: Final = f"""
UPDATE custom_metrics SET archived_at = $3, revision = $4 WHERE {OF_PROJECT} AND name = $2
"""
REVISIONS: Final = f"""
SELECT {", ".join(REVISION_COLUMNS)} FROM custom_metric_revisions
WHERE {OF_PROJECT} AND name = $2 ORDER BY revision DESC LIMIT {REVISIONS_MAX}
"""


@dataclass(frozen=True, slots=True)
class PostgresCustomMetrics:
    """Each read is of one moment, and takes `timeout_s` at most."""

    pool: Pool
    timeout_s: float = READ_TIMEOUT_S

    async def create(self, metric: CustomMetric) -> CustomMetric:
        project = metric.project_id
        async with transaction(self.pool) as connection:
            await lock_project(connection, AdvisoryLock.CUSTOM_METRICS, project)
            await check_not_removed(connection, project)
            ours = [metric_of(row) for row in await connection.fetch(ALL, project)]
            known = next((one for one in ours if one.id == metric.id), None)
            if known is not None:
                return known
            if any(one.name == metric.name for one in ours):
                raise Conflict(f"There is a metric {metric.name} already")
            if len(ours) >= METRICS_MAX:
                raise Conflict(f"A project has {METRICS_MAX} metrics of its own at most")
            await connection.execute(INSERT, *metric_row(metric))
            await connection.execute(INSERT_REVISION, *revision_row(metric))
            return metric

    async def get(self, project: ProjectId, name: str) -> CustomMetric:
        async with reading(self.pool, ADVICE, self.timeout_s) as connection:
            return await _read(connection, project, name)

    async def all(self, project: ProjectId) -> Sequence[CustomMetric]:
        async with reading(self.pool, ADVICE, self.timeout_s) as connection:
            return [metric_of(row) for row in await connection.fetch(ALL, project)]

    async def by_names(
        self, project: ProjectId, names: Sequence[str]
    ) -> Mapping[str, CustomMetric]:
        async with reading(self.pool, ADVICE, self.timeout_s) as connection:
            rows = await connection.fetch(NAMED, project, list(names))
        return {row["name"]: metric_of(row) for row in rows}

    async def revisions(self, project: ProjectId, name: str) -> Sequence[Revision]:
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            await _read(connection, project, name)
            rows = await connection.fetch(REVISIONS, project, name)
        return [revision_of(row) for row in rows]

    async def edit(
        self, project: ProjectId, name: str, edit: Callable[[CustomMetric], CustomMetric]
    ) -> CustomMetric:
        async with transaction(self.pool) as connection:
            await connection.execute(LOCK, project, name)
            known = await _read(connection, project, name)
            edited = edit(known)
            if edited.newest.revision != known.newest.revision:
                await connection.execute(INSERT_REVISION, *revision_row(edited))
            if edited != known:
                now = (edited.archived_at, edited.newest.revision)
                await connection.execute(PUT, project, name, *now)
            return edited


async def _read(connection: Connection, project: ProjectId, name: str) -> CustomMetric:
    row = await connection.fetchrow(READ, project, name)
    if row is None:
        raise NotFound("Metric not found")
    return metric_of(row)
