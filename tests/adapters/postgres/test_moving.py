"""Moving an organization to another group of tables while it is served."""

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import pytest

from adapters.postgres.database.pool import Engine, Pool, PoolSettings, open_pool
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.identity.project_purge import PROJECT_TABLES
from adapters.postgres.schema.moving import NotMovable, OnStep, Waits, cancel, move
from application.table_groups import MOVES, Placement
from domain.errors import NotFound
from domain.ids import OrganizationId, ProjectId
from entrypoints.cli.main import main
from entrypoints.worker.worker import periodic_tasks
from tests.support.clients.stored_tenants import StoredTenants, new_database
from tests.support.fixtures.evaluation import latest_scores
from tests.support.fixtures.servers import citus
from tests.support.fixtures.table_groups import (
    WAYS,
    Database,
    Installation,
    Tenant,
    add_group,
    installed,
    migrated,
    sent_trace,
)
from tests.support.waiting import until, until_done

pytestmark = pytest.mark.service

AT_ONCE: Final = Waits(notice_s=0, refusal_s=0)
SCHEMAS: Final = {1: "public", 2: "group_2"}
TABLES: Final = """
SELECT c.relname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relnamespace = 'group_2'::regnamespace AND c.relkind = 'r' AND a.attname = 'project_id'
"""
# Views have the names by which statements know these tables; on a cluster the tables have them.
VIEWED: Final = (
    {}
    if citus.VARIABLE in os.environ
    else {"spans": "span_rows", "span_fragments": "span_fragment_rows"}
)
ON_PLAIN: Final = pytest.mark.skipif(
    citus.VARIABLE in os.environ, reason="looks for locks, which are on the workers of a cluster"
)
NEEDED_COLUMNS: Final = """
SELECT quote_ident(attname) AS name, format_type(atttypid, NULL) AS type FROM pg_attribute
WHERE attrelid = ('public.' || $1::text)::regclass AND attnum > 0 AND NOT attisdropped
  AND NOT atthasdef AND attname <> 'project_id'
  AND (attnotnull OR $1 LIKE 'span_fragment%' AND attname = 'data')  -- which a check wants
"""
VALUES: Final = {
    "uuid": "gen_random_uuid()",
    "text": "'a'",
    "text[]": "'{}'",
    "json": "'{}'",
    "bytea": r"'\x00'",
    "date": "'2026-01-01'",
    "timestamp with time zone": "now()",
    "boolean": "false",
    "xid8": "'7'",
    **dict.fromkeys(("bigint", "integer", "smallint", "numeric", "double precision"), "1"),
    **dict.fromkeys(("bigint[]", "double precision[]"), "'{1}'"),
}
PENDING_EXPORTS: Final = """
SELECT count(*) FROM {}.exports WHERE project_id = ANY($1) AND status = 'PENDING'
"""
CHECKED: Final = {
    "granularity": "'hour'",
    **dict.fromkeys(("before", "after"), "'OK'"),
    "state": "'done'",
}
INSERT_BUDGET: Final = """
INSERT INTO public.judge_budgets (project_id, monthly_usd, updated_at) VALUES ($1, 5, now())
"""
SELECT_SCORED: Final = "SELECT project_id FROM trace_scores WHERE project_id = ANY($1)"
TRIGGERS: Final = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'moving%'"
WAITING: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ $1"
)
AS_PROCESS: Final = """
    import asyncio, sys
    from uuid import UUID
    from adapters.postgres.database.pool import Engine, PoolSettings, open_pool
    from adapters.postgres.piccolo_conf import DB
    from adapters.postgres.schema.moving import Waits, move

    async def run():
        async with open_pool(DB, PoolSettings(url=sys.argv[1], size=3, lock_timeout_ms=0)) as pool:
            await move(pool, UUID(sys.argv[2]), 2, waits=Waits(notice_s=0, refusal_s=0))

    asyncio.run(run())
"""


@pytest.fixture(scope="module", params=WAYS)
async def database(request: pytest.FixtureRequest, postgres_url: str) -> AsyncIterator[Database]:
    async with migrated(postgres_url, to_workers=request.param) as database:
        yield database


