"""Identity and organizations in memory, and the purge of removed projects."""

import asyncio
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Protocol

from adapters.memory.evaluation.judge_costs import store_budget
from adapters.memory.store import MemoryStore, by_creation, delete_rows
from application.identity.ports import (
    LISTED_MAX,
    OWNED_LIMIT_MESSAGE,
    USED_NETWORKS_MAX,
    KeyOrigin,
    LockedOrganization,
)
from application.ports import NewId
from domain.errors import Conflict, Forbidden, NotFound, Unauthenticated
from domain.evaluation.costs.judge_costs import organization_scope
from domain.identity.api_key import ApiKey
from domain.identity.audit import (
    ALL_ENTRIES,
    EMPTY_CHAIN,
    Actor,
    AuditAction,
    AuditEntry,
    AuditFilter,
    ChainHead,
    Origin,
)
from domain.identity.caller import Claims, User
from domain.identity.invitation import Invitation, InvitationStatus, SentInvitation, normalize_email
from domain.identity.login_code import LoginCode
from domain.identity.organization import (
    NO_LIMITS,
    Member,
    Membership,
    NewOrganization,
    Organization,
    OrganizationLimits,
    Project,
    Role,
    check_project_count,
)
from domain.identity.refusal import (
    REFUSALS_PER_HOUR_MAX,
    REFUSALS_RETENTION,
    CountedRefusal,
    Refusal,
)
from domain.ids import ApiKeyId, AuditEntryId, InvitationId, OrganizationId, ProjectId, UserId
from domain.page import Page, PageRequest, Position, SortOrder, paginate


@dataclass(frozen=True, slots=True)
class MemoryTokens:
    """Accepts the tokens that it was constructed with."""

    known: Mapping[str, Claims]

    async def verify(self, token: str) -> Claims:
        claims = self.known.get(token)
        if claims is None:
            raise Unauthenticated("Invalid token")
        return claims


@dataclass(frozen=True, slots=True)
class MemoryApiKeys:
    store: MemoryStore

    async def by_digest(self, digest: bytes) -> ApiKey | None:
        return next((key for key in self.store.keys.values() if key.digest == digest), None)

    async def mark_used(self, uses: Mapping[ApiKeyId, datetime]) -> None:
        for key, at in uses.items():
            _used(self.store, key, at)

    async def record_origins(self, origins: Sequence[KeyOrigin]) -> None:
        for one in origins:
            _record_origin(self.store, one)


@dataclass(frozen=True, slots=True)
class MemoryKeyUsage:
    """Records each use of a key at once in the store that keys are read from."""

    store: MemoryStore
    new_id: NewId = uuid.uuid4

    def record(self, key: ApiKeyId, at: datetime, origin: Origin) -> None:
        _used(self.store, key, at)
        _record_origin(self.store, KeyOrigin(key, origin, at, AuditEntryId(self.new_id())))


def _record_origin(store: MemoryStore, used: KeyOrigin) -> None:
    key, networks = store.keys.get(used.key), store.used_networks[used.key]
    network = used.origin.network
    if key is None or network in networks or len(networks) >= USED_NETWORKS_MAX:
        return
    networks.add(network)
    if key.newest_network_at is None or key.newest_network_at < used.at:
        store.keys[key.id] = replace(key, newest_network=network, newest_network_at=used.at)
    store.audit_log[used.entry] = AuditEntry(
        id=used.entry,
        organization_id=key.organization_id,
        at=used.at,
        actor=Actor(key_id=key.id, name=key.prefix, origin=used.origin),
        action=AuditAction.API_KEY_USED,
        resource_id=str(key.id),
        detail={"name": key.name, "network": network},
    )


def _used(store: MemoryStore, key: ApiKeyId, at: datetime) -> None:
    known = store.keys.get(key)
    if known is not None and (known.last_used_at is None or known.last_used_at < at):
        store.keys[key] = replace(known, last_used_at=at)


