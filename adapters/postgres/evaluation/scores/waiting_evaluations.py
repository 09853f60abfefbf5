"""Evaluations that wait for what they evaluate."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import msgspec
from asyncpg import Record

from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_project
from adapters.postgres.database.pool import (
    IN_PROJECT,
    Connection,
    Pool,
    affected_rows,
    translate_errors,
)
from adapters.postgres.database.removed_projects import check_not_removed, not_removed
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.database.transactions import transaction
from adapters.postgres.tracing.trace_rows import has_response
from application.evaluation.ports.sent_evaluations import (
    DUE_MAX,
    WAITING_MAX,
    WaitingEvaluation,
)
from domain.ids import ProjectId, TraceId
from domain.tracing.otel.evaluations import ReceivedEvaluation, SentEvaluation

_decoder: Final = msgspec.json.Decoder(SentEvaluation)

COUNT_WAITING: Final = f"""
SELECT count(*) FROM (
  SELECT 1 FROM waiting_evaluations WHERE {IN_PROJECT} LIMIT $2
) AS counted
"""
SELECT_WAITING: Final = f"""
SELECT known.id FROM unnest($2::uuid[]) AS sent (id) CROSS JOIN LATERAL (
  SELECT id FROM waiting_evaluations WHERE {IN_PROJECT} AND id = sent.id OFFSET 0
) AS known
"""
INSERT_WAITING: Final = """
INSERT INTO waiting_evaluations (project_id, id, trace_id, response_id, data, stored_at)
SELECT $1::uuid, sent.id, sent.trace_id, sent.response_id, sent.data, $2::timestamptz
FROM unnest($3::uuid[], $4::uuid[], $5::text[], $6::bytea[])
  AS sent (id, trace_id, response_id, data)
