"""Use cases run concurrently over every backend: one wins, the others fail, the state agrees.

Part of the contracts of Administration, Organizations, Projects and ApiKeys.
"""

import asyncio
import random
from collections.abc import Awaitable
from typing import Any

import pytest

from adapters.memory.identity.identity import MemoryTokens
from adapters.postgres.database.pool import Pool
from application.identity.ports import KeyOrigin
from domain.errors import Conflict, Failure, Forbidden, Unauthenticated
from domain.identity.api_key import ALL_SCOPES, ApiKey, Expiration
from domain.identity.audit import UNKNOWN_ORIGIN, AuditAction, Origin
from domain.identity.caller import Claims, Person
from domain.identity.invitation import InvitationStatus
from domain.identity.login_code import challenge_of
from domain.identity.organization import Role
from domain.ids import AuditEntryId
from tests.support.builders.values import at
from tests.support.fixtures.identities import new_key, new_project, warm
from tests.support.fixtures.in_memory_app import World

# Rounds of each race, since the winner is random; `make test-all` runs more.
ROUNDS = [0, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in range(1, 6))]
AT_ONCE = 10
KEYS = 300
VERIFIER = "v" * 43

pytestmark = pytest.mark.parametrize("turn", ROUNDS)


@pytest.fixture
async def open_connections(adapter: Pool | None) -> None:
    if adapter is not None:
        await warm(adapter)


@pytest.fixture
async def ada(world, open_connections):
    return await world.person("ada")


@pytest.fixture
async def ours(world, ada):
    """An organization owned by Ada."""
    return (await world.do.identity.create_organization(ada, "Ours")).id


async def at_once(*calls: Awaitable[Any]) -> list[Any]:
    """Returns the result of each call, or the type of its Failure; raises any other exception."""
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    for one in outcomes:
        if isinstance(one, BaseException) and not isinstance(one, Failure):
            raise one
    return [type(one) if isinstance(one, Failure) else one for one in outcomes]


async def count_entries(world: World, organization, action: AuditAction) -> int:
    return sum(one.action is action for one in await world.log(organization))


# --- people --------------------------------------------------------------------------------------


async def test_concurrent_first_sign_ins_create_one_of_each(world, open_connections, turn):
    claims = Claims(issuer="test", subject=random.randbytes(8).hex(), email="ada@example.com")
    do = world.with_ports(tokens=MemoryTokens({"hers": claims}))

    async def sign_in():
        person = await do.identity.authenticate_token("hers", UNKNOWN_ORIGIN)
        return person.user.id, await do.identity.resolve_membership(person, None)

    [(user, membership), *others] = await at_once(*(sign_in() for _ in range(AT_ONCE)))
    assert set(others) == {(user, membership)}
    directory = world.ports.identity.directory
    [(organization, role)] = await directory.organizations(user)
    assert (organization.id, role) == (membership.organization_id, Role.OWNER)
    assert [one.name for one in await directory.projects(organization.id)] == ["onboarding"]
    assert await count_entries(world, organization.id, AuditAction.ORGANIZATION_CREATED) == 1


async def test_two_owners_demoting_each_other_leave_one(world, ours, ada, turn):
    bob = await world.member(ours, "bob", Role.OWNER)
    outcomes = await at_once(
        world.do.identity.change_role(ada, ours, bob.user.id, Role.MEMBER),
        world.do.identity.change_role(bob, ours, ada.user.id, Role.MEMBER),
    )
    failed = [one for one in outcomes if isinstance(one, type)]
    assert len(failed) == 1
    assert failed[0] in {Conflict, Forbidden}
    assert sorted((await world.roles(ours)).values()) == [Role.MEMBER, Role.OWNER]
    assert await count_entries(world, ours, AuditAction.MEMBER_ROLE_CHANGED) == 1


