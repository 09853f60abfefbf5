"""The work queue of runs, workers and workloads in memory."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Final
from uuid import UUID

from adapters.memory.evaluation.runs import count_run, count_scores
from adapters.memory.store import MemoryStore, StoredRun, StoredTarget, WorkState
from application.evaluation.ports.work_queue import (
    AGE_BANDS,
    ANNOUNCE_TIMEOUT,
    ATTEMPTS_MAX,
    COUNTED_ROWS_MAX,
    IN_FLIGHT_TARGETS_MAX,
    LEASE,
    OVERDUE_JOBS_MAX,
    PLANNED_TARGETS_BATCH,
    RENEW_DEBOUNCE,
    Claim,
    SignalKey,
    Workload,
    age_band,
)
from application.jobs import EvaluateTargetJob, Job, PlanRunJob
from application.workers import WORKER_RETENTION, WORKER_TIMEOUT, Worker, WorkerStatus
from domain.evaluation.custom_metrics.custom_metric import needs_model
from domain.evaluation.runs.run import (
    EvalRun,
    RunStatus,
    Target,
    TargetType,
    pending_scores,
)
from domain.evaluation.scores.outcome import FailCode, Failed, Outcome
from domain.evaluation.scores.score import (
    Score,
    ScoreOutcome,
    ScoreSource,
    TraceScore,
    newest_first,
)
from domain.ids import ProjectId, RunId, TraceId
from domain.tracing.payloads.payload import EMPTY_OBJECT, scalar_members

NO_JOBS: Final[Sequence[EvaluateTargetJob]] = ()


@dataclass(frozen=True, slots=True)
class MemoryWorkQueue:
    """Queues and runs at most `window` targets of a project at a time."""

    store: MemoryStore
    window: int = IN_FLIGHT_TARGETS_MAX

    async def plan(self, project: ProjectId, run: RunId, now: datetime) -> bool:
        stored = self.store.runs.find(project, run)
        if stored is None or stored.run.status is not RunStatus.PENDING:
            return False
        rows = self.store.work_of(project, run)
        left = [one for one in rows if one.state is WorkState.UNPLANNED]
        for row in left[:PLANNED_TARGETS_BATCH]:
            for score in pending_scores(
                stored.run, row.assignment, now, self._environment(stored.run, row)
            ):
                self._plan_score(score)
            self._put(stored.run, replace(row, state=WorkState.WAITING))
        has_more = len(left) > PLANNED_TARGETS_BATCH
        planned = stored.run if has_more else stored.run.started()
        self.store.runs[project, run] = replace(stored, run=planned, announced_at=now)
        return has_more

    async def dispatch(self, project: ProjectId, now: datetime) -> Sequence[EvaluateTargetJob]:
        return self._dispatch(project, now, self.window)

    async def claim(
        self, project: ProjectId, run: RunId, target: Target, now: datetime
    ) -> Claim | None:
        known = self.store.runs.find(project, run)
        row = self.store.work_queue.find(project, run, target)
        if known is None or row is None or not row.is_claimable(now):
            return None
        if row.attempts >= ATTEMPTS_MAX:
            self._finish_dead(known, row, FailCode(row.last_code or FailCode.INTERNAL), now)
            return None
        claimed = replace(
            row, state=WorkState.RUNNING, attempts=row.attempts + 1, due_at=now + LEASE
        )
        self._put(known.run, claimed)
        metrics = tuple(score.name for score in self._open_scores(known.run, row))
        without_filters = replace(known.run, filters=EMPTY_OBJECT)
        return Claim(without_filters, target, metrics, claimed.attempts)

    async def record(self, claim: Claim, metric: str, outcome: Outcome, now: datetime) -> bool:
        return await self.record_all(claim, {metric: outcome}, now) > 0

    async def record_all(self, claim: Claim, outcomes: Mapping[str, Outcome], now: datetime) -> int:
        self._renew(claim, now)
        written = [
            score.with_outcome(outcome, now)
            for metric, outcome in outcomes.items()
            if (score := self._score(claim.run, claim.target, metric)) is not None
            and score.outcome is ScoreOutcome.PENDING
        ]
        for score in written:
            self.store.put_score(score)
        return len(written)

    async def record_signal(self, claim: Claim, score: TraceScore, now: datetime) -> None:
        self._renew(claim, now)
        known = self.store.traces.find(claim.run.project_id, score.trace_id)
        if await self.is_live(claim) and known is not None:
            self._add(score)

    async def renew(self, claim: Claim, now: datetime) -> None:
        self._renew(claim, now)

    async def find_signals(
        self, project: ProjectId, trace: TraceId, wanted: Mapping[str, SignalKey]
    ) -> Sequence[TraceScore]:
        usable = [
            one
            for one in self.store.trace_scores.in_project(project)
            if one.trace_id == trace
            and self.store.is_of_run(one)
            and one.name in wanted
            and wanted[one.name] == _signal_key(one)
        ]
        newest = {one.name: one for one in reversed(newest_first(usable))}
        return list(newest.values())

    async def is_live(self, claim: Claim, trace: TraceId | None = None) -> bool:
        project = claim.run.project_id
        if trace is not None and self.store.visible_trace(project, trace) is None:
            return False
        stored = self.store.runs.find(project, claim.run.id)
        return stored is not None and stored.run.status is RunStatus.RUNNING

    async def close(self, claims: Sequence[Claim], now: datetime) -> Sequence[EvaluateTargetJob]:
        held = [found for claim in claims if (found := self._held(claim)) is not None]
        for one in held:
            self._finish(*one, WorkState.DONE, FailCode.INTERNAL, now)
        project = claims[0].run.project_id
        return self._dispatch(project, now, self.window) if held else NO_JOBS

    async def postpone(self, claim: Claim, until: datetime, code: FailCode, now: datetime) -> None:
        if (held := self._held(claim)) is None:
            return
        stored, row = held
        if row.attempts >= ATTEMPTS_MAX:
            self._finish_dead(stored, row, code, now)
            return
        later = replace(row, state=WorkState.QUEUED, run_after=until, due_at=until)
        self._put(stored.run, replace(later, last_code=code.value))

    async def release(self, claim: Claim, now: datetime) -> None:
        if (held := self._held(claim)) is not None:
            stored, row = held
            free = replace(row, state=WorkState.QUEUED, run_after=now, due_at=now)
            self._put(stored.run, replace(free, attempts=row.attempts - 1))

    async def requeue_overdue(self, now: datetime) -> Sequence[Job]:
        jobs: list[Job] = [*islice(self._unplanned(now), OVERDUE_JOBS_MAX)]
        jobs += islice(self._unannounced(now), OVERDUE_JOBS_MAX - len(jobs))
        for project in sorted({project for project, _ in self.store.runs}):
            jobs += self._dispatch(project, now, min(self.window, OVERDUE_JOBS_MAX - len(jobs)))
        return jobs

    async def oldest_wait(self, now: datetime) -> timedelta | None:
        since = [stored.run.created_at for stored in self._pending()]
        for _, row in self.store.work_queue.live():
            if row.claimable_from is not None and row.claimable_from <= now:
                since.append(row.claimable_from)
        return max(now - min(since), timedelta()) if since else None

    async def count_dead(self) -> int:
        dead = sum(row.state is WorkState.DEAD for _, row in self.store.work_queue.live())
        return min(dead, OVERDUE_JOBS_MAX)

    # --- targets ---

    def _put(self, run: EvalRun, row: StoredTarget) -> None:
        self.store.work_queue[run.project_id, run.id, row.assignment.target] = row

    def _held(self, claim: Claim) -> tuple[StoredRun, StoredTarget] | None:
        """The target of a claim, if it is the latest claim."""
        project, run = claim.run.project_id, claim.run.id
        stored = self.store.runs.find(project, run)
        row = self.store.work_queue.find(project, run, claim.target)
        if stored is None or row is None:
            return None
        is_held = row.state is WorkState.RUNNING and row.attempts == claim.attempt
        return (stored, row) if is_held else None

    def _renew(self, claim: Claim, now: datetime) -> None:
        if (held := self._held(claim)) is None:
            return
        stored, row = held
        if row.due_at is not None and row.due_at <= now + LEASE - RENEW_DEBOUNCE:
            self._put(stored.run, replace(row, due_at=now + LEASE))

    def _finish_dead(
        self, stored: StoredRun, row: StoredTarget, code: FailCode, now: datetime
    ) -> None:
        self._finish(stored, row, WorkState.DEAD, code, now)

    def _finish(
        self, stored: StoredRun, row: StoredTarget, state: WorkState, code: FailCode, now: datetime
    ) -> None:
        """Finishes a target, and settles its run after the last one."""
        for score in self._open_scores(stored.run, row):
            self.store.put_score(score.with_outcome(Failed(code), now))
        came_to = count_scores(self.store, stored.run, row, finished=1)
        self._put(stored.run, replace(row, state=state, due_at=None, came_to=came_to))
        tally = count_run(self.store, stored.run)
        settled = stored.run.settled(tally, now)
        if settled is not stored.run:
            self.store.runs[stored.key] = replace(stored, run=settled, final=tally)

    def _dispatch(
        self, project: ProjectId, now: datetime, most: int
    ) -> Sequence[EvaluateTargetJob]:
        """Queues at most `most` targets, within the free part of the window."""
        going, waiting = dict[RunId, int](), dict[RunId, deque[StoredTarget]]()
        put_back = 0
        runs = [one.run for one in self.store.runs_of(project)]
        running = {one.id: one for one in runs if one.status is RunStatus.RUNNING}
        for run in running:
            rows = self.store.work_of(project, run)
            going[run] = sum(one.state.is_in_flight for one in rows)
            put_back += sum(
                one.state is WorkState.QUEUED and one.attempts > 0 and one.run_after > now
                for one in rows
            )
            waiting[run] = deque(one for one in rows if one.state is WorkState.WAITING)
        room = min(self.window + put_back - sum(going.values()), most)
        jobs: list[EvaluateTargetJob] = []
        while len(jobs) < room:
            free = [one for one in running if waiting[one] and going[one] < self.window]
            if not free:
                break
            run = min(free, key=going.__getitem__)
            row = waiting[run].popleft()
            queued = replace(
                row, state=WorkState.QUEUED, run_after=now, due_at=now + ANNOUNCE_TIMEOUT
            )
            self._put(running[run], queued)
            going[run] += 1
            jobs.append(_target_job(running[run], row))
        return jobs

    def _unplanned(self, now: datetime) -> Iterator[Job]:
        for stored in sorted(self._pending(), key=lambda one: (one.announced_at, one.key)):
            if stored.announced_at + ANNOUNCE_TIMEOUT <= now:
                self.store.runs[stored.key] = replace(stored, announced_at=now)
                yield PlanRunJob(*stored.key)

    def _unannounced(self, now: datetime) -> Iterator[Job]:
        work = self.store.work_queue.live()
        due = [(one.due_at, key) for key, one in work if one.due_at is not None]
        for since, key in sorted(due):
            if since <= now:
                row, run = self.store.work_queue[key], self.store.runs[key[:2]].run
                queued = replace(row, state=WorkState.QUEUED, due_at=now + ANNOUNCE_TIMEOUT)
                if row.state is WorkState.RUNNING:
                    queued = replace(queued, run_after=since)
                self._put(run, queued)
                yield _target_job(run, row)

    def _pending(self) -> list[StoredRun]:
        return [one for _, one in self.store.runs.live() if one.run.status is RunStatus.PENDING]

    # --- scores ---

    def _environment(self, run: EvalRun, row: StoredTarget) -> str | None:
        if run.target_type is not TargetType.TRACE:
            return None
        known = self.store.traces.get((run.project_id, TraceId(UUID(row.assignment.target))))
        return None if known is None else known.environment

    def _score(self, run: EvalRun, target: Target, metric: str) -> Score | None:
        return self.store.score_of(run.project_id, run.score_id(target, metric))

    def _open_scores(self, run: EvalRun, row: StoredTarget) -> list[Score]:
        target, metrics = row.assignment.target, row.assignment.metrics
        known = [self._score(run, target, metric) for metric in metrics]
        return [one for one in known if one and one.outcome is ScoreOutcome.PENDING]

    def _plan_score(self, score: Score) -> None:
        """Stores the score, also in place of one that the run left when it was deleted before.

        If a person changed that one, it is attached to the run again instead.
        """
        known = self.store.score_of(score.project_id, score.id)
        if known is None or (known.run_id is None and known.is_automated):
            self.store.put_score(score)
        elif known.run_id is None:
            self.store.put_score(replace(known, run_id=score.run_id))

    def _add(self, score: Score) -> None:
        """Stores the score unless its id exists."""
        if self.store.score_of(score.project_id, score.id) is None:
            self.store.put_score(score)


def _target_job(run: EvalRun, row: StoredTarget) -> EvaluateTargetJob:
    asks_judge = needs_model(row.assignment.metrics, run.model, run.definitions, run.signal_weights)
    return EvaluateTargetJob(run.project_id, run.id, row.assignment.target, asks_judge)


def _signal_key(score: TraceScore) -> SignalKey | None:
    """None for failed and skipped scores, and for those that a person changed."""
    is_automated = score.source is ScoreSource.AUTOMATED
    if score.outcome is not ScoreOutcome.SCORED or score.number is None or not is_automated:
        return None
    members = scalar_members(score.metadata)
    key = (members.get("fingerprint"), members.get("evidence_hash"))
    return None if None in key else SignalKey(*map(str, key))


@dataclass(slots=True)
class MemoryWorkers:
    known: dict[UUID, datetime] = field(default_factory=dict)

    async def record_heartbeat(self, worker: Worker, now: datetime) -> None:
        self.known[worker.id] = now
        self.known = {id_: at for id_, at in self.known.items() if now - at < WORKER_RETENTION}

    async def remove(self, worker: Worker) -> None:
        self.known.pop(worker.id, None)

    async def status(self, now: datetime) -> WorkerStatus:
        kept = [at for at in self.known.values() if now - at < WORKER_RETENTION]
        alive = sum(now - at < WORKER_TIMEOUT for at in kept)
        return WorkerStatus(alive, max(kept, default=None))


@dataclass(frozen=True, slots=True)
class MemoryWorkloads:
    store: MemoryStore

    async def workload(self, now: datetime) -> Workload:
        runs = Counter(one.run.status for _, one in self.store.runs.live())
        work = [one for _, one in self.store.work_queue.live()]
        running = sum(
            one.state is WorkState.RUNNING and one.due_at is not None and one.due_at > now
            for one in work
        )
        ages = Counter(
            age_band(now - since)
            for one in work
            if (since := one.claimable_from) is not None and since <= now
        )
        return Workload(
            pending_runs=min(runs[RunStatus.PENDING], COUNTED_ROWS_MAX),
            running_runs=min(runs[RunStatus.RUNNING], COUNTED_ROWS_MAX),
            queued={band: min(ages[band], COUNTED_ROWS_MAX) for band in AGE_BANDS},
            running=min(running, COUNTED_ROWS_MAX),
        )
