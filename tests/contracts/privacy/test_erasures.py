"""Contract of Erasures, run against every adapter."""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.postgres.database.tenants import within
from adapters.postgres.sharing.trace_links import INSERT_LINK, link_row
from application.ports import (
    IDEMPOTENCY_LOCK_TTL,
    IdempotencyLock,
    IdempotentRequest,
    StoredResponse,
)
from application.privacy.ports import ERASURES_IN_PROGRESS_MAX, Erasures
from domain.errors import Conflict, Invalid, NotFound, Unavailable
from domain.evaluation.runs.run import TargetType
from domain.evaluation.runs.selection import batch_as_given
from domain.evaluation.scores.outcome import FailCode, Failed, Scored
from domain.evaluation.scores.score import ScoreFilter
from domain.identity.api_key import ALL_SCOPES
from domain.identity.audit import AuditAction, AuditEntry
from domain.identity.caller import Caller
from domain.ids import ErasureId, OrganizationId, ProjectId
from domain.page import PageRequest
from domain.privacy.erasure import DataSubject, DataSubjectKind, Erasure, ErasureState
from domain.tracing.trace import Trace, TraceChange
from tests.contracts.evaluation.judging.test_judge_ledger import an_entry
from tests.contracts.evaluation.judging.test_verdict_cache import KEY, a_verdict
from tests.contracts.evaluation.scores.test_waiting_evaluations import of_trace
from tests.contracts.exports.test_exports import an_export
from tests.contracts.sharing.test_trace_links import a_link, found_organization
from tests.support.builders.scores import session_score, trace_score
from tests.support.builders.values import NOON, at, span, trace
from tests.support.fixtures.data_plane import (
    ALL,
    DataPlane,
    assert_summaries_match,
    fill,
    project,
    read_all_pages,
    stored_traces,
)
from tests.support.fixtures.erasures import an_erasure, audit_entry
from tests.support.fixtures.evaluation.evaluation import a_run, work_of
from tests.support.fixtures.in_memory_app import World

STEP_MAX = 1_000  # traces per step
STEPS_MAX = 20
GRACE, ADA = DataSubject(DataSubjectKind.USER, "grace"), DataSubject(DataSubjectKind.USER, "ada")
TALK = DataSubject(DataSubjectKind.SESSION, "talk")


def a_trace(**overrides: Any) -> Trace:
    return trace(
        span(model="gpt-4o", token_usage=b'{"prompt_tokens":3}'),
        span(),
        **{"session_id": "s", "user_id": GRACE.id, "tags": ("a",), "input": b"[1]"} | overrides,
    )


@dataclass(frozen=True, slots=True)
class ErasureFixture:
    """Erasures over a store, and their audit entries."""

    plane: DataPlane
    world: World
    entries: list[AuditEntry]

    @property
    def port(self) -> Erasures:
        return self.plane.privacy.erasures

    def add_entry(self, over: Erasure) -> AuditEntry:
        self.entries.append(audit_entry(over))
        return self.entries[-1]

    async def request(
        self, project_id: ProjectId, owner: DataSubject = GRACE, **overrides: Any
    ) -> Erasure:
        erasure = an_erasure(project_id, owner, **overrides)
        entry = audit_entry(erasure, AuditAction.ERASURE_REQUESTED)
        await self.port.begin(erasure, owner, entry)
        return erasure

    async def step(self, erasure: Erasure, now: datetime | None = None) -> Erasure:
        now = datetime.now(UTC) if now is None else now
        return await self.port.advance(erasure.project_id, erasure.id, now, self.add_entry)

    async def erase(self, project_id: ProjectId, owner: DataSubject = GRACE) -> Erasure:
        return await self.finish(await self.request(project_id, owner))

    async def finish(self, known: Erasure) -> Erasure:
        for _ in range(STEPS_MAX):
            if (known := await self.step(known)).state is ErasureState.REMOVED:
                return known
        raise AssertionError("the erasure does not end")

    async def found(self, erasure: Erasure, owner: DataSubject) -> tuple[Mapping[str, int], int]:
        found = await self.port.count_remaining(erasure, owner)
        return found.rows, found.traces_since


@pytest.fixture
def fixture(world: World) -> ErasureFixture:
    return ErasureFixture(DataPlane.from_ports(world.ports), world, [])


# --- what is erased ----------------------------------------------------------------------------


