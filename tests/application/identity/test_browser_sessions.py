"""Sessions of browsers: who may start one, what opens it, and when it ends."""

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.errors import Forbidden, NotFound, Unauthenticated
from domain.identity.api_key import ALL_SCOPES, Expiration, KeyLimits, Scope
from domain.identity.audit import Origin
from domain.identity.browser_session import (
    SessionLifetime,
    SessionPurpose,
    SignInMethod,
    challenge_hash,
)
from domain.identity.caller import Claims, SignInRules
from domain.identity.login_code import challenge_of
from domain.identity.organization import Role
from domain.ids import ProjectId

VERIFIER = "v" * 43
BIND = challenge_hash(challenge_of(VERIFIER))
BROWSER = Origin("192.0.2.9", "a browser")
MOMENT = timedelta(microseconds=1)
IDLE, TOTAL = SessionLifetime().idle, SessionLifetime().total


async def started(world, holder, method=SignInMethod.PROVIDER):
    return await world.do.identity.start_browser_session(holder, BROWSER, method, BIND)


async def opened(world, cookie, verifier=VERIFIER, origin=BROWSER, **ports):
    return await world.with_ports(**ports).identity.authenticate_session(cookie, verifier, origin)


async def key_of(world, ours, ada, scopes=ALL_SCOPES, **limits):
    return await world.do.identity.create_key(
        ada, ours, "browser", Expiration.NEVER, frozenset(scopes), limits=KeyLimits(**limits)
    )


async def test_cookie_and_verifier_open_the_session_together(world, ours, ada):
    session, cookie = await started(world, ada)
    found = await opened(world, cookie)
    assert (found.session, found.holder.user, found.holder.session_id) == (
        session,
        ada.user,
        session.id,
    )
    assert found.holder.origin == BROWSER
    for wrong in [(cookie, "w" * 43), (cookie, ""), (cookie[::-1], VERIFIER), ("", VERIFIER)]:
        assert await opened(world, *wrong) is None


async def test_each_sign_in_has_another_cookie_and_stores_only_hashes(world, ours, ada):
    (first, one), (second, two) = await started(world, ada), await started(world, ada)
    assert one != two
    assert first.id != second.id
    stored = repr(world.ports.identity.browser_sessions.store.browser_sessions)
    assert one not in stored
    assert VERIFIER not in stored


async def test_session_ends_when_idle_and_at_its_end(world, ours, ada):
    _, cookie = await started(world, ada)
    world.now += IDLE - MOMENT
    assert await opened(world, cookie) is not None  # which is a use
    world.now += IDLE
    assert await opened(world, cookie) is None
    _, cookie = await started(world, ada)
    for _ in range(int(TOTAL / IDLE * 2) - 1):
        world.now += IDLE / 2
        assert await opened(world, cookie) is not None
    world.now += IDLE / 2
    assert await opened(world, cookie) is None


async def test_use_is_recorded_by_the_minute(world, ours, ada):
    session, cookie = await started(world, ada)
    store = world.ports.identity.browser_sessions.store.browser_sessions
    world.forward(seconds=59)
    await opened(world, cookie)
    assert store[session.id] is session
    world.forward(seconds=1)
    await opened(world, cookie)
    assert store[session.id].last_used_at == world.now


async def test_session_by_a_pasted_token_ends_with_the_token(world, ours, ada):
    person = replace(ada, token_expires_at=world.now + timedelta(minutes=5))
    session, _ = await started(world, person, SignInMethod.TOKEN)
    assert session.ends_at == person.token_expires_at
    for method in (SignInMethod.PROVIDER, SignInMethod.DEVELOPMENT):
        session, _ = await started(world, person, method)
        assert session.ends_at == world.now + TOTAL


async def test_changed_rules_close_the_session(world, ours, ada):
    _, cookie = await started(world, ada)
    allowed, other = (
        SignInRules(email_domains=frozenset({one})) for one in ("example.com", "other.example")
    )
    assert await opened(world, cookie, sign_in_rules=allowed) is not None
    assert await opened(world, cookie, sign_in_rules=other) is None
    _, unverified = await started(world, replace(ada, email_verified=False))
    assert await opened(world, unverified, sign_in_rules=allowed) is None
    assert (await opened(world, unverified)).holder.email_verified is False


async def test_issuer_that_is_accepted_no_more_closes_its_sessions(world, ours, ada):
    _, cookie = await started(world, ada)
    _, secret = await key_of(world, ours, ada)
    _, of_key = await started(world, await admitted(world, secret), SignInMethod.KEY)
    same, other = (
        SignInRules(issuers=frozenset({one})) for one in (ada.user.issuer, "https://other.test")
    )
    assert await opened(world, cookie, sign_in_rules=same) is not None
    assert await opened(world, cookie, sign_in_rules=other) is None
    assert await opened(world, of_key, sign_in_rules=other) is not None


async def test_session_vouches_for_no_address_that_came_later(world, ours, ada):
    _, cookie = await started(world, ada)
    user = ada.user
    for email, is_verified in [("grace@example.com", False), (user.email.upper(), True)]:
        claims = Claims(
            issuer=user.issuer, subject=user.subject, email=email, email_verified=is_verified
        )
        await world.ports.identity.users.record_sign_in(claims, new=user.id, at=world.now)
        holder = (await opened(world, cookie)).holder
        assert (holder.user.email, holder.email_verified) == (email, is_verified)


