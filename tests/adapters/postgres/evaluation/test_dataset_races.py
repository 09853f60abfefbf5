"""Writes of items to a dataset that is deleted at that moment, and made again."""

import asyncio

import pytest

from adapters.postgres.database.tenants import within
from adapters.postgres.evaluation.datasets.dataset_rows import dataset_row, version_row
from adapters.postgres.evaluation.datasets.datasets import INSERT_DATASET, INSERT_VERSION
from domain.errors import NotFound
from tests.support.builders.datasets import a_dataset, an_item, put, shown
from tests.support.fixtures import data_plane
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.lock_waits import count_lock_waits
from tests.support.waiting import until

pytestmark = pytest.mark.service

DELETE_ALL = tuple(
    f"DELETE FROM {table} WHERE project_id = $1" for table in ("dataset_versions", "datasets")
)
WAITING = "datasets"


async def test_items_are_not_written_to_a_dataset_that_is_not_locked(patient_pool, pool):
    async with data_plane.over_postgres(patient_pool) as plane:
        ours, datasets = project(), plane.evaluation.datasets
        await datasets.create(a_dataset(ours))
        async with within(pool, ours).transaction() as earlier:
            for sql in DELETE_ALL:
                await earlier.execute(sql, ours)
            putting = asyncio.create_task(put(datasets, ours, an_item("a")))
            await until(lambda: count_lock_waits(pool, WAITING))
            again = a_dataset(ours)
            await earlier.execute(INSERT_DATASET, *dataset_row(again))
            await earlier.execute(INSERT_VERSION, *version_row(ours, again.version))
        with pytest.raises(NotFound):
            await putting
        assert await shown(datasets, ours) == {}
