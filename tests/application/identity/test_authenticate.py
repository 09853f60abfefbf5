"""Authentication: every outcome, over memory adapters."""

import asyncio
import random
import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from adapters.memory.identity.identity import (
    MemoryAdministration,
    MemoryApiKeys,
    MemoryDirectory,
    MemoryKeyUsage,
    MemoryOrganizations,
    MemoryProjects,
    MemoryTokens,
    MemoryUsers,
)
from adapters.memory.store import MemoryStore
from application.identity.authenticate import (
    AuthenticateKey,
    AuthenticateToken,
    CreateMissingProject,
    PersonAdmission,
    ResolveMembership,
    ResolveProject,
)
from application.identity.keys import ApiKeyFactory, IssueKey
from domain.errors import Forbidden, Invalid, NotFound, Unauthenticated, Unavailable
from domain.identity.api_key import ALL_SCOPES, ApiKey, Scope
from domain.identity.audit import OPERATOR, Actor, AuditAction, Origin
from domain.identity.caller import Claims, Person, SignInRules, User
from domain.identity.organization import Membership, Organization, Role
from domain.ids import MembershipId, OrganizationId, ProjectId, UserId
from tests.support.builders.values import NOON, at
from tests.support.fixtures.identities import new_invitation

ADA = Claims(issuer="https://id.example.com", subject="ada", email="ada@example.com")
EVE = replace(ADA, subject="eve", email="eve@example.com", email_verified=False)
HOME = Origin("192.0.2.1", "sdk/1")


@dataclass
class World:
    """One store, a clock that is set, and the use cases over both."""

    store: MemoryStore = field(default_factory=MemoryStore)
    now: datetime = NOON

    def __post_init__(self) -> None:
        keys, projects = MemoryApiKeys(self.store), MemoryProjects(self.store)
        clock = lambda: self.now
        self.issue_key = IssueKey(
            MemoryAdministration(self.store), ApiKeyFactory(clock, uuid.uuid4, random.randbytes)
        )
        self.authenticate_key = AuthenticateKey(
            keys, projects, MemoryKeyUsage(self.store), clock, uuid.uuid4
        )
        self.create_missing_project = CreateMissingProject(projects, projects_max=3)
        self.authenticate_token = AuthenticateToken(
            MemoryTokens({"ada's": ADA, "eve's": EVE}),
            PersonAdmission(
                MemoryUsers(self.store),
                MemoryDirectory(self.store),
                SignInRules(),
                clock,
                uuid.uuid4,
            ),
        )
        self.resolve_membership = ResolveMembership(
            MemoryOrganizations(self.store), clock, uuid.uuid4
        )
        self.resolve_project = ResolveProject(projects)

    def organization(self) -> OrganizationId:
        made = Organization(id=OrganizationId(uuid.uuid4()), name="Ours", created_at=self.now)
        self.store.organizations[made.id] = made
        return made.id

    def join(self, user: UserId) -> OrganizationId:
        organization = self.organization()
        self.store.memberships[organization, user] = Membership(
            id=MembershipId(uuid.uuid4()),
            organization_id=organization,
            user_id=user,
            role=Role.MEMBER,
            created_at=self.now,
        )
        return organization

    async def enter(self, secret: str, project: str | None):
        return await self.create_missing_project(await self.authenticate_key(secret, project, HOME))

    async def ada(self) -> Person:
        return await self.authenticate_token("ada's", HOME)

    async def resolve(self, person: Person, named: OrganizationId | None) -> OrganizationId:
        return (await self.resolve_membership(person, named)).organization_id

    async def key(self, organization: OrganizationId, **said) -> tuple[ApiKey, str]:
        return await self.issue_key(organization, name="ci", **said)

    def project_names(self, organization: OrganizationId) -> list[str]:
        projects = self.store.projects.values()
        return sorted(one.name for one in projects if one.organization_id == organization)


