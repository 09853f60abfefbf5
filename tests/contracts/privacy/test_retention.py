"""Contract of ExpiredTraces, run against every adapter."""

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import batched

import pytest

from application.ports import (
    IDEMPOTENCY_LOCK_TTL,
    IdempotencyLock,
    IdempotentRequest,
    StoredResponse,
)
from application.privacy.ports import SESSIONS_AT_ONCE
from application.use_cases import UseCases
from domain.errors import NotFound
from domain.ids import ProjectId
from domain.tracing.trace import Trace, TraceChange
from tests.support.builders.scores import session_score, trace_score
from tests.support.builders.values import NOON, at, span, trace
from tests.support.fixtures.data_plane import DataPlane, assert_summaries_match, fill, stored_traces
from tests.support.fixtures.identities import new_project
from tests.support.fixtures.in_memory_app import World

DAYS = 7
KEPT = timedelta(days=DAYS)
STEP_MAX = 1_000  # traces per step


@pytest.fixture
def plane(world: World) -> DataPlane:
    return DataPlane.from_ports(world.ports)


async def project_keeping_days(world: World, days: int | None) -> ProjectId:
    """Creates a project with this retention."""
    ada = await world.person("ada")
    ours = (await world.do.identity.create_organization(ada, "Ours")).id
    made = new_project("bot", ours)
    async with world.ports.identity.administration.lock(ours) as opened:
        await opened.put_project(made)
        await opened.put_project(replace(made, retention_days=days))
    return made.id


def a_trace(**overrides) -> Trace:
    return trace(
        span(model="gpt-4o", token_usage=b'{"prompt_tokens":3}'),
        **{"session_id": "s", "user_id": "u", "tags": ("a",), "input": b"[1]"} | overrides,
    )


async def put_around_instant(plane, ours, before, after):
    """Stores traces before and after an instant, and returns the instant."""
    await fill(plane, ours, *before)
    now = datetime.now(UTC)
    await asyncio.sleep(0)
    await fill(plane, ours, *after)
    return now


async def test_traces_stored_before_retention_are_deleted(world, plane):
    ours = await project_keeping_days(world, DAYS)
    old = [a_trace(started_at=at(n)) for n in range(3)]
    # Neither the start of a trace nor its last change counts.
    late = a_trace(started_at=at(-9_000_000))
    middle = await put_around_instant(plane, ours, old, [late])
    await plane.traces.put(ours, replace(old[0], name="again"))
    expired = plane.privacy.expired
    assert await expired.delete(ours, middle + KEPT - timedelta(days=1)) == 0
    assert ours not in await expired.projects(middle + KEPT - timedelta(days=1))
    assert ours in await expired.projects(middle + KEPT)
    assert await expired.delete(ours, middle + KEPT) == 3
    assert await expired.delete(ours, middle + KEPT) == 0
    assert ours not in await expired.projects(middle + KEPT)
    assert [one.id for one in await stored_traces(plane, ours)] == [late.id]
    assert len(await assert_summaries_match(plane, ours)) == 1
    with pytest.raises(NotFound):
        await plane.traces.get(ours, old[0].id)


async def test_clock_that_is_ahead_deletes_nothing(world, plane):
    """The clock of the store dates traces, and that of a worker may be ahead."""
    ours, one = await project_keeping_days(world, DAYS), a_trace()
    await fill(plane, ours, one)
    ahead = replace(world.ports, clock=lambda: datetime.now(UTC) + 2 * KEPT)
    await UseCases(ahead).privacy.delete_expired_traces()
    assert [one.id for one in await stored_traces(plane, ours)] == [one.id]


async def test_current_time_is_by_the_clock_that_dates_traces(world, plane):
    ours, expired = await project_keeping_days(world, DAYS), plane.privacy.expired
    before = await expired.current_time()
    await fill(plane, ours, a_trace())
    assert await expired.delete(ours, before + KEPT) == 0
    after = await expired.current_time()
    assert before < after
    assert await expired.delete(ours, after + KEPT) == 1


