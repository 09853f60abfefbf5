"""The database by itself: its pool, schema, distribution, and the keys of its secrets.

Apart from `root.py`, which imports every adapter: commands that need the database alone start in a
quarter of the time.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from msgspec import structs

from adapters.aes_gcm import AesGcmCipher
from adapters.postgres.database import secret_rotation
from adapters.postgres.database.pool import Engine, Pool, PoolSettings, open_pool
from adapters.postgres.database.table_groups import PostgresTableGroups, TableGroup
from adapters.postgres.database.worker_route import WorkerRoute
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.schema.fitness import check_schema
from adapters.postgres.schema.pending import pending_migrations as schema_pending
from application.table_groups import FIRST_GROUP
from domain.errors import Conflict
from domain.ids import OrganizationId
from domain.wording import counted
from entrypoints.composition.payload_store import payload_store
from entrypoints.settings import Settings

if TYPE_CHECKING:
    from adapters.postgres.schema.distributing import Step as DistributionStep

MIGRATION_CONNECTIONS: Final = 3  # one holds the lock while others read and migrate
# For one statement of the owner, which may build an index or copy a table.
OWNER_STATEMENT_TIMEOUT_MS: Final = 24 * 3_600_000


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Pool]:
    """The connection pool of this process. Raises Unavailable if the database doesn't answer."""
    async with open_pool(DB, pool_settings(settings)) as pool:
        yield pool


def pool_settings(settings: Settings, search_path: str | None = None) -> PoolSettings:
    """Settings of a pool, with the search path of a group of organizations; None: of the first."""
    return PoolSettings(
        url=settings.database_url or "",
        size=settings.database_pool_size,
        statement_timeout_ms=settings.database_statement_timeout_ms,
        payload_store=payload_store(settings),
        search_path=search_path,
    )


@asynccontextmanager
async def near_tables(
    settings: Settings, pool: Pool, search_path: str | None
) -> AsyncIterator[Pool]:
    """The pool for traces of a group: on the worker that has its tables, if the settings say so.

    `pool` is that of the group through the coordinator. Raises Unavailable.
    """
    if not settings.database_direct_to_workers:
        yield pool
        return
    route = WorkerRoute(settings.database_url or "", pool)
    await route.find()
    options = replace(pool_settings(settings, search_path), connect=route.connect, least=0)
    async with open_pool(Engine({}), options) as near, route.following(near):
        yield near


async def route_problem(settings: Settings, pool: Pool) -> str | None:
    """Why traces of the group of `pool` aren't reached on its worker; None if they are.

    Raises Unavailable.
    """
    route = WorkerRoute(settings.database_url or "", pool)
    await route.find()
    return route.problem or await route.try_worker()


@asynccontextmanager
async def open_databases(settings: Settings) -> AsyncIterator[AsyncIterator[Pool]]:
    """The pools of all groups of organizations, one after the other. Raises Unavailable."""
    async with open_database(settings) as first:
        yield _each_group(settings, first)


async def _each_group(settings: Settings, first: Pool) -> AsyncIterator[Pool]:
    yield first
    for number in await PostgresTableGroups(first).all():
        if number != FIRST_GROUP:
            async with open_group(settings, first, number) as pool:
                yield pool


@asynccontextmanager
async def open_group(settings: Settings, first: Pool, number: int) -> AsyncIterator[Pool]:
    """The pool of a group of organizations; `first` is that of the first. Raises Unavailable."""
    if number == FIRST_GROUP:
        yield first
        return
    path = TableGroup(number).path(await PostgresTableGroups(first).path())
    async with open_pool(Engine({}), pool_settings(settings, path)) as pool:
        yield pool


async def migrate(
    settings: Settings,
    *,
    contract: bool = False,
    on_migration: Callable[[str, int, int], object] = lambda _id, _place, _count: None,
) -> list[str]:
    """Migrates the database to the schema of this version. Returns the migrations that ran.

    With `contract` it also removes what only earlier versions use. Connects as the owner of the
    tables, and lets the role of `database_url` use them. `on_migration` is called before each
    migration with its id, its place, from 1, and the number of all. Raises Unavailable, and
    Conflict for a database of an earlier version that was never released.
    """
    from adapters.postgres.schema import migrating  # noqa: PLC0415 - loads modules that serving never needs

    async with _owner_database(settings) as pool:
        return await migrating.migrate(
            pool, settings.database_url, contract=contract, on_migration=on_migration
        )


