"""Nesting depth of JSON, found by scanning brackets, without recursion."""

import re
from typing import Final

PATH_STEPS_MAX: Final = 6  # requests are shallow, only payloads are deep
DEPTH_MAX: Final = 100_000  # no parser goes half as deep, so the search can stop there
TOKENS_MAX: Final = 2_000_000  # bounds the search to about two seconds

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


def deepest_path(text: bytes) -> list[str | int]:
    """The first PATH_STEPS_MAX steps of the path to the most deeply nested value.

    Meant for JSON that is too deep to be parsed. Empty if the text has more than TOKENS_MAX
    tokens or is malformed.
    """
    deepest: list[str | int] = []
    path: list[str | int | None] = []  # of the open values: a key, an index, or None before a key
    best = 0
    for count, token in enumerate(_TOKEN.finditer(text)):
        mark = token[0]
        if count > TOKENS_MAX:
            return []
        if best > DEPTH_MAX:
            return deepest
        if mark in b"[{":
            path.append(0 if mark == b"[" else None)
            if len(path) > best:
                best = len(path)
                known = path[: min(best - 1, PATH_STEPS_MAX)]
                deepest = [step for step in known if step is not None]
        elif not path:
            continue
        elif mark in b"]}":
            path.pop()
        elif mark == b",":
            last = path[-1]
            path[-1] = last + 1 if isinstance(last, int) else None
        elif path[-1] is None:
            path[-1] = mark[1:-1].decode(errors="replace")
    return deepest