ON CONFLICT (project_id, id) DO NOTHING
"""
_IS_DUE: Final = f"waiting.project_id <> ALL($1::uuid[]) AND {not_removed('waiting')}"
_HAS_TRACE: Final = """
EXISTS (
  SELECT 1 FROM traces
  WHERE traces.project_id = waiting.project_id AND traces.trace_id = waiting.trace_id OFFSET 0
)
"""
# Several spans may have the response: selects the one whose usage counts.
SELECT_DUE: Final = f"""
SELECT one.project_id, one.id, one.trace_id, one.hex_id, one.data FROM (
  SELECT waiting.project_id, waiting.id, waiting.trace_id, NULL::text AS hex_id, waiting.data,
         waiting.stored_at
  FROM waiting_evaluations AS waiting
  WHERE waiting.trace_id IS NOT NULL AND {_IS_DUE} AND {_HAS_TRACE}
  UNION ALL
  SELECT waiting.project_id, waiting.id, found.trace_id, found.hex_id, waiting.data,
         waiting.stored_at
  FROM waiting_evaluations AS waiting CROSS JOIN LATERAL (
    SELECT spans.trace_id, spans.facts ->> 'hex_id' AS hex_id FROM spans
    WHERE spans.project_id = waiting.project_id AND {has_response("waiting.response_id")}
    ORDER BY spans.usage_role IS NOT NULL, spans.trace_id, spans.span_id LIMIT 1
  ) AS found
  WHERE waiting.trace_id IS NULL AND {_IS_DUE}
) AS one
ORDER BY one.stored_at, one.project_id, one.id LIMIT {DUE_MAX}
"""
# Before it is asked which are erased: a trace that is being deleted is waited for, and deleting
# those that are locked waits, and deletes their evaluations.
LOCK_TRACES: Final = f"""
SELECT 1 FROM traces WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[])
ORDER BY project_id, trace_id FOR KEY SHARE
"""
SELECT_ERASED: Final = f"""
SELECT trace_id FROM erased_traces WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[])
"""
# Looked for in the encoded evaluation: in quotes it can't be part of another text. PostgreSQL
# reads no member of JSON with NUL.
_OF_SESSION: Final = f"{IN_PROJECT} AND position($2::bytea IN data) > 0"
DELETE_OF_SESSION: Final = f"DELETE FROM waiting_evaluations WHERE {_OF_SESSION}"
COUNT_OF_SESSION: Final = f"""
SELECT count(*) FROM waiting_evaluations
WHERE {_OF_SESSION} AND ($3::timestamptz IS NULL OR stored_at <= $3)
"""
# By ctid, here and below, so that no statistics can mislead the planner. The order leaves it only
# the index of the key: to a table of one row, another index of the project would be as good.
DELETE_DONE: Final = """
DELETE FROM waiting_evaluations WHERE ctid = ANY(ARRAY(
  SELECT next.place
  FROM unnest($1::uuid[], $2::uuid[]) AS done (project_id, id) CROSS JOIN LATERAL (
    SELECT ctid AS place, project_id, id FROM waiting_evaluations
    WHERE (project_id, id) >= (done.project_id, done.id) ORDER BY project_id, id LIMIT 1
  ) AS next
  WHERE next.project_id = done.project_id AND next.id = done.id
))
"""
# Skips locked rows, so that concurrent workers take different ones.
DELETE_EXPIRED_EVALUATIONS: Final = f"""
DELETE FROM waiting_evaluations AS waiting WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM waiting_evaluations AS waiting
  WHERE stored_at < $1 AND NOT CASE WHEN waiting.trace_id IS NULL THEN EXISTS (
    SELECT 1 FROM spans
    WHERE spans.project_id = waiting.project_id AND {has_response("waiting.response_id")} OFFSET 0
  ) ELSE {_HAS_TRACE} END
  ORDER BY stored_at, project_id, id LIMIT {DUE_MAX} FOR UPDATE SKIP LOCKED
))
RETURNING waiting.project_id, waiting.id, waiting.trace_id, NULL::text AS hex_id, waiting.data
"""


@dataclass(frozen=True, slots=True)
class PostgresWaitingEvaluations:
    pool: Pool
    waiting_max: int = WAITING_MAX

    async def add(
        self, project: ProjectId, received: Sequence[ReceivedEvaluation], now: datetime
    ) -> int:
        named = [one.trace for one in received if one.trace is not None]
        async with transaction(self.pool, project) as connection:
            await check_not_removed(connection, project)
            if named:
                await connection.execute(LOCK_TRACES, project, named)
            erased = {row[0] for row in await connection.fetch(SELECT_ERASED, project, named)}
            shown = [
                WaitingEvaluation.from_received(project, one)
                for one in received
                if one.trace not in erased
            ]
            waiting = {one.id: one for one in shown}
            if not waiting:
                return 0
            # After the locks of the traces: the holder waits for no other request of the project.
            await lock_project(connection, AdvisoryLock.WAITING_EVALUATIONS, project)
            counted = await connection.fetchval(COUNT_WAITING, project, self.waiting_max)
            room = self.waiting_max - counted
            if len(waiting) > room:  # those that wait already take no room
                for [known] in await connection.fetch(SELECT_WAITING, project, [*waiting]):
                    del waiting[known]
            added = list(waiting.values())[:room]
            if added:
                rows = arrays(map(_row, added))
                await connection.execute(INSERT_WAITING, project, now, *rows)
        return len(waiting) - len(added)

    async def list_due(self, excluded: Collection[ProjectId] = ()) -> Sequence[WaitingEvaluation]:
        async with translate_errors():
            rows = await within(self.pool, ALL_TENANTS).fetch(SELECT_DUE, [*excluded])
        return [_from_row(row) for row in rows]

    async def delete(self, done: Sequence[WaitingEvaluation]) -> None:
        keys = arrays((one.project, one.id) for one in done)
        async with translate_errors():
            await within(self.pool, ALL_TENANTS).execute(DELETE_DONE, *keys)

    async def delete_expired(self, before: datetime) -> Sequence[WaitingEvaluation]:
        async with translate_errors():
            rows = await within(self.pool, ALL_TENANTS).fetch(DELETE_EXPIRED_EVALUATIONS, before)
        return [_from_row(row) for row in rows]


async def delete_evaluations_of_session(
    connection: Connection, project: ProjectId, session: str
) -> int:
    """Deletes those that name the session, of which the trace may be unknown; how many."""
    key = (project, _named(session))
    return affected_rows(await connection.execute(DELETE_OF_SESSION, *key))


async def count_evaluations_of_session(
    connection: Connection, project: ProjectId, session: str, until: datetime | None
) -> int:
    """How many name the session, of those that were stored until then."""
    key = (project, _named(session))
    count: int = await connection.fetchval(COUNT_OF_SESSION, *key, until)
    return count


def _named(session: str) -> bytes:
    """The member of an encoded evaluation that names the session."""
    return b'"session_id":' + msgspec.json.encode(session)


def _row(one: WaitingEvaluation) -> tuple[object, ...]:
    sent = one.received.evaluation
    return one.id, one.received.trace, sent.response_id, msgspec.json.encode(sent)


def _from_row(row: Record) -> WaitingEvaluation:
    sent, trace = _decoder.decode(row["data"]), row["trace_id"]
    if row["hex_id"] is not None:
        sent = replace(sent, span_id=row["hex_id"])
    received = ReceivedEvaluation(None if trace is None else TraceId(trace), sent)
    return WaitingEvaluation(ProjectId(row["project_id"]), row["id"], received)
