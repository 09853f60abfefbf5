"""What is remembered, for how long, and what is never remembered."""

import asyncio
import contextlib
import logging
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from adapters.memory.identity import MemoryApiKeys, MemoryProjects
from adapters.memory.store import MemoryStore
from adapters.remembered import (
    ENTRIES_MAX,
    NOTES_MAX,
    RememberedApiKeys,
    RememberedKeyUses,
    RememberedProjects,
)
from domain.errors import NotFound, Unavailable
from domain.identity.api_key import ApiKey
from domain.identity.organization import Organization, Project
from domain.ids import ApiKeyId, OrganizationId, ProjectId
from tests.builders import NOON, at

SECONDS = 30
SOON_S = 10  # for what happens by itself, on a machine that is busy


class Hands:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Counted:
    """The keys and projects of a store: counts questions, and holds or fails them as told."""

    store: MemoryStore = field(default_factory=MemoryStore)
    asked: int = 0
    fail: Exception | None = None
    gate: asyncio.Event | None = None
    batches: list[Mapping[ApiKeyId, datetime]] = field(default_factory=list)

    async def _question(self) -> None:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.fail is not None:
            raise self.fail

    async def add(self, key: ApiKey) -> None:
        await MemoryApiKeys(self.store).add(key)

    async def by_digest(self, digest: bytes) -> ApiKey | None:
        found = await MemoryApiKeys(self.store).by_digest(digest)
        await self._question()
        return found

    async def mark_used(self, uses: Mapping[ApiKeyId, datetime]) -> None:
        await self._question()
        self.batches.append(dict(uses))
        await MemoryApiKeys(self.store).mark_used(uses)

    async def ensure(self, organization: OrganizationId, project: Project) -> Project:
        await self._question()
        return await MemoryProjects(self.store).ensure(organization, project)

    async def get(self, organization: OrganizationId, project: ProjectId) -> Project:
        await self._question()
        return await MemoryProjects(self.store).get(organization, project)

    def organization(self) -> OrganizationId:
        made = Organization(id=OrganizationId(uuid.uuid4()), name="Ours", created_at=NOON)
        self.store.organizations[made.id] = made
        return made.id

    def key(self) -> ApiKey:
        key = new_key(self.organization())
        self.store.keys[key.id] = key
        return key

    def revoke(self, key: ApiKey) -> None:
        """As another process would."""
        self.store.keys[key.id] = replace(key, revoked_at=NOON)


def new_key(organization: OrganizationId) -> ApiKey:
    return ApiKey(
        id=ApiKeyId(uuid.uuid4()),
        organization_id=organization,
        created_by=None,
        name="ci",
        prefix="pp_0000000",
        digest=random.randbytes(32),
        created_at=NOON,
    )


def new_project(organization: OrganizationId, name: str = "bot") -> Project:
    return Project(
        id=ProjectId(uuid.uuid4()), organization_id=organization, name=name, created_at=NOON
    )


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def inner() -> Counted:
    return Counted()


@pytest.fixture
def keys(inner: Counted, clock: Hands) -> RememberedApiKeys:
    return RememberedApiKeys(inner, clock, SECONDS)


@pytest.fixture
def projects(inner: Counted, clock: Hands) -> RememberedProjects:
    return RememberedProjects(inner, clock, SECONDS)


