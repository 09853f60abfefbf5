"""The ports of identity: authentication, organizations, and what changes them."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Protocol

from domain.errors import Unavailable
from domain.identity.api_key import ApiKey
from domain.identity.audit import ALL_ENTRIES, AuditEntry, AuditFilter, ChainHead, Origin
from domain.identity.browser_session import BrowserSession
from domain.identity.caller import Claims, User
from domain.identity.found_object import FoundObject
from domain.identity.invitation import Invitation, SentInvitation
from domain.identity.login_code import LoginCode
from domain.identity.organization import (
    Member,
    Membership,
    NewOrganization,
    Organization,
    OrganizationLimits,
    Project,
    Role,
)
from domain.identity.refusal import CountedRefusal, Refusal
from domain.identity.sign_in_attempt import AuthorizationRequest, SignInAttempt
from domain.ids import (
    ApiKeyId,
    AuditEntryId,
    BrowserSessionId,
    InvitationId,
    OrganizationId,
    ProjectId,
    UserId,
)
from domain.page import Page, PageRequest
from domain.tracing.analytics import Period
from domain.tracing.project_activity import ProjectActivity

USED_NETWORKS_MAX: Final = 100  # of one key in the audit log: a thief may use any number
LISTED_MAX: Final = 10_000  # keys or invitations, whose lists have no pages
OWNED_LIMIT_MESSAGE: Final = (
    "You own {} organizations already, which is as many as this service allows"
)


class Tokens(Protocol):
    """Verifies tokens of the identity provider.

    Contract of Tokens: tests/contracts/identity/test_tokens.py.
    """

    async def verify(self, token: str) -> Claims:
        """The claims of a token, once signature, issuer, audience and times are checked.

        Raises Unauthenticated, without a reason, since the sender may be an attacker; Unavailable
        if no key to check the signature can be loaded.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeyOrigin:
    """A key was used from an origin. `entry` is the id for a possible audit log entry."""

    key: ApiKeyId
    origin: Origin
    at: datetime
    entry: AuditEntryId


class ApiKeys(Protocol):
    """The keys of every organization.

    Contract of ApiKeys: tests/contracts/identity/test_api_keys.py.
    """

    async def by_digest(self, digest: bytes) -> ApiKey | None:
        """The key with this digest, also a revoked or expired one; None if there is none."""
        ...

    async def mark_used(self, uses: Mapping[ApiKeyId, datetime]) -> None:
        """Moves `last_used_at` of each key forward, never back. Ignores unknown keys."""
        ...

    async def record_origins(self, origins: Sequence[KeyOrigin]) -> None:
        """Writes to the audit log, and to the key, the first use from each network.

        At most USED_NETWORKS_MAX for each key, by their instants; later ones are skipped, as are
        unknown keys. Idempotent.
        """
        ...


class KeyUsage(Protocol):
    """Records the use of keys, in the background.

    Contract of KeyUsage: tests/contracts/identity/test_key_use.py.
    """

    def record(self, key: ApiKeyId, at: datetime, origin: Origin) -> None:
        """Moves `last_used_at` of the key to `at`, soon and never back.

        Writes `origin` to the audit log if its network is new for the key. Never waits and never
        raises: a record may be lost, but no request is delayed. May skip a record less than a
        minute after the last one with the same key and network.
        """
        ...


class Projects(Protocol):
    """The projects of every organization.

    Contract of Projects: tests/contracts/identity/test_projects.py.
    """

    async def by_name(self, organization: OrganizationId, name: str) -> Project | None:
        """The organization's project of this name. None without one, or without the organization.

        It may be some seconds old.
        """
        ...

    async def ensure(
        self,
        organization: OrganizationId,
        project: Project,
        entry: AuditEntry | None = None,
        projects_max: int | None = None,
    ) -> Project:
        """The organization's project of this name; stores and returns `project` if there is none.

        It is stored with the retention and the budget that the organization's limits give a new
        project, and `entry` is written to the audit log with it. Concurrent calls for one name, in
        any number of processes, get the same project. Raises Invalid if the organization has
        `projects_max` others already, NotFound if it is gone.
        """
        ...

    async def get(self, organization: OrganizationId, project: ProjectId) -> Project:
        """Raises NotFound if the organization has no such project."""
        ...


