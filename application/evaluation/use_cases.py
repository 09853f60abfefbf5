"""The use cases of evaluation, and the ports that they need: a part of `application.use_cases`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from application.evaluation.alerts.alerts import (
    CreateAlert,
    DeleteAlert,
    EvaluateAlerts,
    ListAlertChanges,
    ListAlerts,
    OnAlertFault,
)
from application.evaluation.alerts.prune import (
    CHANGES_RETENTION,
    DELIVERIES_RETENTION,
    PruneAlertHistory,
)
from application.evaluation.alerts.webhooks import (
    CreateWebhook,
    DeleteWebhook,
    DeliverMessages,
    ListDeliveries,
    ListWebhooks,
    SendTestMessage,
)
from application.evaluation.custom_metrics.catalogue import (
    ListMetrics,
    ListProviders,
    MetricCatalogue,
    ReadRunTemplate,
)
from application.evaluation.custom_metrics.custom_metrics import (
    ArchiveCustomMetric,
    CreateCustomMetric,
    ListCustomMetricRevisions,
    ListCustomMetrics,
    MetricRules,
    ReadCustomMetric,
    RestoreCustomMetric,
    ReviseCustomMetric,
)
from application.evaluation.execution.dry_run import DryRunCustomMetric
from application.evaluation.execution.estimate_run import EstimateRun
from application.evaluation.execution.evaluate_target import EvaluateTarget
from application.evaluation.execution.metric_evaluator import MetricEvaluator
from application.evaluation.execution.safe_evaluator import FaultTolerantEvaluator
from application.evaluation.execution.session_signals import SignalEvaluator
from application.evaluation.judging.circuit_breaker import CircuitBreaker
from application.evaluation.judging.evaluation_policy import DEFAULT_POLICY, EvaluationPolicy
from application.evaluation.judging.judge_client import JudgeClient, RetryTiming
from application.evaluation.judging.prune import PruneJudgeRecords
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
    MonitorRunFactory,
    OnMonitorFault,
    RunDueMonitors,
    TriggerMonitor,
)
from application.evaluation.ports.agreement import HumanLabels
from application.evaluation.ports.alerts import Alerts, Webhooks, WebhookSender
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
from application.evaluation.ports.judging import JudgingPorts, Pricings
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
class AlertPorts:
    """Every port of alerts, filled; whether webhooks may reach private networks; retention."""

    alerts: Alerts
    webhooks: Webhooks
    webhook_sender: WebhookSender
    on_fault: OnAlertFault
    allow_private: bool = False
    deliveries_retention: timedelta = DELIVERIES_RETENTION
    changes_retention: timedelta = CHANGES_RETENTION


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPorts:
    """Every port of evaluation, filled; and the models that may judge."""

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
class AlertUseCases:
    """The use cases of alerts and webhooks."""

    create: CreateAlert
    list: ListAlerts
    delete: DeleteAlert
    list_changes: ListAlertChanges
    evaluate_runs: EvaluateAlerts
    create_webhook: CreateWebhook
    list_webhooks: ListWebhooks
    delete_webhook: DeleteWebhook
    send_test_message: SendTestMessage
    list_deliveries: ListDeliveries
    deliver_messages: DeliverMessages
    prune_history: PruneAlertHistory

    @classmethod
    def over(
        cls,
        ports: AlertPorts,
        monitors: Monitors,
        custom: CustomMetrics,
        clock: Clock,
        random: RandomBytes,
    ) -> Self:
        alerts, webhooks = ports.alerts, ports.webhooks
        return cls(
            create=CreateAlert(alerts, monitors, clock),
            list=ListAlerts(alerts),
            delete=DeleteAlert(alerts),
            list_changes=ListAlertChanges(alerts),
            evaluate_runs=EvaluateAlerts(alerts, custom, ports.on_fault, clock),
            create_webhook=CreateWebhook(webhooks, ports.allow_private, random, clock),
            list_webhooks=ListWebhooks(webhooks),
            delete_webhook=DeleteWebhook(webhooks),
            send_test_message=SendTestMessage(webhooks, clock),
            list_deliveries=ListDeliveries(webhooks),
            deliver_messages=DeliverMessages(webhooks, ports.webhook_sender, random, clock),
            prune_history=PruneAlertHistory(
                alerts, webhooks, ports.deliveries_retention, ports.changes_retention, clock
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomMetricUseCases:
    """The use cases of custom metrics."""

    create: CreateCustomMetric
    revise: ReviseCustomMetric
    archive: ArchiveCustomMetric
    restore: RestoreCustomMetric
    list: ListCustomMetrics
    read: ReadCustomMetric
    list_revisions: ListCustomMetricRevisions
    dry_run: DryRunCustomMetric

    @classmethod
    def over(
        cls,
        metrics: CustomMetrics,
        regex: RegexEngine,
        targets: Targets,
        run_factory: RunFactory,
        *,
        prices: Pricings,
        policy: EvaluationPolicy,
        random: RandomBytes,
    ) -> Self:
        rules, clock = MetricRules(run_factory.models, regex), run_factory.clock
        return cls(
            create=CreateCustomMetric(metrics, rules, clock),
            revise=ReviseCustomMetric(metrics, rules, clock),
            archive=ArchiveCustomMetric(metrics, clock),
            restore=RestoreCustomMetric(metrics),
            list=ListCustomMetrics(metrics),
            read=ReadCustomMetric(metrics),
            list_revisions=ListCustomMetricRevisions(metrics),
            dry_run=DryRunCustomMetric(
                metrics, regex, targets, run_factory, prices, policy, random
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationUseCases:
    """The use cases of evaluation; those of alerts and of custom metrics are groups within it."""

    plan_run: PlanRun
    requeue_overdue: RequeueOverdue
    evaluate_target: EvaluateTarget
    prune_judge_records: PruneJudgeRecords
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
    run_due_monitors: RunDueMonitors
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
        monitor_runs = _monitor_run_factory(ports, spending, clock, new_id)
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
            prune_judge_records=PruneJudgeRecords(ports.judging, clock),
            evaluate_target=evaluate_target(ports, clock, new_id, random),
            create_monitor=CreateMonitor(monitors, rules, clock),
            list_monitors=ListMonitors(monitors),
            read_monitor=ReadMonitor(monitors),
            change_monitor=ChangeMonitor(monitors, rules, clock),
            pause_monitor=PauseMonitor(monitors, clock),
            resume_monitor=ResumeMonitor(monitors, clock),
            delete_monitor=DeleteMonitor(monitors),
            trigger_monitor=TriggerMonitor(monitor_runs, ports.runs),
            list_monitor_runs=ListMonitorRuns(monitors),
            run_due_monitors=RunDueMonitors(
                monitor_runs, ports.leader_election, ports.on_monitor_fault
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


def _monitor_run_factory(
    ports: EvaluationPorts, spending: BudgetRules, clock: Clock, new_id: NewId
) -> MonitorRunFactory:
    sources = (ports.monitors, ports.changed, ports.targets)
    catalogue = MetricCatalogue(ports.custom_metrics)
    return MonitorRunFactory(*sources, ports.jobs, ports.models, catalogue, spending, clock, new_id)


def evaluate_target(
    ports: EvaluationPorts, clock: Clock, new_id: NewId, random: RandomBytes
) -> EvaluateTarget:
    """Has its own circuit breaker and concurrency limits: build one for each process."""
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
