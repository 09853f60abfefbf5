"""Organizations: creating, reading, renaming and deleting them; their audit log."""

import pytest

from domain.errors import Forbidden, Invalid, NotFound, Unauthenticated
from domain.identity.api_key import ALL_SCOPES, Expiration
from domain.identity.audit import UNKNOWN_ORIGIN, AuditAction
from domain.identity.organization import Role
from domain.page import PageRequest
from tests.support.builders.values import trace

# --- making --------------------------------------------------------------------------------------


async def test_creator_owns_the_organization_and_it_has_a_project(world, ada):
    made = await world.do.identity.create_organization(ada, "  Ours ")
    assert (made.name, made.created_at) == ("Ours", world.now)
    membership = await world.membership(made.id, ada)
    assert membership.role is Role.OWNER
    assert await world.do.identity.directory.organizations(ada.user.id) == [(made, Role.OWNER)]
    assert await world.do.identity.read_organization(membership) == made
    assert [
        one.name for one in await world.do.identity.directory.projects(membership.organization_id)
    ] == ["onboarding"]
    [entry] = await world.log(made.id)
    assert (entry.action, entry.actor) == (AuditAction.ORGANIZATION_CREATED, ada.actor)
    assert (entry.resource_id, entry.detail) == (str(made.id), {"name": "Ours"})


@pytest.mark.parametrize("name", ["", " ", "-x", "a/b", "x" * 256])
async def test_invalid_name_creates_nothing(world, ada, name):
    with pytest.raises(Invalid) as refused:
        await world.do.identity.create_organization(ada, name)
    assert [error.field for error in refused.value.errors] == ["name"]
    assert await world.do.identity.directory.organizations(ada.user.id) == []


async def test_names_of_organizations_may_be_the_same(world, ada):
    made = [await world.do.identity.create_organization(ada, "Ours") for _ in range(2)]
    assert made[0].id != made[1].id


async def test_only_owned_organizations_count_for_the_limit(world, ada, ours):
    do = world.with_ports(owned_organizations_max=2)
    other = await world.person("other")
    theirs = (await do.identity.create_organization(other, "Theirs")).id
    await world.join(theirs, ada, Role.ADMIN)
    second = await do.identity.create_organization(ada, "Second")
    with pytest.raises(Forbidden):
        await do.identity.create_organization(ada, "Third")
    assert len(await do.identity.directory.organizations(ada.user.id)) == 3
    await do.identity.change_role(
        ada, second.id, (await world.member(second.id, "x")).user.id, Role.OWNER
    )
    await do.identity.remove_member(ada, second.id, ada.user.id)
    await do.identity.create_organization(ada, "Third")


async def test_without_a_limit_any_number_is_allowed(world, ada):
    for n in range(20):
        await world.do.identity.create_organization(ada, f"Number {n}")
    assert len(await world.do.identity.directory.organizations(ada.user.id)) == 20


# --- showing -------------------------------------------------------------------------------------


async def test_organizations_are_listed_newest_membership_first(world, ada):
    own = {}
    for name in ("one", "two"):
        world.forward(seconds=1)
        own[name] = await world.do.identity.create_organization(ada, name)
    other = await world.person("other")
    older = await world.do.identity.create_organization(other, "older")
    world.forward(seconds=1)
    await world.join(older.id, ada, Role.MEMBER)
    reported = await world.do.identity.directory.organizations(ada.user.id)
    assert reported == [(older, Role.MEMBER), (own["two"], Role.OWNER), (own["one"], Role.OWNER)]


async def test_deleted_organization_is_forbidden(world, ada, ours):
    membership = await world.membership(ours, ada)
    await world.do.identity.delete_organization(ada, ours)
    with pytest.raises(Forbidden):
        await world.do.identity.read_organization(membership)
    assert await world.do.identity.directory.members(membership.organization_id) == []
    assert await world.do.identity.directory.projects(membership.organization_id) == []
    assert await world.do.identity.directory.keys(membership.organization_id) == []
    assert await world.do.identity.list_invitations(membership) == []


# --- renaming ------------------------------------------------------------------------------------


async def test_renaming_returns_and_stores_the_new_name(world, ada, ours):
    renamed = await world.do.identity.rename_organization(ada, ours, " New name ")
    assert renamed.name == "New name"
    membership = await world.membership(ours, ada)
    assert await world.do.identity.read_organization(membership) == renamed
    entry = (await world.log(ours))[0]
    assert (entry.action, entry.resource_id) == (AuditAction.ORGANIZATION_RENAMED, str(ours))
    assert entry.detail == {"from": "Ours", "to": "New name"}


async def test_renaming_without_name_still_needs_the_right(world, ada, ours):
    same = await world.do.identity.rename_organization(ada, ours, None)
    assert same.name == "Ours"
    member = await world.member(ours, "member")
    with pytest.raises(Forbidden):
        await world.do.identity.rename_organization(member, ours, None)


async def test_invalid_organization_name_error_names_the_field(world, ada, ours):
    with pytest.raises(Invalid) as refused:
        await world.do.identity.rename_organization(ada, ours, "")
    assert [error.field for error in refused.value.errors] == ["name"]


# --- removing ------------------------------------------------------------------------------------