class Users(Protocol):
    """People who signed in. Contract of Users: tests/contracts/identity/test_users.py."""

    async def has_signed_in(self, claims: Claims) -> bool:
        """Whether there is a user of (`issuer`, `subject`)."""
        ...

    async def record_sign_in(self, claims: Claims, *, new: UserId, at: datetime) -> User:
        """The user of (`issuer`, `subject`), created with the id `new` at the first sign-in.

        The email follows the claims; the display name is set only while it is empty;
        `last_sign_in_at` moves to `at` if it is older than a minute. Concurrent calls create one
        user.
        """
        ...


class SignInProvider(Protocol):
    """The identity provider, for sign-ins of browsers.

    Contract of SignInProvider: tests/contracts/identity/test_sign_in_provider.py.
    """

    async def authorization_url(self, request: AuthorizationRequest) -> str:
        """The address of the sign-in page. Raises Unavailable if the provider doesn't answer."""
        ...

    async def claims(self, code: str, request: AuthorizationRequest) -> Claims:
        """The claims of the ID token that the provider gives for a code.

        They are verified, except for the nonce. Raises Unauthenticated if the provider refuses the
        code or its token isn't valid, Unavailable if it doesn't answer.
        """
        ...


class SignInAttempts(Protocol):
    """The sign-ins with the identity provider that are under way.

    Contract of SignInAttempts: tests/contracts/identity/test_sign_in_attempts.py.
    """

    async def add(self, attempt: SignInAttempt) -> None: ...

    async def take(self, digest: bytes) -> SignInAttempt | None:
        """Deletes and returns the attempt, also an expired one; None if it is unknown or taken.

        If calls are concurrent, exactly one returns the attempt.
        """
        ...


class BrowserSessions(Protocol):
    """The sessions of browsers.

    Contract of BrowserSessions: tests/contracts/identity/test_browser_sessions.py.
    """

    async def start(self, session: BrowserSession, entries: Sequence[AuditEntry]) -> None:
        """Stores a new session, and writes the entries to the audit log.

        If its user or key has SESSIONS_PER_HOLDER_MAX others, those that were used longest ago are
        deleted. Raises NotFound if the user or the key is gone.
        """
        ...

    async def by_digest(self, digest: bytes) -> tuple[BrowserSession, User | None] | None:
        """The session with this digest and its user, also if it ended; None if there is none."""
        ...

    async def mark_used(self, session: BrowserSessionId, at: datetime) -> None:
        """Moves `last_used_at` forward, never back. Ignores an unknown session."""
        ...

    async def by_user(self, user: UserId) -> Sequence[BrowserSession]:
        """All of the user that are stored, the newest first."""
        ...

    async def end(self, session: BrowserSession, entries: Sequence[AuditEntry]) -> None:
        """Deletes the session of this id and holder, and writes the entries to the audit log.

        Raises NotFound without such a session.
        """
        ...


class Organizations(Protocol):
    """Organizations and their memberships.

    Contract of Organizations: tests/contracts/identity/test_organizations.py.
    """

    async def memberships(self, user: UserId) -> Sequence[Membership]:
        """All memberships of the user, oldest first."""
        ...

    async def create_first(self, new: NewOrganization) -> Membership:
        """Creates the organization with its OWNER and a first project, if the user has none yet.

        If the user has a membership, creates nothing and returns the oldest one: concurrent calls
        for one user create one organization. Raises NotFound if the user is gone.
        """
        ...

    async def create(self, new: NewOrganization, owned_max: int | None) -> None:
        """Creates another organization for its OWNER.

        Raises Forbidden if the user owns `owned_max` already, concurrent calls included; NotFound
        if the user is gone.
        """
        ...