@dataclass(frozen=True, slots=True)
class MemoryProjects:
    store: MemoryStore

    async def by_name(self, organization: OrganizationId, name: str) -> Project | None:
        ours = _owned_by(organization, self.store.projects.values())
        return next((project for project in ours if project.name == name), None)

    async def ensure(
        self,
        organization: OrganizationId,
        project: Project,
        entry: AuditEntry | None = None,
        projects_max: int | None = None,
    ) -> Project:
        if organization not in self.store.organizations:
            raise NotFound("Organization not found")
        known = await self.by_name(organization, project.name)
        if known is not None:
            return known
        if projects_max is not None:
            ours = _owned_by(organization, self.store.projects.values())
            check_project_count(len(ours), projects_max)
        limits = self.store.limits.get(organization, NO_LIMITS)
        project = replace(project, retention_days=limits.project_retention_days)
        self.store.projects[project.id] = project
        store_budget(self.store, project.id, limits.project_monthly_usd, project.created_at)
        if entry is not None:
            self.store.audit_log[entry.id] = entry
        return project

    async def get(self, organization: OrganizationId, project: ProjectId) -> Project:
        found = self.store.projects.get(project)
        if found is None or found.organization_id != organization:
            raise NotFound("Project not found")
        return found


@dataclass(frozen=True, slots=True)
class MemoryUsers:
    store: MemoryStore

    async def has_signed_in(self, claims: Claims) -> bool:
        return any(one.is_bearer_of(claims) for one in self.store.users.values())

    async def record_sign_in(self, claims: Claims, *, new: UserId, at: datetime) -> User:
        user = next((one for one in self.store.users.values() if one.is_bearer_of(claims)), None)
        user = User.from_claims(claims, new, at) if user is None else user.updated_from(claims, at)
        self.store.users[user.id] = user
        return user


@dataclass(frozen=True, slots=True)
class MemoryOrganizations:
    store: MemoryStore

    async def memberships(self, user: UserId) -> Sequence[Membership]:
        ours = [one for one in self.store.memberships.values() if one.user_id == user]
        return sorted(ours, key=lambda one: (one.created_at, one.organization_id))

    async def create_first(self, new: NewOrganization) -> Membership:
        owner = new.owner.user_id
        if owner not in self.store.users:
            raise NotFound("User not found")
        if known := await self.memberships(owner):
            return known[0]
        self._put(new)
        return new.owner

    async def create(self, new: NewOrganization, owned_max: int | None) -> None:
        owner = new.owner.user_id
        if owner not in self.store.users:
            raise NotFound("User not found")
        ours = await self.memberships(owner)
        owned = sum(one.role is Role.OWNER for one in ours)
        if owned_max is not None and owned >= owned_max:
            raise Forbidden(OWNED_LIMIT_MESSAGE.format(owned_max))
        self._put(new)

    def _put(self, new: NewOrganization) -> None:
        organization, project = new.organization, new.project
        self.store.organizations[organization.id] = organization
        self.store.memberships[organization.id, new.owner.user_id] = new.owner
        self.store.projects[project.id] = project
        self.store.audit_log[new.entry.id] = new.entry


ROWS_PER_PURGE: Final = 1_000  # rows that one call deletes
# The tables that a locked block may change.
EDITED_TABLES: Final = (
    *("organizations", "projects", "memberships", "keys", "invitations", "login_codes"),
    "trace_links",
    *("audit_log", "removed", "budgets", "spending", "limits", "shared_spending"),
)


class _Owned(Protocol):
    @property
    def organization_id(self) -> OrganizationId: ...


@dataclass(frozen=True, slots=True)
class MemoryAdministration:
    store: MemoryStore
    turns: dict[OrganizationId, asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock)
    )

    @asynccontextmanager
    async def lock(self, organization: OrganizationId) -> AsyncIterator[LockedOrganization]:
        async with self.turns[organization]:
            known = self.store.organizations.get(organization)
            if known is None:
                raise NotFound("Organization not found")
            before, draft = _copy_tables(self.store), _copy_tables(self.store)
            yield _LockedOrganization(draft, known)
            for name in EDITED_TABLES:
                _apply_changes(
                    getattr(before, name), getattr(draft, name), getattr(self.store, name)
                )


def _copy_tables(store: MemoryStore) -> MemoryStore:
    draft = copy(store)
    for name in EDITED_TABLES:
        setattr(draft, name, dict(getattr(store, name)))
    return draft


