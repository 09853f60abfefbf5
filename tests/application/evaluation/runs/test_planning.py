"""Planning runs, and announcing overdue work again."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from adapters.memory.evaluation.runs import MemoryWorkQueue
from application.evaluation.ports.work_queue import (
    ANNOUNCE_TIMEOUT,
    IN_FLIGHT_TARGETS_MAX,
    PLANNED_TARGETS_BATCH,
)
from application.evaluation.runs.planning import BATCHES_MAX
from application.jobs import EvaluateTargetJob, PlanRunJob
from domain.errors import Unavailable
from domain.evaluation.runs.run import TARGETS_MAX, RunStatus
from domain.evaluation.scores.score import ScoreOutcome
from tests.support.builders.values import THEIRS
from tests.support.fixtures.evaluation_harness import Laboratory


async def test_plans_in_batches_and_enqueues_the_first_targets():
    lab = Laboratory()
    sessions = [f"s{n}" for n in range(2 * PLANNED_TARGETS_BATCH + 1)]
    run = await lab.run("agent_reliability", *sessions)
    assert (await lab.progress(run)).run.status is RunStatus.RUNNING
    scores = await lab.of_run(run)
    assert len(scores) == len(sessions)
    assert {score.outcome for score in scores.values()} == {ScoreOutcome.PENDING}
    assert lab.jobs.sent == [
        EvaluateTargetJob(lab.project, run.id, session, asks_judge=True)
        for session in sessions[:IN_FLIGHT_TARGETS_MAX]
    ]


async def test_planning_twice_enqueues_once():
    lab = Laboratory()
    run = await lab.run("agent_reliability", "one", "two")
    told = list(lab.jobs.sent)
    await lab.over().plan_run(lab.project, run.id)
    assert lab.jobs.sent == told
    assert len(await lab.of_run(run)) == 2


async def test_ignores_unknown_runs_and_runs_of_other_projects():
    lab = Laboratory()
    run = await lab.run("agent_reliability", "one", is_planned=False)
    await lab.over().plan_run(THEIRS, run.id)
    assert lab.jobs.sent == []
    assert (await lab.progress(run)).run.status is RunStatus.PENDING


async def test_cancelled_run_is_not_planned():
    lab = Laboratory()
    run = await lab.run("agent_reliability", "one", is_planned=False)
    await lab.cancel(run)
    await lab.over().plan_run(lab.project, run.id)
    assert lab.jobs.sent == []
    assert (await lab.progress(run)).run.status is RunStatus.CANCELLED


@dataclass(frozen=True, slots=True)
class EndlessAssignments(MemoryWorkQueue):
    planned: list[Any] = field(default_factory=list)

    async def plan(self, *args: Any) -> bool:
        self.planned.append(args)
        return True


async def test_planning_is_bounded():
    lab = Laboratory()
    endless = EndlessAssignments(lab.store)
    run = await lab.run("agent_reliability", "one", is_planned=False)
    await lab.over(replace(lab.ports, work_queue=endless)).plan_run(lab.project, run.id)
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
    lab = Laboratory()
    sessions = [f"s{n}" for n in range(2 * PLANNED_TARGETS_BATCH + 1)]
    run = await lab.run("agent_reliability", *sessions, is_planned=False)
    failing = FailingAssignments(lab.store, left=[None] * batches)
    with pytest.raises(Unavailable):
        await lab.over(replace(lab.ports, work_queue=failing)).plan_run(lab.project, run.id)
    assert (await lab.progress(run)).run.status is RunStatus.PENDING
    lab.now += ANNOUNCE_TIMEOUT
    assert await lab.over().requeue_overdue() == 1
    assert lab.jobs.sent == [PlanRunJob(lab.project, run.id)]
    await lab.over().plan_run(lab.project, run.id)
    assert (await lab.progress(run)).run.status is RunStatus.RUNNING
    assert len(await lab.of_run(run)) == len(sessions)


async def test_unclaimed_jobs_are_announced_again():
    lab = Laboratory()
    trace = lab.put()
    run = await lab.run("confidence", trace)
    lab.jobs.sent.clear()  # their worker is dead
    do = lab.over()
    assert await do.requeue_overdue() == 0
    lab.now += ANNOUNCE_TIMEOUT
    assert await do.requeue_overdue() == 1
    assert await do.requeue_overdue() == 0
    assert await lab.work() == 1
    assert (await lab.progress(run)).run.status is RunStatus.COMPLETED
    lab.now += ANNOUNCE_TIMEOUT
    assert await do.requeue_overdue() == 0
