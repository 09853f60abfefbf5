"""Measures the CPU time of each step that stores traces, in this process and in PostgreSQL.

Prints Markdown.

    python -m tests.benchmarks.writes.ingest_cpu [SPANS …]

The bodies are those of `ingest.py`. Each step of a batch runs alone, so that a busy machine changes
little: microseconds per trace, the median of the batches. What surrounds them isn't measured here:
HTTP, authentication, and the event loop.
"""

import asyncio
import gc
import random
import statistics
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import batched

import uvloop

from adapters.embedded.servers import run_servers
from adapters.postgres.database.pool import Pool, PoolSettings, open_pool
from adapters.postgres.database.tenants import within
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.tracing.rollups import rollups
from adapters.postgres.tracing.writes import batch_writer, row_updates
from domain.ids import ProjectId
from entrypoints.composition import database
from entrypoints.settings import Settings
from tests.benchmarks.compare import cpu_ns
from tests.benchmarks.support.bodies import body
from tests.benchmarks.support.folder import bench_folder
from tests.benchmarks.writes.write_paths import read
from tests.support.builders.values import prices

BATCH = 10  # as many share a COMMIT with 32 connections
WARM_UP = 30  # batches
BATCHES = 200
PROJECT = ProjectId(uuid.UUID(int=1))


@dataclass
class Steps:
    """Microseconds per trace of each step: here, and in the PostgreSQL process `backend`."""

    backend: int = 0
    taken: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        there, here = self._backend_ns(), time.thread_time_ns()
        yield
        spent = time.thread_time_ns() - here, self._backend_ns() - there
        self.taken[name].append((spent[0] / 1e3 / BATCH, spent[1] / 1e3 / BATCH))

    def _backend_ns(self) -> int:
        return sum(cpu_ns([self.backend]).values()) if self.backend else 0


async def write(pool: Pool, steps: Steps, bodies: Sequence[bytes]) -> None:
    with steps.step("body to trace"):
        items = [(PROJECT, read(content)) for content in bodies]
    with steps.step("settle: defaults, prices, totals, terms"):
        incoming, _ = batch_writer._merge_by_key(items)
        ready = batch_writer._settle_all(incoming, {PROJECT: prices().price})
    with steps.step("compress payloads"):
        ready = replace(ready, payloads=ready.payload_rows())
    async with within(pool, [PROJECT]).transaction() as connection:
        with steps.step("INSERT of traces and payloads"):
            await batch_writer.insert_new_traces(connection, ready.rows, ready.payloads)
        with steps.step("rows of spans, and what roll-ups count"):
            rows, deltas = batch_writer._count_new(ready.traces)
        with steps.step("COPY of spans"):
            await row_updates.insert_spans(connection, rows)
        with steps.step("roll-ups"):
            await rollups.write(connection, deltas)
        with steps.step("COMMIT, BEGIN"):
            await connection.execute("COMMIT; BEGIN")


async def measure(url: str, spans: int) -> Steps:
    random_, steps = random.Random(spans), Steps()
    bodies = [body(random_, spans) for _ in range(BATCH * (WARM_UP + BATCHES))]
    gc.collect()
    gc.freeze()
    async with open_pool(DB, PoolSettings(url=url, size=1)) as pool:
        steps.backend = await pool.fetchval("SELECT pg_backend_pid()")
        for number, some in enumerate(batched(bodies, BATCH)):
            if number == WARM_UP:
                steps.taken.clear()
            await write(pool, steps, some)
    return steps


def main(sizes: Sequence[int] = (3, 12, 100)) -> None:
    with bench_folder() as folder, run_servers(folder) as servers:
        settings = Settings(
            database_url=servers.database_url,
            migration_database_url=servers.owner_url,
            redis_url=servers.redis_url,
        )
        asyncio.run(database.migrate(settings))
        for spans in sizes:
            print(f"\n| {spans} spans, µs per trace | API | PostgreSQL |\n|---|---|---|")
            for name, taken in uvloop.run(measure(servers.database_url, spans)).taken.items():
                here, there = (statistics.median(one) for one in zip(*taken, strict=True))
                print(f"| {name} | {here:,.0f} | {there:,.0f} |", flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or (3, 12, 100))
