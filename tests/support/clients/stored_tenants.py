"""Two tenants of which everything is in PostgreSQL, in a database of their own.

With PANDAPROBE_TEST_CITUS it is on a cluster, whose tables of projects are on a worker.
"""

import os
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self, cast
from urllib.parse import urlsplit

import asyncpg
import httpx

from adapters.postgres.database.idempotency import PostgresIdempotencyStore
from adapters.postgres.database.pool import (
    Engine,
    Pool,
    PoolSettings,
    is_distributed,
    open_pool,
)
from adapters.postgres.identity import identity_rows as rows
from adapters.postgres.identity.administration import PostgresAdministration
from adapters.postgres.identity.browser_sessions import PostgresBrowserSessions
from adapters.postgres.identity.identity import INSERT_ORGANIZATION
from adapters.postgres.identity.object_index import PostgresObjectIndex
from adapters.postgres.identity.project_activity import PostgresProjectActivities
from adapters.postgres.identity.refusals import PostgresRefusals
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.schema import distributing, migrating
from adapters.postgres.sharing.trace_links import TRACE_LINKS, PostgresTraceLinks, link_row
from tests.http.conftest import Site
from tests.support.clients.two_tenants import TwoTenants
from tests.support.endpoints.templates import Words
from tests.support.fakes.forgetful_pool import ForgetfulPool
from tests.support.fixtures import data_plane, identities
from tests.support.fixtures.servers import citus

SERVING: Final = "pandaprobe_serving:serving"
SELECT_OWNED_TABLES: Final = """
SELECT c.relname AS name, a.attname AS owner
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT a.attisdropped
  AND (a.attname IN ('project_id', 'organization_id')
       OR (c.relname = 'organizations' AND a.attname = 'id'))
ORDER BY 1, 2
"""
SELECT_COLUMNS: Final = """
SELECT c.relname AS name,
       string_agg(quote_ident(a.attname), ', ') FILTER (WHERE a.attgenerated = '') AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
  AND NOT a.attisdropped
GROUP BY 1
"""
# No trigger counts again what the copies of the roll-ups have.
WITHOUT_TRIGGERS: Final = "SET LOCAL session_replication_role = replica"
RESTORE: Final = (
    "DELETE FROM {name}",
    "INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM saved.{name}",
)
RESTORED_MAX_S: Final = 30  # login codes and tickets expire soon
IDENTITY_PORTS: Final = (
    *("keys", "projects", "users", "organizations", "directory", "administration"),
    *("removed_projects", "browser_sessions", "sign_in_attempts"),
)


