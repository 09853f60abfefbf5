"""Who may read metrics: whoever has the token, or else who asks from this machine."""

import hmac
import ipaddress
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4"
# Who sends one of these is a proxy: whoever is behind it isn't on this machine.
FORWARDING: Final = (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via")


def refusal(
    peer: str | None, headers: Mapping[bytes, bytes], token: str | None
) -> tuple[HTTPStatus, str] | None:
    """Why `peer` may not read them; None where they may. Names of headers are in small letters."""
    if token is not None:
        given = headers.get(b"authorization", b"").strip()
        if hmac.compare_digest(given, f"Bearer {token}".encode()):
            return None
        return HTTPStatus.UNAUTHORIZED, "The metrics token is needed, as a bearer token"
    if _is_here(peer, headers):
        return None
    return (
        HTTPStatus.FORBIDDEN,
        "Metrics are for this machine alone; to ask from elsewhere set a metrics token",
    )


def _is_here(peer: str | None, headers: Mapping[bytes, bytes]) -> bool:
    if peer is None or any(name in headers for name in FORWARDING):
        return False
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False
