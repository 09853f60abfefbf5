"""The ports that read from a replica of the database, if there is one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from adapters.postgres.database.pool import Engine, OnAcquire, Pool, PoolSettings, open_pool
from adapters.postgres.evaluation.experiments.trace_groups import PostgresTraceGroups
from adapters.postgres.evaluation.scores.score_analytics import PostgresScoreAnalytics
from adapters.postgres.exports.replica_archive import ReplicaTraceArchive
from adapters.postgres.exports.trace_archive import PostgresTraceArchive
from adapters.postgres.read_replica import OnRead, Replica, ReplicaHealthCheck, reading_replica
from adapters.postgres.tracing.analytics import PostgresTraceAnalytics
from adapters.postgres.tracing.search.trace_search import PostgresTraceSearch
from adapters.postgres.tracing.spans.span_search import PostgresSpanSearch
from adapters.postgres.tracing.spans.spans import PostgresSpans
from application.exports.streams import CONCURRENT_STREAMS_MAX
from application.use_cases import Ports
from entrypoints.composition.payload_store import payload_store
from entrypoints.settings import Settings

TRACE_ANALYTICS: Final = (
    *("volume", "usage", "model_usage", "groups", "models", "sessions", "are_sources_mixed"),
    *("facets", "users"),
)
SCORE_ANALYTICS: Final = ("summaries", "trend", "distribution", "history", "comparison")


@dataclass(frozen=True, slots=True)
class OpenReplica:
    """A replica, and its pools: for reads, and for exports, of which each takes longer."""

    replica: Replica
    reads: Pool
    streams: Pool
    export_max_s: float

    def serving(self, ports: Ports) -> Ports:
        """`ports`, of which analytics, searches for words, and exports read from the replica.

        Reads by a key stay on the main database: they cost it hardly more than what a read from the
        replica asks of it.
        """
        replica, reads, main = self.replica, self.reads, self.replica.main
        tracing, evaluation, exporting = ports.tracing, ports.evaluation, ports.exporting
        return replace(
            ports,
            tracing=replace(
                tracing,
                analytics=reading_replica(
                    tracing.analytics,
                    PostgresTraceAnalytics(reads, kept_in=main),
                    replica,
                    *TRACE_ANALYTICS,
                ),
                spans=reading_replica(
                    tracing.spans, PostgresSpans(reads), replica, "error_groups", "analytics"
                ),
                trace_search=reading_replica(
                    tracing.trace_search, PostgresTraceSearch(reads), replica, "find"
                ),
                span_search=reading_replica(
                    tracing.span_search, PostgresSpanSearch(reads), replica, "find"
                ),
            ),
            evaluation=replace(
                evaluation,
                score_analytics=reading_replica(
                    evaluation.score_analytics,
                    PostgresScoreAnalytics(reads),
                    replica,
                    *SCORE_ANALYTICS,
                ),
                trace_groups=reading_replica(
                    evaluation.trace_groups, PostgresTraceGroups(reads), replica, "figures"
                ),
            ),
            exporting=replace(
                exporting,
                archive=ReplicaTraceArchive(
                    exporting.archive,
                    PostgresTraceArchive(main, self.streams, self.export_max_s),
                    replica,
                ),
            ),
            health_checks={**ports.health_checks, "read_replica": ReplicaHealthCheck(replica)},
        )


@asynccontextmanager
async def open_replica(
    settings: Settings, main: Pool, on_read: OnRead | None = None
) -> AsyncIterator[OpenReplica | None]:
    """The replica of the settings; None without one. It may be away.

    Connections are opened when they are needed.
    """
    if settings.database_read_url is None:
        yield None
        return
    lag_max_s = settings.database_read_max_lag_ms / 1_000
    async with _pool(settings, 1, "pandaprobe replica check") as checks:
        replica = Replica(
            url=settings.database_read_url,
            main=main,
            checks=checks,
            lag_max_s=lag_max_s,
            on_read=on_read or (lambda _: None),
        )
        async with (
            _pool(
                settings,
                settings.database_pool_size,
                "pandaprobe reads",
                on_acquire=replica.wait_until_current,
            ) as reads,
            _pool(
                settings,
                CONCURRENT_STREAMS_MAX,
                "pandaprobe exports",
                timeout_ms=settings.export_max_seconds * 1_000,
                on_acquire=replica.wait_until_current,
            ) as streams,
        ):
            replica.pools += (reads, streams)
            async with replica.watching():
                yield OpenReplica(replica, reads, streams, settings.export_max_seconds)


@asynccontextmanager
async def _pool(
    settings: Settings,
    size: int,
    name: str,
    *,
    timeout_ms: int | None = None,
    on_acquire: OnAcquire | None = None,
) -> AsyncIterator[Pool]:
    async with open_pool(
        Engine({}),
        PoolSettings(
            url=settings.database_read_url or "",
            size=size,
            least=0,
            statement_timeout_ms=timeout_ms or settings.database_statement_timeout_ms,
            application_name=name,
            payload_store=payload_store(settings),
            is_replica=True,
        ),
        on_acquire,
    ) as pool:
        yield pool
