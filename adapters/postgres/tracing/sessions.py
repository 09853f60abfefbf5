"""Sessions: one by one, and lists from roll-ups or from sums over the selected traces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from asyncpg import Record

from adapters.postgres.database.keyset_pages import (
    NEAR_OFFSET_MAX,
    KeysetPage,
    KeysetQuery,
    PageConditions,
)
from adapters.postgres.database.pool import OF_PROJECT, Connection, require_row
from adapters.postgres.database.read_transactions import (
    HAS_ACTIVE_ERASURE,
    RETRY_LATER,
    PoolReader,
)
from adapters.postgres.database.sql_builder import Parameters, Sql, like
from adapters.postgres.database.time_buckets import Bounds
from adapters.postgres.tracing.rollups.facets import Facet, search_term
from adapters.postgres.tracing.session_turns import fetch_turns
from adapters.postgres.tracing.trace_loader import fetch_whole_traces, whole_trace_bytes
from adapters.postgres.tracing.trace_rows import totals_from_row
from adapters.postgres.tracing.writes.edits import TraceEdits
from domain.errors import Invalid
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.query import fold_case
from domain.tracing.session import Session, SessionFilter, SessionSort, SessionSummary
from domain.tracing.session_turn import SessionTurn

NARROW_LIST: Final = (
    "narrow the list of sessions with started_after and started_before, with user_id, "
    "or with rarer tags"
)
SESSION_COLUMNS: Final = (
    "session_id", "trace_count", "first_started_at", "last_ended_at", "last_activity_at",
    "latency_us", "error_count", "user_id", "tags", "span_count", "error_span_count",
    "prompt_tokens", "completion_tokens", "total_cost", "unpriced_span_count",
)  # fmt: skip
COUNT_SESSIONS: Final = Sql(f"(SELECT count(*) FROM sessions WHERE {OF_PROJECT})")
COUNT_FAILED_SESSIONS: Final = (
    f"(SELECT count(*) FROM sessions WHERE {OF_PROJECT} AND error_count > 0)"
)
# All ids of the project are compared, once.
SELECT_MATCHING_IDS: Final = f"""
WITH ids AS MATERIALIZED (
  SELECT value FROM trace_facets
  WHERE {OF_PROJECT} AND kind = '{Facet.SESSION}' AND search_value LIKE $2
)
SELECT (SELECT count(*) FROM ids) AS sessions, ARRAY(SELECT value FROM ids LIMIT $3) AS some
"""
# The columns of `sessions`, computed from some traces of one session; no row without a trace.
_SUM_OF_TRACES: Final = """
SELECT min(session_id) AS session_id, count(*) AS trace_count,
       min(started_at) AS first_started_at, max(ended_at) AS last_ended_at,
       max(greatest(started_at, ended_at)) AS last_activity_at,
       sum(latency_us) AS latency_us, count(*) FILTER (WHERE status = 'ERROR') AS error_count,
       (array_agg(user_id ORDER BY started_at, trace_id)
           FILTER (WHERE user_id IS NOT NULL))[1] AS user_id,
       sum(span_count) AS span_count, sum(error_span_count) AS error_span_count,
       sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens,
       sum(total_cost) AS total_cost, sum(unpriced_span_count) AS unpriced_span_count
