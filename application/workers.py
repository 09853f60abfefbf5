"""The heartbeat of workers: each worker process records that it is alive."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

HEARTBEAT_INTERVAL: Final = timedelta(seconds=10)
WORKER_TIMEOUT: Final = timedelta(seconds=60)  # without a heartbeat; then a worker counts as dead
WORKER_RETENTION: Final = timedelta(days=1)
WORKERS_DELETED_MAX: Final = 1_000  # by one heartbeat; more than die between two heartbeats


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker process, from its start to its end."""

    id: UUID
    version: str
    started_at: datetime


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """The number of workers alive within WORKER_TIMEOUT, and the last heartbeat within a day."""

    alive: int
    last_seen_at: datetime | None

    def problem(self, now: datetime) -> str | None:
        """The fault, in words; None while a worker is alive."""
        if self.alive:
            return None
        if self.last_seen_at is None:
            return "no worker has been seen for a day"
        return f"no worker has been seen for {(now - self.last_seen_at).total_seconds():.0f} s"


class Workers(Protocol):
    """The workers of an installation; they serve all projects.

    Contract of Workers: tests/contracts/evaluation/work_queue/test_workers.py. All raise
    Unavailable.
    """

    async def record_heartbeat(self, worker: Worker, now: datetime) -> None:
        """The worker is alive. Also deletes some that had no heartbeat for WORKER_RETENTION."""
        ...

    async def remove(self, worker: Worker) -> None:
        """The worker ends regularly. Does nothing if it isn't known."""
        ...

    async def status(self, now: datetime) -> WorkerStatus: ...
