"""What a request says about the browser and the page that sent it, and the session's cookie."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from domain.identity.browser_session import SessionPurpose
from entrypoints.http.middleware.client_address import is_loopback, is_proxied

type Headers = Mapping[bytes, bytes]
"""The request's headers by their names in lower case."""

SESSION_COOKIES: Final = {
    SessionPurpose.DASHBOARD: "pp_session",
    SessionPurpose.CLI: "pp_cli_session",
}
# A browser accepts a cookie with this prefix only over HTTPS, and from this host alone.
HOST_PREFIX: Final = "__Host-"
VERIFIER_HEADER: Final = b"x-session-verifier"
SAFE_METHODS: Final = ("GET", "HEAD")
# A foreign site could make another name resolve to this machine (DNS rebinding).
_LOOPBACK_HOST: Final = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?")


def is_from_our_page(scope: Mapping[str, Any]) -> bool:
    """Whether a page of this service sent the request, in a browser on this machine."""
    hosts, origins, sites = (
        _values(scope, wanted) for wanted in (b"host", b"origin", b"sec-fetch-site")
    )
    return (
        is_on_this_machine(scope)
        and origins == [b"http://" + hosts[0]]
        and sites in ([], [b"same-origin"])  # older browsers don't send the header
    )


def is_on_this_machine(scope: Mapping[str, Any]) -> bool:
    """Whether the request came from this machine, to a name of it, and not through a proxy."""
    client, hosts = scope.get("client"), _values(scope, b"host")
    return (
        # A proxy on this machine is a loopback peer too, but its client may be on any machine.
        not is_proxied((name.lower() for name, _ in scope["headers"]), scope["http_version"])
        and client is not None
        and is_loopback(client[0])
        and len(hosts) == 1
        and _LOOPBACK_HOST.fullmatch(hosts[0]) is not None
    )


def is_same_origin(headers: Headers, method: str) -> bool:
    """Whether a page of this host sent the request, by what its browser says.

    A browser that doesn't send Sec-Fetch-Site sends an Origin at least with each write.
    """
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site == b"same-origin"
    origin = headers.get(b"origin")
    if origin is None:
        return method in SAFE_METHODS
    return _has_host(origin, headers)


def is_from_elsewhere(headers: Headers) -> bool:
    """Whether a browser says that a page of another origin sent the request."""
    site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    if site is not None:
        return site not in {b"same-origin", b"none"}
    return origin is not None and not _has_host(origin, headers)


def is_over_https(headers: Headers, public_url: str | None) -> bool:
    """Whether the browser speaks HTTPS, if only to a proxy in front of this service."""
    is_public = public_url is not None and public_url.startswith("https:")
    return is_public or headers.get(b"origin", b"").startswith(b"https:")


def session_cookie(headers: Headers, purpose: SessionPurpose) -> str | None:
    """The text of the session's cookie; None without one, or with several values."""
    name = SESSION_COOKIES[purpose]
    return read_cookie(headers, f"{HOST_PREFIX}{name}") or read_cookie(headers, name)


def read_cookie(headers: Headers, name: str) -> str | None:
    """None if the cookie is missing, empty, or was sent with different values."""
    sent = headers.get(b"cookie", b"").decode("latin-1").split(";")
    pairs = (part.strip().partition("=") for part in sent)
    values = {value for key, _, value in pairs if key == name}
    return values.pop() or None if len(values) == 1 else None


def format_cookie(
    name: str, value: str, *, max_age_s: int, is_secure: bool, same_site: str = "Strict"
) -> str:
    """The text of a Set-Cookie header. With `max_age_s` of 0 the browser deletes the cookie."""
    prefix, secure = (HOST_PREFIX, "; Secure") if is_secure else ("", "")
    return (
        f"{prefix}{name}={value}; Max-Age={max_age_s}; Path=/; HttpOnly; "
        f"SameSite={same_site}{secure}"
    )


def _has_host(origin: bytes, headers: Headers) -> bool:
    try:
        netloc = urlsplit(origin.decode("latin-1")).netloc
    except ValueError:
        return False
    return bool(netloc) and netloc.lower() == headers.get(b"host", b"").decode("latin-1").lower()


def _values(scope: Mapping[str, Any], wanted: bytes) -> Sequence[bytes]:
    return [value for name, value in scope["headers"] if name.lower() == wanted]
