"""Runs and the targets that they evaluate, in memory."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from adapters.memory.evaluation.datasets import visible_items
from adapters.memory.evaluation.eligible_traces import traces_with_content, unsettled_traces
from adapters.memory.store import MemoryStore, StoredRun, StoredTarget, WorkState, delete_rows
from adapters.memory.tracing.traces import whole_bytes
from domain.evaluation.costs.judge_costs import run_scope
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
from domain.evaluation.scores.outcome import FailCode, Failed, SkipCode, Skipped
from domain.evaluation.scores.score import (
    Score,
    ScoreOutcome,
    SessionScore,
    TraceScore,
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
from domain.tracing.payloads.payload import JsonText
from domain.tracing.payloads.read_limit import READ_BYTES_MAX
from domain.tracing.trace import Trace


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
        self,
        project: ProjectId,
        target_type: TargetType,
        status: RunStatus | None,
        window: PageRequest,
    ) -> Page[RunProgress]:
        found = [
            self._progress(one)
            for one in self.store.runs_of(project)
            if one.run.target_type is target_type and status in {None, one.run.status}
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
        for (project, target_type, _), row in store.work_queue.items()
        if (project, target_type) == (run.project_id, run.id)
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
        return (sample.select(found) if sample else found)[: most + 1]

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
        return (sample.select(found) if sample else found)[: most + 1]

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
        """The expectation of the dataset item whose result the trace is."""
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
