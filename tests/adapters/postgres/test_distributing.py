"""`distribute`: its plan from a made-up catalogue, and on a cluster where there is one.

PANDAPROBE_TEST_CITUS names a cluster, see docs/operation/scaling.md. The tests that need one are
skipped without it.
"""

import os
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest
from asyncpg.introspection import INTRO_LOOKUP_TYPES

from adapters.postgres.database.pool import (
    SESSION_SETTINGS,
    Engine,
    Pool,
    PoolSettings,
    open_pool,
)
from adapters.postgres.database.table_groups import TableGroup
from adapters.postgres.database.tenants import ALL_TENANTS, VIEWS_OF_SCOPE, within
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.schema import distributing, migrating
from adapters.postgres.schema.distributing import (
    FLAT_POLICY,
    SELECT_TABLES,
    SEND_SETTINGS,
    Assumption,
    Catalogue,
    GroupTables,
    NotDistributable,
    NumberedColumn,
    ProjectTable,
    SharedTable,
    Step,
    flat_policy,
    plan_assumptions,
    plan_cleaning,
    plan_numbering,
    plan_placing,
    plan_rights,
    plan_settings,
    plan_sharing,
    workers_of_new_groups,
)
from domain.ids import ProjectId
from tests.support.builders.scores import trace_score
from tests.support.builders.values import NOON, span, trace
from tests.support.fixtures.data_plane import over_postgres
from tests.support.fixtures.servers import citus
from tests.support.waiting import until

ON_CLUSTER: Final = pytest.mark.skipif(
    citus.VARIABLE not in os.environ, reason=f"no cluster: {citus.VARIABLE} is not set"
)
ROLE: Final = 'serving "role"'

TRACES: Final = ProjectTable(
    name="traces",
    is_placed=False,
    has_policy=True,
    is_forced=False,
    has_triggers=False,
    has_local_rows=True,
    local_bytes=700,
)
ALERTS: Final = replace(TRACES, name="alerts", is_forced=True, has_local_rows=False, local_bytes=30)
SPAN_ROWS: Final = replace(TRACES, name="span_rows", has_policy=False, local_bytes=900)


def catalogue(
    *groups: GroupTables, workers: Sequence[str] = ("w1:5432",), passes_settings: bool = False
) -> Catalogue:
    return Catalogue(workers=workers, groups=groups, passes_settings=passes_settings)


def group(*tables: ProjectTable, number: int = 1, worker: str | None = None) -> GroupTables:
    if worker is None and any(one.is_placed for one in tables):
        worker = "w1:5432"
    return GroupTables(group=TableGroup(number), worker=worker, tables=tables)


def plan_of(*tables: ProjectTable, role: str | None = ROLE) -> list[Step]:
    ours = group(*tables)
    return plan_placing(catalogue(ours), ours, role)


def placings(*tables: ProjectTable) -> list[str]:
    steps = plan_of(*tables)
    return [one for step in steps for one in step.statements if "create_distributed" in one]


def test_plan_places_traces_first_and_the_others_with_it():
    assert placings(ALERTS, SPAN_ROWS, TRACES) == [
        "SELECT create_distributed_table('traces', NULL, colocate_with := 'none')",
        "SELECT create_distributed_table('alerts', NULL, colocate_with := 'traces')",
        "SELECT create_distributed_table('spans', NULL, colocate_with := 'traces')",
    ]


def test_plan_of_a_later_table_places_it_with_those_that_are_placed():
    assert placings(replace(TRACES, is_placed=True), ALERTS) == [
        "SELECT create_distributed_table('alerts', NULL, colocate_with := 'traces')"
    ]


def test_plan_replaces_policies_by_those_without_a_subquery():
    [step] = plan_of(TRACES)
    dropped, created, placed = step.statements
    assert dropped == "DROP POLICY IF EXISTS tenant ON traces"
    assert created.startswith("CREATE POLICY tenant ON traces USING (")
    assert "SELECT" not in created
    assert "create_distributed_table" in placed


def test_plan_lifts_a_forced_policy_while_the_owner_copies():
    [step] = plan_of(ALERTS)
    assert step.statements[2] == "ALTER TABLE alerts NO FORCE ROW LEVEL SECURITY"
    assert step.statements[4] == "ALTER TABLE alerts FORCE ROW LEVEL SECURITY"