async def test_erases_everything_of_a_user_and_nothing_else(fixture):
    ours, plane = project(), fixture.plane
    mine = [a_trace(started_at=at(n)) for n in range(3)]
    others = [a_trace(user_id=ADA.id), a_trace(user_id=None, session_id="t")]
    await fill(plane, ours, *mine, *others)
    for one in (mine[0], mine[0], others[0]):
        await plane.evaluation.trace_scores.add(trace_score(ours, one.id))
    for one in (mine[1], others[1]):
        score = trace_score(ours, one.id, span_id=one.spans[0].id)
        await plane.evaluation.trace_scores.add(score)
    for session in ("s", "t"):
        await plane.evaluation.session_scores.add(session_score(ours, session))
    verdicts = plane.evaluation.judging.verdicts
    await verdicts.save(ours, KEY, mine[0].id, a_verdict(), NOON)
    erasure = await fixture.erase(ours)
    assert erasure.rows == {
        "judge_verdicts": 1,
        "session_scores": 1,
        "spans": 6,
        "trace_payloads": 3,
        "trace_scores": 3,
        "traces": 3,
    }
    assert {one.id for one in await stored_traces(plane, ours)} == {one.id for one in others}
    assert len(await assert_summaries_match(plane, ours)) == 2
    assert len(await plane.evaluation.trace_scores.latest(ours, others[0].id)) == 1
    [kept] = (await plane.evaluation.trace_scores.page(ours, ScoreFilter(of_spans=True), ALL)).items
    assert kept.trace_id == others[1].id
    # Scores of a session that lost a trace are about that trace too, so they are erased.
    scores = plane.evaluation.session_scores
    assert [len(await scores.by_session(ours, one)) for one in "st"] == [0, 1]
    assert await verdicts.find(ours, KEY, NOON) is None
    assert await fixture.found(erasure, GRACE) == ({}, 0)


async def test_erases_everything_of_a_session(fixture):
    ours, plane = project(), fixture.plane
    await fill(plane, ours, a_trace(session_id=TALK.id), a_trace(session_id=TALK.id, user_id="x"))
    kept = a_trace(session_id="s")
    await fill(plane, ours, kept)
    await plane.evaluation.session_scores.add(session_score(ours, TALK.id))
    erasure = await fixture.erase(ours, TALK)
    assert (erasure.rows["traces"], erasure.rows["session_scores"]) == (2, 1)
    assert [one.id for one in await stored_traces(plane, ours)] == [kept.id]
    assert await fixture.found(erasure, TALK) == ({}, 0)


@pytest.mark.parametrize("kind", DataSubjectKind)
async def test_erases_what_has_the_empty_id(fixture, kind):
    ours, plane, nameless = project(), fixture.plane, DataSubject(kind, "")
    label = "user_id" if kind is DataSubjectKind.USER else "session_id"
    kept = [a_trace(), a_trace(**{label: None})]
    await fill(plane, ours, a_trace(**{label: ""}), *kept)
    erasure = await fixture.erase(ours, nameless)
    assert erasure.rows["traces"] == 1
    assert {one.id for one in await stored_traces(plane, ours)} == {one.id for one in kept}
    assert await fixture.found(erasure, nameless) == ({}, 0)


async def test_erases_exports_that_may_contain_the_subject(fixture):
    ours, theirs, exports = project(), project(), fixture.world.ports.exporting.exports
    mine, others = an_export(ours), an_export(theirs)
    for one in (mine, others):
        await exports.create(one)
    claimed = mine.claimed(NOON + timedelta(minutes=1))
    await fixture.plane.traces.put(ours, a_trace())
    requested = await fixture.request(ours)
    assert await exports.all(ours) == []
    erasure = await fixture.finish(requested)
    assert erasure.rows["exports"] == 1
    assert [one.id for one in await exports.all(theirs)] == [others.id]
    assert not await exports.save(claimed, b"written by a worker that began before")
    assert await fixture.found(erasure, GRACE) == ({}, 0)
    await exports.delete(theirs, others.id)


