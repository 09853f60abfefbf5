"""Runs, the targets that they evaluate, their work queue, and workers, in memory."""

from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Final
from uuid import UUID

from adapters.memory.evaluation.datasets import visible_items
from adapters.memory.evaluation.eligible_traces import traces_with_content, unsettled_traces
from adapters.memory.store import MemoryStore, StoredRun, StoredTarget, WorkState, delete_rows
from adapters.memory.tracing.traces import whole_bytes
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
from domain.evaluation.costs.judge_costs import run_scope
from domain.evaluation.custom_metrics.custom_metric import needs_model
from domain.evaluation.metrics.registry import SPANS_MAX
from domain.evaluation.runs.run import (
    EvalRun,
    Execution,
    RunProgress,
    RunStatus,
    RunWait,
    Tally,
    Target,
    TargetType,
    WorkItem,
    pending_scores,
)
from domain.evaluation.runs.selection import (
    SETTLED,
    Eligibility,
    Sample,
    SessionSelection,
    TraceSelection,
    select_sessions,
)
from domain.evaluation.runs.summary import ScoreGroup
from domain.evaluation.scores.outcome import FailCode, Failed, Outcome, SkipCode, Skipped
from domain.evaluation.scores.score import (
    Score,
    ScoreOutcome,
    ScoreSource,
    SessionScore,
    TraceScore,
    newest_first,
)
from domain.evaluation.sessions.signals import SESSION_TRACES_MAX
from domain.evaluation.trace_content.evaluated_trace import (
    RECENT_OUTPUTS_MAX,
    EvaluatedTrace,
    final_output_text,
)
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId, RunId, TraceId, UserId
from domain.page import Page, PageRequest, Position, SortOrder, paginate
from domain.tracing.otel.otlp_state import QUIET_DEFAULT
from domain.tracing.payloads.payload import EMPTY_OBJECT, JsonText, scalar_members
from domain.tracing.payloads.read_limit import READ_BYTES_MAX
from domain.tracing.trace import Trace

NO_JOBS: Final[Sequence[EvaluateTargetJob]] = ()


@dataclass(frozen=True, slots=True)
class MemoryRuns:
    store: MemoryStore

    async def create(self, run: EvalRun, work: Sequence[WorkItem]) -> RunProgress:
        self.store.check_exists(run.project_id)
        key = (run.project_id, run.id)
        if key not in self.store.runs:
            opened = run.completed_if_empty()
            final = Tally() if opened.status.is_final else None
            self.store.runs[key] = StoredRun(run=opened, announced_at=run.created_at, final=final)
            for place, one in enumerate(work):
                row = StoredTarget(assignment=one, place=place, run_after=run.created_at)
                self.store.work_queue[*key, one.target] = row
        return self._progress(self.store.runs[key])

    async def get(self, project: ProjectId, run: RunId) -> RunProgress:
        return self._progress(self.store.runs.require(project, run))

    async def page(
        self, project: ProjectId, of: TargetType, status: RunStatus | None, window: PageRequest
    ) -> Page[RunProgress]:
        found = [
            self._progress(one)
            for one in self.store.runs_of(project)
            if one.run.target_type is of and status in {None, one.run.status}
        ]
        return paginate(found, list_position, SortOrder.DESC, window)

    async def failures(self, project: ProjectId, run: RunId) -> tuple[EvalRun, Sequence[Execution]]:
        known = self.store.runs.require(project, run).run
        failed = [
            Execution.from_score(score_target(one), one)
            for one in self.store.scores_of_run(project, run)
            if one.outcome is ScoreOutcome.FAILED
        ]
        return known, sorted(failed, key=lambda one: (one.target, one.metric))

    async def results(self, project: ProjectId, run: RunId) -> tuple[EvalRun, Sequence[ScoreGroup]]:
        known = self.store.runs.require(project, run).run
        shown: list[Score] = [
            *self.store.visible_trace_scores(project),
            *self.store.visible_session_scores(project),
        ]
        return known, [ScoreGroup.from_score(one) for one in shown if one.run_id == run]

    async def cancel(self, project: ProjectId, run: RunId, now: datetime) -> RunProgress:
        stored = self.store.runs.require(project, run)
        cancelled = stored.run.cancelled(now)
        if cancelled is not stored.run:
            finish_run(self.store, stored, cancelled, now)
        return await self.get(project, run)

    async def delete(
        self,
        project: ProjectId,
        run: RunId,
        now: datetime,
        *,
        with_scores: bool,
        authors: Collection[UserId] | None = None,
        audit: AuditEntry | None = None,
    ) -> None:
        stored = self.store.runs.require(project, run)
        if not stored.run.status.is_final:
            await self.cancel(project, run, now)
        for score in self.store.scores_of_run(project, run):
            if with_scores and (authors is None or score.author_id in {None, *authors}):
                self.store.delete_score(project, score.id)
            else:
                self.store.put_score(replace(score, run_id=None))
        delete_rows(self.store.work_queue, lambda key, _: key[:2] == (project, run))
        self.store.spending.pop((project, run_scope(run)), None)
        del self.store.runs[project, run]
        self.store.record(audit)

    def _progress(self, stored: StoredRun) -> RunProgress:
        waiting_for = None if stored.final else _wait(self.store, stored.run)
        return RunProgress(
            stored.run, stored.final or count_run(self.store, stored.run), waiting_for
        )


