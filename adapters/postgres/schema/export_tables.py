"""The tables of exports, as Piccolo sees them: a part of `tables`."""

from typing import Final

from piccolo.columns import JSON, UUID, BigInt, Bytea, Integer, Text, Timestamptz
from piccolo.table import Table


class ExportRow(Table, tablename="exports"):
    project_id = UUID(primary_key=True)
    id = UUID()
    format = Text()
    row_kind = Text()
    matching = JSON()
    status = Text()
    attempts = Integer()
    traces_total = BigInt(null=True, default=None)
    traces_done = BigInt()
    rows = BigInt()
    size = BigInt()
    sha256 = Text(null=True, default=None)
    error = Text(null=True, default=None)
    created_at = Timestamptz()
    due_at = Timestamptz(null=True, default=None)
    completed_at = Timestamptz(null=True, default=None)
    expires_at = Timestamptz()


class ExportPieceRow(Table, tablename="export_pieces"):
    project_id = UUID(primary_key=True)
    export_id = UUID()
    number = Integer()
    content = Bytea()


EXPORTS: Final = (ExportRow, ExportPieceRow)
