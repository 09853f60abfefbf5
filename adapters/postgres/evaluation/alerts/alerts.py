"""Alerts and their state changes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection, affected_rows, require_row
from adapters.postgres.database.read_transactions import ASK_FOR_FEWER, PoolReader
from adapters.postgres.database.removed_projects import not_removed
from adapters.postgres.database.statements.bounded_delete import delete_some
from adapters.postgres.database.statements.keyset_pages import KeysetQuery
from adapters.postgres.database.statements.sql_builder import Sql
from adapters.postgres.database.tenants import ALL_TENANTS
from adapters.postgres.database.transactions import transaction
from adapters.postgres.evaluation.alerts.alert_rows import (
    ALERTS,
    CHANGES,
    DELIVERIES,
    WEBHOOKS,
    alert_from_row,
    alert_row,
    change_from_row,
    change_row,
    delivery_row,
    webhook_from_row,
)
from adapters.postgres.evaluation.monitors.monitor_rows import MONITORS, monitor_from_row
from adapters.postgres.evaluation.monitors.monitors import (
    LOCK_MONITOR,
    MONITOR_NOT_FOUND,
    SELECT_MONITOR,
    delete_changes,
)
from adapters.postgres.evaluation.scores.agreement import JUDGE_VALUE
from adapters.postgres.evaluation.scores.score_rows import SCORE_TABLES
from adapters.postgres.identity.audit_log import store_audit_entry
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
from domain.errors import Conflict
from domain.evaluation.alerts.alert import (
    RULES_MAX,
    Alert,
    AlertChange,
    AlertFigure,
    AlertState,
    FinishedRunStats,
    RunMetricStats,
)
from domain.evaluation.alerts.alert_message import AlertNames
from domain.evaluation.alerts.webhook import Webhook
from domain.evaluation.metrics.metric import PRECHECK_PATTERN
from domain.evaluation.monitors.monitor import Monitor
from domain.evaluation.runs.run import RunStatus, TargetType
from domain.evaluation.scores.score import ScoreOutcome
from domain.identity.audit import AuditEntry
from domain.ids import MonitorId, ProjectId, RunId
from domain.page import Page, PageRequest, Position

CHANGES_PER_DELETE: Final = 2_000  # changes that one transaction deletes

_SELECT_LIST: Final = ALERTS.select()
INSERT_ALERT: Final = ALERTS.insert_if_new()
INSERT_CHANGE: Final = CHANGES.insert_if_new()
INSERT_DELIVERY: Final = DELIVERIES.insert_if_new()
SELECT_ALERT: Final = f"SELECT {_SELECT_LIST} FROM alerts WHERE {IN_PROJECT} AND id = $2"
LOCK_ALERT: Final = f"{SELECT_ALERT} AND monitor_id = $3 FOR UPDATE"
SELECT_ALERTS_OF_MONITOR: Final = f"""
SELECT {_SELECT_LIST} FROM alerts WHERE {IN_PROJECT} AND monitor_id = $2
ORDER BY created_at, id LIMIT {RULES_MAX}
"""
LOCK_ALERTS_OF_MONITOR: Final = f"""
SELECT {_SELECT_LIST} FROM alerts WHERE {IN_PROJECT} AND monitor_id = $2
ORDER BY project_id, id FOR UPDATE
"""
# Two statements: with Citus no statement reads tables of projects with others.
SELECT_PROJECT_NAME: Final = "SELECT name FROM projects WHERE id = $1"
SELECT_MONITOR_NAME: Final = "SELECT name FROM monitors WHERE project_id = $1 AND id = $2"
DELETE_ALERT: Final = f"DELETE FROM alerts WHERE {IN_PROJECT} AND id = $2"
UPDATE_ALERT_RULE: Final = f"""
UPDATE alerts SET threshold = $3, clear_at = $4, samples_min = $5, breaches = $6, recoveries = $7,
  in_a_row = $8
