"""The ports of exports, and their use cases over them: a part of `application.use_cases`."""

from dataclasses import dataclass
from typing import Self

from application.evaluation.ports import TraceScores
from application.exporting.imports import ImportTraces
from application.exporting.ports import Archive
from application.exporting.streams import Seats, StreamTraces
from application.tracing.ports import Traces


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPorts:
    """Every port of exports, filled."""

    archive: Archive


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportUseCases:
    """Every use case of exports, ready to call."""

    stream_traces: StreamTraces
    import_traces: ImportTraces

    @classmethod
    def over(cls, ports: ExportPorts, traces: Traces, scores: TraceScores) -> Self:
        return cls(
            stream_traces=StreamTraces(ports.archive, Seats()),
            import_traces=ImportTraces(ports.archive, traces, scores),
        )
