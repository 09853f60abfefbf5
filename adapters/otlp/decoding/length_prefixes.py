"""Walks protobuf messages by their length prefixes, without decoding what is inside of them."""

from collections.abc import Iterator
from typing import Final

LENGTH_DELIMITED: Final = 2
_VARINT: Final = 0
_FIXED_BYTES: Final = {1: 8, 5: 4}  # by wire type
_MORE: Final = 0x80  # the bit of a byte that isn't the last one of a varint
_VARINT_BYTES_MAX: Final = 10
_FIELD_NUMBER_MAX: Final = 0x1FFF_FFFF

type Field = tuple[int, int, int, int]
"""Number and wire type of a field, start and end of its value without a length prefix."""


class Malformed(ValueError):  # noqa: N818 - an error of the client, not of ours
    """The bytes aren't a protobuf message."""


def fields(data: bytes, at: int, end: int) -> Iterator[Field]:
    """The fields of a message that is `data` from `at` to `end`. Raises Malformed.

    Groups, which proto3 doesn't have, are malformed here.
    """
    while at < end:
        tag = data[at]
        at += 1
        if tag >= _MORE:
            tag, at = _varint(data, at - 1, end)
        wire_type = tag & 7
        start = at
        if wire_type == LENGTH_DELIMITED:
            # Most lengths are one byte; a call for each would take as long as the rest.
            if at < end and (size := data[at]) < _MORE:
                start = at + 1
            else:
                size, start = _varint(data, at, end)
            at = start + size
        elif wire_type == _VARINT:
            if at < end and data[at] < _MORE:
                at += 1
            else:
                _, at = _varint(data, at, end)
        elif wire_type in _FIXED_BYTES:
            at += _FIXED_BYTES[wire_type]
        else:
            raise Malformed("a field has an invalid wire type")
        if at > end:
            raise Malformed("a field ends after its message")
        if not 0 < tag >> 3 <= _FIELD_NUMBER_MAX:
            raise Malformed("a field has an invalid number")
        yield tag >> 3, wire_type, start, at


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number, and the place after it."""
    value = shift = 0
    for place in range(at, min(end, at + _VARINT_BYTES_MAX)):
        byte = data[place]
        if byte < _MORE:
            return value | byte << shift, place + 1
        value |= (byte & 0x7F) << shift
        shift += 7
    raise Malformed("a number has no end")
