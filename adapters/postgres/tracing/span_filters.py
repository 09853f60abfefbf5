"""Filters of spans as SQL conditions on the alias `s`; `$1` is the project."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.read_transactions import SET_PLAN_BY_VALUE
from adapters.postgres.database.statements.sql_builder import Parameters, Sql
from adapters.postgres.tracing.span_periods import REST_OF_HOUR, is_name_rolled_up
from adapters.postgres.tracing.trace_filters import ClauseCount, fetch_counts, filter_clauses
from domain.ids import ProjectId
from domain.tracing.span import SpanStatus
from domain.tracing.spans.span_query import SpanFilter
from domain.tracing.usage import CostSource

_ELAPSED: Final = "(s.ended_at - s.started_at)"
# In doubles, which are exact to the microsecond up to 70 years, a third of the numeric's time.
LATENCY_US: Final = (
    "(CASE WHEN s.ended_at >= s.started_at THEN"
    f" CASE WHEN {_ELAPSED} < interval '10000 days'"
    f" THEN (date_part('epoch', {_ELAPSED}) * 1000000)::bigint"
    f" ELSE (extract(epoch FROM {_ELAPSED}) * 1000000)::bigint END END)"
)
TOKENS: Final = "(s.prompt_tokens + s.completion_tokens)"
COST: Final = f"(CASE WHEN s.cost_source <> '{CostSource.UNPRICED}' THEN s.cost_amount END)"
HAS_FAILED: Final = f"s.status = '{SpanStatus.ERROR}'"
SEARCHED_TRACES_MAX: Final = 2_000  # up to this many matching traces, all their spans are read
_EQUAL: Final = ("kind", "name", "model", "provider", "status")


def served_conditions(matching: SpanFilter) -> Iterator[Sql]:
    """The conditions that an index in the order of starts supports."""
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
        if others := sorted(set(getattr(matching, f"not_{name}"))):
            yield Sql(f"(s.{name} = ANY({{}}::text[])) IS NOT TRUE", (others,))
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


@dataclass(frozen=True, slots=True)
class SpanSource:
    """The spans among which matches are, with the alias `s`, and the conditions that remain.

    `served` are those that an index in the order of starts supports, `span_conditions` others on
    spans, and `trace_clauses` those on their traces. It `is_small` if few traces match, and it has
    their spans.
    """

    table: Sql
    served: Sequence[Sql]
    span_conditions: Sequence[Sql]
    trace_clauses: Sequence[ClauseCount] = ()
    is_small: bool = False

    @property
    def rest(self) -> Sequence[Sql]:
        """The conditions that remain, of which that on the trace looks it up."""
        if not self.trace_clauses:
            return self.span_conditions
        exists = "EXISTS (SELECT 1 FROM traces WHERE {} AND traces.trace_id = s.trace_id OFFSET 0)"
        return [*self.span_conditions, Sql(exists.format(self.trace.text), self.trace.values)]

    @property
    def trace(self) -> Sql:
        """The conditions on a row of traces."""
        pieces = [one.clause.sql for one in self.trace_clauses]
        text = " AND ".join([IN_PROJECT, *(one.text for one in pieces)])
        return Sql(text, tuple(value for one in pieces for value in one.values))

    def where(self, p: Parameters, conditions: Sequence[Sql]) -> str:
        """Some of its conditions, and that of the project."""
        if self.is_small:
            return " AND ".join(p.all_of(conditions)) or "true"
        return " AND ".join([f"s.{IN_PROJECT}", *p.all_of(conditions)])


async def find_source(
    connection: Connection, project: ProjectId, matching: SpanFilter, few_traces: int
) -> SpanSource:
    """Chooses between the spans of the matching traces and those of the project.

    The statements after it are planned for their values.
    """
    served, rest = list(served_conditions(matching)), list(other_conditions(matching))
    trace_clauses = filter_clauses(project, matching.trace_filter)
    if not trace_clauses:
        await connection.execute(SET_PLAN_BY_VALUE)
        hours = await _fetch_hours(connection, project, matching)
        return SpanSource(Sql("spans AS s"), [*served, *hours], rest)
    counted = await fetch_counts(connection, project, trace_clauses, "")
    if counted.most <= few_traces:
        return source_of_traces([one.sql for one in trace_clauses], [*served, *rest])
    hours = await _fetch_hours(connection, project, matching)
    return SpanSource(Sql("spans AS s"), [*served, *hours], rest, counted.clauses)


def source_of_traces(on_traces: Sequence[Sql], conditions: Sequence[Sql]) -> SpanSource:
    """The spans of the traces that match, which are few."""
    where = " AND ".join(one.text for one in on_traces)
    values = tuple(value for one in on_traces for value in one.values)
    # OFFSET 0 keeps it a lookup for each trace. A join might be planned over a whole project.
    table = f"""(SELECT trace_id AS id FROM traces WHERE {IN_PROJECT} AND {where} OFFSET 0) AS t
    CROSS JOIN LATERAL
      (SELECT * FROM spans WHERE {IN_PROJECT} AND trace_id = t.id OFFSET 0) AS s"""
    return SpanSource(Sql(table, values), (), conditions, is_small=True)


async def _fetch_hours(
    connection: Connection, project: ProjectId, matching: SpanFilter
) -> Sequence[Sql]:
    """The bounds between which spans of a kind, name and model started, from the roll-up.

    Without them, a value that few spans have, or none, would be looked for in all of them.
    """
    p = Parameters([project])
    given = [(name, getattr(matching, name)) for name in ("kind", "name", "model")]
    conditions = [Sql(f"s.{name} = {{}}", (value,)) for name, value in given if value is not None]
    if not conditions or not is_name_rolled_up(matching.name):
        return ()
    where = " AND ".join([f"s.{IN_PROJECT}", *p.all_of(conditions)])
    hour = f"(SELECT hour FROM span_hours AS s WHERE {where} ORDER BY hour {{}} LIMIT 1)"
    sql = f"SELECT {hour.format('ASC')} AS first, {hour.format('DESC')} AS last"
    [row] = await connection.fetch(sql, *p.values)
    if row["first"] is None:
        return (Sql("false"),)
    # A sum in the statement isn't looked up in an index under the policies of Citus.
    bounds = (row["first"], row["last"] + REST_OF_HOUR)
    return (Sql("s.started_at >= {} AND s.started_at <= {}", bounds),)
