"""The ports of evaluation, and its use cases over them: a part of `application.use_cases`."""

from dataclasses import dataclass
from typing import Self

from application.evaluation.assignments import Assignments
from application.evaluation.ports import Runs, ScoreAnalytics, SessionScores, Targets, TraceScores
from application.ports import Clock, NewId


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPorts:
    """Every port of evaluation, filled."""

    trace_scores: TraceScores
    session_scores: SessionScores
    score_analytics: ScoreAnalytics
    runs: Runs
    assignments: Assignments
    targets: Targets


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationUseCases:
    """Every use case of evaluation, ready to call."""

    @classmethod
    def over(cls, ports: EvaluationPorts, clock: Clock, new_id: NewId) -> Self:  # noqa: ARG003 - what the first use case will be made of
        return cls()
