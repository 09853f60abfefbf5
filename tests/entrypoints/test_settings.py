"""Settings are read from the environment and from files."""

import re
from typing import get_args

import pytest

from application.evaluation.judging.evaluation_policy import EvaluationPolicy
from domain.evaluation.evidence.builder import EVIDENCE_TOKENS, EVIDENCE_TOKENS_MIN
from domain.evaluation.evidence.redaction import RedactionMode
from entrypoints import settings
from entrypoints.setting_checks import port_problems
from entrypoints.settings import SECRET, Settings, SettingsError, read_settings, with_defaults


def test_allowed_settings_are_valid_for_evaluation():
    assert read_settings({}).eval_evidence_tokens == EVIDENCE_TOKENS
    assert {one.value for one in RedactionMode} == set(
        get_args(get_args(settings.RedactionMode)[0])
    )
    longest = read_settings({"PANDAPROBE_EVAL_JUDGE_TIMEOUT_SECONDS": "90"})
    assert EvaluationPolicy(deadline_s=longest.eval_judge_timeout_seconds)
    least = read_settings({"PANDAPROBE_EVAL_EVIDENCE_TOKENS": str(EVIDENCE_TOKENS_MIN)})
    assert least.eval_evidence_tokens == EVIDENCE_TOKENS_MIN


def test_empty_environment_gives_defaults():
    assert read_settings({}) == Settings()


def test_empty_or_blank_variable_counts_as_absent():
    assert read_settings({"PANDAPROBE_PORT": "", "PANDAPROBE_DATABASE_URL": "  "}) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("PORT", "9000", "port", 9000),
        ("PORT", "65535", "port", 65535),
        ("LOG_LEVEL", "DEBUG", "log_level", "DEBUG"),
        ("ALLOWED_ORIGINS", "http://a, http://b,", "allowed_origins", ("http://a", "http://b")),
        ("ALLOWED_ORIGINS", '["http://a"]', "allowed_origins", ("http://a",)),
        ("ALLOWED_ORIGINS", "[]", "allowed_origins", ()),
        ("ALLOWED_ORIGINS", "*", "allowed_origins", ("*",)),
        ("ALLOWED_ORIGINS", "https://A.test:81/", "allowed_origins", ("https://A.test:81/",)),
        ("ALLOWED_ORIGINS", "app+x://a", "allowed_origins", ("app+x://a",)),
        ("AUTH_LEEWAY_SECONDS", "0", "auth_leeway_seconds", 0),
        ("AUTH_PRESET", "supabase", "auth_preset", "supabase"),
        ("AUTH_AUDIENCE", "a, b", "auth_audience", ("a", "b")),
        ("AUTH_AUDIENCE", '["a,b"]', "auth_audience", ("a,b",)),
        ("AUTH_HS256_SECRET", "http://[ " + "x" * 32, "auth_hs256_secret", "http://[ " + "x" * 32),
        ("API_KEY_CACHE_SECONDS", "0.5", "api_key_cache_seconds", 0.5),
        ("DATABASE_URL", "postgres://u:p@h/d", "database_url", "postgres://u:p@h/d"),
        ("REDIS_URL", "rediss://:p@h/0", "redis_url", "rediss://:p@h/0"),
        ("DATABASE_URL", "postgresql://u:p@a:1,b/d", "database_url", "postgresql://u:p@a:1,b/d"),
        (
            "MIGRATION_DATABASE_URL",
            "postgresql://a:1,b/d",
            "migration_database_url",
            "postgresql://a:1,b/d",
        ),
        ("EVAL_MASK", "secrets,pii", "eval_mask", "secrets,pii"),
        ("EVAL_EVIDENCE_TOKENS", "1000", "eval_evidence_tokens", 1000),
        ("EVAL_JUDGE_TIMEOUT_SECONDS", "2.5", "eval_judge_timeout_seconds", 2.5),
        ("EVAL_WORKER_CONCURRENCY", "256", "eval_worker_concurrency", 256),
        ("EVAL_CACHE_TTL_DAYS", "0", "eval_cache_ttl_days", 0),
    ],
)
def test_value_is_parsed(name, text, field, value):
    assert getattr(read_settings({f"PANDAPROBE_{name}": text}), field) == value


@pytest.mark.parametrize("text", ["on", "ON", "true", "1", "yes"])
def test_switch_on(text):
    environ = {"PANDAPROBE_AUTH_DEV_ISSUER": text, "PANDAPROBE_APP_ENV": "test"}
    assert read_settings(environ).auth_dev_issuer


