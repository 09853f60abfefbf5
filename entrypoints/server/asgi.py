"""The HTTP service as an ASGI app that opens and closes its ports with the server."""

import asyncio
import gc
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from application.ports import TokenBuckets
from application.use_cases import UseCases
from domain.errors import Failure
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
from entrypoints.server.protocol_limits import BoundedConnection, grpc_connections
from entrypoints.settings import Settings, SettingsError
from entrypoints.startup import CommandError, host_and_port, product_version

if TYPE_CHECKING:
    from entrypoints.server.grpc_server import GrpcServer

type Message = dict[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]

# For running requests at a stop. A database that doesn't answer delays the steps after it by up to
# 3.5 s; supervisors wait for ten seconds or more.
DRAIN_TIMEOUT_S: Final = 4
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


async def until_cut_off(app: Any, scope: Message, receive: Receive, send: Send) -> None:
    """Runs the request, and returns if the server cancels its task at a stop.

    It was answered with 503 then, and is in the access log: uvicorn would add a traceback.
    """
    try:
        await app(scope, receive, send)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or not task.cancelling():  # a defect
            raise


class App:
    """The HTTP service as an ASGI app, with its ports open from start-up to shutdown."""

    def __init__(self, settings: Settings, *, shares_ports: bool = False) -> None:
        """`shares_ports`: with other processes of one command. Raises SettingsError."""
        self._settings = settings
        self._shares_ports = shares_ports
        if identity_provider(settings) is None and not settings.auth_dev_issuer:
            _log.warning(sign_in.NO_SIGN_IN)
        self._prices = pricing.price_book(settings)
        self._metrics = create_registry(settings, product_version())
        self._config = HttpConfig(
            version=product_version(),
            environment=settings.app_env,
            allowed_origins=settings.allowed_origins,
            max_body_bytes=settings.max_body_bytes,
            max_spans=settings.max_spans_per_request,
            otlp_max_body_bytes=settings.otlp_max_body_bytes,
            otlp_max_spans=settings.otlp_max_spans,
            trusted_proxies=tuple(map(parse_network, settings.trusted_proxies)),
            development_token=sign_in.development_token_factory(settings),
            metrics_token=settings.metrics_token,
            public_url=settings.public_url,
            sign_in_methods=sign_in.sign_in_methods(settings),
            dashboard=settings.dashboard,
            private_webhooks=settings.alert_allow_private_targets,
        )
        self._http: Any = None
        self._is_started = False
        # Why it doesn't start. A log of the server would show only where it was raised.
        self.refusal: CommandError | SettingsError | Failure | None = None
        self._grpc: GrpcServer | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
        else:
            await until_cut_off(self._http, scope, receive, send)

    def begin_stop(self) -> None:
        """Stops taking calls over gRPC. Requests over HTTP are the server's own matter."""
        if self._grpc is not None:
            self._grpc.begin_stop(DRAIN_TIMEOUT_S)

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        try:
            await self._run_with_ports(receive, send)
        except (CommandError, SettingsError, Failure) as error:
            if self._is_started:
                raise
            self.refusal = error
            await send({"type": "lifespan.startup.failed", "message": ""})

    async def _run_with_ports(self, receive: Receive, send: Send) -> None:
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
            async with self._running_grpc():
                gc.freeze()  # what exists now lives as long as the process
                self._is_started = True
                await send({"type": "lifespan.startup.complete"})
                loading = asyncio.create_task(asyncio.to_thread(open_ports.tracing.otlp_codec.load))
                await receive()  # lifespan.shutdown
            await loading
        await send({"type": "lifespan.shutdown.complete"})

    @asynccontextmanager
    async def _running_grpc(self) -> AsyncIterator[None]:
        """Takes OTLP over gRPC during the block, if a port is set."""
        port = self._settings.otlp_grpc_port
        if port is None:
            yield
            return
        # The library writes to standard error by itself, also about single calls of clients.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from entrypoints.server.grpc_server import GrpcServer  # noqa: PLC0415 - an extra

        server = GrpcServer(
            self._http,
            self._settings.otlp_max_body_bytes,
            grpc_connections(BoundedConnection.connections_max),
            shares_port=self._shares_ports,
        )
        await server.start(host_and_port(self._settings.host, port))
        self._grpc = server
        try:
            yield
        finally:
            await server.close(DRAIN_TIMEOUT_S)


class Server(uvicorn.Server):
    """Stops taking requests over HTTP and calls over gRPC at the same time."""

    def __init__(self, config: uvicorn.Config, app: App) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.begin_stop()
        await super().shutdown(sockets)
