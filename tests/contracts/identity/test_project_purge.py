"""Contract of RemovedProjects, run against every adapter."""

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.postgres.database.pool import Engine, Pool, PoolSettings, open_pool
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.identity.project_purge import (
    PROJECT_TABLES,
    PostgresRemovedProjects,
)
from application.identity.ports import PurgePostponed
from application.identity.projects import PurgeRemovedProjects
from domain.errors import NotFound, Unavailable
from domain.evaluation.scores.analytics import Histogram
from domain.evaluation.scores.score import ScoreChange, ScoreFilter, TraceScore
from domain.identity.login_code import CODE_LIFETIME
from domain.identity.organization import Project
from domain.ids import OrganizationId, ProjectId
from domain.page import PageRequest
from domain.tracing.analytics import Granularity
from domain.tracing.span import SpanChange
from domain.tracing.trace import Trace, TraceChange
from tests.support.builders.scores import EVER as ALWAYS
from tests.support.builders.scores import RUNS, figures, score_id, session_score, trace_score
from tests.support.builders.values import NOON, at, span, trace
from tests.support.fixtures import data_plane
from tests.support.fixtures.data_plane import (
    ALL,
    ALL_TIME,
    DataPlane,
    assert_summaries_match,
    fill,
    sessions_page,
    traces_page,
)
from tests.support.fixtures.identities import new_code, new_project, postgres_ports
from tests.support.fixtures.in_memory_app import World
from tests.support.hypothesis_scale import sampled
from tests.support.waiting import until_done

STEP_MAX = 10_000  # rows: a bounded number
LATER = at(0) + timedelta(days=1)  # when no late transaction is left
SELECT_DUE = "SELECT due_at FROM removals WHERE project_id = $1"
# Turns of the loop. `make test` takes the even ones, `make test-all` all of them.
CANCELLED_AFTER = (*range(0, 12, 2), *range(1, 12, 2))


@dataclass
class PurgeFixture:
    """Two projects of one organization with the same traces, over both planes."""

    world: World
    pool: Pool | None
    organization: OrganizationId
    gone: Project
    kept: Project
    traces: Sequence[Trace]

    @property
    def plane(self) -> DataPlane:
        return DataPlane.from_ports(self.world.ports)

    @property
    def memory_tables(self) -> list[dict[tuple[ProjectId, Any], Any]]:
        store = self.world.ports.tracing.traces.store
        return [store.traces, store.trace_scores, store.session_scores]

    async def remove(self, *, whole: bool = False) -> None:
        async with self.world.ports.identity.administration.lock(self.organization) as opened:
            if whole:
                await opened.remove(NOON)
            else:
                await opened.remove_project(self.gone.id, NOON)

    async def rows(self, project: ProjectId) -> int:
        """Counts the rows that the store holds of a project, visible or not."""
        if self.pool is None:
            return sum(of == project for kept in self.memory_tables for of, _ in kept)
        counted: int = await within(self.pool, ALL_TENANTS).fetchval(COUNT_ROWS, project)
        return counted

    async def sweep(self, now=NOON) -> list[int]:
        """Sweeps until nothing is due; returns the rows deleted each time."""
        swept: list[int] = []
        while gone := await self.world.ports.identity.removed_projects.purge(now):
            swept.append(gone)
        return swept

    async def write_late_rows(self, project: ProjectId) -> None:
        """Copies rows of the kept project, as a late transaction would write them."""
        if self.pool is None:
            for kept in self.memory_tables:
                kept |= {
                    (project, key): one for (of, key), one in kept.items() if of == self.kept.id
                }
            return
        for table, columns in await self.pool.fetch(SELECT_COLUMNS, [*PROJECT_TABLES]):
            await within(self.pool, ALL_TENANTS).execute(
                # Citus can't insert what a policy chooses, unless it is read first.
                f"WITH kept AS MATERIALIZED (SELECT {columns} FROM {table} WHERE project_id = $2)"
                f" INSERT INTO {table} (project_id, {columns})"
                f" SELECT $1, {columns} FROM kept ON CONFLICT DO NOTHING",
                project,
                self.kept.id,
            )


