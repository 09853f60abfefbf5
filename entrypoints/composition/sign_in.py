"""Whose tokens are believed: the part of the composition root that is about signing in."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Final

from joserfc.jwk import KeySet

from adapters.oidc.issuer_keys import IssuerKeys
from adapters.oidc.issuers import Issuers
from adapters.oidc.jwks import Jwks, JwksError
from adapters.oidc.tokens import DevelopmentIssuer, JwtTokens, KeySource, fixed
from application.identity.ports import Tokens
from application.ports import HealthStatus
from application.use_cases import utc_now
from entrypoints.composition.identity_provider import IdentityProvider, identity_provider
from entrypoints.settings import Settings, SettingsError, variable

ISSUER_FOLDER: Final = "issuer"
NOBODY: Final = "no identity provider is set: API keys work, and nobody can sign in"
DEVELOPERS: Final = "the development issuer only"
DEVELOPER: Final = "dev@localhost"
DEVELOPER_NAME: Final = "Developer"
PAGE_TOKEN_S: Final = 600  # of the page of CLI login: longer than anybody takes to choose


def development_issuer(settings: Settings) -> DevelopmentIssuer:
    """The issuer of development tokens, with its key in the data folder."""
    return DevelopmentIssuer.load_or_create(Path(settings.data_dir) / ISSUER_FOLDER)


@asynccontextmanager
async def tokens(settings: Settings) -> AsyncIterator[Tokens]:
    """Of the identity provider and of the development issuer, where there are such.

    Raises SettingsError.
    """
    believed: dict[str, Tokens] = {}
    async with AsyncExitStack() as stack:
        if (provider := identity_provider(settings)) is not None:
            keys = await stack.enter_async_context(_keys(provider))
            believed[provider.issuer] = JwtTokens(
                keys,
                issuer=provider.issuer,
                audiences=provider.audiences,
                clock=utc_now,
                leeway_s=settings.auth_leeway_seconds,
                secret=provider.secret,
            )
        if settings.auth_dev_issuer:
            if DevelopmentIssuer.ISSUER in believed:
                raise SettingsError(
                    f"{variable('auth_issuer')} must be another than that of the development issuer"
                )
            believed[DevelopmentIssuer.ISSUER] = JwtTokens(
                fixed(development_issuer(settings).keys()),
                issuer=DevelopmentIssuer.ISSUER,
                audiences=[DevelopmentIssuer.AUDIENCE],
                clock=utc_now,
                leeway_s=settings.auth_leeway_seconds,
            )
        yield Issuers(believed)


@asynccontextmanager
async def _keys(provider: IdentityProvider) -> AsyncIterator[KeySource]:
    if not provider.publishes_keys:
        yield fixed(KeySet([]))
        return
    fetched = IssuerKeys(Jwks(provider.issuer, provider.jwks_url), issuer=provider.issuer)
    async with aclosing(fetched):
        yield fetched


async def sign_in_state(settings: Settings) -> HealthStatus:
    """Whether anybody can sign in; asks the identity provider for its keys."""
    provider = identity_provider(settings)
    if provider is None:
        return HealthStatus(ok=True, detail=NOBODY if not settings.auth_dev_issuer else DEVELOPERS)
    if not provider.publishes_keys:
        return HealthStatus(ok=True, detail=f"{provider.issuer}, by a shared secret")
    try:
        keys = await Jwks(provider.issuer, provider.jwks_url)()
    except JwksError as error:
        return HealthStatus(ok=False, detail=str(error))
    count = len(keys.keys) or "no"
    detail = f"{provider.issuer} has {count} {'keys' if len(keys.keys) > 1 else 'key'} for us"
    return HealthStatus(ok=bool(keys) or provider.secret is not None, detail=detail)


def developer_signs_in(settings: Settings) -> Callable[[], str] | None:
    """What makes short-lived tokens of the developer, where the development issuer is on."""
    if not settings.auth_dev_issuer:
        return None
    return lambda: development_issuer(settings).token(
        subject=DEVELOPER,
        email=DEVELOPER,
        name=DEVELOPER_NAME,
        expires_in_s=PAGE_TOKEN_S,
        now=utc_now(),
    )
