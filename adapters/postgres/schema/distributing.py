"""Distributes a migrated database with Citus: the tables of projects move to one worker, together.

The tables without a project stay on the coordinator (docs/adr/0055). All is one transaction: a
database is distributed or it isn't, whatever stops the command. What a later migration adds is
placed by the next run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.postgres.database.advisory_locks import AdvisoryLock
from adapters.postgres.database.pool import Connection, Pool, translate_errors
from adapters.postgres.database.tenants import VIEWS_OF_SCOPE
from adapters.postgres.schema.pending import pending_migrations
from adapters.postgres.schema.serving_role import role_of
from domain.errors import Conflict, Unavailable

LOCK_TIMEOUT_S: Final = 5  # the command fails rather than makes requests wait
FIRST_TABLE: Final = "traces"  # the others are placed with it

# Those of projects. `local_bytes` are what the coordinator holds of it.
SELECT_TABLES: Final = """
SELECT c.relname AS name, c.relrowsecurity AS has_policy, c.relforcerowsecurity AS is_forced,
       pg_table_size(c.oid) AS local_bytes, pg_relation_size(c.oid) > 0 AS has_local_rows
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attname = 'project_id'
  AND NOT a.attisdropped
ORDER BY c.relname
"""
HAS_CITUS: Final = "SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citus')"
SELECT_PLACED: Final = "SELECT logicalrelid::text FROM pg_dist_partition"
SELECT_WORKERS: Final = """
SELECT nodename || ':' || nodeport FROM pg_dist_node
WHERE groupid <> 0 AND isactive AND shouldhaveshards AND noderole = 'primary'
ORDER BY 1
"""
PASSES_SETTINGS: Final = """
SELECT EXISTS (
  SELECT 1 FROM pg_db_role_setting JOIN pg_database ON pg_database.oid = setdatabase
  WHERE datname = current_database() AND setrole = 0
    AND 'citus.propagate_set_commands=local' = ANY (setconfig)
)
"""
SELECT_WORKERS_WITHOUT_ROLE: Final = """
SELECT nodename || ':' || nodeport FROM run_command_on_workers(
  format('SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = %L)', $1::text)
) WHERE NOT success OR result <> 't'
"""
COUNT_OTHER_SESSIONS: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND usename = $1 AND backend_type = 'client backend'
"""
# They don't know the settings that reach the workers.
END_OTHER_SESSIONS: Final = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND usename = $1 AND backend_type = 'client backend'
  AND pid <> pg_backend_pid()
"""

# Citus takes no subquery in a policy, for which that of the schema reads the first tenant once a
# statement. This one reads it for each row.
_TENANTS: Final = "current_setting('pandaprobe.tenants', true)"
FLAT_POLICY: Final = (
    f"(CASE WHEN strpos({_TENANTS}, project_id::text) > 0"
    " OR current_setting('pandaprobe.scope', true) = 'all' THEN true END) IS NOT NULL"
)
SEND_SETTINGS: Final = """
DO $$ BEGIN
  EXECUTE format('ALTER DATABASE %I SET citus.propagate_set_commands = ''local''',
                 current_database());
