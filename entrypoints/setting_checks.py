"""Checks of settings: database URLs, default passwords, and extras that are not installed."""

import ipaddress
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from adapters.postgres.database.connections.host_urls import single_host_urls
from adapters.postgres.database.connections.url_parameters import parameter_problems
from domain.errors import Invalid
from entrypoints.settings import DEPLOYED, Settings, variable
from entrypoints.startup import CommandError

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
# Modules of the extra `otel` in pyproject.toml.
OTEL_MODULES: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
GRPC_MODULE: Final = "grpc"  # of the extra `grpc`
S3_MODULE: Final = "obstore"
MCP_MODULE: Final = "mcp.server"  # of the extra `mcp`


def default_password_problems(
    settings: Settings, _wrong: frozenset[str] = frozenset()
) -> Iterator[str]:
    """The problems with the secrets of a deployment. The secrets themselves aren't shown.

    A server on this machine may have any password, because only this machine reaches it.
    """
    if settings.app_env not in DEPLOYED:
        return
    urls = {
        "database_url": single_host_urls(settings.database_url or ""),
        "migration_database_url": single_host_urls(settings.migration_database_url or ""),
        "database_read_url": single_host_urls(settings.database_read_url or ""),
        "redis_url": [settings.redis_url or ""],
    }
    for field, hosts in urls.items():
        if any(_remote_password(url).lower() in DEFAULT_PASSWORDS for url in hosts):
            yield _problem(field, "hold another password", settings)
    if settings.auth_hs256_secret in EXAMPLE_SIGNING_SECRETS:
        yield _problem("auth_hs256_secret", "be another secret", settings)


def database_url_problems(
    settings: Settings, _wrong: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Parameters of database URLs that can't be kept to."""
    for field in ("database_url", "migration_database_url", "database_read_url"):
        for problem in parameter_problems(getattr(settings, field) or ""):
            yield f"{variable(field)}: {problem}"


def redis_url_problems(settings: Settings, _wrong: frozenset[str] = frozenset()) -> Iterator[str]:
    """Parameters of the URL of Redis that its client doesn't take."""
    if "?" in (settings.redis_url or ""):
        from adapters.redis.client import parameter_problems  # noqa: PLC0415 - takes 0.15 s

        for problem in parameter_problems(settings.redis_url or ""):
            yield f"{variable('redis_url')}: {problem}"


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


def missing_extras(settings: Settings, _wrong: frozenset[str]) -> Iterator[str]:
    """A message for each extra that the settings need and that isn't installed."""
    if settings.otel_exporter_otlp_endpoint is not None and not all(
        map(_is_installed, OTEL_MODULES)
    ):
        yield _missing("otel_exporter_otlp_endpoint", "otel")
    if settings.otlp_grpc_port is not None and not _is_installed(GRPC_MODULE):
        yield _missing("otlp_grpc_port", "grpc")
    if settings.payload_bucket is not None and not _is_installed(S3_MODULE):
        yield _missing("payload_bucket", "s3")


def storage_problems(settings: Settings, wrong: frozenset[str]) -> Iterator[str]:
    """Credentials of object storage of which one half is missing."""
    names = ("s3_access_key_id", "s3_secret_access_key")
    if len({name in wrong or getattr(settings, name) is not None for name in names}) > 1:
        yield f"{' and '.join(map(variable, names))} must be set together"


def port_problems(settings: Settings, _wrong: frozenset[str]) -> Iterator[str]:
    """Ports of one process that are the same: both could be bound, and only gRPC would answer."""
    if settings.otlp_grpc_port == settings.port:
        yield f"{variable('otlp_grpc_port')} must differ from {variable('port')}"


def model_problems(settings: Settings, _wrong: frozenset[str]) -> Iterator[str]:
    """Models of judges whose provider doesn't exist: every run with them would be refused."""
    names = {
        "eval_llm_model": [settings.eval_llm_model] if settings.eval_llm_model else [],
        "eval_allowed_models": settings.eval_allowed_models,
    }
    if not any(names.values()):
        return
    from domain.evaluation.judging.models import (  # noqa: PLC0415 - most commands need none
        resolve_model,
        validate_model,
    )

    for field, models in names.items():
        for model in models:
            try:
                validate_model(resolve_model(model))
            except Invalid as error:
                yield f"{variable(field)}: {model!r} {error.errors[0].message}"


def check_mcp_is_installed() -> None:
    """Raises CommandError if the extra of the command `mcp` isn't installed."""
    if not _is_installed(MCP_MODULE):
        raise CommandError(f"`mcp` {_needs_extra('mcp')}")


def _missing(field: str, extra: str) -> str:
    return f"{variable(field)} {_needs_extra(extra)}"


def _needs_extra(extra: str) -> str:
    return (
        f"needs the extra `{extra}`, which isn't installed: in the folder of this server, "
        f"`pip install '.[{extra}]'` or `pip install -r requirements-extras.lock`"
    )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False
