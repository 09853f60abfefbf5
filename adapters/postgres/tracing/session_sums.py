"""Sessions of which filters select some traces: sums over those, and pages of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.read_transactions import HAS_ACTIVE_ERASURE
from adapters.postgres.database.statements.keyset_pages import KeysetPage, KeysetQuery
from adapters.postgres.database.statements.sql_builder import Parameters, Sql, like
from adapters.postgres.database.statements.time_buckets import Bounds
from adapters.postgres.tracing.rollups.facets import Facet, search_term
from domain.tracing.analytics import Granularity
from domain.tracing.query import fold_case
from domain.tracing.session import SessionFilter, SessionSort

SESSION_COLUMNS: Final = (
    "session_id", "trace_count", "first_started_at", "last_ended_at", "last_activity_at",
    "latency_us", "error_count", "user_id", "tags", "span_count", "error_span_count",
    "prompt_tokens", "completion_tokens", "total_cost", "unpriced_span_count",
)  # fmt: skip
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
# Whether a session is visible. Looked up only if an erasure is active.
IS_VISIBLE: Final = (
    f"(NOT {HAS_ACTIVE_ERASURE} OR EXISTS (SELECT 1 FROM sessions AS s"
    f" WHERE s.{IN_PROJECT} AND s.session_id = {{id}}))"
)
GROUPING_WORK_MEM: Final = "16MB"  # holds some 200,000 groups; more spill to disk
# Aggregates over a group of traces.
ANY_TRACE_FAILED: Final = "bool_or(status = 'ERROR')"
ANY_SPAN_FAILED: Final = "bool_or(error_span_count > 0)"

SORT_COLUMNS: Final = {
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


@dataclass(frozen=True, slots=True)
class SelectedTraces:
    """A page of sessions, summed over some of their traces only."""

    query: KeysetQuery
    sort: SessionSort
    matching: SessionFilter
    is_rare: bool  # few traces have the tags, so that they are found by search terms

    async def fetch(self, connection: Connection, total: int | None = None) -> KeysetPage:
        """Counts the sessions, unless `total` is known: then none but those of a page are kept."""
        p = Parameters([self.query.project])
        by_value = self.matching.selects_by_value
        groups = self._by_trace(p) if by_value else self._by_period(p)
        kept = "MATERIALIZED" if total is None else "NOT MATERIALIZED"
        keys = f"groups AS {kept} ({groups}), {self.query.sorted_keys(p, 'groups')}"
        count = "(SELECT count(*) FROM groups)" if total is None else f"{p.put(total)}::bigint"
        return await self.query.fetch_keys(connection, p, keys, count, self._sums(p))

    async def fetch_sums(self, connection: Connection, ids: Sequence[str]) -> Sequence[Record]:
        """The rows of some sessions, in the order of the list."""
        if not ids:
            return []
        p = Parameters([self.query.project])
        given = f"keys AS (SELECT id, false AS is_whole FROM unnest({p.put(ids)}::text[]) AS id)"
        found = await self.query.fetch_keys(connection, p, given, "0", self._sums(p))
        return found.rows

    def values(self, p: Parameters, candidates: str) -> str:
        """The sort values of the visible sessions of which traces are selected, out of ids."""
        return f"""
        SELECT id, value FROM {candidates} CROSS JOIN LATERAL (
          SELECT {_SORT_AGGREGATES[self.sort]} AS value FROM traces
          WHERE {IN_PROJECT} AND session_id = id AND {self._traces(p)} {self._query(p)}
          HAVING count(*) > 0 {self._failed(p)}
        ) AS summed WHERE {IS_VISIBLE.format(id="id")}
        """

    def _sums(self, p: Parameters) -> str:
        """The rows of the sessions of the relation `keys`."""
        traces = f"{IN_PROJECT} AND session_id = keys.id AND {self._traces(p)}"
        tags = (
            'ARRAY(SELECT DISTINCT tag COLLATE "C" FROM traces CROSS JOIN unnest(tags) AS tag'
            f" WHERE {traces} ORDER BY 1) AS tags"
        )
        columns = ", ".join(SESSION_COLUMNS)
        return f"""
        SELECT {columns} FROM keys CROSS JOIN LATERAL (
            SELECT *, {tags} FROM ({_SUM_OF_TRACES} {traces}) AS summed
        ) AS summed WHERE NOT is_whole
        UNION ALL
        SELECT {columns} FROM keys CROSS JOIN LATERAL (
            SELECT * FROM sessions WHERE {IN_PROJECT} AND session_id = keys.id LIMIT 1
        ) AS kept WHERE is_whole
        """

    def _by_trace(self, p: Parameters) -> str:
        return f"""
        SELECT {_SORT_AGGREGATES[self.sort]} AS value, session_id AS id, false AS is_whole
        FROM traces
        WHERE {IN_PROJECT} AND session_id IS NOT NULL AND {self._traces(p)} {self._query(p)}
        GROUP BY session_id HAVING {IS_VISIBLE.format(id="traces.session_id")} {self._failed(p)}
        """

    def _by_period(self, p: Parameters) -> str:
        bounds = (self.matching.started_after, self.matching.started_before)
        failed = self._failed(p, "error_count > 0", "error_span_count > 0")
        return f"""
        SELECT {SORT_COLUMNS[self.sort]} AS value, session_id AS id, true AS is_whole FROM sessions
        WHERE {IN_PROJECT} AND {p.sql(starts_within(bounds))} {failed} {self._query(p)}
        UNION ALL
        SELECT summed.value, session_id, false
        FROM ({p.sql(select_straddling(bounds))}) AS sessions CROSS JOIN LATERAL (
            SELECT {_SORT_AGGREGATES[self.sort]} AS value FROM traces
            WHERE {IN_PROJECT} AND session_id = sessions.session_id AND {self._traces(p)}
            HAVING count(*) > 0 {self._failed(p)}
        ) AS summed
        WHERE true {self._query(p)}
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


def select_straddling(bounds: Bounds) -> Sql:
    """The ids of sessions of which some traces may have started within `bounds`, and some did not.

    The roll-up names the hours in which they began: an index would lead to all sessions that began
    before the period. OFFSET 0 keeps it a look into the index for each hour.
    """
    ends = [one for one in bounds if one is not None]
    hours = " OR ".join("(first_hour <= {} AND last_hour >= {})" for _ in ends)
    straddling = straddles(bounds)
    return Sql(
        f"""
        SELECT found.session_id FROM (
          SELECT DISTINCT first_hour AS since, first_hour + interval '1 hour' AS until
          FROM session_hours WHERE {IN_PROJECT} AND ({hours})
        ) AS hours CROSS JOIN LATERAL (
          SELECT session_id FROM sessions
          WHERE {IN_PROJECT} AND first_started_at >= since AND first_started_at < until
            AND {straddling.text}
          OFFSET 0
        ) AS found
        """,
        (*(at for one in ends for at in (one, Granularity.HOUR.bucket(one))), *straddling.values),
    )


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
        f" WHERE f.{IN_PROJECT} AND f.kind = '{Facet.SESSION}'"
        " AND f.value = session_id AND f.search_value LIKE {})",
        (like(fold_case(part)),),
    )
