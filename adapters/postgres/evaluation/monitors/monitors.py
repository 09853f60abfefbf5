"""Monitors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from adapters.postgres.database.pool import IN_PROJECT, Connection, require_row
from adapters.postgres.database.read_transactions import NARROW_BY_STATUS, RETRY_LATER, PoolReader
from adapters.postgres.database.removed_projects import check_not_removed, not_removed
from adapters.postgres.database.statements.bounded_delete import delete_some
from adapters.postgres.database.statements.keyset_pages import KeysetQuery
from adapters.postgres.database.statements.sql_builder import Sql
from adapters.postgres.database.tenants import ALL_TENANTS
from adapters.postgres.database.transactions import transaction
from adapters.postgres.evaluation.monitors.monitor_rows import (
    MONITORS,
    monitor_from_row,
    monitor_row,
)
from adapters.postgres.evaluation.runs.runs import ROWS_PER_TRANSACTION
from adapters.postgres.evaluation.work_queue.plan import insert_run
from adapters.postgres.evaluation.work_queue.tally import fetch_run_page
from adapters.postgres.identity.audit_log import store_audit_entry
from application.evaluation.ports.monitors import DUE_MAX
from domain.evaluation.monitors.monitor import Monitor, MonitorStatus
from domain.evaluation.runs.run import EvalRun, RunProgress, WorkItem
from domain.identity.audit import AuditEntry
from domain.ids import MonitorId, ProjectId
from domain.page import Page, PageRequest, Position

MONITOR_NOT_FOUND: Final = "Monitor not found"
_SELECT_LIST: Final = MONITORS.select()

INSERT_MONITOR: Final = MONITORS.insert_if_new()
SELECT_MONITOR: Final = f"SELECT {_SELECT_LIST} FROM monitors WHERE {IN_PROJECT} AND id = $2"
# Serialises edits, scheduled runs and the delete of a monitor.
LOCK_MONITOR: Final = f"{SELECT_MONITOR} FOR UPDATE"
UPDATE_MONITOR: Final = f"""
UPDATE monitors SET {MONITORS.assignments()} WHERE {IN_PROJECT} AND id = $2
"""
DELETE_MONITOR: Final = f"DELETE FROM monitors WHERE {IN_PROJECT} AND id = $2"
# Workers lock runs one at a time, so a statement that locks many uses the order of the key. It then
# finds them by id: a join of the locked runs with the table would compare each with each, if the
# table was empty when its statistics were made.
DETACH_RUNS: Final = f"""
WITH chosen AS MATERIALIZED (
  SELECT id FROM eval_runs WHERE {IN_PROJECT} AND monitor_id = $2 ORDER BY created_at, id LIMIT $3
), locked AS MATERIALIZED (
  SELECT 1 FROM eval_runs WHERE {IN_PROJECT} AND id = ANY(ARRAY(SELECT id FROM chosen))
  ORDER BY project_id, id FOR UPDATE
)
UPDATE eval_runs SET monitor_id = NULL
WHERE {IN_PROJECT} AND id = ANY(ARRAY(SELECT id FROM chosen))
  AND (SELECT count(*) FROM locked) >= 0
