"""The columns of an export: one set for rows of traces, one for rows of spans."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from types import NoneType
from typing import Any, Final, get_args, get_type_hints

import msgspec

from domain.evaluation.scores.score import TraceScore
from domain.exports.export import RowKind, TraceWithScores
from domain.ids import SpanId
from domain.tracing.span import Span, Totals
from domain.tracing.spans.span_query import known_cost
from domain.tracing.trace import Trace
from domain.tracing.usage import UNPRICED, UsageRole, as_float


class ColumnType(StrEnum):
    """The type of a column. JSON is the stored text; instants are in UTC."""

    TEXT = "text"
    JSON = "json"
    WHOLE = "whole number"
    REAL = "real number"
    INSTANT = "instant"


type Value = str | bytes | int | float | datetime | None
"""TEXT: str, JSON: bytes, WHOLE: int, REAL: float, INSTANT: an aware datetime; None if missing."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column, and the getter of its value from a row."""

    name: str
    kind: ColumnType
    get: Callable[[Any], Value]


@dataclass(frozen=True, slots=True)
class TraceRow:
    """The source of a trace's row. `scores` are those of the trace, without those of its spans."""

    trace: Trace
    totals: Totals
    scores: Sequence[TraceScore]


@dataclass(frozen=True, slots=True)
class SpanRow:
    """The source of a span's row. `scores` are those of the span."""

    trace: Trace
    span: Span
    scores: Sequence[TraceScore]


def _tags(trace: Trace) -> bytes:
    return msgspec.json.encode(trace.tags)


def _scores(row: TraceRow | SpanRow) -> bytes:
    return msgspec.json.encode(
        [
            {
                "id": score.id,
                "name": score.name,
                "value": score.value,
                "data_type": score.data_type,
                "source": score.source,
                "outcome": score.outcome,
                "reason": score.reason,
                "author_user_id": score.author_id,
                "created_at": score.created_at.isoformat(),
            }
            for score in row.scores
        ]
    )


def _cost(row: SpanRow) -> float | None:
    cost = known_cost(row.span)
    return None if cost is None else as_float(cost)


