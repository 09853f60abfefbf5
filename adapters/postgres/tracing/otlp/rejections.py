"""Rejections of ingested data."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from adapters.postgres.database.kept_since import fetch_all_kept_since
from adapters.postgres.database.pool import affected_rows
from adapters.postgres.database.read_transactions import RETRY_LATER, PoolReader
from adapters.postgres.database.statements.columns import Column, Table, arrays, columns
from adapters.postgres.database.statements.keyset_pages import KeysetQuery
from adapters.postgres.database.statements.sql_builder import Sql
from adapters.postgres.database.tenants import ALL_TENANTS
from adapters.postgres.database.transactions import transaction
from application.tracing.otlp.rejections import REJECTIONS_KEPT_MAX
from domain.ids import ProjectId
from domain.page import Page, PageRequest, Position
from domain.tracing.otel.requests import (
    RecordedRejection,
    Rejection,
    RejectionReason,
    Signal,
    combined_rejections,
    rejection_key,
)

DELETED_REJECTIONS_MAX: Final = 1_000  # rows of one statement

REJECTIONS: Final = Table(
    "otlp_rejections",
    (
        *columns("project_id uuid, id uuid, rejected_at timestamptz"),
        Column("signal", "text", read=Signal),
        Column("reason", "text", "rejection.reason", read=RejectionReason),
        *columns("message text, count bigint, scope text, service text", at="rejection"),
        *columns("trace_id text, span_id text", at="rejection"),
    ),
)
_row: Final = REJECTIONS.compile_row()
_from_row: Final = REJECTIONS.compile_reader(
    RecordedRejection, rejection=REJECTIONS.compile_reader(Rejection, at="rejection")
)
# The trace as its id is sent: 32 hex digits.
HEX_TRACE_ID: Final = "translate({}::text, '-', '')"
INSERT_REJECTIONS: Final = f"""
WITH allowed AS MATERIALIZED (
  SELECT {REJECTIONS.select("sent")} FROM {REJECTIONS.unnest("sent")}
  WHERE sent.trace_id IS NULL OR NOT EXISTS (
    SELECT 1 FROM erased_traces AS e WHERE e.project_id = sent.project_id
      AND {HEX_TRACE_ID.format("e.trace_id")} = sent.trace_id
  )
)
INSERT INTO otlp_rejections ({REJECTIONS.select()}) SELECT {REJECTIONS.select()} FROM allowed
ON CONFLICT (project_id, id) DO UPDATE SET rejected_at = excluded.rejected_at,
  message = excluded.message, count = otlp_rejections.count + excluded.count
"""
# For the projects that got rejections. The order avoids deadlocks between concurrent calls. It is
# by a pair in brackets, so that the planner doesn't read a whole index for it. Rows are deleted by
# ctid, so that no statistics can mislead the planner. Rows that another transaction changes stay
# until the next call.
DELETE_SURPLUS_REJECTIONS: Final = f"""
DELETE FROM otlp_rejections WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM otlp_rejections WHERE ctid = ANY(ARRAY(
    SELECT place FROM (
      SELECT ctid AS place, row_number() OVER (
        PARTITION BY project_id ORDER BY rejected_at DESC, id DESC
      ) AS rank
      FROM otlp_rejections WHERE project_id = ANY($1::uuid[])
    ) AS ranked WHERE rank > {REJECTIONS_KEPT_MAX}
  )) ORDER BY (project_id, id) FOR UPDATE
))
"""
# OFFSET 0 makes it a look-up for each project, as for expired traces.
DELETE_EXPIRED_REJECTIONS: Final = f"""
DELETE FROM otlp_rejections WHERE ctid = ANY(ARRAY(
  SELECT r.ctid
  FROM unnest($1::uuid[], $2::timestamptz[]) AS kept (project_id, since) CROSS JOIN LATERAL (
    SELECT ctid FROM otlp_rejections
    WHERE project_id = kept.project_id AND rejected_at < kept.since OFFSET 0
  ) AS r
  LIMIT {DELETED_REJECTIONS_MAX}
))
"""


class PostgresRejections(PoolReader):
    async def add(self, rejections: Sequence[RecordedRejection]) -> None:
        # By their keys: processes that report the same ones wait in the same order.
        combined = sorted(combined_rejections(rejections), key=rejection_key)
        rows = [_row(_with_storable_texts(one)) for one in combined]
        projects = sorted({one.project_id for one in rejections})
        async with transaction(self.pool, ALL_TENANTS) as connection:
            await connection.execute(INSERT_REJECTIONS, *arrays(rows))
            await connection.execute(DELETE_SURPLUS_REJECTIONS, projects)

    async def page(
        self, project: ProjectId, reason: RejectionReason | None, window: PageRequest
    ) -> Page[RecordedRejection]:
        query = KeysetQuery.newest_first(project, REJECTIONS, window, by="rejected_at")
        where = [] if reason is None else [Sql("reason = {}", (reason.value,))]
        async with self._snapshot(RETRY_LATER, project) as connection:
            page = await query.fetch_served(connection, where)
        return page.to_page(window.limit, _from_row, lambda one: Position(one.rejected_at, one.id))

    async def delete_expired(self, now: datetime) -> int:
        async with transaction(self.pool, ALL_TENANTS) as connection:
            kept = await fetch_all_kept_since(connection, now)
            return affected_rows(await connection.execute(DELETE_EXPIRED_REJECTIONS, *kept))


def _with_storable_texts(one: RecordedRejection) -> RecordedRejection:
    """Senders' texts may contain what PostgreSQL refuses, and may be why there is a rejection."""
    said = one.rejection
    return replace(
        one,
        rejection=replace(
            said,
            message=_storable(said.message) or "",
            scope=_storable(said.scope),
            service=_storable(said.service),
            trace_id=_storable(said.trace_id),
            span_id=_storable(said.span_id),
        ),
    )


def _storable(text: str | None) -> str | None:
    if text is None:
        return None
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()
