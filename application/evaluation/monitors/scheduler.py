"""The scheduler: runs monitors at their slots, or when triggered."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import batched
from operator import itemgetter
from typing import Final

from application.concurrency import gather_limited
from application.evaluation.ports.monitors import DUE_MAX, ChangeFeed, LeaderElection, Monitors
from application.evaluation.ports.runs import Runs, Targets
from application.evaluation.runs.requests import find_targets
from application.evaluation.runs.run_rules import RunRules
from application.jobs import Jobs, PlanRunJob
from application.ports import Clock, NewId
from domain.errors import Conflict, Failure, Invalid, NotFound, Unavailable
from domain.evaluation.judging.models import resolve_model
from domain.evaluation.metrics.metric import Definition
from domain.evaluation.monitors.monitor import Monitor, Watermark
from domain.evaluation.runs.run import (
    TARGETS_MAX,
    EvalRun,
    RunProgress,
    RunStatus,
    Tally,
    Target,
    WorkItem,
)
from domain.evaluation.runs.selection import (
    filters_as_given,
    validate_target_count,
)
from domain.ids import MonitorId, ProjectId, RunId

CONCURRENT_MONITORS: Final = 4  # a slow one leaves room for three others
MONITOR_TIMEOUT_S: Final = 20  # to create the run of one monitor
READS_MAX: Final = 100  # of one round, with DUE_MAX monitors each
FAILED_AGAIN_MAX: Final = 8  # of one round, of those that failed before: each may take long
# From the first failure in this process: an outage of the database, or a slow hour, uses no slot.
GIVE_UP_AFTER: Final = timedelta(minutes=10)
TRIGGER_TRIES_MAX: Final = 5  # while others change the monitor

SERVER_ERROR: Final = "An error of the server: its log has the reason"

type OnMonitorFault = Callable[[Monitor, Exception], None]
"""Reports to the log a monitor that couldn't run, and why; it is retried."""


@dataclass(frozen=True, slots=True)
class MonitorRunFactory:
    """Builds the runs of monitors. A service that triggering and scheduling share."""

    monitors: Monitors
    changes: ChangeFeed
    targets: Targets
    jobs: Jobs
    rules: RunRules
    clock: Clock
    new_id: NewId

    async def all_targets(self, monitor: Monitor) -> Sequence[Target]:
        """A sample of all targets that match, changed or not; the first TARGETS_MAX + 1."""
        return await find_targets(
            self.targets,
            monitor.project_id,
            monitor.selection,
            monitor.eligibility,
            monitor.sample,
        )

    async def due_targets(self, monitor: Monitor, edge: Watermark) -> Sequence[Target]:
        """A sample of the targets of a slot, up to `edge`; as many as `all_targets` at most."""
        if not monitor.only_if_changed:
            return await self.all_targets(monitor)
        return await self.changes.targets(
            monitor.project_id,
            monitor.selection,
            monitor.watermark,
            edge,
            TARGETS_MAX,
            eligibility=monitor.eligibility,
            sample=monitor.sample,
        )

    async def build(
        self, monitor: Monitor, new: RunId, found: Sequence[Target]
    ) -> tuple[EvalRun, list[WorkItem]]:
        """A run over these targets, with the newest revisions of its metrics.

        Raises Invalid if there are no targets or too many, and if a metric, model or price doesn't
        exist any more, or a metric is archived.
        """
        selected, model = await self.rules.validate(
            monitor.project_id, monitor.target_type, monitor
        )
        targets = validate_target_count(found)
        run = self._run(monitor, new, len(targets), model, selected.definitions)
        return run, [WorkItem(target, run.metrics) for target in targets]

    def failed_run(self, monitor: Monitor, new: RunId, reason: str) -> EvalRun:
        """A FAILED run without targets, with the reason, which the members of the project read."""
        default = self.rules.models.default
        model = default if monitor.model is None else resolve_model(monitor.model)
        return self._run(monitor, new, 0, model).failed(reason, self.clock())

    async def enqueue(self, run: EvalRun) -> None:
        await self.jobs.send(PlanRunJob(run.project_id, run.id))

    def _run(
        self,
        monitor: Monitor,
        new: RunId,
        targets: int,
        model: str,
        definitions: tuple[Definition, ...] = (),
    ) -> EvalRun:
        return EvalRun(
            id=new,
            project_id=monitor.project_id,
            target_type=monitor.target_type,
            name=monitor.run_name,
            metrics=monitor.metrics,
            targets=targets,
            filters=filters_as_given(monitor.selection, monitor.signal_weights),
            sampling_rate=monitor.sampling_rate,
            model=model,
            signal_weights=monitor.signal_weights,
            definitions=definitions,
            votes=monitor.votes,
            max_cost_usd=monitor.max_cost_usd,
            settled_only=monitor.settled_only,
            monitor_id=monitor.id,
            created_at=self.clock(),
        )