async def test_deleted_trace_sent_again_is_new(world, plane):
    ours, one = await project_keeping_days(world, DAYS), a_trace()
    middle = await put_around_instant(plane, ours, [one], [])
    assert await plane.privacy.expired.delete(ours, middle + KEPT) == 1
    await plane.traces.put(ours, one)
    assert await plane.privacy.expired.delete(ours, middle + KEPT) == 0
    assert len(await assert_summaries_match(plane, ours)) == 1


@pytest.mark.parametrize("days", [None, 3_650])
async def test_project_with_unlimited_or_longer_retention_keeps_all(world, plane, days):
    ours, one = await project_keeping_days(world, days), a_trace()
    await fill(plane, ours, one)
    ages_later = datetime.now(UTC) + timedelta(days=3_000)
    assert ours not in await plane.privacy.expired.projects(ages_later)
    assert await plane.privacy.expired.delete(ours, ages_later) == 0
    assert [one.id for one in await stored_traces(plane, ours)] == [one.id]


async def test_another_project_keeps_its_traces(world, plane):
    ours, theirs = await project_keeping_days(world, DAYS), await project_keeping_days(world, None)
    one = a_trace()
    for of in (ours, theirs):
        await fill(plane, of, one)
        await plane.evaluation.trace_scores.add(trace_score(of, one.id))
        await plane.evaluation.session_scores.add(session_score(of, "s"))
    assert await plane.privacy.expired.delete(ours, datetime.now(UTC) + KEPT) == 1
    assert len(await assert_summaries_match(plane, theirs)) == 1
    assert len(await plane.evaluation.trace_scores.latest(theirs, one.id)) == 1
    assert len(await plane.evaluation.session_scores.by_session(theirs, "s")) == 1


async def test_scores_are_deleted_with_trace_and_last_of_session(world, plane):
    ours = await project_keeping_days(world, DAYS)
    old, young, alone = a_trace(), a_trace(), a_trace(session_id="t")
    middle = await put_around_instant(plane, ours, [old, alone], [young])
    scores = plane.evaluation
    for one in (old, young):
        await scores.trace_scores.add(trace_score(ours, one.id))
    for session in ("s", "t"):
        await scores.session_scores.add(session_score(ours, session))
    assert await plane.privacy.expired.delete(ours, middle + KEPT) == 2
    assert [len(await scores.trace_scores.latest(ours, one.id)) for one in (old, young)] == [0, 1]
    assert [len(await scores.session_scores.by_session(ours, one)) for one in "st"] == [1, 0]


async def test_expired_traces_are_deleted_in_steps_oldest_first(world, plane):
    ours = await project_keeping_days(world, DAYS)
    first = [trace() for _ in range(STEP_MAX)]
    for n in range(0, STEP_MAX, 250):
        await fill(plane, ours, *first[n : n + 250])
    last = trace()
    await fill(plane, ours, last)
    now = datetime.now(UTC) + KEPT
    steps = []
    while gone := await plane.privacy.expired.delete(ours, now):
        steps.append(gone)
        if len(steps) == 1:
            assert last.id in {one.id for one in await stored_traces(plane, ours)}
    assert sum(steps) == STEP_MAX + 1
    assert max(steps) <= STEP_MAX


async def test_concurrent_removals_share_the_work(world, plane):
    ours = await project_keeping_days(world, DAYS)
    await fill(plane, ours, *(a_trace(session_id=f"s{n % 3}") for n in range(40)))
    now = datetime.now(UTC) + KEPT
    expired = plane.privacy.expired
    assert sum(await asyncio.gather(*(expired.delete(ours, now) for _ in range(4)))) == 40
    assert list(await assert_summaries_match(plane, ours)) == []


# --- scores of sessions without traces ------------------------------------------------------------


async def delete_orphaned(plane, ours, now) -> int:
    assert ours in await plane.privacy.expired.projects_with_old_session_scores(now, None)
    gone, rest = await plane.privacy.expired.delete_session_scores(ours, now, "")
    assert rest is None
    return gone


