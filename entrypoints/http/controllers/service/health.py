"""What anybody may ask: whether the service lives, what it is, and how it is called."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
from litestar import Controller, Response, get

from application.ports import HealthStatus
from domain.errors import RETRY_AFTER_S
from entrypoints.http.authentication import PUBLIC
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, edge_of, operation
from entrypoints.http.requests.wire_types import ShownInstant, instant

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

WELCOME: Final = operation(
    PUBLIC,
    Documented(
        summary="What this is",
        description="Names the service, and where its documentation is.",
        answer=Welcome,
        example={
            "name": NAME,
            "version": "0.1.0",
            "status": "healthy",
            "docs": "/docs",
            "openapi": "/openapi.json",
        },
    ),
)

HEALTH: Final = operation(
    PUBLIC,
    Documented(
        summary="Whether the process lives",
        description="Asks nothing that the service depends on.",
        answer=Health,
        example={
            "status": "healthy",
            "version": "0.1.0",
            "environment": "production",
            "timestamp": "2026-03-01T09:00:00.502441+00:00",
        },
        route_class=None,
    ),
)

READY: Final = operation(
    PUBLIC,
    Documented(
        summary="Whether the service can do its work",
        description="Asks each part; 503 where one of them fails.",
        answer=Ready,
        example={"status": "ready", "checks": _EXAMPLE_CHECKS},
        answers={503: NotReady},
        route_class=None,
    ),
)


class PublicController(Controller):
    path = "/"

    @get("/", opt=WELCOME.opt)
    async def welcome(self, request: HttpRequest) -> Response[bytes]:
        await WELCOME.read(request)
        version = edge_of(request).config.version
        return await answer(request, Welcome(NAME, version, "healthy", "/docs", "/openapi.json"))

    @get("/health", opt=HEALTH.opt)
    async def health(self, request: HttpRequest) -> Response[bytes]:
        config = edge_of(request).config
        now = instant(datetime.now(UTC))
        return await answer(request, Health("healthy", config.version, config.environment, now))

    @get("/health/ready", opt=READY.opt)
    async def ready(self, request: HttpRequest) -> Response[bytes]:
        states = await edge_of(request).use_cases.check_readiness()
        checks = {name: Check(state.ok, state.detail) for name, state in states.items()}
        failing = _failing(states)
        if not failing:
            return await answer(request, Ready("ready", checks))
        return await answer(
            request,
            NotReady(f"Not ready: {', '.join(failing)}", "not_ready", checks),
            status=503,
            headers={"retry-after": str(RETRY_AFTER_S)},
        )


def _failing(states: Mapping[str, HealthStatus]) -> list[str]:
    return [name for name, state in states.items() if not state.ok]