async def turns(count: int = 5) -> None:
    """Lets every task that can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(holds) -> None:
    async with asyncio.timeout(SOON_S):
        while not holds():
            await asyncio.sleep(0)


# --- keys ----------------------------------------------------------------------------------------


async def test_a_key_is_asked_for_once_in_its_time(keys, inner, clock):
    key = inner.key()
    for _ in range(3):
        assert await keys.by_digest(key.digest) == key
        clock.forward(SECONDS / 3 - 0.001)
    assert inner.asked == 1


async def test_what_another_process_revoked_is_seen_when_its_time_is_over(keys, inner, clock):
    key = inner.key()
    await keys.by_digest(key.digest)
    inner.revoke(key)
    clock.forward(SECONDS - 0.001)
    assert (await keys.by_digest(key.digest)).revoked_at is None
    clock.forward(0.001)
    assert (await keys.by_digest(key.digest)).revoked_at == NOON


async def test_being_used_makes_no_answer_younger(keys, inner, clock):
    key = inner.key()
    for _ in range(SECONDS):
        await keys.by_digest(key.digest)
        await keys.mark_used({key.id: clock()})
        clock.forward(1)
    inner.revoke(key)
    assert (await keys.by_digest(key.digest)).revoked_at == NOON


async def test_a_clock_that_is_set_back_keeps_nothing_alive(keys, inner, clock):
    key = inner.key()
    await keys.by_digest(key.digest)
    inner.revoke(key)
    clock.forward(-3600)
    assert (await keys.by_digest(key.digest)).revoked_at == NOON


async def test_the_age_counts_from_the_question_not_from_the_answer(keys, inner, clock):
    key = inner.key()
    inner.gate = asyncio.Event()
    asking = asyncio.create_task(keys.by_digest(key.digest))
    await turns()
    clock.forward(SECONDS)
    inner.gate.set()
    assert await asking == key
    inner.revoke(key)
    assert (await keys.by_digest(key.digest)).revoked_at == NOON


async def test_zero_seconds_remember_nothing(inner, clock):
    keys, projects = RememberedApiKeys(inner, clock, 0), RememberedProjects(inner, clock, 0)
    key = inner.key()
    for _ in range(2):
        await keys.by_digest(key.digest)
        await projects.ensure(key.organization_id, new_project(key.organization_id))
    assert inner.asked == 4


@pytest.mark.parametrize("seconds", [-1, 30.001, float("nan")])
def test_longer_than_the_contract_allows_is_refused(inner, clock, seconds):
    with pytest.raises(ValueError, match="0 to 30"):
        RememberedApiKeys(inner, clock, seconds)


async def test_unknown_keys_are_asked_for_each_time(keys, inner):
    key = new_key(inner.organization())
    assert await keys.by_digest(key.digest) is None
    inner.store.keys[key.id] = key  # added by another process
    assert await keys.by_digest(key.digest) == key
    assert inner.asked == 2


async def test_a_key_that_is_added_while_it_is_asked_for_is_found_by_the_next(keys, inner):
    key = new_key(inner.organization())
    inner.gate = asyncio.Event()
    early = asyncio.create_task(keys.by_digest(key.digest))
    await turns()
    await keys.add(key)
    late = asyncio.create_task(keys.by_digest(key.digest))
    await turns()
    inner.gate.set()
    assert await late == key
    assert await early is None
    assert await keys.by_digest(key.digest) == key


async def test_an_answer_from_before_a_write_is_not_remembered(keys, inner):
    key = inner.key()
    gate = inner.gate = asyncio.Event()
    early = asyncio.create_task(keys.by_digest(key.digest))
    await turns()
    inner.gate = None
    await keys.mark_used({key.id: at(1)})
    gate.set()
    assert await early == key
    assert (await keys.by_digest(key.digest)).last_used_at == at(1)


async def test_a_failure_is_not_remembered(keys, inner):
    key = inner.key()
    inner.fail = Unavailable("down")
    for _ in range(2):
        with pytest.raises(Unavailable):
            await keys.by_digest(key.digest)
    inner.fail = None
    assert await keys.by_digest(key.digest) == key
    assert inner.asked == 3


async def test_a_failure_leaves_what_is_remembered(keys, inner):
    key = inner.key()
    await keys.by_digest(key.digest)
    inner.fail = Unavailable("down")
    assert await keys.by_digest(key.digest) == key


async def test_callers_at_once_share_one_question(keys, inner):
    key, other = inner.key(), inner.key()
    inner.gate = asyncio.Event()
    calls = [asyncio.create_task(keys.by_digest(key.digest)) for _ in range(50)]
    apart = asyncio.create_task(keys.by_digest(other.digest))
    await turns()
    assert inner.asked == 2
    inner.gate.set()
    assert await asyncio.gather(*calls) == [key] * 50
    assert await apart == other


async def test_callers_at_once_share_a_failure_and_the_next_asks_again(keys, inner):
    key = inner.key()
    inner.gate, inner.fail = asyncio.Event(), Unavailable("down")
    calls = [asyncio.create_task(keys.by_digest(key.digest)) for _ in range(5)]
    await turns()
    inner.gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert (inner.asked, {type(one) for one in results}) == (1, {Unavailable})
    inner.fail = None
    assert await keys.by_digest(key.digest) == key


@pytest.mark.parametrize("leaving", [0, 1, 2])
async def test_a_caller_who_gives_up_takes_nobody_along(keys, inner, leaving):
    key = inner.key()
    inner.gate = asyncio.Event()
    calls = [asyncio.create_task(keys.by_digest(key.digest)) for _ in range(3)]
    await turns()
    calls[leaving].cancel()
    await turns()
    inner.gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results.pop(leaving), asyncio.CancelledError)
    assert (results, inner.asked) == ([key, key], 1)


async def test_a_question_that_all_gave_up_on_fails_in_silence(keys, inner):
    told = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: told.append(context))
    try:
        key = inner.key()
        inner.gate, inner.fail = asyncio.Event(), Unavailable("down")
        call = asyncio.create_task(keys.by_digest(key.digest))
        await turns()
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        inner.gate.set()
        await turns()
    finally:
        loop.set_exception_handler(None)
    assert (told, inner.asked) == ([], 1)


async def test_the_oldest_answer_makes_room(keys, inner):
    organization = inner.organization()
    many = [new_key(organization) for _ in range(ENTRIES_MAX + 1)]
    for key in many:
        # The memory adapter looks through all keys: here one at a time is enough.
        inner.store.keys = {key.id: key}
        await keys.by_digest(key.digest)
    inner.store.keys = {key.id: key for key in (many[0], many[1])}
    before = inner.asked
    assert await keys.by_digest(many[1].digest) == many[1]
    assert await keys.by_digest(many[-1].digest) == many[-1]
    assert inner.asked == before
    assert await keys.by_digest(many[0].digest) == many[0]
    assert inner.asked == before + 1


# --- projects ------------------------------------------------------------------------------------


async def test_a_project_is_asked_for_once_in_its_time(projects, inner, clock):
    ours = inner.organization()
    first = await projects.ensure(ours, new_project(ours))
    assert await projects.ensure(ours, new_project(ours)) == first
    assert inner.asked == 1
    clock.forward(SECONDS)
    assert await projects.ensure(ours, new_project(ours)) == first
    assert inner.asked == 2


async def test_organizations_and_names_are_remembered_apart(projects, inner):
    ours, theirs = inner.organization(), inner.organization()
    wanted = [new_project(ours), new_project(ours, "Bot"), new_project(theirs)]
    made = [await projects.ensure(one.organization_id, one) for one in wanted]
    again = [await projects.ensure(one.organization_id, one) for one in wanted]
    assert made == again == wanted
    assert inner.asked == 3


async def test_first_calls_at_once_ask_once(projects, inner):
    ours = inner.organization()
    inner.gate = asyncio.Event()
    calls = [asyncio.create_task(projects.ensure(ours, new_project(ours))) for _ in range(50)]
    await turns()
    inner.gate.set()
    assert len({project.id for project in await asyncio.gather(*calls)}) == 1
    assert inner.asked == 1


async def test_an_organization_that_is_gone_is_asked_for_each_time(projects, inner):
    gone = OrganizationId(uuid.uuid4())
    for _ in range(2):
        with pytest.raises(NotFound):
            await projects.ensure(gone, new_project(gone))
    assert inner.asked == 2


# --- uses of keys --------------------------------------------------------------------------------


async def test_uses_are_written_by_themselves(inner):
    key = inner.key()
    async with RememberedKeyUses.over(inner, every_s=0.001) as uses:
        uses.noted(key.id, at(1))
        await until(lambda: inner.store.keys[key.id].last_used_at == at(1))
        uses.noted(key.id, at(61))
        await until(lambda: inner.store.keys[key.id].last_used_at == at(61))
    assert inner.batches == [{key.id: at(1)}, {key.id: at(61)}]


async def test_nothing_is_written_where_nothing_was_noted(inner):
    async with RememberedKeyUses.over(inner, every_s=0.001):
        await asyncio.sleep(0.02)
    assert inner.batches == []


async def test_a_key_is_noted_once_a_minute(inner):
    key = inner.key()
    async with RememberedKeyUses.over(inner, every_s=0.001) as uses:
        for second in range(180):
            uses.noted(key.id, at(second))
            await turns()
    written = [instant for batch in inner.batches for instant in batch.values()]
    assert len(written) <= 3
    assert inner.store.keys[key.id].last_used_at == at(120)


async def test_many_keys_are_written_in_one_go_when_the_block_is_left(inner):
    noted = [inner.key() for _ in range(20)]
    async with RememberedKeyUses.over(inner) as uses:
        for key in noted:
            uses.noted(key.id, at(1))
        assert inner.batches == []
    assert inner.batches == [{key.id: at(1) for key in noted}]


@pytest.mark.parametrize("error", [Unavailable("down"), RuntimeError("a fault of ours")])
async def test_a_database_that_is_away_delays_the_writing_only(inner, caplog, error):
    key, other = inner.key(), inner.key()
    inner.fail = error
    with caplog.at_level(logging.WARNING):
        async with RememberedKeyUses.over(inner, every_s=0.001) as uses:
            uses.noted(key.id, at(1))
            await until(lambda: inner.asked >= 2)
            uses.noted(key.id, at(61))
            uses.noted(other.id, at(2))
            inner.fail = None
            await until(lambda: inner.batches)
    assert inner.batches == [{key.id: at(61), other.id: at(2)}]
    assert "could not be written yet" in caplog.text


@pytest.mark.slow
async def test_a_database_that_never_answers_holds_up_no_stop(inner, caplog):
    key = inner.key()
    inner.gate = asyncio.Event()
    async with asyncio.timeout(SOON_S):
        async with RememberedKeyUses.over(inner, every_s=0.001) as uses:
            uses.noted(key.id, at(1))
            await until(lambda: inner.asked)
    assert inner.batches == []
    assert "were not written" in caplog.text


async def test_notes_are_bounded_while_the_database_is_away(inner):
    inner.fail = Unavailable("down")
    async with RememberedKeyUses.over(inner, every_s=0.001) as uses:
        for n in range(NOTES_MAX + 100):
            uses.noted(ApiKeyId(uuid.UUID(int=n)), at(n))
            if n % 1000 == 0:
                await until(lambda seen=inner.asked: inner.asked > seen)
        inner.fail = None
    [batch] = inner.batches
    assert len(batch) == NOTES_MAX
    assert ApiKeyId(uuid.UUID(int=NOTES_MAX + 99)) in batch
    assert ApiKeyId(uuid.UUID(int=0)) not in batch
