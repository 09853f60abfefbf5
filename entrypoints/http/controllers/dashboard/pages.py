"""The dashboard: one page at every path below `/app`, and the files that it loads.

The page has no content of its own. Its script reads the path, and gets everything else from the
public API, as any other client does.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from litestar import Response, get
from litestar.params import FromPath

from entrypoints.dashboard import BUILT
from entrypoints.http.config import HttpConfig
from entrypoints.http.endpoint import limit_by_address
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.openapi.page_assets import content_security_policy
from entrypoints.http.requests.body_io import compress_as, compress_off_loop, negotiate_coding
from entrypoints.http.requests.errors import HttpProblem

MEDIA_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".txt": "text/plain"}
SOURCES: Final = {
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "font-src": "'none'",
    "worker-src": "'none'",
    "manifest-src": "'none'",
}
# `trusted-types 'none'`: no script of the page can turn a string into HTML.
POLICY: Final = content_security_policy(
    SOURCES, "require-trusted-types-for 'script'", "trusted-types 'none'"
)
PAGE_HEADERS: Final = {
    "content-security-policy": POLICY,
    "cache-control": "no-cache",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), clipboard-write=(self)",
    "referrer-policy": "no-referrer",
    "x-robots-tag": "noindex",  # the address of a shared trace is a secret
}
ASSET_HEADERS: Final = {
    "cache-control": "public, max-age=31536000, immutable",  # the name contains the hash
    "vary": "Accept-Encoding",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that never changes. It is compressed once for each coding."""

    media_type: str
    by_coding: dict[str | None, bytes] = field(repr=False)

    async def respond(self, request: HttpRequest) -> Response[bytes]:
        coding = negotiate_coding(request.scope["headers"])
        if coding is not None and coding not in self.by_coding:
            content = self.by_coding[None]
            self.by_coding[coding] = await asyncio.to_thread(compress_as, coding, content)
        headers = ASSET_HEADERS | ({"content-encoding": coding} if coding else {})
        return Response(self.by_coding[coding], media_type=self.media_type, headers=headers)


def dashboard_pages(config: HttpConfig) -> Sequence[Any]:
    """The routes. The public URL has the path below which a proxy serves all of them."""
    prefix = urlsplit(config.public_url or "").path.rstrip("/")
    page = (BUILT / "index.html").read_text().replace("{{prefix}}", escape(prefix)).encode()
    headers = PAGE_HEADERS | {"etag": f'W/"{hashlib.sha256(page).hexdigest()[:32]}"'}
    assets = _read_assets()

    @get(["/app", "/app/{page:path}"])
    async def dashboard_page(request: HttpRequest) -> Response[bytes]:
        await limit_by_address(request)
        if request.scope["path"].startswith(
            "/app/assets/"
        ):  # with a further slash: no asset has this name
            raise HttpProblem(HTTPStatus.NOT_FOUND, "Not found")
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(b"", status_code=304, media_type="text/html", headers=headers)
        body, coding = await compress_off_loop(page, request.scope["headers"])
        return Response(body, media_type="text/html", headers={**headers, **coding})

    @get("/app/assets/{asset_name:str}")
    async def dashboard_asset(request: HttpRequest, asset_name: FromPath[str]) -> Response[bytes]:
        await limit_by_address(request)
        asset = assets.get(asset_name)
        if asset is None:
            raise HttpProblem(HTTPStatus.NOT_FOUND, "Not found")
        return await asset.respond(request)

    return (dashboard_page, dashboard_asset)


def _read_assets() -> Mapping[str, Asset]:
    files = [*(BUILT / "assets").iterdir(), BUILT / "LICENSES.txt"]
    return {file.name: Asset(MEDIA_TYPES[file.suffix], {None: file.read_bytes()}) for file in files}
