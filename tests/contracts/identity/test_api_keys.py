"""Contract of ApiKeys, run against every adapter."""

import asyncio
import random
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from application.identity.keys import ApiKeyFactory, IssueKey
from application.identity.ports import USED_NETWORKS_MAX, KeyOrigin
from domain.errors import Conflict, NotFound
from domain.identity.api_key import ApiKey, Scope, format_key, key_digest
from domain.identity.audit import ADDRESS_MAX, AGENT_MAX, Actor, AuditAction, AuditEntry, Origin
from domain.ids import ApiKeyId, AuditEntryId, OrganizationId, UserId
from domain.page import LIMIT_MAX, PageRequest
from tests.support.builders.values import NOON, at
from tests.support.fixtures.identities import new_key


async def test_key_is_read_as_created(identity):
    owner = await identity.person()
    key = new_key(
        await identity.organization(),
        created_by=owner.id,
        name="Ünïcode 🔑",
        scopes=frozenset({Scope.INGEST, Scope.READ}),
        created_at=NOON + timedelta(microseconds=1),
        expires_at=at(90),
        revoked_at=at(10),
        last_used_at=at(5),
    )
    await identity.add_key(key)
    assert await identity.keys.by_digest(key.digest) == key


async def test_key_without_scopes_keeps_none(identity):
    key = new_key(await identity.organization(), scopes=frozenset())
    await identity.add_key(key)
    assert (await identity.keys.by_digest(key.digest)).scopes == frozenset()


async def test_unknown_secret_has_no_key(identity):
    assert await identity.keys.by_digest(key_digest(format_key(random.randbytes(32)))) is None
    assert await identity.keys.by_digest(b"") is None


async def test_unknown_secret_is_found_once_key_is_added(identity):
    key = new_key(await identity.organization())
    assert await identity.keys.by_digest(key.digest) is None
    await identity.add_key(key)
    assert await identity.keys.by_digest(key.digest) == key


async def test_key_of_unknown_organization_is_not_stored(identity):
    key = new_key(OrganizationId(uuid.uuid4()))
    with pytest.raises(NotFound, match="Organization"):
        await identity.add_key(key)
    assert await identity.keys.by_digest(key.digest) is None


async def test_key_of_unknown_user_is_not_stored(identity):
    key = new_key(await identity.organization(), created_by=UserId(uuid.uuid4()))
    with pytest.raises(NotFound, match="User"):
        await identity.add_key(key)
    assert await identity.keys.by_digest(key.digest) is None


async def test_secret_belongs_to_one_key(identity):
    ours, theirs = await identity.organization(), await identity.organization()
    key = new_key(ours)
    await identity.add_key(key)
    with pytest.raises(Conflict):
        await identity.add_key(new_key(theirs, digest=key.digest))
    assert await identity.keys.by_digest(key.digest) == key


async def test_last_use_never_moves_back(identity):
    key = new_key(await identity.organization())
    await identity.add_key(key)
    for instant, seen in ((at(60), at(60)), (at(30), at(60)), (at(90), at(90))):
        await identity.keys.mark_used({key.id: instant})
        assert await identity.keys.by_digest(key.digest) == replace(key, last_used_at=seen)


async def test_mark_used_changes_named_keys_only(identity):
    ours = await identity.organization()
    used, other, idle = new_key(ours), new_key(ours), new_key(ours)
    for key in (used, other, idle):
        await identity.add_key(key)
    await identity.keys.mark_used({used.id: at(1), other.id: at(2), ApiKeyId(uuid.uuid4()): at(3)})
    await identity.keys.mark_used({})
    found = [await identity.keys.by_digest(key.digest) for key in (used, other, idle)]
    assert [key.last_used_at for key in found] == [at(1), at(2), None]


async def test_concurrent_mark_used_keeps_latest(identity):
    await identity.warm()
    ours = await identity.organization()
    keys = [new_key(ours) for _ in range(8)]
    for key in keys:
        await identity.add_key(key)
    rounds = [(n, random.sample(keys, len(keys))) for n in range(20)]
    await asyncio.gather(
        *(identity.keys.mark_used({key.id: at(n) for key in order}) for n, order in rounds)
    )
    found = [await identity.keys.by_digest(key.digest) for key in keys]
    assert {key.last_used_at for key in found} == {at(19)}


async def test_issued_secret_finds_its_key(identity):
    issue = IssueKey(
        identity.administration, ApiKeyFactory(lambda: NOON, uuid.uuid4, random.randbytes)
    )
    key, secret = await issue(await identity.organization(), name="ci")
    assert await identity.keys.by_digest(key_digest(secret)) == key
    assert secret.startswith(key.prefix)


# --- origins -------------------------------------------------------------------------------------

HOME = Origin("192.0.2.1", "sdk/1")


def key_origin(key: ApiKey, origin: Origin = HOME, second: float = 0) -> KeyOrigin:
    return KeyOrigin(key.id, origin, at(second), AuditEntryId(uuid.uuid4()))


async def list_key_uses(identity, organization: OrganizationId) -> list[AuditEntry]:
    """Lists the audit entries of key uses, newest first."""
    log = await identity.directory.audit_log(organization, PageRequest(limit=LIMIT_MAX))
    return [one for one in log.items if one.action is AuditAction.API_KEY_USED]


