"""Cuts what is nested too deeply out of JSON that no parser accepts, so that the rest is parsed."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Final

WINDOW_BYTES: Final = 4 << 10
KEPT_LEVELS: Final = 100  # more than there are around a payload

_STEPS: Final = bytes({91: 1, 123: 1, 93: 255, 125: 255}.get(byte, 0) for byte in range(256))
_PLACEHOLDER: Final = b"__"  # of an escape, with its length


def without_deep_values(
    text: bytes,
    levels_max: int,
    replacement: bytes,
    kept_levels: int = KEPT_LEVELS,
    window_bytes: int = WINDOW_BYTES,
) -> bytes | None:
    """`text` with `replacement` in place of values, so that none is deeper than `levels_max`.

    `[[1]]` is nested two levels. What is replaced is below `kept_levels`, whole, with everything
    that is in it: so a mebibyte takes a tenth of a second, however often its depth passes the
    limit. None if brackets or a string aren't closed.
    """
    assert kept_levels + window_bytes + 1 < levels_max, "a window may pass both levels"
    kept: list[bytes] = []
    depth = kept_from = opened_at = 0
    in_string = is_deep = False
    for start, parts in _windows(text, window_bytes):
        outside = b"".join(parts[in_string::2])
        opened = outside.count(b"[") + outside.count(b"{")
        closed = outside.count(b"]") + outside.count(b"}")
        highest, lowest = depth + opened, depth - closed
        if lowest <= kept_levels < highest:
            levels, kept_level = _levels(parts, in_string=in_string), kept_levels - depth
            if is_deep and kept_level in levels:
                kept_from = start + levels.index(kept_level)
                is_deep = False
            if levels[-1] > kept_level and kept_level in levels:
                opened_at = start + len(levels) - 1 - levels[::-1].index(kept_level)
        elif highest > levels_max and not is_deep:
            is_deep = depth + max(_levels(parts, in_string=in_string)) > levels_max
            if is_deep:
                kept += (text[kept_from:opened_at], replacement)
        depth += opened - closed
        in_string ^= len(parts) % 2 == 0  # the quotes between the parts
    if depth or in_string:
        return None
    return b"".join((*kept, text[kept_from:]))


def _windows(text: bytes, window_bytes: int) -> Iterator[tuple[int, list[bytes]]]:
    """The place of each window, and what is between its quotes, with escapes replaced."""
    start = 0
    while start < len(text):
        end = start + window_bytes
        window = text[start:end]
        if (len(window) - len(window.rstrip(b"\\"))) % 2:
            window = text[start : end + 1]  # no window ends within an escape
        plain = window.replace(rb"\\", _PLACEHOLDER).replace(rb"\"", _PLACEHOLDER)
        yield start, plain.split(b'"')
        start += len(window)


def _levels(parts: list[bytes], *, in_string: bool) -> list[int]:
    """How much deeper than a window begins it is before each of its bytes, and after the last."""
    outside = parts.copy()
    outside[not in_string :: 2] = map(bytes, map(len, parts[not in_string :: 2]))
    steps = memoryview(b'"'.join(outside).translate(_STEPS)).cast("b")
    return list(accumulate(steps, initial=0))
