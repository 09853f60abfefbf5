"""Moves an organization from one group of tables to another, while the service runs.

From the first step on the organization takes no writes. Its rows are copied table by table, each in
a transaction of its own, so that a move that was stopped goes on with the next table. Reads find
the rows of the old group until the last step, which changes the group (docs/adr/0064).

Three things keep the rows as they are meanwhile. Processes read that the organization moves, and
refuse requests that write. Its projects are in `removals` of both groups, which keeps workers from
them. And for what a process began before, a trigger on each table refuses writes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import asyncpg

from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_organization
from adapters.postgres.database.pool import (
    Connection,
    Pool,
    affected_rows,
    require_row,
    translate_errors,
)
from adapters.postgres.database.table_groups import TableGroup, fetch_groups
from adapters.postgres.schema.lock_waits import SET_LOCK_WAIT, retry_for_locks
from adapters.postgres.schema.pending import pending_migrations
from application.table_groups import PLACEMENT_KNOWN_S
from domain.errors import Conflict, Unavailable
from domain.ids import OrganizationId, ProjectId

# For all processes to have read the state of the move, and to have answered what they had begun.
NOTICE_S: Final = PLACEMENT_KNOWN_S + 1
# After the move: workers end what they had begun, and are refused what they write to the old rows.
REFUSAL_S: Final = 120.0
# After which workers delete the rows of the old group. Reads that began before the end find them.
KEPT_FOR: Final = timedelta(minutes=10)

LOCK_ORGANIZATION: Final = """
SELECT table_group, moving_to, moved_tables FROM organizations WHERE id = $1 FOR NO KEY UPDATE
"""
SELECT_PROJECTS: Final = "SELECT id FROM projects WHERE organization_id = $1 ORDER BY id"
BEGIN_MOVE: Final = "UPDATE organizations SET moving_to = $2, moved_tables = '{}' WHERE id = $1"
NOTE_TABLE: Final = """
UPDATE organizations SET moved_tables = moved_tables || ARRAY[$2::text] WHERE id = $1
"""
REFUSE_READS: Final = "UPDATE organizations SET is_move_ending = true WHERE id = $1"
_NO_MOVE: Final = "moving_to = NULL, moved_tables = '{}', is_move_ending = false"
END_MOVE: Final = f"UPDATE organizations SET table_group = moving_to, {_NO_MOVE} WHERE id = $1"
CANCEL_MOVE: Final = f"UPDATE organizations SET {_NO_MOVE} WHERE id = $1"
_OF_PROJECTS: Final = "project_id = ANY($1::uuid[])"
HAS_REMOVAL: Final = f"SELECT EXISTS (SELECT 1 FROM {{}} WHERE {_OF_PROJECTS})"
# 'infinity': workers delete no rows of it.
INSERT_MOVING: Final = """
INSERT INTO {} (project_id, removed_at, due_at, is_moving)
SELECT id, now(), 'infinity', true FROM unnest($1::uuid[]) AS id ON CONFLICT DO NOTHING
"""
MAKE_DUE: Final = f"""
UPDATE {{}} SET removed_at = $2, due_at = $2 WHERE {_OF_PROJECTS} AND is_moving
"""
DELETE_MOVING: Final = f"DELETE FROM {{}} WHERE {_OF_PROJECTS} AND is_moving"
SELECT_NOW: Final = "SELECT now()"

# The tables of projects in a schema, the columns that take values, and the one that is numbered.
SELECT_TABLES: Final = """
SELECT c.relname::text AS name,
       array_agg(quote_ident(a.attname) ORDER BY a.attnum) FILTER (WHERE a.attgenerated = '')
         AS columns,
       max(a.attname::text) FILTER (WHERE a.attidentity <> '') AS numbered
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
  AND NOT a.attisdropped
