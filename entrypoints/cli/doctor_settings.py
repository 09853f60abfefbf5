"""What `doctor` says of settings that can be used: names that are none, and what is unsafe."""

import difflib
import ipaddress
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import parse_qs, urlsplit

from adapters.oidc.issuer_urls import is_private
from entrypoints.cli.doctor_findings import Finding, ok, warn
from entrypoints.settings import DEPLOYED, PREFIX, Settings, variable
from entrypoints.startup import base_url

NAME: Final = "settings"
# What SDKs and the command line read under our prefix.
FOREIGN: Final = frozenset(
    f"{PREFIX}{name}"
    for name in (
        *("API_KEY", "PROJECT_NAME", "ENDPOINT", "ENVIRONMENT", "RELEASE", "ENABLED", "DEBUG"),
        *("TIMEOUT", "BATCH_SIZE", "FLUSH_INTERVAL", "MAX_QUEUE_SIZE", "AUTH_URL", "BASE_URL"),
        *("FORMAT", "CONFIG", "VERSION", "INSTALL_DIR"),
    )
)
OURS_TOO: Final = frozenset({f"{PREFIX}TOKEN", f"{PREFIX}PUBLISHED_PORT"})  # dev.env; Compose
ENCRYPTED: Final = frozenset({"require", "verify-ca", "verify-full"})


def settings_found(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """`settings` were read from `environ`."""
    found = [*_unknown(environ), *_loops(settings)]
    if settings.app_env in DEPLOYED:
        found += [*_open(settings), *_readable(settings)]
    yield from found or [ok(NAME)]


def _unknown(environ: Mapping[str, str]) -> Iterator[Finding]:
    known = {variable(field) for field in Settings.__struct_fields__}
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known | FOREIGN | OURS_TOO:
            near = difflib.get_close_matches(name, known, 1, cutoff=0.8)
            advice = f"is {near[0]} meant?" if near else "docs/settings.md has all of them"
            yield warn(NAME, f"{name} is no setting, and does nothing", advice)


def _loops(settings: Settings) -> Iterator[Finding]:
    endpoint = settings.otel_exporter_otlp_endpoint
    if endpoint is not None and endpoint.rstrip("/").startswith(base_url(settings)):
        yield warn(
            NAME,
            f"{variable('otel_exporter_otlp_endpoint')} leads to this server itself",
            "name a collector",
        )


def _open(settings: Settings) -> Iterator[Finding]:
    """What lets in whom nobody meant."""
    if not settings.rate_limit_enabled:
        yield _unsafe("rate_limit_enabled", "nobody is limited", "take it out")
    if "*" in settings.allowed_origins:
        why = "pages of any site may call the API from their visitors' browsers"
        yield _unsafe("allowed_origins", why, "name the origins")
    proxies = (ipaddress.ip_network(one, strict=False) for one in settings.trusted_proxies)
    if any(one.prefixlen == 0 for one in proxies):
        why = "anybody may say which address they have"
        yield _unsafe("trusted_proxies", why, "name the proxies")
    if settings.alert_allow_private_targets:
        why = "webhooks of tenants may lead into your network"
        yield _unsafe("alert_allow_private_targets", why, "take it out")
    if settings.eval_mask == "off":
        why = "secrets in traces are shown to judges"
        yield _unsafe("eval_mask", why, "take it out")


def _readable(settings: Settings) -> Iterator[Finding]:
    """Servers elsewhere that are spoken to in plain text, or that let in anybody."""
    database = urlsplit(settings.database_url or "")
    modes = set(parse_qs(database.query).get("sslmode", []))
    if _is_elsewhere(database.hostname) and not modes & ENCRYPTED:
        why = f"what goes to {database.hostname} may go in plain text"
        yield _unsafe("database_url", why, "add ?sslmode=verify-full, or require")
    redis = urlsplit(settings.redis_url or "")
    if _is_elsewhere(redis.hostname) and redis.scheme != "rediss":
        why = f"what goes to {redis.hostname} goes in plain text"
        yield _unsafe("redis_url", why, "use rediss://")
    if redis.hostname not in {None, "localhost", "127.0.0.1", "::1"} and not redis.password:
        why = "it has no password, and whoever reaches Redis can give workers jobs"
        yield _unsafe("redis_url", why, "set one")


def _is_elsewhere(host: str | None) -> bool:
    return bool(host) and not is_private(host or "")


def _unsafe(field: str, why: str, advice: str) -> Finding:
    return warn(NAME, f"{variable(field)}: {why}", advice)
