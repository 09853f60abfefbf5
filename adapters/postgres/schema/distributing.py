"""Distributes a migrated database with Citus: each worker gets a group of tables of projects.

The tables of the first group move to a worker, together, with their rows. Other groups are made on
the other workers. The tables without a project stay on the coordinator (docs/adr/0055, 0058). Each
group is one transaction: it is there or it isn't, whatever stops the command. What a later
migration adds is placed by the next run.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import asyncpg
import msgspec

from adapters.postgres.database.advisory_locks import AdvisoryLock
from adapters.postgres.database.pool import (
    SESSION_SETTINGS,
    Connection,
    Pool,
    translate_errors,
)
from adapters.postgres.database.table_groups import TableGroup, fetch_groups
from adapters.postgres.database.tenants import VIEWS_OF_SCOPE
from adapters.postgres.database.worker_route import (
    HAS_CITUS,
    SELECT_UNNUMBERED,
    SELECT_UNSHARED,
)
from adapters.postgres.schema.migrating import create_group
from adapters.postgres.schema.pending import pending_migrations
from adapters.postgres.schema.serving_role import role_of
from domain.errors import Conflict, Unavailable

LOCK_TIMEOUT_S: Final = 5  # the command fails rather than makes requests wait
SET_LOCK_TIMEOUT: Final = f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'"
FIRST_TABLE: Final = "traces"  # the others are placed with it

# Those of projects in a schema. `local_bytes` are what the coordinator holds of it.
SELECT_TABLES: Final = """
SELECT c.relname AS name, c.relrowsecurity AS has_policy, c.relforcerowsecurity AS is_forced,
       EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal) AS has_triggers,
       pg_table_size(c.oid) AS local_bytes, pg_relation_size(c.oid) > 0 AS has_local_rows
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = coalesce($1::text, current_schema())::regnamespace AND c.relkind = 'r'
  AND a.attname = 'project_id' AND NOT a.attisdropped
ORDER BY c.relname
"""
# Numbers by the clock of the worker that stores the row, whichever node the statement came to: a
# later one is greater, also than those of the sequences. The last 11 bits are those of the
# sequence, for rows of the same microsecond. It lasts until 2112.
NUMBER_BY_TIME: Final = """
CREATE OR REPLACE FUNCTION number_{column}_by_time() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    IF current_setting('pandaprobe.keeps_ids', true) IS DISTINCT FROM 'on' THEN
      NEW.{column} := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 2048
        + coalesce(NEW.{column}, 0) % 2048;
    END IF;
    RETURN NEW;
  END $$
"""
NUMBER_TABLE: Final = """
CREATE TRIGGER number_{column}_by_time BEFORE INSERT ON {name}
FOR EACH ROW EXECUTE FUNCTION number_{column}_by_time()
"""
# Citus makes the views on each worker, but gives no rights on them.
SELECT_UNREADABLE: Final = """
SELECT nodename || ':' || nodeport AS worker, success, result
FROM run_command_on_workers(format($worker$
  SELECT coalesce(json_agg(quote_ident(n.nspname) || '.' || quote_ident(c.relname)), '[]')
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE c.relkind = 'v' AND n.nspname = ANY (%L::text[])
    AND NOT has_table_privilege(%L, c.oid, 'SELECT')
$worker$, $1::text[], $2::text))
"""
SELECT_PLACED: Final = """
SELECT s.logicalrelid::text AS name, n.nodename || ':' || n.nodeport AS worker
FROM pg_dist_shard s JOIN pg_dist_placement p USING (shardid)
JOIN pg_dist_node n ON n.groupid = p.groupid AND n.noderole = 'primary'
"""
SELECT_WORKERS: Final = """
SELECT nodename || ':' || nodeport FROM pg_dist_node
WHERE groupid <> 0 AND isactive AND shouldhaveshards AND noderole = 'primary'
ORDER BY nodeid
"""
# The number of distinct values that the planner is to assume (`n_distinct`). Citus doesn't pass it
# on to the tables on the workers, neither when it places a table nor when it moves one.
_ASSUMED: Final = """
pg_dist_shard AS s JOIN pg_dist_placement AS p USING (shardid)
JOIN pg_attribute AS a ON a.attrelid = {relation}
CROSS JOIN unnest(a.attoptions) AS option
WHERE option LIKE 'n\\_distinct%'
"""
_ASSUMED_ON_WORKER: Final = f"""
SELECT coalesce(json_agg(json_build_array(shardid, a.attname, option)), '[]')
FROM {_ASSUMED.format(relation="to_regclass(shard_name(s.logicalrelid, s.shardid))")}
  AND p.groupid = (SELECT groupid FROM pg_dist_local_group)
