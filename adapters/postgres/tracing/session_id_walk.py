"""Lists sessions by a part of their id: compares the ids in the order of the list, in steps.

Comparing all ids of a project takes time in proportion to its sessions. A part that many ids have
fills a page after a few thousand. A rare one is looked for among all ids, and if those are too
many, the page ends early and says how far they were compared.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.read_transactions import HAS_ACTIVE_ERASURE
from adapters.postgres.database.statements.keyset_pages import KeysetPage, KeysetQuery
from adapters.postgres.database.statements.sql_builder import Parameters
from adapters.postgres.database.statements.walk_budget import (
    COMPARING_MAX_S,
    STEP_GROWTH,
    WalkBudget,
)
from adapters.postgres.tracing.session_figures import COUNT_SESSIONS
from adapters.postgres.tracing.session_sums import has_id_containing
from domain.page import Position
from domain.tracing.query import fold_case
from domain.tracing.session import COMPARED_IDS_MAX

STEP_MIN, STEP_MAX = 4_000, 40_000  # ids of one statement
SELECT_COUNT: Final = f"SELECT {COUNT_SESSIONS.text} AS sessions, {HAS_ACTIVE_ERASURE} AS is_hiding"


@dataclass(frozen=True, slots=True)
class IdWalkLimits:
    """Up to `counted` sessions, all ids are compared at once, so that the total is exact.

    If there are more, a request first compares the ids of `tried` sessions, or of fewer if the
    share with the part says that so many won't fill the page. Then it compares all ids. In a
    project with more than `all_compared` sessions, it compares those of `compared` sessions in all.
    """

    counted: int = 20_000
    tried: int = 20_000
    all_compared: int = 250_000
    compared: int = COMPARED_IDS_MAX
    seconds: float = COMPARING_MAX_S
    least_step: int = STEP_MIN


ID_WALK_LIMITS: Final = IdWalkLimits()


@dataclass(slots=True)
class SessionIdWalk:
    """The sessions whose id has `part`, by last activity. `is_over` after the last session."""

    connection: Connection
    query: KeysetQuery
    part: str
    limits: IdWalkLimits
    is_over: bool = False
    _reached: tuple[datetime, str] | None = None  # the last session that was compared
    _found: list[str] = field(default_factory=list)

    async def fetch(self) -> tuple[KeysetPage, Position | None] | None:
        """The page, and the position where a limit ended it, if it did.

        None if all ids are to be compared at once.
        """
        project, window, limits = self.query.project, self.query.window, self.limits
        row = await self.connection.fetchrow(SELECT_COUNT, project)
        assert row is not None
        if row["is_hiding"] or row["sessions"] <= limits.counted:
            return None
        is_large = row["sessions"] > limits.all_compared
        budget = WalkBudget(limits.compared if is_large else limits.tried, limits.seconds)
        wanted, step = window.offset + self.query.rows, limits.least_step
        while len(self._found) < wanted and not self.is_over and not budget.is_spent:
            await self._step(budget, min(step, STEP_MAX, budget.left))
            step *= STEP_GROWTH
            if not is_large and len(self._found) * budget.rows < wanted * budget.compared:
                break
        end = None
        if len(self._found) < wanted and not self.is_over:
            if not is_large or window.offset or self._reached is None:
                return None
            end = Position(*self._reached)
        p = Parameters([project])
        ids = self._found[window.offset : wanted]
        given = f"keys AS (SELECT unnest({p.put(ids)}::text[]) AS id)"
        page = await self.query.fetch_keys(self.connection, p, given, "0")
        is_counted = self.is_over and window.after is None
        return KeysetPage(len(self._found), page.rows, total_is_at_least=not is_counted), end

    async def _step(self, budget: WalkBudget, most: int) -> None:
        """Compares the ids of the next `most` sessions."""
        p = Parameters([self.query.project])
        direction, sign = ("DESC", "<") if self.query.down else ("ASC", ">")
        by = f"last_activity_at {direction}, session_id {direction}"
        bound, after = "", self.query.window.after
        if self._reached is not None:
            bound = f"AND (last_activity_at, session_id) {sign} {_row(p, *self._reached)}"
        elif after is not None:
            bound = f"AND (last_activity_at, session_id) {sign} {_row(p, after.value, after.id)}"
        part = p.put(fold_case(self.part))
        # In this collation, lower() folds ASCII alone. Ids with other letters are looked up.
        sql = f"""
        WITH compared AS MATERIALIZED (
          SELECT last_activity_at, session_id FROM sessions
          WHERE {IN_PROJECT} {bound} ORDER BY {by} LIMIT {most:d}
        ), last AS MATERIALIZED (
          SELECT last_activity_at AS reached, session_id AS reached_id FROM compared
          OFFSET {most - 1:d} LIMIT 1
        )
        SELECT last.*, found.id FROM (SELECT 1) AS one
        LEFT JOIN last ON true
        LEFT JOIN (
          SELECT last_activity_at, session_id AS id FROM compared
          WHERE strpos(lower(session_id), {part}) > 0
            OR (octet_length(session_id) > length(session_id)
                AND {p.sql(has_id_containing(self.part))})
        ) AS found ON true
        ORDER BY found.last_activity_at {direction}, found.id {direction}
        """
        rows = await self.connection.fetch(sql, *p.values)
        budget.compared += most
        if (reached := rows[0]["reached"]) is None:
            self.is_over = True
        else:
            self._reached = (reached, rows[0]["reached_id"])
        self._found += [row["id"] for row in rows if row["id"] is not None]


def _row(p: Parameters, at: object, id_: object) -> str:
    return f"({p.put(at)}::timestamptz, {p.put(str(id_))}::text)"
