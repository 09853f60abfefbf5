"""The port of datasets."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from domain.evaluation.datasets.dataset import (
    Dataset,
    DatasetItem,
    HashedItem,
    Version,
    WriteResult,
)
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId
from domain.page import Page, PageRequest


class Datasets(Protocol):
    """The datasets of every project, seen one project at a time. Writes are durable on return.

    Items with a link to a trace of an erased user or session are hidden while an erasure is in
    progress, and deleted in all versions. Contract of Datasets:
    tests/contracts/evaluation/datasets/test_datasets.py. All raise Unavailable.
    """

    async def create(self, dataset: Dataset, *, audit: AuditEntry | None = None) -> Dataset:
        """Stores a dataset without items; returns the stored one if its id exists.

        Raises Conflict if its name is taken or the project has DATASETS_MAX, Invalid if it can't be
        stored.
        """
        ...

    async def get(self, project: ProjectId, name: str) -> Dataset:
        """Raises NotFound."""
        ...

    async def all(self, project: ProjectId) -> Sequence[Dataset]:
        """All datasets of the project, by name."""
        ...

    async def edit(
        self,
        project: ProjectId,
        name: str,
        edit: Callable[[Dataset], Dataset],
        *,
        audit: AuditEntry | None = None,
    ) -> Dataset:
        """The dataset after `edit` of its description. Raises NotFound, and what `edit` raises."""
        ...

    async def delete(
        self, project: ProjectId, name: str, *, audit: AuditEntry | None = None
    ) -> bool:
        """Deletes it with all versions; whether it existed.

        Raises Conflict if it has experiments.
        """
        ...

    async def put_items(
        self, project: ProjectId, name: str, items: Sequence[HashedItem], now: datetime
    ) -> WriteResult:
        """Writes items as `plan_write` says, in one transaction.

        A changed digest makes one new version. Concurrent writes of one dataset are serialised.
        Raises NotFound, and Conflict if `check_room` does; then nothing is written.
        """
        ...

    async def delete_item(
        self,
        project: ProjectId,
        name: str,
        item: str,
        now: datetime,
        *,
        audit: AuditEntry | None = None,
    ) -> bool:
        """Makes a version without the item; whether the newest version had it.

        Older versions keep it. Raises NotFound for the dataset, Conflict as `put_items`.
        """
        ...

    async def versions(self, project: ProjectId, name: str) -> Sequence[Version]:
        """The newest VERSIONS_MAX versions, newest first. Raises NotFound."""
        ...

    async def find_version(
        self, project: ProjectId, name: str, digest: bytes | None = None
    ) -> Version:
        """The newest version, or the newest one with the digest. Raises NotFound."""
        ...

    async def items(
        self, project: ProjectId, version: Version, split: str | None, window: PageRequest
    ) -> Page[DatasetItem]:
        """The visible items of a version, or of one split of it, by id, as `paginate` does it.

        Positions: the id, twice. Empty for a version that doesn't exist.
        """
        ...
