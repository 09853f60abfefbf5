"""Parts of a file, as a client asks for them to go on where it was broken off (RFC 9110, 14)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

DIGITS_MAX: Final = 18
_ONE: Final = re.compile(rf"bytes=(\d{{0,{DIGITS_MAX}}})-(\d{{0,{DIGITS_MAX}}})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Part:
    """From `start` to before `end` of a file of `size` bytes; none of it where it can't be had."""

    start: int
    end: int
    size: int
    is_whole: bool

    @property
    def is_satisfiable(self) -> bool:
        return self.is_whole or self.start < self.end

    @property
    def content_range(self) -> str:
        told = f"{self.start}-{self.end - 1}" if self.is_satisfiable else "*"
        return f"bytes {told}/{self.size}"


def part_of(size: int, etag: str, headers: Mapping[bytes, bytes]) -> Part:
    """What `Range` asks for; all of it where there is none, or one of another file or form.

    Several ranges in one request are such a form.
    """
    whole = Part(0, size, size, is_whole=True)
    if headers.get(b"if-range", etag.encode()).strip() != etag.encode():
        return whole
    asked = _ONE.fullmatch(headers.get(b"range", b"").decode("latin-1").strip())
    if asked is None or asked.groups() == ("", ""):
        return whole
    first, last = asked.groups()
    if not first:
        return Part(max(0, size - int(last)), size, size, is_whole=False)
    if last and int(last) < int(first):
        return whole  # no range at all
    return Part(int(first), min(int(last or size) + 1, size), size, is_whole=False)
