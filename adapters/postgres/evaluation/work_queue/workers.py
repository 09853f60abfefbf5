"""Heartbeats of workers, and the workload."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from adapters.postgres.database.pool import translate_errors
from adapters.postgres.database.read_transactions import RETRY_LATER, PoolReader
from adapters.postgres.database.removed_projects import not_removed
from adapters.postgres.database.statements.bounded_delete import delete_some
from adapters.postgres.database.tenants import ALL_TENANTS, NO_TENANTS
from application.evaluation.ports.work_queue import (
    AGE_BANDS,
    AGE_LIMITS,
    COUNTED_ROWS_MAX,
    OLDEST_BAND,
    Workload,
)
from application.workers import (
    WORKER_RETENTION,
    WORKER_TIMEOUT,
    WORKERS_DELETED_MAX,
    Worker,
    WorkerStatus,
)

UPSERT_WORKER: Final = """
INSERT INTO workers (id, version, started_at, seen_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at
"""
DELETE_LOST_WORKERS: Final = delete_some(
    "workers", "seen_at <= $1 ORDER BY seen_at", WORKERS_DELETED_MAX, skip_locked=True
)
DELETE_WORKER: Final = "DELETE FROM workers WHERE id = $1"
SELECT_WORKER_STATUS: Final = """
SELECT (SELECT count(*) FROM workers WHERE seen_at > $1) AS alive,
  (SELECT seen_at FROM workers WHERE seen_at > $2 ORDER BY seen_at DESC LIMIT 1) AS last
"""
_AGE_BANDS: Final = "\n".join(
    f"WHEN age < interval '{below.total_seconds():.0f} seconds' THEN '{name}'"
    for name, below in AGE_LIMITS.items()
)
# Few targets of each project are in flight; all others wait to be dispatched. A PENDING run always
# has `announced_at`.
SELECT_WORKLOAD: Final = f"""
WITH flying AS MATERIALIZED (
  SELECT CASE WHEN state = 'queued' THEN run_after ELSE due_at END AS since, state
  FROM eval_jobs WHERE due_at IS NOT NULL AND {not_removed("eval_jobs")}
  ORDER BY due_at LIMIT $2
), aged AS (
  SELECT CASE {_AGE_BANDS} ELSE '{OLDEST_BAND}' END AS band, count(*) AS number
  FROM (SELECT $1 - since AS age FROM flying WHERE since <= $1) AS ready GROUP BY 1
)
SELECT
  (SELECT count(*) FROM (
    SELECT 1 FROM eval_runs
    WHERE announced_at IS NOT NULL AND status = 'PENDING' AND {not_removed("eval_runs")} LIMIT $2
  ) AS pending) AS pending_runs,
  (SELECT count(*) FROM (
    SELECT 1 FROM eval_runs WHERE status = 'RUNNING' AND {not_removed("eval_runs")} LIMIT $2
  ) AS going) AS running_runs,
  (SELECT count(*) FROM flying WHERE state = 'running' AND since > $1) AS running,
  ARRAY(SELECT band FROM aged) AS bands, ARRAY(SELECT number FROM aged) AS numbers
"""


@dataclass(frozen=True, slots=True)
class PostgresWorkers(PoolReader):
    async def record_heartbeat(self, worker: Worker, now: datetime) -> None:
        async with translate_errors(), self.pool.acquire() as connection:
            row = (worker.id, worker.version, worker.started_at, now)
            await connection.execute(UPSERT_WORKER, *row)
            await connection.execute(DELETE_LOST_WORKERS, now - WORKER_RETENTION)

    async def remove(self, worker: Worker) -> None:
        async with translate_errors():
            await self.pool.execute(DELETE_WORKER, worker.id)

    async def status(self, now: datetime) -> WorkerStatus:
        times = (now - WORKER_TIMEOUT, now - WORKER_RETENTION)
        [row] = await self._fetch(RETRY_LATER, NO_TENANTS, SELECT_WORKER_STATUS, *times)
        return WorkerStatus(row["alive"], row["last"])


@dataclass(frozen=True, slots=True)
class PostgresWorkloads(PoolReader):
    async def workload(self, now: datetime) -> Workload:
        [row] = await self._fetch(RETRY_LATER, ALL_TENANTS, SELECT_WORKLOAD, now, COUNTED_ROWS_MAX)
        ages = dict(zip(row["bands"], row["numbers"], strict=True))
        return Workload(
            pending_runs=row["pending_runs"],
            running_runs=row["running_runs"],
            queued={band: ages.get(band, 0) for band in AGE_BANDS},
            running=row["running"],
        )
