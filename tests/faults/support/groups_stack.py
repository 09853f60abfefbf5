"""An installation with several groups of organizations, two `serve` and two `worker`.

The groups are schemas of a PostgreSQL of its own. With PANDAPROBE_TEST_CITUS and
PANDAPROBE_TEST_CITUS_NODES (`tests/support/fixtures/servers/citus.py`) they are on the workers of a
cluster, of which each node can be killed.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from adapters.embedded.process import free_port
from adapters.postgres.database.pool import PoolSettings, open_pool
from adapters.postgres.database.table_groups import TableGroup
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.schema.distributing import distribute, read_catalogue
from entrypoints.composition import database
from tests.faults.support.stack import Stack
from tests.support.fixtures.first_key import first_key
from tests.support.fixtures.servers import citus
from tests.support.fixtures.table_groups import add_group

GROUPS: Final = 3
SERVING_ROLE: Final = "pandaprobe_serving:serving"
MOVE_GROUP: Final = """
SELECT citus_move_shard_placement(shardid, {addresses}) FROM pg_dist_shard
WHERE logicalrelid = '{schema}.traces'::regclass
"""


class GroupsStack(Stack):
    """`keys` has the key of an organization of each group, by the group's number.

    The second `serve` is at `second_url`. `nodes` are the addresses of a cluster's nodes.
    """

    nodes: Sequence[str] = ()

    def __init__(self, folder: Path, migrated: Path) -> None:
        self.second_port = free_port()
        self.keys: dict[int, str] = {}
        super().__init__(folder, migrated=migrated)

    @property
    def second_url(self) -> str:
        return f"http://127.0.0.1:{self.second_port}"

    @property
    def parts(self) -> Sequence[str]:
        """All that can be killed."""
        return tuple(self.processes)

    def migrate(self, *, is_migrated: bool) -> None:
        super().migrate(is_migrated=is_migrated)
        asyncio.run(self.add_groups())

    async def add_groups(self) -> None:
        async with open_pool(DB, PoolSettings(url=self.database_url, size=3)) as owner:
            for number in range(2, GROUPS + 1):
                await add_group(owner, number, self.settings.database_url or "")

    def start_api(self, **more: str) -> None:
        super().start_api(**more)
        if not self.keys:  # before the first requests
            self.keys[1] = self.key
            for number in range(2, GROUPS + 1):  # each to the group with the fewest
                self.keys[number] = asyncio.run(first_key(self.settings))
        if "serve-2" not in self.processes:
            self.start_second_api()

    def start_second_api(self) -> None:
        port = {"PANDAPROBE_PORT": str(self.second_port)}
        self.start_command("serve-2", "serve", port)

    def start_worker(self) -> None:
        super().start_worker()
        if "worker-2" not in self.processes:
            self.start_second_worker()

    def start_second_worker(self) -> None:
        self.start_command("worker-2", "worker", {})

    def starts(self) -> dict[str, Callable[[], None]]:
        return {
            **super().starts(),
            "serve-2": self.start_second_api,
            "worker-2": self.start_second_worker,
        }

    def readiness(self) -> tuple[int, frozenset[str]]:
        """As of the first API; the status is that of the second API if the first is ready."""
        first = super().readiness()
        if first[0] != 200:
            return first
        try:
            answer = httpx.get(f"{self.second_url}/health/ready", timeout=10)
        except httpx.TransportError:
            return 0, frozenset()
        return answer.status_code, first[1]

    def headers_of(self, group: int) -> Callable[[str], Mapping[str, str]]:
        """The headers of a client of its organization, by the name of a project."""
        return lambda project: {"X-API-Key": self.keys[group], "X-Project-Name": project}

    def groups_without(self, killed: Sequence[str]) -> set[int]:
        """The groups that can't be served while these parts are away, though others can."""
        return set()


class ClusterStack(GroupsStack):
    """The groups are on a cluster: two workers have three of them."""

    def __init__(self, folder: Path, migrated: Path) -> None:
        self.nodes = citus.list_nodes()
        self.killed: set[str] = set()
        self.groups_of: dict[str, set[int]] = {}
        url = citus.new_database()
        assert url is not None
        self.database_url = url
        super().__init__(folder, migrated)

    @property
    def parts(self) -> Sequence[str]:
        return (*self.processes, *self.nodes)

    def start_postgres(self) -> None:
        """The nodes run."""

    def migrate(self, *, is_migrated: bool) -> None:
        parts = urlsplit(self.database_url)
        serving = parts._replace(netloc=f"{SERVING_ROLE}@{parts.hostname}:{parts.port}").geturl()
        self.environ["PANDAPROBE_DATABASE_URL"] = serving
        self.environ["PANDAPROBE_MIGRATION_DATABASE_URL"] = self.database_url
        direct = os.environ.get(citus.DIRECT, "off")
        self.environ["PANDAPROBE_DATABASE_DIRECT_TO_WORKERS"] = direct
        asyncio.run(database.migrate(self.settings))
        asyncio.run(self.add_groups())

    async def add_groups(self) -> None:
        async with open_pool(DB, PoolSettings(url=self.database_url, size=3)) as owner:
            await distribute(
                owner,
                self.settings.database_url,
                groups=GROUPS,
                to_workers=self.settings.database_direct_to_workers,
            )
            async with owner.acquire() as connection:
                for one in (await read_catalogue(connection)).groups:
                    assert one.worker is not None
                    self.groups_of.setdefault(one.worker, set()).add(one.group.number)

    def starts(self) -> dict[str, Callable[[], None]]:
        starts = super().starts()
        del starts["postgres"]
        return starts

    def kill(self, part: str) -> None:
        if part in self.nodes:
            citus.run_on_nodes("kill", part)
            self.killed.add(part)
        else:
            super().kill(part)

    def revive(self, *options: float) -> float:
        self.start_nodes()
        return super().revive(*options)

    def close(self) -> None:
        """The cluster is left as it was, also by a test that failed."""
        self.start_nodes()
        super().close()

    def start_nodes(self) -> None:
        for node in sorted(self.killed):
            citus.run_on_nodes("start", node)
            self.killed.discard(node)

    def move_group(self, group: int, old: str, new: str) -> float:
        """Moves its tables from a worker to another; returns the seconds that it took."""
        addresses = ", ".join("'{}', {}".format(*one.rsplit(":", 1)) for one in (old, new))
        schema = TableGroup(group).schema or "public"
        begin = time.monotonic()
        self.execute_sql(MOVE_GROUP.format(addresses=addresses, schema=schema))
        self.groups_of[old].discard(group)
        self.groups_of[new].add(group)
        return time.monotonic() - begin

    def groups_without(self, killed: Sequence[str]) -> set[int]:
        if not set(killed) <= set(self.nodes[1:]):
            return set()
        return set().union(*(self.groups_of.get(one, set()) for one in killed))
