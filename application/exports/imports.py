"""Imports exported traces."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import batched
from typing import Final

from application.audit import AuditTrail
from application.evaluation.ports.scores import SessionScores, TraceScores
from application.exports.ports import BATCH_TRACES_MAX, TraceArchive
from application.tracing.ingest import BATCH_MAX
from application.tracing.ports import Traces
from domain.errors import Invalid, NotFound
from domain.evaluation.scores.edits import as_stated_by
from domain.exports.export import TraceWithScores, has_nothing_new
from domain.identity.audit import AuditAction
from domain.identity.caller import Caller
from domain.identity.organization import Role
from domain.ids import ProjectId
from domain.tracing.trace import Trace

CHUNK_TRACES: Final = 50  # loaded together, then written concurrently
assert CHUNK_TRACES <= BATCH_TRACES_MAX


class ImportOutcome(StrEnum):
    """The effect of the import on a trace."""

    STORED = "stored"
    UNCHANGED = "unchanged"  # all of it was stored already


@dataclass(frozen=True, slots=True)
class ImportTraces:
    """Imports traces with their scores: merges each with the stored trace, as ingestion does.

    A trace without anything new isn't written, so that its tags keep their order and monitors
    don't see a change. The cost of a new span is stored as exported. Existing scores don't change.
    Everything is imported into the caller's project, from whatever project it was exported. The
    stated author of a score is accepted as `as_stated_by` says.
    """

    archive: TraceArchive
    traces: Traces
    scores: TraceScores
    session_scores: SessionScores
    audit: AuditTrail

    async def __call__(
        self, caller: Caller, sent: Sequence[TraceWithScores]
    ) -> list[ImportOutcome | Invalid]:
        """For each trace, in order, the outcome or what is wrong with it.

        STORED means committed. Idempotent. The audit log has the import before any trace is
        written: an import is many transactions. Raises Invalid unless there are 1 to BATCH_MAX
        traces with different ids; Unavailable.
        """
        if not 0 < len(sent) <= BATCH_MAX:
            raise Invalid(f"a batch holds 1 to {BATCH_MAX} traces, not {len(sent)}")
        if len({one.trace.id for one in sent}) < len(sent):
            raise Invalid.field("traces", "must not hold a trace_id twice")
        project, outcomes = caller.project_id, list[ImportOutcome | Invalid]()
        await self.audit.record(caller, AuditAction.TRACES_IMPORTED, project, traces=len(sent))
        sent = [_as_stated_by(caller, one) for one in sent]
        for chunk in batched(sent, CHUNK_TRACES):
            ids = [one.trace.id for one in chunk]
            known = {one.id: one for one in await self.archive.load(project, ids)}
            outcomes += await asyncio.gather(
                *(self._put(project, one, known.get(one.trace.id)) for one in chunk)
            )
        return outcomes

    async def _put(
        self, project: ProjectId, sent: TraceWithScores, known: Trace | None
    ) -> ImportOutcome | Invalid:
        is_new = known is None or not has_nothing_new(sent.trace, known)
        try:
            if is_new:
                await self.traces.put(project, sent.trace)
            has_new_scores = await self._put_scores(project, sent)
            has_new_session_scores = await self._put_session_scores(project, sent)
        except Invalid as problem:
            return problem
        except NotFound:
            return Invalid("was deleted during the import")
        return (
            ImportOutcome.STORED
            if is_new or has_new_scores or has_new_session_scores
            else ImportOutcome.UNCHANGED
        )

    async def _put_scores(self, project: ProjectId, sent: TraceWithScores) -> bool:
        """Whether any score was new. Raises Invalid, NotFound."""
        trace, scores = sent.trace.id, [replace(one, project_id=project) for one in sent.scores]
        known = await self.scores.add_new(project, trace, scores)
        if others := [score for score, of in known.items() if of != trace]:
            raise Invalid.field("scores", f"{min(others)} is a score of another trace")
        return not known.keys() >= {one.id for one in scores}

    async def _put_session_scores(self, project: ProjectId, sent: TraceWithScores) -> bool:
        """As `_put_scores`."""
        session = sent.trace.session_id
        if session is None:
            return False
        scores = [replace(one, project_id=project) for one in sent.session_scores]
        known = await self.session_scores.add_new(project, session, scores)
        if others := [score for score, of in known.items() if of != session]:
            raise Invalid.field("session_scores", f"{min(others)} is a score of another session")
        return not known.keys() >= {one.id for one in scores}


def _as_stated_by(caller: Caller, one: TraceWithScores) -> TraceWithScores:
    user, is_admin = caller.user_id, caller.role in {Role.OWNER, Role.ADMIN}
    return replace(
        one,
        scores=tuple(as_stated_by(score, user, is_admin=is_admin) for score in one.scores),
        session_scores=tuple(
            as_stated_by(score, user, is_admin=is_admin) for score in one.session_scores
        ),
    )
