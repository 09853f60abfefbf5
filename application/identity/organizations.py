"""Organizations: creating, reading, renaming and deleting them; their audit log."""

from dataclasses import dataclass, replace
from typing import Final

from application.identity.authenticate import NOT_A_MEMBER
from application.identity.organization_edit import OrganizationEditor
from application.identity.ports import Administration, Directory, Organizations, Users
from application.ports import Clock, NewId
from domain.errors import Forbidden, Invalid, NotFound
from domain.identity.audit import ALL_ENTRIES, OPERATOR, AuditAction, AuditEntry, AuditFilter
from domain.identity.caller import Claims, Person
from domain.identity.invitation import INVITATION_LIFETIME, Invitation, validate_email
from domain.identity.organization import (
    Action,
    Membership,
    NewOrganization,
    Organization,
    Project,
    Role,
    check_right,
    validate_name,
)
from domain.ids import AuditEntryId, InvitationId, OrganizationId, UserId
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


OPERATOR_CLAIMS: Final = Claims(
    issuer="pandaprobe-operator",  # no token has this issuer
    subject="operator",
    email="operator@localhost",
    display_name="Operator of this service",
)


@dataclass(frozen=True, slots=True)
class ProvisionOrganization:
    """Creates an organization for a person who may never have signed in.

    They are invited as its OWNER. Until they accept, it is owned by a user that stands for the
    operator: an address alone doesn't prove who a person is.
    """

    users: Users
    organizations: Organizations
    administration: Administration
    clock: Clock
    new_id: NewId

    async def __call__(
        self, name: str, owner_email: str, project_name: str | None
    ) -> tuple[Organization, Project, Invitation]:
        """Raises Invalid for a name or the address, Unavailable."""
        name, address = validate_name(name, "name"), validate_email(owner_email, "owner")
        if "@" not in address:
            raise Invalid.field("owner", "must be an email address")
        project_name = None if project_name is None else validate_name(project_name, "project")
        now = self.clock()
        user = await self.users.record_sign_in(OPERATOR_CLAIMS, new=UserId(self.new_id()), at=now)
        new = NewOrganization.create(name, user.id, OPERATOR, self.new_id, now)
        if project_name is not None:
            new = replace(new, project=replace(new.project, name=project_name))
        await self.organizations.create(new, None)
        invitation = Invitation(
            id=InvitationId(self.new_id()),
            organization_id=new.organization.id,
            email=address,
            role=Role.OWNER,
            invited_by=user.id,
            created_at=now,
            expires_at=now + INVITATION_LIFETIME,
        )
        entry = AuditEntry(
            id=AuditEntryId(self.new_id()),
            organization_id=new.organization.id,
            at=now,
            actor=OPERATOR,
            action=AuditAction.INVITATION_CREATED,
            resource_id=str(invitation.id),
            detail={"email": address, "role": Role.OWNER},
        )
        async with self.administration.lock(new.organization.id) as locked:
            await locked.put_invitation(invitation)
            await locked.record(entry)
        return new.organization, new.project, invitation


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
class ChangeSharing:
    """Allows public links to traces, or forbids them. Then those that exist are revoked."""

    editor: OrganizationEditor

    async def __call__(
        self, person: Person, organization: OrganizationId, *, public_links: bool
    ) -> None:
        """Raises Forbidden, Unavailable."""
        async with self.editor.edit(organization, person) as edit:
            await edit.authorize(Action.CHANGE_SHARING)
            known = edit.locked.organization
            if known.public_links is public_links:
                return
            revoked = await edit.locked.allow_public_links(allowed=public_links)
            facts = {"public_links": str(public_links).lower(), "revoked": str(revoked)}
            await edit.record(AuditAction.ORGANIZATION_SHARING_CHANGED, known.id, facts)


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

    async def __call__(
        self, membership: Membership, window: PageRequest, matching: AuditFilter = ALL_ENTRIES
    ) -> Page[AuditEntry]:
        """Newest first. Raises Forbidden, Unavailable."""
        check_right(membership.role, Action.READ_AUDIT_LOG)
        return await self.directory.audit_log(membership.organization_id, window, matching)
