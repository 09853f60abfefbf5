"""What stored spans are charged, found and changed with nothing else of them."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final

from asyncpg import Record

from adapters.postgres.database.columns import arrays
from adapters.postgres.database.pool import OF_PROJECT, Connection
from adapters.postgres.tracing.rollup_deltas import ByProject
from adapters.postgres.tracing.row_updates import locked
from adapters.postgres.tracing.trace_rows import SPANS, TRACES, charge_of, usage_of
from domain.ids import ProjectId, SpanId, TraceId
from domain.tracing.analytics import Granularity
from domain.tracing.repricing import PricedSpan, Repricing, SpanPosition
from domain.tracing.span import Totals
from domain.tracing.usage import EXACT, CostSource, Pricing, SpanCost

_PRICED: Final = """
spans.trace_id, spans.span_id, started_at, model, prompt_tokens, completion_tokens,
cache_read_tokens, cache_write_tokens, cost_amount, cost_source, price_version, price_since,
listed_amount
"""
# As the index `spans_priced` has it.
_IS_PRICED: Final = f"""
model <> '' AND cost_source <> '{CostSource.CLIENT}' AND prompt_tokens + completion_tokens > 0
"""
_NEXT: Final = f"""
SELECT {_PRICED} FROM spans WHERE {OF_PROJECT} AND {_IS_PRICED}
  AND ($2::timestamptz IS NULL OR started_at < $2) AND {{after}}
ORDER BY started_at, trace_id, span_id LIMIT $3
"""
FIRST: Final = _NEXT.format(after="($4::timestamptz IS NULL OR started_at >= $4)")
FOLLOWING: Final = _NEXT.format(
    after="(started_at, trace_id, span_id) > ($4::timestamptz, $5::uuid, $6::uuid)"
)
AGAIN: Final = f"""
SELECT {_PRICED} FROM spans JOIN {SPANS.unnest_keys("wanted")} ON {SPANS.on_key("wanted")}
WHERE {_IS_PRICED}
"""
_CHARGED: Final = ("cost_amount", "cost_source", "price_version", "price_since")
CHARGE: Final = f"""
UPDATE spans SET {", ".join(f"{one} = found.{one}" for one in _CHARGED)}, listed_amount = NULL
FROM {SPANS.unnest("found", *SPANS.key, *_CHARGED)} WHERE {SPANS.on_key("found")}
"""
# Not `updated_at`: what a trace costs is no change of what was traced.
PUT_COSTS: Final = f"""
UPDATE traces SET total_cost = found.total_cost
FROM {TRACES.unnest("found", *TRACES.key, "total_cost")} WHERE {TRACES.on_key("found")}
"""

type Charged = tuple[PricedSpan, SpanCost]


async def following(connection: Connection, repricing: Repricing, most: int) -> list[PricedSpan]:
    """The next spans of the period, in the order of their places."""
    bounds = (repricing.project_id, repricing.started_before, most)
    place: SpanPosition | None = repricing.place
    if place is None:
        rows = await connection.fetch(FIRST, *bounds, repricing.started_after)
    else:
        rows = await connection.fetch(FOLLOWING, *bounds, *place)
    return [_priced_of(row) for row in rows]


async def charge(
    connection: Connection,
    project: ProjectId,
    found: Sequence[Charged],
    pricing: Pricing,
    deltas: ByProject,
) -> list[Charged]:
    """Charges what changes, and notes it in `deltas`; what was found, as it was once it was locked.

    A span that was found and doesn't change stays as it is, and its trace unlocked.
    """
    keys = [(project, one.trace_id, one.span_id) for one, after in found if after != one.charge]
    known = await locked(connection, sorted({key[:2] for key in keys}))
    again = await connection.fetch(AGAIN, *arrays(keys)) if keys else []
    spans = [_priced_of(row) for row in again if (project, row["trace_id"]) in known]
    charged = [(one, one.cost_under(pricing)) for one in spans]
    changed = [(one, after) for one, after in charged if after != one.charge]
    if changed:
        await connection.execute(CHARGE, *arrays(_row(project, *one) for one in changed))
        more: dict[TraceId, Decimal] = {}
        for one, after in changed:
            difference = EXACT.subtract(after.amount, one.charge.amount)
            more[one.trace_id] = EXACT.add(more.get(one.trace_id, Decimal(0)), difference)
            hour = Granularity.HOUR.bucket(one.started_at)
            deltas[project].add_usage((hour, True, one.model), 0, 0, 0, difference)
        costs = []
        for trace, difference in more.items():
            before = known[project, trace]
            after_it = replace(before, totals=before.totals + Totals(cost=difference))
            deltas[project].change(before, after_it)
            costs.append((project, trace, after_it.totals.cost))
        await connection.execute(PUT_COSTS, *arrays(costs))
    return [*((one, after) for one, after in found if after == one.charge), *charged]


def _priced_of(row: Record) -> PricedSpan:
    return PricedSpan(
        TraceId(row["trace_id"]),
        SpanId(row["span_id"]),
        row["started_at"],
        row["model"],
        usage_of(row),
        charge_of(row),
    )


def _row(project: ProjectId, span: PricedSpan, after: SpanCost) -> tuple[object, ...]:
    price = after.price
    told = (None, None) if price is None else (price.version, price.since)
    return (project, span.trace_id, span.span_id, after.amount, after.source, *told)
