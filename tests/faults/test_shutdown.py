"""SIGTERM under load: accepted work is finished, the rest is refused, and it ends in time."""

import signal

import pytest

from tests.faults.conftest import Loading, wait_more_accepted
from tests.faults.support.report import report_line
from tests.faults.support.stack import Stack, until

pytestmark = pytest.mark.e2e

EXIT_MAX_S = 10  # supervisors wait at least this long
REFUSALS = {"ConnectError", "ReadError", "RemoteProtocolError", "WriteError"}


def stop_and_time(stack: Stack, part: str) -> float:
    process, since = stack.processes[part].process, stack.log_size(part)
    process.send_signal(signal.SIGTERM)
    took = until(lambda: process.poll() is not None, EXIT_MAX_S, f"{part} ended")
    assert process.returncode == 0, stack.log(part, since)
    return took


@pytest.mark.parametrize(
    "times",
    [
        # tests/e2e/test_commands.py stops it by signals, and test_kills.py at any moment.
        pytest.param(1, marks=pytest.mark.exhaustive),
        pytest.param(30, marks=pytest.mark.faults),
    ],
)
def test_api_stops_cleanly_under_load(stack: Stack, loading: Loading, times: int) -> None:
    slowest, since = 0.0, stack.log_size("serve")
    with loading(clients=16, pace_s=0.002) as load:
        for _ in range(times):
            slowest = max(slowest, stop_and_time(stack, "serve"))
            stack.revive()
            wait_more_accepted(load)
    assert set(load.outcomes) - {201, 202, 503} <= REFUSALS, load.outcomes
    assert "Traceback" not in stack.log("serve", since)
    report_line(
        f"SIGTERM under load, {times} times: gone after at most {slowest:.2f} s, "
        f"{load.accepted} accepted, {load.dropped} dropped; {dict(load.outcomes)}"
    )


@pytest.mark.faults
def test_api_stops_in_time_while_postgres_is_frozen(stack: Stack, loading: Loading) -> None:
    """Work that cannot be finished does not delay the stop beyond the limit."""
    since = stack.log_size("serve")
    with loading():
        stack.signal("postgres", signal.SIGSTOP)
        try:
            took = stop_and_time(stack, "serve")
        finally:
            stack.signal("postgres", signal.SIGCONT)
        stack.revive()
    assert "Traceback" not in stack.log("serve", since)
    report_line(f"SIGTERM while PostgreSQL is frozen: gone after {took:.2f} s")


def test_worker_stops_cleanly(stack: Stack) -> None:
    report_line(f"SIGTERM of the worker: gone after {stop_and_time(stack, 'worker'):.2f} s")
