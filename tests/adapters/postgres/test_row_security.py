"""Row-level security: a statement finds and writes rows of its scope only (docs/adr/0036)."""

import asyncio
import importlib
import os
import pkgutil
import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import pytest

from adapters import postgres
from adapters.postgres.database.pool import (
    IN_PROJECT,
    Connection,
    Engine,
    Pool,
    PoolSettings,
    open_pool,
)
from adapters.postgres.database.tenants import (
    ALL_TENANTS,
    NO_TENANTS,
    Scope,
    scoped_transaction,
    within,
)
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.schema import migrating
from adapters.postgres.schema.serving_role import SEARCHED_TABLES, prepare_serving_role
from domain.ids import ProjectId, ScoreId, SpanId, TraceId
from tests.support.builders.scores import trace_score
from tests.support.builders.values import span, trace
from tests.support.fixtures.data_plane import over_postgres
from tests.support.fixtures.servers import citus
from tests.support.waiting import until

pytestmark = pytest.mark.service

# Tables with rows of tenants: from the catalog, so that a new table fails until it has a policy.
TENANT_TABLES: Final = """
SELECT DISTINCT c.relname, c.relrowsecurity, c.relforcerowsecurity,
  array(SELECT polname::text FROM pg_policy WHERE polrelid = c.oid) AS policies
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT a.attisdropped
  AND (a.attname IN ('project_id', 'organization_id') OR c.relname = 'organizations')
"""
IS_WAITED_FOR: Final = """
SELECT EXISTS (SELECT 1 FROM pg_locks WHERE relation = $1::text::regclass AND NOT granted)
"""
# The serving role may only insert into these. It reads and changes them through a view.
TABLES_BELOW_VIEWS: Final = {"span_rows", "span_fragment_rows"}
ROLE: Final = """
SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb,
  EXISTS (SELECT 1 FROM pg_class WHERE relowner = pg_roles.oid) AS owns
FROM pg_roles WHERE rolname = current_user
"""
INSERT_BUDGET: Final = (
    "INSERT INTO judge_budgets (project_id, monthly_usd, updated_at) VALUES ($1, 1, now())"
)
COUNT_BUDGETS: Final = "SELECT count(*) FROM judge_budgets"


# Values that match rows wherever a statement has no condition of its own on the tenant.
VALUES: Final = {
    "bool": True, "int2": 1, "int4": 1, "int8": 1, "float8": 1.0, "numeric": Decimal(1),
    "text": "a", "varchar": "a", "name": "a", "bytea": b"a", "json": b"{}",
    "interval": timedelta(days=1), "date": date(2100, 1, 1),
    "timestamptz": datetime(2100, 1, 1, tzinfo=UTC),
}  # fmt: skip
# Errors of values that no row has; that a row is refused comes before them.
VALUE_ERRORS: Final = (
    *(asyncpg.DataError, asyncpg.IntegrityConstraintViolationError),
    *(asyncpg.AmbiguousParameterError, asyncpg.IndeterminateDatatypeError),
    *(asyncpg.InvalidColumnReferenceError, asyncpg.CardinalityViolationError),
)


IN_PLACE_OF_VIEWS: Final = pytest.mark.skipif(
    citus.VARIABLE in os.environ, reason="with Citus, policies are in place of the views"
)
KEEPS_SETTINGS: Final = pytest.mark.skipif(
    citus.VARIABLE in os.environ, reason="settings of a session don't reach the workers of Citus"
)

# Statements that return the ids they were given.
ECHOES: Final = {
    *("SELECT_STORABLE", "_SELECT_SENT"),
    *("SELECT_TRACE_SIZES", "SELECT_EMPTY_SESSIONS", "SELECT_RELEASES"),
    "COMPUTE_BUCKETS",  # each bucket that is asked for, with a count of 0
    "SELECT_SMALLEST_GROUP",  # a number of a group: of no tenant
    "SELECT_RUNS_TO_SETTLE",  # those of the runs that it is given
    "SELECT_CLOSED",  # a day and an id of a transaction
}


