"""Reads the traces and sessions that are evaluated."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.read_transactions import RETRY_LATER, PoolReader
from adapters.postgres.evaluation.runs.target_selection import (
    EligibleTraces,
    count_targets,
    select_sessions,
    select_traces,
)
from adapters.postgres.tracing.payloads.payload_text import (
    DECOMPRESSED_ON_LOOP_MAX,
    HEAD_COLUMNS,
    DamagedText,
    SpanValues,
    StoredText,
    TraceKey,
    fetch_texts,
    payload_range,
)
from adapters.postgres.tracing.trace_loader import SELECT_TRACE_SIZES, fetch_trace
from adapters.postgres.tracing.trace_rows import SPANS, TRACES, span_with_values, trace_from_row
from application.concurrency import compute
from domain.evaluation.metrics.registry import SPANS_MAX
from domain.evaluation.runs.run import Target
from domain.evaluation.runs.selection import (
    SETTLED,
    Eligibility,
    Sample,
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
from domain.tracing.payloads.payload import JsonText
from domain.tracing.payloads.read_limit import READ_BYTES_MAX, TooLargeToRead
from domain.tracing.span import Span
from domain.tracing.trace import Trace

_log: Final = logging.getLogger(__name__)
NARROW_FILTERS: Final = (
    "narrow the filters with date_from and date_to, with user_id, or with rarer tags"
)

SELECT_TRACES_OF_SESSION: Final = f"""
SELECT trace_id FROM visible_traces WHERE {IN_PROJECT} AND session_id = $2
ORDER BY started_at, trace_id LIMIT {SESSION_TRACES_MAX + 1}
"""
# `expected` is that of the item of a dataset whose result the trace is.
SELECT_TRACE_HEADER: Final = f"""
SELECT span_count, session_id, started_at, (
  SELECT i.expected
  FROM experiment_results AS r
  JOIN experiments AS e ON e.project_id = r.project_id AND e.id = r.experiment_id
  JOIN dataset_items AS i ON i.project_id = r.project_id AND i.dataset_id = e.dataset_id
    AND i.item_id = r.item_id
  WHERE r.project_id = $1 AND r.trace_id = $2
    AND i.valid_from <= e.version AND (i.valid_to IS NULL OR i.valid_to > e.version)
  LIMIT 1
) AS expected
FROM traces WHERE {IN_PROJECT} AND trace_id = $2
"""
# The payloads of spans but outputs aren't read.
SELECT_EARLIER_TRACES: Final = f"""
SELECT {TRACES.select("traces")}, {", ".join(HEAD_COLUMNS[:4])}
FROM (
  SELECT * FROM traces
  WHERE {IN_PROJECT} AND session_id = $2 AND (started_at, trace_id) < ($3, $4)
  ORDER BY started_at DESC, trace_id DESC LIMIT {RECENT_OUTPUTS_MAX}
) AS traces LEFT JOIN trace_payloads AS p
  ON p.project_id = traces.project_id AND p.trace_id = traces.trace_id AND p.start = 0
