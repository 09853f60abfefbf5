"""Monitors: validation, and the runs of slots and triggers."""

import asyncio
import uuid
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from adapters.memory.evaluation.monitors import Election, MemoryLeaderElection, MemoryMonitors
from adapters.memory.evaluation.runs import MemoryTargets
from adapters.memory.jobs import RecordedJobs
from adapters.memory.store import MemoryStore
from adapters.memory.tracing.traces import MemoryPriceBook
from application.evaluation.monitors import scheduler
from application.evaluation.monitors.monitors import MonitorRequest
from application.evaluation.runs.run_rules import RunRequest
from application.jobs import PlanRunJob
from domain.errors import Conflict, Invalid, NotFound, Unavailable
from domain.evaluation.judging.models import JudgeModels
from domain.evaluation.monitors.monitor import MonitorChange, MonitorStatus
from domain.evaluation.runs.run import TARGETS_MAX, RunStatus, TargetType
from domain.evaluation.runs.selection import (
    GivenInstant,
    SessionSelection,
    TraceSelection,
    sampling_rank,
)
from domain.ids import MonitorId, ProjectId, RunId
from domain.page import PageRequest
from domain.tracing.change import UNCHANGED
from entrypoints.composition.memory import memory_ports
from tests.support.builders.otel import fragments, sent_span
from tests.support.builders.values import NOON, at, prices, trace, trace_id
from tests.support.fixtures.in_memory_app import World

ORDER = MonitorRequest(
    name="nightly",
    target_type=TargetType.TRACE,
    run=RunRequest(metrics=["trace_success"]),
    selection=TraceSelection(),
    cadence="every_6h",
)
OF_SESSIONS = replace(
    ORDER,
    target_type=TargetType.SESSION,
    run=RunRequest(metrics=["agent_reliability"], signal_weights={"confidence": 2.0}),
    selection=SessionSelection(),
)
ALL = PageRequest(limit=200)


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def world(store):
    """Traces are stamped by its clock."""
    made = World(memory_ports(store, prices()))
    store.traces.clock = lambda: made.now
    return made


@pytest.fixture
def ours():
    return ProjectId(uuid.uuid4())


@pytest.fixture
def sent_jobs(world):
    jobs = world.ports.evaluation.jobs
    assert isinstance(jobs, RecordedJobs)
    return jobs.sent


class Shop:
    """A project with monitors, whose scheduler runs when the test says so."""

    def __init__(self, world, ours, **swapped):
        self.world, self.ours = world, ours
        self.evaluation = replace(world.ports.evaluation, **swapped)
        self.do = world.with_ports(evaluation=self.evaluation).evaluation

    async def monitors(self, order=ORDER, **said):
        return await self.do.create_monitor(self.ours, an_id(), replace(order, **said))

    async def stores(self, *sent):
        for one in sent:
            await self.world.ports.tracing.traces.put(self.ours, one)
        return sorted(str(one.id) for one in sent)

    async def read(self, monitor):
        return await self.do.monitors.get(self.ours, monitor.id)

    async def runs(self, monitor):
        page = await self.do.monitors.runs(self.ours, monitor.id, ALL)
        return [one.run for one in page.items][::-1]

    async def targets(self, run):
        """The targets of a run, in the order of its work."""
        return [one.assignment.target for one in self._store.work_of(self.ours, run.id)]

    @property
    def _store(self):
        return self.world.ports.evaluation.monitors.store

    async def slot(self, **wait):
        """Lets time pass, and has one scheduler look."""
        self.world.forward(**wait or {"hours": 6})
        return await self.do.run_due_monitors()


@pytest.fixture
def shop(world, ours):
    return Shop(world, ours)


def an_id():
    return MonitorId(uuid.uuid4())


# --- making and changing -------------------------------------------------------------------------


async def test_new_monitor_is_active_and_waits_for_its_first_slot(shop, sent_jobs):
    await shop.stores(trace())
    made = await shop.monitors(cadence="cron:  0  6 * * 1")
    assert (made.status, made.cadence) == (MonitorStatus.ACTIVE, "cron:0  6 * * 1")
    assert made.next_run_at.isoformat() == "2026-03-02T06:00:00+00:00"
    assert (made.created_at, made.updated_at, made.last_run_at) == (NOON, NOON, None)
    assert await shop.read(made) == made
    assert await shop.slot(seconds=30) == 0
    assert sent_jobs == []


