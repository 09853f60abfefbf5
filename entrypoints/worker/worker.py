"""`worker`: work that is done later: evaluation, and what nobody else sees to.

One event loop does it. Dramatiq's threads only wait for it; they are started once it runs, so that
no connection of it is ever seen by a fork. Several processes share nothing but the servers.
"""

import asyncio
import gc
import logging
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    nullcontext,
    suppress,
)
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from msgspec import structs

from adapters.prometheus.registry import Figures
from application.jobs import EvaluateTargetJob, Job, JobQueue, Jobs, PlanRunJob, queue_of
from application.ports import Clock
from application.use_cases import Ports, UseCases
from application.workers import HEARTBEAT_INTERVAL, Worker, Workers
from domain.errors import Failure
from domain.evaluation.runs.run import Target
from domain.ids import ProjectId, RunId
from entrypoints.composition import root
from entrypoints.observability import logs
from entrypoints.observability.observer import (
    BROKEN,
    DONE,
    PUT_OFF,
    Observer,
    Told,
    figures_of,
    observed,
)
from entrypoints.processes import child_processes
from entrypoints.processes.stop_flag import Stop
from entrypoints.settings import Settings, variable
from entrypoints.startup import CommandError, check_servers
from entrypoints.worker.status_port import answering

LOG: Final = logging.getLogger("pandaprobe.worker")
NEEDED: Final = ("postgres", "migrations")  # Redis may come later
SWEEP_EVERY_S: Final = 10
EXPORT_EVERY_S: Final = 1.0
EXPIRE_EVERY_S: Final = 60.0
ANNOUNCE_EVERY_S: Final = 15.0
ASSESS_EVERY_S: Final = 5.0
DELIVER_EVERY_S: Final = 1.0
PRUNE_EVERY_S: Final = 600.0
REPRICE_EVERY_S: Final = 1.0
DRAIN_S: Final = 20.0  # for what is under way at the end; leases see to the rest
LEAVE_S: Final = 1.0  # to say that we go
STOP_MAX_S: Final = DRAIN_S + 5  # of a process among several
WATCH_S: Final = 0.2  # between two looks at the processes


type OpenPorts = Callable[[Settings, Jobs, Observer], AbstractAsyncContextManager[Ports]]
"""Fills every port; what Redis can't be told of goes to these jobs."""


def work(
    settings: Settings,
    open_ports: OpenPorts = root.workers_ports,
    announce_every_s: float = ANNOUNCE_EVERY_S,
) -> int:
    """Works until SIGTERM or SIGINT. Raises CommandError, Unavailable."""
    check_servers(settings)
    logs.configure(settings)
    if settings.eval_worker_processes > 1:
        return _supervise(settings)
    gc.freeze()  # what was imported is never garbage: looking for some takes less time now
    figures = figures_of(settings, root.product_version())
    with answering(settings, figures):
        asyncio.run(_work(settings, figures, open_ports, announce_every_s))
    return 0


def _supervise(settings: Settings) -> int:
    """Several processes. Where one ends by itself, all end: a restart would hide the crash."""
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    options = ("--processes", "1", "--concurrency", str(settings.eval_worker_concurrency))
    with ExitStack() as stack:
        environ = {}
        if settings.worker_port is not None:  # we answer for all, from the figures that all share
            folder = settings.metrics_dir or stack.enter_context(tempfile.TemporaryDirectory())
            settings = structs.replace(settings, metrics_dir=folder)
            environ = {variable("metrics_dir"): folder, variable("worker_port"): ""}
            figures = figures_of(settings, root.product_version())
            stack.enter_context(answering(settings, figures))
        return _watch(settings, options, environ, stop)


def _watch(
    settings: Settings, options: Sequence[str], environ: Mapping[str, str], stop: Stop
) -> int:
    processes = [
        child_processes.started("worker", *options, environ=environ, orphaned=signal.SIGTERM)
        for _ in range(settings.eval_worker_processes)
    ]
    try:
        while not stop.wait(WATCH_S):
            if (ended := child_processes.lost(processes)) is not None:
                LOG.error(
                    "a process ended by itself (%s): stopping the rest",
                    child_processes.how_it_ended(ended),
                )
                return 1
    finally:
        child_processes.stop_all(processes, STOP_MAX_S)
    return 0


