"""SIGTERM under load: what was accepted is finished, the rest is told, and it ends in time."""

import signal

import pytest

from tests.faults.conftest import Loading, more
from tests.faults.report import seen
from tests.faults.stack import Stack, until

pytestmark = pytest.mark.e2e

EXIT_MAX_S = 10  # what supervisors wait at least
REFUSALS = {"ConnectError", "ReadError", "RemoteProtocolError", "WriteError"}


def ended_after(stack: Stack, part: str) -> float:
    process, since = stack.processes[part].process, stack.logged(part)
    process.send_signal(signal.SIGTERM)
    took = until(lambda: process.poll() is not None, EXIT_MAX_S, f"{part} ended")
    assert process.returncode == 0, stack.log(part, since)
    return took


@pytest.mark.parametrize("times", [1, pytest.param(30, marks=pytest.mark.faults)])
def test_the_api_ends_in_order_under_load(stack: Stack, loading: Loading, times: int) -> None:
    slowest, since = 0.0, stack.logged("serve")
    with loading(clients=16, pace_s=0.002) as load:
        for _ in range(times):
            slowest = max(slowest, ended_after(stack, "serve"))
            stack.revive()
            more(load)
    assert set(load.outcomes) - {201, 202, 503} <= REFUSALS, load.outcomes
    assert "Traceback" not in stack.log("serve", since)
    seen(f"SIGTERM under load, {times} times: gone after at most {slowest:.2f} s, "
         f"{load.accepted} accepted, {load.dropped} dropped; {dict(load.outcomes)}")  # fmt: skip


@pytest.mark.faults
def test_the_api_ends_in_time_while_postgres_is_silent(stack: Stack, loading: Loading) -> None:
    """What can't be finished doesn't hold it up beyond the limit."""
    with loading():
        stack.signal("postgres", signal.SIGSTOP)
        try:
            took = ended_after(stack, "serve")
        finally:
            stack.signal("postgres", signal.SIGCONT)
        stack.revive()
    seen(f"SIGTERM while PostgreSQL is silent: gone after {took:.2f} s")


def test_the_worker_ends_in_order(stack: Stack) -> None:
    seen(f"SIGTERM of the worker: gone after {ended_after(stack, 'worker'):.2f} s")
    stack.revive()
