"""What evaluation needs from the world, beside the rows of work (assignments.py)."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Final, Protocol

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
from domain.evaluation.runs.selection import SessionSelection, TraceSelection
from domain.evaluation.scores.analytics import (
    HistogramBin,
    HistoryPoint,
    RankedSession,
    ScoreSummary,
    TrendPoint,
)
from domain.evaluation.scores.outcome import Failed, Skipped
from domain.evaluation.scores.query import CreatedWithin, ScoreFilter
from domain.evaluation.scores.score import ScoreChange, SessionScore, TraceScore
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.text import Vector
from domain.ids import ProjectId, RunId, ScoreId, TraceId, UserId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.analytics import Granularity


class TraceScores(Protocol):
    """The scores of traces, seen one project at a time; what is written is durable on return.

    Contract of TraceScores: tests/contracts/evaluation/scores/test_trace_scores.py.
    All raise Unavailable.
    """

    async def add(self, score: TraceScore) -> TraceScore:
        """Stores a score of a stored trace; what is stored under its id where that is there.

        Raises NotFound where its project has no such trace, Invalid for what can't be stored.
        """
        ...

    async def change(
        self,
        project: ProjectId,
        score: ScoreId,
        change: ScoreChange,
        now: datetime,
        author: UserId | None,
    ) -> TraceScore:
        """The score after `patched`. Calls at once for one score lose nothing.

        Raises NotFound, Invalid.
        """
        ...

    async def delete(self, project: ProjectId, score: ScoreId) -> bool:
        """Whether there was one to remove."""
        ...

    async def page(
        self, project: ProjectId, matching: ScoreFilter, window: PageRequest
    ) -> Page[TraceScore]:
        """Those that `matching` admits, newest first, as `paginate` says by `list_position`."""
        ...

    async def latest(self, project: ProjectId, trace: TraceId) -> Sequence[TraceScore]:
        """As `latest_by_name`; none of an unknown trace."""
        ...

    async def of_run(self, project: ProjectId, run: RunId) -> Sequence[TraceScore]:
        """All that a run has written, newest first."""
        ...


class SessionScores(Protocol):
    """The scores of sessions; of `TraceScores` all that regards projects.

    Contract of SessionScores: tests/contracts/evaluation/scores/test_session_scores.py.
    """

    async def add(self, score: SessionScore) -> SessionScore:
        """As `TraceScores.add`. A session is there while a trace has its id."""
        ...

    async def delete(self, project: ProjectId, score: ScoreId) -> bool: ...

    async def page(
        self, project: ProjectId, matching: ScoreFilter, window: PageRequest
    ) -> Page[SessionScore]: ...

    async def of_session(self, project: ProjectId, session: str) -> Sequence[SessionScore]:
        """All of it, newest first."""
        ...

    async def of_run(self, project: ProjectId, run: RunId) -> Sequence[SessionScore]: ...


class ScoreAnalytics(Protocol):
    """Figures over scores, as the functions of `domain.evaluation.score_analytics`.

    Of the scores of one kind of target made within some bounds. Contract of ScoreAnalytics:
    tests/contracts/evaluation/scores/test_score_analytics.py. All raise Unavailable.
    """

    async def summaries(
        self, project: ProjectId, of: TargetType, within: CreatedWithin
    ) -> Sequence[ScoreSummary]: ...

    async def trend(
        self,
        project: ProjectId,
        of: TargetType,
        name: str,
        granularity: Granularity,
        within: CreatedWithin,
    ) -> Sequence[TrendPoint]:
        """Raises Invalid for more than BUCKETS_MAX buckets."""
        ...

    async def distribution(
        self, project: ProjectId, of: TargetType, name: str, parts: int, within: CreatedWithin
    ) -> Sequence[HistogramBin]: ...

    async def history(
        self, project: ProjectId, session: str, name: str | None, limit: int
    ) -> Sequence[HistoryPoint]: ...

    async def comparison(
        self, project: ProjectId, name: str, order: SortOrder, window: PageRequest
    ) -> Page[RankedSession]:
        """Raises Invalid for a position that is none of this list."""
        ...


class Targets(Protocol):
    """What there is to evaluate: stored traces and sessions, by project.

    Contract of Targets: tests/contracts/evaluation/runs/test_targets.py. All raise
    Unavailable.
    """

    async def traces(
        self, project: ProjectId, selection: TraceSelection, most: int
    ) -> Sequence[Target]:
        """The ids of the traces that a selection admits, ascending; the first `most` + 1."""
        ...

    async def sessions(
        self, project: ProjectId, selection: SessionSelection, most: int
    ) -> Sequence[Target]:
        """As `select_sessions`, as bounded as `traces`."""
        ...

    async def load_trace(
        self, project: ProjectId, trace: TraceId
    ) -> EvaluatedTrace | Skipped | Failed:
        """A trace to measure, with the outputs before it in its session.

        Where it is gone, or has more than SPANS_MAX spans, what that makes of every metric; it
        isn't read then. Of an earlier trace that has more, only its own output is looked at.
        """
        ...

    async def session_traces(self, project: ProjectId, session: str) -> Sequence[TraceId]:
        """The traces of a session, by (started_at, id); at most SESSION_TRACES_MAX + 1."""
        ...


class Runs(Protocol):
    """The runs of every project, seen one project at a time. What is written is durable on return.

    A target that is finished counts with what its metrics came to then, whatever becomes of its
    scores; one that is queued or running with its scores as they are, and of one that waits for
    that, all is pending. So a run that is over always tells the same. What cancelling closes
    isn't evaluated, and its open scores are skipped.
    Contract of Runs: tests/contracts/evaluation/runs/test_runs.py. All raise
    Unavailable.
    """

    async def create(self, run: EvalRun, work: Sequence[WorkItem]) -> RunProgress:
        """Stores a run and all of its work, or nothing; `work` in the order it is to be done.

        Each of its `targets` has one assignment. Where there's a run of its id, that one, and
        nothing is stored. Raises Invalid for what can't be stored, Unavailable where the project
        was removed.
        """
        ...

    async def get(self, project: ProjectId, run: RunId) -> RunProgress:
        """Raises NotFound."""
        ...

    async def page(
        self, project: ProjectId, of: TargetType, status: RunStatus | None, window: PageRequest
    ) -> Page[RunProgress]:
        """By creation, newest first, as `paginate` says."""
        ...

    async def failures(self, project: ProjectId, run: RunId) -> tuple[EvalRun, Sequence[Execution]]:
        """A run with those executions that FAILED, signals included, by target and metric.

        Raises NotFound.
        """
        ...

    async def cancel(self, project: ProjectId, run: RunId, now: datetime) -> RunProgress:
        """The run after `cancelled`, with every PENDING score of it skipped.

        No execution begins after it. The scores of a large one are skipped in pieces: what is
        asked meanwhile finds it live, with nothing left to be claimed, and after an interruption
        whoever cancels or plans it goes on. The status and the last of them change together.
        Raises NotFound, Conflict.
        """
        ...

    async def delete(
        self, project: ProjectId, run: RunId, now: datetime, *, with_scores: bool
    ) -> None:
        """Cancels it where it is live, then removes it and its work.

        Its scores stay, of no run then, or go with it. A large one goes in pieces, the run itself
        last: after an interruption the rest is still there, for the next call. Raises NotFound.
        """
        ...


type OnFault = Callable[[ScoreId, Exception], None]
"""Tells whoever runs the process what nobody expected, and which score is FAILED for it."""

EMBEDDED_MAX: Final = 256  # texts of one call


class Judge(Protocol):
    """Gives a verdict on evidence.

    Contract of Judge: tests/contracts/evaluation/judging/test_judge.py.
    """

    def fingerprint(self, metric: Metric, model: str) -> str:
        """What stands on the scores that `ask` gives; known beforehand, without asking anybody.

        Raises JudgeRefused where nobody answers for the model.
        """
        ...

    def turn(self, model: str) -> AbstractAsyncContextManager[None]:
        """To be had while a model is asked one question; entering it waits until there is one.

        Where any number may ask at once nobody waits. May raise JudgeRefused where nobody answers
        for the model.
        """
        ...

    async def ask(self, question: Question) -> Answer:
        """One verdict, after at most `question.deadline_s` seconds, whatever is tried in them.

        Raises JudgeRefused where the same question fails again, JudgeUnavailable where it may not;
        nothing else. No answer depends on an earlier question.
        """
        ...


class Embedder(Protocol):
    """Turns texts into vectors of one length; `key` names it, as a part of fingerprints.

    Contract of Embedder: tests/contracts/evaluation/judging/test_embedder.py.
    """

    @property
    def key(self) -> str: ...

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        """One vector a text, in order, of at most EMBEDDED_MAX texts: else ValueError.

        A text without words gives the zero vector. Raises as Judge does.
        """
        ...
