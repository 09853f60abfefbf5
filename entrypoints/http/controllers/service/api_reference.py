"""The API reference at `/docs`, the OpenAPI document that it shows, and the files that it loads.

The reference is Swagger UI. Among well-kept ones it is the one that loads nothing from other hosts,
needs no `eval` and writes no inline styles. It is 1.9 MB, 0.5 MB compressed. Its files are in the
repository (`make vendor`). Their paths contain its version, so that browsers can cache them.
"""

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, Final

import msgspec
from litestar import Response, get

from entrypoints.http.endpoint import limit_by_address
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.openapi.document import DESCRIPTION
from entrypoints.http.openapi.page_assets import PAGES, content_security_policy, render_page
from entrypoints.http.requests.body_io import JSON, compress_as, compress_off_loop, negotiate_coding

ASSETS: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_FOLDER: Final = PAGES / "swagger-ui"
_REVALIDATED: Final = {"cache-control": "no-cache"}  # equal for all clients until the next release
_IMMUTABLE: Final = {"cache-control": "public, max-age=31536000, immutable"}


def reference_pages(version: str, document: Callable[[], dict[str, Any]]) -> Sequence[Any]:
    """The routes of the OpenAPI document, of the reference, and of the files that it loads.

    `document` is called by the first request for it: it takes a tenth of the start of a process.
    """
    openapi: bytes | None = None
    vendored = json.loads((_FOLDER / "vendored.json").read_text())
    release = f"/docs/swagger-ui-{vendored['version']}"
    # The document has Markdown, of which the description uses code alone.
    description = re.sub("`(.+?)`", r"<code>\1</code>", escape(DESCRIPTION))
    info = {"version": escape(version), "description": description}
    integrity = {name: vendored["files"][name] for name in ASSETS}
    page, inline = render_page("reference", release=release, **info, **integrity)
    sources = {
        "script-src": f"'self' {inline['script-src']}",
        "style-src": f"'self' {inline['style-src']}",
        "img-src": "data:",  # images within Swagger UI's style
        "connect-src": "'self'",
    }
    policy = content_security_policy(sources, "require-trusted-types-for 'script'")
    headers = _REVALIDATED | {"content-security-policy": policy}

    @get("/openapi.json")
    async def openapi_document(request: HttpRequest) -> Response[bytes]:
        nonlocal openapi
        if openapi is None:
            openapi = await asyncio.to_thread(lambda: msgspec.json.encode(document()))
        return await _respond(request, openapi, JSON, _REVALIDATED)

    @get("/docs")
    async def reference_page(request: HttpRequest) -> Response[bytes]:
        return await _respond(request, page, "text/html", headers)

    assets = (_asset(release, name, media_type) for name, media_type in ASSETS.items())
    return (openapi_document, reference_page, *assets)


def _asset(release: str, name: str, media_type: str) -> Any:
    """The route of a file that never changes. It is compressed once for each coding."""
    content = (_FOLDER / name).read_bytes()
    by_coding: dict[str | None, bytes] = {None: content}

    @get(f"{release}/{name}", name=name)
    async def asset(request: HttpRequest) -> Response[bytes]:
        await limit_by_address(request)
        coding = negotiate_coding(request.scope["headers"])
        if coding is not None and coding not in by_coding:
            by_coding[coding] = await asyncio.to_thread(compress_as, coding, content)
        headers = {"vary": "Accept-Encoding"} | ({"content-encoding": coding} if coding else {})
        return Response(by_coding[coding], media_type=media_type, headers=_IMMUTABLE | headers)

    return asset


async def _respond(
    request: HttpRequest, content: bytes, media_type: str, headers: dict[str, str]
) -> Response[bytes]:
    await limit_by_address(request)
    body, coding = await compress_off_loop(content, request.scope["headers"])
    return Response(body, media_type=media_type, headers={**headers, **coding})