async def test_last_of_concurrently_leaving_owners_stays(world, ours, ada, turn):
    owners = [ada, *[await world.member(ours, f"owner-{n}", Role.OWNER) for n in range(3)]]
    outcomes = await at_once(
        *(world.do.identity.remove_member(one, ours, one.user.id) for one in owners)
    )
    assert sorted(outcomes, key=str) == [Conflict, None, None, None]
    [stayed] = [one for one, outcome in zip(owners, outcomes, strict=True) if outcome is Conflict]
    assert await world.roles(ours) == {stayed.user.id: Role.OWNER}
    assert await count_entries(world, ours, AuditAction.MEMBER_LEFT) == 3


async def test_one_owner_always_remains(world, ours, ada, turn):
    owners = [ada, *[await world.member(ours, f"owner-{n}", Role.OWNER) for n in range(3)]]
    calls = []
    for one in owners:
        for other in owners:
            calls += [
                world.do.identity.remove_member(one, ours, other.user.id),
                world.do.identity.change_role(one, ours, other.user.id, Role.ADMIN),
            ]
    random.shuffle(calls)
    await at_once(*calls)
    roles = await world.roles(ours)
    assert Role.OWNER in roles.values()


async def test_removed_member_leaves_no_active_key(world, ours, ada, turn):
    bob = await world.member(ours, "bob")
    calls = [
        world.do.identity.create_key(bob, ours, f"k{n}", Expiration.NEVER, ALL_SCOPES)
        for n in range(AT_ONCE)
    ]
    calls.insert(random.randrange(AT_ONCE), world.do.identity.remove_member(ada, ours, bob.user.id))
    outcomes = await at_once(*calls)
    made = [one for one in outcomes if isinstance(one, tuple)]
    assert {one for one in outcomes if not isinstance(one, tuple)} <= {None, Forbidden}
    keys = await world.ports.identity.directory.keys(ours)
    assert len(keys) == len(made) == await count_entries(world, ours, AuditAction.API_KEY_CREATED)
    assert not any(key.is_active(world.now) for key in keys)


async def test_role_change_does_not_restore_removed_member(world, ours, ada, turn):
    bob = await world.member(ours, "bob")
    await at_once(
        world.do.identity.change_role(ada, ours, bob.user.id, Role.ADMIN),
        world.do.identity.remove_member(ada, ours, bob.user.id),
    )
    assert bob.user.id not in await world.roles(ours)


# --- invitations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["revoke", "decline", "accept"])
async def test_invitation_is_answered_once(world, ours, ada, other, turn):
    do, bob = world.do, await world.person("bob")
    asked = (await do.identity.invite(ada, ours, bob.user.email, Role.ADMIN)).invitation.id
    rival = {
        "revoke": lambda: do.identity.revoke_invitation(ada, ours, asked),
        "decline": lambda: do.identity.decline_invitation(bob, asked),
        "accept": lambda: do.identity.accept_invitation(bob, asked),
    }[other]
    calls = [do.identity.accept_invitation(bob, asked), rival()]
    if turn % 2:
        calls.reverse()
    outcomes = await at_once(*calls)
    assert outcomes.count(Conflict) == 1
    [won] = [one for one in outcomes if one is not Conflict]
    [sent] = await world.ports.identity.directory.invitations(ours)
    roles = await world.roles(ours)
    if isinstance(won, tuple):
        assert sent.invitation.status is InvitationStatus.ACCEPTED
        assert roles == {ada.user.id: Role.OWNER, bob.user.id: Role.ADMIN}
    else:
        assert sent.invitation.status in {InvitationStatus.REVOKED, InvitationStatus.DECLINED}
        assert roles == {ada.user.id: Role.OWNER}
    answers = [one for one in await world.log(ours) if one.action.resource == "invitation"]
    assert len(answers) == 2


async def test_email_is_invited_once(world, ours, ada, turn):
    admin = await world.member(ours, "admin", Role.ADMIN)
    outcomes = await at_once(
        *(
            world.do.identity.invite(who, ours, email, Role.MEMBER)
            for who in (ada, admin)
            for email in ("new@example.com", " NEW@example.com")
        )
    )
    assert outcomes.count(Conflict) == 3
    assert len(await world.ports.identity.directory.invitations(ours)) == 1


