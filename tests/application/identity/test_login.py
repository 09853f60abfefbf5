"""Sign-in of the command line: a code, exchanged for a key by the program."""

import uuid
from datetime import timedelta

import pytest

from domain.errors import Conflict, Forbidden, NotFound, Unauthenticated
from domain.identity.api_key import ALL_SCOPES, Expiration, key_digest
from domain.identity.audit import Origin
from domain.identity.login_code import challenge_of
from domain.identity.organization import Role
from domain.ids import ProjectId
from tests.support.waiting import in_time

VERIFIER = "v" * 43
TERMINAL = Origin("192.0.2.9", "pandaprobe-cli/1")
MOMENT = timedelta(microseconds=1)


@pytest.fixture
async def bob(world, ours):
    """A MEMBER: every member may sign a command line in."""
    return await world.member(ours, "bob")


@pytest.fixture
async def bot(world, ours, ada):
    return await world.do.identity.create_project(ada, ours, "bot", "")


@pytest.fixture
async def code(world, ours, bob, bot):
    return await world.do.identity.issue_login_code(
        bob, ours, bot.id, challenge_of(VERIFIER), "laptop"
    )


async def keys(world, ours, ada):
    return await world.do.identity.directory.keys(ours)


async def test_code_is_exchanged_for_a_key_of_its_user(world, ours, ada, bob, bot, code):
    world.forward(seconds=60)
    key, secret, project = await world.do.identity.exchange_login_code(code, VERIFIER, TERMINAL)
    assert project == bot
    assert (key.organization_id, key.created_by, key.scopes) == (ours, bob.user.id, ALL_SCOPES)
    assert key.name == "PandaProbe CLI laptop 2026-03-01"
    assert (key.created_at, key.expires_at) == (world.now, world.now + timedelta(days=90))
    assert (key.prefix, key.digest) == (secret[:10], key_digest(secret))
    assert await keys(world, ours, ada) == [key]
    caller = await world.do.identity.authenticate_key(secret, "bot", TERMINAL)
    assert (caller.key_id, caller.project_id) == (key.id, bot.id)


async def test_exchange_beyond_the_maximum_of_keys_leaves_the_code(world, ours, ada, code):
    await world.do.identity.create_key(ada, ours, "k", Expiration.NEVER, ALL_SCOPES)
    with pytest.raises(Conflict):
        await world.with_ports(active_keys_max=1).identity.exchange_login_code(
            code, VERIFIER, TERMINAL
        )
    await world.with_ports(active_keys_max=2).identity.exchange_login_code(code, VERIFIER, TERMINAL)


async def test_issuing_login_code_creates_no_key(world, ours, ada, code):
    assert await keys(world, ours, ada) == []
    assert len(code) == 43


async def test_only_the_code_s_digest_is_stored(world, code):
    assert code not in repr(world.ports.identity.directory.store)


async def test_login_code_is_exchanged_only_once(world, ours, ada, code):
    await world.do.identity.exchange_login_code(code, VERIFIER, TERMINAL)
    for verifier in (VERIFIER, "wrong"):
        with pytest.raises(Unauthenticated):
            await world.do.identity.exchange_login_code(code, verifier, TERMINAL)
    assert len(await keys(world, ours, ada)) == 1


async def test_wrong_verifier_does_not_use_up_the_code(world, ours, ada, code):
    for wrong in ("", "w" * 43, challenge_of(VERIFIER), VERIFIER + "=", VERIFIER[:-1]) * 3:
        with pytest.raises(Unauthenticated):
            await world.do.identity.exchange_login_code(code, wrong, TERMINAL)
    assert await keys(world, ours, ada) == []
    await world.do.identity.exchange_login_code(code, VERIFIER, TERMINAL)


async def test_login_code_expires_to_the_microsecond(world, ours, ada, code):
    world.forward(seconds=120)
    with pytest.raises(Unauthenticated):
        await world.do.identity.exchange_login_code(code, VERIFIER, TERMINAL)
    assert await keys(world, ours, ada) == []
    world.now -= MOMENT
    await world.do.identity.exchange_login_code(code, VERIFIER, TERMINAL)