def _apply_changes(before: dict[Any, Any], draft: dict[Any, Any], stored: dict[Any, Any]) -> None:
    """Applies the changes of a draft to the stored table."""
    for key in before.keys() - draft.keys():
        stored.pop(key, None)
    changed = {key: one for key, one in draft.items() if before.get(key) is not one}
    for key, one in changed.items():  # not `update`: the audit log numbers each new entry
        stored[key] = one  # noqa: PERF403 - see above


@dataclass(frozen=True, slots=True)
class _LockedOrganization:
    """Works on a draft that is invisible to others."""

    store: MemoryStore
    organization: Organization

    async def member(self, user: UserId) -> Member | None:
        membership = self.store.memberships.get((self.organization.id, user))
        return None if membership is None else make_member(self.store, membership)

    async def owners(self) -> Sequence[UserId]:
        return [one.user_id for one in self._memberships() if one.role is Role.OWNER]

    async def has_member(self, email: str) -> bool:
        users = (self.store.users[one.user_id] for one in self._memberships())
        return any(normalize_email(user.email) == email for user in users)

    async def put_membership(self, membership: Membership) -> None:
        if membership.user_id not in self.store.users:
            raise NotFound("User not found")
        known = self.store.memberships.get((self.organization.id, membership.user_id))
        put = membership if known is None else replace(known, role=membership.role)
        self.store.memberships[self.organization.id, membership.user_id] = put

    async def remove_member(self, user: UserId, at: datetime) -> Sequence[ApiKeyId]:
        self.store.memberships.pop((self.organization.id, user), None)
        keys = [
            key
            for key in self.store.keys.values()
            if key.organization_id == self.organization.id
            and key.created_by == user
            and key.revoked_at is None
        ]
        for key in keys:
            self.store.keys[key.id] = replace(key, revoked_at=at)
        return [key.id for key in keys]

    async def invitation(self, invitation: InvitationId) -> Invitation | None:
        return self._own(self.store.invitations.get(invitation))

    async def invitations_to(self, email: str) -> Sequence[Invitation]:
        return [
            one
            for one in self.store.invitations.values()
            if one.organization_id == self.organization.id
            and one.email == email
            and one.status is InvitationStatus.PENDING
        ]

    async def invitations_by(self, user: UserId) -> Sequence[Invitation]:
        pending = [
            one
            for one in self.store.invitations.values()
            if one.organization_id == self.organization.id
            and one.invited_by == user
            and one.status is InvitationStatus.PENDING
        ]
        return sorted(pending, key=lambda one: (one.created_at, one.id))

    async def put_invitation(self, invitation: Invitation) -> None:
        known = self.store.invitations.get(invitation.id)
        put = invitation if known is None else replace(known, status=invitation.status)
        self.store.invitations[invitation.id] = put

    async def rename(self, name: str) -> None:
        stored = self.store.organizations
        stored[self.organization.id] = replace(stored[self.organization.id], name=name)

    async def allow_public_links(self, *, allowed: bool) -> int:
        ours = self.organization.id
        stored = self.store.organizations
        stored[ours] = replace(stored[ours], public_links=allowed)
        if allowed:
            return 0
        return len(delete_rows(self.store.trace_links, lambda _, one: one.organization_id == ours))

    async def limits(self) -> OrganizationLimits:
        return self.store.limits.get(self.organization.id, NO_LIMITS)

    async def put_limits(self, limits: OrganizationLimits, at: datetime) -> None:
        known = await self.limits()
        if limits.monthly_usd is None or known.monthly_usd is None:
            self.store.shared_spending.pop(organization_scope(self.organization.id, at), None)
        self.store.limits[self.organization.id] = limits

    async def remove(self, at: datetime) -> None:
        ours, store = self.organization.id, self.store
        for project in [one for one in store.projects.values() if one.organization_id == ours]:
            await self.remove_project(project.id, at)
        delete_rows(store.memberships, lambda _, one: one.organization_id == ours)
        delete_rows(store.keys, lambda _, one: one.organization_id == ours)
        delete_rows(store.invitations, lambda _, one: one.organization_id == ours)
        delete_rows(store.login_codes, lambda _, one: one.organization_id == ours)
        delete_rows(store.trace_links, lambda _, one: one.organization_id == ours)
        store.limits.pop(ours, None)
        store.organizations.pop(ours, None)

    async def project(self, project: ProjectId) -> Project | None:
        return self._own(self.store.projects.get(project))

    async def count_projects(self) -> int:
        return len(_owned_by(self.organization.id, self.store.projects.values()))

    async def put_project(self, project: Project) -> None:
        for other in self.store.projects.values():
            same_name = (other.organization_id, other.name) == (self.organization.id, project.name)
            if same_name and other.id != project.id:
                raise Conflict("A project of this name exists already")
        self.store.projects[project.id] = project

    async def remove_project(self, project: ProjectId, at: datetime) -> None:
        if await self.project(project) is None:
            return
        del self.store.projects[project]
        self.store.removed[project] = at
        delete_rows(self.store.login_codes, lambda _, one: one.project_id == project)
        delete_rows(self.store.trace_links, lambda _, one: one.project_id == project)

    async def budget(self, project: ProjectId) -> Decimal | None:
        return None if await self.project(project) is None else self.store.budgets.get(project)

    async def put_budget(self, project: ProjectId, usd: Decimal | None, at: datetime) -> None:
        if await self.project(project) is not None:
            store_budget(self.store, project, usd, at)

    async def key(self, key: ApiKeyId) -> ApiKey | None:
        return self._own(self.store.keys.get(key))

    async def count_active_keys(self, now: datetime) -> int:
        ours = _owned_by(self.organization.id, self.store.keys.values())
        return sum(key.is_active(now) for key in ours)

    async def put_key(self, key: ApiKey) -> None:
        if key.created_by is not None and key.created_by not in self.store.users:
            raise NotFound("User not found")
        if any(key.digest == one.digest and key.id != one.id for one in self.store.keys.values()):
            raise Conflict("already exists")
        known = self.store.keys.get(key.id)
        put = key if known is None else replace(known, revoked_at=key.revoked_at)
        self.store.keys[key.id] = put

    async def remove_key(self, key: ApiKeyId) -> None:
        if await self.key(key) is not None:
            del self.store.keys[key]

    async def add_login_code(self, code: LoginCode) -> None:
        self.store.login_codes[code.digest] = code

    async def use_login_code(self, digest: bytes) -> bool:
        known = self._own(self.store.login_codes.get(digest))
        return known is not None and self.store.login_codes.pop(digest) is known

    async def record(self, entry: AuditEntry) -> None:
        self.store.audit_log[entry.id] = entry

    def _memberships(self) -> list[Membership]:
        return _owned_by(self.organization.id, self.store.memberships.values())

    def _own[T: _Owned](self, row: T | None) -> T | None:
        """The row, if it is of this organization."""
        return row if row is not None and row.organization_id == self.organization.id else None


