"""Fetches traces with payloads and spans, and estimates their sizes before."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import OF_PROJECT, Connection, require_row
from adapters.postgres.tracing.trace_rows import (
    PAYLOADS,
    SPANS,
    TRACES,
    span_from_row,
    whole_trace_from_row,
)
from application.concurrency import compute
from application.tracing.workload import takes_long
from domain.ids import ProjectId, TraceId
from domain.tracing.span import Span
from domain.tracing.trace import Trace, in_order

ROW_BYTES: Final = 600  # approximate size of a row without payloads
SPAN_PAYLOADS: Final = (*SPANS.names_of("json"), "error")


def stored_bytes(columns: Sequence[str]) -> str:
    """The stored size of a row; values stored out of line are not read for it."""
    return " + ".join([str(ROW_BYTES), *(f"coalesce(pg_column_size({one}), 0)" for one in columns)])


def read_bytes(columns: Sequence[str]) -> str:
    """The size of a row once read; compressed values are decompressed to measure them."""
    return " + ".join([str(ROW_BYTES), *(_DECOMPRESSED_BYTES.format(one) for one in columns)])


_DECOMPRESSED_BYTES: Final = (
    "CASE WHEN pg_column_compression({0}) IS NULL THEN coalesce(pg_column_size({0}), 0)"
    " ELSE octet_length({0}::text) END"
)
_SELECT_TRACES: Final = f"""
SELECT {TRACES.select("traces")}, {", ".join(PAYLOADS.names_of("json"))}
FROM traces LEFT JOIN trace_payloads USING (project_id, trace_id) WHERE traces.{OF_PROJECT}
"""
_SELECT_SPANS: Final = f"SELECT {SPANS.select()} FROM spans WHERE {OF_PROJECT}"
SELECT_TRACE: Final = f"{_SELECT_TRACES} AND traces.trace_id = $2"
SELECT_SPANS_OF_TRACE: Final = f"{_SELECT_SPANS} AND trace_id = $2"
SELECT_TRACES: Final = f"""
{_SELECT_TRACES} AND traces.trace_id = ANY($2::uuid[])
ORDER BY traces.started_at, traces.trace_id
"""
SELECT_SPANS: Final = f"{_SELECT_SPANS} AND trace_id = ANY($2::uuid[])"


async def fetch_trace(connection: Connection, project: ProjectId, trace: TraceId) -> Trace:
    """Fetches a trace with its payloads and spans. Raises NotFound."""
    row = await connection.fetchrow(SELECT_TRACE, project, trace)
    row = require_row(row, "Trace not found")
    spans = await connection.fetch(SELECT_SPANS_OF_TRACE, project, trace)
    [whole] = await compute(_with_spans, [row], spans, is_long=takes_long(len(spans), 0))
    return whole


async def fetch_whole_traces(
    connection: Connection, project: ProjectId, traces: Sequence[TraceId]
) -> list[Trace]:
    """The traces that exist, ordered by (started_at, id); in a snapshot."""
    rows = await connection.fetch(SELECT_TRACES, project, traces)
    spans = await connection.fetch(SELECT_SPANS, project, traces)
    return await compute(_with_spans, rows, spans, is_long=takes_long(len(spans), 0))


def _with_spans(rows: Iterable[Record], spans: Iterable[Record]) -> list[Trace]:
    by_trace: dict[TraceId, list[Span]] = defaultdict(list)
    for span in spans:
        by_trace[TraceId(span["trace_id"])].append(span_from_row(span))
    traces = map(whole_trace_from_row, rows)
    return [replace(trace, spans=in_order(by_trace[trace.id])) for trace in traces]