WHERE c.relnamespace = $1::text::regnamespace AND c.relkind = 'r' AND c.relname <> 'removals'
GROUP BY c.oid, c.relname HAVING bool_or(a.attname = 'project_id')
ORDER BY c.relname
"""
SELECT_SCHEMA: Final = "SELECT current_schema()"
# Each server counts transactions by itself. None that wrote rows of a moving project is open.
COPIED_AS: Final = {("changed_score_days", "xid"): "'3'::xid8"}
COPY_ROWS: Final = f"""
INSERT INTO {{target}} ({{columns}}) SELECT {{values}} FROM {{source}} WHERE {_OF_PROJECTS}
ON CONFLICT DO NOTHING
"""
COUNT_ROWS: Final = f"SELECT count(*) FROM {{}} WHERE {_OF_PROJECTS}"
SELECT_SEQUENCE: Final = "SELECT pg_get_serial_sequence($1, $2)"
SELECT_LAST_ID: Final = "SELECT last_value FROM {}"
SELECT_GREATEST_ID: Final = f"SELECT max({{}}) FROM {{}} WHERE {_OF_PROJECTS}"
# Not by `setval`: others of the group take ids meanwhile, and none may be given out twice.
SKIP_IDS: Final = "SELECT count(nextval($1::text::regclass)) FROM generate_series(1, $2::bigint)"

# As `distribute` makes it for processes that connect to workers. Such ids grow by themselves.
IS_NUMBERED_BY_TIME: Final = """
SELECT EXISTS (
  SELECT 1 FROM pg_trigger
  WHERE tgrelid = $1::text::regclass AND tgname LIKE 'number\\_%\\_by\\_time'
)
"""
# Copied rows keep their ids, which other tables name.
KEEP_IDS: Final = "SET LOCAL pandaprobe.keeps_ids = 'on'"

# After so many copied rows of a table, the planner gets new statistics. Without them lists of a
# million traces ended after 10 s until autovacuum came.
ANALYZED_MIN: Final = 10_000

SCORES: Final = ("trace_scores", "session_scores")
EVENTS: Final = {"insert": ("INSERT", "NEW"), "change": ("UPDATE OR DELETE", "OLD")}
CREATE_TRIGGER: Final = """
CREATE OR REPLACE TRIGGER {trigger} AFTER {event} ON {table} FOR EACH ROW
WHEN ({row}.project_id = ANY ('{{{projects}}}'::uuid[]))
EXECUTE FUNCTION {schema}.refuse_while_moving()
"""
SELECT_TRIGGERS: Final = """
SELECT quote_ident(t.tgname) AS trigger, c.oid::regclass::text AS table
FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
WHERE t.tgname = ANY($1::text[])
  AND ($2::text IS NULL OR c.relnamespace = $2::text::regnamespace)
"""
DROP_TRIGGER: Final = "DROP TRIGGER IF EXISTS {} ON {}"

type OnStep = Callable[[str, int, int], object]
"""Is called before each step with its label, the tables that were copied, and all."""


class NotMovable(Conflict):
    """The organization can't be moved as it is. The message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long a move waits for processes to take notice, and for what they had begun; in s."""

    notice_s: float = NOTICE_S
    refusal_s: float = REFUSAL_S


@dataclass(frozen=True, slots=True)
class Table:
    """A table of projects, as statements name it in the old group and in the new one."""

    name: str
    source: str
    target: str
    columns: Sequence[str]
    numbered: str | None


@dataclass(frozen=True, slots=True)
class _Move:
    """A move that has begun. `source` and `target` are schemas."""

    organization: OrganizationId
    projects: Sequence[ProjectId]
    source: str
    target: str
    tables: Sequence[Table]


async def move(
    pool: Pool,
    organization: OrganizationId,
    group: int,
    *,
    waits: Waits = Waits(),
    analyzed_min: int = ANALYZED_MIN,
    on_step: OnStep = lambda _label, _done, _all: None,
) -> bool:
    """Moves all that the projects of the organization store to another group of tables.

    False if it was there. A move that was stopped is continued, whatever stopped it; only one goes
    on at a time. `pool` is that of the owner of the tables.
    Raises NotMovable, NotFound, Unavailable.
    """
    async with _exclusively(pool):
        begun = await _begin(pool, organization, group)
        if begun is not None:
            # Those of an earlier move whose last step was interrupted.
            await _drop_triggers(pool, await _triggers(pool, organization, begun.target))
            await _copy(pool, begun, waits, analyzed_min, on_step)
            await _end(pool, begun)
        names = await _triggers(pool, organization)
        if names:
            on_step("waiting for what was under way", 1, 1)
            await asyncio.sleep(waits.refusal_s)
            await _drop_triggers(pool, names)
        return begun is not None


async def cancel(pool: Pool, organization: OrganizationId) -> bool:
    """Gives up a move; False if there is none. Workers delete what was copied.

    Raises NotFound, Unavailable.
    """
    async with _exclusively(pool):
        async with _transaction(pool) as connection:
            found = await _lock(connection, organization)
            is_begun = found["moving_to"] is not None
            if is_begun:
                given_up = await _describe(connection, organization, found)
                now = await connection.fetchval(SELECT_NOW)
                ours = given_up.projects
                await connection.execute(MAKE_DUE.format(f"{given_up.target}.removals"), ours, now)
                await connection.execute(DELETE_MOVING.format(f"{given_up.source}.removals"), ours)
                await connection.execute(CANCEL_MOVE, organization)
        await _drop_triggers(pool, await _triggers(pool, organization))
        return is_begun


