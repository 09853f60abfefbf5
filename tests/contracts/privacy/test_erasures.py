"""Contract of Erasures, run against every adapter."""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from application.privacy.ports import ERASURES_IN_PROGRESS_MAX, Erasures
from domain.errors import Conflict, Invalid, NotFound, Unavailable
from domain.evaluation.runs.run import TargetType
from domain.identity.audit import AuditAction, AuditEntry
from domain.ids import ErasureId, ProjectId
from domain.page import PageRequest
from domain.tracing.erasure import DataSubject, DataSubjectKind, Erasure, ErasureState
from domain.tracing.trace import Trace, TraceChange
from tests.contracts.evaluation.judging.test_judge_ledger import an_entry
from tests.contracts.evaluation.judging.test_verdict_cache import KEY, a_verdict
from tests.contracts.exporting.test_exports import an_export
from tests.support.builders.scores import session_score, trace_score
from tests.support.builders.values import NOON, at, span, trace
from tests.support.fixtures.data_plane import (
    DataPlane,
    assert_rolled_up,
    fill,
    project,
    stored,
    walked,
)
from tests.support.fixtures.erasures import an_erasure, told
from tests.support.fixtures.evaluation import a_run, work_of
from tests.support.fixtures.in_memory_app import World

STEP_MAX = 1_000  # traces of one step
STEPS_MAX = 20
GRACE, ADA = DataSubject(DataSubjectKind.USER, "grace"), DataSubject(DataSubjectKind.USER, "ada")
TALK = DataSubject(DataSubjectKind.SESSION, "talk")


def a_trace(**said: Any) -> Trace:
    return trace(
        span(model="gpt-4o", token_usage=b'{"prompt_tokens":3}'),
        span(),
        **{"session_id": "s", "user_id": GRACE.id, "tags": ("a",), "input": b"[1]"} | said,
    )


@dataclass(frozen=True, slots=True)
class Office:
    """Erasures over a store, and what they have told the audit log."""

    plane: DataPlane
    world: World
    told: list[AuditEntry]

    @property
    def port(self) -> Erasures:
        return self.plane.keeping.erasures

    def tell(self, over: Erasure) -> AuditEntry:
        self.told.append(told(over))
        return self.told[-1]

    async def begun(self, of: ProjectId, owner: DataSubject = GRACE, **said: Any) -> Erasure:
        erasure = an_erasure(of, owner, **said)
        entry = told(erasure, AuditAction.ERASURE_REQUESTED)
        await self.port.begin(erasure, owner, entry)
        return erasure

    async def step(self, erasure: Erasure, now: datetime | None = None) -> Erasure:
        now = datetime.now(UTC) if now is None else now
        return await self.port.advance(erasure.project_id, erasure.id, now, self.tell)

    async def erased(self, of: ProjectId, owner: DataSubject = GRACE) -> Erasure:
        known = await self.begun(of, owner)
        for _ in range(STEPS_MAX):
            if (known := await self.step(known)).state is ErasureState.REMOVED:
                return known
        raise AssertionError("it doesn't come to an end")

    async def found(self, erasure: Erasure, owner: DataSubject) -> tuple[Mapping[str, int], int]:
        found = await self.port.count_remaining(erasure, owner)
        return found.rows, found.traces_since


@pytest.fixture
def harness(world: World) -> Office:
    return Office(DataPlane.of(world.ports), world, [])


# --- what goes ---------------------------------------------------------------------------------