async def test_creating_with_a_known_id_returns_the_stored_monitor(shop, ours):
    new = an_id()
    made = await shop.do.create_monitor(ours, new, ORDER)
    shop.world.forward(seconds=5)
    assert await shop.do.create_monitor(ours, new, replace(ORDER, name="other")) == made


@pytest.mark.parametrize(
    ("order", "field"),
    [
        (replace(ORDER, run=RunRequest(metrics=[])), "metrics"),
        (
            replace(ORDER, run=RunRequest(metrics=["trace_success", "agent_reliability"])),
            "metrics.1",
        ),
        (replace(ORDER, run=replace(ORDER.run, model="gpt-5")), "model"),
        (replace(ORDER, run=replace(ORDER.run, signal_weights={"a": 1.0})), "signal_weights"),
        (replace(ORDER, cadence="@daily"), "cadence"),
        (replace(OF_SESSIONS, run=ORDER.run), "metrics.0"),
    ],
    ids=["none", "of sessions", "model", "weights", "cadence", "of traces"],
)
async def test_rejects_invalid_monitors(world, ours, order, field):
    shop = Shop(world, ours, models=JudgeModels(allowed=("o3-pro",)))
    with pytest.raises(Invalid) as reported:
        await shop.do.create_monitor(ours, an_id(), order)
    assert [one.field for one in reported.value.errors] == [field]
    assert (await shop.do.monitors.page(ours, None, ALL)).total == 0


async def test_change_is_validated_for_the_target_type(world, ours):
    shop = Shop(world, ours, models=JudgeModels(allowed=("o3-pro",)))
    made = await shop.monitors()
    for change, field in (
        (MonitorChange(metrics=("agent_reliability",)), "metrics.0"),
        (MonitorChange(metrics=()), "metrics"),
        (MonitorChange(model="gpt-5"), "model"),
        (MonitorChange(cadence="hourly"), "cadence"),
        (MonitorChange(signal_weights={"a": 1.0}), "signal_weights"),
    ):
        with pytest.raises(Invalid) as reported:
            await shop.do.change_monitor(ours, made.id, change)
        assert [one.field for one in reported.value.errors] == [field]
    assert await shop.read(made) == made


async def test_change_is_stored(shop, ours):
    made = await shop.monitors(OF_SESSIONS)
    shop.world.forward(hours=1)
    change = MonitorChange(
        name="other",
        metrics=("agent_consistency", "agent_consistency"),
        model=None,
        cadence="cron: 0 0 * * *",
        signal_weights={},
    )
    changed = await shop.do.change_monitor(ours, made.id, change)
    assert (changed.name, changed.metrics) == ("other", ("agent_consistency",))
    assert (changed.cadence, changed.signal_weights) == ("cron:0 0 * * *", {})
    assert changed.next_run_at.isoformat() == "2026-03-02T00:00:00+00:00"
    assert changed.updated_at == shop.world.now
    assert await shop.do.change_monitor(ours, made.id, MonitorChange()) == changed
    cleared = await shop.do.change_monitor(ours, made.id, MonitorChange(signal_weights=UNCHANGED))
    assert cleared == changed


async def test_unknown_monitors_are_not_found(shop, ours):
    for ask in (
        shop.do.monitors.get(ours, an_id()),
        shop.do.change_monitor(ours, an_id(), MonitorChange(name="x")),
        shop.do.pause_monitor(ours, an_id()),
        shop.do.resume_monitor(ours, an_id()),
        shop.do.trigger_monitor(ours, an_id(), RunId(uuid.uuid4())),
        shop.do.delete_monitor(ours, an_id()),
        shop.do.monitors.runs(ours, an_id(), ALL),
    ):
        with pytest.raises(NotFound):
            await ask


# --- slots ---------------------------------------------------------------------------------------