@dataclass(frozen=True, slots=True)
class MemoryRemovedProjects:
    store: MemoryStore

    async def purge(self, now: datetime) -> int:
        store = self.store
        codes = delete_rows(store.login_codes, lambda _, one: one.expires_at <= now)
        sessions = delete_rows(store.browser_sessions, lambda _, one: one.ends_at <= now)
        attempts = delete_rows(store.sign_in_attempts, lambda _, one: one.expires_at <= now)
        tickets = delete_rows(store.download_tickets, lambda _, one: one.expires_at <= now)
        links = delete_rows(store.trace_links, lambda _, one: one.expires_at <= now)
        expired = len(codes) + len(sessions) + len(attempts) + len(tickets) + len(links)
        traces = store.traces.purge(ROWS_PER_PURGE)
        scores = store.trace_scores.purge(ROWS_PER_PURGE)
        return expired + traces + scores + store.session_scores.purge(ROWS_PER_PURGE)


@dataclass(frozen=True, slots=True)
class MemoryDirectory:
    store: MemoryStore
    listed_max: int = LISTED_MAX

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

    async def limits(self, organization: OrganizationId) -> OrganizationLimits:
        await self.organization(organization)
        return self.store.limits.get(organization, NO_LIMITS)

    async def members(self, organization: OrganizationId) -> Sequence[Member]:
        ours = _owned_by(organization, self.store.memberships.values())
        return [make_member(self.store, one) for one in by_creation(ours)]

    async def invitations(self, organization: OrganizationId) -> Sequence[SentInvitation]:
        ours = _owned_by(organization, self.store.invitations.values())
        newest, pending = by_creation(ours, newest_first=True), InvitationStatus.PENDING
        listed = sorted(newest, key=lambda one: one.status is not pending)[: self.listed_max]
        return [self._sent(one) for one in by_creation(listed, newest_first=True)]

    async def invitations_to(self, email: str, now: datetime) -> Sequence[SentInvitation]:
        invitations = self.store.invitations.values()
        ours = [one for one in invitations if one.email == email and one.is_pending(now)]
        newest = by_creation(ours, newest_first=True)[: self.listed_max]
        return [self._sent(one) for one in newest]

    async def invitation(self, invitation: InvitationId) -> SentInvitation:
        found = self.store.invitations.get(invitation)
        if found is None:
            raise NotFound("Invitation not found")
        return self._sent(found)

    async def projects(self, organization: OrganizationId) -> Sequence[Project]:
        ours = _owned_by(organization, self.store.projects.values())
        return by_creation(ours, newest_first=True)

    async def keys(self, organization: OrganizationId) -> Sequence[ApiKey]:
        ours = _owned_by(organization, self.store.keys.values())
        newest = by_creation(ours, newest_first=True)
        listed = sorted(newest, key=lambda one: one.revoked_at is not None)[: self.listed_max]
        return by_creation(listed, newest_first=True)

    async def key(self, organization: OrganizationId, key: ApiKeyId) -> ApiKey:
        found = self.store.keys.get(key)
        if found is None or found.organization_id != organization:
            raise NotFound("API key not found")
        return found

    async def login_code(self, digest: bytes) -> LoginCode | None:
        return self.store.login_codes.get(digest)

    async def audit_entries(
        self, organization: OrganizationId, after: int, limit: int
    ) -> Sequence[AuditEntry]:
        ours = _owned_by(organization, self.store.audit_log.values())
        numbered = sorted((one.sequence or 0, one.id, one) for one in ours)
        return [one for number, _, one in numbered if number > after][:limit]

    async def audited_organizations(self) -> Sequence[OrganizationId]:
        return sorted(self.store.audit_heads)

    async def audit_head(self, organization: OrganizationId) -> ChainHead:
        return self.store.audit_heads.get(organization, EMPTY_CHAIN)

    async def audit_log(
        self,
        organization: OrganizationId,
        window: PageRequest,
        matching: AuditFilter = ALL_ENTRIES,
    ) -> Page[AuditEntry]:
        all_entries = _owned_by(organization, self.store.audit_log.values())
        ours = [one for one in all_entries if matching.matches(one)]
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


