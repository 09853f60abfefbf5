"""Runs from start to end over each store, with the judge that needs no key."""

import uuid

from adapters.memory.jobs import RecordedJobs
from application.jobs import PlanRunJob
from domain.evaluation.runs.run import EvalRun, RunStatus, TargetType, WorkItem
from domain.evaluation.scores.score import ScoreOutcome
from domain.ids import ProjectId, RunId
from domain.tracing.trace import Trace
from tests.support.builders.evaluated_traces import json_payload, tool
from tests.support.builders.values import at, trace
from tests.support.fixtures.in_memory_app import World

TRACE_METRICS = ("coherence", "confidence", "task_completion", "tool_correctness", "tool_loop")
SESSION_METRICS = ("agent_consistency", "agent_reliability")


async def put_session(world: World, project: ProjectId, count: int) -> list[Trace]:
    """Stores a session of traces with one answer each."""
    traces = [
        trace(
            tool(given={"to": "Oslo"}, got=f"HAT{n}00", started_at=at(n)),
            session_id="chat",
            started_at=at(n),
            input=json_payload("book a flight to Oslo"),
            output=json_payload(f"The flight HAT{n}00 to Oslo is booked"),
            environment="test",
        )
        for n in range(count)
    ]
    for one in traces:
        await world.ports.tracing.traces.put(project, one)
    return traces


async def complete_run(
    world: World, project: ProjectId, metrics: tuple[str, ...], *targets: str
) -> EvalRun:
    """Creates a run over these targets, runs all jobs, and returns the ended run."""
    run = EvalRun(
        id=RunId(uuid.uuid4()),
        project_id=project,
        target_type=TargetType.SESSION if metrics == SESSION_METRICS else TargetType.TRACE,
        metrics=metrics,
        targets=len(targets),
        model="heuristic/1",
        created_at=world.now,
    )
    ports, do = world.ports.evaluation, world.do.evaluation
    jobs = ports.jobs
    assert isinstance(jobs, RecordedJobs)
    await ports.runs.create(run, [WorkItem(target, metrics) for target in targets])
    await jobs.send(PlanRunJob(project, run.id))
    await jobs.done(do.run_job)
    return (await ports.runs.get(project, run.id)).run


async def project_of(world: World) -> ProjectId:
    ada = await world.person("ada")
    return await world.project((await world.do.identity.create_organization(ada, "Ours")).id)


async def test_trace_run_scores_every_trace(world: World):
    project = await project_of(world)
    traces = await put_session(world, project, 3)
    run = await complete_run(world, project, TRACE_METRICS, *(str(one.id) for one in traces))
    assert run.status is RunStatus.COMPLETED
    scores = await world.ports.evaluation.trace_scores.by_run(project, run.id)
    by_target = {(score.trace_id, score.name): score for score in scores}
    assert set(by_target) == {(one.id, name) for one in traces for name in TRACE_METRICS}
    assert {score.environment for score in scores} == {"test"}
    for one in traces:
        assert by_target[one.id, "tool_loop"].code == "too_short"
        for name in set(TRACE_METRICS) - {"tool_loop"}:
            assert by_target[one.id, name].outcome is ScoreOutcome.SCORED
    kinds = {score.name: score.judge_kind for score in scores if score.number is not None}
    assert kinds == {
        "coherence": "embedding",
        **dict.fromkeys(("confidence", "task_completion", "tool_correctness"), "heuristic"),
    }


async def test_second_session_run_reuses_signals(world: World):
    project = await project_of(world)
    traces = await put_session(world, project, 3)
    first = await complete_run(world, project, SESSION_METRICS, "chat")
    second = await complete_run(world, project, SESSION_METRICS, "chat")
    assert [first.status, second.status] == [RunStatus.COMPLETED] * 2
    ports = world.ports.evaluation
    values = [
        {
            one.name: (one.value, one.metadata)
            for one in await ports.session_scores.by_run(project, run.id)
        }
        for run in (first, second)
    ]
    assert set(values[0]) == set(SESSION_METRICS)
    assert values[0] == values[1]
    signals = await ports.trace_scores.by_run(project, first.id)
    assert len(signals) == 4 * len(traces)
    again = await ports.trace_scores.by_run(project, second.id)
    assert [(one.trace_id, one.name) for one in again] == [(traces[0].id, "loop_detection")]
