"""Traces that are hidden, or move to another user, while a transaction waits for them."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

import pytest

from adapters.postgres.database.advisory_locks import (
    LOCK_PROJECTS_SHARED,
    LOCK_TENANT,
    AdvisoryLock,
)
from adapters.postgres.database.pool import Pool
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.evaluation.scores.score_rows import SESSION_SCORES, TRACE_SCORES
from adapters.postgres.evaluation.scores.scores import INSERT_SCORE
from adapters.postgres.tracing.writes.batch_writer import TraceWriter
from domain.errors import Failure, Invalid, NotFound
from domain.ids import ProjectId
from domain.privacy.erasure import DataSubject, DataSubjectKind
from domain.tracing.trace import TraceChange
from tests.adapters.postgres.tracing.test_erased_files import WAITS
from tests.support.builders.scores import session_score, trace_score
from tests.support.builders.values import project_prices, trace
from tests.support.fixtures.data_plane import DataPlane, over_postgres, project
from tests.support.fixtures.erasures import FAR_FUTURE, an_erasure, audit_entry
from tests.support.waiting import in_time

pytestmark = pytest.mark.service

LOCK = "SELECT 1 FROM traces WHERE project_id = $1 AND trace_id = $2 FOR UPDATE"
GIVE = "UPDATE traces SET user_id = 'grace' WHERE project_id = $1 AND trace_id = $2"
HIDE = """
INSERT INTO erasures (project_id, id, organization_id, kind, owner, salt, digest, state,
                      requested_at, actor_name, rows)
VALUES ($1, gen_random_uuid(), $1, 'user', 'grace', '', '', 'REMOVING', now(), '', '{}')
"""
OWNERS = AdvisoryLock.TRACE_OWNERS
GRACE = DataSubject(DataSubjectKind.USER, "grace")
TO_ADA = TraceChange(user_id="ada")


@pytest.fixture
async def plane(patient_pool: Pool) -> AsyncIterator[DataPlane]:
    async with over_postgres(patient_pool) as plane:
        yield plane


async def begin(plane: DataPlane, project_id: ProjectId) -> None:
    erasure = an_erasure(project_id, GRACE, requested_at=FAR_FUTURE)
    await plane.privacy.erasures.begin(erasure, GRACE, audit_entry(erasure))


async def after(
    pool: Pool,
    held: Sequence[tuple[object, ...]],
    waiting: Coroutine[Any, Any, object],
    meanwhile: Coroutine[Any, Any, object] | None = None,
) -> object:
    """Runs an action that waits for a transaction, commits that, and returns the result."""
    async with within(pool, ALL_TENANTS).transaction() as holder:
        for sql, *values in held:
            await holder.execute(str(sql), *values)
        task = asyncio.ensure_future(waiting)
        async with in_time():
            while not await holder.fetchval(WAITS):
                assert not task.done(), "it waits for nobody"
        if meanwhile is not None:
            await meanwhile
    try:
        return await task
    except Failure as failure:
        return type(failure)


async def test_move_waits_for_starting_erasure_and_is_refused(pool: Pool, plane: DataPlane) -> None:
    ours, first, second = project(), trace(user_id="grace"), trace(user_id="grace")
    for one in (first, second):
        await plane.traces.put(ours, one)
    held = [(LOCK_TENANT, OWNERS, ours), (HIDE, ours)]
    moved = trace(id=first.id, user_id="ada")
    assert await after(pool, held, plane.traces.put(ours, moved)) is Invalid
    ours = project()
    await plane.traces.put(ours, second)
    held = [(LOCK_TENANT, OWNERS, ours), (HIDE, ours)]
    assert await after(pool, held, plane.traces.change(ours, second.id, TO_ADA)) is Invalid


async def test_erasure_waits_for_running_moves(pool: Pool, plane: DataPlane) -> None:
    ours = project()
    assert await after(pool, [(LOCK_PROJECTS_SHARED, OWNERS, [ours])], begin(plane, ours)) is None


async def test_move_that_waited_for_trace_lock_is_refused_under_erasure(
    pool: Pool, plane: DataPlane
) -> None:
    ours, one = project(), trace(user_id="grace")
    await plane.traces.put(ours, one)
    change = plane.traces.change(ours, one.id, TO_ADA)
    assert await after(pool, [(LOCK, ours, one.id)], change, begin(plane, ours)) is Invalid


async def test_edit_that_waited_for_trace_lock_finds_it_hidden(
    pool: Pool, plane: DataPlane
) -> None:
    ours, one = project(), trace(user_id="ada")
    await plane.traces.put(ours, one)
    await begin(plane, ours)
    change = plane.traces.change(ours, one.id, TraceChange(name="named"))
    assert await after(pool, [(GIVE, ours, one.id)], change) is NotFound


async def test_trace_delete_waits_for_running_score_inserts(pool: Pool, plane: DataPlane) -> None:
    ours, one = project(), trace(session_id="s")
    await plane.traces.put(ours, one)
    held = [
        (INSERT_SCORE[TRACE_SCORES.name], *TRACE_SCORES.row(trace_score(ours, one.id))),
        (INSERT_SCORE[SESSION_SCORES.name], *SESSION_SCORES.row(session_score(ours, "s"))),
    ]
    assert await after(pool, held[1:], plane.traces.delete(ours, [one.id])) == 1
    await plane.traces.put(ours, one)
    assert await after(pool, held[:1], plane.traces.delete(ours, [one.id])) == 1
    assert await plane.evaluation.trace_scores.latest(ours, one.id) == []


@pytest.mark.parametrize("users", [("grace", "ada"), ("ada", "grace"), ("ada", None, "grace")])
@pytest.mark.parametrize("is_known", [True, False])
async def test_batch_cannot_move_trace_of_erased_user(
    pool: Pool, plane: DataPlane, users: tuple[str | None, ...], is_known: bool
) -> None:
    """They are merged before they are stored: each by itself tells whether it may be."""
    ours, one = project(), trace(user_id="ada")
    if is_known:
        await plane.traces.put(ours, one)
    write = TraceWriter(pool, project_prices()).write
    batch = [(ours, trace(id=one.id, user_id=user)) for user in users]
    await write(batch[:1])
    await write(batch)
    ours = project()
    await begin(plane, ours)
    if is_known:
        await plane.traces.put(ours, one)
    with pytest.raises(Invalid):
        await write([(ours, sent) for _, sent in batch])
    await write([(ours, trace(user_id="ada")), (ours, trace(user_id="grace"))])
