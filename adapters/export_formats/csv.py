"""CSV according to RFC 4180: a header, CRLF, quotes where needed, in UTF-8."""

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from adapters.export_formats.columns import COLUMNS, ColumnType, Value, build_rows
from domain.exports.export import RowKind, TraceWithScores
from domain.exports.formulas import FORMULA_PREFIXES
from domain.ids import TraceId

FORMULA_ESCAPE: Final = "'"  # JSON needs none: only a negative number begins like a formula


class CsvEncoder:
    """Encodes one file. A missing value is an empty cell, like empty text."""

    def __init__(self, kind: RowKind) -> None:
        self.rows = 0
        self._kind = kind
        self._columns = COLUMNS[kind]
        self._out = io.StringIO(newline="")
        self._writer = csv.writer(self._out)
        self._writer.writerow([column.name for column in self._columns])

    def add(self, batch: Sequence[TraceWithScores]) -> bytes:
        for row in build_rows(self._kind, batch):
            self._writer.writerow([_cell(column.kind, column.get(row)) for column in self._columns])
            self.rows += 1
        return self._take_output()

    def end(self, left_out: Sequence[TraceId] = ()) -> bytes:  # noqa: ARG002 - no row for them
        return self._take_output()

    def _take_output(self) -> bytes:
        """The text since the last call."""
        text = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return text.encode()


def _cell(kind: ColumnType, value: Value) -> str | int | float | None:
    match value:
        case datetime():
            return value.isoformat()
        case bytes():
            return value.decode()
        case str() if kind is ColumnType.TEXT and value.startswith(FORMULA_PREFIXES):
            return FORMULA_ESCAPE + value
    return value