async def test_old_scores_of_sessions_that_lost_their_traces_are_deleted(world, plane):
    ours, now = await project_keeping_days(world, DAYS), NOON + KEPT
    deleted, moved, kept = (a_trace(session_id=session) for session in ("s", "t", "u"))
    await fill(plane, ours, deleted, moved, kept)
    scores = plane.evaluation.session_scores
    for session in ("s", "t", "u"):
        for created_at in (NOON - timedelta(seconds=1), NOON):
            await scores.add(session_score(ours, session, created_at=created_at))
    assert await delete_orphaned(plane, ours, now) == 0
    await plane.traces.delete(ours, [deleted.id])
    await plane.traces.change(ours, moved.id, TraceChange(session_id="elsewhere"))
    assert await delete_orphaned(plane, ours, now) == 2
    left = [await scores.by_session(ours, one) for one in "stu"]
    assert [[one.created_at for one in some] for some in left] == [
        [NOON],
        [NOON],
        [NOON, NOON - timedelta(seconds=1)],
    ]
    assert await plane.privacy.expired.projects_with_old_session_scores(now, ours) == [
        one
        for one in await plane.privacy.expired.projects_with_old_session_scores(now, None)
        if one > ours
    ]


async def test_responses_about_sessions_that_lose_no_score_stay(world, plane):
    ours, now = await project_keeping_days(world, DAYS), NOON + KEPT
    replies, done = world.ports.idempotency, StoredResponse(201, b"{}")
    traces, about = [a_trace(session_id=session) for session in ("old", "new")], {}
    await fill(plane, ours, *traces)
    for session, created_at in (("old", NOON - timedelta(seconds=1)), ("new", NOON)):
        score = session_score(ours, session, created_at=created_at)
        await plane.evaluation.session_scores.add(score)
        about[session] = IdempotentRequest(
            project=ours, operation="POST /x", key=session, request_hash=b"h", target=session
        )
        lock = await replies.begin(about[session], score.id, now, now + KEPT)
        assert isinstance(lock, IdempotencyLock)
        await replies.complete(about[session], lock, done)
    await plane.traces.delete(ours, [one.id for one in traces])
    assert await delete_orphaned(plane, ours, now) == 1
    later = now + IDEMPOTENCY_LOCK_TTL
    begun = {
        session: await replies.begin(one, uuid.uuid4(), later, later + KEPT)
        for session, one in about.items()
    }
    assert begun["new"] == done
    assert isinstance(begun["old"], IdempotencyLock)


@pytest.mark.parametrize("days", [None, DAYS + 1])
async def test_scores_of_sessions_stay_as_long_as_the_project_keeps_traces(world, plane, days):
    ours, now = await project_keeping_days(world, days), NOON + KEPT
    gone = a_trace()
    await fill(plane, ours, gone)
    await plane.evaluation.session_scores.add(session_score(ours, "s", created_at=NOON))
    await plane.traces.delete(ours, [gone.id])
    assert ours not in await plane.privacy.expired.projects_with_old_session_scores(now, None)
    assert await plane.privacy.expired.delete_session_scores(ours, now, "") == (0, None)
    assert len(await plane.evaluation.session_scores.by_session(ours, "s")) == 1


async def test_many_sessions_are_looked_at_in_steps(world, plane):
    ours, now = await project_keeping_days(world, DAYS), NOON + KEPT
    old = NOON - timedelta(seconds=1)
    traces = [a_trace(session_id=f"s{n:04}") for n in range(SESSIONS_AT_ONCE + 1)]
    for some in batched(traces, 250):
        await fill(plane, ours, *some)
    for one in traces:
        score = session_score(ours, one.session_id, created_at=old)
        await plane.evaluation.session_scores.add(score)
    for some in batched(traces, 250):
        await plane.traces.delete(ours, [one.id for one in some])
    delete = plane.privacy.expired.delete_session_scores
    assert await delete(ours, now, "") == (SESSIONS_AT_ONCE, traces[-2].session_id)
    assert await delete(ours, now, traces[-2].session_id) == (1, None)
