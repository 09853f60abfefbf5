"""Organizations: creating, reading, renaming and deleting them; their audit log."""

from dataclasses import dataclass, replace

from application.identity.authenticate import NOT_A_MEMBER
from application.identity.organization_edit import OrganizationEditor
from application.identity.ports import Directory, Organizations
from application.ports import Clock, NewId
from domain.errors import Forbidden, NotFound
from domain.identity.audit import AuditAction, AuditEntry
from domain.identity.caller import Person
from domain.identity.organization import (
    Action,
    Membership,
    NewOrganization,
    Organization,
    check_right,
    validate_name,
)
from domain.ids import OrganizationId
from domain.page import Page, PageRequest


@dataclass(frozen=True, slots=True)
class CreateOrganization:
    """A person owns at most `owned_max` organizations; None: no limit."""

    organizations: Organizations
    owned_max: int | None
    clock: Clock
    new_id: NewId

    async def __call__(self, person: Person, name: str) -> Organization:
        """Raises Invalid for the name, Forbidden at the limit, Unavailable."""
        name = validate_name(name, "name")
        new = NewOrganization.create(name, person.user.id, person.actor, self.new_id, self.clock())
        await self.organizations.create(new, self.owned_max)
        return new.organization


@dataclass(frozen=True, slots=True)
class ReadOrganization:
    directory: Directory

    async def __call__(self, membership: Membership) -> Organization:
        """Raises Forbidden if it was deleted meanwhile; Unavailable."""
        try:
            return await self.directory.organization(membership.organization_id)
        except NotFound as gone:
            raise Forbidden(NOT_A_MEMBER) from gone


@dataclass(frozen=True, slots=True)
class RenameOrganization:
    editor: OrganizationEditor

    async def __call__(
        self, person: Person, organization: OrganizationId, name: str | None
    ) -> Organization:
        """None changes nothing. Raises Invalid for the name, Forbidden, Unavailable."""
        new = None if name is None else validate_name(name, "name")
        async with self.editor.edit(organization, person) as edit:
            await edit.authorize(Action.RENAME)
            known = edit.locked.organization
            if new is None or new == known.name:
                return known
            await edit.locked.rename(new)
            await edit.record(
                AuditAction.ORGANIZATION_RENAMED, known.id, {"from": known.name, "to": new}
            )
            return replace(known, name=new)


@dataclass(frozen=True, slots=True)
class DeleteOrganization:
    """Hides everything in it from all readers at once; the rows are deleted later."""

    editor: OrganizationEditor

    async def __call__(self, person: Person, organization: OrganizationId) -> None:
        """Raises Forbidden, Unavailable."""
        async with self.editor.edit(organization, person) as edit:
            await edit.authorize(Action.DELETE)
            known = edit.locked.organization
            await edit.record(AuditAction.ORGANIZATION_DELETED, known.id, {"name": known.name})
            await edit.locked.remove(self.editor.clock())


@dataclass(frozen=True, slots=True)
class ListAuditLog:
    directory: Directory

    async def __call__(self, membership: Membership, window: PageRequest) -> Page[AuditEntry]:
        """Newest first. Raises Forbidden, Unavailable."""
        check_right(membership.role, Action.READ_AUDIT_LOG)
        return await self.directory.audit_log(membership.organization_id, window)
