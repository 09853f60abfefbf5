"""Monitors in Postgres: the port."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from adapters.postgres.database.newest_first import newest_first, page_of
from adapters.postgres.database.pool import OF_PROJECT, Connection, Pool
from adapters.postgres.database.read_transactions import READ_TIMEOUT_S, reading, snapshot
from adapters.postgres.database.removed_projects import check_not_removed, not_removed
from adapters.postgres.database.sql_builder import Sql
from adapters.postgres.database.transactions import transaction
from adapters.postgres.evaluation.monitors.alert_deletes import drop_alerts
from adapters.postgres.evaluation.monitors.monitor_rows import (
    MONITORS,
    monitor_of,
    monitor_row,
)
from adapters.postgres.evaluation.runs.runs import STEP
from adapters.postgres.evaluation.work_queue.plan import store
from adapters.postgres.evaluation.work_queue.run_rows import RUN_COLUMNS, TALLY_COLUMNS
from adapters.postgres.evaluation.work_queue.tally import progress
from application.evaluation.ports.monitors import DUE_MAX
from domain.errors import NotFound
from domain.evaluation.monitors.monitor import Monitor, MonitorStatus
from domain.evaluation.runs.run import EvalRun, RunProgress, WorkItem
from domain.ids import MonitorId, ProjectId
from domain.page import Page, PageRequest, Position

ADVICE: Final = "narrow the list with status, or try again later"
SHOWN: Final = MONITORS.select()

INSERT: Final = f"""
{MONITORS.insert()}
ON CONFLICT (project_id, id) DO NOTHING
"""
READ: Final = f"SELECT {SHOWN} FROM monitors WHERE {OF_PROJECT} AND id = $2"
# Who edits, fires and removes it go one after the other.
LOCK: Final = f"{READ} FOR UPDATE"
PUT: Final = f"""
UPDATE monitors SET {MONITORS.assignments()}
WHERE {OF_PROJECT} AND id = $2
"""
DELETE: Final = f"DELETE FROM monitors WHERE {OF_PROJECT} AND id = $2"
# Workers hold runs one at a time: whoever takes many takes them in the order of the key.
FREE_RUNS: Final = f"""
UPDATE eval_runs AS r SET monitor_id = NULL FROM (
  SELECT project_id, id FROM eval_runs WHERE {OF_PROJECT} AND id = ANY(ARRAY(
    SELECT id FROM eval_runs WHERE {OF_PROJECT} AND monitor_id = $2 ORDER BY created_at, id LIMIT $3
  )) ORDER BY project_id, id FOR UPDATE
) AS locked
WHERE r.project_id = locked.project_id AND r.id = locked.id
"""
_DUE: Final = f"""
SELECT {SHOWN} FROM monitors
WHERE status = '{MonitorStatus.ACTIVE}' AND next_run_at <= $1 AND {not_removed("monitors")}
"""
DUE: Final = f"{_DUE} ORDER BY next_run_at, project_id, id LIMIT {DUE_MAX}"
DUE_AFTER: Final = f"""
{_DUE} AND (next_run_at, project_id, id) > ($2, $3, $4)
ORDER BY next_run_at, project_id, id LIMIT {DUE_MAX}
"""


@dataclass(frozen=True, slots=True)
class PostgresMonitors:
    """Each list is of one moment, and takes `timeout_s` at most."""

    pool: Pool
    timeout_s: float = READ_TIMEOUT_S

    async def create(self, monitor: Monitor) -> Monitor:
        async with transaction(self.pool) as connection:
            await check_not_removed(connection, monitor.project_id)
            await connection.execute(INSERT, *monitor_row(monitor))
            return await _read(connection, READ, monitor.project_id, monitor.id)

    async def get(self, project: ProjectId, monitor: MonitorId) -> Monitor:
        async with reading(self.pool, ADVICE, self.timeout_s) as connection:
            return await _read(connection, READ, project, monitor)

    async def page(
        self, project: ProjectId, status: MonitorStatus | None, window: PageRequest
    ) -> Page[Monitor]:
        ordered = newest_first(project, "monitors", MONITORS.names, window)
        where = [] if status is None else [Sql("status = {}", (status,))]
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            found = await page_of(connection, ordered, where)
        shown = [monitor_of(row) for row in found.rows[: window.limit]]
        has_more = len(found.rows) > len(shown)
        return Page(
            shown, found.total, Position(shown[-1].created_at, shown[-1].id) if has_more else None
        )

    async def edit(
        self, project: ProjectId, monitor: MonitorId, edit: Callable[[Monitor], Monitor]
    ) -> Monitor:
        async with transaction(self.pool) as connection:
            known = await _read(connection, LOCK, project, monitor)
            edited = edit(known)
            if edited != known:
                await connection.execute(PUT, *monitor_row(edited))
            return edited

    async def delete(self, project: ProjectId, monitor: MonitorId) -> bool:
        # Most of its runs before it is locked; the rest, and what it fired meanwhile, with it.
        while True:
            async with transaction(self.pool) as connection:
                if await connection.fetchrow(READ, project, monitor) is None:
                    return False
                if not await _free_runs(connection, project, monitor):
                    break
        async with transaction(self.pool) as connection:
            await connection.execute(LOCK, project, monitor)
            while await _free_runs(connection, project, monitor):
                pass
            await drop_alerts(connection, project, monitor)
            return await connection.execute(DELETE, project, monitor) == "DELETE 1"

    async def runs(
        self, project: ProjectId, monitor: MonitorId, window: PageRequest
    ) -> Page[RunProgress]:
        ordered = newest_first(project, "eval_runs", (*RUN_COLUMNS, *TALLY_COLUMNS), window)
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            await _read(connection, READ, project, monitor)
            found = await page_of(connection, ordered, [Sql("monitor_id = {}", (monitor,))])
            shown = await progress(connection, project, found.rows[: window.limit])
        has_more = len(found.rows) > len(shown)
        last = shown[-1].run if has_more else None
        end = None if last is None else Position(last.created_at, last.id)
        return Page(shown, found.total, end)

    async def list_due(self, now: datetime, after: Monitor | None = None) -> Sequence[Monitor]:
        async with reading(self.pool, ADVICE, self.timeout_s) as connection:
            if after is None:
                rows = await connection.fetch(DUE, now)
            else:
                place = (after.next_run_at, after.project_id, after.id)
                rows = await connection.fetch(DUE_AFTER, now, *place)
        return [monitor_of(row) for row in rows]

    async def store_run(
        self, before: Monitor, after: Monitor, run: EvalRun | None, work: Sequence[WorkItem]
    ) -> bool:
        async with transaction(self.pool) as connection:
            row = await connection.fetchrow(LOCK, before.project_id, before.id)
            if row is None or monitor_of(row) != before:
                return False
            if run is not None and not await store(connection, run, work):
                return False
            await connection.execute(PUT, *monitor_row(after))
            return True


async def _read(
    connection: Connection, sql: str, project: ProjectId, monitor: MonitorId
) -> Monitor:
    row = await connection.fetchrow(sql, project, monitor)
    if row is None:
        raise NotFound("Monitor not found")
    return monitor_of(row)


async def _free_runs(connection: Connection, project: ProjectId, monitor: MonitorId) -> bool:
    """Frees some of its runs; whether there were any."""
    return await connection.execute(FREE_RUNS, project, monitor, STEP) != "UPDATE 0"
