"""The ports of evaluation, and its use cases over them: a part of `application.use_cases`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from application.evaluation.alerts.use_cases import AlertPorts, AlertUseCases
from application.evaluation.custom_metrics.catalogue import (
    ListMetrics,
    ListProviders,
    MetricCatalogue,
    ReadRunTemplate,
)
from application.evaluation.custom_metrics.use_cases import CustomMetricUseCases
from application.evaluation.execution.estimate_run import EstimateRun
from application.evaluation.execution.evaluate_target import EvaluateTarget
from application.evaluation.execution.metric_evaluator import MetricEvaluator
from application.evaluation.execution.safe_evaluator import FaultTolerantEvaluator
from application.evaluation.execution.session_signals import SignalEvaluator
from application.evaluation.judging.circuit_breaker import CircuitBreaker
from application.evaluation.judging.evaluation_policy import DEFAULT_POLICY, EvaluationPolicy
from application.evaluation.judging.judge_client import JudgeClient, RetryTiming
from application.evaluation.monitors.monitors import (
    ChangeMonitor,
    CreateMonitor,
    DeleteMonitor,
    ListMonitorRuns,
    ListMonitors,
    MonitorRules,
    PauseMonitor,
    ReadMonitor,
    ResumeMonitor,
)
from application.evaluation.monitors.scheduler import (
    FireDueMonitors,
    MonitorRunFactory,
    OnMonitorFault,
    TriggerMonitor,
)
from application.evaluation.ports.agreement import HumanLabels
from application.evaluation.ports.custom_metrics import CustomMetrics, RegexEngine
from application.evaluation.ports.evaluation import (
    Embedder,
    Judge,
    OnFault,
    Runs,
    ScoreAnalytics,
    SessionScores,
    Targets,
    TraceScores,
)
from application.evaluation.ports.judging import JudgingPorts, SweepJudging
from application.evaluation.ports.monitors import ChangeFeed, LeaderElection, Monitors
from application.evaluation.ports.work_queue import WorkQueue
from application.evaluation.runs.budget_rules import BudgetRules, ReadRunUsage
from application.evaluation.runs.planning import PlanRun, RequeueOverdue
from application.evaluation.runs.requests import (
    CancelRun,
    DeleteRun,
    ListRuns,
    ReadRun,
    RetryRun,
    RunFactory,
    SessionScoresOfRun,
    StartBatch,
    StartSessionRun,
    StartTraceRun,
    TraceScoresOfRun,
)
from application.evaluation.scores.agreement import ReadAgreement, ReadAnnotationQueue
from application.evaluation.scores.analytics import (
    CompareSessions,
    ReadSessionHistory,
    ScoreDistribution,
    ScoreSummaries,
    ScoreTrend,
)
from application.evaluation.scores.scores import (
    ChangeTraceScore,
    DeleteSessionScore,
    DeleteTraceScore,
    LatestTraceScores,
    ListSessionScores,
    ListTraceScores,
    RecordSessionScore,
    RecordTraceScore,
    ScoresOfSession,
)
from application.jobs import Jobs
from application.ports import Clock, NewId, RandomBytes
from domain.evaluation.judging.models import JudgeModels, ProviderState


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPorts:
    """Every port of evaluation, filled; and who may judge."""

    trace_scores: TraceScores
    session_scores: SessionScores
    score_analytics: ScoreAnalytics
    labels: HumanLabels
    runs: Runs
    work_queue: WorkQueue
    targets: Targets
    monitors: Monitors
    changed: ChangeFeed
    leader_election: LeaderElection
    alerting: AlertPorts
    custom_metrics: CustomMetrics
    regex: RegexEngine
    jobs: Jobs
    judge: Judge
    judging: JudgingPorts
    embedder: Embedder
    on_fault: OnFault
    on_monitor_fault: OnMonitorFault
    policy: EvaluationPolicy = DEFAULT_POLICY
    retry_timing: RetryTiming = field(default_factory=RetryTiming)
    models: JudgeModels = field(default_factory=JudgeModels)
    providers: Sequence[ProviderState] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationUseCases:
    """Every use case of evaluation, ready to call."""

    plan_run: PlanRun
    requeue_overdue: RequeueOverdue
    evaluate_target: EvaluateTarget
    sweep_judging: SweepJudging
    list_metrics: ListMetrics
    read_run_template: ReadRunTemplate
    list_providers: ListProviders
    record_trace_score: RecordTraceScore
    list_trace_scores: ListTraceScores
    latest_trace_scores: LatestTraceScores
    change_trace_score: ChangeTraceScore
    delete_trace_score: DeleteTraceScore
    record_session_score: RecordSessionScore
    list_session_scores: ListSessionScores
    scores_of_session: ScoresOfSession
    delete_session_score: DeleteSessionScore
    score_summaries: ScoreSummaries
    score_trend: ScoreTrend
    score_distribution: ScoreDistribution
    read_session_history: ReadSessionHistory
    compare_sessions: CompareSessions
    read_agreement: ReadAgreement
    read_annotation_queue: ReadAnnotationQueue
    start_trace_run: StartTraceRun
    start_session_run: StartSessionRun
    start_batch: StartBatch
    retry_run: RetryRun
    cancel_run: CancelRun
    delete_run: DeleteRun
    read_run: ReadRun
    list_runs: ListRuns
    trace_scores_of_run: TraceScoresOfRun
    session_scores_of_run: SessionScoresOfRun
    read_run_usage: ReadRunUsage
    estimate_run: EstimateRun
    create_monitor: CreateMonitor
    list_monitors: ListMonitors
    read_monitor: ReadMonitor
    change_monitor: ChangeMonitor
    pause_monitor: PauseMonitor
    resume_monitor: ResumeMonitor
    delete_monitor: DeleteMonitor
    trigger_monitor: TriggerMonitor
    list_monitor_runs: ListMonitorRuns
    fire_due_monitors: FireDueMonitors
    alerts: AlertUseCases
    custom_metrics: CustomMetricUseCases

    @classmethod
    def over(
        cls,
        ports: EvaluationPorts,
        clock: Clock,
        new_id: NewId,
        random: RandomBytes,
    ) -> Self:
        custom, regex, catalogue = (
            ports.custom_metrics,
            ports.regex,
            MetricCatalogue(ports.custom_metrics),
        )
        spending = BudgetRules(ports.judging.prices, clock)
        monitors, rules = ports.monitors, MonitorRules(ports.models, catalogue, spending)
        runway = _runway(ports, spending, clock, new_id)
        of_traces, of_sessions = ports.trace_scores, ports.session_scores
        run_factory = RunFactory(ports.runs, ports.jobs, ports.models, spending, catalogue, clock)
        return cls(
            list_metrics=ListMetrics(custom),
            read_run_template=ReadRunTemplate(ports.models, catalogue, regex),
            list_providers=ListProviders(ports.providers),
            record_trace_score=RecordTraceScore(of_traces, clock),
            list_trace_scores=ListTraceScores(of_traces),
            latest_trace_scores=LatestTraceScores(of_traces),
            change_trace_score=ChangeTraceScore(of_traces, clock),
            delete_trace_score=DeleteTraceScore(of_traces),
            record_session_score=RecordSessionScore(of_sessions, clock),
            list_session_scores=ListSessionScores(of_sessions),
            scores_of_session=ScoresOfSession(of_sessions),
            delete_session_score=DeleteSessionScore(of_sessions),
            score_summaries=ScoreSummaries(ports.score_analytics),
            score_trend=ScoreTrend(ports.score_analytics),
            score_distribution=ScoreDistribution(ports.score_analytics),
            read_session_history=ReadSessionHistory(ports.score_analytics),
            compare_sessions=CompareSessions(ports.score_analytics),
            read_agreement=ReadAgreement(ports.labels),
            read_annotation_queue=ReadAnnotationQueue(ports.labels, clock),
            start_trace_run=StartTraceRun(run_factory, ports.targets),
            start_session_run=StartSessionRun(run_factory, ports.targets),
            start_batch=StartBatch(run_factory),
            retry_run=RetryRun(run_factory),
            cancel_run=CancelRun(ports.runs, clock),
            delete_run=DeleteRun(ports.runs, clock),
            read_run=ReadRun(ports.runs),
            list_runs=ListRuns(ports.runs),
            trace_scores_of_run=TraceScoresOfRun(of_traces),
            session_scores_of_run=SessionScoresOfRun(of_sessions),
            read_run_usage=ReadRunUsage(ports.runs, ports.judging.ledger),
            estimate_run=_estimate_run(ports, run_factory, new_id),
            plan_run=PlanRun(ports.work_queue, ports.jobs, clock),
            requeue_overdue=RequeueOverdue(ports.work_queue, ports.jobs, clock),
            sweep_judging=SweepJudging(ports.judging, clock),
            evaluate_target=evaluate_target(ports, clock, new_id, random),
            create_monitor=CreateMonitor(monitors, rules, clock),
            list_monitors=ListMonitors(monitors),
            read_monitor=ReadMonitor(monitors),
            change_monitor=ChangeMonitor(monitors, rules, clock),
            pause_monitor=PauseMonitor(monitors, clock),
            resume_monitor=ResumeMonitor(monitors, clock),
            delete_monitor=DeleteMonitor(monitors),
            trigger_monitor=TriggerMonitor(runway, ports.runs),
            list_monitor_runs=ListMonitorRuns(monitors),
            fire_due_monitors=FireDueMonitors(
                runway, ports.leader_election, ports.on_monitor_fault
            ),
            alerts=AlertUseCases.over(ports.alerting, monitors, custom, clock, random),
            custom_metrics=_custom_metrics(ports, run_factory, random),
        )


def _estimate_run(ports: EvaluationPorts, run_factory: RunFactory, new_id: NewId) -> EstimateRun:
    return EstimateRun(
        run_factory=run_factory,
        targets=ports.targets,
        work_queue=ports.work_queue,
        judge=ports.judge,
        ports=ports.judging,
        policy=ports.policy,
        regex_search=ports.regex.search,
        clock=run_factory.clock,
        new_id=new_id,
    )


def _custom_metrics(
    ports: EvaluationPorts, run_factory: RunFactory, random: RandomBytes
) -> CustomMetricUseCases:
    return CustomMetricUseCases.over(
        ports.custom_metrics,
        ports.regex,
        ports.targets,
        run_factory,
        prices=ports.judging.prices,
        policy=ports.policy,
        random=random,
    )


def _runway(
    ports: EvaluationPorts, spending: BudgetRules, clock: Clock, new_id: NewId
) -> MonitorRunFactory:
    look = (ports.monitors, ports.changed, ports.targets)
    catalogue = MetricCatalogue(ports.custom_metrics)
    return MonitorRunFactory(*look, ports.jobs, ports.models, catalogue, spending, clock, new_id)


def evaluate_target(
    ports: EvaluationPorts, clock: Clock, new_id: NewId, random: RandomBytes
) -> EvaluateTarget:
    """With circuits and concurrency limits of its own: one for each process."""
    policy, breaker = ports.policy, CircuitBreaker(ports.policy.head_start_s)
    judge = JudgeClient(
        ports.judge,
        breaker=breaker,
        ports=ports.judging,
        policy=policy,
        clock=clock,
        new_id=new_id,
        timing=ports.retry_timing,
    )
    evaluator = FaultTolerantEvaluator(
        ports.targets,
        MetricEvaluator(judge, ports.embedder, breaker),
        policy,
        random,
        ports.regex.search,
        ports.on_fault,
    )
    return EvaluateTarget(
        ports.work_queue,
        ports.jobs,
        evaluator,
        SignalEvaluator(ports.work_queue, ports.targets, evaluator, policy, clock),
        policy,
        ports.on_fault,
        clock,
    )
