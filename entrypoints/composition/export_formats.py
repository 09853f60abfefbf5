"""The encoder of each file format of exports. Their libraries are imported when they are used."""

from importlib.util import find_spec
from typing import Final

from adapters.export_formats.csv import CsvEncoder
from application.exports.ports import Encoder, Encoders, MissingFormats
from domain.exports.export import FileFormat, RowKind
from domain.ids import ProjectId


def _ndjson(project: ProjectId, _: RowKind) -> Encoder:
    # Imports 8 MB of Litestar, which only a worker that writes such a file needs.
    from entrypoints.http.controllers.exports.ndjson import NdjsonEncoder  # noqa: PLC0415 - see above

    return NdjsonEncoder(project)


def _parquet(_: ProjectId, kind: RowKind) -> Encoder:
    # Imports 40 MB of pyarrow, which only a worker that writes such a file needs.
    from adapters.export_formats.parquet import ParquetEncoder  # noqa: PLC0415 - see above

    return ParquetEncoder(kind)


ENCODERS: Final[Encoders] = {
    FileFormat.CSV: lambda _, kind: CsvEncoder(kind),
    FileFormat.PARQUET: _parquet,
    FileFormat.NDJSON: _ndjson,
}
INSTALL_PARQUET: Final = (
    "Parquet needs an optional library that is not installed on this server: in its folder, "
    "pip install '.[parquet]'"
)


def missing_formats() -> MissingFormats:
    """Looks for the optional libraries without importing them."""
    return {} if find_spec("pyarrow") else {FileFormat.PARQUET: INSTALL_PARQUET}