async def test_slot_creates_and_enqueues_a_run(shop, ours, sent_jobs):
    ids = await shop.stores(trace(), trace())
    selection = TraceSelection(date_from=GivenInstant("2026-01-01", at(-9_999_999)))
    made = await shop.monitors(selection=selection, run=replace(ORDER.run, model="gpt-5"))
    assert await shop.slot() == 1
    [run] = await shop.runs(made)
    known = await shop.read(made)
    assert (run.name, run.monitor_id, run.status) == (
        "[Monitor] nightly",
        made.id,
        RunStatus.PENDING,
    )
    assert (run.model, run.metrics, run.created_at) == (
        "openai/gpt-5",
        ("trace_success",),
        shop.world.now,
    )
    assert run.filters == b'{"date_from":"2026-01-01"}'
    assert await shop.targets(run) == ids
    assert (known.last_run_at, known.last_run_id) == (shop.world.now, run.id)
    assert known.next_run_at == at(12 * 3600)
    assert known.updated_at == made.updated_at
    assert sent_jobs == [PlanRunJob(ours, run.id)]
    assert await shop.slot(seconds=30) == 0


async def test_next_slot_follows_the_due_one(shop):
    made = await shop.monitors()
    await shop.slot(hours=6, minutes=7)
    assert (await shop.read(made)).next_run_at == at(12 * 3600)


async def test_missed_slots_create_one_run(shop):
    await shop.stores(trace())
    made = await shop.monitors(only_if_changed=False)
    assert await shop.slot(days=3, hours=1) == 1
    assert len(await shop.runs(made)) == 1
    assert (await shop.read(made)).next_run_at == at((3 * 24 + 6) * 3600)


async def test_only_changed_traces_are_evaluated(shop):
    [first] = await shop.stores(one := trace())
    await shop.stores(two := trace())
    made = await shop.monitors()
    await shop.slot()
    assert await shop.slot() == 1  # a slot is used, and nothing has changed
    known = await shop.read(made)
    [run] = await shop.runs(made)
    assert (known.last_run_at, known.last_run_id) == (at(6 * 3600), run.id)
    await shop.stores(trace(id=one.id, name="other"), two)  # one of which is as it was
    await shop.slot()
    runs = await shop.runs(made)
    assert [await shop.targets(run) for run in runs[1:]] == [[first]]


async def test_late_trace_is_evaluated(shop):
    await shop.stores(trace())
    made = await shop.monitors()
    await shop.slot()
    late = await shop.stores(trace(started_at=at(-9_999_999)))
    await shop.slot()
    assert await shop.targets((await shop.runs(made))[-1]) == late


async def test_unsettled_writes_wait_for_the_next_slot(shop):
    made = await shop.monitors()
    shop.world.forward(hours=6, seconds=-2)
    fresh = await shop.stores(trace())
    assert await shop.slot(seconds=2) == 1
    assert await shop.runs(made) == []
    await shop.slot()
    assert [await shop.targets(run) for run in await shop.runs(made)] == [fresh]


async def test_session_is_evaluated_if_one_of_its_traces_changed(shop):
    await shop.stores(trace(session_id="s"), trace(session_id="t"), trace())
    made = await shop.monitors(OF_SESSIONS)
    await shop.slot()
    await shop.stores(trace(session_id="t"))
    await shop.slot()
    first, second = await shop.runs(made)
    assert (await shop.targets(first), await shop.targets(second)) == (["s", "t"], ["t"])
    assert second.filters == b'{"signal_weights":{"confidence":2.0}}'
    assert second.signal_weights == {"confidence": 2.0}


async def test_skipped_changes_count_after_the_filter_matches_them(shop, ours):
    """It is new since the last run, of which there was none."""
    ids = await shop.stores(trace(user_id="u"))
    made = await shop.monitors(selection=TraceSelection(user_id="v"))
    await shop.slot()
    assert await shop.runs(made) == []
    await shop.do.change_monitor(ours, made.id, MonitorChange(selection=TraceSelection()))
    await shop.slot()
    assert [await shop.targets(run) for run in await shop.runs(made)] == [ids]


@pytest.mark.parametrize("only_if_changed", [True, False])
async def test_open_trace_waits_until_it_is_settled(shop, ours, only_if_changed):
    """Those that only create agents are never evaluated."""
    otlp, open_trace, setup = shop.world.ports.tracing.otlp, trace_id(), trace_id()
    creates_agent = sent_span({"gen_ai.operation.name": "create_agent"})
    await otlp.put(ours, open_trace, fragments(open_trace, sent_span(end_ns=0)))
    await otlp.put(ours, setup, fragments(setup, creates_agent))
    made = await shop.monitors(only_if_changed=only_if_changed)
    at_once = replace(ORDER.run, settled_only=False)
    eager = await shop.monitors(only_if_changed=only_if_changed, run=at_once)
    await shop.slot()
    assert await shop.runs(made) == []
    [run] = await shop.runs(eager)
    assert await shop.targets(run) == [str(open_trace)]
    await shop.world.do.tracing.settle_open_traces()
    await shop.slot()
    [run] = await shop.runs(made)
    assert await shop.targets(run) == [str(open_trace)]


