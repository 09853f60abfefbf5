"""Nesting depth and number of values of valid JSON, found without recursion.

Nothing interrupts a single call of a regular expression. So texts are scanned in steps of at most
WINDOW_BYTES, and a scan ends at the first limit that is exceeded.
"""

import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

WINDOW_BYTES: Final = 64 << 10  # of one step: 1 ms at most

_NO_BLANKS: Final = b" \t\r\n"
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_IN_STRING: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+')
_BACKSLASH: Final = ord("\\")


class TooDeep(ValueError):  # noqa: N818 - an error of the client, not of ours
    pass


class TooManyValues(ValueError):  # noqa: N818 - an error of the client, not of ours
    pass


def check_size(text: bytes, levels_max: int, values_max: int) -> None:
    """Raises TooDeep or TooManyValues for a JSON value that exceeds a limit.

    `[[1]]` is nested two levels, and has two values: members and items count, also those of inner
    objects and arrays.
    """
    if len(text) <= levels_max:
        return
    brackets = text.count(b"[") + text.count(b"{")
    # Most texts are decided here: a value takes two bytes at least, and a comma or a bracket.
    if brackets <= levels_max and (
        len(text) <= 2 * values_max or brackets + text.count(b",") <= values_max
    ):
        return
    depth = values = 0
    for stretch in _between_strings(text):
        steps = stretch.translate(None, _NO_BRACKETS)
        if max(accumulate(map(_STEPS.__getitem__, steps), initial=depth)) > levels_max:
            raise TooDeep
        opened = steps.count(b"[") + steps.count(b"{")
        depth += 2 * opened - len(steps)
        # An array or object that isn't empty has one value more than commas.
        values += stretch.count(b",") + opened - stretch.count(b"[]") - stretch.count(b"{}")
        if values > values_max:
            raise TooManyValues


def has_more_arrays(text: bytes, arrays_max: int) -> bool:
    """Whether there are more arrays in a JSON value, at any level."""
    if text.count(b"[") <= arrays_max:  # also those in strings
        return False
    arrays = 0
    for stretch in _between_strings(text):
        arrays += stretch.count(b"[")
        if arrays > arrays_max:
            return True
    return False


def _between_strings(text: bytes) -> Iterator[bytes]:
    """The text outside of the strings, without blanks, in pieces that split no empty brackets."""
    at = 0
    while True:
        quote = text.find(b'"', at)
        end, held = len(text) if quote < 0 else quote, b""
        for start in range(at, end, WINDOW_BYTES):
            piece = held + text[start : min(start + WINDOW_BYTES, end)].translate(None, _NO_BLANKS)
            held = piece[-1:] if piece[-1:] in {b"[", b"{"} else b""
            yield piece.removesuffix(held)
        yield held
        if quote < 0:
            return
        at = end_of_string(text, quote + 1)


def end_of_string(text: bytes, at: int) -> int:
    """The place after the closing quote of the string whose content begins at `at`."""
    quote = text.find(b'"', at)
    if quote < 0:
        return len(text)
    if text[quote - 1] != _BACKSLASH:
        return quote + 1
    while True:
        match = _IN_STRING.match(text, at, at + WINDOW_BYTES)
        assert match is not None  # it matches the empty string
        if text[match.end() : match.end() + 1] == b'"':
            return match.end() + 1
        if match.end() == at:
            return len(text)
        at = match.end()
