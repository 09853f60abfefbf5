"""The API reference at `/docs`, the OpenAPI document that it shows, and the files that it loads.

The reference is Swagger UI. Among well-kept ones it is the one that loads nothing from other hosts,
needs no `eval` and writes no inline styles. It is 1.9 MB, 0.5 MB compressed. Its files are in the
repository (`make vendor`). Their paths contain its version, so that browsers can cache them.
"""

import asyncio
import json
from collections.abc import Sequence
from html import escape
from typing import Any, Final

import msgspec
from litestar import Response, get

from entrypoints.http.endpoint import admit_by_address
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.openapi.page_assets import PAGES, assembled, policy
from entrypoints.http.requests.body_io import JSON, compressed_aside, wanted_coding, whole_as

ASSETS: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_FOLDER: Final = PAGES / "swagger-ui"
_KEPT: Final = {"cache-control": "no-cache"}  # the same for everybody until the next release
_KEPT_FOR_GOOD: Final = {"cache-control": "public, max-age=31536000, immutable"}


def reference_pages(document: dict[str, Any]) -> Sequence[Any]:
    """The routes of the OpenAPI document, of the reference, and of the files that it loads."""
    openapi = msgspec.json.encode(document)
    vendored = json.loads((_FOLDER / "vendored.json").read_text())
    release = f"/docs/swagger-ui-{vendored['version']}"
    info = {name: escape(document["info"][name]) for name in ("version", "description")}
    words = info | {"release": release}
    page, own = assembled(
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
        return await _answer(request, page, "text/html", headers)

    assets = (_asset(release, name, media_type) for name, media_type in ASSETS.items())
    return (openapi_document, reference_page, *assets)


def _asset(release: str, name: str, media_type: str) -> Any:
    """The route of a file that never changes: it is compressed once for each coding."""
    whole = (_FOLDER / name).read_bytes()
    made: dict[str | None, bytes] = {None: whole}

    @get(f"{release}/{name}", name=name)
    async def asset(request: HttpRequest) -> Response[bytes]:
        await admit_by_address(request)
        coding = wanted_coding(request.scope["headers"])
        if coding is not None and coding not in made:
            made[coding] = await asyncio.to_thread(whole_as, coding, whole)
        said = {"vary": "Accept-Encoding"} | ({"content-encoding": coding} if coding else {})
        return Response(made[coding], media_type=media_type, headers=_KEPT_FOR_GOOD | said)

    return asset


async def _answer(
    request: HttpRequest, text: bytes, media_type: str, headers: dict[str, str]
) -> Response[bytes]:
    await admit_by_address(request)
    body, coding = await compressed_aside(text, request.scope["headers"])
    return Response(body, media_type=media_type, headers={**headers, **coding})