async def test_all_that_names_a_user_goes_and_nothing_else(harness):
    ours, plane = project(), harness.plane
    mine = [a_trace(started_at=at(n)) for n in range(3)]
    others = [a_trace(user_id=ADA.id), a_trace(user_id=None, session_id="t")]
    await fill(plane, ours, *mine, *others)
    for one in (mine[0], mine[0], others[0]):
        await plane.evaluation.trace_scores.add(trace_score(ours, one.id))
    for session in ("s", "t"):
        await plane.evaluation.session_scores.add(session_score(ours, session))
    verdicts = plane.evaluation.judging.verdicts
    await verdicts.keep(ours, KEY, mine[0].id, a_verdict(), NOON)
    erasure = await harness.erased(ours)
    assert erasure.rows == {
        "judge_verdicts": 1,
        "session_scores": 1,
        "spans": 6,
        "trace_payloads": 3,
        "trace_scores": 2,
        "traces": 3,
    }
    assert {one.id for one in await stored(plane, ours)} == {one.id for one in others}
    assert len(await assert_rolled_up(plane, ours)) == 2
    assert len(await plane.evaluation.trace_scores.latest(ours, others[0].id)) == 1
    # Scores of a session that lost a trace are about that trace as well.
    scores = plane.evaluation.session_scores
    assert [len(await scores.of_session(ours, one)) for one in "st"] == [0, 1]
    assert await verdicts.find(ours, KEY, NOON) is None
    assert await harness.found(erasure, GRACE) == ({}, 0)


async def test_all_of_a_session_goes(harness):
    ours, plane = project(), harness.plane
    await fill(plane, ours, a_trace(session_id=TALK.id), a_trace(session_id=TALK.id, user_id="x"))
    kept = a_trace(session_id="s")
    await fill(plane, ours, kept)
    await plane.evaluation.session_scores.add(session_score(ours, TALK.id))
    erasure = await harness.erased(ours, TALK)
    assert (erasure.rows["traces"], erasure.rows["session_scores"]) == (2, 1)
    assert [one.id for one in await stored(plane, ours)] == [kept.id]
    assert await harness.found(erasure, TALK) == ({}, 0)


async def test_files_that_may_hold_it_go_with_it(harness):
    ours, theirs, exports = project(), project(), harness.world.ports.exporting.exports
    mine, others = an_export(ours), an_export(theirs)
    for one in (mine, others):
        await exports.create(one)
    claimed = mine.claimed(NOON + timedelta(minutes=1))
    await harness.plane.traces.put(ours, a_trace())
    erasure = await harness.erased(ours)
    assert erasure.rows["exports"] == 1
    assert await exports.all(ours) == []
    assert [one.id for one in await exports.all(theirs)] == [others.id]
    assert not await exports.save(claimed, b"written by somebody who began before")
    assert await harness.found(erasure, GRACE) == ({}, 0)
    await exports.delete(theirs, others.id)


async def test_of_a_session_without_traces_scores_and_names_go(harness):
    ours, evaluation, one = project(), harness.plane.evaluation, a_trace(session_id=TALK.id)
    run = a_run(ours, 1, target_type=TargetType.SESSION)
    [work] = work_of(run)
    await evaluation.runs.create(run, [replace(work, target=TALK.id)])
    entry = an_entry(project_id=ours, target=TALK.id)
    await evaluation.judging.ledger.enter([entry, an_entry(project_id=ours, target="other")])
    await fill(harness.plane, ours, one)
    await evaluation.session_scores.add(session_score(ours, TALK.id))
    await harness.plane.traces.delete(ours, [one.id])
    erasure = await harness.begun(ours, TALK)
    beside = {"eval_jobs": 1, "judge_calls": 1, "session_scores": 1}
    assert await harness.found(erasure, TALK) == (beside, 0)
    erasure = await harness.step(erasure)
    assert (erasure.state, erasure.rows) == (ErasureState.REMOVED, beside)
    assert await harness.found(erasure, TALK) == ({}, 0)
    assert (await evaluation.runs.get(ours, run.id)).run.id == run.id


async def test_where_nothing_is_stored_it_is_over_at_once(harness):
    erasure = await harness.step(await harness.begun(project()))
    assert (erasure.state, erasure.rows) == (ErasureState.REMOVED, {})


