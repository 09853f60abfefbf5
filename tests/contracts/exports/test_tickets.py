"""Contract of DownloadTickets, run against every adapter."""

import asyncio
import hashlib
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

from domain.exports.ticket import TICKET_LIFETIME, DownloadTicket
from domain.identity.organization import NewOrganization
from tests.support.builders.values import NOON
from tests.support.fixtures.identities import new_organization
from tests.support.fixtures.in_memory_app import World


def a_ticket(ours: NewOrganization, **overrides: Any) -> DownloadTicket:
    return replace(
        DownloadTicket(
            digest=hashlib.sha256(uuid.uuid4().bytes).digest(),
            organization_id=ours.organization.id,
            project_id=ours.project.id,
            export_id=uuid.uuid4(),
            user_id=ours.owner.user_id,
            name="ada@example.com",
            created_at=NOON,
            expires_at=NOON + TICKET_LIFETIME,
        ),
        **overrides,
    )


async def found_organization(world: World) -> NewOrganization:
    new = new_organization((await world.person("ada")).user.id)
    await world.ports.identity.organizations.create(new, None)
    return new


async def test_a_ticket_is_found_and_used_once(world: World) -> None:
    tickets = world.ports.exporting.tickets
    ours, theirs = await found_organization(world), await found_organization(world)
    mine, other = a_ticket(ours), a_ticket(theirs)
    for one in (mine, other):
        assert await tickets.by_digest(one.digest) is None
        await tickets.add(one)
        assert await tickets.by_digest(one.digest) == one
    assert sorted(await asyncio.gather(*(tickets.use(mine) for _ in range(3)))) == [
        *(False, False, True)
    ]
    assert await tickets.by_digest(mine.digest) is None
    assert await tickets.by_digest(other.digest) == other


async def test_expired_tickets_are_purged(world: World) -> None:
    tickets, ours = world.ports.exporting.tickets, await found_organization(world)
    mine = a_ticket(ours, expires_at=NOON + timedelta(seconds=1))
    await tickets.add(mine)
    assert await tickets.by_digest(mine.digest) == mine
    await world.ports.identity.removed_projects.purge(NOON + timedelta(seconds=1))
    assert await tickets.by_digest(mine.digest) is None
