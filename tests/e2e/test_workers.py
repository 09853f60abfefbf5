"""Workers as processes: a run completes exactly once, whatever fails among workers and Redis.

The workers use a fast clock (short_lease_worker.py), so that leases expire during a test.
"""

import asyncio
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from adapters.postgres.database.leader_election import LEADER_APPLICATION_NAME
from application.jobs import EvaluateTargetJob, PlanRunJob
from application.use_cases import Ports
from domain.evaluation.runs.run import EvalRun, RunProgress, RunStatus, TargetType, WorkItem
from domain.evaluation.scores.score import ScoreOutcome, TraceScore
from domain.ids import ProjectId, RunId
from domain.page import PageRequest
from entrypoints.composition import root
from entrypoints.demo_data.generator import Recipe, synthetic_traces
from entrypoints.settings import Settings, read_settings
from tests.e2e.conftest import ROOT, own_environ
from tests.support.builders.values import span, trace
from tests.support.fakes.short_lease_worker import fast_clock
from tests.support.fixtures.evaluation.monitors import a_monitor
from tests.support.fixtures.servers.valkey_server import Valkey
from tests.support.waiting import WAIT_MAX_S, until

pytestmark = pytest.mark.e2e

JUDGED = ("task_completion", "tool_correctness", "step_efficiency")
MEASURED = ("trace_success", "tool_success_rate", "tool_loop", "trace_hygiene")
SPEEDUP = 20  # a lease of two minutes lasts six seconds, a job counts as lost after three
AT_ONCE = 4  # concurrent targets per worker


@dataclass
class Workers:
    """Servers for this module, and worker processes started by tests."""

    folder: Path
    environ: dict[str, str]
    valkey: Valkey
    epoch_s: float = field(default_factory=time.time)
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return read_settings(self.environ)

    @property
    def asked(self) -> Path:
        return self.folder / "asked.tsv"

    @property
    def log(self) -> str:
        return (self.folder / "workers.log").read_text()

    def start(
        self, answer_s: float = 0.1, drain_s: float = 20, speedup: int = SPEEDUP
    ) -> subprocess.Popen[bytes]:
        numbers = (self.epoch_s, speedup, answer_s, drain_s)
        arguments = (*map(str, numbers), str(self.asked))
        with (self.folder / "workers.log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fakes.short_lease_worker", *arguments],
                cwd=ROOT,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.children.append(child)
        return child

    def only(self) -> subprocess.Popen[bytes]:
        """The one worker that runs, if possible one that the test before has left."""
        first, *others = [one for one in self.children if one.poll() is None] or [self.start()]
        for other in others:
            self.kill(other)
        return first

    def kill(self, child: subprocess.Popen[bytes]) -> None:
        child.kill()
        child.wait()

    def end(self) -> None:
        for child in self.children:
            self.kill(child)
        self.children.clear()

    @asynccontextmanager
    async def ports(self) -> AsyncIterator[Ports]:
        async with root.ports(self.settings) as ports:
            yield replace(ports, clock=fast_clock(self.epoch_s, SPEEDUP))


