"""Contract of Workers: counts those seen recently, and forgets those not seen for long."""

import uuid
from datetime import timedelta

import pytest

from adapters.memory.evaluation.work_queue import MemoryWorkers
from adapters.postgres.database.pool import Pool
from adapters.postgres.evaluation.work_queue.workers import PostgresWorkers
from application.workers import WORKER_RETENTION, WORKER_TIMEOUT, Worker, Workers, WorkerStatus
from tests.support.builders.values import NOON

INSTANT = timedelta(microseconds=1)


@pytest.fixture
async def workers(adapter: Pool | None) -> Workers:
    if adapter is None:
        return MemoryWorkers()
    await adapter.execute("DELETE FROM workers")
    return PostgresWorkers(adapter)


def a_worker() -> Worker:
    return Worker(id=uuid.uuid4(), version="1.2.3", started_at=NOON)


async def test_workers_are_empty_at_first(workers):
    assert await workers.status(NOON) == WorkerStatus(0, None)


async def test_worker_counts_once_per_many_heartbeats(workers):
    first, second = a_worker(), a_worker()
    await workers.record_heartbeat(first, NOON)
    await workers.record_heartbeat(second, NOON + timedelta(seconds=5))
    await workers.record_heartbeat(first, NOON + timedelta(seconds=10))
    now = NOON + timedelta(seconds=11)
    assert await workers.status(now) == WorkerStatus(2, NOON + timedelta(seconds=10))


async def test_silent_worker_is_lost_but_last_seen_is_kept(workers):
    await workers.record_heartbeat(a_worker(), NOON)
    assert (await workers.status(NOON + WORKER_TIMEOUT - INSTANT)).alive == 1
    assert await workers.status(NOON + WORKER_TIMEOUT) == WorkerStatus(0, NOON)


async def test_worker_is_forgotten_after_a_day(workers):
    await workers.record_heartbeat(a_worker(), NOON)
    almost = NOON + WORKER_RETENTION - INSTANT
    assert await workers.status(almost) == WorkerStatus(0, NOON)
    assert await workers.status(NOON + WORKER_RETENTION) == WorkerStatus(0, None)
    await workers.record_heartbeat(other := a_worker(), NOON + WORKER_RETENTION)
    await workers.remove(other)
    assert await workers.status(NOON) == WorkerStatus(0, None)


async def test_leaving_worker_is_removed_at_once(workers):
    staying, leaving = a_worker(), a_worker()
    await workers.record_heartbeat(staying, NOON)
    await workers.record_heartbeat(leaving, NOON)
    await workers.remove(leaving)
    await workers.remove(a_worker())
    assert await workers.status(NOON) == WorkerStatus(1, NOON)
