"""Taking traces in. What is answered is stored: nothing is accepted first and written later."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

from application.tracing.ports import Traces
from domain.errors import Invalid
from domain.ids import ProjectId, TraceId
from domain.tracing.span import Span
from domain.tracing.trace import Trace

BATCH_MAX: Final = 500  # traces; bounds one body and what one caller may put in line at once


@dataclass(frozen=True, slots=True)
class IngestTrace:
    """Stores a trace with its spans: a read, a score or a patch that follows at once finds it."""

    traces: Traces

    async def __call__(self, project: ProjectId, trace: Trace) -> None:
        """Safe to repeat. Raises Invalid, Unavailable."""
        await self.traces.put(project, trace)


@dataclass(frozen=True, slots=True)
class IngestBatch:
    """Stores many traces, each for itself: a bad one costs only itself."""

    traces: Traces

    async def __call__(self, project: ProjectId, traces: Sequence[Trace]) -> list[Invalid | None]:
        """For each trace None where it is stored, else what is wrong with it, in their order.

        A trace that occurs twice is merged in that order. Safe to repeat.
        Raises Invalid unless there are 1 to BATCH_MAX traces, Unavailable.
        """
        if not 0 < len(traces) <= BATCH_MAX:
            raise Invalid(f"a batch holds 1 to {BATCH_MAX} traces, not {len(traces)}")
        places: dict[TraceId, list[int]] = {}
        for place, trace in enumerate(traces):
            places.setdefault(trace.id, []).append(place)
        outcomes: list[Invalid | None] = [None] * len(traces)

        async def put_all(at: Sequence[int]) -> None:
            whole = reduce(Trace.merged, (traces[place] for place in at))
            if (problem := await self._put(project, whole)) is None:
                return
            if len(at) == 1:
                outcomes[at[0]] = problem
                return
            for place in at:  # one of them is to blame, and the others are not to pay for it
                outcomes[place] = await self._put(project, traces[place])

        await asyncio.gather(*(put_all(at) for at in places.values()))
        return outcomes

    async def _put(self, project: ProjectId, trace: Trace) -> Invalid | None:
        try:
            await self.traces.put(project, trace)
        except Invalid as problem:
            return problem
        return None


@dataclass(frozen=True, slots=True)
class AddSpans:
    """Adds spans to a trace that is stored already, or completes spans that it has."""

    traces: Traces

    async def __call__(self, project: ProjectId, trace: TraceId, spans: Sequence[Span]) -> None:
        """Safe to repeat. Raises NotFound, Invalid, Unavailable."""
        await self.traces.add_spans(project, trace, spans)
