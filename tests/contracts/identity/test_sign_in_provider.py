"""Contract of SignInProvider: in memory, and over HTTP with Authlib's OpenID provider."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest

from adapters.memory.identity.sign_in_provider import MemorySignInProvider
from adapters.oidc.sign_in_provider import OidcProvider
from application.identity.ports import SignInProvider
from domain.errors import Unauthenticated, Unavailable
from domain.identity.caller import Claims
from domain.identity.login_code import challenge_of
from domain.identity.sign_in_attempt import AuthorizationRequest
from entrypoints.composition.sign_in import open_sign_in
from entrypoints.settings import read_settings
from tests.support.fakes.openid_provider import ADA, Client, Provider, openid_provider

CLIENT, SECRET = "pandaprobe", "a-secret-of-the-client:%&"
PUBLIC_URL = "http://127.0.0.1:8000/traces/"
CALLBACK = "http://127.0.0.1:8000/traces/session/callback"
REQUEST = AuthorizationRequest.from_cookie("a cookie")
OTHER = AuthorizationRequest.from_cookie("another cookie")


@dataclass
class Subject:
    """A provider, and what a browser does at its URL: returns a code."""

    provider: SignInProvider
    issuer: str
    browse: Callable[[str], Awaitable[str]]


async def browse(url: str) -> str:
    async with httpx.AsyncClient(trust_env=False) as browser:
        back = await browser.get(url)
    assert back.status_code == 302, back.text
    location = urlsplit(back.headers["location"])
    assert location._replace(query="").geturl() == CALLBACK
    [code], [state] = (parse_qs(location.query)[name] for name in ("code", "state"))
    assert state == parse_qs(urlsplit(url).query)["state"][0]
    return code


@pytest.fixture
def remote() -> "AsyncIterator[Provider]":
    with openid_provider() as provider:
        provider.clients[CLIENT] = Client(CLIENT, SECRET, CALLBACK)
        yield provider


def environ(issuer: str, **more: str) -> dict[str, str]:
    words = {
        "AUTH_ISSUER": issuer,
        "AUTH_CLIENT_ID": CLIENT,
        "AUTH_CLIENT_SECRET": SECRET,
        "PUBLIC_URL": PUBLIC_URL,
    }
    return {f"PANDAPROBE_{name}": text for name, text in (words | more).items() if text}


@pytest.fixture
async def oidc(remote: Provider) -> AsyncIterator[OidcProvider]:
    async with open_sign_in(read_settings(environ(remote.issuer))) as sign_in:
        yield sign_in.provider


@pytest.fixture(params=["memory", "oidc"])
async def subject(request: pytest.FixtureRequest, oidc: OidcProvider) -> Subject:
    if request.param == "oidc":
        return Subject(oidc, oidc.issuer, browse)
    claims = Claims(
        issuer="https://issuer.test",
        subject=ADA["sub"],
        email=ADA["email"],
        display_name=ADA["name"],
    )
    memory = MemorySignInProvider(claims)

    async def browse_memory(url: str) -> str:
        return memory.sign_in(dict(parse_qsl(urlsplit(url).query)))

    return Subject(memory, claims.issuer, browse_memory)


async def test_code_is_exchanged_for_the_claims_of_the_person(subject: Subject) -> None:
    url = await subject.provider.authorization_url(REQUEST)
    claims = await subject.provider.claims(await subject.browse(url), REQUEST)
    assert (claims.issuer, claims.subject) == (subject.issuer, ADA["sub"])
    assert (claims.email, claims.display_name) == (ADA["email"], ADA["name"])
    assert claims.nonce == REQUEST.nonce


async def test_url_has_the_challenge_and_no_secret(subject: Subject) -> None:
    url = await subject.provider.authorization_url(REQUEST)
    query = dict(parse_qsl(urlsplit(url).query))
    assert query["state"] == REQUEST.state
    assert query["nonce"] == REQUEST.nonce
    assert query["code_challenge"] == challenge_of(REQUEST.code_verifier)
    assert REQUEST.code_verifier not in url
    assert SECRET not in url


async def test_code_is_good_once_and_with_its_verifier_only(subject: Subject) -> None:
    code = await subject.browse(await subject.provider.authorization_url(REQUEST))
    assert await subject.provider.claims(code, REQUEST)
    stolen = await subject.browse(await subject.provider.authorization_url(REQUEST))
    for used, request in ((code, REQUEST), (stolen, OTHER), ("unknown", REQUEST)):
        with pytest.raises(Unauthenticated):
            await subject.provider.claims(used, request)


async def test_provider_that_is_down_is_unavailable(remote: Provider, oidc: OidcProvider) -> None:
    code = await browse(await oidc.authorization_url(REQUEST))
    remote.failure = 502
    with pytest.raises(Unavailable):
        await oidc.claims(code, REQUEST)
    remote.failure = None
    assert await oidc.claims(code, REQUEST)
    gone = MemorySignInProvider(Claims(issuer="i", subject="s", email="e"), is_down=True)
    async with open_sign_in(read_settings(environ("http://127.0.0.1:9"))) as sign_in:
        for down in (gone, sign_in.provider):
            with pytest.raises(Unavailable):
                await down.authorization_url(REQUEST)
            with pytest.raises(Unavailable):
                await down.claims("code", REQUEST)


@pytest.mark.parametrize(
    "overrides",
    [
        {"iss": "https://other.example"},
        {"aud": "another-client"},
        {"exp": 1},
        {"email": ""},
        {"sub": ""},
    ],
)
async def test_token_that_is_not_for_us_is_refused(
    remote: Provider, oidc: OidcProvider, overrides: dict[str, object]
) -> None:
    remote.overrides |= overrides
    code = await browse(await oidc.authorization_url(REQUEST))
    with pytest.raises(Unauthenticated):
        await oidc.claims(code, REQUEST)


async def test_wrong_client_secret_is_refused(remote: Provider) -> None:
    wrong = read_settings(environ(remote.issuer, AUTH_CLIENT_SECRET="wrong"))
    async with open_sign_in(wrong) as sign_in:
        code = await browse(await sign_in.provider.authorization_url(REQUEST))
        with pytest.raises(Unauthenticated):
            await sign_in.provider.claims(code, REQUEST)


async def test_public_client_needs_no_secret(remote: Provider) -> None:
    remote.clients[CLIENT] = Client(CLIENT, None, CALLBACK)
    public = read_settings(environ(remote.issuer, AUTH_CLIENT_SECRET=""))
    async with open_sign_in(public) as sign_in:
        code = await browse(await sign_in.provider.authorization_url(REQUEST))
        assert (await sign_in.provider.claims(code, REQUEST)).email == ADA["email"]


async def test_email_may_be_in_the_userinfo_only(remote: Provider, oidc: OidcProvider) -> None:
    remote.hidden = frozenset({"email", "name"})
    code = await browse(await oidc.authorization_url(REQUEST))
    claims = await oidc.claims(code, REQUEST)
    assert (claims.email, claims.display_name) == (ADA["email"], ADA["name"])


async def test_userinfo_of_another_person_is_refused(remote: Provider, oidc: OidcProvider) -> None:
    remote.hidden, remote.overrides = frozenset({"email"}), {"sub": "eve"}
    code = await browse(await oidc.authorization_url(REQUEST))
    with pytest.raises(Unauthenticated):
        await oidc.claims(code, REQUEST)


@pytest.mark.parametrize(
    ("userinfo", "verified"),
    [
        ({"email": ADA["email"], "email_verified": True}, True),
        ({"email": "eve@example.com", "email_verified": True}, False),
        ({"email_verified": True}, False),
        ({}, False),
    ],
)
async def test_userinfo_verifies_the_address_of_the_token_only(
    remote: Provider, oidc: OidcProvider, userinfo: dict[str, object], verified: bool
) -> None:
    remote.userinfo = {"sub": ADA["sub"]} | userinfo
    code = await browse(await oidc.authorization_url(REQUEST))
    claims = await oidc.claims(code, REQUEST)
    assert (claims.email, claims.email_verified) == (ADA["email"], verified)


@pytest.mark.parametrize("is_needed", [False, True])
async def test_userinfo_that_refuses_matters_only_if_it_is_needed(
    remote: Provider, oidc: OidcProvider, is_needed: bool
) -> None:
    remote.userinfo_is_refused = True
    remote.hidden = frozenset({"email"} if is_needed else ())
    code = await browse(await oidc.authorization_url(REQUEST))
    if is_needed:
        with pytest.raises(Unavailable):
            await oidc.claims(code, REQUEST)
    else:
        assert (await oidc.claims(code, REQUEST)).email == ADA["email"]