def test_plan_stops_triggers_while_rows_are_copied():
    [step] = plan_of(replace(TRACES, has_triggers=True))
    assert step.statements[2] == "ALTER TABLE traces DISABLE TRIGGER USER"
    assert "create_distributed_table" in step.statements[3]
    assert step.statements[4] == "ALTER TABLE traces ENABLE TRIGGER USER"


def test_plan_gives_tables_the_names_of_their_views_and_the_rights_of_the_role():
    [step] = plan_of(SPAN_ROWS)
    assert [*step.statements[:3]] == [
        "DROP VIEW spans",
        "ALTER TABLE span_rows RENAME TO spans",
        "ALTER TABLE spans ENABLE ROW LEVEL SECURITY",
    ]
    assert [*step.statements[3:5]] == [
        'GRANT SELECT, INSERT, UPDATE, DELETE ON spans TO "serving ""role"""',
        f"CREATE POLICY tenant ON spans USING ({FLAT_POLICY})",
    ]
    assert step.statements[-1] == "ALTER TABLE spans FORCE ROW LEVEL SECURITY"
    [step] = plan_of(SPAN_ROWS, role=None)
    assert not any("GRANT" in one for one in step.statements)


def test_plan_for_workers_shares_tables_under_policies_without_a_subquery():
    projects = SharedTable(name="projects", tenants=("id", "organization_id"))
    [step] = plan_sharing([projects, SharedTable(name="users", tenants=())])
    dropped, created, *added = step.statements
    assert dropped == "DROP POLICY tenant ON projects"
    assert created == f"CREATE POLICY tenant ON projects USING ({flat_policy(*projects.tenants)})"
    assert "strpos" in created
    assert "SELECT" not in created
    assert [one.partition("(")[2].partition(",")[0] for one in added] == ["'projects'", "'users'"]
    assert plan_sharing([]) == []


def test_plan_for_workers_numbers_rows_and_gives_rights():
    columns = [
        NumberedColumn(name=name, column="id") for name in ("search_queue", "group_2.search_queue")
    ]
    [step] = plan_numbering(columns)
    assert [one.split(" BEFORE ")[0] for one in step.statements[1:]] == (
        ["CREATE TRIGGER number_id_by_time"] * 2
    )
    [step] = plan_rights(["visible.traces"], ROLE)
    assert step.statements == (
        'GRANT SELECT, INSERT, UPDATE, DELETE ON visible.traces TO "serving ""role"""',
    )
    assert plan_numbering([]) == plan_rights([], ROLE) == []


def test_plan_of_a_distributed_database_is_empty():
    placed = group(replace(TRACES, is_placed=True, has_local_rows=False))
    done = catalogue(placed, passes_settings=True)
    assert plan_placing(done, placed, ROLE) == plan_settings(done) == plan_cleaning(done) == []
    [step] = plan_settings(catalogue(placed))
    assert step.statements == (SEND_SETTINGS.strip(),)


def test_plan_frees_what_is_left_of_placed_tables_only():
    placed = replace(TRACES, is_placed=True)
    both = group(placed, ALERTS, SPAN_ROWS), group(placed, number=2, worker="w2:5432")
    assert [step.statements for step in plan_cleaning(catalogue(*both))] == [
        ("SELECT truncate_local_data_after_distributing_table('traces')",),
        ("SELECT truncate_local_data_after_distributing_table('group_2.traces')",),
    ]


def test_plan_sets_on_workers_what_the_planner_is_to_assume():
    missing = [
        Assumption(name=name, shard=f"{name}_{n}", column="project_id", option="n_distinct=2")
        for name, n in (("traces", 7), ("group_2.traces", 8))
    ]
    [step] = plan_assumptions(missing)
    changing, *analyzing = step.statements
    for shard in ("traces_7", "group_2.traces_8"):
        change = f"ALTER TABLE IF EXISTS {shard} ALTER COLUMN project_id SET (n_distinct=2);"
        assert change in changing
    assert analyzing == ["ANALYZE traces", "ANALYZE group_2.traces"]
    assert plan_assumptions([]) == []


