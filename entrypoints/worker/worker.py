"""`worker`: runs evaluations and periodic tasks.

One event loop does the work. Dramatiq's threads only wait for it; they are started once it runs,
so that no fork inherits a connection of the loop. Several processes share nothing but the servers.
"""

import asyncio
import contextlib
import gc
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import uvloop

from adapters.prometheus.registry import MetricsRegistry
from application.jobs import Job, JobQueue, Jobs, PlanRunJob, queue_of
from application.ports import Clock, HealthCheck
from application.table_groups import FIRST_GROUP
from application.use_cases import Ports, UseCases
from application.workers import HEARTBEAT_INTERVAL, Worker, Workers
from domain.errors import Failure
from entrypoints.composition import root
from entrypoints.observability import logs
from entrypoints.observability import observer as observing
from entrypoints.processes.heap import limit_heap
from entrypoints.settings import Settings
from entrypoints.startup import CommandError, check_servers, product_version
from entrypoints.tracebacks import with_cause
from entrypoints.worker.status_port import serve_status
from entrypoints.worker.supervisor import DRAIN_TIMEOUT_S

LOG: Final = logging.getLogger("pandaprobe.worker")
REQUIRED_CHECKS: Final = ("postgres", "migrations")  # Redis may become available later
REQUEUE_EVERY_S: Final = 15.0
GROUPS_EVERY_S: Final = 15.0  # for which a new group of organizations may wait
# After it a job of a judge gives up its slot: longer than most targets take, and short for one that
# waits behind those of a provider that doesn't answer.
SLOW_AFTER_S: Final = 10.0
# Without a slot, of a process: those of eight projects. Most wait for a place of their provider and
# hold little; each renews its lease twice a minute.
SLOW_JOBS_MAX: Final = 256
LEAVE_TIMEOUT_S: Final = 1.0  # to report that this worker stops


type OpenPorts = Callable[
    [Settings, Jobs, observing.Observer], contextlib.AbstractAsyncContextManager[Ports]
]
"""Fills every port. Jobs that can't be sent to Redis go to the given Jobs."""


def work(
    settings: Settings,
    open_ports: OpenPorts = root.ports,
    requeue_every_s: float = REQUEUE_EVERY_S,
    drain_s: float = DRAIN_TIMEOUT_S,
) -> int:
    """Works in this process until SIGTERM or SIGINT. Raises CommandError, Unavailable.

    Then running jobs have `drain_s` to end.
    """
    limit_heap()
    check_servers(settings)
    logs.configure(settings)
    gc.freeze()  # imported objects are never garbage, so that collections are faster
    metrics = observing.create_registry(settings, product_version())
    with serve_status(settings, metrics):
        # asyncio's own loop takes a block of 256 KiB for each receive and cuts it to what came.
        # Values that live longer land in the rest, which then has no room for the next block: the
        # heap grew by a megabyte a minute, and a third of the process was such rests.
        uvloop.run(_work(settings, metrics, open_ports, requeue_every_s, drain_s))
    return 0


