"""Alerts over memory adapters: creating them, and evaluating finished runs."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from adapters.memory.evaluation.alerts import MemoryAlerts
from adapters.memory.evaluation.custom_metrics import MemoryCustomMetrics
from adapters.memory.store import MemoryStore
from application.evaluation.alerts.alerts import (
    UNAVAILABLE_MAX,
    CreateAlert,
    EvaluateAlerts,
    MessageContext,
    evaluate_alert,
)
from application.evaluation.ports.alerts import ORDER_WAIT_MAX, FinishedRun, MonitorSlot
from domain.errors import Invalid, NotFound, Unavailable
from domain.evaluation.alerts.alert import AlertFigure, AlertState, RunMetricStats
from domain.evaluation.alerts.alert_message import AlertNames
from domain.evaluation.scores.outcome import Scored
from domain.ids import MonitorId
from domain.page import PageRequest
from tests.support.builders.values import NOON, THEIRS, at
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.evaluation import monitors as watched
from tests.support.fixtures.evaluation.alerts import a_rule, a_webhook, an_alert, complete_run
from tests.support.fixtures.evaluation.evaluation import METRICS

GOOD, BAD = Scored(0.9, "", {}), Scored(0.2, "", {})
OK, ALERTING, NO_DATA = AlertState


class AlertHarness:
    """Monitors and alerts over one store."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.monitoring = watched.over_memory(self.store)
        self.faults: list[tuple[FinishedRun | MonitorSlot, Exception]] = []
        self.now = NOON

    async def alert(self, monitor, **said):
        create = CreateAlert(self.monitoring.alerts, self.monitoring.monitors, lambda: self.now)
        rule = a_rule(**{"samples_min": 1} | said)
        return await create(monitor.project_id, monitor.id, uuid.uuid4(), rule)

    async def assess(self, alerts=None) -> int:
        return await EvaluateAlerts(
            alerts or self.monitoring.alerts,
            MemoryCustomMetrics(self.store),
            lambda ended, fault: self.faults.append((ended, fault)),
            lambda: self.now,
        )()

    async def changes(self, monitor):
        page = await self.monitoring.alerts.changes(monitor.project_id, monitor.id, PageRequest())
        return list(page.items)

    async def states(self, monitor):
        there = await self.monitoring.alerts.by_monitor(monitor.project_id, monitor.id)
        return [one.watch.state for one in there]


async def test_first_state_of_an_alert_is_ok():
    harness = AlertHarness()
    monitor = await harness.monitoring.create_monitor(project())
    alert = await harness.alert(monitor)
    assert (alert.watch.state, alert.watch.since, alert.created_at) == (OK, NOON, NOON)


async def test_rejects_alert_on_a_metric_the_monitor_does_not_have():
    harness = AlertHarness()
    monitor = await harness.monitoring.create_monitor(project())
    with pytest.raises(Invalid) as refused:
        await harness.alert(monitor, metric="coherence")
    [error] = refused.value.errors
    assert error.field == "metric"
    assert all(name in error.message for name in monitor.metrics)
    with pytest.raises(NotFound):
        await harness.alert(replace(monitor, project_id=THEIRS))


async def test_changes_to_alerting_and_back_to_ok_are_notified():
    harness = AlertHarness()
    monitor = await harness.monitoring.create_monitor(project())
    alert = await harness.alert(monitor)
    webhook = await harness.monitoring.webhooks.create(a_webhook(monitor.project_id))
    bad = await complete_run(harness.monitoring, monitor, 2, BAD, created_at=at(1))
    harness.now = at(2)
    assert await harness.assess() == 1
    assert await harness.assess() == 0
    await complete_run(harness.monitoring, monitor, 2, BAD, created_at=at(3))
    await complete_run(harness.monitoring, monitor, 2, GOOD, created_at=at(4))
    harness.now = at(5)
    assert await harness.assess() == 2
    mended, raised = await harness.changes(monitor)
    assert (raised.before, raised.after, raised.run_id, raised.at) == (OK, ALERTING, bad.id, at(2))
    assert raised.value == pytest.approx(0.2)
    assert (mended.before, mended.after) == (ALERTING, OK)
    log = await harness.monitoring.webhooks.deliveries(
        monitor.project_id, webhook.id, PageRequest()
    )
    reported = {one.change_id: json.loads(one.body) for one in log.items}
    assert reported[raised.id] == {
        "type": "alert.changed",
        "timestamp": raised.at.isoformat(),
        "data": {
            "change_id": str(raised.id),
            "project_id": str(monitor.project_id),
            "project_name": str(monitor.project_id),  # it isn't stored here
            "monitor_id": str(monitor.id),
            "monitor_name": monitor.name,
            "alert_id": str(alert.id),
            "run_id": str(bad.id),
            "metric": METRICS[0],
            "figure": "score_mean",
            "threshold": 0.5,
            "value": raised.value,
            "scored": 2,
            "failed": 0,
            "skipped": 0,
            "before": "OK",
            "state": "ALERTING",
            "url": None,
        },
        "text": f"ALERTING: {monitor.name} in {monitor.project_id}: the mean score of "
        f"{METRICS[0]} is 0.2, below 0.5; 2 scored",
    }
    assert reported[mended.id]["data"]["state"] == "OK"


