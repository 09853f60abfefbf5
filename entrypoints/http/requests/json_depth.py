"""Nesting depth of JSON, found by scanning brackets, without recursion."""

import re
from itertools import accumulate, islice
from typing import Final

PATH_STEPS_MAX: Final = 6  # requests are shallow, only payloads are deep
TOKENS_MAX: Final = 40_000  # bounds the search for a path to about 20 ms

_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"')
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{},]')


def is_deeper(text: bytes, levels: int) -> bool:
    """Whether a JSON value is nested deeper than `levels`; `[[1]]` is nested two levels."""
    if len(text) <= levels or text.count(b"[") + text.count(b"{") <= levels:
        return False
    brackets = _STRING.sub(b"", text).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > levels


def path_deeper_than(text: bytes, levels: int) -> list[str | int]:
    """The first PATH_STEPS_MAX steps of the path to the first value nested deeper than `levels`.

    Meant for JSON that is too deep to be parsed. Empty if the text is malformed, or if there is no
    such value among its first TOKENS_MAX tokens.
    """
    path: list[str | int | None] = []  # of the open values: a key, an index, or None before a key
    for token in islice(_TOKEN.finditer(text), TOKENS_MAX):
        mark = token[0]
        if mark in b"[{":
            if len(path) == levels:
                return [step for step in path[:PATH_STEPS_MAX] if step is not None]
            path.append(0 if mark == b"[" else None)
        elif not path:
            continue
        elif mark in b"]}":
            path.pop()
        elif mark == b",":
            last = path[-1]
            path[-1] = last + 1 if isinstance(last, int) else None
        elif path[-1] is None:
            path[-1] = mark[1:-1].decode(errors="replace")
    return []