COUNT_ROWS = "SELECT " + " + ".join(
    f"(SELECT count(*) FROM {table} WHERE project_id = $1)" for table in PROJECT_TABLES
)
# The columns of each table except the project's, as a list for SQL. The view `spans` doesn't say
# which of its columns `span_rows` generates.
SELECT_COLUMNS = """
SELECT relname, string_agg(quote_ident(attname), ', ')
FROM pg_attribute AS a JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = 'public'::regnamespace AND relname = ANY($1)
AND attnum > 0 AND NOT attisdropped AND attname <> 'project_id' AND attgenerated = ''
AND NOT EXISTS (
  SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(left(relname, -1) || '_rows')
  AND attname = a.attname AND attgenerated <> ''
)
GROUP BY relname ORDER BY array_position($1, relname::text)
"""


def a_trace(n: int) -> Trace:
    return trace(
        span(
            started_at=at(n), ended_at=at(n + 1), model="gpt-4o", token_usage=b'{"prompt_tokens":3}'
        ),
        span(started_at=at(n)),
        name=f"run {n}",
        started_at=at(n),
        ended_at=at(n + 2),
        session_id=f"s{n % 2}",
        user_id=f"u{n % 2}",
        tags=("a", f"t{n}"),
        metadata=b'{"k": "v"}',
        input=b"[1]",
    )


@pytest.fixture
async def fixture(world: World, adapter: Pool | None) -> PurgeFixture:
    ada = await world.person("ada")
    ours = (await world.do.identity.create_organization(ada, "Ours")).id
    gone, kept = new_project("gone", ours), new_project("kept", ours)
    async with world.ports.identity.administration.lock(ours) as opened:
        for one in (gone, kept):
            await opened.put_project(one)
    made = PurgeFixture(world, adapter, ours, gone, kept, [a_trace(n) for n in range(4)])
    await made.sweep(LATER)  # what other tests left in this database
    for one in (gone, kept):
        await fill(made.plane, one.id, *made.traces)
        for score in scores_of(one.id, made.traces[0]):
            await made.plane.evaluation.trace_scores.add(score)
        await made.plane.evaluation.session_scores.add(session_score(one.id, "s0", id=SCORE))
    return made


SCORE = score_id()


def scores_of(project: ProjectId, one: Trace) -> list[TraceScore]:
    return [trace_score(project, one.id, id=SCORE, run_id=RUNS[0]), trace_score(project, one.id)]


async def assert_not_listed(fixture: PurgeFixture, project: ProjectId) -> None:
    """What removal hides, in few reads: where traces, sessions and scores are read first."""
    plane, scores = fixture.plane, fixture.plane.evaluation
    for page in (
        await traces_page(plane, project),
        await sessions_page(plane, project),
        await scores.trace_scores.page(project, ScoreFilter(), ALL),
        await scores.session_scores.page(project, ScoreFilter(), ALL),
    ):
        assert (list(page.items), page.total, page.end) == ([], 0, None)
    assert list(await plane.analytics.volume(project, ALL_TIME, Granularity.DAY)) == []
    with pytest.raises(NotFound):
        await plane.traces.get(project, fixture.traces[0].id)


async def assert_not_readable(fixture: PurgeFixture, project: ProjectId) -> None:
    """The same in every read."""
    plane, one = fixture.plane, fixture.traces[0]
    assert await traces_page(plane, project) == await traces_page(plane, ProjectId(uuid.uuid4()))
    for conditions in ({"name": "run"}, {"tags": ("a",)}, {"session_id": "s0"}, {"user_id": "u0"}):
        page = await traces_page(plane, project, **conditions)
        assert (list(page.items), page.total, page.end) == ([], 0, None)
    page = await sessions_page(plane, project)
    assert (list(page.items), page.total, page.end) == ([], 0, None)
    for by in Granularity:
        assert list(await plane.analytics.volume(project, ALL_TIME, by)) == []
        assert list(await plane.analytics.usage(project, ALL_TIME, by)) == []
        assert list(await plane.analytics.sessions(project, ALL_TIME, by)) == []
    assert list(await plane.analytics.models(project, ALL_TIME)) == []
    assert (await plane.analytics.users(project, ALL)).total == 0
    await assert_no_scores_readable(fixture, project)
    for read in (
        plane.traces.get(project, one.id),
        plane.sessions.get(project, "s0", PageRequest()),
    ):
        with pytest.raises(NotFound):
            await read


