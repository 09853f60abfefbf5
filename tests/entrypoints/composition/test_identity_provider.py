"""Settings of the identity provider: whose tokens are accepted."""

import logging

import pytest

from adapters.oidc.tokens import DevelopmentIssuer
from domain.errors import Unauthenticated
from entrypoints.cli import doctor
from entrypoints.cli.main import main
from entrypoints.composition.identity_provider import (
    FIREBASE_JWKS,
    IdentityProvider,
    identity_provider,
)
from entrypoints.composition.sign_in import open_sign_in, sign_in_state
from entrypoints.server.asgi import App
from entrypoints.settings import Settings, SettingsError, read_settings
from tests.support.fakes.issuer_server import JWKS, publishing

SECRET = "a secret that both sides know, of 32 bytes and more"
ISSUER = "https://id.example.com"


def provider(**environ: str) -> IdentityProvider | None:
    return identity_provider(
        read_settings({f"PANDAPROBE_{name}": text for name, text in environ.items()})
    )


def test_no_provider_without_settings():
    assert provider() is None
    assert provider(AUTH_PRESET="oidc", AUTH_LEEWAY_SECONDS="10") is None


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {"AUTH_ISSUER": ISSUER, "AUTH_AUDIENCE": "a, b"},
            IdentityProvider(issuer=ISSUER, audiences=("a", "b")),
        ),
        (
            {"AUTH_ISSUER": "any text", "AUTH_AUDIENCE": "a", "AUTH_JWKS_URL": f"{ISSUER}/k"},
            IdentityProvider(issuer="any text", audiences=("a",), jwks_url=f"{ISSUER}/k"),
        ),
        (
            {"AUTH_ISSUER": "any text", "AUTH_AUDIENCE": "a", "AUTH_HS256_SECRET": SECRET},
            IdentityProvider(issuer="any text", audiences=("a",), secret=SECRET),
        ),
        (
            {
                "AUTH_ISSUER": ISSUER,
                "AUTH_CLIENT_ID": "c",
                "AUTH_CLIENT_SECRET": "s",
                "PUBLIC_URL": "https://traces.example.com",
            },
            IdentityProvider(issuer=ISSUER, audiences=("c",), client_id="c", client_secret="s"),
        ),
        (
            {
                "AUTH_ISSUER": ISSUER,
                "AUTH_AUDIENCE": "a",
                "AUTH_CLIENT_ID": "c",
                "PUBLIC_URL": "http://localhost:8000",
            },
            IdentityProvider(issuer=ISSUER, audiences=("a",), client_id="c"),
        ),
        (
            {"AUTH_PRESET": "supabase", "SUPABASE_URL": "https://p.supabase.co/"},
            IdentityProvider(
                issuer="https://p.supabase.co/auth/v1",
                audiences=("authenticated",),
                jwks_url="https://p.supabase.co/auth/v1/.well-known/jwks.json",
            ),
        ),
        (
            {
                "AUTH_PRESET": "supabase",
                "SUPABASE_URL": "http://kong:8000",
                "AUTH_ISSUER": "https://db.example.com/auth/v1",
                "AUTH_AUDIENCE": "mine",
                "AUTH_HS256_SECRET": SECRET,
            },
            IdentityProvider(
                issuer="https://db.example.com/auth/v1",
                audiences=("mine",),
                jwks_url="http://kong:8000/auth/v1/.well-known/jwks.json",
                secret=SECRET,
            ),
        ),
        (
            {"AUTH_PRESET": "firebase", "FIREBASE_PROJECT_ID": "shop-1"},
            IdentityProvider(
                issuer="https://securetoken.google.com/shop-1",
                audiences=("shop-1",),
                jwks_url=FIREBASE_JWKS,
            ),
        ),
    ],
)
def test_provider_is_read(environ, expected):
    assert provider(**environ) == expected


