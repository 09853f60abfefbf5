"""Scores in Postgres: the ports."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from adapters.postgres.engine import (
    OF_PROJECT,
    UNSTORABLE,
    WRITE_TIMEOUT_S,
    Connection,
    Pool,
    translated,
)
from adapters.postgres.reading.score_lists import ScoreLists
from adapters.postgres.reading.snapshots import READ_TIMEOUT_S, reading
from adapters.postgres.score_rows import SESSION_SCORES, TRACE_SCORES, ScoreTable
from domain.errors import FieldError, Invalid, NotFound
from domain.evaluation.score import (
    Score,
    ScoreChange,
    ScoreOutcome,
    SessionScore,
    TraceScore,
    storable_text,
)
from domain.evaluation.score_query import ScoreFilter
from domain.ids import ProjectId, RunId, ScoreId, TraceId, UserId
from domain.page import Page, Window

ADVICE: Final = "try again later"  # one target or run can't be narrowed
UNSTORABLE_TEXT: Final = "can't be stored: holds NUL or a lone surrogate"
TEXTS: Final = ("name", "value", "reason", "environment", "session_id")
UNSTORABLE_JSON: Final = "can't be stored: nested too deep"

# Of the newest of each name the index has the last entry: one step a name.
LATEST: Final = f"""
SELECT DISTINCT ON (name) * FROM trace_scores
WHERE {OF_PROJECT} AND trace_id = $2 AND outcome <> '{ScoreOutcome.PENDING}'
ORDER BY name DESC, created_at DESC, id DESC
"""


def add_statement[S: Score](table: ScoreTable[S], of: str) -> str:
    """Stores a row of a target that `of`, a statement, finds and locks; the row under its id.

    Whoever removes the target waits, and then removes the score too. Where the id is taken the
    row that has it is written as it is, which returns it however many ask at once.
    """
    names = list(table.types)
    values = ", ".join(f"${n}::{kind}" for n, kind in enumerate(table.types.values(), start=1))
    return f"""
    WITH target AS MATERIALIZED ({of})
    INSERT INTO {table.name} AS s ({", ".join(names)})
    SELECT {values} FROM target
    ON CONFLICT (project_id, id) DO UPDATE SET id = excluded.id
    RETURNING {", ".join(f"s.{name}" for name in names)}
    """


def _place[S: Score](table: ScoreTable[S], column: str) -> str:
    return f"${[*table.types].index(column) + 1}"


ADD_TO_TRACE: Final = add_statement(
    TRACE_SCORES,
    f"SELECT FROM traces WHERE {OF_PROJECT}"
    f" AND trace_id = {_place(TRACE_SCORES, 'trace_id')}::uuid FOR KEY SHARE",
)
# Any of its traces: of one that is just being removed the next is taken.
ADD_TO_SESSION: Final = add_statement(
    SESSION_SCORES,
    f"SELECT FROM traces WHERE {OF_PROJECT}"
    f" AND session_id = {_place(SESSION_SCORES, 'session_id')}::text LIMIT 1 FOR KEY SHARE",
)


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
        async with translated(), self.pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(
                f"SELECT * FROM trace_scores WHERE {OF_PROJECT} AND id = $2 FOR UPDATE",
                project, score, timeout=WRITE_TIMEOUT_S,
            )  # fmt: skip
            if row is None:
                raise NotFound("Score not found")
            known = TRACE_SCORES.score(row)
            changed = known.patched(change, now, author)
            if changed != known:
                await put_back(connection, TRACE_SCORES, changed)
            return changed

    async def delete(self, project: ProjectId, score: ScoreId) -> bool:
        return await _delete(self.pool, TRACE_SCORES, project, score)

    async def page(
        self, project: ProjectId, matching: ScoreFilter, window: Window
    ) -> Page[TraceScore]:
        return await ScoreLists(self.pool, TRACE_SCORES, self.timeout_s).page(
            project, matching, window
        )

    async def latest(self, project: ProjectId, trace: TraceId) -> Sequence[TraceScore]:
        async with reading(self.pool, ADVICE, self.timeout_s) as connection:
            rows = await connection.fetch(LATEST, project, trace)
        return [TRACE_SCORES.score(row) for row in reversed(rows)]

    async def of_run(self, project: ProjectId, run: RunId) -> Sequence[TraceScore]:
        return await ScoreLists(self.pool, TRACE_SCORES, self.timeout_s).all(project, "run_id", run)


@dataclass(frozen=True, slots=True)
class PostgresSessionScores:
    """As PostgresTraceScores."""

    pool: Pool
    timeout_s: float = READ_TIMEOUT_S

    async def add(self, score: SessionScore) -> SessionScore:
        return await _add(self.pool, SESSION_SCORES, ADD_TO_SESSION, score, "Session not found")

    async def delete(self, project: ProjectId, score: ScoreId) -> bool:
        return await _delete(self.pool, SESSION_SCORES, project, score)

    async def page(
        self, project: ProjectId, matching: ScoreFilter, window: Window
    ) -> Page[SessionScore]:
        return await ScoreLists(self.pool, SESSION_SCORES, self.timeout_s).page(
            project, matching, window
        )

    async def of_session(self, project: ProjectId, session: str) -> Sequence[SessionScore]:
        return await ScoreLists(self.pool, SESSION_SCORES, self.timeout_s).all(
            project, "session_id", session
        )

    async def of_run(self, project: ProjectId, run: RunId) -> Sequence[SessionScore]:
        return await ScoreLists(self.pool, SESSION_SCORES, self.timeout_s).all(
            project, "run_id", run
        )


async def _add[S: Score](pool: Pool, table: ScoreTable[S], sql: str, score: S, missing: str) -> S:
    check_storable(score)
    async with translated():
        try:
            row = await pool.fetchrow(sql, *table.row(score), timeout=WRITE_TIMEOUT_S)
        except UNSTORABLE as error:
            raise Invalid.field("metadata", UNSTORABLE_JSON) from error
    if row is None:
        raise NotFound(missing)
    return table.score(row)


async def put_back[S: Score](connection: Connection, table: ScoreTable[S], score: S) -> None:
    """Writes a score that is locked. Raises Invalid for what can't be stored."""
    check_storable(score)
    sets = ", ".join(
        f"{name} = ${n}::{kind}" for n, (name, kind) in enumerate(table.types.items(), start=1)
    )
    sql = f"UPDATE {table.name} SET {sets} WHERE {OF_PROJECT} AND id = $2"
    try:
        await connection.execute(sql, *table.row(score), timeout=WRITE_TIMEOUT_S)
    except UNSTORABLE as error:
        raise Invalid.field("metadata", UNSTORABLE_JSON) from error


async def _delete[S: Score](
    pool: Pool, table: ScoreTable[S], project: ProjectId, score: ScoreId
) -> bool:
    sql = f"DELETE FROM {table.name} WHERE {OF_PROJECT} AND id = $2"
    async with translated():
        return bool(await pool.execute(sql, project, score, timeout=WRITE_TIMEOUT_S) != "DELETE 0")


def check_storable(score: Score) -> None:
    """Raises Invalid, naming each text that Postgres can't hold."""
    wrong = [
        FieldError(name, UNSTORABLE_TEXT)
        for name in TEXTS
        if (text := getattr(score, name, None)) is not None and text != storable_text(text)
    ]
    if wrong:
        raise Invalid.fields(wrong)
