"""Purging removed projects: until nothing is left, in bounded rounds."""

from dataclasses import dataclass, field
from datetime import datetime

import pytest

from application.batches import BATCHES_MAX
from application.identity.ports import PurgePostponed
from application.identity.projects import FAILURES_MAX, PurgeRemovedProjects
from domain.errors import Unavailable
from tests.support.builders.values import NOON, trace


@dataclass
class Steps:
    """Removed projects whose batches are scripted."""

    left: list[int | Exception]
    asked: list[datetime] = field(default_factory=list)

    async def purge(self, now: datetime) -> int:
        self.asked.append(now)
        step = self.left.pop(0) if self.left else 0
        if isinstance(step, Exception):
            raise step
        return step


async def test_purges_until_nothing_is_left():
    steps = Steps([3, 2, 1])
    assert await PurgeRemovedProjects(steps, lambda: NOON)() == 6
    assert steps.asked == [NOON] * 4


async def test_without_rows_it_reads_once():
    steps = Steps([])
    assert await PurgeRemovedProjects(steps, lambda: NOON)() == 0
    assert len(steps.asked) == 1


async def test_round_is_bounded_and_the_next_continues():
    steps = Steps([1] * (BATCHES_MAX + 5))
    sweep = PurgeRemovedProjects(steps, lambda: NOON)
    assert await sweep() == BATCHES_MAX
    assert await sweep() == 5


async def test_failure_is_raised_and_the_next_round_continues():
    steps = Steps([4, Unavailable("down"), 2])
    sweep = PurgeRemovedProjects(steps, lambda: NOON)
    with pytest.raises(Unavailable):
        await sweep()
    assert await sweep() == 2


async def test_project_that_fails_delays_no_other():
    steps = Steps([4, PurgePostponed("one stays"), 2, PurgePostponed("another stays"), 1])
    with pytest.raises(PurgePostponed, match="one stays"):
        await PurgeRemovedProjects(steps, lambda: NOON)()
    assert steps.left == []


async def test_round_ends_when_many_projects_fail():
    steps = Steps([PurgePostponed("stays")] * (FAILURES_MAX + 5))
    with pytest.raises(PurgePostponed):
        await PurgeRemovedProjects(steps, lambda: NOON)()
    assert len(steps.left) == 5


async def test_only_removed_projects_are_purged(world):
    ada = await world.person("ada")
    ours = (await world.do.identity.create_organization(ada, "Ours")).id
    kept, gone = (
        await world.project(ours),
        await world.do.identity.create_project(ada, ours, "bot", ""),
    )
    for project in (kept, gone.id):
        for _ in range(3):
            await world.ports.tracing.traces.put(project, trace())
    assert await world.do.identity.purge_removed_projects() == 0
    await world.do.identity.delete_project(ada, ours, gone.id)
    assert await world.do.identity.purge_removed_projects() == 3
    assert {project for project, _ in world.ports.tracing.traces.store.traces} == {kept}
    await world.do.identity.delete_organization(ada, ours)
    assert await world.do.identity.purge_removed_projects() == 3
    assert world.ports.tracing.traces.store.traces == {}


async def test_expired_login_codes_are_purged(world):
    ada = await world.person("ada")
    ours = (await world.do.identity.create_organization(ada, "Ours")).id
    project = await world.project(ours)
    await world.do.identity.issue_login_code(ada, ours, project, "c", "old")
    world.forward(seconds=60)
    await world.do.identity.issue_login_code(ada, ours, project, "c", "young")
    assert await world.do.identity.purge_removed_projects() == 0
    world.forward(seconds=60)
    assert await world.do.identity.purge_removed_projects() == 1
    [code] = world.ports.identity.directory.store.login_codes.values()
    assert code.label == "young"
