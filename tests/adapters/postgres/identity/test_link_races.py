"""Public links of traces: deletions while their organization forbids links, and many links."""

import asyncio
from uuid import UUID

import pytest

from adapters.postgres.database.tenants import within
from domain.errors import Conflict
from domain.ids import TraceId
from domain.sharing.trace_link import LINKS_PER_PROJECT_MAX
from tests.contracts.sharing.test_trace_links import a_link, allow, found_organization
from tests.support.builders.values import trace
from tests.support.fixtures import data_plane
from tests.support.fixtures.identities import postgres_ports
from tests.support.fixtures.in_memory_app import World
from tests.support.fixtures.lock_waits import count_lock_waits
from tests.support.waiting import until

pytestmark = pytest.mark.service

LOCK_LINK = "SELECT 1 FROM trace_links WHERE id = $1 FOR UPDATE"
COUNT_LINKS = "SELECT count(*) FROM trace_links WHERE organization_id = $1"
ADD_LINKS = """
INSERT INTO trace_links (id, digest, organization_id, project, trace_id, is_masked, has_scores,
                         created_by, creator, created_at, expires_at)
SELECT gen_random_uuid(), sha256(random()::text::bytea), organization_id, project,
       gen_random_uuid(), is_masked, has_scores, created_by, creator, created_at, expires_at
FROM trace_links, generate_series(1, $2) WHERE id = $1
"""
WAITING = "trace_links"


async def test_traces_are_deleted_while_their_organization_forbids_links(patient_pool, pool):
    async with data_plane.over_postgres(patient_pool) as plane:
        world = World(postgres_ports(patient_pool, plane))
        ours = await found_organization(world)
        of, organization = ours.project.id, ours.organization.id
        # The later in the order of their traces are stored first: one deletion would find them by
        # the organization, and the other one by trace.
        traces = [TraceId(UUID(int=world.new_id().int)) for _ in range(3)]
        links = [a_link(ours, one) for one in reversed(traces)]
        for link in links:
            await plane.traces.put(of, trace(id=link.trace_id))
            await world.ports.sharing.trace_links.add(link)
        async with within(pool, organization).transaction() as earlier:
            await earlier.execute(LOCK_LINK, links[1].id)
            forbidding = asyncio.create_task(allow(world, ours, allowed=False))
            deleting = asyncio.create_task(plane.traces.delete(of, traces))
            await until(lambda: count_lock_waits(pool, WAITING), lambda count: count > 1)
        gone, deleted = await asyncio.gather(forbidding, deleting)
        assert deleted == len(traces)
        assert gone <= len(links)
        assert await pool.fetchval(COUNT_LINKS, organization) == 0


async def test_project_has_so_many_links(serving_pool, pool):
    async with data_plane.over_postgres(serving_pool) as plane:
        world = World(postgres_ports(serving_pool, plane))
        ours, links = await found_organization(world), world.ports.sharing.trace_links
        await plane.traces.put(ours.project.id, one := trace())
        await links.add(first := a_link(ours, one.id))
        await pool.execute(ADD_LINKS, first.id, LINKS_PER_PROJECT_MAX - 2)
        await links.add(a_link(ours, one.id))
        with pytest.raises(Conflict, match="This project has"):
            await links.add(a_link(ours, one.id))