async def test_all_targets_are_evaluated_without_only_if_changed(shop):
    ids = await shop.stores(trace(), trace())
    made = await shop.monitors(only_if_changed=False)
    await shop.slot()
    await shop.slot()
    assert [await shop.targets(run) for run in await shop.runs(made)] == [ids, ids]


@pytest.mark.parametrize(("rate", "count"), [(0.0, 1), (0.001, 1), (0.5, 5), (1.0, 10)])
async def test_sample_has_at_least_one_target_and_is_deterministic_for_a_monitor(shop, rate, count):
    ids = await shop.stores(*(trace() for _ in range(10)))
    made = await shop.monitors(run=replace(ORDER.run, sampling_rate=rate))
    await shop.slot()
    [run] = await shop.runs(made)
    lowest = sorted(ids, key=lambda one: sampling_rank(one, str(made.id)))[:count]
    assert (run.targets, run.sampling_rate) == (count, rate)
    assert await shop.targets(run) == sorted(lowest)


async def test_paused_monitor_does_not_run(shop, ours):
    await shop.stores(trace())
    made = await shop.monitors()
    paused = await shop.do.pause_monitor(ours, made.id)
    assert (paused.status, paused.next_run_at) == (MonitorStatus.PAUSED, None)
    assert await shop.do.pause_monitor(ours, made.id) == paused
    assert await shop.slot() == 0
    resumed = await shop.do.resume_monitor(ours, made.id)
    assert resumed.next_run_at == at(12 * 3600)
    assert await shop.do.resume_monitor(ours, made.id) == resumed
    assert await shop.slot(hours=1) == 0
    assert await shop.slot(hours=5) == 1


class Meddling(MemoryMonitors):
    """Edits each monitor between the read of due monitors and the use of their slots."""

    meddle = None

    async def list_due(self, now, after=None):
        found = await super().list_due(now, after)
        for one in found:
            await self.meddle(one)
        return found


@pytest.mark.parametrize("how", ["paused", "deleted", "edited"])
async def test_concurrent_edits_win_over_the_slot(world, ours, store, sent_jobs, how):
    monitors = Meddling(store)
    shop = Shop(world, ours, monitors=monitors)
    await shop.stores(trace())
    made = await shop.monitors()

    async def meddle(one):
        match how:
            case "paused":
                await shop.do.pause_monitor(ours, one.id)
            case "deleted":
                await shop.do.delete_monitor(ours, one.id)
            case _:
                change = MonitorChange(name=f"{one.name}!")
                await shop.do.change_monitor(ours, one.id, change)

    Meddling.meddle = staticmethod(meddle)
    assert await shop.slot() == 0
    assert (sent_jobs, store.runs) == ([], {})
    if how == "edited":  # it is still due, and fires as it is now
        usual = Shop(world, ours)
        assert await usual.slot(seconds=30) == 1
        assert [run.name for run in await usual.runs(made)] == ["[Monitor] nightly!"]


# --- what goes wrong -----------------------------------------------------------------------------


class Faulty:
    """Targets, but of one project."""

    def __init__(self, inner, broken, error):
        self.inner, self.broken, self.error = inner, broken, error

    async def traces(self, project, selection, most, **options):
        if project == self.broken:
            if self.error is None:
                await asyncio.Event().wait()
            raise self.error
        return await self.inner.traces(project, selection, most, **options)


