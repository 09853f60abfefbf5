"""One installation for all tests that hurt no network or disk, and clients that go on meanwhile."""

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.faults.accounts import assert_kept
from tests.faults.background import Background, background
from tests.faults.clients import PACE_S, Load
from tests.faults.stack import READY_AGAIN_MAX_S, Stack, until

END_MAX_S: Final = 120.0  # for the last tries of clients
MORE_MAX_S: Final = 60.0
REFUSED_MAX_S: Final = 20.0  # what is left free here and there is used up by then
SEEDS: Final = itertools.count(1)

type Loading = Callable[..., AbstractContextManager[Load]]


@pytest.fixture(scope="session")
def beside() -> Iterator[Background]:
    with background() as running:
        yield running


@pytest.fixture(scope="session")
def stack(servers_folder: Path) -> Iterator[Stack]:
    folder = servers_folder / f"faults-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)
    made = Stack(folder)
    yield made
    made.close()


@pytest.fixture
def loading(stack: Stack, beside: Background) -> Loading:
    """Load for the length of a block; after it everything is accounted for."""

    @contextmanager
    def loading(clients: int = 8, pace_s: float = PACE_S, url: str | None = None) -> Iterator[Load]:
        stack.revive()  # after a test that failed
        load = Load(url or stack.url, stack.headers, clients, pace_s, seed=next(SEEDS))
        with running(load, beside):
            yield load
        load.url = stack.url
        beside.run(assert_kept(load, stack.settings), END_MAX_S)

    return loading


@contextmanager
def running(load: Load, beside: Background) -> Iterator[None]:
    """Its clients are under way in the block, and have ended after it."""
    under_way = beside.start(load.run())
    try:
        more(load)
        yield
        more(load)
    finally:
        load.running = False
        under_way.result(END_MAX_S)


def more(load: Load, count: int = 30) -> None:
    """Waits until so many requests more are accepted."""
    goal = load.accepted + count
    until(lambda: load.accepted >= goal, MORE_MAX_S, f"{count} more accepted; {load.outcomes}")


def until_refused(load: Load, count: int = 8) -> float:
    goal = load.outcomes[503] + count
    return until(lambda: load.outcomes[503] >= goal, REFUSED_MAX_S, f"503; {load.outcomes}")


def until_accepted(load: Load) -> float:
    goal = load.accepted + 1
    return until(lambda: load.accepted >= goal, READY_AGAIN_MAX_S, f"accepted; {load.outcomes}")


def assert_read(stack: Stack, load: Load) -> None:
    """A trace that was accepted is listed and shown, and so are sessions."""
    trace, sent = next((id_, one) for id_, one in load.sent.items() if one.accepted)
    headers = stack.headers(sent.project)
    for path in ("/traces", f"/traces/{trace}", "/sessions"):
        answer = stack.http.get(path, headers=headers)
        assert answer.status_code == 200, (path, answer.text)
