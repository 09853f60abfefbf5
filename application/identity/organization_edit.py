"""Edits an organization under its lock: authorization, and the audit log."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from application.identity.authenticate import NOT_A_MEMBER
from application.identity.ports import Administration, LockedOrganization
from application.ports import Clock, NewId
from domain.errors import Failure, Forbidden, NotFound
from domain.identity.audit import AuditAction, AuditEntry
from domain.identity.caller import Person
from domain.identity.organization import Action, Membership, check_right
from domain.ids import AuditEntryId, OrganizationId


def require[T](found: T | None, message: str) -> T:
    """Returns what was found. Raises NotFound with the message if it is None."""
    if found is None:
        raise NotFound(message)
    return found


@dataclass(frozen=True, slots=True)
class OrganizationEdit:
    """An edit by `person`; no other edit of the organization runs meanwhile."""

    locked: LockedOrganization
    person: Person
    new_id: NewId
    clock: Clock

    async def authorize(self, *actions: Action) -> Membership:
        """The person's membership. Raises Forbidden without one, or if it lacks a right."""
        member = await self.locked.member(self.person.user.id)
        if member is None:
            raise Forbidden(NOT_A_MEMBER)
        for action in actions:
            check_right(member.membership.role, action)
        return member.membership

    async def record(
        self, action: AuditAction, resource: object, detail: Mapping[str, str] | None = None
    ) -> None:
        """Writes an entry to the audit log, in the transaction of the edit."""
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
    """Begins edits of organizations. A service that most identity use cases share."""

    administration: Administration
    clock: Clock
    new_id: NewId

    @asynccontextmanager
    async def edit(
        self, organization: OrganizationId, person: Person, missing: Failure | None = None
    ) -> AsyncIterator[OrganizationEdit]:
        """Commits what the block does when it is left; stores nothing if it raises.

        Raises `missing`, else Forbidden, if the organization doesn't exist: outsiders must not
        learn which organizations exist. Raises Unavailable.
        """
        is_locked = False
        try:
            async with self.administration.lock(organization) as locked:
                is_locked = True
                yield OrganizationEdit(locked, person, self.new_id, self.clock)
        except NotFound as error:
            if is_locked:
                raise
            raise (missing or Forbidden(NOT_A_MEMBER)) from error
