"""Scores of traces, spans and sessions: writes, and lists, newest first."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import batched
from typing import Any, Final

from asyncpg import Record

from adapters.postgres.database.pool import (
    IN_PROJECT,
    UNSTORABLE_ERRORS,
    Connection,
    Pool,
    require_row,
)
from adapters.postgres.database.read_transactions import RETRY_LATER, PoolReader
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.database.statements.keyset_pages import (
    NEAR_OFFSET_MAX,
    KeysetPage,
    KeysetQuery,
    PageConditions,
)
from adapters.postgres.database.statements.sql_builder import Parameters, Sql
from adapters.postgres.database.tenants import Scope
from adapters.postgres.database.transactions import transaction
from adapters.postgres.evaluation.scores.score_rows import (
    BRIEF_COLUMNS,
    RUN_COLUMNS,
    SCORE_BYTES,
    SCORE_TABLES,
    SESSION_SCORES,
    TRACE_SCORES,
    ScoreTable,
    brief_from_row,
)
from adapters.postgres.identity.identity_rows import INSERT_AUDIT_ENTRY, audit_row
from domain.errors import FieldError, Invalid, NotFound
from domain.evaluation.scores.edits import ScoreEdit
from domain.evaluation.scores.score import (
    BRIEF_SCORES_MAX,
    COUNTED_SCORES_MAX,
    Score,
    ScoreBrief,
    ScoreChange,
    ScoreFilter,
    ScoreOutcome,
    ScoreSource,
    SessionScore,
    TraceScore,
    list_position,
    storable_text,
)
from domain.ids import ProjectId, RunId, ScoreId, SpanId, TraceId, UserId
from domain.page import Page, PageRequest
from domain.tracing.payloads.read_limit import READ_BYTES_MAX, scores_too_large

TEXT_FIELDS: Final = ("name", "value", "reason", "environment", "session_id")
UNSTORABLE_TEXT: Final = "can't be stored: holds NUL or a lone surrogate"
UNSTORABLE_JSON: Final = "can't be stored: nested too deep"

ADDED_AT_A_TIME: Final = 500  # scores of one transaction; a request bounds their bytes
UPDATED_AT_A_TIME: Final = 64  # scores of one statement: a metadata has many kilobytes at most
NARROW_LIST: Final = "narrow the list with date_from and date_to, or with another filter"
IS_OF_SPAN: Final = "is_of_span"
SAMPLED_SCORES_MAX: Final = 10_000  # scores that show which share of them match
EQUALITY_COLUMNS: Final = (
    *("trace_id", "span_id", "session_id", "environment", "name"),
    *("source", "outcome", "data_type", "code", "run_id"),
)
ASK_FOR_A_PAGE: Final = "ask for a page of the list instead"
# Each of these has an index that continues with the order of the list, so that matches are one
# range of it. The first one in the filter is used, since it selects the fewest rows.
INDEX_PREFIX_COLUMNS: Final = ("run_id", "name")
# Few rows match: they are sorted.
SELECTIVE_COLUMNS: Final = ("trace_id", "span_id", "session_id")


def _within_size(select: str, order: str, bytes_max: str) -> str:
    """One row without a score if those selected have more than `bytes_max`, or if there are none.

    Each row has their size, so that it takes no statement of its own.
    """
    return f"""
    WITH found AS MATERIALIZED ({select}),
    whole AS (SELECT coalesce(sum({SCORE_BYTES}), 0)::bigint AS bytes FROM found)
    SELECT whole.bytes, found.* FROM whole LEFT JOIN found ON whole.bytes <= {bytes_max}
    ORDER BY {order}
    """


def _select_latest(target: str, bytes_max: str) -> str:
    # An index keeps the scores of a trace together, ordered by name. The reverse of the result.
    by = f"name DESC, source = '{ScoreSource.AUTOMATED}'"
    select = f"""
    SELECT DISTINCT ON (name, source = '{ScoreSource.AUTOMATED}') {TRACE_SCORES.select()}
    FROM visible_trace_scores
    WHERE {IN_PROJECT} AND {target} AND outcome <> '{ScoreOutcome.PENDING}'
    ORDER BY {by}, created_at DESC, id DESC
    """
    return _within_size(select, by, bytes_max)


SELECT_LATEST_SCORES: Final = _select_latest("trace_id = $2 AND NOT is_of_span", "$3")
SELECT_LATEST_SPAN_SCORES: Final = _select_latest("trace_id = $2 AND span_id = $3", "$4")


def _select_latest_of(table: ScoreTable[Any], target_type: str, target_condition: str) -> str:
    """The newest scores of many targets of a type.

    Only the columns of ScoreBrief: reasons and metadata may be large.
    """
    return f"""
    SELECT wanted.target, {", ".join(f"latest.{name}" for name in BRIEF_COLUMNS)}
    FROM unnest($2::{target_type}[]) AS wanted (target) CROSS JOIN LATERAL (
      SELECT DISTINCT ON (name, source = '{ScoreSource.AUTOMATED}') {", ".join(BRIEF_COLUMNS)}
      FROM visible_{table.name} AS scores
      WHERE {IN_PROJECT} AND {target_condition} AND outcome <> '{ScoreOutcome.PENDING}'
      ORDER BY name, source = '{ScoreSource.AUTOMATED}' DESC, created_at DESC, id DESC
      LIMIT {BRIEF_SCORES_MAX}
    ) AS latest
    """


SELECT_LATEST_OF_TRACES: Final = _select_latest_of(
    TRACE_SCORES, "uuid", "scores.trace_id = wanted.target AND NOT is_of_span"
)
SELECT_LATEST_OF_SESSIONS: Final = _select_latest_of(
    SESSION_SCORES, "text", "scores.session_id = wanted.target"
)
SELECT_SCORE: Final = {
    one.name: f"SELECT {one.select()} FROM visible_{one.name} WHERE {IN_PROJECT} AND id = $2"
    for one in SCORE_TABLES.values()
}
LOCK_SCORE: Final = {table: f"{sql} FOR UPDATE" for table, sql in SELECT_SCORE.items()}
DELETE_SCORE: Final = {
    one.name: f"DELETE FROM {one.name} WHERE {IN_PROJECT} AND id = $2"
    for one in SCORE_TABLES.values()
}
HAS_SCORES_OF_OTHERS: Final = {
    one.name: f"""
    SELECT EXISTS (
      SELECT 1 FROM {one.name}
      WHERE {IN_PROJECT} AND run_id = $2 AND author_id IS NOT NULL
        AND author_id IS DISTINCT FROM $3::uuid
    )
    """
    for one in SCORE_TABLES.values()
}
# The score locks the trace, so that no other transaction deletes the span meanwhile.
IS_SPAN_STORED: Final = f"""
SELECT EXISTS (SELECT 1 FROM spans WHERE {IN_PROJECT} AND trace_id = $2 AND span_id = $3)
"""
SCORE_NOT_FOUND: Final = "Score not found"


def _lock_target_statement(table: ScoreTable[Any], target: int) -> str:
    """Locks a trace with the target, by the parameters 1 and `target`, so that it isn't deleted."""
    where = f"{IN_PROJECT} AND {table.target} = ${target}"
    # A session that loses a trace to an erasure is hidden, and its scores are deleted.
    is_shown = f"AND EXISTS (SELECT 1 FROM visible_sessions WHERE {where})"
    return f"""
    SELECT 1 FROM visible_traces WHERE {where} {is_shown if table is SESSION_SCORES else ""}
    LIMIT 1 FOR KEY SHARE
    """


