"""Alerts in Postgres: the port."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from asyncpg import Record

from adapters.postgres.database.newest_first import newest_first, page_of
from adapters.postgres.database.pool import OF_PROJECT, Connection, Pool, affected
from adapters.postgres.database.read_transactions import READ_TIMEOUT_S, reading, snapshot
from adapters.postgres.database.removed_projects import not_removed
from adapters.postgres.database.sql_builder import Sql
from adapters.postgres.database.transactions import transaction
from adapters.postgres.evaluation.alerts.alert_rows import (
    ALERTS,
    CHANGES,
    DELIVERIES,
    alert_of,
    alert_row,
    change_of,
    change_row,
    delivery_row,
    insert,
    webhook_of,
)
from adapters.postgres.evaluation.monitors.alert_deletes import drop_changes
from adapters.postgres.evaluation.monitors.monitor_rows import MONITORS, monitor_of
from adapters.postgres.evaluation.monitors.monitors import LOCK as LOCK_MONITOR
from adapters.postgres.evaluation.monitors.monitors import READ as READ_MONITOR
from adapters.postgres.evaluation.work_queue.tally import table_of
from application.evaluation.ports.alerts import (
    BASELINE_RUNS,
    FINISHED_RUNS_MAX,
    ORDER_WAIT_MAX,
    SLOTS_MAX,
    AlertEvaluation,
    AlertEvaluator,
    AlertNotification,
    FinishedRun,
    MonitorSlot,
    deliveries_for,
)
from domain.errors import Conflict, NotFound
from domain.evaluation.monitors.alert import (
    RULES_MAX,
    Alert,
    AlertChange,
    AlertFigure,
    RunMetricStats,
)
from domain.evaluation.monitors.webhook import Webhook
from domain.evaluation.runs.run import RunStatus, TargetType
from domain.evaluation.scores.score import ScoreOutcome
from domain.ids import MonitorId, ProjectId, RunId
from domain.page import Page, PageRequest, Position

ADVICE: Final = "ask for fewer, or try again later"
STEP: Final = 2_000  # changes of one transaction, where they are forgotten

_SHOWN: Final = ALERTS.select()
INSERT: Final = insert(ALERTS)
INSERT_CHANGE: Final = insert(CHANGES)
INSERT_DELIVERY: Final = insert(DELIVERIES)
READ: Final = f"SELECT {_SHOWN} FROM alerts WHERE {OF_PROJECT} AND id = $2"
LOCK: Final = f"{READ} AND monitor_id = $3 FOR UPDATE"
OF_MONITOR: Final = f"""
SELECT {_SHOWN} FROM alerts WHERE {OF_PROJECT} AND monitor_id = $2
ORDER BY created_at, id LIMIT {RULES_MAX}
"""
LOCK_OF_MONITOR: Final = f"""
SELECT {_SHOWN} FROM alerts WHERE {OF_PROJECT} AND monitor_id = $2
ORDER BY project_id, id FOR UPDATE
"""
DELETE: Final = f"DELETE FROM alerts WHERE {OF_PROJECT} AND id = $2"
STAND: Final = f"""
UPDATE alerts SET state = $3, since = $4, in_a_row = $5, value = $6 WHERE {OF_PROJECT} AND id = $2
"""
# Alerts and their changes stay with a monitor that is there: its removal waits, and takes them.
HOLD_MONITOR: Final = f"SELECT id FROM monitors WHERE {OF_PROJECT} AND id = $2 FOR SHARE"
SLOTS: Final = f"""
SELECT a.id AS alert_id, a.awaits, {MONITORS.select("m")}
FROM alerts AS a CROSS JOIN LATERAL (
  SELECT * FROM monitors WHERE project_id = a.project_id AND id = a.monitor_id
) AS m
WHERE a.figure = '{AlertFigure.NO_DATA}' AND m.next_run_at IS DISTINCT FROM a.awaits
  AND {not_removed("a")}
ORDER BY a.project_id, a.id LIMIT {SLOTS_MAX}
"""
PASSED: Final = f"""
UPDATE alerts SET awaits = $4 WHERE {OF_PROJECT} AND id = $2 AND awaits IS NOT DISTINCT FROM $3
RETURNING {_SHOWN}
"""
_BY_ITSELF: Final = f"status IN ('{RunStatus.COMPLETED}', '{RunStatus.FAILED}')"
LOOKED_AT: Final = f"""
UPDATE eval_runs AS own SET assessed_at = $4
WHERE {OF_PROJECT} AND id = $2 AND monitor_id = $3 AND assessed_at IS NULL AND {_BY_ITSELF}
  AND NOT EXISTS (
    SELECT FROM eval_runs
    WHERE {OF_PROJECT} AND monitor_id = $3 AND assessed_at IS NULL AND {_BY_ITSELF}
      AND (completed_at, id) < (own.completed_at, own.id) AND completed_at > $5
  )
