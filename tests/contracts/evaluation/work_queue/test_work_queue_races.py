"""Workers, people and upkeep run concurrently. Part of the contracts of Runs and Assignments."""

import asyncio
import random

import pytest

from adapters.postgres.database.pool import Engine, PoolSettings, open_pool
from adapters.postgres.evaluation.runs.runs import PostgresRuns
from adapters.postgres.evaluation.work_queue.work_queue import PostgresWorkQueue
from application.evaluation.ports.work_queue import LEASE
from application.jobs import EvaluateTargetJob
from domain.errors import Conflict, Failure, NotFound
from domain.evaluation.runs.run import RunStatus, TargetType, WorkItem
from domain.evaluation.scores.outcome import FailCode
from domain.evaluation.scores.score import ScoreChange, ScoreOutcome
from domain.page import PageRequest
from tests.support.builders.values import NOON, trace
from tests.support.fixtures.data_plane import fill, project
from tests.support.fixtures.evaluation.evaluation import (
    BAD,
    GOOD,
    METRICS,
    WINDOW,
    a_run,
    is_over,
    target,
    work_of,
)
from tests.support.fixtures.identities import warm

CORRECTED = ScoreChange(value="1.0", reason="I looked")
ROUNDS_MAX = 40  # rounds of upkeep until every run is over
COUNT_PENDING_OF_ENDED_RUNS = """
SELECT count(*) FROM trace_scores JOIN eval_runs
  ON eval_runs.project_id = trace_scores.project_id AND eval_runs.id = trace_scores.run_id
WHERE trace_scores.project_id = $1 AND outcome = 'pending'
  AND status IN ('COMPLETED', 'FAILED', 'CANCELLED')
"""
COUNT_IN_FLIGHT = """
SELECT count(*) FROM eval_jobs WHERE project_id = $1 AND state IN ('queued', 'running')
"""


@pytest.fixture
async def evaluating(evaluating, adapter):
    """Opens every connection first, so that concurrent calls truly overlap."""
    if adapter is not None:
        await warm(adapter)
    return evaluating


