"""Deletes traces with all their rows, in the transaction of the caller."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from asyncpg import Record

from adapters.postgres.database.idempotency import erase_replies
from adapters.postgres.database.pool import IN_PROJECT, Connection, affected_rows
from adapters.postgres.database.statements.bounded_delete import delete_in_order
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.tracing.payloads.shared_texts import release_texts_of_traces
from adapters.postgres.tracing.rollups.rollup_deltas import Deltas
from adapters.postgres.tracing.span_filters import LATENCY_US
from adapters.postgres.tracing.trace_rows import IS_UNPRICED, TRACES, has_response
from adapters.postgres.tracing.writes.row_updates import counted_from_row
from domain.ids import ProjectId, TraceId
from domain.tracing.span import SpanStatus
from domain.tracing.spans.span_figures import name_group
from domain.tracing.usage import EXACT, CostSource

# Limits of one transaction that selects the traces itself. A single trace may have more spans.
TRACES_PER_TRANSACTION: Final = 1_000
SPANS_PER_TRANSACTION: Final = 50_000


def select_some_traces(table: str, where: str, order: str = "started_at", *, lock: str = "") -> str:
    """Selects traces for one transaction: SPANS_PER_TRANSACTION spans at most, or one trace."""
    return f"""
    WITH first AS MATERIALIZED (
      SELECT trace_id, {order}, span_count FROM {table} WHERE {where}
      ORDER BY {order}, trace_id LIMIT {TRACES_PER_TRANSACTION} {lock}
    )
    SELECT trace_id FROM (
      SELECT trace_id, row_number() OVER upto AS place, sum(span_count) OVER upto AS spans
      FROM first WINDOW upto AS (ORDER BY {order}, trace_id)
    ) AS counted
    WHERE spans <= {SPANS_PER_TRANSACTION} OR place = 1
    """


# Deletes the trace first: concurrent writers of the trace wait and then find it gone. The next
# statements see what was committed while this one waited.
DELETE_TRACES: Final = f"""
{
    delete_in_order(
        "traces",
        "project_id, trace_id",
        f"{IN_PROJECT} AND trace_id = ANY($2::uuid[]) AND ($3::text IS NULL OR session_id = $3)",
    )
}
RETURNING {TRACES.select("traces")}
"""
DELETE_SPANS: Final = f"""
WITH gone AS (
  DELETE FROM spans AS s WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[])
  RETURNING started_at, kind, name, model, status,
            {LATENCY_US} AS latency_us, prompt_tokens, completion_tokens, cost_amount, usage_role,
            cache_read_tokens, reasoning_tokens, {IS_UNPRICED} AS is_unpriced,
            usage_role IS NULL AND cost_source <> '{CostSource.UNPRICED}' AS is_priced
)
SELECT date_trunc('hour', started_at) AS hour, kind, name, model, count(*) AS spans,
       count(*) FILTER (WHERE status = '{SpanStatus.ERROR}') AS errors,
       array_agg(latency_us) FILTER (WHERE latency_us IS NOT NULL) AS latencies,
       count(*) FILTER (WHERE usage_role IS NULL) AS calls,
       coalesce(sum(prompt_tokens) FILTER (WHERE usage_role IS NULL), 0) AS prompt_tokens,
       coalesce(sum(completion_tokens) FILTER (WHERE usage_role IS NULL), 0) AS completion_tokens,
       coalesce(sum(cost_amount) FILTER (WHERE usage_role IS NULL), 0) AS cost,
       count(*) FILTER (WHERE is_unpriced) AS unpriced,
       count(*) FILTER (WHERE is_priced) AS priced,
       coalesce(sum(cache_read_tokens) FILTER (WHERE usage_role IS NULL), 0) AS cached_tokens,
       coalesce(sum(reasoning_tokens) FILTER (WHERE usage_role IS NULL), 0) AS reasoning_tokens
