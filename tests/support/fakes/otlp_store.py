"""A store of OpenTelemetry fragments that keeps what it was given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from application.tracing.otlp.ports import OrphanedRecord, RemappedTraces, TracePosition
from domain.ids import ProjectId, TraceId
from domain.tracing.otel.fragments import Fragment, Sent


@dataclass
class RecordedOtlpTraces:
    """Implements OtlpTraces. A trace in `failures` isn't stored, and raises its failure."""

    puts: list[tuple[ProjectId, TraceId, Sequence[Sent]]] = field(default_factory=list)
    failures: Mapping[TraceId, Exception] = field(default_factory=dict)

    async def put(self, project: ProjectId, trace: TraceId, fragments: Sequence[Fragment]) -> None:
        if trace in self.failures:
            raise self.failures[trace]
        self.puts.append((project, trace, [one.decode() for one in fragments]))

    async def settle_open_traces(self, before: datetime) -> int:
        return 0

    async def delete_orphaned_records(
        self,
        before: datetime,
    ) -> Sequence[OrphanedRecord]:
        return ()

    async def remap(
        self, project: ProjectId | None, after: TracePosition | None, *, is_dry_run: bool
    ) -> RemappedTraces:
        return RemappedTraces(last=None)
