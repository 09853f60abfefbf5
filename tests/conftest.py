"""Servers of the tests' own: one PostgreSQL and one Valkey for each pytest process."""

import faulthandler
import gc
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import settings

from adapters.embedded.postgres import start_postgres
from adapters.embedded.valkey import start_valkey
from adapters.postgres.database.pool import (
    LOCK_TIMEOUT_MS,
    Engine,
    Pool,
    PoolSettings,
    open_pool,
)
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.schema import migrating
from tests.support.fixtures.servers import citus, migrated_postgres
from tests.support.hypothesis_scale import OF_PROFILES

if TYPE_CHECKING:
    from tests.support.fixtures.servers.standby import Pair

# Timings are never asserted. People's runs draw other examples each time, and so find what is
# rare; CI judges a change by the same ones each time, so that it isn't refused for another's fault.
for name, examples in OF_PROFILES.items():
    settings.register_profile(
        name, max_examples=examples, deadline=None, derandomize=bool(os.environ.get("CI"))
    )
settings.load_profile("usual")


# A shell that starts the tests in the background has them ignore SIGINT. The processes that tests
# start would ignore it as well.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Each new client reads the certificates of all authorities, which takes longer than its request. No
# test trusts an authority: this file has a single certificate.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).parent / "support" / "authority.pem")

# Collection creates almost no garbage, but millions of objects that the collector would traverse.
gc.disable()
CASES_MAX = 2
# How many processes `pytest -n` started, and the number of this one.
PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
# At the beginning of a file, this leaves out all its tests in `make check`.
MARKED_FILE = re.compile(r"^pytestmark = .*\bmark\.(service|e2e|slow|exhaustive)\b", re.MULTILINE)
GC_THRESHOLD = 200_000  # the default of 2,000 runs it several times in a test, for nothing
# How long one file may take. The longest of `make test` takes 40 s on two idle cores; files of
# `make test-faults`, and files with all examples, take many minutes. CI ends its job after an hour.
HANG_S = 2_400
HANG_WITH_ALL_EXAMPLES_S = 7_200


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(HangTimer(os.dup(2)))  # later it is captured


