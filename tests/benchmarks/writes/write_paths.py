"""Compares three ways to write a batch of traces on this schema.

Prints Markdown.

    python -m tests.benchmarks.writes.write_paths

direct: COPY into every table; on a unique violation, the batch again by the written path. written:
the path in use: INSERT of traces that skips existing ones, COPY for new ones, merge for known ones.
unnest: an upsert from arrays for every table.
"""

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from adapters.embedded.servers import run_servers
from adapters.postgres.database.pool import Connection, Pool, PoolSettings, open_pool
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.database.tenants import within
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.schema import migrating
from adapters.postgres.tracing.payloads.payload_text import PAYLOADS
from adapters.postgres.tracing.rollups.facets import CountedTrace, terms_of_spans, trace_terms
from adapters.postgres.tracing.trace_rows import SPANS, TRACES, trace_row
from adapters.postgres.tracing.writes.batch_writer import Item, SettledTrace, TraceWriter
from adapters.postgres.tracing.writes.row_updates import UPSERT_AND_QUEUE_TRACES
from domain.ids import ProjectId
from domain.tracing.span import Totals
from domain.tracing.trace import Trace
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.traces.traces import TRACE_BODY
from entrypoints.http.requests.errors import FieldErrors
from tests.benchmarks.support.bodies import body
from tests.benchmarks.support.folder import bench_folder
from tests.support.builders.values import prices, project_prices

BATCH = 64
BATCHES = 60
PROJECT = ProjectId(uuid.UUID(int=1))

type Write = Callable[[Sequence[Item]], Awaitable[None]]
type Rows = tuple[list[tuple[object, ...]], list[tuple[object, ...]], list[tuple[object, ...]]]


def counted(project: ProjectId, trace: Trace) -> CountedTrace:
    terms = terms_of_spans(project, trace.spans)
    return CountedTrace(project, trace, Totals.from_spans(trace.spans), trace.models, terms)


def rows(items: Sequence[Item]) -> Rows:
    settled = [(project, trace.settled(prices().price)) for project, trace in items]
    traces = []
    for project, trace in settled:
        one = counted(project, trace)
        lists = {"tags": trace.tags, "models": trace.models, "terms": trace_terms(one)}
        row = zip(TRACES.names, trace_row(one), strict=True)
        traces.append(tuple(lists.get(name, value) for name, value in row))
    made = [SettledTrace.from_trace(counted(project, t), t) for project, t in settled]
    payloads = [row for one in made for row in one.payload_rows()]
    return traces, payloads, [row for one in made for row in one.span_rows()]


async def copy(connection: Connection, made: Rows) -> None:
    traces, payloads, spans = made
    for table, records, columns in (
        ("traces", traces, TRACES.names),
        ("trace_payloads", payloads, PAYLOADS.names),
        ("span_rows", spans, SPANS.names),
    ):
        await connection.copy_records_to_table(table, records=records, columns=columns)


def direct(pool: Pool, writer: TraceWriter) -> Write:
    async def write(items: Sequence[Item]) -> None:
        made = rows(items)
        try:
            async with within(pool, PROJECT).transaction() as c:
                await copy(c, made)
        except asyncpg.UniqueViolationError:
            await writer.write(items)

    return write


def unnest(pool: Pool) -> Write:
    upsert = (
        f"{SPANS.insert_from('sent')} ON CONFLICT (project_id, trace_id, span_id) DO UPDATE SET "
        + ", ".join(f"{c} = coalesce(excluded.{c}, spans.{c})" for c in SPANS.names[3:])
    )

    upsert_payloads = (
        f"{PAYLOADS.insert_from('sent')} ON CONFLICT (project_id, trace_id, start) DO UPDATE SET "
        + PAYLOADS.overwrite()
    )

    async def write(items: Sequence[Item]) -> None:
        settled = [(project, trace.settled(prices().price)) for project, trace in items]
        by_id = sorted(settled, key=lambda one: one[1].id)
        traces = [trace_row(counted(project, t)) for project, t in by_id]
        _, payloads, spans = rows(items)
        async with within(pool, PROJECT).transaction() as c:
            await c.execute(UPSERT_AND_QUEUE_TRACES, *arrays(traces))
            await c.execute(upsert_payloads, *arrays(payloads))
            await c.execute(upsert, *arrays(spans))

    return write


def read(data: bytes) -> Trace:
    trace = TRACE_BODY.parse(data, HttpConfig(version="", environment="test"), FieldErrors())
    assert trace is not None
    return trace


def batches(spans: int, repeated: float, count: int = BATCHES) -> list[list[Item]]:
    """Returns batches in which a share of the traces was sent before, with other spans."""
    random_ = random.Random(spans)
    seen: list[Trace] = []
    made = []
    for _ in range(count):
        batch = []
        for _ in range(BATCH):
            trace = read(body(random_, spans))
            if seen and random_.random() < repeated:
                trace = random_.choice(seen)
            seen.append(trace)
            batch.append((PROJECT, trace))
        made.append(list({trace.id: (p, trace) for p, trace in batch}.values()))
    return made


async def measure(write: Write, work: list[list[Item]]) -> float:
    """Measures traces per second with two writers."""
    waiting = list(work)

    async def writer() -> None:
        while waiting:
            await write(waiting.pop())

    begin = time.perf_counter()
    await asyncio.gather(writer(), writer())
    return sum(map(len, work)) / (time.perf_counter() - begin)


async def main(url: str) -> None:
    async with open_pool(DB, PoolSettings(url=url)) as pool:
        await migrating.migrate(pool)
        writer = TraceWriter(pool, project_prices())
        paths = {"direct": direct(pool, writer), "written": writer.write, "unnest": unnest(pool)}
        print("| spans | sent before | " + " | ".join(paths) + " |")
        print("|---|---|" + "---|" * len(paths))
        for spans in (3, 12):
            for repeated in (0.0, 0.01, 0.2):
                best = dict.fromkeys(paths, 0.0)
                for _ in range(3):
                    for name, write in paths.items():
                        await pool.execute("TRUNCATE traces, trace_payloads, span_rows")
                        rate = await measure(write, batches(spans, repeated))
                        best[name] = max(best[name], rate)
                figures = " | ".join(f"{rate:,.0f}" for rate in best.values())
                print(f"| {spans} | {repeated:.0%} | {figures} |", flush=True)


if __name__ == "__main__":
    with bench_folder() as folder, run_servers(folder) as servers:
        asyncio.run(main(servers.owner_url))
