"""Sign-in of browsers: starting, recognizing, listing and ending their sessions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from application.identity.authenticate import ignore_key
from application.identity.ports import (
    ApiKeys,
    BrowserSessions,
    Directory,
    KeyUsage,
    Organizations,
    Projects,
)
from application.identity.projects import PROJECT_NOT_FOUND
from application.ports import Clock, NewId, RandomBytes
from domain.errors import NotFound, Unauthenticated
from domain.identity.api_key import UNKNOWN_KEY, ApiKey, Scope, key_digest
from domain.identity.audit import Actor, AuditAction, AuditEntry, Origin
from domain.identity.browser_session import (
    CLI_SESSION_LIFETIME,
    COOKIE_BYTES,
    BrowserSession,
    SessionLifetime,
    SessionPurpose,
    SignedIn,
    SignInMethod,
    cookie_digest,
)
from domain.identity.caller import Caller, Person, SignInRules, User
from domain.identity.login_code import format_code
from domain.identity.organization import Organization, Project, Role
from domain.ids import AuditEntryId, BrowserSessionId, OrganizationId, ProjectId

SESSION_NOT_FOUND = "Session not found"


@dataclass(frozen=True, slots=True)
class SessionAudit:
    """Makes the entries about a session: one in the log of each organization that it opens."""

    organizations: Organizations
    clock: Clock
    new_id: NewId

    async def entries(
        self,
        action: AuditAction,
        session: BrowserSession,
        holder: Person | ApiKey,
        origin: Origin,
    ) -> Sequence[AuditEntry]:
        if isinstance(holder, ApiKey):
            actor = Actor(key_id=holder.id, name=holder.prefix, origin=origin)
            opened = [holder.organization_id]
        else:
            actor = replace(holder.actor, origin=origin)
            memberships = await self.organizations.memberships(holder.user.id)
            opened = sorted(one.organization_id for one in memberships)
        return [self._entry(one, action, session, actor) for one in opened]

    def _entry(
        self,
        organization: OrganizationId,
        action: AuditAction,
        session: BrowserSession,
        actor: Actor,
    ) -> AuditEntry:
        return AuditEntry(
            id=AuditEntryId(self.new_id()),
            organization_id=organization,
            at=self.clock(),
            actor=actor,
            action=action,
            resource_id=str(session.id),
            detail={"method": session.method},
        )


@dataclass(frozen=True, slots=True)
class CheckKey:
    """Returns the key with this secret, if it may be used from here. The use is recorded."""

    keys: ApiKeys
    key_usage: KeyUsage
    clock: Clock

    async def __call__(
        self,
        secret: str,
        origin: Origin,
        on_known: Callable[[ApiKey], object] = ignore_key,
        *,
        scopes: Sequence[Scope] = (),
    ) -> ApiKey:
        """Raises Unauthenticated, Forbidden unless the key has all `scopes`, Unavailable.

        `on_known` is called as by AuthenticateKey.
        """
        now, key = self.clock(), await self.keys.by_digest(key_digest(secret))
        if key is None:
            raise Unauthenticated(UNKNOWN_KEY)
        on_known(key)
        key.check_active(now)
        key.limits.check_address(origin.address)
        self.key_usage.record(key.id, now, origin)
        key.check_scopes(*scopes)
        return key


@dataclass(frozen=True, slots=True)
class StartBrowserSession:
    """Starts a session for a person or a key that has proved who it is."""

    sessions: BrowserSessions
    audit: SessionAudit
    lifetime: SessionLifetime
    random: RandomBytes

    async def __call__(
        self,
        holder: Person | ApiKey,
        origin: Origin,
        method: SignInMethod,
        verifier_hash: bytes,
        purpose: SessionPurpose = SessionPurpose.DASHBOARD,
    ) -> tuple[BrowserSession, str]:
        """The session and the text of its cookie. Raises Unauthenticated, Unavailable."""
        cookie = format_code(self.random(COOKIE_BYTES))
        session = self._session(holder, origin, method, verifier_hash, cookie_digest(cookie))
        if purpose is SessionPurpose.CLI:
            ends_at = min(session.ends_at, session.created_at + CLI_SESSION_LIFETIME)
            session = replace(session, purpose=purpose, ends_at=ends_at)
        entries = await self.audit.entries(
            AuditAction.BROWSER_SESSION_STARTED, session, holder, origin
        )
        try:
            await self.sessions.start(session, entries)
        except NotFound as gone:  # the user or the key was deleted meanwhile
            raise Unauthenticated(str(gone)) from gone
        return session, cookie

    def _session(
        self,
        holder: Person | ApiKey,
        origin: Origin,
        method: SignInMethod,
        verifier_hash: bytes,
        digest: bytes,
    ) -> BrowserSession:
        now = self.audit.clock()
        session = BrowserSession(
            id=BrowserSessionId(self.audit.new_id()),
            digest=digest,
            verifier_hash=verifier_hash,
            method=method,
            created_at=now,
            last_used_at=now,
            ends_at=now + self.lifetime.total,
            address=origin.address,
            agent=origin.agent,
        )
        if isinstance(holder, ApiKey):
            ends_at = _earlier(session.ends_at, holder.expires_at)
            return replace(session, key_id=holder.id, key_digest=holder.digest, ends_at=ends_at)
        if method is SignInMethod.TOKEN:
            session = replace(session, ends_at=_earlier(session.ends_at, holder.token_expires_at))
        verified = holder.user.email if holder.email_verified else None
        return replace(session, user_id=holder.user.id, verified_email=verified)


def _earlier(one: datetime, other: datetime | None) -> datetime:
    return one if other is None else min(one, other)


@dataclass(frozen=True, slots=True)
class AuthenticateSession:
    """Recognizes a session by its cookie and its verifier.

    Its key, or the issuer and the address of its user, is checked each time: a key may be revoked,
    and the rules of this service may change.
    """

    sessions: BrowserSessions
    keys: ApiKeys
    rules: SignInRules
    lifetime: SessionLifetime
    clock: Clock

    async def __call__(
        self,
        cookie: str,
        verifier: str,
        origin: Origin,
        purpose: SessionPurpose = SessionPurpose.DASHBOARD,
    ) -> SignedIn | None:
        """None if they open no session for this purpose. Raises Unavailable."""
        found = await self.sessions.by_digest(cookie_digest(cookie))
        if found is None:
            return None
        (session, user), now = found, self.clock()
        if session.purpose is not purpose or not session.is_verified_by(verifier):
            return None
        if not session.is_open(now, self.lifetime):
            return None
        holder = await self._holder(session, user, origin)
        if holder is None:
            return None
        if session.is_use_due(now):
            await self.sessions.mark_used(session.id, now)
            session = session.used(now)
        return SignedIn(session, holder, origin)

    async def _holder(
        self, session: BrowserSession, user: User | None, origin: Origin
    ) -> Person | ApiKey | None:
        if user is not None:
            is_verified = session.has_verified(user.email)
            if not (
                self.rules.allows_issuer(user.issuer)
                and self.rules.allows_address(user.email, is_verified=is_verified)
            ):
                return None
            return Person(user, is_verified, origin, session_id=session.id)
        key = None if session.key_digest is None else await self.keys.by_digest(session.key_digest)
        if key is None:
            return None
        try:
            key.check_active(self.clock())
            key.limits.check_address(origin.address)
        except Unauthenticated:
            return None
        return key


@dataclass(frozen=True, slots=True)
class ResolveProjectOfKey:
    """The caller for a browser that is signed in with a key, in the project that it names."""

    projects: Projects
    key_usage: KeyUsage
    clock: Clock

    async def __call__(self, key: ApiKey, project: ProjectId, origin: Origin) -> Caller:
        """Raises NotFound, Forbidden if the key may not use the project, Unavailable."""
        try:
            found = await self.projects.get(key.organization_id, project)
        except NotFound as missing:
            raise NotFound(PROJECT_NOT_FOUND) from missing
        key.limits.check_project(found.id)
        self.key_usage.record(key.id, self.clock(), origin)
        return Caller(
            organization_id=key.organization_id,
            project_id=found.id,
            scopes=key.scopes,
            key_id=key.id,
            name=key.prefix,
            origin=origin,
        )


@dataclass(frozen=True, slots=True)
class SessionReach:
    """What a session or credential can open: organizations, with a person's role, and projects."""

    organizations: Sequence[tuple[Organization, Role | None]]
    projects: Sequence[Project]


