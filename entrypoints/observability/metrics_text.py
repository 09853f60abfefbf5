"""The text of /metrics: the metrics of the processes, and those of the installation's database."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from adapters.prometheus import definitions
from adapters.prometheus.definitions import MetricDefinition
from adapters.prometheus.registry import MetricsRegistry, Samples
from application.evaluation.ports.work_queue import Workload
from application.use_cases import Ports
from domain.errors import Failure, Unavailable

CACHE_TTL_S: Final = 5.0  # for which the values from the database serve other scrapes
TIMEOUT_S: Final = 4.0  # scrapers give up after ten seconds
GROUP_TIMEOUT_S: Final = 2.5  # of which each group of organizations is given this much
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
    """The values of `DATABASE_METRICS`, over the groups of organizations that answer.

    Raises Unavailable if none does.
    """
    now = ports.clock()
    groups = await ports.groups.all()
    read = await asyncio.gather(*(_read_group(ports, group, now) for group in groups))
    answered = [one for one in read if one is not None]
    if not answered:
        raise Unavailable("The tables of no group of organizations can be reached")
    loads = [one.load for one in answered]
    waits = [one.oldest_wait for one in answered]
    dead = sum(one.dead for one in answered)
    load = Workload.total(loads)
    oldest = max((one for one in waits if one is not None), default=None)
    workers = await ports.workers.status(now)
    seen = workers.last_seen_at
    return {
        definitions.DATABASE_UP: {(): 1.0},
        definitions.TABLE_GROUP_UP: {
            (str(group),): float(one is not None) for group, one in zip(groups, read, strict=True)
        },
        definitions.RUNS: {("PENDING",): load.pending_runs, ("RUNNING",): load.running_runs},
        definitions.JOBS_QUEUED: {(band,): number for band, number in load.queued.items()},
        definitions.JOBS_RUNNING: {(): load.running},
        definitions.OLDEST_JOB_SECONDS: {(): 0.0 if oldest is None else oldest.total_seconds()},
        definitions.JOBS_DEAD: {(): dead},
        definitions.WORKERS: {(): workers.alive},
        definitions.WORKER_SEEN_AT: {(): 0.0 if seen is None else seen.timestamp()},
    }


@dataclass(frozen=True, slots=True)
class _GroupMetrics:
    load: Workload
    oldest_wait: timedelta | None
    dead: int


async def _read_group(ports: Ports, group: int, now: datetime) -> _GroupMetrics | None:
    """The metrics of one group; None if it doesn't answer: the others are served."""
    try:
        async with asyncio.timeout(GROUP_TIMEOUT_S):
            ours = await ports.groups.open(group) or ports
            queue = ours.evaluation.work_queue
            return _GroupMetrics(
                load=await ours.workloads.workload(now),
                oldest_wait=await queue.oldest_wait(now),
                dead=await queue.count_dead(),
            )
    except (Unavailable, TimeoutError):
        return None