"""
SELECT_ASSUMED: Final = f"""
SELECT nodename || ':' || nodeport AS worker, success, result
FROM run_command_on_workers($worker${_ASSUMED_ON_WORKER}$worker$)
"""
SELECT_NOT_ASSUMED: Final = f"""
SELECT s.logicalrelid::text AS name, shard_name(s.logicalrelid, s.shardid) AS shard,
       quote_ident(a.attname) AS column, option
FROM {_ASSUMED.format(relation="s.logicalrelid")} AND NOT EXISTS (
  SELECT 1 FROM unnest($1::text[]) AS known, json_array_elements(known::json) AS one
  WHERE (one->>0, one->>1, one->>2) = (shardid::text, a.attname::text, option)
)
ORDER BY s.shardid, option
"""
# A worker skips the tables that it doesn't have. It returns a row for each worker that fails.
ASSUME: Final = """
SELECT nodename || ':' || nodeport || ': ' || result FROM run_command_on_workers($worker$
DO $do$ BEGIN
{changes}
END $do$ $worker$) WHERE NOT success
"""
ASSUME_IN_COLUMN: Final = "ALTER TABLE IF EXISTS {shard} ALTER COLUMN {column} SET ({option});"
PASSES_SETTINGS: Final = """
SELECT EXISTS (
  SELECT 1 FROM pg_db_role_setting JOIN pg_database ON pg_database.oid = setdatabase
  WHERE datname = current_database() AND setrole = 0
    AND 'citus.propagate_set_commands=local' = ANY (setconfig)
)
"""
SELECT_PASSING: Final = f"""
SELECT nodename || ':' || nodeport AS worker, success, result
FROM run_command_on_workers($worker${PASSES_SETTINGS}$worker$)
"""
# The settings that a process sends with each connection reach the coordinator alone: those of its
# connections to workers are those of the role.
SELECT_SET_FOR_ROLE: Final = """
SELECT nodename || ':' || nodeport AS worker, success, result
FROM run_command_on_workers(format($worker$
  SELECT coalesce(json_agg(one), '[]')
  FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS one
  WHERE setrole = to_regrole(%L)
    AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
$worker$, quote_ident($1::text)))
"""
SELECT_SET_STATEMENT: Final = """
SELECT format('ALTER ROLE %I IN DATABASE %I SET %I = %L', $1::text, current_database(), $2::text,
              $3::text)
