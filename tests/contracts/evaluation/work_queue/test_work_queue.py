"""Contract of WorkQueue, run against every adapter."""

import uuid
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from application.evaluation.ports.work_queue import (
    ANNOUNCE_TIMEOUT,
    ATTEMPTS_MAX,
    LEASE,
    PLANNED_TARGETS_BATCH,
    RENEW_DEBOUNCE,
    SignalKey,
)
from application.jobs import EvaluateTargetJob, PlanRunJob
from domain.evaluation.runs.run import RunStatus, RunWait, Tally, TargetType, WorkItem
from domain.evaluation.scores.outcome import FailCode, Failed, Scored, SkipCode, Skipped
from domain.evaluation.scores.score import (
    DataType,
    ScoreChange,
    ScoreOutcome,
    ScoreSource,
    TraceScore,
)
from domain.ids import RunId, ScoreId
from domain.page import PageRequest
from tests.support.builders.values import NOON, trace
from tests.support.fixtures.data_plane import fill, project
from tests.support.fixtures.evaluation.evaluation import (
    BAD,
    GOOD,
    METRICS,
    WINDOW,
    a_run,
    all_scores,
    later,
    signal_of,
    target,
    work_of,
)

PENDING, RUNNING, COMPLETED, FAILED, CANCELLED = RunStatus
CORRECTED = ScoreChange(value="1.0", reason="I looked", metadata=b'{"by":"me"}')
SESSIONS = {"target_type": TargetType.SESSION, "metrics": ("agent_reliability",)}

# --- planning --------------------------------------------------------------------------------


async def test_planning_writes_row_per_pair_and_starts_run(evaluating):
    ours, known = project(), trace(environment="prod")
    await fill(evaluating.plane, ours, known)
    run = a_run(ours)
    work = [WorkItem(str(known.id), METRICS), WorkItem(target(run, 7), METRICS[1:])]
    await evaluating.runs.create(run, work)
    assert await evaluating.scores(run) == []
    assert not await evaluating.work_queue.plan(ours, run.id, later(seconds=3))
    assert (await evaluating.run(run)).status is RUNNING
    scores = await evaluating.scores(run)
    assert {(str(one.trace_id), one.name, one.id, one.environment) for one in scores} == {
        *((str(known.id), name, run.score_id(str(known.id), name), "prod") for name in METRICS),
        (target(run, 7), METRICS[1], run.score_id(target(run, 7), METRICS[1]), None),
    }
    assert {(one.outcome, one.source, one.created_at, one.metadata) for one in scores} == {
        (ScoreOutcome.PENDING, ScoreSource.AUTOMATED, later(seconds=3), b"{}")
    }


async def test_session_run_has_session_rows(evaluating):
    run = a_run(project(), 2, **SESSIONS)
    await evaluating.start_run(run, work_of(run))
    assert await evaluating.trace_scores.by_run(run.project_id, run.id) == []
    scores = await evaluating.session_scores.by_run(run.project_id, run.id)
    assert {one.session_id for one in scores} == {"s0", "s1"}


async def test_large_run_is_planned_in_batches_and_starts_after_last(evaluating):
    run = a_run(project(), PLANNED_TARGETS_BATCH + 1, metrics=METRICS[:1])
    await evaluating.runs.create(run, work_of(run))
    assert await evaluating.work_queue.plan(run.project_id, run.id, NOON)
    assert (await evaluating.run(run)).status is PENDING
    assert (await evaluating.progress(run)).tally.pending == PLANNED_TARGETS_BATCH
    assert await evaluating.work_queue.dispatch(run.project_id, NOON) == []
    assert not await evaluating.work_queue.plan(run.project_id, run.id, NOON)
    assert (await evaluating.run(run)).status is RUNNING
    assert (await evaluating.progress(run)).tally.pending == run.targets
    assert not await evaluating.work_queue.plan(run.project_id, run.id, NOON)


async def test_deleted_or_foreign_run_is_not_planned(evaluating):
    run = a_run(project())
    await evaluating.runs.create(run, work_of(run))
    assert not await evaluating.work_queue.plan(project(), run.id, NOON)
    assert (await evaluating.run(run)).status is PENDING
    await evaluating.runs.delete(run.project_id, run.id, NOON, with_scores=True)
    assert not await evaluating.work_queue.plan(run.project_id, run.id, NOON)
    assert await evaluating.scores(run) == []


async def test_run_stored_again_after_its_delete_evaluates_again(evaluating):
    """As by closing an experiment again. A person's value stays, and is the run's again."""
    run = a_run(project())
    await evaluating.start_run(run, work_of(run))
    await evaluating.finish_all(run.project_id, BAD)
    corrected = run.score_id(target(run, 1), METRICS[0])
    await evaluating.trace_scores.change(run.project_id, corrected, CORRECTED, NOON, None)
    await evaluating.runs.delete(run.project_id, run.id, NOON, with_scores=False)
    await evaluating.start_run(run, work_of(run), later(hours=1))
    await evaluating.finish_all(run.project_id, GOOD, later(hours=1))
    assert (await evaluating.progress(run)).tally == Tally(evaluated=2, scored=4)
    values = {one.id: one.value for one in await evaluating.scores(run)}
    assert values == {
        run.score_id(target(run, n), metric): "0.75" for n in range(2) for metric in METRICS
    } | {corrected: "1.0"}
    assert len(await all_scores(evaluating, run.project_id)) == 4


