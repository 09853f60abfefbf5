"""Work on OpenTelemetry traces of all projects: settles traces, deletes records without a span."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from adapters.postgres.database.pool import Pool
from adapters.postgres.database.removed_projects import not_removed
from adapters.postgres.database.tenants import ALL_TENANTS
from adapters.postgres.database.transactions import transaction
from adapters.postgres.tracing.otlp.otlp_merge import OtlpMerge
from adapters.postgres.tracing.trace_rows import TRACES
from adapters.postgres.tracing.writes.deletes import SPANS_PER_TRANSACTION
from adapters.postgres.tracing.writes.edits import TraceEdits
from adapters.postgres.tracing.writes.row_updates import counted_from_row
from application.tracing.otlp.ports import (
    DELETED_RECORDS_MAX,
    SETTLED_TRACES_MAX,
    FragmentRules,
    OrphanedRecord,
)
from domain.ids import ProjectId, TraceId
from domain.tracing.otel.fragments import SentRecord

# Skips locked rows: another worker settles them, or a fragment is being stored. `upto` bounds the
# spans that are read.
LOCK_OPEN_TRACES: Final = f"""
WITH first AS MATERIALIZED (
  SELECT {TRACES.select()} FROM traces
  WHERE otlp_phase = 'open' AND otlp_stored_at < $1 AND {not_removed("traces")}
  ORDER BY otlp_stored_at, project_id, trace_id LIMIT {SETTLED_TRACES_MAX} FOR UPDATE SKIP LOCKED
)
SELECT * FROM (
  SELECT *, row_number() OVER upto AS place, sum(span_count) OVER upto AS spans
  FROM first WINDOW upto AS (ORDER BY otlp_stored_at, project_id, trace_id)
) AS counted
WHERE spans <= {SPANS_PER_TRANSACTION} OR place = 1
"""
DELETE_ORPHANED_RECORDS: Final = f"""
DELETE FROM span_fragments AS orphaned USING (
  SELECT project_id, trace_id, span, digest FROM span_fragments
  WHERE is_waiting AND stored_at < $1
  ORDER BY stored_at, project_id, trace_id LIMIT {DELETED_RECORDS_MAX} FOR UPDATE SKIP LOCKED
) AS old
WHERE orphaned.project_id = old.project_id AND orphaned.trace_id = old.trace_id
  AND orphaned.span = old.span AND orphaned.digest = old.digest
RETURNING orphaned.project_id, orphaned.trace_id, orphaned.data
"""


async def settle_open_traces(edits: TraceEdits, rules: FragmentRules, before: datetime) -> int:
    """Settles traces without a root that ended, and without a new fragment since `before`."""
    async with edits.transaction(ALL_TENANTS) as (connection, deltas):
        rows = await connection.fetch(LOCK_OPEN_TRACES, before)
        known = {(row["project_id"], row["trace_id"]): counted_from_row(row) for row in rows}
        merge = OtlpMerge(connection, rules, {}, None)
        await merge.open(known, {})
        for one in merge.traces.values():
            one.is_touched = True
        await merge.write_touched(deltas)  # no span and no record is new: none is assigned again
        return len(known)


async def delete_orphaned_records(
    pool: Pool, rules: FragmentRules, before: datetime
) -> Sequence[OrphanedRecord]:
    """Deletes some of the records that have waited for their span since `before`."""
    async with transaction(pool, ALL_TENANTS) as connection:
        rows = await connection.fetch(DELETE_ORPHANED_RECORDS, before)
    records = ((row, rules.decode(row["data"])) for row in rows)
    return [
        OrphanedRecord(ProjectId(row["project_id"]), TraceId(row["trace_id"]), record)
        for row, record in records
        if isinstance(record, SentRecord)
    ]
