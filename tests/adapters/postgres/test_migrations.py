"""Migrations go up, down and up again; the schema keeps its rules."""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from urllib.parse import urlsplit

import asyncpg
import pytest

from adapters.postgres.database.pool import IN_PROJECT, Pool, PoolSettings, open_pool
from adapters.postgres.database.table_groups import TableGroup
from adapters.postgres.database.tenants import VIEWS_OF_SCOPE
from adapters.postgres.identity.project_purge import PROJECT_TABLES
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.schema import migrating, migrations
from adapters.postgres.schema.fitness import OBJECTS, UnreleasedSchema, check_schema
from adapters.postgres.schema.pending import (
    CONTRACTION,
    MIGRATIONS_APP,
    MIGRATIONS_FOLDER,
    expanding,
    known_migrations,
    pending_migrations,
)
from adapters.postgres.schema.sql_migration import SqlMigration
from application.table_groups import FIRST_GROUP
from domain.errors import Forbidden, Unavailable
from domain.page import PageRequest
from tests.adapters.postgres.tracing.test_plans import nodes
from tests.support.builders.values import span, trace
from tests.support.clients.schema_objects import read_objects
from tests.support.fixtures.data_plane import over_postgres, project
from tests.support.fixtures.servers import citus
from tests.support.fixtures.servers.migrated_postgres import (
    copy_database,
    with_database,
)
from tests.support.waiting import until

pytestmark = pytest.mark.service

REFUSING = """
CREATE OR REPLACE FUNCTION refuse_while_moving() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN {} END $$
"""
NEWER = "9999_newer"  # a migration that this version does not have
OF_PICCOLO = "migration"

# Keys that need not begin with the tenant: ids that are globally unique, and the digest, by which a
# tenant is found.
GLOBAL_KEYS = {("id",), ("digest",)}
# An inverted index whose terms include the project.
SEARCHES = {("terms",)}
# Not for queries by project alone, which have another index of the table.
SEARCHES |= {("target", "project_id"), ("text_id",)}
# Columns by which periodic tasks find due or expired rows, across tenants.
UPKEEP = {("announced_at",), ("due_at",), ("created_at",), ("expires_at",)}
UPKEEP |= {("next_run_at", "project_id", "id"), ("updated_at",), ("at",)}
UPKEEP |= {("requested_at", "project_id", "id"), ("erased_at",), ("held_until", "project_id", "id")}
UPKEEP |= {("next_attempt_at", "project_id", "id"), ("completed_at", "project_id", "id")}
UPKEEP |= {("due_at", "project_id", "id"), ("expires_at", "project_id", "id")}
UPKEEP |= {("stored_at", "project_id", "id"), ("written_at",), ("removed_at",)}
UPKEEP |= {("released_at",)}
UPKEEP |= {("otlp_stored_at", "project_id", "trace_id"), ("stored_at", "project_id", "trace_id")}

COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
  AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.relname, a.attnum
"""
INDEXES = """
SELECT i.indrelid::regclass::text AS relation, i.indisunique, pg_get_indexdef(i.indexrelid) AS text,
  array(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k(number, place)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
        WHERE k.place <= i.indnkeyatts ORDER BY k.place) AS columns
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = 'public'::regnamespace ORDER BY text
"""
CONSTRAINTS = """
SELECT conrelid::regclass::text AS relation, conname, pg_get_constraintdef(oid) AS text
FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY conrelid, conname
"""
VIEWS = "SELECT viewname, definition FROM pg_views WHERE schemaname = 'visible' ORDER BY viewname"
ASSUMED = """
SELECT c.relname::text AS relation, a.attoptions
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attname = 'project_id'
"""
SMALL_PROJECTS = 1_000
INSERT_SCORES_OF_SMALL_PROJECTS = f"""
INSERT INTO trace_scores (project_id, id, trace_id, name, outcome, value, number, data_type, source,
                          metadata, created_at, updated_at)
SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'm', 'scored', '1', 1, 'NUMERIC',
       'AUTOMATED', '{{}}', now(), now()
