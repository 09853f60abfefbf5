"""ETags of responses, and requests under a condition (RFC 9110, section 13).

Reads may ask only for what has changed. Writes can't ask for an unchanged object: that needs a
strong ETag, and those of objects are weak.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

ETAG_HEX_DIGITS: Final = 32
HEADER_NAME: Final = "If-None-Match"
PARAMETER: Final = {
    "name": HEADER_NAME,
    "in": "header",
    "required": False,
    "description": (
        "ETags of earlier responses to the same URL: 304 without a body if the response would be "
        "one of them"
    ),
    "schema": {"type": "string"},
}
IF_MATCH_UNSUPPORTED: Final = (
    "If-Match isn't supported, because ETags of objects are weak: leave it out, and the last write "
    "wins"
)


def weak_etag(body: bytes) -> str:
    """The ETag of a body. It is weak because the body may be sent in several codings."""
    return f'W/"{content_digest(body)}"'


def content_digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:ETAG_HEX_DIGITS]


def is_known(etag: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether `If-None-Match` has this ETag, weak or strong, or `*`."""
    known = requested_etags(headers)
    return "*" in known or etag.removeprefix("W/") in known


def requested_etags(headers: Iterable[tuple[bytes, bytes]]) -> set[str]:
    """The ETags of `If-None-Match`, without the prefix of weak ones."""
    values = [value.decode("latin-1") for name, value in headers if name == b"if-none-match"]
    return {one.strip().removeprefix("W/") for one in ",".join(values).split(",")} - {""}


def fails_if_match(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether `If-Match` has anything but `*`: it compares strongly, and no weak ETag is equal."""
    return any(name == b"if-match" and value.strip() != b"*" for name, value in headers)