FROM gone GROUP BY hour, kind, name, model
"""
# The number of traces that had payloads of their own, whatever the number of blocks.
DELETE_PAYLOADS: Final = f"""
WITH gone AS (
  DELETE FROM trace_payloads WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[])
  RETURNING input_bytes, output_bytes
)
SELECT count(*) FROM gone WHERE input_bytes IS NOT NULL OR output_bytes IS NOT NULL
"""
# Rows in a segment are removed later, by a worker or before the end of an erasure. The terms are
# found by the given ids: a join with `gone` would scan all terms for each, if they were few when
# their statistics were made.
DELETE_FROM_SEARCH: Final = f"""
WITH gone AS (
  DELETE FROM search_traces WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[])
  RETURNING project_id, trace_id, segment
), terms AS (
  DELETE FROM search_terms WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[])
)
INSERT INTO search_garbage (project_id, trace_id, segment)
SELECT * FROM gone WHERE segment > 0 ON CONFLICT DO NOTHING
"""
DELETE_FRAGMENTS: Final = f"""
DELETE FROM span_fragments WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[])
"""
DELETE_WAITING_EVALUATIONS: Final = f"""
DELETE FROM waiting_evaluations WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[])
"""
# Those that name no trace, but the response of a span, which is there until this is done. Spans are
# looked up by the response: by the traces, each evaluation would read all their spans.
DELETE_EVALUATIONS_OF_RESPONSES: Final = f"""
DELETE FROM waiting_evaluations AS waiting WHERE {IN_PROJECT} AND trace_id IS NULL AND EXISTS (
  SELECT 1 FROM (
    SELECT spans.trace_id FROM spans
    WHERE spans.project_id = waiting.project_id AND {has_response("waiting.response_id")}
    OFFSET 0
  ) AS found WHERE found.trace_id = ANY($2::uuid[])
)
"""
# An item of a dataset that was copied before its trace named a user or session gets them now, so
# that an erasure finds it. Datasets are locked as writers of items do, and after the traces. With
# $3 those of all copies are locked. Each trace is looked up: of many at once, all items of each
# dataset of the project would be read.
LOCK_DATASETS_OF_COPIES: Final = f"""
SELECT id FROM datasets WHERE {IN_PROJECT} AND id = ANY(ARRAY(
  SELECT copy.dataset_id FROM unnest($2::uuid[]) AS gone (trace_id) CROSS JOIN LATERAL (
    SELECT dataset_id FROM dataset_items
    WHERE {IN_PROJECT} AND trace_id = gone.trace_id
      AND ($3::bool OR user_id IS NULL OR session_id IS NULL)
    OFFSET 0
  ) AS copy
)) ORDER BY id FOR UPDATE
"""
NAME_OWNERS_OF_COPIES: Final = f"""
UPDATE dataset_items AS item SET user_id = coalesce(item.user_id, gone.user_id),
  session_id = coalesce(item.session_id, gone.session_id)
FROM unnest($2::uuid[], $3::text[], $4::text[]) AS gone (trace_id, user_id, session_id)
WHERE item.{IN_PROJECT} AND item.trace_id = gone.trace_id
  AND (item.user_id IS NULL OR item.session_id IS NULL)
"""
DELETE_ANNOTATION_CLAIMS: Final = f"""
DELETE FROM annotation_claims WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[])
"""
# Ids of rejections are text, as they were sent.
DELETE_REJECTIONS: Final = f"""
DELETE FROM otlp_rejections WHERE {IN_PROJECT}
  AND trace_id IN (SELECT translate(id::text, '-', '') FROM unnest($2::uuid[]) AS id)