def statements() -> dict[str, str]:
    """Every complete statement that is a constant of the adapter, by its name."""
    found: dict[str, str] = {}
    for module in pkgutil.walk_packages(postgres.__path__, "adapters.postgres."):
        if ".migrations" in module.name or "piccolo" in module.name:
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            texts = value.values() if isinstance(value, dict) else [value]
            for n, text in enumerate(text for text in texts if isinstance(text, str)):
                if is_statement(text):
                    found[f"{name}.{n}"] = text
    return found


def is_statement(text: str) -> bool:
    is_whole = "{" not in text.replace("{}", "").replace("'{}'", "") and ";" not in text
    return is_whole and text.lstrip().startswith(
        ("SELECT ", "WITH ", "INSERT ", "UPDATE ", "DELETE ")
    )


def value_of(type_: str, tenant: uuid.UUID) -> object:
    if type_.endswith("[]"):
        return [value_of(type_.removesuffix("[]"), tenant)]
    return tenant if type_ == "uuid" else VALUES[type_]


def new_project() -> ProjectId:
    return ProjectId(uuid.uuid4())


@pytest.fixture
async def ours(serving_pool: Pool) -> ProjectId:
    """A project with one row."""
    project = new_project()
    await within(serving_pool, project).execute(INSERT_BUDGET, project)
    return project


async def test_every_table_with_tenants_has_a_forced_policy(pool: Pool):
    tables = await pool.fetch(TENANT_TABLES)
    assert len(tables) > 30
    for table in tables:
        if table["relname"] in TABLES_BELOW_VIEWS:
            continue
        assert table["relrowsecurity"], table
        assert table["policies"] == ["tenant"], table
        # The views of these are the owner's, which isn't the serving role here.
        assert table["relforcerowsecurity"] != (table["relname"] in SEARCHED_TABLES), table


async def test_serving_role_owns_nothing_and_passes_no_policy(serving_pool: Pool):
    [role] = await serving_pool.fetch(ROLE)
    assert not any(role.values())


@IN_PLACE_OF_VIEWS
@pytest.mark.parametrize("table", sorted(TABLES_BELOW_VIEWS))
@pytest.mark.parametrize("sql", ["SELECT count(*) FROM {}", "DELETE FROM {}", "TRUNCATE {}"])
async def test_serving_role_may_not_read_or_change_tables_below_views(
    serving_pool: Pool, table: str, sql: str
):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await within(serving_pool, ALL_TENANTS).execute(sql.format(table))


@IN_PLACE_OF_VIEWS
async def test_view_of_spans_shows_and_changes_only_its_scope(pool: Pool, serving_pool: Pool):
    ours, theirs = new_project(), new_project()
    async with over_postgres(serving_pool) as plane:
        for project in (ours, theirs):
            await plane.traces.put(project, trace(span()))
    mine = within(serving_pool, ours)
    assert await mine.fetchval("SELECT array_agg(project_id) FROM spans") == [ours]
    assert await mine.execute("DELETE FROM spans WHERE project_id = $1", theirs) == "DELETE 0"
    with pytest.raises(asyncpg.WithCheckOptionViolationError):
        await mine.execute("UPDATE spans SET project_id = $1", theirs)
    assert await serving_pool.fetchval("SELECT count(*) FROM spans") == 0
    assert await serving_pool.execute("DELETE FROM spans") == "DELETE 0"
    assert await within(pool, theirs).fetchval("SELECT count(*) FROM spans") == 1


async def test_statement_without_scope_finds_nothing(serving_pool: Pool, ours: ProjectId):
    assert await serving_pool.fetchval(COUNT_BUDGETS) == 0
    assert await serving_pool.execute("DELETE FROM judge_budgets") == "DELETE 0"
    assert await serving_pool.execute("UPDATE judge_budgets SET monthly_usd = 2") == "UPDATE 0"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await serving_pool.execute(INSERT_BUDGET, new_project())
    assert await within(serving_pool, ours).fetchval(COUNT_BUDGETS) == 1