@pytest.fixture(scope="module")
def servers(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    folder = tmp_path_factory.mktemp("workers")
    valkey = Valkey(folder)
    environ = own_environ(folder, 1) | {
        "PANDAPROBE_APP_ENV": "test",
        "PANDAPROBE_DATABASE_URL": database_url,
        "PANDAPROBE_REDIS_URL": valkey.url,
        "PANDAPROBE_EVAL_WORKER_CONCURRENCY": str(AT_ONCE),
        "PANDAPROBE_MONITOR_TICK_SECONDS": "1",
    }
    made = Workers(folder, environ, valkey)
    yield made
    made.end()
    valkey.child.stop()


@pytest.fixture
def left_workers(servers: Workers) -> Workers:
    """Those that the test before has left may run: each start takes a second of a processor."""
    servers.asked.unlink(missing_ok=True)
    return servers


@pytest.fixture
def workers(servers: Workers) -> Workers:
    """None of them runs."""
    servers.end()
    servers.asked.unlink(missing_ok=True)
    return servers


@dataclass(frozen=True, slots=True)
class RunUnderWay:
    """A run under way."""

    ports: Ports
    run: EvalRun

    async def progress(self) -> RunProgress:
        return await self.ports.evaluation.runs.get(self.run.project_id, self.run.id)

    async def until(self, is_so: Callable[[RunProgress], bool]) -> RunProgress:
        progress: RunProgress = await until(self.progress, is_so)
        return progress

    async def wait_evaluated(self, count: int) -> RunProgress:
        return await self.until(lambda one: one.tally.evaluated >= count)

    async def wait_completed(self) -> RunProgress:
        """Waits for the end, and asserts that nothing is open or failed."""
        progress = await self.until(lambda one: one.run.status.is_final)
        pairs = self.run.targets * len(self.run.metrics)
        assert progress.run.status is RunStatus.COMPLETED
        assert progress.tally.evaluated == self.run.targets
        tally = progress.tally
        assert (tally.pending, tally.failed, tally.scored + tally.skipped) == (0, 0, pairs)
        return progress

    async def scores(self) -> Sequence[TraceScore]:
        return await self.ports.evaluation.trace_scores.by_run(self.run.project_id, self.run.id)

    async def scored_pairs(self) -> set[tuple[str, str]]:
        """Returns the pairs with a stored score: metric and task."""
        done = [one for one in await self.scores() if one.outcome is ScoreOutcome.SCORED]
        return {(one.name, task_of(one.trace_id)) for one in done}


def task_of(target: object) -> str:
    return f"What about {target}?"


async def put_traces(ports: Ports, project: ProjectId, count: int) -> list[str]:
    """Stores traces with different evidence for every metric; returns their ids."""
    made = []
    for _ in range(count):
        one = trace(span(kind="TOOL", name="look", input=b'{"a": 1}', output=b'"found"'))
        made.append(replace(one, input=f'"{task_of(one.id)}"'.encode(), output=b'"All is well."'))
    ended = [replace(one, status="COMPLETED", ended_at=one.started_at) for one in made]
    await asyncio.gather(*(ports.tracing.traces.put(project, one) for one in ended))
    return [str(one.id) for one in made]


async def start_run(
    ports: Ports,
    project: ProjectId,
    targets: Sequence[str],
    metrics: Sequence[str] = JUDGED,
    model: str = "openai/gpt-5-mini",
) -> RunUnderWay:
    run = EvalRun(
        id=RunId(uuid.uuid4()),
        project_id=project,
        target_type=TargetType.TRACE,
        metrics=tuple(metrics),
        targets=len(targets),
        model=model,
        created_at=ports.clock(),
    )
    await ports.evaluation.runs.create(run, [WorkItem(one, run.metrics) for one in targets])
    await ports.evaluation.jobs.send(PlanRunJob(project, run.id))
    return RunUnderWay(ports, run)


def count_questions(workers: Workers) -> Counter[tuple[str, str]]:
    """Counts how often each question was asked, by metric and task."""
    lines = workers.asked.read_text().splitlines()
    return Counter((name, task) for name, _, task in (line.partition("\t") for line in lines))


def a_project() -> ProjectId:
    return ProjectId(uuid.uuid4())


# --- one run -------------------------------------------------------------------------------------


# Below, another worker goes on; the races of work_queue in tests/contracts have exclusive claims.
@pytest.mark.exhaustive
async def test_two_workers_complete_run_and_judge_each_pair_once(workers: Workers) -> None:
    for _ in range(2):
        workers.start()
    async with workers.ports() as ports:
        targets = await put_traces(ports, project := a_project(), 30)
        run_under_way = await start_run(ports, project, targets)
        await run_under_way.wait_completed()
        assert await run_under_way.scored_pairs() == count_questions(workers).keys()
    assert set(count_questions(workers).values()) == {1}
    assert len(count_questions(workers)) == 30 * len(JUDGED)


async def test_another_worker_resumes_after_kill(workers: Workers) -> None:
    """Finished pairs are not judged again; pairs under way are judged once more."""
    async with workers.ports() as ports:
        targets = await put_traces(ports, project := a_project(), 30)
        first = workers.start(answer_s=0.3)
        run_under_way = await start_run(ports, project, targets)
        await run_under_way.wait_evaluated(8)
        workers.kill(first)
        done, before = await run_under_way.scored_pairs(), count_questions(workers)
        assert 8 * len(JUDGED) <= len(done) < 30 * len(JUDGED)
        workers.start(answer_s=0.05)
        await run_under_way.wait_completed()
        after = count_questions(workers) - before
    assert not done & after.keys()
    assert max(after.values()) == 1
    again = before.keys() & after.keys()
    assert len(again) <= AT_ONCE * len(JUDGED)
    assert before.keys() | after.keys() == {(m, task_of(t)) for m in JUDGED for t in targets}


@pytest.mark.exhaustive
async def test_run_completes_although_workers_are_killed_repeatedly(workers: Workers) -> None:
    async with workers.ports() as ports:
        targets = await put_traces(ports, project := a_project(), 30)
        run_under_way = await start_run(ports, project, targets)
        workers.start(answer_s=0.1)
        for count in (5, 10, 15):
            await run_under_way.wait_evaluated(count)
            workers.kill(workers.children[-1])
            workers.start(answer_s=0.1)
        await run_under_way.wait_completed()
    assert max(count_questions(workers).values()) <= 4


# tests/faults/test_shutdown.py stops one, tests/adapters/dramatiq/test_worker_pool.py amid jobs.
@pytest.mark.exhaustive
async def test_worker_finishes_its_targets_on_sigterm(workers: Workers) -> None:
    async with workers.ports() as ports:
        targets = await put_traces(ports, project := a_project(), 30)
        run_under_way = await start_run(ports, project, targets)
        first = workers.start(answer_s=0.2)
        await run_under_way.wait_evaluated(8)
        first.send_signal(signal.SIGTERM)
        assert first.wait(WAIT_MAX_S) == 0
        assert await run_under_way.scored_pairs() == count_questions(workers).keys()
        workers.start(answer_s=0.05)
        await run_under_way.wait_completed()
    assert set(count_questions(workers).values()) == {1}


async def test_worker_that_stops_gives_back_what_it_cannot_finish(workers: Workers) -> None:
    async with workers.ports() as ports:
        targets = await put_traces(ports, project := a_project(), AT_ONCE)
        run_under_way = await start_run(ports, project, targets)
        first = workers.start(answer_s=WAIT_MAX_S, drain_s=0.1, speedup=1)  # no lease expires
        connection = await asyncpg.connect(workers.environ["PANDAPROBE_DATABASE_URL"])

        async def states() -> list[tuple[str, int]]:
            sql = "SELECT state, attempts FROM eval_jobs WHERE run_id = $1"
            return [tuple(row) for row in await connection.fetch(sql, run_under_way.run.id)]

        try:
            await until(states, lambda found: found == [("running", 1)] * AT_ONCE)
            first.send_signal(signal.SIGTERM)
            assert first.wait(WAIT_MAX_S) == 0
            assert await states() == [("queued", 0)] * AT_ONCE
        finally:
            await connection.close()
        workers.start(answer_s=0.05)
        await run_under_way.wait_completed()


# tests/contracts/test_jobs.py stops a process amid jobs of its own.
@pytest.mark.exhaustive
async def test_worker_finishes_its_targets_on_sigterm_without_redis(workers: Workers) -> None:
    async with workers.ports() as ports:
        targets = await put_traces(ports, project := a_project(), 30)
        workers.valkey.kill()
        try:
            run_under_way = await start_run(ports, project, targets)
            first = workers.start(answer_s=0.2)
            await run_under_way.wait_evaluated(8)
            first.send_signal(signal.SIGTERM)
            assert first.wait(WAIT_MAX_S) == 0
            assert await run_under_way.scored_pairs() == count_questions(workers).keys()
        finally:
            workers.valkey.start_again()


# --- Redis ---------------------------------------------------------------------------------------


@pytest.mark.exhaustive  # in the next test Redis forgets everything, and is away as well
async def test_flushed_redis_only_delays_the_run(workers: Workers) -> None:
    async with workers.ports() as ports:
        targets = await put_traces(ports, project := a_project(), 30)
        workers.start(answer_s=0.2)
        run_under_way = await start_run(ports, project, targets)
        await run_under_way.wait_evaluated(8)
        workers.valkey.flush()
        await run_under_way.wait_completed()
    assert set(count_questions(workers).values()) == {1}


async def test_workers_find_work_without_redis(left_workers: Workers) -> None:
    workers = left_workers
    async with workers.ports() as ports:
        targets = await put_traces(ports, project := a_project(), 30)
        workers.only()
        run_under_way = await start_run(ports, project, targets)
        await run_under_way.wait_evaluated(5)
        workers.valkey.kill()
        try:
            late = await start_run(ports, project, targets[:5], MEASURED)
            await run_under_way.wait_completed()
            await late.wait_completed()
        finally:
            workers.valkey.start_again()
        await (await start_run(ports, project, targets[:5], MEASURED)).wait_completed()
    assert max(count_questions(workers).values()) == 1
    assert "Traceback" not in workers.log


@pytest.mark.exhaustive  # tests/adapters/dramatiq/test_worker_pool.py starts one before Redis
async def test_worker_may_start_before_redis(workers: Workers) -> None:
    workers.valkey.kill()
    workers.start()
    async with workers.ports() as ports:
        try:
            targets = await put_traces(ports, project := a_project(), 3)
            run_under_way = await start_run(ports, project, targets)
            await run_under_way.wait_completed()
            assert await run_under_way.scored_pairs() == count_questions(workers).keys()
        finally:
            workers.valkey.start_again()


# --- monitors ------------------------------------------------------------------------------------

COUNT_LEADERS = """
SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()
"""
MAKE_MONITOR_DUE = """
UPDATE monitors SET next_run_at = now() - interval '1 hour' WHERE project_id = $1 AND id = $2
"""


async def test_another_worker_fires_monitors_after_leader_is_killed(left_workers: Workers) -> None:
    workers = left_workers
    leader = workers.only()
    database = await asyncpg.connect(workers.settings.database_url)
    async with workers.ports() as ports:
        try:
            monitors = ports.evaluation.monitors
            await until(
                lambda: database.fetchval(COUNT_LEADERS, LEADER_APPLICATION_NAME),
                lambda count: count == 1,
            )
            other = workers.start()
            targets = await put_traces(ports, project := a_project(), 3)
            later = ports.clock() + timedelta(days=400)
            fields = {"only_if_changed": False, "metrics": MEASURED, "next_run_at": later}
            made = await monitors.create(a_monitor(project, cadence="weekly", **fields))
            for leaders_left in (1, 0):
                await database.execute(MAKE_MONITOR_DUE, project, made.id)
                runs = await until(
                    lambda: monitors.runs(project, made.id, PageRequest()),
                    lambda page, due=2 - leaders_left: page.total == due,
                )
                if leaders_left:
                    workers.kill(leader)
            run_under_way = RunUnderWay(ports, runs.items[0].run)
            await run_under_way.wait_completed()
            assert {str(one.trace_id) for one in await run_under_way.scores()} == set(targets)
            assert other.poll() is None
            known = await monitors.get(project, made.id)
            assert known.last_run_id == run_under_way.run.id
            assert known.next_run_at > ports.clock()
        finally:
            await database.close()


# --- others --------------------------------------------------------------------------------------


async def test_jobs_that_name_nothing_are_dropped(left_workers: Workers) -> None:
    workers = left_workers
    async with workers.ports() as ports:
        targets = await put_traces(ports, project := a_project(), 3)
        nothing = RunId(uuid.uuid4())
        await ports.evaluation.jobs.send(
            PlanRunJob(project, nothing),
            EvaluateTargetJob(project, nothing, targets[0]),
            EvaluateTargetJob(project, nothing, "no id", asks_judge=True),
        )
        workers.only()
        run_under_way = await start_run(ports, project, targets)
        await run_under_way.wait_completed()
        await ports.evaluation.jobs.send(  # of another project, and done already
            PlanRunJob(a_project(), run_under_way.run.id),
            EvaluateTargetJob(a_project(), run_under_way.run.id, targets[0], asks_judge=True),
            EvaluateTargetJob(project, run_under_way.run.id, targets[0], asks_judge=True),
        )
        await (await start_run(ports, project, targets)).wait_completed()
    assert len(count_questions(workers)) == 3 * len(JUDGED)
    assert set(count_questions(workers).values()) == {
        1
    }  # although in two runs: verdicts are cached


# In tests/contracts/evaluation/work_queue/test_work_queue.py runs take turns and share the window.
@pytest.mark.exhaustive
@pytest.mark.parametrize("count", [400, 10_000])
async def test_large_run_does_not_delay_small_run_of_another_project(
    workers: Workers, count: int
) -> None:
    """Ten targets complete while hundreds or more of another project are under way."""
    async with workers.ports() as ports:
        recipe = Recipe(traces=count, seed=1, days=2, until=datetime(2026, 3, 1, tzinfo=UTC))
        large, small = a_project(), a_project()
        targets = []
        for some in batches(synthetic_traces(recipe), 500):
            await asyncio.gather(*(ports.tracing.traces.put(large, one) for one in some))
            targets += [str(one.id) for one in some]
        workers.start()
        first = await start_run(ports, large, targets, MEASURED)
        await first.wait_evaluated(20)
        other = await start_run(ports, small, await put_traces(ports, small, 10), MEASURED)
        await other.wait_completed()
        progress = await first.progress()
        assert progress.run.status is RunStatus.RUNNING
        assert progress.tally.evaluated < 0.9 * count
        await ports.evaluation.runs.cancel(large, first.run.id, ports.clock())


def batches(items: Iterator[object], size: int) -> Iterator[list]:
    from itertools import batched

    return (list(some) for some in batched(items, size))


# tests/contracts/evaluation/work_queue/test_work_queue.py has the last attempt.
@pytest.mark.exhaustive
async def test_target_that_always_fails_becomes_dead(workers: Workers) -> None:
    """A target that cannot be measured is given up after a few leases, and the run ends."""
    async with workers.ports() as ports:
        targets = await put_traces(ports, project := a_project(), 2)
        run_under_way = await start_run(ports, project, targets)
        connection = await asyncpg.connect(workers.environ["PANDAPROBE_DATABASE_URL"])
        try:
            await connection.execute(
                "UPDATE eval_jobs SET attempts = 5 WHERE run_id = $1 AND target = $2",
                run_under_way.run.id,
                targets[0],
            )
        finally:
            await connection.close()
        workers.start()
        progress = await run_under_way.until(lambda one: one.run.status.is_final)
    assert progress.run.status is RunStatus.COMPLETED
    assert progress.tally.failed == len(JUDGED)
    assert progress.tally.codes == {"internal": len(JUDGED)}
