"""The ports of exports, and the encoder of each file format."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from importlib.util import find_spec
from typing import Final

from adapters.export_formats.csv import CsvEncoder
from adapters.postgres.database.pool import Engine, Pool, PoolSettings, open_pool
from adapters.postgres.exports.exports import PostgresExports
from adapters.postgres.exports.trace_archive import PostgresTraceArchive
from application.exporting.ports import Encoder, Encoders, MissingFormats
from application.exporting.streams import CONCURRENT_STREAMS_MAX
from application.exporting.use_cases import ExportPorts
from domain.exporting.export import FileFormat, RowKind
from domain.ids import ProjectId
from entrypoints.settings import Settings


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
    "Parquet needs an optional library that is not installed on this server: "
    "pip install 'pandaprobe-server[parquet]'"
)


def missing_formats() -> MissingFormats:
    """Looks for the optional libraries without importing them."""
    return {} if find_spec("pyarrow") else {FileFormat.PARQUET: INSTALL_PARQUET}


@asynccontextmanager
async def export_ports(settings: Settings, pool: Pool) -> AsyncIterator[ExportPorts]:
    """Exports read on their own connections, so that no request waits for them.

    The connections are opened when needed. One statement may take as long as the export.
    """
    async with open_pool(
        Engine({}),
        PoolSettings(
            url=settings.database_url or "",
            size=CONCURRENT_STREAMS_MAX,
            least=0,
            statement_timeout_ms=settings.export_max_seconds * 1_000,
            application_name="pandaprobe exports",
        ),
    ) as streams:
        yield replace(
            export_ports_over(pool, streams, settings.export_max_seconds),
            retention=timedelta(days=settings.export_keep_days),
            size_max=settings.export_max_megabytes << 20,
        )


def export_ports_over(pool: Pool, streams: Pool, timeout_s: float) -> ExportPorts:
    return ExportPorts(
        archive=PostgresTraceArchive(pool, streams, timeout_s),
        exports=PostgresExports(pool),
        encoders=ENCODERS,
        missing_formats=missing_formats(),
    )
