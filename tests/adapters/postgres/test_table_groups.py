"""Groups of organizations, each with tables of its own: what is stored, and by whom it is found."""

import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from adapters.postgres.database.pool import Engine, PoolSettings, open_pool
from adapters.postgres.database.table_groups import SELECT_PATH, TableGroup
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.evaluation.judging.budgets import PostgresBudgets
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.schema import migrating
from adapters.postgres.schema.distributing import SELECT_TABLES
from adapters.postgres.schema.sql_migration import SqlMigration
from adapters.postgres.tracing.payloads.payload_objects import NAMED_WITHIN_S, Orphans
from adapters.prometheus import definitions
from application.health import CheckReadiness
from application.table_groups import Placement
from application.use_cases import UseCases
from domain.errors import NotFound
from domain.ids import OrganizationId, ProjectId, RunId
from entrypoints.cli.doctor import Level, check_database
from entrypoints.composition import root
from entrypoints.observability.metrics_text import read_database_metrics
from entrypoints.worker.worker import GroupStarter
from tests.contracts.evaluation.judging.test_judge_ledger import an_entry
from tests.support.fakes.clocks import ManualClock
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

pytestmark = pytest.mark.service

ON_PLAIN: Final = pytest.mark.skipif(
    citus.VARIABLE in os.environ, reason="`distribute` adds groups on a cluster"
)
RUN: Final = {"metrics": ["trace_success"], "filters": {}}
LIMITS: Final = {
    "monthly_usd": None, "project_monthly_usd": 5, "project_retention_days": None, "key_days": None
}  # fmt: skip
RUNS: Final = "/evaluations/trace-runs"
STATEMENT_MS: Final = 300  # of what waits for a lock
SCHEMAS: Final = {1: "public", 2: "group_2"}
NAMES: Final = """
SELECT array_agg(relname::text) FROM pg_class
WHERE relnamespace = 'group_2'::regnamespace AND relkind IN ('r', 'v')
"""
# All that is said of relations with some names in a schema.
SCHEMA: Final = """
WITH c AS (
  SELECT * FROM pg_class WHERE relnamespace = $1::text::regnamespace
    AND relname = ANY($2::text[])
)
SELECT c.relname || ' ' || relrowsecurity || relforcerowsecurity || attname
  || format_type(atttypid, atttypmod) || attnotnull AS text
FROM c JOIN pg_attribute ON attrelid = c.oid WHERE attnum > 0 AND NOT attisdropped
UNION ALL SELECT pg_get_indexdef(indexrelid) FROM c JOIN pg_index ON indrelid = c.oid
UNION ALL SELECT c.relname || conname || pg_get_constraintdef(k.oid)
FROM c JOIN pg_constraint AS k ON conrelid = c.oid
UNION ALL SELECT pg_get_triggerdef(t.oid) FROM c JOIN pg_trigger AS t ON tgrelid = c.oid
UNION ALL SELECT c.relname || relacl::text FROM c
UNION ALL SELECT c.relname || polname || pg_get_expr(polqual, polrelid)
FROM c JOIN pg_policy ON polrelid = c.oid
"""


@pytest.fixture(scope="module", params=WAYS)
async def database(request: pytest.FixtureRequest, postgres_url: str) -> AsyncIterator[Database]:
    async with migrated(postgres_url, to_workers=request.param) as database:
        yield database