"""
# Comparisons of tags, terms and sums that indexes serve. Under a policy, PostgreSQL uses an index
# only for what it knows to leak nothing, which it says of none of these (docs/adr/0068).
INDEXED_COMPARISONS: Final = (
    *("arrayoverlap(anyarray,anyarray)", "arraycontains(anyarray,anyarray)"),
    *(f"numeric_{one}(numeric,numeric)" for one in ("lt", "le", "eq", "ge", "gt", "cmp")),
)
SELECT_TRUSTED: Final = f"""
SELECT nodename || ':' || nodeport AS worker, success, result
FROM run_command_on_workers($worker$
  SELECT bool_and(proleakproof) FROM pg_proc
  WHERE oid = ANY ('{{{",".join(f'"{one}"' for one in INDEXED_COMPARISONS)}}}'::regprocedure[])
$worker$)
"""
SELECT_MAY_TRUST: Final = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
# Returns a row for each worker that fails.
TRUST: Final = f"""
SELECT nodename || ':' || nodeport || ': ' || result FROM run_command_on_workers($worker$
DO $do$ BEGIN
{"\n".join(f"ALTER FUNCTION {one} LEAKPROOF;" for one in INDEXED_COMPARISONS)}
END $do$ $worker$) WHERE NOT success
"""
# With a plan that a session keeps, each INSERT of values in such a function leaves 29 kB in the
# session of the worker, until it ends.
SELECT_KEEPING_PLANS: Final = """
SELECT DISTINCT f.oid::regprocedure::text AS name
FROM pg_proc AS f JOIN pg_trigger AS t ON t.tgfoid = f.oid
JOIN pg_dist_shard AS s ON s.logicalrelid = t.tgrelid
JOIN pg_dist_placement AS p USING (shardid)
WHERE NOT t.tgisinternal AND p.groupid <> 0 AND strpos(f.prosrc, 'INSERT INTO') > 0
  AND 'plan_cache_mode=force_custom_plan' <> ALL (coalesce(f.proconfig, '{}'))
ORDER BY name
"""
# Citus hides shards by a condition with this function in each query of pg_class. A subquery with a
# volatile function is computed whole: to look up a type, asyncpg then reads pg_class once for each
# table of the database. The function changes nothing.
_IS_SHARD: Final = "pg_catalog.relation_is_a_known_shard(regclass)"
_ON_NODES: Final = """
SELECT coalesce(nodename || ':' || nodeport, 'coordinator') AS worker, success, result
FROM run_command_on_all_nodes($node${command}$node$) LEFT JOIN pg_dist_node USING (nodeid)
"""
SELECT_HIDING_STABLE: Final = _ON_NODES.format(
    command=f"SELECT provolatile <> 'v' FROM pg_proc WHERE oid = '{_IS_SHARD}'::regprocedure"
)
HIDE_STABLE: Final = f"""
SELECT worker || ': ' || result
FROM ({_ON_NODES.format(command=f"ALTER FUNCTION {_IS_SHARD} STABLE")}) AS nodes WHERE NOT success
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
# They don't know the settings that reach the workers. Waits for the end of each.
END_OTHER_SESSIONS: Final = """
SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
WHERE datname = current_database() AND usename = $1 AND backend_type = 'client backend'
  AND pid <> pg_backend_pid()
"""

# Citus takes no subquery in a policy, for which that of the schema reads the first tenant once a
# statement. This one reads it for each row.
_TENANTS: Final = "current_setting('pandaprobe.tenants', true)"


def flat_policy(*columns: str) -> str:
    """The condition of a policy that compares these columns with the scope."""
    ours = " OR ".join(f"strpos({_TENANTS}, {column}::text) > 0" for column in columns)
    every = "current_setting('pandaprobe.scope', true) = 'all'"
    return f"(CASE WHEN {ours} OR {every} THEN true END) IS NOT NULL"


