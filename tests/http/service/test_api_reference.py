"""The API reference: what it loads, who may keep it, and that it is what was released."""

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest
import zstandard

from entrypoints.http.controllers.service.api_reference import ASSETS
from tests.http.conftest import Site
from tests.http.openapi.test_openapi import Tags

FOLDER = Path(__file__).parents[3] / "entrypoints/http/pages/swagger-ui"
VENDORED = json.loads((FOLDER / "vendored.json").read_text())
ASSETS_MAX = 2 << 20  # bytes, of both
SENT_MAX = 600 << 10  # bytes, of both as browsers get them
# The cookies of browser sessions, which no script can set, and what goes with them.
OF_SESSIONS = {"Session", "CliSession", "SessionVerifier"}
PATHS = [f"/docs/swagger-ui-{VENDORED['version']}/{name}" for name in ASSETS]


def digest(algorithm: str, content: bytes) -> str:
    found = hashlib.new(algorithm, content).digest()
    return f"{algorithm}-{base64.b64encode(found).decode()}"


class TestPage:
    async def test_page_loads_two_own_files_only(self, site: Site) -> None:
        text = (await site.http.get("/docs")).text
        page = Tags()
        page.feed(text)
        loaded = re.findall(r'<(?:script|link)[^>]* (?:src|href)="([^"]*)"', text)
        assert sorted(loaded) == sorted([*PATHS, "data:,"])
        assert {*page.targets} - {*loaded} == {"#reference", "/openapi.json"}
        assert not {"img", "iframe", "object", "base"} & set(page.opened)
        assert "named in the header <code>X-Ignored-Fields</code>." in text
        assert set(re.findall(r"https?://[^\s`\"'<]*", text)) == set()

    async def test_assets_have_their_integrity_hashes(self, site: Site) -> None:
        text = (await site.http.get("/docs")).text
        for path in PATHS:
            [expected] = re.findall(f'"{re.escape(path)}" integrity="([^"]*)"', text)
            assert digest("sha384", (await site.http.get(path)).content) == expected

    async def test_policy_allows_own_scripts_only(self, site: Site) -> None:
        answer = await site.http.get("/docs")
        policy = dict(
            one.split(" ", 1) for one in answer.headers["content-security-policy"].split("; ")
        )
        own = {}
        for kind, tag in (("script-src", "script"), ("style-src", "style")):
            [text] = re.findall(f"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
            own[kind] = f"'self' '{digest('sha256', text.encode())}'"
        assert policy == own | {
            "default-src": "'none'",
            "img-src": "data:",
            "connect-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
            "require-trusted-types-for": "'script'",
        }
        assert not re.search(r"<[^>]+ (?:style|on\w+)=", answer.text)

    async def test_script_writes_no_html_and_stores_nothing(self, site: Site) -> None:
        text = (await site.http.get("/docs")).text
        for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("):
            assert word not in text
        for word in ("localStorage", "sessionStorage", "indexedDB", "cookie"):
            assert word not in text
        assert "persistAuthorization: false" in text

    async def test_form_has_every_credential_that_can_be_typed(self, site: Site) -> None:
        text = (await site.http.get("/docs")).text
        document = (await site.http.get("/openapi.json")).json()
        asked = re.findall(r'data-scheme="(\w+)"', text)
        schemes = set(document["components"]["securitySchemes"])
        assert schemes >= OF_SESSIONS
        assert sorted(asked) == sorted(schemes - OF_SESSIONS)

    async def test_without_scripts_it_leads_to_the_openapi_document(self, site: Site) -> None:
        text = (await site.http.get("/docs")).text
        [shown] = re.findall("<noscript>(.*?)</noscript>", text, re.DOTALL)
        assert "needs JavaScript" in shown
        assert 'href="/openapi.json"' in shown


class TestAssets:
    @pytest.mark.parametrize("path", PATHS)
    async def test_assets_are_immutable(self, site: Site, path: str) -> None:
        answer = await site.http.get(path)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["vary"] == "Accept-Encoding"
        kind = {".js": "text/javascript", ".css": "text/css"}[Path(path).suffix]
        assert answer.headers["content-type"] == f"{kind}; charset=utf-8"

    @pytest.mark.parametrize("path", PATHS)
    async def test_assets_are_equal_in_every_coding(self, site: Site, path: str) -> None:
        whole = (FOLDER / Path(path).name).read_bytes()
        inflate = {
            "gzip": gzip.decompress,
            "zstd": lambda sent: zstandard.ZstdDecompressor().decompressobj().decompress(sent),
            "identity": bytes,
        }
        for coding, read in inflate.items():
            for _ in range(2):  # the second response uses the cached compressed body
                head = {"accept-encoding": coding}
                async with site.http.stream("GET", path, headers=head) as answer:
                    sent = b"".join([part async for part in answer.aiter_raw()])
                    assert answer.headers.get("content-encoding", "identity") == coding
                assert read(sent) == whole

    async def test_assets_are_small_enough(self, site: Site) -> None:
        assert sum((FOLDER / name).stat().st_size for name in ASSETS) <= ASSETS_MAX
        sent = 0
        for path in PATHS:
            head = {"accept-encoding": "gzip"}
            sent += int((await site.http.get(path, headers=head)).headers["content-length"])
        assert sent <= SENT_MAX

    @pytest.mark.parametrize("name", ["LICENSE", "vendored.json", "..%2Freference.html", "0"])
    async def test_other_files_are_not_served(self, site: Site, name: str) -> None:
        folder = PATHS[0].rpartition("/")[0]
        assert (await site.http.get(f"{folder}/{name}")).status_code == 404


class TestVendored:
    def test_vendored_files_match_their_hashes(self) -> None:
        there = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
        del there["vendored.json"]
        assert {name: digest("sha384", one) for name, one in there.items()} == VENDORED["files"]

    def test_licence_is_vendored(self) -> None:
        assert VENDORED["licence"] == "Apache-2.0"
        assert "Apache License" in (FOLDER / "LICENSE").read_text()
        assert {*ASSETS, "LICENSE", "NOTICE"} < set(VENDORED["files"])
