"""What anybody may ask: whether the service lives, what it is, and how it is called."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
from litestar import Controller, get

from application.ports import HealthStatus
from application.use_cases import UseCases
from domain.errors import RETRY_AFTER_S
from entrypoints.http.authentication import PUBLIC
from entrypoints.http.endpoint import Injected, edge_of, endpoint
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.wire_types import ShownInstant, instant
from entrypoints.http.responses import JsonResponse

NAME: Final = "pandaprobe-server"


class Welcome(msgspec.Struct, frozen=True):
    """What this is, and where to read on."""

    name: str
    version: str
    status: Literal["healthy"]
    docs: str
    openapi: str


class Health(msgspec.Struct, frozen=True):
    """The process lives; nothing that it depends on was asked."""

    status: Literal["healthy"]
    version: str
    environment: str
    timestamp: ShownInstant


class Check(msgspec.Struct, frozen=True):
    """One part of the service; `detail` says what is wrong, or what to know."""

    ok: bool
    detail: str | None


class Ready(msgspec.Struct, frozen=True):
    status: Literal["ready"]
    checks: dict[str, Check]


class NotReady(msgspec.Struct, frozen=True):
    """A part that requests need doesn't do its work."""

    detail: str
    status: Literal["not_ready"]
    checks: dict[str, Check]


_EXAMPLE_CHECKS: Final = {"postgres": {"ok": True, "detail": None}}

WELCOME: Final = endpoint(
    PUBLIC,
    summary="What this is",
    description="Names the service, and where its documentation is.",
    example={
        "name": NAME,
        "version": "0.1.0",
        "status": "healthy",
        "docs": "/docs",
        "openapi": "/openapi.json",
    },
)

HEALTH: Final = endpoint(
    PUBLIC,
    summary="Whether the process lives",
    description="Asks nothing that the service depends on.",
    example={
        "status": "healthy",
        "version": "0.1.0",
        "environment": "production",
        "timestamp": "2026-03-01T09:00:00.502441+00:00",
    },
    route_class=None,
)

READY: Final = endpoint(
    PUBLIC,
    summary="Whether the service can do its work",
    description="Asks each part; 503 where one of them fails.",
    example={"status": "ready", "checks": _EXAMPLE_CHECKS},
    answers={503: NotReady},
    route_class=None,
)


class PublicController(Controller):
    path = "/"

    @get("/", **WELCOME)
    async def welcome(
        self,
        request: HttpRequest,
    ) -> Welcome:
        version = edge_of(request).config.version
        return Welcome(NAME, version, "healthy", "/docs", "/openapi.json")

    @get("/health", **HEALTH)
    async def health(
        self,
        request: HttpRequest,
    ) -> Health:
        config = edge_of(request).config
        now = instant(datetime.now(UTC))
        return Health("healthy", config.version, config.environment, now)

    @get("/health/ready", **READY)
    async def ready(
        self,
        use_cases: Injected[UseCases],
    ) -> Ready | JsonResponse[NotReady]:
        states = await use_cases.check_readiness()
        checks = {name: Check(state.ok, state.detail) for name, state in states.items()}
        failing = _failing(states)
        if not failing:
            return Ready("ready", checks)
        return JsonResponse(
            NotReady(f"Not ready: {', '.join(failing)}", "not_ready", checks),
            status_code=503,
            headers={"retry-after": str(RETRY_AFTER_S)},
        )


def _failing(states: Mapping[str, HealthStatus]) -> list[str]:
    return [name for name, state in states.items() if not state.ok]
