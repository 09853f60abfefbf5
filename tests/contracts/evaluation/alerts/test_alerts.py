"""Contract of Alerts, run against every adapter."""

import asyncio
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from application.evaluation.ports.alerts import BASELINE_RUNS, ORDER_WAIT_MAX, AlertEvaluation
from domain.errors import Conflict, Invalid, NotFound
from domain.evaluation.alerts.alert import (
    RULES_MAX,
    AlertFigure,
    AlertProgress,
    AlertState,
    RunMetricStats,
)
from domain.evaluation.alerts.alert_message import AlertNames
from domain.evaluation.runs.run import TargetType
from domain.evaluation.scores.outcome import FailCode, Failed, Scored, SkipCode, Skipped
from domain.evaluation.scores.score import ScoreChange, ScoreOutcome
from domain.ids import MonitorId, RunId
from domain.page import PageRequest
from tests.support.builders.values import NOON, at
from tests.support.fixtures.data_plane import project, read_all_pages
from tests.support.fixtures.evaluation.alerts import (
    BODY,
    a_rule,
    a_webhook,
    an_alert,
    complete_run,
    ended_run_of,
    list_ended_runs,
    raised_alert,
)
from tests.support.fixtures.evaluation.evaluation import METRICS, target, work_of
from tests.support.fixtures.evaluation.monitors import run_of

ALL = PageRequest(limit=200)
MICROSECOND = timedelta(microseconds=1)


def assess_none(alerts):
    return []


# --- creating and deleting ---------------------------------------------------------------------


async def test_names_are_those_of_monitor_and_project_or_their_ids(monitoring):
    monitor = await monitoring.create_monitor(project())
    names = await monitoring.alerts.names(monitor.project_id, monitor.id)
    assert names == AlertNames(str(monitor.project_id), monitor.name)
    theirs = project()
    found = await monitoring.alerts.names(theirs, monitor.id)
    assert found == AlertNames(str(theirs), str(monitor.id))


async def test_create_and_list_return_alert_as_given(monitoring):
    monitor = await monitoring.create_monitor(project())
    rule = a_rule(
        figure=AlertFigure.DROP,
        threshold=0.3,
        clear_at=0.1,
        samples_min=7,
        breaches=2,
        recoveries=3,
    )
    watch = AlertProgress(state=AlertState.NO_DATA, since=at(3), consecutive=1, value=0.125)
    made = [an_alert(monitor), an_alert(monitor, rule=rule, watch=watch, created_at=at(1))]
    for one in made:
        assert await monitoring.alerts.create(one) == one
    assert await monitoring.alerts.by_monitor(monitor.project_id, monitor.id) == made
    assert (await monitoring.alerts.changes(monitor.project_id, monitor.id, ALL)).total == 0


async def test_create_with_existing_id_returns_stored_alert(monitoring):
    made = an_alert(await monitoring.create_monitor(project()))
    await monitoring.alerts.create(made)
    assert await monitoring.alerts.create(replace(made, created_at=at(9))) == made
    assert await monitoring.alerts.by_monitor(made.project_id, made.monitor_id) == [made]


async def test_alert_limit_of_monitor_is_rules_max(monitoring):
    monitor = await monitoring.create_monitor(project())
    made = [an_alert(monitor) for _ in range(RULES_MAX + 3)]
    results = await asyncio.gather(
        *(monitoring.alerts.create(one) for one in made), return_exceptions=True
    )
    assert sum(isinstance(one, Conflict) for one in results) == 3
    there = await monitoring.alerts.by_monitor(monitor.project_id, monitor.id)
    assert len(there) == RULES_MAX
    assert await monitoring.alerts.create(there[0]) == there[0]


