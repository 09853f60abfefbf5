"""Who is asking: credentials in, a caller with one project and some scopes out."""

from dataclasses import dataclass
from typing import Final

from application.identity.ports import ApiKeys, KeyUse, Organizations, Projects, Tokens, Users
from application.ports import Clock, NewId
from domain.errors import Forbidden, Invalid, NotFound, Unauthenticated
from domain.identity.api_key import ALL_SCOPES, UNKNOWN_KEY, digest_of
from domain.identity.caller import Caller
from domain.identity.organization import (
    FIRST_ORGANIZATION,
    FIRST_PROJECT,
    Organization,
    Project,
    checked_name,
)
from domain.identity.user import User
from domain.ids import OrganizationId, ProjectId, UserId

PROJECT_NAME_HEADER: Final = "header.X-Project-Name"
NO_SUCH_PROJECT: Final = "Project not found or not in your organization"


@dataclass(frozen=True, slots=True)
class AuthenticateKey:
    """A program with an API key, working on a project that it names.

    A project that isn't there yet is made, once, however many ask for it at the same time.
    """

    keys: ApiKeys
    projects: Projects
    uses: KeyUse
    clock: Clock
    new_id: NewId

    async def __call__(self, secret: str, project_name: str | None) -> Caller:
        """Raises Unauthenticated, Invalid for the project's name or without one, Unavailable."""
        now = self.clock()
        key = await self.keys.by_digest(digest_of(secret))
        if key is None:
            raise Unauthenticated(UNKNOWN_KEY)
        key.checked(now)
        if project_name is None:
            raise Invalid.field(PROJECT_NAME_HEADER, "is required")
        wanted = Project(
            id=ProjectId(self.new_id()),
            organization_id=key.organization_id,
            name=checked_name(project_name, PROJECT_NAME_HEADER),
            created_at=now,
        )
        try:
            project = await self.projects.ensure(key.organization_id, wanted)
        except NotFound as gone:  # the organization went while the key was still remembered
            raise Unauthenticated(UNKNOWN_KEY) from gone
        self.uses.noted(key.id, now)
        return Caller(
            organization_id=key.organization_id,
            project_id=project.id,
            scopes=key.scopes,
            key_id=key.id,
        )


@dataclass(frozen=True, slots=True)
class AuthenticateToken:
    """A person with a token of the identity provider, known from their first request on."""

    tokens: Tokens
    users: Users
    clock: Clock
    new_id: NewId

    async def __call__(self, token: str) -> User:
        """Raises Unauthenticated, Unavailable."""
        claims = await self.tokens.verify(token)
        return await self.users.signed_in(claims, new=UserId(self.new_id()), at=self.clock())


@dataclass(frozen=True, slots=True)
class ResolveOrganization:
    """The organization that a person works in: the one they name, else their oldest.

    Who belongs to none gets one of their own, with a first project.
    """

    organizations: Organizations
    clock: Clock
    new_id: NewId

    async def __call__(self, user: UserId, named: OrganizationId | None) -> OrganizationId:
        """Raises Forbidden where the user isn't a member of the one named, Unavailable."""
        memberships = await self.organizations.memberships(user)
        if not memberships:
            organization = Organization(
                id=OrganizationId(self.new_id()), name=FIRST_ORGANIZATION, created_at=self.clock()
            )
            project = Project(
                id=ProjectId(self.new_id()),
                organization_id=organization.id,
                name=FIRST_PROJECT,
                created_at=organization.created_at,
            )
            memberships = [await self.organizations.found(organization, user, project)]
        if named is None:
            return memberships[0].organization_id
        if all(one.organization_id != named for one in memberships):
            raise Forbidden("You are not a member of this organization")
        return named


@dataclass(frozen=True, slots=True)
class ResolveProject:
    """The project that a person works on."""

    projects: Projects

    async def __call__(
        self, user: UserId, organization: OrganizationId, project: ProjectId
    ) -> Caller:
        """Raises NotFound, in one text for what is unknown and what is another's; Unavailable."""
        try:
            found = await self.projects.get(organization, project)
        except NotFound as missing:
            raise NotFound(NO_SUCH_PROJECT) from missing
        return Caller(
            organization_id=organization, project_id=found.id, scopes=ALL_SCOPES, user_id=user
        )