FLAT_POLICY: Final = flat_policy("project_id")
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
    has_triggers: bool
    has_local_rows: bool
    local_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTables:
    """The tables of a group, and the worker that they are on; None until one is placed."""

    group: TableGroup
    worker: str | None
    tables: Sequence[ProjectTable]

    def qualified(self, name: str) -> str:
        """As statements name a table."""
        return name if self.group.schema is None else f"{self.group.schema}.{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The facts that the database reports. `workers` are `host:port`."""

    workers: Sequence[str]
    groups: Sequence[GroupTables]
    passes_settings: bool

    @property
    def free_workers(self) -> list[str]:
        """The workers without a group."""
        taken = {one.worker for one in self.groups}
        return [worker for worker in self.workers if worker not in taken]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedTable:
    """A table that all groups share. Its policy, if it has one, compares the columns `tenants`."""

    name: str
    tenants: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedColumn:
    """A column of a placed table whose values PostgreSQL gives out."""

    name: str
    column: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Statements that belong together. `moved` is the table whose rows they move, if any."""

    label: str
    statements: Sequence[str]
    moved: str | None = None
    local_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """The assumed statistics of a column. `shard` is the table on the worker."""

    name: str
    shard: str
    column: str
    option: str


type OnStep = Callable[[str, int, int], object]
"""Is called before each step with its label, the bytes that were moved, and those of all."""


def ignore_step(_label: str, _moved: int, _total: int) -> None:
    """An OnStep for callers that show no progress."""


def plan_placing(
    catalogue: Catalogue, group: GroupTables, serving_role: str | None = None
) -> list[Step]:
    """The remaining steps for a group, in order. Nothing for one whose tables are placed.

    A group without a worker gets the first one that is free. `serving_role` gets the rights on the
    tables that take the place of a view.
    """
    # A placed table comes first: the others join it.
    placed = sorted(one.name for one in group.tables if one.is_placed)
    anchor = FIRST_TABLE if not placed or FIRST_TABLE in placed else placed[0]
    new = [one for one in group.tables if not one.is_placed]
    new.sort(key=lambda one: (one.name != anchor, one.name))
    steps = [_placing(group, one, anchor, serving_role) for one in new]
    if group.worker is None and steps:
        worker = catalogue.free_workers[0]
        others = [one for one in catalogue.workers if one != worker]
        choosing = [_takes_shards(other, "false") for other in others]
        restoring = [_takes_shards(other, "true") for other in others]
        first, *rest = steps
        first = replace(
            first,
            label=f"{first.label} on {worker}",
            statements=(*choosing, *first.statements, *restoring),
        )
        steps = [first, *rest]
    return steps


def _takes_shards(worker: str, value: str) -> str:
    """Citus places a table on one of the workers that may have shards."""
    host, _, port = worker.rpartition(":")
    return f"SELECT citus_set_node_property('{host}', {port}, 'shouldhaveshards', {value})"


def plan_settings(catalogue: Catalogue) -> list[Step]:
    """The settings that the database still lacks."""
    return [] if catalogue.passes_settings else _passing_settings()


def _passing_settings() -> list[Step]:
    label = "pass settings of transactions on to workers"
    return [Step(label=label, statements=(SEND_SETTINGS.strip(),))]


def plan_cleaning(catalogue: Catalogue) -> list[Step]:
    """Frees what placed tables still take on the coordinator: Citus leaves the rows it has copied.

    Run after the commit of the distribution.
    """
    named = [(group.qualified(one.name), one) for group in catalogue.groups for one in group.tables]
    return [
        Step(
            label=f"free the local copy of {name}",
            statements=(f"SELECT truncate_local_data_after_distributing_table('{name}')",),
        )
        for name, one in named
        if one.is_placed and one.has_local_rows
    ]


def plan_assumptions(missing: Sequence[Assumption]) -> list[Step]:
    """Sets on the workers what is missing there. It counts from the next ANALYZE on.

    Run after the commit of the distribution: another connection has to see the tables.
    """
    if not missing:
        return []
    changes = [
        ASSUME_IN_COLUMN.format(shard=one.shard, column=one.column, option=one.option)
        for one in missing
    ]
    return [
        Step(
            label="assume large projects in the plans of the workers",
            statements=(
                ASSUME.format(changes="\n".join(changes)).strip(),
                *(f"ANALYZE {name}" for name in dict.fromkeys(one.name for one in missing)),
            ),
        )
    ]


def plan_sharing(tables: Sequence[SharedTable]) -> list[Step]:
    """Lets workers reach tables that all groups share, for processes that connect to workers.

    The rows stay on the coordinator. Citus takes tables together with those that they refer to, and
    takes one again for nothing.
    """
    if not tables:
        return []
    policies = [
        statement
        for one in tables
        if one.tenants
        for statement in (
            f"DROP POLICY tenant ON {one.name}",
            f"CREATE POLICY tenant ON {one.name} USING ({flat_policy(*one.tenants)})",
        )
    ]
    adding = [
        f"SELECT citus_add_local_table_to_metadata('{one.name}', cascade_via_foreign_keys := true)"
        for one in tables
    ]
    label = f"let workers reach {', '.join(one.name for one in tables)}"
    return [Step(label=label, statements=(*policies, *adding))]


def plan_numbering(columns: Sequence[NumberedColumn]) -> list[Step]:
    """Numbers rows on the worker that stores them."""
    if not columns:
        return []
    functions = [
        NUMBER_BY_TIME.format(column=column).strip()
        for column in dict.fromkeys(one.column for one in columns)
    ]
    triggers = [NUMBER_TABLE.format(column=one.column, name=one.name).strip() for one in columns]
    label = f"number rows of {', '.join(one.name for one in columns)} by time"
    return [Step(label=label, statements=(*functions, *triggers))]


def plan_rights(views: Sequence[str], serving_role: str) -> list[Step]:
    """Gives rights on views of workers: Citus makes these without.

    Run after the commit of the distribution, as the views are made there with the tables.
    """
    if not views:
        return []
    rights = f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(views)}"
    return [
        Step(
            label=f"let {serving_role} use views on the workers",
            statements=(f"{rights} TO {_quoted(serving_role)}",),
        )
    ]


def _placing(
    group: GroupTables, table: ProjectTable, anchor: str, serving_role: str | None
) -> Step:
    statements = list[str]()
    name = group.qualified(table.name)
    if table.has_policy:
        statements.append(f"DROP POLICY IF EXISTS tenant ON {name}")
    # Citus changes no rows through a view. The table takes its name, and has a policy in its place.
    if view := VIEWS_OF_SCOPE.get(table.name):
        shown = group.qualified(view)
        statements += [
            f"DROP VIEW {shown}",
            f"ALTER TABLE {name} RENAME TO {view}",
            f"ALTER TABLE {shown} ENABLE ROW LEVEL SECURITY",
        ]
        if serving_role is not None:
            statements.append(
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON {shown} TO {_quoted(serving_role)}"
            )
        name = shown
    if table.has_policy or view:
        statements.append(f"CREATE POLICY tenant ON {name} USING ({FLAT_POLICY})")
    is_forced = table.is_forced or view is not None
    # The owner copies the rows: a policy that binds it would hide them, and refuse COPY.
    if is_forced:
        statements.append(f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY")
    # The rows that triggers write exist already, and move as well. They would be written again, in
    # one statement for all rows: with a million scores, that took 15 GB of memory on the worker.
    if table.has_triggers:
        statements.append(f"ALTER TABLE {name} DISABLE TRIGGER USER")
    colocated = "none" if table.name == anchor else group.qualified(anchor)
    statements.append(
        f"SELECT create_distributed_table('{name}', NULL, colocate_with := '{colocated}')"
    )
    if table.has_triggers:
        statements.append(f"ALTER TABLE {name} ENABLE TRIGGER USER")
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
            "See docs/operation/scaling.md"
        )
    workers = [row[0] for row in await connection.fetch(SELECT_WORKERS)]
    if not workers:
        raise NotDistributable(
            "Citus has no worker that takes tables: add one with citus_add_node(host, port)"
        )
    return Catalogue(
        workers=workers,
        groups=[await _read_tables(connection, one) for one in await fetch_groups(connection)],
        passes_settings=await connection.fetchval(PASSES_SETTINGS),
    )


async def _read_tables(connection: Connection, group: TableGroup) -> GroupTables:
    placed = {row["name"]: row["worker"] for row in await connection.fetch(SELECT_PLACED)}
    found = GroupTables(group=group, worker=None, tables=())
    tables = [
        ProjectTable(is_placed=found.qualified(row["name"]) in placed, **row)
        for row in await connection.fetch(SELECT_TABLES, group.schema)
    ]
    workers = (placed[found.qualified(one.name)] for one in tables if one.is_placed)
    return replace(found, tables=tables, worker=next(workers, None))


async def _missing_assumptions(connection: Connection) -> list[Assumption]:
    """Raises Unavailable if a worker doesn't answer."""
    known = await _ask_workers(connection, SELECT_ASSUMED)
    missing = await connection.fetch(SELECT_NOT_ASSUMED, known)
    return [Assumption(**row) for row in missing]


