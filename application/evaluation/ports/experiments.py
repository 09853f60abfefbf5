"""The port of experiments."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.evaluation.experiments.experiment import (
    CaseResult,
    Experiment,
    NoiseFloor,
    Result,
    ResultsWritten,
)
from domain.evaluation.experiments.measurements import Measurements
from domain.evaluation.experiments.trace_groups import GroupFigures
from domain.evaluation.runs.run import EvalRun
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId, RunId
from domain.page import Page, PageRequest
from domain.tracing.query import TraceFilter


class Experiments(Protocol):
    """The experiments of every project, seen one project at a time. Writes are durable on return.

    Contract of Experiments: tests/contracts/evaluation/experiments/test_experiments.py. All raise
    Unavailable.
    """

    async def create(
        self, experiment: Experiment, *, audit: AuditEntry | None = None
    ) -> Experiment:
        """Stores an experiment; returns the stored one if its id exists.

        Raises NotFound if its dataset was deleted, Conflict if the project has EXPERIMENTS_MAX.
        """
        ...

    async def get(self, project: ProjectId, experiment: UUID) -> Experiment:
        """Raises NotFound."""
        ...

    async def page(
        self, project: ProjectId, dataset: str | None, window: PageRequest
    ) -> Page[Experiment]:
        """Newest first; of one dataset, if it is given. Positions: instant of creation, id."""
        ...

    async def put_results(
        self, project: ProjectId, experiment: UUID, sent: Sequence[Result]
    ) -> ResultsWritten:
        """Stores results as `plan_results` says, in one transaction.

        Concurrent writes of one experiment are serialised. The traces need not be stored yet.
        Raises NotFound, and Conflict if it is closed.
        """
        ...

    async def named_results(self, project: ProjectId, experiment: UUID) -> Sequence[Result]:
        """The results that visible traces name by their metadata, as `named_case`.

        By case, then trace; of several traces of a case the first. At most RESULTS_MAX.
        """
        ...

    async def close(
        self,
        project: ProjectId,
        experiment: UUID,
        run: RunId,
        now: datetime,
        *,
        audit: AuditEntry | None = None,
    ) -> Experiment:
        """The experiment after `closed`. Raises NotFound."""
        ...

    async def results(self, project: ProjectId, experiment: UUID) -> Sequence[Result]:
        """All results, by case."""
        ...

    async def count_results(self, project: ProjectId, experiment: UUID) -> int: ...

    async def case_results(
        self, project: ProjectId, experiment: UUID, items: Sequence[str], run: EvalRun | None
    ) -> Sequence[CaseResult]:
        """What is known of the results of some items, by case; the scores are those of `run`."""
        ...

    async def measurements(
        self, experiment: Experiment, run: EvalRun | None, metrics: Sequence[str]
    ) -> Measurements:
        """The numbers of visible traces, and of the scores that `run` gave them.

        Without a run there are no scores.
        """
        ...

    async def keep_noise_floor(
        self, project: ProjectId, experiment: UUID, floor: Mapping[str, NoiseFloor]
    ) -> Mapping[str, NoiseFloor]:
        """Keeps the noise floors of some metrics; returns those of all. Raises NotFound."""
        ...

    async def delete(
        self, project: ProjectId, experiment: UUID, *, audit: AuditEntry | None = None
    ) -> bool:
        """Deletes it with its results; whether it existed. Its run, traces and scores stay."""
        ...


class TraceGroups(Protocol):
    """The measurements of the traces that match a filter.

    Contract of TraceGroups: tests/contracts/evaluation/experiments/test_trace_groups.py.
    """

    async def figures(
        self, project: ProjectId, matching: TraceFilter, metrics: Sequence[str] = ()
    ) -> GroupFigures:
        """Reads the newest GROUP_TRACES_MAX traces that match, in one snapshot.

        Includes the newest score of each name that isn't pending, one of a run and one that was
        sent; only of `metrics`, if there are any. Scores of spans don't count. Raises Invalid for
        more than GROUP_MEANS_MAX kinds of scores, Unavailable.
        """
        ...