@pytest.fixture(scope="module")
async def site(
    database: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    async with installed(database, tmp_path_factory.mktemp("issuer"), placement_known_s=0) as site:
        yield site


@pytest.fixture
async def tenant(site: Installation) -> Tenant:
    """One of the first group."""
    made = [await site.tenant(), await site.tenant()]
    return next(one for one in made if one.group == 1)


async def rows_of(pool: Pool, schema: str, projects: list[UUID]) -> dict[str, list[str]]:
    """All rows of the projects by table, as text, without ids of transactions."""
    found = dict[str, list[str]]()
    everyone = within(pool, ALL_TENANTS)
    for table in (VIEWED.get(one, one) for one in PROJECT_TABLES):
        row = "(t.project_id, t.target, t.day)" if table == "changed_score_days" else "t"
        sql = f"SELECT DISTINCT {row}::text FROM {schema}.{table} AS t WHERE project_id = ANY($1)"
        found[table] = sorted(one[0] for one in await everyone.fetch(sql, projects))
    return found


async def insert_rows(pool: Pool, tables: list[str], projects: list[UUID]) -> None:
    """One row each, with a value in the columns that need one."""
    for table in tables:
        columns = await pool.fetch(NEEDED_COLUMNS, table)
        names = ", ".join(row["name"] for row in columns)
        values = ", ".join(CHECKED.get(row["name"], VALUES[row["type"]]) for row in columns)
        await within(pool, ALL_TENANTS).execute(
            f"INSERT INTO public.{table} (project_id, {names}) VALUES ($1, {values})", projects[0]
        )


async def projects_of(pool: Pool, organization: UUID) -> list[UUID]:
    sql = "SELECT id FROM projects WHERE organization_id = $1"
    return [row[0] for row in await within(pool, ALL_TENANTS).fetch(sql, organization)]


async def send_trace(site: Installation, tenant: Tenant, name: str, **fields: Any) -> str:
    body = sent_trace(name, **fields)
    response = await site.send(tenant, "POST", "/traces", json=body)
    assert response.status_code == 202, response.text
    return str(body["trace_id"])


async def assert_refused(site: Installation, tenant: Tenant, method: str, path: str, **more: Any):
    response = await site.send(tenant, method, path, **more)
    assert response.status_code == 503, response.text
    assert response.headers["retry-after"] == "5"
    assert MOVES in response.text


async def names_of(site: Installation, tenant: Tenant) -> set[str]:
    response = await site.send(tenant, "GET", "/traces")
    assert response.status_code == 200, response.text
    return {item["name"] for item in response.json()["items"]}


async def test_all_rows_are_in_the_other_group_afterwards(postgres_url: str):
    async with (
        new_database(postgres_url) as (owner, serving),
        StoredTenants.serving(owner, serving) as world,
    ):
        await world.begin()
        if citus.VARIABLE not in os.environ:  # where each worker has a group
            await add_group(owner, 2, "postgresql://pandaprobe_serving:serving@localhost/")
        tables = {row[0] for row in await owner.fetch(TABLES)}
        assert tables == {VIEWED.get(one, one) for one in PROJECT_TABLES} | {"removals"}
        theirs = UUID(world.theirs["org_id"])
        others = UUID(world.ours["org_id"])
        projects, kept = await projects_of(owner, theirs), await projects_of(owner, others)
        found = await rows_of(owner, "public", projects)
        await insert_rows(owner, [table for table, rows in found.items() if not rows], projects)
        before = {"theirs": await rows_of(owner, "public", projects)}
        before["ours"] = await rows_of(owner, "public", kept)
        assert all(before["theirs"].values())
        assert await move(owner, OrganizationId(theirs), 2, waits=AT_ONCE)
        assert await rows_of(owner, "group_2", projects) == before["theirs"]
        assert await rows_of(owner, "public", kept) == before["ours"]
        assert not any((await rows_of(owner, "group_2", kept)).values())
        # They were copied, and not found once more by the trigger of the copied scores.
        everything = within(owner, ALL_TENANTS)
        assert await everything.fetchval(COUNT_OF_ONE_WRITE, projects) == 0


SELECT_ANALYZED: Final = "SELECT DISTINCT tablename FROM pg_stats WHERE schemaname = 'group_2'"
COUNT_OF_ONE_WRITE: Final = """
SELECT count(*) FROM group_2.latest_trace_scores AS latest
JOIN group_2.trace_scores AS score USING (project_id)
WHERE project_id = ANY($1::uuid[]) AND latest.xmin = score.xmin
"""


@pytest.mark.skipif(citus.VARIABLE in os.environ, reason="the statistics are on the workers")
async def test_planner_knows_tables_to_which_many_rows_moved(
    site: Installation, database: Database, tenant: Tenant
):
    """Lists of a project of which nothing is known may read all of it, until autovacuum comes."""
    for name in ("one", "two"):
        await send_trace(site, tenant, name)
    owner = database.owner
    assert await move(owner, tenant.organization, 2, waits=AT_ONCE, analyzed_min=2)
    analyzed = {row[0] for row in await owner.fetch(SELECT_ANALYZED)}
    assert {"traces", "span_rows"} <= analyzed
    assert "trace_scores" not in analyzed  # it has no rows


class StoppedError(Exception):
    """Ends a move in its middle."""


def stop_at_spans(label: str, _done: int, _count: int) -> None:
    if label == "copying public.spans":
        raise StoppedError


@asynccontextmanager
async def begun_move(database: Database, organization: OrganizationId) -> AsyncIterator[None]:
    """Some tables are copied. A process goes on with it in the block, at whose end it is killed.

    On a cluster, whose locks can't be seen, the move is stopped before the block.
    """
    if citus.VARIABLE in os.environ:
        with pytest.raises(StoppedError):
            await move(database.owner, organization, 2, waits=AT_ONCE, on_step=stop_at_spans)
        yield
        return
    async with database.owner.acquire() as locking, locking.transaction():
        await locking.execute("LOCK TABLE group_2.span_rows IN SHARE MODE")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", textwrap.dedent(AS_PROCESS)),
            *(database.owner_url, str(organization)),
        )
        try:
            await until_waiting(database, "INSERT INTO group_2.span_rows")
            yield
        finally:
            process.send_signal(signal.SIGKILL)
            await process.wait()


