"""Reads the list of spans by start, in steps, and drops what doesn't match.

A statement that looks for rare spans among millions would take longer than a request may. So the
spans are compared some at a time, first those at the start of the list, then those of the periods
in which a span may match. A request compares a bounded number of them, and then says how far it
got.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID

from asyncpg import Record

from adapters.postgres.database.pool import Connection
from adapters.postgres.database.statements.sql_builder import Parameters, Sql
from adapters.postgres.database.statements.walk_budget import (
    COMPARING_MAX_S,
    STEP_GROWTH,
    WalkBudget,
)
from adapters.postgres.tracing.span_filters import SpanSource
from adapters.postgres.tracing.span_periods import SpanPeriod, fetch_periods
from domain.ids import ProjectId, SpanId, TraceId
from domain.page import Position
from domain.tracing.spans.span_query import (
    COMPARED_SPANS_MAX,
    KEY_SEPARATOR,
    SpanFilter,
    position_id,
)

FIRST_SPANS: Final = 20_000  # compared before the roll-ups are asked where to look
STEP_SPANS_MAX: Final = 10_000  # of one statement
FIRST_INSTANT: Final = datetime.min.replace(tzinfo=UTC)
LAST_INSTANT: Final = datetime.max.replace(tzinfo=UTC)


class SpanPlace(NamedTuple):
    """The place of a span in the list by start."""

    started_at: datetime
    trace_id: UUID
    span_id: UUID

    @property
    def position(self) -> Position:
        id_ = position_id(TraceId(self.trace_id), SpanId(self.span_id))
        return Position(self.started_at, id_)

    @classmethod
    def at(cls, position: Position) -> "SpanPlace":
        assert isinstance(position.value, datetime)
        trace, span = (UUID(one) for one in str(position.id).split(KEY_SEPARATOR))
        return cls(position.value, trace, span)


@dataclass(frozen=True, slots=True)
class WalkLimits:
    """The limits of a request's comparisons."""

    spans: int = COMPARED_SPANS_MAX
    seconds: float = COMPARING_MAX_S
    first_spans: int = FIRST_SPANS
    step_spans: int = STEP_SPANS_MAX


WALK_LIMITS: Final = WalkLimits()


