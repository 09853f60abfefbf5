"""Sign-in with an OpenID provider, from its page to a response of the service."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from authlib.common.security import generate_token
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from adapters.oidc.tokens import DevelopmentIssuer
from application.clock import utc_now
from entrypoints.composition.sign_in import open_sign_in
from entrypoints.settings import read_settings
from tests.http.conftest import Site
from tests.support.fakes.openid_provider import ADA, CALLBACK, openid_provider

CLIENT = "pandaprobe-web"


async def signed_in(issuer: str, client_id: str = CLIENT) -> dict[str, str]:
    """The tokens that a page gets by the authorization code flow with PKCE."""
    verifier, state, nonce = generate_token(48), secrets.token_hex(8), secrets.token_hex(8)
    async with httpx.AsyncClient(trust_env=False) as browser:
        found = (await browser.get(f"{issuer}/.well-known/openid-configuration")).json()
        sent = await browser.get(
            found["authorization_endpoint"],
            params={
                "response_type": "code",
                "client_id": client_id,
                "redirect_uri": CALLBACK,
                "scope": "openid email profile",
                "state": state,
                "nonce": nonce,
                "code_challenge": create_s256_code_challenge(verifier),
                "code_challenge_method": "S256",
            },
        )
        assert sent.status_code == 302, sent.text
        back = parse_qs(urlsplit(sent.headers["location"]).query)
        assert back["state"] == [state]
        given = await browser.post(
            found["token_endpoint"],
            data={
                "grant_type": "authorization_code",
                "client_id": client_id,
                "redirect_uri": CALLBACK,
                "code": back["code"][0],
                "code_verifier": verifier,
            },
        )
        assert given.status_code == 200, given.text
        return given.json()


@asynccontextmanager
async def installed(issuer: str, **overrides: str) -> AsyncIterator[Site]:
    environ = {"PANDAPROBE_AUTH_ISSUER": issuer, "PANDAPROBE_AUTH_AUDIENCE": CLIENT}
    more = {f"PANDAPROBE_{name}": text for name, text in overrides.items()}
    async with open_sign_in(read_settings(environ | more)) as sign_in:
        site = Site(swapped={"tokens": sign_in.tokens})
        async with site.http:
            yield site


async def asked(site: Site, token: str, project: str) -> httpx.Response:
    head = {"authorization": f"Bearer {token}", "x-project-id": project}
    return await site.http.get("/traces", headers=head)


async def test_person_signs_in_and_uses_their_first_project():
    with openid_provider() as provider:
        given = await signed_in(provider.issuer)
        async with installed(provider.issuer) as site:
            elsewhere = await asked(site, given["id_token"], site.project())
            assert elsewhere.status_code == 404
            [user] = site.store.users.values()
            assert (user.issuer, user.subject) == (provider.issuer, ADA["sub"])
            assert (user.email, user.display_name) == (ADA["email"], ADA["name"])
            [first] = [one for one in site.store.projects.values() if one.name == "onboarding"]
            answer = await asked(site, given["id_token"], str(first.id))
            assert (answer.status_code, answer.json()["items"]) == (200, [])
            again = (await signed_in(provider.issuer))["id_token"]
            assert (await asked(site, again, str(first.id))).status_code == 200
            assert len(site.store.users) == 1


async def test_other_tokens_of_the_provider_are_refused():
    with openid_provider() as provider:
        given = await signed_in(provider.issuer)
        foreign = await signed_in(provider.issuer, "another-app")
        async with installed(provider.issuer) as site:
            # The access token of the flow is for the provider, not for this service.
            for token in (given["access_token"], foreign["id_token"]):
                refused = await asked(site, token, site.project())
                assert (refused.status_code, refused.json()) == (401, {"detail": "Invalid token"})
                assert refused.headers["www-authenticate"] == "Bearer"
            assert site.store.users == {}


async def test_tokens_stay_valid_while_the_provider_is_down():
    async with AsyncExitStack() as stack:
        with openid_provider() as provider:
            site = await stack.enter_async_context(installed(provider.issuer))
            early, late = [(await signed_in(provider.issuer))["id_token"] for _ in range(2)]
            assert (await asked(site, early, site.project())).status_code == 404
        assert (await asked(site, late, site.project())).status_code == 404


async def test_provider_that_was_never_reachable_is_503():
    with openid_provider() as provider:
        token = (await signed_in(provider.issuer))["id_token"]
    async with installed(provider.issuer) as site:
        answer = await asked(site, token, site.project())
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert provider.issuer not in answer.text


async def test_development_issuer_works_next_to_a_provider(tmp_path):
    local = {"APP_ENV": "test", "AUTH_DEV_ISSUER": "on", "DATA_DIR": str(tmp_path)}
    own = DevelopmentIssuer.load_or_create(tmp_path / "issuer")
    developer = own.token(
        subject="ada-1", email="ada@localhost", name="", expires_in_s=60, now=utc_now()
    )
    with openid_provider() as provider:
        person = (await signed_in(provider.issuer))["id_token"]
        async with installed(provider.issuer, **local) as site:
            for token in (developer, person):
                assert (await asked(site, token, site.project())).status_code == 404
            # Equal subjects of two issuers are two people.
            issuers = {(user.issuer, user.subject) for user in site.store.users.values()}
    assert issuers == {(own.ISSUER, "ada-1"), (provider.issuer, "ada-1")}


async def test_issuer_with_a_shared_secret_needs_no_key_request():
    secret, issuer = "a secret that both sides know, of 32 bytes and more", "http://127.0.0.1:9"
    said = {"iss": issuer, "aud": CLIENT, "sub": "ada", "email": "ada@example.com"}
    said["exp"] = int(utc_now().timestamp()) + 60
    good = jwt.encode({"alg": "HS256"}, said, OctKey.import_key(secret))
    forged = jwt.encode({"alg": "ES256", "kid": "k"}, said, ECKey.generate_key("P-256"))
    async with installed(issuer, AUTH_HS256_SECRET=secret) as site:
        assert (await asked(site, good, site.project())).status_code == 404
        assert (await asked(site, forged, site.project())).status_code == 401


@pytest.mark.parametrize("said", [{"AUTH_ISSUER": "http://127.0.0.1:9"}, {"AUTH_AUDIENCE": "x"}])
async def test_token_of_another_installation_is_refused(said):
    with openid_provider() as provider:
        token = (await signed_in(provider.issuer))["id_token"]
        async with installed(**{"issuer": provider.issuer} | said) as site:
            assert (await asked(site, token, site.project())).status_code == 401
            assert site.store.users == {}
