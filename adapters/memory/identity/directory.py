"""Reads of organizations, members, invitations and the audit log in memory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from adapters.memory.store import MemoryStore, by_creation
from domain.errors import NotFound
from domain.identity.api_key import ApiKey
from domain.identity.audit import AuditEntry
from domain.identity.invitation import Invitation, SentInvitation
from domain.identity.login_code import LoginCode
from domain.identity.organization import Member, Membership, Organization, Project, Role
from domain.ids import ApiKeyId, InvitationId, OrganizationId, UserId
from domain.page import Page, PageRequest, Position, SortOrder, paginate


class _Owned(Protocol):
    @property
    def organization_id(self) -> OrganizationId: ...


@dataclass(frozen=True, slots=True)
class MemoryDirectory:
    store: MemoryStore

    async def organizations(self, user: UserId) -> Sequence[tuple[Organization, Role]]:
        ours = [one for one in self.store.memberships.values() if one.user_id == user]
        return [
            (self.store.organizations[one.organization_id], one.role)
            for one in by_creation(ours, newest_first=True)
        ]

    async def organization(self, organization: OrganizationId) -> Organization:
        found = self.store.organizations.get(organization)
        if found is None:
            raise NotFound("Organization not found")
        return found

    async def members(self, organization: OrganizationId) -> Sequence[Member]:
        ours = _owned_by(organization, self.store.memberships.values())
        return [make_member(self.store, one) for one in by_creation(ours)]

    async def invitations(self, organization: OrganizationId) -> Sequence[SentInvitation]:
        ours = _owned_by(organization, self.store.invitations.values())
        return [self._sent(one) for one in by_creation(ours, newest_first=True)]

    async def invitations_to(self, email: str, now: datetime) -> Sequence[SentInvitation]:
        invitations = self.store.invitations.values()
        ours = [one for one in invitations if one.email == email and one.is_pending(now)]
        return [self._sent(one) for one in by_creation(ours, newest_first=True)]

    async def invitation(self, invitation: InvitationId) -> SentInvitation:
        found = self.store.invitations.get(invitation)
        if found is None:
            raise NotFound("Invitation not found")
        return self._sent(found)

    async def projects(self, organization: OrganizationId) -> Sequence[Project]:
        ours = _owned_by(organization, self.store.projects.values())
        return by_creation(ours, newest_first=True)

    async def keys(self, organization: OrganizationId) -> Sequence[ApiKey]:
        return by_creation(_owned_by(organization, self.store.keys.values()), newest_first=True)

    async def key(self, organization: OrganizationId, key: ApiKeyId) -> ApiKey:
        found = self.store.keys.get(key)
        if found is None or found.organization_id != organization:
            raise NotFound("API key not found")
        return found

    async def login_code(self, digest: bytes) -> LoginCode | None:
        return self.store.login_codes.get(digest)

    async def audit_log(
        self, organization: OrganizationId, window: PageRequest
    ) -> Page[AuditEntry]:
        ours = _owned_by(organization, self.store.audit_log.values())
        return paginate(ours, lambda one: Position(one.at, one.id), SortOrder.DESC, window)

    def _sent(self, invitation: Invitation) -> SentInvitation:
        inviter = self.store.users[invitation.invited_by]
        return SentInvitation(
            invitation=invitation,
            organization_name=self.store.organizations[invitation.organization_id].name,
            inviter_display_name=inviter.display_name,
            inviter_email=inviter.email,
        )


def make_member(store: MemoryStore, membership: Membership) -> Member:
    user = store.users[membership.user_id]
    return Member(membership=membership, display_name=user.display_name, email=user.email)


def _owned_by[T: _Owned](organization: OrganizationId, rows: Iterable[T]) -> list[T]:
    return [one for one in rows if one.organization_id == organization]