def _insert_statement(table: ScoreTable[Any]) -> str:
    """Inserts a score if a trace with its target exists; returns the row with that id, if any.

    A concurrent delete of the trace waits, and then deletes the score too. If the id exists, the
    stored row is updated to itself, so that it is returned whichever transaction wrote it.
    """
    lock_target = _lock_target_statement(table, table.names.index(table.target) + 1)
    return f"""
    WITH target AS MATERIALIZED ({lock_target})
    INSERT INTO {table.name} ({table.select()}) SELECT {table.typed_parameters()} FROM target
    ON CONFLICT (project_id, id) DO UPDATE SET id = excluded.id
    RETURNING {table.select(table.name)}
    """


# Any trace of the session will do: if one is being deleted, the next one is locked.
INSERT_SCORE: Final = {one.name: _insert_statement(one) for one in SCORE_TABLES.values()}
LOCK_TARGET: Final = {one.name: _lock_target_statement(one, 2) for one in SCORE_TABLES.values()}
SELECT_TARGETS: Final = {
    one.name: f"""
    SELECT id, {one.target} AS target FROM {one.name} WHERE {IN_PROJECT} AND id = ANY($2::uuid[])
    """
    for one in SCORE_TABLES.values()
}
INSERT_NEW_SCORES: Final = {
    one.name: f"{one.insert_from('sent')} ON CONFLICT (project_id, id) DO NOTHING RETURNING id"
    for one in SCORE_TABLES.values()
}


