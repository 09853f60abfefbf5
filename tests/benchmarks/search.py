"""Measures search: the size of its index, what indexing costs, and how long queries take.

Prints Markdown.

    python -m tests.benchmarks.search [traces]

The texts are parts of sources and documentation of the standard library, with an id in each span.
Layouts: PostgreSQL's own full text (GIN over tsvector), GIN over arrays of hashed terms, and the
segments in use. Sizes are bytes on disk, with indexes and TOAST, for each byte received.
"""

import asyncio
import inspect
import json
import random
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cache
from importlib import import_module
from typing import Any, Final

from adapters.embedded.servers import run_servers
from adapters.postgres.database.pool import Pool, PoolSettings, open_pool
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.schema import migrating
from adapters.postgres.tracing.search.search_index import PostgresSearchIndex
from adapters.postgres.tracing.search.trace_search import PostgresTraceSearch
from adapters.postgres.tracing.spans.span_search import PostgresSpanSearch
from adapters.postgres.tracing.writes.batch_writer import TraceWriter
from domain.ids import ProjectId
from domain.page import PageRequest
from domain.tracing.query import TraceFilter
from domain.tracing.search.search_match import SearchPage
from domain.tracing.search.search_query import SearchQuery
from domain.tracing.search.search_terms import trace_terms
from domain.tracing.search.search_texts import searched_values
from domain.tracing.spans.span_query import SpanFilter
from domain.tracing.trace import Trace
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.traces.traces import TRACE_BODY
from entrypoints.http.requests.errors import FieldErrors
from tests.benchmarks.support.agent_loops import MODULES, loop_body
from tests.benchmarks.support.bodies import START
from tests.benchmarks.support.folder import bench_folder
from tests.support.builders.values import project_prices

BATCH: Final = 64
OF_SIZES: Final = 2_048  # traces of a shape, two segments
SPREAD_S: Final = 30 * 86_400  # between the first trace and the last one
TRACES: Final = 100_000
TIMES: Final = 60  # that each query is asked
PAGE: Final = PageRequest(limit=50)
CONFIG: Final = HttpConfig(version="", environment="test")
TABLES: Final = (
    *("search_queue", "search_traces", "search_terms", "search_segments", "search_postings"),
    "search_garbage",
)


@cache
def sources() -> Sequence[str]:
    return [inspect.getsource(import_module(name)) for name in MODULES]


def text_of(random_: random.Random, size: int) -> str:
    source = random_.choice(sources())
    start = random_.randrange(max(1, len(source) - size))
    return source[start : start + size]


def span_body(random_: random.Random, n: int, size: int, started: str) -> dict[str, object]:
    return {
        "span_id": str(uuid.UUID(int=random_.getrandbits(128), version=4)),
        "name": f"step-{n % 7}", "kind": "TOOL", "status": "OK", "started_at": started,
        "metadata": {"step": n},
        "input": {"id": f"call_{random_.getrandbits(60):x}", "text": text_of(random_, size)},
        "output": {"role": "assistant", "content": text_of(random_, size)},
    }  # fmt: skip


def body(random_: random.Random, spans: int, size: int, at_s: float = 0) -> bytes:
    started = (START + timedelta(seconds=at_s)).isoformat()
    return json.dumps(
        {
            "trace_id": str(uuid.UUID(int=random_.getrandbits(128), version=4)),
            "name": random_.choice(("answer-question", "triage-ticket", "plan-trip")),
            "status": "COMPLETED", "started_at": started,
            "user_id": f"u-{random_.randrange(1_000)}",
            "input": {"messages": [{"role": "user", "content": text_of(random_, size)}]},
            "output": {"messages": [{"role": "assistant", "content": text_of(random_, size)}]},
            "spans": [span_body(random_, n, size, started) for n in range(spans)],
        }
    ).encode()  # fmt: skip


SHAPES: Final[Mapping[str, Callable[[random.Random], bytes]]] = {
    "3 spans": lambda random_: body(random_, 3, 250),
    "12 spans": lambda random_: body(random_, 12, 800),
    "loop of 15 steps": lambda random_: loop_body(random_, 15),
}