async def test_two_users_with_one_email_accept_once(world, ours, ada, turn):
    twins = [await world.person("bob") for _ in range(2)]
    asked = (
        await world.do.identity.invite(ada, ours, "bob@example.com", Role.MEMBER)
    ).invitation.id
    outcomes = await at_once(*(world.do.identity.accept_invitation(one, asked) for one in twins))
    assert outcomes.count(Conflict) == 1
    assert len(await world.roles(ours)) == 2


async def test_accepting_while_organization_is_deleted(world, ours, ada, turn):
    bob = await world.person("bob")
    asked = (await world.do.identity.invite(ada, ours, bob.user.email, Role.MEMBER)).invitation.id
    await at_once(
        world.do.identity.accept_invitation(bob, asked),
        world.do.identity.delete_organization(ada, ours),
    )
    assert await world.do.identity.directory.organizations(bob.user.id) == []
    assert await world.roles(ours) == {}


# --- projects ------------------------------------------------------------------------------------


async def test_project_name_is_created_once(world, ours, ada, turn):
    outcomes = await at_once(
        *(world.do.identity.create_project(ada, ours, "bot", "") for _ in range(AT_ONCE))
    )
    assert outcomes.count(Conflict) == AT_ONCE - 1
    [made] = [one for one in outcomes if one is not Conflict]
    named = [
        one for one in await world.ports.identity.directory.projects(ours) if one.name == "bot"
    ]
    assert named == [made]
    assert await count_entries(world, ours, AuditAction.PROJECT_CREATED) == 1


async def test_create_and_ensure_agree_on_one_project(world, ours, ada, turn):
    calls = [
        *(world.do.identity.create_project(ada, ours, "bot", "by hand") for _ in range(3)),
        *(world.ports.identity.projects.ensure(ours, new_project("bot", ours)) for _ in range(6)),
    ]
    order = random.sample(range(9), 9)
    outcomes = dict(zip(order, await at_once(*(calls[n] for n in order)), strict=True))
    [only] = [
        one for one in await world.ports.identity.directory.projects(ours) if one.name == "bot"
    ]
    assert [outcomes[n] for n in range(3, 9)] == [only] * 6
    by_hand = [outcomes[n] for n in range(3)]
    assert by_hand.count(Conflict) == (2 if only.description else 3)
    assert {one for one in by_hand if one is not Conflict} <= {only}


async def test_new_name_is_given_to_one_of_two_projects(world, ours, ada, turn):
    made = [await world.do.identity.create_project(ada, ours, name, "") for name in ("a", "b")]
    outcomes = await at_once(
        *(world.do.identity.change_project(ada, ours, one.id, "new", None) for one in made)
    )
    assert outcomes.count(Conflict) == 1
    names = [one.name for one in await world.ports.identity.directory.projects(ours)]
    assert len(set(names)) == 3
    assert "new" in names


# --- keys ----------------------------------------------------------------------------------------


async def test_key_rotated_twice_has_two_successors(world, ours, ada, turn):
    old, _ = await world.do.identity.create_key(ada, ours, "ci", Expiration.DAYS_90, ALL_SCOPES)
    outcomes = await at_once(*(world.do.identity.rotate_key(ada, ours, old.id) for _ in range(2)))
    new = [key for key, _ in outcomes]
    keys = {key.id: key for key in await world.ports.identity.directory.keys(ours)}
    assert keys == {one.id: one for one in (old, *new)}
    assert len(keys) == 3
    for key, secret in outcomes:
        caller = await world.enter(secret, "onboarding")
        assert caller.key_id == key.id
    assert await count_entries(world, ours, AuditAction.API_KEY_ROTATED) == 2


