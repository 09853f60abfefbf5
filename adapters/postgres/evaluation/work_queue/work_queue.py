"""The work queue of evaluation runs."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from adapters.postgres.database.pool import IN_PROJECT
from adapters.postgres.database.read_transactions import RETRY_LATER, PoolReader
from adapters.postgres.database.tenants import ALL_TENANTS, BEGIN_PLANNED
from adapters.postgres.database.transactions import transaction
from adapters.postgres.evaluation.scores.score_rows import SCORES_OF_TRACES, TRACE_SCORES
from adapters.postgres.evaluation.scores.scores import check_storable
from adapters.postgres.evaluation.work_queue import claims, overdue
from adapters.postgres.evaluation.work_queue.claims import finish
from adapters.postgres.evaluation.work_queue.dispatch import dispatch
from adapters.postgres.evaluation.work_queue.plan import plan_run
from application.evaluation.ports.work_queue import (
    ATTEMPTS_MAX,
    IN_FLIGHT_TARGETS_MAX,
    OVERDUE_JOBS_MAX,
    Claim,
    PartlyRequeued,
    SignalKey,
)
from application.jobs import EvaluateTargetJob, Job
from domain.errors import Unavailable
from domain.evaluation.runs.run import RunStatus, Target
from domain.evaluation.scores.outcome import FailCode, Outcome
from domain.evaluation.scores.score import DataType, ScoreOutcome, ScoreSource, TraceScore
from domain.ids import ProjectId, RunId, TraceId
from domain.wording import counted

_log: Final = logging.getLogger(__name__)
FAILED_PROJECTS_MAX: Final = 20  # of one call: each may wait for a timeout

_LIVE_RUN: Final = f"""
SELECT 1 FROM eval_runs WHERE {IN_PROJECT} AND id = $2
  AND status = '{RunStatus.RUNNING}' AND cancelled_at IS NULL
