"""Contract of Workers: counts those seen recently, and forgets those not seen for long."""

import uuid
from datetime import timedelta

import pytest

from adapters.memory.evaluation.workers import MemoryWorkers
from adapters.postgres.database.pool import Pool
from adapters.postgres.evaluation.work_queue.workers import PostgresWorkers
from application.workers import FORGOTTEN_AFTER, LOST_AFTER, Attendance, Worker, Workers
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


async def test_no_workers_at_first(workers):
    assert await workers.attendance(NOON) == Attendance(0, None)


async def test_worker_counts_once_per_many_heartbeats(workers):
    first, second = a_worker(), a_worker()
    await workers.seen(first, NOON)
    await workers.seen(second, NOON + timedelta(seconds=5))
    await workers.seen(first, NOON + timedelta(seconds=10))
    now = NOON + timedelta(seconds=11)
    assert await workers.attendance(now) == Attendance(2, NOON + timedelta(seconds=10))


async def test_silent_worker_is_lost_but_last_seen_is_kept(workers):
    await workers.seen(a_worker(), NOON)
    assert (await workers.attendance(NOON + LOST_AFTER - INSTANT)).alive == 1
    assert await workers.attendance(NOON + LOST_AFTER) == Attendance(0, NOON)


async def test_worker_is_forgotten_after_a_day(workers):
    await workers.seen(a_worker(), NOON)
    almost = NOON + FORGOTTEN_AFTER - INSTANT
    assert await workers.attendance(almost) == Attendance(0, NOON)
    assert await workers.attendance(NOON + FORGOTTEN_AFTER) == Attendance(0, None)
    await workers.seen(other := a_worker(), NOON + FORGOTTEN_AFTER)
    await workers.left(other)
    assert await workers.attendance(NOON) == Attendance(0, None)


async def test_leaving_worker_is_removed_at_once(workers):
    staying, leaving = a_worker(), a_worker()
    await workers.seen(staying, NOON)
    await workers.seen(leaving, NOON)
    await workers.left(leaving)
    await workers.left(a_worker())
    assert await workers.attendance(NOON) == Attendance(1, NOON)
