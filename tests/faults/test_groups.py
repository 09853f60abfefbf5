"""An installation with three groups of organizations under load: kill -9 of all parts, and a move.

Nothing that was acknowledged is lost or stored twice, and everything recovers by itself. On a
cluster of Citus, whose nodes are killed too, an organization whose worker is away gets 503 with
Retry-After, and the others are served.
"""

import asyncio
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import httpx
import pytest

from adapters.postgres.database.table_groups import TableGroup
from entrypoints.composition import root
from entrypoints.settings import Settings
from tests.faults.conftest import SEEDS, run_assert_kept, running, until_refused, wait_more_accepted
from tests.faults.support.background import Background
from tests.faults.support.clients import PACE_S, Load
from tests.faults.support.groups_stack import GROUPS, ClusterStack, GroupsStack
from tests.faults.support.report import report_line
from tests.faults.support.stack import STARTED_MAX_S, STOP_MAX_S, until
from tests.faults.test_kills import CONNECTION_ERRORS
from tests.support.fixtures.first_key import first_key
from tests.support.fixtures.servers import citus
from tests.support.waiting import until_done

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

CLIENTS: Final = 4  # of each group
ROUNDS: Final = 40
MOVE_CLIENTS: Final = 4  # of the organization that moves
NEIGHBOURS: Final = 2  # clients of each group meanwhile
MOVE_PACE_S: Final = 0.1  # a move takes 18 s at least, and all that was sent meanwhile is read back
DUE: Final = timedelta(minutes=11)  # after a move; then workers delete the old rows
GROUP: Final = "SELECT table_group FROM organizations WHERE id = '{}'"
COPIED: Final = "SELECT cardinality(moved_tables) FROM organizations WHERE id = '{}'"
WORKER: Final = """
SELECT nodename || ':' || nodeport FROM pg_dist_shard JOIN pg_dist_placement USING (shardid)
JOIN pg_dist_node USING (groupid) WHERE logicalrelid = '{}.traces'::regclass
"""
OLD_ROWS: Final = """
SELECT count(*) FROM {}.traces
WHERE project_id = ANY(ARRAY(SELECT id FROM projects WHERE organization_id = '{}'))
"""


@pytest.fixture(scope="module")
def site(servers_folder: Path, migrated_data: Path) -> Iterator[GroupsStack]:
    folder = servers_folder / f"groups-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)
    kind = ClusterStack if citus.list_nodes() else GroupsStack
    made = kind(folder, migrated_data)
    yield made
    made.close()


@contextmanager
def loads(
    site: GroupsStack, background_loop: Background, clients: int = CLIENTS, pace_s: float = PACE_S
) -> Iterator[dict[int, Load]]:
    """Load for each organization of the site, by its number; afterwards asserts what is stored."""
    site.revive()
    urls = (site.second_url, site.url)
    made = {
        group: Load(urls[group % 2], site.headers_of(group), clients, pace_s, seed=next(SEEDS))
        for group in site.keys
    }
    with ExitStack() as stack:
        for load in made.values():
            stack.enter_context(running(load, background_loop))
        yield made
    for load in made.values():
        run_assert_kept(background_loop, load, site.settings)


def test_any_part_may_be_killed_with_groups(site: GroupsStack, background_loop: Background) -> None:
    """Each node of a cluster alone, then random parts at random moments, several at once."""
    rng = random.Random(time.time_ns())
    rounds: list[list[str]] = [[node] for node in site.nodes]
    rounds += [rng.sample(site.parts, rng.choice((1, 1, 1, 2, 4))) for _ in range(ROUNDS)]
    slowest, killed, refused = 0.0, 0, 0
    with loads(site, background_loop) as by_group:
        for parts in rounds:
            for part in parts:
                site.kill(part)
            killed += len(parts)
            without = site.groups_without(parts)
            for group, load in by_group.items():
                if group in without:
                    until_refused(load)
                    refused += 1
                elif without:
                    wait_more_accepted(load)
            slowest = max(slowest, site.revive())
            for load in by_group.values():
                wait_more_accepted(load, 5 + rng.randrange(20))
    outcomes = {group: dict(load.outcomes) for group, load in by_group.items()}
    for load in by_group.values():
        assert set(load.outcomes) - {201, 202, 503} <= CONNECTION_ERRORS, outcomes
    report_line(
        f"kill -9 with groups: {killed} in {len(rounds)} rounds, groups refused {refused} times; "
        f"{sum(one.accepted for one in by_group.values())} accepted, "
        f"{sum(one.dropped for one in by_group.values())} dropped; ready again after at most "
        f"{slowest:.1f} s; {outcomes}"
    )