async def test_concurrent_claims_of_one_target_yield_one_claim(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    [due] = await evaluating.work_queue.dispatch(run.project_id, NOON)
    claim = evaluating.work_queue.claim
    claims = await asyncio.gather(
        *(claim(due.project, due.run, due.target, NOON) for _ in range(6))
    )
    assert [one.attempt for one in claims if one is not None] == [1]


async def test_pair_is_written_once_by_workers_with_one_target(evaluating):
    """The first worker was slow: its lease expired, and it continues all the same."""
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    [due] = await evaluating.work_queue.dispatch(run.project_id, NOON)
    claims = [await evaluating.claim(due), await evaluating.claim(due, NOON + LEASE)]
    record = evaluating.work_queue.record
    written = await asyncio.gather(
        *(record(one, metric, GOOD, NOON) for metric in METRICS for one in claims * 3)
    )
    assert sum(written) == len(METRICS)
    assert len(await evaluating.scores(run)) == len(METRICS)
    await asyncio.gather(*(evaluating.work_queue.close([one], NOON) for one in claims * 2))
    over = await evaluating.progress(run)
    assert (over.run.status, over.tally.scored) == (RunStatus.COMPLETED, len(METRICS))


async def test_concurrent_creations_of_one_run_create_it_once(evaluating):
    run = a_run(project(), 50)
    made = await asyncio.gather(*(evaluating.runs.create(run, work_of(run)) for _ in range(6)))
    assert made[0].run == run
    assert all(one == made[0] for one in made)
    await asyncio.gather(
        *(evaluating.work_queue.plan(run.project_id, run.id, NOON) for _ in range(6))
    )
    assert len(await evaluating.scores(run)) == 50 * len(METRICS)


async def test_correction_survives_concurrent_recording_and_cancelling(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    claim = await evaluating.claim_next(run.project_id)
    change, waiting = evaluating.trace_scores.change, (await evaluating.scores(run))[0]
    await asyncio.gather(
        change(run.project_id, waiting.id, CORRECTED, NOON, None),
        *(evaluating.work_queue.record(claim, waiting.name, BAD, NOON) for _ in range(4)),
        evaluating.runs.cancel(run.project_id, run.id, NOON),
    )
    score = (await evaluating.scores(run))[0]
    assert (score.value, score.reason) == ("1.0", "I looked")


async def test_cancelling_and_claiming_concurrently(evaluating):
    """In either order, nothing is claimed afterwards and nothing stays open."""
    ours = project()
    run = a_run(ours, WINDOW)
    await evaluating.start_run(run, work_of(run))
    due = await evaluating.work_queue.dispatch(ours, NOON)
    claim = evaluating.work_queue.claim
    cancelled, *claims = await asyncio.gather(
        evaluating.runs.cancel(ours, run.id, NOON),
        *(claim(one.project, one.run, one.target, NOON) for one in due),
    )
    for one in claims:
        if one is not None:
            assert not await evaluating.work_queue.is_live(one)
            assert not await evaluating.work_queue.record(one, METRICS[0], GOOD, NOON)
    assert await evaluating.progress(run) == cancelled
    assert set((await evaluating.outcomes(run)).values()) == {"skipped"}


async def test_cancelling_and_planning_concurrently(evaluating):
    run = a_run(project(), 300)
    await evaluating.runs.create(run, work_of(run))
    await asyncio.gather(
        evaluating.work_queue.plan(run.project_id, run.id, NOON),
        evaluating.runs.cancel(run.project_id, run.id, NOON),
    )
    over = await evaluating.progress(run)
    assert over.run.status is RunStatus.CANCELLED
    outcomes = (await evaluating.outcomes(run)).values()
    assert set(outcomes) <= {"skipped"}
    assert over.tally.skipped == len(outcomes)


async def test_cancelling_and_closing_concurrently(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    claim = await evaluating.claim_next(run.project_id)
    for metric in METRICS:
        await evaluating.work_queue.record(claim, metric, GOOD, NOON)
    outcomes = await asyncio.gather(
        evaluating.work_queue.close([claim], NOON),
        evaluating.runs.cancel(run.project_id, run.id, NOON),
        return_exceptions=True,
    )
    over = await evaluating.progress(run)
    if isinstance(outcomes[1], Conflict):
        assert (over.run.status, over.tally.evaluated) == (RunStatus.COMPLETED, 1)
    else:
        assert (over.run.status, over.tally.evaluated) == (RunStatus.CANCELLED, 0)
    assert over.tally.scored == len(METRICS)


async def test_concurrent_closes_fill_window_exactly(evaluating):
    ours = project()
    runs = [a_run(ours, 6) for _ in range(3)]
    for run in runs:
        await evaluating.start_run(run, work_of(run))
    line = [*await evaluating.work_queue.dispatch(ours, NOON)]
    seen = len(line)
    while line:
        claims = [await evaluating.claim(one) for one in line]
        assert len(claims) <= WINDOW
        closed = await asyncio.gather(*(evaluating.finish(one) for one in claims))
        more = await asyncio.gather(*(evaluating.work_queue.dispatch(ours, NOON) for _ in range(3)))
        line = [due for some in (*closed, *more) for due in some]
        seen += len(line)
        # The first to close still saw the others in flight; later dispatches filled the window.
        assert len(line) == min(WINDOW, 18 - seen + len(line))
    assert seen == 18
    assert {(await evaluating.run(run)).status for run in runs} == {RunStatus.COMPLETED}


async def test_concurrent_upkeep_announces_each_target_once(evaluating):
    run = a_run(project(), WINDOW)
    await evaluating.start_run(run, work_of(run))
    found = await asyncio.gather(*(evaluating.work_queue.requeue_overdue(NOON) for _ in range(4)))
    ours = [one for jobs in found for one in jobs if one.project == run.project_id]
    assert sorted(one.target for one in ours) == [target(run, n) for n in range(WINDOW)]


async def test_concurrent_deletions_delete_run_once(evaluating):
    run = a_run(project(), 20)
    await evaluating.start_run(run, work_of(run))
    outcomes = await asyncio.gather(
        *(evaluating.runs.delete(run.project_id, run.id, NOON, with_scores=True) for _ in "ab"),
        return_exceptions=True,
    )
    assert all(one is None or isinstance(one, NotFound) for one in outcomes)
    assert await evaluating.scores(run) == []


# --- everything at once ----------------------------------------------------------------------


class ConcurrentClients:
    """Workers that draw from one pool of jobs, and people who interfere."""

    def __init__(self, evaluating, ours, runs, seed):
        self.to, self.ours, self.runs = evaluating, ours, runs
        self.random = random.Random(seed)
        self.messages = []
        self.written = []

    async def work(self):
        for _ in range(12):
            self.messages += await self.to.work_queue.dispatch(self.ours, NOON)
            self.messages += [
                one
                for one in await self.to.work_queue.requeue_overdue(NOON + LEASE)
                if one.project == self.ours and isinstance(one, EvaluateTargetJob)
            ]
            if not self.messages:
                return
            due = self.random.choice(self.messages)  # which others may draw too
            key = (due.project, due.run, due.target)
            if claim := await self.to.work_queue.claim(*key, NOON + LEASE):
                await self._measure(claim)

    async def _measure(self, claim):
        for metric in claim.metrics:
            if await self.to.work_queue.record(claim, metric, GOOD, NOON):
                self.written.append((claim.run.id, claim.target, metric))
        if self.random.random() < 0.2:
            await self.to.work_queue.postpone(claim, NOON, FailCode.RATE_LIMITED, NOON)
        elif self.random.random() < 0.1:
            await self.to.work_queue.release(claim, NOON)
        else:
            self.messages += await self.to.work_queue.close([claim], NOON)

    async def edit(self):
        for _ in range(6):
            run = self.random.choice(self.runs)
            for score in (await self.to.scores(run))[:3]:
                await self.to.trace_scores.change(self.ours, score.id, CORRECTED, NOON, None)

    async def end(self):
        """Cancels one run and deletes another while they are running."""
        await asyncio.gather(
            self.to.runs.cancel(self.ours, self.runs[0].id, NOON),
            self.to.runs.delete(self.ours, self.runs[1].id, NOON, with_scores=False),
        )


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in (1, 2))]
)
async def test_concurrent_calls_do_not_deadlock(evaluating, seed):
    """No call may fail in any interleaving: a deadlock would be Unavailable."""
    ours, known = project(), [trace() for _ in range(8)]
    await fill(evaluating.plane, ours, *known)
    runs = [a_run(ours, len(known)) for _ in range(4)]
    for run in runs:
        await evaluating.start_run(run, [WorkItem(str(one.id), METRICS) for one in known])
    clients = ConcurrentClients(evaluating, ours, runs, seed)
    gone = [known[0].id, known[1].id]
    outcomes = await asyncio.gather(
        *(clients.work() for _ in range(20)),
        *(clients.edit() for _ in range(3)),
        clients.end(),
        evaluating.plane.traces.delete(ours, gone),
        return_exceptions=True,
    )
    unexpected = [one for one in outcomes if isinstance(one, BaseException)]
    assert [one for one in unexpected if not isinstance(one, Conflict | NotFound)] == []
    assert len(set(clients.written)) == len(clients.written)
    with pytest.raises(Failure):
        await evaluating.runs.get(ours, runs[1].id)
    page = await evaluating.runs.page(ours, TargetType.TRACE, None, PageRequest())
    for one in page.items:
        if is_over(one.run):
            outcomes = {score.outcome for score in await evaluating.scores(one.run)}
            assert ScoreOutcome.PENDING not in outcomes


