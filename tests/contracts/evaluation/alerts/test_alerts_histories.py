"""Random histories of alerts read the same from memory and from PostgreSQL.

Part of the contract of Alerts: the use case evaluates runs and slots over both.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from adapters.memory.evaluation.custom_metrics import MemoryCustomMetrics
from adapters.memory.store import MemoryStore
from application.evaluation.alerts.alerts import EvaluateAlerts
from application.evaluation.ports.alerts import ORDER_WAIT_MAX, FinishedRun, MonitorSlot
from domain.evaluation.alerts.alert import AlertFigure, AlertRuleChange, AlertState
from domain.evaluation.monitors.monitor import Monitor
from domain.evaluation.scores.outcome import FailCode, Failed, Outcome, Scored, SkipCode, Skipped
from domain.ids import MonitorId, RunId
from tests.support.builders.values import NOON
from tests.support.fixtures.data_plane import ALL, project
from tests.support.fixtures.evaluation.alerts import a_rule, a_webhook, an_alert
from tests.support.fixtures.evaluation.evaluation import METRICS, work_of
from tests.support.fixtures.evaluation.monitors import (
    Monitoring,
    a_monitor,
    over_memory,
    over_postgres,
    run_of,
)
from tests.support.fixtures.histories import ComparedHistories, Step, Steps, assert_histories_agree

pytestmark = pytest.mark.service

MONITORS: Final = tuple(MonitorId(UUID(int=n)) for n in (1, 2))
ALERTS: Final = tuple(UUID(int=n) for n in (3, 4, 5))

monitors: Final = st.sampled_from([*MONITORS, MONITORS[0], MONITORS[0]])
alerts: Final = st.sampled_from(ALERTS)
waits: Final = st.sampled_from([0, 0, 1, 59, 60, 599, 600, 3_600, 21_600]).map(
    lambda seconds: timedelta(seconds=seconds)
)
outcomes: Final[st.SearchStrategy[Outcome]] = st.sampled_from(
    [
        Scored(0.9, "", {"fingerprint": "f"}),
        Scored(0.2, "", {"fingerprint": "f"}),
        Scored(0.2, "", {"fingerprint": "g"}),
        Skipped(SkipCode.NO_TOOLS),
        Failed(FailCode.RATE_LIMITED),
    ]
)


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run of a target for each outcome, which took so long until it ended or was cancelled."""

    outcomes: list[Outcome]
    took_s: int
    is_cancelled: bool


ended_runs: Final = st.builds(
    EndedRun,
    st.lists(outcomes, min_size=1, max_size=2),
    st.sampled_from([0, 3, 700]),
    st.sampled_from([False, False, False, True]),
)
rules: Final = st.builds(
    a_rule,
    figure=st.sampled_from(AlertFigure),
    samples_min=st.integers(1, 2),
    breaches=st.integers(1, 2),
    recoveries=st.integers(1, 2),
)
changes: Final = st.builds(
    AlertRuleChange,
    samples_min=st.integers(1, 3),
    breaches=st.integers(1, 2),
    threshold=st.sampled_from([0.1, 0.5, 0.95]),
)


@dataclass(frozen=True)
class OurAlerts:
    """The alerts of one project: other examples share the database."""

    inner: Any
    ours: UUID
    is_newest_first: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def list_finished_runs(self, after: FinishedRun | None = None) -> Sequence[FinishedRun]:
        found = list[FinishedRun]()
        while some := await self.inner.list_finished_runs(after):
            found += [one for one in some if one.project == self.ours]
            after = some[-1]
        return found[::-1] if self.is_newest_first else found

    async def list_passed_slots(self, now: datetime) -> Sequence[MonitorSlot]:
        found = await self.inner.list_passed_slots(now)
        return [one for one in found if one.project == self.ours]


STEPS: Final = Steps()


