"""A span of each request, whose parent is in the caller's `traceparent` header.

It has the fields of the access log: our own ids, and the route's template.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from litestar.types import ASGIApp, Receive, Scope, Send

from entrypoints.http.middleware.access_log import access_log_entry, method_label
from entrypoints.http.middleware.load_shedding import EXEMPT_PATHS
from entrypoints.http.middleware.observer_ports import Tracer
from entrypoints.http.middleware.request_ids import request_id_of

# Exports of our own spans get no span: if they are sent to this service, they would never end.
OWN_EXPORTER: Final = b"pandaprobe-server-spans/"


@dataclass(frozen=True, slots=True)
class RequestTracing:
    """Does nothing without a tracer, for EXEMPT_PATHS, and for exports of our own spans."""

    app: ASGIApp
    tracer: Tracer | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.tracer is None or scope["path"] in EXEMPT_PATHS:
            return await self.app(scope, receive, send)
        headers = dict(scope["headers"])
        if headers.get(b"user-agent", b"").startswith(OWN_EXPORTER):
            return await self.app(scope, receive, send)
        with self.tracer.request(headers.get(b"traceparent", b"").decode("latin-1")) as span:
            try:
                await self.app(scope, receive, send)
            finally:
                entry = access_log_entry(scope)
                assert entry is not None, "AccessLog is inside"
                method = method_label(scope)
                attributes: dict[str, str | int] = {
                    "http.request.method": method,
                    "http.route": entry.route,
                    "http.response.status_code": entry.status,
                    "pandaprobe.request_id": request_id_of(scope),
                    **{f"pandaprobe.{name}": value for name, value in entry.caller_ids.items()},
                }
                has_failed = entry.status >= HTTPStatus.INTERNAL_SERVER_ERROR or not entry.status
                span.ended(f"{method} {entry.route}", attributes, has_failed=has_failed)
