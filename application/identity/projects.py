"""The projects of an organization."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from application.batches import run_in_batches
from application.identity.organization_edit import OrganizationEditor, require
from application.identity.ports import (
    Directory,
    ProjectActivities,
    PurgePostponed,
    RemovedProjects,
)
from application.ports import Clock
from domain.identity.audit import AuditAction
from domain.identity.caller import Person
from domain.identity.organization import (
    Action,
    Project,
    check_project_count,
    validate_description,
    validate_name,
    validate_retention,
)
from domain.ids import OrganizationId, ProjectId
from domain.tracing.project_activity import (
    ACTIVITY_PROJECTS_MAX,
    ProjectActivity,
    activity_period,
)
from domain.wording import counted

FAILURES_MAX: Final = 20  # projects of one round that fail: each may wait for a timeout
PROJECT_NOT_FOUND: Final = "Project not found"


@dataclass(frozen=True, slots=True)
class CreateProject:
    editor: OrganizationEditor
    projects_max: int | None

    async def __call__(
        self, person: Person, organization: OrganizationId, name: str, description: str
    ) -> Project:
        """Raises Invalid, Forbidden, Conflict if the name is taken, Unavailable."""
        project = Project(
            id=ProjectId(self.editor.new_id()),
            organization_id=organization,
            name=validate_name(name, "name"),
            description=validate_description(description, "description"),
            created_at=self.editor.clock(),
        )
        async with self.editor.edit(organization, person) as edit:
            await edit.authorize(Action.CREATE_PROJECT)
            if self.projects_max is not None:
                check_project_count(await edit.locked.count_projects(), self.projects_max)
            limits = await edit.locked.limits()
            project = replace(project, retention_days=limits.project_retention_days)
            await edit.locked.put_project(project)
            if limits.project_monthly_usd is not None:
                usd, now = limits.project_monthly_usd, project.created_at
                await edit.locked.put_budget(project.id, usd, now)
            await edit.record(AuditAction.PROJECT_CREATED, project.id, {"name": project.name})
        return project


@dataclass(frozen=True, slots=True)
class ListProjects:
    directory: Directory
    activities: ProjectActivities
    clock: Clock

    async def __call__(
        self, organization: OrganizationId, *, with_activity: bool
    ) -> Sequence[tuple[Project, ProjectActivity | None]]:
        """All projects, newest first; the first ACTIVITY_PROJECTS_MAX with what happens in them.

        Without activity if it isn't asked for. Raises Unavailable.
        """
        projects = await self.directory.projects(organization)
        shown = [one.id for one in projects[:ACTIVITY_PROJECTS_MAX]] if with_activity else []
        period = activity_period(self.clock())
        found = await self.activities.read(shown, period) if shown else {}
        return [(one, found.get(one.id)) for one in projects]


@dataclass(frozen=True, slots=True)
class ChangeProject:
    editor: OrganizationEditor

    async def __call__(
        self,
        person: Person,
        organization: OrganizationId,
        project: ProjectId,
        name: str | None,
        description: str | None,
    ) -> Project:
        """None changes nothing. Raises Invalid, Forbidden, NotFound, Conflict, Unavailable."""
        new_name = None if name is None else validate_name(name, "name")
        new_text = None if description is None else validate_description(description, "description")
        async with self.editor.edit(organization, person) as edit:
            await edit.authorize(Action.CHANGE_PROJECT)
            known = require(await edit.locked.project(project), PROJECT_NOT_FOUND)
            changed = replace(
                known,
                name=known.name if new_name is None else new_name,
                description=known.description if new_text is None else new_text,
            )
            if changed != known:
                await edit.locked.put_project(changed)
                detail = {"from": known.name, "to": changed.name}
                if changed.description != known.description:
                    detail["description"] = "changed"
                await edit.record(AuditAction.PROJECT_CHANGED, project, detail)
            return changed


@dataclass(frozen=True, slots=True)
class ChangeRetention:
    """Sets for how many days a project keeps traces. None: without limit."""

    editor: OrganizationEditor

    async def __call__(
        self, person: Person, organization: OrganizationId, project: ProjectId, days: int | None
    ) -> Project:
        """Raises Invalid beyond RETENTION_MAX_DAYS, Forbidden, NotFound, Unavailable."""
        validate_retention(days, "days")
        async with self.editor.edit(organization, person) as edit:
            await edit.authorize(Action.CHANGE_RETENTION)
            known = require(await edit.locked.project(project), PROJECT_NOT_FOUND)
            changed = replace(known, retention_days=days)
            if changed != known:
                await edit.locked.put_project(changed)
                detail = {
                    "from": _retention_text(known.retention_days),
                    "to": _retention_text(days),
                }
                await edit.record(AuditAction.PROJECT_RETENTION_CHANGED, project, detail)
            return changed


def _retention_text(days: int | None) -> str:
    return "for ever" if days is None else counted(days, "day")


@dataclass(frozen=True, slots=True)
class DeleteProject:
    """Hides its data from all readers at once; the rows are deleted later."""

    editor: OrganizationEditor

    async def __call__(
        self, person: Person, organization: OrganizationId, project: ProjectId
    ) -> None:
        """Raises Forbidden, NotFound, Unavailable."""
        async with self.editor.edit(organization, person) as edit:
            await edit.authorize(Action.DELETE_PROJECT)
            known = require(await edit.locked.project(project), PROJECT_NOT_FOUND)
            await edit.locked.remove_project(project, self.editor.clock())
            await edit.record(AuditAction.PROJECT_DELETED, project, {"name": known.name})


@dataclass(frozen=True, slots=True)
class PurgeRemovedProjects:
    """Deletes the rows of removed projects, which are hidden already, until none is due."""

    removed_projects: RemovedProjects
    clock: Clock

    async def __call__(self) -> int:
        """The number of deleted rows. Raises Unavailable; earlier batches stay deleted.

        A failing project delays no other: the failure is raised after the others are done.
        """
        failures = list[PurgePostponed]()

        async def purge() -> int:
            while len(failures) < FAILURES_MAX:
                try:
                    return await self.removed_projects.purge(self.clock())
                except PurgePostponed as failure:
                    failures.append(failure)
            return 0

        deleted = await run_in_batches(purge)
        if failures:
            raise failures[0]
        return deleted
