"""Changing and removing what is stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from application.tracing.ports import Sessions, Traces
from domain.errors import Invalid, NotFound
from domain.ids import ProjectId, SpanId, TraceId
from domain.tracing.span import Span, SpanChange
from domain.tracing.trace import Trace, TraceChange

EDITED_MAX: Final = 500  # traces of one request: they are locked together


@dataclass(frozen=True, slots=True)
class ChangeTrace:
    """Gives a trace new values where the change has any."""

    traces: Traces

    async def __call__(self, project: ProjectId, trace: TraceId, change: TraceChange) -> Trace:
        """The whole trace after it. Safe to repeat. Raises NotFound, Invalid, Unavailable."""
        return await self.traces.change(project, trace, change)


@dataclass(frozen=True, slots=True)
class ChangeSpan:
    """Gives a span of a trace new values where the change has any."""

    traces: Traces

    async def __call__(
        self, project: ProjectId, trace: TraceId, span: SpanId, change: SpanChange
    ) -> Span:
        """The span after it. Safe to repeat. Raises NotFound, Invalid, Unavailable."""
        return await self.traces.change_span(project, trace, span, change)


@dataclass(frozen=True, slots=True)
class TagTraces:
    """Takes tags from traces, and then gives them others."""

    traces: Traces

    async def __call__(
        self,
        project: ProjectId,
        traces: Sequence[TraceId],
        add: Sequence[str],
        remove: Sequence[str],
    ) -> int:
        """The number of traces that are there, changed or not; 0 where there is nothing to do.

        Safe to repeat. Raises Invalid for more than EDITED_MAX traces, Unavailable.
        """
        _check_count(traces)
        if not add and not remove:
            return 0
        return await self.traces.retag(project, traces, add, remove)


@dataclass(frozen=True, slots=True)
class DeleteTrace:
    """Removes a trace with its spans: gone for every reader once this returns."""

    traces: Traces

    async def __call__(self, project: ProjectId, trace: TraceId) -> None:
        """Raises NotFound, the second time too; Unavailable."""
        if not await self.traces.delete(project, [trace]):
            raise NotFound("Trace not found")


@dataclass(frozen=True, slots=True)
class DeleteTraces:
    """Removes traces with their spans, those that are there."""

    traces: Traces

    async def __call__(self, project: ProjectId, traces: Sequence[TraceId]) -> int:
        """How many were there. Safe to repeat.

        Raises Invalid for more than EDITED_MAX, Unavailable.
        """
        _check_count(traces)
        return await self.traces.delete(project, traces)


@dataclass(frozen=True, slots=True)
class DeleteSession:
    """Removes all traces of a session, with their spans."""

    sessions: Sessions

    async def __call__(self, project: ProjectId, session: str) -> int:
        """How many traces there were. Raises NotFound, the second time too; Unavailable."""
        if not (deleted := await self.sessions.delete(project, session)):
            raise NotFound("Session not found")
        return deleted


def _check_count(traces: Sequence[TraceId]) -> None:
    if len(traces) > EDITED_MAX:
        raise Invalid(f"at most {EDITED_MAX} traces at once, not {len(traces)}")
