"""The responses of the service, as far as tools read them. Unknown fields are ignored."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from domain.ids import SpanId, TraceId
from domain.tracing.payloads.payload import EMPTY_OBJECT, JsonText
from domain.tracing.span import Span, SpanKind, SpanStatus
from domain.tracing.trace import Trace, TraceStatus

NULL: Final = msgspec.Raw(b"null")
NOT_READ: Final = "(get_step shows the error)"


class SpanRow(msgspec.Struct, frozen=True, kw_only=True):
    span_id: UUID
    parent_span_id: UUID | None = None
    name: str
    kind: SpanKind
    status: SpanStatus
    input: msgspec.Raw = NULL
    output: msgspec.Raw = NULL
    model: str | None = None
    token_usage: msgspec.Raw = NULL
    metadata: msgspec.Raw = NULL
    started_at: datetime
    ended_at: datetime | None = None
    error: str | None = None
    completion_start_time: datetime | None = None
    model_parameters: msgspec.Raw = NULL
    cost: dict[str, float] | None = None

    def to_domain(self) -> Span:
        """Settled: with the cost that the service computed."""
        span = Span(
            id=SpanId(self.span_id),
            name=self.name,
            started_at=self.started_at,
            parent_id=None if self.parent_span_id is None else SpanId(self.parent_span_id),
            kind=self.kind,
            status=self.status,
            ended_at=self.ended_at,
            completion_started_at=self.completion_start_time,
            error=self.error,
            model=self.model,
            input=_payload(self.input),
            output=_payload(self.output),
            metadata=_payload(self.metadata) or EMPTY_OBJECT,
            token_usage=_payload(self.token_usage),
            model_parameters=_payload(self.model_parameters),
            cost=self.cost,
        )
        return span.settled(lambda *_: None)


class TraceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a list, or a whole trace, whose totals a list has too."""

    trace_id: UUID
    name: str
    status: TraceStatus
    started_at: datetime
    ended_at: datetime | None = None
    session_id: str | None = None
    user_id: str | None = None
    environment: str | None = None
    release: str | None = None
    tags: list[str] = []
    latency_ms: float | None = None
    span_count: int = 0
    total_tokens: int = 0
    total_cost: float = 0
    unpriced_span_count: int = 0
    input_preview: str | None = None
    output_preview: str | None = None
    models: list[str] = []
    error_count: int = 0
    scores: list["ScoreRow"] = []
    matches: list["MatchRow"] = []


class MatchRow(msgspec.Struct, frozen=True, kw_only=True):
    """A place where a query was found. A snippet may begin in a secret, which masking misses."""

    span_id: UUID | None
    field: str


