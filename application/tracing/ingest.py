"""Ingestion of batches. A response means that the traces are stored: nothing is written later."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from application.concurrency import compute
from application.tracing.ports import Traces
from application.tracing.workload import SPANS_ON_LOOP_MAX, traces_take_long
from domain.errors import Invalid
from domain.ids import ProjectId, TraceId
from domain.tracing.trace import Trace, merged_traces

BATCH_MAX: Final = 500  # traces; bounds a body, and what a caller can queue at once


@dataclass(frozen=True, slots=True)
class IngestBatch:
    """Stores many traces independently: an invalid one affects no other."""

    traces: Traces

    async def __call__(self, project: ProjectId, traces: Sequence[Trace]) -> list[Invalid | None]:
        """For each trace, in order, None if it is stored, else what is wrong with it.

        A trace that occurs twice is merged in order. Idempotent.
        Raises Invalid unless there are 1 to BATCH_MAX traces, Unavailable.
        """
        if not 0 < len(traces) <= BATCH_MAX:
            raise Invalid(f"a batch holds 1 to {BATCH_MAX} traces, not {len(traces)}")
        positions: dict[TraceId, list[int]] = {}
        for position, trace in enumerate(traces):
            positions.setdefault(trace.id, []).append(position)
        outcomes: list[Invalid | None] = [None] * len(traces)

        async def put_all(at: Sequence[int]) -> None:
            try:
                reports = [traces[position] for position in at]
                merged = await compute(merged_traces, reports, is_long=traces_take_long(reports))
                problem = await self._put(project, merged)
            except Invalid as invalid:
                problem = invalid
            if problem is None:
                return
            if len(at) == 1:
                outcomes[at[0]] = problem
                return
            for position in at:  # only one of them is invalid: store each by itself
                outcomes[position] = await self._put(project, traces[position])

        puts, spans = [], 0
        for at in positions.values():
            puts.append(asyncio.ensure_future(put_all(at)))
            spans += sum(len(traces[position].spans) for position in at)
            if spans > SPANS_ON_LOOP_MAX:  # all puts that begin at once take their turn as one
                spans = 0
                await asyncio.sleep(0)
        await asyncio.gather(*puts)
        return outcomes

    async def _put(self, project: ProjectId, trace: Trace) -> Invalid | None:
        try:
            await self.traces.put(project, trace)
        except Invalid as problem:
            return problem
        return None
