"""Webhooks and their deliveries."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from adapters.postgres.database.advice import ASK_FOR_FEWER
from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_project
from adapters.postgres.database.newest_first import fetch_newest_page, newest_first_query
from adapters.postgres.database.pool import OF_PROJECT, Pool, affected_rows
from adapters.postgres.database.read_transactions import (
    READ_TIMEOUT_S,
    read_connection,
    read_snapshot,
)
from adapters.postgres.database.removed_projects import check_not_removed, not_removed
from adapters.postgres.database.sql_builder import Sql
from adapters.postgres.database.transactions import transaction
from adapters.postgres.evaluation.alerts.alert_rows import (
    DELIVERIES,
    WEBHOOKS,
    delivery_from_row,
    delivery_row,
    insert_statement,
    webhook_from_row,
    webhook_row,
)
from application.evaluation.ports.alerts import (
    DELIVERIES_PER_WEBHOOK_MAX,
    DELIVERY_LEASE,
    WEBHOOKS_MAX,
)
from domain.errors import Conflict, NotFound
from domain.evaluation.monitors.webhook import Delivery, Webhook
from domain.ids import ProjectId
from domain.page import Page, PageRequest, Position

DELIVERIES_PER_DELETE: Final = 2_000  # deliveries that one transaction deletes
DUE_CANDIDATES_MAX: Final = 10_000  # due deliveries from which a claim chooses

_SELECT_LIST: Final = WEBHOOKS.select()
INSERT_WEBHOOK: Final = insert_statement(WEBHOOKS)
INSERT_DELIVERY: Final = insert_statement(DELIVERIES)
SELECT_WEBHOOK: Final = f"SELECT {_SELECT_LIST} FROM webhooks WHERE {OF_PROJECT} AND id = $2"
LOCK_WEBHOOK: Final = f"{SELECT_WEBHOOK} FOR UPDATE"
LOCK_WEBHOOK_SHARED: Final = f"{SELECT_WEBHOOK} FOR SHARE"
SELECT_WEBHOOKS: Final = f"""
SELECT {_SELECT_LIST} FROM webhooks WHERE {OF_PROJECT} ORDER BY created_at, id LIMIT {WEBHOOKS_MAX}
"""
DELETE_WEBHOOK: Final = f"DELETE FROM webhooks WHERE {OF_PROJECT} AND id = $2"
DELETE_DELIVERIES: Final = f"""
DELETE FROM alert_deliveries WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM alert_deliveries WHERE {OF_PROJECT} AND webhook_id = $2
  LIMIT {DELIVERIES_PER_DELETE}
))
"""
# Deliveries that are being sent count first towards the limit of one webhook.
CLAIM_DUE_DELIVERIES: Final = f"""
WITH waiting AS MATERIALIZED (
  SELECT project_id, id, webhook_id, next_attempt_at,
    coalesce(held_until > $1, false) AS is_held
  FROM alert_deliveries
  WHERE next_attempt_at <= $1 AND {not_removed("alert_deliveries")}
  ORDER BY next_attempt_at, project_id, id LIMIT {DUE_CANDIDATES_MAX}
), ranked AS (
  SELECT *, row_number() OVER (
    PARTITION BY project_id, webhook_id ORDER BY is_held DESC, next_attempt_at, id
  ) AS place FROM waiting
), chosen AS MATERIALIZED (
  SELECT project_id, id FROM ranked WHERE NOT is_held AND place <= {DELIVERIES_PER_WEBHOOK_MAX}
  ORDER BY next_attempt_at, project_id, id LIMIT $3
), free AS MATERIALIZED (
  SELECT d.project_id, d.id FROM alert_deliveries AS d JOIN chosen USING (project_id, id)
  WHERE d.next_attempt_at <= $1 AND (d.held_until IS NULL OR d.held_until <= $1)
  ORDER BY d.project_id, d.id FOR UPDATE OF d SKIP LOCKED
), held AS (
  UPDATE alert_deliveries AS d SET held_until = $2 FROM free
  WHERE d.project_id = free.project_id AND d.id = free.id
  RETURNING {DELIVERIES.select("d")}
)
SELECT held.*, w.url AS webhook_url, w.secret AS webhook_secret,
  w.created_at AS webhook_created_at
FROM held CROSS JOIN LATERAL (
  SELECT * FROM webhooks WHERE project_id = held.project_id AND id = held.webhook_id
) AS w
ORDER BY held.next_attempt_at, held.project_id, held.id
"""
UPDATE_DELIVERY: Final = f"""
UPDATE alert_deliveries SET held_until = NULL, attempts = $3, status = $4, error = $5,
  next_attempt_at = $6, delivered_at = $7
