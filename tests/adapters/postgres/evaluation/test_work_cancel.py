"""Cancellation of runs that are too large for one transaction, and its interruption."""

from datetime import timedelta

import pytest

from adapters.postgres.database.pool import Engine, PoolSettings, open_pool
from adapters.postgres.database.tenants import within
from adapters.postgres.database.transactions import transaction
from adapters.postgres.evaluation.work_queue.cancel import continue_cancellation
from adapters.postgres.evaluation.work_queue.settlement import lock_run
from application.evaluation.ports.work_queue import ANNOUNCE_TIMEOUT, LEASE
from application.jobs import PlanRunJob
from domain.errors import Conflict, Unavailable
from domain.evaluation.runs.run import RunStatus, Tally
from domain.evaluation.scores.score import ScoreChange
from tests.support.builders.values import NOON
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.evaluation.evaluation import (
    BAD,
    GOOD,
    METRICS,
    a_run,
    later,
    over_postgres,
    target,
    work_of,
)
from tests.support.waiting import in_time, until, until_done

pytestmark = pytest.mark.service

BATCH_SCORES = 3
LOCK_SCORE = "SELECT 1 FROM trace_scores WHERE project_id = $1 AND id = $2 FOR UPDATE"


async def cancel_batch(pool, run, now):
    """Run one transaction of a cancellation. Return whether it was the last one."""
    async with transaction(pool, run.project_id) as connection:
        row = await lock_run(connection, run.project_id, run.id)
        return await continue_cancellation(connection, row, now, BATCH_SCORES)


@pytest.fixture
async def evaluating(pool):
    async with over_postgres(pool) as evaluating:
        yield evaluating


@pytest.fixture
async def run(pool, evaluating):
    """A run of eight targets whose cancellation was interrupted.

    One target is finished, one partly evaluated, one claimed, one corrected.
    """
    run = a_run(project(), 8)
    await evaluating.start_run(run, work_of(run))
    due = await evaluating.work_queue.dispatch(run.project_id, NOON)
    await evaluating.finish(await evaluating.claim(due[0]))
    partly_evaluated = await evaluating.claim(due[1])
    assert await evaluating.work_queue.record(partly_evaluated, METRICS[0], BAD, NOON)
    await evaluating.claim(due[2])
    corrected = (await evaluating.scores(run))[-1]
    change = ScoreChange(reason="corrected")
    await evaluating.trace_scores.change(run.project_id, corrected.id, change, NOON, None)
    assert not await cancel_batch(pool, run, later(seconds=5))
    return run


async def test_targets_are_not_claimed_after_cancellation_begins(evaluating, run):
    project_id, work_queue = run.project_id, evaluating.work_queue
    assert (await evaluating.run(run)).status is RunStatus.RUNNING
    assert await work_queue.dispatch(project_id, NOON) == []
    for n in range(8):
        assert await work_queue.claim(project_id, run.id, target(run, n), NOON + LEASE) is None
    assert "pending" in (await evaluating.outcomes(run)).values()


async def test_claimed_target_cannot_be_written_after_cancellation(pool, evaluating):
    run = a_run(project(), 6)
    await evaluating.start_run(run, work_of(run))
    claims = [
        await evaluating.claim(one)
        for one in await evaluating.work_queue.dispatch(run.project_id, NOON)
    ]
    assert not await cancel_batch(pool, run, NOON)
    for claim in claims:
        assert not await evaluating.work_queue.is_live(claim)
        assert not await evaluating.work_queue.record(claim, METRICS[0], GOOD, NOON)
        assert await evaluating.work_queue.close([claim], NOON) == ()
    await until(lambda: cancel_batch(pool, run, NOON))
    assert (await evaluating.progress(run)).tally == Tally(skipped=12)


async def test_scores_with_details_are_skipped_in_batches(pool, evaluating):
    run = a_run(project(), 4)
    await evaluating.start_run(run, work_of(run))
    for one in await evaluating.scores(run):
        change = ScoreChange(reason=f"I looked at {one.id}")
        await evaluating.trace_scores.change(run.project_id, one.id, change, NOON, None)
    skipped = list[int]()
    while not await cancel_batch(pool, run, NOON):
        skipped.append((await evaluating.progress(run)).tally.skipped)
    assert skipped == [3, 6]
    assert (await evaluating.progress(run)).tally == Tally(skipped=8)
    reasons = {one.id: one.reason for one in await evaluating.scores(run)}
    assert reasons == {id_: f"I looked at {id_}" for id_ in reasons}


