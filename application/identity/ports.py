"""What identity needs from the world; administration.py: what managing it needs beside."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Protocol

from domain.identity.api_key import ApiKey
from domain.identity.audit import AuditEntry, Origin
from domain.identity.invitation import Invitation, SentInvitation
from domain.identity.login_code import LoginCode
from domain.identity.organization import Member, Membership, Organization, Project, Role
from domain.identity.organization_bootstrap import NewOrganization
from domain.identity.user import Claims, User
from domain.ids import ApiKeyId, AuditEntryId, InvitationId, OrganizationId, ProjectId, UserId
from domain.page import Page, PageRequest

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

    async def record_origins(self, meetings: Sequence["KeyOrigin"]) -> None:
        """Tells the audit log of each key that is met from an origin never seen with it.

        Of a key at most ORIGINS_MAX origins are told, by their instants; later ones are
        passed over, and so are keys that are gone. A repeated meeting is told once.
        """
        ...


class KeyUsage(Protocol):
    """Where the use of a key is noted.

    Contract of KeyUsage: tests/contracts/identity/test_key_use.py.
    """

    def record(self, key: ApiKeyId, at: datetime, origin: Origin) -> None:
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

    async def create_first(self, founding: NewOrganization) -> Membership:
        """Makes the organization with its OWNER and a first project, unless the user has one.

        Where the user has a membership already, nothing is made and their oldest is returned:
        calls at once for one user make one organization. Raises NotFound where the user is gone.
        """
        ...

    async def create(self, founding: NewOrganization, owned_max: int | None) -> None:
        """Makes another organization for its OWNER.

        Raises Forbidden where they own `owned_max` already, calls at once included; NotFound
        where they are gone.
        """
        ...


class Directory(Protocol):
    """What is there to be seen of organizations; who may see it is the use cases' business.

    Contract of Directory: tests/contracts/identity/test_directory.py.
    """

    async def organizations(self, user: UserId) -> Sequence[tuple[Organization, Role]]:
        """Those that the user belongs to, and as what; the newest membership first."""
        ...

    async def organization(self, organization: OrganizationId) -> Organization:
        """Raises NotFound."""
        ...

    async def members(self, organization: OrganizationId) -> Sequence[Member]:
        """Everybody, by the age of their membership, oldest first."""
        ...

    async def invitations(self, organization: OrganizationId) -> Sequence[SentInvitation]:
        """As stored, whatever their status, newest first."""
        ...

    async def invitations_to(self, email: str, now: datetime) -> Sequence[SentInvitation]:
        """Those to the address, in lower case, that are PENDING at `now`; newest first."""
        ...

    async def invitation(self, invitation: InvitationId) -> SentInvitation:
        """As stored. Raises NotFound."""
        ...

    async def projects(self, organization: OrganizationId) -> Sequence[Project]:
        """All of them, newest first."""
        ...

    async def keys(self, organization: OrganizationId) -> Sequence[ApiKey]:
        """All of them, revoked and expired ones included, newest first."""
        ...

    async def key(self, organization: OrganizationId, key: ApiKeyId) -> ApiKey:
        """Raises NotFound where the organization has no such key."""
        ...

    async def login_code(self, digest: bytes) -> LoginCode | None:
        """The code of this digest, expired ones included; None where it is unknown or used."""
        ...

    async def audit_log(
        self, organization: OrganizationId, window: PageRequest
    ) -> Page[AuditEntry]:
        """What happened in the organization, newest first. Positions: instant, id of the entry."""
        ...


class LockedOrganization(Protocol):
    """An organization while it is being changed: nobody else changes it meanwhile.

    Contract of LockedOrganization: tests/contracts/identity/test_administration.py.
    """

    @property
    def organization(self) -> Organization:
        """As it was when it was opened."""
        ...

    async def member(self, user: UserId) -> Member | None: ...

    async def owners(self) -> Sequence[UserId]: ...

    async def has_member(self, email: str) -> bool:
        """Whether a member has this address, given in lower case."""
        ...

    async def put_membership(self, membership: Membership) -> None:
        """Adds it, or gives the member its role. Raises NotFound where the user is gone."""
        ...

    async def remove_member(self, user: UserId, at: datetime) -> Sequence[ApiKeyId]:
        """Ends the membership, and revokes at `at` what the user's keys here still opened.

        Returns the keys that were revoked by it.
        """
        ...

    async def invitation(self, invitation: InvitationId) -> Invitation | None: ...

    async def invitations_to(self, email: str) -> Sequence[Invitation]:
        """Those to the address, in lower case, whose stored status is PENDING."""
        ...

    async def put_invitation(self, invitation: Invitation) -> None:
        """Adds it, or replaces its status."""
        ...

    async def rename(self, name: str) -> None: ...

    async def remove(self, at: datetime) -> None:
        """Removes the organization with all that is in it, for every reader from the commit on.

        The rows of its projects are removed later: see Removals.
        """
        ...

    async def project(self, project: ProjectId) -> Project | None: ...

    async def put_project(self, project: Project) -> None:
        """Adds it, or replaces name, description and retention.

        Raises Conflict where the name is taken.
        """
        ...

    async def remove_project(self, project: ProjectId, at: datetime) -> None:
        """Removes it, as `remove` does. Where it isn't this organization's, nothing happens."""
        ...

    async def budget(self, project: ProjectId) -> Decimal | None:
        """USD that its judges may cost in each calendar month, in UTC; None: any amount.

        None also where it isn't this organization's.
        """
        ...

    async def put_budget(self, project: ProjectId, usd: Decimal | None, at: datetime) -> None:
        """What was spent earlier in the month counts.

        Where the project isn't this organization's, nothing happens.
        """
        ...

    async def key(self, key: ApiKeyId) -> ApiKey | None: ...

    async def put_key(self, key: ApiKey) -> None:
        """Adds it, or moves its `revoked_at`. Raises NotFound where its maker is gone."""
        ...

    async def remove_key(self, key: ApiKeyId) -> None:
        """Where it isn't this organization's, nothing happens."""
        ...

    async def add_login_code(self, code: LoginCode) -> None: ...

    async def use_login_code(self, digest: bytes) -> bool:
        """Uses the code up; False where it was used, or never there."""
        ...

    async def record(self, entry: AuditEntry) -> None:
        """Tells the audit log; an entry is never changed or removed."""
        ...


class Administration(Protocol):
    """Changes to organizations.

    Contract of Administration: tests/contracts/identity/test_administration.py.
    """

    def lock(self, organization: OrganizationId) -> AbstractAsyncContextManager[LockedOrganization]:
        """The organization, for a block that changes it; one block at a time for each.

        What the block did is stored, all of it, once it is left; where it raises, none of it is.
        Entering raises NotFound where the organization is gone, and Unavailable.
        """
        ...


class RemovedProjects(Protocol):
    """Rows of projects that were removed. No read shows them.

    They are taken away in the background, a bounded number at a time.
    Contract of Removals: tests/contracts/identity/test_project_purge.py.
    """

    async def purge(self, now: datetime) -> int:
        """Takes away some rows of some removed project; how many. 0: nothing is left for now.

        Each call is a transaction or a few; a crash between two loses nothing. Login codes that
        expired go too.
        """
        ...
