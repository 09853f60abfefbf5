"""Changing and removing what is stored."""

from dataclasses import dataclass

from application.tracing.ports import Traces
from domain.errors import NotFound
from domain.ids import ProjectId, TraceId


@dataclass(frozen=True, slots=True)
class DeleteTrace:
    """Removes a trace with its spans: gone for every reader once this returns."""

    traces: Traces

    async def __call__(self, project: ProjectId, trace: TraceId) -> None:
        """Raises NotFound, the second time too; Unavailable."""
        if not await self.traces.delete(project, [trace]):
            raise NotFound("Trace not found")
