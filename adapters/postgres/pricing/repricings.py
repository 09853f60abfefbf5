"""Repricings in Postgres: the port."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record

from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_project
from adapters.postgres.database.pool import OF_PROJECT, Pool, translated
from adapters.postgres.database.removed_projects import check_not_removed, not_removed
from adapters.postgres.database.transactions import transaction
from adapters.postgres.pricing.recharge import charge, following
from adapters.postgres.tracing.edits import TraceEdits
from application.pricing.ports import REPRICED_SPANS_BATCH, REPRICINGS_KEPT_MAX
from domain.errors import Conflict, NotFound
from domain.ids import ProjectId
from domain.tracing.repricing import Repricing, RepricingReport, SpanPosition
from domain.tracing.usage import Pricing

COLUMNS: Final = (
    "project_id", "id", "started_after", "started_before", "models", "is_dry", "place", "found",
    "created_at", "completed_at", "attempts", "error",
)  # fmt: skip
_SHOWN: Final = ", ".join(COLUMNS)
READ: Final = f"SELECT {_SHOWN} FROM repricings WHERE {OF_PROJECT} AND id = $2"
LOCK: Final = f"{READ} FOR UPDATE"
IS_ONE_GOING: Final = f"""
SELECT EXISTS (SELECT FROM repricings WHERE {OF_PROJECT} AND completed_at IS NULL)
"""
INSERT: Final = f"""
INSERT INTO repricings ({_SHOWN}, held_until)
VALUES ({", ".join(f"${n}" for n in range(1, len(COLUMNS) + 1))}, $9)
"""
FORGET: Final = f"""
DELETE FROM repricings WHERE {OF_PROJECT} AND id IN (
  SELECT id FROM repricings WHERE {OF_PROJECT} ORDER BY created_at DESC, id DESC
  OFFSET {REPRICINGS_KEPT_MAX}
)
"""
# Asked across projects, by whoever works: who waited longest goes first.
CLAIM: Final = f"""
WITH next AS MATERIALIZED (
  SELECT project_id, id FROM repricings
  WHERE completed_at IS NULL AND held_until <= $1 AND {not_removed("repricings")}
  ORDER BY held_until, project_id, id LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE repricings AS r SET held_until = $2, attempts = attempts + 1 FROM next
WHERE r.project_id = next.project_id AND r.id = next.id
RETURNING {", ".join(f"r.{column}" for column in COLUMNS)}
"""
GO_ON: Final = f"""
UPDATE repricings SET place = $3, found = $4, completed_at = $5, held_until = $6, attempts = $7
WHERE {OF_PROJECT} AND id = $2
"""
END: Final = f"""
UPDATE repricings SET completed_at = $4, error = $5
WHERE {OF_PROJECT} AND id = $2 AND completed_at IS NULL AND attempts = $3
"""
RELEASE: Final = f"UPDATE repricings SET held_until = $3 WHERE {OF_PROJECT} AND id = $2"

_encoder: Final = msgspec.json.Encoder()
_findings: Final = msgspec.json.Decoder(RepricingReport)
_place: Final = msgspec.json.Decoder(SpanPosition | None)


@dataclass(frozen=True, slots=True)
class PostgresRepricings:
    """Spans are charged in turn with the other edits of this process."""

    pool: Pool
    edits: TraceEdits

    async def create(self, repricing: Repricing) -> Repricing:
        project = repricing.project_id
        async with transaction(self.pool) as connection:
            await lock_project(connection, AdvisoryLock.REPRICINGS, project)
            await check_not_removed(connection, project)
            known = await connection.fetchrow(READ, project, repricing.id)
            if known is not None:
                return _repricing_of(known)
            if await connection.fetchval(IS_ONE_GOING, project):
                raise Conflict("Another repricing of this project is under way: wait for its end")
            await connection.execute(INSERT, *_row(repricing))
            await connection.execute(FORGET, project)
        return repricing

    async def get(self, project: ProjectId, repricing: UUID) -> Repricing:
        async with translated():
            row = await self.pool.fetchrow(READ, project, repricing)
        if row is None:
            raise NotFound("Repricing not found")
        return _repricing_of(row)

    async def claim(self, now: datetime, until: datetime) -> Repricing | None:
        async with translated():
            row = await self.pool.fetchrow(CLAIM, now, until)
        return None if row is None else _repricing_of(row)

    async def step(
        self, repricing: Repricing, pricing: Pricing, now: datetime, until: datetime
    ) -> Repricing | None:
        project = repricing.project_id
        async with self.edits.transaction() as (connection, deltas):
            row = await connection.fetchrow(LOCK, project, repricing.id)
            if row is None or _repricing_of(row) != repricing or repricing.completed_at is not None:
                return None
            looked_at = await following(connection, repricing, REPRICED_SPANS_BATCH)
            found = [(one, one.cost_under(pricing)) for one in looked_at if repricing.selects(one)]
            if not repricing.is_dry:
                found = await charge(connection, project, found, pricing, deltas)
            found.sort(key=lambda one: one[0].place)
            after = repricing.after(looked_at, found, REPRICED_SPANS_BATCH, now)
            place = None if after.place is None else _encoder.encode(after.place)
            told = (place, _encoder.encode(after.found), after.completed_at, until, after.attempts)
            await connection.execute(GO_ON, project, repricing.id, *told)
            return after

    async def release(self, repricing: Repricing, now: datetime) -> None:
        async with translated():
            await self.pool.execute(RELEASE, repricing.project_id, repricing.id, now)

    async def fail(self, failed: Repricing) -> None:
        told = (failed.attempts, failed.completed_at, failed.error)
        async with translated():
            await self.pool.execute(END, failed.project_id, failed.id, *told)


def _row(repricing: Repricing) -> tuple[object, ...]:
    """In the order of COLUMNS."""
    place = None if repricing.place is None else _encoder.encode(repricing.place)
    return (
        repricing.project_id, repricing.id, repricing.started_after, repricing.started_before,
        list(repricing.models), repricing.is_dry, place, _encoder.encode(repricing.found),
        repricing.created_at, repricing.completed_at, repricing.attempts, repricing.error,
    )  # fmt: skip


def _repricing_of(row: Record) -> Repricing:
    place = row["place"]
    return Repricing(
        id=row["id"],
        project_id=ProjectId(row["project_id"]),
        started_after=row["started_after"],
        started_before=row["started_before"],
        models=tuple(row["models"]),
        is_dry=row["is_dry"],
        created_at=row["created_at"],
        place=None if place is None else _place.decode(place),
        found=_findings.decode(row["found"]),
        completed_at=row["completed_at"],
        attempts=row["attempts"],
        error=row["error"],
    )