WHERE {OF_PROJECT} AND id = $2 AND delivered_at IS NULL
"""
# Across projects. Rows that another transaction has locked are skipped; the next call deletes them.
DELETE_OLD_DELIVERIES: Final = f"""
DELETE FROM alert_deliveries WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM alert_deliveries WHERE created_at < $1 AND next_attempt_at IS NULL
  LIMIT {DELIVERIES_PER_DELETE} FOR UPDATE SKIP LOCKED
))
"""


@dataclass(frozen=True, slots=True)
class PostgresWebhooks:
    """Each list is read from one snapshot, and takes at most `timeout_s`."""

    pool: Pool
    timeout_s: float = READ_TIMEOUT_S

    async def create(self, webhook: Webhook) -> Webhook:
        project = webhook.project_id
        async with transaction(self.pool) as connection:
            await lock_project(connection, AdvisoryLock.WEBHOOKS, project)
            await check_not_removed(connection, project)
            known = await connection.fetchrow(SELECT_WEBHOOK, project, webhook.id)
            if known is not None:
                return webhook_from_row(known)
            if len(await connection.fetch(SELECT_WEBHOOKS, project)) >= WEBHOOKS_MAX:
                raise Conflict(f"A project has {WEBHOOKS_MAX} webhooks at most: delete one first")
            await connection.execute(INSERT_WEBHOOK, *webhook_row(webhook))
            return webhook

    async def all(self, project: ProjectId) -> Sequence[Webhook]:
        async with read_connection(self.pool, ASK_FOR_FEWER, self.timeout_s) as connection:
            return [
                webhook_from_row(row) for row in await connection.fetch(SELECT_WEBHOOKS, project)
            ]

    async def delete(self, project: ProjectId, webhook: UUID) -> bool:
        async with transaction(self.pool) as connection:
            if await connection.fetchrow(LOCK_WEBHOOK, project, webhook) is None:
                return False
            while await connection.execute(DELETE_DELIVERIES, project, webhook) != "DELETE 0":
                pass
            return await connection.execute(DELETE_WEBHOOK, project, webhook) == "DELETE 1"

    async def enqueue(self, delivery: Delivery) -> None:
        async with transaction(self.pool) as connection:
            place = (delivery.project_id, delivery.webhook_id)
            if await connection.fetchrow(LOCK_WEBHOOK_SHARED, *place) is None:
                raise NotFound("Webhook not found")
            await connection.execute(INSERT_DELIVERY, *delivery_row(delivery))

    async def deliveries(
        self, project: ProjectId, webhook: UUID, window: PageRequest
    ) -> Page[Delivery]:
        async with read_snapshot(self.pool, ASK_FOR_FEWER, self.timeout_s) as connection:
            if await connection.fetchrow(SELECT_WEBHOOK, project, webhook) is None:
                raise NotFound("Webhook not found")
            query = newest_first_query(project, DELIVERIES.name, DELIVERIES.names, window)
            found = await fetch_newest_page(connection, query, [Sql("webhook_id = {}", (webhook,))])
        shown = [delivery_from_row(row) for row in found.rows[: window.limit]]
        has_more = len(found.rows) > len(shown)
        end = Position(shown[-1].created_at, shown[-1].id) if has_more else None
        return Page(shown, found.total, end)

    async def claim_due(self, now: datetime, most: int) -> Sequence[tuple[Delivery, Webhook]]:
        async with transaction(self.pool) as connection:
            rows = await connection.fetch(CLAIM_DUE_DELIVERIES, now, now + DELIVERY_LEASE, most)
        return [
            (
                delivery_from_row(row),
                Webhook(
                    id=row["webhook_id"],
                    project_id=ProjectId(row["project_id"]),
                    url=row["webhook_url"],
                    secret=row["webhook_secret"],
                    created_at=row["webhook_created_at"],
                ),
            )
            for row in rows
        ]

    async def record_attempt(self, delivery: Delivery) -> None:
        went = (delivery.attempts, delivery.status, delivery.error)
        then = (delivery.next_attempt_at, delivery.delivered_at)
        async with transaction(self.pool) as connection:
            await connection.execute(
                UPDATE_DELIVERY, delivery.project_id, delivery.id, *went, *then
            )

    async def delete_deliveries(self, before: datetime) -> int:
        async with transaction(self.pool) as connection:
            return affected_rows(await connection.execute(DELETE_OLD_DELIVERIES, before))