@asynccontextmanager
async def _exclusively(pool: Pool) -> AsyncIterator[None]:
    """While no other process moves an organization, migrates or distributes."""
    async with translate_errors(), pool.acquire() as connection:
        try:
            await connection.execute("SET lock_timeout = 0")
            await connection.execute("SELECT pg_advisory_lock($1)", AdvisoryLock.MIGRATIONS)
            if pending := await pending_migrations(pool):
                raise NotMovable(
                    f"Run `pandaprobe-server migrate` first: pending are {', '.join(pending)}"
                )
            yield
        finally:
            await connection.execute("SELECT pg_advisory_unlock_all()")
            await connection.execute("RESET lock_timeout")


@asynccontextmanager
async def _transaction(pool: Pool) -> AsyncIterator[Connection]:
    async with pool.acquire() as connection, connection.transaction():
        # Messages of their own: Citus sends a worker the whole message that a setting came in.
        await connection.execute("SET LOCAL pandaprobe.scope = 'all'")
        await connection.execute(KEEP_IDS)
        yield connection


async def _lock(connection: Connection, organization: OrganizationId) -> asyncpg.Record:
    """Until the end of the transaction the organization gets no project, and loses none."""
    # In this order, as edits of the organization that create projects.
    row = await connection.fetchrow(LOCK_ORGANIZATION, organization)
    await lock_organization(connection, AdvisoryLock.PROJECTS, organization)
    return require_row(row, "Organization not found")


async def _describe(
    connection: Connection, organization: OrganizationId, found: asyncpg.Record
) -> _Move:
    first = await connection.fetchval(SELECT_SCHEMA)
    source = TableGroup(found["table_group"]).schema or first
    target = TableGroup(found["moving_to"]).schema or first
    rows = await connection.fetch(SELECT_TABLES, source)
    return _Move(
        organization,
        [row[0] for row in await connection.fetch(SELECT_PROJECTS, organization)],
        source,
        target,
        [
            Table(
                row["name"],
                f"{source}.{row['name']}",
                f"{target}.{row['name']}",
                row["columns"],
                row["numbered"],
            )
            for row in rows
        ],
    )


async def _begin(pool: Pool, organization: OrganizationId, group: int) -> _Move | None:
    """None if the organization is in the group."""
    async with _transaction(pool) as connection:
        found = await _lock(connection, organization)
        if found["moving_to"] is None:
            if found["table_group"] == group:
                return None
            if TableGroup(group) not in await fetch_groups(connection):
                raise NotMovable(f"The database has no group {group}: `distribute` makes groups")
            await connection.execute(BEGIN_MOVE, organization, group)
            begun = await _describe(connection, organization, await _lock(connection, organization))
            if await connection.fetchval(
                HAS_REMOVAL.format(f"{begun.target}.removals"), begun.projects
            ):
                raise NotMovable(
                    f"Group {group} still has rows of an earlier move of this organization: "
                    "workers delete them. Try again in an hour"
                )
            return begun
        if found["moving_to"] != group:
            raise NotMovable(
                f"The organization is being moved to group {found['moving_to']}: end or cancel "
                "this first"
            )
        return await _describe(connection, organization, found)


async def _copy(pool: Pool, move: _Move, waits: Waits, analyzed_min: int, on_step: OnStep) -> None:
    """Copies what isn't there yet, while nothing writes to it. Until the end reads go on."""
    count = len(move.tables)
    on_step("waiting until no process writes", 0, count)
    await asyncio.sleep(waits.notice_s)
    # Scores first: their triggers keep nothing up to date for projects that are in `removals`.
    for table in move.tables:
        if table.name in SCORES:
            on_step(f"refusing writes to {table.source}", 0, count)
            await _refuse_writes(pool, move, table)
    async with _transaction(pool) as connection:
        for schema in (move.source, move.target):
            await connection.execute(INSERT_MOVING.format(f"{schema}.removals"), move.projects)
    for table in move.tables:
        if table.name not in SCORES:
            on_step(f"refusing writes to {table.source}", 0, count)
            await _refuse_writes(pool, move, table)
    for done, table in enumerate(move.tables):
        on_step(f"copying {table.source}", done, count)
        copied = 0
        async with _transaction(pool) as connection:
            if table.name not in (await _lock(connection, move.organization))["moved_tables"]:
                copied = await _copy_table(connection, table, move.projects)
                await connection.execute(NOTE_TABLE, move.organization, table.name)
        if copied >= analyzed_min:
            await pool.execute(f"ANALYZE {table.target}")
    on_step("waiting until no process reads", count, count)
    async with _transaction(pool) as connection:
        await connection.execute(REFUSE_READS, move.organization)
    await asyncio.sleep(waits.notice_s)