async def until_waiting(database: Database, query: str) -> None:
    async def waiting() -> int:
        count: int = await database.owner.fetchval(WAITING, query)
        return count

    await until(waiting)


async def work_once(site: Installation, group: int) -> None:
    for task in periodic_tasks(await site.use_cases.for_group(group), 15, 1):
        await task.call()


async def test_killed_move_refuses_writes_and_goes_on(
    site: Installation, database: Database, tenant: Tenant
):
    neighbour = next(one for one in [await site.tenant(), await site.tenant()] if one.group == 1)
    trace = await send_trace(site, tenant, "before", session_id="s", user_id="u")
    wanted = {"format": "csv", "rows": "traces", "filters": {}}
    export = (await site.send(tenant, "POST", "/traces/exports", json=wanted)).json()["id"]
    projects = await projects_of(database.owner, tenant.organization)
    before = await rows_of(database.owner, "public", projects)
    everyone = within(database.owner, ALL_TENANTS)
    async with begun_move(database, tenant.organization):
        for method, path, body in (
            ("POST", "/traces", sent_trace("refused")),
            ("DELETE", f"/traces/{trace}", None),
            ("POST", "/traces/exports", wanted),
        ):
            await assert_refused(site, tenant, method, path, json=body)
        refused = await site.send(
            tenant, "POST", "/traces", project="new", json=sent_trace("refused")
        )
        assert refused.status_code == 503
        assert await names_of(site, tenant) == {"before"}
        assert (await site.send(tenant, "GET", f"/traces/{trace}")).json()["input"] is not None
        await send_trace(site, neighbour, "of a neighbour")
        # What a process began before it took notice.
        with pytest.raises(asyncpg.LockNotAvailableError):
            await everyone.execute(
                "UPDATE public.traces SET name = 'late' WHERE project_id = ANY($1)", projects
            )
        with pytest.raises(asyncpg.LockNotAvailableError):
            await everyone.execute(INSERT_BUDGET, projects[0])
        for group in SCHEMAS:
            await work_once(site, group)
        for schema in SCHEMAS.values():
            assert await everyone.fetchval(PENDING_EXPORTS.format(schema), projects) == 1
    await assert_refused(site, tenant, "POST", "/traces", json=sent_trace("refused"))
    assert await rows_of(database.owner, "public", projects) == before
    assert await move(database.owner, tenant.organization, 2, waits=AT_ONCE)
    assert await rows_of(database.owner, "group_2", projects) == before
    assert await site.ports.groups.organization_placement(tenant.organization) == Placement(2)
    await send_trace(site, tenant, "after")
    assert await names_of(site, tenant) == {"before", "after"}
    await site.work("exporting")
    found = await site.send(tenant, "GET", f"/traces/exports/{export}")
    assert found.json()["status"] == "COMPLETED"
    assert await names_of(site, neighbour) == {"of a neighbour"}
    await assert_old_rows_are_deleted(site, database, projects)
    assert await names_of(site, tenant) == {"before", "after"}
    assert not await move(database.owner, tenant.organization, 2, waits=AT_ONCE)


