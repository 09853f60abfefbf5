"""Serves /health and /metrics of a worker, from a thread in addition to its event loop.

A thread can still report that the loop is stuck. It serves one request at a time, which is enough
for probes. A request that takes longer than TIMEOUT_S in all is closed.
"""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final

from msgspec import structs

from adapters.prometheus.definitions import HEARTBEAT
from adapters.prometheus.registry import MetricsRegistry
from entrypoints.http.middleware.metrics_access import CONTENT_TYPE, metrics_refusal
from entrypoints.settings import Settings
from entrypoints.startup import listen

TIMEOUT_S: Final = 2.0
SHUTDOWN_POLL_S: Final = 0.1  # the end of a worker waits so long for its port
STUCK_AFTER_S: Final = 30.0  # six heartbeats of a loop
JSON: Final = "application/json"


@contextmanager
def serve_status(settings: Settings, metrics: MetricsRegistry) -> Iterator[None]:
    """Serves while the block runs, if the settings name a port. Raises CommandError."""
    if settings.worker_port is None:
        yield
        return
    bound = listen(structs.replace(settings, port=settings.worker_port), "worker_port")
    server = HTTPServer(bound.getsockname()[:2], _create_handler(settings, metrics), False)
    server.socket.close()
    server.socket = bound
    server.server_activate()
    threading.Thread(
        target=server.serve_forever, args=(SHUTDOWN_POLL_S,), name="worker port", daemon=True
    ).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _create_handler(settings: Settings, metrics: MetricsRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "pandaprobe", ""

        def setup(self) -> None:
            super().setup()
            # The library's own timeout is per byte, so a client that sends single bytes could stay.
            self._timeout = threading.Timer(TIMEOUT_S, _close, (self.connection,))
            self._timeout.daemon = True
            self._timeout.start()

        def finish(self) -> None:
            self._timeout.cancel()
            with suppress(OSError):  # the client has disconnected
                super().finish()

        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/health":
                    self._respond(*check_health(metrics, time.time()))
                case "/metrics" if settings.metrics_enabled:
                    self._respond_with_metrics()
                case _:
                    self._respond(HTTPStatus.NOT_FOUND, JSON, _detail("Not found"))

        def _respond_with_metrics(self) -> None:
            headers = {k.lower().encode(): v.encode("latin-1") for k, v in self.headers.items()}
            version = self.request_version.removeprefix("HTTP/")
            refused = metrics_refusal(
                self.client_address[0], headers, version, settings.metrics_token
            )
            if refused is None:
                self._respond(HTTPStatus.OK, CONTENT_TYPE, metrics.text())
            else:
                self._respond(refused[0], JSON, _detail(refused[1]))

        def _respond(self, status: HTTPStatus, media_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", media_type)
            self.send_header("content-length", str(len(body)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Logs nothing, because probes come every few seconds."""

    return Handler


def _close(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_RDWR)


def check_health(metrics: MetricsRegistry, now_s: float) -> tuple[HTTPStatus, str, bytes]:
    """200 while the loop of every worker that shares these metrics runs, else 503."""
    beat = metrics.gauge(HEARTBEAT, "worker")
    if beat is None:
        return HTTPStatus.SERVICE_UNAVAILABLE, JSON, _detail("No worker has started yet")
    silent_s = now_s - beat
    if silent_s > STUCK_AFTER_S:
        detail = f"An event loop has been stuck for {silent_s:.0f} s"
        return HTTPStatus.SERVICE_UNAVAILABLE, JSON, _detail(detail)
    return HTTPStatus.OK, JSON, json.dumps({"status": "healthy"}).encode()


def _detail(text: str) -> bytes:
    return json.dumps({"detail": text}).encode()
