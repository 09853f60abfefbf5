"""The ports of evaluation, and its use cases over them: a part of `application.use_cases`."""

from dataclasses import dataclass
from typing import Self

from application.evaluation.assignments import Assignments
from application.evaluation.circuits import Circuits
from application.evaluation.evaluate import EvaluateTarget
from application.evaluation.guarded import GuardedMeasuring
from application.evaluation.matter import USUAL, MeasuringPolicy
from application.evaluation.measuring import Measuring
from application.evaluation.ports import (
    Embedder,
    Judge,
    OnFault,
    Runs,
    ScoreAnalytics,
    SessionScores,
    Targets,
    TraceScores,
)
from application.evaluation.signals import SignalMeasuring
from application.evaluation.work import AnnounceOverdue, PlanRun
from application.jobs import Jobs
from application.ports import Clock, NewId, RandomBytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPorts:
    """Every port of evaluation, filled."""

    trace_scores: TraceScores
    session_scores: SessionScores
    score_analytics: ScoreAnalytics
    runs: Runs
    assignments: Assignments
    targets: Targets
    jobs: Jobs
    judge: Judge
    embedder: Embedder
    on_fault: OnFault
    measuring: MeasuringPolicy = USUAL


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationUseCases:
    """Every use case of evaluation, ready to call."""

    plan_run: PlanRun
    announce_overdue: AnnounceOverdue
    evaluate_target: EvaluateTarget

    @classmethod
    def over(
        cls,
        ports: EvaluationPorts,
        clock: Clock,
        new_id: NewId,  # noqa: ARG003 - what the first use case will be made of
        random: RandomBytes,
    ) -> Self:
        return cls(
            plan_run=PlanRun(ports.assignments, ports.jobs, clock),
            announce_overdue=AnnounceOverdue(ports.assignments, ports.jobs, clock),
            evaluate_target=evaluate_target(ports, clock, random),
        )


def evaluate_target(ports: EvaluationPorts, clock: Clock, random: RandomBytes) -> EvaluateTarget:
    """With circuits of its own: one a process."""
    assignments, targets, policy = ports.assignments, ports.targets, ports.measuring
    measure = GuardedMeasuring(
        targets,
        Measuring(ports.judge, ports.embedder, Circuits(policy.head_start_s)),
        policy,
        random,
        ports.on_fault,
    )
    return EvaluateTarget(
        assignments,
        ports.jobs,
        measure,
        SignalMeasuring(assignments, targets, measure, policy, clock),
        policy,
        ports.on_fault,
        clock,
    )
