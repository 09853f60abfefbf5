"""Retention: projects take turns, and a round is bounded."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pytest

from application.privacy.ports import PROJECTS_AT_ONCE
from application.privacy.retention import (
    STEPS_MAX,
    DeleteExpiredTraces,
    DeleteOrphanedSessionScores,
)
from domain.errors import Unavailable
from domain.ids import ProjectId
from tests.support.builders.values import NOON

FIRST, SECOND, THIRD = (ProjectId(uuid.UUID(int=n)) for n in range(3))


@dataclass
class ScriptedTraces:
    """For each project the scripted sizes of its batches."""

    left: dict[ProjectId, list[int | Exception]]
    asked: list[ProjectId] = field(default_factory=list)

    async def current_time(self) -> datetime:
        return NOON

    async def projects(self, now: datetime) -> Sequence[ProjectId]:
        assert now == NOON
        return [project for project, steps in self.left.items() if steps]

    async def delete(self, project: ProjectId, now: datetime) -> int:
        assert now == NOON
        self.asked.append(project)
        step = self.left[project].pop(0) if self.left[project] else 0
        if isinstance(step, Exception):
            raise step
        return step


def removing(traces: ScriptedTraces) -> DeleteExpiredTraces:
    return DeleteExpiredTraces(traces)


async def test_projects_take_turns_until_none_is_left():
    traces = ScriptedTraces({FIRST: [5, 5, 5], SECOND: [2], THIRD: []})
    assert await removing(traces)() == 17
    assert traces.asked == [FIRST, SECOND, FIRST, SECOND, FIRST, FIRST]


async def test_without_expired_traces_nothing_is_deleted():
    traces = ScriptedTraces({FIRST: []})
    assert await removing(traces)() == 0
    assert traces.asked == []


async def test_round_is_bounded_over_all_projects_and_the_next_continues():
    traces = ScriptedTraces({FIRST: [1] * (2 * STEPS_MAX), SECOND: [1] * 3})
    assert await removing(traces)() == STEPS_MAX - 1  # once the second had nothing left
    assert len(traces.asked) == STEPS_MAX
    assert await removing(traces)() == STEPS_MAX


@pytest.mark.parametrize("failure", [Unavailable("down"), KeyError("a bug")])
async def test_failure_is_raised_after_the_other_projects(failure):
    traces = ScriptedTraces({FIRST: [4, failure, 2], SECOND: [1, 1, 1]})
    with pytest.raises(type(failure)):
        await removing(traces)()
    assert traces.left == {FIRST: [2], SECOND: []}
    assert await removing(traces)() == 2


@dataclass
class ScriptedSessions:
    """Sessions 1 to `sessions` of each project, one of which is looked at in a step."""

    sessions: dict[ProjectId, int]
    broken: ProjectId | None = None
    failure: Exception = field(default_factory=lambda: Unavailable("broken"))
    broken_after: str = ""
    asked: list[tuple[ProjectId, str]] = field(default_factory=list)

    async def current_time(self) -> datetime:
        return NOON

    async def projects_with_old_session_scores(
        self, now: datetime, after: ProjectId | None
    ) -> Sequence[ProjectId]:
        found = sorted(one for one in self.sessions if after is None or one > after)
        return found[:PROJECTS_AT_ONCE]

    async def delete_session_scores(
        self, project: ProjectId, now: datetime, after: str
    ) -> tuple[int, str | None]:
        self.asked.append((project, after))
        if (project, after) == (self.broken, self.broken_after):
            raise self.failure
        looked_at = int(after or 0) + 1
        return 1, str(looked_at) if looked_at < self.sessions[project] else None


async def test_walk_goes_on_where_the_last_round_stopped_and_begins_again():
    sessions = ScriptedSessions({FIRST: STEPS_MAX - 1, SECOND: 3, THIRD: 2})
    delete = DeleteOrphanedSessionScores(sessions)
    assert await delete() == STEPS_MAX
    sessions.asked.clear()
    assert await delete() == 4
    assert sessions.asked == [(SECOND, "1"), (SECOND, "2"), (THIRD, ""), (THIRD, "1")]
    sessions.asked.clear()
    assert await delete() == STEPS_MAX
    assert sessions.asked[0] == (FIRST, "")


async def test_walk_reaches_all_projects():
    projects = [ProjectId(uuid.UUID(int=n)) for n in range(PROJECTS_AT_ONCE + 1)]
    sessions = ScriptedSessions(dict.fromkeys(projects, 1))
    delete = DeleteOrphanedSessionScores(sessions)
    assert [await delete(), await delete()] == [PROJECTS_AT_ONCE, 1]
    assert [project for project, _ in sessions.asked] == projects


async def test_failure_of_a_walk_that_stops_halfway_is_raised():
    sessions = ScriptedSessions({FIRST: 1, SECOND: STEPS_MAX}, broken=FIRST)
    delete = DeleteOrphanedSessionScores(sessions)
    with pytest.raises(Unavailable):
        await delete()
    assert len(sessions.asked) == STEPS_MAX
    assert await delete() == 1


@pytest.mark.parametrize("failure", [Unavailable("down"), KeyError("a bug")])
async def test_project_that_fails_stops_no_walk(failure):
    sessions = ScriptedSessions({FIRST: 1, SECOND: 3, THIRD: 1}, SECOND, failure, "1")
    with pytest.raises(type(failure)):
        await DeleteOrphanedSessionScores(sessions)()
    assert sessions.asked == [(FIRST, ""), (SECOND, ""), (SECOND, "1"), (THIRD, "")]