@pytest.mark.parametrize("scope", [uuid.uuid4(), [uuid.uuid4(), uuid.uuid4()], NO_TENANTS])
async def test_statement_in_another_scope_finds_nothing(
    serving_pool: Pool, ours: ProjectId, scope: Scope
):
    theirs = within(serving_pool, scope)
    assert await theirs.fetchval(COUNT_BUDGETS) == 0
    sql = "UPDATE judge_budgets SET monthly_usd = 2 WHERE project_id = $1"
    assert await theirs.execute(sql, ours) == "UPDATE 0"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await theirs.execute(INSERT_BUDGET, new_project())


async def test_row_cannot_be_moved_to_another_tenant(serving_pool: Pool, ours: ProjectId):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await within(serving_pool, ours).execute(
            "UPDATE judge_budgets SET project_id = $1", new_project()
        )


async def test_scope_of_several_tenants_and_of_all(serving_pool: Pool, ours: ProjectId):
    other = new_project()
    both = within(serving_pool, [ours, other])
    await both.execute(INSERT_BUDGET, other)
    assert await both.fetchval(COUNT_BUDGETS) == 2
    assert await within(serving_pool, ALL_TENANTS).fetchval(COUNT_BUDGETS) >= 2


async def test_scope_ends_with_its_transaction(serving_url: str, pool: Pool, ours: ProjectId):
    async with open_pool(Engine(config={}), PoolSettings(url=serving_url, size=1)) as one:
        for scope in (ours, ALL_TENANTS):
            assert await within(one, scope).fetchval(COUNT_BUDGETS) > 0
            assert await one.fetchval(COUNT_BUDGETS) == 0
        with pytest.raises(asyncpg.DivisionByZeroError):
            await within(one, ours).fetchval("SELECT 1 / 0")
        assert await one.fetchval(COUNT_BUDGETS) == 0


READ_SCOPE: Final = "SELECT current_setting('pandaprobe.tenants', true)"


@KEEPS_SETTINGS
async def test_session_keeps_the_scope_for_statements_of_the_same_tenants_only(
    serving_url: str, ours: ProjectId
):
    theirs = new_project()
    async with open_pool(Engine(config={}), PoolSettings(url=serving_url, size=1)) as one:
        async with one.acquire() as connection:
            assert connection.keeps_settings
        assert await within(one, ours).fetchval(COUNT_BUDGETS) == 1
        async with one.acquire_with_last_scope() as connection:
            assert await connection.fetchval(READ_SCOPE) == str(ours)
            async with scoped_transaction(connection, theirs):
                assert await connection.fetchval(COUNT_BUDGETS) == 0
            assert await connection.fetchval(COUNT_BUDGETS) == 1
        assert await within(one, theirs).fetchval(COUNT_BUDGETS) == 0
        assert await within(one, ours).fetchval(COUNT_BUDGETS) == 1
        async with one.acquire() as connection:
            assert await connection.fetchval(COUNT_BUDGETS) == 0
        assert await one.fetchval(READ_SCOPE) == ""


async def test_interrupted_change_of_the_scope_is_repeated(serving_url: str, ours: ProjectId):
    async with open_pool(Engine(config={}), PoolSettings(url=serving_url, size=1)) as one:
        await within(one, new_project()).fetchval(COUNT_BUDGETS)
        async with one.acquire_with_last_scope() as connection:
            with pytest.raises(asyncpg.PostgresError):
                await connection.use_tenants("' nonsense")
        assert await within(one, ours).fetchval(COUNT_BUDGETS) == 1
        async with one.acquire() as connection:
            assert await connection.fetchval(COUNT_BUDGETS) == 0


async def test_shared_session_gets_its_scope_by_transaction(serving_url: str, ours: ProjectId):
    """As through a pooler, which gives each transaction another connection of the server."""
    async with open_pool(Engine(config={}), PoolSettings(url=serving_url, size=1)) as one:
        async with one.acquire_with_last_scope() as connection:
            connection._con.keeps_settings = False  # the pool's own connection, below the proxy
        assert await within(one, ours).fetchval(COUNT_BUDGETS) == 1
        async with one.acquire_with_last_scope() as connection:
            assert await connection.fetchval(READ_SCOPE) in {None, ""}


