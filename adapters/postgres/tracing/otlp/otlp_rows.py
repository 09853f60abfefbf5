"""Rows of OpenTelemetry spans: the light columns from which a trace is computed, and writes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import batched
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import Connection, is_distributed
from adapters.postgres.database.statements.columns import arrays, compile_reader
from adapters.postgres.tracing.otlp.fragments import ROWS_PER_STATEMENT
from adapters.postgres.tracing.payloads.payload_text import (
    DECOMPRESSED_ON_LOOP_MAX,
    Range,
    StoredText,
    TraceKey,
    fetch_heads,
    fetch_texts,
    payload_range,
)
from adapters.postgres.tracing.trace_rows import (
    OTLP_SPANS,
    SPANS,
    TRACES,
    charge_from_row,
    span_row,
    usage_from_row,
)
from adapters.postgres.tracing.writes.row_updates import DELETE_SPANS_BY_KEY
from adapters.postgres.tracing.writes.span_facts import decode_facts, encode_facts
from application.concurrency import compute
from domain.ids import ProjectId, SpanId, TraceId
from domain.tracing.otel.facts import SpanFacts
from domain.tracing.otel.trace_state import SpanNode
from domain.tracing.payloads.payload import EMPTY_OBJECT, JsonText
from domain.tracing.span import Span

# By the name of the view.
INSERT_OTLP_SPANS: Final = f"{replace(OTLP_SPANS, name='spans').insert_from('sent')} RETURNING 1"
NODES_AT_ONCE: Final = 500  # rows; reading as many takes the event loop 5 ms
NODES_ON_LOOP_MAX: Final = 100  # making nodes of as many rows takes 2 ms

type SpanRowKey = tuple[ProjectId, TraceId, SpanId]

# The columns that a trace is computed and counted from. None of them is stored out of line.
_LIGHT: Final = (
    *("span_id", "parent_span_id", "name", "kind", "status", "started_at", "ended_at"),
    *("model", "provider", "request_model", "prompt_tokens", "completion_tokens"),
    *("cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "cost_amount", "cost_source"),
    *("price_version", "price_since", "listed_amount", "usage_role"),
)
_light_span_from_row: Final = compile_reader(
    Span,
    {field: column for field, column in SPANS.fields_of(Span).items() if column.name in _LIGHT},
    usage=usage_from_row,
    charge=charge_from_row,
)
SELECT_NODES: Final = f"""
SELECT spans.project_id, spans.trace_id, {", ".join(f"spans.{name}" for name in _LIGHT)},
  spans.facts, spans.input_bytes IS NOT NULL AS has_input,
  spans.output_bytes IS NOT NULL AS has_output
FROM {TRACES.unnest_keys("wanted")}
JOIN spans ON spans.project_id = wanted.project_id AND spans.trace_id = wanted.trace_id
WHERE spans.facts IS NOT NULL
"""
UPDATE_ROLES: Final = f"""
UPDATE spans SET usage_role = found.usage_role
FROM {SPANS.unnest("found", *SPANS.key, "usage_role")} WHERE {SPANS.on_key("found")}
"""
SELECT_SPAN_PLACES: Final = f"""
SELECT {", ".join(f"spans.{key}" for key in SPANS.key)}, spans.payload_at, spans.input_bytes,
  spans.output_bytes