async def _work(
    settings: Settings,
    metrics: MetricsRegistry,
    open_ports: OpenPorts,
    requeue_every_s: float,
    drain_s: float,
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    targets = settings.eval_worker_concurrency
    concurrency = {JobQueue.PLAN: 1, JobQueue.MEASURE: targets, JobQueue.JUDGE: targets}
    own_jobs = root.own_jobs()
    async with (
        observing.observe_process(settings, metrics, "worker") as observer,
        open_ports(settings, own_jobs, observer) as ports,
    ):
        for name in REQUIRED_CHECKS:
            state = await ports.health_checks[name].check()
            if not state.ok:
                raise CommandError(f"{name}: {state.detail}")
        use_cases = UseCases(ports)
        runner = JobRunner(
            use_cases.run_job,
            {lane: asyncio.Semaphore(count) for lane, count in concurrency.items()},
            observer.observe_job,
        )
        pool = root.create_worker_pool(settings, concurrency, runner)
        pool.start()
        version, now = product_version(), use_cases.clock()
        worker = Worker(id=ports.new_id(), version=version, started_at=now)
        database = ports.health_checks["postgres"]
        heartbeat = Heartbeat(ports.workers, use_cases.clock, worker, database)
        own_work = asyncio.create_task(own_jobs.work(concurrency, runner))
        tasks = list[asyncio.Task[None]]()
        tick_s = settings.monitor_tick_seconds

        def start(periodic: Iterable[PeriodicTask]) -> None:
            tasks.extend(
                asyncio.create_task(run_periodically(task, observer.count_task_run))
                for task in periodic
            )

        def start_group(ours: UseCases) -> None:
            start(periodic_tasks(ours, requeue_every_s, tick_s))

        groups = GroupStarter(use_cases, start_group)
        start(
            [
                PeriodicTask("telling", HEARTBEAT_INTERVAL.total_seconds(), heartbeat.send, ""),
                PeriodicTask("grouping", GROUPS_EVERY_S, groups.start_new, ""),
            ]
        )
        start_group(use_cases)
        LOG.info("waiting for work")
        await stopping.wait()
        await stop_work(tasks, (pool, own_jobs, runner), drain_s)
        await runner.stop(0)  # those that gave up their slot meanwhile
        await own_work
        await heartbeat.leave()
    LOG.info("stopped")


class Stoppable(Protocol):
    async def stop(self, within_s: float) -> None: ...


async def stop_work(
    periodic: Iterable[asyncio.Task[None]], jobs: Iterable[Stoppable], within_s: float
) -> None:
    """Returns when periodic tasks and jobs have ended: until then they need the ports."""
    tasks = list(periodic)
    for task in tasks:
        task.cancel()  # uncommitted work is repeated later; webhook messages are finished
    ended = asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(*(one.stop(within_s) for one in jobs))
    await ended


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Reports that this worker is alive, so that its absence is noticed.

    The check of the database logs a clock that was set while the worker runs.
    """

    workers: Workers
    clock: Clock
    worker: Worker
    database: HealthCheck

    async def leave(self) -> None:
        """Reports the stop. If the database doesn't answer, the heartbeat just expires."""
        with contextlib.suppress(Failure, TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await self.workers.remove(self.worker)

    async def send(self) -> int:
        await self.workers.record_heartbeat(self.worker, self.clock())
        await self.database.check()
        return 0  # not worth a log line


@dataclass(slots=True)
class GroupStarter:
    """Starts the periodic tasks of groups of organizations beyond the first, and of new ones."""

    use_cases: UseCases
    start: Callable[[UseCases], None]
    started: set[int] = field(default_factory=lambda: {FIRST_GROUP})

    async def start_new(self) -> int:
        for group in await self.use_cases.groups():
            if group not in self.started:
                self.start(await self.use_cases.for_group(group))
                self.started.add(group)
        return 0  # not worth a log line


@dataclass(frozen=True, slots=True)
class JobRunner:
    """Runs one job: waits for a slot of its lane, calls its use case, and logs a failure.

    Never raises. Unfinished jobs are found in the database again.

    A judge may be slow, or not answer at all. A job of the lane `judge` that takes longer than
    `slow_after_s` gives its slot to the next one and goes on, so that it delays none that asks
    another provider (docs/adr/0071). At most `slow_max` jobs do so at a time.
    """

    run: Callable[[Job], Awaitable[None]]
    slots: Mapping[JobQueue, asyncio.Semaphore]
    observe: Callable[[Job], contextlib.AbstractContextManager[observing.JobOutcome]] = lambda _: (
        contextlib.nullcontext(observing.JobOutcome())
    )
    slow_after_s: float = SLOW_AFTER_S
    slow_max: int = SLOW_JOBS_MAX
    _slow: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    async def __call__(self, job: Job) -> None:
        """Returns when the job has ended, or has given up its slot."""
        lane = queue_of(job)
        async with self.slots[lane]:
            if lane is not JobQueue.JUDGE:
                await self._run(job)
                return
            task = asyncio.create_task(self._run(job))
            try:
                while not task.done() and task not in self._slow:
                    await asyncio.wait({task}, timeout=self.slow_after_s)
                    if not task.done() and len(self._slow) < self.slow_max:
                        self._slow.add(task)
                        task.add_done_callback(self._slow.discard)
            except asyncio.CancelledError:
                await _cancel({task})
                raise

    async def stop(self, within_s: float) -> None:
        """Cancels the jobs without a slot that aren't done `within_s`."""
        if self._slow:
            _, running = await asyncio.wait(set(self._slow), timeout=within_s)
            await _cancel(running)

    async def _run(self, job: Job) -> None:
        began = time.perf_counter()
        with self.observe(job) as outcome:
            try:
                await self.run(job)
            except Failure as failure:
                LOG.warning("postponed: %s", with_cause(failure), extra=_log_fields(job))
            except Exception:  # a bug in one job must not stop the others
                outcome.value = observing.BROKEN
                LOG.exception("postponed", extra=_log_fields(job))
            else:
                outcome.value = observing.DONE
                took_s = round(time.perf_counter() - began, 3)
                LOG.debug("done", extra={**_log_fields(job), "seconds": took_s})


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _log_fields(job: Job) -> dict[str, str]:
    fields = {"lane": queue_of(job).value, "project_id": str(job.project), "run_id": str(job.run)}
    return fields if isinstance(job, PlanRunJob) else {**fields, "target": job.target}


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """A task that a worker repeats. Several workers may run it concurrently; one is enough.

    Only the leader fires monitors; the other workers check whether it still leads.
    """

    name: str  # also the value of a metric's label
    every_s: float
    call: Callable[[], Awaitable[int]]
    message: str  # logged with the count that `call` returns, unless it is 0; empty: never


def periodic_tasks(
    use_cases: UseCases, requeue_every_s: float, tick_s: float
) -> list[PeriodicTask]:
    identity, privacy, pricing = use_cases.identity, use_cases.privacy, use_cases.pricing
    evaluation, exporting, tracing = (
        use_cases.evaluation, use_cases.exporting, use_cases.tracing
    )  # fmt: skip
    sent = evaluation.sent_evaluations
    alerts, forget = evaluation.alerting, use_cases.delete_expired_responses
    tasks: tuple[tuple[str, float, Callable[[], Awaitable[int]], str], ...] = (
        ("sweeping", 10, identity.purge_removed_projects, "purged rows of removed projects: %d"),
        ("expiring", 60, privacy.delete_expired_traces, "removed expired traces: %d"),
        ("retiring", 600, privacy.delete_orphaned_scores, "removed scores of old sessions: %d"),
        ("erasing", 10, privacy.finish_erasures, "finished erasures: %d"),
        ("indexing", 1, tracing.index_traces, ""),  # every second, while traces are written
        ("cleaning", 60, tracing.clean_search_index, "cleaned segments of the search index: %d"),
        ("joining", 30, tracing.join_payloads, "traces whose payloads were joined: %d"),
        ("removing", 60, tracing.remove_unused_payloads, "removed unused payloads: %d"),
        ("settling", 10, tracing.settle_open_traces, "settled open traces: %d"),
        ("dropping", 600, tracing.delete_orphaned_records, "dropped records without a span: %d"),
        ("scoring", 5, sent.record_waiting, "recorded evaluations that waited: %d"),
        ("totalling", 60, evaluation.count_score_days, "days whose scores were counted: %d"),
        ("outdating", 600, sent.delete_expired, "dropped evaluations without a trace: %d"),
        ("trimming", 600, tracing.delete_expired_rejections, "removed expired rejections: %d"),
        ("forgetting", 10, forget, "deleted idempotent responses: %d"),
        ("exporting", 1, exporting.write_export, "wrote exports: %d"),
        ("clearing", 10, exporting.delete_expired_exports, "deleted rows of old exports: %d"),
        ("pruning", 10, evaluation.prune_judge_records, "deleted old rows of judging: %d"),
        ("announcing", requeue_every_s, evaluation.requeue_overdue, "re-enqueued overdue jobs: %d"),
        ("repricing", 1, pricing.reprice_spans, "ran steps of repricing: %d"),
        ("firing", tick_s, evaluation.run_due_monitors, "fired monitor slots: %d"),
        ("assessing", 5, alerts.evaluate_runs, "runs whose alerts were evaluated: %d"),
        ("releasing", 60, evaluation.annotation.delete_expired, "deleted expired claims: %d"),
        ("tidying", 600, alerts.prune_history, "deleted old alert rows: %d"),
        ("delivering", 1, alerts.deliver_messages, "sent webhook messages: %d"),
    )
    return [PeriodicTask(*task) for task in tasks]


async def run_periodically(
    task: PeriodicTask, on_run: Callable[[str, str], None] = lambda _name, _outcome: None
) -> None:
    while True:
        outcome = observing.DONE
        try:
            if (count := await task.call()) and task.message:
                LOG.info(task.message, count)
        except Failure as failure:
            outcome = observing.PUT_OFF
            LOG.warning("%s is postponed: %s", task.name, with_cause(failure))
        except Exception:  # a bug in one run must not end all later ones
            outcome = observing.BROKEN
            LOG.exception("%s failed; it runs again later", task.name)
        on_run(task.name, outcome)
        await asyncio.sleep(task.every_s)
