"""Wire schemas of scores: creation, changes, queries and responses.

A value is text in requests and responses; its data type says whether it is a number.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Final, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from application.evaluation.scores.scores import GivenScore
from domain.errors import FieldError, Invalid
from domain.evaluation.scores import score as scores
from domain.ids import ProjectId, RunId, ScoreId, SpanId, TraceId, UserId
from domain.tracing.payloads.payload import EMPTY_OBJECT, OBJECT_VALUES_MAX, JsonText
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.scores.examples import SCORE_ID
from entrypoints.http.controllers.traces.schemas import Label
from entrypoints.http.requests import wire_types as wire
from entrypoints.http.requests.cursors import PageQuery
from entrypoints.http.requests.scalar_types import PLAIN_TEXT, InvalidValue
from entrypoints.http.response_structs import WHOLE, ResponseStruct, Source

type ScoreName = Annotated[str, Meta(min_length=1, max_length=scores.NAME_MAX, extra=PLAIN_TEXT)]
type Value = Annotated[
    str,
    Meta(
        max_length=scores.VALUE_MAX,
        description=(
            "Always a string. NUMERIC: a decimal number from 0 to 1; BOOLEAN: `true` or `false`; "
            "CATEGORICAL: any text"
        ),
    ),
]


TOO_LONG: Final = f"must have at most {scores.METADATA_BYTES_MAX:,} bytes"


def check_metadata(text: JsonText) -> None:
    """Raises InvalidValue for more than METADATA_BYTES_MAX."""
    if len(text) > scores.METADATA_BYTES_MAX:
        raise InvalidValue(TOO_LONG)


def _metadata(find_object: Callable[[msgspec.Raw], JsonText | None]) -> Meta:
    """`find_object` raises ValueError for what isn't an object that can be parsed later."""
    return Meta(
        extra={
            "check": lambda raw: check_metadata(find_object(raw) or EMPTY_OBJECT),
            "check_payload": check_metadata,
        },
        description=(
            f"At most {scores.METADATA_BYTES_MAX:,} bytes, and {OBJECT_VALUES_MAX:,} members and "
            "items, those of inner objects and arrays included"
        ),
    )


type Reason = Annotated[str, Meta(max_length=scores.SENT_REASON_MAX)]
type Metadata = Annotated[wire.PlainObject, _metadata(wire.require_object)]
type OptionalMetadata = Annotated[wire.OptionalPlainObject, _metadata(wire.optional_object)]


class ScorePath(msgspec.Struct, frozen=True):
    score_id: Annotated[ScoreId, Meta(description="The score's id", examples=[SCORE_ID])]