@pytest.mark.parametrize("error", [Unavailable("too long"), KeyError("?")], ids=["passing", "bug"])
async def test_failing_monitor_delays_no_other(world, ours, error):
    faults = []
    broken = ProjectId(uuid.uuid4())
    shop = Shop(
        world,
        ours,
        targets=Faulty(world.ports.evaluation.targets, broken, error),
        on_monitor_fault=lambda monitor, fault: faults.append((monitor.id, fault)),
    )
    await shop.stores(trace())
    said = {"only_if_changed": False}
    bad = [await Shop.monitors(Shop(world, broken), **said) for _ in range(9)]
    good = [await shop.monitors(**said) for _ in range(3)]
    assert await shop.slot() == 3
    assert [len(await shop.runs(one)) for one in good] == [1, 1, 1]
    assert sorted(faults, key=lambda one: one[0]) == [
        (one.id, error) for one in sorted(bad, key=lambda one: one.id)
    ]
    # It is due until it fires, and its slot isn't lost.
    await Shop(world, broken).stores(trace())
    assert await Shop(world, broken).slot(seconds=30) == 9
    assert (await Shop(world, broken).read(bad[0])).next_run_at == at(12 * 3600)


async def test_slow_monitor_is_postponed_with_advice(world, ours):
    faults = []
    endless = Faulty(world.ports.evaluation.targets, ours, None)
    shop = Shop(world, ours, targets=endless, on_monitor_fault=lambda *said: faults.append(said))
    made = await shop.monitors(only_if_changed=False)
    world.forward(hours=6)
    run_due_monitors = replace(shop.do.run_due_monitors, timeout_s=0)
    assert await run_due_monitors() == 0
    [(monitor, fault)] = faults
    assert monitor.id == made.id
    assert isinstance(fault, Unavailable)
    assert "narrow its filters" in fault.message


async def test_monitor_that_keeps_failing_shows_why_and_goes_on_to_its_next_slot(world, ours):
    faults = []
    endless = Faulty(world.ports.evaluation.targets, ours, None)
    shop = Shop(world, ours, targets=endless, on_monitor_fault=lambda *said: faults.append(said))
    ids = await shop.stores(trace())
    made = await shop.monitors(only_if_changed=False)
    run_due_monitors = replace(shop.do.run_due_monitors, timeout_s=0)
    world.forward(hours=6)
    due = (await shop.read(made)).next_run_at
    for _ in range(2):
        assert await run_due_monitors() == 0
        assert (await shop.read(made)).next_run_at == due
        world.forward(seconds=scheduler.GIVE_UP_AFTER.total_seconds() / 2)
    assert await run_due_monitors() == 1
    [run] = await shop.runs(made)
    assert (run.status, run.targets) == (RunStatus.FAILED, 0)
    assert "narrow its filters" in (run.error_message or "")
    after = await shop.read(made)
    assert (after.last_run_id, after.next_run_at) == (run.id, due + timedelta(hours=6))
    assert after.watermark is None
    assert len(faults) == 3
    endless.broken = None
    assert await shop.slot() == 1
    assert await shop.targets((await shop.runs(made))[-1]) == ids


async def test_slots_that_are_given_up_take_no_longer_than_other_failures(world, ours):
    broken = Faulty(world.ports.evaluation.targets, ours, Unavailable("too long"))
    shop = Shop(world, ours, targets=broken, on_monitor_fault=lambda *_: None)
    for _ in range(3 * scheduler.FAILED_AGAIN_MAX):
        await shop.monitors(only_if_changed=False)
    assert await shop.slot() == 0
    later = scheduler.GIVE_UP_AFTER.total_seconds()
    assert await shop.slot(seconds=later) == scheduler.FAILED_AGAIN_MAX
    assert await shop.slot(seconds=30) == scheduler.FAILED_AGAIN_MAX


async def test_later_slot_has_its_own_time_to_fail(world, ours):
    broken = Faulty(world.ports.evaluation.targets, ours, KeyError("?"))
    shop = Shop(world, ours, targets=broken, on_monitor_fault=lambda *_: None)
    made = await shop.monitors(only_if_changed=False)
    assert await shop.slot() == 0
    assert await shop.slot(seconds=scheduler.GIVE_UP_AFTER.total_seconds()) == 1
    assert await shop.slot() == 0
    assert [run.error_message for run in await shop.runs(made)] == [scheduler.SERVER_ERROR]


