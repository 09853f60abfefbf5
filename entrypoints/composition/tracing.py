"""The ports of tracing over PostgreSQL."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from adapters.caching.rejection_buffer import FLUSH_EVERY_S, OnRecord, RejectionBuffer
from adapters.otlp.decoding.requests import Codec
from adapters.postgres.database.pool import Pool
from adapters.postgres.tracing.analytics import PostgresTraceAnalytics
from adapters.postgres.tracing.otlp.otlp_traces import PostgresOtlpTraces
from adapters.postgres.tracing.otlp.rejections import PostgresRejections
from adapters.postgres.tracing.payloads.block_compaction import PostgresPayloadStorage
from adapters.postgres.tracing.search.search_index import PostgresSearchIndex
from adapters.postgres.tracing.search.trace_search import PostgresTraceSearch
from adapters.postgres.tracing.sessions import PostgresSessions
from adapters.postgres.tracing.spans.span_search import PostgresSpanSearch
from adapters.postgres.tracing.spans.spans import PostgresSpans
from adapters.postgres.tracing.traces import PostgresTraces
from application.tracing.use_cases import TracingPorts
from domain.ids import ProjectId
from entrypoints.composition.otlp_rules import fragment_rules
from entrypoints.settings import Settings


@asynccontextmanager
async def tracing_ports(
    settings: Settings,
    pool: Pool,
    traces: PostgresTraces,
    on_removed: Callable[[ProjectId], None],
    *,
    flush_every_s: float = FLUSH_EVERY_S,
    on_rejections: OnRecord | None = None,
) -> AsyncIterator[TracingPorts]:
    """All ports of tracing. At the end of the block, accepted fragments are written.

    Rejections are written every `flush_every_s`, after `on_rejections` was called with them.
    """
    rejections = PostgresRejections(pool)
    async with (
        PostgresOtlpTraces.open(traces.edits, fragment_rules(), on_removed) as otlp,
        RejectionBuffer.flushing_to(rejections, flush_every_s, on_rejections) as rejection_log,
    ):
        yield TracingPorts(
            traces=traces,
            spans=PostgresSpans(pool),
            sessions=PostgresSessions(pool, traces.edits),
            analytics=PostgresTraceAnalytics(pool),
            otlp=otlp,
            otlp_codec=Codec(),
            rejections=rejections,
            rejection_log=rejection_log,
            payload_storage=PostgresPayloadStorage(pool),
            trace_search=PostgresTraceSearch(pool),
            span_search=PostgresSpanSearch(pool),
            search_index=PostgresSearchIndex(pool),
            settle_after=timedelta(seconds=settings.otlp_settle_seconds),
        )
