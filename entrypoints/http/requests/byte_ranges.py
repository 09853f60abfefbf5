"""Byte ranges, with which a client resumes a download (RFC 9110, section 14)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

DIGITS_MAX: Final = 18
_SINGLE_RANGE: Final = re.compile(rf"bytes=(\d{{0,{DIGITS_MAX}}})-(\d{{0,{DIGITS_MAX}}})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes from `start` to before `end` of a file of `size` bytes."""

    start: int
    end: int
    size: int
    is_whole: bool

    @property
    def is_satisfiable(self) -> bool:
        return self.is_whole or self.start < self.end

    @property
    def content_range(self) -> str:
        part = f"{self.start}-{self.end - 1}" if self.is_satisfiable else "*"
        return f"bytes {part}/{self.size}"


def requested_range(size: int, etag: str, headers: Mapping[bytes, bytes]) -> ByteRange:
    """The range that `Range` requests.

    The whole file without `Range`, if `If-Range` names another file, or if the form isn't
    supported; several ranges in one request aren't.
    """
    whole = ByteRange(0, size, size, is_whole=True)
    if headers.get(b"if-range", etag.encode()).strip() != etag.encode():
        return whole
    match = _SINGLE_RANGE.fullmatch(headers.get(b"range", b"").decode("latin-1").strip())
    if match is None or match.groups() == ("", ""):
        return whole
    first, last = match.groups()
    if not first:
        return ByteRange(max(0, size - int(last)), size, size, is_whole=False)
    if last and int(last) < int(first):
        return whole  # invalid, so ignored
    return ByteRange(int(first), min(int(last or size) + 1, size), size, is_whole=False)
