"""Imports exported traces."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import batched
from typing import Final

from application.audit import AuditTrail
from application.evaluation.ports.evaluation import SessionScores, TraceScores
from application.exporting.ports import BATCH_TRACES_MAX, TraceArchive
from application.tracing.ingest import BATCH_MAX
from application.tracing.ports import Traces
from domain.errors import Invalid, NotFound
from domain.evaluation.scores.edits import as_stated_by
from domain.exporting.export import TraceWithScores, has_nothing_new
from domain.identity.audit import AuditAction
from domain.identity.caller import Caller
from domain.identity.organization import Role
from domain.ids import ProjectId, TraceId

CHUNK_TRACES: Final = 50  # loaded together, then written concurrently
assert CHUNK_TRACES <= BATCH_TRACES_MAX


class ImportOutcome(StrEnum):
    """What the import did with a trace."""

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
            known = {one.trace.id: one for one in await self.archive.load(project, ids)}
            outcomes += await asyncio.gather(*(self._put(project, one, known) for one in chunk))
        return outcomes

    async def _put(
        self, project: ProjectId, sent: TraceWithScores, all_known: dict[TraceId, TraceWithScores]
    ) -> ImportOutcome | Invalid:
        known = all_known.get(sent.trace.id)
        stored = set() if known is None else {score.id for score in known.scores}
        missing = [score for score in sent.scores if score.id not in stored]
        is_new = known is None or not has_nothing_new(sent.trace, known.trace)
        try:
            if is_new:
                await self.traces.put(project, sent.trace)
            for score in missing:
                # A score may have been exported without its span, which was never sent.
                stored_score = await self.scores.add(
                    replace(score, project_id=project), checks_span=False
                )
                if stored_score.trace_id != sent.trace.id:
                    return Invalid.field("scores", f"{score.id} is a score of another trace")
            has_new_session_scores = await self._put_session_scores(project, sent)
        except Invalid as problem:
            return problem
        except NotFound:
            return Invalid("was deleted during the import")
        return (
            ImportOutcome.STORED
            if is_new or missing or has_new_session_scores
            else ImportOutcome.UNCHANGED
        )

    async def _put_session_scores(self, project: ProjectId, sent: TraceWithScores) -> bool:
        """Whether any score was new. Raises Invalid, NotFound."""
        session = sent.trace.session_id
        if not sent.session_scores or session is None:
            return False
        stored = {one.id for one in await self.session_scores.of_session(project, session)}
        missing = [score for score in sent.session_scores if score.id not in stored]
        for score in missing:
            stored_score = await self.session_scores.add(replace(score, project_id=project))
            if stored_score.session_id != session:
                why = f"{score.id} is a score of another session"
                raise Invalid.field("session_scores", why)
        return bool(missing)


def _as_stated_by(caller: Caller, one: TraceWithScores) -> TraceWithScores:
    user, is_admin = caller.user_id, caller.role in {Role.OWNER, Role.ADMIN}
    return replace(
        one,
        scores=tuple(as_stated_by(score, user, is_admin=is_admin) for score in one.scores),
        session_scores=tuple(
            as_stated_by(score, user, is_admin=is_admin) for score in one.session_scores
        ),
    )
