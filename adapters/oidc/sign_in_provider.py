"""Sign-in with an OpenID provider: authorization code flow, by Authlib's client."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from adapters.oidc.issuer_urls import discovery_url, is_as_trusted
from adapters.oidc.jwks import DOCUMENT_BYTES_MAX, JwksError, fetch_metadata, read_document
from adapters.oidc.tokens import INVALID, JwtTokens
from domain.errors import Unauthenticated, Unavailable
from domain.identity.caller import Claims
from domain.identity.sign_in_attempt import AuthorizationRequest

if TYPE_CHECKING:
    import httpx2
    from authlib.integrations.httpx_client import AsyncOAuth2Client

TIMEOUT_S: Final = 10.0  # for discovery and the token together: a person waits for the page
METADATA_KEPT_S: Final = 3_600.0
RETRY_AFTER_S: Final = 10
SCOPE: Final = "openid email profile"
NOT_REACHABLE: Final = "The identity provider doesn't answer"
# In the order of preference; the first is what a provider supports that doesn't say.
_SECRET_METHODS: Final = ("client_secret_basic", "client_secret_post")

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Endpoints:
    authorization: str
    token: str
    userinfo: str | None
    token_auth_method: str


@dataclass(slots=True)
class OidcProvider:
    """Signs people in with the provider of `issuer`.

    `tokens` verifies ID tokens for `client_id`. The endpoints come from the discovery document,
    which is kept for METADATA_KEPT_S. No token of the provider is kept. `monotonic_s` is a clock.
    """

    issuer: str
    client_id: str
    redirect_uri: str
    tokens: JwtTokens
    monotonic_s: Callable[[], float]
    client_secret: str | None = field(default=None, repr=False)
    _endpoints: _Endpoints | None = field(default=None, init=False)
    _fetched_s: float = field(default=0.0, init=False)

    async def authorization_url(self, request: AuthorizationRequest) -> str:
        async with self._client() as client:
            endpoints = await self._discover()
            url, _ = client.create_authorization_url(
                endpoints.authorization,
                state=request.state,
                nonce=request.nonce,
                code_verifier=request.code_verifier,
            )
        return str(url)

    async def claims(self, code: str, request: AuthorizationRequest) -> Claims:
        async with self._client() as client:
            endpoints = await self._discover()
            client.token_endpoint_auth_method = endpoints.token_auth_method
            token = await client.fetch_token(
                endpoints.token,
                grant_type="authorization_code",
                code=code,
                code_verifier=request.code_verifier,
            )
            id_token = token.get("id_token")
            if not isinstance(id_token, str):
                _log.warning("%s gave no ID token: allow the scope openid", self.issuer)
                raise Unauthenticated(INVALID)
            payload = await self.tokens.verified_payload(id_token)
            if endpoints.userinfo is not None and not payload.keys() >= {"email", "email_verified"}:
                userinfo = await self._userinfo(endpoints.userinfo, token, payload)
                payload = _with_userinfo(payload, userinfo)
        if "email" not in payload:
            _log.warning("%s gave no email: allow the scope or the claim email", self.issuer)
        return self.tokens.claims_from(payload)

    async def _userinfo(
        self, url: str, token: Mapping[str, Any], payload: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The response of the userinfo endpoint; the payload if it refuses and isn't needed."""
        access_token = token.get("access_token", "")
        try:
            async with self._plain_client() as client:
                return await read_document(client, url, authorization=f"Bearer {access_token}")
        except JwksError as error:
            if "email" not in payload:
                raise
            _log.warning("%s: %s", self.issuer, error)
            return payload

    @asynccontextmanager
    async def _client(self) -> AsyncIterator["AsyncOAuth2Client"]:
        """A client for one sign-in. Raises Unavailable, Unauthenticated for an OAuth error."""
        import httpx2  # noqa: PLC0415 - slow to import
        from authlib.integrations import base_client, httpx_client  # noqa: PLC0415 - slow to import

        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                httpx_client.AsyncOAuth2Client(
                    self.client_id,
                    self.client_secret,
                    scope=SCOPE,
                    redirect_uri=self.redirect_uri,
                    code_challenge_method="S256",
                    headers={"accept-encoding": "identity"},
                    event_hooks={"response": [_bound_response]},
                    **self._options(),
                ) as client,
            ):
                yield client
        except base_client.OAuthError as error:  # such as invalid_grant, of a code that was used
            _log.warning("%s refused a sign-in: %s", self.issuer, _printable(error.error))
            raise Unauthenticated(INVALID) from error
        # A ValueError is an answer of the token endpoint that isn't JSON.
        except (
            *(TimeoutError, JwksError, ValueError, OSError),
            *(httpx2.HTTPError, httpx2.InvalidURL),
        ) as error:
            _log.warning("%s: %s", self.issuer, _printable(error) or type(error).__name__)
            raise Unavailable(NOT_REACHABLE, retry_after_s=RETRY_AFTER_S) from error

    @asynccontextmanager
    async def _plain_client(self) -> AsyncIterator["httpx2.AsyncClient"]:
        import httpx2  # noqa: PLC0415 - slow to import

        async with httpx2.AsyncClient(**self._options()) as client:
            yield client

    def _options(self) -> dict[str, Any]:
        return {
            "follow_redirects": False,
            "timeout": TIMEOUT_S,
            # A proxy leads out of our network, which plain http must not leave.
            "trust_env": self.issuer.startswith("https:"),
        }

    async def _discover(self) -> _Endpoints:
        now = self.monotonic_s()
        if self._endpoints is None or now - self._fetched_s >= METADATA_KEPT_S:
            async with self._plain_client() as client:
                self._endpoints = self._parse(await fetch_metadata(client, self.issuer))
            self._fetched_s = now
        return self._endpoints

    def _parse(self, metadata: Mapping[str, Any]) -> _Endpoints:
        supported = metadata.get("token_endpoint_auth_methods_supported") or _SECRET_METHODS[:1]
        methods = [one for one in _SECRET_METHODS if one in supported] or _SECRET_METHODS[:1]
        userinfo = metadata.get("userinfo_endpoint")
        return _Endpoints(
            authorization=self._endpoint(metadata, "authorization_endpoint"),
            token=self._endpoint(metadata, "token_endpoint"),
            userinfo=None if userinfo is None else self._endpoint(metadata, "userinfo_endpoint"),
            token_auth_method="none" if self.client_secret is None else methods[0],
        )

    def _endpoint(self, metadata: Mapping[str, Any], name: str) -> str:
        url = metadata.get(name)
        if not isinstance(url, str) or not is_as_trusted(url, discovery_url(self.issuer)):
            raise JwksError(f"the provider has a {name} that is not trusted: {url!r}")
        return url


