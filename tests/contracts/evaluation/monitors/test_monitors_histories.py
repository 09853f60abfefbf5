"""Random histories of clocks, edits, crashes and schedulers use each due slot exactly once.

Part of the contracts of Monitors and Changed: the use cases run over memory and over PostgreSQL.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final
from uuid import UUID, uuid4

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from adapters.memory.evaluation.monitors import MemoryLeaderElection
from adapters.memory.jobs import RecordedJobs
from adapters.memory.store import MemoryStore
from adapters.postgres.database.pool import Engine, PoolSettings, open_pool
from application.evaluation.monitors.monitors import MonitorRequest
from application.evaluation.runs.run_rules import RunRequest
from application.evaluation.use_cases import EvaluationPorts, EvaluationUseCases
from domain.errors import Failure
from domain.evaluation.monitors.monitor import Monitor, MonitorChange, MonitorStatus
from domain.evaluation.runs.run import EvalRun, TargetType, WorkItem
from domain.evaluation.runs.selection import TraceSelection
from domain.ids import MonitorId, ProjectId, RunId
from domain.page import PageRequest
from tests.support.builders.values import NOON, at, trace
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.evaluation.monitors import Monitoring, over_memory, over_postgres
from tests.support.fixtures.histories import check_histories

ALL: Final = PageRequest(limit=200)
STEPS: Final = ("due", "edge", "changed", "targets", "fired", "stored", "sent")
ORDER: Final = MonitorRequest(
    name="m",
    target_type=TargetType.TRACE,
    run=RunRequest(metrics=["trace_success"]),
    selection=TraceSelection(),
    cadence="every_6h",
)
MONITORS_MAX: Final = 3

which = st.integers(0, MONITORS_MAX - 1)
waits: Final = st.sampled_from([-45, -1, 0, 1, 30, 300, 3_600, 21_600, 21_607, 86_400, 604_800])
cadences: Final = st.sampled_from(["every_6h", "daily", "cron:*/5 * * * *", "cron:0 18 * * *"])
crashes: Final = st.none() | st.tuples(st.sampled_from(STEPS), st.integers(1, 3))


class Killed(BaseException):
    """A process crash: a BaseException that no code catches."""


@dataclass
class Process:
    """The process of one scheduler, which crashes when it reaches a step for the nth time."""

    ends_at: tuple[str, int] | None = None

    async def reaches(self, step: str) -> None:
        await asyncio.sleep(0)  # let the others run
        if self.ends_at is None or self.ends_at[0] != step:
            return
        count = self.ends_at[1] - 1
        self.ends_at = (step, count)
        if count == 0:
            raise Killed


@dataclass
class CrashingPort:
    """A port that may crash its process before each call, and after a firing."""

    inner: Any
    process: Process
    used: Callable[[Monitor, EvalRun | None], None]
    ours: ProjectId

    async def list_due(self, now: datetime, after: Monitor | None = None) -> list[Monitor]:
        """Leaves out monitors of other examples, which share the database."""
        await self.process.reaches("due")
        found = await self.inner.list_due(now, after)
        return [one for one in found if one.project_id == self.ours]

    async def store_run(
        self, before: Monitor, after: Monitor, run: EvalRun | None, work: list[WorkItem]
    ) -> bool:
        await self.process.reaches("fired")
        is_leader: bool = await self.inner.store_run(before, after, run, work)
        if is_leader:
            self.used(before, run)
        await self.process.reaches("stored")
        return is_leader

    async def readable_until(self) -> Any:
        await self.process.reaches("edge")
        return await self.inner.readable_until()

    async def targets(self, *asked: Any, **options: Any) -> Any:
        await self.process.reaches("changed")
        return await self.inner.targets(*asked, **options)

    async def traces(self, *asked: Any, **options: Any) -> Any:
        await self.process.reaches("targets")
        return await self.inner.traces(*asked, **options)

    async def send(self, *jobs: Any) -> None:
        await self.process.reaches("sent")
        await self.inner.send(*jobs)


class Histories(RuleBasedStateMachine):
    """One project, a few monitors, and schedulers that each assume that they lead."""

    runner: ClassVar[asyncio.Runner]
    new: ClassVar[Callable[[], Monitoring]]

    @initialize()
    def begin(self) -> None:
        self.over, self.now, self.ours = type(self).new(), NOON, project()
        self.sent: list[str] = []
        self.monitors: list[MonitorId] = []
        self.slots: Counter[tuple[MonitorId, int, datetime]] = Counter()
        self.made: Counter[MonitorId] = Counter()  # runs
        self.epoch: Counter[MonitorId] = Counter()  # the next slot after an edit counts separately
        self.triggered: set[MonitorId] = set()
        self.do = self._process(Process())
        self.create("every_6h", True)

    def _process(self, process: Process) -> EvaluationUseCases:
        def crashing(port: Any) -> Any:
            return CrashingPort(port, process, self._used, self.ours)

        known = self.over.evaluating.plane.evaluation
        ports: EvaluationPorts = replace(
            known,
            monitors=self.over.monitors,
            changed=crashing(self.over.changed),
            targets=crashing(self.over.evaluating.targets),
            jobs=crashing(RecordedJobs()),
            leader_election=MemoryLeaderElection(),
        )
        schedulers = crashing(self.over.monitors)
        use_cases = EvaluationUseCases(ports, lambda: self.now, uuid4, bytes)
        fire = use_cases.run_due_monitors
        run_factory = replace(fire.run_factory, monitors=schedulers)
        use_cases.run_due_monitors = replace(fire, run_factory=run_factory)
        return use_cases

    def _used(self, before: Monitor, run: EvalRun | None) -> None:
        assert before.next_run_at is not None
        self.slots[before.id, self.epoch[before.id], before.next_run_at] += 1
        self.made[before.id] += run is not None

    def _call(self, asked: Awaitable[Any]) -> Any:
        """Returns the result, or None on Failure."""

        async def go() -> Any:
            try:
                return await asked
            except Failure:
                return None

        return self.runner.run(go())

    def _monitor_id(self, n: int) -> MonitorId:
        return self.monitors[n % len(self.monitors)] if self.monitors else MonitorId(UUID(int=n))

    def _read(self, monitor: MonitorId) -> Monitor:
        found: Monitor = self.runner.run(self.over.monitors.get(self.ours, monitor))
        return found

    # --- the world ---

    @rule(seconds=waits)
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(late=st.booleans())
    def receive_trace(self, late: bool) -> None:
        one = trace(started_at=at(-9_999_999 if late else 9_999_999))
        self.sent.append(str(one.id))
        self.runner.run(self.over.evaluating.plane.traces.put(self.ours, one))

    # --- people ---

    @rule(cadence=cadences, only_if_changed=st.booleans())
    def create(self, cadence: str, only_if_changed: bool) -> None:
        if len(self.monitors) < MONITORS_MAX:
            order = replace(ORDER, cadence=cadence, only_if_changed=only_if_changed)
            self.monitors.append(MonitorId(uuid4()))
            self._call(self.do.create_monitor(self.ours, self.monitors[-1], order))

    @rule(n=which, cadence=cadences)
    def change_cadence(self, n: int, cadence: str) -> None:
        self.epoch[self._monitor_id(n)] += 1
        self._call(
            self.do.change_monitor(self.ours, self._monitor_id(n), MonitorChange(cadence=cadence))
        )

    @rule(n=which)
    def rename(self, n: int) -> None:
        self._call(
            self.do.change_monitor(self.ours, self._monitor_id(n), MonitorChange(name="other"))
        )

    @rule(n=which)
    def pause(self, n: int) -> None:
        self._call(self.do.pause_monitor(self.ours, self._monitor_id(n)))

    @rule(n=which)
    def resume(self, n: int) -> None:
        self.epoch[self._monitor_id(n)] += 1
        self._call(self.do.resume_monitor(self.ours, self._monitor_id(n)))

    @rule(n=which)
    def trigger(self, n: int) -> None:
        monitor = self._monitor_id(n)
        self.epoch[monitor] += 1
        if self._call(self.do.trigger_monitor(self.ours, monitor, RunId(uuid4()))) is not None:
            self.made[monitor] += 1
            self.triggered.add(monitor)

    @rule(n=which)
    def delete(self, n: int) -> None:
        if len(self.monitors) > 1:
            self._call(self.do.delete_monitor(self.ours, self._monitor_id(n)))
            self.monitors.remove(self._monitor_id(n))

    # --- schedulers ---

    @rule(ends=st.lists(crashes, min_size=1, max_size=3), paused=st.none() | which)
    def run_schedulers(self, ends: list[tuple[str, int] | None], paused: int | None) -> None:
        """Runs several schedulers at once, some of which crash; may pause a monitor meanwhile."""
        processes = [self._process(Process(one)) for one in ends]

        async def go() -> list[Any]:
            calls: list[Awaitable[Any]] = [one.run_due_monitors() for one in processes]
            if paused is not None and paused < len(self.monitors):
                calls.append(self.do.pause_monitor(self.ours, self.monitors[paused]))
            return await asyncio.gather(*calls, return_exceptions=True)

        for outcome in self.runner.run(go()):
            assert not isinstance(outcome, BaseException) or isinstance(outcome, Killed)
        if None in ends:
            self._assert_nothing_due()

    def _assert_nothing_due(self) -> None:
        for monitor in self.monitors:
            known = self._read(monitor)
            assert not known.is_due(self.now), known

    # --- what holds ---

    @invariant()
    def each_slot_was_used_once_at_most(self) -> None:
        assert max(self.slots.values(), default=0) <= 1

    @invariant()
    def each_run_is_listed_and_the_last_one_is_stored(self) -> None:
        for monitor in self.monitors:
            page = self.runner.run(self.over.monitors.runs(self.ours, monitor, ALL))
            known = self._read(monitor)
            assert page.total == self.made[monitor]
            assert (known.last_run_id is None) is (page.total == 0)
            assert known.last_run_id in {None, *(one.run.id for one in page.items)}

    @invariant()
    def each_active_monitor_has_a_next_slot(self) -> None:
        for monitor in self.monitors:
            known = self._read(monitor)
            assert known.status is MonitorStatus.PAUSED or known.next_run_at is not None

    def teardown(self) -> None:
        """A last look finds all traces; exactly once each where only changes count."""
        if not hasattr(self, "over"):
            return
        for n in range(len(self.monitors)):
            self.resume(n)
        self.now += timedelta(days=8)
        self.run_schedulers([None], None)
        for monitor in self.monitors:
            found = self._evaluated(monitor)
            assert set(found) == set(self.sent)
            if self._read(monitor).only_if_changed and monitor not in self.triggered:
                assert max(found.values(), default=1) == 1
        self.each_slot_was_used_once_at_most()

    def _evaluated(self, monitor: MonitorId) -> Counter[str]:
        """Counts the runs of a monitor by trace."""
        page = self.runner.run(self.over.monitors.runs(self.ours, monitor, ALL))
        assert page.end is None
        found: Counter[str] = Counter()
        work_queue = self.over.evaluating.work_queue
        for one in page.items:
            while self.runner.run(work_queue.plan(self.ours, one.run.id, self.now)):
                pass
            scores = self.runner.run(
                self.over.evaluating.trace_scores.by_run(self.ours, one.run.id)
            )
            found.update(str(score.trace_id) for score in scores)
        return found


def advancing_clock() -> Callable[[], datetime]:
    """Returns a store clock that advances with every reading."""
    ticks = iter(range(10**9))
    return lambda: NOON + timedelta(microseconds=next(ticks))


def in_memory() -> Monitoring:
    store = MemoryStore()
    store.traces.clock = advancing_clock()
    return over_memory(store)


def run(new: Callable[[], Monitoring], runner: asyncio.Runner, examples: int, steps: int) -> None:
    Histories.runner, Histories.new = runner, staticmethod(new)  # type: ignore[assignment]  # called on the class
    check_histories(Histories, examples=examples, steps=steps)


def test_random_histories_in_memory():
    with asyncio.Runner() as runner:
        run(in_memory, runner, 150, 40)


async def open_postgres(url: str, stack: AsyncExitStack) -> Monitoring:
    pool = await stack.enter_async_context(
        open_pool(Engine(config={}), PoolSettings(url=url, size=4))
    )
    return await stack.enter_async_context(over_postgres(pool))


@pytest.mark.service
def test_random_histories_in_postgres(pool, serving_url):
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        postgres = runner.run(open_postgres(serving_url, stack))
        try:
            run(lambda: postgres, runner, 20, 25)
        finally:
            runner.run(stack.aclose())