async def assert_no_scores_readable(fixture: PurgeFixture, project: ProjectId) -> None:
    ports, one = fixture.plane.evaluation, fixture.traces[0]
    for scores in (ports.trace_scores, ports.session_scores):
        for matching in (ScoreFilter(), ScoreFilter(name="m"), ScoreFilter(run_id=RUNS[0])):
            page = await scores.page(project, matching, ALL)
            assert (list(page.items), page.total, page.end) == ([], 0, None)
        assert list(await scores.by_run(project, RUNS[0])) == []
    assert list(await ports.trace_scores.latest(project, one.id)) == []
    assert list(await ports.session_scores.by_session(project, "s0")) == []
    for one in await figures(ports.score_analytics, project, ALWAYS, 3):
        if isinstance(one, Histogram):
            assert one == Histogram(bins=[], scored=0, skipped=0, failed=0, pending=0)
        else:
            assert one.total == 0


# --- at removal ----------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True], ids=["project", "organization"])
async def test_removed_project_cannot_be_read(fixture, whole):
    await fixture.remove(whole=whole)
    await assert_not_readable(fixture, fixture.gone.id)
    if whole:
        await assert_not_readable(fixture, fixture.kept.id)
    else:
        assert len(await assert_summaries_match(fixture.plane, fixture.kept.id)) == len(
            fixture.traces
        )


@pytest.mark.parametrize("swept", [False, True])
async def test_removed_project_cannot_be_changed(fixture, swept):
    await fixture.remove()
    if swept:
        await fixture.sweep()
    traces, gone, one = fixture.plane.traces, fixture.gone.id, fixture.traces[0]
    assert await traces.retag(gone, [one.id], ["new"], []) == 0
    assert await traces.delete(gone, [one.id]) == 0
    assert await fixture.plane.sessions.delete(gone, "s0") == 0
    scores = fixture.plane.evaluation
    assert not await scores.trace_scores.delete(gone, SCORE)
    assert not await scores.session_scores.delete(gone, SCORE)
    for write in (
        scores.trace_scores.change(gone, SCORE, ScoreChange(value="1"), NOON, None),
        scores.trace_scores.add(trace_score(gone, one.id)),
        scores.session_scores.add(session_score(gone, "s0")),
        traces.change(gone, one.id, TraceChange(name="new")),
        traces.change_span(gone, one.id, one.spans[0].id, SpanChange(name="new")),
        traces.add_spans(gone, one.id, [span()]),
    ):
        with pytest.raises(NotFound):
            await write
    await assert_not_listed(fixture, gone)
    kept = await fixture.plane.traces.get(fixture.kept.id, one.id)
    assert (kept.name, len(kept.spans)) == ("run 0", 2)


@pytest.mark.parametrize("swept", [False, True])
async def test_removed_project_stores_nothing(fixture, swept):
    await fixture.remove()
    if swept:
        await fixture.sweep()
    rows = await fixture.rows(fixture.gone.id)
    for one in (fixture.traces[0], a_trace(9)):
        with pytest.raises(Unavailable):
            await fixture.plane.traces.put(fixture.gone.id, one)
    assert await fixture.rows(fixture.gone.id) == rows
    await assert_not_listed(fixture, fixture.gone.id)


async def test_concurrent_writes_to_another_project_are_not_affected(fixture):
    await fixture.remove()
    some = [a_trace(n) for n in range(10, 20)]
    outcomes = await asyncio.gather(
        *(
            fixture.plane.traces.put(project, one)
            for one in some
            for project in (fixture.gone.id, fixture.kept.id)
        ),
        return_exceptions=True,
    )
    assert all(isinstance(one, Unavailable) for one in outcomes[::2])
    assert outcomes[1::2] == [None] * 10
    assert len(await assert_summaries_match(fixture.plane, fixture.kept.id)) == 14


async def test_name_of_removed_project_starts_empty(fixture):
    await fixture.remove()
    again = new_project("gone", fixture.organization)
    projects = fixture.world.ports.identity.projects
    assert await projects.ensure(fixture.organization, again) == again
    await fixture.plane.traces.put(again.id, fixture.traces[0])
    assert (await traces_page(fixture.plane, again.id)).total == 1
    await fixture.sweep(LATER)
    assert (await traces_page(fixture.plane, again.id)).total == 1


async def test_concurrent_writes_are_stored_or_rejected_but_never_read(fixture):
    """The project is removed while they run."""
    more = [a_trace(n) for n in range(10, 40)]
    writes = [asyncio.create_task(fixture.plane.traces.put(fixture.gone.id, one)) for one in more]
    await asyncio.sleep(0)
    await fixture.remove()
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert all(one is None or isinstance(one, Unavailable) for one in outcomes)
    await assert_not_listed(fixture, fixture.gone.id)
    await fixture.sweep(LATER)
    assert await fixture.rows(fixture.gone.id) == 0


