"""Finds priced spans, and updates their costs and nothing else of them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.tracing.rollups.rollup_deltas import ProjectDeltas
from adapters.postgres.tracing.trace_rows import SPANS, TRACES, charge_from_row, usage_from_row
from adapters.postgres.tracing.writes.row_updates import lock_traces
from domain.ids import ProjectId, SpanId, TraceId
from domain.pricing.repricing import PricedSpan, Repricing, SpanPosition
from domain.tracing.analytics import Granularity
from domain.tracing.span import Totals, priced_models
from domain.tracing.spans.span_figures import name_group
from domain.tracing.usage import EXACT, CostSource, Pricing, SpanCost

_SPAN_COLUMNS: Final = """
spans.trace_id, spans.span_id, kind, name, started_at, model, prompt_tokens, completion_tokens,
cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_amount, cost_source, price_version,
price_since, listed_amount, provider, request_model
"""
# The condition of the index `spans_priced`.
_IS_PRICED: Final = f"""
model <> '' AND cost_source <> '{CostSource.CLIENT}' AND prompt_tokens + completion_tokens > 0
AND usage_role IS NULL
"""
_SELECT_PRICED_SPANS: Final = f"""
SELECT {_SPAN_COLUMNS} FROM spans WHERE {IN_PROJECT} AND {_IS_PRICED}
  AND ($2::timestamptz IS NULL OR started_at < $2) AND {{after}}
ORDER BY started_at, trace_id, span_id LIMIT $3
"""
SELECT_FIRST_SPANS: Final = _SELECT_PRICED_SPANS.format(
    after="($4::timestamptz IS NULL OR started_at >= $4)"
)
SELECT_NEXT_SPANS: Final = _SELECT_PRICED_SPANS.format(
    after="(started_at, trace_id, span_id) > ($4::timestamptz, $5::uuid, $6::uuid)"
)
SELECT_SPANS_BY_KEY: Final = f"""
SELECT {_SPAN_COLUMNS} FROM spans JOIN {SPANS.unnest_keys("wanted")} ON {SPANS.on_key("wanted")}
WHERE {_IS_PRICED}
"""
_COST_COLUMNS: Final = ("cost_amount", "cost_source", "price_version", "price_since")
UPDATE_SPAN_COSTS: Final = f"""
UPDATE spans SET {", ".join(f"{one} = found.{one}" for one in _COST_COLUMNS)}, listed_amount = NULL
FROM {SPANS.unnest("found", *SPANS.key, *_COST_COLUMNS)} WHERE {SPANS.on_key("found")}
"""
_TOTAL_COLUMNS: Final = ("total_cost", "unpriced_span_count")
# Leaves `updated_at`, because a new cost does not change the content of a trace.
UPDATE_TRACE_COSTS: Final = f"""
UPDATE traces SET {", ".join(f"{one} = found.{one}" for one in _TOTAL_COLUMNS)},
  repriced_at = now()
FROM {TRACES.unnest("found", *TRACES.key, *_TOTAL_COLUMNS)} WHERE {TRACES.on_key("found")}
"""

type SpanWithCost = tuple[PricedSpan, SpanCost]


async def fetch_next_spans(
    connection: Connection, repricing: Repricing, most: int
) -> list[PricedSpan]:
    """The next spans of the period, in the order of their positions."""
    bounds = (repricing.project_id, repricing.started_before, most)
    place: SpanPosition | None = repricing.place
    if place is None:
        rows = await connection.fetch(SELECT_FIRST_SPANS, *bounds, repricing.started_after)
    else:
        rows = await connection.fetch(SELECT_NEXT_SPANS, *bounds, *place)
    return [_priced_span_from_row(row) for row in rows]


async def update_costs(
    connection: Connection,
    project: ProjectId,
    new_costs: Sequence[SpanWithCost],
    pricing: Pricing,
    deltas: ProjectDeltas,
) -> list[SpanWithCost]:
    """Updates the costs that change, and records them in `deltas`; returns the spans as locked.

    A span whose cost does not change stays as it is, and its trace is not locked.
    """
    keys = [(project, one.trace_id, one.span_id) for one, after in new_costs if after != one.charge]
    known = await lock_traces(connection, sorted({key[:2] for key in keys}))
    again = await connection.fetch(SELECT_SPANS_BY_KEY, *arrays(keys)) if keys else []
    spans = [_priced_span_from_row(row) for row in again if (project, row["trace_id"]) in known]
    charged = [(one, one.cost_under(pricing)) for one in spans]
    changed = [(one, after) for one, after in charged if after != one.charge]
    if changed:
        await connection.execute(
            UPDATE_SPAN_COSTS, *arrays(_cost_row(project, *one) for one in changed)
        )
        names = {(row["trace_id"], row["span_id"]): (row["kind"], row["name"]) for row in again}
        more: defaultdict[TraceId, Totals] = defaultdict(Totals)
        for one, after in changed:
            cost = EXACT.subtract(after.amount, one.charge.amount)
            # All of them have tokens: whether their cost is known depends on the price alone.
            unpriced = _is_unpriced(after) - _is_unpriced(one.charge)
            more[one.trace_id] += Totals(cost=cost, unpriced=unpriced)
            hour = Granularity.HOUR.bucket(one.started_at)
            kind, name = names[one.trace_id, one.span_id]
            sums = deltas[project].sums((hour, kind, name_group(name), True, one.model))
            sums.cost = EXACT.add(sums.cost, cost)
            for peaks, charge in ((sums.removed, one.charge), (sums.added, after)):
                peaks.extend(None, -1, charge.amount if charge.is_known else None)
            sums.unpriced += unpriced
            sums.priced -= unpriced
        costs = []
        for trace, difference in more.items():
            before = known[project, trace]
            after_it = replace(before, totals=before.totals + difference)
            deltas[project].change_trace(before, after_it)
            costs.append((project, trace, after_it.totals.cost, after_it.totals.unpriced))
        await connection.execute(UPDATE_TRACE_COSTS, *arrays(costs))
    return [*((one, after) for one, after in new_costs if after == one.charge), *charged]


def _is_unpriced(charge: SpanCost) -> bool:
    return charge.source is CostSource.UNPRICED


def _priced_span_from_row(row: Record) -> PricedSpan:
    return PricedSpan(
        TraceId(row["trace_id"]),
        SpanId(row["span_id"]),
        row["started_at"],
        row["model"],
        usage_from_row(row),
        charge_from_row(row),
        priced_models(row["model"], row["provider"], row["request_model"]),
    )


def _cost_row(project: ProjectId, span: PricedSpan, after: SpanCost) -> tuple[object, ...]:
    price = after.price
    source = (None, None) if price is None else (price.version, price.since)
    return (project, span.trace_id, span.span_id, after.amount, after.source, *source)
