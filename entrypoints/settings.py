"""All settings of the service, read once from the environment."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Annotated, Final, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

PREFIX: Final = "PANDAPROBE_"
DEPLOYED: Final = ("staging", "production")  # environments that must refuse development keys
SWITCH: Final = {"on": "true", "yes": "true", "off": "false", "no": "false"}

type Environment = Literal["development", "staging", "production", "test"]
type LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
type AuthPreset = Literal["oidc", "supabase", "firebase"]
type LogFormat = Literal["json", "console"]
type RedactionMode = Literal["secrets", "secrets,pii", "off"]
type Days = Annotated[int, Meta(description="whole days from 1 to 3650", ge=1, le=3_650)]

HTTP_URL: Final = Meta(description="a URL that begins with https://", pattern="^https?://")
Rate = Annotated[  # a plain alias, because `_expected` reads its description
    str,
    Meta(
        description="a limit such as 100/minute, per second, minute, hour or day, up to 100000",
        pattern=r"^([1-9][0-9]{0,4}|100000)/(second|minute|hour|day)$",
    ),
]
ProviderKey = Annotated[  # plain aliases for the same reason
    str, Meta(description="a key, in visible ASCII characters", pattern=r"^[\x21-\x7e]{1,4096}$")
]
HeaderPair = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]+=[\x20-\x7e]*$")]
Seconds = Annotated[int, Meta(description="whole seconds from 1 to 86400", ge=1, le=86_400)]
ModelName = Annotated[str, Meta(description="the name of a model", pattern=r"^[\x21-\x7e]{1,255}$")]


class SettingsError(Exception):
    """Variables with unusable values. The message names each, and says what it must be."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Each field is read from the variable PREFIX + its name in capitals; see docs/settings.md.

    The fields in UNPREFIXED are also read from the variable without PREFIX, which other programs
    use. The description of a type completes the sentence "… must be".
    """

    app_env: Annotated[
        Environment, Meta(description="development, staging, production or test")
    ] = "production"
    host: Annotated[str, Meta(description="an address to listen on", min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(description="a whole number from 1 to 65535", ge=1, le=65535)] = 8000
    log_level: Annotated[LogLevel, Meta(description="DEBUG, INFO, WARNING, ERROR or CRITICAL")] = (
        "INFO"
    )
    log_format: Annotated[LogFormat, Meta(description="json or console")] = "json"
    data_dir: Annotated[str, Meta(description="a folder", min_length=1)] = ".local"
    database_url: (
        Annotated[
            str,
            Meta(description="a URL that begins with postgresql://", pattern="^postgres(ql)?://"),
        ]
        | None
    ) = None
    database_pool_size: Annotated[
        int, Meta(description="a whole number from 1 to 1000", ge=1, le=1000)
    ] = 10
    database_statement_timeout_ms: Annotated[
        int, Meta(description="milliseconds from 100 to 3600000", ge=100, le=3_600_000)
    ] = 30_000
    redis_url: (
        Annotated[
            str,
            Meta(description="a URL that begins with redis:// or rediss://", pattern="^rediss?://"),
        ]
        | None
    ) = None
    allowed_origins: Annotated[
        tuple[str, ...], Meta(description="origins, as a JSON array or separated by commas")
    ] = ()
    max_body_bytes: Annotated[
        int, Meta(description="bytes from 1024 to 1073741824", ge=1024, le=1 << 30)
    ] = 20 << 20
    max_spans_per_request: Annotated[
        int, Meta(description="a whole number from 1 to 100000", ge=1, le=100_000)
    ] = 5000
    max_owned_organizations: Annotated[
        int, Meta(description="a whole number from 0 to 1000000", ge=0, le=1_000_000)
    ] = 0
    api_key_cache_seconds: Annotated[
        float, Meta(description="seconds from 0 to 30", ge=0, le=30)
    ] = 30
    auth_preset: Annotated[AuthPreset, Meta(description="oidc, supabase or firebase")] = "oidc"
    auth_issuer: Annotated[str, Meta(description="the `iss` of tokens", min_length=1)] | None = None
    auth_audience: Annotated[
        tuple[Annotated[str, Meta(min_length=1)], ...],
        Meta(description="audiences, as a JSON array or separated by commas"),
    ] = ()
    auth_jwks_url: Annotated[str, HTTP_URL] | None = None
    auth_hs256_secret: (
        Annotated[str, Meta(description="a secret of at least 32 characters", min_length=32)] | None
    ) = None
    supabase_url: Annotated[str, HTTP_URL] | None = None
    firebase_project_id: (
        Annotated[
            str, Meta(description="the id of a Firebase project", pattern=r"^[a-z0-9.:-]{1,64}$")
        ]
        | None
    ) = None
    auth_dev_issuer: Annotated[bool, Meta(description="on or off")] = False
    auth_leeway_seconds: Annotated[
        int, Meta(description="whole seconds from 0 to 300", ge=0, le=300)
    ] = 30

    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="addresses or networks, as a JSON array or separated by commas"),
    ] = ()
    rate_limit_enabled: Annotated[bool, Meta(description="on or off")] = True
    rate_limit_ingest: Rate = "100/minute"
    rate_limit_trace_runs: Rate = "50/minute"
    rate_limit_session_runs: Rate = "50/minute"
    rate_limit_monitor_trigger: Rate = "10/minute"
    rate_limit_invitations: Rate = "10/hour"
    rate_limit_cli_exchange: Rate = "20/minute"
    rate_limit_default: Rate = "600/minute"

    price_table: Annotated[str, Meta(description="a file", min_length=1)] | None = None
    idempotency_ttl_hours: Annotated[
        int, Meta(description="whole hours from 1 to 720", ge=1, le=720)
    ] = 24

    openai_api_key: ProviderKey | None = None
    openai_base_url: Annotated[str, HTTP_URL] | None = None
    anthropic_api_key: ProviderKey | None = None
    gemini_api_key: ProviderKey | None = None
    google_cloud_project: (
        Annotated[str, Meta(description="the id of a project of Google Cloud", min_length=1)] | None
    ) = None
    vertex_ai_location: Annotated[
        str, Meta(description="a location of Google Cloud", pattern=r"^[a-z0-9-]{1,64}$")
    ] = "global"
    openai_compatible_base_url: Annotated[str, HTTP_URL] | None = None
    openai_compatible_api_key: ProviderKey | None = None
    eval_llm_model: ModelName | None = None
    eval_allowed_models: Annotated[
        tuple[ModelName, ...],
        Meta(description="names of models, as a JSON array or separated by commas"),
    ] = ()
    eval_worker_processes: Annotated[
        int, Meta(description="a whole number from 1 to 64", ge=1, le=64)
    ] = 1
    eval_worker_concurrency: Annotated[
        int, Meta(description="a whole number from 1 to 256", ge=1, le=256)
    ] = 12  # more than judge calls: while those wait, others are read and recorded
    eval_evidence_tokens: Annotated[
        int, Meta(description="a whole number from 1000 to 1000000", ge=1_000, le=1_000_000)
    ] = 12_000
    eval_mask: Annotated[RedactionMode, Meta(description="secrets; secrets,pii; or off")] = (
        "secrets"
    )
    eval_judge_timeout_seconds: Annotated[
        float, Meta(description="seconds from 1 to 90", ge=1, le=90)
    ] = 60
    eval_judge_concurrency: Annotated[
        int, Meta(description="a whole number from 1 to 1000", ge=1, le=1_000)
    ] = 8
    eval_cache_ttl_days: Days = 30
    eval_ledger_days: Annotated[
        int, Meta(description="whole days from 62 to 3650", ge=62, le=3_650)
    ] = 400
    monitor_tick_seconds: Annotated[
        int, Meta(description="whole seconds from 1 to 30", ge=1, le=30)
    ] = 30
    alert_allow_private_targets: Annotated[bool, Meta(description="on or off")] = False
    export_max_seconds: Seconds = 3_600
    export_max_megabytes: Annotated[int, Meta(description="1 to 9999 MiB", ge=1, le=9999)] = 2048
    export_keep_days: Days = 7
    alert_delivery_ttl_days: Days = 30
    alert_change_ttl_days: Days = 400
    ready_max_queue_age_seconds: Seconds = 300
    metrics_enabled: Annotated[bool, Meta(description="on or off")] = True
    metrics_token: (
        Annotated[
            str,
            Meta(description="at least 16 visible ASCII characters", pattern=r"^[\x21-\x7e]{16,}$"),
        ]
        | None
    ) = None
    metrics_dir: Annotated[str, Meta(description="a folder", min_length=1)] | None = None
    worker_port: (
        Annotated[int, Meta(description="a whole number from 1 to 65535", ge=1, le=65535)] | None
    ) = None
    otel_exporter_otlp_endpoint: Annotated[str, HTTP_URL] | None = None
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


SERVER_URLS: Final = frozenset({"database_url", "redis_url"})
# Fields that are read from the variable without PREFIX if the prefixed one isn't set.
UNPREFIXED: Final = frozenset(
    {"openai_api_key", "anthropic_api_key", "gemini_api_key", "google_cloud_project"}
)
SECRET: Final = SERVER_URLS | {
    *("auth_hs256_secret", "openai_api_key", "anthropic_api_key", "gemini_api_key"),
    *("metrics_token", "otel_exporter_otlp_headers"),
    *("openai_compatible_api_key", "openai_base_url", "openai_compatible_base_url"),
}


def variable(field: str) -> str:
    """The name of the environment variable of a field."""
    return f"{PREFIX}{field.upper()}"


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
        name = variable(field)
        text = environ.get(name, "").strip()
        if not text and field in UNPREFIXED:
            name = field.upper()
            text = environ.get(name, "").strip()
        if not text:
            continue
        try:
            if field in SERVER_URLS:
                urlsplit(text).port  # noqa: B018 - raises if a password isn't percent-encoded
            values[field] = msgspec.convert(_to_convertible(text, kind), kind, strict=False)
        except (msgspec.ValidationError, ValueError):
            actual = "" if field in SECRET else f", not {text!r}"
            problems.append(f"{name} must be {_expected(kind)}{actual}")
            wrong.add(field)
    settings = Settings(**values)  # type: ignore[arg-type]  # each value was converted to its field's type
    if settings.auth_dev_issuer and settings.app_env in DEPLOYED:
        problems.append(
            f"{variable('auth_dev_issuer')} must be off if {variable('app_env')} is "
            f"{settings.app_env}: anyone with the development key could sign in as any user"
        )
    problems += _invalid_networks(settings.trusted_proxies)
    for check in checks:
        problems += check(settings, frozenset(wrong))
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


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
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _expected(kind: object) -> str:
    """The description of an annotated type, which may be optional."""
    for part in (kind, *get_args(kind)):
        for meta in get_args(part)[1:]:
            if isinstance(meta, Meta) and meta.description:
                return meta.description
    raise TypeError(f"{kind} has no description")
