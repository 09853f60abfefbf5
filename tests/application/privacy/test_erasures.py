"""Erasures: what a request does, what workers finish, and checking a receipt."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from adapters.memory.privacy.erasures import MemoryErasures
from application.privacy.erasures import ERASED_IDS_RETENTION, REQUEST_TIME_MAX
from domain.errors import Invalid, NotFound, Unavailable
from domain.identity.api_key import ALL_SCOPES
from domain.identity.audit import UNKNOWN_ORIGIN, AuditAction, Origin
from domain.identity.caller import Caller
from domain.ids import ErasureId
from domain.page import PageRequest
from domain.privacy.erasure import DataSubject, DataSubjectKind, ErasureState
from tests.support.builders.values import trace
from tests.support.fixtures.in_memory_app import World

GRACE = DataSubject(DataSubjectKind.USER, "grace")


@dataclass(frozen=True, slots=True)
class Slow:
    """Erasures of which each step takes a while, or can't be done."""

    inner: MemoryErasures
    world: World
    step: timedelta = timedelta()
    failures: list[Exception] = field(default_factory=list)

    async def advance(self, *arguments):
        self.world.now += self.step
        if self.failures:
            raise self.failures.pop(0)
        return await self.inner.advance(*arguments)

    def __getattr__(self, name):
        return getattr(self.inner, name)


@pytest.fixture
async def caller(world, ada, ours):
    of = await world.project(ours)
    return Caller(
        organization_id=ours,
        project_id=of,
        scopes=ALL_SCOPES,
        user_id=ada.user.id,
        name=ada.user.email,
        origin=Origin("192.0.2.7", "curl/8"),
    )


def slowly(world, **said):
    """The use cases over erasures that are slow."""
    slow = Slow(world.ports.privacy.erasures, world, **said)
    return world.with_ports(privacy=replace(world.ports.privacy, erasures=slow)).privacy


async def filled(world, caller, count=3):
    made = [trace(user_id=GRACE.id) for _ in range(count)]
    for one in made:
        await world.ports.tracing.traces.put(caller.project_id, one)
    return made


async def test_small_erasure_finishes_in_the_request_and_is_audited(world, ada, caller):
    await filled(world, caller)
    receipt = await world.do.privacy.erase_data_subject(caller, GRACE)
    assert (receipt.state, receipt.rows) == (ErasureState.REMOVED, {"traces": 3})
    assert (receipt.requested_at, receipt.requested_by.name) == (world.now, "ada@example.com")
    assert world.ports.tracing.traces.store.traces == {}
    log = {one.action: one for one in await world.log(caller.organization_id)}
    asked, over = log[AuditAction.ERASURE_REQUESTED], log[AuditAction.ERASURE_FINISHED]
    assert asked.actor == caller.actor
    assert over.actor == receipt.requested_by == replace(caller.actor, origin=UNKNOWN_ORIGIN)
    assert asked.resource_id == over.resource_id == str(receipt.id)
    reported = {"project_id": str(caller.project_id), "kind": "user"}
    assert asked.detail == reported
    assert over.detail == reported | {"receipt_sha256": receipt.sha256}


async def test_receipts_have_different_hashes(world, caller):
    first, second = [await world.do.privacy.erase_data_subject(caller, GRACE) for _ in range(2)]
    assert first.digest != second.digest
    assert (await world.do.privacy.erasures.page(caller.project_id, PageRequest())).total == 2


async def test_long_erasure_is_finished_by_workers(world, caller):
    await filled(world, caller)
    privacy = slowly(world, step=REQUEST_TIME_MAX + timedelta(seconds=1))
    receipt = await privacy.erase_data_subject(caller, GRACE)
    assert (receipt.state, receipt.rows) == (ErasureState.REMOVING, {"traces": 3})
    assert await privacy.finish_erasures() == 1
    over = await privacy.erasures.get(caller.project_id, receipt.id)
    assert (over.state, over.rows) == (ErasureState.REMOVED, receipt.rows)
    log = {one.action: one.at for one in await world.log(caller.organization_id)}
    assert log[AuditAction.ERASURE_FINISHED] == world.now > receipt.requested_at
    assert await privacy.finish_erasures() == 0