async def test_monitors_that_failed_are_tried_after_the_others(world, ours):
    """Else many slow ones, which are due the longest, would come first at each check."""
    broken, asked = ProjectId(uuid.uuid4()), []

    class Asked(Faulty):
        async def traces(self, project, selection, most, **options):
            asked.append(project)
            return await super().traces(project, selection, most, **options)

    targets = Asked(world.ports.evaluation.targets, broken, Unavailable("too long"))
    shop = Shop(world, ours, targets=targets, on_monitor_fault=lambda *_: None)
    await shop.stores(trace())
    await Shop(world, broken).stores(trace())
    bad = [await Shop.monitors(Shop(world, broken), only_if_changed=False) for _ in range(30)]
    assert await shop.slot() == 0
    assert asked == [broken] * 30
    asked.clear()
    await shop.monitors(only_if_changed=False, cadence=f"cron:{world.now:5 %H} * * *")
    assert await shop.slot(minutes=5) == 1
    assert asked == [ours] + [broken] * scheduler.FAILED_AGAIN_MAX
    targets.broken = None
    assert await shop.slot(seconds=30) == len(bad)
    assert asked[-len(bad) :] == [broken] * len(bad)


async def test_monitors_that_failed_are_tried_in_turn_of_their_projects(world, ours):
    """Else one that failed once would wait for many others, which fail always."""
    broken = ProjectId(uuid.UUID(int=1))  # the first of those that are due

    class Away(Faulty):
        async def traces(self, project, selection, most, **options):
            if self.is_away:
                raise Unavailable("away")
            return await super().traces(project, selection, most, **options)

    targets = Away(world.ports.evaluation.targets, broken, Unavailable("too long"))
    targets.is_away = True
    shop = Shop(world, ours, targets=targets, on_monitor_fault=lambda *_: None)
    for store, count in ((Shop(world, broken), 3 * scheduler.FAILED_AGAIN_MAX), (shop, 1)):
        await store.stores(trace())
        for _ in range(count):
            await Shop.monitors(store, only_if_changed=False)
    assert await shop.slot() == 0
    targets.is_away = False
    assert await shop.slot(seconds=30) == 1


async def test_lost_message_loses_no_run(world, ours):
    class Mute:
        async def send(self, *jobs):
            raise KeyError("?")

    shop = Shop(world, ours, jobs=Mute(), on_monitor_fault=lambda *_: None)
    await shop.stores(trace())
    made = await shop.monitors()
    await shop.slot()
    [run] = await shop.runs(made)
    world.forward(seconds=61)
    overdue = await world.ports.evaluation.work_queue.requeue_overdue(world.now)
    assert overdue == [PlanRunJob(ours, run.id)]


class Endless:
    """Targets without end."""

    async def traces(self, project, selection, most, **options):
        return [str(number) for number in range(most + 1)]


async def test_too_many_targets_make_a_failed_run(world, ours, sent_jobs):
    shop = Shop(world, ours, targets=Endless())
    made = await shop.monitors(only_if_changed=False)
    assert await shop.slot() == 1
    [run] = await shop.runs(made)
    assert (run.status, run.targets) == (RunStatus.FAILED, 0)
    assert str(TARGETS_MAX) in run.error_message
    assert (await shop.read(made)).last_run_id == run.id
    assert (await shop.read(made)).watermark is None
    assert sent_jobs == []
    with pytest.raises(Invalid):
        await shop.do.trigger_monitor(ours, made.id, RunId(uuid.uuid4()))


async def test_model_that_is_no_longer_allowed_makes_a_failed_run(world, ours):
    ids = await Shop(world, ours).stores(trace())
    made = await Shop(world, ours).monitors(run=replace(ORDER.run, model="gpt-5"))
    stricter = Shop(world, ours, models=JudgeModels(allowed=("o3-pro",)))
    await stricter.slot()
    [run] = await stricter.runs(made)
    assert (run.status, run.model) == (RunStatus.FAILED, "openai/gpt-5")
    assert "not allowed" in run.error_message
    # Its changes aren't skipped.
    await Shop(world, ours).slot()
    assert await stricter.targets((await stricter.runs(made))[-1]) == ids


