"""Paths whose segments may hold anything: a session id may be `a/b`, and is sent as `a%2Fb`.

Routing goes by decoded paths, where such a slash would look like any other. So the two characters
that mean something there stay encoded until a segment is read.
"""

from typing import Final, cast
from urllib.parse import unquote_to_bytes

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

_PERCENT: Final = b"%"
_EMPTY: Final = b"//"
NOWHERE: Final = "/%/%/%/%/%/%"  # no route is that deep


class PathSegments:
    """Decodes each segment of a path for itself, but for `/` and `%`: `segment` decodes these."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            raw_path = scope["raw_path"]
            # A copy: servers go on to log the path of theirs, and expect to be able to.
            if _EMPTY in raw_path:  # routing would pass over an empty segment, and proxies don't
                scope = cast("Scope", {**scope, "path": NOWHERE})
            elif _PERCENT in raw_path:
                scope = cast("Scope", {**scope, "path": decoded(raw_path)})
        await self.app(scope, receive, send)


def decoded(raw_path: bytes) -> str:
    """The path as it is routed; what isn't UTF-8 becomes lone surrogates, which readers refuse."""
    segments = (unquote_to_bytes(one) for one in raw_path.split(b"/"))
    escaped = (one.replace(b"%", b"%25").replace(b"/", b"%2F") for one in segments)
    return b"/".join(escaped).decode(errors="surrogateescape")


def segment(word: str) -> str:
    """A word of a path as it was meant."""
    return word.replace("%2F", "/").replace("%25", "%") if "%" in word else word
