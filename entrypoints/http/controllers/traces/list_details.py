"""What a list of traces shows of each if it is asked to: previews, models, failures, scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import msgspec

from application.use_cases import UseCases
from domain.evaluation.scores.score import ScoreBrief
from domain.ids import ProjectId, TraceId
from domain.tracing.text_preview import TracePreview
from domain.tracing.trace import TraceSummary
from entrypoints.http.controllers.traces.schemas import Included, ListedScore, TraceListItem


@dataclass(frozen=True, slots=True)
class ListDetails:
    """The details of the traces of one page: each kind is read once for all of them."""

    included: frozenset[str]
    previews: Mapping[TraceId, TracePreview]
    scores: Mapping[TraceId, Sequence[ScoreBrief]]

    @classmethod
    async def load(
        cls,
        use_cases: UseCases,
        project: ProjectId,
        traces: Sequence[TraceSummary],
        included: frozenset[str],
    ) -> Self:
        ids = [one.id for one in traces]
        previews: Mapping[TraceId, TracePreview] = {}
        scores: Mapping[TraceId, Sequence[ScoreBrief]] = {}
        if ids and included & {Included.PREVIEW, Included.MODELS}:
            previews = await use_cases.tracing.traces.previews(project, ids)
        if ids and Included.SCORES in included:
            scores = await use_cases.evaluation.trace_scores.latest_of_traces(project, ids)
        return cls(included, previews, scores)

    def item(self, trace: TraceSummary) -> TraceListItem:
        """The trace with its details; one that was deleted meanwhile has none."""
        item = TraceListItem.from_domain(trace)
        # The item is new. Replacing its fields takes a tenth of the time of copying it.
        add = partial(msgspec.structs.force_setattr, item)
        preview = self.previews.get(trace.id)
        if Included.PREVIEW in self.included:
            add("input_preview", None if preview is None else preview.input)
            add("output_preview", None if preview is None else preview.output)
        if Included.MODELS in self.included:
            add("models", [] if preview is None else list(preview.models))
        if Included.ERRORS in self.included:
            add("error_count", trace.totals.errors)
        if Included.SCORES in self.included:
            scores = self.scores.get(trace.id, ())
            add("scores", [ListedScore.from_domain(one) for one in scores])
        return item
