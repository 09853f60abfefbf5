"""Reads what happened in several projects lately, from roll-ups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import Connection, is_distributed
from adapters.postgres.database.read_transactions import RETRY_LATER, PoolReader
from domain.evaluation.alerts.alert import AlertState
from domain.ids import ProjectId
from domain.tracing.analytics import Period
from domain.tracing.project_activity import HourActivity, ProjectActivity, project_activity

SELECT_HOURS: Final = """
SELECT project_id, hour, trace_count, error_count FROM trace_hours
WHERE project_id = ANY($1::uuid[]) AND hour >= $2 AND hour < $3 AND trace_count > 0
"""
SELECT_COSTS: Final = """
SELECT project_id, sum(cost) AS cost, sum(unpriced_span_count)::bigint AS unpriced
FROM usage_hours
WHERE project_id = ANY($1::uuid[]) AND hour >= $2 AND hour < $3
GROUP BY project_id
"""
SELECT_ALERTING: Final = f"""
SELECT project_id, count(*) AS alerting FROM alerts
WHERE project_id = ANY($1::uuid[]) AND state = '{AlertState.ALERTING}'
GROUP BY project_id
"""
# One look-up at the end of an index for each project; traces that are being erased are passed over.
_IS_ERASED: Final = """
EXISTS (
  SELECT 1 FROM erasures
  WHERE erasures.project_id = traces.project_id AND erasures.owner IS NOT NULL
    AND erasures.owner = CASE erasures.kind WHEN 'user' THEN traces.user_id
                                            ELSE traces.session_id END
)
"""
_LAST_TRACE: Final = f"""
SELECT project_id, started_at FROM traces
WHERE project_id = {{project}} AND NOT {_IS_ERASED}
ORDER BY started_at DESC LIMIT 1
"""
SELECT_LAST_TRACES: Final = f"""
SELECT last.* FROM unnest($1::uuid[]) AS wanted (id)
CROSS JOIN LATERAL ({_LAST_TRACE.format(project="wanted.id")}) AS last
"""
SELECT_LAST_TRACE: Final = _LAST_TRACE.format(project="$1")


@dataclass(frozen=True, slots=True)
class PostgresProjectActivities(PoolReader):
    """All projects are from one snapshot."""

    async def read(
        self, projects: Sequence[ProjectId], period: Period
    ) -> Mapping[ProjectId, ProjectActivity]:
        bounds = (period.after, period.before)
        async with self._snapshot(RETRY_LATER, projects) as connection:
            hours = _by_project(await connection.fetch(SELECT_HOURS, projects, *bounds))
            costs = _by_project(await connection.fetch(SELECT_COSTS, projects, *bounds))
            alerts = _by_project(await connection.fetch(SELECT_ALERTING, projects))
            last = await _last_traces(connection, projects)
        return {
            one: project_activity(
                period,
                [_hour_from_row(row) for row in hours.get(one, ())],
                cost=costs[one][0]["cost"] if one in costs else Decimal(0),
                unpriced_span_count=costs[one][0]["unpriced"] if one in costs else 0,
                last_trace_at=last.get(one),
                alerting_count=alerts[one][0]["alerting"] if one in alerts else 0,
            )
            for one in projects
        }


async def _last_traces(
    connection: Connection, projects: Sequence[ProjectId]
) -> Mapping[ProjectId, datetime]:
    if is_distributed(connection):  # Citus looks up the last row of one tenant at a time
        found = [await connection.fetchrow(SELECT_LAST_TRACE, one) for one in projects]
        rows = [row for row in found if row is not None]
    else:
        rows = await connection.fetch(SELECT_LAST_TRACES, projects)
    return {ProjectId(row["project_id"]): row["started_at"] for row in rows}


def _by_project(rows: Sequence[Record]) -> Mapping[ProjectId, Sequence[Record]]:
    found: dict[ProjectId, list[Record]] = {}
    for row in rows:
        found.setdefault(ProjectId(row["project_id"]), []).append(row)
    return found


def _hour_from_row(row: Record) -> HourActivity:
    return HourActivity(
        hour=row["hour"], trace_count=row["trace_count"], error_count=row["error_count"]
    )
