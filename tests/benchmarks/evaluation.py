"""How fast runs are evaluated, and what that takes. Prints Markdown.

    python -m tests.benchmarks.evaluation

One `worker` process with its defaults on an embedded PostgreSQL and Valkey, over made-up traces of
about 9.5 spans. A scripted judge answers by itself, in 0 or 200 ms. PostgreSQL, the worker and this
program share the machine.
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
from entrypoints.demo_data.generator import Recipe, synthetic_traces
from entrypoints.settings import Settings
from tests.benchmarks.folder import bench_folder
from tests.benchmarks.load import quantile

TRACES = 10_000
JUDGED = 800  # targets of a run that is judged
IDLE_RUNS = 60
CONCURRENCY = 8  # questions at once, the default
MEASURED = (
    *("trace_success", "tool_success_rate", "tool_loop", "trace_hygiene"),
    *("output_degeneration", "refusal", "untruncated_rate", "retrieval_hit_rate"),
)
STATEMENTS = """
SELECT sum(calls) FROM pg_stat_statements WHERE query !~ '^(BEGIN|COMMIT|SELECT status|SELECT pg_)'
"""
ONE = ("task_completion",)
THREE = (*ONE, "step_efficiency", "confidence")
PROJECT = ProjectId(uuid.UUID(int=1))
ROOT = Path(__file__).parents[2]


class Bench:
    def __init__(
        self, ports: Ports, settings: Settings, database: asyncpg.Connection, postgres: int
    ) -> None:
        self.ports = ports
        self.postgres = postgres  # its process id
        self.settings = settings
        self.database = database
        self.targets: list[str] = []
        self.judged = 0  # of these, whose verdicts are remembered

    def fresh(self, count: int) -> Sequence[str]:
        """So many that nobody was asked about."""
        self.judged += count
        return self.targets[self.judged - count : self.judged]

    async def fill(self) -> None:
        recipe = Recipe(traces=TRACES, seed=1, days=2, until=datetime(2026, 3, 1, tzinfo=UTC))
        for some in batched(synthetic_traces(recipe), 256):
            await asyncio.gather(*(self.ports.traces.put(PROJECT, one) for one in some))
            self.targets += [str(one.id) for one in some]
        await self.database.execute("VACUUM ANALYZE")

    async def begun(self, targets: Sequence[str], metrics: Sequence[str]) -> EvalRun:
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

    async def over(self, run: EvalRun, every_s: float = 0.05) -> None:
        sql = "SELECT status FROM eval_runs WHERE project_id = $1 AND id = $2"
        while await self.database.fetchval(sql, PROJECT, run.id) in ("PENDING", "RUNNING"):
            await asyncio.sleep(every_s)

    async def took_s(self, targets: Sequence[str], metrics: Sequence[str]) -> float:
        """From when a run is stored to when it is over."""
        begin = time.perf_counter()
        await self.over(await self.begun(targets, metrics))
        return time.perf_counter() - begin


@contextmanager
def worker(settings: Settings, answer_s: float) -> Iterator[int]:
    """The process id of one that is waiting for work."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.support.fakes.short_lease_worker", "0", "1", str(answer_s)],
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
        time.sleep(2)  # until its threads have looked at empty queues for a while
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
    """Of a process, its children included, those that have ended too."""
    ticks = sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return ticks / os.sysconf("SC_CLK_TCK") + sum(cpu_s(int(child)) for child in children)


class Spent:
    """CPU of the worker and of PostgreSQL since it was made."""

    def __init__(self, *pids: int) -> None:
        self.pids = pids
        self.before = [cpu_s(pid) for pid in pids]

    def per(self, count: int) -> str:
        now = [cpu_s(pid) for pid in self.pids]
        spent = zip(now, self.before, strict=True)
        return " + ".join(f"{(a - b) * 1e3 / count:.1f}" for a, b in spent)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Bench]:
    postgres, database_url = start_postgres(
        folder, {"shared_preload_libraries": "pg_stat_statements"}
    )
    valkey, redis_url = start_valkey(folder)
    settings = Settings(database_url=database_url, redis_url=redis_url)
    try:
        await root.migrate(settings)
        database = await asyncpg.connect(database_url)
        await database.execute("CREATE EXTENSION pg_stat_statements")
        async with root.ports(settings) as ports:
            yield Bench(ports, settings, database, postgres.process.pid)
        await database.close()
    finally:
        valkey.stop()
        postgres.stop()


