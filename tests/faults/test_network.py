"""A slow network on every side of the API, and one that drops all connections."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Loading, wait_more_accepted
from tests.faults.support.background import Background
from tests.faults.support.proxy import Proxy
from tests.faults.support.report import report_line
from tests.faults.support.stack import Stack, pause_s

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def proxies() -> dict[str, Proxy]:
    return {name: Proxy(0) for name in ("postgres", "redis", "clients")}


@pytest.fixture(scope="module")
def stack(
    servers_folder: Path,
    background_loop: Background,
    proxies: dict[str, Proxy],
    migrated_data: Path,
) -> Iterator[Stack]:
    """The API and the worker reach their servers through proxies."""

    def through(name: str, port: int) -> int:
        proxies[name].target = port
        return background_loop.run(proxies[name].start())

    folder = servers_folder / f"network-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)
    made = Stack(folder, through=through, migrated=migrated_data)
    through("clients", made.port)
    yield made
    made.close()
    for proxy in proxies.values():
        background_loop.run(proxy.close())


@pytest.mark.faults
@pytest.mark.parametrize(
    ("delay_s", "length_s"),
    [(0.02, 1), (0.02, 30), (0.1, 30)],
)
def test_slow_network_loses_and_refuses_nothing(
    stack: Stack,
    loading: Loading,
    background_loop: Background,
    proxies: dict[str, Proxy],
    delay_s: float,
    length_s: int,
) -> None:
    """The service waits for slow parts: nothing is refused or lost, and it stays ready."""
    with loading(url=f"http://127.0.0.1:{proxies['clients'].port}") as load:
        for proxy in proxies.values():
            proxy.delay_s = delay_s
        before = load.accepted
        pause_s(length_s)
        wait_more_accepted(load)
        assert stack.readiness() == (200, frozenset())
        accepted = load.accepted - before
        for proxy in proxies.values():
            proxy.delay_s = 0.0
    assert set(load.outcomes) == {201, 202}, load.outcomes
    report_line(
        f"{delay_s * 1e3:.0f} ms each way for {length_s} s: {accepted} accepted meanwhile, "
        f"slowest answer {load.slowest_s:.2f} s; {dict(load.outcomes)}"
    )


@pytest.mark.parametrize(
    "cuts",
    [
        pytest.param(3, marks=pytest.mark.exhaustive),  # test_kills.py cuts connections as well
        pytest.param(60, marks=pytest.mark.faults),
    ],
)
def test_cut_connections_are_reopened(
    stack: Stack,
    loading: Loading,
    background_loop: Background,
    proxies: dict[str, Proxy],
    cuts: int,
) -> None:
    with loading(url=f"http://127.0.0.1:{proxies['clients'].port}") as load:
        for _ in range(cuts):
            for proxy in proxies.values():
                background_loop.run(proxy.cut())
                wait_more_accepted(load, 10)
        stack.until_ready()
    assert load.dropped == 0, load.outcomes
    report_line(
        f"all connections of clients, PostgreSQL and Redis cut {cuts} times: "
        f"{load.accepted} accepted, {load.dropped} dropped; {dict(load.outcomes)}"
    )