def test_secret_alone_publishes_no_keys():
    options = {"issuer": ISSUER, "audiences": ("a",)}
    assert IdentityProvider(**options).publishes_keys
    assert IdentityProvider(**options, jwks_url=ISSUER, secret=SECRET).publishes_keys
    assert not IdentityProvider(**options, secret=SECRET).publishes_keys
    assert SECRET not in repr(IdentityProvider(**options, secret=SECRET))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"AUTH_ISSUER": ISSUER}, ["AUTH_AUDIENCE must be set if PANDAPROBE_AUTH_ISSUER is"]),
        ({"AUTH_AUDIENCE": "a"}, ["AUTH_ISSUER must be set if PANDAPROBE_AUTH_AUDIENCE is"]),
        ({"AUTH_HS256_SECRET": SECRET}, ["AUTH_ISSUER must be set", "AUTH_AUDIENCE must be set"]),
        ({"AUTH_JWKS_URL": ISSUER}, ["AUTH_ISSUER must be set", "AUTH_AUDIENCE must be set"]),
        ({"AUTH_PRESET": "supabase"}, ["SUPABASE_URL must be set"]),
        ({"AUTH_PRESET": "firebase"}, ["FIREBASE_PROJECT_ID must be set"]),
        ({"SUPABASE_URL": ISSUER}, ["AUTH_PRESET must be supabase"]),
        (
            {"AUTH_CLIENT_ID": "c", "PUBLIC_URL": ISSUER},
            ["AUTH_ISSUER must be set if PANDAPROBE_AUTH_CLIENT_ID is"],
        ),
        (
            {"AUTH_ISSUER": ISSUER, "AUTH_CLIENT_ID": "c"},
            ["PUBLIC_URL must be set if PANDAPROBE_AUTH_CLIENT_ID is"],
        ),
        ({"AUTH_CLIENT_SECRET": "hidden"}, ["AUTH_CLIENT_ID must be set"]),
        ({"PUBLIC_URL": "http://example.com"}, ["PUBLIC_URL must be a URL that begins with"]),
        (
            {
                "AUTH_PRESET": "firebase",
                "FIREBASE_PROJECT_ID": "a",
                "AUTH_CLIENT_ID": "c",
                "PUBLIC_URL": ISSUER,
            },
            ["AUTH_PRESET must be oidc if PANDAPROBE_AUTH_CLIENT_ID is set"],
        ),
        ({"FIREBASE_PROJECT_ID": "a"}, ["AUTH_PRESET must be firebase"]),
        (
            {"AUTH_PRESET": "firebase", "FIREBASE_PROJECT_ID": "a", "SUPABASE_URL": ISSUER},
            ["AUTH_PRESET must be supabase"],
        ),
        ({"AUTH_ISSUER": "a name", "AUTH_AUDIENCE": "a"}, ["AUTH_ISSUER must be a URL"]),
        ({"AUTH_ISSUER": "http://example.com", "AUTH_AUDIENCE": "a"}, ["AUTH_ISSUER must be a"]),
        (
            {
                "AUTH_ISSUER": ISSUER,
                "AUTH_AUDIENCE": "a",
                "AUTH_JWKS_URL": "https://u:hidden@example.com",
            },
            ["AUTH_JWKS_URL must be a URL that begins with https://"],
        ),
        (
            {"AUTH_PRESET": "supabase", "SUPABASE_URL": "http://p.supabase.co"},
            ["SUPABASE_URL must be a URL"],
        ),
    ],
)
def test_incomplete_provider_error_names_the_variables(environ, expected, capsys):
    with pytest.raises(SettingsError) as error:
        provider(**environ)
    lines = str(error.value).splitlines()
    assert len(lines) == len(expected)
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(f"PANDAPROBE_{start}")
    assert "hidden" not in str(error.value)
    assert SECRET not in str(error.value)
    assert main(["serve"], {f"PANDAPROBE_{name}": text for name, text in environ.items()}) == 2
    assert lines[0] in capsys.readouterr().err


# --- effects of the settings ---------------------------------------------------------------------


def test_missing_provider_is_logged(caplog):
    with caplog.at_level(logging.WARNING):
        App(Settings())
    assert "users can't sign in" in caplog.text


