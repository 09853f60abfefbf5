"""The use cases of evaluation, and the ports that they need: a part of `application.use_cases`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from application.deletion import DeleteOne
from application.evaluation.alerts import alerts, webhooks
from application.evaluation.alerts.alerts import OnAlertFault
from application.evaluation.custom_metrics import catalogue, custom_metrics
from application.evaluation.execution.dry_run import DryRunCustomMetric, DryRunDraft, DryRuns
from application.evaluation.execution.estimate_run import EstimateRun
from application.evaluation.execution.evaluate_target import EvaluateTarget
from application.evaluation.execution.fault_tolerant_evaluator import FaultTolerantEvaluator
from application.evaluation.execution.metric_evaluator import MetricEvaluator
from application.evaluation.execution.session_signals import SignalEvaluator
from application.evaluation.execution.target_closer import TargetCloser
from application.evaluation.judging.adaptive_concurrency import (
    AdaptiveLimiter,
    provider_limiters,
)
from application.evaluation.judging.circuit_breaker import CircuitBreaker
from application.evaluation.judging.evaluation_policy import DEFAULT_POLICY, EvaluationPolicy
from application.evaluation.judging.judge_client import JudgeClient, RetryTiming
from application.evaluation.judging.prune import PruneJudgeRecords
from application.evaluation.monitors import monitors, scheduler
from application.evaluation.ports.alerts import (
    CHANGES_RETENTION,
    DELIVERIES_RETENTION,
    Alerts,
    Webhooks,
    WebhookSender,
)
from application.evaluation.ports.custom_metrics import CustomMetrics, RegexEngine
from application.evaluation.ports.datasets import Datasets
from application.evaluation.ports.experiments import Experiments, TraceGroups
from application.evaluation.ports.judging import Embedder, Judge, JudgingPorts
from application.evaluation.ports.monitors import ChangeFeed, LeaderElection, Monitors
from application.evaluation.ports.runs import OnFault, Runs, Targets
from application.evaluation.ports.scores import (
    AnnotationClaims,
    HumanLabels,
    ScoreAnalytics,
    ScoreRollups,
    SessionScores,
    TraceScores,
)
from application.evaluation.ports.sent_evaluations import WaitingEvaluations
from application.evaluation.ports.work_queue import WorkQueue
from application.evaluation.runs import requests
from application.evaluation.runs.planning import PlanRun, RequeueOverdue
from application.evaluation.runs.run_rules import (
    ListRunUsage,
    ReadRunSummary,
    ReadRunUsage,
    RunRules,
)
from application.evaluation.scores import agreement, rollups, scores, sent_evaluations
from application.jobs import EvaluateTargetJob, Job, Jobs, PlanRunJob
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
    public_url: str | None = None
    deliveries_retention: timedelta = DELIVERIES_RETENTION
    changes_retention: timedelta = CHANGES_RETENTION


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPorts:
    """The ports of evaluation, and the models that may judge.

    `judge_limiters` are those of the process by provider, for calls, and `target_limiters` for
    targets. Several groups of organizations share them; None if there is one group.
    """

    trace_scores: TraceScores
    session_scores: SessionScores
    waiting_evaluations: WaitingEvaluations
    score_analytics: ScoreAnalytics
    score_rollups: ScoreRollups
    labels: HumanLabels
    annotation_claims: AnnotationClaims
    runs: Runs
    work_queue: WorkQueue
    targets: Targets
    monitors: Monitors
    changed: ChangeFeed
    leader_election: LeaderElection
    alerting: AlertPorts
    custom_metrics: CustomMetrics
    datasets: Datasets
    experiments: Experiments
    trace_groups: TraceGroups
    regex: RegexEngine
    jobs: Jobs
    judge: Judge
    judging: JudgingPorts
    embedder: Embedder
    on_fault: OnFault
    on_monitor_fault: scheduler.OnMonitorFault
    policy: EvaluationPolicy = DEFAULT_POLICY
    judge_limiters: Mapping[str, AdaptiveLimiter] | None = None
    target_limiters: Mapping[str, AdaptiveLimiter] | None = None
    retry_timing: RetryTiming = field(default_factory=RetryTiming)
    models: JudgeModels = field(default_factory=JudgeModels)
    providers: Sequence[ProviderState] = ()


class AlertUseCases:
    """Alerts and webhooks."""

    def __init__(
        self,
        ports: AlertPorts,
        monitors: Monitors,
        custom: CustomMetrics,
        clock: Clock,
        random: RandomBytes,
    ) -> None:
        self.alerts, self.webhooks = ports.alerts, ports.webhooks
        self.create_alert = alerts.CreateAlert(ports.alerts, monitors, clock)
        self.change_alert = alerts.ChangeAlert(ports.alerts)
        self.preview_alert = alerts.PreviewAlert(ports.alerts, monitors, custom)
        self.delete_alert = DeleteOne(ports.alerts.delete, "Alert not found")
        self.evaluate_runs = alerts.EvaluateAlerts(
            ports.alerts, custom, ports.on_fault, clock, ports.public_url
        )
        self.create_webhook = webhooks.CreateWebhook(
            ports.webhooks, ports.allow_private, random, clock
        )
        self.delete_webhook = DeleteOne(ports.webhooks.delete, "Webhook not found")
        self.send_test_message = webhooks.SendTestMessage(ports.webhooks, clock)
        self.deliver_messages = webhooks.DeliverMessages(
            ports.webhooks, ports.webhook_sender, random, clock
        )
        self.prune_history = alerts.PruneAlertHistory(
            ports.alerts, ports.webhooks, ports.deliveries_retention, ports.changes_retention, clock
        )


class ScoreUseCases:
    """Scores that clients send."""

    def __init__(
        self, traces: TraceScores, sessions: SessionScores, clock: Clock, new_id: NewId
    ) -> None:
        self.record_of_trace = scores.RecordTraceScore(traces, clock)
        self.change_of_trace = scores.ChangeTraceScore(traces, clock, new_id)
        self.delete_of_trace = scores.DeleteScore(traces, clock, new_id)
        self.record_of_session = scores.RecordSessionScore(sessions, clock)
        self.change_of_session = scores.ChangeSessionScore(sessions, clock, new_id)
        self.delete_of_session = scores.DeleteScore(sessions, clock, new_id)


class AnnotationUseCases:
    """The annotation queue, claims of its items, and how people and judges agree."""

    def __init__(self, labels: HumanLabels, claims: AnnotationClaims, clock: Clock) -> None:
        self.read_agreement = agreement.ReadAgreement(labels)
        self.read_paired_traces = agreement.ReadPairedTraces(labels)
        self.read_queue = agreement.ReadAnnotationQueue(labels, clock)
        self.read_progress = agreement.ReadQueueProgress(claims, clock)
        self.claim = agreement.ClaimAnnotations(claims, clock)
        self.delete_expired = agreement.DeleteExpiredClaims(claims, clock)


class SentEvaluationUseCases:
    """Evaluations that instrumentations send, as scores."""

    def __init__(
        self, ports: EvaluationPorts, clock: Clock, report: sent_evaluations.ReportRejections
    ) -> None:
        waiting = ports.waiting_evaluations
        writer = sent_evaluations.EvaluationWriter(ports.trace_scores, ports.session_scores, clock)
        self.record = sent_evaluations.RecordSentEvaluations(writer, waiting, clock)
        self.record_waiting = sent_evaluations.RecordWaitingEvaluations(writer, waiting, report)
        self.delete_expired = sent_evaluations.DeleteExpiredEvaluations(waiting, clock, report)


class EvaluationUseCases:
    """Scores, runs, monitors, metrics, and what workers do.

    Alerts, the scores that clients send, the annotation queue, and the evaluations that
    instrumentations send have a group each. `report` gets the rejections of these evaluations.
    """

    def __init__(
        self,
        ports: EvaluationPorts,
        clock: Clock,
        new_id: NewId,
        random: RandomBytes,
        report: sent_evaluations.ReportRejections = sent_evaluations.ignore_rejections,
    ) -> None:
        jobs, models, targets, own = ports.jobs, ports.models, ports.targets, ports.custom_metrics
        judging, regex, queue = ports.judging, ports.regex, ports.work_queue
        known = catalogue.MetricCatalogue(own)
        rules = RunRules(known, models, judging.prices, clock)
        self.run_factory = run_factory = requests.RunFactory(ports.runs, jobs, rules, clock)
        metric_rules = custom_metrics.MetricRules(models, regex)
        monitor_runs = scheduler.MonitorRunFactory(
            ports.monitors, ports.changed, targets, jobs, rules, clock, new_id
        )
        self.trace_scores, self.session_scores = ports.trace_scores, ports.session_scores
        self.score_analytics = ports.score_analytics
        self.runs, self.monitors, self.custom_metrics = ports.runs, ports.monitors, own
        self.providers = ports.providers
        self.scoring = ScoreUseCases(ports.trace_scores, ports.session_scores, clock, new_id)
        self.annotation = AnnotationUseCases(ports.labels, ports.annotation_claims, clock)
        self.count_score_days = rollups.CountScoreDays(ports.score_rollups)
        self.start_run = requests.StartRun(run_factory, targets)
        self.start_batch = requests.StartBatch(run_factory)
        self.retry_run = requests.RetryRun(run_factory)
        self.cancel_run = requests.CancelRun(ports.runs, clock)
        self.delete_run = requests.DeleteRun(
            ports.runs, ports.trace_scores, ports.session_scores, clock
        )
        self.read_run_usage = ReadRunUsage(ports.runs, judging.ledger)
        self.read_run_summary = ReadRunSummary(ports.runs, judging.ledger)
        self.list_run_usage = ListRunUsage(judging.ledger)
        self.count_targets = requests.CountTargets(targets)
        self.estimate_run = EstimateRun(
            run_factory, targets, queue, ports.judge, judging, ports.policy, regex, new_id
        )
        self.plan_run = PlanRun(queue, jobs, clock)
        self.requeue_overdue = RequeueOverdue(queue, jobs, clock)
        self.evaluate_target = evaluate_target(ports, clock, new_id, random)
        self.prune_judge_records = PruneJudgeRecords(judging, clock)
        self.create_monitor = monitors.CreateMonitor(ports.monitors, rules, clock)
        self.change_monitor = monitors.ChangeMonitor(ports.monitors, rules, clock)
        self.pause_monitor = monitors.PauseMonitor(ports.monitors, clock)
        self.resume_monitor = monitors.ResumeMonitor(ports.monitors, clock)
        self.preview_cadence = monitors.PreviewCadence(clock)
        self.delete_monitor = DeleteOne(ports.monitors.delete, "Monitor not found")
        self.trigger_monitor = scheduler.TriggerMonitor(monitor_runs, ports.runs)
        self.run_due_monitors = scheduler.RunDueMonitors(
            monitor_runs, ports.leader_election, ports.on_monitor_fault
        )
        self.list_metrics = catalogue.ListMetrics(own)
        self.read_run_template = catalogue.ReadRunTemplate(models, known, regex)
        self.create_custom_metric = custom_metrics.CreateCustomMetric(own, metric_rules, clock)
        self.revise_custom_metric = custom_metrics.ReviseCustomMetric(own, metric_rules, clock)
        self.archive_custom_metric = custom_metrics.ArchiveCustomMetric(own, clock)
        self.restore_custom_metric = custom_metrics.RestoreCustomMetric(own)
        self.list_custom_metrics = custom_metrics.ListCustomMetrics(own)
        dry_runs = DryRuns(regex, targets, run_factory, ports.policy, random)
        self.try_custom_metric = DryRunCustomMetric(own, dry_runs)
        self.try_draft_metric = DryRunDraft(metric_rules, dry_runs)
        self.sent_evaluations = SentEvaluationUseCases(ports, clock, report)
        self.alerting = AlertUseCases(ports.alerting, ports.monitors, own, clock, random)

    async def run_job(self, job: Job) -> None:
        """Does what the job announces. Raises as `plan_run` and `evaluate_target` do."""
        match job:
            case PlanRunJob():
                await self.plan_run(job.project, job.run)
            case EvaluateTargetJob():
                await self.evaluate_target(job.project, job.run, job.target)


def evaluate_target(
    ports: EvaluationPorts, clock: Clock, new_id: NewId, random: RandomBytes
) -> EvaluateTarget:
    """Has its own circuit breaker: build one for each process and group of organizations."""
    queue, targets, policy = ports.work_queue, ports.targets, ports.policy
    breaker, limiters = CircuitBreaker(policy.head_start_s), ports.judge_limiters
    judge = JudgeClient(
        ports.judge,
        breaker=breaker,
        limiters=provider_limiters(policy.judge_concurrency) if limiters is None else limiters,
        ports=ports.judging,
        policy=policy,
        clock=clock,
        new_id=new_id,
        timing=ports.retry_timing,
    )
    metrics = MetricEvaluator(judge, ports.embedder, breaker)
    evaluator = FaultTolerantEvaluator(
        targets, metrics, policy, random, ports.regex.new_search, ports.on_fault
    )
    signals = SignalEvaluator(queue, targets, evaluator, policy, clock)
    slots = ports.target_limiters
    return EvaluateTarget(
        work_queue=queue,
        jobs=ports.jobs,
        evaluator=evaluator,
        signals=signals,
        limiters=provider_limiters(policy.concurrent_targets) if slots is None else slots,
        policy=policy,
        on_fault=ports.on_fault,
        clock=clock,
        closer=TargetCloser(queue, ports.jobs, clock),
    )
