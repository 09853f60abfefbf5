"""Cuts what is nested too deeply out of JSON that no parser accepts, so that the rest is parsed."""

import re
from collections.abc import Iterator
from typing import Final

WINDOW_BYTES: Final = 4 << 10  # few windows of this size could reach a depth that is refused
# Bounds the search for single brackets to two seconds. A deep value takes two windows, and a batch
# has at most 500 traces.
SEARCHED_WINDOWS_MAX: Final = 1_000

_BRACKET: Final = re.compile(rb"[\[\]{}]")
_PLACEHOLDER: Final = b"__"  # of an escape, with its length


def without_deep_values(text: bytes, levels: int, replacement: bytes) -> bytes | None:
    """`text` with `replacement` in place of each value that is nested deeper than `levels`.

    `[[1]]` is nested two levels. None if brackets or a string aren't closed, or if more than
    SEARCHED_WINDOWS_MAX windows contain brackets near that depth.
    """
    kept: list[bytes] = []
    depth = kept_from = searched = 0
    in_string = False
    for start, parts in _windows(text):
        outside = b"".join(parts[in_string::2])
        opened = outside.count(b"[") + outside.count(b"{")
        closed = outside.count(b"]") + outside.count(b"}")
        if depth + opened > levels >= depth - closed:
            searched += 1
            if searched > SEARCHED_WINDOWS_MAX:
                return None
            now = depth
            for at, is_opening in _brackets(start, parts, in_string=in_string):
                if is_opening:
                    now += 1
                    if now == levels + 1:
                        kept += (text[kept_from:at], replacement)
                else:
                    if now == levels + 1:
                        kept_from = at + 1
                    now -= 1
        depth += opened - closed
        in_string ^= len(parts) % 2 == 0  # the quotes between the parts
    if depth or in_string:
        return None
    return b"".join((*kept, text[kept_from:]))


def _windows(text: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """The place of each window, and what is between its quotes, with escapes replaced."""
    start = 0
    while start < len(text):
        end = start + WINDOW_BYTES
        window = text[start:end]
        if (len(window) - len(window.rstrip(b"\\"))) % 2:
            window = text[start : end + 1]  # no window ends within an escape
        plain = window.replace(rb"\\", _PLACEHOLDER).replace(rb"\"", _PLACEHOLDER)
        yield start, plain.split(b'"')
        start += len(window)


def _brackets(start: int, parts: list[bytes], *, in_string: bool) -> Iterator[tuple[int, bool]]:
    """The place of each bracket outside of strings, and whether it opens a value."""
    for index, part in enumerate(parts):
        if index % 2 == in_string:
            for match in _BRACKET.finditer(part):
                yield start + match.start(), match[0] in b"[{"
        start += len(part) + 1
