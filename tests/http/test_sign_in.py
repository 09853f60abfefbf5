"""Sign-in, from an OpenID provider's page to an answer of ours."""

import secrets
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from authlib.common.security import generate_token
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from entrypoints.composition import tokens
from entrypoints.settings import read_settings
from tests.http.conftest import Site
from tests.http.openid_provider import ADA, CALLBACK, openid_provider

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


def installed(issuer: str, **said: str) -> Site:
    environ = {"PANDAPROBE_AUTH_ISSUER": issuer, "PANDAPROBE_AUTH_AUDIENCE": CLIENT}
    more = {f"PANDAPROBE_{name}": text for name, text in said.items()}
    return Site(swapped={"tokens": tokens(read_settings(environ | more))})


async def asked(site: Site, token: str, project: str) -> httpx.Response:
    head = {"authorization": f"Bearer {token}", "x-project-id": project}
    return await site.http.get("/traces", headers=head)


async def test_a_person_signs_in_and_works_on_their_first_project():
    with openid_provider() as provider:
        site = installed(provider.issuer)
        given = await signed_in(provider.issuer)
        async with site.http:
            elsewhere = await asked(site, given["id_token"], site.project())
            assert elsewhere.status_code == 404
            [user] = site.store.users.values()
            assert (user.issuer, user.subject) == (provider.issuer, ADA["sub"])
            assert (user.email, user.display_name) == (ADA["email"], ADA["name"])
            [first] = [one for one in site.store.projects.values() if one.name == "onboarding"]
            answer = await asked(site, given["id_token"], str(first.id))
            assert (answer.status_code, answer.json()["items"]) == (200, [])
            # The other token of the flow is for the provider, not for us.
            refused = await asked(site, given["access_token"], str(first.id))
            assert (refused.status_code, refused.json()) == (401, {"detail": "Invalid token"})
            assert refused.headers["www-authenticate"] == "Bearer"
            foreign = (await signed_in(provider.issuer, "another-app"))["id_token"]
            assert (await asked(site, foreign, str(first.id))).status_code == 401
            again = await signed_in(provider.issuer)
    # The provider is gone; whoever has its token works on.
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(site.app), base_url="http://test"
    ) as site.http:
        assert (await asked(site, again["id_token"], str(first.id))).status_code == 200
    assert len(site.store.users) == 1


async def test_a_provider_that_is_gone_from_the_start_is_our_fault():
    with openid_provider() as provider:
        token = (await signed_in(provider.issuer))["id_token"]
    site = installed(provider.issuer)
    async with site.http:
        answer = await asked(site, token, site.project())
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert provider.issuer not in answer.text


@pytest.mark.parametrize("said", [{"AUTH_ISSUER": "http://127.0.0.1:9"}, {"AUTH_AUDIENCE": "x"}])
async def test_a_provider_s_token_opens_no_other_installation(said):
    with openid_provider() as provider:
        token = (await signed_in(provider.issuer))["id_token"]
        site = installed(provider.issuer, **said)
        async with site.http:
            assert (await asked(site, token, site.project())).status_code == 401
    assert site.store.users == {}
