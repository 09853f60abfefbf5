"""Traces and spans as rows, and back."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec
from asyncpg import Record

from adapters.postgres.tracing.facets import Counted
from adapters.postgres.tracing.search_terms import trace_terms
from domain.ids import ProjectId, SpanId, TraceId
from domain.tracing.query import fold_case
from domain.tracing.span import Span, SpanKind, SpanStatus, Totals
from domain.tracing.trace import Trace, TraceStatus
from domain.tracing.usage import NO_USAGE, UNPRICED, CostSource, Price, SpanCost, Usage

_COST: Final = msgspec.json.Decoder(dict[str, float])
_BACKSLASHED: Final = str.maketrans({"\\": "\\\\", '"': '\\"'})

TRACE_COLUMNS: Final = (
    "project_id", "trace_id", "name", "search_name", "status", "started_at", "ended_at",
    "session_id", "user_id", "environment", "release", "tags", "metadata", "span_count",
    "error_span_count", "prompt_tokens", "completion_tokens", "total_cost", "models", "terms",
)  # fmt: skip

SPAN_COLUMNS: Final = (
    "project_id", "trace_id", "span_id", "parent_span_id", "name", "kind", "status", "started_at",
    "ended_at", "completion_start_time", "model", "prompt_tokens", "completion_tokens",
    "cache_read_tokens", "cache_write_tokens", "cost_amount", "cost_source", "error", "input",
    "output", "metadata", "token_usage", "model_parameters", "cost", "price_version",
    "price_since", "listed_amount",
)  # fmt: skip


def trace_row(counted: Counted) -> tuple[object, ...]:
    """A settled trace in the order of TRACE_COLUMNS; lists as the text of an array."""
    project, trace, totals = counted.project, counted.trace, counted.totals
    return (
        project, trace.id, trace.name, fold_case(trace.name), trace.status, trace.started_at,
        trace.ended_at, trace.session_id, trace.user_id, trace.environment, trace.release,
        array_text(trace.tags), trace.metadata, totals.spans, totals.errors, totals.prompt_tokens,
        totals.completion_tokens, totals.cost, array_text(counted.models),
        "{" + ",".join(map(str, trace_terms(counted))) + "}",
    )  # fmt: skip


def trace_of(row: Record) -> Trace:
    """The trace of a row; without payloads and spans where the row has none."""
    return Trace(
        id=TraceId(row["trace_id"]),
        name=row["name"],
        status=TraceStatus(row["status"]),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        session_id=row["session_id"],
        user_id=row["user_id"],
        environment=row["environment"],
        release=row["release"],
        tags=tuple(row["tags"]),
        metadata=row["metadata"],
        input=row.get("input"),
        output=row.get("output"),
    )


def totals_of(row: Record) -> Totals:
    return Totals(
        spans=row["span_count"],
        prompt_tokens=int(row["prompt_tokens"]),
        completion_tokens=int(row["completion_tokens"]),
        cost=row["total_cost"],
        errors=row["error_span_count"],
    )


def span_row(project: ProjectId, trace: TraceId, span: Span) -> tuple[object, ...]:
    """A settled span in the order of SPAN_COLUMNS."""
    usage, charge = span.usage or NO_USAGE, span.charge or UNPRICED
    return (
        project, trace, span.id, span.parent_id, span.name, span.kind, span.status,
        span.started_at, span.ended_at, span.completion_started_at, span.model,
        usage.prompt_tokens, usage.completion_tokens, usage.cache_read_tokens or None,
        usage.cache_write_tokens or None, charge.amount, charge.source, span.error, span.input,
        span.output, span.metadata, span.token_usage, span.model_parameters,
        None if span.cost is None else msgspec.json.encode(span.cost), *price_row(charge),
    )  # fmt: skip


def price_row(charge: SpanCost) -> tuple[str | None, datetime | None, Decimal | None]:
    """What the price table says; the amount only where another is charged."""
    price = charge.price
    if price is None:
        return (None, None, None)
    return (price.version, price.since, price.amount if price.amount != charge.amount else None)


def span_of(row: Record) -> Span:
    cost = row["cost"]
    return Span(
        id=SpanId(row["span_id"]),
        parent_id=row["parent_span_id"],
        name=row["name"],
        kind=SpanKind(row["kind"]),
        status=SpanStatus(row["status"]),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        completion_started_at=row["completion_start_time"],
        model=row["model"],
        error=row["error"],
        input=row["input"],
        output=row["output"],
        metadata=row["metadata"],
        token_usage=row["token_usage"],
        model_parameters=row["model_parameters"],
        cost=None if cost is None else _COST.decode(cost),
        usage=usage_of(row),
        charge=charge_of(row),
    )


def usage_of(row: Record) -> Usage:
    read, written = row["cache_read_tokens"] or 0, row["cache_write_tokens"] or 0
    return Usage(
        row["prompt_tokens"],
        row["completion_tokens"],
        is_known=bool(read or written),  # of others it isn't stored
        cache_read_tokens=read,
        cache_write_tokens=written,
    )


def charge_of(row: Record) -> SpanCost:
    amount, version = row["cost_amount"], row["price_version"]
    price = None
    if version is not None:
        listed = row["listed_amount"]
        price = Price(amount if listed is None else listed, version, row["price_since"])
    return SpanCost(amount, CostSource(row["cost_source"]), price)


def array_text(texts: Iterable[str]) -> str:
    """An array inside an unnested array has to travel as text: unnest() would flatten it."""
    return "{" + ",".join(f'"{text.translate(_BACKSLASHED)}"' for text in texts) + "}"


def columns(rows: Iterable[Sequence[object]]) -> list[list[object]]:
    """One list a column, as `unnest` takes them; none where there is no row."""
    return [list(column) for column in zip(*rows, strict=True)]
