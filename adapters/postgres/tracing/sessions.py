"""Sessions: one by one, and lists from roll-ups or from sums over the selected traces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection, require_row
from adapters.postgres.database.read_transactions import (
    HAS_ACTIVE_ERASURE,
    RETRY_LATER,
    PoolReader,
)
from adapters.postgres.database.statements.keyset_pages import (
    NEAR_OFFSET_MAX,
    KeysetPage,
    KeysetQuery,
    PageConditions,
)
from adapters.postgres.database.statements.sql_builder import Parameters, Sql, like
from adapters.postgres.tracing.rollups.facets import Facet
from adapters.postgres.tracing.session_figures import (
    COUNT_FAILED_SESSIONS,
    COUNT_SESSIONS,
    count_sessions,
)
from adapters.postgres.tracing.session_id_walk import (
    ID_WALK_LIMITS,
    IdWalkLimits,
    SessionIdWalk,
)
from adapters.postgres.tracing.session_sums import (
    GROUPING_WORK_MEM,
    SESSION_COLUMNS,
    SORT_COLUMNS,
    SelectedTraces,
    has_id_containing,
)
from adapters.postgres.tracing.session_turns import fetch_turns
from adapters.postgres.tracing.session_walk import WALK_LIMITS, SessionWalk, SessionWalkLimits
from adapters.postgres.tracing.trace_filters import fetch_counts, filter_clauses
from adapters.postgres.tracing.trace_loader import fetch_whole_traces, whole_trace_bytes
from adapters.postgres.tracing.trace_rows import totals_from_row
from adapters.postgres.tracing.writes.edits import TraceEdits
from application.read_room import read_within_room
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId
from domain.page import Page, PageRequest, Position, SortOrder
from domain.tracing.payloads.read_limit import READ_BYTES_MAX, TooLargeToRead, trace_too_large
from domain.tracing.query import fold_case
from domain.tracing.session import Session, SessionFilter, SessionSort, SessionSummary
from domain.tracing.session_turn import SessionTurn

NARROW_LIST: Final = (
    "narrow the list of sessions with started_after and started_before, with user_id, "
    "or with rarer tags"
)
# The roll-up also counts sessions that are being erased.
_ALL: Final = f"SELECT count(*) FROM sessions WHERE {IN_PROJECT}"
_VISIBLE: Final = f"(CASE WHEN {HAS_ACTIVE_ERASURE} THEN ({_ALL}) ELSE {COUNT_SESSIONS.text} END)"
_VISIBLE_FAILED: Final = (
    f"(CASE WHEN {HAS_ACTIVE_ERASURE} THEN ({_ALL} AND error_count > 0)"
    f" ELSE {COUNT_FAILED_SESSIONS.text} END)"
)
# All ids of the project are compared, once.
SELECT_MATCHING_IDS: Final = f"""
WITH ids AS MATERIALIZED (
  SELECT value FROM trace_facets
  WHERE {IN_PROJECT} AND kind = '{Facet.SESSION}' AND search_value LIKE $2
)
SELECT (SELECT count(*) FROM ids) AS sessions, ARRAY(SELECT value FROM ids LIMIT $3) AS some
"""
COUNT_TAGGED_TRACES: Final = f"""
SELECT coalesce(sum(trace_count), 0)::bigint FROM trace_facets
WHERE {IN_PROJECT} AND kind = '{Facet.TAG}' AND value = ANY($2::text[])
"""
RARE_TAG_TRACES_MAX: Final = 50_000  # traces
LOOKED_UP_IDS_MAX: Final = 5_000  # ids that are looked up one by one

REDUCE_LIMIT: Final = "ask for fewer traces with limit"

SELECT_SESSION: Final = f"""
WITH shown AS MATERIALIZED (
  SELECT trace_id FROM traces WHERE {IN_PROJECT} AND session_id = $2
  ORDER BY started_at, trace_id LIMIT $3 OFFSET $4
)
SELECT {", ".join(SESSION_COLUMNS)}, ARRAY(SELECT trace_id FROM shown) AS shown,
  (SELECT coalesce(sum({whole_trace_bytes("shown.trace_id")}), 0)::bigint FROM shown) AS bytes
