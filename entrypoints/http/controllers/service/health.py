"""Public endpoints: liveness, readiness, and the name of the service."""

from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
from litestar import Controller, Response

from application.ports import HealthStatus
from application.use_cases import UseCases
from domain.errors import RETRY_AFTER_S
from entrypoints.http.authentication import PUBLIC
from entrypoints.http.config import http_context
from entrypoints.http.endpoint import get
from entrypoints.http.middleware.load_shedding import load_shedding
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.wire_types import ResponseInstant, format_instant
from entrypoints.http.responses import JsonResponse

NAME: Final = "pandaprobe-server"
DASHBOARD: Final = "app/"  # relative: a proxy may serve the service below a path


class Welcome(msgspec.Struct, frozen=True):
    """The name of the service, and links to its documentation."""

    name: str
    version: str
    status: Literal["healthy"]
    docs: str
    openapi: str


class Health(msgspec.Struct, frozen=True):
    """The process is alive. Its dependencies are not checked."""

    status: Literal["healthy"]
    version: str
    environment: str
    timestamp: ResponseInstant


class Check(msgspec.Struct, frozen=True):
    """The check of one part of the service; `detail` describes a problem or a note."""

    ok: bool
    detail: str | None


class Ready(msgspec.Struct, frozen=True):
    status: Literal["ready"]
    checks: dict[str, Check]


class NotReady(msgspec.Struct, frozen=True):
    """A part that requests need doesn't work."""

    detail: str
    status: Literal["not_ready"]
    checks: dict[str, Check]


class ServiceController(Controller):
    path = "/"

    @get(
        "/",
        PUBLIC,
        example={
            "name": NAME,
            "version": "0.1.0",
            "status": "healthy",
            "docs": "/docs",
            "openapi": "/openapi.json",
        },
        ignores_query=True,
    )
    async def welcome(self, request: HttpRequest) -> Welcome | Response[bytes]:
        """Describe the service.

        The name of the service, and links to its documentation. A browser is sent to the dashboard.
        """
        config = http_context(request).config
        if config.dashboard and "text/html" in request.headers.get("accept", ""):
            headers = {"location": DASHBOARD, "vary": "Accept"}
            return Response(b"", status_code=303, media_type="text/html", headers=headers)
        return Welcome(NAME, config.version, "healthy", "/docs", "/openapi.json")

    @get(
        "/health",
        PUBLIC,
        example={
            "status": "healthy",
            "version": "0.1.0",
            "environment": "production",
            "timestamp": "2026-03-01T09:00:00.502441+00:00",
        },
        route_class=None,
        ignores_query=True,
    )
    async def health(self, request: HttpRequest) -> Health:
        """Check liveness.

        Whether the process is alive. Its dependencies are not checked.
        """
        config = http_context(request).config
        now = format_instant(datetime.now(UTC))
        return Health("healthy", config.version, config.environment, now)

    @get(
        "/health/ready",
        PUBLIC,
        example={"status": "ready", "checks": {"postgres": {"ok": True, "detail": None}}},
        error_types={503: NotReady},
        route_class=None,
        ignores_query=True,
    )
    async def ready(
        self, request: HttpRequest, use_cases: UseCases
    ) -> Ready | JsonResponse[NotReady]:
        """Check readiness.

        Checks every part of the service. 503 if one of them fails.
        """
        overload = load_shedding(request.scope).overload
        states = {
            **await use_cases.check_readiness(),
            "load": HealthStatus(ok=overload is None, detail=overload),
        }
        checks = {name: Check(state.ok, state.detail) for name, state in states.items()}
        failing = [name for name, state in states.items() if not state.ok]
        if not failing:
            return Ready("ready", checks)
        return JsonResponse(
            NotReady(f"Not ready: {', '.join(failing)}", "not_ready", checks),
            status_code=503,
            headers={"retry-after": str(RETRY_AFTER_S)},
        )
