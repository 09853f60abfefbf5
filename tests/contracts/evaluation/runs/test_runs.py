"""Contract of Runs, run against every adapter."""

import asyncio
import uuid
from dataclasses import replace
from decimal import Decimal

import pytest

from domain.errors import Conflict, NotFound, Unavailable
from domain.evaluation.runs.run import Execution, RunStatus, Tally, TargetType, WorkItem
from domain.evaluation.runs.summary import summarize_run
from domain.evaluation.scores.outcome import Scored
from domain.evaluation.scores.score import ScoreChange, ScoreOutcome
from domain.ids import RunId, TraceId, UserId
from domain.page import PageRequest, Position
from tests.support.builders.custom_metric_definitions import a_definition
from tests.support.builders.values import NOON, trace
from tests.support.fixtures.data_plane import fill, project
from tests.support.fixtures.evaluation.evaluation import (
    BAD,
    GOOD,
    METRICS,
    a_run,
    all_scores,
    is_over,
    later,
    signal_of,
    target,
    work_of,
)

PENDING, RUNNING, COMPLETED, FAILED, CANCELLED = RunStatus
CORRECTED = ScoreChange(value="1.0")

# --- creating and reading --------------------------------------------------------------------


async def test_reads_return_run_as_created(evaluating):
    run = a_run(
        project(),
        name="nightly 🐼",
        filters=b'{"date_from":"2026-03-01","tags":["a"]}',
        sampling_rate=0.29,
        signal_weights={"confidence": 0.5, "other": 1e300},
        definitions=(a_definition(name="ü"), a_definition(revision=7, threshold=0.0)),
        monitor_id=uuid.uuid4(),
    )
    made = await evaluating.runs.create(run, work_of(run))
    assert made.run == run
    assert made.tally == Tally()
    assert await evaluating.progress(run) == made


async def test_create_with_existing_id_returns_stored_run(evaluating):
    run = a_run(project())
    await evaluating.start_run(run, work_of(run))
    again = await evaluating.runs.create(a_run(run.project_id, 5, id=run.id, name="other"), [])
    assert again == await evaluating.progress(run)
    assert (again.run.name, again.run.status) == (None, RUNNING)
    other = a_run(project(), id=run.id)  # of another project, so another run
    assert (await evaluating.runs.create(other, work_of(other))).run == other
    assert await evaluating.run(run) == again.run


async def test_run_without_targets_completes_when_created(evaluating):
    run = a_run(project(), 0)
    made = await evaluating.runs.create(run, [])
    assert (made.run.status, made.run.completed_at, made.tally) == (COMPLETED, NOON, Tally())
    assert await evaluating.progress(run) == made


async def test_runs_of_another_project_are_not_found(evaluating):
    run, theirs = a_run(project()), project()
    await evaluating.start_run(run, work_of(run))
    for ask in (
        evaluating.runs.get(theirs, run.id),
        evaluating.runs.failures(theirs, run.id),
        evaluating.runs.cancel(theirs, run.id, NOON),
        evaluating.runs.delete(theirs, run.id, NOON, with_scores=True),
    ):
        with pytest.raises(NotFound):
            await ask
    assert (await evaluating.run(run)).status is RUNNING
    page = await evaluating.runs.page(theirs, TargetType.TRACE, None, PageRequest())
    assert (list(page.items), page.total) == ([], 0)


