"""Evaluations that wait for what they evaluate, in memory."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from adapters.memory.store import MemoryStore, StoredEvaluation
from application.evaluation.ports.sent_evaluations import (
    DUE_MAX,
    WAITING_MAX,
    WaitingEvaluation,
)
from domain.ids import ProjectId
from domain.tracing.otel.evaluations import ReceivedEvaluation


@dataclass(frozen=True, slots=True)
class MemoryWaitingEvaluations:
    store: MemoryStore

    async def add(
        self, project: ProjectId, received: Sequence[ReceivedEvaluation], now: datetime
    ) -> int:
        self.store.check_exists(project)
        left_out = 0
        table = self.store.waiting_evaluations
        room = WAITING_MAX - len(table.in_project(project))
        for one in received:
            if one.trace is not None and (project, one.trace) in self.store.erased:
                continue
            waiting = WaitingEvaluation.from_received(project, one)
            key = (project, waiting.id)
            if key in table:
                continue
            if room <= 0:
                left_out += 1
            else:
                table[key] = StoredEvaluation(waiting, now)
                room -= 1
        return left_out

    async def list_due(self, excluded: Collection[ProjectId] = ()) -> Sequence[WaitingEvaluation]:
        found = []
        for one in self._oldest_first():
            due = None if one.waiting.project in excluded else self._due(one.waiting)
            if due is not None:
                found.append(replace(one.waiting, received=due))
        return found[:DUE_MAX]

    def _due(self, waiting: WaitingEvaluation) -> ReceivedEvaluation | None:
        received, project = waiting.received, waiting.project
        if received.trace is not None:
            return received if (project, received.trace) in self.store.traces else None
        found = [
            (span.usage_role is not None, trace, span.id, known.facts[span.id].hex_id)
            for (of, trace), known in self.store.otlp.items()
            if of == project
            for span in self.store.traces[project, trace].spans
            if span.id in known.facts
            and known.facts[span.id].response_id == received.evaluation.response_id
        ]
        if not found:
            return None
        _, trace, _, hex_id = min(found)
        return ReceivedEvaluation(trace, replace(received.evaluation, span_id=hex_id))

    def _oldest_first(self) -> list[StoredEvaluation]:
        rows = [one for _, one in self.store.waiting_evaluations.live()]
        return sorted(rows, key=lambda one: (one.stored_at, one.waiting.id))

    async def delete(self, done: Sequence[WaitingEvaluation]) -> None:
        for one in done:
            self.store.waiting_evaluations.pop((one.project, one.id), None)

    async def delete_expired(self, before: datetime) -> Sequence[WaitingEvaluation]:
        old = [
            one.waiting
            for one in self._oldest_first()
            if one.stored_at < before and self._due(one.waiting) is None
        ][:DUE_MAX]
        await self.delete(old)
        return old
