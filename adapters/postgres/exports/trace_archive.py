"""Whole traces with their scores in Postgres: the port."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import OF_PROJECT, Connection, Pool
from adapters.postgres.database.read_transactions import snapshot
from adapters.postgres.evaluation.runs.target_selection import admitted
from adapters.postgres.evaluation.scores.score_rows import SESSION_SCORES, TRACE_SCORES
from adapters.postgres.tracing.trace_lists import VALUES
from adapters.postgres.tracing.trace_loader import SPAN_PAYLOADS, read, whole_traces
from application.exporting.ports import BATCH_TRACES_MAX, Batches
from domain.evaluation.scores.score import ScoreOutcome, SessionScore, TraceScore
from domain.exporting.exported_trace import TraceWithScores, in_order_of_time
from domain.ids import ProjectId, TraceId
from domain.page import SortOrder
from domain.tracing.query import TraceFilter, TraceSort

# Of one batch, as read: it is held as rows, as values and as what is made of them. Weighed so,
# and not as stored, since some payloads are stored in a hundredth of it.
BATCH_BYTES: Final = 1 << 20
ADVICE_STREAM: Final = "narrow the export with started_after and started_before"
ADVICE: Final = "import fewer traces at once"

# Of the connection's own, which a pooler in between may not pass on, and an operator may set.
AT_LENGTH: Final = """
SET LOCAL statement_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = 0
"""
WEIGHTS: Final = f"""
SELECT t.trace_id, coalesce((
    SELECT {read(("metadata",))} FROM traces WHERE {OF_PROJECT} AND trace_id = t.trace_id
  ), 0) + coalesce((
    SELECT {read(("input", "output"))} FROM trace_payloads
    WHERE {OF_PROJECT} AND trace_id = t.trace_id
  ), 0) + coalesce((
    SELECT sum({read(SPAN_PAYLOADS)}) FROM spans WHERE {OF_PROJECT} AND trace_id = t.trace_id
  ), 0)::bigint AS bytes
FROM unnest($2::uuid[]) WITH ORDINALITY AS t(trace_id, place) ORDER BY place
"""
SCORES: Final = f"""
SELECT {TRACE_SCORES.select()} FROM trace_scores
WHERE {OF_PROJECT} AND trace_id = ANY($2::uuid[]) AND outcome <> '{ScoreOutcome.PENDING}'
"""
OF_SESSIONS: Final = f"""
SELECT {SESSION_SCORES.select()} FROM session_scores
WHERE {OF_PROJECT} AND session_id = ANY($2::text[]) AND outcome <> '{ScoreOutcome.PENDING}'
"""


@dataclass(frozen=True, slots=True)
class PostgresTraceArchive:
    """Streams on a small pool of their own, each for `timeout_s` at most; the rest on `pool`."""

    pool: Pool
    streams: Pool
    timeout_s: float

    @asynccontextmanager
    async def read(
        self, project: ProjectId, matching: TraceFilter, sort: TraceSort, order: SortOrder
    ) -> AsyncIterator[Batches]:
        async with snapshot(
            self.streams, ADVICE_STREAM, self.timeout_s, shown_of=project
        ) as connection:
            await connection.execute(AT_LENGTH.format(round(self.timeout_s * 1_000)))
            yield self._batches(connection, project, matching, sort, order)

    async def load(
        self, project: ProjectId, traces: Sequence[TraceId]
    ) -> Sequence[TraceWithScores]:
        async with snapshot(self.pool, ADVICE, shown_of=project) as connection:
            return await _archived(connection, project, traces, {})

    @staticmethod
    async def _batches(
        connection: Connection,
        project: ProjectId,
        matching: TraceFilter,
        sort: TraceSort,
        order: SortOrder,
    ) -> Batches:
        p, where = await admitted(connection, project, matching)
        value, way = VALUES[sort], order.value
        # All ids are found, and sorted, on disk where they are many, before the first is taken:
        # along the index of the order one would walk past all that don't match. With the first of
        # each session comes its id.
        by = f"{value} {way} NULLS LAST, trace_id {way}"
        sql = f"""
        WITH found AS MATERIALIZED (SELECT trace_id, session_id, {value} FROM traces WHERE {where})
        SELECT trace_id, CASE row_number() OVER (PARTITION BY session_id ORDER BY {by})
          WHEN 1 THEN session_id END
        FROM found ORDER BY {by}
        """
        cursor = await connection.cursor(sql, *p.values)
        while rows := await cursor.fetch(BATCH_TRACES_MAX):
            led = {trace: session for trace, session in rows if session is not None}
            weights = await connection.fetch(WEIGHTS, project, [row[0] for row in rows])
            for some in _lots(weights):
                found = await _archived(connection, project, some, led)
                by_id = {one.trace.id: one for one in found}
                yield [by_id[one] for one in some]


def _lots(weights: Sequence[Record]) -> Iterator[list[TraceId]]:
    """The traces in their order, as many together as BATCH_BYTES hold, one at least."""
    lot: list[TraceId] = []
    weight = 0
    for trace, bytes_ in weights:
        if lot and weight + bytes_ > BATCH_BYTES:
            yield lot
            lot, weight = [], 0
        lot.append(trace)
        weight += bytes_
    if lot:
        yield lot


async def _archived(
    connection: Connection,
    project: ProjectId,
    traces: Sequence[TraceId],
    led: Mapping[TraceId, str],
) -> list[TraceWithScores]:
    """`led` has the sessions whose scores come along, by the trace that brings them."""
    sessions = [led[trace] for trace in traces if trace in led]
    of_sessions: dict[str | None, list[SessionScore]] = defaultdict(list)
    for row in await connection.fetch(OF_SESSIONS, project, sessions) if sessions else ():
        of_sessions[row["session_id"]].append(SESSION_SCORES.score(row))
    scores: dict[TraceId, list[TraceScore]] = defaultdict(list)
    for row in await connection.fetch(SCORES, project, traces):
        scores[TraceId(row["trace_id"])].append(TRACE_SCORES.score(row))
    return [
        TraceWithScores(
            trace,
            in_order_of_time(scores[trace.id]),
            in_order_of_time(of_sessions[led.get(trace.id)]),
        )
        for trace in await whole_traces(connection, project, traces)
    ]
