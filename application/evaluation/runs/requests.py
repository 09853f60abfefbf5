"""Runs: starting them over what matches or what is named, retrying, cancelling, reading.

A run that is stored will be done, whether or not a worker could be told of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from application.evaluation.custom_metrics.catalogue import MetricCatalogue
from application.evaluation.ports.evaluation import Runs, SessionScores, Targets, TraceScores
from application.evaluation.runs.budget_rules import BudgetRules
from application.jobs import Jobs, PlanRunJob
from application.ports import Clock
from domain.evaluation.custom_metrics.custom_metric import SelectedMetrics, check_judge_models
from domain.evaluation.judging.models import JudgeModels
from domain.evaluation.metrics.metric import Category
from domain.evaluation.runs.retry import build_retry
from domain.evaluation.runs.run import (
    TARGETS_MAX,
    EvalRun,
    RunProgress,
    RunStatus,
    Target,
    TargetType,
    WorkItem,
)
from domain.evaluation.runs.selection import (
    SAMPLING_RATE_DEFAULT,
    SessionSelection,
    TraceSelection,
    batch_as_given,
    filters_as_given,
    sampled,
    validate_batch_ids,
    validate_target_count,
)
from domain.evaluation.scores.score import SessionScore, TraceScore
from domain.evaluation.sessions.reliability_v1 import validate_weights
from domain.ids import ProjectId, RunId
from domain.page import Page, PageRequest
from domain.tracing.payload import EMPTY_OBJECT, JsonText

CATEGORIES: Final = {TargetType.TRACE: Category.TRACE, TargetType.SESSION: Category.SESSION}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What is asked of a run, whatever it is about. `signal_weights` are of session runs only."""

    metrics: Sequence[str]
    name: str | None = None
    model: str | None = None
    sampling_rate: float = SAMPLING_RATE_DEFAULT
    signal_weights: Mapping[str, float] = field(default_factory=dict)
    votes: int = 1
    max_cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class RunFactory:
    """Where orders become runs: what they may ask for, where they are kept, who is told."""

    runs: Runs
    jobs: Jobs
    models: JudgeModels
    spending: BudgetRules
    catalogue: MetricCatalogue
    clock: Clock

    async def validate(
        self, project: ProjectId, of: TargetType, order: RunRequest
    ) -> tuple[SelectedMetrics, str]:
        """The metrics of an order, and its model.

        Raises Invalid, also for weights, votes, and what it may cost.
        """
        validate_weights(order.signal_weights)
        picked = await self.catalogue.select_metrics(project, order.metrics, CATEGORIES[of])
        model = self.models.select(order.model)
        check_judge_models(picked, model, self.models)
        pricing = await self.spending.prices.of(project)
        self.spending.check(pricing, order.votes, order.max_cost_usd, *picked.judges(model))
        return picked, model

    async def build(
        self,
        project: ProjectId,
        new: RunId,
        of: TargetType,
        order: RunRequest,
        *,
        targets: int,
        filters: JsonText = EMPTY_OBJECT,
    ) -> EvalRun:
        """The run that an order is for, which isn't stored. Raises Invalid."""
        picked, model = await self.validate(project, of, order)
        return EvalRun(
            id=new,
            project_id=project,
            target_type=of,
            name=order.name,
            metrics=picked.names,
            targets=targets,
            filters=filters,
            sampling_rate=order.sampling_rate,
            model=model,
            signal_weights=order.signal_weights,
            definitions=picked.definitions,
            votes=order.votes,
            max_cost_usd=order.max_cost_usd,
            created_at=self.clock(),
        )

    async def create(
        self,
        project: ProjectId,
        new: RunId,
        of: TargetType,
        order: RunRequest,
        *,
        targets: Sequence[Target],
        filters: JsonText,
    ) -> RunProgress:
        """The run over these targets, in their order. Raises Invalid."""
        count = len(targets)
        run = await self.build(project, new, of, order, targets=count, filters=filters)
        return await self.store_and_enqueue(
            run, [WorkItem(target, run.metrics) for target in targets]
        )

    async def store_and_enqueue(self, run: EvalRun, work: Sequence[WorkItem]) -> RunProgress:
        """Stores a run, or finds it, and tells the workers of it."""
        progress = await self.runs.create(run, work)
        if progress.run.status is RunStatus.PENDING:
            await self.jobs.send(PlanRunJob(run.project_id, run.id))
        return progress