async def test_erases_scores_and_names_of_session_without_traces(fixture):
    ours, evaluation, one = project(), fixture.plane.evaluation, a_trace(session_id=TALK.id)
    named = batch_as_given(TargetType.SESSION, [TALK.id, "other"])
    run = a_run(ours, 1, target_type=TargetType.SESSION, filters=named)
    [work] = work_of(run)
    await evaluation.runs.create(run, [replace(work, target=TALK.id)])
    entry = an_entry(project_id=ours, target=TALK.id)
    await evaluation.judging.ledger.append([entry, an_entry(project_id=ours, target="other")])
    await fill(fixture.plane, ours, one)
    await evaluation.session_scores.add(session_score(ours, TALK.id))
    await fixture.plane.traces.delete(ours, [one.id])
    erasure = await fixture.request(ours, TALK)
    other_rows = {"eval_jobs": 1, "judge_calls": 1, "session_scores": 1}
    assert await fixture.found(erasure, TALK) == (other_rows, 0)
    erasure = await fixture.step(erasure)
    assert (erasure.state, erasure.rows) == (ErasureState.REMOVED, other_rows | {"eval_runs": 1})
    assert await fixture.found(erasure, TALK) == ({}, 0)
    renamed = batch_as_given(TargetType.SESSION, [f"erased:{erasure.id}", "other"])
    assert (await evaluation.runs.get(ours, run.id)).run.filters == renamed


async def test_erases_evaluations_of_session_that_wait_for_their_trace(fixture):
    ours, theirs, plane = project(), project(), fixture.plane
    waiting, quoted = plane.evaluation.waiting_evaluations, DataSubject(TALK.kind, 'a "talk" é')
    late, about = a_trace(session_id="s"), {"value": "no \0 good", "reason": TALK.id}
    sent = [of_trace(late.id, session_id=one, **about) for one in ("t", TALK.id, quoted.id)]
    for project_id in (ours, theirs):
        await waiting.add(project_id, sent, NOON)
    for owner in (TALK, quoted):
        erasure = await fixture.request(ours, owner)
        assert await fixture.found(erasure, owner) == ({"waiting_evaluations": 1}, 0)
        assert (await fixture.step(erasure)).rows == {"waiting_evaluations": 1}
        assert await fixture.found(erasure, owner) == ({}, 0)
    for project_id, left in ((ours, ["t"]), (theirs, ["t", TALK.id, quoted.id])):
        await plane.traces.put(project_id, late)
        due = [one for one in await waiting.list_due() if one.project == project_id]
        assert {one.received.evaluation.session_id for one in due} == {*left}
        await waiting.delete(due)


async def test_evaluation_of_erased_trace_does_not_wait(fixture):
    ours, one, plane = project(), a_trace(), fixture.plane
    waiting, other = plane.evaluation.waiting_evaluations, a_trace(user_id=None)
    await fill(plane, ours, one)
    erasure = await fixture.erase(ours)
    assert await waiting.add(ours, [of_trace(one.id), of_trace(other.id)], NOON) == 0
    assert await fixture.found(erasure, GRACE) == ({}, 0)
    assert await fixture.port.delete_erased_ids(datetime.now(UTC) + timedelta(days=1)) > 0
    await fill(plane, ours, one, other)
    due = [found for found in await waiting.list_due() if found.project == ours]
    assert [found.received.trace for found in due] == [other.id]


async def test_erasure_without_data_is_removed_at_once(fixture):
    erasure = await fixture.step(await fixture.request(project()))
    assert (erasure.state, erasure.rows) == (ErasureState.REMOVED, {})


async def test_another_project_keeps_its_data(fixture):
    ours, theirs, one = project(), project(), a_trace()
    for project_id in (ours, theirs):
        await fill(fixture.plane, project_id, one)
    await fixture.erase(ours)
    assert [kept.id for kept in await stored_traces(fixture.plane, theirs)] == [one.id]
    await fixture.plane.traces.put(theirs, one)


# --- steps -------------------------------------------------------------------------------------


async def test_erasure_runs_in_steps_and_may_be_resumed(fixture):
    ours = project()
    for n in range(0, STEP_MAX + 1, 250):
        await fill(
            fixture.plane,
            ours,
            *(trace(user_id=GRACE.id) for _ in range(min(250, STEP_MAX + 1 - n))),
        )
    erasure = await fixture.request(ours)
    first = await fixture.step(erasure)
    assert (first.state, first.rows) == (ErasureState.REMOVING, {"traces": STEP_MAX})
    assert await fixture.port.get(ours, erasure.id) == first
    assert await fixture.found(first, GRACE) == ({"traces": 1}, 0)
    assert (ours, erasure.id) in await fixture.port.list_unfinished()
    second = await fixture.step(erasure)
    assert second.rows == {"traces": STEP_MAX + 1}
    assert (await fixture.step(erasure)).state is ErasureState.REMOVED
    assert (ours, erasure.id) not in await fixture.port.list_unfinished()


