"""Scores: recording those of people and programs, and changing them."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from application.evaluation.ports.evaluation import SessionScores, TraceScores
from application.ports import Clock
from domain.evaluation.scores.score import (
    DataType,
    ScoreChange,
    ScoreOutcome,
    ScoreSource,
    SessionScore,
    TraceScore,
    validate_value,
)
from domain.ids import ProjectId, ScoreId, TraceId, UserId
from domain.tracing.payload import EMPTY_OBJECT, JsonText


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
        """The fields that a score of a trace and one of a session have in common.

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
    """Adds a score to a trace."""

    scores: TraceScores
    clock: Clock

    async def __call__(
        self,
        project: ProjectId,
        new: ScoreId,
        trace: TraceId,
        given: GivenScore,
        environment: str | None = None,
    ) -> TraceScore:
        """The score, or the one that has the id `new` already. Raises Invalid, NotFound."""
        return await self.scores.add(
            TraceScore(
                id=new,
                project_id=project,
                trace_id=trace,
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
    scores: TraceScores
    clock: Clock

    async def __call__(
        self, project: ProjectId, score: ScoreId, change: ScoreChange, author: UserId | None
    ) -> TraceScore:
        """The score after the change. Raises NotFound, Invalid."""
        return await self.scores.change(project, score, change, self.clock(), author)
