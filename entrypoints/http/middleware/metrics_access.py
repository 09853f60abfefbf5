"""Access to /metrics: clients with the token, or, without a token, clients on this machine."""

import hmac
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from entrypoints.http.middleware.client_address import is_loopback, is_proxied

CONTENT_TYPE: Final = "text/plain; version=0.0.4"
LOCAL_NAMES: Final = ("localhost", "localhost.")


def metrics_refusal(
    peer: str | None, headers: Mapping[bytes, bytes], http_version: str, token: str | None
) -> tuple[HTTPStatus, str] | None:
    """Status and reason if `peer` may not read the metrics, else None.

    The names of `headers` are in lower case.
    """
    if token is not None:
        given = headers.get(b"authorization", b"").strip()
        if hmac.compare_digest(given, f"Bearer {token}".encode()):
            return None
        return HTTPStatus.UNAUTHORIZED, "Send the metrics token as a Bearer token"
    if _is_local(peer, headers, http_version):
        return None
    return (
        HTTPStatus.FORBIDDEN,
        "Only this machine may read the metrics; set a metrics token to read them from elsewhere",
    )


def _is_local(peer: str | None, headers: Mapping[bytes, bytes], http_version: str) -> bool:
    if peer is None or is_proxied(headers, http_version):
        return False
    host = headers.get(b"host", b"").decode("latin-1")
    return is_loopback(peer) and _names_this_machine(host)


def _names_this_machine(host: str) -> bool:
    """Whether a Host header names this machine.

    A page of the Internet can let its own name point to 127.0.0.1, and make a browser on this
    machine send requests there: then the Host is that name.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name in LOCAL_NAMES or is_loopback(name)