@pytest.fixture
def world() -> World:
    return World()


class Down:
    """Any port, out of reach."""

    def __getattr__(self, name: str):
        async def method(*_: object, **__: object):
            raise Unavailable("The database cannot be reached; try again")

        return method


# --- API keys ------------------------------------------------------------------------------------


async def test_key_authenticates_for_the_named_project(world):
    ours = world.organization()
    key, secret = await world.key(ours)
    caller = await world.enter(secret, "bot")
    assert (caller.organization_id, caller.key_id, caller.user_id) == (ours, key.id, None)
    assert caller.scopes == ALL_SCOPES
    project = world.store.projects[caller.project_id]
    assert (project.name, project.description, project.created_at) == ("bot", "", NOON)
    assert await world.enter(secret, "bot") == caller
    assert world.project_names(ours) == ["bot"]


async def test_authentication_alone_creates_no_project(world):
    ours = world.organization()
    key, secret = await world.key(ours)
    caller = await world.authenticate_key(secret, "bot", HOME)
    assert world.project_names(ours) == []
    assert caller.new_project.project.id == caller.project_id
    stored = await world.create_missing_project(caller)
    assert (stored.project_id, stored.new_project) == (caller.project_id, None)
    [made] = [
        one for one in world.store.audit_log.values() if one.action is AuditAction.PROJECT_CREATED
    ]
    assert made.actor == Actor(key_id=key.id, name=key.prefix, origin=HOME)
    assert (made.resource_id, made.detail) == (str(stored.project_id), {"name": "bot"})
    assert await world.create_missing_project(stored) is stored


async def test_number_of_projects_is_limited_per_organization(world):
    ours = world.organization()
    _, secret = await world.key(ours)
    for name in ("a", "b", "c"):
        await world.enter(secret, name)
    with pytest.raises(Invalid, match="3 projects"):
        await world.enter(secret, "d")
    assert (await world.enter(secret, "b")).new_project is None
    assert world.project_names(ours) == ["a", "b", "c"]


async def test_concurrent_first_requests_create_one_project(world):
    ours = world.organization()
    _, secret = await world.key(ours)
    callers = await asyncio.gather(*(world.enter(secret, "bot") for _ in range(50)))
    assert len(set(callers)) == 1
    assert world.project_names(ours) == ["bot"]


async def test_same_project_name_in_another_organization_is_another_project(world):
    callers = [
        await world.enter((await world.key(world.organization()))[1], "bot") for _ in range(2)
    ]
    assert callers[0].project_id != callers[1].project_id


async def test_caller_has_the_scopes_of_its_key(world):
    _, secret = await world.key(world.organization(), scopes=frozenset({Scope.READ}))
    caller = await world.enter(secret, "bot")
    assert caller.scopes == {Scope.READ}
    caller.require(Scope.READ)
    for lacking in (Scope.INGEST, Scope.EVALUATE):
        with pytest.raises(Forbidden, match=lacking):
            caller.require(Scope.READ, lacking)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda secret: "",
        lambda secret: secret[:-1],
        lambda secret: secret + "0",
        lambda secret: secret + "\n",
        lambda secret: " " + secret,
        lambda secret: secret.upper(),
        lambda secret: "pp_" + secret[3:].upper() + "F",
        lambda secret: secret[3:],
        lambda secret: secret.replace("pp_", "pp-"),
        lambda secret: secret[:-1] + ("0" if secret[-1] != "0" else "1"),
        lambda secret: secret[:-1] + "٣",
        lambda secret: "x" * 1_000_000,
        lambda secret: "\ud800\0",
    ],
)
async def test_unknown_secrets_are_refused_with_one_text(world, spoil):
    ours = world.organization()
    _, secret = await world.key(ours)
    with pytest.raises(Unauthenticated, match=r"\AInvalid API key\Z"):
        await world.enter(spoil(secret), "bot")
    assert world.project_names(ours) == []


