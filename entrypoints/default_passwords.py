"""Refuses well-known default passwords in staging and production."""

import ipaddress
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from entrypoints.settings import DEPLOYED, Settings, variable

# The signing secrets of Supabase's examples, with which anyone could sign in as any user.
EXAMPLE_SIGNING_SECRETS: Final = frozenset(
    {
        "super-secret-jwt-token-with-at-least-32-characters-long",
        "your-super-secret-jwt-token-with-at-least-32-characters-long",
    }
)
# From the documentation and Compose files of PostgreSQL, Redis and Valkey, and common guesses.
DEFAULT_PASSWORDS: Final = frozenset(
    {
        *("postgres", "postgresql", "mysecretpassword", "example", "redis", "valkey", "foobared"),
        *("password", "passwd", "secret", "changeme", "change-me", "admin", "root", "pandaprobe"),
    }
)


def default_password_problems(
    settings: Settings, _wrong: frozenset[str] = frozenset()
) -> Iterator[str]:
    """The problems with the secrets of a deployment. The secrets themselves aren't shown.

    A server on this machine may have any password, because only this machine reaches it.
    """
    if settings.app_env not in DEPLOYED:
        return
    for field in ("database_url", "redis_url"):
        password = _remote_password(getattr(settings, field) or "")
        if password.lower() in DEFAULT_PASSWORDS:
            yield _problem(field, "hold another password", settings)
    if settings.auth_hs256_secret in EXAMPLE_SIGNING_SECRETS:
        yield _problem("auth_hs256_secret", "be another secret", settings)


def _problem(field: str, advice: str, settings: Settings) -> str:
    return (
        f"{variable(field)} must {advice} if {variable('app_env')} is {settings.app_env}: "
        "this one is a well-known default"
    )


def _remote_password(url: str) -> str:
    """The password of a server on another machine, or an empty text."""
    parts = urlsplit(url)
    if _is_local(parts.hostname or ""):
        return ""
    in_query = parse_qs(parts.query).get("password", [""])
    return unquote(parts.password or "") or in_query[-1]


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in {"", "localhost"}