WHERE {IN_PROJECT} AND id = $2
"""
UPDATE_ALERT_PROGRESS: Final = f"""
UPDATE alerts SET state = $3, since = $4, in_a_row = $5, value = $6 WHERE {IN_PROJECT} AND id = $2
"""
# Alerts and their changes need their monitor: its delete waits, and then deletes them.
LOCK_MONITOR_SHARED: Final = f"SELECT id FROM monitors WHERE {IN_PROJECT} AND id = $2 FOR SHARE"
SELECT_MONITOR_SLOTS: Final = f"""
SELECT a.id AS alert_id, a.awaits, {MONITORS.select("m")}
FROM alerts AS a CROSS JOIN LATERAL (
  SELECT * FROM monitors WHERE project_id = a.project_id AND id = a.monitor_id
) AS m
WHERE a.figure = '{AlertFigure.NO_DATA}' AND m.next_run_at IS DISTINCT FROM a.awaits
  AND {not_removed("a")}
ORDER BY a.project_id, a.id LIMIT {SLOTS_MAX}
"""
ADVANCE_SLOT: Final = f"""
UPDATE alerts SET awaits = $4 WHERE {IN_PROJECT} AND id = $2 AND awaits IS NOT DISTINCT FROM $3
RETURNING {_SELECT_LIST}
"""
_HAS_FINISHED: Final = f"status IN ('{RunStatus.COMPLETED}', '{RunStatus.FAILED}')"
MARK_RUN_ASSESSED: Final = f"""
UPDATE eval_runs AS own SET assessed_at = $4
WHERE {IN_PROJECT} AND id = $2 AND monitor_id = $3 AND assessed_at IS NULL AND {_HAS_FINISHED}
  AND NOT EXISTS (
    SELECT 1 FROM eval_runs
    WHERE {IN_PROJECT} AND monitor_id = $3 AND assessed_at IS NULL AND {_HAS_FINISHED}
      AND (completed_at, id) < (own.completed_at, own.id) AND completed_at > $5
  )
"""
_SELECT_UNASSESSED: Final = f"""
SELECT project_id, id, monitor_id, target_type, completed_at FROM eval_runs
WHERE monitor_id IS NOT NULL AND assessed_at IS NULL AND {_HAS_FINISHED}
  AND {not_removed("eval_runs")}