async def test_alerts_of_another_project_or_monitor_are_not_found(monitoring):
    monitor, theirs = await monitoring.create_monitor(project()), project()
    alert = await monitoring.alerts.create(an_alert(monitor))
    other = await monitoring.create_monitor(monitor.project_id)
    for ask in (
        monitoring.alerts.by_monitor(theirs, monitor.id),
        monitoring.alerts.changes(theirs, monitor.id, ALL),
        monitoring.alerts.create(replace(alert, project_id=theirs)),
        monitoring.alerts.create(replace(alert, monitor_id=MonitorId(uuid.uuid4()))),
    ):
        with pytest.raises(NotFound):
            await ask
    assert not await monitoring.alerts.delete(theirs, monitor.id, alert.id)
    assert not await monitoring.alerts.delete(monitor.project_id, other.id, alert.id)
    assert await monitoring.alerts.by_monitor(monitor.project_id, monitor.id) == [alert]


async def test_deleting_alert_deletes_its_changes(monitoring):
    monitor = await monitoring.create_monitor(project())
    alerts = [await monitoring.alerts.create(an_alert(monitor)) for _ in range(2)]
    run = ended_run_of(await complete_run(monitoring, monitor))
    await monitoring.alerts.apply_run(
        run, lambda there: [raised_alert(run, one) for one in there], NOON
    )
    assert await monitoring.alerts.delete(monitor.project_id, monitor.id, alerts[0].id)
    assert not await monitoring.alerts.delete(monitor.project_id, monitor.id, alerts[0].id)
    changes = await monitoring.alerts.changes(monitor.project_id, monitor.id, ALL)
    assert [one.alert_id for one in changes.items] == [alerts[1].id]


async def test_deleting_monitor_deletes_its_alerts(monitoring):
    monitor = await monitoring.create_monitor(project())
    alert = await monitoring.alerts.create(an_alert(monitor))
    run = ended_run_of(await complete_run(monitoring, monitor))
    await monitoring.alerts.apply_run(
        run, lambda there: [raised_alert(run, one) for one in there], NOON
    )
    assert await monitoring.monitors.delete(monitor.project_id, monitor.id)
    with pytest.raises(NotFound):
        await monitoring.alerts.by_monitor(monitor.project_id, monitor.id)
    await monitoring.monitors.create(monitor)
    assert await monitoring.alerts.by_monitor(monitor.project_id, monitor.id) == []
    assert (await monitoring.alerts.changes(monitor.project_id, monitor.id, ALL)).total == 0
    assert await monitoring.alerts.create(alert) == alert


async def test_alerts_of_removed_project_are_not_found(monitoring):
    monitor = await monitoring.create_monitor(project())
    alert = await monitoring.alerts.create(an_alert(monitor))
    run = await complete_run(monitoring, monitor)
    await monitoring.evaluating.remove(monitor.project_id)
    assert await list_ended_runs(monitoring, monitor.project_id) == []
    assert not await monitoring.alerts.apply_run(ended_run_of(run), assess_none, NOON)
    assert not await monitoring.alerts.delete(monitor.project_id, monitor.id, alert.id)
    assert await monitoring.alerts.metric_stats(ended_run_of(run), METRICS[0], 0.5) == []
    with pytest.raises(NotFound):
        await monitoring.alerts.create(an_alert(monitor))


async def test_edit_stores_rule_and_progress(monitoring):
    monitor = await monitoring.create_monitor(project())
    watch = AlertProgress(state=AlertState.ALERTING, since=at(3), consecutive=1, value=0.125)
    alert = await monitoring.alerts.create(an_alert(monitor, watch=watch))
    place = (monitor.project_id, monitor.id, alert.id)
    rule = a_rule(threshold=0.25, clear_at=0.75, samples_min=9, breaches=3, recoveries=4)
    edited = replace(alert, rule=rule, watch=replace(watch, consecutive=0))
    assert await monitoring.alerts.edit(*place, lambda _: edited) == edited
    assert await monitoring.alerts.by_monitor(*place[:2]) == [edited]
    assert await monitoring.alerts.edit(*place, lambda known: known) == edited