@pytest.mark.parametrize("place", [0, 1])
async def test_details_that_are_being_written_stay_with_their_score(
    pool, postgres_url, evaluating, place
):
    run = a_run(project(), 2, metrics=METRICS[:1])
    await evaluating.start_run(run, work_of(run))
    first, other = (await evaluating.scores(run))[:: 1 - 2 * place]
    details = ScoreChange(reason="I looked")
    await evaluating.trace_scores.change(run.project_id, first.id, details, NOON, None)
    async with (
        open_pool(Engine(config={}), PoolSettings(url=postgres_url, size=1)) as aside,
        within(aside, run.project_id).transaction() as writing,
    ):
        await writing.execute(LOCK_SCORE, run.project_id, first.id)
        assert not await cancel_batch(pool, run, NOON)
    await until(lambda: cancel_batch(pool, run, NOON))
    reasons = {one.id: one.reason for one in await evaluating.scores(run)}
    assert (reasons[first.id], reasons[other.id] == "I looked") == ("I looked", False)


async def test_score_that_stays_locked_ends_a_cancellation_that_is_resumed_later(
    pool, postgres_url, evaluating
):
    run = a_run(project(), 2)
    await evaluating.start_run(run, work_of(run))
    locked = (await evaluating.scores(run))[0]
    settings = PoolSettings(url=postgres_url, lock_timeout_ms=50)
    async with open_pool(Engine(config={}), settings) as hurried, over_postgres(hurried) as ours:
        async with within(pool, run.project_id).transaction() as writing:
            await writing.execute(LOCK_SCORE, run.project_id, locked.id)
            async with in_time():
                with pytest.raises(Unavailable):
                    await ours.runs.cancel(run.project_id, run.id, NOON)
            outcomes = await ours.outcomes(run)
            assert sorted(outcomes.values()) == ["pending", "skipped", "skipped", "skipped"]
            # It would be planned over and over until the lock is released.
            assert not await ours.work_queue.plan(run.project_id, run.id, NOON)
            overdue = await ours.work_queue.requeue_overdue(NOON + ANNOUNCE_TIMEOUT)
            assert PlanRunJob(run.project_id, run.id) in overdue
        cancelled = await ours.runs.cancel(run.project_id, run.id, NOON)
    assert (cancelled.run.status, cancelled.tally.skipped) == (RunStatus.CANCELLED, 4)


async def test_second_cancel_completes_cancellation(evaluating, run):
    cancelled = await evaluating.runs.cancel(run.project_id, run.id, later(days=1))
    assert (cancelled.run.status, cancelled.run.completed_at) == (
        RunStatus.CANCELLED,
        later(seconds=5),
    )
    codes = {"rate_limited": 1}
    assert cancelled.tally == Tally(evaluated=1, scored=2, failed=1, skipped=13, codes=codes)
    outcomes = list((await evaluating.outcomes(run)).values())
    assert (outcomes.count("skipped"), "pending" in outcomes) == (13, False)


async def test_overdue_job_completes_cancellation(evaluating, run):
    project_id, now = run.project_id, later(seconds=5) + ANNOUNCE_TIMEOUT
    early = await evaluating.work_queue.requeue_overdue(now - timedelta(seconds=1))
    assert [one for one in early if one.project == project_id] == []
    found = await evaluating.work_queue.requeue_overdue(now)
    assert [one for one in found if one.project == project_id] == [PlanRunJob(project_id, run.id)]
    await until_done(evaluating.work_queue.plan, project_id, run.id, now)
    cancelled = await evaluating.progress(run)
    assert (cancelled.run.status, cancelled.tally.skipped) == (RunStatus.CANCELLED, 13)
    assert not await evaluating.work_queue.plan(project_id, run.id, now)


async def test_run_can_be_deleted_during_cancellation(evaluating, run):
    await evaluating.runs.delete(run.project_id, run.id, NOON, with_scores=True)
    assert await evaluating.scores(run) == []


async def test_cancelled_partly_planned_run_is_not_planned_further(pool, evaluating):
    run = a_run(project(), 1_002, metrics=METRICS[:1])
    await evaluating.runs.create(run, work_of(run))
    await evaluating.work_queue.plan(run.project_id, run.id, NOON)
    assert not await cancel_batch(pool, run, NOON)
    await until_done(evaluating.work_queue.plan, run.project_id, run.id, NOON)
    cancelled = await evaluating.progress(run)
    assert (cancelled.run.status, cancelled.tally) == (RunStatus.CANCELLED, Tally(skipped=1_000))


async def test_finished_run_cannot_be_cancelled(pool, evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    await evaluating.finish_all(run.project_id)
    with pytest.raises(Conflict):
        await cancel_batch(pool, run, NOON)
