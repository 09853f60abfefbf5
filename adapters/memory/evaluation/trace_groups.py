"""Groups of traces, in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from adapters.memory.store import MemoryStore
from domain.evaluation.experiments.trace_groups import (
    GROUP_TRACES_MAX,
    GroupFigures,
    ScoreKind,
    check_kinds,
)
from domain.evaluation.scores.score import TraceScore, latest_by_name, storable_text
from domain.ids import ProjectId, TraceId
from domain.tracing.payloads.payload import scalar_members
from domain.tracing.query import TraceFilter


@dataclass(frozen=True, slots=True)
class MemoryTraceGroups:
    store: MemoryStore

    async def figures(
        self, project: ProjectId, matching: TraceFilter, metrics: Sequence[str] = ()
    ) -> GroupFigures:
        found = self.store.matching_traces(project, matching)
        found.sort(key=lambda one: (one.started_at, one.id), reverse=True)
        traces = found[:GROUP_TRACES_MAX]
        scores = self._latest(project, {one.id for one in traces}, metrics)
        group = GroupFigures.from_traces(traces, len(found), scores)
        check_kinds(len(group.scores))
        return group

    def _latest(
        self, project: ProjectId, traces: set[TraceId], metrics: Sequence[str]
    ) -> Iterator[tuple[ScoreKind, TraceScore]]:
        trace_scores = dict[TraceId, list[TraceScore]]()
        for score in self.store.visible_trace_scores(project):
            is_wanted = not metrics or score.name in metrics
            if is_wanted and score.trace_id in traces and not score.is_of_span:
                trace_scores.setdefault(score.trace_id, []).append(score)
        for scores in trace_scores.values():
            for score in latest_by_name(scores):
                yield self._kind(score), score

    def _kind(self, score: TraceScore) -> ScoreKind:
        if not score.is_automated:
            return ScoreKind(score.name, is_of_run=False)
        fingerprint = None
        if self.store.is_of_run(score):
            fingerprint = scalar_members(score.metadata).get("fingerprint")
        return ScoreKind(
            score.name,
            is_of_run=True,
            judge_kind=score.judge_kind,
            fingerprint=None if fingerprint is None else storable_text(fingerprint),
        )
