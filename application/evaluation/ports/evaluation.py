"""The ports of scores, their agreement with people, targets, runs, judges and embedders."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from domain.evaluation.agreement.calibration import JudgeScores, PairedTrace, QueueItem
from domain.evaluation.agreement.claims import ClaimedItems, ClaimRequest, QueueProgress
from domain.evaluation.judging.judge import Answer, Question
from domain.evaluation.metrics.metric import Metric
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
from domain.evaluation.scores.analytics import (
    Histogram,
    HistoryPoint,
    RankedSession,
    ScoreSummary,
    SeparateKind,
    TrendPoint,
)
from domain.evaluation.scores.edits import ScoreEdit
from domain.evaluation.scores.outcome import Failed, Skipped
from domain.evaluation.scores.score import (
    CreatedWithin,
    ScoreBrief,
    ScoreChange,
    ScoreFilter,
    ScoreSource,
    ScoreTarget,
    SessionScore,
    TraceScore,
)
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.text import Vector
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId, RunId, ScoreId, SpanId, TraceId, UserId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.analytics import Granularity


class TraceScores(Protocol):
    """The scores of traces and of spans, seen one project at a time. Writes are durable on return.

    Contract of TraceScores: tests/contracts/evaluation/scores/test_trace_scores.py.
    All raise Unavailable.
    """

    async def add(self, score: TraceScore, *, checks_span: bool = True) -> TraceScore:
        """Stores a score of a stored trace; if its id exists, returns the stored one unchanged.

        Raises NotFound if the project has no such trace, or if the trace has no such span; Invalid
        if the score can't be stored. Without `checks_span` the span may be stored later, or never.
        """
        ...

    async def add_new(
        self, project: ProjectId, trace: TraceId, scores: Sequence[TraceScore]
    ) -> Mapping[ScoreId, TraceId]:
        """Stores the scores of one trace whose ids are new, as `add` without `checks_span`.

        Returns the trace that each of the other ids belongs to. The first of several scores with
        one id is stored. Many scores take many transactions, so that some may be stored if it
        raises.
        """
        ...

    async def change(
        self,
        project: ProjectId,
        score: ScoreId,
        change: ScoreChange,
        now: datetime,
        author: UserId | None,
        *,
        edit: ScoreEdit | None = None,
    ) -> TraceScore:
        """The score after `patched`. Concurrent calls for one score lose nothing.

        With `edit`, its `check` decides, and its audit entry is stored with the change. Raises
        NotFound, Invalid, Forbidden.
        """
        ...

    async def delete(
        self, project: ProjectId, score: ScoreId, edit: ScoreEdit | None = None
    ) -> bool:
        """Deletes it; whether it existed. `edit` and what is raised are as of `change`."""
        ...

    async def get(self, project: ProjectId, score: ScoreId) -> TraceScore:
        """Raises NotFound."""
        ...

    async def run_has_scores_of_others(
        self, project: ProjectId, run: RunId, user: UserId | None
    ) -> bool:
        """Whether a score of the run has an author who isn't `user`."""
        ...

    async def page(
        self, project: ProjectId, matching: ScoreFilter, window: PageRequest
    ) -> Page[TraceScore]:
        """The scores that match, newest first, as `paginate` does it by `list_position`.

        The total is exact up to COUNTED_SCORES_MAX; beyond it, it is a lower bound.
        """
        ...

    async def latest(
        self, project: ProjectId, trace: TraceId, span: SpanId | None = None
    ) -> Sequence[TraceScore]:
        """As `latest_by_name`: of the trace without its spans, or of one span of it.

        Empty for an unknown trace or span. Raises TooLargeToRead.
        """
        ...

    async def latest_of_traces(
        self, project: ProjectId, traces: Sequence[TraceId]
    ) -> Mapping[TraceId, Sequence[ScoreBrief]]:
        """The first BRIEF_SCORES_MAX of `latest` for each trace that has any."""
        ...

    async def of_run(self, project: ProjectId, run: RunId) -> Sequence[TraceScore]:
        """All scores that a run has written, newest first. Raises TooLargeToRead."""
        ...


