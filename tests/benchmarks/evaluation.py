"""Measures how fast runs are evaluated, and at what cost.

Prints Markdown.

    python -m tests.benchmarks.evaluation

One `worker` process with its defaults on an embedded PostgreSQL and Valkey, over generated traces
of about 9.5 spans. A scripted judge answers in 0 or 200 ms. PostgreSQL, the worker and this program
share the machine.
"""

import asyncio
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path

import asyncpg
from redis.asyncio import Redis

from adapters.dramatiq.messages import NAMESPACE
from adapters.embedded.postgres import start_postgres
from adapters.embedded.valkey import start_valkey
from application.jobs import JobQueue, PlanRunJob
from application.use_cases import Ports
from domain.evaluation.runs.run import EvalRun, TargetType, WorkItem
from domain.ids import ProjectId, RunId
from entrypoints.composition import root
from entrypoints.composition.database import migrate
from entrypoints.demo_data.generator import Recipe, synthetic_traces
from entrypoints.settings import Settings
from tests.benchmarks.support.folder import bench_folder
from tests.benchmarks.support.load import quantile

TRACES = 10_000
JUDGED = 800  # targets of a judged run
IDLE_RUNS = 60
CONCURRENCY = 8  # concurrent questions, the default
COMPUTED_METRICS = (
    *("trace_success", "tool_success_rate", "tool_loop", "trace_hygiene"),
    *("output_degeneration", "refusal", "untruncated_rate", "retrieval_hit_rate"),
)
COUNT_STATEMENTS = """
SELECT sum(calls) FROM pg_stat_statements WHERE query !~ '^(BEGIN|COMMIT|SELECT status|SELECT pg_)'
"""
ONE_METRIC = ("task_completion",)
THREE_METRICS = (*ONE_METRIC, "step_efficiency", "confidence")
PROJECT = ProjectId(uuid.UUID(int=1))
ROOT = Path(__file__).parents[2]


class EvaluationBenchmark:
    def __init__(
        self, ports: Ports, settings: Settings, database: asyncpg.Connection, postgres: int
    ) -> None:
        self.ports = ports
        self.postgres = postgres  # its process id
        self.settings = settings
        self.database = database
        self.targets: list[str] = []
        self.judged = 0  # of these targets, whose verdicts are cached

    def take_unjudged(self, count: int) -> Sequence[str]:
        """Returns targets that have not been judged yet."""
        self.judged += count
        return self.targets[self.judged - count : self.judged]

    async def fill(self) -> None:
        recipe = Recipe(traces=TRACES, seed=1, days=2, until=datetime(2026, 3, 1, tzinfo=UTC))
        for some in batched(synthetic_traces(recipe), 256):
            await asyncio.gather(*(self.ports.tracing.traces.put(PROJECT, one) for one in some))
            self.targets += [str(one.id) for one in some]
        # The worker would index them first, and take more of the processor for that than for them.
        while await self.ports.tracing.search_index.add_traces():
            pass
        await self.database.execute("VACUUM ANALYZE")

    async def start_run(self, targets: Sequence[str], metrics: Sequence[str]) -> EvalRun:
        run = EvalRun(
            id=RunId(uuid.uuid4()),
            project_id=PROJECT,
            target_type=TargetType.TRACE,
            metrics=tuple(metrics),
            targets=len(targets),
            model="openai/gpt-5-mini",
            created_at=self.ports.clock(),
        )
        work = [WorkItem(target, run.metrics) for target in targets]
        await self.ports.evaluation.runs.create(run, work)
        await self.ports.evaluation.jobs.send(PlanRunJob(PROJECT, run.id))
        return run

    async def wait_ended(self, run: EvalRun, every_s: float = 0.05) -> None:
        sql = "SELECT status FROM eval_runs WHERE project_id = $1 AND id = $2"
        while await self.database.fetchval(sql, PROJECT, run.id) in ("PENDING", "RUNNING"):
            await asyncio.sleep(every_s)

    async def time_run(self, targets: Sequence[str], metrics: Sequence[str]) -> float:
        """Measures from storing a run to its end."""
        begin = time.perf_counter()
        await self.wait_ended(await self.start_run(targets, metrics))
        return time.perf_counter() - begin


@contextmanager
def worker(settings: Settings, answer_s: float) -> Iterator[int]:
    """Yields the process id of a worker that is waiting for work."""
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.support.fakes.short_lease_worker",
            "0",
            "1",
            str(answer_s),
            "20",
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "PANDAPROBE_DATABASE_URL": settings.database_url or "",
            "PANDAPROBE_REDIS_URL": settings.redis_url or "",
            "PANDAPROBE_LOG_FORMAT": "json",
        },
        stderr=subprocess.PIPE,
    )
    assert child.stderr
    try:
        for line in child.stderr:
            if b"waiting for work" in line:
                break
        time.sleep(2)  # until its threads have polled empty queues for a while
        yield child.pid
    finally:
        child.terminate()
        child.wait(40)
        child.stderr.close()