async def test_finished_erasure_is_final_and_audited_once(fixture):
    ours, now = project(), datetime.now(UTC)
    await fill(fixture.plane, ours, a_trace())
    erasure = await fixture.request(ours)
    await fixture.step(erasure, now)
    over = await fixture.step(erasure, now)
    assert (over.state, over.removed_at) == (ErasureState.REMOVED, now)
    assert await fixture.step(erasure, now + timedelta(days=1)) == over
    assert await fixture.port.get(ours, erasure.id) == over
    assert [one.detail for one in fixture.entries] == [{"sha256": over.sha256}]
    log = await fixture.world.ports.identity.directory.audit_log(
        erasure.organization_id, PageRequest()
    )
    assert {one.action for one in log.items} == {
        AuditAction.ERASURE_REQUESTED,
        AuditAction.ERASURE_FINISHED,
    }


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(hours=-1)])
async def test_end_is_by_the_clock_that_dates_traces(fixture, ahead):
    ours, organization = project(), OrganizationId(uuid.uuid4())
    privacy = fixture.world.with_ports(clock=lambda: datetime.now(UTC) + ahead).privacy
    caller = Caller(organization_id=organization, project_id=ours, scopes=ALL_SCOPES, name="key")
    await fill(fixture.plane, ours, a_trace(), a_trace())
    receipt = await privacy.erase_data_subject(caller, GRACE)
    assert (receipt.state, receipt.rows["traces"]) == (ErasureState.REMOVED, 2)
    await fill(fixture.plane, ours, a_trace())
    assert await fixture.found(receipt, GRACE) == ({}, 1)


async def test_concurrent_erasures_remove_each_trace_once(fixture):
    ours = project()
    await fill(fixture.plane, ours, *(a_trace() for _ in range(30)))
    first, second = await fixture.request(ours), await fixture.request(ours)
    await asyncio.gather(*(fixture.step(one) for one in (first, second, first, second)))
    ends = [await fixture.step(await fixture.step(one)) for one in (first, second)]
    assert [one.state for one in ends] == [ErasureState.REMOVED] * 2
    assert sum(one.rows.get("traces", 0) for one in ends) == 30
    assert list(await assert_summaries_match(fixture.plane, ours)) == []


async def test_unfinished_erasures_come_oldest_first(fixture):
    ours, long_ago = project(), NOON - timedelta(days=9_000)
    later = await fixture.request(ours, requested_at=long_ago + timedelta(seconds=1))
    sooner = await fixture.request(ours, requested_at=long_ago)
    found = [id_ for project_id, id_ in await fixture.port.list_unfinished() if project_id == ours]
    assert found == [sooner.id, later.id]
    for one in (sooner, later):
        await fixture.step(one)


async def test_erasures_under_way_per_project_are_limited(fixture):
    ours, last = project(), NOON + timedelta(days=9_000)
    request = [
        await fixture.request(ours, requested_at=last) for _ in range(ERASURES_IN_PROGRESS_MAX)
    ]
    with pytest.raises(Conflict):
        await fixture.request(ours, TALK)
    await fixture.step(await fixture.request(project()))
    await fixture.step(request[0])
    await fixture.step(await fixture.request(ours, TALK))
    for one in request[1:]:
        await fixture.step(one)


# --- late writes -------------------------------------------------------------------------------


async def test_erased_trace_is_not_stored_again(fixture):
    ours, one, traces = project(), a_trace(), fixture.plane.traces
    await fill(fixture.plane, ours, one)
    await fixture.erase(ours)
    with pytest.raises(Invalid) as refused:
        await traces.put(ours, replace(one, user_id=None))
    assert [error.field for error in refused.value.errors] == ["trace_id"]
    for write in (
        traces.add_spans(ours, one.id, [span()]),
        traces.change(ours, one.id, TraceChange(name="again")),
    ):
        with pytest.raises(NotFound):
            await write
    assert await stored_traces(fixture.plane, ours) == []