async def session_reach(
    directory: Directory, holder: Person | ApiKey, most: int | None = None
) -> SessionReach:
    """At most `most` organizations, and all of their projects. Raises Unavailable.

    A key that may not read doesn't learn of any project.
    """
    organizations: Sequence[tuple[Organization, Role | None]]
    if isinstance(holder, ApiKey):
        organizations = [(await directory.organization(holder.organization_id), None)]
        if Scope.READ not in holder.scopes:
            return SessionReach(organizations, ())
    else:
        organizations = (await directory.organizations(holder.user.id))[:most]
    projects = [
        project
        for organization, _ in organizations
        for project in await directory.projects(organization.id)
    ]
    if isinstance(holder, ApiKey) and (allowed := holder.limits.project_ids) is not None:
        projects = [one for one in projects if one.id in allowed]
    return SessionReach(organizations, projects)


@dataclass(frozen=True, slots=True)
class ReadSessionReach:
    directory: Directory

    async def __call__(self, holder: Person | ApiKey, most: int) -> SessionReach:
        """As `session_reach`."""
        return await session_reach(self.directory, holder, most)


@dataclass(frozen=True, slots=True)
class ListMySessions:
    sessions: BrowserSessions
    lifetime: SessionLifetime
    clock: Clock

    async def __call__(self, person: Person) -> Sequence[BrowserSession]:
        """The open sessions of the dashboard, the newest first. Raises Unavailable."""
        stored, now = await self.sessions.by_user(person.user.id), self.clock()
        return [
            one
            for one in stored
            if one.purpose is SessionPurpose.DASHBOARD and one.is_open(now, self.lifetime)
        ]


@dataclass(frozen=True, slots=True)
class EndBrowserSession:
    """Signs a browser out."""

    sessions: BrowserSessions
    audit: SessionAudit

    async def __call__(self, signed_in: SignedIn) -> None:
        """Raises NotFound if it was ended meanwhile, Unavailable."""
        session = signed_in.session
        entries = await self.audit.entries(
            AuditAction.BROWSER_SESSION_ENDED, session, signed_in.holder, signed_in.origin
        )
        await self.sessions.end(session, entries)


@dataclass(frozen=True, slots=True)
class EndMySession:
    """Ends a session of the person, in this or in another browser."""

    sessions: BrowserSessions
    audit: SessionAudit

    async def __call__(self, person: Person, session: BrowserSessionId) -> None:
        """Raises NotFound if the person has no such session, Unavailable."""
        for one in await self.sessions.by_user(person.user.id):
            if one.id == session:
                entries = await self.audit.entries(
                    AuditAction.BROWSER_SESSION_ENDED, one, person, person.origin
                )
                await self.sessions.end(one, entries)
                return
        raise NotFound(SESSION_NOT_FOUND)