class HangTimer:
    """Ends the process, with the stacks of all threads, if a file of tests takes too long.

    `tests/support/waiting.py` ends what waits much earlier; this is for loops without an end. The
    option `faulthandler_timeout` starts a thread for each test: 4 s of a processor for all.
    """

    def __init__(self, stderr: int) -> None:
        self.stderr = stderr
        self.path: Path | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        if item.path != self.path:
            self.path = item.path
            has_all = settings.get_current_profile_name() == "full"
            limit_s = HANG_WITH_ALL_EXAMPLES_S if has_all else HANG_S
            faulthandler.dump_traceback_later(limit_s, exit=True, file=self.stderr)

    def pytest_unconfigure(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        os.close(self.stderr)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Doesn't import files of which `make check` runs no test."""
    if settings.get_current_profile_name() != "quick" or collection_path.suffix != ".py":
        return None
    return True if MARKED_FILE.search(collection_path.read_text()) else None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Lets each process of `pytest -n` begin at another place of each folder.

    pytest rewrites the assertions of a file before its first import, and stores the result. Three
    processes in the same order would all rewrite every file of a fresh clone: 6 s of a processor
    each.
    """
    report = yield
    if isinstance(collector, pytest.Directory) and report.passed:
        first = len(report.result) * PROCESS // PROCESSES
        report.result = [*report.result[first:], *report.result[:first]]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None]:
    """Leaves out most cases of tests with many, in `make check`.

    A failed test with real processes runs once more, which the summary names as RERUN: hundreds of
    them in a row aren't refused for one event of the machine. It is a defect to look into.
    """
    if PROCESSES > 1:  # which have to have the tests in the same order
        items.sort(key=lambda one: one.path)
    yield
    for one in items:
        if one.get_closest_marker("e2e") and not one.get_closest_marker("faults"):
            one.add_marker(pytest.mark.flaky(reruns=1))
    if settings.get_current_profile_name() != "quick":
        return
    kept = {id(one) for one in few_of_each(items)}
    config.hook.pytest_deselected(items=[one for one in items if id(one) not in kept])
    items[:] = [one for one in items if id(one) in kept]


def few_of_each(items: Sequence[pytest.Item]) -> Iterator[pytest.Item]:
    """CASES_MAX of the cases of each test, at equal distances; all if it has no more."""
    for _, group in groupby(items, lambda one: one.nodeid.partition("[")[0]):
        cases = list(group)
        few = min(CASES_MAX, len(cases))
        yield from (cases[n * len(cases) // few] for n in range(few))


def pytest_collection_finish() -> None:
    """Collected tests live until the end: the garbage collector needn't traverse them."""
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Leaves out a test's keywords, which nothing reads.

    They are half of what a process of `pytest -n` sends of a test, three times.
    """
    report = yield
    report.keywords = {}
    return report


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Reports a test of `pytest -n` that passed once, with the time of its fixtures.

    For each test its process would send six messages: that it begins, its setup, itself, its
    teardown, and twice that it has ended. It sends three. That is 0.3 ms of a processor less.
    """
    if PROCESSES == 1 or item.get_closest_marker("flaky"):  # the plugin for those reports them
        return None
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    if [one.outcome for one in reports] == ["passed"] * 3:
        setup, call, teardown = reports
        call.duration += setup.duration + teardown.duration
        reports = [call]
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Only the process that distributes the tests of `pytest -n` comes here."""
    from tests.support.distribution import make_scheduler

    return make_scheduler(config, log)


@pytest.fixture(scope="session", autouse=True)
def open_resources_are_found() -> Iterator[None]:
    """Fails the last test of each process if one of its tests left a file or a socket open."""
    yield
    gc.collect()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """At its end pytest collects five times, and Python again: seconds for nothing."""
    gc.freeze()


# Nothing in the tests that share this server survives it, so it need not wait for the disk.
# A statement is planned once for each connection, as in a server that has run for a while: by
# default it is planned for its values five times before, which takes longer than running it.
HASTY = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "plan_cache_mode": "force_generic_plan",
}


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """A folder that postgres can enter. Root runs it as `nobody`, who can't enter pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="pandaprobe-tests-"))
    folder.chmod(0o755)
    yield folder
    # Tens of thousands of files, for which `rmtree` would take five times as long.
    subprocess.run(["rm", "-rf", folder], check=False)


@pytest.fixture(scope="session")
def postgres_url(servers_folder: Path) -> Iterator[str]:
    """An empty database `postgres` on a new server.

    With PANDAPROBE_TEST_CITUS, an empty one on a cluster.
    """
    if (url := citus.new_database()) is not None:
        yield url
        return
    child, url = start_postgres(servers_folder, HASTY)
    yield url
    child.stop()


@pytest.fixture(scope="session")
def serving_url(postgres_url: str) -> str:
    """As `postgres_url`, by the role that serves requests and jobs, which owns nothing."""
    parts = urlsplit(postgres_url)
    return parts._replace(
        netloc=f"pandaprobe_serving:serving@{parts.hostname}:{parts.port}"
    ).geturl()


@pytest.fixture(scope="session")
def migrated_data(servers_folder: Path) -> Path:
    """A folder with a stopped PostgreSQL of the newest schema; `migrated_postgres.copy` copies."""
    folder = servers_folder / "migrated"
    folder.mkdir(mode=0o755)
    return migrated_postgres.create(folder, HASTY)


@pytest.fixture(scope="session")
def replica_pair(servers_folder: Path, migrated_data: Path) -> "Iterator[Pair]":
    """A PostgreSQL of the newest schema and a standby that follows it, of their own."""
    # It imports most of the product: a second that the process that distributes tests can save.
    from tests.support.fixtures.servers.standby import running_pair

    with running_pair(servers_folder, migrated_data) as pair:
        yield pair


@pytest.fixture(scope="session")
def redis_url(servers_folder: Path) -> Iterator[str]:
    child, url = start_valkey(servers_folder)
    yield url
    child.stop()


@pytest.fixture(scope="session")
async def pool(postgres_url: str, serving_url: str) -> AsyncIterator[Pool]:
    """A migrated database, shared by all tests: each writes under ids of its own.

    Its role is a superuser, which passes every policy: for what tests look at and arrange.
    """
    async with open_pool(DB, PoolSettings(url=postgres_url)) as pool:
        await migrating.migrate(pool, serving_url)
        await citus.place(pool, serving_url)
        yield pool


@pytest.fixture(scope="session")
async def serving_pool(pool: Pool, serving_url: str) -> AsyncIterator[Pool]:
    """The same database by the serving role, which every policy binds.

    On a cluster without a lock timeout. A new session connects to the worker and plans while it
    holds a lock, for 0.2 s on a busy machine: the last of ten that wait would reach the timeout.
    """
    timeout_ms = 0 if citus.IS_USED else LOCK_TIMEOUT_MS
    of_role = PoolSettings(url=serving_url, lock_timeout_ms=timeout_ms)
    async with open_pool(Engine(config={}), of_role) as serving:
        yield serving