async def test_first_use_from_network_is_audited_in_full(identity):
    ours = await identity.organization()
    key = new_key(ours, name="Ünïcode 🔑")
    await identity.add_key(key)
    first = key_origin(key, second=1)
    await identity.keys.record_origins([first])
    assert await list_key_uses(identity, ours) == [
        AuditEntry(
            id=first.entry,
            organization_id=ours,
            at=at(1),
            actor=Actor(key_id=key.id, name=key.prefix, origin=HOME),
            action=AuditAction.API_KEY_USED,
            resource_id=str(key.id),
            detail={"name": "Ünïcode 🔑", "network": "192.0.2.0/24"},
        )
    ]
    stored = await identity.keys.by_digest(key.digest)
    assert stored == replace(key, newest_network="192.0.2.0/24", newest_network_at=at(1))
    assert await identity.directory.key(ours, key.id) == stored


NEIGHBOURS = [
    HOME,
    Origin("192.0.2.255", "sdk/2"),
    Origin("192.0.2.1", None),
    Origin("::ffff:192.0.2.9", "語" * AGENT_MAX),
]


@pytest.mark.parametrize(
    "other",
    [
        Origin("192.0.3.1", "sdk/1"),
        Origin("2001:db8::1", "sdk/1"),
        Origin(None, "sdk/1"),
        Origin("x" * ADDRESS_MAX, "sdk/1"),
    ],
    ids=["IPv4", "IPv6", "unknown", "no address"],
)
async def test_first_use_from_each_network_is_audited(identity, other):
    """A changed User-Agent isn't audited."""
    ours = await identity.organization()
    key = new_key(ours)
    await identity.add_key(key)
    for second, origin in enumerate([*NEIGHBOURS, other, *NEIGHBOURS, other]):
        await identity.keys.record_origins([key_origin(key, origin, second)])
    entries = await list_key_uses(identity, ours)
    assert [entry.actor.origin for entry in entries] == [other, HOME]
    assert entries[0].detail["network"] == other.network


async def test_newest_network_is_that_of_the_latest_first_use(identity):
    key = new_key(await identity.organization())
    await identity.add_key(key)
    away, late = Origin("198.51.100.7"), Origin("203.0.113.7")
    for origin, second in ((HOME, 1), (away, 5), (HOME, 9), (late, 3)):
        await identity.keys.record_origins([key_origin(key, origin, second)])
    stored = await identity.keys.by_digest(key.digest)
    assert (stored.newest_network, stored.newest_network_at) == ("198.51.100.0/24", at(5))


async def test_networks_are_audited_per_key(identity):
    ours = await identity.organization()
    first, second = new_key(ours), new_key(ours)
    for key in (first, second):
        await identity.add_key(key)
    await identity.keys.record_origins([key_origin(first, second=1), key_origin(second, second=2)])
    assert [entry.actor.key_id for entry in await list_key_uses(identity, ours)] == [
        second.id,
        first.id,
    ]


async def test_repeated_network_in_one_call_is_audited_once(identity):
    ours = await identity.organization()
    key = new_key(ours)
    await identity.add_key(key)
    again = key_origin(key, second=1)
    await identity.keys.record_origins([again, again, key_origin(key, second=2)])
    await identity.keys.record_origins([again])
    assert [entry.id for entry in await list_key_uses(identity, ours)] == [again.entry]


async def test_origins_of_deleted_keys_are_ignored(identity):
    ours = await identity.organization()
    key, gone = new_key(ours), new_key(ours)
    await identity.add_key(key)
    await identity.keys.record_origins([key_origin(gone), key_origin(key), key_origin(gone)])
    await identity.keys.record_origins([])
    assert [entry.actor.key_id for entry in await list_key_uses(identity, ours)] == [key.id]


async def test_audited_networks_of_a_key_are_limited(identity):
    ours = await identity.organization()
    key, other = new_key(ours), new_key(ours)
    for one in (key, other):
        await identity.add_key(one)
    origins = [Origin(f"2001:db8:{n:x}::1", "sdk/1") for n in range(USED_NETWORKS_MAX + 10)]
    half = USED_NETWORKS_MAX // 2
    for some in (origins[:half], origins[half:]):
        await identity.keys.record_origins([key_origin(key, one) for one in some])
    await identity.keys.record_origins([key_origin(key, Origin("late")), key_origin(other)])
    entries = await list_key_uses(identity, ours)
    met = [entry.actor.origin for entry in entries if entry.actor.key_id == key.id]
    assert set(met) == set(origins[:USED_NETWORKS_MAX])
    assert len(met) == USED_NETWORKS_MAX
    assert [one.actor.key_id for one in entries if one.actor.key_id != key.id] == [other.id]


async def test_changed_user_agents_use_up_no_bound(identity):
    ours = await identity.organization()
    key = new_key(ours)
    await identity.add_key(key)
    agents = [Origin("192.0.2.1", f"sdk/{n}") for n in range(USED_NETWORKS_MAX + 10)]
    await identity.keys.record_origins([key_origin(key, one) for one in agents])
    thief = Origin("203.0.113.7", "curl/8")
    await identity.keys.record_origins([key_origin(key, thief, 1)])
    assert [one.actor.origin for one in await list_key_uses(identity, ours)] == [thief, agents[0]]


async def test_concurrent_uses_from_a_network_are_audited_once(identity):
    await identity.warm()
    ours = await identity.organization()
    keys = [new_key(ours) for _ in range(4)]
    for key in keys:
        await identity.add_key(key)
    origins = [Origin(f"192.0.{n}.1") for n in range(5)]
    every = [(key, origin) for key in keys for origin in origins]
    await asyncio.gather(
        *(
            identity.keys.record_origins(
                [key_origin(*one) for one in random.sample(every, len(every))]
            )
            for _ in range(10)
        )
    )
    met = [(one.actor.key_id, one.actor.origin) for one in await list_key_uses(identity, ours)]
    assert len(met) == len(every)
    assert set(met) == {(key.id, origin) for key, origin in every}
