"""Parquet, as much of it as a flat table needs: optional columns, one page a column and group.

https://parquet.apache.org/docs/file-format/
"""

import struct as bits
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import zstandard

from adapters.export_formats.columns import COLUMNS, Column, Kind, Value, rows_of
from adapters.tables.thrift import YES, Written, i32, i64, listed, struct, text, varint
from domain.exporting.export import RowKind
from domain.exporting.exported_trace import TraceWithScores

GROUP_BYTES: Final = 8 << 20  # of values, about, from which on a group of rows is written
GROUP_ROWS: Final = 50_000

_MAGIC: Final = b"PAR1"
_INT64, _DOUBLE, _BYTE_ARRAY = 2, 5, 6
_OPTIONAL: Final = 1
_PLAIN, _RLE = 0, 3
_ZSTD: Final = 6
_DATA_PAGE: Final = 0
_UTF8, _TIMESTAMP_MICROS = 0, 10
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_STRING: Final = struct({1: struct({})})  # a logical type
_MOMENT: Final = struct({8: struct({1: YES, 2: struct({2: struct({})})})})  # microseconds, in UTC
_LENGTH: Final = bits.Struct("<I")

_PHYSICAL: Final = {
    Kind.TEXT: _BYTE_ARRAY,
    Kind.JSON: _BYTE_ARRAY,
    Kind.WHOLE: _INT64,
    Kind.REAL: _DOUBLE,
    Kind.INSTANT: _INT64,
}


class Parquet:
    """One file, compressed with zstd. It holds one group of rows at a time."""

    def __init__(self, kind: RowKind) -> None:
        self.rows = 0
        self._kind = kind
        self._columns = COLUMNS[kind]
        self._compressor = zstandard.ZstdCompressor()
        self._group: list[list[Value]] = [[] for _ in self._columns]
        self._weight = 0
        self._groups: list[Written] = []
        self._written = 0  # bytes of the file by now

    def add(self, batch: Sequence[TraceWithScores]) -> bytes:
        out = bytearray()
        for row in rows_of(self._kind, batch):
            for column, values in zip(self._columns, self._group, strict=True):
                value = column.of(row)
                values.append(value)
                self._weight += len(value) if isinstance(value, str | bytes) else 8
            self.rows += 1
            if self._weight >= GROUP_BYTES or len(self._group[0]) >= GROUP_ROWS:
                out += self._flushed()
        return bytes(out)

    def end(self) -> bytes:
        out = self._flushed() if self._group[0] else b""
        out += b"" if self._written else self._out(_MAGIC)
        fields = {
            1: i32(1),
            2: listed([_root(len(self._columns)), *map(_schema, self._columns)]),
            3: i64(self.rows),
            4: listed(self._groups) if self._groups else _NO_GROUPS,
            6: text("pandaprobe-server"),
        }
        foot = struct(fields).data
        return out + self._out(foot + _LENGTH.pack(len(foot)) + _MAGIC)

    def _flushed(self) -> bytes:
        """The group of rows that was gathered, as bytes of the file."""
        out = bytearray(b"" if self._written else self._out(_MAGIC))
        chunks, total = list[Written](), 0
        for column, values in zip(self._columns, self._group, strict=True):
            page = _page(column.kind, values, self._compressor)
            chunks.append(_chunk(column, page, len(values), self._written))
            out += self._out(page.data)
            total += page.plain_size
        rows = len(self._group[0])
        self._groups.append(struct({1: listed(chunks), 2: i64(total), 3: i64(rows)}))
        self._group = [[] for _ in self._columns]
        self._weight = 0
        return bytes(out)

    def _out(self, data: bytes) -> bytes:
        self._written += len(data)
        return data


@dataclass(frozen=True, slots=True)
class _Page:
    """`plain_size`: with its head, were it not compressed."""

    data: bytes
    plain_size: int


def _page(kind: Kind, values: Sequence[Value], compressor: Any) -> _Page:
    plain = _levels(values) + b"".join(_plain(kind, one) for one in values if one is not None)
    packed = compressor.compress(plain)
    of_data = struct({1: i32(len(values)), 2: i32(_PLAIN), 3: i32(_RLE), 4: i32(_RLE)})
    head = struct({1: i32(_DATA_PAGE), 2: i32(len(plain)), 3: i32(len(packed)), 5: of_data}).data
    return _Page(head + packed, len(head) + len(plain))


def _levels(values: Sequence[Value]) -> bytes:
    """Which values are there: a bit each, in one run, with its length before it."""
    groups = -(-len(values) // 8)
    there = int("".join("01"[one is not None] for one in reversed(values)), 2)
    run = varint(groups << 1 | 1) + there.to_bytes(groups, "little")
    return _LENGTH.pack(len(run)) + run


def _plain(kind: Kind, value: Any) -> bytes:
    match kind:
        case Kind.TEXT:
            data: bytes = value.encode()
            return _LENGTH.pack(len(data)) + data
        case Kind.JSON:
            return _LENGTH.pack(len(value)) + bytes(value)
        case Kind.WHOLE:
            return bits.pack("<q", value)
        case Kind.REAL:
            return bits.pack("<d", value)
        case Kind.INSTANT:
            return bits.pack("<q", (value - _EPOCH) // _MICROSECOND)


def _chunk(column: Column, page: _Page, count: int, offset: int) -> Written:
    said = {
        1: i32(_PHYSICAL[column.kind]),
        2: listed([i32(_PLAIN), i32(_RLE)]),
        3: listed([text(column.name)]),
        4: i32(_ZSTD),
        5: i64(count),
        6: i64(page.plain_size),
        7: i64(len(page.data)),
        9: i64(offset),
    }
    return struct({2: i64(offset), 3: struct(said)})


def _root(columns: int) -> Written:
    return struct({4: text("export"), 5: i32(columns)})


def _schema(column: Column) -> Written:
    fields = {1: i32(_PHYSICAL[column.kind]), 3: i32(_OPTIONAL), 4: text(column.name)}
    if column.kind in {Kind.TEXT, Kind.JSON}:
        fields |= {6: i32(_UTF8), 10: _STRING}
    elif column.kind is Kind.INSTANT:
        fields |= {6: i32(_TIMESTAMP_MICROS), 10: _MOMENT}
    return struct(fields)


_NO_GROUPS: Final = Written(listed([struct({})]).kind, b"\x0c")  # a list of no structs
