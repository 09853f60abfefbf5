"""Every write to an organization is stored with its audit log entry, or not at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count

import pytest

from application.identity.ports import Administration
from domain.errors import Unavailable
from domain.identity.audit import Actor, AuditAction
from domain.identity.organization import Role
from domain.ids import OrganizationId
from tests.support.fixtures.organization_fixture import ANSWERS, TERMINAL, WRITES, Scene, exchange
from tests.support.hypothesis_scale import sampled

POSSIBLE = {name: write for name, write in WRITES.items() if write.roles}
STEPS_MAX = 30


@dataclass
class Failing:
    """An administration whose step number `at` raises: entering, a method, or storing it all."""

    inner: Administration
    at: int
    error: BaseException
    taken: int = 0

    def step(self) -> None:
        self.taken += 1
        if self.taken > self.at:
            raise self.error

    @asynccontextmanager
    async def lock(self, organization: OrganizationId) -> AsyncIterator[object]:
        self.step()
        async with self.inner.lock(organization) as opened:
            yield FailingOpen(opened, self)
            self.step()


@dataclass(frozen=True)
class FailingOpen:
    opened: object
    failing: Failing

    def __getattr__(self, name: str):
        found = getattr(self.opened, name)
        if not callable(found):
            return found

        async def method(*said: object, **more: object) -> object:
            self.failing.step()
            return await found(*said, **more)

        return method


ACTS = {
    **{
        name: lambda do, scene, write=write: write.act(do, scene, scene.actors[Role.OWNER])
        for name, write in POSSIBLE.items()
    },
    **{
        name: lambda do, scene, write=write: write.act(do, scene, scene.invited)
        for name, write in ANSWERS.items()
    },
    "exchange": exchange,
}


ERRORS = (Unavailable("down"), RuntimeError("a fault of ours"), asyncio.CancelledError())


@pytest.mark.parametrize("name", ACTS)
async def test_failure_at_any_step_stores_nothing(name):
    for error in sampled(ERRORS, 1, list(ACTS).index(name), usually=True):
        for at in count():
            assert at < STEPS_MAX
            scene = await Scene.new()
            before = scene.snapshot()
            failing = Failing(scene.world.ports.identity.administration, at, error)
            do = scene.world.with_ports(administration=failing)
            try:
                await ACTS[name](do, scene)
            except type(error):
                assert scene.snapshot() == before
            else:
                assert scene.snapshot() != before
                break
        assert at >= 4  # entering, who it is, the change, the log, storing it


class Down:
    def __getattr__(self, name: str):
        async def method(*_: object, **__: object) -> object:
            raise Unavailable("The database cannot be reached; try again")

        return method


@pytest.mark.parametrize("name", [*ANSWERS, "exchange"])
async def test_unreachable_directory_is_not_a_refusal(name):
    scene = await Scene.new()
    before = scene.snapshot()
    with pytest.raises(Unavailable):
        await ACTS[name](scene.world.with_ports(directory=Down()), scene)
    assert scene.snapshot() == before


async def test_unreachable_organizations_create_none():
    scene = await Scene.new()
    before = scene.snapshot()
    do = scene.world.with_ports(organizations=Down())
    with pytest.raises(Unavailable):
        await do.identity.create_organization(scene.invited, "Mine")
    assert scene.snapshot() == before


# --- the audit log -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*POSSIBLE, *ANSWERS])
async def test_each_write_is_audited_once_with_actor_and_origin(name):
    scene = await Scene.new()
    write = (WRITES | ANSWERS)[name]
    who = scene.invited if name in ANSWERS else scene.actors[Role.OWNER]
    before = dict(scene.store.audit_log)
    answer = await write.act(scene.world.do, scene, who)
    [entry] = [one for key, one in scene.store.audit_log.items() if key not in before]
    assert before.items() <= scene.store.audit_log.items()
    assert (entry.organization_id, entry.at) == (scene.organization, scene.world.now)
    assert entry.actor == Actor(user_id=who.user.id, name=who.user.email, origin=who.origin)
    assert entry.actor.origin.agent
    assert entry.action is write.action
    resource = who.user.id if name == "leave" else write.resource(scene, answer)
    assert entry.resource_id == str(resource)
    assert all(isinstance(one, str) for pair in entry.detail.items() for one in pair)


async def test_exchange_is_audited_for_its_user_with_the_programs_origin():
    scene = await Scene.new()
    before = dict(scene.store.audit_log)
    key, _, _ = await exchange(scene.world.do, scene)
    [entry] = [one for one_id, one in scene.store.audit_log.items() if one_id not in before]
    admin = scene.others[Role.ADMIN]
    assert entry.actor == replace(admin.actor, origin=TERMINAL)
    assert (entry.action, entry.resource_id) == (AuditAction.API_KEY_CREATED, str(key.id))
    assert entry.detail == {"name": key.name, "prefix": key.prefix}
    assert (entry.organization_id, entry.at) == (scene.organization, scene.world.now)


@pytest.mark.parametrize("name", [*POSSIBLE, *ANSWERS, "exchange"])
async def test_stored_rows_contain_no_secret(name):
    scene = await Scene.new()
    if name == "exchange":
        answer = await exchange(scene.world.do, scene)
    else:
        who = scene.invited if name in ANSWERS else scene.actors[Role.OWNER]
        answer = await (WRITES | ANSWERS)[name].act(scene.world.do, scene, who)
    secrets = [scene.code]
    if isinstance(answer, str):
        secrets.append(answer)
    elif isinstance(answer, tuple):
        secrets += [one for one in answer if isinstance(one, str)]
    reported = repr(scene.snapshot())
    assert not [secret for secret in secrets if secret in reported]


SAME = {
    "a name": lambda do, s, who: do.identity.rename_organization(who, s.organization, "Ours"),
    "a name with blanks": lambda do, s, who: do.identity.rename_organization(
        who, s.organization, " Ours "
    ),
    "no name": lambda do, s, who: do.identity.rename_organization(who, s.organization, None),
    "nothing of a project": lambda do, s, who: do.identity.change_project(
        who, s.organization, s.project.id, None, None
    ),
    "a project as it is": lambda do, s, who: do.identity.change_project(
        who, s.organization, s.project.id, " bot ", " Sells things.\n"
    ),
    "a role": lambda do, s, who: do.identity.change_role(
        who, s.organization, s.others[Role.OWNER].user.id, Role.OWNER
    ),
}


@pytest.mark.parametrize("name", SAME)
async def test_unchanged_values_are_not_audited(name):
    scene = await Scene.new()
    before = scene.snapshot()
    await SAME[name](scene.world.do, scene, scene.actors[Role.OWNER])
    assert scene.snapshot() == before


async def test_revoking_twice_is_audited_once():
    scene = await Scene.new()
    do, owner = scene.world.do, scene.actors[Role.OWNER]
    await do.identity.revoke_key(owner, scene.organization, scene.key.id)
    before = scene.snapshot()
    scene.world.forward(hours=1)
    await do.identity.revoke_key(owner, scene.organization, scene.key.id)
    assert scene.snapshot() == before
