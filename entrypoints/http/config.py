"""Configuration of the HTTP edge, and what every handler works with."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from litestar.types import ASGIApp, Receive, Scope, Send

from application.use_cases import UseCases
from domain.identity.browser_session import SignInMethod
from domain.ids import OrganizationId
from entrypoints.http.middleware.client_address import Network
from entrypoints.http.middleware.load_shedding import REFUSAL_DELAY_S
from entrypoints.http.middleware.observer_ports import RequestObserver, Tracer
from entrypoints.http.middleware.rate_limits import RateLimits
from entrypoints.http.middleware.request_ids import HttpRequest

_SCOPE_KEY: Final = "pandaprobe.http_context"
READING: Final = frozenset({"GET", "HEAD"})  # methods that are served while data moves


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """Settings of the HTTP edge.

    `allowed_origins` are the CORS origins as browsers send them; `*` allows any.
    `development_token` makes a token for the developer. It is set with the development issuer
    only, and served only to browsers on this machine. `metrics_text` gives the text of /metrics
    to clients with `metrics_token`, or, without a token, to clients on this machine. If it is
    None, there is no /metrics. `private_webhooks`: whether webhooks may lead into private networks,
    as in the use case that stores them. `public_url` is the address of this service as
    browsers see it, and `sign_in_methods` are the ways to sign in one.
    """

    version: str
    environment: str
    allowed_origins: tuple[str, ...] = ()
    max_body_bytes: int = 20 << 20
    max_spans: int = 5000  # of one trace as sent, and of one request that adds spans
    otlp_max_body_bytes: int = 64 << 20
    otlp_max_spans: int = 50_000  # spans or log records of one request
    trusted_proxies: tuple[Network, ...] = ()  # proxies whose X-Forwarded-For is believed
    # For the message of a gRPC call. Exporters give a request ten seconds in all.
    message_timeout_s: float = 10.0
    refusal_delay_s: float = REFUSAL_DELAY_S  # before a refusal with 429 or 503 is sent
    development_token: Callable[[], str] | None = None
    metrics_text: Callable[[], Awaitable[bytes]] | None = None
    metrics_token: str | None = None
    public_url: str | None = None
    sign_in_methods: frozenset[SignInMethod] = frozenset({SignInMethod.KEY, SignInMethod.TOKEN})
    dashboard: bool = True  # whether /app is served
    private_webhooks: bool = False
    observer: RequestObserver | None = None
    tracer: Tracer | None = None


@dataclass(frozen=True, slots=True)
class HttpContext:
    """The dependencies of every handler."""

    use_cases: UseCases
    config: HttpConfig
    rate_limits: RateLimits


async def choose_use_cases(scope: Scope, organization: OrganizationId | None) -> None:
    """Chooses the use cases of a request: those of the group of the caller's organization.

    Raises NotFound if it doesn't exist any more; Unavailable, also while it moves to another group.
    """
    context = cast("HttpContext", cast("dict[str, Any]", scope)[_SCOPE_KEY])
    if organization is not None:
        writes = cast("dict[str, Any]", scope)["method"] not in READING
        ours = await context.use_cases.for_organization(organization, writes=writes)
        if ours is not context.use_cases:
            cast("dict[str, Any]", scope)[_SCOPE_KEY] = replace(context, use_cases=ours)


def http_context(request: HttpRequest) -> HttpContext:
    return cast("HttpContext", cast("dict[str, Any]", request.scope)[_SCOPE_KEY])


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Adds the context to the scope of each request."""

    app: ASGIApp
    context: HttpContext

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        cast("dict[str, Any]", scope)[_SCOPE_KEY] = self.context
        await self.app(scope, receive, send)
