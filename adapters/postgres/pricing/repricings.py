"""Repricings."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from adapters.postgres.database.advisory_locks import AdvisoryLock
from adapters.postgres.database.pool import IN_PROJECT, Pool, require_row, translate_errors
from adapters.postgres.database.removed_projects import not_removed
from adapters.postgres.database.statements.columns import Column, Table, columns
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.database.transactions import project_transaction
from adapters.postgres.identity.audit_log import store_audit_entry
from adapters.postgres.pricing.recharge import fetch_next_spans, update_costs
from adapters.postgres.tracing.writes.edits import TraceEdits
from application.pricing.ports import REPRICED_SPANS_BATCH, REPRICINGS_KEPT_MAX
from domain.errors import Conflict
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId
from domain.pricing.repricing import Repricing, RepricingReport, SpanPosition
from domain.tracing.usage import Pricing

_ENCODER: Final = msgspec.json.Encoder()
_report: Final = msgspec.json.Decoder(RepricingReport)
_position: Final = msgspec.json.Decoder(SpanPosition | None)


def _encode_position(position: SpanPosition | None) -> bytes | None:
    return None if position is None else _ENCODER.encode(position)


def _decode_position(text: bytes | None) -> SpanPosition | None:
    return None if text is None else _position.decode(text)


REPRICINGS: Final = Table(
    "repricings",
    (
        *columns("project_id uuid, id uuid, is_dry boolean"),
        *columns("started_after timestamptz, started_before timestamptz"),
        Column("models", "text[]", read=tuple),
        Column("place", "json", write=_encode_position, read=_decode_position),
        Column("found", "json", write=_ENCODER.encode, read=_report.decode),
        *columns("created_at timestamptz, completed_at timestamptz, attempts int, error text"),
    ),
)
_repricing_row: Final = REPRICINGS.compile_row()
_repricing_from_row: Final = REPRICINGS.compile_reader(Repricing)
_SELECT_LIST: Final = REPRICINGS.select()
SELECT_REPRICING: Final = f"SELECT {_SELECT_LIST} FROM repricings WHERE {IN_PROJECT} AND id = $2"
LOCK_REPRICING: Final = f"{SELECT_REPRICING} FOR UPDATE"
HAS_ACTIVE_REPRICING: Final = f"""
SELECT EXISTS (SELECT 1 FROM repricings WHERE {IN_PROJECT} AND completed_at IS NULL)
"""
# A new repricing is due at once: it is held until it was created.
_CREATED_AT: Final = f"${REPRICINGS.names.index('created_at') + 1}"
INSERT_REPRICING: Final = f"""
INSERT INTO repricings ({_SELECT_LIST}, held_until)
VALUES ({REPRICINGS.parameters()}, {_CREATED_AT})
"""
DELETE_OLD_REPRICINGS: Final = f"""
DELETE FROM repricings WHERE {IN_PROJECT} AND id IN (
  SELECT id FROM repricings WHERE {IN_PROJECT} ORDER BY created_at DESC, id DESC
  OFFSET {REPRICINGS_KEPT_MAX}
)
"""
# Across projects: the repricing that has waited longest is claimed first.
CLAIM_REPRICING: Final = f"""
WITH next AS MATERIALIZED (
  SELECT project_id, id FROM repricings
  WHERE completed_at IS NULL AND held_until <= $1 AND {not_removed("repricings")}
  ORDER BY held_until, project_id, id LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE repricings AS r SET held_until = $2, attempts = attempts + 1 FROM next
WHERE r.project_id = next.project_id AND r.id = next.id
RETURNING {REPRICINGS.select("r")}
"""
UPDATE_REPRICING: Final = f"""
UPDATE repricings SET {REPRICINGS.assignments()}, held_until = ${len(REPRICINGS.names) + 1}
WHERE {IN_PROJECT} AND id = $2
"""
FAIL_REPRICING: Final = f"""
UPDATE repricings SET completed_at = $4, error = $5
WHERE {IN_PROJECT} AND id = $2 AND completed_at IS NULL AND attempts = $3
"""
RELEASE_REPRICING: Final = f"UPDATE repricings SET held_until = $3 WHERE {IN_PROJECT} AND id = $2"


@dataclass(frozen=True, slots=True)
class PostgresRepricings:
    """Updates costs as one of the edits of this process, which limits how many run at a time."""

    pool: Pool
    edits: TraceEdits

    async def create(self, repricing: Repricing, *, audit: AuditEntry | None = None) -> Repricing:
        project = repricing.project_id
        async with project_transaction(self.pool, AdvisoryLock.REPRICINGS, project) as connection:
            known = await connection.fetchrow(SELECT_REPRICING, project, repricing.id)
            if known is not None:
                return _repricing_from_row(known)
            if await connection.fetchval(HAS_ACTIVE_REPRICING, project):
                raise Conflict("Another repricing of this project is under way: wait for its end")
            await connection.execute(INSERT_REPRICING, *_repricing_row(repricing))
            await connection.execute(DELETE_OLD_REPRICINGS, project)
            await store_audit_entry(connection, audit)
        return repricing

    async def get(self, project: ProjectId, repricing: UUID) -> Repricing:
        async with translate_errors():
            row = await within(self.pool, project).fetchrow(SELECT_REPRICING, project, repricing)
        return _repricing_from_row(require_row(row, "Repricing not found"))

    async def claim(self, now: datetime, until: datetime) -> Repricing | None:
        async with translate_errors():
            row = await within(self.pool, ALL_TENANTS).fetchrow(CLAIM_REPRICING, now, until)
        return None if row is None else _repricing_from_row(row)

    async def step(
        self, repricing: Repricing, pricing: Pricing, now: datetime, until: datetime
    ) -> Repricing | None:
        project = repricing.project_id
        async with self.edits.transaction(repricing.project_id) as (connection, deltas):
            row = await connection.fetchrow(LOCK_REPRICING, project, repricing.id)
            known = None if row is None else _repricing_from_row(row)
            if known != repricing or repricing.completed_at is not None:
                return None
            looked_at = await fetch_next_spans(connection, repricing, REPRICED_SPANS_BATCH)
            costs = [(one, one.cost_under(pricing)) for one in looked_at if repricing.selects(one)]
            if not repricing.is_dry:
                costs = await update_costs(connection, project, costs, pricing, deltas)
            costs.sort(key=lambda one: one[0].place)
            after = repricing.after(looked_at, costs, REPRICED_SPANS_BATCH, now)
            await connection.execute(UPDATE_REPRICING, *_repricing_row(after), until)
            return after

    async def release(self, repricing: Repricing, now: datetime) -> None:
        async with translate_errors():
            await within(self.pool, repricing.project_id).execute(
                RELEASE_REPRICING, repricing.project_id, repricing.id, now
            )

    async def fail(self, failed: Repricing) -> None:
        end = (failed.attempts, failed.completed_at, failed.error)
        async with translate_errors():
            await within(self.pool, failed.project_id).execute(
                FAIL_REPRICING, failed.project_id, failed.id, *end
            )