@dataclass
class StoredTenants(TwoTenants):
    """Organizations, people and keys are made in the memory store, and copied before a request."""

    owner: Pool = field(kw_only=True)  # passes every policy
    pool: ForgetfulPool = field(kw_only=True)
    copied: set[object] = field(default_factory=set)
    dump: str = ""
    last_rows: tuple[str, str] = ("", "")  # of a snapshot, and what it saw
    first_rows: str = ""  # `rows_of_theirs` after `begin`
    first_copied: set[object] = field(default_factory=set)
    restore: Sequence[str] = ()
    made_s: float = 0

    async def send(self, method: str, path: str, head: Words, body: Any = None) -> httpx.Response:
        await self._copy_identity()
        return await super().send(method, path, head, body)

    async def _furnish(self) -> None:
        self.copied.clear()
        await self.owner.execute("DELETE FROM login_codes")  # the next tenants have the same codes
        await self.owner.execute("DELETE FROM download_tickets")
        await self.owner.execute("DELETE FROM trace_links")
        with self.pool.forgetting(()):
            await super()._furnish()
        await self._save()

    async def _save(self) -> None:
        """Copies every table, as `Site.state` does the memory store."""
        tables = await self.owner.fetch(SELECT_COLUMNS)
        copies = [f"CREATE UNLOGGED TABLE saved.{name} AS TABLE {name}" for name, _ in tables]
        await self.owner.execute(
            "; ".join(("DROP SCHEMA IF EXISTS saved CASCADE", "CREATE SCHEMA saved", *copies))
        )
        self.restore = [
            sql.format(name=name, columns=columns) for name, columns in tables for sql in RESTORE
        ]
        self.first_rows, self.first_copied = await self.rows_of_theirs(), {*self.copied}
        self.made_s = time.monotonic()

    async def _restore(self) -> bool:
        if not await super()._restore():
            if time.monotonic() - self.made_s > RESTORED_MAX_S:
                return False
            async with self.owner.acquire() as connection, connection.transaction():
                # Citus takes a setting in a message of its own.
                await connection.execute(WITHOUT_TRIGGERS)
                await connection.execute("; ".join(self.restore))
            self.copied = {*self.first_copied}
        return True

    async def other_tenant_reads(self) -> list[Any]:
        """Nothing: `rows_of_theirs` has more than the reads, which take as long as all writes."""
        return []

    async def rows_of_theirs(self) -> str:
        """Every row of the other tenant, as text.

        Equal snapshots see equal rows, so that requests which write nothing cost no reading. On a
        cluster each node has snapshots of its own.
        """
        async with self.owner.acquire() as connection:
            if is_distributed(connection):
                return await self._rows_of_theirs()
            snapshot = await connection.fetchval("SELECT pg_current_snapshot()::text")
        if self.last_rows[0] == snapshot:
            return self.last_rows[1]
        self.last_rows = (snapshot, await self._rows_of_theirs())
        return self.last_rows[1]

    async def _rows_of_theirs(self) -> str:
        if not self.dump:
            tables = await self.owner.fetch(SELECT_OWNED_TABLES)
            self.dump = " UNION ALL ".join(
                f"SELECT '{name}' || t::text AS row FROM {name} AS t WHERE {owner} = ANY($1)"
                for name, owner in tables
            )
        ids = [uuid.UUID(self.theirs[word]) for word in ("org_id", "project_id")]
        sql = f"SELECT string_agg(row, chr(10) ORDER BY row) FROM ({self.dump}) AS found"
        found: str = await self.owner.fetchval(sql, ids)
        return found

    async def _copy_identity(self) -> None:
        store = self.site.store
        for user in self._new(store.users):
            await self.owner.execute(rows.USERS.insert(), *rows.user_row(user))
        for organization in self._new(store.organizations):
            await self.owner.execute(INSERT_ORGANIZATION, *rows.organization_row(organization))
        for table, put in (
            (store.memberships, "put_membership"),
            (store.projects, "put_project"),
            (store.invitations, "put_invitation"),
            (store.keys, "put_key"),
            (store.login_codes, "add_login_code"),
        ):
            for one in self._new(cast("Mapping[Any, Any]", table)):
                administration = PostgresAdministration(self.owner)
                async with administration.lock(one.organization_id) as locked:
                    await getattr(locked, put)(one)

        for link in self._new(store.trace_links):
            await self.owner.execute(TRACE_LINKS.insert(), *link_row(link))
        for session in self._new(store.browser_sessions):
            await PostgresBrowserSessions(self.owner).start(session, [])

    def _new(self, table: Mapping[Any, Any]) -> list[Any]:
        new = [key for key in table if key not in self.copied]
        self.copied |= {*new}
        return [table[key] for key in new]

    @classmethod
    @asynccontextmanager
    async def serving(cls, owner: Pool, serving: Pool) -> AsyncIterator[Self]:
        """Requests use `serving`; what the tests arrange and look at uses `owner`."""
        pool = ForgetfulPool(serving)
        used = cast("Pool", pool)
        async with AsyncExitStack() as stack:
            plane = await stack.enter_async_context(data_plane.over_postgres(used))
            identity = identities.over_postgres(used)
            swapped = plane.by_context() | {
                **{name: getattr(identity, name) for name in IDENTITY_PORTS},
                "idempotency": PostgresIdempotencyStore(used),
                "refusals": PostgresRefusals(used),
                "objects": PostgresObjectIndex(used),
                "activities": PostgresProjectActivities(used),
                "trace_links": PostgresTraceLinks(used),
            }
            world = cls(Site(swapped=swapped), owner=owner, pool=pool)
            await stack.enter_async_context(world.site.http)
            yield world


@asynccontextmanager
async def new_database(postgres_url: str) -> AsyncIterator[tuple[Pool, Pool]]:
    """Pools of a new database: of its owner, who is a superuser, and of the serving role."""
    before = DB.pool, DB.config
    DB.pool = None
    async with _empty_database(postgres_url) as url:
        parts = urlsplit(url)
        host = f"{SERVING}@{parts.hostname}:{parts.port}"
        serving_url = parts._replace(netloc=host).geturl()
        try:
            async with open_pool(DB, PoolSettings(url=url)) as owner:
                await migrating.migrate(owner, serving_url)
                if citus.VARIABLE in os.environ:
                    await distributing.distribute(owner, serving_url)
                async with open_pool(Engine(config={}), PoolSettings(url=serving_url)) as serving:
                    yield owner, serving
        finally:
            DB.pool, DB.config = before


@asynccontextmanager
async def _empty_database(postgres_url: str) -> AsyncIterator[str]:
    """Its URL. On a cluster it stays afterwards."""
    if (url := citus.new_database()) is not None:
        yield url
        return
    name = f"tenants_{uuid.uuid4().hex}"
    server = await asyncpg.connect(postgres_url)
    await server.execute(f"CREATE DATABASE {name}")
    try:
        yield urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()
