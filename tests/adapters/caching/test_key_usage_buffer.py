"""Uses of keys: when they are written, and what happens while they can't be."""

import asyncio
import logging
import uuid

import pytest

from adapters.caching.key_usage_buffer import (
    BUFFERED_USES_MAX,
    NEW_NETWORKS_MAX,
    NEW_NETWORKS_PER_KEY_MAX,
    KeyUsageBuffer,
)
from domain.errors import Unavailable
from domain.identity.audit import Origin
from domain.ids import ApiKeyId
from tests.support.builders.values import at
from tests.support.fakes.query_counter import Counted, turns
from tests.support.waiting import in_time, until

HOME = Origin("192.0.2.1", "sdk/1")
AWAY = Origin("198.51.100.7", "sdk/1")


@pytest.fixture
def inner() -> Counted:
    return Counted()


async def test_uses_are_flushed_periodically(inner):
    key = inner.key()
    async with KeyUsageBuffer.flushing_to(inner, every_s=0.001) as uses:
        uses.record(key.id, at(1), HOME)
        await until(lambda: inner.store.keys[key.id].last_used_at == at(1))
        uses.record(key.id, at(61), HOME)
        await until(lambda: inner.store.keys[key.id].last_used_at == at(61))
    assert inner.batches == [{key.id: at(1)}, {key.id: at(61)}]


async def test_empty_buffer_writes_nothing(inner):
    async with KeyUsageBuffer.flushing_to(inner, every_s=0.001):
        await asyncio.sleep(0.02)
    assert inner.batches == []


async def test_use_is_buffered_once_per_minute(inner):
    key = inner.key()
    async with KeyUsageBuffer.flushing_to(inner, every_s=0.001) as uses:
        for second in range(180):
            uses.record(key.id, at(second), HOME)
            await turns()
    written = [instant for batch in inner.batches for instant in batch.values()]
    assert len(written) <= 3
    assert inner.store.keys[key.id].last_used_at == at(120)


async def test_many_networks_of_one_key_do_not_displace_another_key(inner):
    stolen, noisy = inner.key(), inner.key()
    uses = KeyUsageBuffer(inner)
    uses.record(stolen.id, at(0), AWAY)
    for n in range(NEW_NETWORKS_MAX * 2):
        uses.record(noisy.id, at(1), Origin(f"2001:db8:{n:x}::1", "sdk/1"))
    noted = [key for key, _ in uses._pending_origins]
    assert noted == [stolen.id, *[noisy.id] * NEW_NETWORKS_PER_KEY_MAX]


async def test_changed_user_agents_are_one_network(inner):
    key = inner.key()
    async with KeyUsageBuffer.flushing_to(inner) as uses:
        for n in range(NEW_NETWORKS_MAX):
            uses.record(key.id, at(n), Origin("192.0.2.1", f"sdk/{n}"))
        uses.record(key.id, at(1), AWAY)
    assert met(inner) == [(key.id, Origin("192.0.2.1", "sdk/0")), (key.id, AWAY)]


async def test_uses_of_many_keys_are_flushed_together_at_the_end(inner):
    noted = [inner.key() for _ in range(20)]
    async with KeyUsageBuffer.flushing_to(inner) as uses:
        for key in noted:
            uses.record(key.id, at(1), HOME)
        assert inner.batches == []
    assert inner.batches == [{key.id: at(1) for key in noted}]


@pytest.mark.parametrize("error", [Unavailable("down"), RuntimeError("a fault of ours")])
async def test_unavailable_database_delays_the_flush(inner, caplog, error):
    key, other = inner.key(), inner.key()
    inner.fail = error
    with caplog.at_level(logging.WARNING):
        async with KeyUsageBuffer.flushing_to(inner, every_s=0.001) as uses:
            uses.record(key.id, at(1), HOME)
            await until(lambda: inner.asked >= 2)
            uses.record(key.id, at(61), HOME)
            uses.record(other.id, at(2), HOME)
            inner.fail = None
            await until(lambda: inner.batches)
    assert inner.batches == [{key.id: at(61), other.id: at(2)}]
    assert "could not be written yet" in caplog.text


