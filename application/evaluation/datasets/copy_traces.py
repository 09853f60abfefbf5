"""Copies traces into a dataset: those of a filter, given ones, or those that await a label."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import UUID

from application.concurrency import gather_limited
from application.evaluation.datasets.datasets import ItemWriter
from application.evaluation.ports.runs import Targets
from application.evaluation.ports.scores import HumanLabels
from application.ports import Clock
from application.tracing.ports import Traces
from domain.errors import Invalid, NotFound
from domain.evaluation.agreement.calibration import daily_seed
from domain.evaluation.datasets.dataset import DatasetItem, WriteResult, validate_item
from domain.evaluation.runs.selection import Eligibility, TraceSelection
from domain.ids import ProjectId, TraceId
from domain.tracing.payloads.payload_detail import PayloadName

COPIED_MAX: Final = 500  # traces of one request: their payloads are in memory
READS_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class AnnotationQueueSource:
    """The traces that `GET /evaluations/analytics/annotation-queue` lists."""

    name: str
    threshold: float
    limit: int


type TraceSource = TraceSelection | AnnotationQueueSource | Sequence[TraceId]
"""Which traces are copied."""


@dataclass(frozen=True, slots=True)
class CopyTraces:
    writer: ItemWriter
    traces: Traces
    targets: Targets
    labels: HumanLabels
    clock: Clock

    async def __call__(
        self,
        project: ProjectId,
        dataset: str,
        source: TraceSource,
        *,
        with_outputs: bool,
        split: str | None,
    ) -> tuple[Sequence[TraceId], WriteResult]:
        """The traces, and what was written: an item for each, whose id is that of the trace.

        The result refuses traces by their index. Their output is what is expected, if
        `with_outputs`. Raises Invalid if more than COPIED_MAX match, NotFound for the dataset,
        Conflict if it would exceed a limit.
        """
        await self.writer.datasets.get(project, dataset)  # before the traces are read
        traces = await self._find(project, source)
        steps = [partial(self._read_item, project, trace, with_outputs, split) for trace in traces]
        items = await gather_limited(READS_AT_ONCE, steps)
        return traces, await self.writer.write(project, dataset, items)

    async def _find(self, project: ProjectId, source: TraceSource) -> Sequence[TraceId]:
        if isinstance(source, AnnotationQueueSource):
            seed = daily_seed(project, source.name, self.clock())
            queue = await self.labels.annotation_queue(
                project, source.name, source.threshold, seed, source.limit
            )
            return [one.score.trace_id for one in queue]
        if isinstance(source, TraceSelection):
            eligible = Eligibility(settled_only=False)
            found = await self.targets.traces(project, source, COPIED_MAX, eligibility=eligible)
            if len(found) > COPIED_MAX:
                raise Invalid.semantic(
                    "filters", f"match more than {COPIED_MAX} traces: narrow them, or send ids"
                )
            return [TraceId(UUID(target)) for target in found]
        return list(dict.fromkeys(source))

    async def _read_item(
        self, project: ProjectId, trace: TraceId, with_output: bool, split: str | None
    ) -> DatasetItem | Invalid:
        try:
            asked = await self.traces.payload(project, trace, None, PayloadName.INPUT)
            expected = None
            if with_output:
                expected = await self.traces.payload(project, trace, None, PayloadName.OUTPUT)
        except NotFound:
            return Invalid.field("from_trace", "isn't a trace of this project")
        if asked is None:
            return Invalid.field("from_trace", "the trace has no input")
        if with_output and expected is None:
            return Invalid.field("from_trace", "the trace has no output")
        item = DatasetItem(
            id=str(trace), input=asked, expected=expected, split=split, from_trace=trace
        )
        try:
            return validate_item(item)
        except Invalid as invalid:
            # Its frames would hold the large payloads until all traces are read.
            return invalid.with_traceback(None)
