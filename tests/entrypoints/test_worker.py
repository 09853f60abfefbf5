"""The worker's workbench and rounds: whatever a job or a round does, the next one is done."""

import asyncio
import logging
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.memory.evaluation.work_queue import MemoryWorkers
from adapters.postgres.database.pool import Pool
from adapters.postgres.health import PostgresHealthCheck
from application.clock import utc_now
from application.jobs import EvaluateTargetJob, Job, JobQueue, PlanRunJob
from application.workers import Worker
from domain.errors import Unavailable
from domain.ids import ProjectId, RunId
from entrypoints.cli.main import main
from entrypoints.observability.observer import BROKEN, DONE, PUT_OFF, JobOutcome
from entrypoints.settings import Settings
from entrypoints.worker.supervisor import with_options
from entrypoints.worker.worker import (
    Heartbeat,
    JobRunner,
    PeriodicTask,
    run_periodically,
    stop_work,
)
from tests.support.fakes.query_counter import turns
from tests.support.waiting import in_time, until

# Prints how many bytes the event loop of a worker takes to receive a hundred.
RECEIVE = """
import asyncio, socket, tracemalloc
from contextlib import asynccontextmanager
from entrypoints.settings import Settings
from entrypoints.startup import CommandError
from entrypoints.worker.worker import work

@asynccontextmanager
async def opening(*_):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader, writer = await asyncio.open_connection(sock=ours)
        tracemalloc.start()
        theirs.sendall(bytes(100))
        await reader.readexactly(100)
        raise CommandError(str(tracemalloc.get_traced_memory()[1]))
    yield

try:
    work(Settings(database_url="postgresql://localhost", redis_url="redis://localhost"), opening)
except CommandError as stopped:
    print(stopped)
"""

PROJECT, RUN = ProjectId(uuid.UUID(int=1)), RunId(uuid.UUID(int=2))
NAMED = {"project_id": str(PROJECT), "run_id": str(RUN)}


def a_workbench(called: list[object], room: int = 2) -> JobRunner:
    """It notes its jobs in `called`, and raises the exception that is in it already."""
    raising = [one for one in called if isinstance(one, Exception)]

    async def call(job: Job) -> None:
        called.append(job)
        if raising:
            raise raising[0]

    return JobRunner(call, {lane: asyncio.Semaphore(room) for lane in JobQueue})


async def test_jobs_of_every_lane_are_run():
    called: list[object] = []
    workbench = a_workbench(called)
    jobs = [
        PlanRunJob(PROJECT, RUN),
        EvaluateTargetJob(PROJECT, RUN, "t"),
        EvaluateTargetJob(PROJECT, RUN, "u", asks_judge=True),
    ]
    for job in jobs:
        await workbench(job)
    assert called == jobs


@pytest.mark.parametrize(
    ("job", "named"),
    [
        (PlanRunJob(PROJECT, RUN), {"lane": "plan", **NAMED}),
        (EvaluateTargetJob(PROJECT, RUN, "t"), {"lane": "measure", **NAMED, "target": "t"}),
        (EvaluateTargetJob(PROJECT, RUN, "t", True), {"lane": "judge", **NAMED, "target": "t"}),
    ],
    ids=["plan", "measure", "judge"],
)
@pytest.mark.parametrize(
    ("error", "level", "has_cause"),
    [(Unavailable("The database is away"), "WARNING", False), (KeyError("?"), "ERROR", True)],
    ids=["passing", "unexpected"],
)
async def test_failed_job_is_logged_with_row_ids_and_not_raised(
    caplog, job, named, error, level, has_cause
):
    await a_workbench([error])(job)
    [record] = caplog.records
    assert record.levelname == level
    assert {name: getattr(record, name) for name in named} == named
    assert bool(record.exc_info) is has_cause


