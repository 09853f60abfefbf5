"""Rate limits: each class of routes has a limit, and each principal a bucket of its own."""

import ipaddress
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from application.ports import RateLimiter
from domain.errors import LimitExceeded
from domain.identity.api_key import ApiKey
from domain.identity.audit import Origin
from domain.identity.caller import Caller, Person
from domain.ids import OrganizationId
from domain.limits import UNITS_S, Decision, Limit
from entrypoints.http.callers import BrowserCaller, OrganizationCaller
from entrypoints.http.middleware.fair_queueing import (
    ADDRESS,
    CALLER,
    ORGANIZATION,
    UNAUTHENTICATED,
    Share,
)
from entrypoints.http.middleware.load_shedding import delay_refusal
from entrypoints.http.middleware.observer_ports import RequestObserver
from entrypoints.http.middleware.response_headers import add_response_header
from entrypoints.http.middleware.volume_limits import VolumeLimits

IPV6_PREFIX_BITS: Final = 64  # a provider gives a customer at least as many addresses
ORGANIZATION_FACTOR: Final = 10  # limits of an organization, in limits of one key or user


class RouteClass(StrEnum):
    """Endpoints that share a limit."""

    INGEST = "ingest"
    TRACE_RUNS = "trace_runs"
    SESSION_RUNS = "session_runs"
    MONITOR_TRIGGER = "monitor_trigger"
    INVITATIONS = "invitations"
    CLI_EXCHANGE = "cli_exchange"
    SIGN_IN = "sign_in"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class RateLimits:
    """The limit of each class, and those of volume. A holder without a limit isn't limited."""

    limiter: RateLimiter
    limits: Mapping[RouteClass, Limit]
    observer: RequestObserver | None = None
    volumes: VolumeLimits | None = None

    async def admit(
        self,
        scope: MutableMapping[str, Any],
        route_class: RouteClass | None,
        principal: str,
        organization: OrganizationId | None = None,
    ) -> None:
        """Counts a request, and notes the decision in the headers of its response.

        It counts in the bucket of the principal and in that of the organization, which admits
        ORGANIZATION_FACTOR times as many. A class of None isn't limited. Raises LimitExceeded.
        """
        limit = None if route_class is None else self.limits.get(route_class)
        if limit is None:
            return
        buckets = {f"{route_class}:{principal}": limit}
        if organization is not None:
            whole = limit.times(ORGANIZATION_FACTOR)
            buckets[f"{route_class}:organization:{organization}"] = whole
        decision = await self.limiter.admit(buckets)
        is_shared = decision.limit != limit
        _add_headers(scope, decision, f"{route_class}{'_organization' if is_shared else ''}")
        if self.observer is not None and route_class is not None:
            self.observer.rate_limit_decided(route_class, admitted=decision.admitted)
        if not decision.admitted:
            await delay_refusal(scope)
            whose = " for the organization" if is_shared else ""
            raise LimitExceeded(
                f"Rate limit exceeded: {decision.limit.count} per {limit.unit}{whose}",
                retry_after_s=decision.retry_after_s,
            )


def rate_limit_principal(caller: object) -> str:
    """The bucket in which a request counts: its key, its user, or its address."""
    match caller:
        case Caller():
            by_key = caller.key_id is not None
            return f"key:{caller.key_id}" if by_key else f"user:{caller.user_id}"
        case Person():
            return f"user:{caller.user.id}"
        case OrganizationCaller():
            return f"user:{caller.person.user.id}"
        case ApiKey():
            return f"key:{caller.id}"
        case BrowserCaller():
            return rate_limit_principal(_holder_of(caller))
        case Origin():
            return address_principal(caller)
    raise TypeError(f"{type(caller).__name__} has no principal")


def shares_of(caller: object, origin: Origin) -> dict[str, Share]:
    """The buckets from which a request of the caller takes, by the name of the holder."""
    if isinstance(caller, BrowserCaller):
        caller = _holder_of(caller)
    if isinstance(caller, Origin):
        return {address_principal(origin): ADDRESS, "unauthenticated": UNAUTHENTICATED}
    shares = {rate_limit_principal(caller): CALLER}
    organization = organization_of(caller)
    if organization is not None:
        shares[f"organization:{organization}"] = ORGANIZATION
    return shares


def organization_of(caller: object) -> OrganizationId | None:
    """The organization in which the caller acts, if there is one."""
    match caller:
        case Caller():
            return caller.organization_id
        case OrganizationCaller():
            return caller.organization
        case ApiKey():
            return caller.organization_id
        case BrowserCaller():
            return organization_of(_holder_of(caller))
    return None


def _holder_of(caller: BrowserCaller) -> Person | ApiKey | Origin:
    """The person or the key that is signed in; else the origin of the request."""
    return caller.origin if caller.signed_in is None else caller.signed_in.holder


def address_principal(origin: Origin) -> str:
    """The bucket of a client's address; for IPv6 that of its /64, which belongs to one customer."""
    try:
        address = ipaddress.ip_address(origin.address or "")
    except ValueError:
        return f"ip:{origin.address or 'unknown'}"
    if address.version == 6:  # noqa: PLR2004 - IPv6
        if address.ipv4_mapped is not None:
            return f"ip:{address.ipv4_mapped}"
        return f"ip:{ipaddress.ip_network((int(address), IPV6_PREFIX_BITS), strict=False)}"
    return f"ip:{address}"


def _add_headers(scope: MutableMapping[str, Any], decision: Decision, policy: str) -> None:
    """Adds the fields of draft-ietf-httpapi-ratelimit-headers, the policy as in newer ones."""
    limit = decision.limit
    named = f'"{policy}";q={limit.count};w={UNITS_S[limit.unit]}'
    add_response_header(scope, b"ratelimit-policy", named.encode())
    add_response_header(scope, b"ratelimit-limit", b"%d" % limit.count)
    add_response_header(scope, b"ratelimit-remaining", b"%d" % decision.remaining)
    add_response_header(scope, b"ratelimit-reset", b"%d" % decision.reset_s)
