"""The ports of evaluation over one store, and runs in a few words."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from adapters.memory.assignments import MemoryAssignments
from adapters.memory.store import MemoryStore
from adapters.memory.targets import MemoryTargets
from adapters.postgres.assignments import PostgresAssignments
from adapters.postgres.engine import Pool
from adapters.postgres.targets import PostgresTargets
from application.evaluation.assignments import Assignments, Claim
from application.evaluation.ports import Runs, SessionScores, Targets, TraceScores
from application.jobs import TargetDue
from domain.evaluation.outcome import FailCode, Failed, Outcome, Scored
from domain.evaluation.run import (
    Assignment,
    EvalRun,
    RunProgress,
    RunStatus,
    Target,
    TargetType,
    waiting_scores,
)
from domain.evaluation.score import Score, TraceScore
from domain.evaluation.score_query import ScoreFilter
from domain.ids import ProjectId, RunId
from domain.tracing.trace import Trace
from tests.builders import NOON
from tests.contracts import data_plane
from tests.contracts.data_plane import ALL, DataPlane

WINDOW: Final = 3  # targets in flight of one project: few, so that tests come to the bound
SPANS_MAX: Final = 4  # of a trace that is measured
METRICS: Final = ("task_completion", "tool_success_rate")
GOOD: Final = Scored(0.75, "well done", {"judge_kind": "measured", "fingerprint": "measured/1"})
BAD: Final = Failed(FailCode.RATE_LIMITED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluating:
    """Every port over one store; `remove` hides a project as its removal does."""

    plane: DataPlane
    trace_scores: TraceScores
    session_scores: SessionScores
    runs: Runs
    assignments: Assignments
    targets: Targets
    remove: Callable[[ProjectId], Awaitable[None]]

    async def begun(
        self, run: EvalRun, work: Sequence[Assignment], now: datetime = NOON
    ) -> EvalRun:
        """Stores and plans a run."""
        await self.runs.create(run, work)
        while await self.assignments.plan(run.project_id, run.id, now):
            pass
        return await self.run(run)

    async def run(self, run: EvalRun) -> EvalRun:
        """As it is stored now."""
        return (await self.runs.get(run.project_id, run.id)).run

    async def progress(self, run: EvalRun) -> RunProgress:
        return await self.runs.get(run.project_id, run.id)

    async def scores(self, run: EvalRun) -> list[Score]:
        """All that it has written, by target and name."""
        of_traces = await self.trace_scores.of_run(run.project_id, run.id)
        of_sessions = await self.session_scores.of_run(run.project_id, run.id)
        return sorted([*of_traces, *of_sessions], key=lambda one: (_target(one), one.name))

    async def outcomes(self, run: EvalRun) -> dict[tuple[Target, str], str]:
        return {(_target(one), one.name): one.outcome.value for one in await self.scores(run)}

    async def claim(self, due: TargetDue, now: datetime = NOON) -> Claim:
        """The claim of a target that can be claimed."""
        claim = await self.assignments.claim(due.project, due.run, due.target, now)
        assert claim is not None
        return claim

    async def claim_next(self, project: ProjectId, now: datetime = NOON) -> Claim:
        """Announces what there is room for, and claims the first of it."""
        return await self.claim((await self.assignments.dispatch(project, now))[0], now)

    async def finish(
        self, claim: Claim, outcome: Outcome = GOOD, now: datetime = NOON
    ) -> Sequence[TargetDue]:
        """Every open metric comes to `outcome`, and the target is closed."""
        for metric in claim.metrics:
            assert await self.assignments.record(claim, metric, outcome, now)
        return await self.assignments.close(claim, now)

    async def finish_all(
        self, project: ProjectId, outcome: Outcome = GOOD, now: datetime = NOON
    ) -> list[TargetDue]:
        """Works until nothing is announced any more; what was announced, in order."""
        line = [*await self.assignments.dispatch(project, now)]
        for due in line:  # which grows meanwhile
            line += await self.finish(await self.claim(due, now), outcome, now)
        return line


def over_memory(store: MemoryStore | None = None) -> Evaluating:
    store = MemoryStore() if store is None else store

    async def remove(project: ProjectId) -> None:
        store.removed[project] = NOON

    return _over(
        data_plane.over_memory(store),
        MemoryAssignments(store, WINDOW),
        MemoryTargets(store, SPANS_MAX),
        remove,
    )


@asynccontextmanager
async def over_postgres(pool: Pool) -> AsyncIterator[Evaluating]:
    async def remove(project: ProjectId) -> None:
        await pool.execute(
            "INSERT INTO removals (project_id, removed_at, due_at) VALUES ($1, $2, $2)",
            project, NOON,
        )  # fmt: skip

    async with data_plane.over_postgres(pool) as plane:
        assignments = PostgresAssignments(pool, WINDOW)
        yield _over(plane, assignments, PostgresTargets(pool, SPANS_MAX), remove)


def _over(
    plane: DataPlane,
    assignments: Assignments,
    targets: Targets,
    remove: Callable[[ProjectId], Awaitable[None]],
) -> Evaluating:
    return Evaluating(
        plane=plane,
        trace_scores=plane.evaluation.trace_scores,
        session_scores=plane.evaluation.session_scores,
        runs=plane.evaluation.runs,
        assignments=assignments,
        targets=targets,
        remove=remove,
    )


def a_run(project: ProjectId, targets: int = 2, **said: Any) -> EvalRun:
    """A run as it is made: a fresh id, METRICS on so many traces, and what is `said`."""
    known: dict[str, Any] = {
        "id": RunId(uuid.uuid4()),
        "project_id": project,
        "target_type": TargetType.TRACE,
        "metrics": METRICS,
        "targets": targets,
        "model": "openai/gpt-5-mini",
        "created_at": NOON,
    }
    return EvalRun(**known | said)


def work_of(run: EvalRun) -> list[Assignment]:
    """All of its metrics on as many targets as it has: the traces 0, 1, 2 …, or the sessions."""
    return [Assignment(target(run, n), run.metrics) for n in range(run.targets)]


def target(run: EvalRun, n: int) -> Target:
    return str(uuid.UUID(int=n)) if run.target_type is TargetType.TRACE else f"s{n}"


def signal_of(run: EvalRun, of: Trace, name: str, now: datetime = NOON) -> TraceScore:
    """A signal of a session run, not measured yet."""
    work = Assignment(str(of.id), (name,))
    [score] = waiting_scores(replace(run, target_type=TargetType.TRACE), work, now, of.environment)
    assert isinstance(score, TraceScore)
    return score


async def all_scores(evaluating: Evaluating, project: ProjectId) -> list[Score]:
    """Those of a project, of whatever run; at most LIMIT_MAX of each kind."""
    found = [
        await evaluating.trace_scores.page(project, ScoreFilter(), ALL),
        await evaluating.session_scores.page(project, ScoreFilter(), ALL),
    ]
    assert all(page.end is None for page in found)
    return [score for page in found for score in page.items]


def later(**period: float) -> datetime:
    """So long after NOON."""
    return NOON + timedelta(**period)


def is_over(run: EvalRun) -> bool:
    return run.status not in {RunStatus.PENDING, RunStatus.RUNNING}


def _target(score: Score) -> Target:
    told = getattr(score, "trace_id", None) or getattr(score, "session_id", "")
    return str(told)