async def test_page_lists_one_target_type_newest_first(evaluating):
    ours = project()
    made = [
        a_run(ours, id=RunId(uuid.UUID(int=n)), created_at=later(seconds=n // 2)) for n in range(5)
    ]
    for run in made:
        await evaluating.runs.create(run, work_of(run))
    session = a_run(ours, target_type=TargetType.SESSION, metrics=("agent_reliability",))
    await evaluating.runs.create(session, work_of(session))
    await evaluating.runs.cancel(ours, made[1].id, NOON)

    async def ids(status=None, **window):
        page = await evaluating.runs.page(ours, TargetType.TRACE, status, PageRequest(**window))
        return [one.run.id.int for one in page.items], page.total, page.end

    assert await ids() == ([4, 3, 2, 1, 0], 5, None)
    last = Position(made[3].created_at, made[3].id)
    assert await ids(limit=2) == ([4, 3], 5, last)
    assert await ids(limit=2, after=last) == ([2, 1], 5, Position(made[1].created_at, made[1].id))
    assert await ids(limit=2, offset=4) == ([0], 5, None)
    assert await ids(limit=2, offset=9) == ([], 5, None)
    assert await ids(CANCELLED) == ([1], 1, None)
    assert await ids(COMPLETED) == ([], 0, None)
    page = await evaluating.runs.page(ours, TargetType.SESSION, PENDING, PageRequest())
    assert [one.run for one in page.items] == [session]


async def test_page_reports_progress_of_each_run(evaluating):
    ours = project()
    run, other = a_run(ours), a_run(ours, 1, created_at=later(seconds=1))
    await evaluating.start_run(run, work_of(run))
    await evaluating.finish(await evaluating.claim_next(ours), BAD)
    await evaluating.start_run(other, work_of(other))
    page = await evaluating.runs.page(ours, TargetType.TRACE, None, PageRequest())
    assert [one.tally for one in page.items] == [
        Tally(pending=2),
        Tally(evaluated=1, pending=2, failed=2, codes={"rate_limited": 2}),
    ]
    assert [one.tally for one in page.items] == [
        (await evaluating.progress(one)).tally for one in (other, run)
    ]


async def test_results_are_the_present_scores_in_groups(evaluating):
    ours, (known, deleted) = project(), (trace(id=TraceId(uuid.UUID(int=n))) for n in range(2))
    await fill(evaluating.plane, ours, known, deleted)
    run = a_run(ours, 4)
    await evaluating.start_run(run, work_of(run))
    cached = Scored(0.8, "", {"judge_kind": "model", "threshold": 0.7, "cache": "hit"})
    low = Scored(0.2, "", {"judge_kind": "model", "threshold": 0.7})
    due = await evaluating.work_queue.dispatch(ours, NOON)
    for one, outcome in zip(due, (cached, low, BAD), strict=True):
        await evaluating.finish(await evaluating.claim(one), outcome)
    again, groups = await evaluating.runs.results(ours, run.id)
    assert again == await evaluating.run(run)
    first, second = summarize_run(run, groups)
    assert (first.metric, second.metric) == METRICS
    assert replace(second, metric=first.metric) == first
    assert (first.scored, first.failed, first.pending) == (2, 1, 1)
    assert (first.mean, first.counted) == (pytest.approx(0.5), 2)
    assert (first.threshold, first.passed, first.cache_hits) == (0.7, 1, 1)
    assert (first.judge_kind, first.codes) == ("model", {"rate_limited": 1})
    # Metadata that PostgreSQL can't read as JSON, and a correction; then a trace goes.
    [score] = [
        one
        for one in await evaluating.trace_scores.by_run(ours, run.id)
        if (one.trace_id, one.name) == (known.id, METRICS[0])
    ]
    hostile = ScoreChange(value="1", metadata=rb'{"cache":"hit","threshold":0.1,"n":"\u0000"}')
    await evaluating.trace_scores.change(ours, score.id, hostile, NOON, None)
    await evaluating.plane.traces.delete(ours, [deleted.id])
    first, second = summarize_run(run, (await evaluating.runs.results(ours, run.id))[1])
    assert (first.scored, first.counted, first.cache_hits, first.passed) == (1, 0, 0, None)
    assert (second.scored, second.counted, second.cache_hits, second.passed) == (1, 1, 1, 1)
    with pytest.raises(NotFound):
        await evaluating.runs.results(project(), run.id)


async def test_failures_include_signals(evaluating):
    ours, one = project(), trace(session_id="s0")
    await fill(evaluating.plane, ours, one)
    run = a_run(ours, 2, target_type=TargetType.SESSION, metrics=("agent_reliability",))
    await evaluating.start_run(run, work_of(run))
    claim = await evaluating.claim_next(ours)
    signal = signal_of(claim.run, one, "confidence").with_outcome(BAD, NOON)
    await evaluating.work_queue.record_signal(claim, signal, NOON)
    await evaluating.finish(claim, BAD)
    found, failed = await evaluating.runs.failures(ours, run.id)
    assert found == await evaluating.run(run)
    assert failed == [
        Execution(str(one.id), "confidence", ScoreOutcome.FAILED, "rate_limited"),
        Execution("s0", "agent_reliability", ScoreOutcome.FAILED, "rate_limited"),
    ]
    # A signal does not count in its run's tally.
    tally = (await evaluating.progress(run)).tally
    assert (tally.failed, tally.pending, tally.evaluated) == (1, 1, 1)


# --- cancelling ------------------------------------------------------------------------------


async def test_cancelling_skips_remaining_work_and_blocks_claims(evaluating):
    ours = project()
    run = await evaluating.start_run(first := a_run(ours, 4), work_of(first))
    due = await evaluating.work_queue.dispatch(ours, NOON)
    await evaluating.work_queue.close([done := await evaluating.claim(due[0])], NOON)
    held = await evaluating.claim(due[1])
    assert await evaluating.work_queue.record(held, METRICS[0], BAD, NOON)
    over = await evaluating.runs.cancel(ours, run.id, later(seconds=5))
    assert (over.run.status, over.run.completed_at) == (CANCELLED, later(seconds=5))
    codes = {"internal": 2, "rate_limited": 1}
    assert over.tally == Tally(evaluated=1, failed=3, skipped=5, codes=codes)
    assert await evaluating.progress(run) == over
    assert not await evaluating.work_queue.is_live(held)
    for one in (*due, *(target(run, n) for n in range(4))):
        name = one if isinstance(one, str) else one.target
        assert await evaluating.work_queue.claim(ours, run.id, name, later(days=1)) is None
    assert not await evaluating.work_queue.record(held, METRICS[1], BAD, NOON)
    assert await evaluating.work_queue.close([held], NOON) == ()
    assert await evaluating.work_queue.dispatch(ours, NOON) == []
    assert await evaluating.progress(run) == over
    skipped = [one for one in await evaluating.scores(run) if one.code == "cancelled"]
    assert len(skipped) == 5
    assert {(one.reason, one.updated_at) for one in skipped} == {
        ("Skipped: the run was cancelled", later(seconds=5))
    }
    assert done.run.id == run.id


@pytest.mark.parametrize("planned", [False, True])
async def test_second_cancellation_changes_nothing(evaluating, planned):
    run = a_run(project())
    await evaluating.runs.create(run, work_of(run))
    if planned:
        await evaluating.work_queue.plan(run.project_id, run.id, NOON)
    over = await evaluating.runs.cancel(run.project_id, run.id, later(seconds=1))
    assert over.run.status is CANCELLED
    assert await evaluating.runs.cancel(run.project_id, run.id, later(seconds=2)) == over
    assert not await evaluating.work_queue.plan(run.project_id, run.id, NOON)
    assert len(await evaluating.scores(run)) == (4 if planned else 0)


async def test_ended_run_cannot_be_cancelled(evaluating):
    run = a_run(project())
    await evaluating.start_run(run, work_of(run))
    await evaluating.finish_all(run.project_id)
    over = await evaluating.progress(run)
    with pytest.raises(Conflict):
        await evaluating.runs.cancel(run.project_id, run.id, NOON)
    assert await evaluating.progress(run) == over


# --- deleting --------------------------------------------------------------------------------


@pytest.mark.parametrize("with_scores", [False, True])
@pytest.mark.parametrize("state", ["pending", "running", "completed"])
async def test_run_is_deleted_in_any_state(evaluating, state, with_scores):
    ours, one = project(), trace(session_id="s0")
    await fill(evaluating.plane, ours, one)
    run = a_run(ours, 2, target_type=TargetType.SESSION, metrics=("agent_reliability",))
    other = a_run(ours, 1, created_at=later(seconds=1))
    await evaluating.runs.create(run, work_of(run))
    if state != "pending":
        await evaluating.work_queue.plan(ours, run.id, NOON)
        due = await evaluating.work_queue.dispatch(ours, NOON)
        claim = await evaluating.claim(due[0])
        signal = signal_of(run, one, "confidence").with_outcome(BAD, NOON)
        await evaluating.work_queue.record_signal(claim, signal, NOON)
        await evaluating.finish(claim)
        if state == "completed":
            await evaluating.finish(await evaluating.claim(due[1]))
    assert (await evaluating.run(run)).status.lower() == state
    await evaluating.start_run(other, work_of(other))
    kept = {one.id: one for one in await evaluating.scores(run)}
    await evaluating.runs.delete(ours, run.id, later(hours=1), with_scores=with_scores)
    with pytest.raises(NotFound):
        await evaluating.runs.get(ours, run.id)
    assert await evaluating.scores(run) == []
    left = await all_scores(evaluating, ours)
    assert {score.run_id for score in left} <= {None, other.id}
    of_run = [score for score in left if score.run_id is None]
    assert {score.id for score in of_run} == (set() if with_scores else kept.keys())
    assert ScoreOutcome.PENDING not in {score.outcome for score in of_run}
    assert await evaluating.work_queue.claim(ours, run.id, "s1", later(days=1)) is None
    assert (await evaluating.run(other)).status is RUNNING
    with pytest.raises(NotFound):
        await evaluating.runs.delete(ours, run.id, NOON, with_scores=with_scores)


@pytest.mark.parametrize("of", TargetType)
async def test_scores_of_other_authors_stay_if_authors_are_named(evaluating, of):
    run = a_run(project(), 3, target_type=of, metrics=METRICS[:1])
    await evaluating.start_run(run, work_of(run))
    await evaluating.runs.cancel(run.project_id, run.id, NOON)
    of_sessions = of is TargetType.SESSION
    scores = evaluating.session_scores if of_sessions else evaluating.trace_scores
    ada, eve = (UserId(uuid.uuid4()) for _ in "ab")
    given = dict(zip((ada, eve, None), await evaluating.scores(run), strict=True))
    for author in (ada, eve):
        change = ScoreChange(reason="wrong")
        await scores.change(run.project_id, given[author].id, change, NOON, author)
    await evaluating.runs.delete(run.project_id, run.id, NOON, with_scores=True, authors=[ada])
    [left] = await all_scores(evaluating, run.project_id)
    assert (left.id, left.author_id, left.run_id) == (given[eve].id, eve, None)


async def test_run_with_the_id_of_a_deleted_one_starts_with_a_new_budget(evaluating):
    run, limit = a_run(project(), 1, max_cost_usd=Decimal(1)), Decimal(1)
    budgets = evaluating.plane.evaluation.judging.budgets
    await evaluating.runs.create(run, work_of(run))
    spent = await budgets.reserve(run.project_id, run.id, limit, Decimal("0.9"), NOON)
    assert spent is not None
    await evaluating.runs.delete(run.project_id, run.id, NOON, with_scores=False)
    await evaluating.runs.create(run, work_of(run))
    again = await budgets.reserve(run.project_id, run.id, limit, Decimal("0.9"), later(seconds=1))
    assert again is not None
    await budgets.settle(run.project_id, spent, Decimal(0))
    assert await budgets.reserve(run.project_id, run.id, limit, Decimal("0.2"), NOON) is None


async def test_run_is_deleted_once_by_concurrent_deletions(evaluating):
    run = a_run(project())
    await evaluating.start_run(run, work_of(run))
    ended = await asyncio.gather(
        *(evaluating.runs.delete(run.project_id, run.id, NOON, with_scores=True) for _ in range(4)),
        return_exceptions=True,
    )
    assert ended.count(None) == 1
    assert {type(one) for one in ended if one is not None} == {NotFound}


async def test_runs_of_removed_project_are_not_found(evaluating):
    run = a_run(project())
    await evaluating.start_run(run, work_of(run))
    await evaluating.remove(run.project_id)
    for ask in (
        evaluating.runs.get(run.project_id, run.id),
        evaluating.runs.failures(run.project_id, run.id),
        evaluating.runs.cancel(run.project_id, run.id, NOON),
        evaluating.runs.delete(run.project_id, run.id, NOON, with_scores=False),
    ):
        with pytest.raises(NotFound):
            await ask
    page = await evaluating.runs.page(run.project_id, TargetType.TRACE, None, PageRequest())
    assert page.total == 0
    for new in (a_run(run.project_id), run):
        with pytest.raises(Unavailable):
            await evaluating.runs.create(new, work_of(new))


# --- tally -----------------------------------------------------------------------------------


async def test_tally_of_ended_run_ignores_later_edits_of_scores(evaluating):
    ours = project()
    run = a_run(ours, 3)
    await evaluating.start_run(run, work_of(run))
    due = await evaluating.work_queue.dispatch(ours, NOON)
    for n, one in enumerate(due):
        await evaluating.finish(await evaluating.claim(one), BAD if n else GOOD)
    over = await evaluating.progress(run)
    assert is_over(over.run)
    assert over.tally == Tally(evaluated=3, scored=2, failed=4, codes={"rate_limited": 4})
    failed = [one for one in await evaluating.scores(run) if one.outcome is ScoreOutcome.FAILED]
    await evaluating.trace_scores.change(ours, failed[0].id, CORRECTED, NOON, None)
    assert await evaluating.trace_scores.delete(ours, failed[1].id)
    assert await evaluating.progress(run) == over
    _, left = await evaluating.runs.failures(ours, run.id)
    assert len(left) == 2


async def test_tally_of_closed_target_ignores_later_edits_of_scores(evaluating):
    ours = project()
    run = a_run(ours, 3)
    await evaluating.start_run(run, work_of(run))
    claim = await evaluating.claim_next(ours)
    await evaluating.finish(claim, BAD)
    [failed, _] = [one for one in await evaluating.scores(run) if one.code]
    await evaluating.trace_scores.change(ours, failed.id, CORRECTED, NOON, None)
    tally = (await evaluating.progress(run)).tally
    assert tally == Tally(evaluated=1, pending=4, failed=2, codes={"rate_limited": 2})


async def test_tally_of_target_in_flight_follows_its_scores(evaluating):
    ours = project()
    run = a_run(ours, 2)
    await evaluating.start_run(run, work_of(run))
    assert (await evaluating.progress(run)).tally == Tally(pending=4)
    claim = await evaluating.claim_next(ours)
    assert await evaluating.work_queue.record(claim, METRICS[0], BAD, NOON)
    tally = Tally(pending=3, failed=1, codes={"rate_limited": 1})
    assert (await evaluating.progress(run)).tally == tally
    scores = [one for one in await evaluating.scores(run) if one.code]
    await evaluating.trace_scores.change(ours, scores[0].id, CORRECTED, NOON, None)
    assert (await evaluating.progress(run)).tally == Tally(pending=3, scored=1)


async def test_targets_may_have_different_metrics(evaluating):
    run = a_run(project())
    work = [WorkItem(target(run, n), (METRICS[n],)) for n in range(2)]
    await evaluating.start_run(run, work)
    assert await evaluating.outcomes(run) == {
        (one.target, one.metrics[0]): "pending" for one in work
    }
    await evaluating.finish_all(run.project_id)
    over = await evaluating.progress(run)
    assert (over.run.status, over.tally) == (COMPLETED, Tally(evaluated=2, scored=2))
