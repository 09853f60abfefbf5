"""Projects: creating, changing and deleting them."""

import uuid

import pytest

from domain.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from domain.identity.api_key import ALL_SCOPES, Expiration
from domain.identity.organization import Role
from domain.ids import ProjectId
from domain.tracing.project_activity import ACTIVITY_PROJECTS_MAX
from tests.support.builders.values import trace


@pytest.fixture
async def bot(world, ours, ada):
    return await world.do.identity.create_project(ada, ours, "bot", "Sells things.")


async def names(world, ours, ada):
    return [one.name for one in await world.do.identity.directory.projects(ours)]


async def test_created_project_is_returned_whole(world, ours, ada):
    made = await world.do.identity.create_project(ada, ours, "  bot ", "  Sells\tthings.\n")
    assert (made.organization_id, made.created_at) == (ours, world.now)
    assert (made.name, made.description) == ("bot", "Sells\tthings.")
    membership = await world.membership(ours, ada)
    assert await world.do.identity.projects.get(membership.organization_id, made.id) == made
    assert (await world.log(ours))[0].detail == {"name": "bot"}


async def test_projects_are_listed_newest_first(world, ours, ada):
    for name in ("b", "a", "c"):
        world.forward(seconds=1)
        await world.do.identity.create_project(ada, ours, name, "")
    assert await names(world, ours, ada) == ["c", "a", "b", "onboarding"]


async def test_only_the_newest_projects_show_what_happens_in_them(world, ours, ada):
    for number in range(ACTIVITY_PROJECTS_MAX):
        world.forward(seconds=1)
        await world.do.identity.create_project(ada, ours, f"project {number}", "")
    found = await world.do.identity.list_projects(ours, with_activity=True)
    *newest, (oldest, unread) = found
    assert all(one is not None and one.trace_count == 0 for _, one in newest)
    assert (oldest.name, unread) == ("onboarding", None)
    without = await world.do.identity.list_projects(ours, with_activity=False)
    assert without == [(one, None) for one, _ in found]


@pytest.mark.parametrize(
    ("name", "description", "field"),
    [
        ("", "", "name"),
        ("a/b", "", "name"),
        ("x" * 256, "", "name"),
        ("bot", "x" * 2001, "description"),
        ("bot", "a\0b", "description"),
        ("bot", "a\x85b", "description"),
    ],
)
async def test_invalid_fields_are_refused_by_name(world, ours, ada, bot, name, description, field):
    before = await world.log(ours)
    for act in (
        world.do.identity.create_project(ada, ours, name, description),
        world.do.identity.change_project(ada, ours, bot.id, name, description),
    ):
        with pytest.raises(Invalid) as refused:
            await act
        assert [error.field for error in refused.value.errors] == [field]
    assert await names(world, ours, ada) == ["bot", "onboarding"]
    assert await world.log(ours) == before


async def test_project_name_is_unique_in_an_organization(world, ours, ada, bot):
    before = await world.log(ours)
    with pytest.raises(Conflict):
        await world.do.identity.create_project(ada, ours, " bot ", "another")
    with pytest.raises(Conflict):
        await world.do.identity.create_project(ada, ours, "onboarding", "")
    assert await world.log(ours) == before
    await world.do.identity.create_project(ada, ours, "Bot", "")  # case counts
    second = await world.do.identity.create_organization(ada, "Second")
    await world.do.identity.create_project(ada, second.id, "bot", "")


async def test_rights_are_checked_before_the_name(world, ours, bot):
    member = await world.member(ours, "member")
    with pytest.raises(Forbidden):
        await world.do.identity.create_project(member, ours, "bot", "")


async def test_change_keeps_fields_that_are_not_given(world, ours, ada, bot):
    do = world.do
    renamed = await do.identity.change_project(ada, ours, bot.id, " new ", None)
    assert (renamed.name, renamed.description) == ("new", "Sells things.")
    described = await do.identity.change_project(ada, ours, bot.id, None, "  ")
    assert (described.name, described.description) == ("new", "")
    membership = await world.membership(ours, ada)
    assert await do.identity.projects.get(membership.organization_id, bot.id) == described
    assert (described.id, described.created_at) == (bot.id, bot.created_at)
    reported = [one.detail for one in await world.log(ours)][:2]
    described = {"from": "new", "to": "new", "description": "changed"}
    assert reported == [described, {"from": "bot", "to": "new"}]


async def test_change_to_a_taken_name_changes_nothing(world, ours, ada, bot):
    before = await world.log(ours)
    with pytest.raises(Conflict):
        await world.do.identity.change_project(ada, ours, bot.id, "onboarding", "new words")
    membership = await world.membership(ours, ada)
    assert await world.do.identity.projects.get(membership.organization_id, bot.id) == bot
    assert await world.log(ours) == before


async def test_renamed_project_is_found_by_new_name_only(world, ours, ada, bot):
    _, secret = await world.do.identity.create_key(ada, ours, "k", Expiration.NEVER, ALL_SCOPES)
    await world.do.identity.change_project(ada, ours, bot.id, "new", None)
    found = await world.enter(secret, "new")
    assert found.project_id == bot.id
    other = await world.enter(secret, "bot")
    assert other.project_id != bot.id


async def test_deleted_projects_name_creates_a_new_project(world, ours, ada, bot):
    do, traces = world.do, world.ports.tracing.traces
    _, secret = await do.identity.create_key(ada, ours, "k", Expiration.NEVER, ALL_SCOPES)
    kept = await world.enter(secret, "onboarding")
    sent = trace()
    for project in (bot.id, kept.project_id):
        await traces.put(project, sent)
    await do.identity.delete_project(ada, ours, bot.id)
    assert await names(world, ours, ada) == ["onboarding"]
    with pytest.raises(NotFound):
        await traces.get(bot.id, sent.id)
    with pytest.raises(Unavailable):
        await traces.put(bot.id, sent)
    assert (await traces.get(kept.project_id, sent.id)).id == sent.id
    again = await world.enter(secret, "bot")  # keys aren't affected
    assert again.project_id != bot.id
    await traces.put(again.project_id, sent)
    assert (await traces.get(again.project_id, sent.id)).id == sent.id


async def test_deleted_project_is_not_found(world, ours, ada, bot):
    do = world.do
    await do.identity.delete_project(ada, ours, bot.id)
    membership = await world.membership(ours, ada)
    for act in (
        do.identity.projects.get(membership.organization_id, bot.id),
        do.identity.change_project(ada, ours, bot.id, "new", None),
        do.identity.delete_project(ada, ours, bot.id),
        do.identity.issue_login_code(ada, ours, bot.id, "c", "laptop"),
        do.identity.resolve_project(ada, membership, bot.id),
        do.identity.projects.get(membership.organization_id, ProjectId(uuid.uuid4())),
    ):
        with pytest.raises(NotFound):
            await act


async def test_last_project_can_be_deleted(world, ours, ada):
    [only] = await world.do.identity.directory.projects(ours)
    await world.do.identity.delete_project(ada, ours, only.id)
    assert await names(world, ours, ada) == []


@pytest.mark.parametrize("role", [Role.ADMIN, Role.MEMBER])
async def test_right_to_delete_is_checked_before_the_project(world, ours, role):
    who = await world.member(ours, "someone", role)
    with pytest.raises(Forbidden):
        await world.do.identity.delete_project(who, ours, ProjectId(uuid.uuid4()))
