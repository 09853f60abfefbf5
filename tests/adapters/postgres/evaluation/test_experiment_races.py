"""Experiments that take the same traces as results, or more traces than they read."""

import asyncio
import json
import uuid
from dataclasses import replace

import pytest

from adapters.postgres.database.tenants import within
from tests.support.builders.datasets import a_dataset, an_item, put
from tests.support.builders.experiments import a_result, an_experiment
from tests.support.builders.values import trace, trace_id
from tests.support.fixtures import data_plane
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.lock_waits import count_lock_waits
from tests.support.waiting import until

pytestmark = pytest.mark.service

TAKE_TRACE = """
INSERT INTO experiment_results (project_id, experiment_id, item_id, repetition, trace_id)
VALUES ($1, $2, 'a', 1, $3)
"""
LEAVE_TRACE = "DELETE FROM experiment_results WHERE project_id = $1 AND experiment_id = $2"
WAITING = "experiment_results"


async def test_trace_that_another_experiment_takes_at_once_is_refused_by_itself(patient_pool, pool):
    async with data_plane.over_postgres(patient_pool) as plane:
        ours, datasets = project(), plane.evaluation.datasets
        experiments = plane.evaluation.experiments
        await datasets.create(a_dataset(ours))
        await put(datasets, ours, an_item("a"), an_item("b"))
        version = await datasets.find_version(ours, "refunds")
        first, second = [
            await experiments.create(an_experiment(project_id=ours, version=version, items=2))
            for _ in range(2)
        ]
        wanted, other = a_result("a"), a_result("b")
        async with within(pool, ours).transaction() as earlier:
            await earlier.execute(TAKE_TRACE, ours, first.id, wanted.trace)
            putting = asyncio.create_task(experiments.put_results(ours, second.id, [wanted, other]))
            await until(lambda: count_lock_waits(pool, WAITING))
        written = await putting
        assert {index: one.errors[0].field for index, one in written.refused.items()} == {
            0: "trace_id"
        }
        assert await experiments.results(ours, second.id) == [other]


async def test_experiments_that_take_the_same_traces_in_other_orders_wait_for_each_other(
    patient_pool, pool
):
    async with data_plane.over_postgres(patient_pool) as plane:
        ours, datasets, cases = project(), plane.evaluation.datasets, "abc"
        experiments = plane.evaluation.experiments
        await datasets.create(a_dataset(ours))
        await put(datasets, ours, *map(an_item, cases))
        version = await datasets.find_version(ours, "refunds")
        first, second, third = [
            await experiments.create(an_experiment(project_id=ours, version=version, items=3))
            for _ in range(3)
        ]
        traces = sorted(uuid.uuid4() for _ in cases)
        orders = [(first.id, traces), (second.id, traces[::-1])]
        async with within(pool, ours).transaction() as earlier:
            await earlier.execute(TAKE_TRACE, ours, third.id, traces[1])
            puts = [
                asyncio.create_task(
                    experiments.put_results(
                        ours,
                        id_,
                        [a_result(case, trace=one) for case, one in zip(cases, some, strict=True)],
                    )
                )
                for id_, some in orders
            ]
            await until(lambda: count_lock_waits(pool, WAITING), lambda count: count > 1)
            await earlier.execute(LEAVE_TRACE, ours, third.id)
        written = await asyncio.gather(*puts)
        assert sorted((one.stored, len(one.refused)) for one in written) == [(0, 3), (3, 0)]


async def test_traces_that_are_left_out_are_the_same_each_time(pool):
    """More traces may name cases than are read."""
    async with data_plane.over_postgres(pool) as plane:
        ours, datasets = project(), plane.evaluation.datasets
        await datasets.create(a_dataset(ours))
        await put(datasets, ours, an_item("a"), an_item("b"))
        version = await datasets.find_version(ours, "refunds")
        one = await plane.evaluation.experiments.create(
            an_experiment(project_id=ours, version=version, items=2)
        )
        ids = sorted((trace_id() for _ in range(4)), reverse=True)
        for place, id_ in enumerate(ids):
            named = {"experiment.id": str(one.id), "experiment.item": "ab"[place % 2]}
            await plane.traces.put(ours, trace(id=id_, metadata=json.dumps(named).encode()))
        bounded = replace(plane.evaluation.experiments, named_max=2)
        assert await bounded.named_results(ours, one.id) == [
            a_result("a", 1, ids[2]),
            a_result("b", 1, ids[3]),
        ]
