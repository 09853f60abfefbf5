"""kill -9 of the supervisor `dev` under load: all its children end, and a new one continues."""

import random
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.embedded.process import free_port
from entrypoints.processes.dev_supervisor import running_servers
from entrypoints.settings import Settings, read_settings
from tests.e2e.conftest import DevServer, children_of, is_gone, own_environ, spawn_dev, start_dev
from tests.faults.conftest import SEEDS, run_assert_kept, running, wait_more_accepted
from tests.faults.support.background import Background
from tests.faults.support.clients import Load
from tests.faults.support.report import report_line
from tests.faults.support.stack import STOP_MAX_S, pause_s
from tests.support.fixtures.servers import migrated_postgres

pytestmark = pytest.mark.e2e

START_S = 3.0  # during which the kill may come at any moment
# That children end with their parent: tests/adapters/embedded/test_embedded.py.
ONCE = pytest.param(1, 0.0, id="once", marks=pytest.mark.exhaustive)
OFTEN = pytest.param(15, 0.5, id="often", marks=pytest.mark.faults)


class RestartableDev:
    """A `dev` on one folder and port, which may be restarted."""

    def __init__(self, folder: Path, migrated: Path) -> None:
        migrated_postgres.copy(migrated, folder)
        self.folder, self.port = folder, free_port()
        self.dev: DevServer = start_dev(folder, self.port)

    @property
    def settings(self) -> Settings:
        """The settings of its servers, whose addresses change with each start."""
        of_servers = running_servers(str(self.folder))
        return read_settings({**own_environ(self.folder, self.port), **of_servers})

    def headers(self, project: str) -> dict[str, str]:
        return self.dev.headers | {"X-Project-Name": project}

    def kill(self) -> dict[str, int]:
        """Kills the supervisor; returns the children, which the kernel alone ends."""
        children = children_of(self.dev.process.pid)
        self.dev.process.kill()
        self.dev.process.wait()
        return children

    def kill_at_start(self, after_s: float) -> None:
        process = spawn_dev(self.folder, self.port)
        pause_s(after_s)
        process.kill()
        process.wait()

    def start(self) -> float:
        """Starts at once, while old children may be ending; returns the duration in seconds."""
        begin = time.monotonic()
        self.dev = start_dev(self.folder, self.port)
        return time.monotonic() - begin


@pytest.fixture
def supervised(servers_folder: Path, migrated_data: Path) -> Iterator[RestartableDev]:
    folder = servers_folder / f"dev {uuid.uuid4().hex[:8]}"  # with a space, as in many home folders
    folder.mkdir(mode=0o755)
    made = RestartableDev(folder, migrated_data)
    yield made
    made.dev.process.terminate()
    made.dev.process.wait(STOP_MAX_S)


@pytest.mark.parametrize(("kills", "at_start"), [ONCE, OFTEN])
def test_supervisor_may_be_killed(
    supervised: RestartableDev, background_loop: Background, kills: int, at_start: float
) -> None:
    """While it runs, and during its start; it is only started again, nothing else is done."""
    rng = random.Random(time.time_ns())
    key = supervised.dev.environ["PANDAPROBE_API_KEY"]
    load = Load(supervised.dev.url, supervised.headers, seed=next(SEEDS))
    slowest, starts = 0.0, 0
    with running(load, background_loop):
        for _ in range(kills):
            children = supervised.kill()
            while rng.random() < at_start:
                supervised.kill_at_start(rng.uniform(0, START_S))
                starts += 1
            slowest = max(slowest, supervised.start())
            assert set(children) == {"postgres", "valkey", "serve", "worker"}
            assert all(map(is_gone, children.values()))
            assert supervised.dev.environ["PANDAPROBE_API_KEY"] == key
            wait_more_accepted(load)
    run_assert_kept(background_loop, load, supervised.settings)
    report_line(
        f"kill -9 of dev: {kills} under load, {starts} during a start; "
        f"ready again after at most {slowest:.1f} s; "
        f"{load.accepted} accepted, {load.dropped} dropped; {dict(load.outcomes)}"
    )
