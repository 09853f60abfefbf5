"""One installation shared by fault tests, except those of network and disks, and its clients."""

import itertools
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import pytest

from adapters.embedded.process import free_port
from entrypoints.settings import Settings
from tests.faults.support.accounts import assert_kept
from tests.faults.support.background import Background, background
from tests.faults.support.clients import PACE_S, Load
from tests.faults.support.stack import READY_AGAIN_MAX_S, Stack, until

END_MAX_S: Final = 120.0  # for the clients' last attempts
# for each trace that is read back: the slower the machine, the longer the load and the more traces
KEPT_MAX_S: Final = 1.0
MORE_MAX_S: Final = 60.0
REFUSED_MAX_S: Final = 20.0  # by then the space that was still free is used up
SEEDS: Final = itertools.count(1)
POLLING: Final = ("valkey", "worker")  # in this order the worker never waits for Redis

type Loading = Callable[..., AbstractContextManager[Load]]


@pytest.fixture(scope="session")
def background_loop() -> Iterator[Background]:
    with background() as running:
        yield running


@pytest.fixture(scope="session")
def shared_stack(servers_folder: Path, migrated_data: Path) -> Iterator[Stack]:
    folder = servers_folder / f"faults-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)
    more = {"PANDAPROBE_OTLP_GRPC_PORT": str(free_port())}
    made = Stack(folder, more=more, migrated=migrated_data)
    yield made
    for part in POLLING:
        made.signal(part, signal.SIGCONT)
    made.close()


@pytest.fixture(scope="module")
def stack(shared_stack: Stack) -> Iterator[Stack]:
    """The same installation for all files; between them, what would poll idly is frozen."""
    for part in POLLING:
        shared_stack.signal(part, signal.SIGCONT)
    yield shared_stack
    for part in reversed(POLLING):
        shared_stack.signal(part, signal.SIGSTOP)


@pytest.fixture
def loading(stack: Stack, background_loop: Background) -> Loading:
    """Sends load during a block; afterwards asserts that every acknowledged trace is stored."""

    @contextmanager
    def loading(clients: int = 8, pace_s: float = PACE_S, url: str | None = None) -> Iterator[Load]:
        stack.revive()  # after a test that failed
        load = Load(url or stack.url, stack.headers, clients, pace_s, seed=next(SEEDS))
        with running(load, background_loop):
            yield load
        load.url = stack.url
        run_assert_kept(background_loop, load, stack.settings)

    return loading


@contextmanager
def running(load: Load, background_loop: Background) -> Iterator[None]:
    """Runs the load's clients during the block, and waits for them after it."""
    future = background_loop.start(load.run())
    try:
        wait_more_accepted(load)
        yield
        wait_more_accepted(load)
    finally:
        load.running = False
        future.result(END_MAX_S)


def run_assert_kept(
    background_loop: Background, load: Load, settings: Settings, recounted: int = 3
) -> None:
    within_s = END_MAX_S + len(load.sent) * KEPT_MAX_S
    background_loop.run(assert_kept(load, settings, recounted), within_s)


def wait_more_accepted(load: Load, count: int = 30) -> None:
    """Waits until `count` more requests are accepted."""
    goal = load.accepted + count
    until(lambda: load.accepted >= goal, MORE_MAX_S, f"{count} more accepted; {load.outcomes}")


def until_refused(load: Load, count: int = 8, within_s: float = REFUSED_MAX_S) -> float:
    goal = load.outcomes[503] + count
    return until(lambda: load.outcomes[503] >= goal, within_s, f"503; {load.outcomes}")


def until_accepted(load: Load) -> float:
    goal = load.accepted + 1
    return until(lambda: load.accepted >= goal, READY_AGAIN_MAX_S, f"accepted; {load.outcomes}")


def assert_read(stack: Stack, load: Load) -> None:
    """Asserts that an accepted trace can be listed and read, and sessions listed."""
    trace, sent = next((id_, one) for id_, one in load.sent.items() if one.accepted)
    headers = stack.headers(sent.project)
    for path in ("/traces", f"/traces/{trace}", "/sessions"):
        answer = stack.http.get(path, headers=headers)
        assert answer.status_code == 200, (path, answer.text)
