"""The use cases of exports and imports: a part of `application.use_cases`."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from application.evaluation.use_cases import EvaluationPorts
from application.exporting.files import (
    DeleteExpiredExports,
    DeleteExport,
    ListExports,
    ReadExport,
    ReadExportFile,
    RequestExport,
)
from application.exporting.imports import ImportTraces
from application.exporting.ports import Encoders, Exports, MissingFormats, TraceArchive
from application.exporting.streams import StreamLimiter, StreamTraces
from application.exporting.write_export import WriteExport
from application.ports import Clock
from application.tracing.ports import Traces


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPorts:
    """Every port of exports, filled; the retention and the maximum size of a file."""

    archive: TraceArchive
    exports: Exports
    encoders: Encoders = field(default_factory=dict)
    missing_formats: MissingFormats = field(default_factory=dict)
    retention: timedelta = timedelta(days=7)
    size_max: int = 2 << 30  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportUseCases:
    """The use cases of exports and imports."""

    stream_traces: StreamTraces
    import_traces: ImportTraces
    request_export: RequestExport
    list_exports: ListExports
    read_export: ReadExport
    read_export_file: ReadExportFile
    delete_export: DeleteExport
    write_export: WriteExport
    delete_expired_exports: DeleteExpiredExports

    @classmethod
    def over(
        cls, ports: ExportPorts, traces: Traces, evaluation: EvaluationPorts, clock: Clock
    ) -> Self:
        exports = ports.exports
        return cls(
            stream_traces=StreamTraces(ports.archive, StreamLimiter()),
            import_traces=ImportTraces(
                ports.archive, traces, evaluation.trace_scores, evaluation.session_scores
            ),
            request_export=RequestExport(exports, ports.missing_formats, ports.retention, clock),
            list_exports=ListExports(exports),
            read_export=ReadExport(exports),
            read_export_file=ReadExportFile(exports),
            delete_export=DeleteExport(exports),
            write_export=WriteExport(
                archive=ports.archive,
                traces=traces,
                exports=exports,
                encoders=ports.encoders,
                missing_formats=ports.missing_formats,
                size_max=ports.size_max,
                clock=clock,
            ),
            delete_expired_exports=DeleteExpiredExports(exports, clock),
        )