async def test_each_run_has_the_votes_and_budget_of_its_monitor(shop, ours):
    await shop.stores(trace())
    order = replace(ORDER.run, model="gpt-4o", votes=3, max_cost_usd=Decimal("0.5"))
    made = await shop.monitors(run=order)
    await shop.slot()
    triggered = await shop.do.trigger_monitor(ours, made.id, RunId(uuid.uuid4()))
    for run in (*await shop.runs(made), triggered.run):
        assert (run.votes, run.max_cost_usd, run.settled_only) == (3, Decimal("0.5"), True)
    change = MonitorChange(votes=5, max_cost_usd=None)
    changed = await shop.do.change_monitor(ours, made.id, change)
    assert (changed.votes, changed.max_cost_usd) == (5, None)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"votes": 4}, "votes"),
        ({"max_cost_usd": Decimal(-1)}, "max_cost_usd"),
        ({"max_cost_usd": Decimal(1), "model": "openai/nobody-knows"}, "max_cost_usd"),
    ],
)
async def test_rejects_budgets_that_cannot_be_enforced(shop, ours, said, field):
    made = await shop.monitors()
    for ask in (
        shop.monitors(run=replace(ORDER.run, **said)),
        shop.do.change_monitor(ours, made.id, MonitorChange(**said)),
    ):
        with pytest.raises(Invalid) as refused:
            await ask
        assert [one.field for one in refused.value.errors] == [field]
    assert await shop.read(made) == made


async def test_rejects_change_to_a_model_without_price_under_a_budget(shop, ours):
    order = replace(ORDER.run, model="gpt-4o", max_cost_usd=Decimal(1))
    made = await shop.monitors(run=order)
    with pytest.raises(Invalid) as refused:
        await shop.do.change_monitor(ours, made.id, MonitorChange(model="openai/nobody-knows"))
    assert refused.value.errors[0].field == "max_cost_usd"


async def test_deleted_price_makes_a_failed_run(world, shop, ours):
    await shop.stores(trace())
    order = replace(ORDER.run, model="gpt-4o", max_cost_usd=Decimal(1))
    made = await shop.monitors(run=order)
    judging = world.ports.evaluation.judging
    unpriced = replace(judging, prices=replace(judging.prices, book=MemoryPriceBook({})))
    later = Shop(world, ours, judging=unpriced)
    assert await later.slot() == 1
    [run] = await later.runs(made)
    assert (run.status, run.targets) == (RunStatus.FAILED, 0)
    assert "openai/gpt-4o has no price" in run.error_message


class Killed(BaseException):
    """An error that no code catches."""


class Dying(MemoryMonitors):
    """Its process ends when it is about to store a firing, or right after."""

    ends = ""

    async def store_run(self, before, after, run, work):
        if self.ends == "before":
            raise Killed
        done = await super().store_run(before, after, run, work)
        if self.ends == "after":
            raise Killed
        return done


@pytest.mark.parametrize("ends", ["before", "after"])
async def test_crash_loses_no_slot_and_uses_none_twice(world, ours, store, ends):
    dying = Dying(store)
    Dying.ends = ends
    shop = Shop(world, ours, monitors=dying)
    ids = await shop.stores(trace())
    made = await shop.monitors()
    with pytest.raises(Killed):
        await shop.slot()
    next_one = Shop(world, ours)
    await next_one.slot(seconds=30)
    [run] = await next_one.runs(made)
    assert await next_one.targets(run) == ids
    assert (await next_one.read(made)).last_run_id == run.id
    await next_one.slot()
    assert len(await next_one.runs(made)) == 1  # nothing has changed since


async def test_only_the_leader_runs_monitors(world, ours):
    election = Election()
    first, second = MemoryLeaderElection(election), MemoryLeaderElection(election)
    shops = [Shop(world, ours, leader_election=one) for one in (first, second)]
    await shops[0].stores(trace())
    made = await shops[0].monitors()
    assert await shops[0].slot(hours=1) == 0
    assert await shops[1].slot(hours=5) == 0
    assert await shops[0].slot(seconds=1) == 1
    await first.close()
    assert await shops[1].slot(hours=6) == 1
    assert len(await shops[1].runs(made)) == 1


class LeaderForReads:
    """Leads when it is asked for the first time, or some times more."""

    def __init__(self, reads):
        self.left = reads

    async def is_leader(self):
        self.left -= 1
        return self.left >= 0


@pytest.mark.parametrize(("reads", "used"), [(9, 3), (1, 1)])
async def test_round_covers_more_monitors_than_one_read_while_it_leads(
    world, ours, store, reads, used
):
    class Few(MemoryMonitors):
        """A look at a thousand, of which most aren't there to fire."""

        async def list_due(self, now, after=None):
            found = list(await super().list_due(now, after))[:1]
            return found * scheduler.DUE_MAX

    election = LeaderForReads(reads)
    shop = Shop(world, ours, monitors=Few(store), leader_election=election)
    made = [await shop.monitors() for _ in range(3)]
    assert await shop.slot() == used
    following = [(await shop.read(one)).next_run_at for one in made]
    assert following.count(at(12 * 3600)) == used


