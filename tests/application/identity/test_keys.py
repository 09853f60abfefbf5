"""API keys, as members manage them."""

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from domain.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from domain.identity.api_key import ALL_SCOPES, Expiration, KeyLimits, Scope, key_digest
from domain.identity.audit import OPERATOR, UNKNOWN_ORIGIN, AuditAction, Origin
from domain.identity.organization import Role
from domain.ids import ProjectId

DAYS_90 = timedelta(days=90)
MOMENT = timedelta(microseconds=1)
READ = frozenset({Scope.READ})


async def listed(world, ours, ada):
    return await world.do.identity.directory.keys(ours)


# --- making --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("expiration", "life"), [("never", None), ("90d", DAYS_90)])
async def test_created_key_is_returned_with_its_secret(world, ours, expiration, life):
    member = await world.member(ours, "member")
    key, secret = await world.do.identity.create_key(
        member, ours, "Ünïcode 🔑 / any", Expiration(expiration), READ
    )
    assert (key.organization_id, key.created_by) == (ours, member.user.id)
    assert (key.name, key.scopes, key.created_at) == ("Ünïcode 🔑 / any", READ, world.now)
    assert key.expires_at == (None if life is None else world.now + life)
    assert (key.revoked_at, key.last_used_at) == (None, None)
    assert (key.prefix, key.digest) == (secret[:10], key_digest(secret))
    assert await world.do.identity.directory.key(ours, key.id) == key
    caller = await world.do.identity.authenticate_key(secret, "bot", UNKNOWN_ORIGIN)
    assert (caller.key_id, caller.scopes, caller.organization_id) == (key.id, READ, ours)


async def test_key_can_be_limited_to_projects(world, ours, ada):
    do = world.do
    known = await do.identity.create_project(ada, ours, "known", "")
    limits = KeyLimits(project_ids=frozenset({known.id}))
    key, secret = await do.identity.create_key(
        ada, ours, "k", Expiration.DAYS_90, ALL_SCOPES, limits=limits
    )
    assert (await world.enter(secret, "known")).project_id == known.id
    messages = set()
    for other in ("onboarding", "new", "Known"):
        with pytest.raises(Forbidden) as refused:
            await world.enter(secret, other)
        messages.add(refused.value.message)
    assert len(messages) == 1
    rotated, secret = await do.identity.rotate_key(ada, ours, key.id)
    assert rotated.limits == limits
    with pytest.raises(Forbidden):
        await world.enter(secret, "onboarding")
    names = [one.name for one in await do.identity.directory.projects(ours)]
    assert sorted(names) == ["known", "onboarding"]


async def test_key_is_limited_to_projects_of_its_organization_only(world, ours, ada):
    theirs = (await world.do.identity.create_organization(ada, "Theirs")).id
    for project in (await world.project(theirs), ProjectId(uuid.uuid4())):
        limits = KeyLimits(project_ids=frozenset({project}))
        with pytest.raises(Invalid) as refused:
            await world.do.identity.create_key(
                ada, ours, "k", Expiration.NEVER, ALL_SCOPES, limits=limits
            )
        assert [one.field for one in refused.value.errors] == ["project_ids"]
    assert await listed(world, ours, ada) == []


async def test_key_can_be_limited_to_networks(world, ours, ada):
    limits = KeyLimits(networks=("192.0.2.0/24", "2001:db8::/48"))
    key, secret = await world.do.identity.create_key(
        ada, ours, "k", Expiration.NEVER, ALL_SCOPES, limits=limits
    )
    enter = world.do.identity.authenticate_key
    for address in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1"):
        assert (await enter(secret, "bot", Origin(address))).key_id == key.id
    used = world.ports.identity.directory.store.keys[key.id].last_used_at
    world.forward(seconds=60)
    for address in ("192.0.3.7", "2001:db8:1::1", "::1", "nonsense", "", None):
        with pytest.raises(Unauthenticated):
            await enter(secret, "bot", Origin(address))
    assert world.ports.identity.directory.store.keys[key.id].last_used_at == used


