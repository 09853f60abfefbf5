"""CSV as RFC 4180 has it: a head, CRLF, quotes where they are needed, in UTF-8."""

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from adapters.export_formats.columns import COLUMNS, Kind, Value, rows_of
from domain.exporting.export import RowKind
from domain.exporting.exported_trace import TraceWithScores

# A spreadsheet would run what begins so. JSON begins with none of them, but a negative number.
FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")
GUARD: Final = "'"


class CommaSeparated:
    """One file. What isn't there is an empty cell, as empty text is."""

    def __init__(self, kind: RowKind) -> None:
        self.rows = 0
        self._kind = kind
        self._columns = COLUMNS[kind]
        self._out = io.StringIO(newline="")
        self._writer = csv.writer(self._out)
        self._writer.writerow([column.name for column in self._columns])

    def add(self, batch: Sequence[TraceWithScores]) -> bytes:
        for row in rows_of(self._kind, batch):
            self._writer.writerow([_cell(one.kind, one.of(row)) for one in self._columns])
            self.rows += 1
        return self._taken()

    def end(self) -> bytes:
        return self._taken()

    def _taken(self) -> bytes:
        text = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return text.encode()


def _cell(kind: Kind, value: Value) -> str | int | float | None:
    match value:
        case datetime():
            return value.isoformat()
        case bytes():
            return value.decode()
        case str() if kind is Kind.TEXT and value.startswith(FORMULAS):
            return GUARD + value
    return value
