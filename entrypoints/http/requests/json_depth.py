"""How deep JSON is nested, and where: by looking at brackets, without recursion."""

import re
from typing import Final

PLACE_MAX: Final = 6  # components of a path; requests are shallow, only payloads are deep
DEPTH_MAX: Final = 100_000  # no parser goes half as deep: a place that does is deep enough
TOKENS_MAX: Final = 2_000_000  # a body of nothing but brackets isn't worth more seconds than two

_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"')
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{},]')


def is_deeper(text: bytes, levels: int) -> bool:
    """Whether a JSON value is nested deeper than `levels`; `[[1]]` is nested two levels."""
    if len(text) <= levels or text.count(b"[") + text.count(b"{") <= levels:
        return False
    depth = 0
    for bracket in _STRING.sub(b"", text).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > levels:
            return True
    return False


def deepest(text: bytes) -> list[str | int]:
    """The first PLACE_MAX components of the path to the most deeply nested value.

    Meant for JSON that is too deep to be parsed. Empty where it is too large to be searched, or
    broken.
    """
    place: list[str | int] = []
    path: list[str | int | None] = []  # of what is open: a key, an index, or None before a key
    best = 0
    for count, token in enumerate(_TOKEN.finditer(text)):
        mark = token[0]
        if count > TOKENS_MAX:
            return []
        if best > DEPTH_MAX:
            return place
        if mark in b"[{":
            path.append(0 if mark == b"[" else None)
            if len(path) > best:
                best = len(path)
                place = [one for one in path[: min(best - 1, PLACE_MAX)] if one is not None]
        elif not path:
            continue
        elif mark in b"]}":
            path.pop()
        elif mark == b",":
            last = path[-1]
            path[-1] = last + 1 if isinstance(last, int) else None
        elif path[-1] is None:
            path[-1] = mark[1:-1].decode(errors="replace")
    return place