@pytest.mark.parametrize(
    ("error", "outcome"), [(None, DONE), (Unavailable("away"), PUT_OFF), (KeyError("?"), BROKEN)]
)
async def test_observer_gets_the_outcome_of_a_job(error, outcome):
    seen: list[tuple[object, JobOutcome]] = []

    @contextmanager
    def watch(job: object) -> Iterator[JobOutcome]:
        seen.append((job, reported := JobOutcome()))
        yield reported

    bench = replace(a_workbench([error] if error else []), observe=watch)
    job = EvaluateTargetJob(PROJECT, RUN, "t")
    await bench(job)
    assert seen == [(job, JobOutcome(outcome))]


async def test_cancelled_job_is_not_logged(caplog):
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    workbench = JobRunner(never, {lane: asyncio.Semaphore(1) for lane in JobQueue})
    doing = asyncio.create_task(workbench(PlanRunJob(PROJECT, RUN)))
    await asyncio.sleep(0)
    doing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doing
    assert caplog.records == []


async def test_concurrency_of_each_lane_is_limited():
    begun, gate = [], asyncio.Event()

    async def wait(*arguments: object) -> None:
        begun.append(arguments)
        await gate.wait()

    workbench = JobRunner(wait, {lane: asyncio.Semaphore(2) for lane in JobQueue})
    jobs = [EvaluateTargetJob(PROJECT, RUN, str(n), n % 2 == 0) for n in range(10)]
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(workbench(job))
        await asyncio.sleep(0.01)
        assert len(begun) == 4
        gate.set()
    assert len(begun) == 10


def a_judge_job(target: str) -> EvaluateTargetJob:
    return EvaluateTargetJob(PROJECT, RUN, target, asks_judge=True)


@dataclass
class Gate:
    """Jobs that go on when it is opened, but for those named `free`."""

    begun: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, job: Job) -> None:
        assert isinstance(job, EvaluateTargetJob)
        self.begun.append(job.target)
        try:
            if job.target != "free":
                await self.opened.wait()
        finally:
            self.ended.append(job.target)

    def runner(self, slots: int, **limits: Any) -> JobRunner:
        return JobRunner(self.call, {lane: asyncio.Semaphore(slots) for lane in JobQueue}, **limits)


async def test_judge_that_does_not_answer_keeps_no_other_job_waiting():
    gate = Gate()
    runner = gate.runner(2, slow_after_s=0)
    async with in_time():
        await asyncio.gather(*(runner(a_judge_job(f"stuck {n}")) for n in range(5)))
        await runner(a_judge_job("free"))
        assert gate.ended == ["free"]
        gate.opened.set()
        await until(lambda: len(gate.ended) == 6)


@pytest.mark.parametrize("asks_judge", [False, True])
async def test_jobs_without_a_slot_are_bounded(asks_judge):
    """And only those of a judge give theirs up: others take as long as the processor needs."""
    gate, most = Gate(), 2 if asks_judge else 0
    runner = gate.runner(1, slow_after_s=0.001, slow_max=2)
    jobs = [replace(a_judge_job(f"{n}"), asks_judge=asks_judge) for n in range(5)]
    running = [asyncio.create_task(runner(job)) for job in jobs]
    await until(lambda: sum(one.done() for one in running) == most)
    await until(lambda: len(gate.begun) == most + 1)
    assert gate.ended == []
    gate.opened.set()
    async with in_time():
        await asyncio.gather(*running)
    await until(lambda: len(gate.ended) == 5)
    assert sorted(gate.begun) == sorted(gate.ended) == [f"{n}" for n in range(5)]


async def test_job_that_ended_without_a_slot_makes_room_for_another():
    gate = Gate()
    runner = gate.runner(1, slow_after_s=0, slow_max=1)
    async with in_time():
        for number in range(1, 3):
            await runner(a_judge_job(f"slow {number}"))
            assert len(gate.ended) == number - 1
            gate.opened.set()
            await until(lambda most=number: len(gate.ended) == most)
            gate.opened.clear()


