"""Authentication: from credentials to a caller with a project and scopes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from application.identity.ports import (
    ApiKeys,
    Directory,
    KeyUsage,
    Organizations,
    Projects,
    Tokens,
    Users,
)
from application.ports import Clock, NewId
from domain.errors import Forbidden, Invalid, NotFound, Unauthenticated
from domain.identity.api_key import ALL_SCOPES, UNKNOWN_KEY, ApiKey, key_digest
from domain.identity.audit import Actor, AuditAction, AuditEntry, Origin
from domain.identity.caller import SIGN_UP_IS_CLOSED, Caller, Claims, Person, SignInRules
from domain.identity.invitation import normalize_email
from domain.identity.organization import (
    FIRST_ORGANIZATION,
    Membership,
    NewOrganization,
    NewProject,
    Project,
    validate_name,
)
from domain.ids import AuditEntryId, OrganizationId, ProjectId, UserId

PROJECT_NAME_HEADER: Final = "header.X-Project-Name"
PROJECT_NOT_FOUND: Final = "Project not found or not in your organization"
NOT_A_MEMBER: Final = "You are not a member of this organization"


def ignore_key(_: ApiKey) -> None:
    """For callers that count no refusals."""


@dataclass(frozen=True, slots=True)
class AuthenticateKey:
    """Authenticates a program by its API key, for the project that it names.

    If there is no such project, the caller has a `new_project`. `CreateMissingProject` stores it
    once the whole request is known to be valid, so that no refused request creates a project.
    """

    keys: ApiKeys
    projects: Projects
    key_usage: KeyUsage
    clock: Clock
    new_id: NewId

    async def __call__(
        self,
        secret: str,
        project_name: str | None,
        origin: Origin,
        on_known: Callable[[ApiKey], object] = ignore_key,
    ) -> Caller:
        """Raises Unauthenticated, Invalid for a wrong or missing project name, Unavailable.

        Raises Unauthenticated and Forbidden also by the limits of the key. `on_known` gets the key
        before it is checked: a refused key has an organization too, unless it is unknown.
        """
        now = self.clock()
        key = await self.keys.by_digest(key_digest(secret))
        if key is None:
            raise Unauthenticated(UNKNOWN_KEY)
        on_known(key)
        key.check_active(now)
        key.limits.check_address(origin.address)
        if project_name is None:
            raise Invalid.field(PROJECT_NAME_HEADER, "is required")
        name = validate_name(project_name, PROJECT_NAME_HEADER)
        project, new = await self.projects.by_name(key.organization_id, name), None
        key.limits.check_project(None if project is None else project.id)
        if project is None:
            new = self._new_project(key, name, now, origin)
            project = new.project
        self.key_usage.record(key.id, now, origin)
        return Caller(
            organization_id=key.organization_id,
            project_id=project.id,
            scopes=key.scopes,
            key_id=key.id,
            name=key.prefix,
            origin=origin,
            new_project=new,
        )

    def _new_project(self, key: ApiKey, name: str, at: datetime, origin: Origin) -> NewProject:
        project = Project(
            id=ProjectId(self.new_id()),
            organization_id=key.organization_id,
            name=name,
            created_at=at,
        )
        entry = AuditEntry(
            id=AuditEntryId(self.new_id()),
            organization_id=key.organization_id,
            at=at,
            actor=Actor(key_id=key.id, name=key.prefix, origin=origin),
            action=AuditAction.PROJECT_CREATED,
            resource_id=str(project.id),
            detail={"name": name},
        )
        return NewProject(project, entry)


@dataclass(frozen=True, slots=True)
class CreateMissingProject:
    """Stores the new project of a caller; concurrent requests create it once."""

    projects: Projects
    projects_max: int | None

    async def __call__(self, caller: Caller) -> Caller:
        """The caller in the stored project.

        Raises Invalid if the organization has too many projects, Unauthenticated if it is gone,
        Unavailable.
        """
        new = caller.new_project
        if new is None:
            return caller
        try:
            stored = await self.projects.ensure(
                caller.organization_id, new.project, new.entry, self.projects_max
            )
        except NotFound as gone:  # the organization was removed, and the key is still cached
            raise Unauthenticated(UNKNOWN_KEY) from gone
        return replace(caller, project_id=stored.id, new_project=None)


@dataclass(frozen=True, slots=True)
class PersonAdmission:
    """Admits a person by verified claims, and stores the user. Ways to sign in share it."""

    users: Users
    directory: Directory
    rules: SignInRules
    clock: Clock
    new_id: NewId

    async def admit(self, claims: Claims, origin: Origin) -> Person:
        """Raises Forbidden if the rules exclude the person, Unavailable."""
        self.rules.check_address(claims)
        if not self.rules.allows_sign_up and not await self._is_expected(claims):
            raise Forbidden(SIGN_UP_IS_CLOSED)
        new = UserId(self.new_id())
        user = await self.users.record_sign_in(claims, new=new, at=self.clock())
        return Person(user, claims.email_verified, origin, claims.expires_at)

    async def _is_expected(self, claims: Claims) -> bool:
        """Whether the person signed in before, or is invited."""
        if await self.users.has_signed_in(claims):
            return True
        email = normalize_email(claims.email)
        return claims.email_verified and bool(
            await self.directory.invitations_to(email, self.clock())
        )


@dataclass(frozen=True, slots=True)
class AuthenticateToken:
    """Authenticates a person by a token of the identity provider; stores the user."""

    tokens: Tokens
    admission: PersonAdmission

    async def __call__(self, token: str, origin: Origin) -> Person:
        """Raises Unauthenticated, Forbidden if the rules exclude the person, Unavailable."""
        return await self.admission.admit(await self.tokens.verify(token), origin)


@dataclass(frozen=True, slots=True)
class ResolveMembership:
    """The membership that a person acts with: in the named organization, or the oldest one.

    A person without any membership gets a new organization with a first project.
    """

    organizations: Organizations
    clock: Clock
    new_id: NewId

    async def __call__(self, person: Person, named: OrganizationId | None) -> Membership:
        """Raises Forbidden if the person isn't a member of the named one, Unavailable."""
        user = person.user.id
        memberships = await self.organizations.memberships(user)
        if not memberships:
            new = NewOrganization.create(
                FIRST_ORGANIZATION, user, person.actor, self.new_id, self.clock()
            )
            memberships = [await self.organizations.create_first(new)]
        if named is None:
            return memberships[0]
        for membership in memberships:
            if membership.organization_id == named:
                return membership
        raise Forbidden(NOT_A_MEMBER)


@dataclass(frozen=True, slots=True)
class ResolveProject:
    """The caller for a person who works on a project."""

    projects: Projects

    async def __call__(self, person: Person, membership: Membership, project: ProjectId) -> Caller:
        """Raises NotFound, with the same text for unknown projects and others'; Unavailable."""
        try:
            found = await self.projects.get(membership.organization_id, project)
        except NotFound as missing:
            raise NotFound(PROJECT_NOT_FOUND) from missing
        return Caller(
            organization_id=membership.organization_id,
            project_id=found.id,
            scopes=ALL_SCOPES,
            user_id=person.user.id,
            role=membership.role,
            name=person.user.email,
            origin=person.origin,
        )