def test_configured_provider_logs_nothing(caplog):
    with caplog.at_level(logging.WARNING):
        App(Settings(auth_dev_issuer=True))
        App(Settings(auth_issuer=ISSUER, auth_audience=("a",)))
    assert caplog.text == ""


async def test_without_a_provider_tokens_are_refused():
    async with open_sign_in(Settings()) as sign_in:
        with pytest.raises(Unauthenticated):
            await sign_in.tokens.verify("a.b.c")
        assert sign_in.issuers == frozenset()


async def test_accepted_issuers_are_those_of_the_settings(tmp_path):
    provider = {"auth_issuer": "https://a.test", "auth_audience": ("a",)}
    with_development = {"auth_dev_issuer": True, "data_dir": str(tmp_path)}
    for settings, issuers in (
        (Settings(**provider, auth_hs256_secret=SECRET), {"https://a.test"}),
        (Settings(**with_development), {DevelopmentIssuer.ISSUER}),
    ):
        async with open_sign_in(settings) as sign_in:
            assert sign_in.issuers == issuers


async def test_provider_must_differ_from_the_development_issuer(tmp_path):
    settings = Settings(
        auth_dev_issuer=True,
        auth_issuer=DevelopmentIssuer.ISSUER,
        auth_audience=("a",),
        auth_hs256_secret=SECRET,
        data_dir=str(tmp_path),
    )
    with pytest.raises(SettingsError, match="PANDAPROBE_AUTH_ISSUER must differ"):
        async with open_sign_in(settings):
            pass


async def test_doctor_fetches_the_keys_of_the_provider():
    async with publishing() as issuer:
        settings = Settings(auth_issuer=issuer.url, auth_audience=("a",))
        state = await sign_in_state(settings)
        assert (state.ok, "answered 404" in state.detail) == (False, True)
        issuer.describes_itself()
        issuer.says(JWKS, {"keys": []})
        state = await sign_in_state(settings)
        assert (state.ok, state.detail) == (False, f"{issuer.url} has no usable key")


def test_doctor_reports_a_missing_provider(tmp_path, capsys):
    doctor.examine(Settings(data_dir=str(tmp_path)))
    assert "warn  sign-in: no identity provider is configured" in capsys.readouterr().out
    doctor.examine(Settings(data_dir=str(tmp_path), auth_dev_issuer=True))
    assert "ok    sign-in: the development issuer only" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["serve", "seed --traces 1"])
def test_provider_problems_are_reported_with_all_others(command, capsys):
    environ = {
        "PANDAPROBE_PORT": "x",
        "PANDAPROBE_TRUSTED_PROXIES": "nowhere",
        "PANDAPROBE_AUTH_ISSUER": ISSUER,
        "PANDAPROBE_SUPABASE_URL": "https://p.supabase.co",
    }
    assert main(command.split(), environ) == 2
    names_in_errors = [line.split()[1] for line in capsys.readouterr().err.splitlines()]
    names = ("PORT", "TRUSTED_PROXIES", "AUTH_PRESET", "AUTH_AUDIENCE")
    assert names_in_errors == [f"PANDAPROBE_{name}" for name in names]


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        (
            {"AUTH_JWKS_URL": "ftp://x", "AUTH_ISSUER": "any", "AUTH_AUDIENCE": "a"},
            ["AUTH_JWKS_URL"],
        ),
        ({"AUTH_JWKS_URL": "ftp://x", "AUTH_ISSUER": "any"}, ["AUTH_JWKS_URL", "AUTH_AUDIENCE"]),
        ({"AUTH_PRESET": "x", "SUPABASE_URL": "https://p.supabase.co"}, ["AUTH_PRESET"]),
        ({"AUTH_PRESET": "supabase", "SUPABASE_URL": "x"}, ["SUPABASE_URL"]),
    ],
)
def test_invalid_value_does_not_count_as_missing(environ, names, capsys):
    assert main(["serve"], {f"PANDAPROBE_{name}": text for name, text in environ.items()}) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == [f"PANDAPROBE_{name}" for name in names]