# --- dispatching -----------------------------------------------------------------------------


async def test_targets_in_flight_are_limited_by_window(evaluating):
    ours = project()
    run = a_run(ours, WINDOW + 3)
    await evaluating.start_run(run, work_of(run))
    first = await evaluating.work_queue.dispatch(ours, NOON)
    assert [one.target for one in first] == [target(run, n) for n in range(WINDOW)]
    assert await evaluating.work_queue.dispatch(ours, NOON) == []
    claims = [await evaluating.claim(one) for one in first]
    assert await evaluating.work_queue.dispatch(ours, NOON) == []
    # The next targets replace those that are closed.
    assert [one.target for one in await evaluating.finish(claims[1])] == [target(run, WINDOW)]
    other = a_run(project(), 1)  # whose project has its own window
    await evaluating.start_run(other, work_of(other))
    assert len(await evaluating.work_queue.dispatch(other.project_id, NOON)) == 1


@pytest.mark.parametrize(
    ("metric", "weights", "asks_judge"),
    [
        ("agent_reliability", {}, True),
        ("agent_reliability_v2", {}, False),
        ("agent_reliability_v2", {"confidence": 1.0}, True),
        ("session_error_rate", {"confidence": 1.0}, False),
    ],
)
async def test_session_dispatch_tells_whether_a_signal_asks_judge(
    evaluating, metric, weights, asks_judge
):
    of = {"metrics": (metric,), "signal_weights": weights, "model": "openai/m"}
    run = a_run(project(), 1, **SESSIONS | of)
    await evaluating.start_run(run, work_of(run))
    [due] = await evaluating.work_queue.dispatch(run.project_id, NOON)
    assert due.asks_judge is asks_judge


async def test_dispatch_alternates_between_runs(evaluating):
    ours = project()
    large, small = a_run(ours, 9), a_run(ours, 2, created_at=later(seconds=1))
    await evaluating.start_run(large, work_of(large))
    first = await evaluating.work_queue.dispatch(ours, NOON)
    await evaluating.start_run(small, work_of(small))
    order = [
        (due.run, due.target)
        for one in first
        for due in await evaluating.finish(await evaluating.claim(one))
    ]
    # First the run with fewer targets in flight; among equals, the older one.
    assert order == [(small.id, target(small, 0)), *((large.id, target(large, n)) for n in (3, 4))]


async def test_runs_that_start_together_share_the_window(evaluating):
    ours = project()
    runs = [a_run(ours, 9, created_at=later(seconds=n)) for n in range(2)]
    for run in runs:
        await evaluating.start_run(run, work_of(run))
    due = await evaluating.work_queue.dispatch(ours, NOON)
    assert [one.run for one in due] == [runs[0].id, runs[1].id, runs[0].id]


@pytest.mark.parametrize(
    ("metrics", "model", "asks"),
    [
        (("tool_success_rate",), "openai/gpt-5-mini", False),
        (("task_completion", "tool_success_rate"), "openai/gpt-5-mini", True),
        (("task_completion", "tool_success_rate"), "heuristic/1", False),
        (("coherence",), "heuristic/1", True),
        (("of an older version",), "heuristic/1", True),
    ],
)
async def test_dispatch_tells_whether_metrics_ask_judge(evaluating, metrics, model, asks):
    run = a_run(project(), 1, metrics=metrics, model=model)
    await evaluating.start_run(run, work_of(run))
    due = await evaluating.work_queue.dispatch(run.project_id, NOON)
    assert due == [EvaluateTargetJob(run.project_id, run.id, target(run, 0), asks)]


# --- claiming --------------------------------------------------------------------------------


async def test_claim_is_exclusive_until_lease_expires(evaluating):
    ours = project()
    run = await evaluating.start_run(first := a_run(ours), work_of(first))
    [due, other] = await evaluating.work_queue.dispatch(ours, NOON)
    claim = await evaluating.claim(due)
    assert (claim.run, claim.target, claim.metrics, claim.attempt) == (run, due.target, METRICS, 1)

    async def again(**period):
        at = later(**period)
        return await evaluating.work_queue.claim(ours, run.id, due.target, at)

    assert await again() is None
    assert await again(seconds=LEASE.total_seconds() - 1) is None
    second = await again(seconds=LEASE.total_seconds())
    assert second is not None
    assert second.attempt == 2
    assert (await evaluating.claim(other)).attempt == 1


async def test_claim_leaves_out_the_filters_of_its_run(evaluating):
    run = a_run(project(), 1, filters=b'{"trace_ids":["a"]}', max_cost_usd=Decimal(2))
    await evaluating.start_run(run, work_of(run))
    claim = await evaluating.claim_next(run.project_id)
    assert claim.run == replace(await evaluating.run(run), filters=b"{}")
    await evaluating.finish(claim)
    assert (await evaluating.run(run)).filters == run.filters


