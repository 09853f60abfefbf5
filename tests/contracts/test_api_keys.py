"""Contract of ApiKeys, run against every adapter."""

import asyncio
import random
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from application.identity.keys import IssueKey
from domain.errors import Conflict, NotFound
from domain.identity.api_key import ApiKey, Scope, digest_of, secret_of
from domain.ids import ApiKeyId, OrganizationId, UserId
from tests.builders import NOON, at


def new_key(organization: OrganizationId, **said) -> ApiKey:
    secret = secret_of(random.randbytes(32))
    known = {
        "id": ApiKeyId(uuid.uuid4()),
        "organization_id": organization,
        "created_by": None,
        "name": "ci",
        "prefix": secret[:10],
        "digest": digest_of(secret),
        "created_at": NOON,
    }
    return ApiKey(**known | said)


async def test_a_key_reads_back_whole(identity):
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
    await identity.keys.add(key)
    assert await identity.keys.by_digest(key.digest) == key


async def test_a_key_without_scopes_stays_without(identity):
    key = new_key(await identity.organization(), scopes=frozenset())
    await identity.keys.add(key)
    assert (await identity.keys.by_digest(key.digest)).scopes == frozenset()


async def test_an_unknown_secret_has_no_key(identity):
    assert await identity.keys.by_digest(digest_of(secret_of(random.randbytes(32)))) is None
    assert await identity.keys.by_digest(b"") is None


async def test_a_secret_that_was_unknown_is_found_once_its_key_is_added(identity):
    key = new_key(await identity.organization())
    assert await identity.keys.by_digest(key.digest) is None
    await identity.keys.add(key)
    assert await identity.keys.by_digest(key.digest) == key


async def test_a_key_of_no_organization_is_not_stored(identity):
    key = new_key(OrganizationId(uuid.uuid4()))
    with pytest.raises(NotFound, match="Organization"):
        await identity.keys.add(key)
    assert await identity.keys.by_digest(key.digest) is None


async def test_a_key_of_nobody_is_not_stored(identity):
    key = new_key(await identity.organization(), created_by=UserId(uuid.uuid4()))
    with pytest.raises(NotFound, match="User"):
        await identity.keys.add(key)
    assert await identity.keys.by_digest(key.digest) is None


async def test_one_secret_has_one_key(identity):
    ours, theirs = await identity.organization(), await identity.organization()
    key = new_key(ours)
    await identity.keys.add(key)
    with pytest.raises(Conflict):
        await identity.keys.add(new_key(theirs, digest=key.digest))
    with pytest.raises(Conflict):
        await identity.keys.add(new_key(ours, id=key.id))
    assert await identity.keys.by_digest(key.digest) == key


async def test_a_use_moves_forward_and_never_back(identity):
    key = new_key(await identity.organization())
    await identity.keys.add(key)
    for instant, seen in ((at(60), at(60)), (at(30), at(60)), (at(90), at(90))):
        await identity.keys.mark_used({key.id: instant})
        assert await identity.keys.by_digest(key.digest) == replace(key, last_used_at=seen)


async def test_uses_reach_the_keys_they_name_and_no_other(identity):
    ours = await identity.organization()
    used, other, idle = new_key(ours), new_key(ours), new_key(ours)
    for key in (used, other, idle):
        await identity.keys.add(key)
    await identity.keys.mark_used({used.id: at(1), other.id: at(2), ApiKeyId(uuid.uuid4()): at(3)})
    await identity.keys.mark_used({})
    found = [await identity.keys.by_digest(key.digest) for key in (used, other, idle)]
    assert [key.last_used_at for key in found] == [at(1), at(2), None]


async def test_uses_noted_at_once_in_any_order_keep_the_latest(identity):
    await identity.warm()
    ours = await identity.organization()
    keys = [new_key(ours) for _ in range(8)]
    for key in keys:
        await identity.keys.add(key)
    rounds = [(n, random.sample(keys, len(keys))) for n in range(20)]
    await asyncio.gather(
        *(identity.keys.mark_used({key.id: at(n) for key in order}) for n, order in rounds)
    )
    found = [await identity.keys.by_digest(key.digest) for key in keys]
    assert {key.last_used_at for key in found} == {at(19)}


async def test_an_issued_secret_finds_its_key(identity):
    issue = IssueKey(identity.keys, lambda: NOON, uuid.uuid4, random.randbytes)
    key, secret = await issue(await identity.organization(), name="ci")
    assert await identity.keys.by_digest(digest_of(secret)) == key
    assert secret.startswith(key.prefix)