def test_plan_of_a_group_names_its_schema_and_takes_a_worker_that_has_none():
    first = group(replace(TRACES, is_placed=True))
    ours = group(SPAN_ROWS, TRACES, number=2)
    known = catalogue(first, ours, workers=["w1:5432", "w2:5433", "w3:5434"])
    assert known.free_workers == ["w2:5433", "w3:5434"]
    [traces, spans] = plan_placing(known, ours, ROLE)
    assert traces.label == "place group_2.traces on w2:5433"
    assert traces.statements[:2] == (
        "SELECT citus_set_node_property('w1', 5432, 'shouldhaveshards', false)",
        "SELECT citus_set_node_property('w3', 5434, 'shouldhaveshards', false)",
    )
    assert traces.statements[-2:] == (
        "SELECT citus_set_node_property('w1', 5432, 'shouldhaveshards', true)",
        "SELECT citus_set_node_property('w3', 5434, 'shouldhaveshards', true)",
    )
    placing = "SELECT create_distributed_table('group_2.traces', NULL, colocate_with := 'none')"
    assert placing in traces.statements
    assert (*spans.statements[:2],) == (
        "DROP VIEW group_2.spans",
        "ALTER TABLE group_2.span_rows RENAME TO spans",
    )
    together = "create_distributed_table('group_2.spans', NULL, colocate_with := 'group_2.traces')"
    assert f"SELECT {together}" in spans.statements


def test_new_groups_go_to_workers_without_one_and_then_to_those_with_the_fewest():
    first = group(replace(TRACES, is_placed=True))
    known = catalogue(first, workers=["w1:5432", "w2:5433", "w3:5434"])
    assert workers_of_new_groups(known) == ["w2:5433", "w3:5434"]
    assert workers_of_new_groups(known, 2) == ["w2:5433", "w3:5434"]
    assert workers_of_new_groups(known, 5) == ["w2:5433", "w3:5434", "w1:5432", "w2:5433"]


def test_group_that_is_not_placed_yet_takes_a_free_worker_before_new_groups():
    unplaced = replace(group(TRACES), worker=None)
    known = catalogue(unplaced, workers=["w1:5432", "w2:5433"])
    assert workers_of_new_groups(known, 3) == ["w2:5433", "w1:5432"]


@pytest.mark.service
@pytest.mark.skipif(citus.VARIABLE in os.environ, reason="the database is on a cluster")
async def test_database_without_citus_says_so(pool: Pool, serving_url: str):
    for run in (distributing.plan, distributing.distribute):
        with pytest.raises(NotDistributable, match="doesn't have the extension citus"):
            await run(pool, serving_url)


# --- on a cluster ---------------------------------------------------------------------------------

COUNT_ROWS: Final = "SELECT count(*) FROM {}"
SUM_ROWS: Final = "SELECT count(*), sum(hashtext(one::text)::bigint) FROM {} AS one"
LATER_MIGRATION: Final = """
CREATE TABLE later (project_id uuid PRIMARY KEY, note text);
ALTER TABLE later ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON later USING (project_id = (SELECT gen_random_uuid()))
"""
COUNT_ASSUMING: Final = """
SELECT sum(result::int) FROM run_command_on_placements($1::text::regclass, $$
  SELECT count(*) FROM pg_attribute
  WHERE attrelid = '%s'::regclass AND attname = 'project_id' AND 'n_distinct=2' = ANY (attoptions)
$$)
"""
FORGET: Final = """
SELECT run_command_on_placements('sessions', $$
  ALTER TABLE %s ALTER COLUMN project_id RESET (n_distinct)
$$)
"""


SERVING_ROLE: Final = "pandaprobe_serving"
SELECT_DATABASE: Final = "SELECT current_database()"


ROWS_WRITTEN: Final = 50
KEPT_MAX: Final = 1 << 20  # bytes; 4.2 million with plans that the session keeps
CHANGE_SCORES: Final = "UPDATE trace_scores SET reason = 'changed' WHERE project_id = $1"
# Where the rows are.
KEPT_BY_PLANS: Final = """
SELECT sum(total_bytes)::bigint FROM pg_get_backend_memory_contexts()
CROSS JOIN (SELECT count(*) FROM (SELECT 1 FROM removals LIMIT 1) AS one) AS here
WHERE name = 'CachedPlan'
"""


