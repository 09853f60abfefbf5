"""Putting exported traces back."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import batched
from typing import Final

from application.evaluation.ports.evaluation import SessionScores, TraceScores
from application.exporting.ports import BATCH_TRACES_MAX, TraceArchive
from application.tracing.ingest import BATCH_MAX
from application.tracing.ports import Traces
from domain.errors import Invalid, NotFound
from domain.exporting.exported_trace import TraceWithScores, has_nothing_new
from domain.ids import ProjectId, TraceId

AT_ONCE: Final = 50  # traces, which are looked up together, and then written together
assert AT_ONCE <= BATCH_TRACES_MAX


class Imported(StrEnum):
    """What became of a trace that was put back."""

    STORED = "stored"
    UNCHANGED = "unchanged"  # all of it was there: nothing was written


@dataclass(frozen=True, slots=True)
class ImportTraces:
    """Puts traces back with their scores: each is merged into what is there, as on ingestion.

    But a trace that says nothing new isn't written at all, so that its tags keep their order and
    no monitor takes it for changed; and a charge that comes with a new span is kept as it is. Of a
    score that is there nothing is changed. Whatever project they were of, they are now of this one.
    """

    archive: TraceArchive
    traces: Traces
    scores: TraceScores
    session_scores: SessionScores

    async def __call__(
        self, project: ProjectId, sent: Sequence[TraceWithScores]
    ) -> list[Imported | Invalid]:
        """For each what became of it, or what is wrong with it, in their order.

        What is told as STORED is committed. Safe to repeat. Raises Invalid unless there are 1 to
        BATCH_MAX traces, of different ids; Unavailable.
        """
        if not 0 < len(sent) <= BATCH_MAX:
            raise Invalid(f"a batch holds 1 to {BATCH_MAX} traces, not {len(sent)}")
        if len({one.trace.id for one in sent}) < len(sent):
            raise Invalid.field("traces", "must not hold a trace_id twice")
        outcomes: list[Imported | Invalid] = []
        for some in batched(sent, AT_ONCE):
            ids = [one.trace.id for one in some]
            known = {one.trace.id: one for one in await self.archive.load(project, ids)}
            outcomes += await asyncio.gather(*(self._put(project, one, known) for one in some))
        return outcomes

    async def _put(
        self, project: ProjectId, sent: TraceWithScores, all_known: dict[TraceId, TraceWithScores]
    ) -> Imported | Invalid:
        known = all_known.get(sent.trace.id)
        there = set() if known is None else {score.id for score in known.scores}
        missing = [score for score in sent.scores if score.id not in there]
        is_new = known is None or not has_nothing_new(sent.trace, known.trace)
        try:
            if is_new:
                await self.traces.put(project, sent.trace)
            for score in missing:
                there_is = await self.scores.add(replace(score, project_id=project))
                if there_is.trace_id != sent.trace.id:
                    return Invalid.field("scores", f"{score.id} is a score of another trace")
            are_new = await self._put_of_session(project, sent)
        except Invalid as problem:
            return problem
        except NotFound:
            return Invalid("was deleted while it was put back")
        return Imported.STORED if is_new or missing or are_new else Imported.UNCHANGED

    async def _put_of_session(self, project: ProjectId, sent: TraceWithScores) -> bool:
        """Whether there were any to be put back. Raises Invalid, NotFound."""
        session = sent.trace.session_id
        if not sent.session_scores or session is None:
            return False
        there = {one.id for one in await self.session_scores.of_session(project, session)}
        missing = [score for score in sent.session_scores if score.id not in there]
        for score in missing:
            there_is = await self.session_scores.add(replace(score, project_id=project))
            if there_is.session_id != session:
                why = f"{score.id} is a score of another session"
                raise Invalid.field("session_scores", why)
        return bool(missing)