def _with_userinfo(payload: Mapping[str, Any], userinfo: Mapping[str, Any]) -> Mapping[str, Any]:
    """The payload of an ID token with the claims that only the userinfo endpoint has.

    Both have to be about one person (OpenID Connect Core 1.0, section 5.3.2). Raises
    Unauthenticated. What it says about another address is not taken.
    """
    if userinfo.get("sub") != payload.get("sub"):
        raise Unauthenticated(INVALID)
    if "email" in payload and userinfo.get("email") != payload["email"]:
        return payload
    names = ("email", "email_verified", "name")
    return {**{name: userinfo[name] for name in names if name in userinfo}, **payload}


async def _bound_response(response: "httpx2.Response") -> None:
    """Makes reading the response raise JwksError beyond DOCUMENT_BYTES_MAX."""
    import httpx2  # noqa: PLC0415 - slow to import

    inner = response.stream

    class Bounded(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            count = 0
            async for chunk in cast("httpx2.AsyncByteStream", inner):
                count += len(chunk)
                if count > DOCUMENT_BYTES_MAX:
                    raise JwksError(f"{response.url} answered more than {DOCUMENT_BYTES_MAX} bytes")
                yield chunk

        async def aclose(self) -> None:
            await cast("httpx2.AsyncByteStream", inner).aclose()

    response.stream = Bounded()


def _printable(text: object) -> str:
    return "".join(one for one in str(text)[:200] if one.isprintable())
