"""The use cases of tracing, and the ports that they need: a part of `application.use_cases`."""

from dataclasses import dataclass
from datetime import timedelta

from application.ports import Clock, NewId
from application.tracing import edit, ingest
from application.tracing.analyze import AnalyzeTraces
from application.tracing.ingestion_warnings import ReadIngestionWarnings
from application.tracing.otlp import open_traces
from application.tracing.otlp.ingest import DecodeOtlpRequest, StoreOtlpRequest
from application.tracing.otlp.ports import OtlpTraces
from application.tracing.otlp.rejections import (
    DeleteExpiredRejections,
    RecordRejections,
    RejectionLog,
    Rejections,
)
from application.tracing.otlp.remap import RemapTraces
from application.tracing.payload_storage import JoinPayloads, RemoveUnusedPayloads
from application.tracing.ports import (
    PayloadStorage,
    SearchIndex,
    Sessions,
    Spans,
    SpanSearch,
    TraceAnalytics,
    Traces,
    TraceSearch,
)
from application.tracing.search_index import CleanSearchIndex, IndexTraces
from domain.tracing.otel.requests import OtlpCodec


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingPorts:
    """Every port of tracing, filled.

    `settle_after` is how long an OpenTelemetry trace waits for its root.
    """

    traces: Traces
    spans: Spans
    sessions: Sessions
    analytics: TraceAnalytics
    otlp: OtlpTraces
    otlp_codec: OtlpCodec
    rejections: Rejections
    rejection_log: RejectionLog
    payload_storage: PayloadStorage
    trace_search: TraceSearch
    span_search: SpanSearch
    search_index: SearchIndex
    settle_after: timedelta = timedelta(seconds=900)


class TracingUseCases:
    """Ingesting batches, tagging and deleting traces and sessions."""

    def __init__(self, ports: TracingPorts, clock: Clock, new_id: NewId) -> None:
        traces, sessions = ports.traces, ports.sessions
        self.traces, self.sessions, self.analytics = traces, sessions, ports.analytics
        self.spans = ports.spans
        self.otlp_codec = ports.otlp_codec
        self.decode_otlp_request = DecodeOtlpRequest(ports.otlp_codec)
        self.store_otlp_request = StoreOtlpRequest(ports.otlp)
        self.remap_traces = RemapTraces(ports.otlp)
        self.rejections = ports.rejections
        self.record_rejections = RecordRejections(ports.rejection_log, clock, new_id)
        self.delete_expired_rejections = DeleteExpiredRejections(ports.rejections, clock)
        self.analyze_traces = AnalyzeTraces(ports.analytics)
        self.read_ingestion_warnings = ReadIngestionWarnings(ports.analytics, clock)
        self.ingest_batch = ingest.IngestBatch(traces)
        self.tag_traces = edit.TagTraces(traces)
        self.delete_trace = edit.DeleteTrace(traces)
        self.delete_traces = edit.DeleteTraces(traces)
        self.delete_session = edit.DeleteSession(sessions)
        self.trace_search, self.span_search = ports.trace_search, ports.span_search
        self.index_traces = IndexTraces(ports.search_index)
        self.clean_search_index = CleanSearchIndex(ports.search_index, clock)
        self.join_payloads = JoinPayloads(ports.payload_storage, clock)
        self.remove_unused_payloads = RemoveUnusedPayloads(ports.payload_storage, clock)
        self.settle_open_traces = open_traces.SettleOpenTraces(
            ports.otlp, ports.settle_after, clock
        )
        self.delete_orphaned_records = open_traces.DeleteOrphanedRecords(
            ports.otlp, clock, self.record_rejections.record_orphans
        )