# --- sweeping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True], ids=["project", "organization"])
async def test_sweep_deletes_rows_of_removed_project_only(fixture, whole):
    gone, kept = await fixture.rows(fixture.gone.id), await fixture.rows(fixture.kept.id)
    assert gone == kept > 0
    assert await fixture.sweep() == []  # nothing was removed
    await fixture.remove(whole=whole)
    assert (await fixture.rows(fixture.gone.id), await fixture.rows(fixture.kept.id)) == (
        gone,
        kept,
    )
    assert sum(await fixture.sweep()) == (gone + kept if whole else gone)
    assert await fixture.rows(fixture.gone.id) == 0
    assert await fixture.rows(fixture.kept.id) == (0 if whole else kept)
    assert await fixture.sweep() == []
    if not whole:
        assert len(await assert_summaries_match(fixture.plane, fixture.kept.id)) == len(
            fixture.traces
        )


async def test_large_project_is_deleted_in_batches(fixture):
    large = [
        trace(*(span() for _ in range(200)), id=uuid.uuid4(), name=f"large {n}") for n in range(13)
    ]
    await fill(fixture.plane, fixture.gone.id, *large)
    if fixture.pool is None:
        store = fixture.world.ports.tracing.traces.store
        for _ in range(1_500):
            copy = replace(large[0], id=uuid.uuid4(), spans=())
            store.traces[fixture.gone.id, copy.id] = copy
    rows = await fixture.rows(fixture.gone.id)
    await fixture.remove()
    swept: list[int] = []
    while gone := await fixture.world.ports.identity.removed_projects.purge(NOON):
        swept.append(gone)
        assert await fixture.rows(fixture.gone.id) == rows - sum(swept)
        if len(swept) == 1:  # every read takes longer than a batch
            await assert_not_listed(fixture, fixture.gone.id)
    await assert_not_listed(fixture, fixture.gone.id)
    assert sum(swept) == rows
    assert len(swept) > 1
    assert max(swept) <= STEP_MAX


