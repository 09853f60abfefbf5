"""Custom metrics of projects."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.advisory_locks import AdvisoryLock
from adapters.postgres.database.pool import IN_PROJECT, Connection, require_row
from adapters.postgres.database.read_transactions import RETRY_LATER, PoolReader
from adapters.postgres.database.transactions import project_transaction, transaction
from adapters.postgres.evaluation.custom_metrics.definition_rows import (
    METRICS,
    REVISIONS,
    metric_from_row,
    metric_row,
    revision_from_row,
    revision_row,
)
from domain.errors import Conflict
from domain.evaluation.custom_metrics.custom_metric import (
    METRICS_MAX,
    REVISIONS_MAX,
    TOO_MANY_METRICS,
    CustomMetric,
    Revision,
)
from domain.ids import ProjectId

INSERT_METRIC: Final = METRICS.insert()
INSERT_REVISION: Final = REVISIONS.insert()
_FROM_METRICS: Final = f"FROM custom_metrics WHERE {IN_PROJECT}"
# A lateral join reads each revision by its key, whatever the statistics say.
_SELECT_METRICS: Final = f"""
SELECT m.*, r.kind, r.description, r.threshold, r.body, r.created_at AS revised_at
FROM (SELECT {METRICS.select()} {_FROM_METRICS} {{which}}) AS m CROSS JOIN LATERAL (
  SELECT * FROM custom_metric_revisions
  WHERE project_id = m.project_id AND name = m.name AND revision = m.revision OFFSET 0
) AS r
"""
SELECT_METRIC: Final = _SELECT_METRICS.format(which="AND name = $2")
SELECT_METRICS: Final = (
    f"{_SELECT_METRICS.format(which=f'ORDER BY name LIMIT {METRICS_MAX}')} ORDER BY m.name"
)
SELECT_METRICS_BY_NAME: Final = _SELECT_METRICS.format(which="AND name = ANY($2::text[])")
LOCK_METRIC: Final = f"SELECT {_FROM_METRICS} AND name = $2 FOR UPDATE"
UPDATE_METRIC: Final = f"""
UPDATE custom_metrics SET archived_at = $3, revision = $4 WHERE {IN_PROJECT} AND name = $2
"""
SELECT_REVISIONS: Final = f"""
SELECT {REVISIONS.select()} FROM custom_metric_revisions
WHERE {IN_PROJECT} AND name = $2 ORDER BY revision DESC LIMIT {REVISIONS_MAX}
"""


@dataclass(frozen=True, slots=True)
class PostgresCustomMetrics(PoolReader):
    """Each read is from one snapshot."""

    async def create(self, metric: CustomMetric) -> CustomMetric:
        project = metric.project_id
        lock = AdvisoryLock.CUSTOM_METRICS
        async with project_transaction(self.pool, lock, project) as connection:
            ours = [metric_from_row(row) for row in await connection.fetch(SELECT_METRICS, project)]
            known = next((one for one in ours if one.id == metric.id), None)
            if known is not None:
                return known
            if any(one.name == metric.name for one in ours):
                raise Conflict(f"There is a metric {metric.name} already")
            if len(ours) >= METRICS_MAX:
                raise Conflict(TOO_MANY_METRICS)
            await connection.execute(INSERT_METRIC, *metric_row(metric))
            await connection.execute(INSERT_REVISION, *revision_row(metric))
            return metric

    async def get(self, project: ProjectId, name: str) -> CustomMetric:
        async with self._statement(RETRY_LATER, project) as connection:
            return await _fetch_metric(connection, project, name)

    async def all(self, project: ProjectId) -> Sequence[CustomMetric]:
        rows = await self._fetch(RETRY_LATER, project, SELECT_METRICS, project)
        return [metric_from_row(row) for row in rows]

    async def by_names(
        self, project: ProjectId, names: Sequence[str]
    ) -> Mapping[str, CustomMetric]:
        rows = await self._fetch(RETRY_LATER, project, SELECT_METRICS_BY_NAME, project, list(names))
        return {row["name"]: metric_from_row(row) for row in rows}

    async def revisions(self, project: ProjectId, name: str) -> Sequence[Revision]:
        async with self._snapshot(RETRY_LATER, project) as connection:
            await _fetch_metric(connection, project, name)
            rows = await connection.fetch(SELECT_REVISIONS, project, name)
        return [revision_from_row(row) for row in rows]

    async def edit(
        self, project: ProjectId, name: str, edit: Callable[[CustomMetric], CustomMetric]
    ) -> CustomMetric:
        async with transaction(self.pool, project) as connection:
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
    return metric_from_row(require_row(row, "Metric not found"))
