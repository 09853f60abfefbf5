"""Compares layouts of payloads: bytes on disk and of WAL for each byte received, and CPU time.

Prints Markdown.

    python -m tests.benchmarks.writes.payload_layouts [URL of a superuser]

Without a URL it starts the embedded server, which has no lz4. All tables of a layout are counted
with their indexes and TOAST, but not the roll-ups, which don't depend on payloads.

json: each value a column of `json`, compressed by TOAST. value: each value a zstd frame in a
`bytea` that TOAST leaves as it is. write: one zstd frame for all that one write brings of a trace.
steps: as write, where each step of the agent comes in a write of its own. compacted: the same once
a worker has joined the frames.
"""

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import Final

import zstandard

from adapters.embedded.servers import run_servers
from adapters.postgres.database.pool import Connection, PoolSettings, open_pool
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.schema import migrating
from adapters.postgres.tracing.rollups.facets import trace_terms
from adapters.postgres.tracing.trace_rows import TRACES, trace_row
from domain.tracing.payloads.payload import EMPTY_OBJECT
from domain.tracing.span import Span
from domain.tracing.text_preview import input_preview, output_preview
from domain.tracing.trace import Trace
from tests.benchmarks.support.agent_loops import loop_body
from tests.benchmarks.support.bodies import body
from tests.benchmarks.support.folder import bench_folder
from tests.benchmarks.writes.write_paths import PROJECT, counted, read
from tests.support.builders.values import prices

VALUES = ("input", "output", "metadata", "token_usage", "model_parameters")
# Whatever the layout in use is, these columns of spans are replaced.
PAYLOAD_COLUMNS = (*VALUES, "cost", "payload_at", *(f"{name}_bytes" for name in (*VALUES, "cost")))
LIGHT = (
    *("project_id", "trace_id", "span_id", "parent_span_id", "name", "kind", "status"),
    *("started_at", "ended_at", "completion_start_time", "model", "prompt_tokens"),
    *("completion_tokens", "cost_amount", "cost_source", "error", "price_version"),
)
TRACES_PER_COMMIT = 16
BLOCK_BYTES_MAX = 2 << 20
ROUNDS = 3  # of which the least CPU time counts
SIZES: Final[
    Mapping[str, tuple[int, Callable[[random.Random], bytes]]]
] = {  # traces of each kind of body
    "3 spans": (4_000, lambda r: body(r, 3)),
    "12 spans": (1_000, lambda r: body(r, 12)),
    "100 spans": (150, lambda r: body(r, 100)),
    "loop of 3": (1_000, lambda r: loop_body(r, 3)),
    "loop of 15": (200, lambda r: loop_body(r, 15)),
    "loop of 40": (50, lambda r: loop_body(r, 40)),
}
SPAN_COLUMNS = {
    "json": [f"{name} json" for name in VALUES] + ["input_bytes int", "output_bytes int"],
    "value": [f"{name} bytea" for name in VALUES] + ["input_bytes int", "output_bytes int"],
    "block": ["payload_at bigint", *(f"{name}_bytes int" for name in VALUES)],
}
PAYLOAD_TABLES = {
    "json": "input json, output json, PRIMARY KEY (project_id, trace_id)",
    "value": "input bytea, output bytea, PRIMARY KEY (project_id, trace_id)",
    "block": "start bigint, raw_bytes int, block bytea, input_at bigint, input_bytes int,"
    " output_at bigint, output_bytes int, PRIMARY KEY (project_id, trace_id, start)",
}
LAYOUTS = {  # the columns, and whether each step is a write of its own
    "json, pglz": ("json", False),
    "json, lz4": ("json", False),
    "value": ("value", False),
    "write": ("block", False),
    "json, pglz, steps": ("json", True),
    "json, lz4, steps": ("json", True),
    "steps": ("block", True),
    "compacted": ("block", True),
}
HAS_LZ4 = """
SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'
"""

_compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
_decompressor = zstandard.ZstdDecompressor()

type Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """What one write brings of a trace: rows of spans, and a row of payloads or none."""

    spans: list[Row]
    payloads: list[Row]


def light_row(trace: Trace, span: Span) -> Row:
    usage, charge = span.usage, span.charge
    assert usage is not None
    assert charge is not None
    known = {
        "project_id": PROJECT, "trace_id": trace.id, "span_id": span.id,
        "parent_span_id": span.parent_id, "completion_start_time": span.completion_started_at,
        "prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens,
        "cost_amount": charge.amount, "cost_source": charge.source,
        "price_version": None if charge.price is None else charge.price.version,
    }  # fmt: skip
    return tuple(known[one] if one in known else getattr(span, one) for one in LIGHT)


def values_of(span: Span) -> list[bytes | None]:
    """The values of VALUES. Empty metadata is none."""
    found: list[bytes | None] = [getattr(span, name) for name in VALUES]
    return [None if one == EMPTY_OBJECT else one for one in found]


