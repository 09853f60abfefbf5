"""The official OTLP exporters against faults: no acknowledged span is lost, none counts twice.

Exporters repeat a batch after 429 and 503, at most five times and within 10 s. They drop it after
that, and at once after any other error.
"""

import signal
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Final

import pytest

from tests.faults.support.otlp_exporters import (
    Load,
    assert_load_kept,
    exporter_log,
    grpc_load,
    javascript_load,
    python_load,
    why_no_javascript,
)
from tests.faults.support.report import report_line
from tests.faults.support.stack import Stack, pause_s

pytestmark = pytest.mark.e2e

EXPORTERS: Final = 8
OUTAGE_S: Final = 5.0
START_S: Final = 1.5  # what starting PostgreSQL takes, about
LIMIT: Final = 200  # spans per second: what EXPORTERS send at once, and can send many times
OVERLOADED_LIMIT: Final = 100  # less than a third of what OVERLOADING exporters send at once
OVERLOADING: Final = 24
OVERLOAD_S: Final = 15.0

type StartLoad = Callable[..., AbstractContextManager[Load]]
# The service takes 512 requests at once.
FLOODING: Final[Mapping[StartLoad, int]] = {python_load: 256, javascript_load: 1_100}
type Outage = Callable[[Stack], None]

# test_kills.py kills each part under load, and the exporters' requests take the same way.
PYTHON: Final = pytest.param(python_load, id="python", marks=pytest.mark.exhaustive)
JAVASCRIPT: Final = pytest.param(
    javascript_load,
    id="javascript",
    marks=[
        pytest.mark.exhaustive,
        pytest.mark.skipif(why_no_javascript() is not None, reason=str(why_no_javascript())),
    ],
)
both_languages: Final = pytest.mark.parametrize("start_load", [PYTHON, JAVASCRIPT])


def stop_for_a_while(stack: Stack) -> None:
    """Stops PostgreSQL: connections are refused."""
    stack.stop("postgres")
    pause_s(OUTAGE_S - START_S)
    stack.start_postgres()


def freeze_for_a_while(stack: Stack) -> None:
    """Freezes PostgreSQL: connections stay open, and nothing answers."""
    stack.signal("postgres", signal.SIGSTOP)
    pause_s(OUTAGE_S)
    stack.signal("postgres", signal.SIGCONT)


@pytest.fixture
def project() -> str:
    return f"exporters-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def whole_stack(stack: Stack) -> Iterator[Stack]:
    """The shared installation, whole before the test and after it."""
    stack.revive()
    yield stack
    stack.revive()


@pytest.fixture
def limit_spans(whole_stack: Stack) -> Iterator[Callable[[int], None]]:
    """Starts the API again, with a limit of spans per second."""

    def limit_spans(per_second: int) -> None:
        whole_stack.stop("serve")
        whole_stack.start_api(PANDAPROBE_OTLP_SPANS_PER_SECOND=str(per_second))
        whole_stack.revive()

    yield limit_spans
    whole_stack.stop("serve")


@both_languages
def test_any_part_may_be_killed(whole_stack: Stack, project: str, start_load: StartLoad) -> None:
    stack, headers = whole_stack, whole_stack.headers(project)
    with start_load(stack.url, headers, EXPORTERS) as load:
        for part in ("serve", "postgres", "valkey"):
            stack.kill(part)
            stack.revive()
            load.wait_more_acknowledged()
    assert_load_kept(load, stack.url, headers)
    report_line(f"OTLP exporters, {start_load.__name__}, kill -9 of each part: {load}")


@pytest.mark.exhaustive  # the test above has shorter outages
@both_languages
@pytest.mark.parametrize("outage", [freeze_for_a_while, stop_for_a_while])
def test_five_seconds_without_database_cost_nothing(
    whole_stack: Stack, project: str, start_load: StartLoad, outage: Outage
) -> None:
    stack, headers = whole_stack, whole_stack.headers(project)
    with start_load(stack.url, headers, EXPORTERS) as load:
        outage(stack)
        load.wait_more_acknowledged()
    assert load.unacknowledged == 0, load
    assert_load_kept(load, stack.url, headers)
    report_line(f"OTLP exporters, {start_load.__name__}, {outage.__name__}: {load}")


@pytest.mark.exhaustive  # tests/http/otlp/test_grpc.py: calls take the way of HTTP requests
def test_restarts_lose_nothing_that_was_acknowledged_over_grpc(
    whole_stack: Stack, project: str
) -> None:
    stack, headers = whole_stack, whole_stack.headers(project)
    grpc_url = f"http://127.0.0.1:{stack.environ['PANDAPROBE_OTLP_GRPC_PORT']}"
    with grpc_load(grpc_url, headers, EXPORTERS) as load:
        for end in (stack.stop, stack.kill):
            end("serve")
            stack.revive()
            load.wait_more_acknowledged()
    assert_load_kept(load, stack.url, headers)
    report_line(f"OTLP exporters over gRPC, restarts of the API: {load}")


@pytest.mark.exhaustive  # on a busy machine the exporters may not reach the limit
@both_languages
def test_rate_limit_drops_no_batch(
    whole_stack: Stack, limit_spans: Callable[[int], None], project: str, start_load: StartLoad
) -> None:
    limit_spans(LIMIT)
    stack, headers = whole_stack, whole_stack.headers(project)
    with exporter_log() as log, start_load(stack.url, headers, EXPORTERS, pace_s=0) as load:
        load.wait_more_acknowledged(60)
    assert load.unacknowledged == 0, load
    assert_load_kept(load, stack.url, headers)
    if start_load is python_load:
        assert log.reasons["Too Many Requests"], log.reasons
        assert set(log.reasons) == {"Too Many Requests"}
    report_line(f"OTLP exporters, {start_load.__name__}, 429: {load}; {dict(log.reasons)}")


@pytest.mark.exhaustive
@both_languages
def test_overload_loses_nothing_acknowledged(
    whole_stack: Stack, limit_spans: Callable[[int], None], project: str, start_load: StartLoad
) -> None:
    limit_spans(OVERLOADED_LIMIT)
    stack, headers = whole_stack, whole_stack.headers(project)
    with start_load(stack.url, headers, OVERLOADING, pace_s=0) as load:
        pause_s(OVERLOAD_S)
    assert_load_kept(load, stack.url, headers)
    report_line(f"OTLP exporters, {start_load.__name__}, three times the limit: {load}")


@pytest.mark.faults
@both_languages
def test_flood_loses_nothing_acknowledged(
    whole_stack: Stack, project: str, start_load: StartLoad
) -> None:
    stack, headers = whole_stack, whole_stack.headers(project)
    with start_load(stack.url, headers, FLOODING[start_load], pace_s=0) as load:
        pause_s(OVERLOAD_S)
    assert_load_kept(load, stack.url, headers)
    report_line(f"OTLP exporters, {start_load.__name__}, flood: {load}")