@dataclass(frozen=True, slots=True)
class StartTraceRun:
    """Over a share of the traces that match."""

    run_factory: RunFactory
    targets: Targets

    async def __call__(
        self, project: ProjectId, new: RunId, order: RunRequest, selection: TraceSelection
    ) -> RunProgress:
        """The run, or the one that has the id `new` already.

        Raises Invalid for a metric that is unknown, archived, or needs another judge, a model
        that isn't allowed, and where nothing matches or too much does.
        """
        await self.run_factory.validate(project, TargetType.TRACE, order)
        found = validate_target_count(await self.targets.traces(project, selection, TARGETS_MAX))
        taken = sampled(found, order.sampling_rate, str(project))
        filters = filters_as_given(selection)
        return await self.run_factory.create(
            project, new, TargetType.TRACE, order, targets=taken, filters=filters
        )


@dataclass(frozen=True, slots=True)
class StartSessionRun:
    """Over a share of the sessions that match."""

    run_factory: RunFactory
    targets: Targets

    async def __call__(
        self, project: ProjectId, new: RunId, order: RunRequest, selection: SessionSelection
    ) -> RunProgress:
        """As StartTraceRun."""
        await self.run_factory.validate(project, TargetType.SESSION, order)
        found = validate_target_count(await self.targets.sessions(project, selection, TARGETS_MAX))
        taken = sampled(found, order.sampling_rate, str(project))
        filters = filters_as_given(selection, order.signal_weights)
        return await self.run_factory.create(
            project, new, TargetType.SESSION, order, targets=taken, filters=filters
        )


@dataclass(frozen=True, slots=True)
class StartBatch:
    """Over what is named, one by one, whether it is there or not."""

    run_factory: RunFactory

    async def __call__(
        self,
        project: ProjectId,
        new: RunId,
        of: TargetType,
        order: RunRequest,
        ids: Sequence[Target],
    ) -> RunProgress:
        """The run, or the one that has the id `new` already; its work in the order of `ids`.

        Raises Invalid for an unknown metric, a model that isn't allowed, and too many ids.
        """
        targets = validate_batch_ids(of, ids)
        filters = batch_as_given(of, targets)
        return await self.run_factory.create(
            project, new, of, order, targets=targets, filters=filters
        )


@dataclass(frozen=True, slots=True)
class RetryRun:
    run_factory: RunFactory

    async def __call__(self, project: ProjectId, run: RunId, new: RunId) -> RunProgress:
        """A run over exactly what failed in another, which stays as it is.

        Raises NotFound, and Invalid where nothing failed.
        """
        known, failures = await self.run_factory.runs.failures(project, run)
        return await self.run_factory.store_and_enqueue(
            *build_retry(known, failures, new, self.run_factory.clock())
        )


@dataclass(frozen=True, slots=True)
class CancelRun:
    runs: Runs
    clock: Clock

    async def __call__(self, project: ProjectId, run: RunId) -> RunProgress:
        """The run as it is then. Raises NotFound, Conflict where it has ended."""
        return await self.runs.cancel(project, run, self.clock())


@dataclass(frozen=True, slots=True)
class DeleteRun:
    runs: Runs
    clock: Clock

    async def __call__(self, project: ProjectId, run: RunId, *, with_scores: bool) -> None:
        """Removes it, in whatever state it is. Raises NotFound."""
        await self.runs.delete(project, run, self.clock(), with_scores=with_scores)


@dataclass(frozen=True, slots=True)
class ReadRun:
    runs: Runs

    async def __call__(self, project: ProjectId, run: RunId) -> RunProgress:
        """Raises NotFound."""
        return await self.runs.get(project, run)


@dataclass(frozen=True, slots=True)
class ListRuns:
    runs: Runs

    async def __call__(
        self, project: ProjectId, of: TargetType, status: RunStatus | None, window: PageRequest
    ) -> Page[RunProgress]:
        """Newest first."""
        return await self.runs.page(project, of, status, window)


@dataclass(frozen=True, slots=True)
class TraceScoresOfRun:
    scores: TraceScores

    async def __call__(self, project: ProjectId, run: RunId) -> Sequence[TraceScore]:
        """Newest first, the signals of a session run included; none of an unknown run."""
        return await self.scores.of_run(project, run)


@dataclass(frozen=True, slots=True)
class SessionScoresOfRun:
    scores: SessionScores

    async def __call__(self, project: ProjectId, run: RunId) -> Sequence[SessionScore]:
        """Newest first; none of an unknown run."""
        return await self.scores.of_run(project, run)