ORDER BY traces.started_at, traces.trace_id
"""
SELECT_SPANS_OF_TRACES: Final = f"""
SELECT {SPANS.select()} FROM spans WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[])
"""


@dataclass(frozen=True, slots=True)
class PostgresTargets(PoolReader):
    """Each read is from one snapshot."""

    spans_max: int = SPANS_MAX
    bytes_max: int = READ_BYTES_MAX
    quiet: timedelta = QUIET_DEFAULT

    async def traces(
        self,
        project: ProjectId,
        selection: TraceSelection,
        most: int,
        *,
        eligibility: Eligibility = SETTLED,
        sample: Sample | None = None,
    ) -> Sequence[Target]:
        eligible = EligibleTraces(eligibility, self.quiet)
        async with self._visible_snapshot(NARROW_FILTERS, project) as connection:
            return await select_traces(
                connection, project, selection, most, eligible, sample=sample
            )

    async def sessions(
        self,
        project: ProjectId,
        selection: SessionSelection,
        most: int,
        *,
        eligibility: Eligibility = SETTLED,
        sample: Sample | None = None,
    ) -> Sequence[Target]:
        eligible = EligibleTraces(eligibility, self.quiet)
        async with self._visible_snapshot(NARROW_FILTERS, project) as connection:
            return await select_sessions(
                connection, project, selection, most, eligible, sample=sample
            )

    async def count(
        self,
        project: ProjectId,
        selection: TraceSelection | SessionSelection,
        most: int,
        *,
        eligibility: Eligibility = SETTLED,
    ) -> int:
        eligible = EligibleTraces(eligibility, self.quiet)
        async with self._visible_snapshot(NARROW_FILTERS, project) as connection:
            return await count_targets(connection, project, selection, most, eligible)

    async def load_trace(
        self, project: ProjectId, trace: TraceId
    ) -> EvaluatedTrace | Skipped | Failed:
        async with self._visible_by_key(RETRY_LATER, project) as connection:
            header = await connection.fetchrow(SELECT_TRACE_HEADER, project, trace)
            if header is None:
                return Failed(FailCode.TARGET_GONE)
            if header["span_count"] > self.spans_max:
                return Skipped(SkipCode.TRACE_TOO_LARGE)
            try:
                read = await fetch_trace(connection, project, trace, self.bytes_max)
                if header["session_id"] is None:
                    return EvaluatedTrace(read, expected=header["expected"])
                earlier = await self._earlier_traces(connection, project, trace, header)
            except TooLargeToRead:
                return Skipped(SkipCode.TRACE_TOO_LARGE)
            except DamagedText:  # a retry would fail too
                _log.exception("trace %s is not evaluated", trace)
                return Failed(FailCode.INTERNAL)
            outputs = [final_output_text(one) for one in earlier]
            return EvaluatedTrace(read, outputs, header["expected"])

    async def session_traces(self, project: ProjectId, session: str) -> Sequence[TraceId]:
        rows = await self._fetch(RETRY_LATER, project, SELECT_TRACES_OF_SESSION, project, session)
        return [TraceId(row["trace_id"]) for row in rows]

    async def _earlier_traces(
        self, connection: Connection, project: ProjectId, trace: TraceId, header: Record
    ) -> list[Trace]:
        """The earlier traces of its session, each with only what its output needs.

        If a trace has no output, its spans are searched for one.
        """
        position = (header["session_id"], header["started_at"], trace)
        rows = await connection.fetch(SELECT_EARLIER_TRACES, project, *position)
        without_output = [
            row["trace_id"]
            for row in rows
            if row["output_bytes"] is None and row["span_count"] <= self.spans_max
        ]
        spans: list[Record] = []
        if without_output:
            sizes = await connection.fetch(SELECT_TRACE_SIZES, project, without_output)
            read = [row["trace_id"] for row in sizes if row["bytes"] <= self.bytes_max]
            spans = await connection.fetch(SELECT_SPANS_OF_TRACES, project, read)
        texts = await fetch_texts(
            connection,
            [
                ((project, TraceId(row["trace_id"])), payload_range(row, "output"))
                for row in (*rows, *spans)
            ],
        )
        size = sum(text.size for text in texts.values())
        is_long = size > DECOMPRESSED_ON_LOOP_MAX
        return await compute(_with_outputs, project, rows, spans, texts, is_long=is_long)


def _with_outputs(
    project: ProjectId,
    rows: Iterable[Record],
    spans: Iterable[Record],
    texts: Mapping[TraceKey, StoredText],
) -> list[Trace]:
    def output(row: Record) -> JsonText | None:
        wanted = payload_range(row, "output")
        text = texts[project, TraceId(row["trace_id"])]
        return None if wanted is None else text.value(wanted[0], wanted[1] - wanted[0])

    by_trace: dict[TraceId, list[Span]] = defaultdict(list)
    for row in spans:
        by_trace[TraceId(row["trace_id"])].append(
            span_with_values(row, SpanValues(output=output(row)))
        )
    return [
        replace(one, output=output(row), spans=tuple(by_trace[one.id]))
        for row in rows
        for one in (trace_from_row(row),)
    ]