END $$
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectTable:
    """A table of projects. `local_bytes` are on the coordinator, after it was placed as well."""

    name: str
    is_placed: bool
    has_policy: bool
    is_forced: bool
    has_local_rows: bool
    local_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """What the database says of itself. `workers` are `host:port`."""

    workers: Sequence[str]
    tables: Sequence[ProjectTable]
    passes_settings: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Statements that belong together. `moved` is the table whose rows they move, if any."""

    label: str
    statements: Sequence[str]
    moved: str | None = None
    local_bytes: int = 0


type OnStep = Callable[[str, int, int], object]
"""Is called before each step with its label, the bytes that were moved, and those of all."""


def ignore_step(_label: str, _moved: int, _total: int) -> None:
    """For callers that show no progress."""


def plan_distribution(catalogue: Catalogue, serving_role: str | None = None) -> list[Step]:
    """What is left to do, in order. Nothing for a database that is distributed.

    `serving_role` gets the rights on the tables that take the place of a view.
    """
    # A placed table comes first: the others join it.
    placed = sorted(one.name for one in catalogue.tables if one.is_placed)
    anchor = FIRST_TABLE if not placed or FIRST_TABLE in placed else placed[0]
    new = [one for one in catalogue.tables if not one.is_placed]
    new.sort(key=lambda one: (one.name != anchor, one.name))
    steps = [_placing(one, anchor, serving_role) for one in new]
    if not catalogue.passes_settings:
        steps.append(
            Step(
                label="pass settings of transactions on to workers",
                statements=(SEND_SETTINGS.strip(),),
            )
        )
    return steps


def plan_cleaning(catalogue: Catalogue) -> list[Step]:
    """Frees what placed tables still take on the coordinator: Citus leaves the rows it has copied.

    Run after the commit of the distribution.
    """
    return [
        Step(
            label=f"free the local copy of {one.name}",
            statements=(f"SELECT truncate_local_data_after_distributing_table('{one.name}')",),
        )
        for one in catalogue.tables
        if one.is_placed and one.has_local_rows
    ]


def _placing(table: ProjectTable, anchor: str, serving_role: str | None) -> Step:
    statements = list[str]()
    if table.has_policy:
        statements.append(f"DROP POLICY IF EXISTS tenant ON {table.name}")
    name = table.name
    # Citus changes no rows through a view. The table takes its name, and has a policy in its place.
    if view := VIEWS_OF_SCOPE.get(table.name):
        statements += [
            f"DROP VIEW {view}",
            f"ALTER TABLE {name} RENAME TO {view}",
            f"ALTER TABLE {view} ENABLE ROW LEVEL SECURITY",
        ]
        if serving_role is not None:
            statements.append(
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON {view} TO {_quoted(serving_role)}"
            )
        name = view
    if table.has_policy or view:
        statements.append(f"CREATE POLICY tenant ON {name} USING ({FLAT_POLICY})")
    is_forced = table.is_forced or view is not None
    # The owner copies the rows: a policy that binds it would hide them, and refuse COPY.
    if is_forced:
        statements.append(f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY")
    beside = "none" if table.name == anchor else anchor
    statements.append(
        f"SELECT create_distributed_table('{name}', NULL, colocate_with := '{beside}')"
    )
    if is_forced:
        statements.append(f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY")
    return Step(
        label=f"place {name}", statements=statements, moved=name, local_bytes=table.local_bytes
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class NotDistributable(Conflict):
    """The database can't be distributed as it is. The message says what to change."""


async def read_catalogue(connection: Connection) -> Catalogue:
    """Raises NotDistributable without Citus or a worker."""
    if not await connection.fetchval(HAS_CITUS):
        raise NotDistributable(
            "This database doesn't have the extension citus, so its tables stay on one machine. "
            "See docs/scaling.md"
        )
    workers = [row[0] for row in await connection.fetch(SELECT_WORKERS)]
    if not workers:
        raise NotDistributable(
            "Citus has no worker that takes tables: add one with citus_add_node(host, port)"
        )
    placed = {row[0] for row in await connection.fetch(SELECT_PLACED)}
    return Catalogue(
        workers=workers,
        tables=[
            ProjectTable(is_placed=row["name"] in placed, **row)
            for row in await connection.fetch(SELECT_TABLES)
        ],
        passes_settings=await connection.fetchval(PASSES_SETTINGS),
    )


async def plan(pool: Pool, serving_url: str | None = None) -> list[Step]:
    """What `distribute` would do. Raises NotDistributable, Unavailable."""
    async with translate_errors(), pool.acquire() as connection:
        await _check_migrated(pool)
        catalogue = await read_catalogue(connection)
        return [*plan_distribution(catalogue, _role(serving_url)), *plan_cleaning(catalogue)]


