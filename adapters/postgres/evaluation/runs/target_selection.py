"""Selects targets of runs: traces, and sessions by their traces."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.statements.sql_builder import Parameters
from adapters.postgres.evaluation.runs.eligible_traces import (
    HAS_CONTENT,
    WriteWindow,
    settled_within,
    unsettled,
    written_within,
)
from adapters.postgres.tracing.session_sums import (
    ANY_SPAN_FAILED,
    ANY_TRACE_FAILED,
    GROUPING_WORK_MEM,
    has_id_containing,
)
from adapters.postgres.tracing.trace_filters import fetch_counts, filter_clauses
from domain.evaluation.runs.run import Target
from domain.evaluation.runs.selection import (
    RANK_BYTES,
    Eligibility,
    Sample,
    SessionSelection,
    TraceSelection,
)
from domain.ids import ProjectId
from domain.tracing.query import TraceFilter, fold_case


@dataclass(frozen=True, slots=True)
class EligibleTraces:
    """The traces that may be evaluated; with a window, those that changed in it.

    `quiet` is the time without a fragment after which an OpenTelemetry trace is over.
    """

    eligibility: Eligibility
    quiet: timedelta
    window: WriteWindow | None = None

    def content(self) -> list[str]:
        """Conditions on what a trace has."""
        return [] if self.eligibility.includes_setup else [HAS_CONTENT]

    def changed(self, p: Parameters) -> list[str]:
        """Conditions on when a trace changed; none without a window."""
        if self.window is None:
            return []
        if self.eligibility.settled_only:
            return [settled_within(p, self.window, self.quiet)]
        return [written_within(p, self.window)]

    def settled(self, p: Parameters, column: Literal["trace_id", "session_id"]) -> list[str]:
        """Conditions on traces, or sessions, that are over at the end of the window."""
        if not self.eligibility.settled_only:
            return []
        at: datetime | None = None if self.window is None else self.window.upto.written_at
        return [f"{column} NOT IN ({unsettled(p, column, self.quiet, at)})"]


async def select_traces(
    connection: Connection,
    project: ProjectId,
    selection: TraceSelection,
    most: int,
    eligible: EligibleTraces,
    *,
    sample: Sample | None = None,
) -> Sequence[Target]:
    """Ids in ascending order, at most `most` + 1; in a snapshot. See `Targets.traces`."""
    p, found = await _find_traces(connection, project, selection, eligible)
    # Materialized, because a walk along the key would read all rows that do not match.
    found = f"WITH found AS MATERIALIZED ({found}) SELECT trace_id FROM found"
    sql = _first_of(p, found, "trace_id", most, sample)
    return [str(row["trace_id"]) for row in await connection.fetch(sql, *p.values)]


async def select_sessions(
    connection: Connection,
    project: ProjectId,
    selection: SessionSelection,
    most: int,
    eligible: EligibleTraces,
    *,
    sample: Sample | None = None,
) -> Sequence[Target]:
    """Session ids in ascending order, at most `most` + 1; with a window, changed sessions."""
    p, found = await _find_sessions(connection, project, selection, eligible)
    sql = _first_of(p, found, "session_id", most, sample)
    return [row["session_id"] for row in await connection.fetch(sql, *p.values)]


def _first_of(
    p: Parameters,
    found: str,
    column: Literal["trace_id", "session_id"],
    most: int,
    sample: Sample | None,
) -> str:
    """The first of what `found` selects; with a sample, what `sampled` takes of it.

    PostgreSQL takes the sample, since it may be a small part of millions of ids.
    """
    limit = p.put(most + 1)
    if sample is not None and not sample.takes_all:
        rank = f"sha256(convert_to({p.put(f'{sample.salt}\n')}::text || {column}, 'UTF8'))"
        share = f"trunc(count(*) * {p.put(Decimal(repr(sample.rate)))}::numeric)"
        found = f"""
        WITH matching AS MATERIALIZED ({found})
        SELECT {column} FROM (
          SELECT {column} FROM matching
          ORDER BY substring({rank} FOR {RANK_BYTES}), {column}
          LIMIT (SELECT least(greatest({share}, {p.put(sample.fewest)}), {limit}) FROM matching)
        ) AS taken
        """
    return f"{found} ORDER BY {column} LIMIT {limit}"


async def count_targets(
    connection: Connection,
    project: ProjectId,
    selection: TraceSelection | SessionSelection,
    most: int,
    eligible: EligibleTraces,
) -> int:
    """How many ids `select_traces` or `select_sessions` would return."""
    if isinstance(selection, TraceSelection):
        p, found = await _find_traces(connection, project, selection, eligible)
    else:
        p, found = await _find_sessions(connection, project, selection, eligible)
    sql = f"SELECT count(*) FROM ({found} LIMIT {p.put(most + 1)}) AS found"
    count: int = await connection.fetchval(sql, *p.values)
    return count


async def _find_traces(
    connection: Connection,
    project: ProjectId,
    selection: TraceSelection,
    eligible: EligibleTraces,
) -> tuple[Parameters, str]:
    """The statement that selects the ids, in any order."""
    p, matching = await trace_conditions(connection, project, selection.matching)
    changed = eligible.changed(p) or eligible.settled(p, "trace_id")
    where = " AND ".join([matching, *eligible.content(), *changed])
    return p, f"SELECT trace_id FROM traces WHERE {where}"


async def _find_sessions(
    connection: Connection,
    project: ProjectId,
    selection: SessionSelection,
    eligible: EligibleTraces,
) -> tuple[Parameters, str]:
    """The statement that selects the ids, in any order."""
    await connection.execute(f"SET LOCAL work_mem = '{GROUPING_WORK_MEM}'")
    matching = selection.matching
    traces = TraceFilter(
        user_id=matching.user_id,
        started_after=matching.started_after,
        started_before=matching.started_before,
        tags=matching.tags,
        not_user_id=matching.not_user_id,
        not_tags=matching.not_tags,
    )
    p, where = await trace_conditions(connection, project, traces)
    having = [f"count(*) >= {p.put(selection.min_trace_count or 1)}"]
    if matching.has_error is not None:
        having.append(f"{ANY_TRACE_FAILED} = {p.put(matching.has_error)}")
    if matching.has_failed_span is not None:
        having.append(f"{ANY_SPAN_FAILED} = {p.put(matching.has_failed_span)}")
    conditions = [where, "session_id IS NOT NULL", *eligible.content()]
    conditions += eligible.settled(p, "session_id")
    if matching.query:
        conditions.append(p.sql(has_id_containing(matching.query)))
    if changed := eligible.changed(p):
        own = " AND ".join([IN_PROJECT, "session_id IS NOT NULL", *eligible.content(), *changed])
        conditions.append(f"session_id IN (SELECT DISTINCT session_id FROM traces WHERE {own})")
    return (
        p,
        f"""
    SELECT session_id FROM traces WHERE {" AND ".join(conditions)}
    GROUP BY session_id HAVING {" AND ".join(having)}
    """,
    )


async def trace_conditions(
    connection: Connection, project: ProjectId, matching: TraceFilter
) -> tuple[Parameters, str]:
    """The WHERE conditions for `matching`, with $1 as the project, and the parameters."""
    clauses, part = filter_clauses(project, matching), fold_case(matching.name or "")
    p = Parameters([project])
    conditions = p.all_of(one.scan_condition for one in clauses)
    if part:
        counted = await fetch_counts(connection, project, [], part)
        conditions += p.all_of(one.clause.sql for one in counted.clauses)
    return p, " AND ".join([IN_PROJECT, *conditions])
