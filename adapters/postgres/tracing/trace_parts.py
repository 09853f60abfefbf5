"""Reads parts of a trace: its revision, its outline, one payload."""

import hashlib
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection, require_row
from adapters.postgres.tracing.payloads.payload_text import (
    DECOMPRESSED_ON_LOOP_MAX,
    HEAD_COLUMNS,
    StoredText,
    fetch_texts,
    payload_range,
)
from adapters.postgres.tracing.trace_rows import (
    SPANS,
    SUMMARY_COLUMNS,
    shown_metadata,
    summary_from_row,
)
from application.concurrency import compute
from domain.ids import ProjectId, SpanId, TraceId
from domain.tracing.outline import OutlineColumns, TraceOutline
from domain.tracing.payloads.payload import EMPTY_OBJECT, JsonText
from domain.tracing.payloads.payload_detail import PayloadName
from domain.tracing.payloads.read_limit import spans_too_large
from domain.tracing.usage import CostSource

ROWS_ON_LOOP_MAX: Final = 1_000  # of an outline; making columns of as many takes 2 ms
TRACE_NOT_FOUND: Final = "Trace not found"
SPAN_NOT_FOUND: Final = "Span not found"

# The columns that change with every write. Only a new price leaves `updated_at`.
REVISION_COLUMNS: Final = ("updated_at", "repriced_at", "span_count")
_TRACE_READERS: Final = f"{IN_PROJECT} AND trace_id = $2"
SELECT_REVISION: Final = f"SELECT {', '.join(REVISION_COLUMNS)} FROM traces WHERE {_TRACE_READERS}"
SELECT_SUMMARY: Final = f"""
SELECT {", ".join(dict.fromkeys((*SUMMARY_COLUMNS, *REVISION_COLUMNS)))}
FROM traces WHERE {_TRACE_READERS}
"""


def _elapsed_us(end: str) -> str:
    """Whole microseconds from the start of a span, as `elapsed_us`."""
    return f"CASE WHEN {end} >= started_at THEN {_microseconds(f'{end} - started_at')} END"


def _microseconds(interval: str) -> str:
    return f"(extract(epoch FROM {interval}) * 1000000)::bigint"


# In the order of the fields of OutlineRow. Payloads aren't read: rows have their sizes.
SELECT_OUTLINE: Final = f"""
SELECT span_id, parent_span_id, name, kind, status, {_microseconds("started_at - $5")},
  {_elapsed_us("ended_at")}, {_elapsed_us("completion_start_time")}, model,
  prompt_tokens + completion_tokens,
  CASE WHEN cost_source <> '{CostSource.UNPRICED}' THEN cost_amount::float8 END,
  input_bytes, output_bytes, status = 'ERROR' OR error IS NOT NULL, usage_role IS NULL
FROM spans WHERE {_TRACE_READERS} ORDER BY started_at, span_id LIMIT $3 OFFSET $4
"""
SELECT_SPAN_IDS: Final = f"""
SELECT span_id FROM spans WHERE {_TRACE_READERS} ORDER BY started_at, span_id
"""

SELECT_SPAN: Final = f"""
SELECT {SPANS.select()} FROM spans WHERE {_TRACE_READERS} AND span_id = $3
"""
SELECT_TRACE_PAYLOAD: Final = f"""
SELECT metadata, {", ".join(HEAD_COLUMNS[:4])}
FROM traces LEFT JOIN trace_payloads AS p
  ON p.project_id = traces.project_id AND p.trace_id = traces.trace_id AND p.start = 0
WHERE traces.{IN_PROJECT} AND traces.trace_id = $2
"""


async def fetch_revision(connection: Connection, project: ProjectId, trace: TraceId) -> str:
    """Raises NotFound."""
    row = await connection.fetchrow(SELECT_REVISION, project, trace)
    return revision_from_row(require_row(row, TRACE_NOT_FOUND))


def revision_from_row(row: Record) -> str:
    text = " ".join(str(row[name]) for name in REVISION_COLUMNS)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


async def fetch_outline(
    connection: Connection, project: ProjectId, trace: TraceId, first: int, limit: int
) -> TraceOutline:
    """Reads the outline; in a snapshot. Raises NotFound."""
    found = await connection.fetchrow(SELECT_SUMMARY, project, trace)
    row = require_row(found, TRACE_NOT_FOUND)
    summary = summary_from_row(row)
    spans = summary.totals.spans
    rows, ids = [], None
    if first < spans:
        values = (project, trace, limit, first, summary.started_at)
        rows = await connection.fetch(SELECT_OUTLINE, *values)
        if spans > len(rows):
            ids = await connection.fetch(SELECT_SPAN_IDS, project, trace)

    def columns() -> OutlineColumns:
        places = None if ids is None else {one[0]: place for place, one in enumerate(ids)}
        return OutlineColumns.from_rows(rows, first, places)

    return TraceOutline(
        summary=summary,
        revision=revision_from_row(row),
        first=first,
        columns=await compute(columns, is_long=len(rows) > ROWS_ON_LOOP_MAX),
    )


def _takes_long(text: StoredText) -> bool:
    return text.size > DECOMPRESSED_ON_LOOP_MAX


async def fetch_payload(
    connection: Connection,
    project: ProjectId,
    trace: TraceId,
    span: SpanId | None,
    name: PayloadName,
    *,
    bytes_max: int,
) -> JsonText | None:
    """Raises NotFound if the trace or the span doesn't exist, TooLargeToRead, DamagedText."""
    metadata: JsonText
    if span is None:
        row = await connection.fetchrow(SELECT_TRACE_PAYLOAD, project, trace)
        row = require_row(row, TRACE_NOT_FOUND)
        if name is PayloadName.METADATA:
            metadata = row["metadata"]
            return metadata
    else:
        row = await connection.fetchrow(SELECT_SPAN, project, trace, span)
        row = require_row(row, SPAN_NOT_FOUND)
    wanted = payload_range(row, name)
    if wanted is not None and wanted[1] - wanted[0] > bytes_max:
        raise spans_too_large("path.span_id")
    text = (await fetch_texts(connection, [((project, trace), wanted)]))[project, trace]
    payload: JsonText | None = None
    if wanted is not None:
        size = wanted[1] - wanted[0]
        payload = await compute(text.value, wanted[0], size, is_long=_takes_long(text))
    return shown_metadata(row, payload or EMPTY_OBJECT) if name is PayloadName.METADATA else payload
