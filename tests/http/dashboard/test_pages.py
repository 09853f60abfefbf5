"""How the dashboard is served: one page at every path, files for a year, and its policy."""

import json
import re
from html.parser import HTMLParser

import pytest

from entrypoints.dashboard import BUILT
from entrypoints.http.config import HttpConfig
from tests.http.conftest import Site

MANIFEST = json.loads((BUILT / "manifest.json").read_text())
FILES = MANIFEST["files"]
ASSETS = sorted(name for name in FILES if name.startswith("assets/"))
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


class Page(HTMLParser):
    """The files that a page loads, and the names of all attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.attributes: set[str] = set()
        self.inline: list[str] = []
        self._is_in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.attributes |= found.keys()
        self._is_in_script = tag in {"script", "style"}
        target = found.get("src") or (found.get("href") if tag == "link" else None)
        if target and not target.startswith("data:"):
            self.loaded.append(target)

    def handle_data(self, data: str) -> None:
        if self._is_in_script and data.strip():
            self.inline.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._is_in_script = False


class TestPage:
    @pytest.mark.parametrize(
        "path", ["/app", "/app/", "/app/p/1/traces", "/app/p/1/sessions/a%2Fb.c%25?turn=1"]
    )
    async def test_every_path_has_the_same_page(self, site: Site, path: str) -> None:
        answer = await site.http.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.text == (await site.http.get("/app/")).text

    async def test_page_loads_own_files_only(self, site: Site) -> None:
        page = Page((await site.http.get("/app/")).text)
        assert page.inline == []
        assert not {name for name in page.attributes if name == "style" or name.startswith("on")}
        assert sorted(page.loaded) == sorted(f"/app/{name}" for name in MANIFEST["first"])
        for target in page.loaded:
            assert (await site.http.get(target)).status_code == 200

    async def test_policy_allows_neither_inline_text_nor_html_of_strings(self, site: Site) -> None:
        policy = (await site.http.get("/app/")).headers["content-security-policy"]
        assert dict(one.split(" ", 1) for one in policy.split("; ")) == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self' data:",
            "connect-src": "'self'",
            "font-src": "'none'",
            "worker-src": "'none'",
            "manifest-src": "'none'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
            "require-trusted-types-for": "'script'",
            "trusted-types": "'none'",
        }

    async def test_page_that_the_browser_has_is_not_sent_again(self, site: Site) -> None:
        tag = (await site.http.get("/app/")).headers["etag"]
        again = await site.http.get("/app/p/1", headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")

    async def test_paths_follow_a_proxy_that_serves_them_below_a_path(self) -> None:
        site = Site(
            config=HttpConfig(
                version="1", environment="test", public_url="https://tools.example/panda/"
            )
        )
        loaded = Page((await site.http.get("/app/")).text).loaded
        assert {target.startswith("/panda/app/assets/") for target in loaded} == {True}


class TestAssets:
    @pytest.mark.parametrize("name", ASSETS)
    async def test_asset_is_the_built_file_and_never_changes(self, site: Site, name: str) -> None:
        answer = await site.http.get(f"/app/{name}")
        assert answer.content == (BUILT / name).read_bytes()
        assert "immutable" in answer.headers["cache-control"]
        assert re.search(r"-[A-Z0-9]{8}\.(js|css)$", name)
        kind = "javascript" if name.endswith(".js") else "css"
        assert answer.headers["content-type"] == f"text/{kind}; charset=utf-8"

    @pytest.mark.parametrize(
        "path",
        [
            "/app/assets/main-00000000.js",
            "/app/assets/",
            "/app/assets/a/b",
            "/app/assets/..%2Findex.html",
        ],
    )
    async def test_unknown_asset_is_not_the_page(self, site: Site, path: str) -> None:
        assert (await site.http.get(path)).status_code == 404

    async def test_licences_of_the_packages_are_served(self, site: Site) -> None:
        text = (await site.http.get("/app/assets/LICENSES.txt")).text
        assert {"preact", "wouter-preact"} <= {line.split(" ")[0] for line in text.splitlines()}


class TestRoot:
    async def test_browser_is_sent_to_the_dashboard(self, site: Site) -> None:
        answer = await site.http.get("/", headers=BROWSER, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "app/")
        assert answer.headers["vary"] == "Accept"

    async def test_other_clients_get_json(self, site: Site) -> None:
        assert (await site.http.get("/")).json()["docs"] == "/docs"

    async def test_dashboard_can_be_switched_off(self) -> None:
        site = Site(config=HttpConfig(version="1", environment="test", dashboard=False))
        assert (await site.http.get("/app/")).status_code == 404
        assert (await site.http.get("/", headers=BROWSER)).json()["version"] == "1"