@pytest.mark.parametrize("schema", ["searchable", "visible"])
async def test_views_show_rows_of_the_scope(pool: Pool, serving_pool: Pool, schema: str):
    project, now = new_project(), datetime.now(UTC)
    sql = """
    INSERT INTO sessions (project_id, session_id, trace_count, first_started_at, last_started_at,
      last_activity_at, latency_count, latency_sum_us, error_count, tags, span_count,
      error_span_count, prompt_tokens, completion_tokens, total_cost, unpriced_span_count)
    VALUES ($1, 's', 1, $2, $2, $2, 0, 0, 0, '{}', 0, 0, 0, 0, 0, 0)
    """
    await within(serving_pool, project).execute(sql, project, now)
    count = f"SELECT count(*) FROM {schema}.sessions"
    assert await within(serving_pool, project).fetchval(count) == 1
    assert await serving_pool.fetchval(count) == 0
    assert await within(serving_pool, new_project()).fetchval(count) == 0


@pytest.fixture
async def lone(postgres_url: str) -> AsyncIterator[Pool]:
    """A database whose owner serves too, and isn't a superuser."""
    name = f"lone_{uuid.uuid4().hex}"
    server = await asyncpg.connect(postgres_url)
    await server.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'lone'")
    await server.execute(f"CREATE DATABASE {name} OWNER {name}")
    parts = urlsplit(postgres_url)
    host = f"{parts.hostname}:{parts.port}"
    url = parts._replace(netloc=f"{name}:lone@{host}", path=f"/{name}").geturl()
    before = DB.pool, DB.config
    DB.pool = None
    try:
        async with open_pool(DB, PoolSettings(url=url)) as pool:
            await migrating.migrate(pool, url)
            yield pool
    finally:
        DB.pool, DB.config = before
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.execute(f"DROP ROLE {name}")
        await server.close()


async def test_policies_bind_an_owner_who_serves(lone: Pool):
    tables = await lone.fetch(TENANT_TABLES)
    unbound = {one["relname"] for one in tables if not one["relforcerowsecurity"]}
    assert unbound == TABLES_BELOW_VIEWS
    project = new_project()
    await within(lone, project).execute(INSERT_BUDGET, project)
    assert await lone.fetchval(COUNT_BUDGETS) == 0
    assert await within(lone, project).fetchval(COUNT_BUDGETS) == 1


async def test_request_waits_behind_policies_that_wait_for_a_long_transaction(lone: Pool):
    await lone.execute("ALTER TABLE traces NO FORCE ROW LEVEL SECURITY")
    async with lone.acquire() as long, lone.acquire() as reader:
        async with long.transaction():
            await long.execute("LOCK TABLE traces IN ACCESS SHARE MODE")
            forcing = asyncio.create_task(prepare_serving_role_of_owner(lone))
            await until(lambda: reader.fetchval(IS_WAITED_FOR, "traces"))
            assert await reader.fetch("SELECT * FROM traces") == []
        await forcing
        tables = {one["relname"]: one for one in await reader.fetch(TENANT_TABLES)}
    assert tables["traces"]["relforcerowsecurity"]


async def test_policies_that_wait_for_one_table_hold_no_other(lone: Pool):
    for table in SEARCHED_TABLES:
        await lone.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    async with lone.acquire() as long, lone.acquire() as reader:
        async with long.transaction():
            await long.execute("LOCK TABLE sessions IN ACCESS SHARE MODE")
            forcing = asyncio.create_task(prepare_serving_role_of_owner(lone))
            await until(lambda: reader.fetchval(IS_WAITED_FOR, "sessions"))
            tables = {one["relname"]: one for one in await reader.fetch(TENANT_TABLES)}
        await forcing
    assert tables["traces"]["relforcerowsecurity"]