FROM generate_series(1, {SMALL_PROJECTS})
"""
SHOWN = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type FROM pg_attribute a
WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

WAITING_FOR = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = $1
"""


@asynccontextmanager
async def new_copy(postgres_url: str, template: str) -> AsyncIterator[str]:
    """The name of a new database, with Piccolo's one engine turned away from the others' meanwhile.

    It is dropped at the end.
    """
    if citus.IS_USED:
        pytest.skip("migrates from the beginning without Citus; test_distributing.py does with it")
    before = DB.pool, DB.config
    DB.pool = None
    name = urlsplit(await copy_database(postgres_url, template)).path.removeprefix("/")
    try:
        yield name
    finally:
        DB.pool, DB.config = before
        server = await asyncpg.connect(postgres_url)
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Pool]:
    """An empty database of this test's own."""
    async with (
        new_copy(postgres_url, "template1") as name,
        open_pool(DB, PoolSettings(url=with_database(postgres_url, name))) as pool,
    ):
        yield pool


@pytest.fixture(scope="module")
async def template(postgres_url: str) -> AsyncIterator[str]:
    """The name of a migrated database, to which no test connects."""
    async with new_copy(postgres_url, "template1") as name:
        async with open_pool(DB, PoolSettings(url=with_database(postgres_url, name))) as pool:
            await migrating.migrate(pool)
        yield name


@pytest.fixture
async def migrated(postgres_url: str, template: str) -> AsyncIterator[Pool]:
    """A migrated database of this test's own. To migrate another takes five times as long."""
    async with (
        new_copy(postgres_url, template) as name,
        open_pool(DB, PoolSettings(url=with_database(postgres_url, name))) as pool,
    ):
        yield pool