async def test_revoked_key_is_refused_like_unknown_key(world):
    ours = world.organization()
    key, secret = await world.key(ours)
    world.store.keys[key.id] = replace(key, revoked_at=NOON)
    with pytest.raises(Unauthenticated, match=r"\AInvalid API key\Z"):
        await world.enter(secret, "bot")
    assert world.project_names(ours) == []


async def test_key_expires_to_the_microsecond_with_its_own_text(world):
    _, secret = await world.key(world.organization(), expires_at=at(60))
    world.now = at(60) - timedelta(microseconds=1)
    await world.enter(secret, "bot")
    world.now = at(60)
    with pytest.raises(Unauthenticated, match=r"\AAPI key has expired\Z"):
        await world.enter(secret, "bot")


async def test_key_of_deleted_organization_is_refused(world):
    ours = world.organization()
    _, secret = await world.key(ours)
    del world.store.organizations[ours]
    with pytest.raises(Unauthenticated, match=r"\AInvalid API key\Z"):
        await world.enter(secret, "bot")
    assert world.project_names(ours) == []


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("bot", "bot"),
        ("  bot\t", "bot"),
        ("Checkout Bot_v1.2-rc's 3", "Checkout Bot_v1.2-rc's 3"),
        ("x", "x"),
        ("7", "7"),
        ("é", "é"),
        ("語", "語"),
        ("a" * 255, "a" * 255),
        (" " + "a" * 255 + " ", "a" * 255),
    ],
)
async def test_valid_project_name_is_trimmed(world, said, name):
    ours = world.organization()
    _, secret = await world.key(ours)
    await world.enter(secret, said)
    assert world.project_names(ours) == [name]


@pytest.mark.parametrize(
    "name",
    ["", "   ", "_", "-bot", "bot.", "bot'", "a/b", "a\0b", "a\nb", "éa", "aé", "a" * 256, "🤖"],
)
async def test_invalid_project_name_is_refused_naming_the_header(world, name):
    ours = world.organization()
    key, secret = await world.key(ours)
    with pytest.raises(Invalid) as refused:
        await world.enter(secret, name)
    assert [error.field for error in refused.value.errors] == ["header.X-Project-Name"]
    assert world.project_names(ours) == []
    assert world.store.keys[key.id].last_used_at is None


async def test_unknown_key_is_refused_before_the_project_name(world):
    with pytest.raises(Unauthenticated):
        await world.enter("pp_" + "0" * 64, "/")


async def test_use_is_recorded_if_the_key_is_accepted(world):
    key, secret = await world.key(world.organization())
    world.now = at(5)
    await world.enter(secret, "bot")
    assert world.store.keys[key.id].last_used_at == at(5)


async def test_new_origin_of_a_key_is_audited(world):
    ours = world.organization()
    key, secret = await world.key(ours)
    for second, origin in enumerate([HOME, HOME, Origin("198.51.100.7", "sdk/1"), HOME]):
        world.now = at(second)
        await world.authenticate_key(secret, "bot", origin)
    used = AuditAction.API_KEY_USED
    entries = [one for one in world.store.audit_log.values() if one.action is used]
    reported = [(one.action, one.at, one.actor.origin) for one in entries]
    assert reported == [(used, at(0), HOME), (used, at(2), Origin("198.51.100.7", "sdk/1"))]
    for entry in entries:
        assert (entry.organization_id, entry.resource_id) == (ours, str(key.id))
        assert entry.actor == Actor(key_id=key.id, name=key.prefix, origin=entry.actor.origin)


async def test_key_without_project_header_is_refused_naming_the_header(world):
    key, secret = await world.key(world.organization())
    with pytest.raises(Invalid) as refused:
        await world.enter(secret, None)
    assert [error.field for error in refused.value.errors] == ["header.X-Project-Name"]
    assert world.store.keys[key.id].last_used_at is None
    [made] = world.store.audit_log.values()
    assert (made.action, made.actor) == (AuditAction.API_KEY_CREATED, OPERATOR)