async def _ask_workers(connection: Connection, sql: str, *values: object) -> list[str]:
    """The answer of each worker, or node. Raises Unavailable if one doesn't."""
    answers = await connection.fetch(sql, *values)
    if away := [f"{row['worker']}: {row['result']}" for row in answers if not row["success"]]:
        raise Unavailable(f"A worker doesn't answer: {'; '.join(away)}")
    return [row["result"] for row in answers]


async def _unreadable_views(connection: Connection, serving_role: str) -> list[str]:
    """Views on which the role has no rights on a worker. Raises Unavailable without an answer."""
    groups = await fetch_groups(connection)
    own: str = await connection.fetchval("SELECT current_schema()")
    schemas = [
        name
        for one in groups
        for name in (one.schema or own, one.searchable_schema, one.visible_schema)
    ]
    answers = await _ask_workers(connection, SELECT_UNREADABLE, schemas, serving_role)
    return sorted(
        {view for answer in answers for view in msgspec.json.decode(answer, type=list[str])}
    )


async def _plan_role(connection: Connection, role: str | None) -> list[Step]:
    """Sets for the role what a worker lacks of `SESSION_SETTINGS`. Citus passes it on to workers.

    Connections to workers that exist keep the settings that they have. Raises Unavailable.
    """
    serving = role or await connection.fetchval("SELECT current_user")
    answers = await _ask_workers(connection, SELECT_SET_FOR_ROLE, serving)
    known = [{*msgspec.json.decode(answer, type=list[str])} for answer in answers]
    statements = [
        await connection.fetchval(SELECT_SET_STATEMENT, serving, name, value)
        for name, value in SESSION_SETTINGS.items()
        if not all(f"{name}={value}" in some for some in known)
    ]
    label = f"set for {serving} on the workers what its sessions have on the coordinator"
    return [Step(label=label, statements=statements)] if statements else []


