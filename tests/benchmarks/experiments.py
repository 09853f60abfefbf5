"""Measures the comparison of two experiments, as the gate asks for it, and all lists over HTTP.

Prints Markdown.

    python -m tests.benchmarks.experiments [ITEMS]

Two experiments over the same items (10,000) with 3 repetitions and 5 metrics: 300,000 scores. Each
comparison reads all of them. It excludes HTTP: requests and answers are small. Then there are 500
more experiments and as many datasets as a project may have, and each list is read from one `serve`
process: one connection, closed loop. PostgreSQL and these programs share the machine's cores.
"""

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
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
from adapters.postgres.tracing.writes.batch_writer import TraceWriter
from application.evaluation.experiments.compare import CompareExperiments, ComparisonRequest
from application.evaluation.use_cases import EvaluationPorts
from domain.evaluation.datasets.dataset import DATASETS_MAX
from domain.evaluation.experiments.comparison import Rules
from domain.evaluation.experiments.experiment import Case, Experiment, Result
from domain.ids import ProjectId
from entrypoints import provisioning
from entrypoints.composition import database
from entrypoints.composition.evaluation import evaluation_ports
from entrypoints.settings import Settings
from tests.benchmarks.evaluation import cpu_s
from tests.benchmarks.reads import (
    PAGE,
    Measured,
    configured,
    ensure_project,
    measure,
    serving,
)
from tests.benchmarks.support.connection import Connection
from tests.benchmarks.support.folder import bench_folder
from tests.benchmarks.writes.ingest import machine
from tests.support.builders.datasets import a_dataset, an_item, put
from tests.support.builders.experiments import an_experiment
from tests.support.builders.values import NOON, prices, project_prices, trace
from tests.support.fixtures.evaluation.evaluation import a_run

ITEMS: Final = 10_000
REPETITIONS: Final = 3
METRICS: Final = tuple(f"metric_{number}" for number in range(5))
ROUNDS: Final = 10
OTHERS: Final = 500
TRACES_AT_ONCE: Final = 500
RESULTS_AT_ONCE: Final = 10_000
PROJECT_NAME: Final = "experiments"
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


# Closed, of one dataset, without results; and datasets with one version and one item.
INSERT_OTHERS: Final = (
    """
    INSERT INTO experiments (
      project_id, id, name, dataset_id, dataset, version, items, repetitions, metrics, votes,
      run_id, created_at, closed_at
    )
    SELECT project_id, gen_random_uuid(), 'other ' || n, dataset_id, dataset, version, items,
      repetitions, metrics, votes, run_id, created_at - n * interval '1 hour', closed_at
    FROM experiments CROSS JOIN generate_series(1, $3::int) AS n
    WHERE project_id = $1 AND id = $2
    """,
    """
    WITH made AS (
      INSERT INTO datasets (
        project_id, name, id, description, number, revisions, created_at, updated_at
      )
      SELECT $1::uuid, 'other-' || n, gen_random_uuid(), 'Cases of agent ' || n, 1, 1,
        $2::timestamptz, $2::timestamptz
      FROM generate_series(1, $3::int) AS n RETURNING id
    )
    INSERT INTO dataset_versions (
      project_id, dataset_id, number, digest, items, erased, created_at
    )
    SELECT $1::uuid, id, 1, sha256(id::text::bytea), 1, 0, $2::timestamptz FROM made
    """,
)


async def fill(
    pool: Pool,
    owner: asyncpg.Connection,
    ports: EvaluationPorts,
    project: ProjectId,
    items: int,
    failures: int,
) -> Experiment:
    """Adds a closed experiment in which `failures` of a thousand scores are 0."""
    version = await ports.datasets.find_version(project, "refunds")
    made = an_experiment(
        project_id=project, version=version, items=items, repetitions=REPETITIONS, metrics=METRICS
    )
    experiment = await ports.experiments.create(made)
    traces = [
        trace(ended_at=NOON + timedelta(milliseconds=100 + number % 900))
        for number in range(items * REPETITIONS)
    ]
    writer = TraceWriter(pool, project_prices())
    for some in batched(traces, TRACES_AT_ONCE):
        await writer.write([(project, one) for one in some])
    results = [
        Result(Case(f"item {place // REPETITIONS:05}", place % REPETITIONS + 1), one.id)
        for place, one in enumerate(traces)
    ]
    for part in batched(results, RESULTS_AT_ONCE):
        await ports.experiments.put_results(project, experiment.id, part)
    run = replace(a_run(project, 0), metrics=METRICS)
    await ports.runs.create(run, [])
    async with scoped_transaction(owner, project):
        ids = [one.id for one in traces]
        await owner.execute(INSERT_SCORES, project, run.id, ids, METRICS, NOON, failures)
    await ports.experiments.close(project, experiment.id, run.id, NOON)
    return experiment


