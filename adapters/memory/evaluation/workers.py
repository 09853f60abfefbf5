"""Heartbeats of workers, and the workload, in memory."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from adapters.memory.store import MemoryStore, WorkState
from application.evaluation.ports.workload import AGE_BANDS, COUNTED_ROWS_MAX, Workload, age_band
from application.workers import WORKER_RETENTION, WORKER_TIMEOUT, Worker, WorkerStatus
from domain.evaluation.runs.run import RunStatus


@dataclass(slots=True)
class MemoryWorkers:
    known: dict[UUID, datetime] = field(default_factory=dict)

    async def record_heartbeat(self, worker: Worker, now: datetime) -> None:
        self.known[worker.id] = now
        self.known = {id_: at for id_, at in self.known.items() if now - at < WORKER_RETENTION}

    async def remove(self, worker: Worker) -> None:
        self.known.pop(worker.id, None)

    async def status(self, now: datetime) -> WorkerStatus:
        kept = [at for at in self.known.values() if now - at < WORKER_RETENTION]
        alive = sum(now - at < WORKER_TIMEOUT for at in kept)
        return WorkerStatus(alive, max(kept, default=None))


@dataclass(frozen=True, slots=True)
class MemoryWorkloads:
    store: MemoryStore

    async def workload(self, now: datetime) -> Workload:
        runs = Counter(one.run.status for _, one in self.store.runs.live())
        work = [one for _, one in self.store.work_queue.live()]
        running = sum(
            one.state is WorkState.RUNNING and one.due_at is not None and one.due_at > now
            for one in work
        )
        ages = Counter(
            age_band(now - since)
            for one in work
            if (since := one.claimable_from) is not None and since <= now
        )
        return Workload(
            pending_runs=min(runs[RunStatus.PENDING], COUNTED_ROWS_MAX),
            running_runs=min(runs[RunStatus.RUNNING], COUNTED_ROWS_MAX),
            queued={band: min(ages[band], COUNTED_ROWS_MAX) for band in AGE_BANDS},
            running=min(running, COUNTED_ROWS_MAX),
        )