async def test_cancelled_sweep_is_continued_by_next(fixture):
    rows = await fixture.rows(fixture.gone.id)
    await fixture.remove()
    for turns in sampled(CANCELLED_AFTER, len(CANCELLED_AFTER) // 4, 0, usually=True):
        sweeping = asyncio.create_task(fixture.world.ports.identity.removed_projects.purge(NOON))
        for _ in range(turns):
            await asyncio.sleep(0)
        sweeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeping
        assert await fixture.rows(fixture.gone.id) <= rows
        await assert_not_listed(fixture, fixture.gone.id)
    await fixture.sweep()
    assert await fixture.rows(fixture.gone.id) == 0
    assert len(await assert_summaries_match(fixture.plane, fixture.kept.id)) == len(fixture.traces)


async def test_concurrent_sweeps_share_the_work(fixture):
    others = [new_project(f"other {n}", fixture.organization) for n in range(4)]
    async with fixture.world.ports.identity.administration.lock(fixture.organization) as opened:
        for one in others:
            await opened.put_project(one)
    for one in others:
        await fill(fixture.plane, one.id, *fixture.traces)
    async with fixture.world.ports.identity.administration.lock(fixture.organization) as opened:
        for one in others:
            await opened.remove_project(one.id, NOON)
    await asyncio.gather(*(fixture.sweep() for _ in range(4)))
    await fixture.sweep()
    assert [await fixture.rows(one.id) for one in others] == [0] * 4
    assert len(await assert_summaries_match(fixture.plane, fixture.kept.id)) == len(fixture.traces)


@pytest.mark.service
async def test_sweep_skips_project_locked_by_another(pool):
    async with data_plane.over_postgres(pool) as plane:
        world = World(postgres_ports(pool, plane))
        ada = await world.person("ada")
        ours = (await world.do.identity.create_organization(ada, "Ours")).id
        made = [
            await world.do.identity.create_project(ada, ours, name, "") for name in ("one", "two")
        ]
        await world.do.identity.purge_removed_projects()
        for one in made:
            await fill(plane, one.id, a_trace(0))
            await world.do.identity.delete_project(ada, ours, one.id)
    busy = "SELECT 1 FROM removals WHERE project_id = $1 FOR UPDATE"
    async with pool.acquire() as at_work, at_work.transaction():
        await at_work.execute(busy, made[0].id)
        await until_done(world.ports.identity.removed_projects.purge, NOON)
    fixture = PurgeFixture(world, pool, ours, made[0], made[1], [])
    assert await fixture.rows(made[0].id) > 0
    assert await fixture.rows(made[1].id) == 0
    assert await fixture.sweep() != []


@pytest.mark.service
async def test_project_whose_deletes_fail_is_put_off_for_longer_each_time(
    pool, postgres_url, caplog
):
    async with data_plane.over_postgres(pool) as plane:
        world = World(postgres_ports(pool, plane))
        ada = await world.person("ada")
        ours = (await world.do.identity.create_organization(ada, "Ours")).id
        stuck, other = [
            await world.do.identity.create_project(ada, ours, name, "") for name in ("one", "two")
        ]
        fixture = PurgeFixture(world, pool, ours, stuck, other, [])
        await fixture.sweep(LATER)
        for one in (stuck, other):
            await fill(plane, one.id, a_trace(0))
        async with world.ports.identity.administration.lock(ours) as opened:
            for one in (stuck, other):
                await opened.remove_project(one.id, NOON)
    held = "SELECT 1 FROM traces WHERE project_id = $1 FOR UPDATE"
    hurried = PoolSettings(url=postgres_url, lock_timeout_ms=50)
    async with (
        open_pool(Engine(config={}), hurried) as purging,
        within(pool, stuck.id).transaction() as holding,
    ):
        await holding.execute(held, stuck.id)
        removed, pauses, now = PostgresRemovedProjects(purging), list[timedelta](), NOON
        for _ in range(4):
            with pytest.raises(PurgePostponed):
                await PurgeRemovedProjects(removed, itertools.repeat(now).__next__)()
            due = await within(pool, ALL_TENANTS).fetchval(SELECT_DUE, stuck.id)
            pauses.append(due - now)
            now = due
        assert await fixture.rows(other.id) == 0
        assert await fixture.rows(stuck.id) > 0
    assert pauses == [timedelta(minutes=n) for n in (5, 5, 10, 20)]
    logged = {record.__dict__.get("project_id") for record in caplog.records}
    assert logged == {str(stuck.id)}
    await until_done(fixture.world.ports.identity.removed_projects.purge, now)
    assert await fixture.rows(stuck.id) == 0


async def test_late_rows_stay_hidden_and_are_swept(fixture):
    """Rows of a transaction that did not see the removal, before and after the first sweep."""
    await fixture.remove()
    await fixture.sweep()
    for _ in range(2):
        await fixture.write_late_rows(fixture.gone.id)
        assert await fixture.rows(fixture.gone.id) > 0
        await assert_not_readable(fixture, fixture.gone.id)
        await fixture.sweep()
    await fixture.sweep(LATER)
    assert await fixture.rows(fixture.gone.id) == 0
    await assert_not_readable(fixture, fixture.gone.id)
    assert len(await assert_summaries_match(fixture.plane, fixture.kept.id)) == len(fixture.traces)


async def test_login_code_in_use_does_not_block_sweep(fixture):
    ada = await fixture.world.person("ada")
    codes = [new_code(fixture.kept, ada.user.id, expires_at=at(n)) for n in (10, 20)]
    administration, removed_projects = (
        fixture.world.ports.identity.administration,
        fixture.world.ports.identity.removed_projects,
    )
    async with administration.lock(fixture.organization) as opened:
        for code in codes:
            await opened.add_login_code(code)
    async with administration.lock(fixture.organization) as opened:
        assert await opened.use_login_code(codes[0].digest)
        assert await removed_projects.purge(LATER) > 0  # without waiting
    assert await fixture.world.ports.identity.directory.login_code(codes[1].digest) is None


async def test_sweep_deletes_expired_login_codes(fixture):
    ada = await fixture.world.person("ada")
    codes = [new_code(fixture.kept, ada.user.id, expires_at=at(n)) for n in (10, 20, 30)]
    async with fixture.world.ports.identity.administration.lock(fixture.organization) as opened:
        for code in codes:
            await opened.add_login_code(code)
    assert await fixture.sweep(at(20) - timedelta(microseconds=1)) == [1]
    assert await fixture.sweep(at(20)) == [1]
    directory = fixture.world.ports.identity.directory
    known = [await directory.login_code(code.digest) for code in codes]
    assert known == [None, None, codes[2]]
    assert await fixture.sweep(NOON + CODE_LIFETIME) == [1]
