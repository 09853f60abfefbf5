"""The ports of runs, and of the targets that they evaluate."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol

from domain.evaluation.runs.run import (
    EvalRun,
    Execution,
    RunProgress,
    RunStatus,
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
)
from domain.evaluation.runs.summary import ScoreGroup
from domain.evaluation.scores.outcome import Failed, Skipped
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId, RunId, ScoreId, TraceId, UserId
from domain.page import Page, PageRequest


class Targets(Protocol):
    """The traces and sessions to evaluate, by project.

    Contract of Targets: tests/contracts/evaluation/runs/test_targets.py. All raise
    Unavailable.
    """

    async def traces(
        self,
        project: ProjectId,
        selection: TraceSelection,
        limit: int,
        *,
        eligibility: Eligibility = SETTLED,
        sample: Sample | None = None,
    ) -> Sequence[Target]:
        """The ids of the eligible traces that match, ascending; the first `limit` + 1.

        With `sample` those that it takes of all that match; if they are more than `limit`, any
        `limit` + 1 of them.
        """
        ...

    async def sessions(
        self,
        project: ProjectId,
        selection: SessionSelection,
        limit: int,
        *,
        eligibility: Eligibility = SETTLED,
        sample: Sample | None = None,
    ) -> Sequence[Target]:
        """As `select_sessions` of the eligible traces; as many of them as of `traces`."""
        ...

    async def count(
        self,
        project: ProjectId,
        selection: TraceSelection | SessionSelection,
        limit: int,
        *,
        eligibility: Eligibility = SETTLED,
    ) -> int:
        """How many ids `traces` or `sessions` would return without a sample."""
        ...

    async def load_trace(
        self, project: ProjectId, trace: TraceId
    ) -> EvaluatedTrace | Skipped | Failed:
        """A trace to evaluate, with the outputs of earlier traces of its session.

        If it is gone, or has more than SPANS_MAX spans, the outcome for every metric, without
        reading it. If an earlier trace has more spans, only its own output is read.
        """
        ...

    async def session_traces(self, project: ProjectId, session: str) -> Sequence[TraceId]:
        """The traces of a session, by (started_at, id); at most SESSION_TRACES_MAX + 1."""
        ...


class Runs(Protocol):
    """The runs of every project, seen one project at a time. Writes are durable on return.

    Progress counts a finished target with the outcomes that it had then, even if its scores change
    later, so the counts of a final run never change. A queued or running target counts with its
    present scores, a waiting one as all pending. Cancelling skips the open scores of targets.
    Contract of Runs: tests/contracts/evaluation/runs/test_runs.py. All raise
    Unavailable.
    """

    async def create(self, run: EvalRun, work: Sequence[WorkItem]) -> RunProgress:
        """Stores a run and its work, atomically; `work` in the order of evaluation.

        Each of its `targets` has one work item. If the id exists, returns that run and stores
        nothing. Raises Invalid if it can't be stored, Unavailable if the project was removed.
        """
        ...

    async def get(self, project: ProjectId, run: RunId) -> RunProgress:
        """Raises NotFound."""
        ...

    async def page(
        self,
        project: ProjectId,
        target_type: TargetType,
        status: RunStatus | None,
        window: PageRequest,
    ) -> Page[RunProgress]:
        """A page by creation, newest first, as `paginate` does it."""
        ...

    async def failures(self, project: ProjectId, run: RunId) -> tuple[EvalRun, Sequence[Execution]]:
        """A run with its FAILED executions, signals included, by target and metric.

        Raises NotFound.
        """
        ...

    async def results(self, project: ProjectId, run: RunId) -> tuple[EvalRun, Sequence[ScoreGroup]]:
        """A run with its scores as they are now, signals included, in groups of any size.

        Raises NotFound.
        """
        ...

    async def cancel(self, project: ProjectId, run: RunId, now: datetime) -> RunProgress:
        """The run after `cancelled`, with all its PENDING scores skipped.

        No execution begins afterwards. A large run is cancelled in batches: until the last one it
        reads as RUNNING, but nothing can be claimed. The status changes with the last batch. An
        interrupted cancellation is resumed by the next cancel or plan. Raises NotFound, Conflict.
        """
        ...

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
        """Cancels it if it is live, then deletes it and its work.

        Its scores are deleted, or stay without a run. With `authors`, those that another person
        wrote by the time of their deletion stay too: a correction made meanwhile isn't lost. A
        large run is deleted in batches, the run itself last; after an interruption the next call
        deletes the rest. The spending of its judges stays in the ledger, and no longer counts
        towards a budget of a run. Raises NotFound.
        """
        ...


type OnFault = Callable[[ScoreId, Exception], None]
"""Reports an unexpected error to the log, and the score that FAILED because of it."""
