"""kill -9 of the supervisor `dev` under load: all that it started ends, and a new one goes on."""

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
from tests.faults.accounts import assert_kept
from tests.faults.background import Background
from tests.faults.clients import Load
from tests.faults.conftest import END_MAX_S, SEEDS, more, running
from tests.faults.report import seen
from tests.faults.stack import STOP_MAX_S, pause_s

pytestmark = pytest.mark.e2e

START_S = 3.0  # of which any moment is one to be killed in
ONCE = pytest.param(1, 0.0, id="once")
OFTEN = pytest.param(15, 0.5, id="often", marks=pytest.mark.faults)


class Supervised:
    """A `dev` on one folder and one port, as often as it is started there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.dev: DevServer = start_dev(folder, self.port)

    @property
    def settings(self) -> Settings:
        """Of its servers, which have another address after each start."""
        return read_settings(own_environ(self.folder, self.port) | running_servers(self.folder))

    def headers(self, project: str) -> dict[str, str]:
        return self.dev.headers | {"X-Project-Name": project}

    def killed(self) -> dict[str, int]:
        """What it had started, which nobody ends but the kernel."""
        children = children_of(self.dev.process.pid)
        self.dev.process.kill()
        self.dev.process.wait()
        return children

    def killed_at_start(self, after_s: float) -> None:
        process = spawn_dev(self.folder, self.port)
        pause_s(after_s)
        process.kill()
        process.wait()

    def start(self) -> float:
        """At once, while what was left behind may still be ending; the seconds that it took."""
        begin = time.monotonic()
        self.dev = start_dev(self.folder, self.port)
        return time.monotonic() - begin


@pytest.fixture
def supervised(servers_folder: Path) -> Iterator[Supervised]:
    folder = servers_folder / f"dev {uuid.uuid4().hex[:8]}"  # a space, as in people's folders
    folder.mkdir(mode=0o755)
    made = Supervised(folder)
    yield made
    made.dev.process.terminate()
    made.dev.process.wait(STOP_MAX_S)


@pytest.mark.parametrize(("kills", "at_start"), [ONCE, OFTEN])
def test_the_supervisor_may_be_killed(
    supervised: Supervised, beside: Background, kills: int, at_start: float
) -> None:
    """While it works, and in the midst of its start; nobody does anything but start it again."""
    chance = random.Random(time.time_ns())
    key = supervised.dev.environ["PANDAPROBE_API_KEY"]
    load = Load(supervised.dev.url, supervised.headers, seed=next(SEEDS))
    slowest, starts = 0.0, 0
    with running(load, beside):
        for _ in range(kills):
            children = supervised.killed()
            while chance.random() < at_start:
                supervised.killed_at_start(chance.uniform(0, START_S))
                starts += 1
            slowest = max(slowest, supervised.start())
            assert set(children) == {"postgres", "valkey", "serve", "worker"}
            assert all(map(is_gone, children.values()))
            assert supervised.dev.environ["PANDAPROBE_API_KEY"] == key
            more(load)
    beside.run(assert_kept(load, supervised.settings), END_MAX_S)
    seen(f"kill -9 of dev: {kills} under load, {starts} in the midst of a start; ready again after "
         f"at most {slowest:.1f} s; {load.accepted} accepted, {load.dropped} dropped; "
         f"{dict(load.outcomes)}")  # fmt: skip