def test_organization_moves_while_clients_write(
    site: GroupsStack, background_loop: Background
) -> None:
    """The command is killed in the middle, and continued."""
    mover = {"X-API-Key": asyncio.run(first_key(site.settings))}
    answer = httpx.get(f"{site.url}/access", headers=mover | {"X-Project-Name": "any"}, timeout=30)
    organization = answer.json()["organization_id"]
    old: int = site.fetch_value(GROUP.format(organization))
    new = old % GROUPS + 1
    words = ("organization", "move", organization, "--to", str(new))
    old_rows = OLD_ROWS.format(TableGroup(old).schema or "public", organization)
    load = Load(
        site.second_url, lambda project: mover | {"X-Project-Name": project}, MOVE_CLIENTS,
        MOVE_PACE_S, seed=next(SEEDS),
    )  # fmt: skip
    with (
        loads(site, background_loop, NEIGHBOURS, MOVE_PACE_S) as by_group,
        running(load, background_loop),
    ):
        begin = time.monotonic()
        command = site.spawn("move", words, {})
        until(lambda: site.fetch_value(COPIED.format(organization)), STARTED_MAX_S, "some copied")
        command.process.kill()
        command.process.wait()
        until_refused(load, MOVE_CLIENTS)
        for neighbour in by_group.values():
            wait_more_accepted(neighbour, 10)
        assert site.fetch_value(GROUP.format(organization)) == old
        command = site.spawn("move", words, {})
        is_there = GROUP.format(organization) + f" AND table_group = {new}"
        until(lambda: site.fetch_value(is_there), STARTED_MAX_S, "moved")
        took_s = time.monotonic() - begin
        wait_more_accepted(load)
        command.stop(STOP_MAX_S)  # it would wait for jobs that were under way
        assert site.fetch_value(old_rows) > 0
        asyncio.run(delete_old_rows(site.settings, old))
        assert site.fetch_value(old_rows) == 0
    run_assert_kept(background_loop, load, site.settings, recounted=MOVE_CLIENTS)
    others = {group: dict(one.outcomes) for group, one in by_group.items()}
    report_line(
        f"organization moved under load in {took_s:.1f} s, killed once: {load.accepted} accepted, "
        f"{load.dropped} dropped; {dict(load.outcomes)}; others {others}"
    )


def test_group_moves_to_another_worker_while_clients_write(
    site: GroupsStack, background_loop: Background
) -> None:
    if not isinstance(site, ClusterStack):
        pytest.skip("only a cluster has workers: set PANDAPROBE_TEST_CITUS and _NODES")
    moved, workers = GROUPS, sorted(site.groups_of)
    [old] = [one for one in workers if moved in site.groups_of[one]]
    new = workers[workers.index(old) - 1]
    with loads(site, background_loop, NEIGHBOURS, MOVE_PACE_S) as by_group:
        took_s = site.move_group(moved, old, new)
        for load in by_group.values():
            wait_more_accepted(load)
    assert site.fetch_value(WORKER.format(f"group_{moved}")) == new
    outcomes = {group: dict(one.outcomes) for group, one in by_group.items()}
    report_line(f"group moved to another worker in {took_s:.1f} s: {outcomes}")


async def delete_old_rows(settings: Settings, group: int) -> None:
    """As a worker does, once they are due."""
    async with root.ports(settings) as first:
        ports = await first.groups.open(group) or first
        await until_done(ports.identity.removed_projects.purge, datetime.now(UTC) + DUE)
