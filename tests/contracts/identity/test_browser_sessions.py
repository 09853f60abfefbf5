"""Contract of BrowserSessions, run against every adapter."""

import random
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from domain.errors import NotFound
from domain.identity.audit import AuditAction
from domain.identity.browser_session import SESSIONS_PER_HOLDER_MAX
from domain.ids import ApiKeyId, BrowserSessionId, UserId
from domain.page import PageRequest
from tests.support.builders.sessions import a_session
from tests.support.builders.values import NOON
from tests.support.fixtures.identities import Identity, new_entry, new_key
from tests.support.waiting import until_done

MINUTE = timedelta(minutes=1)


def an_entry(organization, session):
    return new_entry(
        organization, action=AuditAction.BROWSER_SESSION_STARTED, resource_id=str(session.id)
    )


async def logged(identity: Identity, organization) -> list[str]:
    page = await identity.directory.audit_log(organization, PageRequest(limit=10))
    return [one.resource_id for one in page.items if one.action.resource == "browser_session"]


async def test_session_of_a_user_is_found_with_the_user(identity: Identity) -> None:
    ada = await identity.person("ada@example.com", "Ada")
    session = a_session(user_id=ada.id)
    await identity.browser_sessions.start(session, [])
    assert await identity.browser_sessions.by_digest(session.digest) == (session, ada)
    assert await identity.browser_sessions.by_digest(random.randbytes(32)) is None


async def test_session_of_a_key_is_found_and_ends_with_the_key(identity: Identity) -> None:
    organization = await identity.organization()
    key = new_key(organization)
    await identity.add_key(key)
    session = a_session(key_id=key.id, key_digest=key.digest, address=None, agent=None)
    await identity.browser_sessions.start(session, [])
    assert await identity.browser_sessions.by_digest(session.digest) == (session, None)
    async with identity.administration.lock(organization) as opened:
        await opened.remove_key(key.id)
    assert await identity.browser_sessions.by_digest(session.digest) is None


async def test_start_and_end_write_their_entries_to_every_log(identity: Identity) -> None:
    ada, logs = await identity.person(), [await identity.organization() for _ in range(2)]
    session = a_session(user_id=ada.id)
    await identity.browser_sessions.start(session, [an_entry(one, session) for one in logs])
    assert [await logged(identity, one) for one in logs] == [[str(session.id)]] * 2
    await identity.browser_sessions.end(session, [an_entry(one, session) for one in logs])
    assert [await logged(identity, one) for one in logs] == [[str(session.id)] * 2] * 2
    assert await identity.browser_sessions.by_digest(session.digest) is None


@pytest.mark.parametrize(
    "unknown",
    [
        {"user_id": UserId(uuid.uuid4())},
        {"key_id": ApiKeyId(uuid.uuid4()), "key_digest": random.randbytes(32)},
    ],
)
async def test_session_of_an_unknown_holder_is_not_started(identity: Identity, unknown) -> None:
    organization, session = await identity.organization(), a_session(**unknown)
    with pytest.raises(NotFound):
        await identity.browser_sessions.start(session, [an_entry(organization, session)])
    assert await logged(identity, organization) == []


async def test_last_use_moves_forward_only(identity: Identity) -> None:
    ada = await identity.person()
    session = a_session(user_id=ada.id)
    await identity.browser_sessions.start(session, [])
    for at in (NOON + MINUTE, NOON):
        await identity.browser_sessions.mark_used(session.id, at)
    await identity.browser_sessions.mark_used(BrowserSessionId(uuid.uuid4()), NOON)
    found = await identity.browser_sessions.by_digest(session.digest)
    assert found == (replace(session, last_used_at=NOON + MINUTE), ada)


async def test_sessions_of_a_user_are_listed_newest_first(identity: Identity) -> None:
    ada, bob = await identity.person(), await identity.person()
    ours = [a_session(user_id=ada.id, created_at=NOON + n * MINUTE) for n in range(3)]
    for session in (*ours, a_session(user_id=bob.id)):
        await identity.browser_sessions.start(session, [])
    assert await identity.browser_sessions.by_user(ada.id) == ours[::-1]
    assert await identity.browser_sessions.by_user(UserId(uuid.uuid4())) == []


async def test_end_requires_the_holder(identity: Identity) -> None:
    ada, bob = await identity.person(), await identity.person()
    organization, session = await identity.organization(), a_session(user_id=ada.id)
    await identity.browser_sessions.start(session, [])
    foreign = replace(session, user_id=bob.id)
    for wrong in (foreign, replace(session, id=BrowserSessionId(uuid.uuid4()))):
        with pytest.raises(NotFound):
            await identity.browser_sessions.end(wrong, [an_entry(organization, session)])
    assert await logged(identity, organization) == []
    await identity.browser_sessions.end(session, [])
    with pytest.raises(NotFound):
        await identity.browser_sessions.end(session, [])


async def test_one_session_too_many_ends_the_one_that_was_used_longest_ago(
    identity: Identity,
) -> None:
    ada, bob = await identity.person(), await identity.person()
    others = a_session(user_id=bob.id, created_at=NOON - MINUTE)
    await identity.browser_sessions.start(others, [])
    started = [
        a_session(user_id=ada.id, created_at=NOON + n * MINUTE)
        for n in range(SESSIONS_PER_HOLDER_MAX)
    ]
    for session in started:
        await identity.browser_sessions.start(session, [])
    await identity.browser_sessions.mark_used(started[0].id, NOON + timedelta(days=1))
    last = a_session(user_id=ada.id, created_at=NOON + timedelta(days=1))
    await identity.browser_sessions.start(last, [])
    kept = {one.id for one in await identity.browser_sessions.by_user(ada.id)}
    assert kept == {one.id for one in (*started, last)} - {started[1].id}
    assert await identity.browser_sessions.by_user(bob.id) == [others]


async def test_ended_sessions_are_purged(identity: Identity) -> None:
    ada = await identity.person()
    end = NOON - timedelta(days=300)  # no other test has older rows
    old, new = a_session(user_id=ada.id, ends_at=end), a_session(user_id=ada.id)
    for session in (old, new):
        await identity.browser_sessions.start(session, [])
    await until_done(identity.removed_projects.purge, end)
    assert await identity.browser_sessions.by_digest(old.digest) is None
    assert await identity.browser_sessions.by_digest(new.digest) is not None