async def test_another_project_keeps_its_own(harness):
    ours, theirs, one = project(), project(), a_trace()
    for of in (ours, theirs):
        await fill(harness.plane, of, one)
    await harness.erased(ours)
    assert [kept.id for kept in await stored(harness.plane, theirs)] == [one.id]
    await harness.plane.traces.put(theirs, one)


# --- how it goes -------------------------------------------------------------------------------


async def test_it_goes_in_steps_and_any_may_be_the_last_of_a_process(harness):
    ours = project()
    for n in range(0, STEP_MAX + 1, 250):
        await fill(
            harness.plane,
            ours,
            *(trace(user_id=GRACE.id) for _ in range(min(250, STEP_MAX + 1 - n))),
        )
    erasure = await harness.begun(ours)
    first = await harness.step(erasure)
    assert (first.state, first.rows) == (ErasureState.REMOVING, {"traces": STEP_MAX})
    assert await harness.port.get(ours, erasure.id) == first
    assert await harness.found(first, GRACE) == ({"traces": 1}, 0)
    assert (ours, erasure.id) in await harness.port.list_unfinished()
    second = await harness.step(erasure)
    assert second.rows == {"traces": STEP_MAX + 1}
    assert (await harness.step(erasure)).state is ErasureState.REMOVED
    assert (ours, erasure.id) not in await harness.port.list_unfinished()


async def test_what_is_over_stays_as_it_is_and_is_told_once(harness):
    ours, now = project(), datetime.now(UTC)
    await fill(harness.plane, ours, a_trace())
    erasure = await harness.begun(ours)
    await harness.step(erasure, now)
    over = await harness.step(erasure, now)
    assert (over.state, over.removed_at) == (ErasureState.REMOVED, now)
    assert await harness.step(erasure, now + timedelta(days=1)) == over
    assert await harness.port.get(ours, erasure.id) == over
    assert [one.detail for one in harness.told] == [{"sha256": over.sha256}]
    log = await harness.world.ports.directory.audit_log(erasure.organization_id, PageRequest())
    assert {one.action for one in log.items} == {
        AuditAction.ERASURE_REQUESTED,
        AuditAction.ERASURE_FINISHED,
    }


async def test_two_at_once_remove_each_trace_once(harness):
    ours = project()
    await fill(harness.plane, ours, *(a_trace() for _ in range(30)))
    first, second = await harness.begun(ours), await harness.begun(ours)
    await asyncio.gather(*(harness.step(one) for one in (first, second, first, second)))
    ends = [await harness.step(await harness.step(one)) for one in (first, second)]
    assert [one.state for one in ends] == [ErasureState.REMOVED] * 2
    assert sum(one.rows.get("traces", 0) for one in ends) == 30
    assert list(await assert_rolled_up(harness.plane, ours)) == []


async def test_the_oldest_unfinished_ones_come_first(harness):
    ours, long_ago = project(), NOON - timedelta(days=9_000)
    later = await harness.begun(ours, requested_at=long_ago + timedelta(seconds=1))
    sooner = await harness.begun(ours, requested_at=long_ago)
    found = [id_ for of, id_ in await harness.port.list_unfinished() if of == ours]
    assert found == [sooner.id, later.id]
    for one in (sooner, later):
        await harness.step(one)


async def test_no_more_than_some_are_under_way_in_a_project(harness):
    ours, last = project(), NOON + timedelta(days=9_000)
    begun = [await harness.begun(ours, requested_at=last) for _ in range(ERASURES_IN_PROGRESS_MAX)]
    with pytest.raises(Conflict):
        await harness.begun(ours, TALK)
    await harness.step(await harness.begun(project()))
    await harness.step(begun[0])
    await harness.step(await harness.begun(ours, TALK))
    for one in begun[1:]:
        await harness.step(one)


# --- what comes late ---------------------------------------------------------------------------