async def test_begun_erasure_returns_a_receipt_despite_failures(world, caller):
    await filled(world, caller)
    privacy = slowly(world, failures=[Unavailable("down"), Unavailable("still")])
    receipt = await privacy.erase_data_subject(caller, GRACE)
    assert receipt.state is ErasureState.REMOVING
    with pytest.raises(Unavailable):
        await privacy.finish_erasures()
    assert await privacy.finish_erasures() == 1


async def test_erasure_of_a_removed_project_delays_no_other(world, caller):
    first, second = [
        await slowly(world, failures=[Unavailable("down")]).erase_data_subject(caller, GRACE)
        for _ in range(2)
    ]
    assert await slowly(world, failures=[NotFound("gone")]).finish_erasures() == 1
    states = [(await world.do.privacy.erasures.get(caller.project_id, one.id)).state
              for one in (first, second)]  # fmt: skip
    assert sorted(states) == [ErasureState.REMOVED, ErasureState.REMOVING]


async def test_old_ids_of_erased_traces_are_deleted(world, caller):
    world.ports.tracing.traces.store.traces.clock = lambda: world.now
    [one] = await filled(world, caller, 1)
    await world.do.privacy.erase_data_subject(caller, GRACE)
    world.now += ERASED_IDS_RETENTION
    await world.do.privacy.finish_erasures()
    with pytest.raises(Invalid):
        await world.ports.tracing.traces.put(caller.project_id, one)
    world.forward(seconds=1)
    await world.do.privacy.finish_erasures()
    await world.ports.tracing.traces.put(caller.project_id, one)


async def test_ids_of_erased_traces_are_as_old_as_the_clock_of_the_storage_says(world, caller):
    """The storage has dated them; the clock of a process may be ahead by days."""
    world.ports.tracing.traces.store.traces.clock = lambda now=world.now: now
    [one] = await filled(world, caller, 1)
    await world.do.privacy.erase_data_subject(caller, GRACE)
    world.now += 2 * ERASED_IDS_RETENTION
    await world.do.privacy.finish_erasures()
    with pytest.raises(Invalid):
        await world.ports.tracing.traces.put(caller.project_id, one)


async def test_check_needs_the_data_subject_of_the_erasure(world, caller):
    receipt = await world.do.privacy.erase_data_subject(caller, GRACE)
    check = world.do.privacy.check_erasure
    known, found = await check(caller.project_id, receipt.id, GRACE)
    assert (known, found.is_nothing, found.traces_since) == (receipt, True, 0)
    for other, named in (
        (DataSubject(DataSubjectKind.USER, "grace "), "user_id"),
        (DataSubject(DataSubjectKind.SESSION, "grace"), "session_id"),
    ):
        with pytest.raises(Invalid) as refused:
            await check(caller.project_id, receipt.id, other)
        assert [error.field for error in refused.value.errors] == [named]
    with pytest.raises(NotFound):
        await check(caller.project_id, ErasureId(world.new_id()), GRACE)


@pytest.mark.parametrize("failure", [Unavailable("down"), KeyError("a bug")])
async def test_failing_erasure_delays_no_other(world, caller, failure):
    down = Unavailable("down")
    first, second = [
        await slowly(world, failures=[down]).erase_data_subject(caller, GRACE) for _ in range(2)
    ]
    with pytest.raises(type(failure)):
        await slowly(world, failures=[failure]).finish_erasures()
    states = {(await world.do.privacy.erasures.get(caller.project_id, one.id)).state
              for one in (first, second)}  # fmt: skip
    assert states == {ErasureState.REMOVED, ErasureState.REMOVING}
    assert await world.do.privacy.finish_erasures() == 1