@dataclass(frozen=True, slots=True)
class TriggerMonitor:
    """Runs a monitor immediately, over all matching targets, even if it is paused."""

    run_factory: MonitorRunFactory
    runs: Runs

    async def __call__(self, project: ProjectId, monitor: MonitorId, new: RunId) -> RunProgress:
        """The run, or the one that has the id `new` already; the next slot counts from now.

        Raises NotFound, Invalid if no targets or too many match, Conflict if others keep changing
        the monitor.
        """
        run_factory = self.run_factory
        for _ in range(TRIGGER_TRIES_MAX):
            with suppress(NotFound):
                existing = await self.runs.get(project, new)
                await run_factory.enqueue(existing.run)
                return existing
            known = await run_factory.monitors.get(project, monitor)
            edge = await run_factory.changes.readable_until()
            run, work = await run_factory.build(known, new, await run_factory.all_targets(known))
            after = known.triggered(run.created_at, new, edge)
            if await run_factory.monitors.store_run(known, after, run, work):
                await run_factory.enqueue(run)
                return RunProgress(run, Tally())
        raise Conflict("This monitor is being changed by others; try again")


@dataclass(frozen=True, slots=True)
class _FailedSlot:
    """A slot whose tries fail since `since`."""

    slot: datetime | None
    since: datetime


type _FailedSlots = dict[tuple[ProjectId, MonitorId], _FailedSlot]