"""
_ENDED: Final = f"""
SELECT project_id, id, monitor_id, target_type, completed_at FROM eval_runs
WHERE monitor_id IS NOT NULL AND assessed_at IS NULL AND {_BY_ITSELF} AND {not_removed("eval_runs")}
"""
_IN_ORDER: Final = f"ORDER BY completed_at, project_id, id LIMIT {FINISHED_RUNS_MAX}"
ENDED: Final = f"{_ENDED} {_IN_ORDER}"
ENDED_AFTER: Final = f"{_ENDED} AND (completed_at, project_id, id) > ($1, $2, $3) {_IN_ORDER}"
RUN_AND_BEFORE: Final = f"""
SELECT id FROM (
  SELECT id, created_at FROM eval_runs
  WHERE {OF_PROJECT} AND monitor_id = $2 AND {_BY_ITSELF} AND (created_at, id) <= (
    SELECT created_at, id FROM eval_runs WHERE {OF_PROJECT} AND id = $3
  )
  ORDER BY created_at DESC, id DESC LIMIT {BASELINE_RUNS + 1}
) AS lately ORDER BY created_at DESC, id DESC
"""
MEASURED: Final = f"""
SELECT
  count(number) FILTER (WHERE outcome = '{ScoreOutcome.SCORED}') AS scored,
  coalesce(avg(number) FILTER (WHERE outcome = '{ScoreOutcome.SCORED}'), 0) AS mean,
  count(*) FILTER (WHERE outcome = '{ScoreOutcome.SCORED}' AND number >= $4) AS passed,
  count(*) FILTER (WHERE outcome = '{ScoreOutcome.FAILED}') AS failed,
  count(*) FILTER (WHERE outcome = '{ScoreOutcome.SKIPPED}') AS skipped
