"""Measures long texts that are stored once: bytes on disk and in the log, and CPU time.

Prints Markdown.

    python -m tests.benchmarks.writes.shared_texts [traces]

The texts are parts of sources and documentation of the standard library. A worker finds those that
traces repeat when it joins their blocks; later traces refer to them at once. Bytes are those of the
tables with payloads, indexes and TOAST included; those of the log have whole pages after a
checkpoint, and everything that is written of a trace.
"""

import asyncio
import base64
import gc
import json
import random
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import uvloop

from adapters.embedded.servers import run_servers
from adapters.postgres.database.pool import Pool, PoolSettings, open_pool
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.tracing.payloads.block_compaction import PostgresPayloadStorage
from adapters.postgres.tracing.trace_details import fetch_detail
from adapters.postgres.tracing.writes.batch_writer import TraceWriter
from domain.ids import ProjectId, TraceId
from domain.tracing.payloads.payload_detail import WHOLE_PAYLOADS
from domain.tracing.trace import Trace
from entrypoints.composition import database
from entrypoints.settings import Settings
from tests.benchmarks.compare import cpu_ns
from tests.benchmarks.search import read, text_of, write
from tests.benchmarks.support.agent_loops import loop_body
from tests.benchmarks.support.bodies import START
from tests.benchmarks.support.folder import bench_folder
from tests.support.builders.values import project_prices

TRACES: Final = 500  # of each shape
READ: Final = 100  # of them
TABLES: Final = ("trace_payloads", "long_texts", "shared_texts", "released_texts")
LATER: Final = datetime.max.replace(tzinfo=UTC)

type Body = Callable[[random.Random], bytes]


def conversation(random_: random.Random, system: str, steps: int) -> bytes:
    """A trace whose steps send the whole conversation, which begins with `system`."""
    started = START.isoformat()
    messages = [{"role": "system", "content": system}]
    spans = []
    for step in range(steps):
        messages.append({"role": "user", "content": text_of(random_, 300)})
        answer = {"role": "assistant", "content": text_of(random_, 300)}
        span_id = str(uuid.UUID(int=random_.getrandbits(128), version=4))
        span = {"span_id": span_id, "name": f"step-{step}", "kind": "LLM", "status": "OK"}
        asked = {"messages": list(messages)}
        spans.append(span | {"started_at": started, "input": asked, "output": answer})
        messages.append(answer)
    trace_id = str(uuid.UUID(int=random_.getrandbits(128), version=4))
    return json.dumps(
        {"trace_id": trace_id, "name": "agent", "status": "COMPLETED", "started_at": started,
         "spans": spans}
    ).encode()  # fmt: skip


def same_prompt(size: int, steps: int) -> Body:
    prompt = text_of(random.Random(1), size)
    return lambda random_: conversation(random_, prompt, steps)


def same_image(size: int, steps: int) -> Body:
    image = base64.b64encode(random.Random(2).randbytes(size * 3 // 4)).decode()
    return lambda random_: conversation(random_, f"data:image/png;base64,{image}", steps)


def other_document(size: int) -> Body:
    return lambda random_: conversation(random_, text_of(random_, size), 1)


SHAPES: Final[dict[str, Body]] = {
    "the same prompt of 5 kB, 1 step": same_prompt(5_000, 1),
    "the same prompt of 20 kB, 1 step": same_prompt(20_000, 1),
    "the same prompt of 20 kB, 4 steps": same_prompt(20_000, 4),
    "the same image of 100 kB, 4 steps": same_image(100_000, 4),
    "each another document of 20 kB, 1 step": other_document(20_000),
    "loop of 15 steps, no long text": lambda random_: loop_body(random_, 15),
}


async def size_of_tables(pool: Pool) -> int:
    size = 0
    for table in TABLES:
        await pool.execute(f"VACUUM FULL {table}")
        size += await pool.fetchval("SELECT pg_total_relation_size($1::text::regclass)", table)
    return size


async def wal_bytes(pool: Pool) -> int:
    return int(await pool.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))


async def read_ms(pool: Pool, project: ProjectId, ids: list[TraceId]) -> float:
    taken = []
    async with pool.acquire() as connection:
        for one in ids:
            began = time.perf_counter()
            await fetch_detail(connection, project, one, WHOLE_PAYLOADS)
            taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e3


@dataclass(slots=True)
class Spent:
    """What a step takes for each trace: milliseconds of CPU here and there, and kB of the log.

    `there` is PostgreSQL.
    """

    here: float = 0
    there: float = 0
    wal: float = 0


@asynccontextmanager
async def spending(pool: Pool, count: int) -> AsyncIterator[Spent]:
    spent, backend = Spent(), await pool.fetchval("SELECT pg_backend_pid()")
    gc.collect()
    await pool.execute("CHECKPOINT")
    wal = await wal_bytes(pool)
    here, there = time.process_time(), sum(cpu_ns([backend]).values())
    yield spent
    spent.here = (time.process_time() - here) / count * 1e3
    spent.there = (sum(cpu_ns([backend]).values()) - there) / count / 1e6
    spent.wal = (await wal_bytes(pool) - wal) / count / 1e3


async def measure(pool: Pool, make: Body, count: int) -> str:
    """Stores traces, joins their blocks, and stores others like them."""
    random_, project = random.Random(count), ProjectId(uuid.uuid4())
    bodies = [make(random_) for _ in range(2 * count)]
    traces: list[Trace] = [read(one) for one in bodies]
    first, later = traces[:count], traces[count:]
    await pool.execute(f"TRUNCATE {', '.join(TABLES)}")
    async with spending(pool, count) as writing:
        await write(TraceWriter(pool, project_prices()), project, first)
    stored = await size_of_tables(pool)
    ids = [one.id for one in first[:READ]]
    read_before = await read_ms(pool, project, ids)
    storage = PostgresPayloadStorage(pool)
    async with spending(pool, count) as joining:
        while await storage.join_blocks(LATER):
            pass
    joined = await size_of_tables(pool)
    read_after = await read_ms(pool, project, ids)
    async with spending(pool, count) as writing_later:
        await write(TraceWriter(pool, project_prices()), project, later)
    others = await size_of_tables(pool) - joined
    cells = [
        f"{sum(map(len, bodies)) / 2 / count / 1e3:.1f}",
        *(f"{size / count / 1e3:.2f}" for size in (stored, joined, others)),
        *(f"{one.wal:.1f}" for one in (writing, joining, writing_later)),
        *(f"{one.here:.2f}, {one.there:.2f}" for one in (writing, joining, writing_later)),
        f"{read_before:.2f}, {read_after:.2f}",
    ]
    return " | ".join(cells)


async def compare(url: str, count: int) -> None:
    columns = [
        *("traces with", "received, kB", "stored, kB", "once joined", "later ones"),
        *("log of the write, kB", "of joining", "of a later write"),
        *("ms of the write: here, PostgreSQL", "of joining", "of a later write"),
        "ms to read it: before, once joined",
    ]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    async with open_pool(DB, PoolSettings(url=url, size=1)) as pool:
        for name, make in SHAPES.items():
            print(f"| {name} | {await measure(pool, make, count)} |", flush=True)


def main(count: int = TRACES) -> None:
    with bench_folder() as folder, run_servers(folder) as servers:
        settings = Settings(
            database_url=servers.database_url,
            migration_database_url=servers.owner_url,
            redis_url=servers.redis_url,
        )
        asyncio.run(database.migrate(settings))
        print("\n### Long texts that repeat\n")
        uvloop.run(compare(servers.owner_url, count))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