async def _plan_trust(connection: Connection) -> list[Step]:
    """Lets the indexes of a worker serve filters under policies. Only a superuser may.

    Raises Unavailable.
    """
    trusted = {*await _ask_workers(connection, SELECT_TRUSTED)}
    if trusted == {"t"} or not await connection.fetchval(SELECT_MAY_TRUST):
        return []
    label = "let indexes of the workers serve filters under policies"
    return [Step(label=label, statements=(TRUST.strip(),))]


async def _plan_hiding(connection: Connection) -> list[Step]:
    """Lets each node look up types without reading its catalogue again and again.

    Only a superuser may. Raises Unavailable.
    """
    stable = {*await _ask_workers(connection, SELECT_HIDING_STABLE)}
    if stable == {"t"} or not await connection.fetchval(SELECT_MAY_TRUST):
        return []
    label = "let new sessions look up types at once"
    return [Step(label=label, statements=(HIDE_STABLE.strip(),))]


async def _plan_triggers(connection: Connection) -> list[Step]:
    """Lets no function of a trigger keep its plans. Citus passes it on to the workers."""
    names = [row["name"] for row in await connection.fetch(SELECT_KEEPING_PLANS)]
    statements = [
        f"ALTER FUNCTION {name} SET plan_cache_mode = force_custom_plan" for name in names
    ]
    label = "let no trigger fill the memory of a session on a worker"
    return [Step(label=label, statements=statements)] if statements else []


