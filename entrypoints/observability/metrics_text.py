"""The text of /metrics: what processes count, and what the database knows of the installation."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Final

from adapters.prometheus import definitions
from adapters.prometheus.definitions import Named
from adapters.prometheus.registry import Figures, Samples
from application.use_cases import Ports
from domain.errors import Failure

KEPT_S: Final = 5.0  # for which the answer of the database serves other scrapes
TIMEOUT_S: Final = 4.0  # scrapers give up after ten
_DOWN: Final[Mapping[Named, Samples]] = {definitions.DATABASE_UP: {(): 0.0}}
_log: Final = logging.getLogger(__name__)


class Scrape:
    """Gives the text. The database is asked once for all who ask within KEPT_S."""

    def __init__(self, figures: Figures, ports: Ports, kept_s: float = KEPT_S) -> None:
        self._figures = figures
        self._ports = ports
        self._kept_s = kept_s
        self._turn = asyncio.Lock()
        self._asked: Mapping[Named, Samples] = _DOWN
        self._asked_at: float | None = None

    async def __call__(self) -> bytes:
        async with self._turn:
            if self._asked_at is None or time.monotonic() - self._asked_at > self._kept_s:
                self._asked = await self._ask()
                self._asked_at = time.monotonic()
        return await asyncio.to_thread(self._figures.text, self._asked)

    async def _ask(self) -> Mapping[Named, Samples]:
        """What the database knows; where it doesn't answer, only that."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await installation(self._ports)
        except (Failure, TimeoutError):
            return _DOWN
        except Exception:  # noqa: BLE001 - what processes count is told all the same
            _log.exception("the figures of the installation are unknown")
            return _DOWN


async def installation(ports: Ports) -> Mapping[Named, Samples]:
    """The figures of `named.ASKED`. Raises Unavailable."""
    now, work_queue = ports.clock(), ports.evaluation.work_queue
    load = await ports.workloads.workload(now)
    oldest = await work_queue.oldest_wait(now)
    dead = await work_queue.count_dead()
    attendance = await ports.workers.status(now)
    seen = attendance.last_seen_at
    return {
        definitions.DATABASE_UP: {(): 1.0},
        definitions.RUNS: {("PENDING",): load.pending_runs, ("RUNNING",): load.running_runs},
        definitions.QUEUED: {(band,): number for band, number in load.queued.items()},
        definitions.RUNNING: {(): load.running},
        definitions.OLDEST: {(): 0.0 if oldest is None else oldest.total_seconds()},
        definitions.DEAD: {(): dead},
        definitions.WORKERS: {(): attendance.alive},
        definitions.WORKER_SEEN: {(): 0.0 if seen is None else seen.timestamp()},
    }