@asynccontextmanager
async def _owner_database(settings: Settings) -> AsyncIterator[Pool]:
    """The pool of the owner of the tables, as `migrate` connects."""
    owner = structs.replace(
        settings,
        database_url=settings.migration_database_url or settings.database_url,
        database_pool_size=max(settings.database_pool_size, MIGRATION_CONNECTIONS),
        database_statement_timeout_ms=OWNER_STATEMENT_TIMEOUT_MS,
    )
    async with open_database(owner) as pool:
        yield pool


async def distribute(
    settings: Settings, groups: int, on_step: Callable[[str, int, int], object]
) -> "Sequence[DistributionStep]":
    """Gives each worker of Citus a group of tables of projects. Returns what was done.

    If there are fewer than `groups` then, workers get further ones.
    `on_step` is called with a label, the bytes that were moved, and those of all. Raises Conflict
    if the database can't be distributed as it is.
    """
    from adapters.postgres.schema import distributing  # noqa: PLC0415 - as for `migrate`

    async with _owner_database(settings) as pool:
        return await distributing.distribute(
            pool,
            settings.database_url,
            groups=groups,
            to_workers=settings.database_direct_to_workers,
            on_step=on_step,
        )


async def plan_distribution(settings: Settings, groups: int) -> "Sequence[DistributionStep]":
    """What `distribute` would do. Raises Conflict if the database can't be distributed as it is."""
    from adapters.postgres.schema import distributing  # noqa: PLC0415 - as for `migrate`

    async with _owner_database(settings) as pool:
        return await distributing.plan(
            pool,
            settings.database_url,
            groups,
            to_workers=settings.database_direct_to_workers,
        )


async def move_organization(
    settings: Settings,
    organization: OrganizationId,
    group: int,
    on_step: Callable[[str, int, int], object],
) -> bool:
    """Moves all data of an organization to another group of tables; False if it was there.

    `on_step` is called with a label, the tables that were copied, and the number of all. Raises
    Conflict if it can't be moved as it is, NotFound, Unavailable.
    """
    from adapters.postgres.schema import moving  # noqa: PLC0415 - as for `migrate`

    async with _owner_database(settings) as pool:
        return await moving.move(pool, organization, group, on_step=on_step)


async def cancel_move(settings: Settings, organization: OrganizationId) -> bool:
    """Gives up the move of an organization; False if there is none.

    Raises NotFound, Unavailable.
    """
    from adapters.postgres.schema import moving  # noqa: PLC0415 - as for `migrate`

    async with _owner_database(settings) as pool:
        return await moving.cancel(pool, organization)


async def pending(settings: Settings, *, contract: bool = False) -> list[str]:
    """The migrations that have not run on the database, in order.

    Raises Conflict if none is pending and the database is of an earlier version that was never
    released.
    """
    async with open_database(settings) as pool:
        due = await schema_pending(pool, contract=contract)
        await check_schema(pool)
        return due


async def check_migrations(settings: Settings) -> None:
    """Raises Conflict if the database lacks one, or is of an earlier version never released.

    Also raises Forbidden if the role has no rights on the tables, and Unavailable.
    """
    if due := await pending(settings):
        raise Conflict(
            f"the database lacks {counted(len(due), 'migration')} ({', '.join(due)}): "
            "run `pandaprobe-server migrate` first"
        )


async def rotate_secrets(settings: Settings, on_batch: Callable[[int], None]) -> dict[str, int]:
    """Encrypts stored secrets again, with the first key. Returns the counts by key afterwards."""
    cipher, counts = AesGcmCipher.parse(settings.secret_keys), Counter[str]()
    async with open_databases(structs.replace(settings, database_pool_size=1)) as pools:
        async for pool in pools:
            counts.update(await secret_rotation.rotate_secrets(pool, cipher, on_batch))
    return counts


async def count_secrets_by_key(settings: Settings) -> dict[str, int]:
    """How many stored secrets are encrypted with each key, by its id."""
    counts = Counter[str]()
    async with open_databases(structs.replace(settings, database_pool_size=1)) as pools:
        async for pool in pools:
            counts.update(await secret_rotation.count_secrets_by_key(pool))
    return counts
