"""Requests with the same rows in other orders wait for each other, and don't deadlock."""

import asyncio
import uuid
from datetime import UTC, datetime

import pytest

from adapters.postgres.database.columns import arrays
from adapters.postgres.database.tenants import within
from adapters.postgres.evaluation.scores.waiting_evaluations import INSERT_WAITING
from application.evaluation.ports.sent_evaluations import WaitingEvaluation
from tests.contracts.evaluation.scores.test_waiting_evaluations import of_trace
from tests.contracts.tracing.otlp.test_rejections import page, rejected
from tests.support.fixtures import data_plane
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.lock_waits import count_lock_waits
from tests.support.waiting import until

pytestmark = pytest.mark.service

LOCK_REJECTION = "SELECT 1 FROM otlp_rejections WHERE project_id = $1 AND id = $2 FOR UPDATE"
COUNT_WAITING_EVALUATIONS = "SELECT count(*) FROM waiting_evaluations WHERE project_id = $1"
WAITING = "(otlp_rejections|waiting_evaluations)"


async def while_locked(pool, ours, lock, *calls):
    """The results of calls that begin while a row is locked."""
    async with within(pool, ours).transaction() as earlier:
        await earlier.execute(*lock)
        tasks = [asyncio.create_task(one) for one in calls]
        await until(lambda: count_lock_waits(pool, WAITING), lambda count: count >= len(calls))
    return await asyncio.gather(*tasks)


async def test_evaluations_that_wait_are_added_in_any_order(patient_pool, pool):
    async with data_plane.over_postgres(patient_pool) as plane:
        ours, now, add = project(), datetime.now(UTC), plane.evaluation.waiting_evaluations.add
        waiting = [WaitingEvaluation.from_received(ours, of_trace(uuid.uuid4())) for _ in range(3)]
        waiting.sort(key=lambda one: one.id)
        sent = [one.received for one in waiting]
        middle = arrays([(waiting[1].id, sent[1].trace, None, b"{}")])
        lock = (INSERT_WAITING, ours, now, *middle)
        calls = (add(ours, sent, now), add(ours, sent[::-1], now))
        assert await while_locked(pool, ours, lock, *calls) == [0, 0]
        assert await pool.fetchval(COUNT_WAITING_EVALUATIONS, ours) == 3


async def test_rejections_are_added_in_any_order(patient_pool, pool):
    async with data_plane.over_postgres(patient_pool) as plane:
        ours, rejections = project(), plane.tracing.rejections
        known = sorted((rejected(ours) for _ in range(3)), key=lambda one: one.id)
        await rejections.add(known)
        lock = (LOCK_REJECTION, ours, known[1].id)
        await while_locked(pool, ours, lock, rejections.add(known), rejections.add(known[::-1]))
        assert [one.rejection.count for one in await page(rejections, ours)] == [3] * 3