async def test_deleting_an_organization_hides_everything_in_it(world, ada, ours):
    do = world.do
    bob, cid = await world.member(ours, "bob"), await world.person("cid")
    _, secret = await do.identity.create_key(bob, ours, "k", Expiration.NEVER, ALL_SCOPES)
    caller = await world.enter(secret, "bot")
    await world.ports.tracing.traces.put(caller.project_id, sent := trace())
    await do.identity.invite(ada, ours, cid.user.email, Role.MEMBER)
    code = await do.identity.issue_login_code(bob, ours, caller.project_id, "c", "laptop")
    await do.identity.delete_organization(ada, ours)
    for who in (ada, bob):
        assert await do.identity.directory.organizations(who.user.id) == []
        with pytest.raises(Forbidden):
            await do.identity.rename_organization(who, ours, "New")
        with pytest.raises(Forbidden):
            await do.identity.delete_organization(who, ours)
    with pytest.raises(Unauthenticated):
        await world.enter(secret, "bot")
    with pytest.raises(Unauthenticated):
        await do.identity.exchange_login_code(code, "v", UNKNOWN_ORIGIN)
    with pytest.raises(NotFound):
        await world.ports.tracing.traces.get(caller.project_id, sent.id)
    assert await do.identity.list_my_invitations(cid) == []


async def test_other_organizations_are_unaffected_by_a_deletion(world, ada, ours):
    do = world.do
    second = await do.identity.create_organization(ada, "Second")
    _, secret = await do.identity.create_key(ada, second.id, "k", Expiration.NEVER, ALL_SCOPES)
    caller = await world.enter(secret, "bot")
    await world.ports.tracing.traces.put(caller.project_id, sent := trace())
    await do.identity.delete_organization(ada, ours)
    assert await do.identity.directory.organizations(ada.user.id) == [(second, Role.OWNER)]
    assert await world.enter(secret, "bot") == caller
    assert (await world.ports.tracing.traces.get(caller.project_id, sent.id)).id == sent.id


async def test_user_without_organization_gets_a_new_one(world, ada, ours):
    await world.do.identity.delete_organization(ada, ours)
    membership = await world.do.identity.resolve_membership(ada, None)
    assert membership.organization_id != ours
    assert (await world.do.identity.read_organization(membership)).name == "My Organization"


async def test_audit_log_outlives_its_organization(world, ada, ours):
    await world.do.identity.rename_organization(ada, ours, "Last words")
    await world.do.identity.delete_organization(ada, ours)
    reported = [(one.action, one.detail) for one in await world.log(ours)]
    assert reported[0] == (AuditAction.ORGANIZATION_DELETED, {"name": "Last words"})
    assert len(reported) == 3


# --- the audit log -------------------------------------------------------------------------------


async def test_audit_log_is_paged_newest_first(world, ada, ours):
    for n in range(5):
        world.forward(seconds=1)
        await world.do.identity.rename_organization(ada, ours, f"Name {n}")
    membership = await world.membership(ours, ada)
    first = await world.do.identity.list_audit_log(membership, PageRequest(limit=4))
    assert [one.detail["to"] for one in first.items] == [f"Name {n}" for n in (4, 3, 2, 1)]
    rest = await world.do.identity.list_audit_log(membership, PageRequest(limit=4, after=first.end))
    assert [one.action for one in rest.items] == [
        AuditAction.ORGANIZATION_RENAMED,
        AuditAction.ORGANIZATION_CREATED,
    ]
    assert (first.total, rest.total, rest.end) == (6, 6, None)


class TestProvisioning:
    """An operator creates an organization for a person who hasn't signed in yet."""

    async def test_invited_owner_takes_over(self, world):
        organization, project, invitation = await world.do.identity.provision_organization(
            "Acme", "Ada@Example.com", "bot"
        )
        assert (organization.name, project.name) == ("Acme", "bot")
        assert invitation.email == "ada@example.com"
        key, _ = await world.do.identity.issue_key(organization.id, name="first")
        assert key.organization_id == organization.id
        ada = await world.person("ada")
        await world.do.identity.accept_invitation(ada, invitation.id)
        membership = await world.membership(organization.id, ada)
        assert membership.role is Role.OWNER
        [operator] = [
            one.membership.user_id
            for one in await world.ports.identity.directory.members(organization.id)
            if one.membership.user_id != ada.user.id
        ]
        await world.do.identity.remove_member(ada, organization.id, operator)
        assert await world.roles(organization.id) == {ada.user.id: Role.OWNER}
        entries = [one.action for one in await world.log(organization.id)]
        assert entries[-1] == "organization.created"
        assert "invitation.created" in entries

    async def test_only_the_verified_owner_of_the_address_can_accept(self, world):
        _, _, invitation = await world.do.identity.provision_organization(
            "Acme", "ada@example.com", None
        )
        for name, verified in (("ada", False), ("bob", True)):
            person = await world.person(name, email_verified=verified)
            with pytest.raises(Forbidden):
                await world.do.identity.accept_invitation(person, invitation.id)

    async def test_second_organization_has_the_same_operator(self, world):
        made = [
            await world.do.identity.provision_organization("Acme", "ada@example.com", None)
            for _ in range(2)
        ]
        owners = [set(await world.roles(organization.id)) for organization, _, _ in made]
        assert owners[0] == owners[1]

    @pytest.mark.parametrize(
        "wrong", [("", "ada@example.com", None), ("A", "nobody", None), ("A", "a@b.c", "-x")]
    )
    async def test_invalid_values_create_nothing(self, world, wrong):
        store = world.ports.identity.directory.store
        before = dict(store.organizations), dict(store.users)
        with pytest.raises(Invalid):
            await world.do.identity.provision_organization(*wrong)
        assert (store.organizations, store.users) == before
