"""Traces with everything: payloads, spans; and what they weigh before they are read."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from adapters.postgres.database.pool import OF_PROJECT, Connection
from adapters.postgres.tracing.trace_rows import PAYLOADS, SPANS, TRACES, span_of, whole_trace_of
from domain.ids import ProjectId, TraceId
from domain.tracing.span import Span
from domain.tracing.trace import Trace, in_order

ROW_BYTES: Final = 600  # what a row weighs beside its payloads, about
SPAN_PAYLOADS: Final = (*SPANS.names_of("json"), "error")


def stored(columns: Sequence[str]) -> str:
    """What a row takes in storage; what is stored out of line is weighed without being read."""
    return " + ".join([str(ROW_BYTES), *(f"coalesce(pg_column_size({one}), 0)" for one in columns)])


def read(columns: Sequence[str]) -> str:
    """What a row takes once it is read: what is stored compressed is opened to be weighed."""
    return " + ".join([str(ROW_BYTES), *(_OPENED.format(one) for one in columns)])


_OPENED: Final = (
    "CASE WHEN pg_column_compression({0}) IS NULL THEN coalesce(pg_column_size({0}), 0)"
    " ELSE octet_length({0}::text) END"
)
READ_TRACES: Final = f"""
SELECT {TRACES.select("traces")}, {", ".join(PAYLOADS.names_of("json"))}
FROM traces LEFT JOIN trace_payloads USING (project_id, trace_id)
WHERE traces.{OF_PROJECT} AND traces.trace_id = ANY($2::uuid[])
ORDER BY traces.started_at, traces.trace_id
"""
READ_SPANS: Final = f"""
SELECT {SPANS.select()} FROM spans
WHERE {OF_PROJECT} AND trace_id = ANY($2::uuid[])
"""


async def whole_traces(
    connection: Connection, project: ProjectId, traces: Sequence[TraceId]
) -> list[Trace]:
    """Those that are there, by (started_at, id); in a snapshot."""
    rows = await connection.fetch(READ_TRACES, project, traces)
    by_trace: dict[TraceId, list[Span]] = defaultdict(list)
    for span in await connection.fetch(READ_SPANS, project, traces):
        by_trace[TraceId(span["trace_id"])].append(span_of(span))
    found = map(whole_trace_of, rows)
    return [replace(trace, spans=in_order(by_trace[trace.id])) for trace in found]