_TRACE: Final = (
    Column("trace_id", ColumnType.TEXT, lambda row: str(row.trace.id)),
    Column("name", ColumnType.TEXT, lambda row: row.trace.name),
    Column("status", ColumnType.TEXT, lambda row: row.trace.status.value),
    Column("started_at", ColumnType.INSTANT, lambda row: row.trace.started_at),
    Column("ended_at", ColumnType.INSTANT, lambda row: row.trace.ended_at),
    Column("latency_ms", ColumnType.REAL, lambda row: row.trace.latency_ms),
    Column("session_id", ColumnType.TEXT, lambda row: row.trace.session_id),
    Column("user_id", ColumnType.TEXT, lambda row: row.trace.user_id),
    Column("environment", ColumnType.TEXT, lambda row: row.trace.environment),
    Column("release", ColumnType.TEXT, lambda row: row.trace.release),
    Column("tags", ColumnType.JSON, lambda row: _tags(row.trace)),
    Column("metadata", ColumnType.JSON, lambda row: row.trace.metadata),
    Column("input", ColumnType.JSON, lambda row: row.trace.input),
    Column("output", ColumnType.JSON, lambda row: row.trace.output),
    Column("span_count", ColumnType.WHOLE, lambda row: row.totals.spans),
    Column("total_tokens", ColumnType.WHOLE, lambda row: row.totals.tokens),
    Column("total_cost", ColumnType.REAL, lambda row: as_float(row.totals.cost)),
    Column("scores", ColumnType.JSON, _scores),
    Column("unpriced_span_count", ColumnType.WHOLE, lambda row: row.totals.unpriced),
)
_SPAN: Final = (
    Column("trace_id", ColumnType.TEXT, lambda row: str(row.trace.id)),
    Column("span_id", ColumnType.TEXT, lambda row: str(row.span.id)),
    Column(
        "parent_span_id",
        ColumnType.TEXT,
        lambda row: None if row.span.parent_id is None else str(row.span.parent_id),
    ),
    Column("trace_name", ColumnType.TEXT, lambda row: row.trace.name),
    Column("session_id", ColumnType.TEXT, lambda row: row.trace.session_id),
    Column("user_id", ColumnType.TEXT, lambda row: row.trace.user_id),
    Column("name", ColumnType.TEXT, lambda row: row.span.name),
    Column("kind", ColumnType.TEXT, lambda row: row.span.kind.value),
    Column("status", ColumnType.TEXT, lambda row: row.span.status.value),
    Column("error", ColumnType.TEXT, lambda row: row.span.error),
    Column("model", ColumnType.TEXT, lambda row: row.span.model),
    Column("started_at", ColumnType.INSTANT, lambda row: row.span.started_at),
    Column("ended_at", ColumnType.INSTANT, lambda row: row.span.ended_at),
    Column("completion_start_time", ColumnType.INSTANT, lambda row: row.span.completion_started_at),
    Column("latency_ms", ColumnType.REAL, lambda row: row.span.latency_ms),
    Column("time_to_first_token_ms", ColumnType.REAL, lambda row: row.span.time_to_first_token_ms),
    Column("prompt_tokens", ColumnType.WHOLE, lambda row: row.span.usage.prompt_tokens),
    Column("completion_tokens", ColumnType.WHOLE, lambda row: row.span.usage.completion_tokens),
    Column("cost", ColumnType.REAL, _cost),
    Column("cost_source", ColumnType.TEXT, lambda row: (row.span.charge or UNPRICED).source.value),
    Column("token_usage", ColumnType.JSON, lambda row: row.span.token_usage),
    Column("model_parameters", ColumnType.JSON, lambda row: row.span.model_parameters),
    Column("metadata", ColumnType.JSON, lambda row: row.span.metadata),
    Column("input", ColumnType.JSON, lambda row: row.span.input),
    Column("output", ColumnType.JSON, lambda row: row.span.output),
    Column("scores", ColumnType.JSON, _scores),
)
_COLUMN_TYPES: Final = {
    str: ColumnType.TEXT,
    bytes: ColumnType.JSON,
    int: ColumnType.WHOLE,
    float: ColumnType.REAL,
    datetime: ColumnType.INSTANT,
    UsageRole: ColumnType.TEXT,
}


def _with_missing_fields(
    columns: Sequence[Column], entity: type[Any], at: str, *elsewhere: str
) -> Sequence[Column]:
    """Appends a column for each field of `entity` without a column of its name.

    So a new field gets a column, and existing columns keep their positions. `at` is the attribute
    of a row that holds the entity. Fields in `elsewhere` have columns of other names, or none.
    """
    known = {column.name for column in columns} | set(elsewhere)
    types = get_type_hints(entity)
    return (
        *columns,
        *(
            Column(field.name, _column_type(types[field.name]), attrgetter(f"{at}.{field.name}"))
            for field in fields(entity)
            if field.name not in known
        ),
    )


def _column_type(type_: Any) -> ColumnType:
    """The column type of a field, which may be optional.

    Raises KeyError for a type that needs a column defined by hand.
    """
    [present] = {arg for arg in get_args(type_) or (type_,) if arg is not NoneType}
    return _COLUMN_TYPES[getattr(present, "__value__", present)]


COLUMNS: Final = {
    RowKind.TRACES: _with_missing_fields(_TRACE, Trace, "trace", "id", "spans", "new_status"),
    RowKind.SPANS: _with_missing_fields(
        _SPAN, Span, "span", "id", "parent_id", "completion_started_at", "usage", "charge"
    ),
}


def build_rows(kind: RowKind, batch: Sequence[TraceWithScores]) -> Iterator[TraceRow | SpanRow]:
    """The rows of a batch: traces in the given order, or the spans of each trace in its order."""
    for exported in batch:
        trace, scores = exported.trace, defaultdict[SpanId | None, list[TraceScore]](list)
        for score in exported.scores:
            scores[score.span_id].append(score)
        if kind is RowKind.TRACES:
            yield TraceRow(trace, Totals.from_spans(trace.spans), scores[None])
        else:
            yield from (SpanRow(trace, span, scores[span.id]) for span in trace.spans)
