"""What identity needs from the world; administration.py: what managing it needs beside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from domain.identity.api_key import ApiKey
from domain.identity.audit import Origin
from domain.identity.organization import Membership, Project
from domain.identity.organization_bootstrap import NewOrganization
from domain.identity.user import Claims, User
from domain.ids import ApiKeyId, AuditEntryId, OrganizationId, ProjectId, UserId

ORIGINS_MAX: Final = 100  # of one key in the audit log: its clients may have any number
OWNED_MAX: Final = "You own {} organizations already, which is as many as this service allows"


class Tokens(Protocol):
    """The identity provider's word. Contract of Tokens: tests/contracts/identity/test_tokens.py."""

    async def verify(self, token: str) -> Claims:
        """The claims of a signed token, once signature, issuer, audience and times are checked.

        Raises Unauthenticated, without saying why to whom can't sign; Unavailable where no key
        to check with can be had.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeyOrigin:
    """A key was used from an origin. `entry` is the id of what the audit log may tell of it."""

    key: ApiKeyId
    origin: Origin
    at: datetime
    entry: AuditEntryId


class ApiKeys(Protocol):
    """Every organization's keys. Contract of ApiKeys: tests/contracts/identity/test_api_keys.py."""

    async def by_digest(self, digest: bytes) -> ApiKey | None:
        """The key of this secret, revoked and expired ones included; None where there is none."""
        ...

    async def mark_used(self, uses: Mapping[ApiKeyId, datetime]) -> None:
        """Moves `last_used_at` of each key forward to its instant, never back. Unknown: ignored."""
        ...

    async def met(self, meetings: Sequence["KeyOrigin"]) -> None:
        """Tells the audit log of each key that is met from an origin never seen with it.

        Of a key at most ORIGINS_MAX origins are told, by their instants; later ones are
        passed over, and so are keys that are gone. A repeated meeting is told once.
        """
        ...


class KeyUsage(Protocol):
    """Where the use of a key is noted.

    Contract of KeyUsage: tests/contracts/identity/test_key_use.py.
    """

    def noted(self, key: ApiKeyId, at: datetime, origin: Origin) -> None:
        """Sees to it that `last_used_at` of the key moves to `at`, soon and never back.

        And that the audit log is told where `origin` was never seen with the key. Never waits
        and never raises: a note may be lost, a request may not be held up. Notes less than a
        minute after the last one of the same key and origin may be left out.
        """
        ...


class Projects(Protocol):
    """Every organization's projects.

    Contract of Projects: tests/contracts/identity/test_projects.py.
    """

    async def ensure(self, organization: OrganizationId, project: Project) -> Project:
        """The organization's project of this name; `project` itself where there was none.

        Calls at once for one name, in any number of processes, all get the same one. Raises
        NotFound where the organization is gone.
        """
        ...

    async def get(self, organization: OrganizationId, project: ProjectId) -> Project:
        """Raises NotFound where the organization has no such project."""
        ...


class Users(Protocol):
    """People who signed in. Contract of Users: tests/contracts/identity/test_users.py."""

    async def record_sign_in(self, claims: Claims, *, new: UserId, at: datetime) -> User:
        """The user of (`issuer`, `subject`), made with the id `new` at first sight.

        The email follows the claims; the display name is filled only while it is empty;
        `last_sign_in_at` moves to `at` once it is a minute old. Calls at once make one user.
        """
        ...


class Organizations(Protocol):
    """Organizations and who belongs to them.

    Contract of Organizations: tests/contracts/identity/test_organizations.py.
    """

    async def memberships(self, user: UserId) -> Sequence[Membership]:
        """Every membership of the user, oldest first."""
        ...

    async def found(self, founding: NewOrganization) -> Membership:
        """Makes the organization with its OWNER and a first project, unless the user has one.

        Where the user has a membership already, nothing is made and their oldest is returned:
        calls at once for one user make one organization. Raises NotFound where the user is gone.
        """
        ...

    async def add(self, founding: NewOrganization, owned_max: int | None) -> None:
        """Makes another organization for its OWNER.

        Raises Forbidden where they own `owned_max` already, calls at once included; NotFound
        where they are gone.
        """
        ...
