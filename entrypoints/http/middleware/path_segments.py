"""Path segments with any character: a session id may be `a/b`, and is sent as `a%2Fb`.

Litestar routes by the decoded path, where such a slash would separate segments. So `/` and `%`
stay encoded within a segment until the segment is read.
"""

from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import unquote_to_bytes

from litestar.types import ASGIApp, Receive, Scope, Send

UNROUTABLE_PATH: Final = "/%/%/%/%/%/%"  # no route has as many segments


@dataclass(frozen=True, slots=True)
class PathSegments:
    """Decodes each segment of a path, except `/` and `%`, which `decode_segment` decodes."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw_path = scope["raw_path"]
        # The scope is copied, since servers log the path of theirs later.
        if b"//" in raw_path:  # Litestar would skip an empty segment, proxies don't
            scope = cast("Scope", {**scope, "path": UNROUTABLE_PATH})
        elif b"%" in raw_path:
            scope = cast("Scope", {**scope, "path": decode_path(raw_path)})
        await self.app(scope, receive, send)


def decode_path(raw_path: bytes) -> str:
    """The path for routing. Invalid UTF-8 becomes lone surrogates, which readers refuse."""
    segments = (unquote_to_bytes(segment) for segment in raw_path.split(b"/"))
    escaped = (segment.replace(b"%", b"%25").replace(b"/", b"%2F") for segment in segments)
    return b"/".join(escaped).decode(errors="surrogateescape")


def decode_segment(segment: str) -> str:
    """A path parameter with its `/` and `%` decoded."""
    return segment.replace("%2F", "/").replace("%25", "%") if "%" in segment else segment