def test_message_has_how_many_evaluations_a_figure_covers():
    alert = an_alert(watched.a_monitor(project()))
    stats = RunMetricStats(scored=3, mean=0.2, failed=2, skipped=1)
    shown = MessageContext(AlertNames("shop", "nightly"), None)
    notice = evaluate_alert(alert, 0.2, None, NOON, shown, stats=stats).notice
    assert notice is not None
    told = json.loads(notice.body)
    assert {one: told["data"][one] for one in ("scored", "failed", "skipped")} == {
        "scored": 3,
        "failed": 2,
        "skipped": 1,
    }
    assert told["text"].endswith("; 3 scored, 2 failed, 1 skipped")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"samples_min": 3}, NO_DATA),
        ({"figure": AlertFigure.PASS_RATE}, ALERTING),
        ({"figure": AlertFigure.FAILED_SHARE}, OK),
        ({"figure": AlertFigure.DROP, "threshold": 0.3}, ALERTING),
        ({"figure": AlertFigure.DROP, "threshold": 0.8}, OK),
        ({"figure": AlertFigure.NO_DATA, "samples_min": 3}, ALERTING),
        ({"breaches": 2}, OK),
        ({"metric": METRICS[1]}, ALERTING),
    ],
)
async def test_each_figure_evaluates_its_own_statistic(said, expected):
    harness = AlertHarness()
    monitor = await harness.monitoring.create_monitor(project())
    await complete_run(harness.monitoring, monitor, 2, GOOD, created_at=at(0))
    await harness.assess()
    await harness.alert(monitor, **said)
    await complete_run(harness.monitoring, monitor, 2, BAD, created_at=at(1))
    await harness.assess()
    assert await harness.states(monitor) == [expected]


async def test_alert_ignores_runs_finished_before_its_creation():
    harness = AlertHarness()
    monitor = await harness.monitoring.create_monitor(project())
    await complete_run(harness.monitoring, monitor, 1, BAD)
    assert await harness.assess() == 1
    await harness.alert(monitor)
    assert await harness.assess() == 0
    assert await harness.states(monitor) == [OK]


async def test_alert_ignores_a_run_that_ended_before_although_it_is_evaluated_later():
    harness = AlertHarness()
    monitor = await harness.monitoring.create_monitor(project())
    await complete_run(harness.monitoring, monitor, 1, BAD)
    harness.now = at(1)
    await harness.alert(monitor)
    assert await harness.assess() == 1
    assert await harness.states(monitor) == [OK]
    await complete_run(harness.monitoring, monitor, 1, BAD, created_at=at(2))
    assert await harness.assess() == 1
    assert await harness.states(monitor) == [ALERTING]


async def test_slot_without_a_run_has_no_data_and_is_notified():
    harness = AlertHarness()
    monitor = await harness.monitoring.create_monitor(project())
    await harness.alert(monitor, figure=AlertFigure.NO_DATA)
    await harness.alert(monitor)
    assert await harness.assess() == 0
    harness.now = at(1)
    used = monitor.fired(harness.now, None, None)
    assert await harness.monitoring.monitors.store_run(monitor, used, None, [])
    assert await harness.assess() == 1
    assert await harness.assess() == 0
    assert sorted(await harness.states(monitor)) == [ALERTING, OK]
    [change] = await harness.changes(monitor)
    assert (change.run_id, change.after, change.at) == (None, ALERTING, at(1))
    await complete_run(harness.monitoring, monitor, 1, GOOD, created_at=at(2))
    assert await harness.assess() == 1
    assert await harness.states(monitor) == [OK, OK]


class OneIsBroken(MemoryAlerts):
    async def metric_stats(self, ended, metric, threshold):
        if ended == min(await self.list_finished_runs(), key=lambda one: one.at):
            raise RuntimeError("no")
        return await super().metric_stats(ended, metric, threshold)


