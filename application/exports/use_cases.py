"""The use cases of exports and imports, and their ports: a part of `application.use_cases`."""

from dataclasses import dataclass, field
from datetime import timedelta

from application.audit import AuditTrail
from application.deletion import DeleteOne
from application.evaluation.use_cases import EvaluationPorts
from application.exports import files, imports, streams, tickets, write_export
from application.exports.ports import (
    DownloadTickets,
    Encoders,
    Exports,
    MissingFormats,
    TraceArchive,
)
from application.identity.use_cases import IdentityPorts
from application.ports import Clock, RandomBytes
from application.tracing.ports import Traces


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPorts:
    """Every port of exports, filled; the retention and the maximum size of a file."""

    archive: TraceArchive
    exports: Exports
    tickets: DownloadTickets
    encoders: Encoders = field(default_factory=dict)
    missing_formats: MissingFormats = field(default_factory=dict)
    retention: timedelta = timedelta(days=7)
    size_max: int = 2 << 30  # bytes


class ExportUseCases:
    """Exports as streams and files, and imports."""

    def __init__(
        self,
        ports: ExportPorts,
        *,
        traces: Traces,
        evaluation: EvaluationPorts,
        identity: IdentityPorts,
        audit: AuditTrail,
        clock: Clock,
        random: RandomBytes,
    ) -> None:
        archive, exports = ports.archive, ports.exports
        self.exports = exports
        self.stream_traces = streams.StreamTraces(archive, streams.StreamLimiter())
        self.import_traces = imports.ImportTraces(
            archive, traces, evaluation.trace_scores, evaluation.session_scores, audit
        )
        self.request_export = files.RequestExport(
            exports, ports.missing_formats, ports.retention, clock
        )
        self.read_export_file = files.ReadExportFile(exports)
        self.issue_ticket = tickets.IssueTicket(exports, ports.tickets, clock, random)
        self.use_ticket = tickets.UseTicket(
            ports.tickets,
            exports,
            identity.browser_sessions,
            identity.organizations,
            identity.projects,
            identity.directory,
            identity.session_lifetime,
            clock,
        )
        self.delete_export = DeleteOne(exports.delete, "Export not found")
        self.delete_expired_exports = files.DeleteExpiredExports(exports, clock)
        self.write_export = write_export.WriteExport(
            archive=archive,
            traces=traces,
            exports=exports,
            encoders=ports.encoders,
            missing_formats=ports.missing_formats,
            size_max=ports.size_max,
            clock=clock,
        )
