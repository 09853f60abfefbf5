"""Scores: recording those of people and programs, and changing them."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from application.evaluation.ports.scores import SessionScores, TraceScores
from application.ports import Clock, NewId
from domain.evaluation.scores.edits import ScoreEdit
from domain.evaluation.scores.score import (
    DataType,
    ScoreChange,
    ScoreOutcome,
    ScoreSource,
    SessionScore,
    TraceScore,
    validate_value,
)
from domain.identity.caller import Caller
from domain.identity.organization import Role
from domain.ids import ProjectId, ScoreId, SpanId, TraceId, UserId
from domain.tracing.payloads.payload import EMPTY_OBJECT, JsonText


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenScore:
    """A score from a caller. `author_id`: the user; None for an API key.

    Only runs give AUTOMATED scores: as `source` it means PROGRAMMATIC.
    """

    name: str
    value: str
    data_type: DataType = DataType.NUMERIC
    source: ScoreSource = ScoreSource.ANNOTATION
    reason: str | None = None
    metadata: JsonText = EMPTY_OBJECT
    author_id: UserId | None = None

    def stored_fields(self, now: datetime) -> dict[str, Any]:
        """The fields that scores of traces, of spans and of sessions have in common.

        Raises Invalid for a value that isn't of the data type.
        """
        checked = {"value": validate_value(self.value, self.data_type)}
        times = {"created_at": now, "updated_at": now}
        source = self.source
        if source is ScoreSource.AUTOMATED:
            source = ScoreSource.PROGRAMMATIC
        own = {"outcome": ScoreOutcome.SCORED, "source": source}
        return asdict(self) | checked | times | own


@dataclass(frozen=True, slots=True)
class RecordTraceScore:
    """Adds a score to a trace, or to one of its spans."""

    scores: TraceScores
    clock: Clock

    async def __call__(
        self,
        project: ProjectId,
        new: ScoreId,
        trace: TraceId,
        given: GivenScore,
        *,
        environment: str | None = None,
        span: SpanId | None = None,
    ) -> TraceScore:
        """The score, or the one that has the id `new` already. Raises Invalid, NotFound."""
        return await self.scores.add(
            TraceScore(
                id=new,
                project_id=project,
                trace_id=trace,
                span_id=span,
                environment=environment,
                **given.stored_fields(self.clock()),
            )
        )


@dataclass(frozen=True, slots=True)
class RecordSessionScore:
    """Adds a score to a session."""

    scores: SessionScores
    clock: Clock

    async def __call__(
        self, project: ProjectId, new: ScoreId, session: str, given: GivenScore
    ) -> SessionScore:
        """The score, or the one that has the id `new` already. Raises Invalid, NotFound."""
        return await self.scores.add(
            SessionScore(
                id=new,
                project_id=project,
                session_id=session,
                **given.stored_fields(self.clock()),
            )
        )


@dataclass(frozen=True, slots=True)
class ChangeTraceScore:
    """Changes a score of a trace or of a span."""

    scores: TraceScores
    clock: Clock
    new_id: NewId

    async def __call__(self, caller: Caller, score: ScoreId, change: ScoreChange) -> TraceScore:
        """The score after the change. Raises NotFound, Invalid, Forbidden."""
        now = self.clock()
        edit = score_edit(caller, now, self.new_id)
        return await self.scores.change(
            caller.project_id, score, change, now, caller.user_id, edit=edit
        )


@dataclass(frozen=True, slots=True)
class ChangeSessionScore:
    """Changes a score of a session."""

    scores: SessionScores
    clock: Clock
    new_id: NewId

    async def __call__(self, caller: Caller, score: ScoreId, change: ScoreChange) -> SessionScore:
        """The score after the change. Raises NotFound, Invalid, Forbidden."""
        now = self.clock()
        edit = score_edit(caller, now, self.new_id)
        return await self.scores.change(
            caller.project_id, score, change, now, caller.user_id, edit=edit
        )


@dataclass(frozen=True, slots=True)
class DeleteScore:
    """Deletes a score of a trace or a session."""

    scores: TraceScores | SessionScores
    clock: Clock
    new_id: NewId

    async def __call__(self, caller: Caller, score: ScoreId) -> bool:
        """Whether it existed. Raises Forbidden, Unavailable."""
        edit = score_edit(caller, self.clock(), self.new_id)
        return await self.scores.delete(caller.project_id, score, edit)


def score_edit(caller: Caller, now: datetime, new_id: NewId) -> ScoreEdit:
    return ScoreEdit(
        organization_id=caller.organization_id,
        actor=caller.actor,
        is_admin=caller.role in {Role.OWNER, Role.ADMIN},
        at=now,
        new_id=new_id,
    )
