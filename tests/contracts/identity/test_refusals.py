"""Contract of Refusals, and Contract of RefusalLog: counted by hour, and bounded."""

import uuid
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.caching.refusal_buffer import BUFFERED_REFUSALS_MAX, RefusalBuffer
from adapters.memory.identity.identity import MemoryRefusals
from adapters.postgres.database.pool import Pool
from adapters.postgres.identity.refusals import PostgresRefusals
from application.identity.ports import Refusals
from domain.errors import Unavailable
from domain.identity.refusal import (
    REFUSALS_PER_HOUR_MAX,
    REFUSALS_RETENTION,
    CountedRefusal,
    Refusal,
)
from domain.ids import OrganizationId

HOUR = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def refusals(adapter: Pool | None) -> Refusals:
    return MemoryRefusals() if adapter is None else PostgresRefusals(adapter)


def an_organization() -> OrganizationId:
    return OrganizationId(uuid.uuid4())


def a_refusal(of: OrganizationId | None, **overrides: Any) -> Refusal:
    known: dict[str, Any] = {"hour": HOUR, "status": 403, "address": "192.0.2.1"}
    return Refusal(organization_id=of, **known | overrides)


async def test_counts_add_up_newest_hours_first(refusals: Refusals) -> None:
    ours = an_organization()
    often, rare = a_refusal(ours), a_refusal(ours, status=401, credential="k")
    later = a_refusal(ours, hour=HOUR + timedelta(hours=1))
    await refusals.add({often: 2, rare: 1, a_refusal(an_organization()): 9})
    await refusals.add({often: 3, later: 1})
    assert await refusals.latest(ours, 10) == [
        CountedRefusal(later, 1),
        CountedRefusal(often, 5),
        CountedRefusal(rare, 1),
    ]
    assert await refusals.latest(ours, 1) == [CountedRefusal(later, 1)]


async def test_refusals_without_an_organization_are_counted(refusals: Refusals) -> None:
    unknown = a_refusal(None, status=401, address=str(uuid.uuid4()))
    await refusals.add({unknown: 1})
    await refusals.add({unknown: 1})
    assert CountedRefusal(unknown, 2) in await refusals.latest(None, 1_000)


async def test_client_with_many_addresses_fills_nothing(refusals: Refusals) -> None:
    ours, extra = an_organization(), 50
    many = {
        a_refusal(ours, address=f"2001:db8::{n}"): 1 for n in range(REFUSALS_PER_HOUR_MAX + extra)
    }
    await refusals.add(many)
    await refusals.add({a_refusal(ours, address="2001:db8:1::"): 7})
    found = await refusals.latest(ours, 1_000)
    assert len(found) == REFUSALS_PER_HOUR_MAX + 1
    assert found[0] == CountedRefusal(a_refusal(ours, address=""), extra + 7)
    await refusals.add({a_refusal(ours, hour=HOUR + timedelta(hours=1)): 1})  # it has room again
    assert (await refusals.latest(ours, 1))[0].refusal.address == "192.0.2.1"


async def test_old_refusals_are_deleted(refusals: Refusals) -> None:
    ours = an_organization()
    await refusals.add({a_refusal(ours): 1})
    later = a_refusal(ours, hour=HOUR + REFUSALS_RETENTION + timedelta(hours=1))
    await refusals.add({later: 1})
    assert await refusals.latest(ours, 10) == [CountedRefusal(later, 1)]


async def test_log_counts_and_writes_at_its_end() -> None:
    stored, ours = MemoryRefusals(), an_organization()
    async with RefusalBuffer.flushing_to(stored) as log:
        for _ in range(3):
            log.record(a_refusal(ours))
    assert await stored.latest(ours, 10) == [CountedRefusal(a_refusal(ours), 3)]


async def test_log_is_bounded() -> None:
    stored, ours = MemoryRefusals(), an_organization()
    async with RefusalBuffer.flushing_to(stored) as log:
        for n in range(BUFFERED_REFUSALS_MAX + 500):
            log.record(a_refusal(ours, address=str(n)))
        assert len(log._pending) == BUFFERED_REFUSALS_MAX + 1
    assert (
        sum(one.count for one in await stored.latest(ours, 10_000)) == BUFFERED_REFUSALS_MAX + 500
    )


async def test_log_keeps_what_could_not_be_written() -> None:
    ours = an_organization()

    class Failing(MemoryRefusals):
        is_down = True

        async def add(self, counts: Mapping[Refusal, int]) -> None:
            if self.is_down:
                raise Unavailable("away")
            await super().add(counts)

    stored = Failing()
    async with RefusalBuffer.flushing_to(stored) as log:
        log.record(a_refusal(ours))
        await log._flush()
        assert log._pending == Counter({a_refusal(ours): 1})
        stored.is_down = False
    assert await stored.latest(ours, 10) == [CountedRefusal(a_refusal(ours), 1)]
