"""Scores of traces and sessions."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from adapters.postgres.database.advice import RETRY_LATER
from adapters.postgres.database.pool import (
    OF_PROJECT,
    UNSTORABLE_ERRORS,
    WRITE_TIMEOUT_S,
    Connection,
    Pool,
    translate_errors,
)
from adapters.postgres.database.read_transactions import READ_TIMEOUT_S, read_connection
from adapters.postgres.evaluation.scores.score_lists import ScoreLists
from adapters.postgres.evaluation.scores.score_rows import SESSION_SCORES, TRACE_SCORES, ScoreTable
from domain.errors import FieldError, Invalid, NotFound
from domain.evaluation.scores.score import (
    Score,
    ScoreChange,
    ScoreFilter,
    ScoreOutcome,
    SessionScore,
    TraceScore,
    storable_text,
)
from domain.ids import ProjectId, RunId, ScoreId, TraceId, UserId
from domain.page import Page, PageRequest

TEXT_FIELDS: Final = ("name", "value", "reason", "environment", "session_id")
UNSTORABLE_TEXT: Final = "can't be stored: holds NUL or a lone surrogate"
UNSTORABLE_JSON: Final = "can't be stored: nested too deep"

# An index keeps the scores of a trace together, ordered by name, the newest of a name last.
SELECT_LATEST_SCORES: Final = f"""
SELECT DISTINCT ON (name) {TRACE_SCORES.select()} FROM veiled.trace_scores
WHERE {OF_PROJECT} AND trace_id = $2 AND outcome <> '{ScoreOutcome.PENDING}'
ORDER BY name DESC, created_at DESC, id DESC
"""
LOCK_SCORE: Final = f"""
SELECT {TRACE_SCORES.select()} FROM veiled.trace_scores
WHERE {OF_PROJECT} AND id = $2 FOR UPDATE
"""


def _insert_statement[S: Score](table: ScoreTable[S], target: str) -> str:
    """Inserts a score if a trace with its `target` exists; returns the row with that id, if any.

    A concurrent delete of the trace waits, and then deletes the score too. If the id exists, the
    stored row is updated to itself, so that it is returned whichever transaction wrote it.
    """
    place = table.names.index(table.target) + 1
    where = f"{OF_PROJECT} AND {target} = ${place}"
    # A session that loses a trace to an erasure is hidden, and its scores are deleted.
    is_shown = f"AND EXISTS (SELECT FROM veiled.sessions WHERE {where})"
    return f"""
    WITH target AS MATERIALIZED (
      SELECT FROM veiled.traces WHERE {where} {is_shown if target == "session_id" else ""}
      LIMIT 1 FOR KEY SHARE
    )
    INSERT INTO {table.name} ({table.select()}) SELECT {table.typed_parameters()} FROM target
    ON CONFLICT (project_id, id) DO UPDATE SET id = excluded.id
    RETURNING {table.select(table.name)}
    """


def _update_statement[S: Score](table: ScoreTable[S]) -> str:
    return f"UPDATE {table.name} SET {table.assignments()} WHERE {OF_PROJECT} AND id = $2"


INSERT_TRACE_SCORE: Final = _insert_statement(TRACE_SCORES, "trace_id")
# Any trace of the session will do: if one is being deleted, the next one is locked.
INSERT_SESSION_SCORE: Final = _insert_statement(SESSION_SCORES, "session_id")
UPDATE_SCORE: Final = {
    TRACE_SCORES.name: _update_statement(TRACE_SCORES),
    SESSION_SCORES.name: _update_statement(SESSION_SCORES),
}


@dataclass(frozen=True, slots=True)
class PostgresTraceScores:
    """Each read is from one snapshot, and takes at most `timeout_s`."""

    pool: Pool
    timeout_s: float = READ_TIMEOUT_S

    async def add(self, score: TraceScore) -> TraceScore:
        return await _add(self.pool, TRACE_SCORES, INSERT_TRACE_SCORE, score, "Trace not found")

    async def change(
        self,
        project: ProjectId,
        score: ScoreId,
        change: ScoreChange,
        now: datetime,
        author: UserId | None,
    ) -> TraceScore:
        async with _write_connection(self.pool) as connection, connection.transaction():
            row = await connection.fetchrow(LOCK_SCORE, project, score)
            if row is None:
                raise NotFound("Score not found")
            known = TRACE_SCORES.score(row)
            changed = known.patched(change, now, author)
            if changed != known:
                await update_scores(connection, TRACE_SCORES, [changed])
            return changed

    async def delete(self, project: ProjectId, score: ScoreId) -> bool:
        return await _delete(self.pool, TRACE_SCORES, project, score)

    async def page(
        self, project: ProjectId, matching: ScoreFilter, window: PageRequest
    ) -> Page[TraceScore]:
        return await self._lists.page(project, matching, window)

    async def latest(self, project: ProjectId, trace: TraceId) -> Sequence[TraceScore]:
        async with read_connection(self.pool, RETRY_LATER, self.timeout_s) as connection:
            rows = await connection.fetch(SELECT_LATEST_SCORES, project, trace)
        return [TRACE_SCORES.score(row) for row in reversed(rows)]

    async def of_run(self, project: ProjectId, run: RunId) -> Sequence[TraceScore]:
        return await self._lists.all(project, "run_id", run)

    @property
    def _lists(self) -> ScoreLists[TraceScore]:
        return ScoreLists(self.pool, TRACE_SCORES, self.timeout_s)


@dataclass(frozen=True, slots=True)
class PostgresSessionScores:
    """Each read is of one moment, and takes `timeout_s` at most."""

    pool: Pool
    timeout_s: float = READ_TIMEOUT_S

    async def add(self, score: SessionScore) -> SessionScore:
        return await _add(
            self.pool, SESSION_SCORES, INSERT_SESSION_SCORE, score, "Session not found"
        )

    async def delete(self, project: ProjectId, score: ScoreId) -> bool:
        return await _delete(self.pool, SESSION_SCORES, project, score)

    async def page(
        self, project: ProjectId, matching: ScoreFilter, window: PageRequest
    ) -> Page[SessionScore]:
        return await self._lists.page(project, matching, window)

    async def of_session(self, project: ProjectId, session: str) -> Sequence[SessionScore]:
        return await self._lists.all(project, "session_id", session)

    async def of_run(self, project: ProjectId, run: RunId) -> Sequence[SessionScore]:
        return await self._lists.all(project, "run_id", run)

    @property
    def _lists(self) -> ScoreLists[SessionScore]:
        return ScoreLists(self.pool, SESSION_SCORES, self.timeout_s)


@asynccontextmanager
async def _write_connection(pool: Pool) -> AsyncIterator[Connection]:
    """Acquires a connection for at most WRITE_TIMEOUT_S.

    Translates errors of JSON that cannot be stored.
    """
    async with translate_errors(), asyncio.timeout(WRITE_TIMEOUT_S), pool.acquire() as connection:
        try:
            yield connection
        except (*UNSTORABLE_ERRORS, RecursionError) as error:  # the texts were checked before
            raise Invalid.field("metadata", UNSTORABLE_JSON) from error


async def _add[S: Score](pool: Pool, table: ScoreTable[S], sql: str, score: S, missing: str) -> S:
    check_storable(score)
    async with _write_connection(pool) as connection:
        row = await connection.fetchrow(sql, *table.row(score))
    if row is None:
        raise NotFound(missing)
    return table.score(row)


async def update_scores[S: Score](
    connection: Connection, table: ScoreTable[S], scores: Sequence[S]
) -> None:
    """Updates scores, which must be locked. Raises Invalid if a value cannot be stored."""
    for score in scores:
        check_storable(score)
    try:
        for score in scores:  # `executemany` hangs when it is cancelled
            await connection.execute(UPDATE_SCORE[table.name], *table.row(score))
    except UNSTORABLE_ERRORS as error:
        raise Invalid.field("metadata", UNSTORABLE_JSON) from error


async def _delete[S: Score](
    pool: Pool, table: ScoreTable[S], project: ProjectId, score: ScoreId
) -> bool:
    sql = f"DELETE FROM veiled.{table.name} WHERE {OF_PROJECT} AND id = $2 RETURNING true"
    async with _write_connection(pool) as connection:
        return await connection.fetchval(sql, project, score) is not None


def check_storable(score: Score) -> None:
    """Raises Invalid with each text that PostgreSQL cannot hold."""
    wrong = [
        FieldError(name, UNSTORABLE_TEXT)
        for name in TEXT_FIELDS
        if (text := getattr(score, name, None)) is not None and text != storable_text(text)
    ]
    if wrong:
        raise Invalid.fields(wrong)
