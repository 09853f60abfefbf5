"""Having monitors run: by their cadence, or out of turn."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from application.concurrency import gather_limited
from application.evaluation.custom_metrics.catalogue import MetricCatalogue
from application.evaluation.ports.evaluation import Runs, Targets
from application.evaluation.ports.monitors import DUE_MAX, ChangeFeed, LeaderElection, Monitors
from application.evaluation.runs.budget_rules import BudgetRules
from application.evaluation.runs.requests import CATEGORIES
from application.jobs import Jobs, PlanRunJob
from application.ports import Clock, NewId
from domain.errors import Conflict, Invalid, NotFound
from domain.evaluation.custom_metrics.custom_metric import check_judge_models
from domain.evaluation.judging.models import JudgeModels, resolve_model
from domain.evaluation.metrics.definition import Definition
from domain.evaluation.monitors.monitor import TARGETS_MIN, Monitor, Watermark
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
    TraceSelection,
    filters_as_given,
    sampled,
    validate_target_count,
)
from domain.ids import MonitorId, ProjectId, RunId

FIRED_AT_ONCE: Final = 4  # one that is slow leaves room for three others
FIRE_MAX_S: Final = 20  # of one monitor
LOOKS_MAX: Final = 100  # of one round: DUE_MAX monitors each
TRIES_MAX: Final = 5  # to trigger a monitor that others are changing

type OnMonitorFault = Callable[[Monitor, Exception], None]
"""Tells whoever runs the process which monitor didn't fire, and why; it is tried again."""


@dataclass(frozen=True, slots=True)
class MonitorRunFactory:
    """Where monitors become runs: over what, and who is told."""

    monitors: Monitors
    changed: ChangeFeed
    targets: Targets
    jobs: Jobs
    models: JudgeModels
    catalogue: MetricCatalogue
    spending: BudgetRules
    clock: Clock
    new_id: NewId

    async def all_targets(self, monitor: Monitor) -> Sequence[Target]:
        """All that it is about, changed or not; the first TARGETS_MAX + 1."""
        project, selection = monitor.project_id, monitor.selection
        if isinstance(selection, TraceSelection):
            return await self.targets.traces(project, selection, TARGETS_MAX)
        return await self.targets.sessions(project, selection, TARGETS_MAX)

    async def due_targets(self, monitor: Monitor, edge: Watermark) -> Sequence[Target]:
        """What its slot is about, as far as one can look; as bounded as `everything`."""
        if not monitor.only_if_changed:
            return await self.all_targets(monitor)
        return await self.changed.targets(
            monitor.project_id, monitor.selection, monitor.watermark, edge, TARGETS_MAX
        )

    async def build(
        self, monitor: Monitor, new: RunId, found: Sequence[Target]
    ) -> tuple[EvalRun, list[WorkItem]]:
        """A run over its share of what was found, by the newest revisions of its metrics.

        Raises Invalid where that is nothing or too much, and where its metrics, its models
        or the prices of those aren't there any more, archived metrics included.
        """
        category = CATEGORIES[monitor.target_type]
        picked = await self.catalogue.select_metrics(monitor.project_id, monitor.metrics, category)
        model = self.models.select(monitor.model)
        check_judge_models(picked, model, self.models)
        pricing = await self.spending.prices.of(monitor.project_id)
        judges = picked.judges(model)
        self.spending.check(pricing, monitor.votes, monitor.max_cost_usd, *judges)
        rate, salt = monitor.sampling_rate, str(monitor.id)
        taken = sampled(validate_target_count(found), rate, salt, least=TARGETS_MIN)
        run = self._of(monitor, new, len(taken), model, picked.definitions)
        return run, [WorkItem(target, run.metrics) for target in taken]

    def failed_run(self, monitor: Monitor, new: RunId, why: Invalid) -> EvalRun:
        """A run that tells why there is none."""
        model = self.models.default if monitor.model is None else resolve_model(monitor.model)
        told = "; ".join(one.message for one in why.errors)
        return self._of(monitor, new, 0, model).failed(told, self.clock())

    async def enqueue(self, run: EvalRun) -> None:
        await self.jobs.send(PlanRunJob(run.project_id, run.id))

    def _of(
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
            monitor_id=monitor.id,
            created_at=self.clock(),
        )


@dataclass(frozen=True, slots=True)
class TriggerMonitor:
    """Has a monitor run out of turn, over all that matches, paused or not."""

    run_factory: MonitorRunFactory
    runs: Runs

    async def __call__(self, project: ProjectId, monitor: MonitorId, new: RunId) -> RunProgress:
        """The run, or the one that has the id `new` already; the next slot counts from now.

        Raises NotFound, Invalid where nothing matches or too much does, Conflict where others
        don't stop changing the monitor.
        """
        run_factory = self.run_factory
        for _ in range(TRIES_MAX):
            with suppress(NotFound):
                made = await self.runs.get(project, new)
                await run_factory.enqueue(made.run)
                return made
            known = await run_factory.monitors.get(project, monitor)
            edge = await run_factory.changed.readable_until()
            run, work = await run_factory.build(known, new, await run_factory.all_targets(known))
            after = known.triggered(run.created_at, new, edge)
            if await run_factory.monitors.store_run(known, after, run, work):
                await run_factory.enqueue(run)
                return RunProgress(run, Tally())
        raise Conflict("This monitor is being changed by others; try again")


@dataclass(frozen=True, slots=True)
class FireDueMonitors:
    """One look at what is due, by whoever leads. One that fails holds up no other."""

    run_factory: MonitorRunFactory
    leader_election: LeaderElection
    on_fault: OnMonitorFault

    async def __call__(self) -> int:
        """How many slots were used. Raises Unavailable; what fired before that stays so."""
        used, last = 0, None
        for _ in range(LOOKS_MAX):
            if not await self.leader_election.is_leader():
                break
            due = await self.run_factory.monitors.list_due(self.run_factory.clock(), last)
            if due:
                edge = await self.run_factory.changed.readable_until()
                steps = [partial(self._guarded, one, edge) for one in due]
                used += sum(await gather_limited(FIRED_AT_ONCE, steps))
            if len(due) < DUE_MAX:
                break
            last = due[-1]
        return used

    async def _guarded(self, monitor: Monitor, edge: Watermark) -> bool:
        try:
            async with asyncio.timeout(FIRE_MAX_S):
                return await self._fired(monitor, edge)
        except Exception as fault:  # noqa: BLE001 - whatever is wrong with one: it is told, and tried again
            self.on_fault(monitor, fault)
            return False

    async def _fired(self, monitor: Monitor, edge: Watermark) -> bool:
        """Uses the slot of one that is due; whether nobody was there before.

        It looked as far as `edge` where it has a run to show for it, and only then. One that
        can't run any more uses its slots all the same, with runs that tell why.
        """
        run_factory, new = self.run_factory, RunId(self.run_factory.new_id())
        found = await run_factory.due_targets(monitor, edge)
        if not found:
            after = monitor.fired(run_factory.clock(), None, None)
            return await run_factory.monitors.store_run(monitor, after, None, [])
        try:
            run, work = await run_factory.build(monitor, new, found)
        except Invalid as why:
            run, work = run_factory.failed_run(monitor, new, why), []
        reached = edge if run.status is RunStatus.PENDING else None
        after = monitor.fired(run.created_at, new, reached)
        is_stored = await run_factory.monitors.store_run(monitor, after, run, work)
        if is_stored and reached is not None:
            await run_factory.enqueue(run)
        return is_stored
