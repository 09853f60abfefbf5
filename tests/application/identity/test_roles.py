"""The rights of each role in an organization, as the contract lists them."""

import uuid
from itertools import product

import pytest

from domain.errors import Forbidden, NotFound
from domain.identity.organization import Role
from domain.ids import ApiKeyId, InvitationId, OrganizationId, ProjectId, UserId
from domain.page import PageRequest
from tests.support.fixtures.organization_fixture import OWNER_OR_ADMIN, WRITES, Scene
from tests.support.problems import problems_of

EVERY = list(product(WRITES, Role))


async def test_roles_have_exactly_the_rights_of_the_table():
    async def check(of):
        name, role = of
        scene, write = await Scene.new(), WRITES[name]
        before = scene.snapshot()
        if role in write.roles:
            await write.act(scene.world.do, scene, scene.actors[role])
            assert scene.snapshot() != before
            return
        with pytest.raises(Forbidden):
            await write.act(scene.world.do, scene, scene.actors[role])
        assert scene.snapshot() == before

    assert await problems_of(EVERY, check) == {}


@pytest.mark.parametrize("name", WRITES)
async def test_outsider_has_no_rights(name):
    scene, write = await Scene.new(), WRITES[name]
    stranger = await scene.world.person("stranger")
    before = scene.snapshot()
    reported = set()
    for who in (stranger, scene.invited):
        with pytest.raises(Forbidden) as refused:
            await write.act(scene.world.do, scene, who)
        reported.add(refused.value.message)
    assert scene.snapshot() == before
    # In the same words as for an organization that never was.
    nowhere = OrganizationId(uuid.uuid4())
    with pytest.raises(Forbidden) as refused:
        await scene.world.do.identity.rename_organization(stranger, nowhere, "New")
    assert reported == {refused.value.message}


@pytest.mark.parametrize("name", WRITES)
async def test_owner_of_another_organization_has_no_rights(name):
    scene, write = await Scene.new(), WRITES[name]
    other = await scene.world.person("elsewhere")
    await scene.world.do.identity.create_organization(other, "Elsewhere")
    before = scene.snapshot()
    with pytest.raises(Forbidden):
        await write.act(scene.world.do, scene, other)
    assert scene.snapshot() == before


@pytest.mark.parametrize("name", WRITES)
async def test_removed_member_has_no_rights(name):
    scene, write = await Scene.new(), WRITES[name]
    owner, fired = scene.others[Role.OWNER], scene.actors[Role.OWNER]
    await scene.world.do.identity.remove_member(owner, scene.organization, fired.user.id)
    before = scene.snapshot()
    with pytest.raises(Forbidden):
        await write.act(scene.world.do, scene, fired)
    assert scene.snapshot() == before


async def test_membership_is_checked_before_the_object():
    scene = await Scene.new()
    do, ours, stranger = scene.world.do, scene.organization, await scene.world.person("stranger")
    for act in _of_unknown_objects(do, ours):
        with pytest.raises(Forbidden):
            await act(stranger)


async def test_role_is_checked_before_the_object():
    scene = await Scene.new()
    do, ours = scene.world.do, scene.organization
    member, admin = scene.actors[Role.MEMBER], scene.actors[Role.ADMIN]
    for act in _of_unknown_objects(do, ours):
        with pytest.raises(Forbidden):
            await act(member)
    for act in (
        lambda: do.identity.delete_project(admin, ours, ProjectId(uuid.uuid4())),
        lambda: do.identity.change_role(admin, ours, UserId(uuid.uuid4()), Role.MEMBER),
    ):
        with pytest.raises(Forbidden):
            await act()


async def test_unknown_objects_are_not_found():
    scene = await Scene.new()
    do, ours, owner = scene.world.do, scene.organization, scene.actors[Role.OWNER]
    before = scene.snapshot()
    for act in _of_unknown_objects(do, ours):
        with pytest.raises(NotFound):
            await act(owner)
    assert scene.snapshot() == before


async def test_objects_of_another_organization_are_not_found():
    scene = await Scene.new()
    do = scene.world.do
    stranger = await scene.world.person("elsewhere")
    theirs = (await do.identity.create_organization(stranger, "Elsewhere")).id
    before = scene.snapshot()
    member = scene.others[Role.MEMBER].user.id
    for act in (
        lambda: do.identity.change_project(stranger, theirs, scene.project.id, "new", None),
        lambda: do.identity.delete_project(stranger, theirs, scene.project.id),
        lambda: do.identity.rotate_key(stranger, theirs, scene.key.id),
        lambda: do.identity.revoke_key(stranger, theirs, scene.key.id),
        lambda: do.identity.delete_key(stranger, theirs, scene.key.id),
        lambda: do.identity.revoke_invitation(stranger, theirs, scene.invitation.id),
        lambda: do.identity.change_role(stranger, theirs, member, Role.ADMIN),
        lambda: do.identity.remove_member(stranger, theirs, member),
        lambda: do.identity.issue_login_code(stranger, theirs, scene.project.id, "c", "laptop"),
    ):
        with pytest.raises(NotFound):
            await act()
    assert scene.snapshot() == before


async def test_reads_of_another_organization_are_not_found():
    scene = await Scene.new()
    do = scene.world.do
    stranger = await scene.world.person("elsewhere")
    theirs = (await do.identity.create_organization(stranger, "Elsewhere")).id
    membership = await scene.world.membership(theirs, stranger)
    with pytest.raises(NotFound):
        await do.identity.projects.get(membership.organization_id, scene.project.id)
    with pytest.raises(NotFound):
        await do.identity.directory.key(membership.organization_id, scene.key.id)
    assert await do.identity.directory.keys(membership.organization_id) == []
    assert await do.identity.list_invitations(membership) == []
    assert [
        one.name for one in await do.identity.directory.projects(membership.organization_id)
    ] == ["onboarding"]
    assert [
        one.membership for one in await do.identity.directory.members(membership.organization_id)
    ] == [membership]
    log = await do.identity.list_audit_log(membership, PageRequest())
    assert {one.organization_id for one in log.items} == {theirs}


@pytest.mark.parametrize("role", Role)
async def test_reading_the_audit_log_needs_the_right(role):
    scene = await Scene.new()
    membership = await scene.world.membership(scene.organization, scene.actors[role])
    if role in OWNER_OR_ADMIN:
        log = await scene.world.do.identity.list_audit_log(membership, PageRequest(limit=2))
        assert list(log.items) == (await scene.world.log(scene.organization))[:2]
        return
    with pytest.raises(Forbidden):
        await scene.world.do.identity.list_audit_log(membership, PageRequest())


def _of_unknown_objects(do, ours):
    return [
        lambda who: do.identity.change_project(who, ours, ProjectId(uuid.uuid4()), "new", None),
        lambda who: do.identity.delete_project(who, ours, ProjectId(uuid.uuid4())),
        lambda who: do.identity.rotate_key(who, ours, ApiKeyId(uuid.uuid4())),
        lambda who: do.identity.revoke_key(who, ours, ApiKeyId(uuid.uuid4())),
        lambda who: do.identity.delete_key(who, ours, ApiKeyId(uuid.uuid4())),
        lambda who: do.identity.revoke_invitation(who, ours, InvitationId(uuid.uuid4())),
        lambda who: do.identity.change_role(who, ours, UserId(uuid.uuid4()), Role.MEMBER),
    ]