def _update_statement(table: ScoreTable[Any]) -> str:
    """Overwrites locked scores of a project; each other parameter is an array of a column.

    Looks up each score by its key: for a list of ids the planner may choose another index. Keeps
    what a run has set once the run is deleted.
    """
    sent = table.names[1:]
    new = {name: f"sent.{name}" for name in sent if name != "id"}
    new |= {
        name: f"coalesce({new[name]}, {table.name}.{name})" for name in RUN_COLUMNS & new.keys()
    }
    return f"""
    UPDATE {table.name} SET {", ".join(f"{name} = {value}" for name, value in new.items())}
    FROM {table.unnest("sent", *sent, first=2)} CROSS JOIN LATERAL (
      SELECT ctid AS place FROM {table.name} WHERE {IN_PROJECT} AND id = sent.id LIMIT 1
    ) AS found
    WHERE {table.name}.ctid = found.place
    """


UPDATE_SCORES: Final = {one.name: _update_statement(one) for one in SCORE_TABLES.values()}


@dataclass(frozen=True, slots=True)
class _Scores[S: Score](PoolReader):
    """The scores of one target type. Each list is read from one snapshot."""

    table: ScoreTable[S] = field(kw_only=True)
    counted_max: int = field(default=COUNTED_SCORES_MAX, kw_only=True)
    sampled_max: int = field(default=SAMPLED_SCORES_MAX, kw_only=True)
    bytes_max: int = field(default=READ_BYTES_MAX, kw_only=True)

    async def change(
        self,
        project: ProjectId,
        score: ScoreId,
        change: ScoreChange,
        now: datetime,
        author: UserId | None,
        *,
        edit: ScoreEdit | None = None,
    ) -> S:
        sql = LOCK_SCORE[self.table.name]
        async with _write_connection(self.pool, _scope(project, edit)) as connection:
            row = await connection.fetchrow(sql, project, score)
            known = self.table.score(require_row(row, SCORE_NOT_FOUND))
            changed = known.patched(
                change, now, author, None if edit is None else edit.actor.key_id
            )
            if changed != known:
                if edit is not None:
                    await _record(connection, edit, known, changed)
                await update_scores(connection, self.table, [changed])
            return changed

    async def get(self, project: ProjectId, score: ScoreId) -> S:
        sql = SELECT_SCORE[self.table.name]
        row = await self._fetch_row(RETRY_LATER, project, sql, project, score)
        return self.table.score(require_row(row, SCORE_NOT_FOUND))

    async def run_has_scores_of_others(
        self, project: ProjectId, run: RunId, user: UserId | None
    ) -> bool:
        sql = HAS_SCORES_OF_OTHERS[self.table.name]
        [[found]] = await self._fetch(RETRY_LATER, project, sql, project, run, user)
        return bool(found)

    async def delete(
        self, project: ProjectId, score: ScoreId, edit: ScoreEdit | None = None
    ) -> bool:
        sql = LOCK_SCORE[self.table.name]
        async with _write_connection(self.pool, _scope(project, edit)) as connection:
            row = await connection.fetchrow(sql, project, score)
            if row is None:
                return False
            if edit is not None:
                await _record(connection, edit, self.table.score(row), None)
            await connection.execute(DELETE_SCORE[self.table.name], project, score)
            return True

    async def page(self, project: ProjectId, matching: ScoreFilter, window: PageRequest) -> Page[S]:
        query = KeysetQuery.newest_first(project, self.table, window)
        where = filter_conditions(self.table, matching)
        page = None
        if where.keys() <= {IS_OF_SPAN} and window.offset <= NEAR_OFFSET_MAX:
            among = " AND ".join([IN_PROJECT, *(sql.text for sql in where.values())])
            some = (
                f"SELECT 1 FROM {self.table.name} WHERE {among} {self._up_to(self.counted_max + 1)}"
            )
            count_all = Sql(f"(SELECT count(*) FROM ({some}) AS counted)")
            async with self._statement(NARROW_LIST, project) as connection:
                page = await query.fetch_unfiltered(connection, count_all, [*where.values()])
            page = page and page.counted_up_to(self.counted_max)
        if page is None:
            async with self._visible_snapshot(NARROW_LIST, project) as connection:
                page = await self._fetch_narrowed(connection, query, where)
        return page.to_page(window.limit, self.table.score, list_position)

    async def by_run(self, project: ProjectId, run: RunId) -> Sequence[S]:
        return await self._all(project, "run_id", run)

    async def _add_new(
        self, project: ProjectId, target: object, scores: Sequence[S]
    ) -> dict[ScoreId, Any]:
        """The targets of those that exist. Locks in the order of ids, as every such call does."""
        by_id = {one.id: one for one in reversed(scores)}
        known: dict[ScoreId, Any] = {}
        for some in batched(sorted(by_id), ADDED_AT_A_TIME):
            async with _write_connection(self.pool, project) as connection:
                known |= await self._targets(connection, project, some)
                sent = [by_id[one] for one in some if one not in known]
                if sent:
                    known |= await self._insert_new(connection, project, target, sent)
        return known

    async def _insert_new(
        self, connection: Connection, project: ProjectId, target: object, sent: Sequence[S]
    ) -> dict[ScoreId, Any]:
        """The targets of those that another transaction has stored meanwhile."""
        for score in sent:
            check_storable(score)
        shown = await connection.fetchrow(LOCK_TARGET[self.table.name], project, target)
        require_row(shown, self.table.target_missing)
        rows = await connection.fetch(
            INSERT_NEW_SCORES[self.table.name], *arrays(map(self.table.row, sent))
        )
        lost = {one.id for one in sent} - {row["id"] for row in rows}
        return await self._targets(connection, project, [*lost]) if lost else {}

    async def _targets(
        self, connection: Connection, project: ProjectId, scores: Sequence[ScoreId]
    ) -> dict[ScoreId, Any]:
        rows = await connection.fetch(SELECT_TARGETS[self.table.name], project, scores)
        return {ScoreId(row["id"]): row["target"] for row in rows}

    async def _latest_of[T](
        self, project: ProjectId, sql: str, targets: Sequence[T]
    ) -> dict[T, list[ScoreBrief]]:
        found: dict[T, list[ScoreBrief]] = {}
        for row in await self._fetch(RETRY_LATER, project, sql, project, targets):
            found.setdefault(row["target"], []).append(brief_from_row(row))
        return found

    async def _all(self, project: ProjectId, column: str, value: object) -> Sequence[S]:
        """All scores with a value in a column, newest first."""
        select = f"""
        SELECT {self.table.select()} FROM {self.table.name} WHERE {IN_PROJECT} AND {column} = $2
        """
        sql = _within_size(select, "created_at DESC, id DESC", "$3")
        values = (project, value, self.bytes_max)
        return self._scores(await self._fetch_visible(ASK_FOR_A_PAGE, project, sql, *values))

    def _scores(self, rows: Sequence[Record]) -> list[S]:
        """The scores in the rows of `_within_size`. Raises TooLargeToRead."""
        if rows[0]["bytes"] > self.bytes_max:
            raise scores_too_large()
        return [self.table.score(row) for row in rows if row["id"] is not None]

    async def _fetch_narrowed(
        self, connection: Connection, query: KeysetQuery, where: dict[str, Sql]
    ) -> KeysetPage:
        if any(column in where for column in SELECTIVE_COLUMNS):
            few = PageConditions(rest=list(where.values()), among=0, total=None)
            return await query.fetch_page(connection, few)
        prefix = next((one for one in INDEX_PREFIX_COLUMNS if one in where), "created_at")
        entered = {"created_at", prefix, IS_OF_SPAN}
        served = [sql for column, sql in where.items() if column in entered]
        rest = [sql for column, sql in where.items() if column not in entered]
        among, total = await self._count(connection, query.project, served, rest)
        is_partly = total > self.counted_max
        conditions = PageConditions(
            served=served,
            rest=rest,
            among=among,
            total=self.counted_max if is_partly else total,
            total_is_at_least=is_partly,
        )
        return await query.fetch_page(connection, conditions)

    async def _count(
        self, connection: Connection, project: ProjectId, served: Sequence[Sql], rest: Sequence[Sql]
    ) -> tuple[int, int]:
        """The scores that satisfy `served`, and those that satisfy `rest` too.

        The second is at most one more than `counted_max`. The first is as large as the second
        without `rest`, exact if few scores satisfy it, and otherwise an estimate.
        """
        p = Parameters([project])
        among = " AND ".join([IN_PROJECT, *p.all_of(served)])
        matches = " AND ".join(p.all_of(rest)) or "true"
        table_scores = f"SELECT * FROM {self.table.name} WHERE {among}"
        read, found = self.sampled_max, self.sampled_max
        if rest:
            sample = f"({table_scores} {self._up_to(self.sampled_max)}) AS sample"
            sql = f"SELECT count(*), count(*) FILTER (WHERE {matches}) FROM {sample}"
            [[read, found]] = await connection.fetch(sql, *p.values)
            if read < self.sampled_max:
                return read, found
        some = f"({table_scores} AND {matches} {self._up_to(self.counted_max + 1)}) AS counted"
        total: int = await connection.fetchval(f"SELECT count(*) FROM {some}", *p.values)
        return max(total, total * read // max(found, 1)), total

    @staticmethod
    def _up_to(rows: int) -> str:
        # The order makes the planner take an index of the list, which has all that is asked for.
        return f"ORDER BY created_at DESC, id DESC LIMIT {rows:d}"


@dataclass(frozen=True, slots=True)
class PostgresTraceScores(_Scores[TraceScore]):
    table: ScoreTable[TraceScore] = field(default=TRACE_SCORES, kw_only=True)

    async def add(self, score: TraceScore, *, checks_span: bool = True) -> TraceScore:
        place = (score.project_id, score.trace_id, score.span_id)
        async with _write_connection(self.pool, score.project_id) as connection:
            stored = await _insert_score(connection, self.table, score)
            if (
                checks_span
                and score.is_of_span
                and not await connection.fetchval(IS_SPAN_STORED, *place)
            ):
                raise NotFound("Span not found")
        return stored

    async def add_new(
        self, project: ProjectId, trace: TraceId, scores: Sequence[TraceScore]
    ) -> Mapping[ScoreId, TraceId]:
        return await self._add_new(project, trace, scores)

    async def latest(
        self, project: ProjectId, trace: TraceId, span: SpanId | None = None
    ) -> Sequence[TraceScore]:
        if span is None:
            values: tuple[object, ...] = (project, trace, self.bytes_max)
            rows = await self._fetch(RETRY_LATER, project, SELECT_LATEST_SCORES, *values)
        else:
            values = (project, trace, span, self.bytes_max)
            rows = await self._fetch(RETRY_LATER, project, SELECT_LATEST_SPAN_SCORES, *values)
        return self._scores(rows)[::-1]

    async def latest_of_traces(
        self, project: ProjectId, traces: Sequence[TraceId]
    ) -> Mapping[TraceId, Sequence[ScoreBrief]]:
        return await self._latest_of(project, SELECT_LATEST_OF_TRACES, traces)


@dataclass(frozen=True, slots=True)
class PostgresSessionScores(_Scores[SessionScore]):
    table: ScoreTable[SessionScore] = field(default=SESSION_SCORES, kw_only=True)

    async def add(self, score: SessionScore) -> SessionScore:
        async with _write_connection(self.pool, score.project_id) as connection:
            return await _insert_score(connection, self.table, score)

    async def add_new(
        self, project: ProjectId, session: str, scores: Sequence[SessionScore]
    ) -> Mapping[ScoreId, str]:
        return await self._add_new(project, session, scores)

    async def by_session(self, project: ProjectId, session: str) -> Sequence[SessionScore]:
        return await self._all(project, "session_id", session)

    async def latest_of_sessions(
        self, project: ProjectId, sessions: Sequence[str]
    ) -> Mapping[str, Sequence[ScoreBrief]]:
        return await self._latest_of(project, SELECT_LATEST_OF_SESSIONS, sessions)


def filter_conditions[S: Score](table: ScoreTable[S], matching: ScoreFilter) -> dict[str, Sql]:
    """The conditions of `ScoreFilter.matches`, all of which have to hold, by column."""
    conditions = {
        column: Sql(f"{column} = {{}}", (value,))
        for column in EQUALITY_COLUMNS
        if (value := getattr(matching, column)) is not None
    }
    if (status := matching.status) is not None:
        outcomes = [one for one in ScoreOutcome if one.status is status]
        conditions["status"] = Sql("outcome = ANY({}::text[])", (outcomes,))
    bounds = [(">=", matching.created_after), ("<", matching.created_before)]
    if within := [(sign, bound) for sign, bound in bounds if bound is not None]:
        sql = " AND ".join(f"created_at {sign} {{}}" for sign, _ in within)
        conditions["created_at"] = Sql(sql, tuple(bound for _, bound in within))
    values = [(">=", matching.min_value), ("<", matching.below_value)]
    if limits := [(sign, value) for sign, value in values if value is not None]:
        sql = " AND ".join(f"number {sign} {{}}::float8" for sign, _ in limits)
        conditions["number"] = Sql(sql, tuple(value for _, value in limits))
    own = {"trace_id", "span_id", "environment", "session_id"}
    for column in own & conditions.keys() - set(table.names):
        conditions[column] = Sql("false")  # no score of this target type has it
    return conditions | _span_condition(table, matching)


def _span_condition(table: ScoreTable[Any], matching: ScoreFilter) -> dict[str, Sql]:
    """Separates scores of traces from those of spans, unless another condition does that."""
    if "span_id" not in table.names:
        return {IS_OF_SPAN: Sql("false")} if matching.of_spans else {}
    if matching.of_spans:
        return {IS_OF_SPAN: Sql("is_of_span")}
    if matching.span_id is not None or matching.run_id is not None:  # runs score no spans
        return {}
    return {IS_OF_SPAN: Sql("NOT is_of_span")}


def _scope(project: ProjectId, edit: ScoreEdit | None) -> Scope:
    """The project, and with an edit the organization: its audit log gets an entry."""
    return project if edit is None else (project, edit.organization_id)


async def _record(
    connection: Connection, edit: ScoreEdit, before: Score, after: Score | None
) -> None:
    """Stores the audit entry of an edit. Raises Forbidden."""
    edit.check(before)
    await connection.execute(INSERT_AUDIT_ENTRY, *audit_row(edit.audit_entry(before, after)))


@asynccontextmanager
async def _write_connection(pool: Pool, scope: Scope) -> AsyncIterator[Connection]:
    """Opens a transaction of at most WRITE_TIMEOUT_S.

    Translates errors of JSON that cannot be stored.
    """
    async with transaction(pool, scope) as connection:
        try:
            yield connection
        except (*UNSTORABLE_ERRORS, RecursionError) as error:  # the texts were checked before
            raise Invalid.field("metadata", UNSTORABLE_JSON) from error


async def _insert_score[S: Score](connection: Connection, table: ScoreTable[S], score: S) -> S:
    """The stored score. Raises NotFound if its target isn't stored, Invalid."""
    check_storable(score)
    row = await connection.fetchrow(INSERT_SCORE[table.name], *table.row(score))
    return table.score(require_row(row, table.target_missing))


async def update_scores[S: Score](
    connection: Connection, table: ScoreTable[S], scores: Sequence[S]
) -> None:
    """Updates locked scores of a project. Raises Invalid if a value cannot be stored."""
    # The newest score of a target and name has one row (`latest_trace_scores`), which others may
    # write too: all lock these rows in the same order, as the triggers do for each statement.
    scores = sorted(scores, key=lambda one: (getattr(one, table.target), one.name, one.id))
    for score in scores:
        check_storable(score)
    try:
        for some in batched(scores, UPDATED_AT_A_TIME):
            _, *columns = arrays(map(table.row, some))
            await connection.execute(UPDATE_SCORES[table.name], some[0].project_id, *columns)
    except UNSTORABLE_ERRORS as error:
        raise Invalid.field("metadata", UNSTORABLE_JSON) from error


def check_storable(score: Score) -> None:
    """Raises Invalid with each text that PostgreSQL cannot hold."""
    wrong = [
        FieldError(name, UNSTORABLE_TEXT)
        for name in TEXT_FIELDS
        if (text := getattr(score, name, None)) is not None and text != storable_text(text)
    ]
    if wrong:
        raise Invalid.fields(wrong)