async def assert_old_rows_are_deleted(
    site: Installation, database: Database, projects: list[UUID]
) -> None:
    """In time, without the objects that the new group has."""
    everyone, purge = within(database.owner, ALL_TENANTS), site.ports.identity.removed_projects
    await everyone.execute(
        "UPDATE public.trace_payloads SET object_id = trace_id WHERE project_id = ANY($1)",
        projects,
    )
    now = datetime.now(UTC)
    await until_done(purge.purge, now)
    assert (await rows_of(database.owner, "public", projects))["traces"]
    await until_done(purge.purge, now + timedelta(minutes=11))
    assert not any((await rows_of(database.owner, "public", projects)).values())
    assert await database.owner.fetchval(TRIGGERS) == 0


@ON_PLAIN
async def test_move_waits_for_writes_that_have_begun(
    site: Installation, database: Database, tenant: Tenant
):
    await send_trace(site, tenant, "a trace")
    project = (await projects_of(database.owner, tenant.organization))[0]
    async with (
        open_pool(Engine({}), PoolSettings(url=database.owner_url, size=3)) as pool,
        asyncio.TaskGroup() as tasks,
        within(database.owner, ALL_TENANTS).transaction() as writing,
    ):
        await writing.execute(INSERT_BUDGET, project)
        moving = tasks.create_task(move(pool, tenant.organization, 2, waits=AT_ONCE))
        await until_waiting(database, "CREATE OR REPLACE TRIGGER")
    assert moving.result()
    rows = await rows_of(database.owner, "group_2", [project])
    assert len(rows["judge_budgets"]) == 1


async def test_later_rows_get_greater_ids_than_those_that_moved(
    site: Installation, database: Database, tenant: Tenant
):
    for n in range(9):
        await send_trace(site, tenant, f"trace {n}")
    last = "SELECT max(id) FROM {}.search_queue WHERE project_id = ANY($1)"
    everyone = within(database.owner, ALL_TENANTS)
    projects = await projects_of(database.owner, tenant.organization)
    ahead = "UPDATE public.search_queue SET id = id + 1000 WHERE project_id = ANY($1)"
    await everyone.execute(ahead, projects)
    # As in a group to which nothing was written: its first id is the last one of the sequence.
    await database.owner.execute("ALTER TABLE group_2.search_queue ALTER COLUMN id RESTART")
    greatest = await everyone.fetchval(last.format("public"), projects)
    before = await rows_of(database.owner, "public", projects)
    await move(database.owner, tenant.organization, 2, waits=AT_ONCE)
    assert await everyone.fetchval(last.format("group_2"), projects) == greatest
    assert await rows_of(database.owner, "group_2", projects) == before
    await send_trace(site, tenant, "later")
    assert await everyone.fetchval(last.format("group_2"), projects) > greatest


async def test_move_can_be_cancelled(site: Installation, database: Database, tenant: Tenant):
    await send_trace(site, tenant, "a trace")
    organization, owner = tenant.organization, database.owner
    projects = await projects_of(owner, organization)
    assert not await cancel(owner, organization)
    async with begun_move(database, organization):
        pass  # killed
    with pytest.raises(NotMovable, match="being moved to group 2"):
        await move(owner, organization, 1, waits=AT_ONCE)
    assert await cancel(owner, organization)
    assert await owner.fetchval(TRIGGERS) == 0
    await send_trace(site, tenant, "another")
    assert await names_of(site, tenant) == {"a trace", "another"}
    assert any((await rows_of(owner, "group_2", projects)).values())
    with pytest.raises(NotMovable, match="earlier move"):
        await move(owner, organization, 2, waits=AT_ONCE)
    ports = await site.ports.groups.open(2)
    assert ports is not None
    now = datetime.now(UTC)
    for then in (now, now + timedelta(hours=2)):
        await until_done(ports.identity.removed_projects.purge, then)
    assert not any((await rows_of(owner, "group_2", projects)).values())
    assert await move(owner, organization, 2, waits=AT_ONCE)
    assert await names_of(site, tenant) == {"a trace", "another"}


async def add_score(site: Installation, tenant: Tenant, trace: str) -> None:
    score = {"trace_id": trace, "name": "helpful", "value": "0.5"}
    response = await site.send(tenant, "POST", "/evaluations/trace-scores", json=score)
    assert response.status_code == 201, response.text


