"""A slow network on every side of the API, and one that drops all connections."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.background import Background
from tests.faults.conftest import Loading, more
from tests.faults.proxy import Proxy
from tests.faults.report import seen
from tests.faults.stack import Stack, pause_s

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def proxies() -> dict[str, Proxy]:
    return {name: Proxy(0) for name in ("postgres", "redis", "clients")}


@pytest.fixture(scope="module")
def stack(servers_folder: Path, beside: Background, proxies: dict[str, Proxy]) -> Iterator[Stack]:
    """The API and the worker reach their servers through proxies."""

    def through(name: str, port: int) -> int:
        proxies[name].target = port
        return beside.run(proxies[name].start())

    folder = servers_folder / f"network-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)
    made = Stack(folder, through=through)
    through("clients", made.port)
    yield made
    made.close()
    for proxy in proxies.values():
        beside.run(proxy.close())


@pytest.mark.faults
@pytest.mark.parametrize(
    ("delay_s", "length_s"),
    [(0.02, 1), (0.02, 30), (0.1, 30)],
)
def test_a_slow_network(
    stack: Stack,
    loading: Loading,
    beside: Background,
    proxies: dict[str, Proxy],
    delay_s: float,
    length_s: int,
) -> None:
    """What is slow is waited for: nothing is refused, readiness stays, nothing is lost."""
    with loading(url=f"http://127.0.0.1:{proxies['clients'].port}") as load:
        for proxy in proxies.values():
            proxy.delay_s = delay_s
        before = load.accepted
        pause_s(length_s)
        more(load)
        assert stack.readiness() == (200, frozenset())
        accepted = load.accepted - before
        for proxy in proxies.values():
            proxy.delay_s = 0.0
    assert set(load.outcomes) == {201, 202}, load.outcomes
    seen(f"{delay_s * 1e3:.0f} ms each way for {length_s} s: {accepted} accepted meanwhile, "
         f"slowest answer {load.slowest_s:.2f} s; {dict(load.outcomes)}")  # fmt: skip


@pytest.mark.parametrize("cuts", [3, pytest.param(60, marks=pytest.mark.faults)])
def test_connections_that_are_cut(
    stack: Stack, loading: Loading, beside: Background, proxies: dict[str, Proxy], cuts: int
) -> None:
    with loading(url=f"http://127.0.0.1:{proxies['clients'].port}") as load:
        for _ in range(cuts):
            for proxy in proxies.values():
                beside.run(proxy.cut())
                more(load, 10)
        stack.until_ready()
    assert load.dropped == 0, load.outcomes
    seen(f"all connections of clients, PostgreSQL and Redis cut {cuts} times: {load.accepted} "
         f"accepted, {load.dropped} dropped; {dict(load.outcomes)}")  # fmt: skip
