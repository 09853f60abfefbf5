"""Builders of custom metrics for the tests of their ports."""

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from adapters.memory.evaluation.custom_metrics import MemoryCustomMetrics
from adapters.memory.store import MemoryStore
from adapters.postgres.database.pool import Pool
from adapters.postgres.evaluation.custom_metrics.custom_metrics import PostgresCustomMetrics
from application.evaluation.ports.custom_metrics import CustomMetrics
from domain.evaluation.custom_metrics.custom_metric import CustomMetric
from domain.evaluation.metrics.metric import Definition, DefinitionKind, encode_definition
from domain.ids import ProjectId
from tests.support.builders.values import NOON
from tests.support.fixtures.evaluation import evaluation

RULE: Final[dict[str, Any]] = {"path": "trace.status", "op": "eq", "value": "COMPLETED"}


@dataclass(frozen=True, slots=True)
class Customizing:
    """`remove` hides a project as deleting it does."""

    metrics: CustomMetrics
    remove: Callable[[ProjectId], Awaitable[None]]

    async def made(self, project_id: ProjectId, **said: Any) -> CustomMetric:
        return await self.metrics.create(a_metric(project_id, **said))


def over_memory() -> Customizing:
    store = MemoryStore()
    return Customizing(MemoryCustomMetrics(store), evaluation.over_memory(store).remove)


@asynccontextmanager
async def over_postgres(pool: Pool) -> AsyncIterator[Customizing]:
    async with evaluation.over_postgres(pool) as evaluating:
        yield Customizing(PostgresCustomMetrics(pool), evaluating.remove)


def a_definition(**said: Any) -> Definition:
    """A rule, unless `said` overrides fields; `body` is any JSON."""
    known: dict[str, Any] = {
        "name": "finished",
        "revision": 1,
        "kind": DefinitionKind.RULE,
        "description": "Whether it came to its end",
        "threshold": 0.5,
        "body": RULE,
    } | said
    return Definition(**known | {"body": encode_definition(known["body"])})


def a_metric(project_id: ProjectId, **said: Any) -> CustomMetric:
    own = {name: said.pop(name) for name in ("id", "created_at", "archived_at") if name in said}
    made = own.get("created_at", NOON)
    return CustomMetric(
        **{"id": uuid.uuid4(), "created_at": made} | own,
        project_id=project_id,
        newest=a_definition(**said),
        updated_at=made,
    )


def shown(metric: CustomMetric) -> Any:
    """The newest definition as JSON."""
    return json.loads(metric.newest.body)