def _wait(store: MemoryStore, run: EvalRun) -> RunWait | None:
    return RunWait.from_targets(
        (row.run_after, row.last_code)
        for (project, of, _), row in store.work_queue.items()
        if (project, of) == (run.project_id, run.id)
        and row.state is WorkState.QUEUED
        and row.last_code is not None
    )


def count_run(store: MemoryStore, run: EvalRun) -> Tally:
    """The current tally of a run."""
    rows = store.work_of(run.project_id, run.id)
    return sum((_count_target(store, run, one) for one in rows), Tally())


def _count_target(store: MemoryStore, run: EvalRun, row: StoredTarget) -> Tally:
    if row.state is WorkState.UNPLANNED:
        return Tally()
    if row.state is WorkState.WAITING:
        return Tally(pending=len(row.assignment.metrics))
    return row.came_to or count_scores(store, run, row, finished=0)


def count_scores(store: MemoryStore, run: EvalRun, row: StoredTarget, *, finished: int) -> Tally:
    """The current tally of the scores of a target."""
    target, metrics = row.assignment.target, row.assignment.metrics
    known = [store.score_of(run.project_id, run.score_id(target, one)) for one in metrics]
    scores = [Execution.from_score(target, one) for one in known if one is not None]
    return Tally.from_executions(run.metrics, finished, scores)


def finish_run(store: MemoryStore, stored: StoredRun, over: EvalRun, now: datetime) -> None:
    """Stores a finished run; none of its targets is open any more."""
    project, run = over.project_id, over.id
    tally = count_run(store, over)
    scores = store.scores_of_run(project, run)
    pending = [one for one in scores if one.outcome is ScoreOutcome.PENDING]
    for score in pending:
        store.put_score(score.cancelled(now))
    for row in store.work_of(project, run):
        if row.came_to is None:
            key = (project, run, row.assignment.target)
            store.work_queue[key] = replace(row, state=WorkState.DONE, due_at=None)
    final = replace(tally, pending=0, skipped=tally.skipped + len(pending))
    store.runs[project, run] = replace(stored, run=over, final=final)


def score_target(score: Score) -> Target:
    match score:
        case TraceScore():
            return str(score.trace_id)
        case SessionScore():
            return score.session_id
        case _:
            raise TypeError(f"a score of neither kind: {score!r}")


def list_position(one: RunProgress) -> Position:
    return Position(one.run.created_at, one.run.id)


