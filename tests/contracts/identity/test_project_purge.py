"""Contract of RemovedProjects, run against every adapter."""

import asyncio
import contextlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.postgres.database.pool import Pool
from adapters.postgres.identity.project_purge import PROJECT_TABLES
from domain.errors import NotFound, Unavailable
from domain.evaluation.scores.query import ScoreFilter
from domain.evaluation.scores.score import ScoreChange, TraceScore
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
    EVER,
    DataPlane,
    assert_rolled_up,
    fill,
    sessions_page,
    traces_page,
)
from tests.support.fixtures.identities import new_code, new_project, postgres_ports
from tests.support.fixtures.in_memory_app import World

STEP_MAX = 10_000  # rows: what anybody would still call a bounded number
LATER = at(0) + timedelta(days=1)  # when no straggler is left
TURNS = 12


@dataclass
class Land:
    """Two projects of one organization with the same traces, in a world of both planes."""

    world: World
    pool: Pool | None
    organization: OrganizationId
    gone: Project
    kept: Project
    traces: Sequence[Trace]

    @property
    def plane(self) -> DataPlane:
        return DataPlane.of(self.world.ports)

    @property
    def kept_in_memory(self) -> list[dict[tuple[ProjectId, Any], Any]]:
        store = self.world.ports.traces.store
        return [store.traces, store.trace_scores, store.session_scores]

    async def remove(self, *, whole: bool = False) -> None:
        async with self.world.ports.administration.lock(self.organization) as opened:
            if whole:
                await opened.remove(NOON)
            else:
                await opened.remove_project(self.gone.id, NOON)

    async def rows(self, project: ProjectId) -> int:
        """How many rows the store holds of a project, seen or not."""
        if self.pool is None:
            return sum(of == project for kept in self.kept_in_memory for of, _ in kept)
        return sum(
            [
                await self.pool.fetchval(
                    f"SELECT count(*) FROM {table} WHERE project_id = $1", project
                )
                for table in PROJECT_TABLES
            ]
        )

    async def sweep(self, now=NOON) -> list[int]:
        """Sweeps until nothing is left for now; how many rows went each time."""
        swept: list[int] = []
        while gone := await self.world.ports.removed_projects.purge(now):
            swept.append(gone)
        return swept

    async def straggle(self, project: ProjectId) -> None:
        """Rows of the project that stays, under another's id: what no port would write."""
        if self.pool is None:
            for kept in self.kept_in_memory:
                kept |= {
                    (project, key): one for (of, key), one in kept.items() if of == self.kept.id
                }
            return
        for table in PROJECT_TABLES:
            columns = await self.pool.fetchval(WRITTEN, table)
            await self.pool.execute(
                f"INSERT INTO {table} (project_id, {columns})"
                f" SELECT $1, {columns} FROM {table} WHERE project_id = $2 ON CONFLICT DO NOTHING",
                project,
                self.kept.id,
            )