class Histories(ComparedHistories[Monitoring]):
    """One project with a few monitors, whose runs end and slots pass in any order."""

    @initialize(first=rules, second=rules)
    def begin(self, first: Any, second: Any) -> None:
        self.ours, self.now, self.model = project(), NOON, over_memory(MemoryStore())
        self.runs = 0
        for monitor_id in MONITORS:
            self.create_monitor(monitor_id)
        self.webhook = a_webhook(self.ours)
        self.run_on_both(lambda over: over.webhooks.create(self.webhook))
        self.create_alert(ALERTS[0], MONITORS[0], first)
        self.create_alert(ALERTS[1], MONITORS[0], second)

    # --- monitors, their runs and slots ---

    @STEPS.step(3, wait=waits)
    def wait(self, wait: timedelta) -> None:
        self.now += wait

    def create_monitor(self, monitor_id: MonitorId) -> None:
        new = a_monitor(
            self.ours, id=monitor_id, next_run_at=self.now, created_at=self.now, updated_at=self.now
        )
        self.run_on_both(lambda over: over.monitors.create(new))

    @STEPS.step(monitor_id=monitors)
    def replace_monitor(self, monitor_id: MonitorId) -> None:
        """Deletes it with its alerts; its runs stay."""
        self.run_on_both(partial(self._delete_monitor, monitor_id))
        self.create_monitor(monitor_id)

    async def _delete_monitor(self, monitor_id: MonitorId, over: Monitoring) -> bool:
        return await over.monitors.delete(self.ours, monitor_id)

    @STEPS.step(monitor_id=monitors, is_paused=st.booleans())
    def pause_or_resume(self, monitor_id: MonitorId, is_paused: bool) -> None:
        now = self.now

        def edit(known: Monitor) -> Monitor:
            return known.paused(now) if is_paused else known.resumed(now)

        self.run_on_both(lambda over: over.monitors.edit(self.ours, monitor_id, edit))

    @STEPS.step(monitor_id=monitors)
    def use_slot_without_run(self, monitor_id: MonitorId) -> None:
        async def use(over: Monitoring) -> bool:
            known = await over.monitors.get(self.ours, monitor_id)
            if not known.is_due(self.now):
                return False
            return await over.monitors.store_run(known, known.fired(self.now, None, None), None, [])

        self.run_on_both(use)

    @STEPS.step(
        8,
        monitor_id=monitors,
        runs=st.lists(ended_runs, min_size=1, max_size=4),
        is_seen=st.booleans(),
    )
    def run(self, monitor_id: MonitorId, runs: list[EndedRun], is_seen: bool) -> None:
        """Runs of a monitor that end or are cancelled, and may be evaluated at once."""
        for one in runs:
            self.now += timedelta(seconds=1)
            self.runs += 1
            id_ = RunId(uuid.uuid5(self.ours, str(self.runs)))
            self.run_on_both(partial(self._run, monitor_id, id_, one))
        if is_seen:
            self.evaluate(False)

    async def _run(
        self, monitor_id: MonitorId, new: RunId, ended: EndedRun, over: Monitoring
    ) -> Any:
        began = self.now - timedelta(seconds=ended.took_s)
        known = await over.monitors.get(self.ours, monitor_id)
        run = run_of(known, len(ended.outcomes), id=new, created_at=began)
        await over.evaluating.start_run(run, work_of(run), began)
        if ended.is_cancelled:
            return await over.evaluating.runs.cancel(self.ours, new, self.now)
        jobs = await over.evaluating.work_queue.dispatch(self.ours, began)
        for job, outcome in zip(jobs, ended.outcomes, strict=True):
            claim = await over.evaluating.claim(job, began)
            await over.evaluating.finish(claim, outcome, self.now)
        return await over.evaluating.run(run)

    # --- alerts ---

    @STEPS.step(4, new=alerts, monitor_id=monitors, rule=rules)
    def create_alert(self, new: UUID, monitor_id: MonitorId, rule: Any) -> None:
        async def create(over: Monitoring) -> Any:
            known = await over.monitors.get(self.ours, monitor_id)
            alert = an_alert(known, id=new, rule=rule, created_at=self.now)
            return await over.alerts.create(
                replace(alert, watch=replace(alert.watch, since=self.now))
            )

        self.run_on_both(create)

    @STEPS.step(2, one=alerts, monitor_id=monitors, change=changes)
    def change_alert(self, one: UUID, monitor_id: MonitorId, change: AlertRuleChange) -> None:
        self.run_on_both(
            lambda over: over.alerts.edit(
                self.ours, monitor_id, one, lambda known: known.changed(change)
            )
        )

    @STEPS.step(one=alerts, monitor_id=monitors)
    def delete_alert(self, one: UUID, monitor_id: MonitorId) -> None:
        self.run_on_both(lambda over: over.alerts.delete(self.ours, monitor_id, one))

    @STEPS.step(3, is_newest_first=st.booleans())
    def evaluate(self, is_newest_first: bool) -> None:
        """Evaluates all runs and slots; in the wrong order, some runs wait for earlier ones."""
        faults = list[Exception]()

        async def act(over: Monitoring) -> int:
            ours: Any = OurAlerts(over.alerts, self.ours, is_newest_first)
            custom = MemoryCustomMetrics(MemoryStore())
            evaluate = EvaluateAlerts(
                ours, custom, lambda _, fault: faults.append(fault), lambda: self.now
            )
            return await evaluate()

        self.run_on_both(act)
        assert faults == []

    @rule(steps=STEPS.some(4, 16))
    def write(self, steps: list[Step]) -> None:
        """Several steps before all is read: reading takes longer."""
        for name, values in steps:
            getattr(self, name)(**values)

    # --- reads ---

    @invariant()
    def everything_agrees(self) -> None:
        async def read(over: Monitoring) -> list[Any]:
            ours = OurAlerts(over.alerts, self.ours)
            page = await over.monitors.page(self.ours, None, ALL)
            found: list[Any] = [
                page,
                await over.webhooks.all(self.ours),
                await ours.list_finished_runs(),
                sorted(await ours.list_passed_slots(self.now), key=lambda one: one.alert),
            ]
            for state in (None, *AlertState):
                found += [
                    await over.alerts.page(self.ours, state, ALL),
                    await over.alerts.changes_of_project(self.ours, state, ALL),
                ]
            for one in page.items:
                found += [
                    await over.alerts.by_monitor(self.ours, one.id),
                    await over.alerts.finished_run_stats(one, METRICS[0], 0.5, 3),
                ]
            return [*found, await over.webhooks.deliveries(self.ours, self.webhook.id, ALL)]

        self.run_on_both(read)

    def teardown(self) -> None:
        """At the end, every run is evaluated. Nothing stays due, which other tests would find."""
        if not hasattr(self, "model"):
            return
        self.now += ORDER_WAIT_MAX
        self.evaluate(False)
        ours = OurAlerts(self.postgres.alerts, self.ours)
        assert self.runner.run(ours.list_finished_runs()) == []
        self.run_on_both(lambda over: over.webhooks.delete(self.ours, self.webhook.id))
        for monitor_id in MONITORS:
            self.run_on_both(partial(self._delete_monitor, monitor_id))


@pytest.mark.exhaustive  # test_alerts.py has each step
def test_random_histories_of_alerts_agree(pool, serving_url):
    assert_histories_agree(Histories, over_postgres, serving_url, examples=50, steps=6)
