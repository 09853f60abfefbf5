"""Custom metrics of projects."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.advice import RETRY_LATER
from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_project
from adapters.postgres.database.pool import OF_PROJECT, Connection, Pool
from adapters.postgres.database.read_transactions import (
    READ_TIMEOUT_S,
    read_connection,
    read_snapshot,
)
from adapters.postgres.database.removed_projects import check_not_removed
from adapters.postgres.database.transactions import transaction
from adapters.postgres.evaluation.custom_metrics.definition_rows import (
    METRIC_COLUMNS,
    REVISION_COLUMNS,
    metric_from_row,
    metric_row,
    revision_from_row,
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

INSERT_METRIC: Final = f"""
INSERT INTO custom_metrics ({", ".join(METRIC_COLUMNS)}) VALUES ($1, $2, $3, $4, $5, $6)
"""
INSERT_REVISION: Final = f"""
INSERT INTO custom_metric_revisions ({", ".join(REVISION_COLUMNS)})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
_FROM_METRICS: Final = f"FROM custom_metrics WHERE {OF_PROJECT}"
# A lateral join reads each revision by its key, whatever the statistics say.
_SELECT_METRICS: Final = f"""
SELECT m.*, r.kind, r.description, r.threshold, r.body, r.created_at AS revised_at
FROM (SELECT {", ".join(METRIC_COLUMNS)} {_FROM_METRICS} {{which}}) AS m CROSS JOIN LATERAL (
  SELECT * FROM custom_metric_revisions
  WHERE project_id = m.project_id AND name = m.name AND revision = m.revision
) AS r
"""
SELECT_METRIC: Final = _SELECT_METRICS.format(which="AND name = $2")
SELECT_METRICS: Final = (
    f"{_SELECT_METRICS.format(which=f'ORDER BY name LIMIT {METRICS_MAX}')} ORDER BY m.name"
)
SELECT_METRICS_BY_NAME: Final = _SELECT_METRICS.format(which="AND name = ANY($2::text[])")
LOCK_METRIC: Final = f"SELECT {_FROM_METRICS} AND name = $2 FOR UPDATE"
UPDATE_METRIC: Final = f"""
UPDATE custom_metrics SET archived_at = $3, revision = $4 WHERE {OF_PROJECT} AND name = $2
"""
SELECT_REVISIONS: Final = f"""
SELECT {", ".join(REVISION_COLUMNS)} FROM custom_metric_revisions
WHERE {OF_PROJECT} AND name = $2 ORDER BY revision DESC LIMIT {REVISIONS_MAX}
"""


@dataclass(frozen=True, slots=True)
class PostgresCustomMetrics:
    """Each read is from one snapshot, and takes at most `timeout_s`."""

    pool: Pool
    timeout_s: float = READ_TIMEOUT_S

    async def create(self, metric: CustomMetric) -> CustomMetric:
        project = metric.project_id
        async with transaction(self.pool) as connection:
            await lock_project(connection, AdvisoryLock.CUSTOM_METRICS, project)
            await check_not_removed(connection, project)
            ours = [metric_from_row(row) for row in await connection.fetch(SELECT_METRICS, project)]
            known = next((one for one in ours if one.id == metric.id), None)
            if known is not None:
                return known
            if any(one.name == metric.name for one in ours):
                raise Conflict(f"There is a metric {metric.name} already")
            if len(ours) >= METRICS_MAX:
                raise Conflict(f"A project has {METRICS_MAX} metrics of its own at most")
            await connection.execute(INSERT_METRIC, *metric_row(metric))
            await connection.execute(INSERT_REVISION, *revision_row(metric))
            return metric

    async def get(self, project: ProjectId, name: str) -> CustomMetric:
        async with read_connection(self.pool, RETRY_LATER, self.timeout_s) as connection:
            return await _fetch_metric(connection, project, name)

    async def all(self, project: ProjectId) -> Sequence[CustomMetric]:
        async with read_connection(self.pool, RETRY_LATER, self.timeout_s) as connection:
            return [metric_from_row(row) for row in await connection.fetch(SELECT_METRICS, project)]

    async def by_names(
        self, project: ProjectId, names: Sequence[str]
    ) -> Mapping[str, CustomMetric]:
        async with read_connection(self.pool, RETRY_LATER, self.timeout_s) as connection:
            rows = await connection.fetch(SELECT_METRICS_BY_NAME, project, list(names))
        return {row["name"]: metric_from_row(row) for row in rows}

    async def revisions(self, project: ProjectId, name: str) -> Sequence[Revision]:
        async with read_snapshot(self.pool, RETRY_LATER, self.timeout_s) as connection:
            await _fetch_metric(connection, project, name)
            rows = await connection.fetch(SELECT_REVISIONS, project, name)
        return [revision_from_row(row) for row in rows]

    async def edit(
        self, project: ProjectId, name: str, edit: Callable[[CustomMetric], CustomMetric]
    ) -> CustomMetric:
        async with transaction(self.pool) as connection:
            await connection.execute(LOCK_METRIC, project, name)
            known = await _fetch_metric(connection, project, name)
            edited = edit(known)
            if edited.newest.revision != known.newest.revision:
                await connection.execute(INSERT_REVISION, *revision_row(edited))
            if edited != known:
                values = (edited.archived_at, edited.newest.revision)
                await connection.execute(UPDATE_METRIC, project, name, *values)
            return edited


async def _fetch_metric(connection: Connection, project: ProjectId, name: str) -> CustomMetric:
    row = await connection.fetchrow(SELECT_METRIC, project, name)
    if row is None:
        raise NotFound("Metric not found")
    return metric_from_row(row)
