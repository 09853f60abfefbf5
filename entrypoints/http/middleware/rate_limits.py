"""Who may ask how often: each class of routes has a limit, each principal a bucket of its own."""

import ipaddress
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from application.ports import RateLimiter
from domain.errors import LimitExceeded
from domain.identity.audit import Origin
from domain.identity.caller import Caller, Person
from domain.limits import Decision, Limit
from entrypoints.http.authentication import Colleague
from entrypoints.http.middleware.load_shedding import held
from entrypoints.http.middleware.observer_ports import Watch

IPV6_PREFIX: Final = 64  # bits: as many addresses as one customer of a network has at least
_DECISION: Final = "pandaprobe.rate_limit"


class RouteClass(StrEnum):
    """Operations that are limited together."""

    INGEST = "ingest"
    TRACE_RUNS = "trace_runs"
    SESSION_RUNS = "session_runs"
    MONITOR_TRIGGER = "monitor_trigger"
    INVITATIONS = "invitations"
    CLI_EXCHANGE = "cli_exchange"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class RateLimits:
    """The limit of each class; with none of them nothing is limited."""

    limiter: RateLimiter
    limits: Mapping[RouteClass, Limit]
    watch: Watch | None = None

    async def admit(
        self, scope: MutableMapping[str, Any], route_class: RouteClass | None, principal: str
    ) -> None:
        """Counts a request, and sees to it that its answer tells of the limit.

        A class of None isn't limited. Raises LimitExceeded.
        """
        limit = None if route_class is None else self.limits.get(route_class)
        if limit is None:
            return
        decision = await self.limiter.admit(f"{route_class}:{principal}", limit)
        scope[_DECISION] = decision
        if self.watch is not None and route_class is not None:
            self.watch.decided(route_class, admitted=decision.admitted)
        if not decision.admitted:
            await held(scope)
            raise LimitExceeded(
                f"Rate limit exceeded: {limit.count} per {limit.unit}",
                retry_after_s=decision.retry_after_s,
            )


def principal_of(caller: object) -> str:
    """Whose bucket a request counts in. Of an unauthenticated one its address."""
    match caller:
        case Caller():
            by_key = caller.key_id is not None
            return f"key:{caller.key_id}" if by_key else f"user:{caller.user_id}"
        case Person():
            return f"user:{caller.user.id}"
        case Colleague():
            return f"user:{caller.person.user.id}"
        case Origin():
            return of_address(caller)
    raise TypeError(f"no principal of {type(caller).__name__}")


def of_address(origin: Origin) -> str:
    """The bucket of a client's address; of IPv6 that of its network, which is one customer's."""
    try:
        address = ipaddress.ip_address(origin.address or "")
    except ValueError:
        return f"ip:{origin.address or 'unknown'}"
    if address.version == 6:  # noqa: PLR2004 - IPv6
        if address.ipv4_mapped is not None:
            return f"ip:{address.ipv4_mapped}"
        return f"ip:{ipaddress.ip_network((int(address), IPV6_PREFIX), strict=False)}"
    return f"ip:{address}"


class RateLimitHeaders:
    """`RateLimit-*` on each answer to a request that the limiter saw."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                decision = cast("Decision | None", scope.get(_DECISION))
                if decision is not None:
                    message["headers"] = [*message["headers"], *_headers(decision)]
            await send(message)

        await self.app(scope, receive, told)


def _headers(decision: Decision) -> list[tuple[bytes, bytes]]:
    return [
        (b"ratelimit-limit", str(decision.limit.count).encode()),
        (b"ratelimit-remaining", str(decision.remaining).encode()),
        (b"ratelimit-reset", str(decision.reset_s).encode()),
    ]
