"""Webhooks and their deliveries."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from asyncpg import Record

from adapters.postgres.database.advisory_locks import AdvisoryLock
from adapters.postgres.database.pool import IN_PROJECT, affected_rows, require_row
from adapters.postgres.database.read_transactions import ASK_FOR_FEWER, PoolReader
from adapters.postgres.database.removed_projects import not_removed
from adapters.postgres.database.secret_rotation import secret_context
from adapters.postgres.database.statements.bounded_delete import delete_some
from adapters.postgres.database.statements.keyset_pages import KeysetQuery
from adapters.postgres.database.statements.sql_builder import Sql
from adapters.postgres.database.tenants import ALL_TENANTS
from adapters.postgres.database.transactions import project_transaction, transaction
from adapters.postgres.evaluation.alerts.alert_rows import (
    DELIVERIES,
    WEBHOOKS,
    delivery_from_row,
    delivery_row,
    webhook_from_row,
    webhook_row,
)
from adapters.postgres.identity.audit_log import store_audit_entry
from application.evaluation.ports.alerts import (
    DELIVERIES_PER_WEBHOOK_MAX,
    DELIVERY_LEASE,
    WEBHOOKS_MAX,
)
from application.ports import EncryptedSecret, SecretCipher, UnreadableSecret
from domain.errors import Conflict
from domain.evaluation.alerts.webhook import Delivery, Webhook, WebhookFormat
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId
from domain.page import Page, PageRequest, Position

_log: Final = logging.getLogger(__name__)

WEBHOOK_NOT_FOUND: Final = "Webhook not found"
DELIVERIES_PER_DELETE: Final = 2_000  # deliveries that one transaction deletes
DUE_CANDIDATES_MAX: Final = 10_000  # due deliveries from which a claim chooses

_SELECT_LIST: Final = WEBHOOKS.select()
INSERT_WEBHOOK: Final = WEBHOOKS.insert_if_new()
INSERT_DELIVERY: Final = DELIVERIES.insert_if_new()
SELECT_WEBHOOK: Final = f"SELECT {_SELECT_LIST} FROM webhooks WHERE {IN_PROJECT} AND id = $2"
LOCK_WEBHOOK: Final = f"{SELECT_WEBHOOK} FOR UPDATE"
LOCK_WEBHOOK_SHARED: Final = f"{SELECT_WEBHOOK} FOR SHARE"
SELECT_WEBHOOKS: Final = f"""
SELECT {_SELECT_LIST} FROM webhooks WHERE {IN_PROJECT} ORDER BY created_at, id LIMIT {WEBHOOKS_MAX}
"""
DELETE_WEBHOOK: Final = f"DELETE FROM webhooks WHERE {IN_PROJECT} AND id = $2"
DELETE_DELIVERIES: Final = delete_some(
    "alert_deliveries", f"{IN_PROJECT} AND webhook_id = $2", DELIVERIES_PER_DELETE
)
_DUE: Final = f"""
SELECT ctid AS place, project_id, id, webhook_id, next_attempt_at,
  coalesce(held_until > $1, false) AS is_held
