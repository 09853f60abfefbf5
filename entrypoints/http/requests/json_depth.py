"""The path to a value that is nested too deeply, in JSON that no parser accepts."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from domain.tracing.payloads.json_scan import WINDOW_BYTES, end_of_string

PATH_STEPS_MAX: Final = 6  # requests are shallow, only payloads are deep
TOKENS_MAX: Final = 40_000  # bounds the search for a path to about 20 ms
KEY_BYTES_MAX: Final = 1_000  # of a step of a path: no known key is as long

_MARK: Final = re.compile(rb"[\[\]{},]")


def path_deeper_than(text: bytes, levels: int) -> list[str | int]:
    """The first PATH_STEPS_MAX steps of the path to the first value nested deeper than `levels`.

    Meant for JSON that is too deep to be parsed. Empty if the text is malformed, or if there is no
    such value among its first TOKENS_MAX tokens.
    """
    path: list[str | int | None] = []  # of the open values: a key, an index, or None before a key
    for mark in islice(_tokens(text), TOKENS_MAX):
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
            path[-1] = mark[1:].decode(errors="replace")
    return []


def _tokens(text: bytes) -> Iterator[bytes]:
    """The brackets, the commas, and the beginning of each string, without its closing quote."""
    at = 0
    while True:
        quote = text.find(b'"', at)
        end = len(text) if quote < 0 else quote
        for start in range(at, end, WINDOW_BYTES):
            for match in _MARK.finditer(text, start, min(start + WINDOW_BYTES, end)):
                yield match[0]
        if quote < 0:
            return
        at = end_of_string(text, quote + 1)
        yield text[quote : min(at - 1, quote + KEY_BYTES_MAX)]
