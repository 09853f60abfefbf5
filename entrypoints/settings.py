"""All settings of the service, read once from the environment."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Final, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

PREFIX: Final = "PANDAPROBE_"
DEPLOYED: Final = ("staging", "production")  # environments that must refuse development keys
SWITCH: Final = {"on": "true", "yes": "true", "off": "false", "no": "false"}


def _range(least: int, most: int, what: str = "a whole number") -> Meta:
    return Meta(description=f"{what} from {least} to {most}", ge=least, le=most)


def _list_of(what: str) -> Meta:
    return Meta(description=f"{what}, as a JSON array or separated by commas")


# Types of settings. The description of a type completes the sentence "… must be". They are plain
# aliases, because `_expected` doesn't see through `type`.
Environment = Literal["development", "staging", "production", "test"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
RedactionMode = Annotated[
    Literal["secrets", "secrets,pii", "off"], Meta(description="secrets; secrets,pii; or off")
]
Port = Annotated[int, _range(1, 65_535)]
Days = Annotated[int, _range(1, 3_650, "whole days")]
Seconds = Annotated[int, _range(1, 86_400, "whole seconds")]
File = Annotated[str, Meta(description="a file", min_length=1)]
Folder = Annotated[str, Meta(description="a folder", min_length=1)]
HttpUrl = Annotated[str, Meta(description="a URL that begins with https://", pattern="^https?://")]
DatabaseUrl = Annotated[
    str, Meta(description="a URL that begins with postgresql://", pattern="^postgres(ql)?://")
]
RedisUrl = Annotated[
    str, Meta(description="a URL that begins with redis:// or rediss://", pattern="^rediss?://")
]
Rate = Annotated[
    str,
    Meta(
        description="a limit such as 100/minute, per second, minute, hour or day, up to 100000",
        pattern=r"^([1-9][0-9]{0,4}|100000)/(second|minute|hour|day)$",
    ),
]
ProviderKey = Annotated[
    str, Meta(description="a key, in visible ASCII characters", pattern=r"^[\x21-\x7e]{1,4096}$")
]
SigningSecret = Annotated[
    str, Meta(description="a secret of at least 32 characters", min_length=32)
]
MetricsToken = Annotated[
    str, Meta(description="at least 16 visible ASCII characters", pattern=r"^[\x21-\x7e]{16,}$")
]
FirebaseProject = Annotated[
    str, Meta(description="the id of a Firebase project", pattern=r"^[a-z0-9.:-]{1,64}$")
]
CloudProject = Annotated[str, Meta(description="the id of a project of Google Cloud", min_length=1)]
CloudLocation = Annotated[
    str, Meta(description="a location of Google Cloud", pattern=r"^[a-z0-9-]{1,64}$")
]
ModelName = Annotated[str, Meta(description="the name of a model", pattern=r"^[\x21-\x7e]{1,255}$")]
# As browsers send them: a scheme and a host, perhaps with a port, and nothing after them.
Origin = Annotated[str, Meta(pattern=r"^(\*|null|[a-z][a-z0-9+.-]*://[^/?#@*\s]+/?)$")]
Issuer = Annotated[str, Meta(description="the `iss` of tokens", min_length=1)]
Audience = Annotated[str, Meta(min_length=1)]
EmailDomain = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")]
ClientId = Annotated[
    str,
    Meta(description="the id of a client, in visible ASCII", pattern=r"^[\x21-\x7e]{1,512}$"),
]
ClientSecret = Annotated[
    str,
    Meta(description="the secret of a client, in visible ASCII", pattern=r"^[\x21-\x7e]{1,1024}$"),
]
SecretKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}:[A-Za-z0-9+/_-]{43}=?$")]
HeaderPair = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]+=[\x20-\x7e]*$")]


class SettingsError(Exception):
    """Variables with unusable values. The message names each, and says what it must be."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Each field is read from the variable PREFIX + its name in capitals.

    docs/operation/settings.md lists them. The fields in SECRET are also read from the file that the
    variable with FILE_SUFFIX names. The fields in UNPREFIXED are also read from the variable
    without PREFIX, which other programs use.
    """

    app_env: Environment = "production"
    host: Annotated[str, Meta(description="an address to listen on", min_length=1)] = "127.0.0.1"
    port: Port = 8000
    api_processes: Annotated[int, _range(1, 64)] = 1
    log_level: LogLevel = "INFO"
    log_format: Literal["auto", "json", "console"] = "auto"
    data_dir: Folder = ".local"
    database_url: DatabaseUrl | None = None
    migration_database_url: DatabaseUrl | None = None
    database_read_url: DatabaseUrl | None = None
    database_read_max_lag_ms: Annotated[int, _range(10, 10_000, "milliseconds")] = 500
    database_direct_to_workers: bool = False
    database_pool_size: Annotated[int, _range(1, 1_000)] = 10
    database_statement_timeout_ms: Annotated[int, _range(100, 3_600_000, "milliseconds")] = 30_000
    redis_url: RedisUrl | None = None
    allowed_origins: Annotated[
        tuple[Origin, ...], _list_of("origins such as https://app.example.com")
    ] = ()
    max_body_bytes: Annotated[int, _range(1_024, 1 << 30, "bytes")] = 20 << 20
    max_spans_per_request: Annotated[int, _range(1, 100_000)] = 5000
    otlp_max_body_bytes: Annotated[int, _range(1_024, 1 << 30, "bytes")] = 64 << 20
    otlp_max_spans: Annotated[int, _range(1, 1_000_000)] = 50_000
    max_owned_organizations: Annotated[int, _range(0, 1_000_000)] = 0
    max_projects_per_organization: Annotated[int, _range(1, 100_000)] = 1_000
    max_keys_per_organization: Annotated[int, _range(1, 100_000)] = 200
    api_key_cache_seconds: Annotated[float, _range(0, 30, "seconds")] = 30
    dashboard: bool = True
    auth_preset: Literal["oidc", "supabase", "firebase"] = "oidc"
    auth_issuer: Issuer | None = None
    auth_audience: Annotated[tuple[Audience, ...], _list_of("audiences")] = ()
    auth_jwks_url: HttpUrl | None = None
    auth_hs256_secret: SigningSecret | None = None
    auth_client_id: ClientId | None = None
    auth_client_secret: ClientSecret | None = None
    supabase_url: HttpUrl | None = None
    firebase_project_id: FirebaseProject | None = None
    auth_dev_issuer: bool = False
    auth_trust_unverified_email: bool = False
    auth_allowed_email_domains: Annotated[
        tuple[EmailDomain, ...], _list_of("domains such as example.com")
    ] = ()
    auth_sign_up: bool = True
    auth_leeway_seconds: Annotated[int, _range(0, 300, "whole seconds")] = 30
    public_url: HttpUrl | None = None
    session_hours: Annotated[int, _range(1, 720, "whole hours")] = 12
    session_max_days: Annotated[int, _range(1, 90, "whole days")] = 7

    payload_bucket: (
        Annotated[str, Meta(description="the name of a bucket", min_length=1)] | None
    ) = None
    s3_endpoint: HttpUrl | None = None
    s3_region: Annotated[str, Meta(description="the name of a region", min_length=1)] = "us-east-1"
    s3_access_key_id: ProviderKey | None = None
    s3_secret_access_key: ProviderKey | None = None

    secret_keys: Annotated[
        tuple[SecretKey, ...],
        Meta(description="id:key, the key being 32 bytes in Base64, separated by commas"),
    ] = ()

    trusted_proxies: Annotated[tuple[str, ...], _list_of("addresses or networks")] = ()
    # Longer than the 60 s after which common load balancers close idle connections.
    keep_alive_seconds: Annotated[int, _range(1, 3_600, "whole seconds")] = 65
    rate_limit_enabled: bool = True
    rate_limit_ingest: Rate = "100/minute"
    rate_limit_trace_runs: Rate = "50/minute"
    rate_limit_session_runs: Rate = "50/minute"
    rate_limit_monitor_trigger: Rate = "10/minute"
    rate_limit_invitations: Rate = "10/hour"
    rate_limit_cli_exchange: Rate = "20/minute"
    rate_limit_sign_in: Rate = "20/minute"
    rate_limit_default: Rate = "600/minute"

    otlp_bytes_per_second: Annotated[int, _range(1_024, 1 << 40, "bytes")] = 32 << 20
    otlp_spans_per_second: Annotated[int, _range(1, 1 << 30)] = 20_000

    price_table: File | None = None
    idempotency_ttl_hours: Annotated[int, _range(1, 720, "whole hours")] = 24
    otlp_settle_seconds: Seconds = 900
    otlp_quiet_seconds: Seconds = 30
    otlp_grpc_port: Port | None = None
    mcp_port: Port = 8001
    mcp_public_url: HttpUrl | None = None

    openai_api_key: ProviderKey | None = None
    openai_base_url: HttpUrl | None = None
    anthropic_api_key: ProviderKey | None = None
    gemini_api_key: ProviderKey | None = None
    google_cloud_project: CloudProject | None = None
    vertex_ai_location: CloudLocation = "global"
    openai_compatible_base_url: HttpUrl | None = None
    openai_compatible_api_key: ProviderKey | None = None
    eval_llm_model: ModelName | None = None
    eval_allowed_models: Annotated[tuple[ModelName, ...], _list_of("names of models")] = ()
    eval_worker_processes: Annotated[int, _range(1, 64)] = 1
    # More than judge calls: while those wait, others are read and recorded.
    eval_worker_concurrency: Annotated[int, _range(1, 256)] = 12
    eval_evidence_tokens: Annotated[int, _range(1_000, 1_000_000)] = 12_000
    eval_mask: RedactionMode = "secrets"
    eval_judge_timeout_seconds: Annotated[float, _range(1, 90, "seconds")] = 60
    eval_judge_concurrency: Annotated[int, _range(1, 1_000)] = 8
    eval_cache_ttl_days: Annotated[int, _range(0, 3_650, "whole days")] = 30
    eval_server_monthly_usd: Annotated[float, _range(0, 1_000_000, "USD")] | None = None
    eval_ledger_days: Annotated[int, _range(62, 3_650, "whole days")] = 400
    monitor_tick_seconds: Annotated[int, _range(1, 30, "whole seconds")] = 30
    alert_allow_private_targets: bool = False
    export_max_seconds: Seconds = 3_600
    export_max_megabytes: Annotated[int, Meta(description="1 to 9999 MiB", ge=1, le=9999)] = 2048
    export_keep_days: Days = 7
    alert_delivery_ttl_days: Days = 30
    alert_change_ttl_days: Days = 400
    ready_max_queue_age_seconds: Seconds = 300
    metrics_enabled: bool = True
    metrics_token: MetricsToken | None = None
    metrics_dir: Folder | None = None
    worker_port: Port | None = None
    otel_exporter_otlp_endpoint: HttpUrl | None = None
    otel_exporter_otlp_headers: Annotated[
        tuple[HeaderPair, ...],
        Meta(description="name=value, separated by commas or as a JSON array"),
    ] = ()

    def __repr__(self) -> str:
        """Shows every field but the secrets. The URLs of servers contain passwords."""
        shown = (
            f"{name}={'…' if name in SECRET and value else repr(value)}"
            for name, value in msgspec.structs.asdict(self).items()
        )
        return f"Settings({', '.join(shown)})"


SERVER_URLS: Final = frozenset(
    {"database_url", "migration_database_url", "database_read_url", "redis_url"}
)
# Fields that are read from the variable without PREFIX if the prefixed one isn't set.
UNPREFIXED: Final = frozenset(
    {"openai_api_key", "anthropic_api_key", "gemini_api_key", "google_cloud_project"}
)
SECRET: Final = SERVER_URLS | {
    *("secret_keys", "auth_hs256_secret", "auth_client_secret"),
    *("openai_api_key", "anthropic_api_key", "gemini_api_key"),
    *("metrics_token", "otel_exporter_otlp_headers", "s3_secret_access_key"),
    *("openai_compatible_api_key", "openai_base_url", "openai_compatible_base_url"),
}


FILE_SUFFIX: Final = "_FILE"
SECRET_FILE_MAX: Final = 65_536  # bytes; the longest secrets are lists of keys or headers


def variable(field: str) -> str:
    """The name of the environment variable of a field."""
    return f"{PREFIX}{field.upper()}"


def file_variable(field: str) -> str:
    """The name of the variable with the path of a file that contains the field, a secret."""
    return f"{variable(field)}{FILE_SUFFIX}"


def with_defaults(environ: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    """The environment, with `defaults` for the fields that it doesn't give, also not in a file.

    An empty variable gives none.
    """
    missing = {
        name: value
        for name, value in defaults.items()
        if not any(environ.get(one, "").strip() for one in (name, f"{name}{FILE_SUFFIX}"))
    }
    return {**environ, **missing}


type Check = Callable[[Settings, frozenset[str]], Iterable[str]]
"""Finds problems across settings. The second argument lists the fields with unusable values."""


def read_settings(environ: Mapping[str, str], *checks: Check) -> Settings:
    """Reads the settings from an environment. An empty variable counts as unset.

    Raises SettingsError with all problems, also those of `checks`, in one message.
    """
    values: dict[str, object] = {}
    problems: list[str] = []
    wrong: set[str] = set()
    for field, kind in get_type_hints(Settings, include_extras=True).items():
        try:
            name, text = _read_variable(environ, field)
        except ValueError as error:
            problems.append(str(error))
            wrong.add(field)
            continue
        if not text:
            continue
        try:
            if field in SERVER_URLS:
                _check_ports(text, several=field != "redis_url")
            values[field] = msgspec.convert(_to_convertible(text, kind), kind, strict=False)
        except (msgspec.ValidationError, ValueError):
            actual = "" if field in SECRET else f", not {text!r}"
            verb = "contain" if name.endswith(FILE_SUFFIX) else "be"
            problems.append(f"{name} must {verb} {_expected(kind)}{actual}")
            wrong.add(field)
    settings = Settings(**values)  # type: ignore[arg-type]  # each value was converted to its field's type
    if settings.auth_dev_issuer and settings.app_env in DEPLOYED:
        problems.append(
            f"{variable('auth_dev_issuer')} must be off if {variable('app_env')} is "
            f"{settings.app_env}: anyone with the development key could sign in as any user"
        )
    problems += _invalid_networks(settings.trusted_proxies)
    key_ids = [key.partition(":")[0] for key in settings.secret_keys]
    if len(set(key_ids)) < len(key_ids):
        problems.append(f"{variable('secret_keys')} must have a different id for each key")
    for check in checks:
        problems += check(settings, frozenset(wrong))
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _check_ports(url: str, *, several: bool) -> None:
    """Raises ValueError if the port of a host is none, as of a password that isn't encoded.

    With `several`, the URL may name several hosts, separated by commas.
    """
    hosts = urlsplit(url).netloc.rpartition("@")[2]
    for host in hosts.split(",") if several else [hosts]:
        urlsplit(f"//{host}").port  # noqa: B018 - raises


def _read_variable(environ: Mapping[str, str], field: str) -> tuple[str, str]:
    """The variable that gives a field, and its text. Raises ValueError with the problem."""
    name, file_name = variable(field), file_variable(field)
    text = environ.get(name, "").strip()
    path = environ.get(file_name, "").strip() if field in SECRET else ""
    if text and path:
        raise ValueError(f"{name} and {file_name} must not both be set: unset one of them")
    if path:
        return file_name, _read_secret_file(file_name, path)
    if not text and field in UNPREFIXED:
        name = field.upper()
        text = environ.get(name, "").strip()
    return name, text


def _read_secret_file(name: str, path: str) -> str:
    """The content of a file without the line break at its end. Raises ValueError."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(SECRET_FILE_MAX + 1)
        text = content.decode().strip()
    except OSError as error:
        raise ValueError(f"{name}: {path!r} can't be read: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or a path that can't exist
        raise ValueError(f"{name} must be the path of a text file in UTF-8") from error
    if not text or len(content) > SECRET_FILE_MAX:
        raise ValueError(
            f"{name}: {path!r} must contain the secret, in at most {SECRET_FILE_MAX} bytes"
        )
    return text


def _invalid_networks(proxies: Sequence[str]) -> Iterator[str]:
    for text in proxies:
        try:
            ip_network(text, strict=False)
        except ValueError:
            yield f"{variable('trusted_proxies')} must be addresses or networks, not {text!r}"


def _to_convertible(text: str, kind: object) -> object:
    """The value of a variable in a form that msgspec converts to `kind`."""
    inner = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if inner is bool:
        return SWITCH.get(text.lower(), text.lower())
    if get_origin(inner) is tuple:
        if text.startswith("["):
            return json.loads(text)
        return [part.strip() for part in re.split("[,\n]", text) if part.strip()]
    return text


def _expected(kind: object) -> str:
    """The description of a type's values, or the values. The type may be optional."""
    if kind is bool:
        return "on or off"
    if get_origin(kind) is Literal:
        *others, last = get_args(kind)
        return f"{', '.join(others)} or {last}"
    for part in (kind, *get_args(kind)):
        for meta in get_args(part)[1:]:
            if isinstance(meta, Meta) and meta.description:
                return meta.description
    raise TypeError(f"{kind} has no description")
