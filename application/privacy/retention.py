"""Retention: deletes what is older than its project keeps it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from application.privacy.ports import PROJECTS_AT_ONCE, ExpiredTraces
from domain.ids import ProjectId

STEPS_MAX: Final = 1_000  # of one round of a task, for all projects


@dataclass(frozen=True, slots=True)
class DeleteExpiredTraces:
    """Deletes expired traces. Projects take turns, one batch each."""

    expired: ExpiredTraces

    async def __call__(self) -> int:
        """The number of deleted traces. Raises Unavailable; earlier batches stay deleted.

        A failing project delays no other: the failure is raised after the others are done.
        """
        now, deleted, steps = await self.expired.current_time(), 0, 0
        failures = list[Exception]()
        waiting = list(await self.expired.projects(now))
        while waiting and steps < STEPS_MAX:
            turn, waiting = waiting, []
            for project in turn[: STEPS_MAX - steps]:
                steps += 1
                try:
                    batch = await self.expired.delete(project, now)
                except Exception as failure:  # noqa: BLE001 - not even a bug stops the others
                    failures.append(failure)
                    continue
                deleted += batch
                if batch:
                    waiting.append(project)
        if failures:
            raise failures[0]
        return deleted


@dataclass(slots=True)
class _Place:
    """The last project that was walked to its end, and how far the one after it was."""

    finished: ProjectId | None = None
    project: ProjectId | None = None
    session: str = ""


@dataclass(frozen=True, slots=True)
class DeleteOrphanedSessionScores:
    """Deletes old scores of sessions whose last trace was deleted or moved without them.

    Walks all scored sessions of the projects that have old scores. Each round goes on where the
    last one of this process stopped, and begins again at the end.
    """

    expired: ExpiredTraces
    _place: _Place = field(default_factory=_Place, init=False)

    async def __call__(self) -> int:
        """The number of deleted scores. Raises Unavailable; earlier steps stay deleted.

        A failing project delays no other: the failure is raised after the others are done.
        """
        failures = list[Exception]()
        deleted = await self._walk(await self.expired.current_time(), failures)
        if failures:
            raise failures[0]
        return deleted

    async def _walk(self, now: datetime, failures: list[Exception]) -> int:
        place, deleted, steps = self._place, 0, 0
        projects = await self.expired.projects_with_old_session_scores(now, place.finished)
        for project in projects:
            if project != place.project:
                place.project, place.session = project, ""
            session: str | None = place.session
            while session is not None:
                if steps == STEPS_MAX:
                    return deleted
                steps += 1
                try:
                    gone, session = await self.expired.delete_session_scores(project, now, session)
                except Exception as failure:  # noqa: BLE001 - not even a bug stops the others
                    failures.append(failure)
                    break
                deleted, place.session = deleted + gone, session or ""
            place.finished = project
        if len(projects) < PROJECTS_AT_ONCE:
            place.finished = None
        return deleted