async def distribute(
    pool: Pool,
    serving_url: str | None = None,
    *,
    on_step: OnStep = ignore_step,
) -> list[Step]:
    """Places the tables of projects on one worker, and returns what was done.

    `pool` is that of the owner of the tables; `serving_url` as for `migrate`. Rows that are there
    move along, and are counted before and after. Concurrent processes wait. The connections of the
    serving role are ended, as they don't know the settings. Raises NotDistributable if the server
    has no Citus, migrations are pending, or the service runs; Unavailable.
    """
    role = _role(serving_url)
    async with translate_errors(), pool.acquire() as connection:
        try:
            await connection.execute("SET statement_timeout = 0")
            await connection.execute("SET lock_timeout = 0")
            await connection.execute("SELECT pg_advisory_lock($1)", AdvisoryLock.MIGRATIONS)
            await _check_migrated(pool)
            steps = plan_distribution(await read_catalogue(connection), role)
            if steps:
                await _check_role(connection, role)
                await _run_in_transaction(connection, steps, on_step)
                if role is not None:
                    await connection.execute(END_OTHER_SESSIONS, role)
            total = sum(step.local_bytes for step in steps)
            cleaning = plan_cleaning(await read_catalogue(connection))
            for step in cleaning:
                on_step(step.label, total, total)
                await _run(connection, step)
            return [*steps, *cleaning]
        finally:
            await connection.execute("SELECT pg_advisory_unlock_all()")
            await pool.expire_connections()


async def _run_in_transaction(
    connection: Connection, steps: Sequence[Step], on_step: OnStep
) -> None:
    total, done = sum(step.local_bytes for step in steps), 0
    async with connection.transaction():
        # One message each: Citus sends a worker the whole message that a setting came in.
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")
        await connection.execute("SET LOCAL pandaprobe.scope = 'all'")
        # Triggers of payloads write to a table of the same worker.
        await connection.execute("SET LOCAL citus.enable_unsafe_triggers = on")
        for step in steps:
            on_step(step.label, done, total)
            await _run(connection, step)
            done += step.local_bytes
    on_step("distributed", total, total)


async def _run(connection: Connection, step: Step) -> None:
    """Raises Unavailable if rows are missing afterwards; nothing of the transaction stays then."""
    before: int | None = None
    for statement in step.statements:
        is_placing = "create_distributed_table" in statement
        if is_placing:
            # Nothing is written until the commit, so that the numbers are of the same rows.
            await connection.execute(f"LOCK TABLE {step.moved} IN ACCESS EXCLUSIVE MODE")
            before = await _count(connection, step.moved)
        await connection.execute(statement)
        if is_placing and (after := await _count(connection, step.moved)) != before:
            raise Unavailable(
                f"{step.moved} had {before:,} rows and has {after:,} on the worker: nothing was "
                "changed"
            )


async def _count(connection: Connection, table: str | None) -> int:
    count: Any = await connection.fetchval(f"SELECT count(*) FROM {table}")
    return int(count)


async def _check_migrated(pool: Pool) -> None:
    if pending := await pending_migrations(pool):
        raise NotDistributable(
            f"Run `pandaprobe-server migrate` first: pending are {', '.join(pending)}"
        )


async def _check_role(connection: Connection, role: str | None) -> None:
    """The role serves on each worker too, and not while the tables move."""
    if role is None:
        return
    without = [row[0] for row in await connection.fetch(SELECT_WORKERS_WITHOUT_ROLE, role)]
    if without:
        raise NotDistributable(
            f"The role {role} doesn't exist on {', '.join(without)}: create it there, with the "
            "password that it has on the coordinator"
        )
    if role == await connection.fetchval("SELECT current_user"):
        return
    if await connection.fetchval(COUNT_OTHER_SESSIONS, role):
        raise NotDistributable(
            f"The role {role} is connected: stop `serve` and `worker` while the tables move"
        )


def _role(serving_url: str | None) -> str | None:
    return None if serving_url is None else role_of(serving_url)[0]
