"""What the HTTP edge can be told from outside."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from application.use_cases import UseCases
from entrypoints.http.middleware.client_address import Network
from entrypoints.http.middleware.load_shedding import HELD_S
from entrypoints.http.middleware.observer_ports import Tracer, Watch
from entrypoints.http.middleware.rate_limits import RateLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """`allowed_origins` are those of CORS, as browsers send them; `*` allows any.

    `development_token` makes a token of the developer. It is there with the development issuer
    only, and given to nobody but a browser on this machine. `figures` gives the text of /metrics,
    to whoever has `metrics_token`, else to who asks from this machine; without it there is none.
    """

    version: str
    environment: str
    allowed_origins: tuple[str, ...] = ()
    max_body_bytes: int = 20 << 20
    max_spans: int = 5000  # of one trace as sent, and of one request that adds spans
    trusted_proxies: tuple[Network, ...] = ()  # whose X-Forwarded-For counts
    refusals_held_s: float = HELD_S  # before a caller who asks too often is told so
    development_token: Callable[[], str] | None = None
    figures: Callable[[], Awaitable[bytes]] | None = None
    metrics_token: str | None = None
    watch: Watch | None = None
    tracer: Tracer | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """What stands behind every handler."""

    use_cases: UseCases
    config: HttpConfig
    rate_limits: RateLimits