async def test_unknown_key_is_refused_before_a_missing_project(world):
    with pytest.raises(Unauthenticated):
        await world.enter("pp_" + "0" * 64, None)


@pytest.mark.parametrize("port", ["keys", "projects"])
async def test_unreachable_store_is_not_a_wrong_key(world, port):
    key, secret = await world.key(world.organization())
    with pytest.raises(Unavailable):
        await replace(world.authenticate_key, **{port: Down()})(secret, "bot", HOME)
    assert world.store.keys[key.id].last_used_at is None


async def test_key_without_an_organization_is_not_issued(world):
    with pytest.raises(NotFound):
        await world.key(OrganizationId(uuid.uuid4()))
    assert world.store.keys == {}


# --- tokens --------------------------------------------------------------------------------------


async def test_first_token_creates_the_user(world):
    first = await world.ada()
    world.now = at(61)
    again = await world.ada()
    assert again == replace(first, user=replace(first.user, last_sign_in_at=at(61)))
    assert list(world.store.users) == [first.user.id]


async def test_person_has_the_claims_and_origin(world):
    ada, eve = [await world.authenticate_token(one, HOME) for one in ("ada's", "eve's")]
    assert (ada.user.email, ada.email_verified, ada.origin) == ("ada@example.com", True, HOME)
    assert (eve.user.email, eve.email_verified, eve.origin) == ("eve@example.com", False, HOME)
    assert ada.actor == Actor(user_id=ada.user.id, name="ada@example.com", origin=HOME)
    assert world.store.audit_log == {}


def admitting(world, **changes):
    """The authentication by tokens, with other rules or ports of the admission."""
    known = world.authenticate_token
    return replace(known, admission=replace(known.admission, **changes))


@pytest.mark.parametrize(
    ("domains", "allowed"),
    [
        ({"example.com"}, True),
        ({"other.org", "example.com"}, True),
        ({"other.org"}, False),
        ({"com"}, False),
        ({"sub.example.com"}, False),
    ],
)
async def test_addresses_can_be_limited_to_domains(world, domains, allowed):
    rules = SignInRules(email_domains=frozenset(domains))
    sign_in = admitting(world, rules=rules)
    if allowed:
        assert (await sign_in("ada's", HOME)).user.email == "ada@example.com"
    else:
        with pytest.raises(Forbidden):
            await sign_in("ada's", HOME)
    with pytest.raises(Forbidden):  # an unverified address may be another person's
        await sign_in("eve's", HOME)
    assert len(world.store.users) == allowed


async def test_without_sign_up_strangers_need_an_invitation(world):
    closed = admitting(world, rules=SignInRules(allows_sign_up=False))
    for token in ("ada's", "eve's"):
        with pytest.raises(Forbidden):
            await closed(token, HOME)
    assert world.store.users == {}
    inviter = User.from_claims(replace(ADA, subject="inviter"), UserId(uuid.uuid4()), NOON)
    world.store.users[inviter.id] = inviter
    for email in ("ada@example.com", "eve@example.com"):
        sent = new_invitation(world.organization(), inviter.id, email)
        world.store.invitations[sent.id] = sent
    with pytest.raises(Forbidden):  # her address isn't verified
        await closed("eve's", HOME)
    person = await closed("ada's", HOME)
    world.store.invitations.clear()
    assert (await closed("ada's", HOME)).user.id == person.user.id
    assert list(world.store.users) == [inviter.id, person.user.id]


async def test_refused_token_creates_no_user(world):
    with pytest.raises(Unauthenticated):
        await world.authenticate_token("bob's", HOME)
    assert world.store.users == {}


async def test_unreachable_users_are_not_a_wrong_token(world):
    with pytest.raises(Unavailable):
        await admitting(world, users=Down())("ada's", HOME)


# --- organizations -------------------------------------------------------------------------------