@dataclass(slots=True)
class SpanWalk:
    """The spans of `source` that match, in order, after the place `last`, without the first `skip`.

    `compared` spans have been read, up to `last`, of which `matched` match. `is_over` after the
    last span of all.
    """

    connection: Connection
    project: ProjectId
    matching: SpanFilter
    source: SpanSource
    is_descending: bool
    last: SpanPlace | None = None
    skip: int = 0
    limits: WalkLimits = WALK_LIMITS
    matched: int = 0
    is_over: bool = False
    _periods: list[SpanPeriod] | None = None  # those that follow, the next one last
    _budget: WalkBudget = field(init=False)

    def __post_init__(self) -> None:
        self._budget = WalkBudget(self.limits.spans, self.limits.seconds)

    @property
    def compared(self) -> int:
        return self._budget.compared

    @property
    def may_go_on(self) -> bool:
        """Whether there may be more, and the limits of the request aren't reached."""
        return not (self.is_over or self._budget.is_spent)

    async def next(self, wanted: int) -> list[SpanPlace]:
        """The next `wanted` spans that match; fewer if the walk is over or at a limit."""
        found = list[SpanPlace]()
        step = (self.skip + wanted) * (STEP_GROWTH if self._compares else 1)
        while len(found) < wanted and self.may_go_on:
            if self._should_skip_periods:
                await self._fetch_periods()
                continue
            most = min(step, self.limits.step_spans, self._budget.left)
            found += await self._step(wanted - len(found), most)
            if self.matched:  # as many as are expected to have what is wanted, and a third more
                due = self.skip + wanted - len(found)
                step = STEP_GROWTH * self.compared * due // (3 * self.matched) + 1
            else:
                step *= STEP_GROWTH
        return found

    def from_start(self) -> "SpanWalk":
        """The same list from its start."""
        return SpanWalk(
            self.connection, self.project, self.matching, self.source, self.is_descending,
            limits=self.limits,
        )  # fmt: skip

    async def count_up_to(self, most: int) -> None:
        """Compares spans until there are no more, or more than `most` have been compared."""
        self.skip = most + 1
        if not self._compares and not self.is_over and self.compared <= most:
            await self._count_all(most + 1 - self.compared)
        while not self.is_over and self.compared <= most:
            await self._step(1, most + 1 - self.compared)

    async def _count_all(self, most: int) -> None:
        """As `_step`, of spans that all match, by index alone."""
        p = Parameters([self.project])
        where = self.source.where(p, [*self.source.served, *self._bounds()])
        direction = "DESC" if self.is_descending else "ASC"
        sql = f"""
        SELECT count(*) FROM (
          SELECT 1 FROM spans AS s WHERE {where} ORDER BY s.started_at {direction} LIMIT {most:d}
        ) AS counted
        """
        read: int = await self.connection.fetchval(sql, *p.values)
        self._budget.compared += read
        self.matched += read
        self.is_over = read < most

    @property
    def _compares(self) -> bool:
        return bool(self.source.span_conditions or self.source.trace_clauses)

    @property
    def _should_skip_periods(self) -> bool:
        is_due = self._periods is None and self.compared >= self.limits.first_spans
        return is_due and self._compares and not self.source.is_small

    async def _fetch_periods(self) -> None:
        """Looks up where to go on."""
        since, until = self.matching.started_after, self.matching.started_before
        if self.last is not None and self.is_descending:
            until = self.last.started_at
        elif self.last is not None:
            since = self.last.started_at
        found = await fetch_periods(
            self.connection, self.project, self.matching, self.source.trace_clauses,
            SpanPeriod(since or FIRST_INSTANT, until or LAST_INSTANT),
        )  # fmt: skip
        self._periods = [*found] if self.is_descending else [*reversed(found)]
        self.is_over = not found

    async def _step(self, wanted: int, most: int) -> list[SpanPlace]:
        """Compares the next `most` spans, unless `wanted` match before."""
        rows = await self._fetch(wanted, most)
        found = [SpanPlace(*row[:3]) for row in rows if row["is_found"]]
        read = rows[-1]["place"] if rows else 0
        if rows:
            self._budget.compared += read
            self.matched += rows[-1]["matched"]
            self.skip = max(0, self.skip - rows[-1]["matched"])
            self.last = SpanPlace(*rows[-1][:3])
        if len(found) < wanted and read < most:  # there are no more of them
            if self._periods:
                self._periods.pop()
            self.is_over = not self._periods
        return found

    async def _fetch(self, wanted: int, most: int) -> Sequence[Record]:
        """The first spans that match, up to `wanted`, and the last one that was compared."""
        p = Parameters([self.project])
        table = p.sql(self.source.table)
        where = self.source.where(p, [*self.source.served, *self._bounds()])
        matches = " AND ".join(p.all_of(self.source.span_conditions)) or "true"
        direction = "DESC" if self.is_descending else "ASC"
        by = ", ".join(f"{key} {direction}" for key in SpanPlace._fields)  # of every level
        with_traces, is_match = "", "is_match"
        if self.source.trace_clauses:
            # Spans of a trace are near each other: looking up each trace once takes a few lookups.
            with_traces = f""", matching AS MATERIALIZED (
              SELECT found.trace_id
              FROM (SELECT DISTINCT trace_id AS id FROM compared WHERE is_match) AS wanted
              CROSS JOIN LATERAL (
                SELECT trace_id FROM traces
                WHERE {p.sql(self.source.trace)} AND trace_id = wanted.id LIMIT 1
              ) AS found
            )"""
            is_match = "is_match AND trace_id IN (SELECT trace_id FROM matching)"
        # The limits are in the SQL text, so that the planner knows how few rows there will be.
        sql = f"""
        WITH compared AS MATERIALIZED (
          SELECT s.started_at, s.trace_id, s.span_id, ({matches}) IS TRUE AS is_match
          FROM (SELECT s.* FROM {table} WHERE {where} ORDER BY {by} LIMIT {most:d}) AS s
        ){with_traces}
        SELECT * FROM (
          SELECT started_at, trace_id, span_id, place, matched,
                 is_match AND matched > {p.put(self.skip)}::bigint AS is_found,
                 place = compared AS is_last
          FROM (
            SELECT *, row_number() OVER () AS place, count(*) OVER () AS compared,
                   count(*) FILTER (WHERE is_match)
                     OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS matched
            FROM (
              SELECT started_at, trace_id, span_id, {is_match} AS is_match
              FROM compared OFFSET 0
            ) AS decided
          ) AS placed
        ) AS counted WHERE is_found OR is_last
        ORDER BY {by} LIMIT {wanted:d}
        """
        return await self.connection.fetch(sql, *p.values)

    def _bounds(self) -> Sequence[Sql]:
        bounds = []
        if self.last is not None:
            sign = "<" if self.is_descending else ">"
            # The redundant condition on the start alone is one of the index.
            bounds.append(Sql(f"s.started_at {sign}= {{}}::timestamptz", self.last[:1]))
            bounds.append(
                Sql(
                    f"(s.started_at, s.trace_id, s.span_id) {sign}"
                    " ({}::timestamptz, {}::uuid, {}::uuid)",
                    tuple(self.last),
                )
            )
        if self._periods:
            period = self._periods[-1]
            bounds.append(Sql("s.started_at >= {}", period[:1]))
            bounds.append(Sql("s.started_at <= {}", period[1:]))
        return bounds