async def _work(
    settings: Settings, figures: Figures, open_ports: OpenPorts, announce_every_s: float
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    at_once = settings.eval_worker_concurrency
    hands = {JobQueue.PLAN: 1, JobQueue.MEASURE: at_once, JobQueue.JUDGE: at_once}
    own = root.own_jobs()
    async with (
        observed(settings, figures, "worker") as observer,
        open_ports(settings, own, observer) as ports,
    ):
        for name in NEEDED:
            state = await ports.health_checks[name].check()
            if not state.ok:
                raise CommandError(f"{name}: {state.detail}")
        do = UseCases.over(ports)
        workbench = Workbench(
            do.evaluation.plan_run,
            do.evaluation.evaluate_target,
            {lane: asyncio.Semaphore(count) for lane, count in hands.items()},
            observer.job,
        )
        crew = root.crew(settings, hands, workbench)
        crew.start()
        me = Presence(ports.workers, do.clock, ports.new_id(), root.product_version())
        rounds = [me.round, *upkeep(do, announce_every_s, settings.monitor_tick_seconds)]
        tasks = [
            asyncio.create_task(own.work(hands, workbench)),
            *(asyncio.create_task(again_and_again(one, observer.round)) for one in rounds),
        ]
        LOG.info("waiting for work")
        await stopping.wait()
        for task in tasks:
            task.cancel()  # what isn't committed is done again
        await asyncio.gather(*tasks, return_exceptions=True)
        await crew.stop(DRAIN_S)
        await me.leave()
    LOG.info("stopped")


class Presence:
    """Tells again and again that this process works, so that others notice when none does."""

    def __init__(self, workers: Workers, clock: Clock, own_id: UUID, version: str) -> None:
        self._workers = workers
        self._clock = clock
        self._me = Worker(id=own_id, version=version, started_at=clock())

    @property
    def round(self) -> "Round":
        return Round("telling", HEARTBEAT_INTERVAL.total_seconds(), self._tell, "")

    async def leave(self) -> None:
        """Where the database doesn't answer at once, others find out by themselves."""
        with suppress(Failure, TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self._workers.remove(self._me)

    async def _tell(self) -> int:
        await self._workers.record_heartbeat(self._me, self._clock())
        return 0  # it is no news


@dataclass(frozen=True, slots=True)
class Workbench:
    """Has one job done: finds its use case, waits for room in its lane, tells what went wrong.

    Never raises: what wasn't finished is found again in the database.
    """

    plan: Callable[[ProjectId, RunId], Awaitable[None]]
    evaluate: Callable[[ProjectId, RunId, Target], Awaitable[None]]
    room: Mapping[JobQueue, asyncio.Semaphore]
    watch: Callable[[Job], AbstractContextManager[Told]] = lambda _: nullcontext(Told())

    async def __call__(self, job: Job) -> None:
        async with self.room[queue_of(job)]:
            began = time.perf_counter()
            with self.watch(job) as told:
                try:
                    await self._done(job)
                except Failure as failure:
                    LOG.warning("put off: %s", failure.message, extra=_named(job))
                except Exception:  # a fault of one job must not end the others
                    told.outcome = BROKEN
                    LOG.exception("put off", extra=_named(job))
                else:
                    told.outcome = DONE
                    took_s = round(time.perf_counter() - began, 3)
                    LOG.debug("done", extra={**_named(job), "seconds": took_s})

    async def _done(self, job: Job) -> None:
        match job:
            case PlanRunJob():
                await self.plan(job.project, job.run)
            case EvaluateTargetJob():
                await self.evaluate(job.project, job.run, job.target)


def _named(job: Job) -> dict[str, str]:
    named = {"lane": queue_of(job).value, "project_id": str(job.project), "run_id": str(job.run)}
    return named if isinstance(job, PlanRunJob) else {**named, "target": job.target}


@dataclass(frozen=True, slots=True)
class Round:
    """What is done again and again. Several workers may do it at once; one is enough.

    Of monitors one worker sees to all, while it leads: the others look whether it still does.
    """

    name: str
    every_s: float
    call: Callable[[], Awaitable[int]]
    told: str  # once something was done; with how much


def upkeep(do: UseCases, announce_every_s: float, tick_s: float) -> list[Round]:
    announce, fire = do.evaluation.requeue_overdue, do.evaluation.run_due_monitors
    alerts, exporting = do.evaluation.alerts, do.exports
    return [
        Round(
            "sweeping",
            SWEEP_EVERY_S,
            do.identity.purge_removed_projects,
            "took away %d rows of what was removed",
        ),
        Round(
            "expiring", EXPIRE_EVERY_S, do.privacy.delete_expired_traces, "removed %d old traces"
        ),
        Round("erasing", SWEEP_EVERY_S, do.privacy.finish_erasures, "finished %d erasures"),
        Round(
            "forgetting",
            SWEEP_EVERY_S,
            do.delete_expired_responses,
            "forgot %d replies to old writes",
        ),
        Round("exporting", EXPORT_EVERY_S, exporting.write_export, "wrote %d exports"),
        Round(
            "clearing",
            SWEEP_EVERY_S,
            exporting.delete_expired_exports,
            "took away %d rows of exports",
        ),
        Round(
            "pruning",
            SWEEP_EVERY_S,
            do.evaluation.prune_judge_records,
            "took %d old rows of judges",
        ),
        Round("announcing", announce_every_s, announce, "told of %d jobs that were overdue"),
        Round("repricing", REPRICE_EVERY_S, do.pricing.reprice_spans, "priced again in %d steps"),
        Round("firing", tick_s, fire, "used %d slots of monitors"),
        Round("assessing", ASSESS_EVERY_S, alerts.evaluate_runs, "alerts looked at %d runs"),
        Round("tidying", PRUNE_EVERY_S, alerts.prune_history, "forgot %d changes and deliveries"),
        Round("delivering", DELIVER_EVERY_S, alerts.deliver_messages, "sent %d messages"),
    ]


async def again_and_again(
    one: Round, on_round: Callable[[str, str], None] = lambda _name, _outcome: None
) -> None:
    while True:
        outcome = DONE
        try:
            if count := await one.call():
                LOG.info(one.told, count)
        except Failure as failure:
            outcome = PUT_OFF
            LOG.warning("%s goes on later: %s", one.name, failure.message)
        except Exception:  # a fault of one round must not end all that follow
            outcome = BROKEN
            LOG.exception("%s goes on later", one.name)
        on_round(one.name, outcome)
        await asyncio.sleep(one.every_s)


def with_options(settings: Settings, processes: int | None, concurrency: int | None) -> Settings:
    """The settings, but for what the command line says otherwise."""
    return structs.replace(
        settings,
        eval_worker_processes=processes or settings.eval_worker_processes,
        eval_worker_concurrency=concurrency or settings.eval_worker_concurrency,
    )
