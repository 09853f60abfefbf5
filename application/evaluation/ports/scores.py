"""The ports of scores, their analytics, and their agreement with people."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from domain.evaluation.agreement.calibration import JudgeScores, PairedTrace, QueueItem
from domain.evaluation.agreement.claims import ClaimedItems, ClaimRequest, QueueProgress
from domain.evaluation.scores.analytics import (
    Histogram,
    HistoryPoint,
    RankedSession,
    ScoreSummary,
    SeparateKind,
    TrendPoint,
)
from domain.evaluation.scores.edits import ScoreEdit
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

    async def by_run(self, project: ProjectId, run: RunId) -> Sequence[TraceScore]:
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

    async def by_session(self, project: ProjectId, session: str) -> Sequence[SessionScore]:
        """All scores of the session, newest first. Raises TooLargeToRead."""
        ...

    async def latest_of_sessions(
        self, project: ProjectId, sessions: Sequence[str]
    ) -> Mapping[str, Sequence[ScoreBrief]]:
        """The first BRIEF_SCORES_MAX of `latest_by_name` for each session that has any."""
        ...

    async def by_run(self, project: ProjectId, run: RunId) -> Sequence[SessionScore]: ...


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
        target: ScoreTarget,
        within: CreatedWithin,
        *,
        source: ScoreSource | None = None,
        judge_kind: SeparateKind | None = None,
    ) -> Sequence[ScoreSummary]: ...

    async def trend(
        self,
        project: ProjectId,
        target: ScoreTarget,
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
        target: ScoreTarget,
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