FROM alert_deliveries WHERE next_attempt_at <= $1 AND {not_removed("alert_deliveries")}
"""
# The longest due and the latest due, so that no number of messages of one project hides those of
# the others. Deliveries that are being sent count first towards the limit of one webhook, and
# towards the turn of their project: the next message is of the project with the fewest. Those that
# are chosen are found again by ctid: few are due when statistics are made, so the planner would
# compare all with each other. Neither the condition nor the order suits an index, of which all
# would be read. A change by another transaction meanwhile is due at the next claim.
CLAIM_DUE_DELIVERIES: Final = f"""
WITH waiting AS MATERIALIZED (
  ({_DUE} ORDER BY next_attempt_at, project_id, id LIMIT {DUE_CANDIDATES_MAX // 2})
  UNION
  ({_DUE} ORDER BY next_attempt_at DESC, project_id DESC, id DESC
   LIMIT {DUE_CANDIDATES_MAX // 2})
), ranked AS (
  SELECT *, row_number() OVER (
    PARTITION BY project_id, webhook_id ORDER BY is_held DESC, next_attempt_at, id
  ) AS rank FROM waiting
), in_turn AS (
  SELECT *, row_number() OVER (
    PARTITION BY project_id ORDER BY is_held DESC, next_attempt_at, id
  ) AS turn FROM ranked WHERE is_held OR rank <= {DELIVERIES_PER_WEBHOOK_MAX}
), chosen AS MATERIALIZED (
  SELECT place FROM in_turn WHERE NOT is_held
  ORDER BY turn, next_attempt_at, project_id, id LIMIT $3
), free AS MATERIALIZED (
  SELECT ctid AS place FROM alert_deliveries
  WHERE ctid = ANY(ARRAY(SELECT place FROM chosen)) AND coalesce(next_attempt_at <= $1, false)
    AND (held_until IS NULL OR held_until <= $1)
  ORDER BY (project_id, id) FOR UPDATE SKIP LOCKED
), held AS (
  UPDATE alert_deliveries AS d SET held_until = $2
  WHERE d.ctid = ANY(ARRAY(SELECT place FROM free))
  RETURNING {DELIVERIES.select("d")}
)
SELECT held.*, w.url AS webhook_url, w.created_at AS webhook_created_at,
  w.format AS webhook_format,
  w.secret_key_id, w.encrypted_secret
FROM held CROSS JOIN LATERAL (
  SELECT * FROM webhooks WHERE project_id = held.project_id AND id = held.webhook_id OFFSET 0
) AS w
ORDER BY held.next_attempt_at, held.project_id, held.id
"""
UPDATE_DELIVERY: Final = f"""
UPDATE alert_deliveries SET held_until = NULL, attempts = $3, status = $4, error = $5,
  next_attempt_at = $6, delivered_at = $7
WHERE {IN_PROJECT} AND id = $2 AND delivered_at IS NULL
"""
# Across projects.
DELETE_OLD_DELIVERIES: Final = delete_some(
    "alert_deliveries",
    "created_at < $1 AND next_attempt_at IS NULL",
    DELIVERIES_PER_DELETE,
    skip_locked=True,
)


@dataclass(frozen=True, slots=True)
class PostgresWebhooks(PoolReader):
    """Each list is read from one snapshot. `cipher` encrypts the secrets."""

    cipher: SecretCipher

    async def create(self, webhook: Webhook, *, audit: AuditEntry | None = None) -> Webhook:
        project = webhook.project_id
        async with project_transaction(self.pool, AdvisoryLock.WEBHOOKS, project) as connection:
            known = await connection.fetchrow(SELECT_WEBHOOK, project, webhook.id)
            if known is not None:
                return self._with_secret(webhook_from_row(known), known)
            if len(await connection.fetch(SELECT_WEBHOOKS, project)) >= WEBHOOKS_MAX:
                raise Conflict(f"A project has {WEBHOOKS_MAX} webhooks at most: delete one first")
            assert webhook.secret is not None, "a new webhook has a secret"
            secret = self.cipher.encrypt(webhook.secret, _secret_context(webhook))
            row = webhook_row(secret.key_id, secret.ciphertext, webhook)
            await connection.execute(INSERT_WEBHOOK, *row)
            await store_audit_entry(connection, audit)
            return webhook

    def _with_secret(self, webhook: Webhook, row: Record) -> Webhook:
        """Raises UnreadableSecret."""
        stored = EncryptedSecret(row["secret_key_id"], row["encrypted_secret"])
        return replace(webhook, secret=self.cipher.decrypt(stored, _secret_context(webhook)))

    async def all(self, project: ProjectId) -> Sequence[Webhook]:
        rows = await self._fetch(ASK_FOR_FEWER, project, SELECT_WEBHOOKS, project)
        return [webhook_from_row(row) for row in rows]

    async def delete(
        self, project: ProjectId, webhook: UUID, *, audit: AuditEntry | None = None
    ) -> bool:
        async with transaction(self.pool, project) as connection:
            if await connection.fetchrow(LOCK_WEBHOOK, project, webhook) is None:
                return False
            while await connection.execute(DELETE_DELIVERIES, project, webhook) != "DELETE 0":
                pass
            await store_audit_entry(connection, audit)
            return await connection.execute(DELETE_WEBHOOK, project, webhook) == "DELETE 1"

    async def enqueue(self, delivery: Delivery) -> None:
        async with transaction(self.pool, delivery.project_id) as connection:
            key = (delivery.project_id, delivery.webhook_id)
            require_row(await connection.fetchrow(LOCK_WEBHOOK_SHARED, *key), WEBHOOK_NOT_FOUND)
            await connection.execute(INSERT_DELIVERY, *delivery_row(delivery))

    async def deliveries(
        self, project: ProjectId, webhook: UUID, window: PageRequest
    ) -> Page[Delivery]:
        query = KeysetQuery.newest_first(project, DELIVERIES, window)
        async with self._snapshot(ASK_FOR_FEWER, project) as connection:
            known = await connection.fetchrow(SELECT_WEBHOOK, project, webhook)
            require_row(known, WEBHOOK_NOT_FOUND)
            page = await query.fetch_served(connection, [Sql("webhook_id = {}", (webhook,))])
        return page.to_page(
            window.limit, delivery_from_row, lambda one: Position(one.created_at, one.id)
        )

    async def claim_due(self, now: datetime, most: int) -> Sequence[tuple[Delivery, Webhook]]:
        async with transaction(self.pool, ALL_TENANTS) as connection:
            rows = await connection.fetch(CLAIM_DUE_DELIVERIES, now, now + DELIVERY_LEASE, most)
        claimed = []
        for row in rows:
            webhook = Webhook(
                id=row["webhook_id"],
                project_id=ProjectId(row["project_id"]),
                url=row["webhook_url"],
                created_at=row["webhook_created_at"],
                format=WebhookFormat(row["webhook_format"]),
            )
            try:
                claimed.append((delivery_from_row(row), self._with_secret(webhook, row)))
            except UnreadableSecret as error:
                ids = {"project_id": str(webhook.project_id), "webhook_id": str(webhook.id)}
                _log.error("a webhook message waits: %s", error.message, extra=ids)
        return claimed

    async def record_attempt(self, delivery: Delivery) -> None:
        key = (delivery.project_id, delivery.id)
        result = (delivery.attempts, delivery.status, delivery.error)
        then = (delivery.next_attempt_at, delivery.delivered_at)
        async with transaction(self.pool, delivery.project_id) as connection:
            await connection.execute(UPDATE_DELIVERY, *key, *result, *then)

    async def delete_deliveries(self, before: datetime) -> int:
        async with transaction(self.pool, ALL_TENANTS) as connection:
            return affected_rows(await connection.execute(DELETE_OLD_DELIVERIES, before))


def _secret_context(webhook: Webhook) -> bytes:
    return secret_context("webhooks", webhook.project_id, webhook.id)
