"""Reads the traces and sessions that are evaluated, in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from adapters.memory.store import MemoryStore
from domain.evaluation.metrics.registry import SPANS_MAX
from domain.evaluation.runs.run import Target
from domain.evaluation.runs.selection import SessionSelection, TraceSelection, select_sessions
from domain.evaluation.scores.outcome import FailCode, Failed, SkipCode, Skipped
from domain.evaluation.sessions.signals import SESSION_TRACES_MAX
from domain.evaluation.trace_content.evaluated_trace import (
    RECENT_OUTPUTS_MAX,
    EvaluatedTrace,
    final_output_text,
)
from domain.ids import ProjectId, TraceId
from domain.tracing.trace import Trace


@dataclass(frozen=True, slots=True)
class MemoryTargets:
    store: MemoryStore
    spans_max: int = SPANS_MAX

    async def traces(
        self, project: ProjectId, selection: TraceSelection, most: int
    ) -> Sequence[Target]:
        matching = selection.matching
        found = [str(one.id) for one in self.store.visible_traces(project) if matching.matches(one)]
        return sorted(found)[: most + 1]

    async def sessions(
        self, project: ProjectId, selection: SessionSelection, most: int
    ) -> Sequence[Target]:
        return select_sessions(self.store.visible_traces(project), selection)[: most + 1]

    async def load_trace(
        self, project: ProjectId, trace: TraceId
    ) -> EvaluatedTrace | Skipped | Failed:
        found = self.store.visible_trace(project, trace)
        if found is None:
            return Failed(FailCode.TARGET_GONE)
        if len(found.spans) > self.spans_max:
            return Skipped(SkipCode.TRACE_TOO_LARGE)
        if found.session_id is None:
            return EvaluatedTrace(found)
        order = self.store.visible_traces_of(project, found.session_id)
        before = order[: order.index(found)]
        return EvaluatedTrace(
            found, [final_output_text(self._bounded(one)) for one in before[-RECENT_OUTPUTS_MAX:]]
        )

    async def session_traces(self, project: ProjectId, session: str) -> Sequence[TraceId]:
        in_order = self.store.visible_traces_of(project, session)
        return [one.id for one in in_order[: SESSION_TRACES_MAX + 1]]

    def _bounded(self, trace: Trace) -> Trace:
        return trace if len(trace.spans) <= self.spans_max else replace(trace, spans=())
