"""Alerts that are evaluated while they are changed, or their monitor is deleted."""

import asyncio

import pytest

from adapters.postgres.database.tenants import within
from application.evaluation.ports.alerts import AlertEvaluation
from domain.evaluation.alerts.alert import AlertFigure
from domain.page import PageRequest
from tests.support.builders.values import NOON
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.evaluation import monitors
from tests.support.fixtures.evaluation.alerts import (
    a_rule,
    a_webhook,
    an_alert,
    complete_run,
    ended_run_of,
    raised_alert,
)
from tests.support.fixtures.evaluation.monitors import run_of
from tests.support.fixtures.lock_waits import count_lock_waits
from tests.support.waiting import until

pytestmark = pytest.mark.service

CHANGE_RULES = "UPDATE alerts SET threshold = 0.25, clear_at = 0.25 WHERE project_id = $1"
LOCK_WEBHOOKS = "SELECT 1 FROM webhooks WHERE project_id = $1 FOR UPDATE"
WAITING = "(webhooks|monitors|alerts)"


async def test_slot_that_is_evaluated_during_the_delete_of_its_monitor_leaves_no_change(
    patient_pool, pool
):
    async with monitors.over_postgres(patient_pool) as monitoring:
        alerts, monitor = monitoring.alerts, await monitoring.create_monitor(project())
        ours = monitor.project_id
        await monitoring.webhooks.create(a_webhook(ours))
        alert = await alerts.create(an_alert(monitor, rule=a_rule(figure=AlertFigure.NO_DATA)))

        async def passed_slot():
            [slot] = [one for one in await alerts.list_passed_slots(NOON) if one.project == ours]
            return slot

        assert await alerts.apply_slot(await passed_slot(), lambda _: [], NOON)
        fired = monitor.fired(NOON, None, None)
        assert await monitoring.monitors.store_run(monitor, fired, None, [])
        slot, raised = await passed_slot(), raised_alert(ended_run_of(run_of(monitor)), alert)
        async with within(pool, ours).transaction() as locking:
            await locking.execute(LOCK_WEBHOOKS, ours)
            evaluating = asyncio.create_task(alerts.apply_slot(slot, lambda _: [raised], NOON))
            await until(lambda: count_lock_waits(pool, WAITING))
            deleting = asyncio.create_task(monitoring.monitors.delete(ours, monitor.id))
            await until(lambda: count_lock_waits(pool, WAITING), lambda count: count > 1)
        assert await asyncio.gather(evaluating, deleting) == [True, True]
        assert (await alerts.changes_of_project(ours, None, PageRequest())).total == 0


async def test_run_is_evaluated_by_the_rule_that_is_stored_meanwhile(patient_pool, pool):
    async with monitors.over_postgres(patient_pool) as monitoring:
        alerts, monitor = monitoring.alerts, await monitoring.create_monitor(project())
        await alerts.create(an_alert(monitor))
        run, thresholds = ended_run_of(await complete_run(monitoring, monitor)), []

        def evaluate(there):
            thresholds.extend(one.rule.threshold for one in there)
            return [AlertEvaluation(one) for one in there]

        async with within(pool, monitor.project_id).transaction() as changing:
            await changing.execute(CHANGE_RULES, monitor.project_id)
            evaluating = asyncio.create_task(alerts.apply_run(run, evaluate, NOON))
            await until(lambda: count_lock_waits(pool, WAITING))
        assert await evaluating
        assert thresholds == [0.25]
