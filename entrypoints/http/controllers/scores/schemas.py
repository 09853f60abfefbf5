"""Scores on the wire: as people and programs give them, and as they are shown.

A value is text on its way in and out: what is a number is told by the data type.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self
from uuid import UUID

import msgspec
from msgspec import Meta

import domain.evaluation.scores.score as scores
from application.evaluation.scores.scores import GivenScore
from domain.errors import Invalid
from domain.evaluation.scores.score import (
    NAME_MAX,
    VALUE_MAX,
    DataType,
    ScoreChange,
    ScoreOutcome,
    ScoreSource,
    ScoreStatus,
    validate_value,
)
from domain.ids import UserId
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.scores.examples import SCORE_ID
from entrypoints.http.controllers.traces.schemas import Word
from entrypoints.http.requests.wire_types import (
    JsonObject,
    OptionalPlainObject,
    PlainObject,
    ShownInstant,
    empty_object,
    instant,
    null,
    object_of,
    optional_object_of,
    raw,
)

type ScoreName = Annotated[str, Meta(min_length=1, max_length=NAME_MAX)]
type Value = Annotated[
    str,
    Meta(
        max_length=VALUE_MAX,
        description=(
            "Text, also of a number: NUMERIC is a decimal number from 0 to 1, BOOLEAN `true` or "
            "`false`, CATEGORICAL anything"
        ),
    ),
]


class ScorePath(msgspec.Struct, frozen=True):
    score_id: Annotated[UUID, Meta(description="The score's id", examples=[SCORE_ID])]


class ScoreCreate(msgspec.Struct, frozen=True, kw_only=True):
    """What a score of any target says."""

    name: ScoreName
    value: Value
    data_type: DataType = DataType.NUMERIC
    source: ScoreSource = ScoreSource.ANNOTATION
    reason: str | None = None
    metadata: PlainObject = msgspec.field(default_factory=empty_object)

    def __post_init__(self) -> None:
        for _, message in self.across({"value": self.value, "data_type": self.data_type}):
            raise ValueError(message)

    @classmethod
    def across(cls, read: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Whether the value is of its data type."""
        value, data_type = read.get("value"), read.get("data_type")
        if isinstance(value, str) and isinstance(data_type, DataType):
            try:
                validate_value(value, data_type)
            except Invalid as invalid:
                yield "value", invalid.errors[0].message

    def given_by(self, author: UserId | None) -> GivenScore:
        return GivenScore(
            name=self.name,
            value=self.value,
            data_type=self.data_type,
            source=self.source,
            reason=self.reason,
            metadata=bytes(self.metadata),
            author=author,
        )

    def checked(self, _: HttpConfig) -> Self:
        """Itself. Raises ValueError for metadata that can't be looked into."""
        object_of(self.metadata)
        return self


class CreateTraceScoreRequest(ScoreCreate, frozen=True, kw_only=True):
    """A score for a trace. `environment` is what it is told apart by, if by anything."""

    trace_id: UUID
    environment: Word | None = None


class CreateSessionScoreRequest(ScoreCreate, frozen=True, kw_only=True):
    """A score for a session."""

    session_id: Word


class UpdateTraceScoreRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is left out or null stays as it is. `metadata` replaces the old one."""

    value: Value | None = None
    reason: str | None = None
    metadata: OptionalPlainObject = msgspec.field(default_factory=null)

    def to_domain(self, _: HttpConfig) -> ScoreChange:
        """Raises ValueError for metadata that can't be looked into."""
        return ScoreChange(
            value=self.value, reason=self.reason, metadata=optional_object_of(self.metadata)
        )


class ScoreResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What every score shows. There is a value exactly where the status is SUCCESS."""

    id: UUID
    project_id: UUID
    name: str
    value: str | None
    data_type: DataType
    source: ScoreSource
    status: ScoreStatus
    outcome: ScoreOutcome
    eval_run_id: UUID | None
    author_user_id: str | None
    reason: str | None
    metadata: JsonObject
    created_at: ShownInstant
    updated_at: ShownInstant


class TraceScoreResponse(ScoreResponse, frozen=True, kw_only=True):
    """A score of a trace. `config_id` is always null."""

    trace_id: UUID
    environment: str | None
    config_id: str | None

    @classmethod
    def of(cls, score: scores.TraceScore) -> Self:
        return cls(
            **_shown(score),
            trace_id=score.trace_id,
            environment=score.environment,
            config_id=None,
        )


class SessionScoreResponse(ScoreResponse, frozen=True, kw_only=True):
    """A score of a session."""

    session_id: str

    @classmethod
    def of(cls, score: scores.SessionScore) -> Self:
        return cls(**_shown(score), session_id=score.session_id)


def _shown(score: scores.Score) -> dict[str, Any]:
    return {
        "id": score.id,
        "project_id": score.project_id,
        "name": score.name,
        "value": score.value,
        "data_type": score.data_type,
        "source": score.source,
        "status": score.status,
        "outcome": score.outcome,
        "eval_run_id": score.run_id,
        "author_user_id": None if score.author_id is None else str(score.author_id),
        "reason": score.reason,
        "metadata": raw(score.metadata),
        "created_at": instant(score.created_at),
        "updated_at": instant(score.updated_at),
    }