class Directory(Protocol):
    """Reads of organizations. Callers check who may read what.

    Contract of Directory: tests/contracts/identity/test_directory.py.
    """

    async def organizations(self, user: UserId) -> Sequence[tuple[Organization, Role]]:
        """The user's organizations and role in each; newest membership first."""
        ...

    async def organization(self, organization: OrganizationId) -> Organization:
        """Raises NotFound."""
        ...

    async def limits(self, organization: OrganizationId) -> OrganizationLimits:
        """Raises NotFound."""
        ...

    async def members(self, organization: OrganizationId) -> Sequence[Member]:
        """All members, oldest membership first."""
        ...

    async def invitations(self, organization: OrganizationId) -> Sequence[SentInvitation]:
        """As stored, with any status, newest first.

        At most LISTED_MAX: settled ones are left out first, the oldest before newer ones.
        """
        ...

    async def invitations_to(self, email: str, now: datetime) -> Sequence[SentInvitation]:
        """The invitations to the lower-case address that are PENDING at `now`; newest first.

        The newest LISTED_MAX, if there are more.
        """
        ...

    async def invitation(self, invitation: InvitationId) -> SentInvitation:
        """As stored. Raises NotFound."""
        ...

    async def projects(self, organization: OrganizationId) -> Sequence[Project]:
        """All of them, newest first."""
        ...

    async def keys(self, organization: OrganizationId) -> Sequence[ApiKey]:
        """Revoked and expired ones included, newest first.

        At most LISTED_MAX: revoked ones are left out first, the oldest before newer ones.
        """
        ...

    async def key(self, organization: OrganizationId, key: ApiKeyId) -> ApiKey:
        """Raises NotFound if the organization has no such key."""
        ...

    async def login_code(self, digest: bytes) -> LoginCode | None:
        """The code with this digest, also an expired one; None if it is unknown or used."""
        ...

    async def audit_log(
        self,
        organization: OrganizationId,
        window: PageRequest,
        matching: AuditFilter = ALL_ENTRIES,
    ) -> Page[AuditEntry]:
        """The entries that match, newest first. Positions: instant, id of the entry."""
        ...

    async def audit_entries(
        self, organization: OrganizationId, after: int, limit: int
    ) -> Sequence[AuditEntry]:
        """At most `limit` entries with numbers above `after`, in the order of their numbers.

        Entries are numbered as their transactions commit, from 1 and without a gap: a reader
        that has read up to a number reads all later ones.
        """
        ...

    async def audited_organizations(self) -> Sequence[OrganizationId]:
        """The organizations that have an audit log, removed ones included, ascending."""
        ...

    async def audit_head(self, organization: OrganizationId) -> ChainHead:
        """The number and hash of the last entry; EMPTY_CHAIN before the first one."""
        ...


class ObjectIndex(Protocol):
    """Finds objects. Contract of ObjectIndex: tests/contracts/identity/test_object_index.py."""

    async def find(self, projects: Sequence[ProjectId], text: str) -> Sequence[FoundObject]:
        """The objects with this id in these projects, at most FOUND_MAX, by kind and project.

        A session has exactly this text as its id, all other objects the UUID that the text is, with
        or without hyphens. Data that is being erased isn't found. Raises Unavailable.
        """
        ...


class ProjectActivities(Protocol):
    """The activity in projects.

    Contract of ProjectActivities: tests/contracts/identity/test_project_activity.py.
    """

    async def read(
        self, projects: Sequence[ProjectId], period: Period
    ) -> Mapping[ProjectId, ProjectActivity]:
        """The activity of each project, also of one without traces, as `project_activity`.

        `period` is a result of `activity_period`. At most ACTIVITY_PROJECTS_MAX projects. As in
        analytics, sums include data that is being erased; `last_trace_at` doesn't. Raises
        Unavailable.
        """
        ...