class MemoryRefusals:
    """Counts refusals at once. They aren't in the store: a refused request changes no data."""

    def __init__(self) -> None:
        self.counts = Counter[Refusal]()

    async def add(self, counts: Mapping[Refusal, int]) -> None:
        for refusal, count in sorted(counts.items(), key=lambda one: _refusal_order(one[0])):
            hour = [one for one in self.counts if _same_hour(one, refusal)]
            is_full = refusal not in self.counts and len(hour) >= REFUSALS_PER_HOUR_MAX
            self.counts[refusal.with_others if is_full else refusal] += count
        oldest = max(one.hour for one in counts) - REFUSALS_RETENTION
        for one in [one for one in self.counts if one.hour < oldest]:
            del self.counts[one]

    async def latest(
        self, organization: OrganizationId | None, limit: int
    ) -> Sequence[CountedRefusal]:
        ours = [one for one in self.counts.items() if one[0].organization_id == organization]
        ours.sort(key=lambda one: (-one[0].hour.timestamp(), -one[1], _refusal_order(one[0])))
        return [CountedRefusal(*one) for one in ours[:limit]]

    def record(self, refusal: Refusal) -> None:
        self.counts[refusal] += 1


def _same_hour(one: Refusal, other: Refusal) -> bool:
    return (one.organization_id, one.hour) == (other.organization_id, other.hour)


def _refusal_order(one: Refusal) -> tuple[datetime, int, str, str]:
    return one.hour, one.status, one.address, one.credential
