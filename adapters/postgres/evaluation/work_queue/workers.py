"""Workers and what they have to do, in Postgres."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from adapters.postgres.database.pool import Pool, translated
from adapters.postgres.database.read_transactions import reading
from adapters.postgres.database.removed_projects import not_removed
from application.evaluation.ports.workload import (
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

ADVICE: Final = "try again later"
SEEN: Final = """
INSERT INTO workers (id, version, started_at, seen_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at
"""
FORGET: Final = """
DELETE FROM workers WHERE id IN (
  SELECT id FROM workers WHERE seen_at <= $1 ORDER BY seen_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
"""
LEFT: Final = "DELETE FROM workers WHERE id = $1"
ATTENDANCE: Final = """
SELECT (SELECT count(*) FROM workers WHERE seen_at > $1) AS alive,
  (SELECT seen_at FROM workers WHERE seen_at > $2 ORDER BY seen_at DESC LIMIT 1) AS last
"""
_BANDS: Final = "\n".join(
    f"WHEN age < interval '{below.total_seconds():.0f} seconds' THEN '{name}'"
    for name, below in AGE_LIMITS.items()
)
# In flight are few targets of each project: all others wait for their turn. A run that is PENDING
# is always announced.
WORKLOAD: Final = f"""
WITH flying AS MATERIALIZED (
  SELECT CASE WHEN state = 'queued' THEN run_after ELSE due_at END AS since, state
  FROM eval_jobs WHERE due_at IS NOT NULL AND {not_removed("eval_jobs")}
  ORDER BY due_at LIMIT $2
), aged AS (
  SELECT CASE {_BANDS} ELSE '{OLDEST_BAND}' END AS band, count(*) AS number
  FROM (SELECT $1 - since AS age FROM flying WHERE since <= $1) AS ready GROUP BY 1
)
SELECT
  (SELECT count(*) FROM (
    SELECT FROM eval_runs
    WHERE announced_at IS NOT NULL AND status = 'PENDING' AND {not_removed("eval_runs")} LIMIT $2
  ) AS pending) AS pending_runs,
  (SELECT count(*) FROM (
    SELECT FROM eval_runs WHERE status = 'RUNNING' AND {not_removed("eval_runs")} LIMIT $2
  ) AS going) AS running_runs,
  (SELECT count(*) FROM flying WHERE state = 'running' AND since > $1) AS running,
  ARRAY(SELECT band FROM aged) AS bands, ARRAY(SELECT number FROM aged) AS numbers
"""


@dataclass(frozen=True, slots=True)
class PostgresWorkers:
    pool: Pool

    async def record_heartbeat(self, worker: Worker, now: datetime) -> None:
        async with translated(), self.pool.acquire() as connection:
            await connection.execute(SEEN, worker.id, worker.version, worker.started_at, now)
            await connection.execute(FORGET, now - WORKER_RETENTION, WORKERS_DELETED_MAX)

    async def remove(self, worker: Worker) -> None:
        async with translated():
            await self.pool.execute(LEFT, worker.id)

    async def status(self, now: datetime) -> WorkerStatus:
        async with reading(self.pool, ADVICE) as connection:
            row = await connection.fetchrow(
                ATTENDANCE, now - WORKER_TIMEOUT, now - WORKER_RETENTION
            )
        assert row is not None, "it has no FROM"
        return WorkerStatus(row["alive"], row["last"])


@dataclass(frozen=True, slots=True)
class PostgresWorkloads:
    pool: Pool

    async def workload(self, now: datetime) -> Workload:
        async with reading(self.pool, ADVICE) as connection:
            row = await connection.fetchrow(WORKLOAD, now, COUNTED_ROWS_MAX)
        assert row is not None, "it has no FROM"
        ages = dict(zip(row["bands"], row["numbers"], strict=True))
        return Workload(
            pending_runs=row["pending_runs"],
            running_runs=row["running_runs"],
            queued={band: ages.get(band, 0) for band in AGE_BANDS},
            running=row["running"],
        )
