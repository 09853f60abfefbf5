"""Datasets. Each row of an item says in which versions it is, so that a version copies nothing."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_projects_shared
from adapters.postgres.database.pool import IN_PROJECT, Connection, require_row
from adapters.postgres.database.read_transactions import RETRY_LATER, PoolReader
from adapters.postgres.database.removed_projects import check_not_removed
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.database.statements.sql_builder import Parameters, Sql
from adapters.postgres.database.transactions import project_transaction, transaction
from adapters.postgres.evaluation.datasets.dataset_rows import (
    DATASETS,
    ITEMS,
    VERSION_OF_DATASET,
    VERSIONS,
    dataset_from_row,
    dataset_row,
    item_from_row,
    item_row,
    state_from_row,
    version_from_row,
    version_row,
)
from adapters.postgres.identity.audit_log import store_audit_entry
from domain.errors import Conflict
from domain.evaluation.datasets.dataset import (
    DATASETS_MAX,
    VERSIONS_MAX,
    Dataset,
    DatasetItem,
    HashedItem,
    Version,
    WriteResult,
    dataset_in_use,
    plan_write,
    version_digest,
)
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId, TraceId
from domain.page import Page, PageRequest, Position

NOT_FOUND: Final = "Dataset not found"

INSERT_DATASET: Final = DATASETS.insert()
INSERT_VERSION: Final = VERSIONS.insert()
# A lateral join reads each version by its key, whatever the statistics say.
_SELECT_DATASETS: Final = f"""
SELECT d.*, {VERSION_OF_DATASET}
FROM (SELECT {DATASETS.select()} FROM datasets WHERE {IN_PROJECT} {{which}}) AS d
CROSS JOIN LATERAL (
  SELECT * FROM dataset_versions
  WHERE project_id = d.project_id AND dataset_id = d.id AND number = d.number
) AS v
"""
SELECT_DATASET: Final = _SELECT_DATASETS.format(which="AND name = $2")
SELECT_DATASETS: Final = (
    f"{_SELECT_DATASETS.format(which=f'ORDER BY name LIMIT {DATASETS_MAX}')} ORDER BY d.name"
)
SELECT_DATASETS_BY_ID: Final = _SELECT_DATASETS.format(which="AND id = ANY($2::uuid[])")
# Serialises writes, erasures and the delete of a dataset.
LOCK_DATASET: Final = f"SELECT 1 FROM datasets WHERE {IN_PROJECT} AND name = $2 FOR UPDATE"
UPDATE_DATASET: Final = f"""
UPDATE datasets SET {DATASETS.assignments()} WHERE {IN_PROJECT} AND name = $2
"""
SELECT_EXPERIMENT_OF_DATASET: Final = f"""
SELECT id FROM experiments WHERE {IN_PROJECT} AND dataset_id = $2 LIMIT 1
"""
DELETE_DATASET: Final = f"DELETE FROM datasets WHERE {IN_PROJECT} AND id = $2"
DELETE_VERSIONS: Final = f"DELETE FROM dataset_versions WHERE {IN_PROJECT} AND dataset_id = $2"
DELETE_ITEMS: Final = f"DELETE FROM dataset_items WHERE {IN_PROJECT} AND dataset_id = $2"

_OF_DATASET: Final = f"{IN_PROJECT} AND dataset_id = $2"
SELECT_STATES: Final = f"""
SELECT item_id, digest, metadata, trace_id FROM dataset_items
WHERE {_OF_DATASET} AND valid_to IS NULL AND item_id = ANY($3::text[])
"""
SELECT_TRACE_OWNERS: Final = f"""
SELECT trace_id, user_id, session_id FROM visible_traces
WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[])
"""
# The user and the session of a trace that a request links; of a link that was kept, those that it
# had.
_OWNERS: Final = """
LEFT JOIN unnest($3::uuid[], $4::text[], $5::text[]) AS linked (trace_id, user_id, session_id)
  ON linked.trace_id = sent.trace_id
