"""Contract of TraceLinks, run against every adapter."""

import asyncio
import hashlib
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from application.sharing.ports import TraceLinks
from domain.errors import Conflict, Forbidden, NotFound
from domain.identity.audit import OPERATOR, AuditAction, AuditEntry
from domain.identity.organization import NewOrganization
from domain.ids import AuditEntryId, TraceId, UserId
from domain.sharing.trace_link import LINKS_PER_TRACE_MAX, TraceLink
from domain.tracing.trace_detail import ShownSpan
from tests.support.builders.values import NOON, at, trace
from tests.support.fixtures.identities import new_organization
from tests.support.fixtures.in_memory_app import World


@pytest.fixture
def links(world: World) -> TraceLinks:
    return world.ports.sharing.trace_links


async def found_organization(world: World, *, public_links: bool = True) -> NewOrganization:
    new = new_organization((await world.person("ada")).user.id)
    await world.ports.identity.organizations.create(new, None)
    await allow(world, new, allowed=public_links)
    return new


async def allow(world: World, ours: NewOrganization, *, allowed: bool) -> int:
    async with world.ports.identity.administration.lock(ours.organization.id) as opened:
        return await opened.allow_public_links(allowed=allowed)


async def store_trace(world: World, ours: NewOrganization, **fields: Any) -> TraceId:
    one = trace(**fields)
    await world.ports.tracing.traces.put(ours.project.id, one)
    return one.id


def test_masked_link_leaves_out_what_was_said() -> None:
    link = a_link(new_organization(UserId(uuid.uuid4())), TraceId(uuid.uuid4()), is_masked=True)
    every = ShownSpan._make(range(len(ShownSpan._fields)))._replace(cost={"own": 0.5, "b": 1.0})
    hidden = {name for name, value in link.shown_span(every)._asdict().items() if value is None}
    previews = {f"{name}_preview" for name in ("input", "output", "metadata")}
    assert hidden == previews | {
        *("error", "token_usage", "model_parameters", "input", "output", "metadata")
    }
    assert link.shown_span(every).cost == {"total": 1.5}  # without the names of its parts


def a_link(ours: NewOrganization, of: TraceId, **overrides: Any) -> TraceLink:
    return replace(
        TraceLink(
            id=uuid.uuid4(),
            digest=hashlib.sha256(uuid.uuid4().bytes).digest(),
            organization_id=ours.organization.id,
            project_id=ours.project.id,
            trace_id=of,
            is_masked=False,
            has_scores=True,
            created_by=ours.owner.user_id,
            creator="ada@example.com",
            created_at=NOON,
            expires_at=NOON + timedelta(days=1),
        ),
        **overrides,
    )


def an_entry(ours: NewOrganization) -> AuditEntry:
    return AuditEntry(
        id=AuditEntryId(uuid.uuid4()),
        organization_id=ours.organization.id,
        at=NOON,
        actor=OPERATOR,
        action=AuditAction.TRACE_LINK_CREATED,
        resource_id="a",
    )


async def test_links_are_found_by_digest_and_listed_by_trace(world, links):
    ours, theirs = await found_organization(world), await found_organization(world)
    one, other = await store_trace(world, ours), await store_trace(world, ours)
    made = [a_link(ours, one, created_at=at(second)) for second in (2, 1, 3)]
    elsewhere = [a_link(ours, other, is_masked=True, has_scores=False)]
    for link in made + elsewhere:
        await links.add(link, audit=an_entry(ours))
        assert await links.by_digest(link.digest) == link
    project = ours.project.id
    assert list(await links.by_trace(project, one)) == [made[2], made[0], made[1]]
    assert list(await links.by_trace(project, other)) == elsewhere
    assert list(await links.by_trace(theirs.project.id, one)) == []
    assert await links.by_digest(bytes(32)) is None
    actions = [entry.action for entry in await world.log(ours.organization.id)]
    assert actions.count(AuditAction.TRACE_LINK_CREATED) == 4


