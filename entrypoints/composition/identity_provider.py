"""The identity provider by the settings: a preset, and settings that complete or override it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from adapters.oidc.issuer_urls import is_trusted
from entrypoints.settings import Settings, SettingsError, variable

SUPABASE_AUDIENCE: Final = "authenticated"
FIREBASE_ISSUER: Final = "https://securetoken.google.com/"
FIREBASE_JWKS: Final = (
    "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"
)
# Settings that only one preset reads.
PRESET_SETTINGS: Final = {"supabase": "supabase_url", "firebase": "firebase_project_id"}
OIDC_SETTINGS: Final = ("auth_issuer", "auth_audience", "auth_jwks_url", "auth_hs256_secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityProvider:
    """An issuer, how its tokens are verified, and the client with which browsers sign in there.

    Without a `client_id` they can't. The keys are at `jwks_url`. Without that, they are discovered
    from the issuer, unless there is a `secret`, which is then the only key.
    """

    issuer: str
    audiences: tuple[str, ...]
    jwks_url: str | None = None
    secret: str | None = field(default=None, repr=False)
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)

    @property
    def publishes_keys(self) -> bool:
        return self.jwks_url is not None or self.secret is None


def identity_provider(settings: Settings) -> IdentityProvider | None:
    """None if no provider is configured. Raises SettingsError with all problems in one message.

    Incomplete and contradictory settings are errors, so that none is ignored silently.
    """
    if problems := list(provider_problems(settings)):
        raise SettingsError("\n".join(problems))
    preset = _preset(settings)
    if preset is None:
        return None
    return IdentityProvider(
        issuer=settings.auth_issuer or preset.issuer,
        audiences=settings.auth_audience or preset.audiences,
        jwks_url=settings.auth_jwks_url or preset.jwks_url,
        secret=settings.auth_hs256_secret,
        client_id=settings.auth_client_id,
        client_secret=settings.auth_client_secret,
    )


def _preset(settings: Settings) -> IdentityProvider | None:
    if settings.auth_preset == "supabase":
        issuer = f"{(settings.supabase_url or '').rstrip('/')}/auth/v1"
        return IdentityProvider(
            issuer=issuer,
            audiences=(SUPABASE_AUDIENCE,),
            jwks_url=f"{issuer}/.well-known/jwks.json",
        )
    if settings.auth_preset == "firebase":
        project = settings.firebase_project_id or ""
        return IdentityProvider(
            issuer=f"{FIREBASE_ISSUER}{project}", audiences=(project,), jwks_url=FIREBASE_JWKS
        )
    if settings.auth_issuer is None:
        return None
    # A token for our client is meant for us.
    client = (settings.auth_client_id,) if settings.auth_client_id else ()
    audiences = settings.auth_audience or client
    return IdentityProvider(issuer=settings.auth_issuer, audiences=audiences)


def provider_problems(settings: Settings, wrong: frozenset[str] = frozenset()) -> Iterator[str]:
    """Settings that are incomplete or contradictory. Fields in `wrong` have unusable values."""
    preset = settings.auth_preset
    if "auth_preset" in wrong:
        return
    for name, own in PRESET_SETTINGS.items():
        is_given = own in wrong or getattr(settings, own)
        if is_given and preset != name:
            yield (
                f"{variable('auth_preset')} must be {name} if {variable(own)} is set, "
                f"not {preset!r}"
            )
        if preset == name and not is_given:
            yield f"{variable(own)} must be set if {variable('auth_preset')} is {name}"
    if preset == "oidc":
        given = [name for name in OIDC_SETTINGS if name in wrong or getattr(settings, name)]
        for needed in ("auth_issuer", "auth_audience"):
            is_implied = needed == "auth_audience" and settings.auth_client_id is not None
            if given and needed not in given and not is_implied:
                yield f"{variable(needed)} must be set if {variable(given[0])} is"
    yield from _client_problems(settings, wrong)
    yield from _untrusted(settings, wrong)


def _client_problems(settings: Settings, wrong: frozenset[str]) -> Iterator[str]:
    """Settings of the sign-in of browsers that are incomplete."""
    client = variable("auth_client_id")
    if settings.auth_client_secret and not (settings.auth_client_id or "auth_client_id" in wrong):
        yield f"{client} must be set if {variable('auth_client_secret')} is"
    if not settings.auth_client_id:
        return
    if settings.auth_preset != "oidc":
        yield f"{variable('auth_preset')} must be oidc if {client} is set"
    elif not (settings.auth_issuer or "auth_issuer" in wrong):
        yield f"{variable('auth_issuer')} must be set if {client} is"
    if not (settings.public_url or "public_url" in wrong):
        yield f"{variable('public_url')} must be set if {client} is"


def _untrusted(settings: Settings, wrong: frozenset[str]) -> Iterator[str]:
    """URLs of keys that an attacker on the network path could answer for."""
    fetched = ["supabase_url", "auth_jwks_url", "public_url"]
    discovers = not (settings.auth_jwks_url or settings.auth_hs256_secret)
    discovers = discovers and not wrong & {"auth_jwks_url", "auth_hs256_secret"}
    discovers = discovers or settings.auth_client_id is not None
    if settings.auth_preset == "oidc" and discovers:
        fetched.append("auth_issuer")
    for name in fetched:
        url = getattr(settings, name)
        if url and not is_trusted(url):
            yield (
                f"{variable(name)} must be a URL that begins with https:// (http:// within a "
                "private network), without a password or a fragment"
            )
