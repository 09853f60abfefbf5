"""Closing an experiment while another call closes it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.memory.evaluation.experiments import MemoryExperiments
from adapters.memory.store import MemoryStore
from application.use_cases import UseCases
from domain.errors import Conflict
from domain.evaluation.experiments.experiment import (
    EXPERIMENT_KEY,
    ITEM_KEY,
    Case,
    Experiment,
    Result,
    ResultsWritten,
)
from domain.ids import ProjectId, TraceId
from entrypoints.composition.memory import memory_ports
from tests.support.builders.datasets import a_dataset, an_item, put
from tests.support.builders.experiments import an_experiment
from tests.support.builders.values import prices, trace
from tests.support.fixtures.data_plane import project


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def use_cases(store: MemoryStore) -> UseCases:
    return UseCases(memory_ports(store, prices()))


@pytest.fixture
async def named(store: MemoryStore) -> Experiment:
    """An open experiment with a trace that names its case itself."""
    ports, ours = memory_ports(store, prices()), project()
    datasets = ports.evaluation.datasets
    await datasets.create(a_dataset(ours))
    await put(datasets, ours, an_item("a"), an_item("b"))
    version = await datasets.find_version(ours, "refunds")
    one = an_experiment(project_id=ours, version=version, items=2, metrics=("tool_success_rate",))
    await ports.evaluation.experiments.create(one)
    reported = json.dumps({EXPERIMENT_KEY: str(one.id), ITEM_KEY: "a"}).encode()
    await ports.tracing.traces.put(ours, trace(metadata=reported))
    return one


async def test_both_of_two_closing_calls_answer_with_the_same_run(store, use_cases, named):
    close, runs = use_cases.experiments.close_experiment, []

    class ClosedMeanwhile(MemoryExperiments):
        async def put_results(
            self, project: ProjectId, experiment: UUID, sent: Sequence[Result]
        ) -> ResultsWritten:
            runs.append((await close(project, experiment)).run.id)
            return await super().put_results(project, experiment, sent)

    late = replace(close, experiments=ClosedMeanwhile(store))
    progress = await late(named.project_id, named.id)
    assert [progress.run.id] == runs
    assert progress.run.targets == 1


async def test_result_that_comes_until_it_is_closed_is_evaluated(store, use_cases, named):
    sent = [Result(Case("b"), TraceId(uuid4()))]

    class ReportedMeanwhile(MemoryExperiments):
        async def close(
            self, project: ProjectId, experiment: UUID, *more: Any, **audit: Any
        ) -> Experiment:
            await self.put_results(project, experiment, sent)
            return await super().close(project, experiment, *more, **audit)

    close = replace(use_cases.experiments.close_experiment, experiments=ReportedMeanwhile(store))
    assert (await close(named.project_id, named.id)).run.targets == 2


async def test_other_conflicts_are_raised(store, use_cases, named):
    class Taken(MemoryExperiments):
        async def put_results(
            self, project: ProjectId, experiment: UUID, sent: Sequence[Result]
        ) -> ResultsWritten:
            raise Conflict("Other experiments take the same traces; try again")

    close = replace(use_cases.experiments.close_experiment, experiments=Taken(store))
    with pytest.raises(Conflict, match="try again"):
        await close(named.project_id, named.id)
