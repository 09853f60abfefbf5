"""The address of the client, also behind trusted proxies."""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address
type Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# A request with one of these comes from a proxy, whose client may be on any machine.
PROXY_HEADERS: Final = frozenset(
    {
        *(b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip"),
        *(b"true-client-ip", b"cf-connecting-ip", b"fastly-client-ip", b"x-original-host"),
        *(b"x-envoy-external-address", b"x-proxyuser-ip", b"x-appengine-user-ip", b"client-ip"),
    }
)
PROXY_HEADER_PREFIXES: Final = (b"x-forwarded", b"x-original-forwarded", b"proxy-")


def client_address(
    peer: str | None, forwarded_for: Iterable[str], trusted: Sequence[Network]
) -> str | None:
    """The address of the client. None if the server doesn't know its peer.

    `forwarded_for` are the values of X-Forwarded-For in their order. Each proxy appends the
    address that it saw. So the list is read from its end, as long as the address that wrote an
    entry is trusted. Entries before the first untrusted address are claims and are ignored.
    """
    client = peer
    hops = [hop for value in forwarded_for for hop in value.split(",")]
    while hops and client is not None and _is_trusted(client, trusted):
        address = _parse_address(hops.pop())
        if address is None:
            break
        client = str(address)
    return client


def is_loopback(address: str) -> bool:
    """Whether it is an address of this machine, which an IPv6 socket may report as mapped.

    False if it isn't an address, such as the path of a Unix socket.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    # Python before 3.13 doesn't know mapped addresses.
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def is_proxied(names: Iterable[bytes], http_version: str) -> bool:
    """Whether a proxy passed a request on, by the names of its headers in lower case.

    nginx adds none of these headers by default, and replaces Host by the address that it passes to,
    so that the request looks local. Up to 1.28 it sends HTTP/1.0, which neither browsers nor
    scrapers do. Other proxies that add nothing can't be recognized.
    """
    return http_version == "1.0" or any(
        name in PROXY_HEADERS or name.startswith(PROXY_HEADER_PREFIXES) for name in names
    )


def parse_network(text: str) -> Network:
    """An address or network in a setting. Raises ValueError."""
    return ipaddress.ip_network(text.strip(), strict=False)


def _is_trusted(text: str, trusted: Sequence[Network]) -> bool:
    address = _parse_address(text)
    return address is not None and any(address in network for network in trusted)


def _parse_address(text: str) -> Address | None:
    """An address as proxies write it: bare, with a port, or in brackets."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        # A zone (RFC 4007) has a meaning on one machine only, and may contain any text.
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A proxy with an IPv6 socket reports an IPv4 client as a mapped address.
    return getattr(address, "ipv4_mapped", None) or address