def stop_before(label: str, but: tuple[str, ...] = ()) -> OnStep:
    def look(step: str, _done: int, _count: int) -> None:
        if step.startswith(label) and not step.endswith(but):
            raise StoppedError

    return look


async def test_scores_that_were_being_written_keep_the_newest_ones(
    site: Installation, database: Database, tenant: Tenant
):
    """A process that took no notice deletes one while the tables are closed one by one."""
    await add_score(site, tenant, await send_trace(site, tenant, "a trace"))
    organization, owner = tenant.organization, database.owner
    projects = await projects_of(owner, organization)
    project = await within(owner, ALL_TENANTS).fetchval(SELECT_SCORED, projects)
    stop = stop_before("refusing writes to", (".trace_scores", ".session_scores"))
    with pytest.raises(StoppedError):
        await move(owner, organization, 2, waits=AT_ONCE, on_step=stop)
    ours = within(owner, ProjectId(project))
    with suppress(asyncpg.LockNotAvailableError):
        await ours.execute("DELETE FROM trace_scores WHERE project_id = $1", project)
    assert await ours.fetch(latest_scores.DIFFERING, project) == []
    assert await cancel(owner, organization)


async def test_organization_moves_back_although_the_command_was_ended_before_its_last_step(
    site: Installation, database: Database, tenant: Tenant
):
    await send_trace(site, tenant, "a trace")
    organization, owner = tenant.organization, database.owner
    with pytest.raises(StoppedError):
        await move(owner, organization, 2, waits=AT_ONCE, on_step=stop_before("waiting for what"))
    assert await names_of(site, tenant) == {"a trace"}
    assert await owner.fetchval(TRIGGERS) > 0
    now, purge = datetime.now(UTC), site.ports.identity.removed_projects
    for then in (now + timedelta(minutes=11), now + timedelta(hours=2)):
        await until_done(purge.purge, then)
    assert await move(owner, organization, 1, waits=AT_ONCE)
    assert await owner.fetchval(TRIGGERS) == 0
    await send_trace(site, tenant, "another")
    assert await names_of(site, tenant) == {"a trace", "another"}


async def test_reads_are_refused_for_the_last_moments(
    site: Installation, database: Database, tenant: Tenant
):
    """A process that has not yet read of the end would answer from the old rows."""
    await send_trace(site, tenant, "a trace")
    change = "UPDATE organizations SET moving_to = $2, is_move_ending = $3 WHERE id = $1"
    await database.owner.execute(change, tenant.organization, 2, True)
    await assert_refused(site, tenant, "GET", "/traces")
    found = await site.send(tenant, "GET", "/me/find", params={"id": str(uuid4())})
    assert found.status_code == 503
    await database.owner.execute(change, tenant.organization, None, False)
    assert await names_of(site, tenant) == {"a trace"}


async def test_only_known_organizations_move_to_known_groups(
    site: Installation, database: Database, tenant: Tenant
):
    with pytest.raises(NotMovable, match="no group 3"):
        await move(database.owner, tenant.organization, 3, waits=AT_ONCE)
    with pytest.raises(NotFound):
        await move(database.owner, OrganizationId(uuid4()), 2, waits=AT_ONCE)
    with pytest.raises(NotFound):
        await cancel(database.owner, OrganizationId(uuid4()))
    await send_trace(site, tenant, "a trace")


async def test_command_says_what_it_has_done(
    database: Database, tenant: Tenant, capsys: pytest.CaptureFixture[str]
):
    environ = {
        "PANDAPROBE_DATABASE_URL": database.serving_url,
        "PANDAPROBE_MIGRATION_DATABASE_URL": database.owner_url,
    }
    known = str(tenant.organization)
    for arguments, status, said in (
        ((known, "--to", "1"), 0, "is in group 1"),
        ((known, "--cancel"), 0, "is not being moved"),
        ((known, "--to", "3"), 1, "no group 3"),
        ((known, "--to", "2", "--cancel"), 1, "either --to or --cancel"),
        ((known,), 1, "either --to or --cancel"),
        ((str(uuid4()), "--to", "2"), 1, "not found"),
        ((str(uuid4()), "--cancel"), 1, "not found"),
        (("ours", "--to", "2"), 1, "a UUID"),
    ):
        command = ["organization", "move", *arguments]
        assert await asyncio.to_thread(main, command, environ) == status
        output = capsys.readouterr()
        assert said in output.out + output.err
