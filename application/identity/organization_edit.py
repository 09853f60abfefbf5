"""How a use case enters an organization to change it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from application.identity.authenticate import NOT_A_MEMBER
from application.identity.ports import Administration, LockedOrganization
from application.ports import Clock, NewId
from domain.errors import Failure, Forbidden, NotFound
from domain.identity.audit import AuditAction, AuditEntry
from domain.identity.caller import Person
from domain.identity.organization import Membership
from domain.identity.rights import Action, check_right
from domain.ids import AuditEntryId, OrganizationId


@dataclass(frozen=True, slots=True)
class OrganizationEdit:
    """An organization that `person` has open: nobody else changes it meanwhile."""

    locked: LockedOrganization
    person: Person
    new_id: NewId
    clock: Clock

    async def authorize(self, *actions: Action) -> Membership:
        """The person's membership. Raises Forbidden without one, or without each right."""
        mine = await self.locked.member(self.person.user.id)
        if mine is None:
            raise Forbidden(NOT_A_MEMBER)
        for action in actions:
            check_right(mine.membership.role, action)
        return mine.membership

    async def record(
        self, action: AuditAction, resource: object, detail: Mapping[str, str] | None = None
    ) -> None:
        """Tells the audit log what the person does, in the transaction of what it is about."""
        entry = AuditEntry(
            id=AuditEntryId(self.new_id()),
            organization_id=self.locked.organization.id,
            at=self.clock(),
            actor=self.person.actor,
            action=action,
            resource_id=str(resource),
            detail=detail or {},
        )
        await self.locked.record(entry)


@dataclass(frozen=True, slots=True)
class OrganizationEditor:
    """The way into every organization."""

    administration: Administration
    clock: Clock
    new_id: NewId

    @asynccontextmanager
    async def edit(
        self, organization: OrganizationId, person: Person, gone: Failure | None = None
    ) -> AsyncIterator[OrganizationEdit]:
        """All that the block does is stored when it is left, or nothing where it raises.

        Raises `gone` where the organization isn't there, or else Forbidden: who belongs to none
        that exists can't be told that it did. Unavailable.
        """
        entered = False
        try:
            async with self.administration.lock(organization) as opened:
                entered = True
                yield OrganizationEdit(opened, person, self.new_id, self.clock)
        except NotFound as missing:
            if entered:
                raise
            raise (gone or Forbidden(NOT_A_MEMBER)) from missing
