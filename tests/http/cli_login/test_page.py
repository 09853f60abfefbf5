"""The login page of the command line, and the requests that get a development token."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from domain.identity.browser_session import SignInMethod
from tests.http.conftest import CONFIG, ORIGIN, TOKEN, Site
from tests.http.openapi.test_openapi import Tags
from tests.support.clients.asgi_client import with_http_version

HERE = "http://127.0.0.1:8000"
PAGE_HEADERS = {"host": "127.0.0.1:8000", "origin": HERE, "sec-fetch-site": "same-origin"}
LINK = "/cli-login?port=1&state=s&code_challenge=c&code_challenge_method=S256&label=l"


@pytest.fixture(scope="module")
def with_development_issuer() -> Site:
    """Its CORS lets any origin in."""
    config = replace(
        CONFIG, development_token=lambda: TOKEN, allowed_origins=("*", ORIGIN, HERE + "1")
    )
    return Site(config=config)


@pytest.fixture
async def developers(with_development_issuer: Site) -> AsyncIterator[Site]:
    with_development_issuer.begin()
    async with with_development_issuer.http:
        yield with_development_issuer


async def token(site: Site, peer: str = "127.0.0.1", **headers: str | None) -> httpx.Response:
    """Send a token request like our page, with these headers replaced."""
    replaced = PAGE_HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}
    transport = httpx.ASGITransport(site.app, client=(peer, 40_000))
    async with httpx.AsyncClient(transport=transport) as http:
        sent = {name: value for name, value in replaced.items() if value is not None}
        return await http.post(f"{HERE}/cli-login/token", headers=sent)


class TestPage:
    async def test_response_headers(self, site: Site) -> None:
        answer = await site.http.get(LINK)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"

    async def test_policy_allows_the_own_script_only(self, site: Site) -> None:
        answer = await site.http.get(LINK)
        policy = dict(
            one.split(" ", 1) for one in answer.headers["content-security-policy"].split("; ")
        )
        own = {}
        for kind, tag in (("script-src", "script"), ("style-src", "style")):
            [text] = re.findall(f"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
            own[kind] = (
                f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            )
        assert policy == own | {
            "default-src": "'none'",
            "connect-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
            "require-trusted-types-for": "'script'",
        }

    async def test_page_loads_nothing_and_links_nowhere(self, site: Site) -> None:
        text = (await site.http.get(LINK)).text
        page = Tags()
        page.feed(text)
        assert page.targets == []
        assert not {"link", "img", "iframe", "object", "base"} & set(page.opened)
        assert set(re.findall(r"\w+://[^\s`\"'<$]*", text)) == {"http://127.0.0.1:"}
        assert not re.search(r"url\(|@import|import\s*\(", text)

    async def test_script_writes_no_html_and_stores_no_credential(self, site: Site) -> None:
        text = (await site.http.get(LINK)).text
        for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("):
            assert word not in text
        for word in ("localStorage", "indexedDB", "cookie"):
            assert word not in text
        # Half of the session of a sign-in with the provider, for this tab.
        uses = re.findall(r"sessionStorage\.\w+\(([^,)]*)", text)
        assert uses
        assert set(uses) == {"VERIFIER"}

    async def test_every_control_has_a_label(self, site: Site) -> None:
        text = (await site.http.get(LINK)).text
        controls = set(re.findall(r'<(?:input|select) id="([\w-]+)"', text))
        assert controls == {"token", "organization", "project"}
        assert controls == set(re.findall(r'<label for="([\w-]+)"', text))

    async def test_page_does_not_contain_the_query(self, site: Site) -> None:
        plain = await site.http.get("/cli-login")
        other = await site.http.get("/cli-login?port=<script>&label=%3Cscript%3E")
        assert plain.text == other.text

    async def test_only_get_is_allowed(self, site: Site) -> None:
        for method in ("POST", "HEAD", "PUT"):
            answer = await site.http.request(method, "/cli-login")
            assert answer.status_code == 405

    async def test_page_contains_the_way_to_sign_in(self, site: Site, developers: Site) -> None:
        assert 'data-sign-in="token"' in (await site.http.get(LINK)).text
        assert 'data-sign-in="development"' in (await developers.http.get(LINK)).text
        methods = frozenset({SignInMethod.PROVIDER})
        both = Site(config=replace(developers.config, sign_in_methods=methods))
        async with both.http:
            answer = await both.http.get(LINK)
        assert 'data-sign-in="development provider"' in answer.text


class TestDevelopmentToken:
    async def test_page_is_absent_without_development_issuer(self, site: Site) -> None:
        assert (await token(site)).status_code == 404

    @pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
    async def test_own_page_on_this_machine_gets_a_token(self, developers: Site, peer: str) -> None:
        answer = await token(developers, peer)
        assert answer.status_code == 200
        assert answer.json() == {"token": TOKEN}
        assert answer.headers["cache-control"] == "no-store"

    @pytest.mark.parametrize("host", ["localhost:8000", "[::1]:8000", "localhost", "127.0.0.1:1"])
    async def test_loopback_names_are_accepted(self, developers: Site, host: str) -> None:
        answer = await token(developers, host=host, origin=f"http://{host}", sec_fetch_site=None)
        assert answer.status_code == 200

    @pytest.mark.parametrize("peer", ["10.0.0.1", "192.168.1.5", "2001:db8::1", "::", "", "sock"])
    async def test_other_machines_are_refused(self, developers: Site, peer: str) -> None:
        answer = await token(developers, peer)
        assert answer.status_code == 403
        assert TOKEN not in answer.text

    @pytest.mark.parametrize(
        "host",
        [
            *(
                "evil.example",
                "evil.example:8000",
                "127.0.0.1.evil.example",
                "localhost.evil.example",
            ),
            *("localhost.", "sub.localhost", "127.0.0.1:8000@evil.example", "127.0.0.1:", ""),
            *("0.0.0.0:8000", "2130706433", "127.0.0.1:123456"),
        ],
    )
    async def test_rebound_dns_name_is_refused(self, developers: Site, host: str) -> None:
        answer = await token(developers, host=host, origin=f"http://{host}")
        assert answer.status_code == 403

    @pytest.mark.parametrize(
        "origin",
        [
            *("https://evil.example", "http://localhost:8000", "http://127.0.0.1:3000", "null", ""),
            *("https://127.0.0.1:8000", HERE + "/", HERE + "1", ORIGIN, "http://127.0.0.1", None),
        ],
    )
    async def test_page_of_another_origin_is_refused(
        self, developers: Site, origin: str | None
    ) -> None:
        assert (await token(developers, origin=origin)).status_code == 403

    @pytest.mark.parametrize("site", ["cross-site", "same-site", "none", ""])
    async def test_sec_fetch_site_must_be_same_origin(self, developers: Site, site: str) -> None:
        assert (await token(developers, sec_fetch_site=site)).status_code == 403

    @pytest.mark.parametrize(
        "name",
        [
            *("x_forwarded_for", "x_forwarded_host", "forwarded", "x_real_ip", "via"),
            *("cf_connecting_ip", "x_client_ip", "true_client_ip"),
        ],
    )
    async def test_request_through_a_proxy_is_refused(self, developers: Site, name: str) -> None:
        assert (await token(developers, **{name: "127.0.0.1"})).status_code == 403

    async def test_request_of_an_old_protocol_is_refused(self, developers: Site) -> None:
        """Debian's nginx sends it by default, with our address as Host and no header of its own."""
        app = with_http_version(developers.app, "1.0")
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 40_000))
        async with httpx.AsyncClient(transport=transport) as http:
            answer = await http.post(f"{HERE}/cli-login/token", headers=PAGE_HEADERS)
        assert answer.status_code == 403

    async def test_repeated_host_or_origin_headers_are_refused(self, developers: Site) -> None:
        for twice in ("host", "origin"):
            headers = [*PAGE_HEADERS.items(), (twice, PAGE_HEADERS[twice])]
            answer = await developers.http.post("/cli-login/token", headers=headers)
            assert answer.status_code == 403

    async def test_get_is_not_allowed(self, developers: Site) -> None:
        answer = await developers.http.get("/cli-login/token", headers=PAGE_HEADERS)
        assert answer.status_code == 405

    async def test_token_route_is_not_in_the_openapi_document(self, developers: Site) -> None:
        paths = (await developers.http.get("/openapi.json")).json()["paths"]
        assert not [path for path in paths if path.startswith("/cli-login")]
