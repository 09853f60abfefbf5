"""Reads parts of a trace: its revision, its outline, one span, one payload."""

import hashlib
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import OF_PROJECT, Connection, require_row
from adapters.postgres.tracing.otlp_rows import SpanRowKey
from adapters.postgres.tracing.trace_rows import (
    SPANS,
    SUMMARY_COLUMNS,
    span_from_row,
    span_metadata_from_row,
    summary_from_row,
)
from application.concurrency import compute
from domain.ids import ProjectId, SpanId, TraceId
from domain.tracing.outline import OutlineColumns, TraceOutline
from domain.tracing.payload import JsonText
from domain.tracing.payload_detail import (
    PREVIEW_BYTES_MAX,
    PayloadDetail,
    PayloadName,
    PayloadPreview,
    SpanDetail,
)
from domain.tracing.usage import CostSource

ROWS_ON_LOOP_MAX: Final = 1_000  # of an outline; making columns of as many takes 2 ms
TRACE_NOT_FOUND: Final = "Trace not found"
SPAN_NOT_FOUND: Final = "Span not found"

# What changes with every write. Only a new price leaves `updated_at`.
_REVISION_COLUMNS: Final = ("updated_at", "repriced_at", "span_count")
_OF_TRACE: Final = f"{OF_PROJECT} AND trace_id = $2"
SELECT_REVISION: Final = f"SELECT {', '.join(_REVISION_COLUMNS)} FROM traces WHERE {_OF_TRACE}"
SELECT_SUMMARY: Final = f"""
SELECT {", ".join(dict.fromkeys((*SUMMARY_COLUMNS, *_REVISION_COLUMNS)))}
FROM traces WHERE {_OF_TRACE}
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
FROM spans WHERE {_OF_TRACE} ORDER BY started_at, span_id LIMIT $3 OFFSET $4
"""
SELECT_SPAN_IDS: Final = f"""
SELECT span_id FROM spans WHERE {_OF_TRACE} ORDER BY started_at, span_id
"""

_PAYLOADS: Final = ("input", "output")
_WITHOUT_PAYLOADS: Final = [
    name for name in SPANS.names if name not in {*_PAYLOADS, PayloadName.METADATA}
]
# A character has at most 4 bytes, so a beginning has at least PREVIEW_BYTES_MAX bytes.
_SHOWN: Final = {
    PayloadDetail.FULL: "{0}, NULL AS {0}_beginning",
    PayloadDetail.PREVIEW: (
        f"CASE WHEN {{0}}_bytes <= {PREVIEW_BYTES_MAX} THEN {{0}} END AS {{0}},"
        f" CASE WHEN {{0}}_bytes > {PREVIEW_BYTES_MAX}"
        f" THEN left({{0}}::text, {PREVIEW_BYTES_MAX}) END AS {{0}}_beginning"
    ),
    PayloadDetail.NONE: "NULL::json AS {0}, NULL AS {0}_beginning",
}
SELECT_SPAN: Final = {
    detail: f"""
SELECT {", ".join(_WITHOUT_PAYLOADS)}, input_bytes, output_bytes,
  {", ".join(shown.format(name) for name in _PAYLOADS)},
  {"'{}'::json AS metadata" if detail is PayloadDetail.NONE else "metadata"}
FROM spans WHERE {_OF_TRACE} AND span_id = $3
"""
    for detail, shown in _SHOWN.items()
}
SELECT_TRACE_PAYLOAD: Final = {
    PayloadName.METADATA: f"SELECT metadata FROM traces WHERE {_OF_TRACE}",
    **{
        name: f"""
SELECT (SELECT {name} FROM trace_payloads WHERE {_OF_TRACE}) AS {name} FROM traces
WHERE {_OF_TRACE}
"""
        for name in (PayloadName.INPUT, PayloadName.OUTPUT)
    },
}
SELECT_SPAN_PAYLOAD: Final = {
    name: f"SELECT {name}, usage_role FROM spans WHERE {_OF_TRACE} AND span_id = $3"
    for name in PayloadName
}


async def fetch_revision(connection: Connection, project: ProjectId, trace: TraceId) -> str:
    """Raises NotFound."""
    row = await connection.fetchrow(SELECT_REVISION, project, trace)
    return _revision_from_row(require_row(row, TRACE_NOT_FOUND))


def _revision_from_row(row: Record) -> str:
    text = " ".join(str(row[name]) for name in _REVISION_COLUMNS)
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
        revision=_revision_from_row(row),
        first=first,
        columns=await compute(columns, is_long=len(rows) > ROWS_ON_LOOP_MAX),
    )


async def fetch_span_detail(
    connection: Connection, key: SpanRowKey, detail: PayloadDetail
) -> SpanDetail:
    """Raises NotFound."""
    row = require_row(await connection.fetchrow(SELECT_SPAN[detail], *key), SPAN_NOT_FOUND)
    sizes = {"input_bytes": row["input_bytes"], "output_bytes": row["output_bytes"]}
    span = span_from_row(row)
    if detail is PayloadDetail.PREVIEW:
        return SpanDetail.with_previews(
            span,
            input_preview=_preview_from_row(row, "input"),
            output_preview=_preview_from_row(row, "output"),
            **sizes,
        )
    return SpanDetail(span=span, detail=detail, **sizes)


def _preview_from_row(row: Record, name: str) -> PayloadPreview | None:
    beginning = row[f"{name}_beginning"]
    if beginning is None:
        return None
    return PayloadPreview.from_beginning(beginning.encode(), row[f"{name}_bytes"])


async def fetch_payload(
    connection: Connection,
    project: ProjectId,
    trace: TraceId,
    span: SpanId | None,
    name: PayloadName,
) -> JsonText | None:
    """Raises NotFound if the trace or the span doesn't exist."""
    payload: JsonText | None
    if span is None:
        row = await connection.fetchrow(SELECT_TRACE_PAYLOAD[name], project, trace)
        payload = require_row(row, TRACE_NOT_FOUND)[name]
        return payload
    row = await connection.fetchrow(SELECT_SPAN_PAYLOAD[name], project, trace, span)
    row = require_row(row, SPAN_NOT_FOUND)
    payload = span_metadata_from_row(row) if name is PayloadName.METADATA else row[name]
    return payload
