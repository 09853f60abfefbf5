"""The verifiers of user tokens, by the settings."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from joserfc.jwk import KeySet

from adapters.oidc import tokens as oidc
from adapters.oidc.issuer_keys import IssuerKeys
from adapters.oidc.jwks import JwksClient, JwksError
from adapters.oidc.sign_in_provider import OidcProvider
from application.clock import utc_now
from application.identity.ports import SignInProvider, Tokens
from application.ports import HealthStatus
from domain.identity.browser_session import SignInMethod
from entrypoints.composition.identity_provider import identity_provider
from entrypoints.settings import Settings, SettingsError, variable
from entrypoints.startup import CommandError

CALLBACK_PATH: Final = "/session/callback"
ISSUER_FOLDER: Final = "issuer"
NO_SIGN_IN: Final = "no identity provider is configured: API keys work, but users can't sign in"
DEVELOPMENT_ISSUER_ONLY: Final = "the development issuer only"
DEVELOPER: Final = "dev@localhost"
DEVELOPER_NAME: Final = "Developer"
PAGE_TOKEN_LIFETIME_S: Final = 600  # of the CLI login page: enough to choose a project


def development_issuer(settings: Settings) -> oidc.DevelopmentIssuer:
    """The issuer of development tokens, with its key in the data folder. Raises CommandError."""
    folder = Path(settings.data_dir) / ISSUER_FOLDER
    try:
        return oidc.DevelopmentIssuer.load_or_create(folder)
    except (OSError, ValueError) as error:
        raise CommandError(
            f"{variable('auth_dev_issuer')} is on, and {variable('data_dir')} has no usable key: "
            f"{error}"
        ) from error


def development_token(settings: Settings, *, email: str, name: str, expires_in_s: int) -> str:
    """A token of the development issuer. Its subject is the email. Raises CommandError."""
    return development_issuer(settings).token(
        subject=email, email=email, name=name, expires_in_s=expires_in_s, now=utc_now()
    )


@dataclass(frozen=True, slots=True)
class SignIn:
    """Verifies tokens of `issuers`; browsers sign in with `provider`."""

    tokens: Tokens
    issuers: frozenset[str]
    provider: SignInProvider | None = None


@asynccontextmanager
async def open_sign_in(settings: Settings) -> AsyncIterator[SignIn]:
    """Accepts the identity provider and the development issuer, if configured.

    Raises SettingsError.
    """
    by_issuer: dict[str, Tokens] = {}
    verifier = partial(oidc.JwtTokens, clock=utc_now, leeway_s=settings.auth_leeway_seconds)
    async with AsyncExitStack() as stack:
        browsers: SignInProvider | None = None
        if (provider := identity_provider(settings)) is not None:
            keys = oidc.static_keys(KeySet([]))
            if provider.publishes_keys:
                fetch = JwksClient(provider.issuer, provider.jwks_url)
                published = IssuerKeys(fetch, issuer=provider.issuer)
                keys = await stack.enter_async_context(aclosing(published))
            verify = partial(
                verifier,
                keys,
                issuer=provider.issuer,
                secret=provider.secret,
                verifies_in_metadata=settings.auth_preset == "supabase",
                trusts_missing_verification=settings.auth_trust_unverified_email,
            )
            by_issuer[provider.issuer] = verify(audiences=provider.audiences)
            if (client := provider.client_id) is not None:
                browsers = OidcProvider(
                    issuer=provider.issuer,
                    client_id=client,
                    client_secret=provider.client_secret,
                    redirect_uri=redirect_uri(settings),
                    tokens=verify(audiences=[client]),
                    monotonic_s=time.monotonic,
                )
        if settings.auth_dev_issuer:
            if oidc.DevelopmentIssuer.ISSUER in by_issuer:
                raise SettingsError(
                    f"{variable('auth_issuer')} must differ from the issuer of development tokens"
                )
            by_issuer[oidc.DevelopmentIssuer.ISSUER] = verifier(
                oidc.static_keys(development_issuer(settings).keys()),
                issuer=oidc.DevelopmentIssuer.ISSUER,
                audiences=[oidc.DevelopmentIssuer.AUDIENCE],
            )
        yield SignIn(oidc.TokensByIssuer(by_issuer), frozenset(by_issuer), browsers)


def redirect_uri(settings: Settings) -> str:
    """The address to which the identity provider sends browsers back."""
    return f"{(settings.public_url or '').rstrip('/')}{CALLBACK_PATH}"


def sign_in_methods(settings: Settings) -> frozenset[SignInMethod]:
    """The ways in which browsers may sign in."""
    methods = {SignInMethod.KEY}
    provider = identity_provider(settings)
    if provider is not None and provider.client_id is not None:
        methods.add(SignInMethod.PROVIDER)
    if provider is not None or settings.auth_dev_issuer:
        methods.add(SignInMethod.TOKEN)
    if settings.auth_dev_issuer:
        methods.add(SignInMethod.DEVELOPMENT)
    return frozenset(methods)


async def sign_in_state(settings: Settings) -> HealthStatus:
    """Whether users can sign in. Fetches the keys of the identity provider."""
    provider = identity_provider(settings)
    if provider is None:
        return HealthStatus(
            ok=True, detail=DEVELOPMENT_ISSUER_ONLY if settings.auth_dev_issuer else NO_SIGN_IN
        )
    if not provider.publishes_keys:
        return HealthStatus(ok=True, detail=f"{provider.issuer}, with a shared secret")
    try:
        keys = await JwksClient(provider.issuer, provider.jwks_url)()
    except JwksError as error:
        return HealthStatus(ok=False, detail=str(error))
    count = len(keys.keys) or "no"
    detail = f"{provider.issuer} has {count} usable {'keys' if len(keys.keys) > 1 else 'key'}"
    return HealthStatus(ok=bool(keys) or provider.secret is not None, detail=detail)


def development_token_factory(settings: Settings) -> Callable[[], str] | None:
    """A function that creates short-lived tokens of the developer; None without that issuer."""
    if not settings.auth_dev_issuer:
        return None
    return lambda: development_issuer(settings).token(
        subject=DEVELOPER,
        email=DEVELOPER,
        name=DEVELOPER_NAME,
        expires_in_s=PAGE_TOKEN_LIFETIME_S,
        now=utc_now(),
    )
