"""The use cases of tracing: a part of `application.use_cases`."""

from dataclasses import dataclass
from typing import Self

from application.tracing.analyze import ListUsers, SessionVolume, TokenUsage, TopModels, TraceVolume
from application.tracing.edit import (
    ChangeSpan,
    ChangeTrace,
    DeleteSession,
    DeleteTrace,
    DeleteTraces,
    TagTraces,
)
from application.tracing.ingest import AddSpans, IngestBatch, IngestTrace
from application.tracing.ports import Sessions, TraceAnalytics, Traces
from application.tracing.read import ListSessions, ListTraces, ReadSession, ReadTrace


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingUseCases:
    """The use cases of tracing."""

    ingest_trace: IngestTrace
    ingest_batch: IngestBatch
    add_spans: AddSpans
    read_trace: ReadTrace
    list_traces: ListTraces
    change_trace: ChangeTrace
    change_span: ChangeSpan
    tag_traces: TagTraces
    delete_trace: DeleteTrace
    delete_traces: DeleteTraces
    list_sessions: ListSessions
    read_session: ReadSession
    delete_session: DeleteSession
    trace_volume: TraceVolume
    token_usage: TokenUsage
    top_models: TopModels
    session_volume: SessionVolume
    list_users: ListUsers

    @classmethod
    def over(cls, traces: Traces, sessions: Sessions, analytics: TraceAnalytics) -> Self:
        return cls(
            ingest_trace=IngestTrace(traces),
            ingest_batch=IngestBatch(traces),
            add_spans=AddSpans(traces),
            read_trace=ReadTrace(traces),
            list_traces=ListTraces(traces),
            change_trace=ChangeTrace(traces),
            change_span=ChangeSpan(traces),
            tag_traces=TagTraces(traces),
            delete_trace=DeleteTrace(traces),
            delete_traces=DeleteTraces(traces),
            list_sessions=ListSessions(sessions),
            read_session=ReadSession(sessions),
            delete_session=DeleteSession(sessions),
            trace_volume=TraceVolume(analytics),
            token_usage=TokenUsage(analytics),
            top_models=TopModels(analytics),
            session_volume=SessionVolume(analytics),
            list_users=ListUsers(analytics),
        )
