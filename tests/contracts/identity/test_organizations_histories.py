"""Random histories of administration read the same from memory and from PostgreSQL.

Part of the contracts of Administration, LockedOrganization, Directory and Organizations.
"""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, ClassVar, Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from adapters.memory.identity.identity import MemoryKeyUsage
from adapters.memory.store import MemoryStore
from adapters.postgres.database.pool import Pool, PoolSettings, open_pool
from adapters.postgres.piccolo_conf import DB
from application.use_cases import Ports
from domain.errors import Failure, NotFound
from domain.identity.api_key import ALL_SCOPES, Expiration, Scope
from domain.identity.audit import UNKNOWN_ORIGIN, Origin
from domain.identity.caller import Claims, Person
from domain.identity.login_code import challenge_of, code_digest
from domain.identity.organization import Role
from domain.ids import ApiKeyId, InvitationId, OrganizationId, ProjectId, UserId
from domain.page import PageRequest
from entrypoints.composition.memory import memory_ports, replace_ports
from tests.support.builders.values import prices
from tests.support.fixtures.data_plane import over_memory
from tests.support.fixtures.histories import ComparedHistories, check_histories
from tests.support.fixtures.identities import postgres_ports
from tests.support.fixtures.in_memory_app import World

pytestmark = pytest.mark.service

PEOPLE: Final = 5
UNKNOWN_ID: Final = uuid.UUID(int=7)  # an id that nothing has
FIRST_SHARE: Final = 3  # of ten choices, how many fall on the first, so that calls meet more often

people = st.integers(0, PEOPLE - 1)
actors = st.sampled_from([0, 0, 0, *range(PEOPLE)])  # the first has the rights
indexes = st.integers(0, 9)  # index of an existing item, or of none
roles = st.sampled_from(Role)
names = st.sampled_from(["bot", "Bot", "onboarding", " bot ", "a.b", "é", "", "a/b"])
texts = st.sampled_from(["", "words", " words ", "a\0b", "Ünï 🔑"])
addresses = st.sampled_from(["p0", "P1", " p2 ", "p3", "new", "ÄÖ", "x" * 400])
waits = st.sampled_from([0, 0.000_001, 1, 120, 7 * 86_400, 90 * 86_400])
scopes = st.sampled_from([ALL_SCOPES, frozenset({Scope.READ}), frozenset()])
windows = st.builds(PageRequest, limit=st.integers(1, 4), offset=st.integers(0, 3))


