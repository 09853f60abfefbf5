"""What anybody may ask: whether the service lives, what it is, and how it is called."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from litestar import Controller, Response, get

from application.ports import PartState
from domain.errors import RETRY_AFTER_S
from entrypoints.http.access import PUBLIC
from entrypoints.http.operation import Documented, admit_anybody, answer, edge_of, operation
from entrypoints.http.request_ids import HttpRequest
from entrypoints.http.transfer import JSON, compressed_aside
from entrypoints.http.wire import ShownInstant, instant

NAME: Final = "pandaprobe-server"
# The reference loads nothing and runs nothing: it is one page of text.
DOCS_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


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


def _failing(states: Mapping[str, PartState]) -> list[str]:
    return [name for name, state in states.items() if not state.ok]


def pages(openapi: bytes, reference: bytes) -> Sequence[Any]:
    """The routes of the OpenAPI document and of the reference made of it."""

    @get("/openapi.json")
    async def openapi_document(request: HttpRequest) -> Response[bytes]:
        return await _page(request, openapi, JSON, {})

    @get("/docs")
    async def reference_page(request: HttpRequest) -> Response[bytes]:
        policy = {"content-security-policy": DOCS_POLICY}
        return await _page(request, reference, "text/html", policy)

    return (openapi_document, reference_page)


async def _page(
    request: HttpRequest, page: bytes, media_type: str, headers: dict[str, str]
) -> Response[bytes]:
    await admit_anybody(request)
    body, coding = await compressed_aside(page, request.scope["headers"])
    kept = {"cache-control": "no-cache"}  # the same for everybody until the next release
    return Response(body, media_type=media_type, headers={**kept, **headers, **coding})
