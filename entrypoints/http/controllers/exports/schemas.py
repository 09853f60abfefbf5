"""Wire schemas of exports: exported traces, export files, and traces to import."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.errors import FieldError, Invalid
from domain.evaluation.scores import score as scores
from domain.exports.export import (
    Export,
    ExportStatus,
    FileFormat,
    RowKind,
    TraceWithScores,
    on_one_line,
)
from domain.ids import ProjectId, ScoreId, SpanId, TraceId, UserId
from domain.tracing import usage as usages
from domain.tracing.payloads.payload import OBJECT_VALUES_MAX
from domain.tracing.query import TraceFilter
from domain.tracing.span import Span, SpanKind, SpanStatus
from domain.tracing.trace import Trace
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.exports.examples import EXPORT_ID
from entrypoints.http.controllers.scores.schemas import (
    Metadata,
    Reason,
    ScoreName,
    SessionScoreResponse,
    TraceScoreResponse,
    Value,
)
from entrypoints.http.controllers.traces import schemas as traces
from entrypoints.http.requests import wire_types as wire
from entrypoints.http.requests.scalar_types import parse_instant, parse_optional_instant
from entrypoints.http.response_structs import GIVEN, WHOLE, ResponseStruct, Source

LINK_SECRET: Final = r"^[A-Za-z0-9_-]{43}$"  # noqa: S105 - a pattern of 256 bits in base64url
TICKET_EXAMPLE: Final = "6Zf0pB3mX1bq0Q2n9cVJt8yLw4RkUe7aHs5dGi2oTzM"
TAGS_IMPORTED_MAX: Final = 10_000  # of one trace; each is a row of its own in the roll-ups
AMOUNT_CHARS_MAX: Final = 401  # of an exact amount: tokens times a price have fewer

type ExactAmount = Annotated[
    str, Meta(max_length=AMOUNT_CHARS_MAX, pattern=r"^[0-9]{1,200}(\.[0-9]{1,200})?$")
]
type Tokens = Annotated[int, Meta(ge=0, lt=usages.TOKENS_MAX)]


# --- exported traces ---------------------------------------------------------------------------


class ExactPrice(msgspec.Struct, frozen=True):
    """The cost of a span by the price table, in USD with all digits, and the prices it used.

    `version` names the prices; `since` is when they became effective.
    """

    amount: ExactAmount
    version: traces.Label | None = None
    since: wire.Instant | None = None

    @classmethod
    def from_domain(cls, charge: usages.SpanCost | None) -> "ExactPrice | UnsetType":
        """UNSET if the price table has no price."""
        if charge is None or (
            charge.price is None and charge.source is not usages.CostSource.TABLE
        ):
            return UNSET
        if (price := charge.price) is None:  # stored before versions were recorded
            return cls(f"{charge.amount:f}")
        return cls(f"{price.amount:f}", price.version, wire.format_optional_instant(price.since))

    def to_domain(self) -> usages.Price | None:
        """Raises ValueError if `since` isn't an instant."""
        if self.version is None:
            return None
        return usages.Price(Decimal(self.amount), self.version, parse_optional_instant(self.since))


class CountedUsage(msgspec.Struct, frozen=True):
    """The tokens that count, if they differ from those in `token_usage`."""

    prompt_tokens: Tokens
    completion_tokens: Tokens
    cache_read_tokens: Tokens = 0
    cache_write_tokens: Tokens = 0
    reasoning_tokens: Tokens = 0

    @classmethod
    def from_domain(cls, span: Span) -> "CountedUsage | UnsetType":
        """UNSET if `token_usage` has the same tokens."""
        counted = span.usage
        if counted is None or counted == usages.Usage.from_token_usage(span.token_usage):
            return UNSET
        return cls(
            counted.prompt_tokens,
            counted.completion_tokens,
            counted.cache_read_tokens,
            counted.cache_write_tokens,
            counted.reasoning_tokens,
        )

    def to_domain(self) -> usages.Usage:
        return usages.Usage(
            self.prompt_tokens,
            self.completion_tokens,
            is_known=True,
            cache_read_tokens=self.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens,
        )


