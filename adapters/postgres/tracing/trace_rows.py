"""Column specs of traces, payloads and spans, and the functions that write and read rows.

A plain field of a trace or span takes one line here.
"""

from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec
from asyncpg import Record

from adapters.postgres.database.statements.columns import (
    WHOLE,
    Column,
    Table,
    array_text,
    compile_reader,
)
from adapters.postgres.tracing.payloads.payload_text import NO_VALUES, SpanValues, StoredText
from adapters.postgres.tracing.rollups.facets import CountedTrace, trace_terms
from domain.tracing.otel.native_fields import NativeFields
from domain.tracing.otel.otlp_state import OtlpPhase, OtlpState
from domain.tracing.otel.stored_spans import metadata_with_role
from domain.tracing.payloads.payload import EMPTY_OBJECT, JsonText
from domain.tracing.query import fold_case
from domain.tracing.span import MODEL_CALLS, Span, SpanKind, SpanStatus, Totals
from domain.tracing.spans.error_groups import error_group_of
from domain.tracing.trace import Trace, TraceStatus, TraceSummary
from domain.tracing.usage import CostSource, Price, SpanCost, Usage, UsageRole

_COST_DECODER: Final = msgspec.json.Decoder(dict[str, float])
_KEY: Final = ("project_id", "trace_id")


def _search_name(stored: CountedTrace) -> str:
    return fold_case(stored.trace.name)


def _terms_text(stored: CountedTrace) -> str:
    return "{" + ",".join(map(str, trace_terms(stored))) + "}"


def _encode_cost(cost: dict[str, float] | None) -> bytes | None:
    return None if cost is None else msgspec.json.encode(cost)


def decode_cost(cost: bytes | None) -> dict[str, float] | None:
    return None if cost is None else _COST_DECODER.decode(cost)


def _size(value: JsonText | None) -> int | None:
    return None if value is None else len(value)


def _metadata_size(metadata: JsonText) -> int | None:
    return None if metadata == EMPTY_OBJECT else len(metadata)


def _null_for_0(tokens: int) -> int | None:
    return tokens or None


def _usage_role(role: str | None) -> UsageRole | None:
    return None if role is None else UsageRole(role)


def _price_version(charge: SpanCost) -> str | None:
    return None if charge.price is None else charge.price.version


def _price_since(charge: SpanCost) -> datetime | None:
    return None if charge.price is None else charge.price.since


class _OtlpDetail(msgspec.Struct, omit_defaults=True):
    is_native: bool = False
    input_from: str = ""
    output_from: str = ""
    native_fields: tuple[str, ...] = ()
    native_metadata: tuple[str, ...] = ()
    takes_records: bool = False


_DETAIL_DECODER: Final = msgspec.json.Decoder(_OtlpDetail)


def _otlp_stored_at(otlp: OtlpState | None) -> datetime | None:
    return None if otlp is None else otlp.stored_at


def _otlp_phase(otlp: OtlpState | None) -> str | None:
    return None if otlp is None else otlp.phase


def _otlp_is_setup(otlp: OtlpState | None) -> bool | None:
    return None if otlp is None else otlp.is_setup


def _otlp_detail(otlp: OtlpState | None) -> bytes | None:
    if otlp is None:
        return None
    return msgspec.json.encode(
        _OtlpDetail(
            otlp.is_native,
            otlp.input_from,
            otlp.output_from,
            tuple(sorted(otlp.native.names)),
            tuple(sorted(otlp.native.metadata_keys)),
            otlp.takes_records,
        )
    )


def _listed_amount(charge: SpanCost) -> Decimal | None:
    """The price from the table, only if another amount is charged."""
    price = charge.price
    return None if price is None or price.amount == charge.amount else price.amount