FROM traces WHERE
"""
COUNT_TAGGED_TRACES: Final = f"""
SELECT coalesce(sum(trace_count), 0)::bigint FROM trace_facets
WHERE {OF_PROJECT} AND kind = '{Facet.TAG}' AND value = ANY($2::text[])
"""
# Whether the session of a group of traces is visible. Looked up only if an erasure is active.
IS_VISIBLE_SESSION: Final = (
    f"(NOT {HAS_ACTIVE_ERASURE} OR EXISTS (SELECT 1 FROM sessions AS s"
    f" WHERE s.{OF_PROJECT} AND s.session_id = traces.session_id))"
)
# Aggregates over a group of traces.
ANY_TRACE_FAILED: Final = "bool_or(status = 'ERROR')"
ANY_SPAN_FAILED: Final = "bool_or(error_span_count > 0)"
RARE_TAG_TRACES_MAX: Final = 50_000  # traces
LOOKED_UP_IDS_MAX: Final = 5_000  # ids that are looked up one by one
GROUPING_WORK_MEM: Final = "16MB"  # holds some 200,000 groups; more spill to disk

_SORT_COLUMNS: Final = {
    SessionSort.RECENT: "last_activity_at",
    SessionSort.TRACE_COUNT: "trace_count",
    SessionSort.LATENCY: "latency_us",
    SessionSort.COST: "total_cost",
}
_SORT_AGGREGATES: Final = {
    SessionSort.RECENT: "max(greatest(started_at, ended_at))",
    SessionSort.TRACE_COUNT: "count(*)",
    SessionSort.LATENCY: "sum(latency_us)",
    SessionSort.COST: "sum(total_cost)",
}
PAGE_BYTES_MAX: Final = 128 << 20  # of one response, which is in memory several times

TOO_LARGE: Final = f"these traces hold more than {PAGE_BYTES_MAX >> 20} MiB"
REDUCE_LIMIT: Final = "ask for fewer traces with limit"

SELECT_SESSION: Final = f"""
WITH shown AS MATERIALIZED (
  SELECT trace_id FROM traces WHERE {OF_PROJECT} AND session_id = $2
  ORDER BY started_at, trace_id LIMIT $3 OFFSET $4
)
SELECT {", ".join(SESSION_COLUMNS)}, ARRAY(SELECT trace_id FROM shown) AS shown,
  (SELECT coalesce(sum({whole_trace_bytes("shown.trace_id")}), 0)::bigint FROM shown) AS bytes
