"""Selects targets of runs: traces, and sessions by their traces."""

from collections.abc import Callable, Sequence

from adapters.postgres.database.pool import OF_PROJECT, Connection
from adapters.postgres.database.sql_builder import Parameters
from adapters.postgres.tracing.sessions import GROUPING_WORK_MEM
from adapters.postgres.tracing.trace_filters import fetch_counts, filter_clauses
from domain.evaluation.runs.run import Target
from domain.evaluation.runs.selection import SessionSelection, TraceSelection
from domain.ids import ProjectId
from domain.tracing.query import TraceFilter, fold_case
from domain.tracing.trace import TraceStatus

type WrittenCondition = Callable[[Parameters], str]
"""A condition on when a trace was written."""


async def select_traces(
    connection: Connection,
    project: ProjectId,
    selection: TraceSelection,
    most: int,
    written: WrittenCondition | None = None,
) -> Sequence[Target]:
    """Ids in ascending order, at most `most` + 1; in a snapshot."""
    p, where = await trace_conditions(connection, project, selection.matching)
    if written is not None:
        where = f"{where} AND {written(p)}"
    # Materialized, because a walk along the key would read all rows that do not match.
    sql = f"""
    WITH found AS MATERIALIZED (SELECT trace_id FROM traces WHERE {where})
    SELECT trace_id FROM found ORDER BY trace_id LIMIT {p.put(most + 1)}
    """
    return [str(row["trace_id"]) for row in await connection.fetch(sql, *p.values)]


async def select_sessions(
    connection: Connection,
    project: ProjectId,
    selection: SessionSelection,
    most: int,
    written: WrittenCondition | None = None,
) -> Sequence[Target]:
    """Session ids in ascending order, at most `most` + 1, with a trace that matches `written`."""
    await connection.execute(f"SET LOCAL work_mem = '{GROUPING_WORK_MEM}'")
    matching = selection.matching
    traces = TraceFilter(
        user_id=matching.user_id,
        started_after=matching.started_after,
        started_before=matching.started_before,
        tags=matching.tags,
    )
    p, where = await trace_conditions(connection, project, traces)
    having = [f"count(*) >= {p.put(selection.min_trace_count or 1)}"]
    if matching.has_error is not None:
        failed = f"bool_or(status = '{TraceStatus.ERROR}')"
        having.append(f"{failed} = {p.put(matching.has_error)}")
    changed = ""
    if written is not None:
        own = f"{OF_PROJECT} AND session_id IS NOT NULL AND {written(p)}"
        changed = f"AND session_id IN (SELECT DISTINCT session_id FROM traces WHERE {own})"
    sql = f"""
    SELECT session_id FROM traces WHERE {where} AND session_id IS NOT NULL {changed}
    GROUP BY session_id HAVING {" AND ".join(having)}
    ORDER BY session_id LIMIT {p.put(most + 1)}
    """
    return [row["session_id"] for row in await connection.fetch(sql, *p.values)]


async def trace_conditions(
    connection: Connection, project: ProjectId, matching: TraceFilter
) -> tuple[Parameters, str]:
    """The WHERE conditions for `matching`, with $1 as the project, and the parameters."""
    clauses, part = filter_clauses(project, matching), fold_case(matching.name or "")
    p = Parameters([project])
    conditions = p.all_of(one.sql for one in clauses)
    if part:
        counted = await fetch_counts(connection, project, [], part)
        conditions += p.all_of(one.clause.sql for one in counted.clauses)
    return p, " AND ".join([OF_PROJECT, *conditions])
