"""The counts of refused requests."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from asyncpg import Record

from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_organizations
from adapters.postgres.database.pool import Connection, Pool, translate_errors
from adapters.postgres.database.statements.bounded_delete import delete_some
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.database.transactions import transaction
from domain.identity.refusal import (
    REFUSALS_PER_HOUR_MAX,
    REFUSALS_RETENTION,
    CountedRefusal,
    Refusal,
)
from domain.ids import OrganizationId

UNKNOWN_ORGANIZATION: Final = UUID(int=0)  # in a key a null would differ from itself
DELETED_REFUSALS_MAX: Final = 1_000  # rows of one statement

# Adds a new row only while the hour has room; the row of the others always has.
ADD_REFUSALS: Final = f"""
WITH new AS MATERIALIZED (
  SELECT $1::uuid, $2::timestamptz, $3::int, $4::text, $5::text, $6::bigint
  WHERE ($4 = '' AND $5 = '')
    OR EXISTS (SELECT 1 FROM access_refusals WHERE organization_id = $1 AND hour = $2
               AND status = $3 AND address = $4 AND credential = $5)
    OR (SELECT count(*) FROM access_refusals WHERE organization_id = $1 AND hour = $2)
       < {REFUSALS_PER_HOUR_MAX}
)
INSERT INTO access_refusals AS known (organization_id, hour, status, address, credential, count)
SELECT * FROM new
ON CONFLICT (organization_id, hour, status, address, credential)
DO UPDATE SET count = known.count + excluded.count
"""
DELETE_OLD_REFUSALS: Final = delete_some(
    "access_refusals", "hour < $1", DELETED_REFUSALS_MAX, skip_locked=True
)
SELECT_REFUSALS: Final = """
SELECT hour, status, address, credential, count FROM access_refusals
WHERE organization_id = $1 ORDER BY hour DESC, count DESC, status, address, credential LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class PostgresRefusals:
    pool: Pool

    async def add(self, counts: Mapping[Refusal, int]) -> None:
        others = Counter[Refusal]()
        organizations = list({one.organization_id or UNKNOWN_ORGANIZATION for one in counts})
        async with transaction(self.pool, ALL_TENANTS) as connection:
            # Each process writes every few seconds, outside of requests: none of them waits.
            await lock_organizations(connection, AdvisoryLock.REFUSALS, organizations)
            for refusal, count in sorted(counts.items(), key=lambda one: _key(one[0])):
                if not await _add(connection, refusal, count):
                    others[refusal.with_others] += count
        if others:  # in a transaction of their own: all lock rows in the order of their keys
            async with transaction(self.pool, ALL_TENANTS) as connection:
                for refusal in sorted(others, key=_key):
                    await _add(connection, refusal, others[refusal])
        oldest = max(one.hour for one in counts) - REFUSALS_RETENTION
        async with translate_errors():
            await within(self.pool, ALL_TENANTS).execute(DELETE_OLD_REFUSALS, oldest)

    async def latest(
        self, organization: OrganizationId | None, limit: int
    ) -> Sequence[CountedRefusal]:
        async with translate_errors():
            tenant = organization or UNKNOWN_ORGANIZATION
            rows = await within(self.pool, tenant).fetch(SELECT_REFUSALS, tenant, limit)
        return [CountedRefusal(_refusal_from_row(organization, row), row["count"]) for row in rows]


async def _add(connection: Connection, refusal: Refusal, count: int) -> bool:
    return await connection.execute(ADD_REFUSALS, *_key(refusal), count) == "INSERT 0 1"


def _key(refusal: Refusal) -> tuple[object, ...]:
    organization = refusal.organization_id or UNKNOWN_ORGANIZATION
    return organization, refusal.hour, refusal.status, refusal.address, refusal.credential


def _refusal_from_row(organization: OrganizationId | None, row: Record) -> Refusal:
    return Refusal(
        organization_id=organization,
        hour=row["hour"],
        status=row["status"],
        address=row["address"],
        credential=row["credential"],
    )
