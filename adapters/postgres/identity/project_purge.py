"""Taking away the rows of projects that were removed, a bounded number in each transaction."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from adapters.postgres.database.pool import Pool, affected, translated

STEP: Final = 2_000  # rows of one transaction, with their payloads
# A removal is kept for longer than any transaction or remembered project lasts: what a straggler
# still writes under its id is never shown, and taken away at the end of it.
KEPT: Final = timedelta(hours=1)

# Every table with rows of projects but `removals` itself. A test compares it with the schema.
PROJECT_TABLES: Final = (
    *("traces", "trace_payloads", "spans"),
    *("trace_facets", "trace_hours", "trace_percentiles", "usage_hours", "sessions", "trace_users"),
    *("model_prices", "repricings"),
    *("trace_scores", "session_scores", "eval_runs", "eval_jobs"),
    *("monitors", "alerts", "alert_changes", "webhooks", "alert_deliveries"),
    *("custom_metrics", "custom_metric_revisions"),
    *("judge_verdicts", "judge_calls", "judge_budgets", "judge_spending"),
    *("replies", "exports", "export_pieces", "erasures", "erased_traces"),
)
# Of several workers each takes another project.
NEXT: Final = """
SELECT project_id, removed_at FROM removals WHERE due_at <= $1
ORDER BY due_at, project_id LIMIT 1 FOR UPDATE SKIP LOCKED
"""
TAKE_AWAY: Final = """
DELETE FROM {table} WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM {table} WHERE project_id = (SELECT $1::uuid) LIMIT $2
))
"""
KEEP: Final = "UPDATE removals SET due_at = $2 WHERE project_id = $1"
FORGET: Final = "DELETE FROM removals WHERE project_id = $1"
# What somebody holds is passed by: it goes with its organization, or at the next turn. Who waited
# for some while holding others could be waited for by them.
EXPIRED_CODES: Final = """
DELETE FROM login_codes WHERE digest = ANY(ARRAY(
  SELECT digest FROM login_codes WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED
))
"""


@dataclass(frozen=True, slots=True)
class PostgresRemovedProjects:
    pool: Pool

    async def purge(self, now: datetime) -> int:
        async with translated():
            codes = affected(await self.pool.execute(EXPIRED_CODES, now, STEP))
            while codes == 0:
                async with self.pool.acquire() as connection, connection.transaction():
                    removal = await connection.fetchrow(NEXT, now)
                    if removal is None:
                        return 0
                    project, removed_at = removal
                    for table in PROJECT_TABLES:
                        sql = TAKE_AWAY.format(table=table)
                        if gone := affected(await connection.execute(sql, project, STEP)):
                            return gone
                    if removed_at + KEPT <= now:
                        await connection.execute(FORGET, project)
                    else:
                        await connection.execute(KEEP, project, removed_at + KEPT)
            return codes
