"""Filters of spans as SQL conditions on the alias `s`; `$1` is the project."""

from collections.abc import Iterator
from typing import Final

from adapters.postgres.database.sql_builder import Sql
from domain.tracing.span import SpanStatus
from domain.tracing.span_query import SpanFilter
from domain.tracing.usage import CostSource

LATENCY_US: Final = (
    "(CASE WHEN s.ended_at >= s.started_at"
    " THEN (extract(epoch FROM s.ended_at - s.started_at) * 1000000)::bigint END)"
)
TOKENS: Final = "(s.prompt_tokens + s.completion_tokens)"
COST: Final = f"(CASE WHEN s.cost_source <> '{CostSource.UNPRICED}' THEN s.cost_amount END)"
HAS_FAILED: Final = f"s.status = '{SpanStatus.ERROR}'"
_EQUAL: Final = ("kind", "name", "model", "provider", "status")


def served_conditions(matching: SpanFilter) -> Iterator[Sql]:
    """Those that an index in the order of starts supports."""
    if matching.started_after is not None:
        yield Sql("s.started_at >= {}", (matching.started_after,))
    if matching.started_before is not None:
        yield Sql("s.started_at < {}", (matching.started_before,))
    if matching.has_error or matching.status is SpanStatus.ERROR or matching.error_group:
        yield Sql(HAS_FAILED)
    if matching.error_group is not None:
        yield Sql("s.error_group = {}", (matching.error_group,))


def other_conditions(matching: SpanFilter) -> Iterator[Sql]:
    """The other conditions on the span itself."""
    for name in _EQUAL:
        if (value := getattr(matching, name)) is not None:
            yield Sql(f"s.{name} = {{}}", (value,))
    if matching.has_error is False:
        yield Sql(f"NOT {HAS_FAILED}")
    for column, bounds in (
        (LATENCY_US, matching.latency_us),
        (TOKENS, matching.tokens),
        (COST, matching.cost),
    ):
        if bounds is not None:
            low, high = bounds
            yield from (
                Sql(f"{column} {sign} {{}}", (bound,))
                for sign, bound in ((">=", low), ("<=", high))
                if bound is not None
            )
