"""kill -9 of all parts of an installation with three groups of organizations, under load.

Nothing that was acknowledged is lost or stored twice, and everything recovers by itself. On a
cluster of Citus, whose nodes are killed too, an organization whose worker is away gets 503 with
Retry-After, and the others are served.
"""

import random
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.faults.accounts import assert_kept
from tests.faults.background import Background
from tests.faults.clients import Load
from tests.faults.conftest import END_MAX_S, SEEDS, running, until_refused, wait_more_accepted
from tests.faults.groups_stack import ClusterStack, GroupsStack
from tests.faults.report import report_line
from tests.faults.test_kills import CONNECTION_ERRORS
from tests.support.fixtures import citus

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

CLIENTS: Final = 4  # of each group
ROUNDS: Final = 40


@pytest.fixture(scope="module")
def site(servers_folder: Path, migrated_data: Path) -> Iterator[GroupsStack]:
    folder = servers_folder / f"groups-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)
    kind = ClusterStack if citus.list_nodes() else GroupsStack
    made = kind(folder, migrated_data)
    yield made
    made.close()


@contextmanager
def loads(site: GroupsStack, background_loop: Background) -> Iterator[dict[int, Load]]:
    """Load for each group, by its number; afterwards asserts what is stored."""
    site.revive()
    urls = (site.second_url, site.url)
    made = {
        group: Load(urls[group % 2], site.headers_of(group), CLIENTS, seed=next(SEEDS))
        for group in site.keys
    }
    with ExitStack() as stack:
        for load in made.values():
            stack.enter_context(running(load, background_loop))
        yield made
    for load in made.values():
        background_loop.run(assert_kept(load, site.settings), END_MAX_S)


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