@dataclass(frozen=True, slots=True)
class MemoryTargets:
    store: MemoryStore
    spans_max: int = SPANS_MAX
    bytes_max: int = READ_BYTES_MAX
    quiet: timedelta = QUIET_DEFAULT

    async def traces(
        self,
        project: ProjectId,
        selection: TraceSelection,
        most: int,
        *,
        eligibility: Eligibility = SETTLED,
        sample: Sample | None = None,
    ) -> Sequence[Target]:
        matching = {one.id for one in self.store.matching_traces(project, selection.matching)}
        wanted = matching - {one.id for one in self._unsettled(project, eligibility)}
        traces = traces_with_content(self.store, project, eligibility)
        found = sorted(str(one.id) for one in traces if one.id in wanted)
        return (sample.of(found) if sample else found)[: most + 1]

    async def sessions(
        self,
        project: ProjectId,
        selection: SessionSelection,
        most: int,
        *,
        eligibility: Eligibility = SETTLED,
        sample: Sample | None = None,
    ) -> Sequence[Target]:
        traces = traces_with_content(self.store, project, eligibility)
        unsettled = {one.session_id for one in self._unsettled(project, eligibility)}
        found = [one for one in select_sessions(traces, selection) if one not in unsettled]
        return (sample.of(found) if sample else found)[: most + 1]

    async def count(
        self,
        project: ProjectId,
        selection: TraceSelection | SessionSelection,
        most: int,
        *,
        eligibility: Eligibility = SETTLED,
    ) -> int:
        if isinstance(selection, TraceSelection):
            return len(await self.traces(project, selection, most, eligibility=eligibility))
        return len(await self.sessions(project, selection, most, eligibility=eligibility))

    def _unsettled(self, project: ProjectId, eligibility: Eligibility) -> list[Trace]:
        if not eligibility.settled_only:
            return []
        return unsettled_traces(self.store, project, self.store.traces.clock(), self.quiet)

    async def load_trace(
        self, project: ProjectId, trace: TraceId
    ) -> EvaluatedTrace | Skipped | Failed:
        found = self.store.visible_trace(project, trace)
        if found is None:
            return Failed(FailCode.TARGET_GONE)
        if len(found.spans) > self.spans_max or whole_bytes(found) > self.bytes_max:
            return Skipped(SkipCode.TRACE_TOO_LARGE)
        expected = self._expected(project, trace)
        if found.session_id is None:
            return EvaluatedTrace(found, expected=expected)
        order = self.store.visible_traces_of(project, found.session_id)
        before = order[: order.index(found)]
        return EvaluatedTrace(
            found,
            [final_output_text(self._bounded(one)) for one in before[-RECENT_OUTPUTS_MAX:]],
            expected,
        )

    def _expected(self, project: ProjectId, trace: TraceId) -> JsonText | None:
        """What the item of a dataset expects whose result the trace is."""
        results = [key for key, one in self.store.results.live() if one == trace]
        for _, experiment, case in [key for key in results if key[0] == project]:
            version = self.store.experiments[project, experiment].version
            rows = [
                row
                for key, row in self.store.dataset_items.live()
                if key[:3] == (project, version.dataset_id, case.item) and row.is_in(version.number)
            ]
            return next(
                (one.item.expected for one in visible_items(self.store, project, rows)), None
            )
        return None

    async def session_traces(self, project: ProjectId, session: str) -> Sequence[TraceId]:
        in_order = self.store.visible_traces_of(project, session)
        return [one.id for one in in_order[: SESSION_TRACES_MAX + 1]]

    def _bounded(self, trace: Trace) -> Trace:
        is_large = len(trace.spans) > self.spans_max or whole_bytes(trace) > self.bytes_max
        return replace(trace, spans=()) if is_large else trace


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
            self._bury(known, row, FailCode(row.last_code or FailCode.INTERNAL), now)
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
            for one in self.store.trace_scores.of(project)
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
            self._bury(stored, row, code, now)
            return
        later = replace(row, state=WorkState.QUEUED, run_after=until, due_at=until)
        self._put(stored.run, replace(later, last_code=code.value))

    async def requeue_overdue(self, now: datetime) -> Sequence[Job]:
        jobs: list[Job] = [*islice(self._unplanned(now), OVERDUE_JOBS_MAX)]
        jobs += islice(self._unheard(now), OVERDUE_JOBS_MAX - len(jobs))
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
        buried = sum(row.state is WorkState.DEAD for _, row in self.store.work_queue.live())
        return min(buried, OVERDUE_JOBS_MAX)

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

    def _bury(self, stored: StoredRun, row: StoredTarget, code: FailCode, now: datetime) -> None:
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

    def _unheard(self, now: datetime) -> Iterator[Job]:
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
