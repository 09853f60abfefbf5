"""The HTTP service as an ASGI app: its ports open with the server, and close with it."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from application.use_cases import UseCases
from domain.limits import Limit
from entrypoints.composition.identity_provider import identity_provider
from entrypoints.composition.pricing import price_book
from entrypoints.composition.root import ports, product_version
from entrypoints.composition.sign_in import NOBODY, developer_signs_in
from entrypoints.http.app import create_app
from entrypoints.http.config import HttpConfig
from entrypoints.http.middleware.client_address import network
from entrypoints.http.middleware.rate_limits import RateLimits, RouteClass
from entrypoints.observability.metrics_text import Scrape
from entrypoints.observability.observer import figures_of, observed
from entrypoints.settings import Settings

type Message = dict[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]

_log: Final = logging.getLogger(__name__)


def rate_limits(settings: Settings) -> dict[RouteClass, Limit]:
    """The limit of each class of routes; none of any where they are switched off."""
    if not settings.rate_limit_enabled:
        return {}
    return {one: Limit.parse(getattr(settings, f"rate_limit_{one}")) for one in RouteClass}


class App:
    """The HTTP service as an ASGI app, with its ports open from start-up to shutdown."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        if identity_provider(settings) is None and not settings.auth_dev_issuer:
            _log.warning(NOBODY)
        self._prices = price_book(settings)
        self._figures = figures_of(settings, product_version())
        self._config = HttpConfig(
            version=product_version(),
            environment=settings.app_env,
            allowed_origins=settings.allowed_origins,
            max_body_bytes=settings.max_body_bytes,
            max_spans=settings.max_spans_per_request,
            trusted_proxies=tuple(map(network, settings.trusted_proxies)),
            development_token=developer_signs_in(settings),
            metrics_token=settings.metrics_token,
        )
        self._http: Any = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._http(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        async with (
            observed(self._settings, self._figures, "serve") as observer,
            ports(self._settings, self._prices, observer=observer) as filled,
        ):
            scrape = Scrape(self._figures, filled)
            config = replace(
                self._config,
                figures=scrape if self._settings.metrics_enabled else None,
                watch=observer,
                tracer=observer.spans,
            )
            limits = RateLimits(filled.limiter, rate_limits(self._settings), observer)
            self._http = create_app(UseCases.over(filled), config, limits)
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
        await send({"type": "lifespan.shutdown.complete"})


def build_app(settings: Settings) -> App:
    """The HTTP service over the servers that the settings name. Raises SettingsError."""
    return App(settings)
