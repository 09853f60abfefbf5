"""Builders of datasets and their items."""

import json
import uuid
from typing import Any

from application.evaluation.ports.datasets import Datasets
from domain.evaluation.datasets.dataset import (
    Dataset,
    DatasetItem,
    HashedItem,
    WriteResult,
    new_dataset,
)
from domain.ids import ProjectId
from domain.page import LIMIT_MAX, PageRequest
from tests.support.builders.values import NOON


def a_dataset(project_id: ProjectId, name: str = "refunds", **overrides: Any) -> Dataset:
    known = {"id_": uuid.uuid4(), "description": "Questions about refunds", "now": NOON}
    return new_dataset(**known | overrides, project=project_id, name=name)


def an_item(id_: str, asked: Any = "?", **overrides: Any) -> DatasetItem:
    """`asked` and `expected` are any JSON."""
    if "expected" in overrides:
        overrides["expected"] = json.dumps(overrides["expected"]).encode()
    return DatasetItem(id=id_, input=json.dumps(asked).encode(), **overrides)


def hashed(*items: DatasetItem) -> list[HashedItem]:
    return [HashedItem(one, one.digest()) for one in items]


async def put(
    datasets: Datasets, project_id: ProjectId, *items: DatasetItem, name: str = "refunds"
) -> WriteResult:
    return await datasets.put_items(project_id, name, hashed(*items), NOON)


async def shown(
    datasets: Datasets,
    project_id: ProjectId,
    digest: bytes | None = None,
    *,
    name: str = "refunds",
    split: str | None = None,
) -> dict[str, DatasetItem]:
    """The items of a version by id, by default of the newest; at most LIMIT_MAX."""
    version = await datasets.find_version(project_id, name, digest)
    page = await datasets.items(project_id, version, split, PageRequest(limit=LIMIT_MAX))
    assert (page.total, page.end) == (len(page.items), None)
    return {one.id: one for one in page.items}
