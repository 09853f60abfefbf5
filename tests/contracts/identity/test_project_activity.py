"""Contract of ProjectActivities, run against every adapter."""

import uuid
from datetime import timedelta
from decimal import Decimal

import pytest

from application.identity.ports import ProjectActivities
from domain.evaluation.alerts.alert import AlertProgress, AlertState
from domain.ids import MonitorId, ProjectId
from domain.privacy.erasure import DataSubject, DataSubjectKind
from domain.tracing.analytics import Period
from domain.tracing.project_activity import ACTIVITY_BUCKET, ProjectActivity, activity_period
from domain.tracing.trace import TraceStatus
from tests.contracts.privacy.test_erasures import an_erasure, audit_entry
from tests.support.builders.values import NOON, at, span, trace
from tests.support.clients.scored_project import store_monitor
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.evaluation.alerts import a_rule, an_alert
from tests.support.fixtures.in_memory_app import World

PERIOD = activity_period(NOON)
HOUR = 3600


@pytest.fixture
def activities(world: World) -> ProjectActivities:
    return world.ports.identity.activities


async def read_one(activities: ProjectActivities, project_id: ProjectId) -> ProjectActivity:
    return (await activities.read([project_id], PERIOD))[project_id]


async def test_a_period_is_whole_hours_up_to_the_end_of_the_current_one():
    end = NOON + timedelta(hours=1)
    assert Period(end - timedelta(days=7), end) == PERIOD == activity_period(at(HOUR - 1))
    assert activity_period(at(HOUR)) != PERIOD


async def test_traces_failures_and_costs_of_the_week_by_project(world, activities):
    ours, theirs, empty = project(), project(), project()
    put = world.ports.tracing.traces.put
    priced = span(model="gpt-4o", token_usage=b'{"prompt_tokens":3}', cost={"total": 0.25})
    unpriced = span(model="nobody-knows", token_usage=b'{"prompt_tokens":3}')
    await put(ours, trace(priced, unpriced))
    await put(ours, trace(started_at=at(-5 * HOUR), status=TraceStatus.ERROR))
    await put(ours, trace(started_at=at(-30 * HOUR), status=TraceStatus.ERROR))
    await put(ours, trace(started_at=PERIOD.after))
    await put(ours, trace(started_at=PERIOD.after - timedelta(microseconds=1)))
    await put(theirs, trace(started_at=PERIOD.before))
    found = await activities.read([ours, theirs, empty], PERIOD)
    assert found.keys() == {ours, theirs, empty}
    one = found[ours]
    assert (one.trace_count, one.error_count) == (4, 2)
    assert (one.recent_trace_count, one.recent_error_count) == (2, 1)
    assert (one.cost, one.unpriced_span_count) == (Decimal("0.25"), 1)
    assert (one.last_trace_at, one.alerting_count, one.period) == (NOON, 0, PERIOD)
    assert [bucket.bucket for bucket in one.buckets] == [
        PERIOD.after + place * ACTIVITY_BUCKET for place in range(28)
    ]
    counts = [(bucket.trace_count, bucket.error_count) for bucket in one.buckets]
    assert counts == [(1, 0), *[(0, 0)] * 21, (1, 1), *[(0, 0)] * 4, (2, 1)]
    assert (found[theirs].trace_count, found[theirs].last_trace_at) == (0, PERIOD.before)
    nothing = found[empty]
    assert (nothing.trace_count, nothing.cost, nothing.last_trace_at) == (0, 0, None)
    assert len(nothing.buckets) == 28
    assert await activities.read([], PERIOD) == {}


async def test_deleted_traces_and_those_being_erased_are_not_the_last(world, activities):
    ours = project()
    tracing, newest = world.ports.tracing, trace(started_at=at(9))
    await tracing.traces.put(ours, trace())
    await tracing.traces.put(ours, trace(started_at=at(5), user_id="grace"))
    await tracing.traces.put(ours, trace(started_at=at(7), session_id="s"))
    await tracing.traces.put(ours, newest)
    for kind, id_, last in (
        (None, "", at(9)),
        (DataSubjectKind.SESSION, "grace", at(7)),  # another kind has the same id
        (DataSubjectKind.SESSION, "s", at(5)),
        (DataSubjectKind.USER, "grace", NOON),
    ):
        if kind is None:
            assert (await read_one(activities, ours)).last_trace_at == last
            await tracing.traces.delete(ours, [newest.id])
            continue
        subject = DataSubject(kind, id_)
        erasure = an_erasure(ours, subject)
        await world.ports.privacy.erasures.begin(erasure, subject, audit_entry(erasure))
        assert (await read_one(activities, ours)).last_trace_at == last


async def test_alerts_that_fire_are_counted(world, activities):
    ours, theirs, monitor = project(), project(), str(uuid.uuid4())
    evaluation = world.ports.evaluation
    await store_monitor(evaluation, ours, monitor)
    made = await evaluation.monitors.get(ours, MonitorId(uuid.UUID(monitor)))
    for state in (AlertState.ALERTING, AlertState.ALERTING, AlertState.OK, AlertState.NO_DATA):
        watch = AlertProgress(state=state, since=NOON)
        alert = an_alert(made, rule=a_rule(metric="coherence"), watch=watch)
        await evaluation.alerting.alerts.create(alert)
    found = await activities.read([ours, theirs], PERIOD)
    assert (found[ours].alerting_count, found[theirs].alerting_count) == (2, 0)