async def test_other_traces_of_same_batch_are_stored(fixture):
    ours, late = project(), [a_trace() for _ in range(3)]
    await fill(fixture.plane, ours, *late)
    await fixture.erase(ours)
    fresh = [a_trace(user_id="x", started_at=at(n)) for n in range(20)]
    sent = [one for pair in zip(fresh, [*late] * 7, strict=False) for one in pair]
    results = await asyncio.gather(
        *(fixture.plane.traces.put(ours, one) for one in sent), return_exceptions=True
    )
    refused = [isinstance(one, Invalid) for one in results]
    assert refused == [one in late for one in sent]
    assert {one.id for one in await stored_traces(fixture.plane, ours)} == {
        one.id for one, is_refused in zip(sent, refused, strict=True) if not is_refused
    }
    await assert_summaries_match(fixture.plane, ours)


async def test_erased_id_is_free_after_forgetting(fixture):
    ours, one, long_ago = project(), a_trace(), NOON - timedelta(days=9_000)
    await fill(fixture.plane, ours, one)
    erasure = await fixture.request(ours)
    await fixture.step(erasure, long_ago)
    await fixture.step(erasure)
    assert await fixture.port.delete_erased_ids(long_ago) == 0
    assert await fixture.port.delete_erased_ids(long_ago + timedelta(microseconds=1)) == 1
    await fixture.plane.traces.put(ours, one)
    assert len(await assert_summaries_match(fixture.plane, ours)) == 1


async def test_later_traces_of_subject_are_stored_and_counted(fixture):
    ours = project()
    await fill(fixture.plane, ours, a_trace(session_id=TALK.id))
    by_user, by_session = await fixture.erase(ours), await fixture.erase(ours, TALK)
    await fill(fixture.plane, ours, a_trace(session_id=TALK.id), a_trace())
    assert await fixture.found(by_user, GRACE) == ({}, 2)
    assert await fixture.found(by_session, TALK) == ({}, 1)


async def test_links_to_what_was_erased_are_found(fixture, adapter):
    """No code leaves one, so the test stores it behind the ports."""
    ours = await found_organization(fixture.world)
    erased, other = a_trace(), a_trace(user_id=ADA.id)
    await fill(fixture.plane, ours.project.id, erased, other)
    erasure = await fixture.erase(ours.project.id)
    for project_id in (erased, erased, other):
        link = a_link(ours, project_id.id)
        if adapter is None:
            fixture.plane.traces.store.trace_links[link.id] = link
        else:
            scope = (ours.project.id, ours.organization.id)
            await within(adapter, scope).execute(INSERT_LINK, *link_row(link))
    found, _ = await fixture.found(erasure, GRACE)
    assert found.keys() == {"trace_links"}


async def test_later_runs_that_name_erased_targets_are_not_reported_as_remaining(fixture):
    ours, plane, one = project(), fixture.plane, a_trace(session_id=TALK.id)
    await fill(plane, ours, one)
    erased = await fixture.erase(ours, TALK)
    later = datetime.now(UTC) + timedelta(minutes=1)
    of_trace = a_run(ours, 1, created_at=later)
    cancelled = a_run(ours, 1, created_at=later)
    of_session = a_run(ours, 1, target_type=TargetType.SESSION, created_at=later)
    named = ((of_trace, str(one.id)), (cancelled, str(one.id)), (of_session, TALK.id))
    for run, target in named:
        [work] = work_of(run)
        await plane.evaluation.runs.create(run, [replace(work, target=target)])
    ledger, queue = plane.evaluation.judging.ledger, fixture.world.ports.evaluation.work_queue
    await ledger.append([an_entry(project_id=ours, run_id=of_session.id, target=TALK.id)])
    await queue.plan(ours, cancelled.id, later)
    await plane.evaluation.runs.cancel(ours, cancelled.id, later)
    await queue.plan(ours, of_trace.id, later)
    [due] = await queue.dispatch(ours, later)
    claim = await queue.claim(ours, due.run, due.target, later)
    assert claim is not None
    first, second = claim.metrics
    assert await queue.record(claim, first, Failed(FailCode.TARGET_GONE), later)
    assert await fixture.found(erased, TALK) == ({}, 0)
    # A result that a worker has of the trace would be a remain, and a call of an earlier run.
    assert await queue.record(claim, second, Scored(0.5, "well done"), later)
    await ledger.append([an_entry(project_id=ours, target=TALK.id)])
    assert await fixture.found(erased, TALK) == ({"judge_calls": 1, "trace_scores": 1}, 0)


# --- receipts ----------------------------------------------------------------------------------


