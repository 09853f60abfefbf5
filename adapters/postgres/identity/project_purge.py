"""Deletes the rows of removed projects, a bounded number in each transaction.

And those that an organization left when it moved to another group of tables.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from asyncpg import Record

from adapters.postgres.database.payload_objects import (
    FORGET_REMOVED_OF_PROJECT,
    REMOVED_AT_ONCE,
    remove_objects_of_project,
)
from adapters.postgres.database.pool import Connection, Pool, affected_rows, translate_errors
from adapters.postgres.database.statements.bounded_delete import delete_some
from adapters.postgres.database.tenants import ALL_TENANTS, within
from application.identity.ports import PurgePostponed

_log: Final = logging.getLogger(__name__)

ROWS_PER_TRANSACTION: Final = 2_000  # rows of one transaction, with their payloads
# A removal stays for longer than any transaction or cached project: rows written late under its id
# are never shown, and are deleted at the end of this time.
REMOVAL_RETENTION: Final = timedelta(hours=1)
# The pause of a project whose rows can't be deleted is the time since its removal, within these
# bounds: so it grows, and the tries cost others little.
RETRY_MIN: Final = timedelta(minutes=5)
RETRY_MAX: Final = timedelta(hours=1)

# Every table with rows of projects, except `removals` itself. A test compares the list with the
# schema.
PROJECT_TABLES: Final = (
    *("traces", "trace_payloads", "spans", "span_fragments"),
    *("long_texts", "shared_texts", "released_texts"),
    *("otlp_rejections", "waiting_evaluations"),
    *("search_queue", "search_traces", "search_terms", "search_segments", "search_postings"),
    "search_garbage",
    *("trace_facets", "trace_hours", "trace_percentiles", "usage_hours", "span_hours"),
    *("sessions", "session_hours", "trace_users"),
    *("model_prices", "repricings"),
    *("trace_scores", "session_scores", "annotation_claims", "eval_runs", "eval_jobs"),
    # After the scores, whose deletion changes them.
    *("latest_trace_scores", "score_rollups"),
    *("score_days", "score_day_numbers", "changed_score_days"),
    *("monitors", "alerts", "alert_changes", "webhooks", "alert_deliveries"),
    *("custom_metrics", "custom_metric_revisions"),
    *("datasets", "dataset_versions", "dataset_items"),
    *("experiments", "experiment_results"),
    *("judge_verdicts", "judge_calls", "judge_budgets", "judge_spending"),
    *("replies", "exports", "export_pieces", "erasures", "erased_traces"),
    "removed_payload_objects",  # empty: objects are deleted before
)
# Skips locked rows, so that concurrent workers take different projects.
LOCK_NEXT_REMOVAL: Final = """
SELECT project_id, removed_at, is_moving FROM removals WHERE due_at <= $1
ORDER BY due_at, project_id LIMIT 1 FOR UPDATE SKIP LOCKED
"""
# By key: these are views, which have no ctid.
KEYS_OF_VIEWS: Final = {
    "spans": ("project_id", "trace_id", "span_id"),
    "span_fragments": ("project_id", "trace_id", "span", "digest"),
}


def _delete_by_key(view: str, key: Sequence[str]) -> str:
    return f"""
    DELETE FROM {view} USING (
      SELECT {", ".join(key)} FROM {view} WHERE project_id = (SELECT $1::uuid)
      LIMIT {ROWS_PER_TRANSACTION}
    ) AS batch
    WHERE ({", ".join(f"{view}.{column}" for column in key)})
      = ({", ".join(f"batch.{column}" for column in key)})
    """


DELETE_PROJECT_ROWS: Final = [
    _delete_by_key(table, KEYS_OF_VIEWS[table])
    if table in KEYS_OF_VIEWS
    else delete_some(table, "project_id = (SELECT $1::uuid)", ROWS_PER_TRANSACTION)
    for table in PROJECT_TABLES
]
POSTPONE_REMOVAL: Final = "UPDATE removals SET due_at = $2 WHERE project_id = $1"
DELETE_REMOVAL: Final = "DELETE FROM removals WHERE project_id = $1"
# Rows that another transaction has locked are skipped: they are deleted with their organization or
# by the next call. Waiting for them while holding other rows could deadlock.
DELETE_EXPIRED_LOGIN_CODES: Final = delete_some(
    "login_codes", "expires_at <= $1", ROWS_PER_TRANSACTION, skip_locked=True
)
DELETE_EXPIRED_SIGN_INS: Final = delete_some(
    "sign_in_attempts", "expires_at <= $1", ROWS_PER_TRANSACTION, skip_locked=True
)
DELETE_ENDED_SESSIONS: Final = delete_some(
    "browser_sessions", "ends_at <= $1", ROWS_PER_TRANSACTION, skip_locked=True
)
DELETE_EXPIRED_TICKETS: Final = delete_some(
    "download_tickets", "expires_at <= $1", ROWS_PER_TRANSACTION, skip_locked=True
)
DELETE_EXPIRED_LINKS: Final = delete_some(
    "trace_links", "expires_at <= $1", ROWS_PER_TRANSACTION, skip_locked=True
)
DELETE_EXPIRED: Final = (
    DELETE_EXPIRED_LOGIN_CODES,
    DELETE_EXPIRED_SIGN_INS,
    DELETE_ENDED_SESSIONS,
    DELETE_EXPIRED_TICKETS,
    DELETE_EXPIRED_LINKS,
)


@dataclass(frozen=True, slots=True)
class PostgresRemovedProjects:
    pool: Pool

    async def purge(self, now: datetime) -> int:
        async with translate_errors():
            try:
                return await self._purge(now)
            except _DeletesFailed as failed:
                await self._postpone(failed.removal, now)
                project = failed.removal["project_id"]
                _log.warning(
                    "rows of a removed project stay",
                    extra={"project_id": str(project)},
                    exc_info=failed.__cause__,
                )
                raise PurgePostponed("The rows of a removed project stay for now") from failed

    async def _purge(self, now: datetime) -> int:
        expired = sum(
            [
                affected_rows(await within(self.pool, ALL_TENANTS).execute(sql, now))
                for sql in DELETE_EXPIRED
            ]
        )
        while expired == 0:
            async with within(self.pool, ALL_TENANTS).transaction() as connection:
                removal = await connection.fetchrow(LOCK_NEXT_REMOVAL, now)
                if removal is None:
                    return 0
                try:
                    deleted = await _purge_project(connection, removal, now)
                except Exception as error:
                    raise _DeletesFailed(removal) from error
            if deleted:
                return deleted
        return expired

    async def _postpone(self, removal: Record, now: datetime) -> None:
        """Postpones it in a transaction of its own: that of the deletes is over."""
        pause = min(max(now - removal["removed_at"], RETRY_MIN), RETRY_MAX)
        project = removal["project_id"]
        await within(self.pool, ALL_TENANTS).execute(POSTPONE_REMOVAL, project, now + pause)


class _DeletesFailed(Exception):  # noqa: N818 - an event of this module
    def __init__(self, removal: Record) -> None:
        self.removal = removal


async def _purge_project(connection: Connection, removal: Record, now: datetime) -> int:
    """Deletes some rows of a project; 0 if there was none, and its removal is over or waits."""
    project, removed_at, is_copy_left = removal
    if not is_copy_left and await remove_objects_of_project(connection, project):
        return REMOVED_AT_ONCE
    for sql in DELETE_PROJECT_ROWS:
        if gone := affected_rows(await connection.execute(sql, project)):
            if is_copy_left:  # before the commit: nothing deletes the objects
                await connection.execute(FORGET_REMOVED_OF_PROJECT, project)
            return gone
    if (end := removed_at + REMOVAL_RETENTION) <= now:
        await connection.execute(DELETE_REMOVAL, project)
    else:
        await connection.execute(POSTPONE_REMOVAL, project, end)
    return 0