@pytest.mark.parametrize("text", ["off", "false", "0", "no", ""])
def test_switch_off(text):
    assert not read_settings({"PANDAPROBE_AUTH_DEV_ISSUER": text}).auth_dev_issuer


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("PORT", "0", "a whole number from 1 to 65535, not '0'"),
        ("PORT", "65536", "a whole number from 1 to 65535, not '65536'"),
        ("PORT", "80 80", "a whole number from 1 to 65535"),
        ("APP_ENV", "prod", "development, staging, production or test, not 'prod'"),
        ("LOG_LEVEL", "info", "DEBUG, INFO, WARNING, ERROR or CRITICAL"),
        ("LOG_FORMAT", "xml", "auto, json or console"),
        ("API_KEY_CACHE_SECONDS", "31", "seconds from 0 to 30"),
        ("API_KEY_CACHE_SECONDS", "nan", "seconds from 0 to 30"),
        ("AUTH_DEV_ISSUER", "maybe", "on or off, not 'maybe'"),
        *(
            ("ALLOWED_ORIGINS", wrong, "origins such as https://app.example.com, as a JSON array")
            for wrong in ("[1", "[1]", "a.test", "http://a/app", "http://u@a", "//a", "http://*.a")
        ),
        ("DATABASE_URL", "postgresql://me:se/cret@host/db", "a URL that begins with postgresql://"),
        ("REDIS_URL", "redis://:se/cret@host/0", "a URL that begins with redis://"),
        ("REDIS_URL", "redis://:p@a:1,b:2/0", "a URL that begins with redis://"),
        ("DATABASE_URL", "postgresql://u:p@a:1,b:x/d", "a URL that begins with postgresql://"),
        ("AUTH_PRESET", "auth0", "oidc, supabase or firebase, not 'auth0'"),
        ("AUTH_AUDIENCE", '[""]', "audiences, as a JSON array or separated by commas"),
        ("AUTH_JWKS_URL", "ftp://id.example.com", "a URL that begins with https://"),
        ("SUPABASE_URL", "project.supabase.co", "a URL that begins with https://"),
        ("FIREBASE_PROJECT_ID", "a/b", "the id of a Firebase project"),
        ("AUTH_HS256_SECRET", "x" * 31, "a secret of at least 32 characters"),
        ("MAX_BODY_BYTES", "20MB", "bytes from 1024 to 1073741824"),
        ("EVAL_MASK", "pii", "secrets; secrets,pii; or off, not 'pii'"),
        ("EVAL_WORKER_CONCURRENCY", "0", "a whole number from 1 to 256"),
        ("EVAL_WORKER_PROCESSES", "65", "a whole number from 1 to 64"),
        ("EVAL_EVIDENCE_TOKENS", "999", "a whole number from 1000 to 1000000"),
        ("EVAL_JUDGE_TIMEOUT_SECONDS", "0", "seconds from 1 to 90"),
        ("EVAL_JUDGE_CONCURRENCY", "-1", "a whole number from 1 to 1000"),
        ("EVAL_CACHE_TTL_DAYS", "-1", "whole days from 0 to 3650"),
        ("READY_MAX_QUEUE_AGE_SECONDS", "5m", "whole seconds from 1 to 86400"),
    ],
)
def test_invalid_value_error_says_what_is_expected(name, text, expected):
    with pytest.raises(SettingsError, match=f"^PANDAPROBE_{name} must be ") as error:
        read_settings({f"PANDAPROBE_{name}": text})
    assert expected in str(error.value)


def test_all_problems_are_in_one_message():
    environ = {"PANDAPROBE_PORT": "x", "PANDAPROBE_LOG_LEVEL": "loud", "PANDAPROBE_HOST": "::1"}
    with pytest.raises(SettingsError) as error:
        read_settings(environ)
    assert [line.split()[0] for line in str(error.value).splitlines()] == [
        "PANDAPROBE_PORT",
        "PANDAPROBE_LOG_LEVEL",
    ]


@pytest.mark.parametrize("environment", ["staging", "production", None])
def test_development_tokens_are_refused_in_deployments(environment):
    environ = {"PANDAPROBE_AUTH_DEV_ISSUER": "on", "PANDAPROBE_APP_ENV": environment or ""}
    with pytest.raises(SettingsError, match="PANDAPROBE_AUTH_DEV_ISSUER must be off"):
        read_settings(environ)


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
def test_messages_contain_no_secrets(name):
    with pytest.raises(SettingsError) as error:
        read_settings({f"PANDAPROBE_{name}": "mysql://user:secret@host/db"})
    assert "secret" not in str(error.value)


def test_weak_shared_secret_is_not_shown():
    with pytest.raises(SettingsError) as error:
        read_settings({"PANDAPROBE_AUTH_HS256_SECRET": "hidden"})
    assert "hidden" not in str(error.value)


def test_repr_contains_no_secrets():
    settings = Settings(
        database_url="postgresql://u:hidden@h/d",
        redis_url="redis://:hidden@h",
        auth_hs256_secret="hidden" * 6,
    )
    assert "hidden" not in f"{settings!r} {settings}"
    assert "port=8000" in repr(settings)


# --- secrets from files ----------------------------------------------------------------------

KEY = f"main:{'A' * 43}="
# A valid text for each setting that holds a secret.
SECRET_TEXTS = {
    "database_url": "postgresql://u:p@h/d",
    "migration_database_url": "postgresql://o:p@h/d",
    "database_read_url": "postgresql://u:p@standby/d",
    "redis_url": "redis://:p@h/0",
    "secret_keys": KEY,
    "otel_exporter_otlp_headers": "authorization=Bearer x",
    "openai_base_url": "https://user:p@gateway.example.com",
    "openai_compatible_base_url": "https://user:p@gateway.example.com",
}