"""
_SELECT_DUE: Final = f"""
SELECT {_SELECT_LIST} FROM monitors
WHERE status = '{MonitorStatus.ACTIVE}' AND next_run_at <= $1 AND {not_removed("monitors")}
"""
SELECT_DUE_MONITORS: Final = f"{_SELECT_DUE} ORDER BY next_run_at, project_id, id LIMIT {DUE_MAX}"
SELECT_DUE_MONITORS_AFTER: Final = f"""
{_SELECT_DUE} AND (next_run_at, project_id, id) > ($2, $3, $4)
ORDER BY next_run_at, project_id, id LIMIT {DUE_MAX}
"""
CHANGES_PER_DELETE: Final = 5_000  # rows of one statement
DELETE_ALERTS: Final = f"DELETE FROM alerts WHERE {IN_PROJECT} AND monitor_id = $2"
DELETE_CHANGES: Final = delete_some(
    "alert_changes", f"{IN_PROJECT} AND {{of}} = $2", CHANGES_PER_DELETE
)


@dataclass(frozen=True, slots=True)
class PostgresMonitors(PoolReader):
    """Each list is read from one snapshot."""

    async def create(self, monitor: Monitor, *, audit: AuditEntry | None = None) -> Monitor:
        async with transaction(self.pool, monitor.project_id) as connection:
            await check_not_removed(connection, monitor.project_id)
            done = await connection.execute(INSERT_MONITOR, *monitor_row(monitor))
            await store_audit_entry(connection, audit if done == "INSERT 0 1" else None)
            return await _fetch_monitor(connection, SELECT_MONITOR, monitor.project_id, monitor.id)

    async def get(self, project: ProjectId, monitor: MonitorId) -> Monitor:
        async with self._statement(RETRY_LATER, project) as connection:
            return await _fetch_monitor(connection, SELECT_MONITOR, project, monitor)

    async def page(
        self, project: ProjectId, status: MonitorStatus | None, window: PageRequest
    ) -> Page[Monitor]:
        query = KeysetQuery.newest_first(project, MONITORS, window)
        where = [] if status is None else [Sql("status = {}", (status,))]
        async with self._snapshot(NARROW_BY_STATUS, project) as connection:
            page = await query.fetch_served(connection, where)
        return page.to_page(
            window.limit, monitor_from_row, lambda one: Position(one.created_at, one.id)
        )

    async def edit(
        self,
        project: ProjectId,
        monitor: MonitorId,
        edit: Callable[[Monitor], Monitor],
        *,
        audit: AuditEntry | None = None,
    ) -> Monitor:
        async with transaction(self.pool, project) as connection:
            known = await _fetch_monitor(connection, LOCK_MONITOR, project, monitor)
            edited = edit(known)
            if edited != known:
                await connection.execute(UPDATE_MONITOR, *monitor_row(edited))
                await store_audit_entry(connection, audit)
            return edited

    async def delete(
        self, project: ProjectId, monitor: MonitorId, *, audit: AuditEntry | None = None
    ) -> bool:
        # Detaches most runs before it locks the monitor; the rest, and runs started meanwhile,
        # after.
        while True:
            async with transaction(self.pool, project) as connection:
                if await connection.fetchrow(SELECT_MONITOR, project, monitor) is None:
                    return False
                if not await _detach_some_runs(connection, project, monitor):
                    break
        async with transaction(self.pool, project) as connection:
            await connection.execute(LOCK_MONITOR, project, monitor)
            while await _detach_some_runs(connection, project, monitor):
                pass
            await delete_changes(connection, project, "monitor_id", monitor)
            await connection.execute(DELETE_ALERTS, project, monitor)
            is_gone = await connection.execute(DELETE_MONITOR, project, monitor) == "DELETE 1"
            await store_audit_entry(connection, audit if is_gone else None)
            return is_gone

    async def runs(
        self, project: ProjectId, monitor: MonitorId, window: PageRequest
    ) -> Page[RunProgress]:
        async with self._snapshot(NARROW_BY_STATUS, project) as connection:
            await _fetch_monitor(connection, SELECT_MONITOR, project, monitor)
            return await fetch_run_page(
                connection, project, [Sql("monitor_id = {}", (monitor,))], window
            )

    async def list_due(self, now: datetime, after: Monitor | None = None) -> Sequence[Monitor]:
        if after is None:
            rows = await self._fetch(NARROW_BY_STATUS, ALL_TENANTS, SELECT_DUE_MONITORS, now)
        else:
            place = (after.next_run_at, after.project_id, after.id)
            rows = await self._fetch(
                NARROW_BY_STATUS, ALL_TENANTS, SELECT_DUE_MONITORS_AFTER, now, *place
            )
        return [monitor_from_row(row) for row in rows]

    async def store_run(
        self, before: Monitor, after: Monitor, run: EvalRun | None, work: Sequence[WorkItem]
    ) -> bool:
        async with transaction(self.pool, before.project_id) as connection:
            row = await connection.fetchrow(LOCK_MONITOR, before.project_id, before.id)
            if row is None or monitor_from_row(row) != before:
                return False
            if run is not None and not await insert_run(connection, run, work):
                return False
            await connection.execute(UPDATE_MONITOR, *monitor_row(after))
            return True


async def _fetch_monitor(
    connection: Connection, sql: str, project: ProjectId, monitor: MonitorId
) -> Monitor:
    row = await connection.fetchrow(sql, project, monitor)
    return monitor_from_row(require_row(row, MONITOR_NOT_FOUND))


async def _detach_some_runs(connection: Connection, project: ProjectId, monitor: MonitorId) -> bool:
    """Detaches some runs of the monitor; returns whether there were any."""
    status = await connection.execute(DETACH_RUNS, project, monitor, ROWS_PER_TRANSACTION)
    return status != "UPDATE 0"


async def delete_changes(
    connection: Connection, project: ProjectId, of: Literal["monitor_id", "alert_id"], value: UUID
) -> None:
    """Deletes changes of a monitor or an alert, which must be locked."""
    while await connection.execute(DELETE_CHANGES.format(of=of), project, value) != "DELETE 0":
        pass