async def _copy_table(connection: Connection, table: Table, projects: Sequence[ProjectId]) -> int:
    """Returns how many rows it has copied.

    Raises Unavailable if rows are missing afterwards; then none is copied.
    """
    values = [COPIED_AS.get((table.name, column), column) for column in table.columns]
    # Rows that differed in such a column only are one then. Citus would count each as inserted.
    distinct = "" if values == [*table.columns] else "DISTINCT "
    sql = COPY_ROWS.format(
        source=table.source,
        target=table.target,
        columns=", ".join(table.columns),
        values=distinct + ", ".join(values),
    )
    copied = affected_rows(await connection.execute(sql, projects))
    there = await connection.fetchval(COUNT_ROWS.format(table.target), projects)
    if there != copied:
        raise Unavailable(f"{copied:,} rows were copied to {table.target}, which has {there:,}")
    if table.numbered is not None:
        await _skip_ids(connection, table, table.numbered, projects)
    return copied


async def _skip_ids(
    connection: Connection, table: Table, column: str, projects: Sequence[ProjectId]
) -> None:
    """Later rows of the new group get greater ids than those that were copied."""
    if await connection.fetchval(IS_NUMBERED_BY_TIME, table.target):
        return
    greatest = await connection.fetchval(SELECT_GREATEST_ID.format(column, table.target), projects)
    if greatest is not None:
        sequence: str = await connection.fetchval(SELECT_SEQUENCE, table.target, column)
        last = await connection.fetchval(SELECT_LAST_ID.format(sequence))
        # One more: `last` may be the first id, which nothing has.
        await connection.fetchval(SKIP_IDS, sequence, max(0, greatest - last + 1))


async def _end(pool: Pool, move: _Move) -> None:
    async with _transaction(pool) as connection:
        await _lock(connection, move.organization)
        ours = move.projects
        due = await connection.fetchval(SELECT_NOW) + KEPT_FOR
        await connection.execute(DELETE_MOVING.format(f"{move.target}.removals"), ours)
        await connection.execute(MAKE_DUE.format(f"{move.source}.removals"), ours, due)
        await connection.execute(END_MOVE, move.organization)


def _trigger_names(organization: OrganizationId) -> dict[str, str]:
    return {event: f"moving_{organization.hex}_{event}" for event in EVENTS}


async def _refuse_writes(pool: Pool, move: _Move, table: Table) -> None:
    """Refuses writes, and waits for the transactions that have written to the table."""
    projects = ",".join(map(str, move.projects))
    statements = [
        CREATE_TRIGGER.format(
            trigger=trigger,
            event=EVENTS[event][0],
            row=EVENTS[event][1],
            table=table.source,
            projects=projects,
            schema=move.source,
        )
        for event, trigger in _trigger_names(move.organization).items()
    ]
    await _change_table(pool, statements)


async def _triggers(
    pool: Pool, organization: OrganizationId, schema: str | None = None
) -> list[tuple[str, str]]:
    """The triggers that refuse writes, in a schema or in all, with their tables."""
    async with pool.acquire() as connection:
        names = list(_trigger_names(organization).values())
        return [tuple(row) for row in await connection.fetch(SELECT_TRIGGERS, names, schema)]


async def _drop_triggers(pool: Pool, names: Sequence[tuple[str, str]]) -> None:
    for name in names:
        await _change_table(pool, [DROP_TRIGGER.format(*name)])


async def _change_table(pool: Pool, statements: Sequence[str]) -> None:
    """Runs statements that lock a table for moments, as soon as they needn't wait for long.

    Raises Unavailable.
    """

    async def attempt() -> None:
        async with _transaction(pool) as connection:
            await connection.execute(SET_LOCK_WAIT)
            await connection.execute("SET LOCAL citus.enable_unsafe_triggers = on")
            for sql in statements:
                await connection.execute(sql)

    await retry_for_locks(attempt)
