"""Which workers there are: each tells of itself, so that others notice when none does."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

HEARTBEAT_INTERVAL: Final = timedelta(seconds=10)
WORKER_TIMEOUT: Final = timedelta(
    seconds=60
)  # of one that hasn't told for so long nothing is expected
WORKER_RETENTION: Final = timedelta(days=1)
WORKERS_DELETED_MAX: Final = 1_000  # more than workers leave behind between two that tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker process, from its start to its end."""

    id: UUID
    version: str
    started_at: datetime


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """How many workers were seen within WORKER_TIMEOUT, and when one last was, within a day."""

    alive: int
    last_seen_at: datetime | None

    def problem(self, now: datetime) -> str | None:
        """What is wrong with it, in words; None while a worker is alive."""
        if self.alive:
            return None
        if self.last_seen_at is None:
            return "no worker has been seen for a day"
        return f"no worker has been seen for {(now - self.last_seen_at).total_seconds():.0f} s"


class Workers(Protocol):
    """The workers of an installation, of all its projects together.

    Contract of Workers: tests/contracts/evaluation/work_queue/test_workers.py. All raise
    Unavailable.
    """

    async def record_heartbeat(self, worker: Worker, now: datetime) -> None:
        """It lives. Also forgets some of those that weren't seen for WORKER_RETENTION."""
        ...

    async def remove(self, worker: Worker) -> None:
        """It ends in order, and is forgotten. Nothing happens where it wasn't seen."""
        ...

    async def status(self, now: datetime) -> WorkerStatus: ...
