"""Experiments: creating them, closing them, and reading what was measured."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid5

from application.evaluation.ports.datasets import Datasets
from application.evaluation.ports.experiments import Experiments
from application.evaluation.ports.judging import Ledger
from application.evaluation.ports.runs import Runs
from application.evaluation.runs.requests import RunFactory
from application.evaluation.runs.run_rules import RunRequest
from application.ports import Clock
from domain.errors import Conflict, Invalid, NotFound
from domain.evaluation.costs.judge_costs import Spending
from domain.evaluation.datasets.dataset import DatasetItem
from domain.evaluation.experiments.experiment import (
    RESULTS_PER_REQUEST_MAX,
    CaseResult,
    Coverage,
    Experiment,
    ExperimentStatus,
    GitRevision,
    status_of,
    validate_experiment,
)
from domain.evaluation.runs.run import NAME_MAX, RunProgress, TargetType
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId, RunId
from domain.page import Page, PageRequest

RUN: Final = "run"  # the name of an experiment's run among what has its id


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentRequest:
    """A request for an experiment. `version` is the digest of one; None: the newest."""

    name: str | None
    dataset: str
    version: bytes | None
    split: str | None
    repetitions: int
    release: str | None
    git: GitRevision
    run: RunRequest


@dataclass(frozen=True, slots=True)
class CreateExperiment:
    experiments: Experiments
    datasets: Datasets
    run_factory: RunFactory
    clock: Clock

    async def __call__(
        self,
        project: ProjectId,
        new: UUID,
        request: ExperimentRequest,
        *,
        audit: AuditEntry | None = None,
    ) -> Experiment:
        """The experiment, or the one that has the id `new` already.

        Raises Invalid for a dataset or version that doesn't exist or has no items, and as a run
        does for metrics, model, votes and budget; Conflict if the project has too many.
        """
        try:
            version = await self.datasets.find_version(project, request.dataset, request.version)
        except NotFound as missing:
            field = "dataset" if missing.message.startswith("Dataset") else "version"
            raise Invalid.semantic(field, f"this project has no such {field}") from missing
        counted = PageRequest(limit=1)
        items = await self.datasets.items(project, version, request.split, counted)
        run = await self.run_factory.build(project, RunId(new), TargetType.TRACE, request.run)
        experiment = Experiment(
            id=new,
            project_id=project,
            name=request.name,
            dataset=request.dataset,
            version=version,
            split=request.split,
            items=items.total,
            repetitions=request.repetitions,
            release=request.release,
            git=request.git,
            metrics=run.metrics,
            model=request.run.model,
            votes=run.votes,
            max_cost_usd=run.max_cost_usd,
            created_at=self.clock(),
        )
        return await self.experiments.create(validate_experiment(experiment), audit=audit)


@dataclass(frozen=True, slots=True)
class CloseExperiment:
    """Starts the run of an experiment over the traces of all its results."""

    experiments: Experiments
    run_factory: RunFactory
    clock: Clock

    async def __call__(
        self, project: ProjectId, experiment: UUID, *, audit: AuditEntry | None = None
    ) -> RunProgress:
        """The run; the same one if it is closed already. Its budget and judges are checked again.

        Results that traces name by themselves are taken first, for cases without one. Raises
        NotFound, Invalid if there is no result, and what creating a run raises.
        """
        known = await self.experiments.get(project, experiment)
        if known.run_id is None:
            known = await self._take_named(known)
        results = await self.experiments.results(project, experiment)
        if not results:
            raise Invalid("This experiment has no results: send them to /results/batch first")
        # The id is derived, so that closing it again after a crash stores no second run.
        run_id = known.run_id or RunId(uuid5(known.id, RUN))
        request = RunRequest(
            metrics=known.metrics,
            name=None if known.name is None else known.name[:NAME_MAX],
            model=known.model,
            votes=known.votes,
            max_cost_usd=known.max_cost_usd,
            settled_only=False,
        )
        filters = json.dumps({"experiment_id": str(known.id)}, separators=(",", ":")).encode()
        run = await self.run_factory.build(project, run_id, TargetType.TRACE, request, filters)
        now = self.clock()
        closed = await self.experiments.close(project, experiment, run_id, now, audit=audit)
        if closed.run_id != known.run_id:  # results may have come until then
            results = await self.experiments.results(project, experiment)
        return await self.run_factory.store(run, [str(one.trace) for one in results])

    async def _take_named(self, known: Experiment) -> Experiment:
        """Stores the results that traces name, for cases without a result.

        Returns the experiment as another call has closed it meanwhile, if one has.
        """
        project, id_ = known.project_id, known.id
        named = await self.experiments.named_results(project, id_)
        if not named:
            return known
        cases = {one.case for one in await self.experiments.results(project, id_)}
        new = [one for one in named if one.case not in cases]
        for at in range(0, len(new), RESULTS_PER_REQUEST_MAX):
            some = new[at : at + RESULTS_PER_REQUEST_MAX]
            try:
                await self.experiments.put_results(project, id_, some)
            except Conflict:
                now = await self.experiments.get(project, id_)
                if now.run_id is None:
                    raise
                return now
        return known


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentProgress:
    """An experiment with what was measured of it.

    `results` counts the cases that have a trace, `spending` is that of its judges.
    """

    experiment: Experiment
    status: ExperimentStatus
    coverage: Coverage
    results: int
    spending: Spending


@dataclass(frozen=True, slots=True)
class ReadExperiment:
    experiments: Experiments
    runs: Runs
    ledger: Ledger

    async def __call__(self, project: ProjectId, experiment: UUID) -> ExperimentProgress:
        """Raises NotFound."""
        known = await self.experiments.get(project, experiment)
        progress = await find_run(self.runs, known)
        results = await self.experiments.count_results(project, experiment)
        spending = Spending()
        if known.run_id is not None:
            spending = await self.ledger.run_spending(project, known.run_id)
        return ExperimentProgress(
            experiment=known,
            status=status_of(known, None if progress is None else progress.run.status),
            coverage=Coverage.from_tally(known, None if progress is None else progress.tally),
            results=results,
            spending=spending,
        )


async def find_run(runs: Runs, experiment: Experiment) -> RunProgress | None:
    """The run of an experiment; None while it is open, or if the run was deleted."""
    if experiment.run_id is None:
        return None
    try:
        return await runs.get(experiment.project_id, experiment.run_id)
    except NotFound:
        return None


@dataclass(frozen=True, slots=True)
class ReadExperimentItems:
    experiments: Experiments
    datasets: Datasets
    runs: Runs

    async def __call__(
        self, project: ProjectId, experiment: UUID, window: PageRequest
    ) -> tuple[Experiment, Page[tuple[DatasetItem, Sequence[CaseResult]]]]:
        """It, and a page of its items by id, each with its results by repetition.

        Raises NotFound.
        """
        known = await self.experiments.get(project, experiment)
        page = await self.datasets.items(project, known.version, known.split, window)
        progress = await find_run(self.runs, known)
        run = None if progress is None else progress.run
        found = await self.experiments.case_results(
            project, experiment, [one.id for one in page.items], run
        )
        by_item: Mapping[str, list[CaseResult]] = {one.id: [] for one in page.items}
        for one in found:
            by_item[one.case.item].append(one)
        with_results = [(one, by_item[one.id]) for one in page.items]
        return known, Page(with_results, page.total, page.end)
