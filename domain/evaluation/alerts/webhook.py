"""Webhooks: permitted target addresses, retry delays, and signatures."""

import hmac
from base64 import b64encode
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from domain.errors import Invalid
from domain.ids import ProjectId

URL_MAX: Final = 2_048
URL_END_SHOWN: Final = 4  # characters, by which webhooks of one host differ
SECRET_BYTES: Final = 32
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the prefix of secrets in Standard Webhooks
DELIVERY_ATTEMPTS_MAX: Final = 10
DELIVERY_WAIT_MIN: Final = timedelta(seconds=5)  # after the first attempt
DELIVERY_WAIT_GROWTH: Final = 4  # ten attempts take about a day
DELIVERY_WAIT_MAX: Final = timedelta(hours=6)

PORTS: Final = {"http": 80, "https": 443}
# The only IPv6 range with routed addresses; the rest is local or reserved.
_GLOBAL_UNICAST: Final = ip_network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
# Global according to the standard library, but not on the Internet: 6to4 relays, the virtual
# address of Azure's platform services, and, in Python before 3.12.4, special-purpose addresses.
_INSIDE: Final = (
    ip_network("192.88.99.0/24"),
    ip_network("168.63.129.16/32"),
    ip_network("192.0.0.0/24"),
)
_INSIDE_V6: Final = (IPv6Network("2001::/32"), IPv6Network("3fff::/20"), IPv6Network("5f00::/16"))


class WebhookFormat(StrEnum):
    """What the receiver of a webhook takes."""

    STANDARD = "standard"  # the whole message, signed
    SLACK = "slack"
    DISCORD = "discord"
    TEAMS = "teams"


def is_public(address: str) -> bool:
    """Whether an IP address is on the Internet, and doesn't lead to a private one.

    False for an invalid address. An IPv4 address embedded in IPv6 is checked as IPv4.
    """
    try:
        meant = ip_address(address)
    except ValueError:
        return False
    if isinstance(meant, IPv6Address):
        inner = _inner(meant)
        if inner is None:
            return _is_global(meant) and meant in _GLOBAL_UNICAST and not _is_in_v6(meant)
        meant = inner
    return _is_global(meant) and not any(meant in network for network in _INSIDE)


def _inner(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address to which packets for this address are delivered."""
    if address.scope_id is None and address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not (
        address.is_multicast
        or address.is_reserved
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
    )


def _is_in_v6(address: IPv6Address) -> bool:
    return address.scope_id is not None or any(address in network for network in _INSIDE_V6)


def validate_url(url: str, *, allow_private: bool) -> str:
    """Returns the URL of a webhook unchanged. Raises Invalid.

    https, or also http if private targets are allowed; no user, password or fragment. The resolved
    address is checked with every delivery.
    """
    try:
        parts = urlsplit(url)
        host, is_wrong = parts.hostname, parts.port == 0
    except ValueError:
        host, is_wrong = None, True
    if is_wrong or not host or len(url) > URL_MAX or not _is_plain(url):
        raise _refused(f"must be a URL of at most {URL_MAX} ASCII characters")
    if parts.scheme != "https" and not (allow_private and parts.scheme == "http"):
        raise _refused("must be a URL that begins with https://")
    if "@" in parts.netloc or "#" in url:
        raise _refused("must have no user, password or fragment")
    if not allow_private and _is_inside(parts):
        raise _refused("must not lead into a private network")
    return url


def _is_plain(url: str) -> bool:
    return url.isascii() and url.isprintable() and " " not in url and "\\" not in url


def _is_inside(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return not is_public(host)


def _refused(message: str) -> Invalid:
    return Invalid.field("url", message)


def format_secret(secret: bytes) -> str:
    """A secret in the form given to its receiver."""
    return SECRET_PREFIX + b64encode(secret).decode()


def signature(secret: bytes, message: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header of Standard Webhooks, over id, seconds and body."""
    signed = b"%s.%d.%s" % (message.encode(), timestamp, body)
    return f"v1,{b64encode(hmac.digest(secret, signed, 'sha256')).decode()}"


def retry_delay(attempts: int, chance: float) -> timedelta | None:
    """The delay after so many failed attempts; None if there are no more attempts.

    `chance` in [0, 1) shortens it by up to a quarter, so that retries are spread over time.
    """
    if attempts >= DELIVERY_ATTEMPTS_MAX:
        return None
    full: timedelta = min(
        DELIVERY_WAIT_MIN * DELIVERY_WAIT_GROWTH ** (attempts - 1), DELIVERY_WAIT_MAX
    )
    return full * (1 - chance / 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A URL that gets every alert change of a project.

    `secret` signs messages; shown once. None where nothing is signed, as in lists.
    """

    id: UUID
    project_id: ProjectId
    url: str
    secret: bytes | None = field(default=None, repr=False)
    created_at: datetime
    format: WebhookFormat = WebhookFormat.STANDARD

    @property
    def host(self) -> str:
        """The host of the URL, which `validate_url` has accepted."""
        return urlsplit(self.url).hostname or ""

    def masked(self) -> Self:
        """Shows only the origin and the end of the URL: the part between may be a credential."""
        parts = urlsplit(self.url)
        origin = f"{parts.scheme}://{parts.netloc}/"
        rest = self.url[len(origin) :]
        return replace(self, url=f"{origin}…{rest[-URL_END_SHOWN:]}") if rest else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message to a webhook. `body` is sent unchanged in every attempt.

    `status` is the last HTTP status, None without a response; then `error` is a word for the
    reason. The delivery is over once `delivered_at` is set or `next_attempt_at` is None.
    """

    id: UUID
    project_id: ProjectId
    webhook_id: UUID
    change_id: UUID | None
    body: bytes
    attempts: int = 0
    status: int | None = None
    error: str | None = None
    next_attempt_at: datetime | None
    delivered_at: datetime | None = None
    created_at: datetime
