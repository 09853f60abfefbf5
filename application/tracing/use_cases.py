"""The use cases of tracing, and the ports that they need: a part of `application.use_cases`."""

from dataclasses import dataclass

from application.tracing import edit, ingest
from application.tracing.ports import Sessions, TraceAnalytics, Traces


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingPorts:
    """Every port of tracing, filled."""

    traces: Traces
    sessions: Sessions
    analytics: TraceAnalytics


class TracingUseCases:
    """Ingesting batches, tagging and deleting traces and sessions."""

    def __init__(self, ports: TracingPorts) -> None:
        traces, sessions = ports.traces, ports.sessions
        self.traces, self.sessions, self.analytics = traces, sessions, ports.analytics
        self.ingest_batch = ingest.IngestBatch(traces)
        self.tag_traces = edit.TagTraces(traces)
        self.delete_trace = edit.DeleteTrace(traces)
        self.delete_traces = edit.DeleteTraces(traces)
        self.delete_session = edit.DeleteSession(sessions)
