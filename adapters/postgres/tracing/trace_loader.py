"""Fetches traces with payloads and spans, and estimates their sizes before."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection, require_row
from adapters.postgres.tracing.payloads.payload_text import (
    DECOMPRESSED_ON_LOOP_MAX,
    TEXT_COLUMNS,
    StoredText,
    TraceKey,
    head_of,
    texts_from_rows,
)
from adapters.postgres.tracing.trace_rows import (
    SPANS,
    TRACES,
    span_from_row,
    whole_trace_from_row,
)
from application.concurrency import compute
from application.tracing.workload import takes_long
from domain.ids import ProjectId, TraceId
from domain.tracing.payloads.read_limit import READ_BYTES_MAX, ROW_BYTES, trace_too_large
from domain.tracing.span import Span
from domain.tracing.trace import Trace, in_order


def whole_trace_bytes(trace: str) -> str:
    """The size of a trace of the project $1 once it is read; no payload is read for it.

    Values that were replaced count, until a worker has removed them.
    """
    ours = f"{IN_PROJECT} AND trace_id = {trace}"
    return f"""(
      coalesce((SELECT {ROW_BYTES} + octet_length(metadata::text) FROM traces WHERE {ours}), 0)
      + coalesce((SELECT sum(raw_bytes) FROM trace_payloads WHERE {ours}), 0)
      + {span_rows_bytes(trace)}
    )::bigint"""


def span_rows_bytes(trace: str) -> str:
    """The size of the spans of a trace of the project $1, without their payloads."""
    return f"""coalesce((
      SELECT sum({ROW_BYTES} + coalesce(octet_length(error), 0))
      FROM spans WHERE {IN_PROJECT} AND trace_id = {trace}
    ), 0)::bigint"""


def select_whole(columns: str) -> str:
    """Selects the trace $2 of the project $1, one row for each block of its text, or one without.

    None if the trace is larger than $3, so that its size takes no statement of its own. Its blocks
    are summed up as they are found: each further look at a table has a policy to meet. If they are
    too large already, its spans aren't looked at.
    """
    return f"""
    SELECT * FROM (
      SELECT {columns}, {", ".join(TEXT_COLUMNS)}, sum(raw_bytes) OVER () AS text_bytes
      FROM traces LEFT JOIN trace_payloads USING (project_id, trace_id)
      WHERE traces.{IN_PROJECT} AND traces.trace_id = $2
    ) AS whole
    WHERE CASE WHEN text_bytes > $3 THEN false
      ELSE {ROW_BYTES} + octet_length(metadata::text) + coalesce(text_bytes, 0)
        + {span_rows_bytes("$2")} <= $3
    END
    """


SELECT_TRACE_SIZES: Final = f"""
SELECT t.trace_id, {whole_trace_bytes("t.trace_id")} AS bytes
FROM unnest($2::uuid[]) WITH ORDINALITY AS t(trace_id, place) ORDER BY place
"""
_SELECT_TRACES: Final = f"""
SELECT {TRACES.select("traces")}, {", ".join(TEXT_COLUMNS)}
FROM traces LEFT JOIN trace_payloads USING (project_id, trace_id) WHERE traces.{IN_PROJECT}
"""
_SELECT_SPANS: Final = f"SELECT {SPANS.select()} FROM spans WHERE {IN_PROJECT}"
SELECT_TRACE: Final = select_whole(TRACES.select("traces"))
SELECT_EXISTS: Final = f"SELECT 1 FROM traces WHERE {IN_PROJECT} AND trace_id = $2"
SELECT_SPANS_OF_TRACE: Final = f"{_SELECT_SPANS} AND trace_id = $2"
SELECT_TRACES: Final = f"""
{_SELECT_TRACES} AND traces.trace_id = ANY($2::uuid[])
ORDER BY traces.started_at, traces.trace_id
"""
SELECT_SPANS: Final = f"{_SELECT_SPANS} AND trace_id = ANY($2::uuid[])"


async def fetch_trace(
    connection: Connection, project: ProjectId, trace: TraceId, bytes_max: int = READ_BYTES_MAX
) -> Trace:
    """Fetches a trace with its payloads and spans.

    Raises NotFound, TooLargeToRead, DamagedText.
    """
    rows = await connection.fetch(SELECT_TRACE, project, trace, bytes_max)
    if not rows:
        require_row(await connection.fetchrow(SELECT_EXISTS, project, trace), "Trace not found")
        raise trace_too_large()
    spans = await connection.fetch(SELECT_SPANS_OF_TRACE, project, trace)
    texts = await texts_from_rows(connection, project, rows)
    is_long = _takes_long(rows, spans)
    [whole] = await compute(_whole_traces, project, rows, spans, texts, is_long=is_long)
    return whole


async def fetch_whole_traces(
    connection: Connection, project: ProjectId, traces: Sequence[TraceId]
) -> list[Trace]:
    """The traces that exist, ordered by (started_at, id); in a snapshot. Raises DamagedText."""
    rows = await connection.fetch(SELECT_TRACES, project, traces)
    spans = await connection.fetch(SELECT_SPANS, project, traces)
    texts = await texts_from_rows(connection, project, rows)
    is_long = _takes_long(rows, spans)
    return await compute(_whole_traces, project, rows, spans, texts, is_long=is_long)


def _takes_long(rows: Sequence[Record], spans: Sequence[Record]) -> bool:
    size = sum(row["raw_bytes"] or 0 for row in rows)
    return takes_long(len(spans), 0) or size > DECOMPRESSED_ON_LOOP_MAX


def _whole_traces(
    project: ProjectId,
    rows: Iterable[Record],
    spans: Iterable[Record],
    texts: Mapping[TraceKey, StoredText],
) -> list[Trace]:
    trace_rows: dict[TraceId, list[Record]] = defaultdict(list)
    for row in rows:
        trace_rows[TraceId(row["trace_id"])].append(row)
    by_trace: dict[TraceId, list[Span]] = defaultdict(list)
    for span in spans:
        trace = TraceId(span["trace_id"])
        by_trace[trace].append(span_from_row(span, texts[project, trace]))
    return [
        replace(
            whole_trace_from_row(head_of(some), texts[project, trace]),
            spans=in_order(by_trace[trace]),
        )
        for trace, some in trace_rows.items()
    ]