async def test_receipt_is_read_as_created(fixture):
    ours = project()
    erasure = await fixture.request(ours, TALK, salt=b"\x00\xff", digest=b"\xff" * 32)
    assert await fixture.port.get(ours, erasure.id) == erasure
    with pytest.raises(NotFound):
        await fixture.port.get(project(), erasure.id)
    with pytest.raises(NotFound):
        await fixture.port.get(ours, ErasureId(uuid.uuid4()))
    with pytest.raises(NotFound):
        await fixture.port.advance(project(), erasure.id, NOON, fixture.add_entry)


async def test_receipts_are_listed_newest_first(fixture):
    ours = project()
    made = [await fixture.request(ours, requested_at=at(n // 2)) for n in range(5)]
    await fixture.request(project())
    made.sort(key=lambda one: (one.requested_at, one.id), reverse=True)
    by_position, by_offset = await read_all_pages(lambda window: fixture.port.page(ours, window), 2)
    assert by_position == by_offset == made


async def test_erasures_of_removed_project_are_not_found(fixture):
    world = fixture.world
    ada = await world.person("ada")
    ours = (await world.do.identity.create_organization(ada, "Ours")).id
    gone = (await world.do.identity.create_project(ada, ours, "gone", "")).id
    erasure = await fixture.request(gone)
    await world.do.identity.delete_project(ada, ours, gone)
    assert (gone, erasure.id) not in await fixture.port.list_unfinished()
    assert (await fixture.port.page(gone, PageRequest())).total == 0
    with pytest.raises(NotFound):
        await fixture.port.get(gone, erasure.id)
    with pytest.raises(Unavailable):
        await fixture.request(gone)


# --- responses to writes -----------------------------------------------------------------------


DONE = StoredResponse(201, b'{"reason":"grace said so"}')


def a_write(project_id: ProjectId, target: str | None = None) -> IdempotentRequest:
    return IdempotentRequest(
        project=project_id,
        operation="POST /x",
        key=str(uuid.uuid4()),
        request_hash=b"h",
        target=target,
    )


async def begin_write(
    fixture: ErasureFixture, one: IdempotentRequest
) -> IdempotencyLock | StoredResponse | None:
    """Long after the first attempt, so that its lock has expired."""
    return await begin_write_at(fixture, one, NOON + IDEMPOTENCY_LOCK_TTL)


async def begin_write_at(
    fixture: ErasureFixture, one: IdempotentRequest, now: datetime
) -> IdempotencyLock | StoredResponse | None:
    return await fixture.world.ports.idempotency.begin(
        one, uuid.uuid4(), now, now + timedelta(hours=24)
    )


async def locked_write(
    fixture: ErasureFixture, project_id: ProjectId, target: str | None = None
) -> tuple[IdempotentRequest, IdempotencyLock]:
    one = a_write(project_id, target)
    found = await fixture.world.ports.idempotency.begin(
        one, uuid.uuid4(), NOON, NOON + timedelta(hours=24)
    )
    assert isinstance(found, IdempotencyLock)
    return one, found


async def answered_write(
    fixture: ErasureFixture, project_id: ProjectId, target: str | None = None
) -> tuple[IdempotentRequest, IdempotencyLock]:
    one, lock = await locked_write(fixture, project_id, target)
    await fixture.world.ports.idempotency.complete(one, lock, DONE)
    return one, lock


async def test_erases_all_stored_responses_of_project(fixture):
    ours = project()
    one, lock = await answered_write(fixture, ours)
    other, _ = await answered_write(fixture, project())
    erasure = await fixture.erase(ours)
    assert erasure.rows["replies"] == 1
    again = await begin_write(fixture, one)
    assert isinstance(again, IdempotencyLock)
    assert again.object_id == lock.object_id  # the write finds what it made
    assert await begin_write(fixture, other) == DONE
    assert await fixture.found(erasure, GRACE) == ({}, 0)


async def test_response_is_not_given_out_while_erasure_runs(fixture):
    ours = project()
    one, lock = await answered_write(fixture, ours)
    await fill(fixture.plane, ours, a_trace())
    erasure = await fixture.request(ours)
    assert await fixture.found(erasure, GRACE) == ({"traces": 1, "replies": 1}, 0)
    with pytest.raises(Conflict):
        await begin_write(fixture, replace(one, request_hash=b"another"))
    again = await begin_write(fixture, one)
    assert isinstance(again, IdempotencyLock)
    assert again.object_id == lock.object_id
    assert await begin_write(fixture, one) is None  # one retry at a time
    await fixture.step(await fixture.step(erasure))


async def test_what_began_while_erasure_ran_is_not_reported_as_remaining(fixture):
    ours, exports = project(), fixture.world.ports.exporting.exports
    erasure = await fixture.request(ours, requested_at=NOON - timedelta(seconds=1))
    over = await fixture.step(erasure, NOON + timedelta(seconds=1))
    assert over.state is ErasureState.REMOVED
    await answered_write(fixture, ours)  # at noon; slow on its way to the database
    await exports.create(an_export(ours))
    assert await fixture.found(over, GRACE) == ({}, 0)


async def test_retry_does_not_wait_for_lock_of_erased_response(fixture):
    ours = project()
    (one, lock), (late, _) = await answered_write(fixture, ours), await locked_write(fixture, ours)
    await fixture.erase(ours)
    again = await begin_write_at(fixture, one, NOON)
    assert isinstance(again, IdempotencyLock)
    assert again.object_id == lock.object_id
    assert await begin_write_at(fixture, late, NOON) is None  # its first attempt still runs


async def test_response_that_is_late_is_not_stored(fixture):
    ours = project()
    one, lock = await locked_write(fixture, ours)
    await fixture.erase(ours)
    assert await fixture.world.ports.idempotency.complete(one, lock, DONE) == DONE
    again = await begin_write(fixture, one)
    assert isinstance(again, IdempotencyLock)
    assert again.object_id == lock.object_id


async def test_response_without_text_is_kept(fixture):
    """Such as the refusal to show a secret again: doing the write again would show it."""
    ours = project()
    one = replace(a_write(ours), has_text=False)
    late = replace(a_write(ours), has_text=False)
    lock = await begin_write(fixture, one)
    assert isinstance(lock, IdempotencyLock)
    idempotency = fixture.world.ports.idempotency
    await idempotency.complete(one, lock, DONE)
    in_progress = await begin_write(fixture, late)
    assert isinstance(in_progress, IdempotencyLock)
    await fill(fixture.plane, ours, a_trace())
    erasure = await fixture.request(ours)
    assert await begin_write(fixture, one) == DONE  # while the erasure is active
    assert await fixture.found(erasure, GRACE) == ({"traces": 1}, 0)
    await fixture.step(await fixture.step(erasure))
    assert await begin_write(fixture, one) == DONE
    await idempotency.complete(late, in_progress, DONE)
    assert await begin_write(fixture, late) == DONE
    erased = await fixture.erase(ours)
    assert "replies" not in erased.rows
    assert await fixture.found(erased, GRACE) == ({}, 0)


async def test_erased_key_stays_with_its_request(fixture):
    ours = project()
    one, _ = await answered_write(fixture, ours)
    await fixture.erase(ours)
    with pytest.raises(Conflict):
        await begin_write(fixture, replace(one, request_hash=b"another"))


@pytest.mark.parametrize("way", ["delete", "delete session", "expire"])
async def test_deleting_a_trace_deletes_responses_about_it(fixture, way):
    world, plane = fixture.world, fixture.plane
    ada = await world.person("ada")
    home = (await world.do.identity.create_organization(ada, "Ours")).id
    ours, one, other = await world.project(home), a_trace(session_id=TALK.id), a_trace()
    await fill(plane, ours, one, other)
    quoting = [await answered_write(fixture, ours, target) for target in (str(one.id), TALK.id)]
    late, lock = await locked_write(fixture, ours, str(one.id))
    kept = [await answered_write(fixture, ours, target) for target in (str(uuid.uuid4()), None)]
    match way:
        case "delete":
            await plane.traces.delete(ours, [one.id])
            [kept_too] = quoting[1:]  # the scores of a session outlive its traces
            quoting, kept = quoting[:1], [*kept, kept_too]
        case "delete session":
            await plane.sessions.delete(ours, TALK.id)
        case "expire":
            await world.do.identity.change_retention(ada, home, ours, 1)
            await plane.privacy.expired.delete(ours, datetime.now(UTC) + timedelta(days=2))
    assert await world.ports.idempotency.complete(late, lock, DONE) == DONE
    for write, _ in [*quoting, (late, lock)]:
        assert isinstance(await begin_write(fixture, write), IdempotencyLock)
    for write, _ in kept:
        assert await begin_write(fixture, write) == DONE