FROM spans JOIN {SPANS.unnest_keys("wanted")} ON {SPANS.on_key("wanted")}
"""
DELETE_PLACEHOLDERS: Final = f"""
DELETE FROM traces USING {TRACES.unnest_keys("unused")} WHERE {TRACES.on_key("unused")}
"""


async def fetch_nodes(
    connection: Connection, keys: Collection[TraceKey]
) -> dict[TraceKey, dict[SpanId, SpanNode]]:
    """The OpenTelemetry spans of traces, without payloads. In a transaction."""
    nodes: dict[TraceKey, dict[SpanId, SpanNode]] = {key: {} for key in keys}

    def add(rows: Sequence[Record]) -> None:
        for row in rows:
            nodes[row["project_id"], row["trace_id"]][row["span_id"]] = _node_from_row(row)

    if keys:
        cursor = await connection.cursor(SELECT_NODES, *arrays(keys))
        while rows := await cursor.fetch(NODES_AT_ONCE):
            await compute(add, rows, is_long=len(rows) > NODES_ON_LOOP_MAX)
            if len(rows) < NODES_AT_ONCE:
                break
    return nodes


def _node_from_row(row: Record) -> SpanNode:
    span = _light_span_from_row(row)
    return SpanNode(span, decode_facts(row["facts"]), row["has_input"], row["has_output"])


def otlp_span_row(
    key: TraceKey, at: int | None, span: Span, facts: SpanFacts
) -> tuple[object, ...]:
    """`at` is the place of its values."""
    return (*span_row(*key, at, span), encode_facts(facts))


async def insert_otlp_spans(
    connection: Connection,
    rows: Sequence[tuple[object, ...]],
    replaced: Iterable[SpanRowKey] = (),
) -> None:
    """Inserts rows of spans; `replaced` are the keys of those that exist."""
    for keys in batched(replaced, ROWS_PER_STATEMENT):
        await connection.execute(DELETE_SPANS_BY_KEY, *arrays(keys))
    for some in batched(rows, ROWS_PER_STATEMENT):
        if is_distributed(connection):  # as `insert_spans`
            await connection.fetch(INSERT_OTLP_SPANS, *arrays(some))
        else:
            table, columns = OTLP_SPANS.name, OTLP_SPANS.names
            await connection.copy_records_to_table(table, records=some, columns=columns)


async def update_roles(
    connection: Connection, roles: Sequence[tuple[ProjectId, TraceId, SpanId, str | None]]
) -> None:
    for some in batched(roles, ROWS_PER_STATEMENT):
        await connection.execute(UPDATE_ROLES, *arrays(some))


async def fetch_span_payloads(
    connection: Connection, inputs: Collection[SpanRowKey], outputs: Collection[SpanRowKey]
) -> dict[SpanRowKey, tuple[JsonText | None, JsonText | None]]:
    """The inputs and the outputs of stored spans. Raises DamagedText."""
    wanted = {*inputs, *outputs}
    if not wanted:
        return {}
    rows = await connection.fetch(SELECT_SPAN_PLACES, *arrays(wanted))
    places: dict[SpanRowKey, tuple[Range | None, Range | None]] = {}
    for row in rows:
        key = (row["project_id"], row["trace_id"], row["span_id"])
        places[key] = (
            payload_range(row, "input") if key in inputs else None,
            payload_range(row, "output") if key in outputs else None,
        )
    texts = await fetch_texts(
        connection, [(key[:2], one) for key, ranges in places.items() for one in ranges]
    )
    size = sum(text.size for text in texts.values())
    return await compute(_payloads_at, places, texts, is_long=size > DECOMPRESSED_ON_LOOP_MAX)


def _payloads_at(
    places: Mapping[SpanRowKey, tuple[Range | None, Range | None]],
    texts: Mapping[TraceKey, StoredText],
) -> dict[SpanRowKey, tuple[JsonText | None, JsonText | None]]:
    def payload(key: SpanRowKey, one: Range | None) -> JsonText | None:
        return None if one is None else texts[key[:2]].value(one[0], one[1] - one[0])

    return {
        key: (payload(key, inputs), payload(key, outputs))
        for key, (inputs, outputs) in places.items()
    }


async def fetch_payloads_set(
    connection: Connection, keys: Collection[TraceKey]
) -> dict[TraceKey, list[str]]:
    """Which of `input` and `output` traces have."""
    heads = await fetch_heads(connection, keys)
    return {
        key: [name for name in ("input", "output") if row[f"{name}_bytes"] is not None]
        for key, row in heads.items()
    }


def without_content(span: Span) -> Span:
    """The span as far as a trace is computed and counted from it."""
    return replace(
        span,
        error=None,
        input=None,
        output=None,
        metadata=EMPTY_OBJECT,
        token_usage=None,
        model_parameters=None,
        cost=None,
    )