def sizes_of(values: Iterable[bytes | None]) -> list[int | None]:
    return [None if one is None else len(one) for one in values]


def frame(value: bytes | None) -> bytes | None:
    return None if value is None else _compressor.compress(value)


def json_write(trace: Trace, spans: Sequence[Span], *, is_first: bool) -> Write:
    rows = []
    for span in spans:
        values = values_of(span)
        rows.append((*light_row(trace, span), *values, *sizes_of(values[:2])))
    payloads = (PROJECT, trace.id, *previews(trace), trace.input, trace.output)
    return Write(rows, [payloads] if is_first else [])


def value_write(trace: Trace, spans: Sequence[Span], *, is_first: bool) -> Write:
    rows = []
    for span in spans:
        values = values_of(span)
        rows.append((*light_row(trace, span), *map(frame, values), *sizes_of(values[:2])))
    payloads = (PROJECT, trace.id, *previews(trace), frame(trace.input), frame(trace.output))
    return Write(rows, [payloads] if is_first else [])


def block_write(
    trace: Trace, spans: Sequence[Span], *, is_first: bool, start: int = 0
) -> tuple[Write, bytes]:
    """Also returns the text of the block."""
    text = bytearray()
    refs: tuple[int | None, ...] = (None,) * 4
    if is_first:
        text += trace.input or b""
        text += trace.output or b""
        in_bytes, out_bytes = sizes_of((trace.input, trace.output))
        refs = (0, in_bytes, in_bytes or 0, out_bytes)
    rows = []
    for span in spans:
        values = values_of(span)
        rows.append((*light_row(trace, span), start + len(text), *sizes_of(values)))
        text += b"".join(one for one in values if one is not None)
    shown = previews(trace) if is_first else (None, None)
    payloads: list[Row] = [
        (PROJECT, trace.id, *(shown if not at else (None, None)), start + at, len(part),
         _compressor.compress(part), *(refs if not at else (None,) * 4))
        for at in range(0, len(text), BLOCK_BYTES_MAX)
        for part in (bytes(text[at : at + BLOCK_BYTES_MAX]),)
    ]  # fmt: skip
    return Write(rows, payloads), bytes(text)


def previews(trace: Trace) -> tuple[str | None, str | None]:
    return input_preview(trace.input), output_preview(trace.output)


def parts_of(trace: Trace, *, in_steps: bool) -> list[list[Span]]:
    """The spans by write: all, or the first one and then two at a time."""
    spans = list(trace.spans)
    return [spans[:1], *map(list, batched(spans[1:], 2))] if in_steps else [spans]


def writes(layout: str, trace: Trace) -> tuple[list[Write], bytes]:
    """The writes of a trace, and the text of all its blocks."""
    columns, in_steps = LAYOUTS[layout]
    found: list[Write] = []
    text = b""
    for n, spans in enumerate(parts_of(trace, in_steps=in_steps)):
        if columns == "block":
            write, added = block_write(trace, spans, is_first=not n, start=len(text))
            text += added
        else:
            make = json_write if columns == "json" else value_write
            write = make(trace, spans, is_first=not n)
        found.append(write)
    return found, text


async def create_tables(connection: Connection, layout: str) -> None:
    columns = LAYOUTS[layout][0]
    drops = ", ".join(f"DROP COLUMN IF EXISTS {name} CASCADE" for name in PAYLOAD_COLUMNS)
    adds = ", ".join(f"ADD COLUMN {one}" for one in SPAN_COLUMNS[columns])
    await connection.execute(f"""
        DROP SCHEMA IF EXISTS layout CASCADE; CREATE SCHEMA layout;
        CREATE TABLE layout.traces (LIKE public.traces INCLUDING ALL);
        CREATE TABLE layout.span_rows (LIKE public.span_rows INCLUDING ALL);
        ALTER TABLE layout.span_rows {drops};
        ALTER TABLE layout.span_rows {adds};
        CREATE TABLE layout.trace_payloads (project_id uuid, trace_id uuid,
            input_preview text, output_preview text, {PAYLOAD_TABLES[columns]});
    """)
    for table, names in (
        ("span_rows", SPAN_COLUMNS[columns]),
        ("trace_payloads", PAYLOAD_TABLES[columns].split(", ")),
    ):
        for name, type_, *_ in ([*one.split(), ""] for one in names):
            if type_ == "bytea":
                change = "SET STORAGE EXTERNAL"
            elif type_ == "json":
                change = f"SET COMPRESSION {'lz4' if 'lz4' in layout else 'pglz'}"
            else:
                continue
            await connection.execute(f"ALTER TABLE layout.{table} ALTER COLUMN {name} {change}")


async def names_of(connection: Connection, table: str) -> list[str]:
    rows = await connection.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0"
        " AND NOT attisdropped ORDER BY attnum",
        f"layout.{table}",
    )
    return [row[0] for row in rows]