FROM {{table}} WHERE {OF_PROJECT} AND run_id = $2 AND name = $3
"""
WEBHOOKS: Final = f"""
SELECT project_id, id, url, secret, created_at FROM webhooks WHERE {OF_PROJECT}
ORDER BY project_id, id FOR SHARE
"""
# Across projects.
FORGET: Final = f"""
DELETE FROM alert_changes WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM alert_changes WHERE at < $1 LIMIT {STEP} FOR UPDATE SKIP LOCKED
))
"""


@dataclass(frozen=True, slots=True)
class PostgresAlerts:
    """Each list is of one moment, and takes `timeout_s` at most."""

    pool: Pool
    timeout_s: float = READ_TIMEOUT_S

    async def create(self, alert: Alert) -> Alert:
        async with transaction(self.pool) as connection:
            await _monitor(connection, LOCK_MONITOR, alert.project_id, alert.monitor_id)
            known = await connection.fetchrow(READ, alert.project_id, alert.id)
            if known is not None:
                return alert_of(known)
            there = await connection.fetch(OF_MONITOR, alert.project_id, alert.monitor_id)
            if len(there) >= RULES_MAX:
                raise Conflict(f"A monitor has {RULES_MAX} alerts at most: delete one first")
            await connection.execute(INSERT, *alert_row(alert))
            return alert

    async def of_monitor(self, project: ProjectId, monitor: MonitorId) -> Sequence[Alert]:
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            await _monitor(connection, READ_MONITOR, project, monitor)
            rows = await connection.fetch(OF_MONITOR, project, monitor)
        return [alert_of(row) for row in rows]

    async def delete(self, project: ProjectId, monitor: MonitorId, alert: UUID) -> bool:
        async with transaction(self.pool) as connection:
            if await connection.fetchrow(LOCK, project, alert, monitor) is None:
                return False
            await drop_changes(connection, project, "alert_id", alert)
            return await connection.execute(DELETE, project, alert) == "DELETE 1"

    async def changes(
        self, project: ProjectId, monitor: MonitorId, window: PageRequest
    ) -> Page[AlertChange]:
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            await _monitor(connection, READ_MONITOR, project, monitor)
            ordered = newest_first(project, CHANGES.name, CHANGES.names, window, by="at")
            found = await page_of(connection, ordered, [Sql("monitor_id = {}", (monitor,))])
        shown = [change_of(row) for row in found.rows[: window.limit]]
        has_more = len(found.rows) > len(shown)
        return Page(shown, found.total, Position(shown[-1].at, shown[-1].id) if has_more else None)

    async def list_finished_runs(self, after: FinishedRun | None = None) -> Sequence[FinishedRun]:
        async with reading(self.pool, ADVICE, self.timeout_s) as connection:
            if after is None:
                rows = await connection.fetch(ENDED)
            else:
                rows = await connection.fetch(ENDED_AFTER, after.at, after.project, after.run)
        return [
            FinishedRun(
                ProjectId(row["project_id"]),
                MonitorId(row["monitor_id"]),
                RunId(row["id"]),
                TargetType(row["target_type"]),
                row["completed_at"],
            )
            for row in rows
        ]

    async def metric_stats(
        self, ended: FinishedRun, metric: str, threshold: float
    ) -> Sequence[RunMetricStats]:
        sql = MEASURED.format(table=table_of(ended.of).name)
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            runs = await connection.fetch(RUN_AND_BEFORE, ended.project, ended.monitor, ended.run)
            rows = [
                await connection.fetchrow(sql, ended.project, run["id"], metric, threshold)
                for run in runs
            ]
        return [RunMetricStats(**row) for row in rows if row is not None]

    async def apply_run(self, ended: FinishedRun, assess: AlertEvaluator, now: datetime) -> bool:
        async with transaction(self.pool) as connection:
            if await connection.fetchrow(HOLD_MONITOR, ended.project, ended.monitor) is None:
                return False
            run = (ended.project, ended.run, ended.monitor)
            if (
                await connection.execute(LOOKED_AT, *run, now, ended.at - ORDER_WAIT_MAX)
                != "UPDATE 1"
            ):
                return False
            rows = await connection.fetch(LOCK_OF_MONITOR, ended.project, ended.monitor)
            found = assess([alert_of(row) for row in rows])
            await _keep(connection, ended.project, found, now)
            return True

    async def list_passed_slots(self, now: datetime) -> Sequence[MonitorSlot]:
        async with reading(self.pool, ADVICE, self.timeout_s) as connection:
            rows = await connection.fetch(SLOTS)
        return [_slot_of(row, now) for row in rows]

    async def apply_slot(self, slot: MonitorSlot, assess: AlertEvaluator, now: datetime) -> bool:
        moved = (slot.alert, slot.awaited, slot.following)
        async with transaction(self.pool) as connection:
            row = await connection.fetchrow(PASSED, slot.project, *moved)
            if row is not None and slot.quiet:
                await _keep(connection, slot.project, assess([alert_of(row)]), now)
        return row is not None

    async def delete_changes(self, before: datetime) -> int:
        async with transaction(self.pool) as connection:
            return affected(await connection.execute(FORGET, before))


async def _monitor(
    connection: Connection, sql: str, project: ProjectId, monitor: MonitorId
) -> None:
    if await connection.fetchrow(sql, project, monitor) is None:
        raise NotFound("Monitor not found")


def _slot_of(row: Record, now: datetime) -> MonitorSlot:
    monitor, awaited = monitor_of(row), row["awaits"]
    quiet = awaited is not None and monitor.skipped_slot(awaited, now)
    return MonitorSlot(monitor.project_id, row["alert_id"], awaited, monitor.next_run_at, quiet)


async def _keep(
    connection: Connection, project: ProjectId, found: Sequence[AlertEvaluation], now: datetime
) -> None:
    """Stores how locked alerts stand, and their notices."""
    for one in found:
        watch = one.alert.watch
        stands = (watch.state, watch.since, watch.consecutive, watch.value)
        await connection.execute(STAND, project, one.alert.id, *stands)
    notices = [one.notice for one in found if one.notice is not None]
    if notices:
        webhooks = [webhook_of(row) for row in await connection.fetch(WEBHOOKS, project)]
        for notice in notices:
            await _tell(connection, notice, webhooks, now)


async def _tell(
    connection: Connection, notice: AlertNotification, webhooks: Sequence[Webhook], now: datetime
) -> None:
    await connection.execute(INSERT_CHANGE, *change_row(notice.change))
    for one in deliveries_for(notice, webhooks, now):  # WEBHOOKS_MAX at most
        await connection.execute(INSERT_DELIVERY, *delivery_row(one))