async def test_stop_ends_jobs_with_and_without_a_slot():
    gate = Gate()
    runner = gate.runner(1, slow_after_s=0, slow_max=1)
    await runner(a_judge_job("slow"))
    waiting = asyncio.create_task(runner(a_judge_job("in its slot")))
    await until(lambda: len(gate.begun) == 2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert gate.ended == ["in its slot"]
    await runner.stop(0)
    assert gate.ended == ["in its slot", "slow"]


async def test_stop_waits_for_a_periodic_task_that_finishes_what_it_does():
    begun, free = asyncio.Event(), asyncio.Event()

    async def send() -> int:
        begun.set()
        try:
            return await asyncio.Event().wait()
        finally:
            await free.wait()

    task = asyncio.create_task(run_periodically(PeriodicTask("sending", 1, send, "")))
    await begun.wait()
    runner = Gate().runner(1)
    stopping = asyncio.create_task(stop_work([task], [runner], 0))
    await turns()
    assert not stopping.done()
    free.set()
    async with in_time():
        await stopping
    assert task.cancelled()


def failing_twice() -> tuple[Callable[[], Awaitable[int]], list[int], asyncio.Event]:
    """A round that fails in two ways before it does something."""
    calls, done = [], asyncio.Event()

    async def call() -> int:
        calls.append(len(calls))
        if len(calls) == 1:
            raise Unavailable("The database is away") from TimeoutError("secret")
        if len(calls) == 2:
            raise KeyError("?")
        done.set()
        return 7

    return call, calls, done


async def test_failed_periodic_task_runs_again(caplog):
    caplog.set_level(logging.INFO, "pandaprobe.worker")
    call, calls, done = failing_twice()
    told_of: list[tuple[str, str]] = []
    one = PeriodicTask("sweeping", 0, call, "took away %d rows")
    rounds = asyncio.create_task(run_periodically(one, lambda *said: told_of.append(said)))
    async with in_time():
        await done.wait()
    await asyncio.sleep(0)
    rounds.cancel()
    await asyncio.gather(rounds, return_exceptions=True)
    assert len(calls) >= 3
    assert told_of[:3] == [("sweeping", outcome) for outcome in (PUT_OFF, BROKEN, DONE)]
    reported = [(one.levelname, one.message) for one in caplog.records[:3]]
    assert reported == [
        ("WARNING", "sweeping is postponed: The database is away (TimeoutError)"),
        ("ERROR", "sweeping failed; it runs again later"),
        ("INFO", "took away 7 rows"),
    ]


def test_small_message_takes_no_large_block():
    """Between values that live longer, blocks of 256 KiB leave ever more of the heap unused."""
    done = subprocess.run(
        [sys.executable, "-c", RECEIVE], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 100_000


def test_options_override_settings():
    settings = Settings(eval_worker_concurrency=3, eval_worker_processes=2)
    assert with_options(settings, None, None) == settings
    chosen = with_options(settings, 1, 5)
    assert (chosen.eval_worker_processes, chosen.eval_worker_concurrency) == (1, 5)


@pytest.mark.parametrize("options", [["--processes", "0"], ["--concurrency", "257"]])
def test_invalid_number_option_is_refused(options, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["worker", *options], {})
    assert ended.value.code == 2
    assert "is not a whole number from 1" in capsys.readouterr().err


@pytest.mark.service
async def test_heartbeat_logs_a_clock_that_was_set(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    ahead = [timedelta()]
    check = PostgresHealthCheck(pool, clock=lambda: utc_now() + ahead[0])
    worker = Worker(id=uuid.uuid4(), version="1", started_at=utc_now())
    heartbeat = Heartbeat(MemoryWorkers(), utc_now, worker, check)
    await heartbeat.send()
    assert caplog.messages == []
    ahead[0] = timedelta(days=1)
    await heartbeat.send()
    assert ["clock" in one for one in caplog.messages] == [True]