class Histories(ComparedHistories[World]):
    """A few people and organizations, so that their calls often meet."""

    runner: ClassVar[asyncio.Runner]
    pool: ClassVar[Pool]

    @initialize()
    def begin(self) -> None:
        """Creates an organization with a member of each role, a project and a key."""
        seed = uuid.uuid4().int  # another one each time: the database remembers its secrets
        self.model = World(_ports(memory_ports(MemoryStore(), prices()), seed))
        self.postgres = World(_ports(postgres_ports(self.pool, over_memory()), seed))
        self.postgres.last_id = self.model.last_id
        self.organizations: list[OrganizationId] = []
        self.invitations: list[InvitationId] = []
        self.projects: list[ProjectId] = []
        self.keys: list[ApiKeyId] = []
        self.secrets: list[str] = []
        self.codes: list[tuple[str, str]] = []
        self.tag = uuid.uuid4().hex
        self.people = [self._sign_in(n) for n in range(PEOPLE)]
        self.create_organization(0, "Ours")
        for n in (1, 2):
            self.invite(0, 0, f"p{n}", [Role.ADMIN, Role.MEMBER][n - 1])
            self.answer(n, n - 1, accepts=True)
        self.change_role(0, 0, 2, Role.OWNER)
        self.create_project(0, 0, "bot", "")
        self.create_key(1, 0, Expiration.DAYS_90, ALL_SCOPES)

    def _sign_in(self, n: int) -> Person:
        # Two of them share an email.
        claims = Claims(issuer="test", subject=f"{self.tag}-{n}", email=self._address(f"P{n % 4}"))
        new = UserId(uuid.uuid4())
        user = self.run_on_both(
            lambda w: w.ports.identity.users.record_sign_in(claims, new=new, at=w.now)
        )
        return Person(user, origin=Origin(f"192.0.2.{n}", "browser"))

    def _address(self, name: str) -> str:
        return f"{name}@{self.tag}.example"

    def run_on_both(self, act: Callable[[World], Awaitable[Any]]) -> Any:
        found = super().run_on_both(act)
        assert self.postgres.last_id == self.model.last_id
        return found

    def refusal(self, failure: Failure) -> Any:
        return type(failure)

    def _pick[T](self, of: list[T], n: int) -> T:
        """Picks an existing item, the first more often; sometimes an unknown id."""
        if not of or n == len(of) + FIRST_SHARE:
            return UNKNOWN_ID  # type: ignore[return-value]  # every id is a UUID
        return of[max(0, n - FIRST_SHARE) % len(of)]

    # --- organizations and people ---

    @rule(who=actors, name=names)
    def create_organization(self, who: int, name: str) -> None:
        made = self.run_on_both(lambda w: w.do.identity.create_organization(self.people[who], name))
        if not isinstance(made, type):
            self.organizations.append(made.id)

    @rule(who=actors, of=indexes)
    def resolve(self, who: int, of: int) -> None:
        named = self._pick(self.organizations, of) if of % 2 else None
        found = self.run_on_both(
            lambda w: w.do.identity.resolve_membership(self.people[who], named)
        )
        if not isinstance(found, type) and found.organization_id not in self.organizations:
            self.organizations.append(found.organization_id)

    @rule(who=actors, of=indexes, name=st.none() | names)
    def rename(self, who: int, of: int, name: str | None) -> None:
        ours = self._pick(self.organizations, of)
        self.run_on_both(lambda w: w.do.identity.rename_organization(self.people[who], ours, name))

    @rule(who=actors, of=indexes, really=st.integers(0, 3))
    def delete_organization(self, who: int, of: int, really: int) -> None:
        if really == 0:
            ours = self._pick(self.organizations, of)
            self.run_on_both(lambda w: w.do.identity.delete_organization(self.people[who], ours))

    @rule(who=actors, of=indexes, whom=people, role=roles)
    def change_role(self, who: int, of: int, whom: int, role: Role) -> None:
        ours, user = self._pick(self.organizations, of), self.people[whom].user.id
        self.run_on_both(lambda w: w.do.identity.change_role(self.people[who], ours, user, role))

    @rule(who=actors, of=indexes, whom=people)
    def remove_member(self, who: int, of: int, whom: int) -> None:
        ours, user = self._pick(self.organizations, of), self.people[whom].user.id
        self.run_on_both(lambda w: w.do.identity.remove_member(self.people[who], ours, user))

    @rule(who=actors, of=indexes)
    def leave(self, who: int, of: int) -> None:
        self.remove_member(who, of, who)

    # --- invitations ---

    @rule(who=actors, of=indexes, name=addresses, role=roles)
    def invite(self, who: int, of: int, name: str, role: Role) -> None:
        ours, email = self._pick(self.organizations, of), self._address(name)
        sent = self.run_on_both(lambda w: w.do.identity.invite(self.people[who], ours, email, role))
        if not isinstance(sent, type):
            self.invitations.append(sent.invitation.id)

    @rule(who=people, asked=indexes, accepts=st.booleans(), verified=st.integers(0, 4))
    def answer(self, who: int, asked: int, accepts: bool, verified: int = 1) -> None:
        person = replace(self.people[who], email_verified=verified > 0)
        invitation = self.invitations[asked % len(self.invitations)]
        self.run_on_both(
            lambda w: (
                w.do.identity.accept_invitation if accepts else w.do.identity.decline_invitation
            )(person, invitation)
        )

    @rule(who=actors, of=indexes, asked=indexes)
    def revoke_invitation(self, who: int, of: int, asked: int) -> None:
        ours, one = self._pick(self.organizations, of), self._pick(self.invitations, asked)
        self.run_on_both(lambda w: w.do.identity.revoke_invitation(self.people[who], ours, one))

    # --- projects ---

    @rule(who=actors, of=indexes, name=names, text=texts)
    def create_project(self, who: int, of: int, name: str, text: str) -> None:
        ours = self._pick(self.organizations, of)
        made = self.run_on_both(
            lambda w: w.do.identity.create_project(self.people[who], ours, name, text)
        )
        if not isinstance(made, type):
            self.projects.append(made.id)

    @rule(who=actors, of=indexes, which=indexes, name=st.none() | names, text=st.none() | texts)
    def change_project(
        self, who: int, of: int, which: int, name: str | None, text: str | None
    ) -> None:
        ours, one = self._pick(self.organizations, of), self._pick(self.projects, which)
        self.run_on_both(
            lambda w: w.do.identity.change_project(self.people[who], ours, one, name, text)
        )

    @rule(who=actors, of=indexes, which=indexes)
    def delete_project(self, who: int, of: int, which: int) -> None:
        ours, one = self._pick(self.organizations, of), self._pick(self.projects, which)
        self.run_on_both(lambda w: w.do.identity.delete_project(self.people[who], ours, one))

    # --- keys ---

    @rule(who=actors, of=indexes, expiration=st.sampled_from(Expiration), may=scopes)
    def create_key(self, who: int, of: int, expiration: Expiration, may: frozenset[Scope]) -> None:
        ours = self._pick(self.organizations, of)
        self._remember_key(
            self.run_on_both(
                lambda w: w.do.identity.create_key(self.people[who], ours, "k", expiration, may)
            )
        )

    @rule(who=actors, of=indexes, which=indexes)
    def rotate_key(self, who: int, of: int, which: int) -> None:
        ours, one = self._pick(self.organizations, of), self._pick(self.keys, which)
        self._remember_key(
            self.run_on_both(lambda w: w.do.identity.rotate_key(self.people[who], ours, one))
        )

    def _remember_key(self, made: Any) -> None:
        if not isinstance(made, type):
            self.keys.append(made[0].id)
            self.secrets.append(made[1])

    @rule(who=actors, of=indexes, which=indexes, for_good=st.booleans())
    def delete_or_revoke_key(self, who: int, of: int, which: int, for_good: bool) -> None:
        ours, one = self._pick(self.organizations, of), self._pick(self.keys, which)
        self.run_on_both(
            lambda w: (w.do.identity.delete_key if for_good else w.do.identity.revoke_key)(
                self.people[who], ours, one
            )
        )

    @rule(which=indexes, name=names)
    def use_key(self, which: int, name: str) -> None:
        secret = self.secrets[which % len(self.secrets)]
        caller = self.run_on_both(lambda w: w.enter(secret, name))
        if not isinstance(caller, type) and caller.project_id not in self.projects:
            self.projects.append(caller.project_id)

    @rule(who=actors, of=indexes, which=indexes)
    def issue_code(self, who: int, of: int, which: int) -> None:
        ours, one = self._pick(self.organizations, of), self._pick(self.projects, which)
        verifier = f"v{len(self.codes)}"
        challenge = challenge_of(verifier)
        code = self.run_on_both(
            lambda w: w.do.identity.issue_login_code(
                self.people[who], ours, one, challenge, "laptop"
            )
        )
        if not isinstance(code, type):
            self.codes.append((code, verifier))

    @rule(which=indexes, right=st.integers(0, 3))
    def exchange(self, which: int, right: int) -> None:
        if self.codes:
            code, verifier = self.codes[which % len(self.codes)]
            answer = verifier if right else "wrong"
            self._remember_key(
                self.run_on_both(
                    lambda w: w.do.identity.exchange_login_code(code, answer, UNKNOWN_ORIGIN)
                )
            )

    @rule(seconds=waits)
    def wait(self, seconds: float) -> None:
        for world in (self.model, self.postgres):
            world.forward(seconds=seconds)

    # --- what is seen ---

    @rule(of=indexes, window=windows)
    def read_log_pages(self, of: int, window: PageRequest) -> None:
        ours = self._pick(self.organizations, of)
        page = self.run_on_both(lambda w: w.ports.identity.directory.audit_log(ours, window))
        while page.end is not None:
            window = PageRequest(limit=window.limit, after=page.end)
            page = self.run_on_both(
                lambda w, at=window: w.ports.identity.directory.audit_log(ours, at)
            )

    @invariant()
    def every_read_agrees(self) -> None:
        for organization, members in self.run_on_both(self._read_all)[0]:
            if organization is not None:
                assert any(one.membership.role is Role.OWNER for one in members)
            else:
                assert members == []

    async def _read_all(self, world: World) -> Any:
        read, do = world.ports.identity.directory, world.do
        about = await asyncio.gather(
            *(self._read_organization(world, one) for one in self.organizations)
        )
        others = await asyncio.gather(
            *(do.identity.list_my_invitations(person) for person in self.people),
            *(do.identity.directory.organizations(person.user.id) for person in self.people),
            *(world.ports.identity.organizations.memberships(one.user.id) for one in self.people),
            *(read.login_code(code_digest(code)) for code, _ in self.codes),
        )
        return [one[:2] for one in about], about, others

    async def _read_organization(self, world: World, organization: OrganizationId) -> list[Any]:
        read = world.ports.identity.directory
        try:
            known = await read.organization(organization)
        except NotFound:
            known = None
        page = await read.audit_log(organization, PageRequest(limit=200))
        return [
            known,
            list(await read.members(organization)),
            list(await read.invitations(organization)),
            list(await read.projects(organization)),
            list(await read.keys(organization)),
            (list(page.items), page.total, page.end),
        ]


def _ports(ports: Ports, seed: int) -> Ports:
    """Uses repeatable randomness, and discards key uses, which another suite tests."""
    repeatable = replace(ports, random=random.Random(seed).randbytes)
    return replace_ports(repeatable, key_usage=MemoryKeyUsage(MemoryStore()))


@pytest.mark.exhaustive  # test_organizations.py has each step
def test_random_histories_of_administration_agree(pool, serving_url):
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        Histories.runner = runner
        # Piccolo sends its queries to the pool of this loop until the pool is closed.
        own = open_pool(DB, PoolSettings(url=serving_url, size=4))
        Histories.pool = runner.run(stack.enter_async_context(own))
        try:
            check_histories(Histories, examples=33, steps=25)
        finally:
            runner.run(stack.aclose())