TRACES: Final = Table(
    "traces",
    key=_KEY,
    columns=(
        Column("project_id", "uuid", "project"),
        Column("trace_id", "uuid", "trace.id"),
        Column("name", "text", "trace.name"),
        Column("search_name", "text", WHOLE, write=_search_name),
        Column("status", "text", "trace.status", read=TraceStatus),
        Column("started_at", "timestamptz", "trace.started_at"),
        Column("ended_at", "timestamptz", "trace.ended_at"),
        Column("session_id", "text", "trace.session_id"),
        Column("user_id", "text", "trace.user_id"),
        Column("environment", "text", "trace.environment"),
        Column("release", "text", "trace.release"),
        Column("tags", "text[]", "trace.tags", write=array_text, read=tuple),
        Column("metadata", "json", "trace.metadata"),
        Column("span_count", "int", "totals.spans"),
        Column("error_span_count", "int", "totals.errors"),
        Column("prompt_tokens", "numeric", "totals.prompt_tokens", read=int),
        Column("completion_tokens", "numeric", "totals.completion_tokens", read=int),
        Column("total_cost", "numeric", "totals.cost"),
        Column("unpriced_span_count", "int", "totals.unpriced"),
        Column("models", "text[]", "models", write=array_text),
        Column("terms", "bigint[]", WHOLE, write=_terms_text),
        Column("otlp_stored_at", "timestamptz", "otlp", write=_otlp_stored_at),
        Column("otlp_phase", "text", "otlp", write=_otlp_phase),
        Column("otlp_is_setup", "boolean", "otlp", write=_otlp_is_setup),
        Column("otlp_detail", "json", "otlp", write=_otlp_detail),
    ),
)
"""The columns of `CountedTrace`: a settled trace without payloads, and the totals of its spans."""

SPANS: Final = Table(
    "spans",
    key=(*_KEY, "span_id"),
    given=(
        *(Column("project_id", "uuid"), Column("trace_id", "uuid")),
        Column("payload_at", "bigint"),
    ),
    columns=(
        Column("span_id", "uuid", "id"),
        Column("parent_span_id", "uuid", "parent_id"),
        Column("name", "text"),
        Column("kind", "text", read=SpanKind),
        Column("status", "text", read=SpanStatus),
        Column("started_at", "timestamptz"),
        Column("ended_at", "timestamptz"),
        Column("completion_start_time", "timestamptz", "completion_started_at"),
        Column("model", "text"),
        Column("prompt_tokens", "bigint", "usage.prompt_tokens"),
        Column("completion_tokens", "bigint", "usage.completion_tokens"),
        Column("cache_read_tokens", "bigint", "usage.cache_read_tokens", write=_null_for_0),
        Column("cache_write_tokens", "bigint", "usage.cache_write_tokens", write=_null_for_0),
        Column("reasoning_tokens", "bigint", "usage.reasoning_tokens", write=_null_for_0),
        Column("cost_amount", "numeric", "charge.amount"),
        Column("cost_source", "text", "charge.source"),
        Column("error", "text"),
        Column("error_group", "text", WHOLE, write=error_group_of),
        Column("input_bytes", "int", "input", write=_size),
        Column("output_bytes", "int", "output", write=_size),
        Column("metadata_bytes", "int", "metadata", write=_metadata_size),
        Column("token_usage_bytes", "int", "token_usage", write=_size),
        Column("model_parameters_bytes", "int", "model_parameters", write=_size),
        Column("cost", "json", write=_encode_cost, read=decode_cost),
        Column("price_version", "text", "charge", write=_price_version),
        Column("price_since", "timestamptz", "charge", write=_price_since),
        Column("listed_amount", "numeric", "charge", write=_listed_amount),
        Column("provider", "text"),
        Column("request_model", "text"),
        Column("usage_role", "text", read=_usage_role),
    ),
)
"""Settled spans. `payload_at` is the place of their values in the text of the trace."""

IS_UNPRICED: Final = (
    f"(cost_source = '{CostSource.UNPRICED}' AND usage_role IS NULL"
    f" AND (kind IN ({', '.join(f"'{kind}'" for kind in sorted(MODEL_CALLS))})"
    " OR prompt_tokens + completion_tokens > 0))"
)
"""A condition on rows of spans, as `Span.is_unpriced`."""


