"""Sessions of browsers, and their sign-ins that are under way, in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg
from asyncpg import Record

from adapters.postgres.database.pool import (
    Connection,
    Pool,
    identity_lookup,
    require_row,
    translate_errors,
)
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.identity import identity_rows as rows
from domain.errors import NotFound
from domain.identity.audit import AuditEntry
from domain.identity.browser_session import SESSIONS_PER_HOLDER_MAX, BrowserSession
from domain.identity.caller import User
from domain.identity.sign_in_attempt import SignInAttempt
from domain.ids import BrowserSessionId, UserId

INSERT_SESSION: Final = rows.BROWSER_SESSIONS.insert()
# Concurrent sign-ins of a holder wait for each other, and count each other's sessions.
LOCK_USER: Final = "SELECT 1 FROM users WHERE id = $1 FOR NO KEY UPDATE"
LOCK_KEY: Final = "SELECT 1 FROM api_keys WHERE id = $1 FOR NO KEY UPDATE"
DELETE_LEAST_USED_SESSIONS: Final = """
DELETE FROM browser_sessions WHERE id IN (
  SELECT id FROM browser_sessions WHERE user_id = $1 OR key_id = $2
  ORDER BY last_used_at DESC, id DESC OFFSET $3
)
"""
# Runs for every request of a browser that is signed in: one lookup in a unique index.
SELECT_SESSION_AND_USER: Final = f"""
SELECT {rows.BROWSER_SESSIONS.select("s")}, u.issuer, u.subject, u.email, u.display_name,
       u.created_at AS user_created_at, u.last_sign_in_at
FROM browser_sessions s LEFT JOIN users u ON u.id = s.user_id WHERE s.digest = $1
"""
MARK_SESSION_USED: Final = """
UPDATE browser_sessions SET last_used_at = $2 WHERE id = $1 AND last_used_at < $2
"""
SELECT_SESSIONS_OF_USER: Final = f"""
SELECT {rows.BROWSER_SESSIONS.select()} FROM browser_sessions WHERE user_id = $1
ORDER BY created_at DESC, id DESC
"""
DELETE_SESSION: Final = """
DELETE FROM browser_sessions WHERE id = $1 AND (user_id = $2 OR key_id = $3) RETURNING id
"""
INSERT_SIGN_IN_ATTEMPT: Final = rows.SIGN_IN_ATTEMPTS.insert()
TAKE_SIGN_IN_ATTEMPT: Final = f"""
DELETE FROM sign_in_attempts WHERE digest = $1 RETURNING {rows.SIGN_IN_ATTEMPTS.select()}
"""


@dataclass(frozen=True, slots=True)
class PostgresBrowserSessions:
    pool: Pool

    async def start(self, session: BrowserSession, entries: Sequence[AuditEntry]) -> None:
        holder = (session.user_id, session.key_id)
        try:
            async with (
                translate_errors(),
                within(self.pool, ALL_TENANTS).transaction() as connection,
            ):
                for sql, one in zip((LOCK_USER, LOCK_KEY), holder, strict=True):
                    if one is not None:
                        await connection.execute(sql, one)
                await connection.execute(
                    DELETE_LEAST_USED_SESSIONS, *holder, SESSIONS_PER_HOLDER_MAX - 1
                )
                await connection.execute(INSERT_SESSION, *rows.session_row(session))
                await _record(connection, entries)
        except asyncpg.ForeignKeyViolationError as gone:
            raise NotFound("User or key not found") from gone

    async def by_digest(self, digest: bytes) -> tuple[BrowserSession, User | None] | None:
        async with identity_lookup():
            row = await self.pool.fetchrow(SELECT_SESSION_AND_USER, digest)
        return None if row is None else (rows.session_from_row(row), _user_from_row(row))

    async def mark_used(self, session: BrowserSessionId, at: datetime) -> None:
        async with translate_errors():
            await self.pool.execute(MARK_SESSION_USED, session, at)

    async def by_user(self, user: UserId) -> Sequence[BrowserSession]:
        async with translate_errors():
            stored = await self.pool.fetch(SELECT_SESSIONS_OF_USER, user)
        return [rows.session_from_row(row) for row in stored]

    async def end(self, session: BrowserSession, entries: Sequence[AuditEntry]) -> None:
        values = (session.id, session.user_id, session.key_id)
        async with translate_errors(), within(self.pool, ALL_TENANTS).transaction() as connection:
            require_row(await connection.fetchrow(DELETE_SESSION, *values), "Session not found")
            await _record(connection, entries)


@dataclass(frozen=True, slots=True)
class PostgresSignInAttempts:
    pool: Pool

    async def add(self, attempt: SignInAttempt) -> None:
        async with translate_errors():
            await self.pool.execute(INSERT_SIGN_IN_ATTEMPT, *rows.sign_in_attempt_row(attempt))

    async def take(self, digest: bytes) -> SignInAttempt | None:
        async with translate_errors():
            row = await self.pool.fetchrow(TAKE_SIGN_IN_ATTEMPT, digest)
        return None if row is None else rows.sign_in_attempt_from_row(row)


async def _record(connection: Connection, entries: Sequence[AuditEntry]) -> None:
    for entry in entries:
        await connection.execute(rows.INSERT_AUDIT_ENTRY, *rows.audit_row(entry))


def _user_from_row(row: Record) -> User | None:
    """From a row of SELECT_SESSION_AND_USER."""
    if row["user_id"] is None:
        return None
    return User(
        id=UserId(row["user_id"]),
        issuer=row["issuer"],
        subject=row["subject"],
        email=row["email"],
        display_name=row["display_name"],
        created_at=row["user_created_at"],
        last_sign_in_at=row["last_sign_in_at"],
    )