class SessionScores(Protocol):
    """The scores of sessions, with the guarantees of `TraceScores`.

    Contract of SessionScores: tests/contracts/evaluation/scores/test_session_scores.py.
    """

    async def add(self, score: SessionScore) -> SessionScore:
        """As `TraceScores.add`. A session exists while a trace has its id."""
        ...

    async def add_new(
        self, project: ProjectId, session: str, scores: Sequence[SessionScore]
    ) -> Mapping[ScoreId, str]:
        """As `TraceScores.add_new`."""
        ...

    async def change(
        self,
        project: ProjectId,
        score: ScoreId,
        change: ScoreChange,
        now: datetime,
        author: UserId | None,
        *,
        edit: ScoreEdit | None = None,
    ) -> SessionScore: ...

    async def get(self, project: ProjectId, score: ScoreId) -> SessionScore: ...

    async def run_has_scores_of_others(
        self, project: ProjectId, run: RunId, user: UserId | None
    ) -> bool: ...

    async def delete(
        self, project: ProjectId, score: ScoreId, edit: ScoreEdit | None = None
    ) -> bool: ...

    async def page(
        self, project: ProjectId, matching: ScoreFilter, window: PageRequest
    ) -> Page[SessionScore]: ...

    async def of_session(self, project: ProjectId, session: str) -> Sequence[SessionScore]:
        """All scores of the session, newest first. Raises TooLargeToRead."""
        ...

    async def latest_of_sessions(
        self, project: ProjectId, sessions: Sequence[str]
    ) -> Mapping[str, Sequence[ScoreBrief]]:
        """The first BRIEF_SCORES_MAX of `latest_by_name` for each session that has any."""
        ...

    async def of_run(self, project: ProjectId, run: RunId) -> Sequence[SessionScore]: ...


class ScoreAnalytics(Protocol):
    """Analytics over scores, as the functions of `domain.evaluation.scores.analytics`.

    Over the scores of one target, created within bounds; of one `source`, or those that
    `scores_of_source` chooses; of one `judge_kind`, or that which `comparable_scores` chooses.
    Fingerprints are those of scores that a run has written, also after the run was deleted.

    Contract of ScoreAnalytics:
    tests/contracts/evaluation/scores/test_score_analytics.py. All raise Unavailable.
    """

    async def summaries(
        self,
        project: ProjectId,
        of: ScoreTarget,
        within: CreatedWithin,
        *,
        source: ScoreSource | None = None,
        judge_kind: SeparateKind | None = None,
    ) -> Sequence[ScoreSummary]: ...

    async def trend(
        self,
        project: ProjectId,
        of: ScoreTarget,
        names: Sequence[str],
        granularity: Granularity,
        within: CreatedWithin,
        *,
        source: ScoreSource | None = None,
        judge_kind: SeparateKind | None = None,
        empty_buckets: bool = False,
    ) -> Sequence[TrendPoint]:
        """Raises Invalid for more than BUCKETS_MAX buckets of all names together."""
        ...

    async def distribution(
        self,
        project: ProjectId,
        of: ScoreTarget,
        name: str,
        parts: int,
        within: CreatedWithin,
        *,
        source: ScoreSource | None = None,
        judge_kind: SeparateKind | None = None,
        empty_buckets: bool = False,
    ) -> Histogram: ...

    async def history(
        self,
        project: ProjectId,
        session: str,
        name: str | None,
        limit: int,
        *,
        source: ScoreSource | None = None,
    ) -> Sequence[HistoryPoint]: ...

    async def comparison(
        self,
        project: ProjectId,
        name: str,
        order: SortOrder,
        window: PageRequest,
        *,
        source: ScoreSource | None = None,
    ) -> Page[RankedSession]:
        """Raises Invalid for a position of another list."""
        ...


