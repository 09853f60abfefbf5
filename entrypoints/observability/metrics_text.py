"""The text of /metrics: the metrics of the processes, and those of the installation's database."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from adapters.prometheus import definitions
from adapters.prometheus.definitions import MetricDefinition
from adapters.prometheus.registry import MetricsRegistry, Samples
from application.evaluation.ports.work_queue import Workload
from application.use_cases import Ports
from domain.errors import Failure

CACHE_TTL_S: Final = 5.0  # for which the values from the database serve other scrapes
TIMEOUT_S: Final = 4.0  # scrapers give up after ten seconds
_DATABASE_DOWN: Final[Mapping[MetricDefinition, Samples]] = {definitions.DATABASE_UP: {(): 0.0}}
_log: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class MetricsText:
    """Renders the text. All scrapes within CACHE_TTL_S share one query of the database."""

    metrics: MetricsRegistry
    ports: Ports
    cache_ttl_s: float = CACHE_TTL_S
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _cached: Mapping[MetricDefinition, Samples] = field(default_factory=lambda: _DATABASE_DOWN)
    _cached_at: float | None = None

    async def __call__(self) -> bytes:
        async with self._lock:
            if self._cached_at is None or time.monotonic() - self._cached_at > self.cache_ttl_s:
                self._cached = await self._read()
                self._cached_at = time.monotonic()
        return await asyncio.to_thread(self.metrics.text, self._cached)

    async def _read(self) -> Mapping[MetricDefinition, Samples]:
        """The database's metrics, or only that it is down."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await read_database_metrics(self.ports)
        except (Failure, TimeoutError):
            return _DATABASE_DOWN
        except Exception:  # noqa: BLE001 - the metrics of the processes are served anyway
            _log.exception("reading the metrics of the installation failed")
            return _DATABASE_DOWN


async def read_database_metrics(ports: Ports) -> Mapping[MetricDefinition, Samples]:
    """The values of `DATABASE_METRICS`, over all groups of organizations. Raises Unavailable."""
    now = ports.clock()
    loads, waits, dead = list[Workload](), list[timedelta | None](), 0
    for group in await ports.groups.all():
        ours = await ports.groups.open(group) or ports
        loads.append(await ours.workloads.workload(now))
        waits.append(await ours.evaluation.work_queue.oldest_wait(now))
        dead += await ours.evaluation.work_queue.count_dead()
    load = Workload.total(loads)
    oldest = max((one for one in waits if one is not None), default=None)
    attendance = await ports.workers.status(now)
    seen = attendance.last_seen_at
    return {
        definitions.DATABASE_UP: {(): 1.0},
        definitions.RUNS: {("PENDING",): load.pending_runs, ("RUNNING",): load.running_runs},
        definitions.JOBS_QUEUED: {(band,): number for band, number in load.queued.items()},
        definitions.JOBS_RUNNING: {(): load.running},
        definitions.OLDEST_JOB_SECONDS: {(): 0.0 if oldest is None else oldest.total_seconds()},
        definitions.JOBS_DEAD: {(): dead},
        definitions.WORKERS: {(): attendance.alive},
        definitions.WORKER_SEEN_AT: {(): 0.0 if seen is None else seen.timestamp()},
    }