LEFT JOIN LATERAL (
  SELECT user_id, session_id FROM dataset_items
  WHERE project_id = $1 AND dataset_id = $2 AND item_id = sent.item_id AND trace_id = sent.trace_id
  ORDER BY valid_from DESC LIMIT 1
) AS kept ON linked.trace_id IS NULL
"""
_OWNER: Final = "coalesce(linked.{0}, kept.{0})"
_USER, _SESSION = _OWNER.format("user_id"), _OWNER.format("session_id")
_FIRST_SENT: Final = 6
_AFTER_SENT: Final = _FIRST_SENT + len(ITEMS.names)
INSERT_ITEMS: Final = f"""
WITH owned AS MATERIALIZED (
  SELECT {ITEMS.select("sent")}, {_USER} AS user_id, {_SESSION} AS session_id
  FROM {ITEMS.unnest("sent", first=_FIRST_SENT)} {_OWNERS}
)
INSERT INTO dataset_items (
  project_id, dataset_id, valid_from, created_at, {ITEMS.select()}, user_id, session_id
)
SELECT $1::uuid, $2::uuid, ${_AFTER_SENT}::int, ${_AFTER_SENT + 1}::timestamptz,
  {ITEMS.select()}, user_id, session_id
FROM owned RETURNING 1
"""
NOTE_ITEMS: Final = f"""
UPDATE dataset_items AS known SET metadata = noted.metadata, trace_id = noted.trace_id,
  user_id = noted.user_id, session_id = noted.session_id
FROM (
  SELECT sent.*, {_USER} AS user_id, {_SESSION} AS session_id
  FROM {ITEMS.unnest("sent", "item_id", "metadata", "trace_id", first=_FIRST_SENT)} {_OWNERS}
) AS noted
WHERE known.project_id = (SELECT $1::uuid) AND known.dataset_id = $2 AND known.valid_to IS NULL
  AND known.item_id = noted.item_id
"""
END_ITEMS: Final = f"""
UPDATE dataset_items SET valid_to = $3
WHERE {_OF_DATASET} AND valid_to IS NULL AND item_id = ANY($4::text[])
"""
SELECT_DIGESTS: Final = f"""
SELECT coalesce(string_agg(digest, ''::bytea ORDER BY digest), ''::bytea) AS digests,
  count(*)::int AS items
