"""The ports of exports over PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

from adapters.postgres.database.pool import Engine, Pool, PoolSettings, open_pool
from adapters.postgres.exports.exports import PostgresExports
from adapters.postgres.exports.tickets import PostgresDownloadTickets
from adapters.postgres.exports.trace_archive import PostgresTraceArchive
from application.exports.streams import CONCURRENT_STREAMS_MAX
from application.exports.use_cases import ExportPorts
from entrypoints.composition.export_formats import ENCODERS, missing_formats
from entrypoints.composition.payload_store import payload_store
from entrypoints.settings import Settings


@asynccontextmanager
async def export_ports(
    settings: Settings, pool: Pool, search_path: str | None = None
) -> AsyncIterator[ExportPorts]:
    """Exports read on their own connections, so that no request waits for them.

    The connections are opened when needed, with the search path of `pool`. One statement may take
    as long as the export.
    """
    async with open_pool(
        Engine({}),
        PoolSettings(
            url=settings.database_url or "",
            size=CONCURRENT_STREAMS_MAX,
            least=0,
            statement_timeout_ms=settings.export_max_seconds * 1_000,
            application_name="pandaprobe exports",
            payload_store=payload_store(settings),
            search_path=search_path,
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
        tickets=PostgresDownloadTickets(pool),
        encoders=ENCODERS,
        missing_formats=missing_formats(),
    )