"""
_BY_COMPLETION: Final = f"ORDER BY completed_at, project_id, id LIMIT {FINISHED_RUNS_MAX}"
SELECT_UNASSESSED_RUNS: Final = f"{_SELECT_UNASSESSED} {_BY_COMPLETION}"
SELECT_UNASSESSED_RUNS_AFTER: Final = (
    f"{_SELECT_UNASSESSED} AND (completed_at, project_id, id) > ($1, $2, $3) {_BY_COMPLETION}"
)
SELECT_RUN_AND_EARLIER: Final = f"""
SELECT id FROM (
  SELECT id, created_at FROM eval_runs
  WHERE {IN_PROJECT} AND monitor_id = $2 AND {_HAS_FINISHED} AND (created_at, id) <= (
    SELECT created_at, id FROM eval_runs WHERE {IN_PROJECT} AND id = $3
  )
  ORDER BY created_at DESC, id DESC LIMIT {BASELINE_RUNS + 1}
) AS lately ORDER BY created_at DESC, id DESC
"""
_IS_JUDGED: Final = f"measured IS NOT NULL AND fingerprint !~ '^{PRECHECK_PATTERN}$'"
AGGREGATE_RUN_METRIC: Final = {
    target_type: f"""
    SELECT count(measured) AS scored, coalesce(avg(measured), 0) AS mean,
      count(*) FILTER (WHERE measured >= $4) AS passed,
      count(*) FILTER (WHERE outcome = '{ScoreOutcome.FAILED}') AS failed,
      count(*) FILTER (WHERE outcome = '{ScoreOutcome.SKIPPED}') AS skipped,
      CASE WHEN min(fingerprint) FILTER (WHERE {_IS_JUDGED})
              = max(fingerprint) FILTER (WHERE {_IS_JUDGED})
           THEN min(fingerprint) FILTER (WHERE {_IS_JUDGED}) END AS fingerprint
    FROM (
      SELECT outcome, fingerprint, {JUDGE_VALUE} AS measured FROM {SCORE_TABLES[target_type].name}
      WHERE {IN_PROJECT} AND run_id = $2 AND name = $3
    ) AS run_scores
    """
    for target_type in TargetType
}
RUN_METRIC_COLUMNS: Final = ("scored", "mean", "passed", "failed", "skipped", "fingerprint")
AGGREGATE_FINISHED_RUNS: Final = {
    target_type: f"""
    SELECT own.id, own.completed_at, {", ".join(RUN_METRIC_COLUMNS)}
    FROM (
      SELECT id, completed_at, created_at FROM eval_runs
      WHERE {IN_PROJECT} AND monitor_id = $2 AND {_HAS_FINISHED}
      ORDER BY created_at DESC, id DESC LIMIT $5
    ) AS own CROSS JOIN LATERAL ({run_scores.replace("run_id = $2", "run_id = own.id")}) AS ended
    ORDER BY own.created_at DESC, own.id DESC
    """
    for target_type, run_scores in AGGREGATE_RUN_METRIC.items()
}
LOCK_WEBHOOKS: Final = f"""
SELECT {WEBHOOKS.select()} FROM webhooks WHERE {IN_PROJECT} ORDER BY project_id, id FOR SHARE
"""
# Across projects.
DELETE_OLD_CHANGES: Final = delete_some(
    "alert_changes", "at < $1", CHANGES_PER_DELETE, skip_locked=True
)


@dataclass(frozen=True, slots=True)
class PostgresAlerts(PoolReader):
    """Each list is read from one snapshot."""

    async def create(self, alert: Alert, *, audit: AuditEntry | None = None) -> Alert:
        project, monitor = alert.project_id, alert.monitor_id
        async with transaction(self.pool, alert.project_id) as connection:
            await _check_monitor(connection, LOCK_MONITOR, project, monitor)
            known = await connection.fetchrow(SELECT_ALERT, project, alert.id)
            if known is not None:
                return alert_from_row(known)
            there = await connection.fetch(SELECT_ALERTS_OF_MONITOR, project, monitor)
            if len(there) >= RULES_MAX:
                raise Conflict(f"A monitor has {RULES_MAX} alerts at most: delete one first")
            await connection.execute(INSERT_ALERT, *alert_row(alert))
            await store_audit_entry(connection, audit)
            return alert

    async def by_monitor(self, project: ProjectId, monitor: MonitorId) -> Sequence[Alert]:
        async with self._snapshot(ASK_FOR_FEWER, project) as connection:
            await _check_monitor(connection, SELECT_MONITOR, project, monitor)
            rows = await connection.fetch(SELECT_ALERTS_OF_MONITOR, project, monitor)
        return [alert_from_row(row) for row in rows]

    async def page(
        self, project: ProjectId, state: AlertState | None, window: PageRequest
    ) -> Page[Alert]:
        query = KeysetQuery.newest_first(project, ALERTS, window)
        served = [] if state is None else [Sql("state = {}", (state,))]
        async with self._snapshot(ASK_FOR_FEWER, project) as connection:
            page = await query.fetch_served(connection, served)
        return page.to_page(
            window.limit, alert_from_row, lambda one: Position(one.created_at, one.id)
        )

    async def edit(
        self,
        project: ProjectId,
        monitor: MonitorId,
        alert: UUID,
        edit: Callable[[Alert], Alert],
        *,
        audit: AuditEntry | None = None,
    ) -> Alert:
        async with transaction(self.pool, project) as connection:
            row = await connection.fetchrow(LOCK_ALERT, project, alert, monitor)
            known = alert_from_row(require_row(row, "Alert not found"))
            edited = edit(known)
            if edited == known:
                return known
            rule = edited.rule
            numbers = (rule.threshold, rule.clear_at, rule.samples_min)
            in_a_row = (rule.breaches, rule.recoveries, edited.watch.consecutive)
            await connection.execute(UPDATE_ALERT_RULE, project, alert, *numbers, *in_a_row)
            await store_audit_entry(connection, audit)
            return edited

    async def names(self, project: ProjectId, monitor: MonitorId) -> AlertNames:
        async with self._snapshot(ASK_FOR_FEWER, project) as connection:
            project_name = await connection.fetchval(SELECT_PROJECT_NAME, project)
            monitor_name = await connection.fetchval(SELECT_MONITOR_NAME, project, monitor)
        return AlertNames(project_name or str(project), monitor_name or str(monitor))

    async def delete(
        self,
        project: ProjectId,
        monitor: MonitorId,
        alert: UUID,
        *,
        audit: AuditEntry | None = None,
    ) -> bool:
        async with transaction(self.pool, project) as connection:
            if await connection.fetchrow(LOCK_ALERT, project, alert, monitor) is None:
                return False
            await delete_changes(connection, project, "alert_id", alert)
            await store_audit_entry(connection, audit)
            return await connection.execute(DELETE_ALERT, project, alert) == "DELETE 1"

    async def changes(
        self, project: ProjectId, monitor: MonitorId, window: PageRequest
    ) -> Page[AlertChange]:
        query = KeysetQuery.newest_first(project, CHANGES, window, by="at")
        async with self._snapshot(ASK_FOR_FEWER, project) as connection:
            await _check_monitor(connection, SELECT_MONITOR, project, monitor)
            page = await query.fetch_served(connection, [Sql("monitor_id = {}", (monitor,))])
        return page.to_page(window.limit, change_from_row, lambda one: Position(one.at, one.id))

    async def changes_of_project(
        self, project: ProjectId, state: AlertState | None, window: PageRequest
    ) -> Page[AlertChange]:
        query = KeysetQuery.newest_first(project, CHANGES, window, by="at")
        served = [] if state is None else [Sql("after = {}", (state,))]
        async with self._snapshot(ASK_FOR_FEWER, project) as connection:
            page = await query.fetch_served(connection, served)
        return page.to_page(window.limit, change_from_row, lambda one: Position(one.at, one.id))

    async def list_finished_runs(self, after: FinishedRun | None = None) -> Sequence[FinishedRun]:
        if after is None:
            rows = await self._fetch(ASK_FOR_FEWER, ALL_TENANTS, SELECT_UNASSESSED_RUNS)
        else:
            place = (after.at, after.project, after.run)
            rows = await self._fetch(
                ASK_FOR_FEWER, ALL_TENANTS, SELECT_UNASSESSED_RUNS_AFTER, *place
            )
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
        sql = AGGREGATE_RUN_METRIC[ended.target_type]
        async with self._snapshot(ASK_FOR_FEWER, ended.project) as connection:
            runs = await connection.fetch(
                SELECT_RUN_AND_EARLIER, ended.project, ended.monitor, ended.run
            )
            rows = [
                await connection.fetchrow(sql, ended.project, run["id"], metric, threshold)
                for run in runs
            ]
        return [RunMetricStats(**row) for row in rows if row is not None]

    async def finished_run_stats(
        self, monitor: Monitor, metric: str, threshold: float, limit: int
    ) -> Sequence[FinishedRunStats]:
        project, sql = monitor.project_id, AGGREGATE_FINISHED_RUNS[monitor.target_type]
        asked = (project, monitor.id, metric, threshold, limit)
        rows = await self._fetch(ASK_FOR_FEWER, project, sql, *asked)
        return [
            FinishedRunStats(
                run=RunId(row["id"]),
                completed_at=row["completed_at"],
                stats=RunMetricStats(**{name: row[name] for name in RUN_METRIC_COLUMNS}),
            )
            for row in rows
        ]

    async def apply_run(self, ended: FinishedRun, assess: AlertEvaluator, now: datetime) -> bool:
        async with transaction(self.pool, ended.project) as connection:
            if await connection.fetchrow(LOCK_MONITOR_SHARED, ended.project, ended.monitor) is None:
                return False
            run = (ended.project, ended.run, ended.monitor)
            earliest = now - ORDER_WAIT_MAX
            if await connection.execute(MARK_RUN_ASSESSED, *run, now, earliest) != "UPDATE 1":
                return False
            rows = await connection.fetch(LOCK_ALERTS_OF_MONITOR, ended.project, ended.monitor)
            evaluations = assess([alert_from_row(row) for row in rows])
            await _store_evaluations(connection, ended.project, evaluations, now)
            return True

    async def list_passed_slots(self, now: datetime) -> Sequence[MonitorSlot]:
        rows = await self._fetch(ASK_FOR_FEWER, ALL_TENANTS, SELECT_MONITOR_SLOTS)
        return [_slot_from_row(row, now) for row in rows]

    async def apply_slot(self, slot: MonitorSlot, assess: AlertEvaluator, now: datetime) -> bool:
        moved = (slot.alert, slot.awaited, slot.following)
        async with transaction(self.pool, slot.project) as connection:
            if await connection.fetchrow(LOCK_MONITOR_SHARED, slot.project, slot.monitor) is None:
                return False
            row = await connection.fetchrow(ADVANCE_SLOT, slot.project, *moved)
            if row is not None and slot.quiet:
                evaluations = assess([alert_from_row(row)])
                await _store_evaluations(connection, slot.project, evaluations, now)
        return row is not None

    async def delete_changes(self, before: datetime) -> int:
        async with transaction(self.pool, ALL_TENANTS) as connection:
            return affected_rows(await connection.execute(DELETE_OLD_CHANGES, before))


async def _check_monitor(
    connection: Connection, sql: str, project: ProjectId, monitor: MonitorId
) -> None:
    require_row(await connection.fetchrow(sql, project, monitor), MONITOR_NOT_FOUND)


def _slot_from_row(row: Record, now: datetime) -> MonitorSlot:
    monitor, awaited = monitor_from_row(row), row["awaits"]
    quiet = awaited is not None and monitor.skipped_slot(awaited, now)
    project, following = monitor.project_id, monitor.next_run_at
    return MonitorSlot(project, monitor.id, row["alert_id"], awaited, following, quiet)


async def _store_evaluations(
    connection: Connection,
    project: ProjectId,
    evaluations: Sequence[AlertEvaluation],
    now: datetime,
) -> None:
    """Stores the progress of locked alerts, and their notifications."""
    for one in evaluations:
        watch = one.alert.watch
        progress = (watch.state, watch.since, watch.consecutive, watch.value)
        await connection.execute(UPDATE_ALERT_PROGRESS, project, one.alert.id, *progress)
    notices = [one.notice for one in evaluations if one.notice is not None]
    if notices:
        webhooks = [webhook_from_row(row) for row in await connection.fetch(LOCK_WEBHOOKS, project)]
        for notice in notices:
            await _insert_notification(connection, notice, webhooks, now)


async def _insert_notification(
    connection: Connection, notice: AlertNotification, webhooks: Sequence[Webhook], now: datetime
) -> None:
    await connection.execute(INSERT_CHANGE, *change_row(notice.change))
    for one in deliveries_for(notice, webhooks, now):  # WEBHOOKS_MAX at most
        await connection.execute(INSERT_DELIVERY, *delivery_row(one))
