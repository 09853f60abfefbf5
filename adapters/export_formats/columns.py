"""The columns of an export, one set for rows of traces and one for rows of spans."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from types import NoneType
from typing import Any, Final, get_args, get_type_hints

import msgspec

from domain.evaluation.scores.score import TraceScore
from domain.exporting.export import RowKind
from domain.exporting.exported_trace import TraceWithScores
from domain.tracing.span import Span, Totals
from domain.tracing.trace import Trace
from domain.tracing.usage import UNPRICED, as_float


class Kind(StrEnum):
    """What stands in a column. JSON is its text, as it is stored; instants are in UTC."""

    TEXT = "text"
    JSON = "json"
    WHOLE = "whole number"
    REAL = "real number"
    INSTANT = "instant"


type Value = str | bytes | int | float | datetime | None
"""Of TEXT str, of JSON bytes, of WHOLE int, of REAL float, of INSTANT an aware datetime."""


@dataclass(frozen=True, slots=True)
class Column:
    """None stands for what isn't there."""

    name: str
    kind: Kind
    of: Callable[[Any], Value]


@dataclass(frozen=True, slots=True)
class TraceLine:
    """What a row of a trace is made of."""

    trace: Trace
    totals: Totals
    scores: Sequence[TraceScore]


@dataclass(frozen=True, slots=True)
class SpanLine:
    """What a row of a span is made of."""

    trace: Trace
    span: Span


def _tags(trace: Trace) -> bytes:
    return msgspec.json.encode(trace.tags)


def _scores(line: TraceLine) -> bytes:
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
            for score in line.scores
        ]
    )


_TRACE: Final = (
    Column("trace_id", Kind.TEXT, lambda row: str(row.trace.id)),
    Column("name", Kind.TEXT, lambda row: row.trace.name),
    Column("status", Kind.TEXT, lambda row: row.trace.status.value),
    Column("started_at", Kind.INSTANT, lambda row: row.trace.started_at),
    Column("ended_at", Kind.INSTANT, lambda row: row.trace.ended_at),
    Column("latency_ms", Kind.REAL, lambda row: row.trace.latency_ms),
    Column("session_id", Kind.TEXT, lambda row: row.trace.session_id),
    Column("user_id", Kind.TEXT, lambda row: row.trace.user_id),
    Column("environment", Kind.TEXT, lambda row: row.trace.environment),
    Column("release", Kind.TEXT, lambda row: row.trace.release),
    Column("tags", Kind.JSON, lambda row: _tags(row.trace)),
    Column("metadata", Kind.JSON, lambda row: row.trace.metadata),
    Column("input", Kind.JSON, lambda row: row.trace.input),
    Column("output", Kind.JSON, lambda row: row.trace.output),
    Column("span_count", Kind.WHOLE, lambda row: row.totals.spans),
    Column("total_tokens", Kind.WHOLE, lambda row: row.totals.tokens),
    Column("total_cost", Kind.REAL, lambda row: as_float(row.totals.cost)),
    Column("scores", Kind.JSON, _scores),
)
_SPAN: Final = (
    Column("trace_id", Kind.TEXT, lambda row: str(row.trace.id)),
    Column("span_id", Kind.TEXT, lambda row: str(row.span.id)),
    Column(
        "parent_span_id",
        Kind.TEXT,
        lambda row: None if row.span.parent_id is None else str(row.span.parent_id),
    ),
    Column("trace_name", Kind.TEXT, lambda row: row.trace.name),
    Column("session_id", Kind.TEXT, lambda row: row.trace.session_id),
    Column("user_id", Kind.TEXT, lambda row: row.trace.user_id),
    Column("name", Kind.TEXT, lambda row: row.span.name),
    Column("kind", Kind.TEXT, lambda row: row.span.kind.value),
    Column("status", Kind.TEXT, lambda row: row.span.status.value),
    Column("error", Kind.TEXT, lambda row: row.span.error),
    Column("model", Kind.TEXT, lambda row: row.span.model),
    Column("started_at", Kind.INSTANT, lambda row: row.span.started_at),
    Column("ended_at", Kind.INSTANT, lambda row: row.span.ended_at),
    Column("completion_start_time", Kind.INSTANT, lambda row: row.span.completion_started_at),
    Column("latency_ms", Kind.REAL, lambda row: row.span.latency_ms),
    Column("time_to_first_token_ms", Kind.REAL, lambda row: row.span.time_to_first_token_ms),
    Column("prompt_tokens", Kind.WHOLE, lambda row: row.span.usage.prompt_tokens),
    Column("completion_tokens", Kind.WHOLE, lambda row: row.span.usage.completion_tokens),
    Column("cost", Kind.REAL, lambda row: as_float((row.span.charge or UNPRICED).amount)),
    Column("cost_source", Kind.TEXT, lambda row: (row.span.charge or UNPRICED).source.value),
    Column("token_usage", Kind.JSON, lambda row: row.span.token_usage),
    Column("model_parameters", Kind.JSON, lambda row: row.span.model_parameters),
    Column("metadata", Kind.JSON, lambda row: row.span.metadata),
    Column("input", Kind.JSON, lambda row: row.span.input),
    Column("output", Kind.JSON, lambda row: row.span.output),
)
_KINDS: Final = {
    str: Kind.TEXT,
    bytes: Kind.JSON,
    int: Kind.WHOLE,
    float: Kind.REAL,
    datetime: Kind.INSTANT,
}


def _with_further(
    columns: Sequence[Column], entity: type[Any], at: str, *elsewhere: str
) -> Sequence[Column]:
    """And, after them, a column for each field of `entity` that has none of its name.

    So a field that is added gets a column, and those before it keep their places. `at` is where a
    row has the entity; fields that stand `elsewhere` are shown under other names, if at all.
    """
    known = {column.name for column in columns} | set(elsewhere)
    types = get_type_hints(entity)
    return (
        *columns,
        *(
            Column(one.name, _kind_of(types[one.name]), attrgetter(f"{at}.{one.name}"))
            for one in fields(entity)
            if one.name not in known
        ),
    )


def _kind_of(type_: Any) -> Kind:
    """Of a field that may be None. Raises KeyError for a type that needs a column of its own."""
    [present] = {one for one in get_args(type_) or (type_,) if one is not NoneType}
    return _KINDS[getattr(present, "__value__", present)]


COLUMNS: Final = {
    RowKind.TRACES: _with_further(_TRACE, Trace, "trace", "id", "spans"),
    RowKind.SPANS: _with_further(
        _SPAN, Span, "span", "id", "parent_id", "completion_started_at", "usage", "charge"
    ),
}


def rows_of(kind: RowKind, batch: Sequence[TraceWithScores]) -> Iterator[TraceLine | SpanLine]:
    """What the columns of `kind` are asked of: traces in their order, spans in that of theirs."""
    for one in batch:
        if kind is RowKind.TRACES:
            yield TraceLine(one.trace, Totals.from_spans(one.trace.spans), one.scores)
        else:
            yield from (SpanLine(one.trace, span) for span in one.trace.spans)