async def plan(
    pool: Pool, serving_url: str | None = None, groups: int = 0, *, to_workers: bool = False
) -> list[Step]:
    """The steps that `distribute` would take. Raises NotDistributable, Unavailable."""
    role = _role(serving_url)
    async with translate_errors(), pool.acquire() as connection:
        await _check_migrated(pool)
        catalogue = await read_catalogue(connection)
        steps, new = _plan_known(catalogue, role), workers_of_new_groups(catalogue, groups)
        for number, worker in enumerate(new, len(catalogue.groups) + 1):
            # A group is made and taken back: nothing else knows the statements of its tables.
            transaction = connection.transaction()
            await transaction.start()
            try:
                await connection.execute(SET_LOCK_TIMEOUT)
                steps += await _create_group(connection, TableGroup(number), worker, serving_url)
            finally:
                await transaction.rollback()
        if to_workers:
            steps += await _plan_direct(connection, role)
        steps += [*await _plan_role(connection, role), *await _plan_trust(connection)]
        steps += [*await _plan_hiding(connection), *await _plan_triggers(connection)]
        missing = await _missing_assumptions(connection)
        return [*steps, *plan_cleaning(catalogue), *plan_assumptions(missing)]


def _plan_known(catalogue: Catalogue, role: str | None) -> list[Step]:
    """The steps for the groups that exist."""
    steps = [step for one in catalogue.groups for step in plan_placing(catalogue, one, role)]
    return [*steps, *plan_settings(catalogue)]


async def _plan_direct(connection: Connection, role: str | None) -> list[Step]:
    """The remaining steps for processes that connect to workers."""
    sharing = plan_sharing([SharedTable(**row) for row in await connection.fetch(SELECT_UNSHARED)])
    numbering = plan_numbering(
        [NumberedColumn(**row) for row in await connection.fetch(SELECT_UNNUMBERED)]
    )
    views = [] if role is None else await _unreadable_views(connection, role)
    # A worker may have been added since it was set.
    passing = await _ask_workers(connection, SELECT_PASSING)
    settings = [] if {*passing} == {"t"} else _passing_settings()
    return [*settings, *sharing, *numbering, *plan_rights(views, role or "")]


def workers_of_new_groups(catalogue: Catalogue, groups: int = 0) -> list[str]:
    """The worker of each group to make: those that have none, then those with the fewest groups.

    `groups` is how many there shall be at least.
    """
    # A group that isn't placed yet takes the first worker that is free.
    unplaced = sum(one.worker is None for one in catalogue.groups)
    counts = Counter(one.worker for one in catalogue.groups if one.worker is not None)
    counts.update(catalogue.free_workers[:unplaced])
    chosen = list[str]()
    while len(catalogue.groups) + len(chosen) < groups or any(
        not counts[worker] for worker in catalogue.workers
    ):
        fewest = min(catalogue.workers, key=lambda worker: counts[worker])
        counts[fewest] += 1
        chosen.append(fewest)
    return chosen


async def _create_group(
    connection: Connection, group: TableGroup, worker: str, serving_url: str | None
) -> list[Step]:
    """Makes a group in the open transaction. Returns what places its tables on the worker."""
    await create_group(connection, group, serving_url)
    tables = await _read_tables(connection, group)
    workers = [row[0] for row in await connection.fetch(SELECT_WORKERS)]
    free = [worker, *(one for one in workers if one != worker)]
    ours = Catalogue(workers=free, groups=(), passes_settings=True)
    made = Step(
        label=f"make group {group.number} for new organizations",
        # For readers of the statements: by now it exists, as `create_group` made it.
        statements=(
            f"CREATE SCHEMA IF NOT EXISTS {group.schema} /* and in it what `migrate` makes */",
        ),
    )
    return [made, *plan_placing(ours, tables, _role(serving_url))]