@pytest.mark.slow
async def test_silent_database_does_not_block_the_stop(inner, caplog):
    key = inner.key()
    inner.gate = asyncio.Event()
    async with in_time(), KeyUsageBuffer.flushing_to(inner, every_s=0.001) as uses:
        uses.record(key.id, at(1), HOME)
        await until(lambda: inner.asked)
    assert inner.batches == []
    assert "were not written" in caplog.text


async def test_buffered_uses_are_bounded_during_an_outage(inner):
    inner.fail = Unavailable("down")
    async with KeyUsageBuffer.flushing_to(inner, every_s=0.001) as uses:
        for n in range(BUFFERED_USES_MAX + 100):
            uses.record(ApiKeyId(uuid.UUID(int=n)), at(n), HOME)
            if n % 1000 == 0:
                await until(lambda seen=inner.asked: inner.asked > seen)
        inner.fail = None
    [batch] = inner.batches
    assert len(batch) == BUFFERED_USES_MAX
    assert ApiKeyId(uuid.UUID(int=BUFFERED_USES_MAX + 99)) in batch
    assert ApiKeyId(uuid.UUID(int=0)) not in batch


# --- origins -------------------------------------------------------------------------------------


def met(inner: Counted) -> list[tuple[ApiKeyId, Origin]]:
    return [(one.key, one.origin) for some in inner.origins for one in some]


async def test_new_origin_is_reported_once(inner):
    key = inner.key()
    async with KeyUsageBuffer.flushing_to(inner, every_s=0.001) as uses:
        uses.record(key.id, at(1), HOME)
        await until(lambda: inner.origins)
        for second in range(2, 200):
            uses.record(key.id, at(second), HOME)
            await turns()
        uses.record(key.id, at(200), AWAY)
    assert met(inner) == [(key.id, HOME), (key.id, AWAY)]
    [[first], [second]] = inner.origins
    assert (first.at, second.at) == (at(1), at(200))
    assert first.entry != second.entry


async def test_another_origin_is_buffered_within_the_minute(inner):
    key = inner.key()
    async with KeyUsageBuffer.flushing_to(inner) as uses:
        uses.record(key.id, at(1), HOME)
        uses.record(key.id, at(2), AWAY)
        uses.record(key.id, at(3), HOME)
    assert inner.batches == [{key.id: at(2)}]
    assert met(inner) == [(key.id, HOME), (key.id, AWAY)]


async def test_failed_new_origins_are_flushed_later_unchanged(inner):
    key = inner.key()
    inner.fail = Unavailable("down")
    async with KeyUsageBuffer.flushing_to(inner, every_s=0.001) as uses:
        uses.record(key.id, at(1), HOME)
        await until(lambda: inner.asked >= 2)
        uses.record(key.id, at(2), AWAY)
        inner.fail = None
    assert [one.at for some in inner.origins for one in some] == [at(1), at(2)]
    assert met(inner) == [(key.id, HOME), (key.id, AWAY)]
    assert len(inner.store.audit_log) == 2


async def test_new_origins_are_bounded_during_an_outage(inner):
    keys = [inner.key() for _ in range(NEW_NETWORKS_MAX + 10)]
    async with KeyUsageBuffer.flushing_to(inner) as uses:
        for n, key in enumerate(keys):
            uses.record(key.id, at(n), Origin(f"192.0.2.{n}"))
    assert len(met(inner)) == NEW_NETWORKS_MAX


async def test_new_origins_of_a_failed_flush_leave_the_latest_to_their_next_use(inner):
    keys = [inner.key() for _ in range(NEW_NETWORKS_MAX + 1)]
    inner.gate, inner.fail = asyncio.Event(), Unavailable("down")
    async with KeyUsageBuffer.flushing_to(inner, every_s=0.001) as uses:
        for key in keys[1:]:
            uses.record(key.id, at(1), HOME)
        await until(lambda: inner.asked)
        uses.record(keys[0].id, at(1), HOME)
        inner.gate.set()
        await until(lambda: inner.asked > 1)
        inner.fail = None
        await until(lambda: inner.origins)
        assert {key for key, _ in met(inner)} == {key.id for key in keys[1:]}
        uses.record(keys[0].id, at(2), HOME)
    assert met(inner)[-1] == (keys[0].id, HOME)
