"""Datasets: creating and describing them, and writing their items."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from application.concurrency import compute
from application.evaluation.ports.datasets import Datasets
from application.ports import Clock
from domain.errors import Invalid, NotFound
from domain.evaluation.datasets.dataset import (
    Dataset,
    DatasetItem,
    HashedItem,
    WriteResult,
    new_dataset,
    validate_item,
)
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId
from domain.page import Page, PageRequest, Position

HASHED_ON_LOOP_BYTES_MAX: Final = 64 << 10  # of items; hashing as many takes about 2 ms


@dataclass(frozen=True, slots=True)
class CreateDataset:
    datasets: Datasets
    clock: Clock

    async def __call__(
        self,
        project: ProjectId,
        new: UUID,
        name: str,
        description: str,
        *,
        audit: AuditEntry | None = None,
    ) -> Dataset:
        """The dataset, or the one that has the id `new` already.

        Raises Invalid for a malformed name, Conflict if it is taken or the project has too many.
        """
        dataset = new_dataset(new, project, name, description, self.clock())
        return await self.datasets.create(dataset, audit=audit)


@dataclass(frozen=True, slots=True)
class ListItems:
    """Pages of the items of a version. The version may be replaced between two pages."""

    datasets: Datasets

    async def __call__(
        self,
        project: ProjectId,
        name: str,
        digest: bytes | None,
        split: str | None,
        window: PageRequest,
    ) -> Page[DatasetItem]:
        """A page by id, of the version with this hash, by default of the newest one.

        A page after another one is of the same version. Positions: the hash of the version as
        hexadecimal text, and the id. Raises NotFound.
        """
        if (after := window.after) is not None:
            digest = bytes.fromhex(str(after.value))
            window = replace(window, after=Position(str(after.id), after.id))
        version = await self.datasets.find_version(project, name, digest)
        page = await self.datasets.items(project, version, split, window)
        if page.end is None:
            return page
        return replace(page, end=Position(version.digest.hex(), page.end.id))


@dataclass(frozen=True, slots=True)
class DescribeDataset:
    datasets: Datasets
    clock: Clock

    async def __call__(
        self, project: ProjectId, name: str, description: str, *, audit: AuditEntry | None = None
    ) -> Dataset:
        """The dataset with another description. Raises NotFound."""
        now = self.clock()
        return await self.datasets.edit(
            project, name, lambda known: known.described(description, now), audit=audit
        )


@dataclass(frozen=True, slots=True)
class ItemWriter:
    """Validates and hashes items, and stores them. A service of several use cases."""

    datasets: Datasets
    clock: Clock

    async def write(
        self, project: ProjectId, name: str, sent: Sequence[DatasetItem | Invalid]
    ) -> WriteResult:
        """Stores the valid items; the result refuses the others by their index in `sent`.

        Writing the same items again changes nothing.
        Raises NotFound for the dataset, Conflict if it would exceed a limit.
        """
        size = sum(one.size for one in sent if isinstance(one, DatasetItem))
        checked = await compute(_check, sent, is_long=size > HASHED_ON_LOOP_BYTES_MAX)
        places = [at for at, one in enumerate(checked) if isinstance(one, HashedItem)]
        items = [one for one in checked if isinstance(one, HashedItem)]
        result = await self.datasets.put_items(project, name, items, self.clock())
        refused = {at: one for at, one in enumerate(checked) if isinstance(one, Invalid)}
        refused |= {places[index]: error for index, error in result.refused.items()}
        return WriteResult(
            version=result.version,
            created=result.created,
            changed=result.changed,
            unchanged=result.unchanged,
            refused=dict(sorted(refused.items())),
        )


def _check(sent: Sequence[DatasetItem | Invalid]) -> list[HashedItem | Invalid]:
    return [one if isinstance(one, Invalid) else _hashed(one) for one in sent]


def _hashed(item: DatasetItem) -> HashedItem | Invalid:
    try:
        return HashedItem(validate_item(item), item.digest())
    except Invalid as invalid:
        return invalid


@dataclass(frozen=True, slots=True)
class DeleteItem:
    datasets: Datasets
    clock: Clock

    async def __call__(
        self, project: ProjectId, name: str, item: str, *, audit: AuditEntry | None = None
    ) -> None:
        """Raises NotFound for the dataset, or if its newest version lacks the item; Conflict."""
        if not await self.datasets.delete_item(project, name, item, self.clock(), audit=audit):
            raise NotFound("Item not found")