def trace_records(traces: Sequence[Trace]) -> list[Row]:
    records = []
    for trace in traces:
        one = counted(PROJECT, trace)
        lists = {"tags": trace.tags, "models": trace.models, "terms": trace_terms(one)}
        row = zip(TRACES.names, trace_row(one), strict=True)
        records.append(tuple(lists.get(name, value) for name, value in row))
    return records


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def wal_bytes(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))


async def store(connection: Connection, layout: str, traces: Sequence[Trace]) -> tuple[int, float]:
    """Stores the traces; the bytes of WAL, and the CPU time of the server."""
    columns = SPAN_COLUMNS[LAYOUTS[layout][0]]
    span_names = [*LIGHT, *(one.split()[0] for one in columns)]
    payload_names = await names_of(connection, "trace_payloads")
    made = [(trace, writes(layout, trace)) for trace in traces]
    # By round: the first write of each trace, then the second, …
    most = max(len(found) for _, (found, _) in made)
    pid = await connection.fetchval("SELECT pg_backend_pid()")
    await connection.execute("CHECKPOINT")
    wal, cpu = await wal_bytes(connection), cpu_s(pid)
    for some in batched(made, TRACES_PER_COMMIT):
        for n in range(most):
            now = [found[n] for _, (found, _) in some if n < len(found)]
            async with connection.transaction():
                if n == 0:
                    await copy(connection, "traces", trace_records([t for t, _ in some]),
                               TRACES.names)  # fmt: skip
                await copy(connection, "trace_payloads",
                           [row for one in now for row in one.payloads], payload_names)  # fmt: skip
                await copy(connection, "span_rows",
                           [row for one in now for row in one.spans], span_names)  # fmt: skip
    if layout == "compacted":
        for trace, (_, text) in made:
            async with connection.transaction():
                await connection.execute(
                    "DELETE FROM layout.trace_payloads WHERE trace_id = $1 AND start > 0", trace.id
                )
                await connection.execute(
                    "UPDATE layout.trace_payloads SET block = $2, raw_bytes = $3"
                    " WHERE trace_id = $1",
                    *(trace.id, _compressor.compress(text), len(text)),
                )
    return await wal_bytes(connection) - wal, cpu_s(pid) - cpu


async def copy(
    connection: Connection, table: str, records: list[Row], names: Sequence[str]
) -> None:
    await connection.copy_records_to_table(
        table, records=records, columns=names, schema_name="layout"
    )


async def stored_bytes(connection: Connection, layout: str) -> int:
    if layout == "compacted":  # what the old blocks took is used again, but not in a short run
        await connection.execute("VACUUM FULL layout.trace_payloads")
    return sum(
        [
            await connection.fetchval("SELECT pg_total_relation_size($1::text::regclass)", table)
            for table in ("layout.traces", "layout.trace_payloads", "layout.span_rows")
        ]
    )


def cpu_ms(function: Callable[[Trace], object], traces: Sequence[Trace]) -> float:
    """The least CPU time for one trace, in milliseconds."""
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.process_time()
        for trace in traces:
            function(trace)
        best = min(best, time.process_time() - begin)
    return best / len(traces) * 1e3


async def measure(connection: Connection, layout: str, bodies: list[bytes]) -> str:
    traces = [read(one).settled(prices().price) for one in bodies]
    received = sum(map(len, bodies))
    await create_tables(connection, layout)
    wal, server_s = await store(connection, layout, traces)
    disk = await stored_bytes(connection, layout)
    client_ms = cpu_ms(lambda one: writes(layout, one), traces)
    return (
        f"{disk / received:.3f} | {wal / received:.3f} | {client_ms:.3f} |"
        f" {server_s / len(traces) * 1e3:.3f}"
    )


async def compare(url: str) -> None:
    async with open_pool(DB, PoolSettings(url=url)) as pool, pool.acquire() as connection:
        await migrating.migrate(pool)
        has_lz4 = await connection.fetchval(HAS_LZ4)
        print("| body | layout | disk per byte | WAL per byte | making rows, ms a trace |"
              " server, ms a trace |")  # fmt: skip
        print("|---|---|---|---|---|---|")
        for name, (count, make) in SIZES.items():
            random_ = random.Random(count)
            bodies = [make(random_) for _ in range(count)]
            for layout in LAYOUTS:
                if ("lz4" in layout and not has_lz4) or (LAYOUTS[layout][1] and "loop" not in name):
                    continue
                figures = await measure(connection, layout, bodies)
                print(f"| {name}, {len(bodies[0]) / 1e3:.1f} kB | {layout} | {figures} |",
                      flush=True)  # fmt: skip


def main(urls: Sequence[str] = ()) -> None:
    if urls:
        asyncio.run(compare(urls[0]))
    else:
        with bench_folder() as folder, run_servers(folder) as servers:
            asyncio.run(compare(servers.owner_url))


if __name__ == "__main__":
    main(sys.argv[1:])