async def test_failing_run_delays_only_its_monitor_and_for_limited_time():
    harness = AlertHarness()
    monitor, other = [await harness.monitoring.create_monitor(project()) for _ in range(2)]
    await harness.alert(monitor)
    broken = await complete_run(harness.monitoring, monitor, 1, BAD, created_at=at(0))
    await complete_run(harness.monitoring, other, 1, BAD, created_at=at(1))
    await complete_run(harness.monitoring, monitor, 1, BAD, created_at=at(1))
    assert await harness.assess(OneIsBroken(harness.store)) == 1
    assert await harness.states(monitor) == [OK]
    harness.now = broken.completed_at + ORDER_WAIT_MAX
    assert await harness.assess(OneIsBroken(harness.store)) == 1
    assert [ended.run for ended, _ in harness.faults] == [broken.id, broken.id]
    assert await harness.states(monitor) == [ALERTING]
    assert await harness.assess() == 1


class OneSlotIsBroken(MemoryAlerts):
    async def apply_slot(self, slot, assess, now):
        if slot == min(await self.list_passed_slots(now), key=lambda one: one.alert):
            raise RuntimeError("no")
        return await super().apply_slot(slot, assess, now)


async def test_failing_slot_delays_no_other_slot():
    harness = AlertHarness()
    monitors = [await harness.monitoring.create_monitor(project()) for _ in range(2)]
    for monitor in monitors:
        await harness.alert(monitor, figure=AlertFigure.NO_DATA)
    await harness.assess()
    for monitor in monitors:
        used = monitor.fired(at(1), None, None)
        assert await harness.monitoring.monitors.store_run(monitor, used, None, [])
    harness.now = at(1)
    assert await harness.assess(OneSlotIsBroken(harness.store)) == 1
    assert len(harness.faults) == 1
    states = [await harness.states(monitor) for monitor in monitors]
    assert sorted(states) == [[ALERTING], [OK]]
    assert await harness.assess() == 1


class Away(MemoryAlerts):
    async def apply_run(self, ended, assess, now):
        raise Unavailable("no database")


async def test_run_is_evaluated_later_if_the_database_is_unavailable():
    harness = AlertHarness()
    monitor = await harness.monitoring.create_monitor(project())
    await complete_run(harness.monitoring, monitor)
    with pytest.raises(Unavailable):
        await harness.assess(Away(harness.store))
    assert harness.faults == []
    assert await harness.assess() == 1


@dataclass(frozen=True)
class SomeAreSlow(MemoryAlerts):
    """Reads the results of some monitors for too long, and keeps which it tried."""

    slow: Sequence[MonitorId]
    tried: list[MonitorId] = field(default_factory=list)

    async def metric_stats(self, ended, metric, threshold):
        if ended.monitor in self.slow:
            self.tried.append(ended.monitor)
            raise Unavailable("it took too long")
        return await super().metric_stats(ended, metric, threshold)


async def test_run_whose_results_take_too_long_delays_no_other_monitor():
    harness = AlertHarness()
    monitors = [await harness.monitoring.create_monitor(project()) for _ in range(2)]
    for second, monitor in enumerate(monitors):
        await harness.alert(monitor)
        await complete_run(harness.monitoring, monitor, 1, BAD, created_at=at(second))
    slow, other = monitors
    with pytest.raises(Unavailable):
        await harness.assess(SomeAreSlow(harness.store, [slow.id]))
    assert await harness.states(slow) == [OK]
    assert await harness.states(other) == [ALERTING]
    assert await harness.assess() == 1
    assert await harness.states(slow) == [ALERTING]


async def test_round_ends_once_many_runs_found_the_database_unavailable():
    harness = AlertHarness()
    monitors = [
        await harness.monitoring.create_monitor(project()) for _ in range(UNAVAILABLE_MAX + 1)
    ]
    for second, monitor in enumerate(monitors):
        await harness.alert(monitor)
        await complete_run(harness.monitoring, monitor, created_at=at(second))
    slow = SomeAreSlow(harness.store, [one.id for one in monitors])
    with pytest.raises(Unavailable):
        await harness.assess(slow)
    assert slow.tried == slow.slow[:-1]


class NoNames(MemoryAlerts):
    async def names(self, project, monitor):
        raise AssertionError("the names are not needed")


async def test_names_are_not_read_for_runs_without_alerts_nor_for_the_first_slot():
    harness = AlertHarness()
    bare, watched_one = [await harness.monitoring.create_monitor(project()) for _ in range(2)]
    await complete_run(harness.monitoring, bare, 1, BAD)
    await harness.alert(watched_one, figure=AlertFigure.NO_DATA)
    assert await harness.assess(NoNames(harness.store)) == 1
    assert harness.faults == []
    assert await harness.states(watched_one) == [OK]