async def test_refusals_have_one_text(world, ours, bob, bot, code):
    reported = []
    used = await world.do.identity.issue_login_code(bob, ours, bot.id, challenge_of(VERIFIER), "x")
    await world.do.identity.exchange_login_code(used, VERIFIER, TERMINAL)
    for one, verifier in ((code, "wrong"), ("unknown", VERIFIER), ("\ud800", "\0"), (used, "")):
        with pytest.raises(Unauthenticated) as refused:
            await world.do.identity.exchange_login_code(one, verifier, TERMINAL)
        reported.append(refused.value.message)
    world.forward(minutes=3)
    with pytest.raises(Unauthenticated) as refused:
        await world.do.identity.exchange_login_code(code, VERIFIER, TERMINAL)
    assert {*reported, refused.value.message} == {reported[0]}


async def test_login_code_of_removed_member_is_refused(world, ours, ada, bob, code):
    await world.do.identity.remove_member(ada, ours, bob.user.id)
    with pytest.raises(Forbidden):
        await world.do.identity.exchange_login_code(code, VERIFIER, TERMINAL)
    assert await keys(world, ours, ada) == []
    with pytest.raises(Unauthenticated):  # the verifier is looked at first
        await world.do.identity.exchange_login_code(code, "wrong", TERMINAL)


async def test_login_code_for_deleted_project_is_refused(world, ours, ada, bot, code):
    await world.do.identity.delete_project(ada, ours, bot.id)
    with pytest.raises((Forbidden, Unauthenticated)):
        await world.do.identity.exchange_login_code(code, VERIFIER, TERMINAL)
    assert await keys(world, ours, ada) == []


async def test_login_code_stays_valid_after_role_change(world, ours, ada, bob, code):
    await world.do.identity.change_role(ada, ours, bob.user.id, Role.ADMIN)
    key, _, _ = await world.do.identity.exchange_login_code(code, VERIFIER, TERMINAL)
    assert key.created_by == bob.user.id


async def test_codes_of_one_user_are_independent(world, ours, ada, bob, bot):
    codes = [
        await world.do.identity.issue_login_code(
            bob, ours, bot.id, challenge_of(f"v{n}"), f"host {n}"
        )
        for n in range(3)
    ]
    assert len(set(codes)) == 3
    with pytest.raises(Unauthenticated):
        await world.do.identity.exchange_login_code(codes[0], "v1", TERMINAL)
    for n in (2, 0, 1):
        await world.do.identity.exchange_login_code(codes[n], f"v{n}", TERMINAL)
    assert {one.name for one in await keys(world, ours, ada)} == {
        f"PandaProbe CLI host {n} 2026-03-01" for n in range(3)
    }


# --- issuing -------------------------------------------------------------------------------------


async def test_membership_is_checked_before_the_project(world, ours, bot):
    stranger = await world.person("stranger")
    for project in (bot.id, ProjectId(uuid.uuid4())):
        with pytest.raises(Forbidden):
            await world.do.identity.issue_login_code(stranger, ours, project, "c", "x")


async def test_outsider_does_not_lock_the_organization(world, ours, bot):
    """An outsider who holds the lock would delay the members."""
    eve = await world.person("eve")
    async with in_time(), world.ports.identity.administration.lock(ours):
        with pytest.raises(Forbidden):
            await world.do.identity.issue_login_code(
                eve, ours, bot.id, challenge_of(VERIFIER), "laptop"
            )


async def test_login_code_for_project_of_another_organization_is_not_found(world, ours, bob, bot):
    other = await world.person("other")
    theirs = (await world.do.identity.create_organization(other, "Theirs")).id
    for who, organization, project in (
        (other, theirs, bot.id),
        (bob, ours, await world.project(theirs)),
        (bob, ours, ProjectId(uuid.uuid4())),
    ):
        before = len(await world.log(organization))
        with pytest.raises(NotFound):
            await world.do.identity.issue_login_code(who, organization, project, "c", "x")
        assert len(await world.log(organization)) == before


async def test_long_label_is_truncated_in_the_key_name(world, ours, bob, bot):
    code = await world.do.identity.issue_login_code(
        bob, ours, bot.id, challenge_of(VERIFIER), "x" * 255
    )
    key, _, _ = await world.do.identity.exchange_login_code(code, VERIFIER, TERMINAL)
    assert key.name == ("PandaProbe CLI " + "x" * 255)[:255]
