"""Starting runs: what is stored and enqueued."""

import uuid
from dataclasses import replace

import pytest

from adapters.memory.jobs import RecordedJobs
from application.evaluation.runs.run_rules import RunRequest
from application.jobs import PlanRunJob
from domain.errors import Conflict, Invalid, NotFound, Unavailable
from domain.evaluation.judging.models import JudgeModels
from domain.evaluation.runs.run import TARGETS_MAX, RunStatus, TargetType
from domain.evaluation.runs.selection import SessionSelection, TraceSelection, sampling_rank
from domain.identity.api_key import ALL_SCOPES
from domain.identity.caller import Caller
from domain.ids import OrganizationId, ProjectId, RunId, TraceId
from domain.page import PageRequest
from tests.support.builders.values import NOON, trace
from tests.support.waiting import until_done

ORDER = RunRequest(metrics=["trace_success"])
OF_SESSIONS = RunRequest(metrics=["agent_reliability"])
ALL = TraceSelection()


@pytest.fixture
def ours():
    return ProjectId(uuid.uuid4())


@pytest.fixture
def do(world):
    return world.do.evaluation


@pytest.fixture
def sent_jobs(world):
    jobs = world.ports.evaluation.jobs
    assert isinstance(jobs, RecordedJobs)
    return jobs.sent


def an_id() -> RunId:
    return RunId(uuid.uuid4())


async def fill(world, ours, count=1, **said):
    ids = [TraceId(uuid.UUID(int=number)) for number in range(1, count + 1)]
    for one in ids:
        await world.ports.tracing.traces.put(ours, trace(id=one, **said))
    return [str(one) for one in ids]


async def work_of(world, run):
    """The targets of a run, in the order in which they are done."""
    await until_done(world.ports.evaluation.work_queue.plan, run.project_id, run.id, NOON)
    due = await world.ports.evaluation.work_queue.dispatch(run.project_id, NOON)
    return [one.target for one in due]


async def test_run_is_stored_then_enqueued(world, do, sent_jobs, ours):
    await fill(world, ours, 2)
    new = an_id()
    started = await do.start_run(ours, new, ORDER, ALL)
    assert (started.run.id, started.run.created_at) == (new, world.now)
    assert (started.run.targets, started.run.status) == (2, RunStatus.PENDING)
    assert await do.runs.get(ours, new) == started
    assert sent_jobs == [PlanRunJob(ours, new)]


async def test_starting_with_a_known_id_returns_the_run_and_enqueues_it_again(
    world, do, sent_jobs, ours
):
    ids = await fill(world, ours, 2)
    new = an_id()
    first = await do.start_run(ours, new, ORDER, ALL)
    world.forward(seconds=5)
    assert await do.start_batch(ours, new, TargetType.TRACE, ORDER, ids[:1]) == first
    assert sent_jobs == [PlanRunJob(ours, new)] * 2


async def test_finished_run_is_not_enqueued(world, do, sent_jobs, ours):
    await fill(world, ours)
    none = replace(ORDER, sampling_rate=0.0)
    run = (await do.start_run(ours, an_id(), none, ALL)).run
    assert run.status is RunStatus.COMPLETED
    cancelled = await do.start_run(ours, an_id(), ORDER, ALL)
    sent_jobs.clear()
    await do.cancel_run(ours, cancelled.run.id)
    await do.start_run(ours, cancelled.run.id, ORDER, ALL)
    assert sent_jobs == []


async def test_targets_keep_the_order_of_the_ids(world, do, ours):
    ids = (await fill(world, ours, 5))[::-1]
    run = (await do.start_batch(ours, an_id(), TargetType.TRACE, ORDER, ids)).run
    assert await work_of(world, run) == ids


async def test_sample_is_deterministic_for_a_project(world, do, ours):
    ids = await fill(world, ours, 10)
    half = replace(ORDER, sampling_rate=0.5)
    run = (await do.start_run(ours, an_id(), half, ALL)).run
    lowest = sorted(ids, key=lambda one: sampling_rank(one, str(ours)))[:5]
    assert sorted(await work_of(world, run)) == sorted(lowest)


async def test_sessions_are_selected_by_their_traces(world, do, sent_jobs, ours):
    await fill(world, ours, 3, session_id="s")
    order = replace(OF_SESSIONS, signal_weights={"confidence": 2.0})
    started = await do.start_run(ours, an_id(), order, SessionSelection(min_trace_count=3))
    assert started.run.target_type is TargetType.SESSION
    assert (started.run.targets, started.run.signal_weights) == (1, {"confidence": 2.0})
    assert started.run.filters == b'{"min_trace_count":3,"signal_weights":{"confidence":2.0}}'
    assert sent_jobs == [PlanRunJob(ours, started.run.id)]