async def prepare_serving_role_of_owner(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await connection.execute("SET lock_timeout = 600000")  # as for the lock of migrations
        await prepare_serving_role(connection, None)


async def test_migrating_again_keeps_and_repairs_the_grants(pool: Pool, serving_url: str):
    await pool.execute("REVOKE ALL ON judge_budgets FROM pandaprobe_serving")
    assert await migrating.migrate(pool, serving_url) == []
    project = new_project()
    async with open_pool(Engine(config={}), PoolSettings(url=serving_url, size=1)) as serving:
        await within(serving, project).execute(INSERT_BUDGET, project)


TABLE_STATES: Final = """
SELECT coalesce(string_agg(format(
  '(SELECT count(*) || md5(coalesce(string_agg(t::text, %L ORDER BY t::text), %L)) FROM %I AS t)',
  ',', '', relname), ' || ' ORDER BY relname), '') FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND (relrowsecurity OR relname ~ '^span_.*rows$')
"""


async def run(connection: Connection, sql: str, tenant: uuid.UUID) -> str:
    """Runs a statement with made-up values. A count of nothing has a row, but no value in it."""
    try:
        statement = await connection.prepare(sql)
        types = [one.name for one in statement.get_parameters()]
        rows = await statement.fetch(*(value_of(one, tenant) for one in types))
    except (asyncpg.InsufficientPrivilegeError, asyncpg.WithCheckOptionViolationError):
        return "refused"
    except asyncpg.SyntaxOrAccessError:
        return "fragment"
    except VALUE_ERRORS as error:
        return type(error).__name__
    return "rows" if any(any(row.values()) for row in rows) else "nothing"


async def test_statements_without_tenant_scope_find_and_change_nothing(
    pool: Pool, serving_pool: Pool, ours: ProjectId
):
    """Each constant: with the id of a tenant that has rows, but outside its scope."""
    states = await pool.fetchval(TABLE_STATES)
    before = await pool.fetchval(f"SELECT {states}")
    tables = "|".join(["spans", *(row["relname"] for row in await pool.fetch(TENANT_TABLES))])
    touches = re.compile(rf"\b(FROM|JOIN|INTO|UPDATE) (visible[._])?({tables})\b")
    known = {name: sql for name, sql in statements().items() if touches.search(sql)}
    async with serving_pool.acquire() as connection:
        outcomes = {name: await run(connection, sql, ours) for name, sql in known.items()}
    assert await pool.fetchval(f"SELECT {states}") == before
    by_outcome = Counter(outcomes.values())
    assert by_outcome["nothing"] > 150, by_outcome
    assert by_outcome["refused"] > 20, by_outcome
    assert by_outcome["fragment"] < 20, by_outcome
    found = {name.partition(".")[0] for name, one in outcomes.items() if one == "rows"}
    assert found - ECHOES == set()
    async with within(serving_pool, ours).transaction() as connection:  # its scope is what decides
        assert await run(connection, known["SELECT_BUDGET.0"], ours) == "rows"


async def test_statement_that_lost_its_condition_leaks_nothing(pool: Pool, serving_pool: Pool):
    """Each statement of one project, without the condition on it, in the scope of another."""
    theirs, ours = new_project(), new_project()
    async with over_postgres(serving_pool) as plane:
        one = trace(
            span(id=SpanId(theirs)), id=TraceId(theirs), session_id="a", user_id="a", tags=("a",)
        )
        await plane.traces.put(theirs, one)
        await plane.evaluation.trace_scores.add(trace_score(theirs, one.id, id=ScoreId(theirs)))
    await within(serving_pool, theirs).execute(INSERT_BUDGET, theirs)
    lost = {
        name: sql.replace(IN_PROJECT, "$1::uuid IS NOT NULL")
        for name, sql in statements().items()
        if IN_PROJECT in sql
    }
    states = await pool.fetchval(TABLE_STATES)
    before = await pool.fetchval(f"SELECT {states}")
    leaks, finds = set(), Counter[str]()
    for name, sql in lost.items():
        async with within(serving_pool, ours).transaction() as connection:
            if await run(connection, sql, theirs) == "rows":
                leaks.add(name)
        with suppress(_RolledBack):  # without the second wall
            async with within(serving_pool, ALL_TENANTS).transaction() as connection:
                finds[sql.split()[0]] += await run(connection, sql, theirs) == "rows"
                raise _RolledBack
    assert await pool.fetchval(f"SELECT {states}") == before
    assert {one.partition(".")[0] for one in leaks} - ECHOES == set()
    assert finds["SELECT"] > 10


class _RolledBack(Exception):
    pass