async def test_edit_of_another_project_or_monitor_is_not_found(monitoring):
    monitor, theirs = await monitoring.create_monitor(project()), project()
    alert = await monitoring.alerts.create(an_alert(monitor))
    other = await monitoring.create_monitor(monitor.project_id)
    for place in (
        (theirs, monitor.id, alert.id),
        (monitor.project_id, other.id, alert.id),
        (monitor.project_id, monitor.id, uuid.uuid4()),
    ):
        with pytest.raises(NotFound):
            await monitoring.alerts.edit(*place, lambda known: replace(known, rule=a_rule()))
    assert await monitoring.alerts.by_monitor(monitor.project_id, monitor.id) == [alert]


async def test_concurrent_edits_lose_nothing(monitoring):
    monitor = await monitoring.create_monitor(project())
    alert = await monitoring.alerts.create(an_alert(monitor, rule=a_rule(breaches=1)))

    def more(known):
        return replace(known, rule=replace(known.rule, breaches=known.rule.breaches + 1))

    place = (monitor.project_id, monitor.id, alert.id)
    await asyncio.gather(*(monitoring.alerts.edit(*place, more) for _ in range(5)))
    [found] = await monitoring.alerts.by_monitor(*place[:2])
    assert found.rule.breaches == 6


async def test_pages_of_project_have_alerts_and_changes_of_all_monitors(monitoring):
    ours = project()
    monitors = [await monitoring.create_monitor(ours) for _ in range(2)]
    await monitoring.alerts.create(an_alert(await monitoring.create_monitor(project())))
    made = [
        await monitoring.alerts.create(an_alert(monitor, created_at=at(n)))
        for n, monitor in enumerate(monitors * 2)
    ]
    run = ended_run_of(await complete_run(monitoring, monitors[0]))
    await monitoring.alerts.apply_run(
        run, lambda there: [raised_alert(run, one) for one in there], NOON
    )
    found, same = await read_all_pages(lambda window: monitoring.alerts.page(ours, None, window), 3)
    assert found == same
    assert [one.id for one in found] == [one.id for one in reversed(made)]
    alerting = await monitoring.alerts.page(ours, AlertState.ALERTING, ALL)
    assert [one.id for one in alerting.items] == [made[2].id, made[0].id]
    assert (await monitoring.alerts.page(ours, AlertState.NO_DATA, ALL)).total == 0
    changes, same = await read_all_pages(
        lambda window: monitoring.alerts.changes_of_project(ours, None, window), 1
    )
    assert changes == same
    assert {one.alert_id for one in changes} == {made[0].id, made[2].id}
    raised = await monitoring.alerts.changes_of_project(ours, AlertState.ALERTING, ALL)
    assert [*raised.items] == changes
    assert (await monitoring.alerts.changes_of_project(ours, AlertState.OK, ALL)).total == 0
    assert (await monitoring.alerts.changes_of_project(project(), None, ALL)).total == 0


# --- ended runs --------------------------------------------------------------------------------


async def test_ended_runs_are_listed_by_end_ascending(monitoring):
    monitor = await monitoring.create_monitor(project())
    second = await complete_run(monitoring, monitor, created_at=at(2))
    first = await complete_run(monitoring, monitor, created_at=at(1))
    broken = run_of(monitor, 0, created_at=at(3)).failed("too much matches", at(3))
    await monitoring.evaluating.runs.create(broken, [])
    found = await list_ended_runs(monitoring, monitor.project_id)
    assert found == [ended_run_of(first), ended_run_of(second), ended_run_of(broken)]


async def test_running_cancelled_and_manual_runs_are_not_listed(monitoring):
    monitor = await monitoring.create_monitor(project())
    going = run_of(monitor)
    await monitoring.evaluating.start_run(going, work_of(going))
    cancelled = run_of(monitor)
    await monitoring.evaluating.start_run(cancelled, work_of(cancelled))
    await monitoring.evaluating.runs.cancel(monitor.project_id, cancelled.id, NOON)
    free = replace(run_of(monitor), monitor_id=None)
    await monitoring.evaluating.runs.create(replace(free, targets=0), [])
    assert await list_ended_runs(monitoring, monitor.project_id) == []
    for run in (going, cancelled):
        assert not await monitoring.alerts.apply_run(ended_run_of(run), assess_none, NOON)