@dataclass(frozen=True, slots=True)
class RunDueMonitors:
    """Runs the due monitors, if this process is leader. A failing one delays no other.

    Monitors that failed are tried again after all others. Otherwise they would be the first of each
    round, since they are due the longest. One of each project comes first, so that many of one
    don't delay those of another. `_failed` has those that are due and whose last try failed, the
    latest at the end. After GIVE_UP_AFTER of failures the slot is used, with a FAILED run that has
    the reason, which runs and alerts show; the next slot is used as usual.
    """

    run_factory: MonitorRunFactory
    leader_election: LeaderElection
    on_fault: OnMonitorFault
    timeout_s: float = MONITOR_TIMEOUT_S
    _failed: _FailedSlots = field(default_factory=dict, init=False)

    async def __call__(self) -> int:
        """The number of slots used. Raises Unavailable; earlier runs stay."""
        used, last = 0, None
        before = dict(self._failed)
        again = dict[tuple[ProjectId, MonitorId], Monitor]()
        for _ in range(READS_MAX):
            if not await self.leader_election.is_leader():
                break
            due = await self.run_factory.monitors.list_due(self.run_factory.clock(), last)
            if due:
                again |= {_key(one): one for one in due if _key(one) in before}
                used += await self._run_all([one for one in due if _key(one) not in again])
            if len(due) < DUE_MAX:
                break
            last = due[-1]
        for key in before:
            if key not in again:  # changed meanwhile, or used by another process
                self._failed.pop(key, None)
        return used + await self._try_again(
            [again[key] for key in _in_turn(before) if key in again]
        )

    async def _try_again(self, monitors: Sequence[Monitor]) -> int:
        """Tries those that failed before, until FAILED_AGAIN_MAX have failed again."""
        used = failures = 0
        for some in batched(monitors, CONCURRENT_MONITORS):
            if failures >= FAILED_AGAIN_MAX:
                break
            used += await self._run_all(some)
            failures += sum(_key(one) in self._failed for one in some)
        return used

    async def _run_all(self, monitors: Sequence[Monitor]) -> int:
        if not monitors:
            return 0
        edge = await self.run_factory.changes.readable_until()
        steps = [partial(self._run_safely, one, edge) for one in monitors]
        return sum(await gather_limited(CONCURRENT_MONITORS, steps))

    async def _run_safely(self, monitor: Monitor, edge: Watermark) -> bool:
        failing, now = self._failed.pop(_key(monitor), None), self.run_factory.clock()
        if failing is None or failing.slot != monitor.next_run_at:
            failing = _FailedSlot(monitor.next_run_at, now)
        try:
            return await self._run_in_time(monitor, edge)
        except Exception as fault:  # noqa: BLE001 - it is reported and retried, and affects no other monitor
            self._failed[_key(monitor)] = failing
            self.on_fault(monitor, fault)
            return now - failing.since >= GIVE_UP_AFTER and await self._give_up(monitor, fault)

    async def _run_in_time(self, monitor: Monitor, edge: Watermark) -> bool:
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._run_slot(monitor, edge)
        except TimeoutError as late:
            message = f"its run took more than {self.timeout_s:g} s to create: narrow its filters"
            raise Unavailable(message) from late

    async def _give_up(self, monitor: Monitor, fault: Exception) -> bool:
        """Uses the slot with a FAILED run. The watermark stays, so that no change is skipped."""
        run_factory, new = self.run_factory, RunId(self.run_factory.new_id())
        reason = fault.message if isinstance(fault, Failure) else SERVER_ERROR
        try:
            run = run_factory.failed_run(monitor, new, reason)
            after = monitor.fired(run.created_at, new, None)
            return await run_factory.monitors.store_run(monitor, after, run, [])
        except Exception as again:  # noqa: BLE001 - as above
            self.on_fault(monitor, again)
            return False

    async def _run_slot(self, monitor: Monitor, edge: Watermark) -> bool:
        """Uses the slot of a due monitor; False if another process has used it before.

        Its watermark moves to `edge` only with a run that is evaluated. A monitor that can't run
        any more still uses its slots, with FAILED runs that have the reason.
        """
        run_factory, new = self.run_factory, RunId(self.run_factory.new_id())
        targets = await run_factory.due_targets(monitor, edge)
        if not targets:
            after = monitor.fired(run_factory.clock(), None, None)
            return await run_factory.monitors.store_run(monitor, after, None, [])
        try:
            run, work = await run_factory.build(monitor, new, targets)
        except Invalid as why:
            reason = "; ".join(error.message for error in why.errors)
            run, work = run_factory.failed_run(monitor, new, reason), []
        reached = edge if run.status is RunStatus.PENDING else None
        after = monitor.fired(run.created_at, new, reached)
        is_stored = await run_factory.monitors.store_run(monitor, after, run, work)
        if is_stored and reached is not None:
            await run_factory.enqueue(run)
        return is_stored


def _key(monitor: Monitor) -> tuple[ProjectId, MonitorId]:
    return monitor.project_id, monitor.id


def _in_turn(
    keys: Iterable[tuple[ProjectId, MonitorId]],
) -> list[tuple[ProjectId, MonitorId]]:
    """The first of each project, then the second of each, and so on."""
    turns, ranked = Counter[ProjectId](), list[tuple[int, tuple[ProjectId, MonitorId]]]()
    for key in keys:
        turns[key[0]] += 1
        ranked.append((turns[key[0]], key))
    return [key for _, key in sorted(ranked, key=itemgetter(0))]
