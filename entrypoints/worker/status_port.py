"""Where a worker that is asked answers: /health and /metrics, from a thread beside its loop.

In a thread, so that it can tell of a loop that is stuck. One request at a time is enough for who
looks on; the connection of one that takes longer than TIMEOUT_S in all is closed.
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

from adapters.prometheus.definitions import BEAT
from adapters.prometheus.registry import Figures
from entrypoints.http.middleware.metrics_access import CONTENT_TYPE, refusal
from entrypoints.settings import Settings
from entrypoints.startup import listen

TIMEOUT_S: Final = 2.0
STUCK_AFTER_S: Final = 30.0  # six beats of a loop
JSON: Final = "application/json"


@contextmanager
def answering(settings: Settings, figures: Figures) -> Iterator[None]:
    """Answers while the block is open, where the settings name a port. Raises CommandError."""
    if settings.worker_port is None:
        yield
        return
    bound = listen(structs.replace(settings, port=settings.worker_port), "worker_port")
    server = HTTPServer(bound.getsockname()[:2], _handler(settings, figures), False)
    server.socket.close()
    server.socket = bound
    server.server_activate()
    threading.Thread(target=server.serve_forever, name="worker port", daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _handler(settings: Settings, figures: Figures) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "pandaprobe", ""

        def setup(self) -> None:
            super().setup()
            # The library's own time limit is for each byte: by single ones a client could stay.
            self._limit = threading.Timer(TIMEOUT_S, _close, (self.connection,))
            self._limit.daemon = True
            self._limit.start()

        def finish(self) -> None:
            self._limit.cancel()
            with suppress(OSError):  # who asked has gone
                super().finish()

        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/health":
                    self._answer(*health(figures, time.time()))
                case "/metrics" if settings.metrics_enabled:
                    self._metrics()
                case _:
                    self._answer(HTTPStatus.NOT_FOUND, JSON, _told("Not found"))

        def _metrics(self) -> None:
            headers = {k.lower().encode(): v.encode("latin-1") for k, v in self.headers.items()}
            refused = refusal(self.client_address[0], headers, settings.metrics_token)
            if refused is None:
                self._answer(HTTPStatus.OK, CONTENT_TYPE, figures.text())
            else:
                self._answer(refused[0], JSON, _told(refused[1]))

        def _answer(self, status: HTTPStatus, media_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", media_type)
            self.send_header("content-length", str(len(body)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: who looks on every few seconds is no news."""

    return Handler


def _close(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_RDWR)


def health(figures: Figures, now_s: float) -> tuple[HTTPStatus, str, bytes]:
    """200 while the loop of every worker that shares these figures turns, else 503."""
    beat = figures.gauge(BEAT, "worker")
    if beat is None:
        return HTTPStatus.SERVICE_UNAVAILABLE, JSON, _told("No worker has begun yet")
    silent_s = now_s - beat
    if silent_s > STUCK_AFTER_S:
        return HTTPStatus.SERVICE_UNAVAILABLE, JSON, _told(f"A loop stands for {silent_s:.0f} s")
    return HTTPStatus.OK, JSON, json.dumps({"status": "healthy"}).encode()


def _told(detail: str) -> bytes:
    return json.dumps({"detail": detail}).encode()
