"""Whole traces with their scores in memory."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import batched

from adapters.memory.store import MemoryStore
from application.exporting.ports import BATCH_TRACES_MAX, Batches
from domain.evaluation.scores.score import ScoreOutcome, SessionScore
from domain.exporting.exported_trace import TraceWithScores, in_order_of_time
from domain.ids import ProjectId, TraceId
from domain.page import PageRequest, Position, SortOrder, paginate
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.trace import Trace, TraceSummary


@dataclass(frozen=True, slots=True)
class MemoryTraceArchive:
    store: MemoryStore

    @asynccontextmanager
    async def read(
        self, project: ProjectId, matching: TraceFilter, sort: TraceSort, order: SortOrder
    ) -> AsyncIterator[Batches]:
        found = [one for one in self.store.visible_traces(project) if matching.matches(one)]

        def place(trace: Trace) -> Position:
            return sort.position(TraceSummary.of(trace))

        page = paginate(found, place, order, PageRequest(limit=len(found)))
        whole = [self._archived(project, one) for one in page.items]
        yield _batches([*self._led(project, whole)])

    async def load(
        self, project: ProjectId, traces: Sequence[TraceId]
    ) -> Sequence[TraceWithScores]:
        wanted = set(traces)
        ours = self.store.visible_traces(project)
        return [self._archived(project, one) for one in ours if one.id in wanted]

    def _archived(self, project: ProjectId, trace: Trace) -> TraceWithScores:
        scores = [
            score
            for score in self.store.visible_trace_scores(project)
            if score.trace_id == trace.id and score.outcome is not ScoreOutcome.PENDING
        ]
        return TraceWithScores(trace, in_order_of_time(scores))

    def _led(
        self, project: ProjectId, whole: Sequence[TraceWithScores]
    ) -> Iterator[TraceWithScores]:
        """Adds the scores of each session to its first trace."""
        left = defaultdict[str | None, list[SessionScore]](list)
        for score in self.store.visible_session_scores(project):
            if score.outcome is not ScoreOutcome.PENDING:
                left[score.session_id].append(score)
        for one in whole:
            scores = left.pop(one.trace.session_id, [])
            yield replace(one, session_scores=in_order_of_time(scores))


async def _batches(whole: Sequence[TraceWithScores]) -> Batches:
    for some in batched(whole, BATCH_TRACES_MAX):
        yield some