FROM dataset_items WHERE {_OF_DATASET} AND valid_to IS NULL
"""
SELECT_NEWEST_NUMBER: Final = f"SELECT number FROM datasets WHERE {IN_PROJECT} AND id = $2"
# An item that an erasure in progress hides is not found.
SELECT_VISIBLE_ITEM: Final = f"""
SELECT 1 FROM visible_dataset_items WHERE {_OF_DATASET} AND valid_to IS NULL AND item_id = $3
"""
SELECT_VERSIONS: Final = f"""
SELECT {VERSIONS.select()} FROM dataset_versions
WHERE {_OF_DATASET} ORDER BY number DESC LIMIT {VERSIONS_MAX}
"""
SELECT_VERSION_BY_DIGEST: Final = f"""
SELECT {VERSIONS.select()} FROM dataset_versions
WHERE {_OF_DATASET} AND digest = $3 ORDER BY number DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class PostgresDatasets(PoolReader):
    """Each list is read from one snapshot."""

    async def create(self, dataset: Dataset, *, audit: AuditEntry | None = None) -> Dataset:
        project, lock = dataset.project_id, AdvisoryLock.DATASETS
        async with project_transaction(self.pool, lock, project) as connection:
            ours = [
                dataset_from_row(one) for one in await connection.fetch(SELECT_DATASETS, project)
            ]
            known = next((one for one in ours if one.id == dataset.id), None)
            if known is not None:
                return known
            if any(one.name == dataset.name for one in ours):
                raise Conflict(f"There is a dataset {dataset.name} already")
            if len(ours) >= DATASETS_MAX:
                raise Conflict(f"A project has {DATASETS_MAX} datasets at most: delete one first")
            await connection.execute(INSERT_DATASET, *dataset_row(dataset))
            await connection.execute(INSERT_VERSION, *version_row(project, dataset.version))
            await store_audit_entry(connection, audit)
            return dataset

    async def get(self, project: ProjectId, name: str) -> Dataset:
        async with self._statement(RETRY_LATER, project) as connection:
            return await _fetch_dataset(connection, project, name)

    async def all(self, project: ProjectId) -> Sequence[Dataset]:
        rows = await self._fetch(RETRY_LATER, project, SELECT_DATASETS, project)
        return [dataset_from_row(row) for row in rows]

    async def edit(
        self,
        project: ProjectId,
        name: str,
        edit: Callable[[Dataset], Dataset],
        *,
        audit: AuditEntry | None = None,
    ) -> Dataset:
        async with transaction(self.pool, project) as connection:
            known = await _lock_dataset(connection, project, name)
            edited = edit(known)
            if edited != known:
                await connection.execute(UPDATE_DATASET, *dataset_row(edited))
                await store_audit_entry(connection, audit)
            return edited

    async def delete(
        self, project: ProjectId, name: str, *, audit: AuditEntry | None = None
    ) -> bool:
        async with transaction(self.pool, project) as connection:
            if await connection.fetchrow(LOCK_DATASET, project, name) is None:
                return False
            known = await _fetch_dataset(connection, project, name)
            if await connection.fetchrow(SELECT_EXPERIMENT_OF_DATASET, project, known.id):
                raise dataset_in_use()
            for sql in (DELETE_ITEMS, DELETE_VERSIONS, DELETE_DATASET):
                await connection.execute(sql, project, known.id)
            await store_audit_entry(connection, audit)
            return True

    async def put_items(
        self, project: ProjectId, name: str, items: Sequence[HashedItem], now: datetime
    ) -> WriteResult:
        async with transaction(self.pool, project) as connection:
            await check_not_removed(connection, project)
            links = {one.item.from_trace for one in items} - {None}
            owners = await _lock_trace_owners(connection, project, links)
            dataset = await _lock_dataset(connection, project, name)
            ids = [one.item.id for one in items]
            rows = await connection.fetch(SELECT_STATES, project, dataset.id, ids)
            plan = plan_write({row["item_id"]: state_from_row(row) for row in rows}, items, owners)
            linked = arrays(owners.values()) or [[], [], []]
            if plan.noted:
                noted = arrays(
                    (one.item.id, one.item.metadata, one.item.from_trace) for one in plan.noted
                )
                await connection.execute(NOTE_ITEMS, project, dataset.id, *linked, *noted)
            if plan.stored:
                dataset.check_room(new=len(plan.created), stored=len(plan.stored))
                number = dataset.version.number + 1
                revised = [one.item.id for one in plan.revised]
                if revised:
                    await connection.execute(END_ITEMS, project, dataset.id, number, revised)
                sent = arrays(item_row(one) for one in plan.stored)
                await connection.execute(
                    INSERT_ITEMS, project, dataset.id, *linked, *sent, number, now
                )
                dataset = await add_version(connection, dataset, len(plan.stored), now)
            elif plan.noted:
                dataset = replace(dataset, updated_at=now)
                await connection.execute(UPDATE_DATASET, *dataset_row(dataset))
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
        async with transaction(self.pool, project) as connection:
            dataset = await _lock_dataset(connection, project, name)
            if await connection.fetchrow(SELECT_VISIBLE_ITEM, project, dataset.id, item) is None:
                return False
            dataset.check_room(new=-1, stored=0)
            number = dataset.version.number + 1
            await connection.execute(END_ITEMS, project, dataset.id, number, [item])
            await add_version(connection, dataset, 0, now)
            await store_audit_entry(connection, audit)
            return True

    async def versions(self, project: ProjectId, name: str) -> Sequence[Version]:
        async with self._snapshot(RETRY_LATER, project) as connection:
            dataset = await _fetch_dataset(connection, project, name)
            rows = await connection.fetch(SELECT_VERSIONS, project, dataset.id)
        return [version_from_row(row) for row in rows]

    async def find_version(
        self, project: ProjectId, name: str, digest: bytes | None = None
    ) -> Version:
        async with self._snapshot(RETRY_LATER, project) as connection:
            dataset = await _fetch_dataset(connection, project, name)
            if digest is None:
                return dataset.version
            row = await connection.fetchrow(SELECT_VERSION_BY_DIGEST, project, dataset.id, digest)
        return version_from_row(require_row(row, "Version not found"))

    async def items(
        self, project: ProjectId, version: Version, split: str | None, window: PageRequest
    ) -> Page[DatasetItem]:
        async with self._visible_snapshot(RETRY_LATER, project) as connection:
            dataset, number = version.dataset_id, version.number
            newest = await connection.fetchval(SELECT_NEWEST_NUMBER, project, dataset)
            # The newest version has an index of its own.
            where = [Sql("dataset_id = {}", (dataset,))]
            where.append(
                Sql("valid_to IS NULL")
                if number == newest
                else Sql(
                    "valid_from <= {} AND (valid_to IS NULL OR valid_to > {})", (number, number)
                )
            )
            if split is not None:
                where.append(Sql("split = {}", (split,)))
            p = Parameters([project])
            conditions = " AND ".join([IN_PROJECT, *p.all_of(where)])
            total = await connection.fetchval(
                f"SELECT count(*) FROM dataset_items WHERE {conditions}", *p.values
            )
            if window.after is not None:
                conditions += f" AND item_id > {p.put(window.after.id)}"
            cut = f"LIMIT {window.limit + 1:d} OFFSET {p.put(window.offset)}::bigint"
            rows = await connection.fetch(
                f"SELECT {ITEMS.select()} FROM dataset_items WHERE {conditions}"
                f" ORDER BY item_id {cut}",
                *p.values,
            )
        shown = [item_from_row(row) for row in rows[: window.limit]]
        end = Position(shown[-1].id, shown[-1].id) if len(rows) > window.limit else None
        return Page(shown, total, end)


