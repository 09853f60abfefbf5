"""Requests for the same rows wait for each other.

In whatever order they have them, they don't deadlock; together they stay within a bound.
"""

import asyncio
import uuid
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
import pytest

from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.database.tenants import within
from adapters.postgres.evaluation.scores.waiting_evaluations import (
    INSERT_WAITING,
    PostgresWaitingEvaluations,
)
from adapters.postgres.identity.refusals import PostgresRefusals
from application.evaluation.ports.sent_evaluations import WaitingEvaluation
from domain.identity.refusal import REFUSALS_PER_HOUR_MAX
from tests.contracts.evaluation.scores.test_waiting_evaluations import of_trace
from tests.contracts.identity.test_refusals import a_refusal, an_organization
from tests.contracts.tracing.otlp.test_rejections import page, rejected
from tests.support.fixtures import data_plane
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.lock_waits import count_lock_waits
from tests.support.waiting import until

pytestmark = pytest.mark.service

LOCK_REJECTION = "SELECT 1 FROM otlp_rejections WHERE project_id = $1 AND id = $2 FOR UPDATE"
COUNT_WAITING_EVALUATIONS = "SELECT count(*) FROM waiting_evaluations WHERE project_id = $1"
COUNT_REFUSALS = """
SELECT count(*) FILTER (WHERE address <> ''), sum(count) FROM access_refusals
WHERE organization_id = $1
"""
INSERT_REFUSAL = """
INSERT INTO access_refusals (organization_id, hour, status, address, credential, count)
VALUES ($1, $2, $3, $4, $5, 1)
"""
WAITING = "(otlp_rejections|waiting_evaluations|access_refusals|pg_advisory)"


async def while_locked(pool, ours, lock, *calls):
    """The results of calls that begin while a row is locked."""
    async with within(pool, ours).transaction() as earlier:
        await earlier.execute(*lock)
        tasks = [asyncio.create_task(one) for one in calls]
        await until(lambda: count_lock_waits(pool, WAITING), lambda count: count >= len(calls))
    return await asyncio.gather(*tasks)


@asynccontextmanager
async def undone(pool, *statement):
    """Executes a statement, and undoes it when the block ends."""
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(*statement)
        yield
        await transaction.rollback()


async def test_evaluations_that_wait_are_added_in_any_order(patient_pool, pool):
    async with data_plane.over_postgres(patient_pool) as plane:
        ours, now, add = project(), datetime.now(UTC), plane.evaluation.waiting_evaluations.add
        waiting = [WaitingEvaluation.from_received(ours, of_trace(uuid.uuid4())) for _ in range(3)]
        waiting.sort(key=lambda one: one.id)
        sent = [one.received for one in waiting]
        data = msgspec.json.encode(sent[1].evaluation)  # stays, and other tests read all that wait
        middle = arrays([(waiting[1].id, sent[1].trace, None, data)])
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


async def test_evaluations_of_two_requests_stay_within_the_bound(patient_pool, pool):
    waiting, ours = PostgresWaitingEvaluations(patient_pool, waiting_max=2), project()
    now, [same, *others] = datetime.now(UTC), [of_trace(uuid.uuid4()) for _ in range(3)]
    known = WaitingEvaluation.from_received(ours, same)
    row = arrays([(known.id, same.trace, None, b"{}")])
    async with undone(pool, INSERT_WAITING, ours, now, *row):
        # Each has counted, and waits for the row that is undone; or waits to count.
        tasks = [asyncio.create_task(waiting.add(ours, [same, one], now)) for one in others]
        await until(lambda: count_lock_waits(pool, WAITING), lambda count: count == len(tasks))
    assert sorted(await asyncio.gather(*tasks)) == [0, 1]
    assert await pool.fetchval(COUNT_WAITING_EVALUATIONS, ours) == 2


async def test_refusals_of_two_processes_stay_within_the_bound(patient_pool, pool):
    refusals, ours = PostgresRefusals(patient_pool), an_organization()
    first, second, *many = [
        a_refusal(ours, address=f"2001:db8::{n}") for n in range(REFUSALS_PER_HOUR_MAX + 1)
    ]
    await refusals.add(dict.fromkeys(many, 1))  # room for one
    row = (ours, first.hour, first.status, first.address, "")
    async with undone(pool, INSERT_REFUSAL, *row):
        one = asyncio.create_task(refusals.add({first: 1}))
        await until(lambda: count_lock_waits(pool, WAITING))
        other = asyncio.create_task(refusals.add({second: 1}))
        await until(
            lambda: count_lock_waits(pool, WAITING), lambda count: count == 2 or other.done()
        )
    await asyncio.gather(one, other)
    [[distinct, counted]] = await pool.fetch(COUNT_REFUSALS, ours)
    assert (distinct, counted) == (REFUSALS_PER_HOUR_MAX, REFUSALS_PER_HOUR_MAX + 1)