class ScoreCreate(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that scores of traces, of spans and of sessions have in common."""

    name: ScoreName
    value: Value
    data_type: scores.DataType = scores.DataType.NUMERIC
    source: Annotated[
        scores.ScoreSource,
        Meta(description="AUTOMATED is stored as PROGRAMMATIC: only runs give automated scores"),
    ] = scores.ScoreSource.ANNOTATION
    reason: Reason | None = None
    metadata: Metadata = msgspec.field(default_factory=wire.empty_object)

    @classmethod
    def field_errors(cls, fields: Mapping[str, Any]) -> Iterator[FieldError]:
        """The value has to match its data type."""
        value, data_type = fields.get("value"), fields.get("data_type")
        if isinstance(value, str) and isinstance(data_type, scores.DataType):
            try:
                scores.validate_value(value, data_type)
            except Invalid as invalid:
                yield FieldError("value", invalid.errors[0].message)

    def to_domain(self, author: UserId | None) -> GivenScore:
        fields = wire.shared_fields(self, GivenScore) | {"metadata": bytes(self.metadata)}
        return GivenScore(**fields, author_id=author)


class CreateTraceScoreRequest(ScoreCreate, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A score of a trace, or of a span of it. `environment` is an optional label to filter by."""

    trace_id: TraceId
    span_id: (
        Annotated[
            SpanId,
            Meta(
                description="A span of the trace, if the score is of that span and not of the trace"
            ),
        ]
        | None
    ) = None
    environment: Label | None = None


class CreateSessionScoreRequest(ScoreCreate, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A score of a session."""

    session_id: Label


class ScoreUpdate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields that are null or left out stay as they are. `metadata` replaces the old one."""

    value: Value | None = None
    reason: Reason | None = None
    metadata: OptionalMetadata = msgspec.field(default_factory=wire.null)

    def to_domain(self, _: HttpConfig) -> scores.ScoreChange:
        """Raises ValueError for metadata that can't be parsed later."""
        return scores.ScoreChange(
            value=self.value, reason=self.reason, metadata=wire.optional_object(self.metadata)
        )


class UpdateTraceScoreRequest(ScoreUpdate, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes of a score of a trace or a span."""


class UpdateSessionScoreRequest(ScoreUpdate, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes of a score of a session."""


class ScoreResponse[S: scores.Score](ResponseStruct[S], frozen=True, kw_only=True):
    """The fields of every score. `value` is set if and only if the status is SUCCESS."""

    id: UUID
    project_id: UUID
    name: str
    value: str | None
    data_type: scores.DataType
    source: scores.ScoreSource
    status: scores.ScoreStatus
    outcome: scores.ScoreOutcome
    eval_run_id: Annotated[UUID | None, Source("run_id")]
    author_user_id: Annotated[str | None, Source("author_id", str)]
    reason: str | None
    metadata: wire.JsonObject
    created_at: wire.ResponseInstant
    updated_at: wire.ResponseInstant


class TraceScoreResponse(ScoreResponse[scores.TraceScore], frozen=True, kw_only=True):
    """A score of a trace, or of a span of it if `span_id` is set. `config_id` is always null."""

    trace_id: UUID
    environment: str | None
    config_id: Annotated[str | None, Source(WHOLE, lambda _: None)]
    span_id: UUID | None


class ChangedScore(msgspec.Struct, frozen=True, kw_only=True):
    """A changed score, for a caller that may not read: its ids, and what the caller wrote.

    The other fields are null or empty, whatever is stored.
    """

    id: UUID
    project_id: UUID
    name: str | None = None
    value: str | None
    data_type: scores.DataType | None = None
    source: scores.ScoreSource | None
    status: scores.ScoreStatus | None = None
    outcome: scores.ScoreOutcome | None = None
    eval_run_id: UUID | None = None
    author_user_id: str | None = None
    reason: str | None
    metadata: wire.JsonObject
    created_at: wire.ResponseInstant | None = None
    updated_at: wire.ResponseInstant | None = None

    @classmethod
    def from_change(cls, project: ProjectId, score: ScoreId, change: scores.ScoreChange) -> Self:
        return cls(
            id=score,
            project_id=project,
            value=change.value,
            source=None if change.is_empty else scores.ScoreSource.ANNOTATION,
            reason=change.reason,
            metadata=wire.raw_json(change.metadata or EMPTY_OBJECT),
        )


class ChangedScoreResponse(ChangedScore, frozen=True, kw_only=True):
    """A changed score of a trace or a span, for a caller that may not read."""

    trace_id: UUID | None = None
    environment: str | None = None
    config_id: str | None = None
    span_id: UUID | None = None


class ChangedSessionScoreResponse(ChangedScore, frozen=True, kw_only=True):
    """A changed score of a session, for a caller that may not read."""

    session_id: str | None = None


class ScoreState(msgspec.Struct, frozen=True, kw_only=True):
    """What a change can change. `metadata` is null if it was too large to be kept."""

    value: str | None
    source: scores.ScoreSource
    author_user_id: str | None
    reason: str | None
    metadata: wire.OptionalObject


class ScoreRevisionResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a score: by a person or an API key. A long reason is truncated."""

    changed_at: wire.ResponseInstant
    user_id: UUID | None
    api_key_id: UUID | None
    before: ScoreState
    after: ScoreState

    @classmethod
    def from_score(cls, score: scores.Score) -> list[Self]:
        later = [*map(_state, score.history[1:]), _state(score)]
        return [
            cls(
                changed_at=wire.format_instant(one.changed_at),
                user_id=one.user_id,
                api_key_id=one.key_id,
                before=_state(one),
                after=after,
            )
            for one, after in zip(score.history, later, strict=bool(score.history))
        ]


def _state(score: scores.Score | scores.ScoreRevision) -> ScoreState:
    return ScoreState(
        value=score.value,
        source=score.source,
        author_user_id=None if score.author_id is None else str(score.author_id),
        reason=score.reason,
        metadata=wire.raw_json(score.metadata),
    )


class SessionScoreResponse(ScoreResponse[scores.SessionScore], frozen=True, kw_only=True):
    """A score of a session."""

    session_id: str


class ScoreQuery(PageQuery, frozen=True, kw_only=True):
    name: Annotated[str, Meta(description="Exactly this name")] | None = None
    source: Annotated[scores.ScoreSource, Meta(description="The source of the score")] | None = None
    status: Annotated[scores.ScoreStatus, Meta(description="Exactly this status")] | None = None
    outcome: (
        Annotated[
            scores.ScoreOutcome,
            Meta(description="As `status`, but skipped and failed are distinct"),
        ]
        | None
    ) = None
    data_type: Annotated[scores.DataType, Meta(description="Exactly this data type")] | None = None
    code: (
        Annotated[str, Meta(description="Failed or skipped with exactly this `metadata.code`")]
        | None
    ) = None
    eval_run_id: Annotated[RunId, Meta(description="Created by this run")] | None = None
    date_from: Annotated[wire.QueryInstant, Meta(description="Created then or later")] | None = None
    date_to: Annotated[wire.QueryInstant, Meta(description="Created earlier")] | None = None
    min_value: (
        Annotated[float, Meta(ge=0, le=1, description="Numbers that are at least as large")] | None
    ) = None
    below_value: (
        Annotated[
            float,
            Meta(ge=0, le=1, description="Numbers that are smaller: a bin of a distribution"),
        ]
        | None
    ) = None

    def to_domain(self) -> scores.ScoreFilter:
        return scores.ScoreFilter(
            **wire.shared_fields(self, scores.ScoreFilter),
            run_id=self.eval_run_id,
            created_after=self.date_from,
            created_before=self.date_to,
        )


class TraceScoreQuery(ScoreQuery, frozen=True, kw_only=True):
    trace_id: Annotated[TraceId, Meta(description="Exactly this trace")] | None = None
    span_id: Annotated[SpanId, Meta(description="Exactly this span")] | None = None
    of_spans: Annotated[
        bool, Meta(description="Only scores of spans; by default only those of traces")
    ] = False
    environment: Annotated[str, Meta(description="Exactly this environment")] | None = None


class LatestScoresQuery(msgspec.Struct, frozen=True, kw_only=True):
    span_id: Annotated[SpanId, Meta(description="Of this span of the trace")] | None = None


class SessionScoreQuery(ScoreQuery, frozen=True, kw_only=True):
    session_id: Annotated[str, Meta(description="Exactly this session")] | None = None