TABLES_LEAST: Final = 50
EXPLAIN_LOOK_UP: Final = f"EXPLAIN (ANALYZE, FORMAT JSON) {INTRO_LOOKUP_TYPES}"


async def reads_of_classes(pool: Pool) -> int:
    """How often pg_class is read to look up the type of an array."""

    def count(plan: dict[str, Any]) -> int:
        here = plan["Actual Loops"] if plan.get("Relation Name") == "pg_class" else 0
        return sum(map(count, plan.get("Plans", ()))) + here

    array = await pool.fetchval("SELECT 'uuid[]'::regtype::oid")
    return count(msgspec.json.decode(await pool.fetchval(EXPLAIN_LOOK_UP, [array]))[0]["Plan"])


def of_serving_role(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{SERVING_ROLE}:serving@{parts.hostname}:{parts.port}").geturl()


@pytest.fixture
async def fresh() -> AsyncIterator[tuple[Pool, str]]:
    """The pool of the owner of an empty database on the cluster, and the serving role's URL."""
    url = citus.new_database()
    assert url is not None
    async with open_pool(DB, PoolSettings(url=url, size=3)) as pool:
        yield pool, of_serving_role(url)


@pytest.mark.service
@ON_CLUSTER
class TestCluster:
    async def test_unmigrated_database_is_refused(self, fresh: tuple[Pool, str]):
        pool, serving = fresh
        with pytest.raises(NotDistributable, match="migrate"):
            await distributing.distribute(pool, serving)

    async def test_rows_move_along_and_later_runs_place_what_is_new(self, fresh: tuple[Pool, str]):
        pool, serving_url = fresh
        await migrating.migrate(pool, serving_url)
        projects = [ProjectId(uuid.uuid4()) for _ in range(3)]
        async with open_pool(Engine(config={}), PoolSettings(url=serving_url)) as serving:
            async with over_postgres(serving) as plane:
                for project in projects:
                    one = trace(span(input=b'"text"'))
                    await plane.traces.put(project, one)
                    score = trace_score(project, one.id, created_at=NOON)
                    await plane.evaluation.trace_scores.add(score)
            with pytest.raises(NotDistributable, match="is connected"):
                await distributing.distribute(pool, serving_url)
        await self.until_disconnected(pool)
        # As workers do once they have counted the days.
        await within(pool, ALL_TENANTS).execute("DELETE FROM changed_score_days")
        before = await self.sums(pool)
        assert before["spans"][0] == before["latest_trace_scores"][0] == 3
        seen = list[tuple[int, int]]()
        steps = await distributing.distribute(
            pool, serving_url, on_step=lambda _label, moved, total: seen.append((moved, total))
        )
        assert {"place spans", "free the local copy of spans"} <= {step.label for step in steps}
        assert seen == sorted(seen)
        assert await self.sums(pool) == before
        assert await self.count_assuming(pool) == len(await pool.fetch(SELECT_TABLES, None))
        assert await distributing.plan(pool, serving_url) == []
        assert await distributing.distribute(pool, serving_url) == []
        assert await migrating.migrate(pool, serving_url) == []
        # It is served, with the rows of before and new ones.
        async with (
            open_pool(Engine(config={}), PoolSettings(url=serving_url)) as serving,
            over_postgres(serving) as plane,
        ):
            await plane.traces.put(projects[0], one := trace(span()))
            # The triggers of scores write again.
            score = trace_score(projects[0], one.id, created_at=NOON)
            await plane.evaluation.trace_scores.add(score)
            mine = within(serving, projects[0])
            for table, count in (("latest_trace_scores", 2), ("changed_score_days", 1)):
                assert await mine.fetchval(COUNT_ROWS.format(table)) == count, table
            assert await mine.fetchval("SELECT count(*) FROM spans WHERE project_id = $1",
                                       projects[0]) == 2  # fmt: skip
        await self.until_disconnected(pool)
        await pool.execute(LATER_MIGRATION)
        [step] = await distributing.plan(pool, serving_url)
        assert step.label == "place later"
        await distributing.distribute(pool, serving_url)
        # As after a move to another worker, for which Citus makes the tables again.
        count = await self.count_assuming(pool)
        await pool.execute(FORGET)
        assert await self.count_assuming(pool) == count - 1
        [step] = await distributing.plan(pool, serving_url)
        assert step.statements[1:] == ("ANALYZE sessions",)
        await distributing.distribute(pool, serving_url)
        assert await self.count_assuming(pool) == count
        assert await distributing.plan(pool, serving_url) == []

    async def test_setting_for_workers_may_come_later(self, fresh: tuple[Pool, str]):
        pool, serving_url = fresh
        await migrating.migrate(pool, serving_url)
        await distributing.distribute(pool, serving_url)
        left = await distributing.plan(pool, serving_url, to_workers=True)
        assert len(left) == 3
        assert await distributing.distribute(pool, serving_url, to_workers=True) == left
        assert await distributing.plan(pool, serving_url, to_workers=True) == []
        assert await migrating.migrate(pool, serving_url) == []

    async def test_sessions_on_workers_have_the_settings_of_those_on_the_coordinator(
        self, pool: Pool, serving_url: str
    ):
        """A lock that isn't given up fails all writes of a batch, and plans scan whole tables."""
        names = [*SESSION_SETTINGS]
        columns = ", ".join(f"current_setting('{name}')" for name in names)
        table = "(SELECT count(*) FROM (SELECT 1 FROM removals LIMIT 1) AS one) AS there"
        async with (
            open_pool(Engine(config={}), PoolSettings(url=serving_url)) as serving,
            within(serving, ALL_TENANTS).statement() as connection,
        ):
            there = await connection.fetchrow(f"SELECT {columns} FROM {table}")
            here = await connection.fetchrow(f"SELECT {columns}")
        assert there == here
        role = f"ALTER ROLE {SERVING_ROLE} IN DATABASE {await pool.fetchval(SELECT_DATABASE)}"
        await pool.execute(f"{role} RESET jit")
        [step] = await distributing.plan(pool, serving_url)
        assert step.statements == [f"{role} SET jit = 'off'"]
        assert await distributing.distribute(pool, serving_url) == [step]
        assert await distributing.plan(pool, serving_url) == []

    async def test_indexes_of_workers_serve_filters_under_policies(
        self, pool: Pool, serving_pool: Pool, serving_url: str
    ):
        """What they find is in test_plans.py. Only a superuser may say that nothing leaks."""
        leaking = "ALTER FUNCTION arrayoverlap(anyarray, anyarray) NOT LEAKPROOF"
        await pool.fetch("SELECT run_command_on_workers($1)", leaking)
        [step] = await distributing.plan(pool, serving_url)
        assert "ALTER FUNCTION arrayoverlap(anyarray,anyarray) LEAKPROOF" in step.statements[0]
        assert await serving_pool.fetchval(distributing.SELECT_MAY_TRUST) is False
        assert await distributing.distribute(pool, serving_url) == [step]
        assert await distributing.plan(pool, serving_url) == []

    async def test_type_of_an_array_is_looked_up_without_reading_all_tables(
        self, pool: Pool, serving_url: str
    ):
        """As asyncpg does in a session, once for each type of arrays."""
        volatile = "ALTER FUNCTION pg_catalog.relation_is_a_known_shard(regclass) VOLATILE"
        await pool.fetch("SELECT run_command_on_all_nodes($1)", volatile)
        assert await reads_of_classes(pool) > TABLES_LEAST
        [step] = await distributing.plan(pool, serving_url)
        assert await distributing.distribute(pool, serving_url) == [step]
        assert await distributing.plan(pool, serving_url) == []
        assert await reads_of_classes(pool) == 0

    async def test_triggers_fill_no_memory_of_sessions_on_workers(
        self, pool: Pool, serving_url: str
    ):
        project, one = ProjectId(uuid.uuid4()), trace()
        async with over_postgres(pool) as plane:
            await plane.traces.put(project, one)
            score = trace_score(project, one.id, created_at=NOON)
            await plane.evaluation.trace_scores.add(score)
        async with pool.acquire() as connection, connection.transaction():
            kept = list[int]()
            for _ in range(2):  # the first time makes the plans
                for _ in range(ROWS_WRITTEN):
                    await connection.execute(CHANGE_SCORES, project)
                kept.append(await connection.fetchval(KEPT_BY_PLANS))
        before, after = kept
        assert after - before < KEPT_MAX
        change = "ALTER FUNCTION note_changed_trace_scores()"
        await pool.execute(f"{change} RESET plan_cache_mode")
        [step] = await distributing.plan(pool, serving_url)
        assert step.statements == [f"{change} SET plan_cache_mode = force_custom_plan"]
        assert await distributing.distribute(pool, serving_url) == [step]
        assert await distributing.plan(pool, serving_url) == []

    async def test_failure_changes_nothing(self, fresh: tuple[Pool, str]):
        """The last table can't be placed, so none is."""
        pool, serving_url = fresh
        await migrating.migrate(pool, serving_url)
        async with pool.acquire() as connection:
            await connection.execute(
                "CREATE TABLE zz_bad (project_id uuid, other uuid REFERENCES organizations (id))"
            )
        before = [step.label for step in await distributing.plan(pool, serving_url)]
        with pytest.raises(asyncpg.PostgresError):
            await distributing.distribute(pool, serving_url)
        assert [step.label for step in await distributing.plan(pool, serving_url)] == before
        for table, view in VIEWS_OF_SCOPE.items():
            assert await pool.fetchval("SELECT relkind FROM pg_class WHERE relname = $1", view) == (
                b"v"
            ), table

    async def test_policies_hold_on_the_worker(self, pool: Pool, serving_pool: Pool):
        ours, theirs = ProjectId(uuid.uuid4()), ProjectId(uuid.uuid4())
        async with over_postgres(serving_pool) as plane:
            for project in (ours, theirs):
                await plane.traces.put(project, trace(span(input=b'"text"')))
        tables = [row["name"] for row in await pool.fetch(SELECT_TABLES, None) if row["has_policy"]]
        assert {"traces", "spans", "span_fragments", "trace_payloads", "sessions", "replies"} <= {
            *tables
        }
        mine = within(serving_pool, ours)
        for table in tables:
            found = await mine.fetch(f"SELECT DISTINCT project_id FROM {table}")
            assert {row[0] for row in found} <= {ours}, table
            assert await serving_pool.fetchval(COUNT_ROWS.format(table)) == 0, table
        assert await mine.fetchval(COUNT_ROWS.format("traces")) == 1
        both = within(serving_pool, [ours, theirs])
        assert await both.fetchval(COUNT_ROWS.format("traces")) == 2
        assert await within(serving_pool, ALL_TENANTS).fetchval(COUNT_ROWS.format("traces")) >= 2
        for table in ("traces", "spans"):
            sql = f"DELETE FROM {table} WHERE project_id = $1"
            assert await mine.execute(sql, theirs) == "DELETE 0"
        for table in ("traces", "spans"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await mine.execute(
                    f"UPDATE {table} SET project_id = $1 WHERE project_id = $2", theirs, ours
                )
        with pytest.raises(asyncpg.PostgresError):
            await mine.execute(
                "INSERT INTO judge_budgets (project_id, monthly_usd, updated_at)"
                " VALUES ($1, 1, now())",
                theirs,
            )

    @staticmethod
    async def sums(pool: Pool) -> dict[str, tuple[int, int | None]]:
        """The number and a hash of the rows of each table, by the name that statements use."""
        everything = within(pool, ALL_TENANTS)
        names = [row["name"] for row in await pool.fetch(SELECT_TABLES, None)]
        return {
            name: tuple(await everything.fetchrow(SUM_ROWS.format(name)) or ())
            for name in (VIEWS_OF_SCOPE.get(one, one) for one in names)
        }

    @staticmethod
    async def count_assuming(pool: Pool) -> int:
        """The tables on the workers of whose projects the planner assumes what it is to assume."""
        tables = [row["name"] for row in await pool.fetch(SELECT_TABLES, None)]
        return sum([await pool.fetchval(COUNT_ASSUMING, one) for one in tables])

    @staticmethod
    async def until_disconnected(pool: Pool) -> None:
        """The server ends the sessions of a pool shortly after it was closed."""

        async def connected() -> int:
            count: int = await pool.fetchval(distributing.COUNT_OTHER_SESSIONS, SERVING_ROLE)
            return count

        await until(connected, lambda count: count == 0)