FROM sessions WHERE {IN_PROJECT} AND session_id = $2
"""

# LIMIT and OFFSET 0 make each a lookup. A join might be planned over a whole project.
SELECT_FIRST_INPUTS: Final = f"""
SELECT sessions.session_id, input_preview
FROM visible_sessions AS sessions
CROSS JOIN LATERAL (
  SELECT trace_id FROM traces
  WHERE traces.{IN_PROJECT} AND traces.session_id = sessions.session_id
  ORDER BY started_at, trace_id LIMIT 1
) AS first
LEFT JOIN LATERAL (
  SELECT input_preview FROM trace_payloads
  WHERE trace_payloads.{IN_PROJECT} AND trace_payloads.trace_id = first.trace_id AND start = 0
  OFFSET 0
) AS payloads ON true
WHERE sessions.{IN_PROJECT} AND sessions.session_id = ANY($2::text[])
"""


@dataclass(frozen=True, slots=True)
class PostgresSessions(PoolReader):
    """Each read is from one snapshot."""

    edits: TraceEdits
    walk_limits: SessionWalkLimits = field(default=WALK_LIMITS, kw_only=True)
    id_walk_limits: IdWalkLimits = field(default=ID_WALK_LIMITS, kw_only=True)

    async def summaries(
        self,
        project: ProjectId,
        matching: SessionFilter,
        sort: SessionSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[SessionSummary]:
        query = KeysetQuery(
            project=project,
            table="sessions",
            id="session_id",
            value=SORT_COLUMNS[sort],
            columns=SESSION_COLUMNS,
            down=order is SortOrder.DESC,
            window=window,
            is_nullable=sort is SessionSort.LATENCY,
        )
        page, reached = None, None
        if matching == SessionFilter() and window.offset <= NEAR_OFFSET_MAX:
            async with self._statement(NARROW_LIST, project) as connection:
                page = await query.fetch_unfiltered(connection, COUNT_SESSIONS)
        if page is None:
            async with self._visible_snapshot(NARROW_LIST, project) as connection:
                page, reached = await self._fetch_filtered(connection, query, matching, sort)
        found = page.to_page(window.limit, summary_from_row, sort.position)
        return found if reached is None else replace(found, end=reached)

    async def _fetch_filtered(
        self, connection: Connection, query: KeysetQuery, matching: SessionFilter, sort: SessionSort
    ) -> tuple[KeysetPage, Position | None]:
        """The page, and the position where a limit ended it, if it did."""
        project = query.project
        if not matching.selects_traces:
            if part := _is_by_id(matching, sort, query.window):
                walk = SessionIdWalk(connection, query, part, self.id_walk_limits)
                if (found := await walk.fetch()) is not None:
                    return found
            where = await _session_conditions(connection, project, matching, sort)
            return await query.fetch_page(connection, where), None
        await connection.execute(f"SET LOCAL work_mem = '{GROUPING_WORK_MEM}'")
        if matching.selects_by_value and query.down and _is_near(query.window):
            clauses = filter_clauses(project, matching.trace_filter)
            counts = await fetch_counts(connection, project, clauses, "")
            if counts.most > self.walk_limits.most_grouped(sort):
                selected = SelectedTraces(query, sort, matching, is_rare=False)
                by_traces = SessionWalk(connection, query, selected, counts, self.walk_limits)
                if (found := await by_traces.fetch()) is not None:
                    return found
        is_rare = await _are_rare(connection, project, matching.tags)
        selected = SelectedTraces(query, sort, matching, is_rare)
        total = await _count_within(connection, project, matching)
        return await selected.fetch(connection, total), None

    async def first_inputs(
        self, project: ProjectId, sessions: Sequence[str]
    ) -> Mapping[str, str | None]:
        rows = await self._fetch(RETRY_LATER, project, SELECT_FIRST_INPUTS, project, sessions)
        return {row[0]: row[1] for row in rows}

    async def get(self, project: ProjectId, session: str, window: PageRequest) -> Session:
        values = (project, session, window.limit, window.offset)

        async def read(most: int) -> Session:
            async with self._visible_snapshot(REDUCE_LIMIT, project) as connection:
                row = await connection.fetchrow(SELECT_SESSION, *values)
                row = require_row(row, "Session not found")
                if row["bytes"] > most:
                    raise (
                        TooLargeToRead("these traces hold", "ask for fewer traces", "query.limit")
                        if len(row["shown"]) > 1
                        else trace_too_large("query.limit")
                    )
                traces = await fetch_whole_traces(connection, project, row["shown"])
            return Session(summary_from_row(row), traces)

        return await read_within_room(read, READ_BYTES_MAX)

    async def turns(
        self, project: ProjectId, session: str, order: SortOrder, window: PageRequest
    ) -> Page[SessionTurn]:
        async with self._visible_snapshot(REDUCE_LIMIT, project) as connection:
            return await fetch_turns(connection, project, session, order, window)

    async def delete(
        self, project: ProjectId, session: str, *, audit: AuditEntry | None = None
    ) -> int:
        return await self.edits.delete_session(project, session, audit)


def _is_by_id(matching: SessionFilter, sort: SessionSort, window: PageRequest) -> str | None:
    """The part of an id, if that is the only condition of a list by last activity."""
    is_alone = matching == SessionFilter(query=matching.query) and sort is SessionSort.RECENT
    return matching.query if is_alone and _is_near(window) else None


def _is_near(window: PageRequest) -> bool:
    """Whether a walk may get there. Sessions without a value are after all others."""
    has_value = window.after is None or window.after.value is not None
    return has_value and window.offset <= NEAR_OFFSET_MAX


def summary_from_row(row: Record) -> SessionSummary:
    """From a row of SESSION_COLUMNS."""
    latency = row["latency_us"]
    return SessionSummary(
        id=row["session_id"],
        trace_count=row["trace_count"],
        first_trace_at=row["first_started_at"],
        last_trace_at=row["last_ended_at"],
        last_activity_at=row["last_activity_at"],
        latency_us=None if latency is None else int(latency),
        has_error=row["error_count"] > 0,
        user_id=row["user_id"],
        tags=tuple(row["tags"]),
        totals=totals_from_row(row),
    )


async def _session_conditions(
    connection: Connection, project: ProjectId, matching: SessionFilter, sort: SessionSort
) -> PageConditions:
    """The conditions on whole sessions, and their counts."""
    served, rest, counters = list[Sql](), list[Sql](), [Sql(_VISIBLE)]
    if matching.has_error is True:
        (served if sort is SessionSort.RECENT else rest).append(Sql("error_count > 0"))
        counters.append(Sql(_VISIBLE_FAILED))
    elif matching.has_error is False:
        rest.append(Sql("error_count = 0"))
        counters.append(Sql(f"({_VISIBLE} - {_VISIBLE_FAILED})"))
    if matching.has_failed_span is not None:
        rest.append(Sql("(error_span_count > 0) = {}", (matching.has_failed_span,)))
    p = Parameters([project])
    columns = [HAS_ACTIVE_ERASURE, *p.all_of(counters)]
    [row] = await connection.fetch(f"SELECT {', '.join(columns)}", *p.values)
    has_erasure, every, *some = row
    if matching.query:
        pattern = like(fold_case(matching.query))
        found = await connection.fetchrow(SELECT_MATCHING_IDS, project, pattern, LOOKED_UP_IDS_MAX)
        assert found is not None
        some.append(found["sessions"])
        is_few = found["sessions"] <= LOOKED_UP_IDS_MAX
        looked_up = Sql("session_id = ANY({}::text[])", (found["some"],))
        rest.append(looked_up if is_few else has_id_containing(matching.query))
    is_counted = matching.has_failed_span is None and not (
        some[1:] or (matching.query and has_erasure)
    )
    return PageConditions(
        served=served,
        rest=rest,
        among=some[0] if served else every,
        total=min([every, *some]) if is_counted or 0 in some else None,
    )


async def _count_within(
    connection: Connection, project: ProjectId, matching: SessionFilter
) -> int | None:
    """The sessions of a period from roll-ups; None with other conditions, or hidden sessions."""
    if matching.selects_by_value or matching.selects_summaries:
        return None
    if await connection.fetchval(f"SELECT {HAS_ACTIVE_ERASURE}", project):
        return None
    bounds = (matching.started_after, matching.started_before)
    return await count_sessions(connection, project, bounds)


async def _are_rare(connection: Connection, project: ProjectId, tags: Sequence[str]) -> bool:
    """Whether few traces have one of `tags`: for many, an inverted index is slower than a walk."""
    if not tags:
        return False
    count: int = await connection.fetchval(COUNT_TAGGED_TRACES, project, tags)
    return count <= RARE_TAG_TRACES_MAX
