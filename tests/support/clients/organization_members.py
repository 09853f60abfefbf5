"""People as HTTP clients, and an organization with one of each kind of object."""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from json import dumps
from typing import Any

import httpx

from application.clock import utc_now
from domain.identity.api_key import KEY_LIFETIME, ApiKey, format_key, key_digest
from domain.identity.caller import Claims, User
from domain.identity.invitation import INVITATION_LIFETIME, Invitation
from domain.identity.organization import Membership, Organization, Project, Role
from domain.ids import (
    ApiKeyId,
    InvitationId,
    MembershipId,
    OrganizationId,
    ProjectId,
    UserId,
)
from tests.http.conftest import Site
from tests.support.builders.values import NOON

ISSUER = "https://issuer.test"


@dataclass(frozen=True)
class PersonClient:
    """A known person with a token, as an HTTP client."""

    site: Site
    id: UserId
    email: str
    bearer: dict[str, str]

    async def __call__(
        self, method: str, path: str, json: Any = None, **headers: str
    ) -> httpx.Response:
        """The response to a request; `x_organization_id` sets X-Organization-ID."""
        all_headers = self.bearer | {
            name.replace("_", "-"): value.encode("latin-1") for name, value in headers.items()
        }
        content = None
        if json is not None:
            all_headers |= {"content-type": "application/json"}
            content = dumps(json)  # in ASCII, which can contain lone surrogates as escapes
        return await self.site.http.request(method, path, headers=all_headers, content=content)

    async def read(self, path: str) -> Any:
        """The body of the response to a successful GET."""
        answer = await self("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def call(self, method: str, path: str, json: Any = None) -> Any:
        """The body of the response to a successful request."""
        answer = await self(method, path, json)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None


def new_person(site: Site, email: str, *, name: str = "", verified: bool = True) -> PersonClient:
    """A new person without any membership."""
    token, subject = f"token-{uuid.uuid4()}", uuid.uuid4().hex
    claims = Claims(
        issuer=ISSUER, subject=subject, email=email, display_name=name, email_verified=verified
    )
    site.tokens[token] = claims
    user = User.from_claims(claims, UserId(uuid.uuid4()), NOON)
    site.store.users[user.id] = user
    return PersonClient(site, user.id, email, {"authorization": f"Bearer {token}"})


def new_member(
    site: Site, organization: OrganizationId, email: str, role: Role, after_s: int = 0
) -> PersonClient:
    """A new member of an organization, `after_s` seconds after NOON."""
    person = new_person(site, email)
    site.store.memberships[organization, person.id] = Membership(
        id=MembershipId(uuid.uuid4()),
        organization_id=organization,
        user_id=person.id,
        role=role,
        created_at=NOON + timedelta(seconds=after_s),
    )
    return person


def new_organization(site: Site, name: str) -> dict[str, str]:
    """The ids of a new organization and its content: a member per role, and one of each object."""
    organization = OrganizationId(uuid.uuid4())
    site.store.organizations[organization] = Organization(
        id=organization, name=name, created_at=NOON
    )
    people = {
        role.lower(): new_member(site, organization, f"{role}@{name}.example", role)
        for role in Role
    }
    project = ProjectId(uuid.uuid4())
    site.store.projects[project] = Project(
        id=project, organization_id=organization, name="shop", created_at=NOON
    )
    now, secret = utc_now(), format_key(uuid.uuid4().bytes * 2)
    key = ApiKey(
        id=ApiKeyId(uuid.uuid4()),
        organization_id=organization,
        created_by=people["owner"].id,
        name="ci",
        prefix=secret[:10],
        digest=key_digest(secret),
        created_at=now,
        expires_at=now + KEY_LIFETIME,
    )
    site.store.keys[key.id] = key
    invitation = Invitation(
        id=InvitationId(uuid.uuid4()),
        organization_id=organization,
        email=f"guest@{name}.example",
        role=Role.MEMBER,
        invited_by=people["owner"].id,
        created_at=now,
        expires_at=now + INVITATION_LIFETIME,
    )
    site.store.invitations[invitation.id] = invitation
    return {
        "org_id": str(organization),
        "project_id": str(project),
        "key_id": str(key.id),
        "invitation_id": str(invitation.id),
        **{word: str(person.id) for word, person in people.items()},
    }
