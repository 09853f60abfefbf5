"""The compact protocol of Apache Thrift, as much of it as the head of a Parquet file needs.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_TRUE: Final = 1
_I32: Final = 5
_I64: Final = 6
_BINARY: Final = 8
_LIST: Final = 9
_STRUCT: Final = 12
_SHORT: Final = 15  # items, from which on the length of a list has bytes of its own


@dataclass(frozen=True, slots=True)
class Written:
    """A value of one of the protocol's types, as bytes."""

    kind: int
    data: bytes


YES: Final = Written(_TRUE, b"")  # of a field; its type says it all


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    found = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def i32(number: int) -> Written:
    return Written(_I32, _zigzag(number))


def i64(number: int) -> Written:
    return Written(_I64, _zigzag(number))


def text(value: str) -> Written:
    data = value.encode()
    return Written(_BINARY, varint(len(data)) + data)


def listed(items: Sequence[Written]) -> Written:
    """At least one, all of one type."""
    size, kind = len(items), items[0].kind
    head = bytes([size << 4 | kind]) if size < _SHORT else bytes([0xF0 | kind]) + varint(size)
    return Written(_LIST, head + b"".join(one.data for one in items))


def struct(fields: Mapping[int, Written]) -> Written:
    """Fields by their ids, ascending, none further than 15 from the one before."""
    found, before = bytearray(), 0
    for id_, value in fields.items():
        found.append(id_ - before << 4 | value.kind)
        found += value.data
        before = id_
    return Written(_STRUCT, bytes(found) + b"\0")


def _zigzag(number: int) -> bytes:
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)