async def test_user_without_membership_gets_an_organization_and_a_project(world):
    ada = await world.ada()
    organization = await world.resolve(ada, None)
    assert world.store.organizations[organization].name == "My Organization"
    assert world.store.memberships[organization, ada.user.id].role is Role.OWNER
    assert world.project_names(organization) == ["onboarding"]
    assert await world.resolve(ada, None) == organization
    assert await world.resolve(ada, organization) == organization
    [entry] = world.store.audit_log.values()
    assert (entry.organization_id, entry.actor, entry.at) == (organization, ada.actor, NOON)
    assert entry.action is AuditAction.ORGANIZATION_CREATED


async def test_membership_is_returned_whole(world):
    ada = await world.ada()
    ours = world.join(ada.user.id)
    for named in (None, ours):
        found = await world.resolve_membership(ada, named)
        assert found == world.store.memberships[ours, ada.user.id]


async def test_unreachable_organizations_are_not_missing(world):
    with pytest.raises(Unavailable):
        await replace(world.resolve_membership, organizations=Down())(await world.ada(), None)


async def test_concurrent_first_requests_create_one_organization(world):
    ada = await world.ada()
    found = await asyncio.gather(*(world.resolve(ada, None) for _ in range(20)))
    assert len(set(found)) == len(world.store.organizations) == len(world.store.projects) == 1
    assert len(world.store.audit_log) == 1


async def test_user_who_lost_all_memberships_gets_a_new_organization(world):
    ada = await world.ada()
    before = await world.resolve(ada, None)
    world.store.memberships.clear()
    after = await world.resolve(ada, None)
    assert after != before
    assert world.project_names(after) == ["onboarding"]


async def test_default_organization_is_that_of_the_oldest_membership(world):
    ada = await world.ada()
    joined = {}
    for second in (20, 10, 30):
        world.now = at(second)
        joined[second] = world.join(ada.user.id)
    assert await world.resolve(ada, None) == joined[10]
    assert await world.resolve(ada, joined[30]) == joined[30]
    assert len(world.store.organizations) == 3


async def test_other_organization_is_forbidden_whether_or_not_it_exists(world):
    ada = await world.ada()
    world.join(ada.user.id)
    reported = []
    for named in (world.organization(), OrganizationId(uuid.uuid4())):
        with pytest.raises(Forbidden) as refused:
            await world.resolve(ada, named)
        reported.append(refused.value.message)
    assert reported[0] == reported[1]


# --- projects ------------------------------------------------------------------------------------


async def test_member_has_every_scope_in_projects_of_the_organization(world):
    ada = await world.ada()
    ours = await world.resolve(ada, None)
    [project] = world.store.projects
    membership = await world.resolve_membership(ada, ours)
    caller = await world.resolve_project(ada, membership, project)
    assert caller.role is Role.OWNER
    assert caller.actor == ada.actor
    assert (caller.organization_id, caller.project_id) == (ours, project)
    assert (caller.user_id, caller.key_id, caller.scopes) == (ada.user.id, None, ALL_SCOPES)


async def test_other_organizations_project_is_not_found_with_the_text_for_unknown_ones(world):
    ada = await world.ada()
    ours = await world.resolve(ada, None)
    _, secret = await world.key(world.organization())
    theirs = (await world.enter(secret, "bot")).project_id
    membership = await world.resolve_membership(ada, ours)
    reported = []
    for project in (theirs, ProjectId(uuid.uuid4())):
        with pytest.raises(NotFound) as missing:
            await world.resolve_project(ada, membership, project)
        reported.append(missing.value.message)
    assert reported == ["Project not found or not in your organization"] * 2


async def test_unreachable_projects_are_not_missing(world):
    ada = await world.ada()
    membership = await world.resolve_membership(ada, None)
    with pytest.raises(Unavailable):
        await ResolveProject(Down())(ada, membership, uuid.uuid4())
