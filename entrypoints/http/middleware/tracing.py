"""One span of our own for each request, joined to the caller's by `traceparent`.

It has what the request's log line has: ids of ours, and the route's template.
"""

from http import HTTPStatus
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from entrypoints.http.middleware.access_log import line_of, method_of
from entrypoints.http.middleware.load_shedding import ALWAYS
from entrypoints.http.middleware.observer_ports import Tracer
from entrypoints.http.middleware.request_ids import request_id_of

TRACEPARENT: Final = b"traceparent"
_AGENT: Final = b"user-agent"
# Whoever sends spans of servers of ours gets no span for it: sent here, they would make more.
SENDERS: Final = b"pandaprobe-server-spans/"


class Traced:
    """Nothing without a tracer, for health and metrics, and for spans of servers of ours."""

    def __init__(self, app: ASGIApp, tracer: Tracer | None) -> None:
        self.app = app
        self.tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.tracer is None or scope["type"] != ScopeType.HTTP or scope["path"] in ALWAYS:
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if headers.get(_AGENT, b"").startswith(SENDERS):
            await self.app(scope, receive, send)
            return
        with self.tracer.request(headers.get(TRACEPARENT, b"").decode("latin-1")) as span:
            try:
                await self.app(scope, receive, send)
            finally:
                line = line_of(scope)
                assert line is not None, "RequestLines is inside"
                method = method_of(scope)
                said: dict[str, str | int] = {
                    "http.request.method": method,
                    "http.route": line.route,
                    "http.response.status_code": line.status,
                    "pandaprobe.request_id": request_id_of(scope),
                    **{f"pandaprobe.{name}": value for name, value in line.ids.items()},
                }
                is_ours = line.status >= HTTPStatus.INTERNAL_SERVER_ERROR or not line.status
                span.ended(f"{method} {line.route}", said, has_failed=is_ours)
