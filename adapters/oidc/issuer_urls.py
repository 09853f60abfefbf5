"""Decides from which URLs an issuer's documents may be fetched: https, or a private network."""

from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

DISCOVERY: Final = "/.well-known/openid-configuration"
# Names that no public DNS resolves (RFC 6761, RFC 6762, ICANN's reservation of 2024).
PRIVATE_SUFFIXES: Final = (".localhost", ".local", ".internal", ".test")


def is_trusted(url: str) -> bool:
    """Whether keys may be fetched from `url`: https, or http within a private network.

    A URL with a password or a fragment is not trusted.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        parts.port  # noqa: B018 - raises if it isn't a number
    except ValueError:
        return False
    if not host or not url.isascii() or any(char <= " " for char in url):
        return False
    if parts.username is not None or parts.password is not None or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_private(host))


def is_as_trusted(url: str, as_: str) -> bool:
    """Whether `url`, named by a trusted document at `as_`, is trusted too, without a downgrade."""
    return is_trusted(url) and (urlsplit(url).scheme == "https" or urlsplit(as_).scheme == "http")


def discovery_url(issuer: str) -> str:
    """The URL of an issuer's metadata (OpenID Connect Discovery 1.0, section 4)."""
    return issuer.rstrip("/") + DISCOVERY


def is_private(host: str) -> bool:
    """Whether a host is in a private network, as far as its name tells."""
    try:
        return ip_address(host).is_private  # loopback too
    except ValueError:
        # A name without a dot is in this network: another container, `localhost`.
        return "." not in host or host.endswith(PRIVATE_SUFFIXES)
