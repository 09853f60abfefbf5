"""Secrets that anybody can read up: where people work, none of them keeps anybody out."""

import ipaddress
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from entrypoints.settings import DEPLOYED, Settings, variable

# What Supabase's own examples sign with: whoever knows it signs in as anybody.
SIGNING: Final = frozenset(
    {
        "super-secret-jwt-token-with-at-least-32-characters-long",
        "your-super-secret-jwt-token-with-at-least-32-characters-long",
    }
)
# Of the pages and Compose files of PostgreSQL, Redis and Valkey, and what is guessed first.
PASSWORDS: Final = frozenset(
    {
        *("postgres", "postgresql", "mysecretpassword", "example", "redis", "valkey", "foobared"),
        *("password", "passwd", "secret", "changeme", "change-me", "admin", "root", "pandaprobe"),
    }
)


def default_password_problems(
    settings: Settings, _wrong: frozenset[str] = frozenset()
) -> Iterator[str]:
    """What is wrong with the secrets of a deployment; none of them is shown.

    A server on this machine may have any password: who reaches it has the machine.
    """
    if settings.app_env not in DEPLOYED:
        return
    for field in ("database_url", "redis_url"):
        password = _password_elsewhere(getattr(settings, field) or "")
        if password.lower() in PASSWORDS:
            yield _known(field, "hold another password", settings)
    if settings.auth_hs256_secret in SIGNING:
        yield _known("auth_hs256_secret", "be another secret", settings)


def _known(field: str, due: str, settings: Settings) -> str:
    return (
        f"{variable(field)} must {due} where {variable('app_env')} is {settings.app_env}: "
        "this one is known to everybody"
    )


def _password_elsewhere(url: str) -> str:
    """The password of a server on another machine; empty where there is none."""
    parts = urlsplit(url)
    if _is_here(parts.hostname or ""):
        return ""
    said = parse_qs(parts.query).get("password", [""])
    return unquote(parts.password or "") or said[-1]


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in {"", "localhost"}