async def test_number_of_keys_in_use_is_limited_per_organization(world, ours, ada):
    do = world.with_ports(active_keys_max=2)

    async def create(expiration=Expiration.NEVER):
        return (await do.identity.create_key(ada, ours, "k", expiration, ALL_SCOPES))[0]

    first, second = await create(), await create(Expiration.DAYS_90)
    for act in (
        create(),
        do.identity.rotate_key(ada, ours, second.id),
        do.identity.issue_key(ours, name="by hand"),
    ):
        with pytest.raises(Conflict, match="2 API keys"):
            await act
    await do.identity.revoke_key(ada, ours, first.id)
    await do.identity.rotate_key(ada, ours, second.id)
    with pytest.raises(Conflict):
        await create()
    world.forward(days=90)
    await create()
    assert len(await listed(world, ours, ada)) == 4


async def test_each_key_has_its_own_secret(world, ours, ada):
    made = [
        await world.do.identity.create_key(ada, ours, "same", Expiration.NEVER, ALL_SCOPES)
        for _ in range(20)
    ]
    assert len({secret for _, secret in made}) == len({key.id for key, _ in made}) == 20


async def test_keys_are_listed_newest_first_with_revoked_and_expired_ones(world, ours, ada):
    made = []
    for name, expiration in (("a", "90d"), ("b", "never"), ("c", "never")):
        world.forward(seconds=1)
        key, _ = await world.do.identity.create_key(
            ada, ours, name, Expiration(expiration), ALL_SCOPES
        )
        made.append(key)
    await world.do.identity.revoke_key(ada, ours, made[1].id)
    world.forward(days=100)
    reported = await listed(world, ours, ada)
    assert [one.name for one in reported] == ["c", "b", "a"]
    assert [one.is_active(world.now) for one in reported] == [True, False, False]


# --- rotating ------------------------------------------------------------------------------------


async def test_rotated_key_has_a_successor_and_stays_valid(world, ours, ada):
    do, member = world.do, await world.member(ours, "member")
    old, old_secret = await do.identity.create_key(member, ours, "ci", Expiration.DAYS_90, READ)
    world.forward(days=80)
    new, secret = await do.identity.rotate_key(ada, ours, old.id)
    assert (new.name, new.scopes, new.organization_id) == ("ci", READ, ours)
    assert (new.created_by, new.created_at) == (ada.user.id, world.now)
    assert new.expires_at == world.now + DAYS_90
    assert new.id != old.id
    assert await listed(world, ours, ada) == [new, old]
    for one in (secret, old_secret):
        await do.identity.authenticate_key(one, "bot", UNKNOWN_ORIGIN)
    world.now = old.expires_at - MOMENT
    await do.identity.authenticate_key(old_secret, "bot", UNKNOWN_ORIGIN)
    world.now = old.expires_at
    with pytest.raises(Unauthenticated, match="expired"):
        await do.identity.authenticate_key(old_secret, "bot", UNKNOWN_ORIGIN)
    await do.identity.authenticate_key(secret, "bot", UNKNOWN_ORIGIN)
    entry = next(one for one in await world.log(ours) if one.action is AuditAction.API_KEY_ROTATED)
    assert entry.resource_id == str(old.id)
    assert entry.detail == {"name": "ci", "prefix": new.prefix, "new_id": str(new.id)}


async def test_expired_key_can_be_rotated(world, ours, ada):
    old, _ = await world.do.identity.create_key(ada, ours, "ci", Expiration.DAYS_90, ALL_SCOPES)
    world.forward(days=91)
    new, _ = await world.do.identity.rotate_key(ada, ours, old.id)
    assert new.is_active(world.now)


@pytest.mark.parametrize("revoked", [True, False])
async def test_revoked_key_and_key_without_expiry_are_not_rotated(world, ours, ada, revoked):
    expiration = Expiration.DAYS_90 if revoked else Expiration.NEVER
    key, _ = await world.do.identity.create_key(ada, ours, "ci", expiration, ALL_SCOPES)
    if revoked:
        await world.do.identity.revoke_key(ada, ours, key.id)
    before = await listed(world, ours, ada), await world.log(ours)
    with pytest.raises(Invalid):
        await world.do.identity.rotate_key(ada, ours, key.id)
    assert (await listed(world, ours, ada), await world.log(ours)) == before