def row(label: str, *figures: object) -> None:
    print(f"| {label} | {' | '.join(map(str, figures))} |", flush=True)


async def idle(bench: Bench, pid: int) -> None:
    """From when a run is stored to when its only score is there, while nothing else is done."""
    row("resident memory, idle, MB", memory_mb(pid, "VmRSS"))
    before = cpu_s(pid)
    await asyncio.sleep(10)
    row("CPU, idle", f"{(cpu_s(pid) - before) * 10:.1f} %")
    taken = []
    for target in bench.targets[:IDLE_RUNS]:
        await asyncio.sleep(0.3)
        begin = time.perf_counter()
        await bench.over(await bench.begun([target], MEASURED[:1]), every_s=0.005)
        taken.append((time.perf_counter() - begin) * 1e3)
    figures = " / ".join(f"{quantile(taken, q):.0f}" for q in (0.5, 0.95, 1))
    row("run stored → its score, idle, ms: p50 / p95 / most", figures)


async def judged(bench: Bench, pid: int, answer_ms: int, metrics: Sequence[str]) -> None:
    await bench.took_s(bench.fresh(CONCURRENCY), metrics)  # whatever is only done once
    targets = bench.fresh(JUDGED)
    spent = Spent(pid, bench.postgres)
    took_s = await bench.took_s(targets, metrics)
    cpu = f"CPU a target, worker + PostgreSQL: {spent.per(JUDGED)} ms"
    rate = JUDGED * len(metrics) / took_s
    label = f"{JUDGED} targets × {len(metrics)} judged metrics, {answer_ms} ms an answer: scores/s"
    if answer_ms == 0:
        row(label, f"{rate:,.0f}; {cpu}")
        return
    ideal = CONCURRENCY * 1_000 / answer_ms
    row(label, f"{rate:,.1f} of {ideal:,.0f} ({rate / ideal:.0%}); {cpu}")


async def large(bench: Bench, pid: int, redis: Redis) -> None:
    database = bench.database
    run_size = "SELECT pg_column_size(eval_runs.*) FROM eval_runs WHERE id = $1"
    await database.execute("SELECT pg_stat_statements_reset()")
    begin = time.perf_counter()
    spent = Spent(pid, bench.postgres)
    run = await bench.begun(bench.targets, MEASURED)
    before = await database.fetchval(run_size, run.id)
    most, lengths = 0, []
    watching = asyncio.create_task(bench.over(run, every_s=0.5))
    while not watching.done():
        await asyncio.sleep(0.1)
        most = max(most, memory_mb(pid, "VmRSS"))
        messages = await redis.hvals(f"{NAMESPACE}:{JobQueue.MEASURE}.msgs")  # type: ignore[misc]  # asynchronous here
        lengths += [len(one) for one in messages]
    took_s = time.perf_counter() - begin
    statements = await database.fetchval(STATEMENTS)
    after = await database.fetchval(run_size, run.id)
    scores = TRACES * len(MEASURED)
    row(f"{TRACES:,} targets × {len(MEASURED)} measured metrics: s", f"{took_s:.0f}")
    row("… scores/s; targets/s", f"{scores / took_s:,.0f}; {TRACES / took_s:,.0f}")
    row("… CPU a target, worker + PostgreSQL, ms", spent.per(TRACES))
    row("… statements a target, BEGIN and COMMIT aside", f"{statements / TRACES:.1f}")
    row("… resident memory of the worker, MB: most", most)
    row("… bytes of the run's row: stored, over", f"{before}, {after}")
    row("… bytes of a message: most", max(lengths, default=0))


async def measured(folder: Path) -> None:
    async with opened(folder) as bench:
        await bench.fill()
        redis = Redis.from_url(bench.settings.redis_url or "")
        print("| | |\n|---|---|", flush=True)
        with worker(bench.settings, 0.2) as pid:
            await judged(bench, pid, 200, ONE)
            await judged(bench, pid, 200, THREE)
        with worker(bench.settings, 0.0) as pid:
            await idle(bench, pid)
            await judged(bench, pid, 0, ONE)
            await judged(bench, pid, 0, THREE)
            await large(bench, pid, redis)
        await redis.aclose()


def main() -> None:
    with bench_folder() as folder:
        asyncio.run(measured(folder))


if __name__ == "__main__":
    main()