@pytest.mark.parametrize("field", sorted(SECRET))
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_secret_is_read_from_file_without_trailing_line_break(tmp_path, field, end):
    text = SECRET_TEXTS.get(field, "s" * 40)
    file = tmp_path / "secret"
    file.write_bytes(f"{text}{end}".encode())
    from_file = read_settings({f"PANDAPROBE_{field.upper()}_FILE": str(file)})
    assert from_file == read_settings({f"PANDAPROBE_{field.upper()}": text}) != Settings()


@pytest.mark.parametrize("field", sorted(SECRET))
def test_secret_and_its_file_together_are_refused(tmp_path, field):
    name = f"PANDAPROBE_{field.upper()}"
    environ = {name: SECRET_TEXTS.get(field, "s" * 40), f"{name}_FILE": str(tmp_path / "secret")}
    with pytest.raises(SettingsError, match=f"^{name} and {name}_FILE must not both be set"):
        read_settings(environ)
    assert read_settings(environ | {f"{name}_FILE": " "}) == read_settings({name: environ[name]})


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff" * 40, b"s" * 70_000, b"mysql://x"])
def test_file_without_usable_secret_is_refused_with_its_variable(tmp_path, content):
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"^PANDAPROBE_DATABASE_URL_FILE") as error:
        read_settings({"PANDAPROBE_DATABASE_URL_FILE": str(file)})
    assert "mysql" not in str(error.value)


def test_other_settings_are_not_read_from_files(tmp_path):
    (tmp_path / "port").write_text("9000")
    assert read_settings({"PANDAPROBE_PORT_FILE": str(tmp_path / "port")}) == Settings()


def test_key_in_file_takes_precedence_over_unprefixed_variable(tmp_path):
    (tmp_path / "key").write_text("own\n")
    environ = {"PANDAPROBE_OPENAI_API_KEY_FILE": str(tmp_path / "key"), "OPENAI_API_KEY": "other"}
    assert read_settings(environ).openai_api_key == "own"


def test_defaults_of_dev_yield_to_a_secret_in_a_file():
    defaults = {"PANDAPROBE_SECRET_KEYS": KEY, "PANDAPROBE_HOST": "h"}
    environ = {"PANDAPROBE_SECRET_KEYS_FILE": "/f", "PANDAPROBE_PORT": "1"}
    assert with_defaults(environ, defaults) == environ | {"PANDAPROBE_HOST": "h"}
    assert with_defaults({"PANDAPROBE_HOST": "ours"}, defaults) == defaults | {
        "PANDAPROBE_HOST": "ours"
    }


def test_defaults_apply_to_an_empty_variable():
    defaults = {"PANDAPROBE_HOST": "h", "PANDAPROBE_SECRET_KEYS": KEY}
    environ = {"PANDAPROBE_HOST": " ", "PANDAPROBE_SECRET_KEYS": "", "PANDAPROBE_PORT": ""}
    assert with_defaults(environ, defaults) == environ | defaults


def test_keys_are_one_on_each_line_of_a_file_or_separated_by_commas(tmp_path):
    other = f"2027-01:{'B' * 43}"
    (tmp_path / "keys").write_text(f"{KEY}\n{other}\n")
    from_file = read_settings({"PANDAPROBE_SECRET_KEYS_FILE": str(tmp_path / "keys")})
    assert from_file.secret_keys == (KEY, other)
    assert read_settings({"PANDAPROBE_SECRET_KEYS": f"{KEY}, {other}"}) == from_file


@pytest.mark.parametrize("text", ["hidden", f"a b:{'A' * 43}", f"a:{'A' * 42}", f"{KEY},{KEY}"])
def test_unusable_keys_are_a_problem_and_not_shown(text):
    with pytest.raises(SettingsError, match=r"^PANDAPROBE_SECRET_KEYS must ") as error:
        read_settings({"PANDAPROBE_SECRET_KEYS": text})
    assert text not in str(error.value)


@pytest.mark.parametrize("name", ["API_KEY", "PROJECT_NAME", "ENVIRONMENT", "TIMEOUT"])
def test_variables_of_the_sdk_are_ignored(name):
    assert read_settings({f"PANDAPROBE_{name}": "\0 anything"}) == Settings()


@pytest.mark.parametrize("environ", [{}, {"PANDAPROBE_PORT": "4317"}])
def test_grpc_needs_a_port_of_its_own(environ):
    same = {"PANDAPROBE_OTLP_GRPC_PORT": environ.get("PANDAPROBE_PORT", "8000"), **environ}
    with pytest.raises(SettingsError, match="OTLP_GRPC_PORT must differ from PANDAPROBE_PORT"):
        read_settings(same, port_problems)


def test_fields_with_the_name_of_a_secret_are_secret() -> None:
    named = {one for one in Settings.__struct_fields__ if re.search("secret|api_key$|_token$", one)}
    assert len(named) > 5
    assert named <= SECRET
