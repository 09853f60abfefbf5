"""Streams whole traces with their scores, for exports; loads known ones, for imports."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection, Pool
from adapters.postgres.database.read_transactions import read_snapshot
from adapters.postgres.evaluation.runs.target_selection import trace_conditions
from adapters.postgres.evaluation.scores.score_rows import SCORE_BYTES, SESSION_SCORES, TRACE_SCORES
from adapters.postgres.tracing.trace_lists import SORT_COLUMNS
from adapters.postgres.tracing.trace_loader import SELECT_TRACE_SIZES, fetch_whole_traces
from application.exports.ports import (
    BATCH_TRACES_MAX,
    Batches,
    check_not_all,
    leave_out,
    session_too_large,
)
from domain.evaluation.scores.score import ScoreOutcome, SessionScore, TraceScore
from domain.exports.export import TraceWithScores, in_order_of_time
from domain.ids import ProjectId, TraceId
from domain.page import SortOrder
from domain.tracing.payloads.read_limit import READ_BYTES_MAX, TooLargeToRead
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.trace import Trace

# The size of one batch once read: it is in memory as rows, as values and as output.
BATCH_BYTES_MAX: Final = 1 << 20
NARROW_EXPORT: Final = "narrow the export with started_after and started_before"
IMPORT_FEWER_TRACES: Final = "import fewer traces at once"

# Set on the transaction, because a pooler may not pass on session settings, and an operator may set
# others.
SET_STREAM_TIMEOUTS: Final = """
SET LOCAL statement_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = 0
"""
SELECT_TRACE_SCORES: Final = f"""
SELECT {TRACE_SCORES.select()} FROM trace_scores
WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[]) AND outcome <> '{ScoreOutcome.PENDING}'
"""
SELECT_SESSION_SCORES: Final = f"""
SELECT {SESSION_SCORES.select()} FROM session_scores
WHERE {IN_PROJECT} AND session_id = ANY($2::text[]) AND outcome <> '{ScoreOutcome.PENDING}'
"""
SELECT_SCORE_SIZES: Final = f"""
SELECT trace_id, sum({SCORE_BYTES})::bigint FROM trace_scores
WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[]) AND outcome <> '{ScoreOutcome.PENDING}'
GROUP BY trace_id
"""
SELECT_SESSION_SIZES: Final = f"""
SELECT session_id, sum({SCORE_BYTES})::bigint FROM session_scores
WHERE {IN_PROJECT} AND session_id = ANY($2::text[]) AND outcome <> '{ScoreOutcome.PENDING}'
GROUP BY session_id
"""


@dataclass(frozen=True, slots=True)
class PostgresTraceArchive:
    """Streams use the small pool `streams`, each for at most `timeout_s`.

    Other reads use `pool`.
    """

    pool: Pool
    streams: Pool
    timeout_s: float
    bytes_max: int = READ_BYTES_MAX

    @asynccontextmanager
    async def read(
        self,
        project: ProjectId,
        matching: TraceFilter,
        sort: TraceSort,
        order: SortOrder,
        left_out: list[TraceId],
    ) -> AsyncIterator[Batches]:
        async with read_snapshot(
            self.streams, NARROW_EXPORT, project, self.timeout_s, hide_erased_in=project
        ) as connection:
            await connection.execute(SET_STREAM_TIMEOUTS.format(round(self.timeout_s * 1_000)))
            ids = self._ids(connection, project, matching, sort, order)
            yield self._batches(connection, project, ids, left_out)

    async def load(self, project: ProjectId, traces: Sequence[TraceId]) -> Sequence[Trace]:
        async with read_snapshot(
            self.pool, IMPORT_FEWER_TRACES, project, hide_erased_in=project
        ) as connection:
            sizes = await connection.fetch(SELECT_TRACE_SIZES, project, traces)
            if sum(row["bytes"] for row in sizes) > self.bytes_max:
                raise TooLargeToRead("stored traces of these hold", IMPORT_FEWER_TRACES, "traces")
            return await fetch_whole_traces(connection, project, traces)

    @staticmethod
    async def _ids(
        connection: Connection,
        project: ProjectId,
        matching: TraceFilter,
        sort: TraceSort,
        order: SortOrder,
    ) -> AsyncIterator[list[Record]]:
        """The id of each trace, its session, and whether it is the first one of its session."""
        p, where = await trace_conditions(connection, project, matching)
        value, way = SORT_COLUMNS[sort], order.value
        # Materializes and sorts all ids (on disk if they are many) before the first is read: a walk
        # along the index of the order would read all rows that do not match.
        by = f"{value} {way} NULLS LAST, trace_id {way}"
        sql = f"""
        WITH found AS MATERIALIZED (SELECT trace_id, session_id, {value} FROM traces WHERE {where})
        SELECT trace_id, session_id, row_number() OVER (PARTITION BY session_id ORDER BY {by}) = 1
        FROM found ORDER BY {by}
        """
        cursor = await connection.cursor(sql, *p.values)
        while rows := await cursor.fetch(BATCH_TRACES_MAX):
            yield rows

    async def _batches(
        self,
        connection: Connection,
        project: ProjectId,
        ids: AsyncIterator[list[Record]],
        left_out: list[TraceId],
    ) -> Batches:
        without_first = set[str]()  # sessions whose first traces were left out
        traces = 0
        async for rows in ids:
            sizes = await _sizes(connection, project, [row[0] for row in rows])
            led: dict[TraceId, str] = {}
            readable: list[TraceId] = []
            for trace, session, is_first in rows:
                is_led = session is not None and (is_first or session in without_first)
                if sizes[trace] > self.bytes_max:
                    leave_out(trace, left_out)
                    without_first |= {session} if is_led else set()
                    continue
                if is_led:
                    led[trace] = session
                    without_first.discard(session)
                readable.append(trace)
            scores = await self._session_sizes(connection, project, led)
            weights = [(one, sizes[one] + scores.get(led.get(one), 0)) for one in readable]
            for group in _split_by_size(weights):
                found = await _fetch_with_scores(connection, project, group, led)
                by_id = {one.trace.id: one for one in found}
                yield [by_id[one] for one in group]
            traces += len(readable)
        check_not_all(left_out, traces)

    async def _session_sizes(
        self, connection: Connection, project: ProjectId, led: Mapping[TraceId, str]
    ) -> Mapping[str | None, int]:
        """The size of the scores of each session that has any. Raises TooLargeToRead."""
        sessions = [*led.values()]
        rows = await connection.fetch(SELECT_SESSION_SIZES, project, sessions) if sessions else ()
        for session, size in rows:
            if size > self.bytes_max:
                raise session_too_large(session)
        return {row[0]: row[1] for row in rows}


async def _sizes(
    connection: Connection, project: ProjectId, traces: Sequence[TraceId]
) -> Mapping[TraceId, int]:
    """The size of each trace with its scores, once read."""
    scored = await connection.fetch(SELECT_SCORE_SIZES, project, traces)
    scores = {row[0]: row[1] for row in scored}
    rows = await connection.fetch(SELECT_TRACE_SIZES, project, traces)
    return {trace: size + scores.get(trace, 0) for trace, size in rows}


def _split_by_size(weights: Sequence[tuple[TraceId, int]]) -> Iterator[list[TraceId]]:
    """Groups the traces, in order: each group fits into BATCH_BYTES_MAX or has one trace."""
    group: list[TraceId] = []
    weight = 0
    for trace, bytes_ in weights:
        if group and weight + bytes_ > BATCH_BYTES_MAX:
            yield group
            group, weight = [], 0
        group.append(trace)
        weight += bytes_
    if group:
        yield group


async def _fetch_with_scores(
    connection: Connection,
    project: ProjectId,
    traces: Sequence[TraceId],
    led: Mapping[TraceId, str],
) -> list[TraceWithScores]:
    """`led` are the sessions whose scores are added, by the trace that carries them."""
    sessions = [led[trace] for trace in traces if trace in led]
    session_scores: dict[str | None, list[SessionScore]] = defaultdict(list)
    for row in await connection.fetch(SELECT_SESSION_SCORES, project, sessions) if sessions else ():
        session_scores[row["session_id"]].append(SESSION_SCORES.score(row))
    scores: dict[TraceId, list[TraceScore]] = defaultdict(list)
    for row in await connection.fetch(SELECT_TRACE_SCORES, project, traces):
        scores[TraceId(row["trace_id"])].append(TRACE_SCORES.score(row))
    return [
        TraceWithScores(
            trace,
            in_order_of_time(scores[trace.id]),
            in_order_of_time(session_scores[led.get(trace.id)]),
        )
        for trace in await fetch_whole_traces(connection, project, traces)
    ]
