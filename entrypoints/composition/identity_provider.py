"""Whose tokens are believed, by the settings: a preset, and what is said beside it."""

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
# The settings that only one preset reads.
OWN: Final = {"supabase": "supabase_url", "firebase": "firebase_project_id"}
SHARED: Final = ("auth_issuer", "auth_audience", "auth_jwks_url", "auth_hs256_secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityProvider:
    """One issuer, and what its tokens are checked with.

    Its keys are at `jwks_url`; without one the issuer is asked where they are, unless there is a
    `secret`: then it alone signs.
    """

    issuer: str
    audiences: tuple[str, ...]
    jwks_url: str | None = None
    secret: str | None = field(default=None, repr=False)

    @property
    def publishes_keys(self) -> bool:
        return self.jwks_url is not None or self.secret is None


def identity_provider(settings: Settings) -> IdentityProvider | None:
    """None where no setting names one. Raises SettingsError, in one message for all that is wrong.

    Nothing is left out silently: half a provider is a mistake, and so is a second one.
    """
    if problems := list(provider_problems(settings)):
        raise SettingsError("\n".join(problems))
    preset = _of_preset(settings)
    if preset is None:
        return None
    return IdentityProvider(
        issuer=settings.auth_issuer or preset.issuer,
        audiences=settings.auth_audience or preset.audiences,
        jwks_url=settings.auth_jwks_url or preset.jwks_url,
        secret=settings.auth_hs256_secret,
    )


def _of_preset(settings: Settings) -> IdentityProvider | None:
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
    return IdentityProvider(issuer=settings.auth_issuer, audiences=settings.auth_audience)


def provider_problems(settings: Settings, wrong: frozenset[str] = frozenset()) -> Iterator[str]:
    """What makes half a provider, or two. Fields in `wrong` are set, to what can't be used."""
    preset = settings.auth_preset
    if "auth_preset" in wrong:
        return
    for name, own in OWN.items():
        is_given = own in wrong or getattr(settings, own)
        if is_given and preset != name:
            yield (
                f"{variable('auth_preset')} must be {name} where {variable(own)} is set, "
                f"not {preset!r}"
            )
        if preset == name and not is_given:
            yield f"{variable(own)} must be set where {variable('auth_preset')} is {name}"
    if preset == "oidc":
        given = [name for name in SHARED if name in wrong or getattr(settings, name)]
        for needed in ("auth_issuer", "auth_audience"):
            if given and needed not in given:
                yield f"{variable(needed)} must be set where {variable(given[0])} is"
    yield from _untrusted(settings, wrong)


def _untrusted(settings: Settings, wrong: frozenset[str]) -> Iterator[str]:
    """The addresses that keys would be fetched from, where somebody on the way could answer."""
    asked = ["supabase_url", "auth_jwks_url"]
    discovers = not (settings.auth_jwks_url or settings.auth_hs256_secret)
    discovers = discovers and not wrong & {"auth_jwks_url", "auth_hs256_secret"}
    if settings.auth_preset == "oidc" and discovers:
        asked.append("auth_issuer")
    for name in asked:
        url = getattr(settings, name)
        if url and not is_trusted(url):
            yield (
                f"{variable(name)} must be a URL that begins with https:// (http:// within a "
                "private network), without a password or a fragment"
            )