def _unset_for_none[T](value: T | None) -> T | UnsetType:
    return UNSET if value is None else value


class ExportedSpan(traces.SpanResponse, frozen=True, kw_only=True):
    # Known of OpenTelemetry spans only.
    provider: Annotated[str | UnsetType, Source("provider", _unset_for_none)] = UNSET
    request_model: Annotated[str | UnsetType, Source("request_model", _unset_for_none)] = UNSET
    usage_role: Annotated[usages.UsageRole | UnsetType, Source("usage_role", _unset_for_none)] = (
        UNSET
    )
    # Both are left out if the other fields say the same.
    price: Annotated[ExactPrice | UnsetType, Source("charge", ExactPrice.from_domain)] = UNSET
    usage: Annotated[CountedUsage | UnsetType, Source(WHOLE, CountedUsage.from_domain)] = UNSET


class ExportEnd(msgspec.Struct, frozen=True):
    """The totals of an export, on its last line.

    `sha256` is the hash of the whole text without this member. `complete` is false if traces are
    missing because they are too large: `left_out` has their ids.
    """

    complete: bool
    traces: int
    spans: int
    scores: int
    session_scores: int
    sha256: str
    left_out: list[TraceId] | UnsetType = UNSET


def _exported_spans(trace: Trace) -> list[ExportedSpan]:
    return [ExportedSpan.from_domain(span, trace_id=trace.id) for span in trace.spans]


class ExportedTrace(traces.TraceResponse, frozen=True, kw_only=True):
    """A trace with its scores. The last line of an export has `export`, which completes it.

    The first line of a session has the scores of the session, if any, in `session_scores`.
    """

    spans: Annotated[list[ExportedSpan], Source(WHOLE, _exported_spans)]  # type: ignore[assignment]  # instances are never assigned to
    scores: Annotated[list[TraceScoreResponse], GIVEN]
    session_scores: Annotated[list[SessionScoreResponse] | UnsetType, GIVEN] = UNSET
    export: Annotated[ExportEnd | UnsetType, GIVEN] = UNSET


def encode_line(project: ProjectId, archived: TraceWithScores) -> bytes:
    """One line of an export, without its end."""
    session_scores = [SessionScoreResponse.from_domain(score) for score in archived.session_scores]
    exported = ExportedTrace.from_trace(
        project,
        archived.trace,
        scores=[TraceScoreResponse.from_domain(score) for score in archived.scores],
        session_scores=session_scores or UNSET,
        export=UNSET,
    )
    return on_one_line(msgspec.json.encode(exported))


# --- export files ------------------------------------------------------------------------------


class TicketPath(msgspec.Struct, frozen=True):
    ticket: Annotated[
        str,
        Meta(
            pattern=LINK_SECRET,
            description="The last part of the link",
            examples=[TICKET_EXAMPLE],
        ),
    ]


class DownloadTicketResponse(msgspec.Struct, frozen=True):
    """`url` is relative to the address of this service; `expires_in` is in seconds."""

    url: str
    expires_in: int


class ExportPath(msgspec.Struct, frozen=True):
    export_id: Annotated[UUID, Meta(description="The export's id", examples=[EXPORT_ID])]


class ExportFilters(traces.TraceFilters, frozen=True, kw_only=True):
    """Which traces: the filters of `GET /traces`.

    `metadata` and `not_metadata` map each key to its values.
    """

    def to_domain(self) -> TraceFilter:
        """Raises ValueError for an invalid instant."""
        return traces.given_filter(self)


class CreateExportRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of the file. Its `rows` are traces or spans; NDJSON supports traces only.

    Unknown keys are refused: if a misspelled filter were ignored, more would be exported.
    """

    format: FileFormat
    rows: RowKind = RowKind.TRACES
    filters: ExportFilters = msgspec.field(default_factory=ExportFilters)

    @classmethod
    def field_errors(cls, fields: Mapping[str, Any]) -> Iterator[FieldError]:
        if (fields.get("format"), fields.get("rows")) == (FileFormat.NDJSON, RowKind.SPANS):
            yield FieldError("rows", "must be traces for ndjson: their spans are in them")

    def with_filter(self, _: HttpConfig) -> "tuple[CreateExportRequest, TraceFilter]":
        """Itself and its filter. Raises ValueError."""
        return self, self.filters.to_domain()


def _given_filters(matching: TraceFilter) -> dict[str, Any]:
    filters = {name: getattr(matching, name) for name in ExportFilters.__struct_fields__}
    for name, value in filters.items():
        if isinstance(value, tuple):
            filters[name] = list(value)
    for name in ("metadata", "not_metadata"):
        filters[name] = {key: list(values) for key, values in filters[name]}
    filters["started_after"] = wire.format_optional_instant(matching.started_after)
    filters["started_before"] = wire.format_optional_instant(matching.started_before)
    return {
        name: value
        for name, value in filters.items()
        if value is not None and value not in ([], {})
    }


class ExportResponse(ResponseStruct[Export], frozen=True, kw_only=True):
    """An export: its progress, and its result.

    `traces_done` of `traces_total` traces are written; `row_count` and `size` in bytes are those
    of the file so far. A COMPLETED export has the `sha256` of the file; a FAILED one has an
    `error_message`, and so has a COMPLETED one whose file lacks traces, which it names: they are
    too large.
    """

    id: UUID
    project_id: UUID
    format: FileFormat
    rows: Annotated[RowKind, Source("row_kind")]
    filters: Annotated[dict[str, Any], Source("matching", _given_filters)]
    status: ExportStatus
    traces_total: int | None
    traces_done: int
    row_count: Annotated[int, Source("rows")]
    size: int
    sha256: str | None
    error_message: Annotated[str | None, Source("error")]
    created_at: wire.ResponseInstant
    completed_at: wire.ResponseInstant | None
    expires_at: wire.ResponseInstant


# --- traces to import: lines of an export ------------------------------------------------------


type ListedCost = Annotated[
    dict[str, Annotated[float, Meta(ge=0)]], Meta(max_length=OBJECT_VALUES_MAX)
]


# Merges may have made a list longer than that of one request.
type ListedTags = Annotated[list[traces.Label], Meta(max_length=TAGS_IMPORTED_MAX)]


class ImportedSpan(traces.SpanCreate, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """A span of an export. Without `cost_source` its cost is computed again."""

    span_id: SpanId
    cost: ListedCost | None = None
    cost_source: usages.CostSource | None = None
    price: ExactPrice | None = None
    usage: CountedUsage | None = None
    provider: traces.Label | None = None
    request_model: traces.Label | None = None
    usage_role: usages.UsageRole | None = None

    @classmethod
    def field_errors(cls, fields: Mapping[str, Any]) -> Iterator[FieldError]:
        """A cost by the price table has no maximum: it follows from counted tokens."""
        cost, source = fields.get("cost"), fields.get("cost_source")
        if cost and source is not usages.CostSource.TABLE:
            for name, amount in cost.items():
                if amount > usages.COST_MAX_USD:
                    yield FieldError(f"cost.{name}", f"must be at most {usages.COST_MAX_USD}")

    def to_domain(self) -> Span:
        """The span with its exported cost.

        Raises ValueError for values that the types alone can't refuse.
        """
        span = replace(
            super().to_domain(),
            provider=self.provider,
            request_model=self.request_model,
            usage_role=self.usage_role,
        )
        if self.usage is not None:
            span = replace(span, usage=self.usage.to_domain())
        price = None if self.price is None else self.price.to_domain()
        cost, charge = span.cost, None
        match self.cost_source:
            case usages.CostSource.TABLE if self.price is not None:
                charge, cost = (
                    usages.SpanCost(Decimal(self.price.amount), usages.CostSource.TABLE, price),
                    None,
                )
            case usages.CostSource.TABLE:
                cost = None  # the exported cost was computed, and not sent by a client
            case usages.CostSource.CLIENT if cost:
                by_client = usages.span_cost(
                    cost, (), usages.NO_USAGE, span.started_at, lambda *_: None
                )
                charge = replace(by_client, price=price)
            case usages.CostSource.UNPRICED if not cost:
                charge = usages.UNPRICED
        if charge is None:
            return replace(span, cost=cost)
        return replace(
            span,
            kind=span.kind or SpanKind.OTHER,
            status=span.status or SpanStatus.UNSET,
            cost=cost,
            usage=span.usage or usages.Usage.from_token_usage(span.token_usage),
            charge=charge,
        )


class ImportedScore(msgspec.Struct, frozen=True, kw_only=True):
    """A score of an export. It belongs to no run: the run that made it isn't imported.

    With `span_id`, a score in `scores` is of that span, and not of the trace.
    """

    id: ScoreId
    project_id: ProjectId
    name: ScoreName
    value: Value | None = None
    data_type: scores.DataType = scores.DataType.NUMERIC
    source: scores.ScoreSource
    outcome: scores.ScoreOutcome
    author_user_id: UserId | None = None
    reason: Reason | None = None
    metadata: Metadata = msgspec.field(default_factory=wire.empty_object)
    environment: traces.Label | None = None
    span_id: SpanId | None = None
    created_at: wire.Instant
    updated_at: wire.Instant

    @classmethod
    def field_errors(cls, fields: Mapping[str, Any]) -> Iterator[FieldError]:
        """A score has an outcome, and a value of its data type if and only if it is scored."""
        value, data_type, outcome = (fields.get(key) for key in ("value", "data_type", "outcome"))
        if outcome is scores.ScoreOutcome.PENDING:
            yield FieldError("outcome", "must not be pending: no run would ever complete it")
        elif isinstance(outcome, scores.ScoreOutcome) and "value" in fields:
            if (value is not None) is not (outcome is scores.ScoreOutcome.SCORED):
                yield FieldError(
                    "value",
                    f"is {'missing' if value is None else 'present'}, but the outcome is {outcome}",
                )
            elif isinstance(value, str) and isinstance(data_type, scores.DataType):
                try:
                    scores.validate_value(value, data_type)
                except Invalid as invalid:
                    yield FieldError("value", invalid.errors[0].message)

    def to_trace_score(self, trace: TraceId) -> scores.TraceScore:
        return scores.TraceScore(
            **self._domain_fields,
            trace_id=trace,
            span_id=self.span_id,
            environment=self.environment,
        )

    def to_session_score(self, session: str) -> scores.SessionScore:
        return scores.SessionScore(**self._domain_fields, session_id=session)

    @property
    def _domain_fields(self) -> dict[str, Any]:
        fields = wire.shared_fields(self, scores.Score)
        fields["author_id"] = self.author_user_id
        fields["metadata"] = wire.require_object(self.metadata)
        fields["created_at"] = parse_instant(self.created_at)
        fields["updated_at"] = parse_instant(self.updated_at)
        return fields


class ImportedTrace(traces.TraceCreate, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """A trace of an export. Keys of an export that aren't listed here are computed again."""

    trace_id: TraceId
    tags: ListedTags = msgspec.field(default_factory=list)
    spans: list[ImportedSpan] = msgspec.field(default_factory=list)  # type: ignore[assignment]  # instances are never assigned to
    scores: list[ImportedScore] = msgspec.field(default_factory=list)
    session_scores: list[ImportedScore] = msgspec.field(default_factory=list)

    def to_archived(self, config: HttpConfig) -> TraceWithScores:
        """Raises ValueError for values that the types alone can't refuse."""
        # Spans may have been added to a stored trace without limit: the size of the body is one.
        trace = self.to_domain(replace(config, max_spans=len(self.spans)))
        session = trace.session_id
        if session is None and self.session_scores:
            raise ValueError("has session_scores, but no session_id")
        session_scores = (
            ()
            if session is None
            else tuple([score.to_session_score(session) for score in self.session_scores])
        )
        scores = tuple([score.to_trace_score(trace.id) for score in self.scores])
        return TraceWithScores(trace, scores, session_scores)