class ScoreRow(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    name: str
    outcome: str
    value: str | None
    source: str
    created_at: datetime
    reason: str | None = None
    judge_kind: str | None = None
    data_type: str = "NUMERIC"
    metadata: dict[str, Any] = {}
    eval_run_id: UUID | None = None
    span_id: UUID | None = None


class SearchRow(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the project a search has looked into."""

    indexed_until: datetime
    is_complete: bool


class Page[T](msgspec.Struct, frozen=True, kw_only=True):
    items: list[T]
    total: int
    total_is_at_least: bool = False
    next_cursor: str | None = None
    search: SearchRow | None = None


class WholeTrace(msgspec.Struct, frozen=True, kw_only=True):
    trace_id: UUID
    name: str
    status: TraceStatus
    started_at: datetime
    ended_at: datetime | None = None
    session_id: str | None = None
    user_id: str | None = None
    environment: str | None = None
    release: str | None = None
    tags: list[str] = []
    input: msgspec.Raw = NULL
    output: msgspec.Raw = NULL
    metadata: msgspec.Raw = NULL
    spans: list[SpanRow] = []

    def to_domain(self) -> Trace:
        """Settled, with the spans in the order of the service."""
        return Trace(
            id=TraceId(self.trace_id),
            name=self.name,
            started_at=self.started_at,
            status=self.status,
            ended_at=self.ended_at,
            session_id=self.session_id,
            user_id=self.user_id,
            environment=self.environment,
            release=self.release,
            input=_payload(self.input),
            output=_payload(self.output),
            metadata=_payload(self.metadata) or EMPTY_OBJECT,
            tags=tuple(self.tags),
            spans=tuple(span.to_domain() for span in self.spans),
        )


class PreviewRow(msgspec.Struct, frozen=True):
    bytes: int
    text: str


class TurnRow(msgspec.Struct, frozen=True, kw_only=True):
    trace: TraceRow
    input: msgspec.Raw = NULL
    output: msgspec.Raw = NULL
    input_preview: PreviewRow | None = None
    output_preview: PreviewRow | None = None
    llm_calls: int = 0
    tool_calls: int = 0


class ComparedRow(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    span_id: UUID
    status: str
    model: str | None
    latency_ms: float | None
    tokens: int
    cost: float | None
    input_bytes: int | None
    output_bytes: int | None
    error: str | None


class PairRow(msgspec.Struct, frozen=True, kw_only=True):
    change: str
    kind: str
    name: str
    differences: list[str]
    a: ComparedRow | None
    b: ComparedRow | None


class ComparisonRow(msgspec.Struct, frozen=True, kw_only=True):
    a: TraceRow
    b: TraceRow
    compared_a: int
    compared_b: int
    counts: dict[str, int]
    total: int
    first: int
    steps: list[PairRow]
    next: int | None


class VolumeRow(msgspec.Struct, frozen=True, kw_only=True):
    trace_count: int
    error_count: int
    latency_count: int
    avg_latency_ms: float | None
    p50_latency_ms: float | None
    p90_latency_ms: float | None
    p99_latency_ms: float | None


class CostRow(msgspec.Struct, frozen=True, kw_only=True):
    total_tokens: int
    total_cost: float
    unpriced_span_count: int


class ModelRow(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    call_count: int
    total_tokens: int
    total_cost: float
    unpriced_span_count: int


class SpanFiguresRow(msgspec.Struct, frozen=True, kw_only=True):
    span_count: int
    error_count: int
    error_rate: float | None
    latency_count: int
    p50_latency_ms: float | None
    p95_latency_ms: float | None
    p99_latency_ms: float | None
    total_tokens: int
    total_cost: float
    unpriced_span_count: int


class SpanBucketRow(msgspec.Struct, frozen=True, kw_only=True):
    bucket: datetime
    figures: SpanFiguresRow


class SpanSeriesRow(msgspec.Struct, frozen=True, kw_only=True):
    key: str | None
    label: str | None
    group_count: int
    figures: SpanFiguresRow
    buckets: list[SpanBucketRow]


class SpanAnalyticsRow(msgspec.Struct, frozen=True, kw_only=True):
    groups: list[SpanSeriesRow]
    other: SpanSeriesRow | None
    total: SpanSeriesRow


class ErrorSampleRow(msgspec.Struct, frozen=True, kw_only=True):
    trace_id: UUID
    span_id: UUID
    name: str
    error: str | None


class ErrorGroupRow(msgspec.Struct, frozen=True, kw_only=True):
    error_group: str
    pattern: str
    count: int
    first_seen: datetime
    last_seen: datetime
    is_new: bool
    releases: list[str]
    samples: list[ErrorSampleRow]


class ScoreSummaryRow(msgspec.Struct, frozen=True, kw_only=True):
    metric_name: str
    avg_score: float | None
    count: int
    success_count: int
    failed_count: int
    skipped_count: int
    pending_count: int
    left_out_count: int
    judge_kind: str | None = None
    from_runs: bool = True
    fingerprints: list[str] = []


class RangeRow(msgspec.Struct, frozen=True):
    low: float
    high: float


class EstimateRow(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    targets: int
    looked_at: int
    questions: RangeRow
    input_tokens: RangeRow
    output_tokens: RangeRow
    cost_usd: RangeRow | None
    assumptions: str


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    status: str
    metric_names: list[str]
    total_targets: int
    evaluated_count: int
    failed_count: int
    skipped_count: int


class AccessRow(msgspec.Struct, frozen=True):
    project_id: UUID
    scopes: list[str]


class FieldProblemRow(msgspec.Struct, frozen=True):
    field: str = ""
    message: str = ""


class ProblemRow(msgspec.Struct, frozen=True, kw_only=True):
    """An error of the service."""

    detail: str = ""
    errors: Sequence[FieldProblemRow] = ()


def _payload(raw: msgspec.Raw) -> JsonText | None:
    text = bytes(raw)
    return None if text == b"null" else text


class OutlineColumns(msgspec.Struct, frozen=True, kw_only=True):
    span_id: list[UUID]
    parent: list[int]
    name: list[int]
    kind: list[int]
    status: list[int]
    start_us: list[int]
    latency_us: list[int | None]
    model: list[int | None]
    tokens: list[int]
    cost: list[float | None]
    has_error: list[bool]


class OutlineTraceRow(msgspec.Struct, frozen=True, kw_only=True):
    """An outline: the spans of a trace in columns, without payloads."""

    trace: TraceRow
    names: list[str]
    kinds: list[SpanKind]
    statuses: list[SpanStatus]
    models: list[str]
    columns: OutlineColumns

    def to_domain(self) -> Trace:
        """The span without payloads; an error whose text isn't known is NOT_READ."""
        of, row = self.columns, self.trace
        spans = []
        for at, span_id in enumerate(of.span_id):
            started = row.started_at + timedelta(microseconds=of.start_us[at])
            latency, model, cost = of.latency_us[at], of.model[at], of.cost[at]
            parent = of.parent[at]
            spans.append(
                Span(
                    id=SpanId(span_id),
                    name=self.names[of.name[at]],
                    started_at=started,
                    parent_id=SpanId(of.span_id[parent]) if parent >= 0 else None,
                    kind=self.kinds[of.kind[at]],
                    status=self.statuses[of.status[at]],
                    ended_at=None if latency is None else started + timedelta(microseconds=latency),
                    error=NOT_READ if of.has_error[at] else None,
                    model=None if model is None else self.models[model],
                    token_usage=b'{"prompt_tokens":%d}' % of.tokens[at],
                    cost=None if cost is None else {"total": cost},
                ).settled(lambda *_: None)
            )
        return Trace(
            id=TraceId(row.trace_id),
            name=row.name,
            started_at=row.started_at,
            status=row.status,
            ended_at=row.ended_at,
            session_id=row.session_id,
            user_id=row.user_id,
            environment=row.environment,
            release=row.release,
            tags=tuple(row.tags),
            spans=tuple(spans),
        )
