"""Measures the comparison of two experiments, as the gate asks for it. Prints Markdown.

    python -m tests.benchmarks.experiments [ITEMS]

Two experiments over the same items (10,000) with 3 repetitions and 5 metrics: 300,000 scores. Each
comparison reads all of them. It excludes HTTP: requests and answers are small. PostgreSQL and this
program share the machine's cores.
"""

import asyncio
import sys
import time
import uuid
from dataclasses import replace
from datetime import timedelta
from itertools import batched
from typing import Final

import asyncpg

from adapters.embedded.servers import run_servers
from adapters.judges.heuristic import HeuristicJudge
from adapters.memory.jobs import RecordedJobs
from adapters.postgres.database.pool import Pool
from adapters.postgres.database.tenants import scoped_transaction
from adapters.postgres.tracing.batch_writer import TraceWriter
from application.evaluation.experiments.compare import CompareExperiments, ComparisonRequest
from application.evaluation.use_cases import EvaluationPorts
from domain.evaluation.experiments.comparison import Rules
from domain.evaluation.experiments.experiment import Case, Experiment, Result
from domain.ids import ProjectId
from entrypoints.composition import root
from entrypoints.settings import Settings
from tests.benchmarks.evaluation import cpu_s
from tests.benchmarks.folder import bench_folder
from tests.benchmarks.ingest import machine
from tests.support.builders.datasets import a_dataset, an_item, put
from tests.support.builders.experiments import an_experiment
from tests.support.builders.values import NOON, prices, project_prices, trace
from tests.support.fixtures.evaluation import a_run

ITEMS: Final = 10_000
REPETITIONS: Final = 3
METRICS: Final = tuple(f"metric_{number}" for number in range(5))
ROUNDS: Final = 10
TRACES_AT_ONCE: Final = 500
RESULTS_AT_ONCE: Final = 10_000
PROJECT: Final = ProjectId(uuid.UUID(int=1))
# One trace in ten fails a metric; the candidate fails a hundredth more.
INSERT_SCORES: Final = """
INSERT INTO trace_scores (project_id, id, trace_id, name, outcome, value, number, data_type, source,
                          run_id, metadata, judge_kind, fingerprint, threshold, created_at,
                          updated_at)
SELECT $1, gen_random_uuid(), trace_id, name, 'scored', score::text, score, 'NUMERIC', 'AUTOMATED',
       $2, '{}', 'measured', repeat('f', 64), 0.5, $5, $5
FROM unnest($3::uuid[]) WITH ORDINALITY AS of_trace (trace_id, place)
CROSS JOIN unnest($4::text[]) WITH ORDINALITY AS metric (name, number)
CROSS JOIN LATERAL (
  SELECT CASE WHEN (place * 7919 + number * 104729) % 1000 < $6 THEN 0 ELSE 1 END AS score
) AS made
"""


async def fill(
    pool: Pool, owner: asyncpg.Connection, ports: EvaluationPorts, items: int, failures: int
) -> Experiment:
    """Adds a closed experiment in which `failures` of a thousand scores are 0."""
    version = await ports.datasets.find_version(PROJECT, "refunds")
    made = an_experiment(
        project_id=PROJECT, version=version, items=items, repetitions=REPETITIONS, metrics=METRICS
    )
    experiment = await ports.experiments.create(made)
    traces = [
        trace(ended_at=NOON + timedelta(milliseconds=100 + number % 900))
        for number in range(items * REPETITIONS)
    ]
    writer = TraceWriter(pool, project_prices())
    for some in batched(traces, TRACES_AT_ONCE):
        await writer.write([(PROJECT, one) for one in some])
    results = [
        Result(Case(f"item {place // REPETITIONS:05}", place % REPETITIONS + 1), one.id)
        for place, one in enumerate(traces)
    ]
    for part in batched(results, RESULTS_AT_ONCE):
        await ports.experiments.put_results(PROJECT, experiment.id, part)
    run = replace(a_run(PROJECT, 0), metrics=METRICS)
    await ports.runs.create(run, [])
    async with scoped_transaction(owner, PROJECT):
        ids = [one.id for one in traces]
        await owner.execute(INSERT_SCORES, PROJECT, run.id, ids, METRICS, NOON, failures)
    await ports.experiments.close(PROJECT, experiment.id, run.id, NOON)
    return experiment


async def measure(settings: Settings, server: int, items: int) -> None:
    await root.migrate(settings)
    owner = await asyncpg.connect(settings.migration_database_url)
    async with root.database(settings) as pool:
        ports = root.evaluation_ports(settings, pool, RecordedJobs(), prices(), HeuristicJudge())
        await ports.datasets.create(a_dataset(PROJECT))
        await put(ports.datasets, PROJECT, *(an_item(f"item {n:05}") for n in range(items)))
        base = await fill(pool, owner, ports, items, 100)
        candidate = await fill(pool, owner, ports, items, 110)
        await owner.execute("VACUUM ANALYZE", timeout=None)
        compare = CompareExperiments(
            ports.experiments, ports.runs, ports.labels, ports.judging.ledger
        )
        request = ComparisonRequest(base=base.id, candidate=candidate.id, rules=Rules())
        await compare(PROJECT, request)
        wall, python, postgres = list[float](), list[float](), list[float]()
        for _ in range(ROUNDS):
            since, used, of_server = time.perf_counter(), time.process_time(), cpu_s(server)
            found = await compare(PROJECT, request)
            wall.append(time.perf_counter() - since)
            python.append(time.process_time() - used)
            postgres.append(cpu_s(server) - of_server)
        print("| items x repetitions x metrics | verdict | s: median, greatest"
              " | CPU s: this program, PostgreSQL |\n|---|---|---|---|")  # fmt: skip
        middle = ROUNDS // 2
        print(f"| {items:,} x {REPETITIONS} x {len(METRICS)} | {found.verdict}"
              f" | {sorted(wall)[middle]:.2f}, {max(wall):.2f}"
              f" | {sorted(python)[middle]:.2f}, {sorted(postgres)[middle]:.2f} |")  # fmt: skip
    await owner.close()


def main(items: int = ITEMS) -> None:
    with bench_folder() as folder, run_servers(folder) as servers:
        settings = Settings(
            database_url=servers.database_url,
            migration_database_url=servers.owner_url,
            redis_url=servers.redis_url,
        )
        print(machine(), "\n")
        asyncio.run(measure(settings, servers.children[0].process.pid, items))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
