"""Access to /metrics: clients with the token, or, without a token, clients on this machine."""

import hmac
import ipaddress
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4"
# A request with one of these comes from a proxy, whose client may be on any machine.
PROXY_HEADERS: Final = (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via")


def metrics_refusal(
    peer: str | None, headers: Mapping[bytes, bytes], token: str | None
) -> tuple[HTTPStatus, str] | None:
    """Status and reason if `peer` may not read the metrics, else None.

    The names of `headers` are in lower case.
    """
    if token is not None:
        given = headers.get(b"authorization", b"").strip()
        if hmac.compare_digest(given, f"Bearer {token}".encode()):
            return None
        return HTTPStatus.UNAUTHORIZED, "Send the metrics token as a Bearer token"
    if _is_local(peer, headers):
        return None
    return (
        HTTPStatus.FORBIDDEN,
        "Only this machine may read the metrics; set a metrics token to read them from elsewhere",
    )


def _is_local(peer: str | None, headers: Mapping[bytes, bytes]) -> bool:
    if peer is None or any(name in headers for name in PROXY_HEADERS):
        return False
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False