"""
SELECT_LIVE_RUN: Final = f"""
{_LIVE_RUN} AND ($3::uuid IS NULL OR EXISTS (
  SELECT 1 FROM visible_traces WHERE {IN_PROJECT} AND trace_id = $3
))
"""
_TRACE_ID_PARAMETER: Final = f"${TRACE_SCORES.names.index('trace_id') + 1}::uuid"
# A concurrent delete of the run or the trace waits, and then deletes or detaches the signal too.
LOCK_LIVE_RUN: Final = f"{_LIVE_RUN} FOR KEY SHARE"
INSERT_SIGNAL: Final = f"""
WITH trace AS MATERIALIZED (
  SELECT 1 FROM traces WHERE {IN_PROJECT} AND trace_id = {_TRACE_ID_PARAMETER} FOR KEY SHARE
)
INSERT INTO trace_scores ({TRACE_SCORES.select()}) SELECT {TRACE_SCORES.typed_parameters()}
FROM trace ON CONFLICT (project_id, id) DO NOTHING
"""
# Only scores written by runs have a fingerprint; scores that a person changed are excluded.
SELECT_SIGNALS: Final = f"""
SELECT found.* FROM unnest($3::text[], $4::text[], $5::text[]) AS wanted (name, mark, evidence)
CROSS JOIN LATERAL (
  SELECT {TRACE_SCORES.select()} FROM trace_scores
  WHERE {SCORES_OF_TRACES} AND trace_id = $2 AND name = wanted.name
    AND fingerprint = wanted.mark AND evidence_hash = wanted.evidence
    AND outcome = '{ScoreOutcome.SCORED}' AND data_type = '{DataType.NUMERIC}'
    AND source = '{ScoreSource.AUTOMATED}'
  ORDER BY created_at DESC, id DESC LIMIT 1
) AS found
"""


@dataclass(frozen=True, slots=True)
class PostgresWorkQueue(PoolReader):
    """Queues and runs at most `window` targets of a project at a time."""

    window: int = IN_FLIGHT_TARGETS_MAX

    async def plan(self, project: ProjectId, run: RunId, now: datetime) -> bool:
        async with transaction(self.pool, project) as connection:
            return await plan_run(connection, project, run, now)

    async def dispatch(self, project: ProjectId, now: datetime) -> Sequence[EvaluateTargetJob]:
        async with transaction(self.pool, project) as connection:
            return await dispatch(connection, project, now, self.window, self.window)

    async def claim(
        self, project: ProjectId, run: RunId, target: Target, now: datetime
    ) -> Claim | None:
        async with transaction(self.pool, project) as connection:
            claim = await claims.claim(connection, project, run, target, now)
        if claim is None:
            # In a transaction of its own: two workers that share the lock of the run can't both
            # have it alone.
            async with transaction(self.pool, project) as connection:
                await claims.dead_letter_exhausted(connection, project, run, target, now)
        return claim

    async def record(self, claim: Claim, metric: str, outcome: Outcome, now: datetime) -> bool:
        return await self.record_all(claim, {metric: outcome}, now) > 0

    async def record_all(self, claim: Claim, outcomes: Mapping[str, Outcome], now: datetime) -> int:
        async with transaction(self.pool, claim.run.project_id, BEGIN_PLANNED) as connection:
            return await claims.record(connection, claim, outcomes, now)

    async def record_signal(self, claim: Claim, score: TraceScore, now: datetime) -> None:
        check_storable(score)
        run = (claim.run.project_id, claim.run.id)
        async with transaction(self.pool, score.project_id) as connection:
            if await connection.fetchrow(LOCK_LIVE_RUN, *run) is not None:
                await claims.renew(connection, claim, now)
                await connection.execute(INSERT_SIGNAL, *TRACE_SCORES.row(score))

    async def renew(self, claim: Claim, now: datetime) -> None:
        async with transaction(self.pool, claim.run.project_id) as connection:
            await claims.renew(connection, claim, now)

    async def find_signals(
        self, project: ProjectId, trace: TraceId, wanted: Mapping[str, SignalKey]
    ) -> Sequence[TraceScore]:
        keys = (
            list(wanted),
            [key.fingerprint for key in wanted.values()],
            [key.evidence_hash for key in wanted.values()],
        )
        rows = await self._fetch(RETRY_LATER, project, SELECT_SIGNALS, project, trace, *keys)
        return [TRACE_SCORES.score(row) for row in rows]

    async def is_live(self, claim: Claim, trace: TraceId | None = None) -> bool:
        run = (claim.run.project_id, claim.run.id)
        return await self._fetch_row(RETRY_LATER, run[0], SELECT_LIVE_RUN, *run, trace) is not None

    async def close(self, claims: Sequence[Claim], now: datetime) -> Sequence[EvaluateTargetJob]:
        project = claims[0].run.project_id
        async with transaction(self.pool, project, BEGIN_PLANNED) as connection:
            if not await finish(connection, claims, "done", FailCode.INTERNAL, now):
                return ()
            return await dispatch(connection, project, now, self.window, self.window)

    async def postpone(self, claim: Claim, until: datetime, code: FailCode, now: datetime) -> None:
        async with transaction(self.pool, claim.run.project_id) as connection:
            if claim.attempt < ATTEMPTS_MAX:
                await claims.postpone(connection, claim, until, code, now)
            else:
                await finish(connection, [claim], "dead", code, now)

    async def release(self, claim: Claim, now: datetime) -> None:
        async with transaction(self.pool, claim.run.project_id) as connection:
            await claims.release(connection, claim, now)

    async def requeue_overdue(self, now: datetime) -> Sequence[Job]:
        jobs: list[Job] = []
        failed = 0
        try:
            for project in await self._announce_overdue(jobs, now):
                if (left := OVERDUE_JOBS_MAX - len(jobs)) and failed < FAILED_PROJECTS_MAX:
                    failed += not await self._dispatch_waiting(jobs, project, now, left)
        except Unavailable as failure:
            if not jobs:
                raise
            # The jobs above are marked as announced, so they must be sent. The next call finds the
            # others.
            raise PartlyRequeued(failure.message, jobs) from failure
        if failed:
            raise PartlyRequeued(f"{counted(failed, 'project')} could not queue targets", jobs)
        return jobs

    async def _announce_overdue(self, jobs: list[Job], now: datetime) -> Sequence[ProjectId]:
        """Adds the overdue jobs of each transaction, once it is committed.

        The projects with waiting targets and room for them. Each call begins with another one, so
        that those which fail hide no other for long.
        """
        async with transaction(self.pool, ALL_TENANTS) as connection:
            overdue_runs = await overdue.announce_overdue_runs(connection, now)
        jobs += overdue_runs
        async with transaction(self.pool, ALL_TENANTS) as connection:
            room = OVERDUE_JOBS_MAX - len(jobs)
            overdue_targets = await overdue.requeue_overdue_targets(connection, now, room)
        jobs += overdue_targets
        async with transaction(self.pool, ALL_TENANTS) as connection:
            projects = await overdue.list_projects_with_room(connection, now, self.window)
        first = int(now.timestamp()) % max(len(projects), 1)
        return [*projects[first:], *projects[:first]]

    async def _dispatch_waiting(
        self, jobs: list[Job], project: ProjectId, now: datetime, most: int
    ) -> bool:
        """Adds the jobs of a project. Whether it could; otherwise the failure is logged."""
        try:
            async with transaction(self.pool, project) as connection:
                dispatched = await dispatch(connection, project, now, self.window, most)
        except Exception:  # noqa: BLE001 - not even a bug in one project stops the others
            _log.exception("targets wait longer", extra={"project_id": str(project)})
            return False
        jobs += dispatched
        return True

    async def oldest_wait(self, now: datetime) -> timedelta | None:
        [[since]] = await self._fetch(RETRY_LATER, ALL_TENANTS, overdue.SELECT_OLDEST_WAITING, now)
        return None if since is None else max(now - since, timedelta())

    async def count_dead(self) -> int:
        [[count]] = await self._fetch(RETRY_LATER, ALL_TENANTS, overdue.COUNT_DEAD_TARGETS)
        return int(count)
