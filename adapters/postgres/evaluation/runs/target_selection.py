"""What a selection admits: the ids of traces, and of sessions by their traces."""

from collections.abc import Callable, Sequence

from adapters.postgres.database.pool import OF_PROJECT, Connection
from adapters.postgres.database.sql_builder import Parameters
from adapters.postgres.tracing.counts import counts
from adapters.postgres.tracing.session_lists import GROUPS_MEMORY
from adapters.postgres.tracing.trace_filters import clauses_of
from domain.evaluation.runs.run import Target
from domain.evaluation.runs.selection import SessionSelection, TraceSelection
from domain.ids import ProjectId
from domain.tracing.query import TraceFilter, fold_case
from domain.tracing.trace import TraceStatus

type Written = Callable[[Parameters], str]
"""A condition on when a trace was written."""


async def traces_selected(
    connection: Connection,
    project: ProjectId,
    selection: TraceSelection,
    most: int,
    written: Written | None = None,
) -> Sequence[Target]:
    """Ascending, the first `most` + 1; in a snapshot."""
    p, where = await admitted(connection, project, selection.matching)
    if written is not None:
        where = f"{where} AND {written(p)}"
    # All of them before the first is taken: by the key one would walk past all the others.
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
    written: Written | None = None,
) -> Sequence[Target]:
    """Ascending, the first `most` + 1, of those with a trace that was `written` so."""
    await connection.execute(f"SET LOCAL work_mem = '{GROUPS_MEMORY}'")
    matching = selection.matching
    traces = TraceFilter(
        user_id=matching.user_id,
        started_after=matching.started_after,
        started_before=matching.started_before,
        tags=matching.tags,
    )
    p, where = await admitted(connection, project, traces)
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


async def admitted(
    connection: Connection, project: ProjectId, matching: TraceFilter
) -> tuple[Parameters, str]:
    """What `matching` says of traces, $1 being the project, and its values."""
    clauses, part = clauses_of(project, matching), fold_case(matching.name or "")
    p = Parameters([project])
    conditions = p.all_of(one.sql for one in clauses)
    if part:
        counted = await counts(connection, project, [], part)
        conditions += p.all_of(one.clause.sql for one in counted.clauses)
    return p, " AND ".join([OF_PROJECT, *conditions])
