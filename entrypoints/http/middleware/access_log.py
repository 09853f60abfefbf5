"""The access log: one log line per request, and one call of the observer.

The line contains our own ids and the route's template. The only text of the caller in it is the
request id, whose form is checked: no path, query, header, body or name.
"""

import logging
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast
from uuid import UUID

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from domain.identity.caller import Caller, Person
from entrypoints.http.callers import OrganizationCaller
from entrypoints.http.middleware.load_shedding import EXEMPT_PATHS
from entrypoints.http.middleware.observer_ports import RequestKind, RequestObserver
from entrypoints.http.middleware.request_ids import request_id_of

NO_ROUTE: Final = "-"  # no endpoint was reached: 404, 405, a preflight, a shed request
KNOWN_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"})
_SCOPE_KEY: Final = "pandaprobe.access_log_entry"
_log: Final = logging.getLogger("pandaprobe.requests")


@dataclass(slots=True)
class AccessLogEntry:
    """Facts about a request, filled while it is handled; all copies of its scope share it."""

    route: str
    kind: RequestKind = RequestKind.OTHER
    status: int = 0  # no response was sent
    caller: object = None

    @property
    def caller_ids(self) -> dict[str, str]:
        ids: dict[str, UUID | None] = {}
        match self.caller:
            case Caller() as caller:
                ids = {
                    "organization_id": caller.organization_id,
                    "project_id": None if caller.new_project else caller.project_id,
                    "key_id": caller.key_id,
                    "user_id": caller.user_id,
                }
            case Person() as person:
                ids = {"user_id": person.user.id}
            case OrganizationCaller() as member:
                ids = {"organization_id": member.organization, "user_id": member.person.user.id}
        return {name: str(value) for name, value in ids.items() if value is not None}


def annotate(scope: Any, *, caller: object = None, kind: RequestKind | None = None) -> None:
    """Adds the route, and the kind and caller if given, to the request's log entry."""
    entry = scope.get(_SCOPE_KEY)
    if entry is not None:
        entry.route = scope.get("path_template", NO_ROUTE)
        entry.caller = caller or entry.caller
        entry.kind = kind or entry.kind


def access_log_entry(scope: Any) -> AccessLogEntry | None:
    """The entry of a request that has passed AccessLog."""
    return cast("AccessLogEntry | None", scope.get(_SCOPE_KEY))


def method_label(scope: Any) -> str:
    """One of KNOWN_METHODS, else `OTHER`: callers may send any word as the method."""
    method = str(scope["method"])
    return method if method in KNOWN_METHODS else "OTHER"


@dataclass(frozen=True, slots=True)
class AccessLog:
    """Writes the line once the response is sent: WARNING from status 500 on, else INFO.

    Health checks and accepted traces (202) are logged at DEBUG: they are most of what a busy
    service answers, and a line costs 31 µs, one that is not written 2 µs.
    """

    app: ASGIApp
    observer: RequestObserver | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        entry = AccessLogEntry(scope["path"] if scope["path"] in EXEMPT_PATHS else NO_ROUTE)
        cast("dict[str, Any]", scope)[_SCOPE_KEY] = entry
        started = time.perf_counter()

        async def send_and_note_status(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry.status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_note_status)
        finally:
            seconds = time.perf_counter() - started
            method = method_label(scope)
            if self.observer is not None:
                self.observer.request_ended(method, entry.route, entry.status, entry.kind, seconds)
            is_routine = entry.status == HTTPStatus.ACCEPTED or entry.route in EXEMPT_PATHS
            level = logging.DEBUG if is_routine else logging.INFO
            if entry.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                level = logging.WARNING
            if _log.isEnabledFor(level):
                extra = {
                    "request_id": request_id_of(scope),
                    "method": method,
                    "route": entry.route,
                    "status": entry.status,
                    "duration_ms": round(seconds * 1000, 3),
                    **entry.caller_ids,
                }
                _log.log(level, "request", extra=extra)
