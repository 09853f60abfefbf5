"""What there is to evaluate, in Postgres: the port."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import OF_PROJECT, Connection, Pool
from adapters.postgres.database.read_transactions import READ_TIMEOUT_S, reading, snapshot
from adapters.postgres.evaluation.runs.target_selection import select_sessions, traces_selected
from adapters.postgres.tracing.edits import read_trace
from adapters.postgres.tracing.trace_rows import SPANS, TRACES, span_of, whole_trace_of
from domain.evaluation.metrics.registry import SPANS_MAX
from domain.evaluation.runs.run import Target
from domain.evaluation.runs.selection import SessionSelection, TraceSelection
from domain.evaluation.scores.outcome import FailCode, Failed, SkipCode, Skipped
from domain.evaluation.sessions.reliability_v1 import SESSION_TRACES_MAX
from domain.evaluation.trace_content.evaluated_trace import (
    RECENT_OUTPUTS_MAX,
    EvaluatedTrace,
    final_output_text,
)
from domain.ids import ProjectId, TraceId
from domain.tracing.span import Span
from domain.tracing.trace import Trace

ADVICE: Final = "narrow the filters with date_from and date_to, with user_id, or with rarer tags"
READ_ADVICE: Final = "try again later"  # one trace or session can't be narrowed

OF_SESSION: Final = f"""
SELECT trace_id FROM veiled.traces WHERE {OF_PROJECT} AND session_id = $2
ORDER BY started_at, trace_id LIMIT {SESSION_TRACES_MAX + 1}
"""
PLACE: Final = f"""
SELECT span_count, session_id, started_at FROM traces WHERE {OF_PROJECT} AND trace_id = $2
"""
BEFORE: Final = f"""
SELECT {TRACES.select("traces")}, NULL::json AS input, output
FROM (
  SELECT * FROM traces
  WHERE {OF_PROJECT} AND session_id = $2 AND (started_at, trace_id) < ($3, $4)
  ORDER BY started_at DESC, trace_id DESC LIMIT {RECENT_OUTPUTS_MAX}
) AS traces LEFT JOIN trace_payloads USING (project_id, trace_id)
ORDER BY traces.started_at, traces.trace_id
"""
# An output is looked for in spans where the trace has none; the rest of them isn't read.
_UNREAD: Final = {
    "input": "NULL::json",
    "metadata": "'{}'::json",
    "token_usage": "NULL::json",
    "model_parameters": "NULL::json",
}
OUTPUTS: Final = f"""
SELECT {", ".join(f"{_UNREAD[one]} AS {one}" if one in _UNREAD else one for one in SPANS.names)}
FROM spans WHERE {OF_PROJECT} AND trace_id = ANY($2::uuid[])
"""


@dataclass(frozen=True, slots=True)
class PostgresTargets:
    """Each read is of one moment, and takes `timeout_s` at most."""

    pool: Pool
    spans_max: int = SPANS_MAX
    timeout_s: float = READ_TIMEOUT_S

    async def traces(
        self, project: ProjectId, selection: TraceSelection, most: int
    ) -> Sequence[Target]:
        async with snapshot(self.pool, ADVICE, self.timeout_s, shown_of=project) as connection:
            return await traces_selected(connection, project, selection, most)

    async def sessions(
        self, project: ProjectId, selection: SessionSelection, most: int
    ) -> Sequence[Target]:
        async with snapshot(self.pool, ADVICE, self.timeout_s, shown_of=project) as connection:
            return await select_sessions(connection, project, selection, most)

    async def load_trace(
        self, project: ProjectId, trace: TraceId
    ) -> EvaluatedTrace | Skipped | Failed:
        async with snapshot(self.pool, READ_ADVICE, self.timeout_s, shown_of=project) as connection:
            place = await connection.fetchrow(PLACE, project, trace)
            if place is None:
                return Failed(FailCode.TARGET_GONE)
            if place["span_count"] > self.spans_max:
                return Skipped(SkipCode.TRACE_TOO_LARGE)
            read = await read_trace(connection, project, trace)
            if place["session_id"] is None:
                return EvaluatedTrace(read)
            earlier = await self._before(connection, project, trace, place)
            return EvaluatedTrace(read, [final_output_text(one) for one in earlier])

    async def session_traces(self, project: ProjectId, session: str) -> Sequence[TraceId]:
        async with reading(self.pool, READ_ADVICE, self.timeout_s) as connection:
            rows = await connection.fetch(OF_SESSION, project, session)
        return [TraceId(row["trace_id"]) for row in rows]

    async def _before(
        self, connection: Connection, project: ProjectId, trace: TraceId, place: Record
    ) -> list[Trace]:
        """The traces before one in its session, with no more of each than its answer takes."""
        at = (place["session_id"], place["started_at"], trace)
        rows = await connection.fetch(BEFORE, project, *at)
        silent = [
            row["trace_id"]
            for row in rows
            if row["output"] is None and row["span_count"] <= self.spans_max
        ]
        spans: dict[TraceId, list[Span]] = defaultdict(list)
        if silent:
            for row in await connection.fetch(OUTPUTS, project, silent):
                spans[TraceId(row["trace_id"])].append(span_of(row))
        return [replace(one, spans=tuple(spans[one.id])) for one in map(whole_trace_of, rows)]