def read(data: bytes) -> Trace:
    trace = TRACE_BODY.parse(data, CONFIG, FieldErrors())
    assert trace is not None
    return trace


async def write(writer: TraceWriter, project: ProjectId, traces: Iterable[Trace]) -> None:
    batch = []
    for trace in traces:
        batch.append((project, trace))
        if len(batch) == BATCH:
            await writer.write(batch)
            batch = []
    if batch:
        await writer.write(batch)


async def size_of(pool: Pool, tables: Sequence[str]) -> int:
    for table in tables:
        await pool.execute(f"VACUUM {table}")
    size = 0
    for table in tables:
        size += await pool.fetchval("SELECT pg_total_relation_size(to_regclass($1))", table)
    return size


async def other_layouts(pool: Pool, traces: Sequence[Trace]) -> dict[str, tuple[int, float]]:
    """The sizes of the other layouts, and the seconds that storing them takes."""
    await pool.execute(
        """
        DROP SCHEMA IF EXISTS layout CASCADE; CREATE SCHEMA layout;
        CREATE TABLE layout.words (project_id uuid, trace_id uuid, words tsvector,
                                   PRIMARY KEY (project_id, trace_id));
        CREATE INDEX ON layout.words USING gin (words);
        CREATE TABLE layout.hashes (project_id uuid, trace_id uuid, hashes int[],
                                    PRIMARY KEY (project_id, trace_id));
        CREATE INDEX ON layout.hashes USING gin (hashes)
        """
    )
    found = {}
    for name, table, insert in (
        ("tsvector", "layout.words",
         "layout.words SELECT p, t, to_tsvector('simple', words)"),
        ("hashed terms in GIN", "layout.hashes",
         "layout.hashes SELECT p, t, words::int[]"),
    ):  # fmt: skip
        began = time.perf_counter()
        for at in range(0, len(traces), BATCH):
            rows = []
            for trace in traces[at : at + BATCH]:
                if table == "layout.words":
                    texts = {text for one in searched_values(trace) for text in one.texts()}
                    words = "\n".join(texts).replace("\0", "")
                else:
                    words = "{" + ",".join(map(str, trace_terms(trace).terms)) + "}"
                rows.append((uuid.UUID(int=1), trace.id, words))
            await pool.execute(
                f"INSERT INTO {insert}"
                " FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS sent (p, t, words)",
                *arrays(rows),
            )
        took = time.perf_counter() - began
        found[name] = (await size_of(pool, [table]), took)
    return found


async def index_all(index: PostgresSearchIndex) -> tuple[float, float]:
    """The seconds that it takes, and those of this process."""
    began, worked = time.perf_counter(), time.process_time()
    while await index.add_traces():
        pass
    return time.perf_counter() - began, time.process_time() - worked


async def measure_sizes(pool: Pool) -> None:
    index, writer = PostgresSearchIndex(pool), TraceWriter(pool, project_prices())
    print("\n### Size of the index and time of indexing\n")
    print("| body | kB | layout | bytes per byte received | ms per trace | ms of the worker |")
    print("|---|---|---|---|---|---|")
    for shape, make in SHAPES.items():
        random_ = random.Random(7)
        bodies = [make(random_) for _ in range(OF_SIZES)]
        received, traces = sum(map(len, bodies)), [read(one) for one in bodies]
        project = ProjectId(uuid.uuid4())
        await within(pool, ALL_TENANTS).execute(f"TRUNCATE {', '.join(TABLES)}")
        await write(writer, project, traces)
        took, worked = await index_all(index)
        rows = {
            "segments": (await size_of(pool, TABLES), took),
            **await other_layouts(pool, traces),
        }
        for layout, (size, seconds) in rows.items():
            of_worker = f"{worked / OF_SIZES * 1e3:.2f}" if layout == "segments" else ""
            print(
                f"| {shape} | {received / OF_SIZES / 1e3:.1f} | {layout} | {size / received:.3f}"
                f" | {seconds / OF_SIZES * 1e3:.2f} | {of_worker} |",
                flush=True,
            )
    await pool.execute("DROP SCHEMA layout CASCADE")


