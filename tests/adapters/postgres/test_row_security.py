"""Row-level security: a statement finds and writes rows of its scope only (docs/adr/0036)."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import pytest

from adapters.postgres.database.pool import Engine, Pool, PoolSettings, open_pool
from adapters.postgres.database.tenants import ALL_TENANTS, NO_TENANTS, Scope, within
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.schema import migrating
from adapters.postgres.schema.serving_role import SEARCHED_TABLES
from domain.ids import ProjectId

pytestmark = pytest.mark.service

# Tables with rows of tenants: from the catalog, so that a new table fails until it has a policy.
TENANT_TABLES: Final = """
SELECT DISTINCT c.relname, c.relrowsecurity, c.relforcerowsecurity,
  array(SELECT polname::text FROM pg_policy WHERE polrelid = c.oid) AS policies
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT a.attisdropped
  AND (a.attname IN ('project_id', 'organization_id') OR c.relname = 'organizations')
"""
ROLE: Final = """
SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb,
  EXISTS (SELECT FROM pg_class WHERE relowner = pg_roles.oid) AS owns
FROM pg_roles WHERE rolname = current_user
"""
INSERT_BUDGET: Final = (
    "INSERT INTO judge_budgets (project_id, monthly_usd, updated_at) VALUES ($1, 1, now())"
)
COUNT_BUDGETS: Final = "SELECT count(*) FROM judge_budgets"


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
        assert table["relrowsecurity"], table
        assert table["policies"] == ["tenant"], table
        # The views of these are the owner's, which isn't the serving role here.
        assert table["relforcerowsecurity"] != (table["relname"] in SEARCHED_TABLES), table


async def test_serving_role_owns_nothing_and_passes_no_policy(serving_pool: Pool):
    [role] = await serving_pool.fetch(ROLE)
    assert not any(role.values())


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


@pytest.mark.parametrize("schema", ["searchable", "veiled"])
async def test_views_show_rows_of_the_scope(pool: Pool, serving_pool: Pool, schema: str):
    project, now = new_project(), datetime.now(UTC)
    sql = """
    INSERT INTO sessions (project_id, session_id, trace_count, first_started_at, last_started_at,
      last_activity_at, latency_count, latency_sum_us, error_count, tags, span_count,
      error_span_count, prompt_tokens, completion_tokens, total_cost)
    VALUES ($1, 's', 1, $2, $2, $2, 0, 0, 0, '{}', 0, 0, 0, 0, 0)
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
    assert all(table["relforcerowsecurity"] for table in await lone.fetch(TENANT_TABLES))
    project = new_project()
    await within(lone, project).execute(INSERT_BUDGET, project)
    assert await lone.fetchval(COUNT_BUDGETS) == 0
    assert await within(lone, project).fetchval(COUNT_BUDGETS) == 1


async def test_migrating_again_keeps_and_repairs_the_grants(pool: Pool, serving_url: str):
    await pool.execute("REVOKE ALL ON judge_budgets FROM pandaprobe_serving")
    assert await migrating.migrate(pool, serving_url) == []
    project = new_project()
    async with open_pool(Engine(config={}), PoolSettings(url=serving_url, size=1)) as serving:
        await within(serving, project).execute(INSERT_BUDGET, project)
