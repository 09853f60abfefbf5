"""Where a request came from, also behind proxies that one trusts."""

import ipaddress
from collections.abc import Iterable, Sequence

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address
type Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def client_address(
    peer: str | None, forwarded_for: Iterable[str], trusted: Sequence[Network]
) -> str | None:
    """The address of the client. None where the server doesn't know its peer.

    `forwarded_for` are the values of X-Forwarded-For in their order. Each proxy adds whom it saw
    at the end, so they are read from there, for as long as whoever wrote them is trusted: what a
    stranger claims before that is never believed.
    """
    seen = peer
    hops = [hop for value in forwarded_for for hop in value.split(",")]
    while hops and seen is not None and _is_trusted(seen, trusted):
        address = _address(hops.pop())
        if address is None:
            break
        seen = str(address)
    return seen


def network(text: str) -> Network:
    """An address or network of a setting. Raises ValueError."""
    return ipaddress.ip_network(text.strip(), strict=False)


def _is_trusted(seen: str, trusted: Sequence[Network]) -> bool:
    address = _address(seen)
    return address is not None and any(address in one for one in trusted)


def _address(text: str) -> Address | None:
    """An address as proxies write it: bare, with a port, or in brackets."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        # A zone (RFC 4007) means something on one machine only, and may hold any text.
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # The same client, whichever way the socket of the proxy was opened.
    return getattr(address, "ipv4_mapped", None) or address
