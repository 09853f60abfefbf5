"""The use cases of a project's own metrics: a part of `application.evaluation.use_cases`."""

from dataclasses import dataclass
from typing import Self

from application.evaluation.custom_metrics.custom_metrics import (
    ArchiveCustomMetric,
    CreateCustomMetric,
    ListCustomMetrics,
    ListRevisions,
    MetricRules,
    ReadCustomMetric,
    RestoreCustomMetric,
    ReviseCustomMetric,
)
from application.evaluation.execution.dry_run import TryCustomMetric
from application.evaluation.judging.evaluation_policy import EvaluationPolicy
from application.evaluation.ports.custom_metrics import CustomMetrics, RegexEngine
from application.evaluation.ports.evaluation import Targets
from application.evaluation.ports.judging import Pricings
from application.evaluation.runs.requests import RunFactory
from application.ports import RandomBytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomMetricUseCases:
    """Every use case of them, ready to call."""

    create: CreateCustomMetric
    revise: ReviseCustomMetric
    archive: ArchiveCustomMetric
    restore: RestoreCustomMetric
    list: ListCustomMetrics
    read: ReadCustomMetric
    list_revisions: ListRevisions
    dry_run: TryCustomMetric

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
            list_revisions=ListRevisions(metrics),
            dry_run=TryCustomMetric(metrics, regex, targets, run_factory, prices, policy, random),
        )
