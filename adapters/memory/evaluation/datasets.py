"""Datasets, in memory."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from adapters.memory.store import MemoryStore, StoredItem
from domain.errors import Conflict, NotFound
from domain.evaluation.datasets.dataset import (
    DATASETS_MAX,
    VERSIONS_MAX,
    Dataset,
    DatasetItem,
    HashedItem,
    ItemState,
    Version,
    WriteResult,
    dataset_in_use,
    plan_write,
    version_digest,
)
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId
from domain.page import Page, PageRequest, Position, SortOrder, paginate


@dataclass(frozen=True, slots=True)
class MemoryDatasets:
    store: MemoryStore

    async def create(self, dataset: Dataset, *, audit: AuditEntry | None = None) -> Dataset:
        project = dataset.project_id
        self.store.check_exists(project)
        ours = self.store.datasets.in_project(project)
        known = next((one for one in ours if one.id == dataset.id), None)
        if known is not None:
            return known
        if any(one.name == dataset.name for one in ours):
            raise Conflict(f"There is a dataset {dataset.name} already")
        if len(ours) >= DATASETS_MAX:
            raise Conflict(f"A project has {DATASETS_MAX} datasets at most: delete one first")
        put_version(self.store, dataset)
        self.store.record(audit)
        return dataset

    async def get(self, project: ProjectId, name: str) -> Dataset:
        return self.store.datasets.require(project, name)

    async def all(self, project: ProjectId) -> Sequence[Dataset]:
        return sorted(self.store.datasets.in_project(project), key=lambda one: one.name)

    async def edit(
        self,
        project: ProjectId,
        name: str,
        edit: Callable[[Dataset], Dataset],
        *,
        audit: AuditEntry | None = None,
    ) -> Dataset:
        known = await self.get(project, name)
        edited = edit(known)
        if edited != known:
            self.store.datasets[project, name] = edited
            self.store.record(audit)
        return edited

    async def delete(
        self, project: ProjectId, name: str, *, audit: AuditEntry | None = None
    ) -> bool:
        known = self.store.datasets.find(project, name)
        if known is None:
            return False
        used = self.store.experiments.in_project(project)
        if any(one.version.dataset_id == known.id for one in used):
            raise dataset_in_use()
        del self.store.datasets[project, name]
        for table in (self.store.dataset_versions, self.store.dataset_items):
            for key in [one for one in table if one[:2] == (project, known.id)]:
                table.pop(key)  # type: ignore[arg-type]  # each has keys of its own
        self.store.record(audit)
        return True

    async def put_items(
        self, project: ProjectId, name: str, items: Sequence[HashedItem], now: datetime
    ) -> WriteResult:
        self.store.check_exists(project)
        dataset = await self.get(project, name)
        known = {one.item.id: one for one in _newest(self.store, project, dataset.id)}
        traces = {one.id: one for one in self.store.visible_traces(project)}
        states = {
            id_: ItemState(one.digest, one.item.metadata, one.item.from_trace)
            for id_, one in known.items()
        }
        plan = plan_write(states, items, traces)
        if plan.stored:
            dataset.check_room(new=len(plan.created), stored=len(plan.stored))

        linked = {one.item.from_trace for one in items}

        def stored(one: HashedItem, version: int) -> StoredItem:
            before, link = known.get(one.item.id), one.item.from_trace
            made = StoredItem(item=one.item, digest=one.digest, valid_from=version, created_at=now)
            if link is not None and link in linked and link in traces:
                trace = traces[link]
                return replace(made, user=trace.user_id, session=trace.session_id)
            if before is not None and before.item.from_trace == link:
                return replace(made, user=before.user, session=before.session)
            return made

        for one in plan.noted:
            before = known[one.item.id]
            after = replace(
                stored(one, before.valid_from),
                item=replace(
                    before.item, metadata=one.item.metadata, from_trace=one.item.from_trace
                ),
                created_at=before.created_at,
            )
            self._put(project, dataset.id, after)
        if plan.stored:
            number = dataset.version.number + 1
            for one in plan.revised:
                self._put(project, dataset.id, replace(known[one.item.id], valid_to=number))
            for one in plan.stored:
                self._put(project, dataset.id, stored(one, number))
            dataset = self._add_version(dataset, len(plan.stored), now)
        elif plan.noted:
            dataset = replace(dataset, updated_at=now)
            self.store.datasets[project, name] = dataset
        return WriteResult.from_plan(plan, dataset.version)

    async def delete_item(
        self,
        project: ProjectId,
        name: str,
        item: str,
        now: datetime,
        *,
        audit: AuditEntry | None = None,
    ) -> bool:
        dataset = await self.get(project, name)
        newest = visible_items(self.store, project, _newest(self.store, project, dataset.id))
        known = next((one for one in newest if one.item.id == item), None)
        if known is None:
            return False
        dataset.check_room(new=-1, stored=0)
        self._put(project, dataset.id, replace(known, valid_to=dataset.version.number + 1))
        self._add_version(dataset, 0, now)
        self.store.record(audit)
        return True

    async def versions(self, project: ProjectId, name: str) -> Sequence[Version]:
        dataset = await self.get(project, name)
        ours = self._versions_of(project, dataset.id)
        return sorted(ours, key=lambda one: -one.number)[:VERSIONS_MAX]

    async def find_version(
        self, project: ProjectId, name: str, digest: bytes | None = None
    ) -> Version:
        dataset = await self.get(project, name)
        ours = self._versions_of(project, dataset.id)
        found = [one for one in ours if digest is None or one.digest == digest]
        if not found:
            raise NotFound("Version not found")
        return max(found, key=lambda one: one.number)

    async def items(
        self, project: ProjectId, version: Version, split: str | None, window: PageRequest
    ) -> Page[DatasetItem]:
        of = self._items_of(project, version.dataset_id)
        ours = [one for one in of if one.is_in(version.number)]
        found = [
            one.item
            for one in visible_items(self.store, project, ours)
            if split is None or one.item.split == split
        ]
        return paginate(found, lambda one: Position(one.id, one.id), SortOrder.ASC, window)

    def _versions_of(self, project: ProjectId, dataset: UUID) -> list[Version]:
        ours = self.store.dataset_versions.in_project(project)
        return [one for one in ours if one.dataset_id == dataset]

    def _items_of(self, project: ProjectId, dataset: UUID) -> list[StoredItem]:
        rows = self.store.dataset_items.live()
        return [row for key, row in rows if key[:2] == (project, dataset)]

    def _put(self, project: ProjectId, dataset: UUID, row: StoredItem) -> None:
        self.store.dataset_items[project, dataset, row.item.id, row.valid_from] = row

    def _add_version(self, dataset: Dataset, added: int, now: datetime) -> Dataset:
        newest = _newest(self.store, dataset.project_id, dataset.id)
        after = dataset.with_version(_digest(newest), len(newest), added, now)
        put_version(self.store, after)
        return after


def put_version(store: MemoryStore, dataset: Dataset) -> None:
    """Stores a dataset with its newest version."""
    version = dataset.version
    store.datasets[dataset.project_id, dataset.name] = dataset
    store.dataset_versions[dataset.project_id, dataset.id, version.number] = version


def visible_items(
    store: MemoryStore, project: ProjectId, rows: Iterable[StoredItem]
) -> list[StoredItem]:
    """The items that no erasure in progress hides."""
    users, sessions = store.hidden_users(project), store.erased_sessions(project)
    hidden = {one.id for one in store.traces.in_project(project)}
    hidden -= {one.id for one in store.visible_traces(project)}
    return [
        one
        for one in rows
        if one.item.from_trace not in hidden
        and one.user not in users
        and one.session not in sessions
    ]


def erase_items(
    store: MemoryStore, project: ProjectId, is_meant: Callable[[StoredItem], bool], now: datetime
) -> int:
    """Deletes items in all versions; returns how many rows.

    A newest version that loses an item is followed by one without it.
    """
    gone = [
        (key, row) for key, row in store.dataset_items.items() if key[0] == project
        and is_meant(row)
    ]  # fmt: skip
    for key, _ in gone:
        del store.dataset_items[key]
    for (of, dataset, number), version in [*store.dataset_versions.items()]:
        lost = sum(key[:2] == (of, dataset) and row.is_in(number) for key, row in gone)
        if lost:
            erased = replace(version, erased=version.erased + lost)
            store.dataset_versions[of, dataset, number] = erased
    for known in store.datasets.in_project(project):
        ours = [row for key, row in gone if key[1] == known.id]
        if not ours:
            continue
        version = store.dataset_versions[project, known.id, known.version.number]
        left = replace(known, version=version)
        store.datasets[project, known.name] = left
        if any(row.valid_to is None for row in ours):
            newest = _newest(store, project, known.id)
            put_version(store, left.with_version(_digest(newest), len(newest), 0, now))
    return len(gone)


def _newest(store: MemoryStore, project: ProjectId, dataset: UUID) -> list[StoredItem]:
    rows = store.dataset_items.live()
    return [row for key, row in rows if key[:2] == (project, dataset) and row.valid_to is None]


def _digest(rows: Iterable[StoredItem]) -> bytes:
    return version_digest(b"".join(sorted(one.digest for one in rows)))