async def test_revocation_and_rotation_leave_old_key_inactive(world, ours, ada, turn):
    old, _ = await world.do.identity.create_key(ada, ours, "ci", Expiration.DAYS_90, ALL_SCOPES)
    await at_once(
        world.do.identity.rotate_key(ada, ours, old.id),
        world.do.identity.revoke_key(ada, ours, old.id),
    )
    assert not (await world.ports.identity.directory.key(ours, old.id)).is_active(world.now)


async def create_keys_of_bob(world: World, ours) -> tuple[Person, list[ApiKey]]:
    bob = await world.member(ours, "bob")
    made = [new_key(ours, created_by=bob.user.id) for _ in range(KEYS)]
    async with world.ports.identity.administration.lock(ours) as opened:
        for key in made:
            await opened.put_key(key)
    return bob, made


async def use_all(world: World, made: list[ApiKey]) -> None:
    for n in range(10):
        order = random.sample(made, len(made))
        await world.ports.identity.keys.mark_used({key.id: at(n) for key in order})


async def record_origins(world: World, made: list[ApiKey]) -> None:
    await world.ports.identity.keys.record_origins(
        [
            KeyOrigin(key.id, Origin("192.0.2.1"), at(0), AuditEntryId(world.new_id()))
            for key in made
        ]
    )


async def test_keys_in_use_while_their_creator_is_removed(world, ours, ada, turn):
    """Locks on many keys are taken in one order, so no call fails as Unavailable."""
    bob, made = await create_keys_of_bob(world, ours)
    calls = [
        *(use_all(world, made) for _ in range(3)),
        record_origins(world, made[:50]),
        world.do.identity.remove_member(ada, ours, bob.user.id),
    ]
    assert await at_once(*calls) == [None] * len(calls)
    found = await world.ports.identity.directory.keys(ours)
    assert [key.revoked_at for key in found] == [world.now] * KEYS
    assert [key.last_used_at for key in found] == [at(9)] * KEYS


async def test_keys_in_use_while_their_organization_is_deleted(world, ours, ada, turn):
    _, made = await create_keys_of_bob(world, ours)
    calls = [
        *(use_all(world, made) for _ in range(3)),
        record_origins(world, made[:50]),
        world.do.identity.delete_organization(ada, ours),
    ]
    assert await at_once(*calls) == [None] * len(calls)
    assert list(await world.ports.identity.directory.keys(ours)) == []


# --- login codes ---------------------------------------------------------------------------------


async def test_login_code_is_exchanged_once(world, ours, ada, turn):
    project = await world.project(ours)
    code = await world.do.identity.issue_login_code(
        ada, ours, project, challenge_of(VERIFIER), "laptop"
    )
    outcomes = await at_once(
        *(
            world.do.identity.exchange_login_code(code, VERIFIER, UNKNOWN_ORIGIN)
            for _ in range(AT_ONCE)
        )
    )
    assert outcomes.count(Unauthenticated) == AT_ONCE - 1
    [(key, _, _)] = [one for one in outcomes if one is not Unauthenticated]
    assert list(await world.ports.identity.directory.keys(ours)) == [key]
    assert await count_entries(world, ours, AuditAction.API_KEY_CREATED) == 1


async def test_login_code_of_removed_member_leaves_no_active_key(world, ours, ada, turn):
    bob, project = await world.member(ours, "bob"), await world.project(ours)
    code = await world.do.identity.issue_login_code(
        bob, ours, project, challenge_of(VERIFIER), "laptop"
    )
    outcomes = await at_once(
        world.do.identity.exchange_login_code(code, VERIFIER, UNKNOWN_ORIGIN),
        world.do.identity.remove_member(ada, ours, bob.user.id),
    )
    assert outcomes[0] is Forbidden or isinstance(outcomes[0], tuple)
    keys = await world.ports.identity.directory.keys(ours)
    assert len(keys) == isinstance(outcomes[0], tuple)
    assert not any(key.is_active(world.now) for key in keys)