@pytest.mark.parametrize("weight", [-0.5, float("inf"), float("nan")])
async def test_rejects_infinite_and_negative_weights(world, do, sent_jobs, ours, weight):
    await fill(world, ours, session_id="s")
    order = replace(OF_SESSIONS, signal_weights={"confidence": 1.0, "other": weight})
    for start in (
        do.start_run(ours, an_id(), order, SessionSelection()),
        do.start_batch(ours, an_id(), TargetType.SESSION, order, ["s"]),
    ):
        with pytest.raises(Invalid) as invalid:
            await start
        assert [one.field for one in invalid.value.errors] == ["signal_weights.other"]
    assert sent_jobs == []


class Endless:
    """Targets without end."""

    async def traces(self, project, selection, most, **options):
        return [str(number) for number in range(most + 1)]

    sessions = traces


async def test_rejects_too_many_targets(world, ours):
    evaluation = replace(world.ports.evaluation, targets=Endless())
    do = world.with_ports(evaluation=evaluation).evaluation
    with pytest.raises(Invalid, match=str(TARGETS_MAX)):
        await do.start_run(ours, an_id(), ORDER, ALL)
    with pytest.raises(Invalid, match=str(TARGETS_MAX)):
        await do.start_run(ours, an_id(), OF_SESSIONS, SessionSelection())


@pytest.mark.parametrize(
    ("order", "field"),
    [
        (RunRequest(metrics=[]), "metrics"),
        (RunRequest(metrics=["trace_success", "loop_detection"]), "metrics.1"),
        (RunRequest(metrics=["trace_success"], model="gpt-5"), "model"),
    ],
)
async def test_invalid_options_are_rejected_before_targets_are_read(world, ours, order, field):
    only = replace(world.ports.evaluation, models=JudgeModels(allowed=("o3-pro",)))
    do = world.with_ports(evaluation=only).evaluation
    for start in (
        lambda: do.start_run(ours, an_id(), order, ALL),
        lambda: do.start_batch(ours, an_id(), TargetType.TRACE, order, ["x"]),
    ):
        with pytest.raises(Invalid) as reported:
            await start()
        assert [one.field for one in reported.value.errors] == [field]
    page = await do.runs.page(ours, TargetType.TRACE, None, PageRequest())
    assert page.total == 0


class Gone:
    """Runs that can't be stored."""

    async def create(self, run, work):
        raise Unavailable("gone")


async def test_run_that_could_not_be_stored_is_not_enqueued(world, sent_jobs, ours):
    await fill(world, ours)
    gone = replace(world.ports.evaluation, runs=Gone())
    with pytest.raises(Unavailable):
        await world.with_ports(evaluation=gone).evaluation.start_run(ours, an_id(), ORDER, ALL)
    assert sent_jobs == []


async def test_unknown_runs_are_not_found(do, ours):
    caller = Caller(
        organization_id=OrganizationId(uuid.uuid4()), project_id=ours, scopes=ALL_SCOPES
    )
    with pytest.raises(NotFound):
        await do.runs.get(ours, an_id())
    with pytest.raises(NotFound):
        await do.cancel_run(ours, an_id())
    with pytest.raises(NotFound):
        await do.retry_run(ours, an_id(), an_id())
    with pytest.raises(NotFound):
        await do.delete_run(caller, an_id(), with_scores=True)
    assert await do.trace_scores.by_run(ours, an_id()) == []
    assert await do.session_scores.by_run(ours, an_id()) == []


async def test_retry_is_stored_once_and_enqueued(world, do, sent_jobs, ours):
    run = (await do.start_batch(ours, an_id(), TargetType.TRACE, ORDER, [str(an_id())])).run
    due = await work_of(world, run)
    for target in due:
        await do.evaluate_target(ours, run.id, target)
    with pytest.raises(Conflict):
        await do.cancel_run(ours, run.id)
    sent_jobs.clear()
    new = an_id()
    first = await do.retry_run(ours, run.id, new)
    world.forward(seconds=5)
    assert await do.retry_run(ours, run.id, new) == first
    assert sent_jobs == [PlanRunJob(ours, new)] * 2