class Copied:
    """A migrated database whose changes are rolled back after each test."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[asyncpg.Connection]:
        yield self.connection


@pytest.fixture(scope="module")
async def shared_copy(postgres_url: str, template: str) -> AsyncIterator[asyncpg.Connection]:
    async with new_copy(postgres_url, template) as name:
        connection = await asyncpg.connect(with_database(postgres_url, name))
        yield connection
        await connection.close()


@pytest.fixture
async def copied(shared_copy: asyncpg.Connection) -> AsyncIterator[Copied]:
    """For tests that only read, or change the schema by the one connection that looks at it."""
    transaction = shared_copy.transaction()
    await transaction.start()
    yield Copied(shared_copy)
    await transaction.rollback()


async def schema(pool: Pool) -> list[tuple[object, ...]]:
    """Everything that the migrations decide, in order."""
    rows = [row for sql in (COLUMNS, INDEXES, CONSTRAINTS, VIEWS) for row in await pool.fetch(sql)]
    return [tuple(map(str, row)) for row in rows]


async def relations(pool: Pool | asyncpg.Connection) -> set[str]:
    return {row["relname"] for row in await pool.fetch(COLUMNS)} - {OF_PICCOLO}


async def record(pool: Pool, name: str) -> None:
    await pool.execute(
        "INSERT INTO migration (name, app_name) VALUES ($1, $2)", name, MIGRATIONS_APP
    )


async def test_planner_assumes_that_a_project_is_large(pool):
    rows = await pool.fetch(ASSUMED)
    others = {"projects", "api_keys", "download_tickets", "audit_log", "login_codes"}
    missing = {row["relation"] for row in rows if "n_distinct=2" not in (row["attoptions"] or ())}
    assert missing - others == set()
    assert len(rows) > len(others) + 40


async def test_planner_expects_many_rows_where_most_projects_have_one(copied):
    connection = copied.connection
    await connection.execute(INSERT_SCORES_OF_SMALL_PROJECTS)
    await connection.execute("ANALYZE trace_scores")
    plan = await connection.fetchval(
        f"EXPLAIN (FORMAT JSON) SELECT id FROM trace_scores WHERE {IN_PROJECT}", uuid.uuid4()
    )
    [expected] = {
        node["Plan Rows"]
        for node in nodes(json.loads(plan)[0]["Plan"])
        if node.get("Relation Name") == "trace_scores"
    }
    assert expected == SMALL_PROJECTS / 2


async def test_migrations_revert_and_run_again(database):
    due = await pending_migrations(database)
    assert due == known_migrations()
    assert await migrating.migrate(database) == due
    up = await schema(database)
    assert {"projects", "traces", "eval_runs"} < await relations(database)
    await migrating.roll_back(due[0])
    assert await relations(database) == set()
    assert await pending_migrations(database) == due
    assert await migrating.migrate(database) == due
    assert await schema(database) == up


async def test_objects_of_the_schema_are_listed(database):
    await migrating.migrate(database, contract=True)
    async with database.acquire() as connection:
        objects = await read_objects(connection)
    assert objects == OBJECTS.read_text(), "run python -m tests.support.clients.schema_objects"


@pytest.mark.parametrize(
    ("change", "lacks"),
    [
        ("ALTER TABLE traces DROP COLUMN release CASCADE", "column traces.release text and"),
        ("ALTER TABLE eval_jobs ALTER attempts TYPE bigint", "column eval_jobs.attempts integer"),
        ("ALTER TABLE workers DROP CONSTRAINT workers_pkey", "key workers (id)"),
        ("DROP FUNCTION read_views(uuid) CASCADE", "function read_views"),
        (REFUSING.format("RETURN NULL;"), "function refuse_while_moving"),
        ("DROP VIEW visible.traces", "view visible.traces, and no"),
        ("DROP VIEW searchable.sessions", "view searchable.sessions, and no"),
        ("DROP VIEW visible_sessions", "view visible_sessions, and no"),
        ("DROP POLICY tenant ON traces", "policy tenant on traces, and no"),
        ("DROP TRIGGER audit_log_chain ON audit_log", "trigger audit_log_chain on audit_log"),
        ("DROP TABLE long_texts CASCADE", "column long_texts.project_id uuid and 4 more"),
    ],
)
async def test_database_of_unreleased_version_is_refused(copied, change, lacks):
    """The first migration was another one when it ran."""
    await check_schema(copied)
    await copied.connection.execute(change)
    with pytest.raises(UnreleasedSchema, match=re.escape(f"lacks {lacks}")):
        await check_schema(copied)


async def test_database_of_unreleased_version_is_not_migrated(migrated):
    await migrated.execute("DROP FUNCTION read_views(uuid) CASCADE")
    with pytest.raises(UnreleasedSchema, match="lacks function read_views"):
        await migrating.migrate(migrated)


async def test_comments_and_spaces_of_functions_make_no_difference(copied):
    [[text]] = await copied.connection.fetch(
        "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'refuse_while_moving'"
    )
    assert "BEGIN" in text
    await copied.connection.execute(text.replace("BEGIN", "-- another comment\n\n  BEGIN", 1))
    assert await check_schema(copied) is None


async def test_database_with_more_is_accepted(migrated):
    for change in (
        "CREATE TABLE later (id uuid PRIMARY KEY)",
        "ALTER TABLE traces ADD COLUMN later text DEFAULT ''",
        "CREATE UNIQUE INDEX later_workers ON workers (id, version)",
        "DROP INDEX workers_seen",
        "CREATE SCHEMA later; CREATE FUNCTION later.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ):
        await migrated.execute(change)
        assert await migrating.migrate(migrated) == [], change


async def test_database_whose_tables_have_names_of_views_is_accepted(copied):
    """As `distribute` names them."""
    for table, view in VIEWS_OF_SCOPE.items():
        await copied.connection.execute(f"DROP VIEW {view}; ALTER TABLE {table} RENAME TO {view}")
    await check_schema(copied)
    await copied.connection.execute("ALTER TABLE spans DROP COLUMN kind CASCADE")
    with pytest.raises(UnreleasedSchema, match=r"lacks column span_rows\.kind"):
        await check_schema(copied)


async def test_views_have_all_columns_of_their_tables(copied):
    views = [row["viewname"] for row in await copied.connection.fetch(VIEWS)]
    assert "traces" in views
    for view in views:
        ours = await copied.connection.fetch(SHOWN, f"visible.{view}")
        assert ours == await copied.connection.fetch(SHOWN, f"public.{view}")


async def test_tables_can_be_in_another_schema(database):
    name = await database.fetchval("SELECT current_database()")
    await database.execute("CREATE SCHEMA elsewhere")
    await database.execute(f"ALTER DATABASE {name} SET search_path = elsewhere")
    await database.expire_connections()
    await migrating.migrate(database)
    lies = "SELECT to_regclass('public.traces'), to_regclass('elsewhere.traces') IS NOT NULL"
    assert tuple(await database.fetchrow(lies)) == (None, True)
    assert await database.fetch("SELECT 1 FROM visible.traces") == []
    await database.execute("SELECT read_views(gen_random_uuid())")


async def test_role_without_create_uses_existing_schema(database):
    name = await database.fetchval("SELECT current_database()")
    role = f"plain_{name}"
    await database.execute(f"CREATE ROLE {role}")
    try:
        await database.execute(f"GRANT ALL ON SCHEMA public TO {role}")
        for schema_name in ("searchable", "visible"):
            await database.execute(f"CREATE SCHEMA {schema_name} AUTHORIZATION {role}")
        await database.execute(f"ALTER DATABASE {name} SET role = {role}")
        await database.expire_connections()
        due = await pending_migrations(database)
        assert await migrating.migrate(database) == due
        assert await database.fetchval("SELECT current_user") == role
    finally:
        await database.execute(f"SET ROLE NONE; DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize("has_tables", [False, True])
async def test_role_that_may_not_migrate_is_told_who_may(database, has_tables):
    """Before its tables exist, and once they are those of another role."""
    name = await database.fetchval("SELECT current_database()")
    role = f"stranger_{name}"
    if has_tables:
        await migrating.migrate(database)
        await database.execute("ALTER TABLE traces NO FORCE ROW LEVEL SECURITY")
    await database.execute(
        f"CREATE ROLE {role}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
    )
    try:
        await database.execute(f"ALTER DATABASE {name} SET role = {role}")
        await database.expire_connections()
        with pytest.raises(Forbidden, match=f"{role} isn't: set PANDAPROBE_MIGRATION_DATABASE_URL"):
            await migrating.migrate(database)
    finally:
        await database.execute(f"SET ROLE NONE; DROP OWNED BY {role}; DROP ROLE {role}")


async def test_second_run_does_nothing(migrated):
    up = await schema(migrated)
    assert await pending_migrations(migrated) == []
    assert await migrating.migrate(migrated) == []
    assert await schema(migrated) == up


async def test_unrecorded_migration_can_run_again(database):
    due = await migrating.migrate(database)
    up = await schema(database)
    await database.execute("DELETE FROM migration")  # killed between its commit and the note
    assert await migrating.migrate(database) == due
    assert await schema(database) == up
    await record(database, NEWER)
    await database.execute("DELETE FROM migration WHERE name = $1", due[-1])
    assert await pending_migrations(database) == due[-1:]
    assert await migrating.migrate(database) == due[-1:]
    assert await pending_migrations(database) == []


async def test_newer_database_is_unchanged_whatever_it_has_changed(migrated):
    await record(migrated, NEWER)
    await migrated.execute("ALTER TABLE eval_jobs ALTER attempts TYPE bigint")
    up = await schema(migrated)
    assert await pending_migrations(migrated) == []
    assert await migrating.migrate(migrated) == []
    assert await schema(migrated) == up


async def test_concurrent_processes_migrate_once(database):
    due = await pending_migrations(database)
    ran = await asyncio.gather(*(migrating.migrate(database) for _ in range(3)))
    assert sorted(ran) == [[], [], due]
    assert "traces" in await relations(database)
    # The turn is given back, and so is the connection as it was.
    assert await database.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    assert await migrating.migrate(database) == []


async def test_unreachable_server_raises_unavailable(database):
    await database.close()
    with pytest.raises(Unavailable):
        await migrating.migrate(database)


async def test_rows_of_removed_project_are_deleted_from_every_table(copied):
    columns = await copied.connection.fetch(COLUMNS)
    of_projects = {row["relname"] for row in columns if row["attname"] == "project_id"}
    assert len(PROJECT_TABLES) == len(set(PROJECT_TABLES))
    below_a_view = {"spans": "span_rows", "span_fragments": "span_fragment_rows"}
    deleted = {below_a_view.get(table, table) for table in PROJECT_TABLES}
    assert deleted == of_projects - {"removals"}


async def test_tenant_tables_have_keys_starting_with_tenant(copied):
    columns: dict[str, set[str]] = {}
    for row in await copied.connection.fetch(COLUMNS):
        columns.setdefault(row["relname"], set()).add(row["attname"])
    seen = set()
    for row in await copied.connection.fetch(INDEXES):
        relation, key = row["relation"], tuple(row["columns"])
        if "project_id" in columns[relation]:
            seen.add(relation)
            assert key[0] == "project_id" or key in SEARCHES | UPKEEP, row["text"]
        elif "organization_id" in columns[relation] and row["indisunique"]:
            seen.add(relation)
            assert key[0] == "organization_id" or key in GLOBAL_KEYS, row["text"]
    assert seen == await relations(copied.connection) - {
        *("organizations", "users", "browser_sessions", "sign_in_attempts", "workers"),
        "shared_spending",  # by the scope of a budget
        "table_groups",
    }


# --- the version before serves while the next one migrates ------------------------------------

BREAKING = re.compile(
    r"\b(DROP\s+(TABLE|COLUMN)|RENAME|ALTER\s+COLUMN\s+\w+\s+(SET\s+DATA\s+)?TYPE|SET\s+NOT\s+NULL)\b"
    r"|\bADD\s+COLUMN\b(?!.*\bDEFAULT\b).*\bNOT\s+NULL\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize(
    ("known", "needed"),
    [
        (["0001"], ["0001"]),
        (["0001", "0002_contract"], ["0001"]),
        (["0001", "0002_contract", "0003"], ["0001", "0002_contract", "0003"]),
        (["0001", "0002", "0003_contract", "0004_contract"], ["0001", "0002"]),
        ([], []),
    ],
)
def test_last_contractions_are_not_needed(known, needed):
    assert expanding(known) == needed


@pytest.mark.parametrize(
    ("sql", "breaks"),
    [
        ("ALTER TABLE traces ADD COLUMN shade text", False),
        ("ALTER TABLE traces ADD COLUMN shade text NOT NULL DEFAULT ''", False),
        ("ALTER TABLE traces ADD COLUMN shade text NOT NULL", True),
        ("ALTER TABLE traces DROP COLUMN shade", True),
        ("ALTER TABLE traces RENAME COLUMN shade TO hue", True),
        ("ALTER TABLE traces ALTER COLUMN shade TYPE integer", True),
        ("ALTER TABLE traces ALTER COLUMN shade SET NOT NULL", True),
        ("DROP TABLE shades", True),
        ("DROP INDEX shades_hue", False),
    ],
)
def test_breaking_statements_are_recognized(sql, breaks):
    assert bool(BREAKING.search(sql)) is breaks


def test_migrations_expand_unless_they_are_named_contractions():
    files = [MIGRATIONS_FOLDER / f"{name}.py" for name in known_migrations()[1:]]
    expansions = [path for path in files if not path.stem.endswith(CONTRACTION)]
    broken = [path.name for path in expansions if BREAKING.search(path.read_text())]
    assert broken == []


async def test_version_serves_with_the_schema_of_the_next_one(migrated):
    for table in ("traces", "span_rows", "sessions", "trace_scores"):
        await migrated.execute(f"ALTER TABLE {table} ADD COLUMN of_next text NOT NULL DEFAULT 'n'")
    await record(migrated, NEWER)
    await migrated.expire_connections()
    async with over_postgres(migrated) as plane:
        ours, sent = project(), trace(span(), session_id="s")
        await plane.traces.put(ours, sent)
        assert (await plane.traces.get(ours, sent.id)).id == sent.id
        assert (await plane.sessions.get(ours, "s", PageRequest())).summary.trace_count == 1
    assert await pending_migrations(migrated, contract=True) == []


def await_unlock(held: int) -> str:
    """A script that keeps its locks until `held` is free, however slow this machine is."""
    return f"SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock({held})"


async def test_request_and_migration_of_a_table_and_its_view_do_not_end_each_other(migrated):
    held, column = 7001, "ALTER TABLE traces ADD COLUMN IF NOT EXISTS of_next text"
    migration = SqlMigration(
        id="9998_next",
        description="a column, and the view that shows it",
        group_scripts=lambda _: (column, await_unlock(held)),
        views_of_group=lambda _: ("CREATE OR REPLACE VIEW visible.traces AS SELECT * FROM traces",),
    )
    async with migrated.acquire() as other, migrated.acquire() as reader:
        await other.execute("SELECT pg_advisory_lock($1)", held)
        migrating_now = asyncio.create_task(migration.manager().run())
        await until(lambda: other.fetchval(WAITING_FOR, "advisory"))
        # It has the lock of the view, and waits for that of the table.
        await reader.execute("SET lock_timeout = 0")
        reading = asyncio.create_task(reader.fetch("SELECT * FROM visible.traces"))
        await until(lambda: other.fetchval(WAITING_FOR, "relation"))
        await other.execute("SELECT pg_advisory_unlock($1)", held)
        assert await reading == []
        await migrating_now
        names = {row["attname"] for row in await other.fetch(SHOWN, "visible.traces")}
    assert "of_next" in names


async def test_request_and_migration_of_several_views_do_not_end_each_other(migrated):
    held = 7002
    again = "CREATE OR REPLACE VIEW visible.{0} AS SELECT * FROM {0}"
    migration = SqlMigration(
        id="9998_next",
        description="two views",
        views_of_group=lambda _: (
            again.format("traces"),
            await_unlock(held),
            again.format("sessions"),
        ),
    )
    async with migrated.acquire() as other, migrated.acquire() as reader:
        await other.execute("SELECT pg_advisory_lock($1)", held)
        migrating_now = asyncio.create_task(migration.manager().run())
        await until(lambda: other.fetchval(WAITING_FOR, "advisory"))
        async with reader.transaction():
            await reader.execute("SET LOCAL lock_timeout = 0")
            assert await reader.fetch("SELECT * FROM visible.sessions") == []
            await other.execute("SELECT pg_advisory_unlock($1)", held)
            assert await reader.fetch("SELECT * FROM visible.traces") == []
        await migrating_now


async def test_new_group_gets_the_views_of_later_migrations(migrated):
    migration = SqlMigration(
        id="9998_next",
        description="a table and its view",
        group_scripts=lambda _: ("CREATE TABLE of_next (name text)",),
        views_of_group=lambda _: ("CREATE VIEW visible_of_next AS SELECT * FROM of_next",),
    )
    async with migrated.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await migration.run_in_group(connection, TableGroup(FIRST_GROUP))
        assert await connection.fetch("SELECT * FROM visible_of_next") == []
        await transaction.rollback()


def test_each_view_is_in_a_script_of_its_own():
    first = import_module(f"{migrations.__name__}.{known_migrations()[0]}")
    scripts = first.views_of_group(TableGroup(FIRST_GROUP))
    views = [script.count("CREATE OR REPLACE VIEW") for script in scripts]
    assert (max(views), sum(views)) == (1, 16)


async def test_request_waits_behind_a_migration_that_waits_for_a_long_transaction(migrated):
    migration = SqlMigration(
        id="9998_next",
        description="a column",
        group_scripts=lambda _: ("ALTER TABLE traces ADD COLUMN of_next text",),
    )
    async with migrated.acquire() as long, migrated.acquire() as reader:
        async with long.transaction():
            await long.execute("LOCK TABLE traces IN ACCESS SHARE MODE")
            migrating_now = asyncio.create_task(migration.manager().run())
            await until(lambda: reader.fetchval(WAITING_FOR, "relation"))
            assert await reader.fetch("SELECT * FROM traces") == []
        await migrating_now
        names = {row["attname"] for row in await reader.fetch(SHOWN, "traces")}
    assert "of_next" in names
