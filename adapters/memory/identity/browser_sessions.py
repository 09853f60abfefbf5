"""Sessions of browsers, and their sign-ins that are under way, in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from adapters.memory.store import MemoryStore, by_creation
from domain.errors import NotFound
from domain.identity.audit import AuditEntry
from domain.identity.browser_session import SESSIONS_PER_HOLDER_MAX, BrowserSession
from domain.identity.caller import User
from domain.identity.sign_in_attempt import SignInAttempt
from domain.ids import BrowserSessionId, UserId


@dataclass(frozen=True, slots=True)
class MemoryBrowserSessions:
    store: MemoryStore

    async def start(self, session: BrowserSession, entries: Sequence[AuditEntry]) -> None:
        if not self._has_holder(session):
            raise NotFound("User or key not found")
        others = [one for one in self._stored() if one.has_holder_of(session)]
        others.sort(key=lambda one: (one.last_used_at, one.id))
        for one in others[: max(0, len(others) - SESSIONS_PER_HOLDER_MAX + 1)]:
            del self.store.browser_sessions[one.id]
        self.store.browser_sessions[session.id] = session
        self._record(entries)

    async def by_digest(self, digest: bytes) -> tuple[BrowserSession, User | None] | None:
        for one in self._stored():
            if one.digest == digest:
                return one, None if one.user_id is None else self.store.users[one.user_id]
        return None

    async def mark_used(self, session: BrowserSessionId, at: datetime) -> None:
        known = self.store.browser_sessions.get(session)
        if known is not None:
            self.store.browser_sessions[session] = known.used(at)

    async def by_user(self, user: UserId) -> Sequence[BrowserSession]:
        ours = (one for one in self._stored() if one.user_id == user)
        return by_creation(ours, newest_first=True)

    async def end(self, session: BrowserSession, entries: Sequence[AuditEntry]) -> None:
        known = self.store.browser_sessions.get(session.id)
        if known is None or not known.has_holder_of(session):
            raise NotFound("Session not found")
        del self.store.browser_sessions[session.id]
        self._record(entries)

    def _record(self, entries: Sequence[AuditEntry]) -> None:
        for entry in entries:
            self.store.record(entry)

    def _stored(self) -> list[BrowserSession]:
        """The sessions without those whose user or key was deleted."""
        return [one for one in self.store.browser_sessions.values() if self._has_holder(one)]

    def _has_holder(self, session: BrowserSession) -> bool:
        return session.user_id in self.store.users or session.key_id in self.store.keys


@dataclass(frozen=True, slots=True)
class MemorySignInAttempts:
    store: MemoryStore

    async def add(self, attempt: SignInAttempt) -> None:
        self.store.sign_in_attempts[attempt.digest] = attempt

    async def take(self, digest: bytes) -> SignInAttempt | None:
        return self.store.sign_in_attempts.pop(digest, None)
