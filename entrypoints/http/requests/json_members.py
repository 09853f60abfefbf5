"""The members of a large JSON object, found one after the other.

A decoder finds all of them in one call, which nothing interrupts. It makes a value for each member,
also for one key that is repeated: two million take 60 ms. Here each member takes a call of its own.
"""

import re
from typing import Final

import msgspec
from msgspec import Raw

from domain.tracing.payloads.json_scan import WINDOW_BYTES
from domain.tracing.payloads.payload import OBJECT_VALUES_MAX, TOO_MANY_VALUES
from entrypoints.http.requests.scalar_types import InvalidValue

_ANY: Final = msgspec.json.Decoder(Raw)
_STRING: Final = msgspec.json.Decoder(str)
_BLANKS: Final = re.compile(rb"[ \t\r\n]*+")
_CLOSE: Final = ord("}")
_COMMA: Final = ord(",")
# The decoder's error says where a value ends that is followed by something else. A test compares
# this with other readers, in case another version words it differently.
_TRAILING: Final = re.compile(r"trailing characters \(byte (\d+)\)")


def members_one_by_one(text: memoryview) -> dict[str, Raw]:
    """The members of `text`, a valid JSON object without blanks around it; of equal keys the last.

    Raises InvalidValue for more than OBJECT_VALUES_MAX, repeated ones included.
    """
    members: dict[str, Raw] = {}
    at = _skip_blanks(text, 1)
    for _ in range(OBJECT_VALUES_MAX):
        if text[at] == _CLOSE:
            return members
        end = _skip_value(text, at)  # at the colon
        key = _STRING.decode(text[at:end])
        at = _skip_blanks(text, end + 1)
        end = _skip_value(text, at)
        members[key] = Raw(text[at : _before_blanks(text, at, end)])
        at = _skip_blanks(text, end + 1) if text[end] == _COMMA else end
    if text[at] == _CLOSE:
        return members
    raise InvalidValue(TOO_MANY_VALUES)


def _skip_blanks(text: memoryview, at: int) -> int:
    match = _BLANKS.match(text, at)
    assert match is not None  # it matches the empty string
    return match.end()


def _skip_value(text: memoryview, at: int) -> int:
    """The place of what follows the value that begins at `at`, and the blanks behind it."""
    try:
        _ANY.decode(text[at:])
    except msgspec.DecodeError as error:
        if (found := _TRAILING.search(str(error))) is None:
            raise
        return at + int(found[1]) - 1  # the bytes are counted from 1
    raise AssertionError("an object doesn't end with a value")


def _before_blanks(text: memoryview, start: int, end: int) -> int:
    """The end of the text between `start` and `end` without the blanks at its end."""
    while True:
        window = max(start, end - WINDOW_BYTES)
        kept = bytes(text[window:end]).rstrip(b" \t\r\n")
        if kept or window == start:
            return window + len(kept)
        end = window
