"""The status port of a worker: responses, access, and protection against blocking clients."""

import http.client
import json
import socket
from collections.abc import Iterator

import pytest

from adapters.embedded.process import free_port
from adapters.prometheus.definitions import HEARTBEAT, RATE_LIMIT_FALLBACKS
from adapters.prometheus.registry import MetricsRegistry
from entrypoints.settings import Settings
from entrypoints.worker.status_port import TIMEOUT_S, serve_status
from tests.support.waiting import WAIT_MAX_S

TOKEN = "a-token-of-the-scraper"


@pytest.fixture
def figures() -> MetricsRegistry:
    made = MetricsRegistry("1")
    made.count(RATE_LIMIT_FALLBACKS, by=7)
    return made


@pytest.fixture
def port(figures: MetricsRegistry) -> Iterator[int]:
    number = free_port()
    with serve_status(Settings(worker_port=number), figures):
        yield number


def asked(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_MAX_S)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_metrics_are_served(port):
    status, body = asked(port, "/metrics")
    assert status == 200
    assert b"pandaprobe_rate_limit_fallbacks_total 7.0" in body


def test_unhealthy_response_has_a_reason(port, figures):
    status, body = asked(port, "/health")
    assert (status, json.loads(body)) == (503, {"detail": "No worker has started yet"})
    figures.set(HEARTBEAT, 2**40, "worker")
    assert asked(port, "/health")[0] == 200


@pytest.mark.parametrize(("path", "method", "status"), [("/", "GET", 404), ("/health", "PUT", 501)])
def test_other_paths_and_methods_are_refused(port, path, method, status):
    assert asked(port, path, method)[0] == status


def test_metrics_need_a_local_address_or_the_token(figures, port):
    assert asked(port, "/metrics", **{"X-Forwarded-For": "192.0.2.1"})[0] == 403
    with socket.create_connection(("127.0.0.1", port)) as old:  # as nginx by default
        old.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert b" 403 " in old.recv(64)
    number = free_port()
    with serve_status(Settings(worker_port=number, metrics_token=TOKEN), figures):
        assert asked(number, "/metrics")[0] == 401
        assert asked(number, "/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200
    number = free_port()
    with serve_status(Settings(worker_port=number, metrics_enabled=False), figures):
        assert asked(number, "/metrics")[0] == 404


@pytest.mark.slow
def test_silent_client_blocks_others_until_the_timeout(port):
    with socket.create_connection(("127.0.0.1", port)) as silent:
        silent.sendall(b"GET /met")
        assert asked(port, "/metrics")[0] == 200
        silent.settimeout(TIMEOUT_S)
        assert silent.recv(1) == b""


def test_without_a_port_nothing_listens(figures):
    with serve_status(Settings(), figures):
        assert Settings().worker_port is None
