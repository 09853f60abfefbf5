"""Contract of the hashes of the audit log: a missing, changed or added entry shows."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.postgres.database.pool import Pool
from application.identity.audit_chain import VerifyAuditLog
from application.identity.ports import KeyOrigin
from domain.identity.audit import (
    EMPTY_CHAIN,
    Actor,
    AuditAction,
    AuditEntry,
    BrokenChainError,
    ChainHead,
    Origin,
)
from domain.ids import ApiKeyId, AuditEntryId, OrganizationId, UserId
from tests.support.builders.values import NOON
from tests.support.fixtures.identities import Identity, new_entry, new_key, over_postgres

SOME = 5


async def record(identity: Identity, organization: OrganizationId, **overrides: Any) -> AuditEntry:
    entry = replace(new_entry(organization), **overrides)
    async with identity.administration.lock(organization) as opened:
        await opened.record(entry)
    return entry


async def stored(identity: Identity, organization: OrganizationId) -> Sequence[AuditEntry]:
    return await identity.directory.audit_entries(organization, 0, 1_000)


@pytest.fixture
async def home(identity: Identity) -> OrganizationId:
    return (await identity.found_organization()).organization.id


async def test_entries_are_numbered_and_hashed_in_order_of_commit(identity, home):
    made = [await record(identity, home) for _ in range(SOME)]
    found = await stored(identity, home)
    assert [one.sequence for one in found] == [*range(1, SOME + 2)]  # the first is the organization
    assert list(found)[1:] == made
    head = await VerifyAuditLog(identity.directory)(home)
    assert head == await identity.directory.audit_head(home)
    assert head == ChainHead(SOME + 1, found[-1].hash)
    assert [one.sequence for one in await identity.directory.audit_entries(home, 3, 2)] == [4, 5]


async def test_organization_without_entries_has_an_empty_chain(identity):
    nowhere = OrganizationId(uuid.uuid4())
    assert await identity.directory.audit_head(nowhere) == EMPTY_CHAIN
    assert await VerifyAuditLog(identity.directory)(nowhere) == EMPTY_CHAIN


@pytest.mark.parametrize(
    "overrides",
    [
        {"detail": {}},
        {"detail": {"b": "1", "a": "2", "Z": "", "é": '\u2028 " \\ \t', "a,": "3:x,"}},
        {"actor": Actor(name="")},
        {
            "actor": Actor(
                user_id=UserId(uuid.uuid4()),
                key_id=ApiKeyId(uuid.uuid4()),
                name="ada\N{GRINNING FACE}@example.com",
                origin=Origin("2001:db8::1", "-,"),
            )
        },
        {"at": datetime(2026, 12, 31, 23, 59, 59, 7, tzinfo=UTC)},
        {"resource_id": "", "action": AuditAction.MEMBER_LEFT},
    ],
)
async def test_every_field_is_hashed_alike_everywhere(identity, home, overrides):
    await record(identity, home, **overrides)
    assert (await VerifyAuditLog(identity.directory)(home)).sequence == 2


async def test_use_of_a_key_continues_the_chain(identity, home):
    key = new_key(home)
    async with identity.administration.lock(home) as opened:
        await opened.put_key(key)
    met = KeyOrigin(key.id, Origin("192.0.2.1", "curl"), NOON, AuditEntryId(uuid.uuid4()))
    await identity.keys.record_origins([met])
    assert (await VerifyAuditLog(identity.directory)(home)).sequence == 2


async def test_concurrent_writers_make_one_chain(identity, home):
    other = (await identity.found_organization()).organization.id
    await asyncio.gather(*(record(identity, of) for of in (home, other) for _ in range(20)))
    for of in (home, other):
        assert (await VerifyAuditLog(identity.directory)(of)).sequence == 21


async def test_failed_transaction_leaves_no_gap(identity, home):
    async def fail() -> None:
        async with identity.administration.lock(home) as opened:
            await opened.record(new_entry(home))
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await fail()
    await record(identity, home)
    assert (await VerifyAuditLog(identity.directory)(home)).sequence == 2


@pytest.mark.service
@pytest.mark.parametrize(
    ("tampering", "place"),
    [
        ("UPDATE audit_log SET detail = '{}' WHERE organization_id = $1 AND sequence = 3", 3),
        ("UPDATE audit_log SET at = now() WHERE organization_id = $1 AND sequence = 2", 2),
        ("UPDATE audit_log SET address = '' WHERE organization_id = $1 AND sequence = 2", 2),
        ("DELETE FROM audit_log WHERE organization_id = $1 AND sequence = 1", 1),
        ("DELETE FROM audit_log WHERE organization_id = $1 AND sequence = 4", 4),
        ("DELETE FROM audit_log WHERE organization_id = $1 AND sequence = 6", 6),
        ("DELETE FROM audit_log WHERE organization_id = $1", 1),
    ],
)
async def test_tampering_shows(pool: Pool, tampering: str, place: int):
    identity = over_postgres(pool)
    home = (await identity.found_organization()).organization.id
    for _ in range(SOME):
        await record(identity, home, actor=Actor(name="ada"), detail={"a": "1"})
    await pool.execute(
        tampering.replace("WHERE sequence", "WHERE organization_id = $1 AND sequence"), home
    )
    with pytest.raises(BrokenChainError, match=f"entry {place} "):
        await VerifyAuditLog(identity.directory)(home)


@pytest.mark.service
async def test_replaced_chain_shows_against_a_known_hash(pool: Pool):
    """With the last number and hash of an earlier check, also a log written again as a whole."""
    identity = over_postgres(pool)
    home = (await identity.found_organization()).organization.id
    known = await VerifyAuditLog(identity.directory)(home)
    await record(identity, home)
    assert (await VerifyAuditLog(identity.directory)(home, known)).sequence == 2
    await pool.execute("DELETE FROM audit_log WHERE organization_id = $1", home)
    await pool.execute("DELETE FROM audit_chains WHERE organization_id = $1", home)
    await record(identity, home)
    assert (await VerifyAuditLog(identity.directory)(home)).sequence == 1
    with pytest.raises(BrokenChainError, match="entry 1 "):
        await VerifyAuditLog(identity.directory)(home, known)