async def test_undispatched_target_cannot_be_claimed(evaluating):
    run = a_run(project())
    await evaluating.runs.create(run, work_of(run))
    for planned in (False, True):
        if planned:
            await evaluating.work_queue.plan(run.project_id, run.id, NOON)
        for one in (target(run, 0), target(run, 9), "no such thing"):
            assert await evaluating.work_queue.claim(run.project_id, run.id, one, NOON) is None
    [due, _] = await evaluating.work_queue.dispatch(run.project_id, NOON)
    assert await evaluating.work_queue.claim(project(), run.id, due.target, NOON) is None
    assert (await evaluating.claim(due)).attempt == 1


async def test_second_claim_contains_open_metrics_only(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    [due] = await evaluating.work_queue.dispatch(run.project_id, NOON)
    claim = await evaluating.claim(due)
    assert await evaluating.work_queue.record(claim, METRICS[0], GOOD, NOON)
    again = await evaluating.claim(due, later(minutes=2))
    assert (again.metrics, again.attempt) == (METRICS[1:], 2)
    assert await evaluating.work_queue.record(again, METRICS[1], GOOD, later(minutes=2))
    last = await evaluating.claim(due, later(minutes=4))
    assert last.metrics == ()
    await evaluating.work_queue.close([last], later(minutes=4))
    assert (await evaluating.run(run)).status is COMPLETED


async def test_target_is_dead_after_last_attempt(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    [due] = await evaluating.work_queue.dispatch(run.project_id, NOON)
    dead, now = await evaluating.work_queue.count_dead(), NOON
    for n in range(ATTEMPTS_MAX):
        assert (await evaluating.claim(due, now)).attempt == n + 1
        now += LEASE
    last = await evaluating.work_queue.claim(due.project, due.run, due.target, now)
    assert last is None
    over = await evaluating.progress(run)
    assert (over.run.status, over.run.completed_at) == (FAILED, now)
    assert over.tally == Tally(evaluated=1, failed=2, codes={"internal": 2})
    assert await evaluating.work_queue.count_dead() == dead + 1
    await evaluating.runs.delete(run.project_id, run.id, NOON, with_scores=True)
    assert await evaluating.work_queue.count_dead() == dead


async def test_target_that_is_put_back_after_its_last_attempt_is_dead(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    [due] = await evaluating.work_queue.dispatch(run.project_id, NOON)
    attempts = [await evaluating.claim(due, NOON + n * LEASE) for n in range(ATTEMPTS_MAX)]
    now = NOON + ATTEMPTS_MAX * LEASE
    code = FailCode.RATE_LIMITED
    await evaluating.work_queue.postpone(attempts[-1], now + LEASE, code, now)
    over = await evaluating.progress(run)
    assert (over.run.status, over.tally.codes) == (FAILED, {code: 2})
    await evaluating.runs.delete(run.project_id, run.id, NOON, with_scores=True)


# --- recording and closing -------------------------------------------------------------------


async def test_outcome_is_written_once_and_in_place(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    claim = await evaluating.claim_next(run.project_id)
    before = (await evaluating.scores(run))[0]
    assert await evaluating.work_queue.record(claim, METRICS[0], GOOD, later(seconds=9))
    assert not await evaluating.work_queue.record(claim, METRICS[0], BAD, later(seconds=10))
    assert not await evaluating.work_queue.record(claim, "coherence", GOOD, NOON)
    score = (await evaluating.scores(run))[0]
    assert score == before.with_outcome(GOOD, later(seconds=9))
    assert (score.value, score.judge_kind, score.created_at) == ("0.75", "measured", NOON)


@pytest.mark.parametrize(
    "outcome",
    [
        Skipped(SkipCode.NO_TOOLS, metadata={"tools": []}),
        Failed(FailCode.BAD_VERDICT, "said \ud800 and \x00"),
        Scored(0.1, "a \x00 b", {"per": {"\ud800": [float(1)]}, "n": None}),
    ],
    ids=["skipped", "failed", "odd text"],
)
async def test_outcome_is_stored_in_full(evaluating, outcome):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    claim = await evaluating.claim_next(run.project_id)
    before = (await evaluating.scores(run))[0]
    assert await evaluating.work_queue.record(claim, METRICS[0], outcome, NOON)
    assert (await evaluating.scores(run))[0] == before.with_outcome(outcome, NOON)


async def test_record_all_leaves_out_recorded_metrics(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    claim = await evaluating.claim_next(run.project_id)
    first, second = await evaluating.scores(run)
    outcomes = {METRICS[0]: GOOD, METRICS[1]: BAD, "coherence": GOOD}
    assert await evaluating.work_queue.record_all(claim, {METRICS[1]: GOOD}, NOON) == 1
    assert await evaluating.work_queue.record_all(claim, outcomes, NOON) == 1
    assert await evaluating.scores(run) == [
        first.with_outcome(GOOD, NOON),
        second.with_outcome(GOOD, NOON),
    ]
    assert await evaluating.work_queue.record_all(claim, {}, NOON) == 0


async def test_record_all_writes_nothing_if_one_outcome_is_invalid(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    claim = await evaluating.claim_next(run.project_id)
    before = await evaluating.scores(run)
    odd = Scored(0.5, "", {"label": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        await evaluating.work_queue.record_all(claim, {METRICS[0]: GOOD, METRICS[1]: odd}, NOON)
    assert await evaluating.scores(run) == before


async def test_correction_is_not_overwritten(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    claim = await evaluating.claim_next(run.project_id)
    waiting, detailed = await evaluating.scores(run)
    change = evaluating.trace_scores.change
    edited = await change(run.project_id, waiting.id, CORRECTED, NOON, None)
    details = ScoreChange(reason="wait", metadata=b'{"a":1}')
    detailed = await change(run.project_id, detailed.id, details, NOON, None)
    assert not await evaluating.work_queue.record(claim, METRICS[0], BAD, NOON)
    assert await evaluating.work_queue.record(claim, METRICS[1], BAD, NOON)
    assert await evaluating.scores(run) == [edited, detailed.with_outcome(BAD, NOON)]


async def test_correction_survives_cancellation(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    edited, detailed = await evaluating.scores(run)
    change = evaluating.trace_scores.change
    edited = await change(run.project_id, edited.id, CORRECTED, NOON, None)
    details = ScoreChange(metadata=b'{"code":"mine","a":1.50}')
    detailed = await change(run.project_id, detailed.id, details, NOON, None)
    over = await evaluating.runs.cancel(run.project_id, run.id, later(seconds=1))
    assert await evaluating.scores(run) == [edited, detailed.cancelled(later(seconds=1))]
    assert over.tally == Tally(skipped=1)


async def test_recording_renews_lease(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    [due] = await evaluating.work_queue.dispatch(run.project_id, NOON)
    claim, almost = await evaluating.claim(due), LEASE - timedelta(seconds=1)
    assert await evaluating.work_queue.record(claim, METRICS[0], GOOD, NOON + almost)
    again = (due.project, due.run, due.target)
    assert await evaluating.work_queue.claim(*again, NOON + LEASE) is None
    second = await evaluating.work_queue.claim(*again, NOON + almost + LEASE)
    assert second is not None
    # A worker that has lost the target does not renew its lease for the other.
    late = NOON + almost + 2 * LEASE
    assert await evaluating.work_queue.record(claim, METRICS[1], GOOD, late)
    assert await evaluating.work_queue.claim(*again, late) is not None


async def test_lease_renewed_recently_is_not_renewed_again(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    claim = await evaluating.claim_next(run.project_id)
    soon = NOON + RENEW_DEBOUNCE - timedelta(microseconds=1)
    assert await evaluating.work_queue.record(claim, METRICS[0], GOOD, soon)
    again = (run.project_id, run.id, claim.target)
    assert await evaluating.work_queue.claim(*again, NOON + LEASE) is not None


async def test_closing_last_target_ends_run(evaluating):
    run = a_run(project())
    await evaluating.start_run(run, work_of(run))
    due = await evaluating.work_queue.dispatch(run.project_id, NOON)
    claims = [await evaluating.claim(one) for one in due]
    await evaluating.finish(claims[0], BAD)
    assert (await evaluating.run(run)).status is RUNNING
    assert await evaluating.work_queue.is_live(claims[1])
    await evaluating.finish(claims[1], BAD, later(seconds=7))
    over = await evaluating.progress(run)
    assert over.tally == Tally(evaluated=2, failed=4, codes={"rate_limited": 4})
    assert over.run == run.started().settled(over.tally, later(seconds=7))
    assert over.run.status is FAILED
    assert not await evaluating.work_queue.is_live(claims[1])


async def test_closing_fails_open_metrics(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    claim = await evaluating.claim_next(run.project_id)
    assert await evaluating.work_queue.record(claim, METRICS[0], GOOD, NOON)
    await evaluating.work_queue.close([claim], later(seconds=1))
    scores = await evaluating.scores(run)
    assert [(one.outcome.value, one.code) for one in scores] == [
        ("scored", None),
        ("failed", "internal"),
    ]
    assert (await evaluating.run(run)).status is COMPLETED


async def test_lost_claim_cannot_close_postpone_or_release(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    [due] = await evaluating.work_queue.dispatch(run.project_id, NOON)
    lost = await evaluating.claim(due)
    claim = await evaluating.claim(due, NOON + LEASE)
    assert await evaluating.work_queue.close([lost], NOON + LEASE) == ()
    await evaluating.work_queue.postpone(lost, NOON, FailCode.QUOTA, NOON + LEASE)
    await evaluating.work_queue.release(lost, NOON + LEASE)
    again = (due.project, due.run, due.target)
    assert await evaluating.work_queue.claim(*again, NOON + LEASE) is None
    assert (await evaluating.progress(run)).tally == Tally(pending=2)
    await evaluating.finish(claim)
    await evaluating.work_queue.release(claim, NOON + LEASE)
    assert (await evaluating.run(run)).status is COMPLETED
    assert await evaluating.work_queue.close([claim], NOON) == ()


async def test_targets_of_several_runs_are_closed_together(evaluating):
    ours = project()
    first, second = a_run(ours), a_run(ours, 1, **SESSIONS)
    await evaluating.start_run(first, work_of(first))
    done, lost = [
        await evaluating.claim(one) for one in await evaluating.work_queue.dispatch(ours, NOON)
    ]
    await evaluating.start_run(second, work_of(second))
    open_, again = [
        await evaluating.claim_next(ours),
        await evaluating.work_queue.claim(ours, first.id, lost.target, NOON + LEASE),
    ]
    for metric in METRICS:
        assert await evaluating.work_queue.record(done, metric, GOOD, NOON)
    await evaluating.work_queue.close([open_, lost, done], NOON)
    assert await evaluating.outcomes(first) == {
        **{(done.target, metric): "scored" for metric in METRICS},
        **{(lost.target, metric): "pending" for metric in METRICS},
    }
    assert (await evaluating.run(first)).status is RUNNING
    assert set((await evaluating.outcomes(second)).values()) == {"failed"}
    assert (await evaluating.run(second)).status is FAILED
    assert again is not None
    await evaluating.work_queue.close([again], NOON + LEASE)
    assert (await evaluating.run(first)).status is COMPLETED


async def test_target_with_deleted_trace_ends_without_scores(evaluating):
    ours, known = project(), trace()
    await fill(evaluating.plane, ours, known)
    run = a_run(ours, 1)
    await evaluating.start_run(run, [WorkItem(str(known.id), METRICS)])
    claim = await evaluating.claim_next(ours)
    await evaluating.plane.traces.delete(ours, [known.id])
    assert not await evaluating.work_queue.record(claim, METRICS[0], GOOD, NOON)
    await evaluating.work_queue.close([claim], NOON)
    over = await evaluating.progress(run)
    assert (over.run.status, over.tally) == (COMPLETED, Tally(evaluated=1))


# --- releasing -------------------------------------------------------------------------------


async def test_released_target_is_claimed_at_once_and_its_attempt_does_not_count(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    queue = evaluating.work_queue
    [due] = await queue.dispatch(run.project_id, NOON)
    claim = await evaluating.claim(due)
    assert await queue.record(claim, METRICS[0], GOOD, NOON)
    for _ in range(ATTEMPTS_MAX + 1):
        await queue.release(claim, NOON)
        assert [one for one in await queue.requeue_overdue(NOON) if one.run == run.id] == [due]
        claim = await evaluating.claim(due)
        assert (claim.metrics, claim.attempt) == (METRICS[1:], 1)
    await queue.postpone(claim, NOON, FailCode.QUOTA, NOON)
    second = await evaluating.claim(due)
    await queue.release(second, NOON)
    assert (await evaluating.claim(due)).attempt == 2


async def test_released_target_keeps_its_place_in_the_window(evaluating):
    ours = project()
    run = a_run(ours, WINDOW + 1)
    await evaluating.start_run(run, work_of(run))
    due = (await evaluating.work_queue.dispatch(ours, NOON))[0]
    await evaluating.work_queue.release(await evaluating.claim(due), NOON)
    assert await evaluating.work_queue.dispatch(ours, NOON) == []


# --- postponing ------------------------------------------------------------------------------


async def test_postponed_target_is_claimed_when_due(evaluating):
    ours = project()
    run = a_run(ours, WINDOW + 1)
    await evaluating.start_run(run, work_of(run))
    due = (await evaluating.work_queue.dispatch(ours, NOON))[0]
    claim = await evaluating.claim(due)
    assert await evaluating.work_queue.record(claim, METRICS[0], GOOD, NOON)
    until = later(minutes=10)
    await evaluating.work_queue.postpone(claim, until, FailCode.RATE_LIMITED, NOON)
    early = until - timedelta(seconds=1)
    again = (due.project, due.run, due.target)
    assert await evaluating.work_queue.claim(*again, early) is None
    # it keeps its place in the window
    assert await evaluating.work_queue.dispatch(ours, early) == []
    second = await evaluating.claim(due, until)
    assert (second.metrics, second.attempt) == (METRICS[1:], 2)


async def test_postponed_targets_leave_room_for_other_runs(evaluating):
    """So a provider that limits the rate delays no metric that needs no judge."""
    ours, queue = project(), evaluating.work_queue
    limited = a_run(ours, WINDOW + 2)
    await evaluating.start_run(limited, work_of(limited))
    for due in await queue.dispatch(ours, NOON):
        claim = await evaluating.claim(due)
        await queue.postpone(claim, later(hours=1), FailCode.RATE_LIMITED, NOON)
    assert await queue.dispatch(ours, NOON) == []
    others = [a_run(ours, WINDOW, created_at=later(seconds=n)) for n in (1, 2)]
    await evaluating.start_run(others[0], work_of(others[0]))
    assert [due.run for due in await queue.dispatch(ours, NOON)] == [others[0].id] * WINDOW
    await evaluating.start_run(others[1], work_of(others[1]))
    assert await queue.dispatch(ours, NOON) == []
    for n in range(WINDOW):
        claim = await queue.claim(ours, others[0].id, target(others[0], n), NOON)
        await queue.postpone(claim, later(hours=1), FailCode.RATE_LIMITED, NOON)
    found = [due for due in await queue.requeue_overdue(NOON) if due.project == ours]
    assert [due.run for due in found] == [others[1].id] * WINDOW


async def test_clock_that_is_behind_claims_what_another_dispatched(evaluating):
    """Else its message is lost, and the target waits for the next one."""
    ours, queue = project(), evaluating.work_queue
    for n in range(2):
        run = a_run(ours, WINDOW, created_at=later(seconds=n))
        await evaluating.start_run(run, work_of(run))
    due = await queue.dispatch(ours, later(seconds=9))
    assert len(due) == WINDOW
    assert await queue.dispatch(ours, NOON) == []  # it isn't postponed, and leaves no room
    assert (await evaluating.claim(due[0], NOON)).attempt == 1
    assert [due for due in await queue.requeue_overdue(NOON) if due.project == ours] == []


async def test_postponing_last_attempt_makes_target_dead(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    [due] = await evaluating.work_queue.dispatch(run.project_id, NOON)
    dead = await evaluating.work_queue.count_dead()
    for _ in range(ATTEMPTS_MAX):
        claim = await evaluating.claim(due)
        await evaluating.work_queue.postpone(claim, NOON, FailCode.PROVIDER_ERROR, NOON)
    assert await evaluating.work_queue.claim(due.project, due.run, due.target, NOON) is None
    over = await evaluating.progress(run)
    assert (over.run.status, over.tally.codes) == (FAILED, {"provider_error": 2})
    assert await evaluating.work_queue.count_dead() == dead + 1


async def test_dead_target_keeps_code_of_its_postponement(
    evaluating,
):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    [due] = await evaluating.work_queue.dispatch(run.project_id, NOON)
    claim = await evaluating.claim(due)
    await evaluating.work_queue.postpone(claim, NOON, FailCode.RATE_LIMITED, NOON)
    for n in range(ATTEMPTS_MAX):
        again = (due.project, due.run, due.target)
        await evaluating.work_queue.claim(*again, NOON + n * LEASE)
    over = await evaluating.progress(run)
    assert (over.run.status, over.tally.codes) == (FAILED, {"rate_limited": 2})


# --- overdue jobs ----------------------------------------------------------------------------


async def overdue(evaluating, ours, now):
    """Returns the overdue jobs of one project, since other tests share the database."""
    return [one for one in await evaluating.work_queue.requeue_overdue(now) if one.project == ours]


async def test_unplanned_run_is_announced_again(evaluating):
    run = a_run(project())
    ours, due = run.project_id, PlanRunJob(run.project_id, run.id)
    await evaluating.runs.create(run, work_of(run))
    assert await overdue(evaluating, ours, NOON + ANNOUNCE_TIMEOUT - timedelta(seconds=1)) == []
    assert await overdue(evaluating, ours, NOON + ANNOUNCE_TIMEOUT) == [due]
    assert await overdue(evaluating, ours, NOON + 1.5 * ANNOUNCE_TIMEOUT) == []
    assert await overdue(evaluating, ours, NOON + 2 * ANNOUNCE_TIMEOUT) == [due]


async def test_interrupted_plan_is_announced_again(evaluating):
    run = a_run(project(), PLANNED_TARGETS_BATCH + 1, metrics=METRICS[:1])
    await evaluating.runs.create(run, work_of(run))
    await evaluating.work_queue.plan(run.project_id, run.id, NOON + ANNOUNCE_TIMEOUT)
    assert await overdue(evaluating, run.project_id, NOON + ANNOUNCE_TIMEOUT) == []
    assert await overdue(evaluating, run.project_id, NOON + 2 * ANNOUNCE_TIMEOUT) == [
        PlanRunJob(run.project_id, run.id)
    ]


async def test_lost_message_is_announced_again(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    [due] = await evaluating.work_queue.dispatch(run.project_id, NOON)
    assert await overdue(evaluating, run.project_id, NOON + ANNOUNCE_TIMEOUT / 2) == []
    assert await overdue(evaluating, run.project_id, NOON + ANNOUNCE_TIMEOUT) == [due]
    assert await overdue(evaluating, run.project_id, NOON + 1.5 * ANNOUNCE_TIMEOUT) == []
    assert (await evaluating.claim(due, NOON + ANNOUNCE_TIMEOUT)).attempt == 1


async def test_target_of_dead_worker_is_announced_again(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    [due] = await evaluating.work_queue.dispatch(run.project_id, NOON)
    lost = await evaluating.claim(due)
    assert await overdue(evaluating, run.project_id, NOON + LEASE / 2) == []
    assert await overdue(evaluating, run.project_id, NOON + LEASE) == [due]
    assert await evaluating.work_queue.close([lost], NOON + LEASE) == ()
    assert (await evaluating.claim(due, NOON + LEASE)).attempt == 2


async def test_postponed_target_is_announced_when_due(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    [due] = await evaluating.work_queue.dispatch(run.project_id, NOON)
    until = later(minutes=10)
    claim = await evaluating.claim(due)
    await evaluating.work_queue.postpone(claim, until, FailCode.RATE_LIMITED, NOON)
    assert await overdue(evaluating, run.project_id, until - timedelta(seconds=1)) == []
    assert await overdue(evaluating, run.project_id, until) == [due]


async def test_run_says_what_postponed_targets_wait_for(evaluating):
    run = a_run(project(), 3)
    await evaluating.start_run(run, work_of(run))
    runs, of = evaluating.runs, (run.project_id, run.id)
    assert (await runs.get(*of)).waiting_for is None
    due = await evaluating.work_queue.dispatch(run.project_id, NOON)
    assert (await runs.get(*of)).waiting_for is None
    codes = (FailCode.RATE_LIMITED, FailCode.PROVIDER_ERROR)
    for one, minutes, code in zip(due, (20, 10), codes, strict=False):
        claim = await evaluating.claim(one)
        await evaluating.work_queue.postpone(claim, later(minutes=minutes), code, NOON)
    expected = RunWait(FailCode.PROVIDER_ERROR, later(minutes=10), 2)
    assert (await runs.get(*of)).waiting_for == expected
    page = await runs.page(run.project_id, run.target_type, None, PageRequest())
    assert [one.waiting_for for one in page.items] == [expected]
    await evaluating.claim(due[1], later(minutes=10))
    assert (await runs.get(*of)).waiting_for == RunWait(codes[0], later(minutes=20), 1)
    assert (await runs.cancel(*of, later(minutes=11))).waiting_for is None


async def test_unfilled_window_is_filled(evaluating):
    run = a_run(project(), WINDOW + 2)
    await evaluating.start_run(run, work_of(run))  # and then the worker died
    found = await overdue(evaluating, run.project_id, NOON)
    assert [one.target for one in found] == [target(run, n) for n in range(WINDOW)]
    assert await overdue(evaluating, run.project_id, NOON) == []


async def test_oldest_waiting_reports_age_of_oldest_job(evaluating):
    ours = project()
    longest, age = timedelta(days=4_000), timedelta(days=4_001)
    now, begin = NOON, NOON - age

    async def waits():
        found = await evaluating.work_queue.oldest_wait(now)
        return found is not None and found >= longest

    run = a_run(ours, 1, created_at=begin)
    await evaluating.runs.create(run, work_of(run))
    assert await evaluating.work_queue.oldest_wait(now) == age
    assert await evaluating.work_queue.oldest_wait(begin) == timedelta()
    await evaluating.work_queue.plan(ours, run.id, begin)
    assert not await waits()
    [due] = await evaluating.work_queue.dispatch(ours, begin)
    assert await waits()
    await evaluating.claim(due, begin)
    assert await evaluating.work_queue.oldest_wait(now) == age - LEASE
    assert await overdue(evaluating, ours, begin + LEASE) == [due]
    assert await evaluating.work_queue.oldest_wait(now) == age - LEASE
    claim = await evaluating.claim(due, begin + LEASE)
    await evaluating.work_queue.postpone(claim, later(days=1), FailCode.RATE_LIMITED, begin)
    assert not await waits()
    await evaluating.runs.delete(ours, run.id, now, with_scores=True)


async def test_removed_project_gets_no_work(evaluating):
    ours, known = project(), trace()
    await fill(evaluating.plane, ours, known)
    run, pending = a_run(ours, 2), a_run(ours, 1)
    await evaluating.start_run(run, work_of(run))
    await evaluating.runs.create(pending, work_of(pending))
    [due, _] = await evaluating.work_queue.dispatch(ours, NOON)
    claim, dead = await evaluating.claim(due), await evaluating.work_queue.count_dead()
    await evaluating.remove(ours)
    again, work_queue = later(days=1), evaluating.work_queue
    assert not await work_queue.is_live(claim)
    assert not await work_queue.record(claim, METRICS[0], GOOD, NOON)
    await work_queue.record_signal(claim, signal_of(run, known, "confidence"), NOON)
    await work_queue.renew(claim, NOON)
    await work_queue.postpone(claim, NOON, FailCode.QUOTA, NOON)
    assert await work_queue.close([claim], NOON) == ()
    assert await work_queue.claim(ours, run.id, due.target, again) is None
    assert await work_queue.dispatch(ours, again) == []
    assert not await work_queue.plan(ours, pending.id, again)
    assert await work_queue.find_signals(ours, known.id, {"confidence": KEY}) == []
    assert await overdue(evaluating, ours, again) == []
    assert await work_queue.count_dead() == dead


# --- signals ---------------------------------------------------------------------------------

KEY = SignalKey("abc", "def")


def measured(run, of, name="confidence", key=KEY, value=0.5, **more):
    metadata = {"fingerprint": key.fingerprint, "evidence_hash": key.evidence_hash, **more}
    now = later(seconds=value)
    return signal_of(run, of, name, now).with_outcome(Scored(value, "", metadata), now)


async def test_signal_is_added_once_while_run_and_trace_exist(evaluating):
    ours, known, gone = project(), trace(session_id="s0"), trace()
    await fill(evaluating.plane, ours, known)
    run = a_run(ours, 1, **SESSIONS)
    await evaluating.start_run(run, work_of(run))
    claim, add = await evaluating.claim_next(ours), evaluating.work_queue.record_signal
    first = measured(run, known)
    await add(claim, first, NOON)
    await add(claim, measured(run, known, value=0.9), NOON)
    await add(claim, measured(run, gone), NOON)
    assert await evaluating.trace_scores.by_run(ours, run.id) == [first]
    assert (await evaluating.progress(run)).tally == Tally(pending=1)
    await evaluating.finish(claim)
    await add(claim, measured(run, known, "coherence"), NOON)
    assert await evaluating.trace_scores.by_run(ours, run.id) == [first]


async def test_recording_signal_renews_lease(evaluating):
    ours, known = project(), trace(session_id="s0")
    await fill(evaluating.plane, ours, known)
    run = a_run(ours, 1, **SESSIONS)
    await evaluating.start_run(run, work_of(run))
    claim = await evaluating.claim_next(ours)
    await evaluating.work_queue.record_signal(claim, measured(run, known), NOON + LEASE / 2)
    again = (ours, run.id, "s0")
    assert await evaluating.work_queue.claim(*again, NOON + LEASE) is None
    assert await evaluating.work_queue.claim(*again, NOON + 1.5 * LEASE) is not None


async def test_lease_is_renewed_without_recording(evaluating):
    run = a_run(project(), 1)
    await evaluating.start_run(run, work_of(run))
    claim, again = await evaluating.claim_next(run.project_id), (run.project_id, run.id)
    await evaluating.work_queue.renew(claim, NOON + LEASE / 2)
    assert await evaluating.work_queue.claim(*again, claim.target, NOON + LEASE) is None
    assert "pending" in (await evaluating.outcomes(run)).values()
    assert await evaluating.work_queue.claim(*again, claim.target, NOON + 1.5 * LEASE) is not None
    # A worker that has lost the target does not renew its lease for the other.
    await evaluating.work_queue.renew(claim, NOON + 2.5 * LEASE)
    assert await evaluating.work_queue.claim(*again, claim.target, NOON + 2.5 * LEASE) is not None


async def test_newest_signal_of_each_name_with_same_key_is_reused(evaluating):
    ours, known, other = project(), trace(session_id="s0"), trace(session_id="s0")
    await fill(evaluating.plane, ours, known, other)
    runs = [a_run(ours, 1, created_at=later(seconds=n), **SESSIONS) for n in range(4)]
    for run in runs:
        await evaluating.start_run(run, work_of(run))
    claims = [
        await evaluating.claim(one) for one in await evaluating.work_queue.dispatch(ours, NOON)
    ]
    by_run = {claim.run.id: claim for claim in claims}

    async def add(n, score):
        await evaluating.work_queue.record_signal(by_run[runs[n].id], score, NOON)
        return score

    async def found(**wanted):
        scores = await evaluating.work_queue.find_signals(ours, known.id, wanted)
        return {one.name: one for one in scores}

    assert await found(confidence=KEY) == {}
    older = await add(0, measured(runs[0], known, value=0.1))
    newer = await add(1, measured(runs[1], known, value=0.3))
    loop = await add(0, measured(runs[0], known, "loop_detection", SignalKey("abc", "x")))
    await add(1, measured(runs[1], other, value=0.4))
    failed = Failed(FailCode.AUTH, "", {"fingerprint": "abc", "evidence_hash": "def"})
    await add(2, signal_of(runs[2], known, "confidence", later(days=1)).with_outcome(failed, NOON))
    assert await found(confidence=KEY) == {"confidence": newer}
    assert await found(confidence=KEY, loop_detection=KEY) == {"confidence": newer}
    both = {"confidence": KEY, "loop_detection": SignalKey("abc", "x")}
    assert await found(**both) == {"confidence": newer, "loop_detection": loop}
    for key in (SignalKey("abc", "other"), SignalKey("other", "def")):
        assert await found(confidence=key) == {}
    # A score that only looks like a signal is not reused.
    posted = replace(newer, id=ScoreId(uuid.uuid4()), run_id=None, created_at=later(days=1))
    assert await evaluating.trace_scores.add(posted) == posted
    assert await found(confidence=KEY) == {"confidence": newer}
    # A signal of a deleted run is reused too, but not once a person has corrected it.
    await evaluating.runs.delete(ours, runs[1].id, NOON, with_scores=False)
    assert [one.value for one in (await found(confidence=KEY)).values()] == ["0.3"]
    await evaluating.trace_scores.change(ours, newer.id, CORRECTED, NOON, None)
    assert await found(confidence=KEY) == {"confidence": older}
    assert await evaluating.work_queue.find_signals(project(), known.id, both) == []


@pytest.mark.parametrize(
    "overrides",
    [
        {"value": "true", "data_type": DataType.BOOLEAN},
        {"value": "high", "data_type": DataType.CATEGORICAL},
        {"source": ScoreSource.ANNOTATION},
        {"source": ScoreSource.PROGRAMMATIC},
        {"metadata": b'{"fingerprint":"abc"}'},
        {"metadata": b"{}"},
        {"run_id": None},
    ],
    ids=["boolean", "categorical", "annotation", "program", "no evidence", "no key", "no run"],
)
async def test_scores_without_run_or_key_are_not_signals(evaluating, overrides):
    ours, known = project(), trace()
    await fill(evaluating.plane, ours, known)
    plain = {
        "id": ScoreId(uuid.uuid4()),
        "project_id": ours,
        "trace_id": known.id,
        "name": "confidence",
        "outcome": ScoreOutcome.SCORED,
        "value": "0.5",
        "source": ScoreSource.AUTOMATED,
        "run_id": RunId(uuid.uuid4()),
        "metadata": b'{"fingerprint":"abc","evidence_hash":"def"}',
        "created_at": NOON,
        "updated_at": NOON,
    }
    await evaluating.trace_scores.add(TraceScore(**plain | overrides))
    assert await evaluating.work_queue.find_signals(ours, known.id, {"confidence": KEY}) == []
    await evaluating.trace_scores.add(TraceScore(**plain | {"id": ScoreId(uuid.uuid4())}))
    found = await evaluating.work_queue.find_signals(ours, known.id, {"confidence": KEY})
    assert len(found) == 1
