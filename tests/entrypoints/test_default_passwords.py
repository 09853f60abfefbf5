"""Secrets that anybody can read up stop the start where people work, and nowhere else."""

import pytest

from entrypoints.cli.main import main
from entrypoints.setting_checks import (
    DEFAULT_PASSWORDS,
    EXAMPLE_SIGNING_SECRETS,
    default_password_problems,
)
from entrypoints.settings import SettingsError, read_settings

SAFE = "9f2c1e7a4b"


def problems(environment: str, **said: str) -> list[str]:
    """The variables that are refused."""
    given = {"APP_ENV": environment, **said}
    environ = {f"PANDAPROBE_{name}": text for name, text in given.items()}
    try:
        read_settings(environ, default_password_problems)
    except SettingsError as error:
        return [line.split()[0].removeprefix("PANDAPROBE_") for line in str(error).splitlines()]
    return []


@pytest.mark.parametrize("environment", ["staging", "production", ""])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DATABASE_URL", "postgresql://pandaprobe:postgres@db.internal:5432/pandaprobe"),
        ("DATABASE_URL", "postgresql://u:Change%2dMe@10.1.2.3/d"),
        ("DATABASE_URL", "postgresql://u@db/d?password=secret"),
        ("DATABASE_READ_URL", "postgresql://u:postgres@replica/d"),
        ("MIGRATION_DATABASE_URL", "postgresql://u:postgres@db/d"),
        ("REDIS_URL", "rediss://:redis@cache:6379/0"),
        ("REDIS_URL", "redis://default:foobared@[2001:db8::1]:6379"),
    ],
)
def test_default_password_is_refused(environment: str, name: str, text: str) -> None:
    assert problems(environment, **{name: text}) == [name]
    assert problems("development", **{name: text}) == problems("test", **{name: text}) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "[::1]", "localhost", ""])
def test_local_server_may_have_a_default_password(host: str) -> None:
    assert problems("production", DATABASE_URL=f"postgresql://u:postgres@{host}/d") == []


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://postgres:{SAFE}@db/postgres",  # user and database names are not passwords
        "postgresql://postgres@db/postgres",  # the server decides about other ways to log in
        "postgresql://u:postgres-9f2c1e7a4b@db/d",
    ],
)
def test_other_passwords_pass(text: str) -> None:
    assert problems("production", DATABASE_URL=text) == []


@pytest.mark.parametrize("secret", sorted(EXAMPLE_SIGNING_SECRETS))
def test_example_signing_secret_is_refused(secret: str) -> None:
    assert problems("production", AUTH_HS256_SECRET=secret) == ["AUTH_HS256_SECRET"]
    assert problems("production", AUTH_HS256_SECRET=f"{secret}{SAFE}") == []


def test_all_problems_are_reported_without_the_secrets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    secret = min(EXAMPLE_SIGNING_SECRETS)
    given = {
        "PANDAPROBE_PORT": "x",
        "PANDAPROBE_DATABASE_URL": "postgresql://u:mysecretpassword@db/d",
        "PANDAPROBE_REDIS_URL": "redis://:foobared@cache",
        "PANDAPROBE_AUTH_ISSUER": "https://id.example.com",
        "PANDAPROBE_AUTH_AUDIENCE": "us",
        "PANDAPROBE_AUTH_HS256_SECRET": secret,
        "PANDAPROBE_AUTH_DEV_ISSUER": "on",
    }
    assert main(["serve"], given) == 2
    reported = capsys.readouterr().err
    names = ("PORT", "AUTH_DEV_ISSUER", "DATABASE_URL", "REDIS_URL", "AUTH_HS256_SECRET")
    assert [line.split()[1].removeprefix("PANDAPROBE_") for line in reported.splitlines()] == [
        *names
    ]
    assert not any(one in reported for one in (secret, "mysecretpassword", "foobared"))


def test_default_passwords_are_case_insensitive() -> None:
    assert {one.lower() for one in DEFAULT_PASSWORDS} == DEFAULT_PASSWORDS