class LockedOrganization(Protocol):
    """An organization under its lock: no other transaction changes it meanwhile.

    Contract of LockedOrganization: tests/contracts/identity/test_administration.py.
    """

    @property
    def organization(self) -> Organization:
        """As it was when the lock was acquired."""
        ...

    async def member(self, user: UserId) -> Member | None: ...

    async def owners(self) -> Sequence[UserId]: ...

    async def has_member(self, email: str) -> bool:
        """Whether a member has this lower-case address."""
        ...

    async def put_membership(self, membership: Membership) -> None:
        """Adds it, or updates the role. Raises NotFound if the user is gone."""
        ...

    async def remove_member(self, user: UserId, at: datetime) -> Sequence[ApiKeyId]:
        """Ends the membership, and revokes the user's active keys of this organization at `at`.

        Returns the keys that were revoked.
        """
        ...

    async def invitation(self, invitation: InvitationId) -> Invitation | None: ...

    async def invitations_to(self, email: str) -> Sequence[Invitation]:
        """The invitations to the lower-case address whose stored status is PENDING."""
        ...

    async def invitations_by(self, user: UserId) -> Sequence[Invitation]:
        """The invitations that the user sent and whose stored status is PENDING."""
        ...

    async def put_invitation(self, invitation: Invitation) -> None:
        """Adds it, or updates its status."""
        ...

    async def rename(self, name: str) -> None: ...

    async def allow_public_links(self, *, allowed: bool) -> int:
        """Whether members may make public links. If not, deletes all there are; how many."""
        ...

    async def limits(self) -> OrganizationLimits: ...

    async def put_limits(self, limits: OrganizationLimits, at: datetime) -> None:
        """Sets them from the month of `at` on; what was spent earlier in the month counts."""
        ...

    async def remove(self, at: datetime) -> None:
        """Hides the organization and all that is in it from all readers, from the commit on.

        The rows of its projects are deleted later: see RemovedProjects.
        """
        ...

    async def project(self, project: ProjectId) -> Project | None: ...

    async def count_projects(self) -> int:
        """Until the edit ends, `Projects.ensure` stores no project."""
        ...

    async def put_project(self, project: Project) -> None:
        """Adds it, or updates name, description and retention.

        Raises Conflict if the name is taken.
        """
        ...

    async def remove_project(self, project: ProjectId, at: datetime) -> None:
        """Removes it, as `remove` does. Does nothing if it isn't of this organization."""
        ...

    async def budget(self, project: ProjectId) -> Decimal | None:
        """USD that its judges may cost in each calendar month, in UTC; None: no limit.

        None also if it isn't of this organization.
        """
        ...

    async def put_budget(self, project: ProjectId, usd: Decimal | None, at: datetime) -> None:
        """Sets the budget; what was spent earlier in the month counts.

        Does nothing if the project isn't of this organization.
        """
        ...

    async def key(self, key: ApiKeyId) -> ApiKey | None: ...

    async def count_active_keys(self, now: datetime) -> int:
        """The number of keys that are neither revoked nor expired."""
        ...

    async def put_key(self, key: ApiKey) -> None:
        """Adds it, or updates its `revoked_at`. Raises NotFound if its creator is gone."""
        ...

    async def remove_key(self, key: ApiKeyId) -> None:
        """Does nothing if it isn't of this organization."""
        ...

    async def add_login_code(self, code: LoginCode) -> None: ...

    async def use_login_code(self, digest: bytes) -> bool:
        """Uses up the code; False if it was used or never existed."""
        ...

    async def record(self, entry: AuditEntry) -> None:
        """Appends to the audit log; entries are never changed or removed."""
        ...


class Administration(Protocol):
    """Changes to organizations.

    Contract of Administration: tests/contracts/identity/test_administration.py.
    """

    def lock(self, organization: OrganizationId) -> AbstractAsyncContextManager[LockedOrganization]:
        """The organization, for a block that changes it; one block at a time for each.

        Commits all changes when the block is left, and none if it raises. Entering raises NotFound
        if the organization is gone, and Unavailable.
        """
        ...


class Refusals(Protocol):
    """The counts of refused requests, of every organization.

    Contract of Refusals: tests/contracts/identity/test_refusals.py. All raise Unavailable.
    """

    async def add(self, counts: Mapping[Refusal, int]) -> None:
        """Adds the counts to those that are stored, and deletes some that are too old.

        An organization has REFUSALS_PER_HOUR_MAX and one for each status in an hour: what exceeds
        it is counted as `with_others`.
        """
        ...

    async def latest(
        self, organization: OrganizationId | None, limit: int
    ) -> Sequence[CountedRefusal]:
        """The newest hours first, in an hour the most frequent; None: of no organization."""
        ...


class RefusalLog(Protocol):
    """Counts refused requests, in the background.

    Contract of RefusalLog: tests/contracts/identity/test_refusals.py.
    """

    def record(self, refusal: Refusal) -> None:
        """Counts it, soon. Never waits and never raises: a count may be lost."""
        ...


class PurgePostponed(Unavailable):
    """The rows of one removed project can't be deleted at the moment. Others can be."""


class RemovedProjects(Protocol):
    """The rows of removed projects, which no read returns. They are deleted in the background.

    Contract of RemovedProjects: tests/contracts/identity/test_project_purge.py.
    """

    async def purge(self, now: datetime) -> int:
        """Deletes some rows of a removed project, or what expired; 0 if none is due.

        Login codes, sign-ins that are under way, sessions of browsers, download tickets and public
        links to traces expire.

        Each call is a few transactions at most; a crash between two loses nothing. If a project
        fails, it is put off, for longer each time, and logged; then PurgePostponed is raised, and
        the next call goes on with the others.
        """
        ...
