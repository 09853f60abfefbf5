"""People who manage organizations over HTTP, and an organization with one of each kind of thing."""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from json import dumps
from typing import Any

import httpx

from application.use_cases import utc_now
from domain.identity.api_key import KEY_LIFETIME, ApiKey, format_key, key_digest
from domain.identity.invitation import INVITATION_LIFETIME, Invitation
from domain.identity.organization import Membership, Organization, Project, Role
from domain.identity.user import Claims, User
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
class Somebody:
    """A person with a token, known already."""

    site: Site
    id: UserId
    email: str
    bearer: dict[str, str]

    async def __call__(
        self, method: str, path: str, json: Any = None, **headers: str
    ) -> httpx.Response:
        """The answer to a request of theirs; `x_organization_id` is X-Organization-ID."""
        said = self.bearer | {
            name.replace("_", "-"): value.encode("latin-1") for name, value in headers.items()
        }
        content = None
        if json is not None:
            said |= {"content-type": "application/json"}
            content = dumps(json)  # in ASCII, which can say what no UTF-8 can
        return await self.site.http.request(method, path, headers=said, content=content)

    async def got(self, path: str) -> Any:
        """The body of the answer to a GET that succeeds."""
        answer = await self("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def did(self, method: str, path: str, json: Any = None) -> Any:
        """The body of the answer to a request that succeeds."""
        answer = await self(method, path, json)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None


def somebody(site: Site, email: str, *, name: str = "", verified: bool = True) -> Somebody:
    """A new person, who belongs to nothing yet."""
    token, subject = f"token-{uuid.uuid4()}", uuid.uuid4().hex
    claims = Claims(
        issuer=ISSUER, subject=subject, email=email, display_name=name, email_verified=verified
    )
    site.tokens[token] = claims
    user = User.from_claims(claims, UserId(uuid.uuid4()), NOON)
    site.store.users[user.id] = user
    return Somebody(site, user.id, email, {"authorization": f"Bearer {token}"})


def joined(
    site: Site, organization: OrganizationId, email: str, role: Role, after_s: int = 0
) -> Somebody:
    """A new member of an organization, `after_s` seconds after NOON."""
    person = somebody(site, email)
    site.store.memberships[organization, person.id] = Membership(
        id=MembershipId(uuid.uuid4()),
        organization_id=organization,
        user_id=person.id,
        role=role,
        created_at=NOON + timedelta(seconds=after_s),
    )
    return person


def furnished(site: Site, name: str) -> dict[str, str]:
    """A new organization by the ids of what it has: one member a role, and one of each thing."""
    organization = OrganizationId(uuid.uuid4())
    site.store.organizations[organization] = Organization(
        id=organization, name=name, created_at=NOON
    )
    people = {
        role.lower(): joined(site, organization, f"{role}@{name}.example", role) for role in Role
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
