"""Scores in Postgres: the ports."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from adapters.postgres.database.pool import (
    OF_PROJECT,
    UNSTORABLE,
    WRITE_TIMEOUT_S,
    Connection,
    Pool,
    translated,
)
from adapters.postgres.database.read_transactions import READ_TIMEOUT_S, reading
from adapters.postgres.evaluation.scores.score_lists import ScoreLists
from adapters.postgres.evaluation.scores.score_rows import SESSION_SCORES, TRACE_SCORES, ScoreTable
from domain.errors import FieldError, Invalid, NotFound
from domain.evaluation.scores.query import ScoreFilter
from domain.evaluation.scores.score import (
    Score,
    ScoreChange,
    ScoreOutcome,
    SessionScore,
    TraceScore,
    storable_text,
)
from domain.ids import ProjectId, RunId, ScoreId, TraceId, UserId
from domain.page import Page, PageRequest

ADVICE: Final = "try again later"  # one trace can't be narrowed
TEXTS: Final = ("name", "value", "reason", "environment", "session_id")
UNSTORABLE_TEXT: Final = "can't be stored: holds NUL or a lone surrogate"
UNSTORABLE_JSON: Final = "can't be stored: nested too deep"

# Its scores lie together, in the order of their names; of one name the newest last.
LATEST: Final = f"""
SELECT DISTINCT ON (name) {TRACE_SCORES.select()} FROM veiled.trace_scores
WHERE {OF_PROJECT} AND trace_id = $2 AND outcome <> '{ScoreOutcome.PENDING}'
ORDER BY name DESC, created_at DESC, id DESC
"""
LOCK: Final = f"""
SELECT {TRACE_SCORES.select()} FROM veiled.trace_scores
WHERE {OF_PROJECT} AND id = $2 FOR UPDATE
"""


def _add_statement[S: Score](table: ScoreTable[S], target: str) -> str:
    """Stores a row where there is a trace with its `target`; gives the row under its id, if any.

    Whoever removes the trace waits for this one, and then removes the score too. Where the id is
    taken the row that has it is written as it is: so it is given whoever else writes it.
    """
    place = table.names.index(table.target) + 1
    where = f"{OF_PROJECT} AND {target} = ${place}"
    # One that loses a trace is hidden as a whole, and its scores go.
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


ADD_TO_TRACE: Final = _add_statement(TRACE_SCORES, "trace_id")
# Any trace of it will do: in place of one that is just being removed the next is taken.
ADD_TO_SESSION: Final = _add_statement(SESSION_SCORES, "session_id")
UPDATE_SCORE: Final = {
    TRACE_SCORES.name: _update_statement(TRACE_SCORES),
    SESSION_SCORES.name: _update_statement(SESSION_SCORES),
}


@dataclass(frozen=True, slots=True)
class PostgresTraceScores:
    """Each read is of one moment, and takes `timeout_s` at most."""

    pool: Pool
    timeout_s: float = READ_TIMEOUT_S

    async def add(self, score: TraceScore) -> TraceScore:
        return await _add(self.pool, TRACE_SCORES, ADD_TO_TRACE, score, "Trace not found")

    async def change(
        self,
        project: ProjectId,
        score: ScoreId,
        change: ScoreChange,
        now: datetime,
        author: UserId | None,
    ) -> TraceScore:
        async with _writing(self.pool) as connection, connection.transaction():
            row = await connection.fetchrow(LOCK, project, score)
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
        async with reading(self.pool, ADVICE, self.timeout_s) as connection:
            rows = await connection.fetch(LATEST, project, trace)
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
        return await _add(self.pool, SESSION_SCORES, ADD_TO_SESSION, score, "Session not found")

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
async def _writing(pool: Pool) -> AsyncIterator[Connection]:
    """A connection for WRITE_TIMEOUT_S at most; tells which value can't be stored."""
    async with translated(), asyncio.timeout(WRITE_TIMEOUT_S), pool.acquire() as connection:
        try:
            yield connection
        except (*UNSTORABLE, RecursionError) as error:  # of texts all have been looked at
            raise Invalid.field("metadata", UNSTORABLE_JSON) from error


async def _add[S: Score](pool: Pool, table: ScoreTable[S], sql: str, score: S, missing: str) -> S:
    check_storable(score)
    async with _writing(pool) as connection:
        row = await connection.fetchrow(sql, *table.row(score))
    if row is None:
        raise NotFound(missing)
    return table.score(row)


async def update_scores[S: Score](
    connection: Connection, table: ScoreTable[S], scores: Sequence[S]
) -> None:
    """Writes scores that are locked. Raises Invalid for what can't be stored."""
    for score in scores:
        check_storable(score)
    try:
        for score in scores:  # `executemany` hangs where it is cancelled
            await connection.execute(UPDATE_SCORE[table.name], *table.row(score))
    except UNSTORABLE as error:
        raise Invalid.field("metadata", UNSTORABLE_JSON) from error


async def _delete[S: Score](
    pool: Pool, table: ScoreTable[S], project: ProjectId, score: ScoreId
) -> bool:
    sql = f"DELETE FROM veiled.{table.name} WHERE {OF_PROJECT} AND id = $2 RETURNING true"
    async with _writing(pool) as connection:
        return await connection.fetchval(sql, project, score) is not None


def check_storable(score: Score) -> None:
    """Raises Invalid, naming each text that Postgres can't hold."""
    wrong = [
        FieldError(name, UNSTORABLE_TEXT)
        for name in TEXTS
        if (text := getattr(score, name, None)) is not None and text != storable_text(text)
    ]
    if wrong:
        raise Invalid.fields(wrong)