def has_response(response: str) -> str:
    """A condition on rows of `spans`, which an index serves, with the id of a response as SQL.

    The hash finds them, and the id tells apart responses that share one. The hash is a sub-select:
    under a policy an index isn't searched for the result of this function.
    """
    return (
        f"spans.response_hash = (SELECT hashtextextended({response}, 0))"
        f" AND spans.facts ->> 'response_id' = {response}"
    )


OTLP_SPANS: Final = Table(
    "span_rows", key=SPANS.key, given=SPANS.given, columns=(*SPANS.columns, Column("facts", "json"))
)
"""Spans of OpenTelemetry, with their facts; the table below the view."""


def usage_from_row(row: Record) -> Usage:
    read, written = row["cache_read_tokens"] or 0, row["cache_write_tokens"] or 0
    reasoning = row["reasoning_tokens"] or 0
    return Usage(
        row["prompt_tokens"],
        row["completion_tokens"],
        is_known=bool(read or written or reasoning),  # not stored for other spans
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
    )


def otlp_state_from_row(row: Record) -> OtlpState | None:
    if row["otlp_stored_at"] is None:
        return None
    detail = _DETAIL_DECODER.decode(row["otlp_detail"])
    return OtlpState(
        stored_at=row["otlp_stored_at"],
        phase=OtlpPhase(row["otlp_phase"]),
        is_setup=row["otlp_is_setup"],
        is_native=detail.is_native,
        input_from=detail.input_from,
        output_from=detail.output_from,
        native=NativeFields(frozenset(detail.native_fields), frozenset(detail.native_metadata)),
        takes_records=detail.takes_records,
    )


def shown_metadata(row: Record, metadata: JsonText) -> JsonText:
    """The metadata of a span with its role, which only the column has.

    So a role that changes rewrites no metadata.
    """
    role = row["usage_role"]
    return metadata if role is None else metadata_with_role(metadata, UsageRole(role))


def charge_from_row(row: Record) -> SpanCost:
    amount, version = row["cost_amount"], row["price_version"]
    price = None
    if version is not None:
        listed = row["listed_amount"]
        price = Price(amount if listed is None else listed, version, row["price_since"])
    return SpanCost(amount, CostSource(row["cost_source"]), price)


_TRACE: Final = TRACES.fields_of(Trace, at="trace")
_SUMMARY: Final = TRACES.fields_of(TraceSummary, at="trace")
_TOTALS: Final = TRACES.fields_of(Totals, at="totals")
SUMMARY_COLUMNS: Final = tuple(one.name for one in (*_SUMMARY.values(), *_TOTALS.values()))

trace_row: Final = TRACES.compile_row()
"""Makes a row from a `CountedTrace`."""
span_row: Final = SPANS.compile_row()
"""Makes a row from a project, the id of a trace, the place of the values, and a settled span."""

trace_from_row: Final = compile_reader(Trace, _TRACE)
"""Without spans and payloads."""
_trace_from_row: Final = compile_reader(Trace, _TRACE, ("input", "output"))
totals_from_row: Final = compile_reader(Totals, _TOTALS)
summary_from_row: Final = compile_reader(TraceSummary, _SUMMARY, totals=totals_from_row)
_span_from_row: Final = compile_reader(
    Span,
    SPANS.fields_of(Span),
    ("input", "output", "metadata", "token_usage", "model_parameters"),
    usage=usage_from_row,
    charge=charge_from_row,
)


def whole_trace_from_row(row: Record, text: StoredText) -> Trace:
    """From a row with the columns of TRACES and the head; without spans. Raises DamagedText."""
    return _trace_from_row(row, *text.trace_values(row))


def span_from_row(row: Record, text: StoredText) -> Span:
    """Raises DamagedText."""
    return span_with_values(row, text.span_values(row))


def span_with_values(row: Record, values: SpanValues = NO_VALUES) -> Span:
    """From a row without its values, of which some are given."""
    input_, output, metadata, usage, parameters = values
    return _span_from_row(row, input_, output, shown_metadata(row, metadata), usage, parameters)