"""
# Every writer locks several scores in the order of the key.
DELETE_TRACE_SCORES: Final = delete_in_order(
    "trace_scores", "project_id, id", f"{IN_PROJECT} AND trace_id = ANY($2::uuid[])"
)


def _scores_of_sessions(condition: str = "true") -> tuple[str, str]:
    """Two statements: one locks the scores of sessions in the order of their key, one deletes them.

    Each session is looked up, as a range: of equal ones the planner knows the order, and may choose
    an index without the session. Then the rows are found by ctid. The second statement sees a row
    as it is after the first one has waited for it.
    """
    places = f"""
    SELECT place FROM unnest($2::text[]) AS over (session) CROSS JOIN LATERAL (
      SELECT ctid AS place FROM session_scores
      WHERE {IN_PROJECT} AND session_id BETWEEN over.session AND over.session AND {condition}
      ORDER BY session_id OFFSET 0
    ) AS session_traces
    """
    return (
        f"""
    WITH locked AS MATERIALIZED (
      SELECT 1 FROM session_scores WHERE ctid = ANY(ARRAY({places}))
      ORDER BY (project_id, id) FOR UPDATE -- as a row, so that no index has the order
    )
    SELECT count(*) FROM locked
    """,
        f"DELETE FROM session_scores WHERE ctid = ANY(ARRAY({places}))",
    )


LOCK_SESSION_SCORES, DELETE_SESSION_SCORES = _scores_of_sessions()
LOCK_OLD_SESSION_SCORES, DELETE_OLD_SESSION_SCORES = _scores_of_sessions("created_at < $3")
# A writer of a verdict locks the trace first, so no other transaction holds these rows.
DELETE_VERDICTS: Final = f"""
DELETE FROM judge_verdicts WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[])
"""
# A public link is added under a lock of the trace. An organization that forbids links deletes them
# in the same order.
DELETE_LINKS: Final = delete_in_order(
    "trace_links", "id", "project = $1 AND trace_id = ANY($2::uuid[])"
)
SELECT_EMPTY_SESSIONS: Final = f"""
SELECT session FROM unnest($2::text[]) AS session
WHERE NOT EXISTS (SELECT 1 FROM traces WHERE {IN_PROJECT} AND session_id = session)
"""


@dataclass(slots=True)
class DeletedRows:
    """The number of deleted rows of each table, and the sessions of the traces."""

    rows: Counter[str] = field(default_factory=Counter)
    sessions: set[str] = field(default_factory=set)

    @property
    def traces(self) -> int:
        return self.rows["traces"]


async def delete_traces(
    connection: Connection,
    deltas: Deltas,
    project: ProjectId,
    traces: Sequence[TraceId],
    session: str | None = None,
    *,
    keeps_copies: bool = True,
) -> DeletedRows:
    """Deletes the traces that exist, and only those of `session` if it is given.

    The caller writes the deltas. Without `keeps_copies` it then deletes the copies, too: all their
    datasets are locked here, since others lock these before what comes next.
    """
    gone = DeletedRows()
    rows = await connection.fetch(DELETE_TRACES, project, traces, session)
    for row in rows:
        deltas.remove_trace(counted_from_row(row))
        if row["session_id"] is not None:
            gone.sessions.add(row["session_id"])
    ids = [row["trace_id"] for row in rows]
    if not ids:
        return gone
    gone.rows["traces"] = len(ids)
    locked = await connection.fetch(LOCK_DATASETS_OF_COPIES, project, ids, not keeps_copies)
    if locked and keeps_copies:
        owners = arrays((row["trace_id"], row["user_id"], row["session_id"]) for row in rows)
        await connection.execute(NAME_OWNERS_OF_COPIES, project, *owners)
    gone.rows["waiting_evaluations"] = affected_rows(
        await connection.execute(DELETE_EVALUATIONS_OF_RESPONSES, project, ids)
    )
    for row in await connection.fetch(DELETE_SPANS, project, ids):
        _subtract_spans(deltas, row)
        gone.rows["spans"] += row["spans"]
    gone.rows["trace_payloads"] = await connection.fetchval(DELETE_PAYLOADS, project, ids)
    await release_texts_of_traces(connection, project, ids)
    await connection.execute(DELETE_FROM_SEARCH, project, ids)
    for table, sql in (
        ("span_fragments", DELETE_FRAGMENTS),
        ("otlp_rejections", DELETE_REJECTIONS),
        ("waiting_evaluations", DELETE_WAITING_EVALUATIONS),
        ("annotation_claims", DELETE_ANNOTATION_CLAIMS),
        ("trace_scores", DELETE_TRACE_SCORES),
        ("judge_verdicts", DELETE_VERDICTS),
        ("trace_links", DELETE_LINKS),
    ):
        gone.rows[table] += affected_rows(await connection.execute(sql, project, ids))
    gone.rows["replies"] = await erase_replies(connection, project, [str(id_) for id_ in ids])
    return gone


def _subtract_spans(deltas: Deltas, row: Record) -> None:
    model, name = row["model"], name_group(row["name"])
    sums = deltas.sums((row["hour"], row["kind"], name, model is not None, model or ""))
    sums.spans -= row["spans"]
    sums.errors -= row["errors"]
    for latency in row["latencies"] or ():
        sums.add_latency(latency, -1)
    sums.calls -= row["calls"]
    sums.prompt_tokens -= int(row["prompt_tokens"])
    sums.completion_tokens -= int(row["completion_tokens"])
    sums.cost = EXACT.subtract(sums.cost, row["cost"])
    sums.unpriced -= row["unpriced"]
    sums.priced -= row["priced"]
    sums.cached_tokens -= int(row["cached_tokens"])
    sums.reasoning_tokens -= int(row["reasoning_tokens"])


async def delete_session_scores(
    connection: Connection, project: ProjectId, sessions: Sequence[str]
) -> int:
    """Deletes all scores of the sessions, and the responses about them; returns how many scores."""
    await erase_replies(connection, project, sessions)
    await connection.execute(LOCK_SESSION_SCORES, project, sessions)
    return affected_rows(await connection.execute(DELETE_SESSION_SCORES, project, sessions))


async def delete_old_session_scores(
    connection: Connection, project: ProjectId, sessions: Sequence[str], since: datetime
) -> int:
    """As `delete_session_scores`, for the scores from before `since`. Each session has some."""
    await erase_replies(connection, project, sessions)
    await connection.execute(LOCK_OLD_SESSION_SCORES, project, sessions, since)
    status = await connection.execute(DELETE_OLD_SESSION_SCORES, project, sessions, since)
    return affected_rows(status)


async def list_empty_sessions(
    connection: Connection, project: ProjectId, sessions: Collection[str]
) -> list[str]:
    """The sessions among these that have no trace left."""
    rows = await connection.fetch(SELECT_EMPTY_SESSIONS, project, sorted(sessions))
    return [row[0] for row in rows]