async def add_version(
    connection: Connection, dataset: Dataset, added: int, now: datetime
) -> Dataset:
    """Stores a version with the present items of a dataset, whose row is locked.

    `added` items were stored for it.
    """
    project = dataset.project_id
    row = require_row(await connection.fetchrow(SELECT_DIGESTS, project, dataset.id), NOT_FOUND)
    after = dataset.with_version(version_digest(row["digests"]), row["items"], added, now)
    await connection.execute(INSERT_VERSION, *version_row(project, after.version))
    await connection.execute(UPDATE_DATASET, *dataset_row(after))
    return after


async def _fetch_dataset(connection: Connection, project: ProjectId, name: str) -> Dataset:
    row = await connection.fetchrow(SELECT_DATASET, project, name)
    return dataset_from_row(require_row(row, NOT_FOUND))


async def _lock_dataset(connection: Connection, project: ProjectId, name: str) -> Dataset:
    """The next statements see what the transaction before has committed.

    Raises NotFound, also if that has deleted the dataset: another one of the name isn't locked.
    """
    require_row(await connection.fetchrow(LOCK_DATASET, project, name), NOT_FOUND)
    return await _fetch_dataset(connection, project, name)


async def _lock_trace_owners(
    connection: Connection, project: ProjectId, traces: Collection[TraceId | None]
) -> Mapping[TraceId, tuple[TraceId, str | None, str | None]]:
    """The visible traces, with user and session.

    An erasure that starts later waits for this transaction and finds its items.
    """
    if not traces:
        return {}
    await lock_projects_shared(connection, AdvisoryLock.TRACE_OWNERS, [project])
    rows = await connection.fetch(SELECT_TRACE_OWNERS, project, list(traces))
    return {TraceId(row["trace_id"]): tuple(row) for row in rows}
