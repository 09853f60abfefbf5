"""Reads the traces and sessions that are evaluated."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import OF_PROJECT, Connection
from adapters.postgres.database.read_transactions import RETRY_LATER, PoolReader
from adapters.postgres.evaluation.runs.target_selection import (
    EligibleTraces,
    select_sessions,
    select_traces,
)
from adapters.postgres.tracing.trace_loader import fetch_trace
from adapters.postgres.tracing.trace_rows import SPANS, TRACES, span_from_row, whole_trace_from_row
from domain.evaluation.metrics.registry import SPANS_MAX
from domain.evaluation.runs.run import Target
from domain.evaluation.runs.selection import (
    SETTLED,
    Eligibility,
    SessionSelection,
    TraceSelection,
)
from domain.evaluation.scores.outcome import FailCode, Failed, SkipCode, Skipped
from domain.evaluation.sessions.signals import SESSION_TRACES_MAX
from domain.evaluation.trace_content.evaluated_trace import (
    RECENT_OUTPUTS_MAX,
    EvaluatedTrace,
    final_output_text,
)
from domain.ids import ProjectId, TraceId
from domain.tracing.otel.otlp_state import QUIET_DEFAULT
from domain.tracing.span import Span
from domain.tracing.trace import Trace

NARROW_FILTERS: Final = (
    "narrow the filters with date_from and date_to, with user_id, or with rarer tags"
)

SELECT_TRACES_OF_SESSION: Final = f"""
SELECT trace_id FROM veiled.traces WHERE {OF_PROJECT} AND session_id = $2
ORDER BY started_at, trace_id LIMIT {SESSION_TRACES_MAX + 1}
"""
SELECT_TRACE_HEADER: Final = f"""
SELECT span_count, session_id, started_at FROM traces WHERE {OF_PROJECT} AND trace_id = $2
"""
SELECT_EARLIER_TRACES: Final = f"""
SELECT {TRACES.select("traces")}, NULL::json AS input, output
FROM (
  SELECT * FROM traces
  WHERE {OF_PROJECT} AND session_id = $2 AND (started_at, trace_id) < ($3, $4)
  ORDER BY started_at DESC, trace_id DESC LIMIT {RECENT_OUTPUTS_MAX}
) AS traces LEFT JOIN trace_payloads USING (project_id, trace_id)
ORDER BY traces.started_at, traces.trace_id
"""
# If a trace has no output, its spans are searched for one; other payloads of spans are not read.
_UNREAD_COLUMNS: Final = {
    "input": "NULL::json",
    "metadata": "'{}'::json",
    "token_usage": "NULL::json",
    "model_parameters": "NULL::json",
}
_OUTPUT_COLUMNS: Final = [
    f"{_UNREAD_COLUMNS[name]} AS {name}" if name in _UNREAD_COLUMNS else name
    for name in SPANS.names
]
SELECT_SPAN_OUTPUTS: Final = f"""
SELECT {", ".join(_OUTPUT_COLUMNS)}
FROM spans WHERE {OF_PROJECT} AND trace_id = ANY($2::uuid[])
"""


@dataclass(frozen=True, slots=True)
class PostgresTargets(PoolReader):
    """Each read is from one snapshot."""

    spans_max: int = SPANS_MAX
    quiet: timedelta = QUIET_DEFAULT

    async def traces(
        self,
        project: ProjectId,
        selection: TraceSelection,
        most: int,
        *,
        eligibility: Eligibility = SETTLED,
    ) -> Sequence[Target]:
        eligible = EligibleTraces(eligibility, self.quiet)
        async with self._visible_snapshot(NARROW_FILTERS, project) as connection:
            return await select_traces(connection, project, selection, most, eligible)

    async def sessions(
        self,
        project: ProjectId,
        selection: SessionSelection,
        most: int,
        *,
        eligibility: Eligibility = SETTLED,
    ) -> Sequence[Target]:
        eligible = EligibleTraces(eligibility, self.quiet)
        async with self._visible_snapshot(NARROW_FILTERS, project) as connection:
            return await select_sessions(connection, project, selection, most, eligible)

    async def load_trace(
        self, project: ProjectId, trace: TraceId
    ) -> EvaluatedTrace | Skipped | Failed:
        async with self._visible_snapshot(RETRY_LATER, project) as connection:
            header = await connection.fetchrow(SELECT_TRACE_HEADER, project, trace)
            if header is None:
                return Failed(FailCode.TARGET_GONE)
            if header["span_count"] > self.spans_max:
                return Skipped(SkipCode.TRACE_TOO_LARGE)
            read = await fetch_trace(connection, project, trace)
            if header["session_id"] is None:
                return EvaluatedTrace(read)
            earlier = await self._earlier_traces(connection, project, trace, header)
            return EvaluatedTrace(read, [final_output_text(one) for one in earlier])

    async def session_traces(self, project: ProjectId, session: str) -> Sequence[TraceId]:
        rows = await self._fetch(RETRY_LATER, project, SELECT_TRACES_OF_SESSION, project, session)
        return [TraceId(row["trace_id"]) for row in rows]

    async def _earlier_traces(
        self, connection: Connection, project: ProjectId, trace: TraceId, header: Record
    ) -> list[Trace]:
        """The earlier traces of its session, each with only the columns that its output needs."""
        position = (header["session_id"], header["started_at"], trace)
        rows = await connection.fetch(SELECT_EARLIER_TRACES, project, *position)
        without_output = [
            row["trace_id"]
            for row in rows
            if row["output"] is None and row["span_count"] <= self.spans_max
        ]
        spans: dict[TraceId, list[Span]] = defaultdict(list)
        if without_output:
            for row in await connection.fetch(SELECT_SPAN_OUTPUTS, project, without_output):
                spans[TraceId(row["trace_id"])].append(span_from_row(row))
        return [replace(one, spans=tuple(spans[one.id])) for one in map(whole_trace_from_row, rows)]