@pytest.mark.service
async def test_ended_run_never_has_pending_scores(pool, postgres_url):
    """Reads from other connections while runs end by completion, death and cancellation."""
    ours = project()
    async with open_pool(Engine(config={}), PoolSettings(url=postgres_url, size=2)) as aside:
        runs, work_queue = PostgresRuns(pool), PostgresWorkQueue(pool, 8)
        made = [a_run(ours, 4) for _ in range(12)]
        for run in made:
            await runs.create(run, work_of(run))
            await work_queue.plan(ours, run.id, NOON)
        done, seen = asyncio.Event(), []

        async def watch(sql, most):
            while not done.is_set():
                seen.append((await aside.fetchval(sql, ours)) <= most)

        async def work():
            while due := await work_queue.dispatch(ours, NOON):
                for one in due:
                    claim = await work_queue.claim(one.project, one.run, one.target, NOON)
                    if claim is None:  # its run was cancelled
                        continue
                    await work_queue.record(claim, METRICS[0], GOOD, NOON)
                    await work_queue.close([claim], NOON)

        async def cancel():
            for run in made[::3]:
                await runs.cancel(ours, run.id, NOON)

        watchers = [
            asyncio.create_task(watch(COUNT_PENDING_OF_ENDED_RUNS, 0)),
            asyncio.create_task(watch(COUNT_IN_FLIGHT, 8)),
        ]
        await asyncio.gather(work(), work(), cancel())
        for round_number in range(1, ROUNDS_MAX):  # announced, but not worked on
            now = NOON + round_number * LEASE
            mine = [one for one in await work_queue.requeue_overdue(now) if one.project == ours]
            for one in mine:
                claim = await work_queue.claim(one.project, one.run, one.target, now)
                if claim is not None:
                    await work_queue.close([claim], now)
            if not mine:
                break
        done.set()
        await asyncio.gather(*watchers)
        assert seen
        assert all(seen)
        assert {is_over((await runs.get(ours, run.id)).run) for run in made} == {True}