def memory_mb(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [line] = [one for one in lines if one.startswith(field)]
    return round(int(line.split()[1]) / 1024)


def cpu_s(pid: int) -> float:
    """Returns the CPU seconds of a process and its children, ended ones included."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:  # it ended just now: its parent has its time
        return 0.0
    ticks = sum(map(int, stat.rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK") + sum(cpu_s(int(child)) for child in children)


class CpuUsage:
    """CPU of the worker and of PostgreSQL since construction."""

    def __init__(self, *pids: int) -> None:
        self.pids = pids
        self.before = [cpu_s(pid) for pid in pids]

    def per(self, count: int) -> str:
        now = [cpu_s(pid) for pid in self.pids]
        usage = zip(now, self.before, strict=True)
        return " + ".join(f"{(a - b) * 1e3 / count:.1f}" for a, b in usage)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[EvaluationBenchmark]:
    postgres, database_url = start_postgres(
        folder, {"shared_preload_libraries": "pg_stat_statements"}
    )
    valkey, redis_url = start_valkey(folder)
    settings = Settings(database_url=database_url, redis_url=redis_url)
    try:
        await migrate(settings)
        database = await asyncpg.connect(database_url)
        await database.execute("CREATE EXTENSION pg_stat_statements")
        async with root.ports(settings) as ports:
            yield EvaluationBenchmark(ports, settings, database, postgres.process.pid)
        await database.close()
    finally:
        valkey.stop()
        postgres.stop()


def row(label: str, *figures: object) -> None:
    print(f"| {label} | {' | '.join(map(str, figures))} |", flush=True)


async def idle(bench: EvaluationBenchmark, pid: int) -> None:
    """Measures from storing a run to its only score, with nothing else to do."""
    row("resident memory: idle, MB", memory_mb(pid, "VmRSS"))
    before = cpu_s(pid)
    await asyncio.sleep(10)
    row("CPU, idle", f"{(cpu_s(pid) - before) * 10:.1f} %")
    durations_ms = []
    for target in bench.targets[:IDLE_RUNS]:
        await asyncio.sleep(0.3)
        begin = time.perf_counter()
        await bench.wait_ended(await bench.start_run([target], COMPUTED_METRICS[:1]), every_s=0.005)
        durations_ms.append((time.perf_counter() - begin) * 1e3)
    figures = " / ".join(f"{quantile(durations_ms, q):.0f}" for q in (0.5, 0.95, 1))
    row("from storing a run to its score, idle, ms: p50 / p95 / maximum", figures)


async def judged(
    bench: EvaluationBenchmark, pid: int, answer_ms: int, metrics: Sequence[str]
) -> None:
    await bench.time_run(bench.take_unjudged(CONCURRENCY), metrics)  # work that is done only once
    targets = bench.take_unjudged(JUDGED)
    usage = CpuUsage(pid, bench.postgres)
    took_s = await bench.time_run(targets, metrics)
    cpu = f"CPU per target, worker + PostgreSQL: {usage.per(JUDGED)} ms"
    rate = JUDGED * len(metrics) / took_s
    label = f"{JUDGED} targets × {len(metrics)} judged metrics, {answer_ms} ms per answer: scores/s"
    if answer_ms == 0:
        row(label, f"{rate:,.0f}; {cpu}")
        return
    ideal = CONCURRENCY * 1_000 / answer_ms
    row(label, f"{rate:,.1f} of {ideal:,.0f} ({rate / ideal:.0%}); {cpu}")


async def large(bench: EvaluationBenchmark, pid: int, redis: Redis) -> None:
    database = bench.database
    run_size = "SELECT pg_column_size(eval_runs.*) FROM eval_runs WHERE id = $1"
    await database.execute("SELECT pg_stat_statements_reset()")
    begin = time.perf_counter()
    usage = CpuUsage(pid, bench.postgres)
    run = await bench.start_run(bench.targets, COMPUTED_METRICS)
    before = await database.fetchval(run_size, run.id)
    most, lengths = 0, []
    watching = asyncio.create_task(bench.wait_ended(run, every_s=0.5))
    while not watching.done():
        await asyncio.sleep(0.1)
        most = max(most, memory_mb(pid, "VmRSS"))
        messages = await redis.hvals(f"{NAMESPACE}:{JobQueue.MEASURE}.msgs")
        lengths += [len(one) for one in messages]
    took_s = time.perf_counter() - begin
    statements = await database.fetchval(COUNT_STATEMENTS)
    after = await database.fetchval(run_size, run.id)
    scores = TRACES * len(COMPUTED_METRICS)
    row(f"{TRACES:,} targets × {len(COMPUTED_METRICS)} computed metrics: s", f"{took_s:.0f}")
    row("… scores/s; targets/s", f"{scores / took_s:,.0f}; {TRACES / took_s:,.0f}")
    row("… CPU per target, worker + PostgreSQL, ms", usage.per(TRACES))
    row("… statements per target, without BEGIN and COMMIT", f"{statements / TRACES:.1f}")
    row("… resident memory of the worker, MB: maximum", most)
    row("… size of the run's row, bytes: when stored, when finished", f"{before}, {after}")
    row("… maximum size of a message, bytes", max(lengths, default=0))


async def measured(folder: Path) -> None:
    async with opened(folder) as bench:
        await bench.fill()
        redis = Redis.from_url(bench.settings.redis_url or "")
        print("| | |\n|---|---|", flush=True)
        with worker(bench.settings, 0.2) as pid:
            await judged(bench, pid, 200, ONE_METRIC)
            await judged(bench, pid, 200, THREE_METRICS)
        with worker(bench.settings, 0.0) as pid:
            await idle(bench, pid)
            await judged(bench, pid, 0, ONE_METRIC)
            await judged(bench, pid, 0, THREE_METRICS)
            await large(bench, pid, redis)
        await redis.aclose()


def main() -> None:
    with bench_folder() as folder:
        asyncio.run(measured(folder))


if __name__ == "__main__":
    main()