async def measure_queries(pool: Pool, count: int) -> None:
    random_, project = random.Random(11), ProjectId(uuid.uuid4())
    writer, index = TraceWriter(pool, project_prices()), PostgresSearchIndex(pool)
    ids, received, writing, indexing = [], 0, 0.0, 0.0
    for at in range(0, count, 4_096):
        traces = []
        for n in range(at, min(count, at + 4_096)):
            data = body(random_, 3, 250, n * SPREAD_S / count)
            received += len(data)
            traces.append(read(data))
            if n % (count // TIMES) == 0:
                [name] = [data[i : i + 20] for i in [data.index(b"call_")]]
                ids.append(name.split(b'"')[0].decode())
        began = time.perf_counter()
        await write(writer, project, traces)
        writing += time.perf_counter() - began
        indexing += (await index_all(index))[0]
    size = await size_of(pool, TABLES)
    await pool.execute("ANALYZE")
    of_traces, of_spans = PostgresTraceSearch(pool), PostgresSpanSearch(pool)
    queries = {
        "an id": ids,
        "a word of 1 of 100 traces": ["mailbox"],
        "a word of most traces": ["self"],
        "two words": ["socket timeout"],
        "a phrase": ['"the default is"'],
        "a phrase that is nowhere": ['"return self import raise"'],
        "a prefix": ["deprec*"],
        "no trace": ["kwatschelbacher"],
    }
    print(f"\n### Queries over {count:,} traces of {received / count / 1e3:.1f} kB\n")
    print(
        f"Written in {writing / count * 1e3:.2f} ms a trace, indexed in "
        f"{indexing / count * 1e3:.2f} ms. {size / received:.3f} bytes of index for each byte.\n"
    )
    print("| of | query | filter | hits | p50 ms | p95 ms | CPU ms of this process |")
    print("|---|---|---|---|---|---|---|")
    for kind, texts in queries.items():
        for user in (None, "u-7"):
            if user and kind not in {"a word of 1 of 100 traces", "a word of most traces"}:
                continue

            async def find_traces(query: SearchQuery, user: str | None = user) -> SearchPage[Any]:
                return await of_traces.find(project, query, TraceFilter(user_id=user), PAGE)

            async def find_spans(query: SearchQuery, user: str | None = user) -> SearchPage[Any]:
                return await of_spans.find(project, query, SpanFilter(user_id=user), PAGE)

            for of, find in (("traces", find_traces), ("spans", find_spans)):
                figures = await measure_query(texts, find)
                print(f"| {of} | {kind} | {'a user' if user else ''} | {figures} |", flush=True)


async def measure_query(
    texts: Sequence[str], find: Callable[[SearchQuery], Awaitable[SearchPage[Any]]]
) -> str:
    """The cells of the hits of the last text, and of the times of all."""
    took, page, worked = [], None, time.process_time()
    for n in range(TIMES):
        query = SearchQuery.parse(texts[n % len(texts)])
        began = time.perf_counter()
        page = await find(query)
        took.append((time.perf_counter() - began) * 1e3)
    assert page is not None
    took.sort()
    return (
        f"{len(page.hits)}{'' if page.is_complete else ', cut'} | {took[TIMES // 2]:.1f} |"
        f" {took[TIMES * 95 // 100]:.1f} | {(time.process_time() - worked) / TIMES * 1e3:.1f}"
    )


async def measure(url: str, count: int) -> None:
    async with open_pool(DB, PoolSettings(url=url)) as pool:
        await migrating.migrate(pool)
        await measure_sizes(pool)
        await measure_queries(pool, count)


def main(count: int = TRACES) -> None:
    print("## Search", flush=True)
    with bench_folder() as folder, run_servers(folder) as servers:
        asyncio.run(measure(servers.owner_url, count))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else TRACES)