FROM sessions WHERE {OF_PROJECT} AND session_id = $2
"""

# LIMIT and OFFSET 0 make each a lookup. A join might be planned over a whole project.
SELECT_FIRST_INPUTS: Final = f"""
SELECT sessions.session_id, input_preview
FROM veiled_sessions AS sessions
CROSS JOIN LATERAL (
  SELECT trace_id FROM traces
  WHERE traces.{OF_PROJECT} AND traces.session_id = sessions.session_id
  ORDER BY started_at, trace_id LIMIT 1
) AS first
LEFT JOIN LATERAL (
  SELECT input_preview FROM trace_payloads
  WHERE trace_payloads.{OF_PROJECT} AND trace_payloads.trace_id = first.trace_id AND start = 0
  OFFSET 0
) AS payloads ON true
WHERE sessions.{OF_PROJECT} AND sessions.session_id = ANY($2::text[])
"""


@dataclass(frozen=True, slots=True)
class PostgresSessions(PoolReader):
    """Each read is from one snapshot."""

    edits: TraceEdits

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
            value=_SORT_COLUMNS[sort],
            columns=SESSION_COLUMNS,
            down=order is SortOrder.DESC,
            window=window,
            is_nullable=sort is SessionSort.LATENCY,
        )
        page = None
        if matching == SessionFilter() and window.offset <= NEAR_OFFSET_MAX:
            async with self._statement(NARROW_LIST, project) as connection:
                page = await query.fetch_unfiltered(connection, COUNT_SESSIONS)
        if page is None:
            async with self._visible_snapshot(NARROW_LIST, project) as connection:
                page = await _fetch_filtered(connection, query, matching, sort)
        return page.to_page(window.limit, summary_from_row, sort.position)

    async def first_inputs(
        self, project: ProjectId, sessions: Sequence[str]
    ) -> Mapping[str, str | None]:
        rows = await self._fetch(RETRY_LATER, project, SELECT_FIRST_INPUTS, project, sessions)
        return {row[0]: row[1] for row in rows}

    async def get(self, project: ProjectId, session: str, window: PageRequest) -> Session:
        values = (project, session, window.limit, window.offset)
        async with self._visible_snapshot(REDUCE_LIMIT, project) as connection:
            row = await connection.fetchrow(SELECT_SESSION, *values)
            row = require_row(row, "Session not found")
            if row["bytes"] > PAGE_BYTES_MAX and window.limit > 1:
                raise Invalid.field("query.limit", f"{TOO_LARGE}: ask for fewer traces")
            traces = await fetch_whole_traces(connection, project, row["shown"])
        return Session(summary_from_row(row), traces)

    async def turns(
        self, project: ProjectId, session: str, order: SortOrder, window: PageRequest
    ) -> Page[SessionTurn]:
        async with self._visible_snapshot(REDUCE_LIMIT, project) as connection:
            return await fetch_turns(connection, project, session, order, window)

    async def delete(
        self, project: ProjectId, session: str, *, audit: AuditEntry | None = None
    ) -> int:
        return await self.edits.delete_session(project, session, audit)


async def _fetch_filtered(
    connection: Connection, query: KeysetQuery, matching: SessionFilter, sort: SessionSort
) -> KeysetPage:
    project = query.project
    if not matching.selects_traces:
        where = await _session_conditions(connection, project, matching, sort)
        return await query.fetch_page(connection, where)
    await connection.execute(f"SET LOCAL work_mem = '{GROUPING_WORK_MEM}'")
    is_rare = await _are_rare(connection, project, matching.tags)
    return await _SelectedTraces(query, sort, matching, is_rare).fetch(connection)


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
    served, rest, counters = list[Sql](), list[Sql](), [COUNT_SESSIONS]
    if matching.has_error is True:
        (served if sort is SessionSort.RECENT else rest).append(Sql("error_count > 0"))
        counters.append(Sql(COUNT_FAILED_SESSIONS))
    elif matching.has_error is False:
        rest.append(Sql("error_count = 0"))
        counters.append(Sql(f"({COUNT_SESSIONS.text} - {COUNT_FAILED_SESSIONS})"))
    if matching.has_failed_span is not None:
        rest.append(Sql("(error_span_count > 0) = {}", (matching.has_failed_span,)))
    p = Parameters([project])
    columns = [HAS_ACTIVE_ERASURE, *p.all_of(counters)]
    [row] = await connection.fetch(f"SELECT {', '.join(columns)}", *p.values)
    is_veiled, every, *some = row
    if matching.query:
        pattern = like(fold_case(matching.query))
        found = await connection.fetchrow(SELECT_MATCHING_IDS, project, pattern, LOOKED_UP_IDS_MAX)
        assert found is not None
        some.append(found["sessions"])
        is_few = found["sessions"] <= LOOKED_UP_IDS_MAX
        looked_up = Sql("session_id = ANY({}::text[])", (found["some"],))
        rest.append(looked_up if is_few else has_id_containing(matching.query))
    is_counted = matching.has_failed_span is None and not (
        some[1:] or (matching.query and is_veiled)
    )
    return PageConditions(
        served=served,
        rest=rest,
        among=some[0] if served else every,
        total=min([every, *some]) if is_counted or 0 in some else None,
    )


async def _are_rare(connection: Connection, project: ProjectId, tags: Sequence[str]) -> bool:
    """Whether few traces have one of `tags`: for many, an inverted index is slower than a walk."""
    if not tags:
        return False
    count: int = await connection.fetchval(COUNT_TAGGED_TRACES, project, tags)
    return count <= RARE_TAG_TRACES_MAX


@dataclass(frozen=True, slots=True)
class _SelectedTraces:
    """A page of sessions, summed over some of their traces only."""

    query: KeysetQuery
    sort: SessionSort
    matching: SessionFilter
    is_rare: bool  # few traces have the tags, so that they are found by search terms

    async def fetch(self, connection: Connection) -> KeysetPage:
        p = Parameters([self.query.project])
        by_value = self.matching.selects_by_value
        groups = self._by_trace(p) if by_value else self._by_period(p)
        keys = f"groups AS MATERIALIZED ({groups}), {self.query.sorted_keys(p, 'groups')}"
        traces = f"{OF_PROJECT} AND session_id = keys.id AND {self._traces(p)}"
        tags = (
            'ARRAY(SELECT DISTINCT tag COLLATE "C" FROM traces CROSS JOIN unnest(tags) AS tag'
            f" WHERE {traces} ORDER BY 1) AS tags"
        )
        columns = ", ".join(SESSION_COLUMNS)
        page = f"""
        SELECT {columns} FROM keys CROSS JOIN LATERAL (
            SELECT *, {tags} FROM ({_SUM_OF_TRACES} {traces}) AS summed
        ) AS summed WHERE NOT is_whole
        UNION ALL
        SELECT {columns} FROM keys CROSS JOIN LATERAL (
            SELECT * FROM sessions WHERE {OF_PROJECT} AND session_id = keys.id LIMIT 1
        ) AS kept WHERE is_whole
        """
        return await self.query.fetch_keys(
            connection, p, keys, "(SELECT count(*) FROM groups)", page
        )

    def _by_trace(self, p: Parameters) -> str:
        return f"""
        SELECT {_SORT_AGGREGATES[self.sort]} AS value, session_id AS id, false AS is_whole
        FROM traces
        WHERE {OF_PROJECT} AND session_id IS NOT NULL AND {self._traces(p)} {self._query(p)}
        GROUP BY session_id HAVING {IS_VISIBLE_SESSION} {self._failed(p)}
        """

    def _by_period(self, p: Parameters) -> str:
        bounds = (self.matching.started_after, self.matching.started_before)
        failed = self._failed(p, "error_count > 0", "error_span_count > 0")
        return f"""
        SELECT {_SORT_COLUMNS[self.sort]} AS value, session_id AS id, true AS is_whole FROM sessions
        WHERE {OF_PROJECT} AND {p.sql(starts_within(bounds))} {failed} {self._query(p)}
        UNION ALL
        SELECT summed.value, session_id, false
        FROM sessions CROSS JOIN LATERAL (
            SELECT {_SORT_AGGREGATES[self.sort]} AS value FROM traces
            WHERE {OF_PROJECT} AND session_id = sessions.session_id AND {self._traces(p)}
            HAVING count(*) > 0 {self._failed(p)}
        ) AS summed
        WHERE {OF_PROJECT} AND {p.sql(straddles(bounds))} {self._query(p)}
        """

    def _traces(self, p: Parameters) -> str:
        conditions = []
        if (user := self.matching.user_id) is not None:
            conditions.append(f"user_id = {p.put(user)}")
        if (after := self.matching.started_after) is not None:
            conditions.append(f"started_at >= {p.put(after)}")
        if (before := self.matching.started_before) is not None:
            conditions.append(f"started_at < {p.put(before)}")
        if tags := sorted(set(self.matching.tags)):
            if self.is_rare:
                terms = [search_term(self.query.project, Facet.TAG, tag) for tag in tags]
                conditions.append(f"terms && {p.put(terms)}::bigint[]")
            conditions.append(f"tags && {p.put(tags)}::text[]")
        if users := sorted(set(self.matching.not_user_id)):
            conditions.append(f"(user_id = ANY({p.put(users)}::text[])) IS NOT TRUE")
        if tags := sorted(set(self.matching.not_tags)):
            conditions.append(f"NOT tags && {p.put(tags)}::text[]")
        return " AND ".join(conditions)

    def _query(self, p: Parameters) -> str:
        part = self.matching.query
        return f"AND {p.sql(has_id_containing(part))}" if part else ""

    def _failed(
        self,
        p: Parameters,
        has_error: str = ANY_TRACE_FAILED,
        has_failed_span: str = ANY_SPAN_FAILED,
    ) -> str:
        wanted = (
            (has_error, self.matching.has_error),
            (has_failed_span, self.matching.has_failed_span),
        )
        return " ".join(f"AND ({sql}) = {p.put(one)}" for sql, one in wanted if one is not None)


def starts_within(bounds: Bounds) -> Sql:
    """A condition on sessions: all their traces started within `bounds`.

    At least one of the bounds is set.
    """
    return _all_of(("first_started_at >= {}", bounds[0]), ("last_started_at < {}", bounds[1]))


def straddles(bounds: Bounds) -> Sql:
    """A condition on sessions: some traces may have started within `bounds`, and some did not."""
    after, before = bounds
    # `last_activity_at` is never before `last_started_at`: this redundant condition lets an index
    # be used.
    early = _all_of(
        ("first_started_at < {}", after),
        ("last_started_at >= {}", after),
        ("last_activity_at >= {}", after),
    )
    late = _all_of(
        ("first_started_at >= {}", after),
        ("first_started_at < {}", before),
        ("last_started_at >= {}", before),
    )
    pieces = [early] if before is None else [late] if after is None else [early, late]
    text = " OR ".join(f"({one.text})" for one in pieces)
    return Sql(f"({text})", tuple(value for one in pieces for value in one.values))


def _all_of(*bounds: tuple[str, datetime | None]) -> Sql:
    given = [(text, bound) for text, bound in bounds if bound is not None]
    return Sql(" AND ".join(text for text, _ in given), tuple(bound for _, bound in given))


def has_id_containing(part: str) -> Sql:
    return Sql(
        "EXISTS (SELECT 1 FROM trace_facets AS f"
        f" WHERE f.{OF_PROJECT} AND f.kind = '{Facet.SESSION}'"
        " AND f.value = session_id AND f.search_value LIKE {})",
        (like(fold_case(part)),),
    )