async def test_a_link_is_deleted_by_its_trace_and_project_alone(world, links):
    ours, theirs = await found_organization(world), await found_organization(world)
    one, other = await store_trace(world, ours), await store_trace(world, ours)
    link = a_link(ours, one)
    await links.add(link)
    project = ours.project.id
    for place in ((theirs.project.id, one), (project, other), (project, TraceId(uuid.uuid4()))):
        assert not await links.delete(*place, link.id, audit=an_entry(ours))
    assert not await links.delete(project, one, uuid.uuid4())
    before = len(await world.log(ours.organization.id))
    assert await links.delete(project, one, link.id, audit=an_entry(ours))
    assert not await links.delete(project, one, link.id, audit=an_entry(ours))
    assert len(await world.log(ours.organization.id)) == before + 1
    assert await links.by_digest(link.digest) is None


async def test_links_need_the_permission_of_the_organization(world, links):
    """And are revoked for ever when it is withdrawn."""
    ours, others = (
        await found_organization(world, public_links=False),
        await found_organization(world),
    )
    one = await store_trace(world, ours)
    kept = a_link(others, await store_trace(world, others))
    await links.add(kept)
    with pytest.raises(Forbidden):
        await links.add(a_link(ours, one))
    assert await allow(world, ours, allowed=True) == 0
    link = a_link(ours, one)
    await links.add(link)
    assert await links.by_digest(link.digest) == link
    organization = await world.ports.identity.directory.organization(ours.organization.id)
    assert organization.public_links
    assert await allow(world, ours, allowed=False) == 1
    assert await links.by_digest(link.digest) is None
    assert await allow(world, ours, allowed=True) == 0
    assert await links.by_digest(link.digest) is None
    assert await links.by_digest(kept.digest) == kept


async def test_a_link_ends_with_its_trace(world, links):
    """A trace that is sent again afterwards has none."""
    ours = await found_organization(world)
    one, other = await store_trace(world, ours), await store_trace(world, ours)
    gone, kept = a_link(ours, one), a_link(ours, other)
    await links.add(gone)
    await links.add(kept)
    project, traces = ours.project.id, world.ports.tracing.traces
    assert await traces.delete(project, [one]) == 1
    await traces.put(project, trace(id=one))
    assert await links.by_digest(gone.digest) is None
    assert list(await links.by_trace(project, one)) == []
    assert await links.by_digest(kept.digest) == kept


@pytest.mark.parametrize("whole", [False, True], ids=["project", "organization"])
async def test_a_link_ends_with_its_project(world, links, whole):
    ours = await found_organization(world)
    link = a_link(ours, await store_trace(world, ours))
    await links.add(link)
    async with world.ports.identity.administration.lock(ours.organization.id) as opened:
        if whole:
            await opened.remove(NOON)
        else:
            await opened.remove_project(ours.project.id, NOON)
    assert await links.by_digest(link.digest) is None
    with pytest.raises(NotFound):
        await links.add(a_link(ours, link.trace_id))


async def test_a_link_needs_a_trace_of_its_project(world, links):
    ours, theirs = await found_organization(world), await found_organization(world)
    for of in (TraceId(uuid.uuid4()), await store_trace(world, theirs)):
        with pytest.raises(NotFound):
            await links.add(a_link(ours, of), audit=an_entry(ours))
    assert len(await world.log(ours.organization.id)) == 1


async def test_links_of_a_trace_are_bounded(world, links):
    ours = await found_organization(world)
    one, other = await store_trace(world, ours), await store_trace(world, ours)
    results = await asyncio.gather(
        *(links.add(a_link(ours, one)) for _ in range(LINKS_PER_TRACE_MAX + 2)),
        return_exceptions=True,
    )
    refused = [result for result in results if result is not None]
    assert [type(result) for result in refused] == [Conflict, Conflict]
    await links.add(a_link(ours, other))


async def test_expired_links_are_purged(world, links):
    ours = await found_organization(world)
    link = a_link(ours, await store_trace(world, ours), expires_at=NOON + timedelta(seconds=5))
    await links.add(link)
    assert await links.by_digest(link.digest) == link  # `OpenTraceLink` checks the time
    await world.ports.identity.removed_projects.purge(NOON + timedelta(seconds=5))
    assert await links.by_digest(link.digest) is None