class ScoreRollups(Protocol):
    """Counts of scores by day, from which ScoreAnalytics may answer.

    Contract of ScoreRollups: tests/contracts/evaluation/scores/test_score_rollups.py.
    """

    async def count_days(self) -> int:
        """Counts the scores of days that are over, and of those that changed since.

        Nothing that is read changes. Takes some days of all projects, and returns their number; 0
        if there are no more, or if transactions that may write to them run. Raises Unavailable.
        """
        ...


class HumanLabels(Protocol):
    """The labels of people and the scores of judges on the same traces, by project.

    Contract of HumanLabels: tests/contracts/evaluation/scores/test_agreement.py. All raise
    Unavailable.
    """

    async def compare_with_human_labels(
        self, project: ProjectId, name: str, threshold: float, within: CreatedWithin
    ) -> Sequence[JudgeScores]:
        """As `domain.evaluation.agreement.calibration.compare_with_human_labels`."""
        ...

    async def paired_traces(
        self, project: ProjectId, name: str, within: CreatedWithin
    ) -> Sequence[PairedTrace]:
        """As `domain.evaluation.agreement.calibration.paired_traces`."""
        ...

    async def annotation_queue(
        self, project: ProjectId, name: str, threshold: float, seed: str, limit: int
    ) -> Sequence[QueueItem]:
        """The queue that `domain.evaluation.agreement.calibration` defines."""
        ...


class AnnotationClaims(Protocol):
    """Claims of the annotation queues of each project.

    Contract of AnnotationClaims: tests/contracts/evaluation/scores/test_annotation_claims.py. All
    raise Unavailable.
    """

    async def progress(self, project: ProjectId, name: str, day: datetime) -> QueueProgress:
        """How long a queue is, and how many traces have a label that was written since `day`."""
        ...

    async def claim(self, project: ProjectId, request: ClaimRequest) -> ClaimedItems:
        """The items that `claim_items` of the domain gives to the holder, and stores their claims.

        Concurrent calls never give one item to two holders. A claim is deleted with its trace.
        """
        ...

    async def delete_expired(self, now: datetime) -> int:
        """Deletes a batch of expired claims, of all projects; 0 if none is left."""
        ...


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
        self, project: ProjectId, of: TargetType, status: RunStatus | None, window: PageRequest
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
        large run is deleted in batches, the run
        itself last; after an interruption the next call deletes the rest. What its judges have
        spent stays in the ledger, and no longer counts towards a budget of a run. Raises NotFound.
        """
        ...


type OnFault = Callable[[ScoreId, Exception], None]
"""Reports an unexpected error to the log, and the score that FAILED because of it."""

EMBEDDED_MAX: Final = 256  # texts in a call


class Judge(Protocol):
    """Gives a verdict on evidence. It is asked through JudgeClient, which limits and retries.

    Contract of Judge: tests/contracts/evaluation/judging/test_judge.py.
    """

    def fingerprint(self, metric: Metric, model: str) -> str:
        """What identifies the judge on the scores that `ask` gives; known without asking.

        Raises JudgeRefused if no judge answers for the model.
        """
        ...

    async def ask(self, question: Question) -> Answer:
        """One verdict, after at most `question.deadline_s` seconds.

        Raises JudgeRefused if the same question would fail again, JudgeUnavailable if it may
        succeed later; nothing else. No answer depends on an earlier question.
        """
        ...


class Embedder(Protocol):
    """Turns texts into vectors of the same length; `key` names it in fingerprints.

    Contract of Embedder: tests/contracts/evaluation/judging/test_embedder.py.
    """

    @property
    def key(self) -> str: ...

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        """One vector for each text, in order. ValueError for more than EMBEDDED_MAX texts.

        A text without words gives the zero vector. Raises as Judge does.
        """
        ...
