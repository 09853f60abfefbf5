"""Tagging and deleting stored traces and sessions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from application.tracing.ports import Sessions, Traces
from domain.errors import Invalid, NotFound
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId, TraceId

EDITED_TRACES_MAX: Final = 500  # in a request: they are locked together


@dataclass(frozen=True, slots=True)
class TagTraces:
    """Removes tags from traces, then adds others."""

    traces: Traces

    async def __call__(
        self,
        project: ProjectId,
        traces: Sequence[TraceId],
        add: Sequence[str],
        remove: Sequence[str],
    ) -> int:
        """The number of traces that exist, changed or not; 0 without any tag.

        Idempotent. Raises Invalid for more than EDITED_TRACES_MAX traces, Unavailable.
        """
        _check_count(traces)
        if not add and not remove:
            return 0
        return await self.traces.retag(project, traces, add, remove)


@dataclass(frozen=True, slots=True)
class DeleteTrace:
    """Deletes a trace with its spans; no reader sees it once this returns."""

    traces: Traces

    async def __call__(
        self, project: ProjectId, trace: TraceId, *, audit: AuditEntry | None = None
    ) -> None:
        """Raises NotFound, also the second time; Unavailable."""
        if not await self.traces.delete(project, [trace], audit=audit):
            raise NotFound("Trace not found")


@dataclass(frozen=True, slots=True)
class DeleteTraces:
    """Deletes the traces that exist, with their spans."""

    traces: Traces

    async def __call__(
        self, project: ProjectId, traces: Sequence[TraceId], *, audit: AuditEntry | None = None
    ) -> int:
        """The number that existed. Idempotent.

        Raises Invalid for more than EDITED_TRACES_MAX, Unavailable.
        """
        _check_count(traces)
        return await self.traces.delete(project, traces, audit=audit)


@dataclass(frozen=True, slots=True)
class DeleteSession:
    """Deletes all traces of a session, with their spans."""

    sessions: Sessions

    async def __call__(
        self, project: ProjectId, session: str, *, audit: AuditEntry | None = None
    ) -> int:
        """The number of deleted traces. Raises NotFound, also the second time; Unavailable."""
        if not (deleted := await self.sessions.delete(project, session, audit=audit)):
            raise NotFound("Session not found")
        return deleted


def _check_count(traces: Sequence[TraceId]) -> None:
    if len(traces) > EDITED_TRACES_MAX:
        raise Invalid(f"at most {EDITED_TRACES_MAX} traces at once, not {len(traces)}")