async def distribute(
    pool: Pool,
    serving_url: str | None = None,
    *,
    groups: int = 0,
    to_workers: bool = False,
    on_step: OnStep = ignore_step,
) -> list[Step]:
    """Gives each worker a group of tables, and returns what was done.

    If there are fewer than `groups` then, workers get further ones. With `to_workers`, processes
    can connect to the worker of a group. `pool` is that of the owner of the tables; `serving_url`
    as for `migrate`. Rows of the first group move along, and are counted before and after: then
    the connections of the serving role are ended, as they don't know the settings. Further groups
    start empty, while the service runs. Concurrent processes wait.
    Raises NotDistributable if the server has no Citus, migrations are pending, or the service runs
    while rows move; Unavailable.
    """
    role = _role(serving_url)
    async with translate_errors(), pool.acquire() as connection:
        try:
            await connection.execute("SET statement_timeout = 0")
            await connection.execute("SET lock_timeout = 0")
            await connection.execute("SELECT pg_advisory_lock($1)", AdvisoryLock.MIGRATIONS)
            await _check_migrated(pool)
            catalogue = await read_catalogue(connection)
            steps = _plan_known(catalogue, role)
            total = sum(step.local_bytes for step in steps)
            if steps:
                await _check_role(connection, role)
                async with _transaction(connection):
                    await _run_all(connection, steps, on_step, total)
                on_step("distributed", total, total)
                if role is not None:
                    await connection.execute(END_OTHER_SESSIONS, role)
            new = workers_of_new_groups(catalogue, groups)
            for number, worker in enumerate(new, len(catalogue.groups) + 1):
                async with _transaction(connection):
                    group = TableGroup(number)
                    more = await _create_group(connection, group, worker, serving_url)
                    await _run_all(connection, more, on_step, total, total)
                steps += more
            if to_workers:
                direct = await _plan_direct(connection, role)
                async with _transaction(connection):
                    await _run_all(connection, direct, on_step, total, total)
                steps += direct
            role_steps = await _plan_role(connection, role)
            for step in role_steps:
                on_step(step.label, total, total)
                await _set_for_role(connection, step)
            after = [
                *await _plan_trust(connection),
                *await _plan_hiding(connection),
                *await _plan_triggers(connection),
                *plan_cleaning(await read_catalogue(connection)),
                *plan_assumptions(await _missing_assumptions(connection)),
            ]
            for step in after:
                on_step(step.label, total, total)
                await _run(connection, step)
            return [*steps, *role_steps, *after]
        finally:
            await connection.execute("SELECT pg_advisory_unlock_all()")
            await pool.expire_connections()


@asynccontextmanager
async def _transaction(connection: Connection) -> AsyncIterator[None]:
    async with connection.transaction():
        # One message each: Citus sends a worker the whole message that a setting came in.
        await connection.execute(SET_LOCK_TIMEOUT)
        await connection.execute("SET LOCAL pandaprobe.scope = 'all'")
        # Triggers of payloads write to a table of the same worker.
        await connection.execute("SET LOCAL citus.enable_unsafe_triggers = on")
        yield


async def _run_all(
    connection: Connection, steps: Sequence[Step], on_step: OnStep, total: int, done: int = 0
) -> None:
    for step in steps:
        on_step(step.label, done, total)
        await _run(connection, step)
        done += step.local_bytes if total > done else 0


async def _run(connection: Connection, step: Step) -> None:
    """Raises Unavailable if rows are missing afterwards; nothing of the transaction stays then."""
    before: int | None = None
    for statement in step.statements:
        is_placing = "create_distributed_table" in statement
        if is_placing:
            # Nothing is written until the commit, so that the numbers are of the same rows.
            await connection.execute(f"LOCK TABLE {step.moved} IN ACCESS EXCLUSIVE MODE")
            before = await _count(connection, step.moved)
        if "run_command_on_" not in statement:
            await connection.execute(statement)
        elif refused := await connection.fetchval(statement):
            raise Unavailable(f"A worker refused a statement: {refused}")
        if is_placing and (after := await _count(connection, step.moved)) != before:
            raise Unavailable(
                f"{step.moved} had {before:,} rows and has {after:,} on the worker: nothing was "
                "changed"
            )


async def _set_for_role(connection: Connection, step: Step) -> None:
    """Raises NotDistributable if only an administrator may do it."""
    try:
        await _run(connection, step)
    except asyncpg.InsufficientPrivilegeError as error:
        raise NotDistributable(
            f"Everything is placed, but an administrator has to run: {'; '.join(step.statements)}"
        ) from error


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
