"""Parquet files, written by pyarrow. Import this module only to write one: pyarrow is an extra.

Importing pyarrow takes 0.2 s and 40 MB, which a process that writes no Parquet file shouldn't pay.
"""

import io
from collections.abc import Sequence
from typing import Final

import pyarrow as pa  # type: ignore[import-untyped]  # no hints
from pyarrow.parquet import ParquetWriter  # type: ignore[import-untyped]  # no hints

from adapters.export_formats.columns import COLUMNS, ColumnType, Value, build_rows
from domain.exports.export import RowKind, TraceWithScores
from domain.ids import TraceId

# A row group is written at the first of these limits: they bound the rows that are held in memory.
GROUP_BYTES: Final = 8 << 20  # approximate size of the values
GROUP_ROWS: Final = 50_000

_TYPES: Final = {
    ColumnType.TEXT: pa.string(),
    ColumnType.JSON: pa.string(),
    ColumnType.WHOLE: pa.int64(),
    ColumnType.REAL: pa.float64(),
    ColumnType.INSTANT: pa.timestamp("us", tz="UTC"),
}


class ParquetEncoder:
    """One file, compressed with zstd. Every column is optional. Holds one row group in memory."""

    def __init__(self, kind: RowKind) -> None:
        self.rows = 0
        self._kind = kind
        self._columns = COLUMNS[kind]
        self._schema = pa.schema([(column.name, _TYPES[column.kind]) for column in self._columns])
        self._out = io.BytesIO()
        self._writer = ParquetWriter(self._out, self._schema, compression="zstd")
        self._group: list[list[Value]] = [[] for _ in self._columns]
        self._group_bytes = 0

    def add(self, batch: Sequence[TraceWithScores]) -> bytes:
        for row in build_rows(self._kind, batch):
            for column, values in zip(self._columns, self._group, strict=True):
                value = column.get(row)
                values.append(value)
                self._group_bytes += len(value) if isinstance(value, str | bytes) else 8
            self.rows += 1
            if self._group_bytes >= GROUP_BYTES or len(self._group[0]) >= GROUP_ROWS:
                self._write_group()
        return self._take_output()

    def end(self, left_out: Sequence[TraceId] = ()) -> bytes:  # noqa: ARG002 - no row for them
        if self._group[0]:
            self._write_group()
        self._writer.close()
        return self._take_output()

    def _write_group(self) -> None:
        arrays = [
            pa.array(values, type_)
            for values, type_ in zip(self._group, self._schema.types, strict=True)
        ]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema), GROUP_ROWS)
        self._group = [[] for _ in self._columns]
        self._group_bytes = 0

    def _take_output(self) -> bytes:
        """The bytes written since the last call. The writer counts its position itself."""
        data = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return data