async def test_a_trace_that_was_erased_is_not_stored_again(harness):
    ours, one, traces = project(), a_trace(), harness.plane.traces
    await fill(harness.plane, ours, one)
    await harness.erased(ours)
    with pytest.raises(Invalid) as refused:
        await traces.put(ours, replace(one, user_id=None))
    assert [error.field for error in refused.value.errors] == ["trace_id"]
    for write in (
        traces.add_spans(ours, one.id, [span()]),
        traces.change(ours, one.id, TraceChange(name="again")),
    ):
        with pytest.raises(NotFound):
            await write
    assert await stored(harness.plane, ours) == []


async def test_others_of_the_same_batch_are_stored(harness):
    ours, late = project(), [a_trace() for _ in range(3)]
    await fill(harness.plane, ours, *late)
    await harness.erased(ours)
    fresh = [a_trace(user_id="x", started_at=at(n)) for n in range(20)]
    sent = [one for pair in zip(fresh, [*late] * 7, strict=False) for one in pair]
    results = await asyncio.gather(
        *(harness.plane.traces.put(ours, one) for one in sent), return_exceptions=True
    )
    refused = [isinstance(one, Invalid) for one in results]
    assert refused == [one in late for one in sent]
    assert {one.id for one in await stored(harness.plane, ours)} == {
        one.id for one, is_refused in zip(sent, refused, strict=True) if not is_refused
    }
    await assert_rolled_up(harness.plane, ours)


async def test_after_some_time_an_id_is_free_again(harness):
    ours, one, long_ago = project(), a_trace(), NOON - timedelta(days=9_000)
    await fill(harness.plane, ours, one)
    erasure = await harness.begun(ours)
    await harness.step(erasure, long_ago)
    await harness.step(erasure)
    assert await harness.port.delete_erased_ids(long_ago) == 0
    assert await harness.port.delete_erased_ids(long_ago + timedelta(microseconds=1)) == 1
    await harness.plane.traces.put(ours, one)
    assert len(await assert_rolled_up(harness.plane, ours)) == 1


async def test_what_a_user_does_afterwards_is_stored_and_told_apart(harness):
    ours = project()
    await fill(harness.plane, ours, a_trace(session_id=TALK.id))
    by_user, by_session = await harness.erased(ours), await harness.erased(ours, TALK)
    await fill(harness.plane, ours, a_trace(session_id=TALK.id), a_trace())
    assert await harness.found(by_user, GRACE) == ({}, 2)
    assert await harness.found(by_session, TALK) == ({}, 1)


# --- receipts ----------------------------------------------------------------------------------


async def test_a_receipt_is_read_as_it_was_made(harness):
    ours = project()
    erasure = await harness.begun(ours, TALK, salt=b"\x00\xff", digest=b"\xff" * 32)
    assert await harness.port.get(ours, erasure.id) == erasure
    with pytest.raises(NotFound):
        await harness.port.get(project(), erasure.id)
    with pytest.raises(NotFound):
        await harness.port.get(ours, ErasureId(uuid.uuid4()))
    with pytest.raises(NotFound):
        await harness.port.advance(project(), erasure.id, NOON, harness.tell)


async def test_receipts_are_listed_newest_first(harness):
    ours = project()
    made = [await harness.begun(ours, requested_at=at(n // 2)) for n in range(5)]
    await harness.begun(project())
    made.sort(key=lambda one: (one.requested_at, one.id), reverse=True)
    by_position, by_offset = await walked(lambda window: harness.port.page(ours, window), 2)
    assert by_position == by_offset == made


async def test_nothing_of_a_removed_project_is_found(harness):
    world = harness.world
    ada = await world.person("ada")
    ours = (await world.do.create_organization(ada, "Ours")).id
    gone = (await world.do.create_project(ada, ours, "gone", "")).id
    erasure = await harness.begun(gone)
    await world.do.delete_project(ada, ours, gone)
    assert (gone, erasure.id) not in await harness.port.list_unfinished()
    assert (await harness.port.page(gone, PageRequest())).total == 0
    with pytest.raises(NotFound):
        await harness.port.get(gone, erasure.id)
    with pytest.raises(Unavailable):
        await harness.begun(gone)
