"""Planning runs, and announcing overdue work again."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest

from adapters.memory.evaluation.work_queue import MemoryWorkQueue
from application.evaluation.ports.work_queue import (
    ANNOUNCE_TIMEOUT,
    IN_FLIGHT_TARGETS_MAX,
    PLANNED_TARGETS_BATCH,
    PartlyRequeued,
)
from application.evaluation.runs.planning import BATCHES_MAX, PLANNING_TURN, PlanRun
from application.jobs import EvaluateTargetJob, Job, PlanRunJob
from domain.errors import Unavailable
from domain.evaluation.runs.run import TARGETS_MAX, RunStatus
from domain.evaluation.scores.score import ScoreOutcome
from domain.ids import ProjectId, RunId
from tests.support.builders.values import THEIRS
from tests.support.fixtures.evaluation.evaluation_harness import EvaluationHarness


@dataclass(frozen=True, slots=True)
class SlowPlanning(MemoryWorkQueue):
    """Each batch takes a whole turn."""

    harness: EvaluationHarness = field(kw_only=True)

    async def plan(self, project: ProjectId, run: RunId, now: datetime) -> bool:
        self.harness.now += PLANNING_TURN
        return await MemoryWorkQueue.plan(self, project, run, now)


async def test_plans_in_batches_and_enqueues_the_first_targets():
    harness = EvaluationHarness()
    sessions = [f"s{n}" for n in range(2 * PLANNED_TARGETS_BATCH + 1)]
    run = await harness.run("agent_reliability", *sessions)
    assert (await harness.progress(run)).run.status is RunStatus.RUNNING
    scores = await harness.scores_of_run(run)
    assert len(scores) == len(sessions)
    assert {score.outcome for score in scores.values()} == {ScoreOutcome.PENDING}
    assert harness.jobs.sent == [
        EvaluateTargetJob(harness.project, run.id, session, asks_judge=True)
        for session in sessions[:IN_FLIGHT_TARGETS_MAX]
    ]


async def test_large_run_is_planned_in_turns_with_others():
    harness = EvaluationHarness()
    sessions = [f"s{n}" for n in range(3 * PLANNED_TARGETS_BATCH)]
    large = await harness.run("agent_reliability", *sessions, is_planned=False)
    small = await harness.run("agent_reliability", "one", is_planned=False)
    queue, worker = SlowPlanning(harness.store, harness=harness), harness.use_cases()
    plan = PlanRun(queue, harness.jobs, lambda: harness.now)
    for run in (large, small):
        await harness.jobs.send(PlanRunJob(harness.project, run.id))
    ended = list[RunId]()
    while harness.jobs.sent:
        job = harness.jobs.sent.pop(0)
        if isinstance(job, PlanRunJob):
            await plan(job.project, job.run)
            if (await worker.runs.get(job.project, job.run)).run.status is RunStatus.RUNNING:
                ended.append(job.run)
    assert ended == [small.id, large.id]
    assert len(await harness.scores_of_run(large)) == len(sessions)


async def test_planning_twice_enqueues_once():
    harness = EvaluationHarness()
    run = await harness.run("agent_reliability", "one", "two")
    reported = list(harness.jobs.sent)
    await harness.use_cases().plan_run(harness.project, run.id)
    assert harness.jobs.sent == reported
    assert len(await harness.scores_of_run(run)) == 2


async def test_ignores_unknown_runs_and_runs_of_other_projects():
    harness = EvaluationHarness()
    run = await harness.run("agent_reliability", "one", is_planned=False)
    await harness.use_cases().plan_run(THEIRS, run.id)
    assert harness.jobs.sent == []
    assert (await harness.progress(run)).run.status is RunStatus.PENDING


async def test_cancelled_run_is_not_planned():
    harness = EvaluationHarness()
    run = await harness.run("agent_reliability", "one", is_planned=False)
    await harness.cancel(run)
    await harness.use_cases().plan_run(harness.project, run.id)
    assert harness.jobs.sent == []
    assert (await harness.progress(run)).run.status is RunStatus.CANCELLED


@dataclass(frozen=True, slots=True)
class EndlessAssignments(MemoryWorkQueue):
    planned: list[Any] = field(default_factory=list)

    async def plan(self, *args: Any) -> bool:
        self.planned.append(args)
        return True


async def test_planning_is_bounded():
    harness = EvaluationHarness()
    endless = EndlessAssignments(harness.store)
    run = await harness.run("agent_reliability", "one", is_planned=False)
    await harness.use_cases(replace(harness.ports, work_queue=endless)).plan_run(
        harness.project, run.id
    )
    assert len(endless.planned) == BATCHES_MAX
    assert BATCHES_MAX * PLANNED_TARGETS_BATCH >= TARGETS_MAX


@dataclass(frozen=True, slots=True)
class FailingAssignments(MemoryWorkQueue):
    """Finds no database after so many batches."""

    left: list[None] = field(default_factory=list)

    async def plan(self, *args: Any) -> bool:
        if not self.left:
            raise Unavailable("no database")
        self.left.pop()
        return await super(FailingAssignments, self).plan(*args)


@pytest.mark.parametrize("batches", [0, 1, 2])
async def test_interrupted_planning_resumes(batches):
    harness = EvaluationHarness()
    sessions = [f"s{n}" for n in range(2 * PLANNED_TARGETS_BATCH + 1)]
    run = await harness.run("agent_reliability", *sessions, is_planned=False)
    failing = FailingAssignments(harness.store, left=[None] * batches)
    with pytest.raises(Unavailable):
        await harness.use_cases(replace(harness.ports, work_queue=failing)).plan_run(
            harness.project, run.id
        )
    assert (await harness.progress(run)).run.status is RunStatus.PENDING
    harness.now += ANNOUNCE_TIMEOUT
    assert await harness.use_cases().requeue_overdue() == 1
    assert harness.jobs.sent == [PlanRunJob(harness.project, run.id)]
    await harness.use_cases().plan_run(harness.project, run.id)
    assert (await harness.progress(run)).run.status is RunStatus.RUNNING
    assert len(await harness.scores_of_run(run)) == len(sessions)


async def test_unclaimed_jobs_are_announced_again():
    harness = EvaluationHarness()
    trace = harness.put()
    run = await harness.run("confidence", trace)
    harness.jobs.sent.clear()  # their worker is dead
    worker = harness.use_cases()
    assert await worker.requeue_overdue() == 0
    harness.now += ANNOUNCE_TIMEOUT
    assert await worker.requeue_overdue() == 1
    assert await worker.requeue_overdue() == 0
    assert await harness.work() == 1
    assert (await harness.progress(run)).run.status is RunStatus.COMPLETED
    harness.now += ANNOUNCE_TIMEOUT
    assert await worker.requeue_overdue() == 0


@dataclass(frozen=True, slots=True)
class PartlyFailing(MemoryWorkQueue):
    """A project fails after the overdue jobs are marked."""

    async def requeue_overdue(self, now: datetime) -> Sequence[Job]:
        raise PartlyRequeued(
            "1 projects could not", await MemoryWorkQueue.requeue_overdue(self, now)
        )


async def test_jobs_are_sent_although_a_project_failed():
    harness = EvaluationHarness()
    run = await harness.run("confidence", harness.put(), is_planned=False)
    harness.now += ANNOUNCE_TIMEOUT
    failing = replace(harness.ports, work_queue=PartlyFailing(harness.store))
    with pytest.raises(PartlyRequeued):
        await harness.use_cases(failing).requeue_overdue()
    assert harness.jobs.sent == [PlanRunJob(harness.project, run.id)]
