"""Model prices of projects."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from adapters.postgres.database.advisory_locks import AdvisoryLock
from adapters.postgres.database.pool import IN_PROJECT, Pool, translate_errors
from adapters.postgres.database.read_transactions import read_connection
from adapters.postgres.database.removed_projects import not_removed
from adapters.postgres.database.statements.columns import Table, columns
from adapters.postgres.database.tenants import within
from adapters.postgres.database.transactions import project_transaction, transaction
from adapters.postgres.identity.audit_log import store_audit_entry
from application.pricing.ports import UNPRICED_MODELS_MAX, UNPRICED_SPANS_MAX
from domain.errors import Conflict
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId
from domain.pricing.model_price import PRICES_MAX, ModelPrice, UnpricedModel
from domain.tracing.usage import CostSource

ASK_FOR_FEWER_DAYS: Final = "ask for fewer days, or try again later"
MODEL_PRICES: Final = Table(
    "model_prices",
    (
        *columns("project_id uuid, id uuid, match text, created_at timestamptz"),
        *columns("input numeric, output numeric, cache_read numeric, cache_write numeric"),
        *columns("effective_from timestamptz, effective_to timestamptz"),
    ),
)
_row: Final = MODEL_PRICES.compile_row()
price_from_row: Final = MODEL_PRICES.compile_reader(ModelPrice)
INSERT_PRICE: Final = MODEL_PRICES.insert()
SELECT_PRICES: Final = f"""
SELECT {MODEL_PRICES.select()} FROM model_prices
WHERE project_id = ANY($1::uuid[])
  AND {not_removed("model_prices")}
ORDER BY created_at DESC, id DESC
"""
DELETE_PRICE: Final = f"DELETE FROM model_prices WHERE {IN_PROJECT} AND id = $2"
SELECT_UNPRICED_MODELS: Final = f"""
SELECT model, count(*) AS spans, sum(prompt_tokens) AS prompt_tokens,
       sum(completion_tokens) AS completion_tokens, max(started_at) AS last_seen_at
FROM (
  SELECT model, prompt_tokens, completion_tokens, started_at FROM spans
  WHERE {IN_PROJECT} AND started_at >= $2 AND model <> ''
    AND cost_source = '{CostSource.UNPRICED}' AND prompt_tokens + completion_tokens > 0
    AND usage_role IS NULL
  ORDER BY started_at DESC LIMIT {UNPRICED_SPANS_MAX}
) AS newest
GROUP BY model ORDER BY count(*) DESC, model LIMIT {UNPRICED_MODELS_MAX}
"""


@dataclass(frozen=True, slots=True)
class PostgresModelPrices:
    """Calls `on_change` for each project whose prices change in this process."""

    pool: Pool
    on_change: Callable[[ProjectId], None] = lambda _: None

    async def create(self, price: ModelPrice, *, audit: AuditEntry | None = None) -> ModelPrice:
        project = price.project_id
        try:
            lock = AdvisoryLock.MODEL_PRICES
            async with project_transaction(self.pool, lock, project) as connection:
                there = await connection.fetch(SELECT_PRICES, [project])
                for row in there:
                    if row["id"] == price.id:
                        return price_from_row(row)
                if len(there) >= PRICES_MAX:
                    raise Conflict(f"A project has {PRICES_MAX} prices at most: delete one first")
                await connection.execute(INSERT_PRICE, *_row(price))
                await store_audit_entry(connection, audit)
        finally:  # after a failed COMMIT too: it may have succeeded
            self.on_change(project)
        return price

    async def for_projects(
        self, projects: Collection[ProjectId]
    ) -> Mapping[ProjectId, Sequence[ModelPrice]]:
        prices: dict[ProjectId, list[ModelPrice]] = {project: [] for project in projects}
        async with translate_errors():
            for row in await within(self.pool, projects).fetch(SELECT_PRICES, list(prices)):
                prices[ProjectId(row["project_id"])].append(price_from_row(row))
        return prices

    async def delete(
        self, project: ProjectId, price: UUID, *, audit: AuditEntry | None = None
    ) -> bool:
        try:
            async with transaction(self.pool, project) as connection:
                done: str = await connection.execute(DELETE_PRICE, project, price)
                is_gone = done == "DELETE 1"
                await store_audit_entry(connection, audit if is_gone else None)
                return is_gone
        finally:
            self.on_change(project)

    async def list_unpriced(self, project: ProjectId, since: datetime) -> Sequence[UnpricedModel]:
        async with read_connection(self.pool, ASK_FOR_FEWER_DAYS, project) as connection:
            rows = await connection.fetch(SELECT_UNPRICED_MODELS, project, since)
        return [
            UnpricedModel(
                row["model"],
                row["spans"],
                int(row["prompt_tokens"]),
                int(row["completion_tokens"]),
                row["last_seen_at"],
            )
            for row in rows
        ]