async def test_runs_of_deleted_monitor_are_not_listed(monitoring):
    monitor = await monitoring.create_monitor(project())
    run = await complete_run(monitoring, monitor)
    await monitoring.monitors.delete(monitor.project_id, monitor.id)
    assert await list_ended_runs(monitoring, monitor.project_id) == []
    assert not await monitoring.alerts.apply_run(ended_run_of(run), assess_none, NOON)


# --- run statistics ----------------------------------------------------------------------------


@pytest.mark.parametrize("of", TargetType)
async def test_measured_returns_statistics_of_run_and_those_before(monitoring, of):
    monitor = await monitoring.create_monitor(project(), target_type=of)
    metric = monitor.metrics[0]
    runs = [
        await complete_run(
            monitoring,
            monitor,
            2,
            Scored(n / 10, "", {}),
            id=RunId(uuid.UUID(int=n)),
            created_at=at(n // 2),
        )
        for n in range(BASELINE_RUNS + 3)
    ]
    await complete_run(
        monitoring, await monitoring.create_monitor(monitor.project_id, target_type=of)
    )
    found = await monitoring.alerts.metric_stats(ended_run_of(runs[-1]), metric, 0.5)
    assert [one.mean for one in found] == pytest.approx([0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    assert [one.passed for one in found] == [2, 2, 2, 0, 0, 0]
    assert {one.scored for one in found} == {2}
    [first] = await monitoring.alerts.metric_stats(ended_run_of(runs[0]), metric, 0.5)
    assert first == RunMetricStats(scored=2)
    assert await monitoring.alerts.metric_stats(ended_run_of(runs[0]), "coherence", 0.5) == [
        RunMetricStats()
    ]


@pytest.mark.parametrize("of", TargetType)
@pytest.mark.parametrize(
    ("prints", "known"),
    [(("f", "f"), "f"), (("f", "rule/1"), "f"), (("f", "g"), None), (("rule/1", "rule/1"), None)],
)
async def test_measured_names_the_judge(monitoring, of, prints, known):
    monitor = await monitoring.create_monitor(project(), target_type=of)
    run = run_of(monitor, 2)
    await monitoring.evaluating.start_run(run, work_of(run))
    due = await monitoring.evaluating.work_queue.dispatch(monitor.project_id, NOON)
    for job, fingerprint in zip(due, prints, strict=True):
        claim = await monitoring.evaluating.claim(job)
        scored = Scored(0.5, "", {"judge_kind": "model", "fingerprint": fingerprint})
        await monitoring.evaluating.finish(claim, scored)
    [found] = await monitoring.alerts.metric_stats(ended_run_of(run), monitor.metrics[0], 0.5)
    assert found == RunMetricStats(scored=2, mean=0.5, passed=2, fingerprint=known)
    rows = await monitoring.alerts.finished_run_stats(monitor, monitor.metrics[0], 0.5, 1)
    assert [one.stats for one in rows] == [found]


async def test_measured_counts_failed_and_skipped(monitoring):
    monitor = await monitoring.create_monitor(project())
    run = run_of(monitor, 4)
    await monitoring.evaluating.start_run(run, work_of(run))
    outcomes = [
        Scored(0.25, "", {}),
        Scored(0.5, "", {}),
        Failed(FailCode.RATE_LIMITED),
        Skipped(SkipCode.NO_INPUT),
    ]
    by_target = dict(zip([target(run, n) for n in range(4)], outcomes, strict=True))
    line = [*await monitoring.evaluating.work_queue.dispatch(monitor.project_id, NOON)]
    for due in line:  # which grows meanwhile
        claim = await monitoring.evaluating.claim(due)
        line += await monitoring.evaluating.finish(claim, by_target[claim.target])
    [found] = await monitoring.alerts.metric_stats(ended_run_of(run), METRICS[0], 0.5)
    assert found == RunMetricStats(scored=2, mean=0.375, passed=1, failed=1, skipped=1)
    for score in await monitoring.evaluating.scores(run):
        if score.outcome is ScoreOutcome.SCORED:  # what people write there isn't measured
            await monitoring.evaluating.trace_scores.change(
                run.project_id, score.id, ScoreChange(value="1.0"), NOON, None
            )
    assert await monitoring.alerts.metric_stats(ended_run_of(run), METRICS[0], 0.5) == [found]


@pytest.mark.parametrize("of", TargetType)
async def test_what_a_run_has_measured_stays_when_people_change_its_scores(monitoring, of):
    monitor = await monitoring.create_monitor(project(), target_type=of)
    run = await complete_run(monitoring, monitor, 4, Scored(0.25, "", {"fingerprint": "f"}))
    [before] = await monitoring.alerts.metric_stats(ended_run_of(run), monitor.metrics[0], 0.5)
    assert before.scored == 4
    evaluating = monitoring.evaluating
    port = evaluating.session_scores if of is TargetType.SESSION else evaluating.trace_scores
    changes = (
        ScoreChange(value="1"),
        ScoreChange(reason="a remark"),
        ScoreChange(metadata=b'{"field":"original_value"}'),
        ScoreChange(value="0.9", metadata=b'{"note":"\\u00e9"}'),
    )
    scores = [one for one in await evaluating.scores(run) if one.name == monitor.metrics[0]]
    for score, change in zip(scores, changes, strict=True):
        await port.change(run.project_id, score.id, change, NOON, None)
    found = await monitoring.alerts.metric_stats(ended_run_of(run), monitor.metrics[0], 0.5)
    assert found == [before]
    rows = await monitoring.alerts.finished_run_stats(monitor, monitor.metrics[0], 0.5, 1)
    assert [one.stats for one in rows] == [before]


async def test_changed_metadata_with_nul_does_not_end_the_statistics(monitoring):
    """PostgreSQL stores it, and reads no member of it."""
    monitor = await monitoring.create_monitor(project(), target_type=TargetType.SESSION)
    run = await complete_run(monitoring, monitor, 2, Scored(0.25, "", {}))
    [score, _] = await monitoring.evaluating.scores(run)
    change = ScoreChange(value="1", metadata=b'{"note":"\\u0000"}')
    await monitoring.evaluating.session_scores.change(run.project_id, score.id, change, NOON, None)
    [found] = await monitoring.alerts.metric_stats(ended_run_of(run), monitor.metrics[0], 0.5)
    assert (found.mean, found.scored) == (0.25, 2)


async def test_measured_leaves_out_cancelled_runs(monitoring):
    monitor = await monitoring.create_monitor(project())
    before = await complete_run(monitoring, monitor, created_at=at(0))
    cancelled = run_of(monitor, created_at=at(1))
    await monitoring.evaluating.start_run(cancelled, work_of(cancelled))
    await monitoring.evaluating.runs.cancel(monitor.project_id, cancelled.id, at(1))
    last = await complete_run(monitoring, monitor, 3, created_at=at(2))
    found = await monitoring.alerts.metric_stats(ended_run_of(last), METRICS[0], 0.5)
    assert [one.scored for one in found] == [3, before.targets]


@pytest.mark.parametrize("of", TargetType)
async def test_last_runs_are_measured_at_once_as_each_is(monitoring, of):
    monitor = await monitoring.create_monitor(project(), target_type=of)
    metric = monitor.metrics[0]
    runs = [
        await complete_run(monitoring, monitor, 2, Scored(n / 10, "", {}), created_at=at(n))
        for n in range(4)
    ]
    await complete_run(
        monitoring, await monitoring.create_monitor(monitor.project_id, target_type=of)
    )
    found = await monitoring.alerts.finished_run_stats(monitor, metric, 0.2, 3)
    assert [one.run for one in found] == [one.id for one in reversed(runs[1:])]
    assert [one.completed_at for one in found] == [at(3), at(2), at(1)]
    one_by_one = await monitoring.alerts.metric_stats(ended_run_of(runs[-1]), metric, 0.2)
    assert [one.stats for one in found] == [*one_by_one[:3]]
    assert [one.stats.passed for one in found] == [2, 2, 0]
    theirs = replace(monitor, project_id=project())
    assert await monitoring.alerts.finished_run_stats(theirs, metric, 0.2, 3) == []


# --- assessing runs ----------------------------------------------------------------------------


async def test_assess_stores_change_and_enqueues_delivery_per_webhook(monitoring):
    monitor = await monitoring.create_monitor(project())
    alerts = [await monitoring.alerts.create(an_alert(monitor, created_at=at(n))) for n in range(2)]
    webhooks = [await monitoring.webhooks.create(a_webhook(monitor.project_id)) for _ in range(2)]
    await monitoring.webhooks.create(a_webhook(project()))
    run = ended_run_of(await complete_run(monitoring, monitor))
    raised = raised_alert(run, alerts[0])
    quiet = AlertEvaluation(
        replace(alerts[1], watch=replace(alerts[1].watch, consecutive=3, value=0.5))
    )
    seen = []

    def assess(there):
        seen.extend(there)
        return [raised, quiet]

    assert await monitoring.alerts.apply_run(run, assess, at(9))
    assert sorted(seen, key=lambda one: one.created_at) == alerts
    there = await monitoring.alerts.by_monitor(monitor.project_id, monitor.id)
    assert there == [raised.alert, quiet.alert]
    changes = await monitoring.alerts.changes(monitor.project_id, monitor.id, ALL)
    assert list(changes.items) == [raised.notice.change]
    for webhook in webhooks:
        [delivery] = (
            await monitoring.webhooks.deliveries(monitor.project_id, webhook.id, ALL)
        ).items
        assert (delivery.body, delivery.next_attempt_at) == (BODY, at(9))
        assert delivery.change_id == raised.notice.change.id


async def test_run_is_assessed_once(monitoring):
    monitor = await monitoring.create_monitor(project())
    await monitoring.alerts.create(an_alert(monitor))
    run = ended_run_of(await complete_run(monitoring, monitor))
    assert await monitoring.alerts.apply_run(run, assess_none, NOON)
    assert await list_ended_runs(monitoring, monitor.project_id) == []
    asked = [
        raised_alert(run, one)
        for one in await monitoring.alerts.by_monitor(run.project, monitor.id)
    ]
    assert not await monitoring.alerts.apply_run(run, lambda _: asked, NOON)
    assert (await monitoring.alerts.changes(run.project, monitor.id, ALL)).total == 0


async def test_concurrent_assessments_of_one_run_apply_once(monitoring):
    monitor = await monitoring.create_monitor(project())
    await monitoring.alerts.create(an_alert(monitor))
    webhook = await monitoring.webhooks.create(a_webhook(monitor.project_id))
    run = ended_run_of(await complete_run(monitoring, monitor))
    results = await asyncio.gather(
        *(
            monitoring.alerts.apply_run(
                run, lambda there: [raised_alert(run, one) for one in there], NOON
            )
            for _ in range(5)
        )
    )
    assert sorted(results) == [False] * 4 + [True]
    assert (await monitoring.alerts.changes(run.project, monitor.id, ALL)).total == 1
    assert (await monitoring.webhooks.deliveries(run.project, webhook.id, ALL)).total == 1


async def test_concurrent_assessments_of_several_runs_lose_no_update(monitoring):
    monitor = await monitoring.create_monitor(project())
    await monitoring.alerts.create(an_alert(monitor))
    runs = [
        ended_run_of(await complete_run(monitoring, monitor, created_at=at(n))) for n in range(5)
    ]

    def counting(there):
        return [
            AlertEvaluation(
                replace(one, watch=replace(one.watch, consecutive=one.watch.consecutive + 1))
            )
            for one in there
        ]

    for left in range(5, 0, -1):  # a run is assessed once the run before it was
        found = await asyncio.gather(
            *(monitoring.alerts.apply_run(one, counting, NOON) for one in runs)
        )
        assert sum(found) >= 1
        [alert] = await monitoring.alerts.by_monitor(monitor.project_id, monitor.id)
        if alert.watch.consecutive == 5:
            break
        assert left > 1
    assert await list_ended_runs(monitoring, monitor.project_id) == []


async def test_run_is_assessed_after_runs_that_ended_before_it(monitoring):
    monitor, other = (
        await monitoring.create_monitor(of := project()),
        await monitoring.create_monitor(of),
    )
    first, *later = [
        ended_run_of(await complete_run(monitoring, monitor, created_at=at(n))) for n in (0, 1, 1)
    ]
    second, third = sorted(later, key=lambda one: one.run)
    elsewhere = ended_run_of(await complete_run(monitoring, other, created_at=at(1)))
    assert first.at < second.at == third.at
    assert not await monitoring.alerts.apply_run(second, assess_none, NOON)
    assert await monitoring.alerts.apply_run(elsewhere, assess_none, NOON)
    assert await monitoring.alerts.apply_run(first, assess_none, NOON)
    assert not await monitoring.alerts.apply_run(third, assess_none, NOON)
    assert await monitoring.alerts.apply_run(second, assess_none, NOON)
    assert await monitoring.alerts.apply_run(third, assess_none, NOON)


async def test_run_stops_waiting_for_earlier_run_after_timeout(monitoring):
    monitor = await monitoring.create_monitor(project())
    first = ended_run_of(await complete_run(monitoring, monitor, created_at=NOON))
    second = ended_run_of(await complete_run(monitoring, monitor, created_at=at(1)))
    until = first.at + ORDER_WAIT_MAX
    assert first.at < second.at < until
    assert not await monitoring.alerts.apply_run(second, assess_none, until - MICROSECOND)
    assert await monitoring.alerts.apply_run(second, assess_none, until)
    assert await monitoring.alerts.apply_run(first, assess_none, until)


async def test_error_in_assessment_changes_nothing(monitoring):
    monitor = await monitoring.create_monitor(project())
    run = ended_run_of(await complete_run(monitoring, monitor))

    def refuse(there):
        raise Invalid("no")

    with pytest.raises(Invalid, match="no"):
        await monitoring.alerts.apply_run(run, refuse, NOON)
    assert await list_ended_runs(monitoring, monitor.project_id) == [run]


# --- slots without a run -----------------------------------------------------------------------


async def slots_of(monitoring, monitor, now):
    return [
        one
        for one in await monitoring.alerts.list_passed_slots(now)
        if one.project == monitor.project_id
    ]


async def fired(monitoring, monitor, run=None, now=NOON):
    after = monitor.fired(now, run and run.id, None)
    assert await monitoring.monitors.store_run(monitor, after, run, work_of(run) if run else [])
    return after


async def create_waiting_alert(monitoring, **overrides):
    """Creates a monitor, and a NO_DATA alert that waits for its slot."""
    monitor = await monitoring.create_monitor(project(), **overrides)
    alert = an_alert(monitor, rule=a_rule(figure=AlertFigure.NO_DATA))
    await monitoring.alerts.create(alert)
    [slot] = await slots_of(monitoring, monitor, NOON)
    assert (slot.alert, slot.awaited, slot.quiet) == (alert.id, None, False)
    assert slot.following == monitor.next_run_at
    assert await monitoring.alerts.apply_slot(slot, assess_none, NOON)
    assert await slots_of(monitoring, monitor, NOON) == []
    return monitor, alert


async def test_slot_without_run_is_quiet_once(monitoring):
    monitor, alert = await create_waiting_alert(monitoring)
    after = await fired(monitoring, monitor)
    [slot] = await slots_of(monitoring, monitor, NOON)
    assert (slot.awaited, slot.following, slot.quiet) == (NOON, after.next_run_at, True)
    raised = raised_alert(ended_run_of(run_of(monitor)), alert, run_id=None)
    results = await asyncio.gather(
        *(monitoring.alerts.apply_slot(slot, lambda _: [raised], NOON) for _ in range(3))
    )
    assert sorted(results) == [False, False, True]
    assert await slots_of(monitoring, monitor, NOON) == []
    changes = await monitoring.alerts.changes(monitor.project_id, monitor.id, ALL)
    assert list(changes.items) == [raised.notice.change]
    assert await monitoring.alerts.by_monitor(monitor.project_id, monitor.id) == [raised.alert]


async def test_slot_with_run_is_not_quiet(monitoring):
    monitor, _ = await create_waiting_alert(monitoring)
    await fired(monitoring, monitor, run_of(monitor))
    [slot] = await slots_of(monitoring, monitor, NOON)
    assert not slot.quiet
    assert await monitoring.alerts.apply_slot(slot, lambda _: pytest.fail("it was quiet"), NOON)


@pytest.mark.parametrize(
    "edit",
    [lambda one: one.paused(NOON), lambda one: replace(one, next_run_at=at(9))],
    ids=["paused", "moved"],
)
async def test_unused_slot_is_not_quiet(monitoring, edit):
    monitor, _ = await create_waiting_alert(monitoring, next_run_at=at(5))
    await monitoring.monitors.edit(monitor.project_id, monitor.id, edit)
    [slot] = await slots_of(monitoring, monitor, at(1))
    assert (slot.awaited, slot.quiet) == (at(5), False)


async def test_only_no_data_alerts_wait_for_slots(monitoring):
    monitor = await monitoring.create_monitor(project())
    await monitoring.alerts.create(an_alert(monitor))
    assert await slots_of(monitoring, monitor, NOON) == []
    monitor, alert = await create_waiting_alert(monitoring)
    await fired(monitoring, monitor)
    await monitoring.evaluating.remove(alert.project_id)
    assert await slots_of(monitoring, alert, NOON) == []


async def test_changes_are_listed_newest_first(monitoring):
    monitor = await monitoring.create_monitor(project())
    alert = await monitoring.alerts.create(an_alert(monitor))
    made = []
    for n in range(5):
        run = ended_run_of(await complete_run(monitoring, monitor, created_at=at(n)))
        one = raised_alert(run, alert, at=at(n // 2))
        made.append(one.notice.change)
        await monitoring.alerts.apply_run(run, lambda _, one=one: [one], at(n))
    made.sort(key=lambda one: (one.at, one.id), reverse=True)
    by_position, by_offset = await read_all_pages(
        lambda window: monitoring.alerts.changes(monitor.project_id, monitor.id, window), 2
    )
    assert by_position == by_offset == made


async def test_forget_deletes_old_changes_and_keeps_alert_state(monitoring):
    monitor = await monitoring.create_monitor(project())
    alert = an_alert(monitor)
    await monitoring.alerts.create(alert)
    old = NOON - timedelta(days=9_000)
    for when in (old, NOON):
        last = ended_run_of(await complete_run(monitoring, monitor))
        raised = [raised_alert(last, alert, at=when)]
        await monitoring.alerts.apply_run(last, lambda _, found=raised: found, NOON)
    assert await monitoring.alerts.delete_changes(old) == 0
    assert await monitoring.alerts.delete_changes(old + timedelta(microseconds=1)) == 1
    page = await monitoring.alerts.changes(monitor.project_id, monitor.id, ALL)
    assert [one.at for one in page.items] == [NOON]
    [stands] = await monitoring.alerts.by_monitor(monitor.project_id, monitor.id)
    assert stands.watch.state is AlertState.ALERTING