async def measure_comparison(
    settings: Settings, server: int, project: ProjectId, items: int
) -> Sequence[Experiment]:
    owner = await asyncpg.connect(settings.migration_database_url)
    async with database.open_database(settings) as pool:
        ports = evaluation_ports(settings, pool, RecordedJobs(), prices(), HeuristicJudge())
        await ports.datasets.create(a_dataset(project))
        await put(ports.datasets, project, *(an_item(f"item {n:05}") for n in range(items)))
        base = await fill(pool, owner, ports, project, items, 100)
        candidate = await fill(pool, owner, ports, project, items, 110)
        async with scoped_transaction(owner, project):
            await owner.execute(INSERT_OTHERS[0], project, base.id, OTHERS)
            await owner.execute(INSERT_OTHERS[1], project, NOON, DATASETS_MAX - 1)
        await owner.execute("VACUUM ANALYZE", timeout=None)
        compare = CompareExperiments(
            ports.experiments, ports.runs, ports.labels, ports.judging.ledger
        )
        request = ComparisonRequest(base=base.id, candidate=candidate.id, rules=Rules())
        await compare(project, request)
        wall, python, postgres = list[float](), list[float](), list[float]()
        for _ in range(ROUNDS):
            since, used, of_server = time.perf_counter(), time.process_time(), cpu_s(server)
            found = await compare(project, request)
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
    return base, candidate


def lists(base: Experiment, items: int) -> Mapping[str, str]:
    """The targets of the requests, by what they ask for."""
    dataset, middle = "/datasets/refunds", f"offset={items // 2 // PAGE * PAGE}"
    of_base = f"/experiments/{base.id}"
    return {
        f"`GET /datasets`, all {DATASETS_MAX}": "/datasets",
        "`GET /datasets/{name}`": dataset,
        "`/datasets/{name}/versions`": f"{dataset}/versions",
        "`/datasets/{name}/items`, first page": f"{dataset}/items",
        "`/datasets/{name}/items`, the middle": f"{dataset}/items?{middle}",
        "`/datasets/{name}/items`, a split": f"{dataset}/items?split=none",
        f"`GET /experiments`, first page of {OTHERS + 2}": "/experiments",
        "`GET /experiments`, `limit=200`": "/experiments?limit=200",
        "`GET /experiments`, of a dataset": "/experiments?dataset=refunds",
        "`GET /experiments/{id}`": of_base,
        "`/experiments/{id}/items`, first page": f"{of_base}/items",
        "`/experiments/{id}/items`, the middle": f"{of_base}/items?{middle}",
        "`/experiments/{id}/items`, `limit=200`": f"{of_base}/items?limit=200",
    }


def measure_lists(of: Measured, targets: Mapping[str, str]) -> None:
    print("\n| ms | p50 | p95 | CPU: API | PostgreSQL |\n|---|---|---|---|---|")
    for label, target in targets.items():
        print(f"| {label} |{measure(of, [target]).cells()}", flush=True)


def main(items: int = ITEMS) -> None:
    with bench_folder() as folder, run_servers(folder) as servers:
        settings, environ = configured(folder, servers)
        asyncio.run(database.migrate(settings))
        key = asyncio.run(provisioning.ensure_developer_key(settings, None))
        project = asyncio.run(ensure_project(settings, PROJECT_NAME))
        server = servers.children[0].process.pid
        print(machine(), f"Load: {os.getloadavg()[0]:.0f}.\n")
        base, _ = asyncio.run(measure_comparison(settings, server, project, items))
        headers = {"X-API-Key": key, "X-Project-Name": PROJECT_NAME}
        with serving(environ) as (port, api), Connection(port, headers) as http:
            measure_lists(Measured(http, api, (server,)), lists(base, items))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
