"""Contract of Projects, run against every adapter."""

import asyncio
import uuid

import pytest

from adapters.memory.store import MemoryStore
from adapters.postgres.database.pool import Engine, PoolSettings, open_pool
from adapters.postgres.identity.identity import PostgresProjects
from domain.errors import Invalid, NotFound
from domain.identity.audit import AuditAction
from domain.ids import OrganizationId, ProjectId
from domain.page import PageRequest
from tests.support.builders.values import at
from tests.support.fixtures.identities import new_entry, new_project, over_postgres

AT_ONCE = 50


async def test_ensure_creates_missing_project(identity):
    ours = await identity.organization()
    wanted = new_project("checkout bot", ours, description="sells things")
    assert await identity.projects.ensure(ours, wanted) == wanted
    assert await identity.projects.get(ours, wanted.id) == wanted


async def test_ensure_returns_existing_project_unchanged(identity):
    ours = await identity.organization()
    first = await identity.projects.ensure(ours, new_project("bot", ours))
    second = new_project("bot", ours, description="another")
    assert await identity.projects.ensure(ours, second) == first
    with pytest.raises(NotFound):
        await identity.projects.get(ours, second.id)


async def test_project_is_found_by_its_name(identity):
    ours, theirs = await identity.organization(), await identity.organization()
    bot = await identity.projects.ensure(ours, new_project("bot", ours))
    assert await identity.projects.by_name(ours, "bot") == bot
    for organization, name in ((ours, "Bot"), (theirs, "bot"), (OrganizationId(bot.id), "bot")):
        assert await identity.projects.by_name(organization, name) is None


async def test_project_and_its_audit_entry_are_stored_together(identity):
    ours = await identity.organization()
    before = await identity.directory.audit_log(ours, PageRequest(limit=10))
    for _ in range(2):
        bot = new_project("bot", ours)
        entry = new_entry(
            ours, action=AuditAction.PROJECT_CREATED, resource_id=str(bot.id), at=at(5)
        )
        await identity.projects.ensure(ours, bot, entry)
    log = await identity.directory.audit_log(ours, PageRequest(limit=10))
    assert log.total == before.total + 1
    stored = await identity.projects.by_name(ours, "bot")
    assert log.items[0].resource_id == str(stored.id)


async def test_concurrent_calls_keep_to_the_maximum(identity):
    await identity.warm()
    ours = await identity.organization()  # with one project
    calls = (
        identity.projects.ensure(ours, new_project(f"bot {n}", ours), projects_max=5)
        for n in range(12)
    )
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(one, Invalid) for one in results) == 8
    assert len(await identity.directory.projects(ours)) == 5


async def test_edits_and_calls_keep_to_one_maximum(identity):
    """An edit that has counted the projects makes `ensure` wait for its end."""
    await identity.warm()
    ours = await identity.organization()
    bot = new_project("by hand", ours)
    async with identity.administration.lock(ours) as opened:
        assert await opened.count_projects() == 1
        await opened.put_project(bot)
        if isinstance(identity.backend, MemoryStore):
            return
        late = identity.projects.ensure(ours, new_project("late", ours), projects_max=2)
        waiting = asyncio.create_task(late)
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done()
    with pytest.raises(Invalid):
        await waiting


async def test_names_differ_by_case_and_by_every_character(identity):
    ours = await identity.organization()
    names = ["bot", "Bot", "bot 1", "bot_1", "é"]
    made = [await identity.projects.ensure(ours, new_project(name, ours)) for name in names]
    assert [project.name for project in made] == names
    assert len({project.id for project in made}) == len(names)


async def test_same_name_in_another_organization_is_another_project(identity):
    ours, theirs = await identity.organization(), await identity.organization()
    mine = await identity.projects.ensure(ours, new_project("bot", ours))
    other = await identity.projects.ensure(theirs, new_project("bot", theirs))
    assert mine.id != other.id
    assert (mine.organization_id, other.organization_id) == (ours, theirs)


async def test_project_of_another_organization_is_not_found(identity):
    ours, theirs = await identity.organization(), await identity.organization()
    mine = await identity.projects.ensure(ours, new_project("bot", ours))
    with pytest.raises(NotFound) as foreign:
        await identity.projects.get(theirs, mine.id)
    with pytest.raises(NotFound) as unknown:
        await identity.projects.get(ours, ProjectId(uuid.uuid4()))
    assert foreign.value.message == unknown.value.message


async def test_unknown_organization_has_no_projects(identity):
    gone = OrganizationId(uuid.uuid4())
    wanted = new_project("bot", gone)
    for _ in range(2):
        with pytest.raises(NotFound):
            await identity.projects.ensure(gone, wanted)
    with pytest.raises(NotFound):
        await identity.projects.get(gone, wanted.id)


async def test_concurrent_ensure_creates_one_project(identity):
    await identity.warm()
    ours = await identity.organization()
    wanted = [new_project("bot", ours) for _ in range(AT_ONCE)]
    made = await asyncio.gather(*(identity.projects.ensure(ours, one) for one in wanted))
    assert len({project.id for project in made}) == 1
    assert made[0] in wanted
    for loser in wanted:
        if loser.id != made[0].id:
            with pytest.raises(NotFound):
                await identity.projects.get(ours, loser.id)


async def test_concurrent_ensure_for_unknown_organization_all_fail(identity):
    gone = OrganizationId(uuid.uuid4())
    calls = (identity.projects.ensure(gone, new_project("bot", gone)) for _ in range(10))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [NotFound] * 10


@pytest.mark.service
async def test_concurrent_ensure_from_two_pools_creates_one_project(pool, postgres_url):
    ours = await over_postgres(pool).organization()
    async with open_pool(Engine(config={}), PoolSettings(url=postgres_url)) as another:
        both = (PostgresProjects(pool), PostgresProjects(another))
        calls = (both[n % 2].ensure(ours, new_project("bot", ours)) for n in range(AT_ONCE))
        made = await asyncio.gather(*calls)
    assert len({project.id for project in made}) == 1
    rows = await pool.fetchval(
        "SELECT count(*) FROM projects WHERE organization_id = $1 AND name = 'bot'", ours
    )
    assert rows == 1
