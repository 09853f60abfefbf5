"""The HTTP service as an ASGI app that opens and closes its ports with the server."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from application.ports import TokenBuckets
from application.use_cases import UseCases
from domain.limits import Limit
from entrypoints.composition import pricing, root, sign_in
from entrypoints.composition.identity_provider import identity_provider
from entrypoints.http.app import create_app
from entrypoints.http.config import HttpConfig
from entrypoints.http.middleware.client_address import parse_network
from entrypoints.http.middleware.observer_ports import RequestObserver
from entrypoints.http.middleware.rate_limits import RateLimits, RouteClass
from entrypoints.http.middleware.volume_limits import VolumeLimits
from entrypoints.observability.metrics_text import MetricsText
from entrypoints.observability.observer import create_registry, observe_process
from entrypoints.settings import Settings

type Message = dict[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]

_log: Final = logging.getLogger(__name__)


def rate_limits(settings: Settings) -> dict[RouteClass, Limit]:
    """The limit of each class of routes; empty if rate limits are disabled."""
    if not settings.rate_limit_enabled:
        return {}
    return {
        route_class: Limit.parse(getattr(settings, f"rate_limit_{route_class}"))
        for route_class in RouteClass
    }


def volume_limits(
    settings: Settings, buckets: TokenBuckets, observer: RequestObserver
) -> VolumeLimits | None:
    """None if rate limits are disabled."""
    if not settings.rate_limit_enabled:
        return None
    rates = settings.otlp_bytes_per_second, settings.otlp_spans_per_second
    return VolumeLimits(buckets, *rates, observer)


class App:
    """The HTTP service as an ASGI app, with its ports open from start-up to shutdown."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError."""
        self._settings = settings
        if identity_provider(settings) is None and not settings.auth_dev_issuer:
            _log.warning(sign_in.NO_SIGN_IN)
        self._prices = pricing.price_book(settings)
        self._metrics = create_registry(settings, root.product_version())
        self._config = HttpConfig(
            version=root.product_version(),
            environment=settings.app_env,
            allowed_origins=settings.allowed_origins,
            max_body_bytes=settings.max_body_bytes,
            max_spans=settings.max_spans_per_request,
            otlp_max_body_bytes=settings.otlp_max_body_bytes,
            otlp_max_spans=settings.otlp_max_spans,
            trusted_proxies=tuple(map(parse_network, settings.trusted_proxies)),
            development_token=sign_in.development_token_factory(settings),
            metrics_token=settings.metrics_token,
        )
        self._http: Any = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
        else:
            await self._http(scope, receive, send)

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        async with (
            observe_process(self._settings, self._metrics, "serve") as observer,
            root.ports(self._settings, observer=observer, prices=self._prices) as open_ports,
        ):
            metrics_text = MetricsText(self._metrics, open_ports)
            config = replace(
                self._config,
                metrics_text=metrics_text if self._settings.metrics_enabled else None,
                observer=observer,
                tracer=observer.spans,
            )
            limits = RateLimits(
                open_ports.limiter,
                rate_limits(self._settings),
                observer,
                volume_limits(self._settings, open_ports.token_buckets, observer),
            )
            self._http = create_app(UseCases(open_ports), config, limits)
            await send({"type": "lifespan.startup.complete"})
            loading = asyncio.create_task(asyncio.to_thread(open_ports.tracing.otlp_codec.load))
            await receive()  # lifespan.shutdown
            await loading
        await send({"type": "lifespan.shutdown.complete"})