# --- revoking and deleting -----------------------------------------------------------------------


async def test_revoked_key_is_refused_and_stays_listed(world, ours, ada):
    do = world.do
    key, secret = await do.identity.create_key(ada, ours, "ci", Expiration.NEVER, ALL_SCOPES)
    other, other_secret = await do.identity.create_key(
        ada, ours, "other", Expiration.NEVER, ALL_SCOPES
    )
    world.forward(hours=1)
    await do.identity.revoke_key(ada, ours, key.id)
    with pytest.raises(Unauthenticated):
        await do.identity.authenticate_key(secret, "bot", UNKNOWN_ORIGIN)
    await do.identity.authenticate_key(other_secret, "bot", UNKNOWN_ORIGIN)
    seen = await do.identity.directory.key(ours, key.id)
    assert seen == replace(key, revoked_at=world.now)
    entry = next(one for one in await world.log(ours) if one.action is AuditAction.API_KEY_REVOKED)
    assert entry.detail == {"name": "ci", "prefix": key.prefix}
    assert other.is_active(world.now)


async def test_second_revocation_keeps_the_first_revocation_time(world, ours, ada):
    key, _ = await world.do.identity.create_key(ada, ours, "ci", Expiration.NEVER, ALL_SCOPES)
    await world.do.identity.revoke_key(ada, ours, key.id)
    revoked_at = world.now
    world.forward(days=1)
    await world.do.identity.revoke_key(ada, ours, key.id)
    [seen] = await listed(world, ours, ada)
    assert seen.revoked_at == revoked_at


@pytest.mark.parametrize("revoked", [True, False])
async def test_deleted_key_is_refused_and_not_listed(world, ours, ada, revoked):
    do = world.do
    key, secret = await do.identity.create_key(ada, ours, "ci", Expiration.NEVER, ALL_SCOPES)
    if revoked:
        await do.identity.revoke_key(ada, ours, key.id)
    await do.identity.delete_key(ada, ours, key.id)
    assert await listed(world, ours, ada) == []
    membership = await world.membership(ours, ada)
    for act in (
        do.identity.directory.key(membership.organization_id, key.id),
        do.identity.rotate_key(ada, ours, key.id),
        do.identity.revoke_key(ada, ours, key.id),
        do.identity.delete_key(ada, ours, key.id),
    ):
        with pytest.raises(NotFound):
            await act
    with pytest.raises(Unauthenticated):
        await do.identity.authenticate_key(secret, "bot", UNKNOWN_ORIGIN)
    assert (await world.log(ours))[0].detail == {"name": "ci", "prefix": key.prefix}


async def test_admin_can_revoke_the_key_of_any_member(world, ours, ada):
    admin = await world.member(ours, "admin", Role.ADMIN)
    key, _ = await world.do.identity.create_key(ada, ours, "ada's", Expiration.NEVER, ALL_SCOPES)
    await world.do.identity.revoke_key(admin, ours, key.id)
    [seen] = await listed(world, ours, ada)
    assert not seen.is_active(world.now)


async def test_key_issued_by_operator_is_listed_audited_and_revocable(world, ours, ada):
    key, secret = await world.do.identity.issue_key(ours, name="operator's")
    assert key.created_by is None
    assert await listed(world, ours, ada) == [key]
    reported = (await world.log(ours))[0]
    assert (reported.action, reported.actor, reported.resource_id) == (
        AuditAction.API_KEY_CREATED,
        OPERATOR,
        str(key.id),
    )
    assert reported.detail == {"name": "operator's", "prefix": key.prefix}
    await world.do.identity.revoke_key(ada, ours, key.id)
    with pytest.raises(Unauthenticated):
        await world.do.identity.authenticate_key(secret, "bot", UNKNOWN_ORIGIN)