# The columns of a table but for the project's, as a list for SQL.
WRITTEN = """
SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = $1 AND is_generated = 'NEVER'
AND column_name <> 'project_id'
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
async def land(world: World, adapter: Pool | None) -> Land:
    ada = await world.person("ada")
    ours = (await world.do.create_organization(ada, "Ours")).id
    gone, kept = new_project("gone", ours), new_project("kept", ours)
    async with world.ports.administration.lock(ours) as opened:
        for one in (gone, kept):
            await opened.put_project(one)
    made = Land(world, adapter, ours, gone, kept, [a_trace(n) for n in range(4)])
    await made.sweep(LATER)  # what other tests left in this database
    for one in (gone, kept):
        await fill(made.plane, one.id, *made.traces)
        for score in of_trace(one.id, made.traces[0]):
            await made.plane.evaluation.trace_scores.add(score)
        await made.plane.evaluation.session_scores.add(session_score(one.id, "s0", id=SCORE))
    return made


SCORE = score_id()


def of_trace(project: ProjectId, one: Trace) -> list[TraceScore]:
    return [trace_score(project, one.id, id=SCORE, run_id=RUNS[0]), trace_score(project, one.id)]


async def assert_nothing_is_read(land: Land, project: ProjectId) -> None:
    plane, one = land.plane, land.traces[0]
    assert await traces_page(plane, project) == await traces_page(plane, ProjectId(uuid.uuid4()))
    for conditions in ({"name": "run"}, {"tags": ("a",)}, {"session_id": "s0"}, {"user_id": "u0"}):
        page = await traces_page(plane, project, **conditions)
        assert (list(page.items), page.total, page.end) == ([], 0, None)
    page = await sessions_page(plane, project)
    assert (list(page.items), page.total, page.end) == ([], 0, None)
    for by in Granularity:
        assert list(await plane.analytics.volume(project, EVER, by)) == []
        assert list(await plane.analytics.usage(project, EVER, by)) == []
        assert list(await plane.analytics.sessions(project, EVER, by)) == []
    assert list(await plane.analytics.models(project, EVER)) == []
    assert (await plane.analytics.users(project, ALL)).total == 0
    await assert_no_score_is_read(land, project)
    for read in (
        plane.traces.get(project, one.id),
        plane.sessions.get(project, "s0", PageRequest()),
    ):
        with pytest.raises(NotFound):
            await read


async def assert_no_score_is_read(land: Land, project: ProjectId) -> None:
    ports, one = land.plane.evaluation, land.traces[0]
    for scores in (ports.trace_scores, ports.session_scores):
        for matching in (ScoreFilter(), ScoreFilter(name="m"), ScoreFilter(run_id=RUNS[0])):
            page = await scores.page(project, matching, ALL)
            assert (list(page.items), page.total, page.end) == ([], 0, None)
        assert list(await scores.of_run(project, RUNS[0])) == []
    assert list(await ports.trace_scores.latest(project, one.id)) == []
    assert list(await ports.session_scores.of_session(project, "s0")) == []
    assert [page.total for page in await figures(ports.score_analytics, project, ALWAYS, 3)] == [
        0,
        0,
    ]


# --- at once -------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True], ids=["project", "organization"])
async def test_nothing_of_it_is_read_any_more(land, whole):
    await land.remove(whole=whole)
    await assert_nothing_is_read(land, land.gone.id)
    if whole:
        await assert_nothing_is_read(land, land.kept.id)
    else:
        assert len(await assert_rolled_up(land.plane, land.kept.id)) == len(land.traces)


@pytest.mark.parametrize("swept", [False, True])
async def test_nothing_of_it_is_changed_any_more(land, swept):
    await land.remove()
    if swept:
        await land.sweep()
    traces, gone, one = land.plane.traces, land.gone.id, land.traces[0]
    assert await traces.retag(gone, [one.id], ["new"], []) == 0
    assert await traces.delete(gone, [one.id]) == 0
    assert await land.plane.sessions.delete(gone, "s0") == 0
    scores = land.plane.evaluation
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
    await assert_nothing_is_read(land, gone)
    kept = await land.plane.traces.get(land.kept.id, one.id)
    assert (kept.name, len(kept.spans)) == ("run 0", 2)


@pytest.mark.parametrize("swept", [False, True])
async def test_nothing_is_stored_in_it_any_more(land, swept):
    await land.remove()
    if swept:
        await land.sweep()
    rows = await land.rows(land.gone.id)
    for one in (land.traces[0], a_trace(9)):
        with pytest.raises(Unavailable):
            await land.plane.traces.put(land.gone.id, one)
    assert await land.rows(land.gone.id) == rows
    await assert_nothing_is_read(land, land.gone.id)


async def test_who_writes_elsewhere_at_the_same_time_isn_t_affected(land):
    await land.remove()
    some = [a_trace(n) for n in range(10, 20)]
    outcomes = await asyncio.gather(
        *(
            land.plane.traces.put(project, one)
            for one in some
            for project in (land.gone.id, land.kept.id)
        ),
        return_exceptions=True,
    )
    assert all(isinstance(one, Unavailable) for one in outcomes[::2])
    assert outcomes[1::2] == [None] * 10
    assert len(await assert_rolled_up(land.plane, land.kept.id)) == 14


async def test_the_same_name_begins_anew(land):
    await land.remove()
    again = new_project("gone", land.organization)
    projects = land.world.ports.projects
    assert await projects.ensure(land.organization, again) == again
    await land.plane.traces.put(again.id, land.traces[0])
    assert (await traces_page(land.plane, again.id)).total == 1
    await land.sweep(LATER)
    assert (await traces_page(land.plane, again.id)).total == 1


async def test_writes_under_way_are_stored_or_refused_and_never_seen(land):
    """A project is removed in the midst of them."""
    more = [a_trace(n) for n in range(10, 40)]
    writes = [asyncio.create_task(land.plane.traces.put(land.gone.id, one)) for one in more]
    await asyncio.sleep(0)
    await land.remove()
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert all(one is None or isinstance(one, Unavailable) for one in outcomes)
    await assert_nothing_is_read(land, land.gone.id)
    await land.sweep(LATER)
    assert await land.rows(land.gone.id) == 0


# --- later ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True], ids=["project", "organization"])
async def test_its_rows_are_taken_away_and_no_other(land, whole):
    gone, kept = await land.rows(land.gone.id), await land.rows(land.kept.id)
    assert gone == kept > 0
    assert await land.sweep() == []  # nothing was removed
    await land.remove(whole=whole)
    assert (await land.rows(land.gone.id), await land.rows(land.kept.id)) == (gone, kept)
    assert sum(await land.sweep()) == (gone + kept if whole else gone)
    assert await land.rows(land.gone.id) == 0
    assert await land.rows(land.kept.id) == (0 if whole else kept)
    assert await land.sweep() == []
    if not whole:
        assert len(await assert_rolled_up(land.plane, land.kept.id)) == len(land.traces)


async def test_a_large_project_goes_in_pieces(land):
    large = [
        trace(*(span() for _ in range(200)), id=uuid.uuid4(), name=f"large {n}") for n in range(13)
    ]
    await fill(land.plane, land.gone.id, *large)
    if land.pool is None:
        store = land.world.ports.traces.store
        for _ in range(1_500):
            copy = replace(large[0], id=uuid.uuid4(), spans=())
            store.traces[land.gone.id, copy.id] = copy
    rows = await land.rows(land.gone.id)
    await land.remove()
    swept: list[int] = []
    while gone := await land.world.ports.removed_projects.purge(NOON):
        swept.append(gone)
        assert await land.rows(land.gone.id) == rows - sum(swept)
        await assert_nothing_is_read(land, land.gone.id)
    assert sum(swept) == rows
    assert len(swept) > 1
    assert max(swept) <= STEP_MAX


async def test_a_sweep_that_is_cut_off_goes_on_with_the_next(land):
    rows = await land.rows(land.gone.id)
    await land.remove()
    for turns in range(TURNS):
        sweeping = asyncio.create_task(land.world.ports.removed_projects.purge(NOON))
        for _ in range(turns):
            await asyncio.sleep(0)
        sweeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeping
        assert await land.rows(land.gone.id) <= rows
        await assert_nothing_is_read(land, land.gone.id)
    await land.sweep()
    assert await land.rows(land.gone.id) == 0
    assert len(await assert_rolled_up(land.plane, land.kept.id)) == len(land.traces)


async def test_sweeps_at_once_share_the_work(land):
    others = [new_project(f"other {n}", land.organization) for n in range(4)]
    async with land.world.ports.administration.lock(land.organization) as opened:
        for one in others:
            await opened.put_project(one)
    for one in others:
        await fill(land.plane, one.id, *land.traces)
    async with land.world.ports.administration.lock(land.organization) as opened:
        for one in others:
            await opened.remove_project(one.id, NOON)
    await asyncio.gather(*(land.sweep() for _ in range(4)))
    await land.sweep()
    assert [await land.rows(one.id) for one in others] == [0] * 4
    assert len(await assert_rolled_up(land.plane, land.kept.id)) == len(land.traces)


@pytest.mark.service
async def test_a_sweep_doesn_t_wait_for_one_that_is_at_work(pool):
    async with data_plane.over_postgres(pool) as plane:
        world = World(postgres_ports(pool, plane))
        ada = await world.person("ada")
        ours = (await world.do.create_organization(ada, "Ours")).id
        made = [await world.do.create_project(ada, ours, name, "") for name in ("one", "two")]
        await world.do.purge_removed_projects()
        for one in made:
            await fill(plane, one.id, a_trace(0))
            await world.do.delete_project(ada, ours, one.id)
    busy = "SELECT FROM removals WHERE project_id = $1 FOR UPDATE"
    async with pool.acquire() as at_work, at_work.transaction():
        await at_work.execute(busy, made[0].id)
        while await world.ports.removed_projects.purge(NOON):
            pass
    land = Land(world, pool, ours, made[0], made[1], [])
    assert await land.rows(made[0].id) > 0
    assert await land.rows(made[1].id) == 0
    assert await land.sweep() != []


async def test_what_a_straggler_wrote_doesn_t_come_back_to_life(land):
    """Rows of a transaction that knew nothing of the removal, before and after the first sweep."""
    await land.remove()
    await land.sweep()
    for _ in range(2):
        await land.straggle(land.gone.id)
        assert await land.rows(land.gone.id) > 0
        await assert_nothing_is_read(land, land.gone.id)
        await land.sweep()
    await land.sweep(LATER)
    assert await land.rows(land.gone.id) == 0
    await assert_nothing_is_read(land, land.gone.id)
    assert len(await assert_rolled_up(land.plane, land.kept.id)) == len(land.traces)


async def test_a_code_that_is_just_used_holds_no_sweep_up(land):
    ada = await land.world.person("ada")
    codes = [new_code(land.kept, ada.user.id, expires_at=at(n)) for n in (10, 20)]
    administration, removed_projects = (
        land.world.ports.administration,
        land.world.ports.removed_projects,
    )
    async with administration.lock(land.organization) as opened:
        for code in codes:
            await opened.add_login_code(code)
    async with administration.lock(land.organization) as opened:
        assert await opened.use_login_code(codes[0].digest)
        assert await removed_projects.purge(LATER) > 0  # and waits for nobody
    assert await land.world.ports.directory.login_code(codes[1].digest) is None


async def test_login_codes_that_expired_go_too(land):
    ada = await land.world.person("ada")
    codes = [new_code(land.kept, ada.user.id, expires_at=at(n)) for n in (10, 20, 30)]
    async with land.world.ports.administration.lock(land.organization) as opened:
        for code in codes:
            await opened.add_login_code(code)
    assert await land.sweep(at(20) - timedelta(microseconds=1)) == [1]
    assert await land.sweep(at(20)) == [1]
    directory = land.world.ports.directory
    known = [await directory.login_code(code.digest) for code in codes]
    assert known == [None, None, codes[2]]
    assert await land.sweep(NOON + CODE_LIFETIME) == [1]