async def test_key_signs_in_with_its_scopes_and_projects(world, ours, ada):
    mine = await world.do.identity.create_project(ada, ours, "mine", "")
    other = await world.do.identity.create_project(ada, ours, "other", "")
    _, secret = await key_of(world, ours, ada, [Scope.READ], project_ids=frozenset({mine.id}))
    key = await admitted(world, secret)
    _, cookie = await started(world, key, SignInMethod.KEY)
    found = await opened(world, cookie)
    reach = await world.do.identity.read_session_reach(found.holder, 100)
    assert [(one.id, role) for one, role in reach.organizations] == [(ours, None)]
    assert [one.id for one in reach.projects] == [mine.id]
    caller = await world.do.identity.resolve_project_of_key(key, mine.id, BROWSER)
    assert (caller.scopes, caller.role, caller.key_id) == ({Scope.READ}, None, key.id)
    with pytest.raises(Forbidden):
        await world.do.identity.resolve_project_of_key(key, other.id, BROWSER)
    with pytest.raises(NotFound):
        await world.do.identity.resolve_project_of_key(key, ProjectId(ours), BROWSER)


async def test_key_is_used_by_its_check_and_by_each_request_in_a_project(world, ours, ada):
    project = await world.do.identity.create_project(ada, ours, "mine", "")
    created, secret = await key_of(world, ours, ada)
    keys = world.ports.identity.directory.store.keys
    key = await admitted(world, secret)
    assert keys[created.id].last_used_at == world.now
    world.forward(seconds=3_600)
    await world.do.identity.resolve_project_of_key(key, project.id, BROWSER)
    assert keys[created.id].last_used_at == world.now


async def test_session_of_a_key_ends_with_the_key(world, ours, ada):
    key, secret = await key_of(world, ours, ada)
    _, cookie = await started(world, await admitted(world, secret), SignInMethod.KEY)
    assert (await opened(world, cookie)).holder.id == key.id
    expiring = replace(key, expires_at=world.now + timedelta(minutes=5))
    session, _ = await started(world, expiring, SignInMethod.KEY)
    assert session.ends_at == expiring.expires_at
    await world.do.identity.revoke_key(ada, ours, key.id)
    assert await opened(world, cookie) is None


async def admitted(world, secret, origin=BROWSER):
    return await world.do.identity.check_key(secret, origin, scopes=(Scope.READ,))


async def test_key_opens_a_session_from_its_networks_only(world, ours, ada):
    _, secret = await key_of(world, ours, ada, networks=("192.0.2.0/24",))
    elsewhere = Origin("198.51.100.1")
    with pytest.raises(Unauthenticated):
        await admitted(world, secret, elsewhere)
    _, cookie = await started(world, await admitted(world, secret), SignInMethod.KEY)
    assert await opened(world, cookie, origin=elsewhere) is None
    assert await opened(world, cookie) is not None


async def test_key_that_may_not_read_can_not_sign_in(world, ours, ada):
    _, secret = await key_of(world, ours, ada, [Scope.INGEST])
    with pytest.raises(Forbidden, match="read"):
        await admitted(world, secret)
    with pytest.raises(Unauthenticated):
        await admitted(world, "pp_" + "0" * 64)


async def test_sign_in_and_sign_out_are_in_the_log_of_each_organization(world, ours, ada):
    theirs = (await world.do.identity.create_organization(await world.person("eve"), "T")).id
    await world.join(theirs, ada, Role.MEMBER)
    session, cookie = await started(world, ada)
    await world.do.identity.end_browser_session(await opened(world, cookie))
    for organization in (ours, theirs):
        entries = [
            one for one in await world.log(organization) if one.action.resource == "browser_session"
        ]
        assert [one.action for one in entries] == [
            "browser_session.ended",
            "browser_session.started",
        ]
        assert {one.resource_id for one in entries} == {str(session.id)}
        assert {one.actor.user_id for one in entries} == {ada.user.id}
        assert {one.actor.origin for one in entries} == {BROWSER}
        assert entries[0].detail == {"method": "provider"}
    assert await opened(world, cookie) is None


async def test_person_lists_and_ends_their_own_sessions(world, ours, ada):
    eve = await world.person("eve")
    (first, one), (second, two) = await started(world, ada), await started(world, ada)
    (theirs, three) = await started(world, eve)
    await world.do.identity.start_browser_session(
        ada, BROWSER, SignInMethod.PROVIDER, BIND, SessionPurpose.CLI
    )
    mine = await world.do.identity.list_my_sessions(ada)
    assert [one.id for one in mine] == [second.id, first.id]
    await world.do.identity.end_my_session(ada, first.id)
    assert await opened(world, one) is None
    for unknown in (first.id, theirs.id):
        with pytest.raises(NotFound):
            await world.do.identity.end_my_session(ada, unknown)
    assert await opened(world, two) is not None
    assert await opened(world, three) is not None
    world.now += IDLE
    assert await world.do.identity.list_my_sessions(ada) == []
