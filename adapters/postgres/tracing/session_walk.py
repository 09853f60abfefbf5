"""Reads sessions of which filters select many traces, in descending order, in steps.

Grouping all selected traces takes time in proportion to them. So a request compares some at a time,
until the places of enough sessions are known, or until a limit.

By last activity, it compares traces by start. All sessions that are active from the start of the
last compared trace on are then known: they have such a trace, or they began before that start and
were active after it. In the other orders it compares whole sessions: no sum over some traces of a
session exceeds the sum over all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.statements.keyset_pages import KeysetPage, KeysetQuery
from adapters.postgres.database.statements.sql_builder import Parameters, Sql
from adapters.postgres.database.statements.walk_budget import (
    COMPARING_MAX_S,
    STEP_GROWTH,
    WalkBudget,
)
from adapters.postgres.tracing.session_sums import SelectedTraces
from adapters.postgres.tracing.trace_filters import ClauseCount, FilterCounts
from domain.page import Position
from domain.tracing.query import TraceSort
from domain.tracing.session import COMPARED_TRACES_MAX, COUNTED_TRACES_MAX, SessionSort

COMPARED_SESSIONS_MAX: Final = 20_000  # in orders other than that of last activity
STEP_MIN, STEP_MAX = 1_000, 20_000  # of one statement
TRACES_OF_SESSION: Final = 4  # expected, so that a step finds what is wanted


@dataclass(frozen=True, slots=True)
class SessionWalkLimits:
    """The limits of a request's comparisons and counts.

    Up to `grouped` selected traces are grouped instead, or `grouped_by_sum` in orders other than
    that of last activity, in which sessions without such traces are compared too.
    """

    grouped: int = 10_000
    grouped_by_sum: int = 100_000
    traces: int = COMPARED_TRACES_MAX
    sessions: int = COMPARED_SESSIONS_MAX
    counted: int = COUNTED_TRACES_MAX
    seconds: float = COMPARING_MAX_S
    least_step: int = STEP_MIN

    def most_grouped(self, sort: SessionSort) -> int:
        return self.grouped if sort is SessionSort.RECENT else self.grouped_by_sum


WALK_LIMITS: Final = SessionWalkLimits()


@dataclass(slots=True)
class SessionWalk:
    """The sessions of `selected`, in descending order.

    The places of all sessions from `reached` on are known. `is_over` after the last one.
    """

    connection: Connection
    query: KeysetQuery
    selected: SelectedTraces
    counts: FilterCounts
    limits: SessionWalkLimits
    reached: tuple[Any, str] | None = None  # a sort value and an id
    is_over: bool = False
    budget: WalkBudget = field(init=False)  # of traces, or of sessions in other orders
    _found: dict[str, Any] = field(default_factory=dict)  # sessions and their sort values

    def __post_init__(self) -> None:
        most = self.limits.traces if self._is_by_activity else self.limits.sessions
        self.budget = WalkBudget(most, self.limits.seconds)

    async def fetch(self) -> tuple[KeysetPage, Position | None] | None:
        """The page, and the position where a limit ended it, if it did.

        None if a limit ended it where no other request can go on.
        """
        window = self.query.window
        wanted = window.offset + self.query.rows
        step = self._first_step(wanted)
        while len(ready := self._ready()) < wanted and self._may_go_on:
            await self._step(min(step, STEP_MAX, self.budget.left))
            step *= STEP_GROWTH
        end = None
        if len(ready) < wanted and not (self.is_over and self._is_whole_when_over):
            if not self._is_by_activity or window.offset or self.reached is None:
                return None
            end = Position(*self.reached)
        page = await self.selected.fetch_sums(
            self.connection, [id_ for _, id_ in ready[window.offset : wanted]]
        )
        seen = len(ready) if window.offset < len(ready) else 0
        if self.is_over and self._is_whole_when_over and window.after is None:
            return KeysetPage(seen, page), end
        return KeysetPage(max(seen, await self._count()), page, total_is_at_least=True), end

    @property
    def _is_by_activity(self) -> bool:
        return self.selected.sort is SessionSort.RECENT

    @property
    def _is_whole_when_over(self) -> bool:
        """Whether all sessions have been read: those without a value aren't walked."""
        return not self.query.is_nullable

    @property
    def _after(self) -> tuple[Any, str] | None:
        """The sort value and the id of the session at the cursor."""
        after = self.query.window.after
        return None if after is None else (after.value, str(after.id))

    @property
    def _may_go_on(self) -> bool:
        return not (self.is_over or self.budget.is_spent)

    def _first_step(self, wanted: int) -> int:
        """How many traces or sessions are expected to have the page."""
        among = min([self.counts.all, *(one.most or 0 for one in self._served if one.most)])
        expected = TRACES_OF_SESSION * wanted * among // max(1, self.counts.most)
        return max(self.limits.least_step, expected)

    def _ready(self) -> list[tuple[Any, str]]:
        """The sessions after the cursor whose places are known, in order."""
        known = [(value, id_) for id_, value in self._found.items() if value is not None]
        if not self.is_over:
            known = [one for one in known if self.reached is not None and one >= self.reached]
        if self._after is not None:
            known = [one for one in known if one < self._after]
        return sorted(known, reverse=True)

    async def _step(self, most: int) -> None:
        p = Parameters([self.query.project])
        sql = (self._by_traces if self._is_by_activity else self._by_sessions)(p, most)
        rows = await self.connection.fetch(sql, *p.values)
        read, value, id_ = rows[0]["compared"], rows[0]["reached"], rows[0]["reached_id"]
        self.budget.compared += read
        self.is_over = read < most
        if read:
            self.reached = (value, id_)
        self._found |= {row["id"]: row["value"] for row in rows if row["id"] is not None}

    @property
    def _served(self) -> Sequence[ClauseCount]:
        """The conditions that an index by start supports."""
        by_start = [one for one in self.counts.clauses if TraceSort.STARTED_AT in one.clause.sorts]
        single = [one for one in by_start if not one.clause.is_range]
        rarest = min(single, key=lambda one: one.most or 0, default=None)
        return [one for one in by_start if one.clause.is_range or one is rarest]

    def _traces(self, p: Parameters, served: Sequence[Sql], limit: str) -> str:
        """The next traces by start, each with whether the filters select it."""
        conditions = [one.clause.sql for one in self._served]
        rest = [one.clause.sql for one in self.counts.clauses if one not in self._served]
        where = " AND ".join([IN_PROJECT, *p.all_of([*conditions, *served])])
        matches = " AND ".join(["session_id IS NOT NULL", *p.all_of(rest)])
        # The inner limit is an optimisation barrier: the planner can't choose another path.
        return f"""
        SELECT started_at, session_id, ({matches}) IS TRUE AS is_selected FROM (
          SELECT * FROM traces WHERE {where} ORDER BY started_at DESC {limit}
        ) AS traces
        """

    def _by_traces(self, p: Parameters, most: int) -> str:
        """The next `most` traces, and all that started with the last of them; their sessions."""
        bounds, after = list[Sql](), self._after
        if self.reached is not None:
            bounds.append(Sql("started_at < {}", self.reached[:1]))
        elif after is not None:
            sign = "<=" if after[1] else "<"  # '' is below all sessions of the instant
            bounds.append(Sql(f"started_at {sign} {{}}", after[:1]))
        compared = self._traces(p, bounds, f"FETCH FIRST {most:d} ROWS WITH TIES")
        return f"""
        WITH compared AS MATERIALIZED ({compared}),
        last AS MATERIALIZED (
          SELECT count(*) AS compared, min(started_at) AS reached, '' AS reached_id FROM compared
        ), candidates AS MATERIALIZED (
          SELECT session_id AS id FROM compared WHERE is_selected
          UNION
          SELECT session_id FROM (
            SELECT session_id, first_started_at, tags FROM sessions
            WHERE {IN_PROJECT} AND (SELECT compared FROM last) >= {p.put(most)}::bigint
              AND last_activity_at >= (SELECT reached FROM last)
            OFFSET 0  -- few are active so late, but nearly all began before
          ) AS active
          WHERE first_started_at < (SELECT reached FROM last) {self._tagged(p)}
        )
        SELECT last.*, found.*
        FROM last LEFT JOIN ({self.selected.values(p, "candidates")}) AS found ON true
        """

    def _by_sessions(self, p: Parameters, most: int) -> str:
        """The next `most` sessions by their sums over all traces."""
        value, matching = self.query.value, self.selected.matching
        bounds = [Sql(f"{value} IS NOT NULL")]
        if self.reached is not None:
            bounds.append(Sql(f"({value}, session_id) < ({{}}, {{}})", self.reached))
        where = " AND ".join([IN_PROJECT, *p.all_of(bounds)])
        within = [f"true {self._tagged(p)}"]
        if matching.started_after is not None:
            within.append(f"last_activity_at >= {p.put(matching.started_after)}")
        if matching.started_before is not None:
            within.append(f"first_started_at < {p.put(matching.started_before)}")
        return f"""
        WITH compared AS MATERIALIZED (
          SELECT {value} AS reached, session_id AS id, {" AND ".join(within)} AS is_candidate
          FROM (
            SELECT * FROM sessions WHERE {where}
            ORDER BY {value} DESC, session_id DESC LIMIT {most:d}
          ) AS sessions
        ), last AS MATERIALIZED (
          SELECT (SELECT count(*) FROM compared) AS compared, ends.* FROM (SELECT) AS one
          LEFT JOIN (
            SELECT reached, id AS reached_id FROM compared ORDER BY reached, id LIMIT 1
          ) AS ends ON true
        ), candidates AS MATERIALIZED (SELECT id FROM compared WHERE is_candidate)
        SELECT last.*, found.*
        FROM last LEFT JOIN ({self.selected.values(p, "candidates")}) AS found ON true
        """

    def _tagged(self, p: Parameters) -> str:
        """A session has the tags of all its traces."""
        tags = sorted(self.selected.matching.tags)
        return f"AND tags && {p.put(tags)}::text[]" if tags else ""

    async def _count(self) -> int:
        """The sessions of the newest traces, without those that filters of sessions exclude."""
        if self.counts.has_active_erasure or self.selected.matching.selects_summaries:
            return 0
        p = Parameters([self.query.project])
        traces = self._traces(p, [], f"LIMIT {self.limits.counted:d}")
        sql = f"SELECT count(DISTINCT session_id) FROM ({traces}) AS traces WHERE is_selected"
        found: int = await self.connection.fetchval(sql, *p.values)
        return found