# --- out of turn ---------------------------------------------------------------------------------


@pytest.mark.parametrize("paused", [False, True])
async def test_trigger_evaluates_all_matching_targets_in_any_status(shop, ours, sent_jobs, paused):
    ids = await shop.stores(trace(), trace())
    made = await shop.monitors()
    await shop.slot()
    if paused:
        await shop.do.pause_monitor(ours, made.id)
    shop.world.forward(hours=1)
    new = RunId(uuid.uuid4())
    sent_jobs.clear()
    started = await shop.do.trigger_monitor(ours, made.id, new)
    assert (started.run.name, started.run.id) == ("[Monitor] nightly", new)
    assert await shop.targets(started.run) == ids
    known = await shop.read(made)
    assert (known.last_run_at, known.last_run_id) == (shop.world.now, new)
    assert known.next_run_at == at(13 * 3600)
    assert known.status is (MonitorStatus.PAUSED if paused else MonitorStatus.ACTIVE)
    assert await shop.do.trigger_monitor(ours, made.id, new) == started
    assert len(await shop.runs(made)) == 2
    assert sent_jobs == [PlanRunJob(ours, new)] * 2
    assert await shop.slot() == (0 if paused else 1)
    assert len(await shop.runs(made)) == 2  # nothing has changed since


async def test_trace_that_comes_while_targets_of_a_trigger_are_read_is_in_the_next_run(
    world, ours, store
):
    late = trace()

    class Slow(MemoryTargets):
        async def traces(self, *given, **options):
            found = await super().traces(*given, **options)
            await shop.stores(late)
            world.forward(minutes=1)
            return found

    shop = Shop(world, ours, targets=Slow(store))
    early = await shop.stores(trace())
    world.forward(minutes=1)
    made = await shop.monitors()
    triggered = await shop.do.trigger_monitor(ours, made.id, RunId(uuid.uuid4()))
    assert await shop.targets(triggered.run) == early
    await shop.slot()
    assert await shop.targets((await shop.runs(made))[-1]) == [str(late.id)]


async def test_trigger_without_matching_targets_is_rejected(shop, ours):
    made = await shop.monitors()
    with pytest.raises(Invalid):
        await shop.do.trigger_monitor(ours, made.id, RunId(uuid.uuid4()))
    assert await shop.read(made) == made


async def test_trigger_samples_at_least_one_target(shop, ours):
    await shop.stores(trace(), trace())
    made = await shop.monitors(run=replace(ORDER.run, sampling_rate=0.0))
    started = await shop.do.trigger_monitor(ours, made.id, RunId(uuid.uuid4()))
    assert started.run.targets == 1


async def test_trigger_during_edits_succeeds_or_conflicts(world, ours, store):
    class Edited(MemoryMonitors):
        edits = 1

        async def store_run(self, before, after, run, work):
            if self.edits:
                Edited.edits -= 1
                await self.edit(
                    before.project_id, before.id, lambda one: replace(one, name=one.name + "!")
                )
            return await super().store_run(before, after, run, work)

    shop = Shop(world, ours, monitors=Edited(store))
    await shop.stores(trace())
    made = await shop.monitors()
    started = await shop.do.trigger_monitor(ours, made.id, RunId(uuid.uuid4()))
    assert started.run.name == "[Monitor] nightly!"
    Edited.edits = scheduler.TRIGGER_TRIES_MAX
    with pytest.raises(Conflict):
        await shop.do.trigger_monitor(ours, made.id, RunId(uuid.uuid4()))


async def test_runs_stay_after_their_monitor_is_deleted(shop, ours):
    await shop.stores(trace())
    made = await shop.monitors()
    await shop.slot()
    [run] = await shop.runs(made)
    await shop.do.delete_monitor(ours, made.id)
    assert (await shop.do.runs.get(ours, run.id)).run == replace(run, monitor_id=None)
    with pytest.raises(NotFound):
        await shop.do.delete_monitor(ours, made.id)
    assert await shop.slot() == 0