@pytest.fixture(scope="module")
async def site(
    database: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    async with installed(database, tmp_path_factory.mktemp("issuer")) as site:
        yield site


@pytest.fixture
async def tenants(site: Installation) -> list[Tenant]:
    """One in each group: a new organization gets the group with the fewest."""
    tenants = [await site.tenant(), await site.tenant()]
    tenants.sort(key=lambda one: one.group)
    assert [one.group for one in tenants] == [1, 2]
    return tenants


async def projects_in(database: Database, table: str) -> dict[int, set[UUID]]:
    """The projects with rows in the table of each group."""
    everyone = within(database.owner, ALL_TENANTS)
    return {
        number: {row[0] for row in await everyone.fetch(f"SELECT project_id FROM {schema}.{table}")}
        for number, schema in SCHEMAS.items()
    }


async def store(site: Installation, tenant: Tenant, name: str, **fields: Any) -> dict[str, Any]:
    body = sent_trace(name, **fields)
    response = await site.send(tenant, "POST", "/traces", json=body)
    assert response.status_code == 202, response.text
    return body


async def project_of(site: Installation, tenant: Tenant) -> ProjectId:
    access = await site.send(tenant, "GET", "/access")
    return ProjectId(UUID(access.json()["project_id"]))


async def test_organizations_store_and_read_in_the_tables_of_their_group(
    site: Installation, tenants: list[Tenant]
):
    bodies = [await store(site, one, f"of group {one.group}") for one in tenants]
    projects = [await project_of(site, one) for one in tenants]
    for table in ("traces", "spans", "trace_payloads", "trace_hours"):
        by_group = await projects_in(site.database, table)
        assert by_group[1] & by_group[2] == set(), table
        assert projects[0] in by_group[1], table
        assert projects[1] in by_group[2], table
    for one, body in zip(tenants, bodies, strict=True):
        found = await site.send(one, "GET", f"/traces/{body['trace_id']}")
        assert found.json()["input"] == body["input"]
        page = (await site.send(one, "GET", "/traces")).json()
        assert [item["name"] for item in page["items"]] == [body["name"]]
        found = await site.send(one, "GET", "/me/find", params={"id": body["trace_id"]})
        assert [item["kind"] for item in found.json()] == ["trace"]
        found = await site.http.get(
            "/me/find", params={"id": body["trace_id"]}, headers=one.as_owner()
        )
        assert [item["kind"] for item in found.json()] == ["trace"]
    # The other's trace, by its id: neither is found, whichever group it is in.
    for one, other in ((tenants[0], bodies[1]), (tenants[1], bodies[0])):
        assert (await site.send(one, "GET", f"/traces/{other['trace_id']}")).status_code == 404
        found = await site.send(one, "GET", "/me/find", params={"id": other["trace_id"]})
        assert found.json() == []


async def test_person_finds_objects_of_organizations_in_both_groups(
    site: Installation, tenants: list[Tenant]
):
    first, second = tenants
    invited = {"email": await email_of(site, first), "role": "MEMBER"}
    path = f"/organizations/{second.organization}/invitations"
    assert (await site.http.post(path, json=invited, headers=second.as_owner())).status_code == 201
    [mine] = (await site.http.get("/me/invitations", headers=first.as_owner())).json()
    accepted = f"/me/invitations/{mine['id']}/accept"
    assert (await site.http.post(accepted, headers=first.as_owner())).status_code == 200
    for one in tenants:
        body = await store(site, one, "sought")
        sought = {"id": body["trace_id"]}
        found = await site.http.get("/me/find", params=sought, headers=first.as_owner())
        assert [item["project_id"] for item in found.json()] == [str(await project_of(site, one))]


async def email_of(site: Installation, tenant: Tenant) -> str:
    profile = await site.http.get("/me", headers=tenant.as_owner())
    email: str = profile.json()["email"]
    return email


async def test_repeated_request_gets_its_response_from_its_group(
    site: Installation, tenants: list[Tenant]
):
    for one in tenants:
        body = await store(site, one, "scored")
        score = {"trace_id": body["trace_id"], "name": "liked", "value": "1"}
        score |= {"data_type": "NUMERIC", "source": "PROGRAMMATIC"}
        headers = {"idempotency-key": "the-same"}
        sent = [
            await site.send(one, "POST", "/evaluations/trace-scores", json=score, headers=headers)
            for _ in range(2)
        ]
        assert [each.status_code for each in sent] == [201, 201], sent[0].text
        assert sent[0].json() == sent[1].json()
    replies = await projects_in(site.database, "replies")
    for one in tenants:
        assert await project_of(site, one) in replies[one.group]


async def test_jobs_reach_the_group_of_their_project(site: Installation, tenants: list[Tenant]):
    for one in tenants:
        await store(site, one, "evaluated")
        started = await site.send(one, "POST", RUNS, json=RUN)
        assert started.is_success, started.text
        run = f"{RUNS}/{started.json()['id']}"
        assert await site.jobs.done(site.use_cases.run_job) >= 2
        assert (await site.send(one, "GET", run)).json()["status"] == "COMPLETED"
        assert len((await site.send(one, "GET", f"{run}/scores")).json()) == 1
    by_group = await projects_in(site.database, "trace_scores")
    assert by_group[1] & by_group[2] == set()
    for one in tenants:
        assert await project_of(site, one) in by_group[one.group]


async def test_worker_finds_lost_jobs_in_each_group(site: Installation, tenants: list[Tenant]):
    runs = []
    for one in tenants:
        await store(site, one, "evaluated")
        started = await site.send(one, "POST", RUNS, json=RUN)
        runs.append(f"{RUNS}/{started.json()['id']}")
    site.jobs.sent.clear()
    for schema in SCHEMAS.values():  # the messages count as lost
        await within(site.database.owner, ALL_TENANTS).execute(
            f"UPDATE {schema}.eval_runs SET announced_at = $1 WHERE announced_at IS NOT NULL",
            datetime.now(UTC) - timedelta(days=1),
        )
    await site.work("announcing")
    assert await site.jobs.done(site.use_cases.run_job) >= 4
    for one, run in zip(tenants, runs, strict=True):
        assert (await site.send(one, "GET", run)).json()["status"] == "COMPLETED"


async def test_exports_are_written_and_downloaded_in_each_group(
    site: Installation, tenants: list[Tenant]
):
    wanted = {"format": "csv", "rows": "traces", "filters": {}}
    exports = []
    for one in tenants:
        await store(site, one, f"exported by {one.group}")
        made = await site.send(one, "POST", "/traces/exports", json=wanted)
        exports.append(made.json()["id"])
        streamed = await site.send(one, "GET", "/traces/export")
        assert f"exported by {one.group}" in streamed.text
    await site.work("exporting")
    for one, export in zip(tenants, exports, strict=True):
        ticket = await site.send(one, "POST", f"/traces/exports/{export}/ticket")
        assert ticket.is_success, ticket.text
        file = await site.http.get(ticket.json()["url"])  # without credentials
        assert file.status_code == 200, file.text
        assert f"exported by {one.group}" in file.text
        assert (await site.http.get(ticket.json()["url"])).status_code == 404  # it is used


async def test_public_links_open_traces_of_each_group(site: Installation, tenants: list[Tenant]):
    for one in tenants:
        path = f"/organizations/{one.organization}/sharing"
        owner = one.as_owner()
        assert (await site.http.put(path, json={"public_links": True}, headers=owner)).is_success
        body = await store(site, one, f"shared by {one.group}")
        owner = one.as_owner(await project_of(site, one))
        links = f"/traces/{body['trace_id']}/links"
        made = await site.http.post(links, json={}, headers=owner)
        assert made.status_code == 201, made.text
        token = made.json()["token"]
        outline = await site.http.get(f"/shared/{token}")
        assert f"shared by {one.group}" in outline.text
        assert (
            await site.http.get(f"/shared/{token}/payload", params={"name": "input"})
        ).is_success
        assert (await site.send(one, "DELETE", f"/traces/{body['trace_id']}")).is_success
        assert (await site.http.get(f"/shared/{token}")).status_code == 404


async def test_erasure_and_removal_delete_rows_of_each_group(
    site: Installation, tenants: list[Tenant]
):
    projects = [await project_of(site, one) for one in tenants]
    for one in tenants:
        await store(site, one, "kept")
        await store(site, one, "gone", user_id="grace")
        begun = await site.send(one, "POST", "/erasures", json={"user_id": "grace"})
        assert begun.status_code == 202, begun.text
        page = (await site.send(one, "GET", "/traces")).json()["items"]
        assert [item["name"] for item in page] == ["kept"]  # hidden at once
    await site.work("erasing")
    everyone = within(site.database.owner, ALL_TENANTS)
    for one, project in zip(tenants, projects, strict=True):
        table = f"{SCHEMAS[one.group]}.traces"
        count = f"SELECT count(*) FROM {table} WHERE project_id = $1"
        assert await everyone.fetchval(count, project) == 1
        path = f"/organizations/{one.organization}/projects/{project}"
        gone = await site.http.delete(path, headers=one.as_owner())
        assert gone.is_success, gone.text
    await site.work("sweeping")
    for table in ("traces", "spans", "trace_payloads"):
        left = await projects_in(site.database, table)
        assert not (left[1] | left[2]) & {*projects}, table


async def test_new_project_gets_its_budget_in_its_group(site: Installation, tenants: list[Tenant]):
    for one in tenants:
        path = f"/organizations/{one.organization}/limits"
        put = await site.http.put(path, json=LIMITS, headers=one.as_owner())
        assert put.is_success, put.text
        made = await site.send(one, "POST", "/traces", project="budgeted", json=sent_trace("a"))
        assert made.headers["x-project-created"] == "true"
    budgets = await projects_in(site.database, "judge_budgets")
    assert budgets[1]
    assert budgets[2]
    assert budgets[1] & budgets[2] == set()


async def test_first_budget_of_the_server_counts_what_every_group_has_spent(
    site: Installation, tenants: list[Tenant]
):
    now, everyone = datetime.now(UTC), within(site.database.owner, ALL_TENANTS)
    projects = [await project_of(site, one) for one in tenants]
    judgings = [
        (await site.ports.groups.open(one.group) or site.ports).evaluation.judging
        for one in tenants
    ]
    for one, project, judging in zip(tenants, projects, judgings, strict=True):
        call = an_entry(project_id=project, usd=Decimal(one.group), created_at=now)
        await judging.ledger.append([call])
    # As a move leaves it until workers delete it.
    copy = "INSERT INTO group_2.judge_calls SELECT * FROM public.judge_calls WHERE project_id = $1"
    await everyone.execute(copy, projects[0])

    def limited(group: int, usd: int) -> PostgresBudgets:
        """Those of a process that starts."""
        budgets = judgings[group - 1].budgets
        assert isinstance(budgets, PostgresBudgets)
        return PostgresBudgets(budgets.pool, server_usd=Decimal(usd))

    async def has_room(budgets: PostgresBudgets, group: int, usd: int, at: datetime = now) -> bool:
        project, run = projects[group - 1], RunId(uuid4())
        return await budgets.reserve(project, run, None, Decimal(usd), at) is not None

    for group in SCHEMAS:
        await everyone.execute("DELETE FROM shared_spending")
        budgets = limited(group, 5)
        assert not await has_room(budgets, group, 3)
        assert await has_room(budgets, group, 2)

    # Spent while the processes had no limit: those that start later count it.
    call = an_entry(project_id=projects[1], usd=Decimal(5), created_at=now)
    await judgings[1].ledger.append([call])
    budgets = limited(1, 9)
    assert not await has_room(budgets, 1, 2)
    assert await has_room(budgets, 1, 1)

    # The same in the next month, which another process has begun.
    later = now + timedelta(days=31)
    assert await has_room(limited(2, 9), 2, 1, later)
    call = an_entry(project_id=projects[1], usd=Decimal(9), created_at=later)
    await judgings[1].ledger.append([call])
    assert not await has_room(budgets, 1, 1, later)


async def test_group_of_an_organization_is_known_by_it_and_its_projects(
    site: Installation, tenants: list[Tenant]
):
    for one in tenants:
        project = await project_of(site, one)
        assert await site.ports.groups.project_placement(project) == Placement(one.group)
    assert await site.ports.groups.project_placement(ProjectId(uuid4())) is None
    with pytest.raises(NotFound, match="Organization"):
        await site.use_cases.for_organization(OrganizationId(uuid4()))


@ON_PLAIN
async def test_tables_of_a_new_group_are_those_of_the_first(database: Database):
    names = await database.owner.fetchval(NAMES)
    first, second = [
        {
            row[0].replace(f"{schema}.", "")
            for row in await database.owner.fetch(SCHEMA, schema, names)
        }
        for schema in SCHEMAS.values()
    ]
    assert len(second) > 1_000
    assert first == second
    with_project = await database.owner.fetch(SELECT_TABLES, None)
    assert {row["name"] for row in with_project} <= {*names}


async def test_later_migration_changes_every_group(database: Database):
    later = SqlMigration(
        id="9998_later",
        description="a column",
        shared=("ALTER TABLE organizations ADD COLUMN later text",),
        group_scripts=lambda group: (f"ALTER TABLE alerts ADD COLUMN later_{group.number} text",),
        views_of_group=lambda group: (
            f"CREATE VIEW {group.visible_schema}.later AS SELECT later_{group.number} FROM alerts",
        ),
        backwards=(
            "ALTER TABLE organizations DROP COLUMN later",
            "DROP VIEW visible.later, group_2_visible.later",
            "ALTER TABLE public.alerts DROP COLUMN later_1",
            "ALTER TABLE group_2.alerts DROP COLUMN later_2",
        ),
    )
    with_column = (
        "SELECT attrelid::regclass::text, attname FROM pg_attribute"
        " WHERE attname LIKE 'later%' AND NOT attisdropped"
        " AND attrelid::regclass::text !~ '_[0-9]+$'"  # what Citus shows of shards
        " ORDER BY 1"
    )
    async with open_pool(DB, PoolSettings(url=database.owner_url, size=3)) as owner:
        await later.manager().run()
        try:
            assert [tuple(row) for row in await owner.fetch(with_column)] == [
                ("alerts", "later_1"),
                ("group_2.alerts", "later_2"),
                ("group_2_visible.later", "later_2"),
                ("organizations", "later"),
                ("visible.later", "later_1"),
            ]
            assert await migrating.migrate(owner, database.serving_url) == []
        finally:
            await later.manager().run(backwards=True)
        assert await owner.fetch(with_column) == []


async def test_connections_of_a_group_find_its_tables_first(database: Database):
    default = await database.owner.fetchval(SELECT_PATH)
    settings = PoolSettings(url=database.serving_url, search_path=TableGroup(2).path(default))
    async with open_pool(Engine({}), settings) as pool:
        found = await pool.fetchrow("SELECT 'traces'::regclass::oid, 'projects'::regclass::oid")
        other = await database.owner.fetchrow(
            "SELECT 'group_2.traces'::regclass::oid, 'public.projects'::regclass::oid"
        )
        assert found == other


async def test_payload_objects_of_another_group_are_not_deleted_as_orphans(
    site: Installation, tenants: list[Tenant]
):
    projects = [await project_of(site, one) for one in tenants]
    removed = ProjectId(uuid4())
    keys = [f"{one}/{uuid4()}/{uuid4()}" for one in (*projects, removed)]
    default = await site.database.owner.fetchval(SELECT_PATH)
    settings = PoolSettings(url=site.database.serving_url, search_path=TableGroup(2).path(default))
    store = ListedObjects([*keys])
    async with open_pool(Engine({}), settings) as pool:
        clock, now = ManualClock(0.0), datetime.now(UTC)
        orphans = Orphans(clock)
        assert await orphans.remove(pool, store, now) == 0
        clock.now += NAMED_WITHIN_S
        assert await orphans.remove(pool, store, now) == 2
    assert store.keys == [keys[0]]  # which a worker of the first group looks at


@dataclass
class ListedObjects:
    """A PayloadStore that has keys only."""

    keys: list[str]

    async def put(self, key: str, _data: bytes) -> None:
        self.keys.append(key)

    async def get(self, key: str) -> bytes:
        raise KeyError(key)

    async def delete(self, keys: Sequence[str]) -> None:
        self.keys = [one for one in self.keys if one not in keys]

    async def list_keys(self, after: str, _before: datetime) -> Sequence[str]:
        return sorted(one for one in self.keys if one > after)


async def test_retention_of_a_group_looks_at_its_projects(
    site: Installation, tenants: list[Tenant]
):
    for one in tenants:
        project = await project_of(site, one)
        await site.database.owner.execute(
            "UPDATE projects SET retention_days = 1 WHERE id = $1", project
        )
        await store(site, one, "old")
        await within(site.database.owner, ALL_TENANTS).execute(
            f"UPDATE {SCHEMAS[one.group]}.traces SET created_at = $2 WHERE project_id = $1",
            project,
            datetime.now(UTC) - timedelta(days=9),
        )
    expired = [
        await (
            await site.use_cases.for_organization(one.organization)
        ).privacy.delete_expired_traces()
        for one in tenants
    ]
    assert expired == [1, 1]


async def test_group_that_does_not_answer_is_named_and_others_are_served(
    site: Installation, tenants: list[Tenant], redis_url: str
):
    """Its tables are locked, and its statements take too long."""
    impatient = replace(
        site.settings, database_statement_timeout_ms=STATEMENT_MS, redis_url=redis_url
    )
    await store(site, tenants[0], "a trace")
    async with (
        site.database.owner.acquire() as owner,
        root.ports(impatient) as ports,
        owner.transaction(),
    ):
        await owner.execute("LOCK TABLE group_2.eval_runs, group_2.eval_jobs")
        metrics = await read_database_metrics(ports)
        assert metrics[definitions.DATABASE_UP] == {(): 1.0}
        assert metrics[definitions.TABLE_GROUP_UP] == {("1",): 1.0, ("2",): 0.0}
        states = await CheckReadiness(ports.health_checks)()
        assert {name: state.ok for name, state in states.items()} == dict.fromkeys(states, True)
        found = {one.name: one async for one in check_database(impatient)}
        assert found["table group 2"].level is Level.FAIL
        assert "took longer" in (found["table group 2"].detail or "")
        assert found["table groups"].detail == "1 of 2 answer"
        assert {one.level for one in found.values() if one.name != "table group 2"} <= {
            Level.OK,
            Level.WARN,
        }
    metrics = await read_database_metrics(site.ports)
    assert metrics[definitions.TABLE_GROUP_UP] == {("1",): 1.0, ("2",): 1.0}
    found = {one.name: one async for one in check_database(site.settings)}
    assert found["table groups"].detail == "2 of 2 answer"


@ON_PLAIN
async def test_group_is_added_while_the_service_runs(postgres_url: str, tmp_path: Path):
    async with (
        migrated(postgres_url, groups=1) as database,
        installed(database, tmp_path) as site,
    ):
        started = list[UseCases]()
        starter = GroupStarter(site.use_cases, started.append)
        await starter.start_new()
        before = [await site.tenant() for _ in range(3)]
        assert {one.group for one in before} == {1}
        await add_group(database.owner, 2, database.serving_url)
        after = [await site.tenant() for _ in range(4)]
        assert [one.group for one in after] == [2, 2, 2, 1]  # until it has as many
        for one in (*before, *after):
            await store(site, one, "a trace")
        by_group = await projects_in(database, "traces")
        assert (len(by_group[1]), len(by_group[2])) == (4, 3)
        for _ in range(2):
            await starter.start_new()
        assert started == [await site.use_cases.for_group(2)]
        opened = await site.ports.groups.open(2)
        assert opened is not None
        assert opened.evaluation.judge_limiters is site.ports.evaluation.judge_limiters is not None
        assert (
            opened.evaluation.target_limiters is site.ports.evaluation.target_limiters is not None
        )
