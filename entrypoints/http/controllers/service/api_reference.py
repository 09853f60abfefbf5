"""The API reference, where calls can be tried and where they are only read, and what it is made of.

Calls are tried with Swagger UI: among those that are well kept the one that asks nobody else for
anything, needs no `eval` and writes no inline styles, and is 1.9 MB, 0.5 MB as sent. Its files lie
in the repository (`make vendor`), and are served under the release that they are of, so that
browsers may keep them for good.
"""

import asyncio
import json
from collections.abc import Sequence
from html import escape
from typing import Any, Final

import msgspec
from litestar import Response, get

from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.openapi.page_assets import PAGES, assembled, policy
from entrypoints.http.openapi.plain_page import PLAIN_POLICY, page
from entrypoints.http.operation import admit_anybody
from entrypoints.http.requests.body_io import JSON, compressed_aside, wanted_coding, whole_as

ASSETS: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_FOLDER: Final = PAGES / "swagger-ui"
_KEPT: Final = {"cache-control": "no-cache"}  # the same for everybody until the next release
_KEPT_FOR_GOOD: Final = {"cache-control": "public, max-age=31536000, immutable"}


def reference_pages(document: dict[str, Any]) -> Sequence[Any]:
    """The routes of the OpenAPI document, of the reference made of it, and of what that loads."""
    openapi, plain = msgspec.json.encode(document), page(document)
    vendored = json.loads((_FOLDER / "vendored.json").read_text())
    release = f"/docs/swagger-ui-{vendored['version']}"
    info = {name: escape(document["info"][name]) for name in ("version", "description")}
    words = info | {"release": release}
    tried, own = assembled(
        "reference", **words, **{name: vendored["files"][name] for name in ASSETS}
    )
    sources = {
        "script-src": f"'self' {own['script-src']}",
        "style-src": f"'self' {own['style-src']}",
        "img-src": "data:",  # arrows and marks within Swagger UI's style
        "connect-src": "'self'",
    }
    headers = _KEPT | {
        "content-security-policy": policy(sources, "require-trusted-types-for 'script'")
    }

    @get("/openapi.json")
    async def openapi_document(request: HttpRequest) -> Response[bytes]:
        return await _answer(request, openapi, JSON, _KEPT)

    @get("/docs")
    async def reference_page(request: HttpRequest) -> Response[bytes]:
        return await _answer(request, tried, "text/html", headers)

    @get("/docs/plain")
    async def plain_reference_page(request: HttpRequest) -> Response[bytes]:
        plain_headers = _KEPT | {"content-security-policy": PLAIN_POLICY}
        return await _answer(request, plain, "text/html", plain_headers)

    assets = (_asset(release, name, media_type) for name, media_type in ASSETS.items())
    return (openapi_document, reference_page, plain_reference_page, *assets)


def _asset(release: str, name: str, media_type: str) -> Any:
    """The route of a file that never changes: it is compressed once for each coding."""
    whole = (_FOLDER / name).read_bytes()
    made: dict[str | None, bytes] = {None: whole}

    @get(f"{release}/{name}", name=name)
    async def asset(request: HttpRequest) -> Response[bytes]:
        await admit_anybody(request)
        coding = wanted_coding(request.scope["headers"])
        if coding is not None and coding not in made:
            made[coding] = await asyncio.to_thread(whole_as, coding, whole)
        said = {"vary": "Accept-Encoding"} | ({"content-encoding": coding} if coding else {})
        return Response(made[coding], media_type=media_type, headers=_KEPT_FOR_GOOD | said)

    return asset


async def _answer(
    request: HttpRequest, text: bytes, media_type: str, headers: dict[str, str]
) -> Response[bytes]:
    await admit_anybody(request)
    body, coding = await compressed_aside(text, request.scope["headers"])
    return Response(body, media_type=media_type, headers={**headers, **coding})
