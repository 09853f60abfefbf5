"""The ports of monitors over one store, and monitors in a few words."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from adapters.memory.alerts import MemoryAlerts, MemoryWebhooks
from adapters.memory.monitors import MemoryChanged, MemoryMonitors
from adapters.memory.store import MemoryStore
from adapters.postgres.alerts import PostgresAlerts
from adapters.postgres.changed import PostgresChanged
from adapters.postgres.engine import Pool
from adapters.postgres.monitors import PostgresMonitors
from adapters.postgres.webhooks import PostgresWebhooks
from application.evaluation.alerting import Alerts, Webhooks
from application.evaluation.monitoring import Changed, Monitors
from domain.evaluation.monitor import Monitor, Selection, Watermark
from domain.evaluation.run import EvalRun, TargetType
from domain.evaluation.selection import SessionSelection, TraceSelection
from domain.ids import MonitorId, ProjectId
from tests.builders import NOON
from tests.contracts import evaluating as evaluation
from tests.contracts.evaluating import METRICS, Evaluating, a_run

AT_ONCE: Final = timedelta()  # nobody waits for what has just been written to settle


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitoring:
    """`settled` looks SETTLING back, as the service does; `changed` up to now."""

    evaluating: Evaluating
    monitors: Monitors
    changed: Changed
    settled: Changed
    alerts: Alerts
    webhooks: Webhooks

    async def stored(self, of: ProjectId, **said: Any) -> Monitor:
        return await self.monitors.create(a_monitor(of, **said))

    async def targets(
        self,
        of: ProjectId,
        after: Watermark | None = None,
        selection: Selection | None = None,
    ) -> list[str]:
        """What has changed until now."""
        edge = await self.changed.edge()
        meant = TraceSelection() if selection is None else selection
        return list(await self.changed.targets(of, meant, after, edge, 1_000))


def over_memory(store: MemoryStore | None = None) -> Monitoring:
    store = MemoryStore() if store is None else store
    return Monitoring(
        evaluating=evaluation.over_memory(store),
        monitors=MemoryMonitors(store),
        changed=MemoryChanged(store, AT_ONCE),
        settled=MemoryChanged(store),
        alerts=MemoryAlerts(store),
        webhooks=MemoryWebhooks(store),
    )


@asynccontextmanager
async def over_postgres(pool: Pool) -> AsyncIterator[Monitoring]:
    async with evaluation.over_postgres(pool) as evaluating:
        yield Monitoring(
            evaluating=evaluating,
            monitors=PostgresMonitors(pool),
            changed=PostgresChanged(pool, AT_ONCE),
            settled=PostgresChanged(pool),
            alerts=PostgresAlerts(pool),
            webhooks=PostgresWebhooks(pool),
        )


def a_monitor(of: ProjectId, **said: Any) -> Monitor:
    """Of traces, due at NOON, and what is `said`."""
    is_of_sessions = said.get("target_type") is TargetType.SESSION
    known: dict[str, Any] = {
        "id": MonitorId(uuid.uuid4()),
        "project_id": of,
        "name": "nightly",
        "target_type": TargetType.TRACE,
        "metrics": ("agent_reliability",) if is_of_sessions else METRICS,
        "selection": SessionSelection() if is_of_sessions else TraceSelection(),
        "cadence": "every_6h",
        "next_run_at": NOON,
        "created_at": NOON,
        "updated_at": NOON,
    }
    return Monitor(**known | said)


def run_of(monitor: Monitor, targets: int = 2, **said: Any) -> EvalRun:
    run = a_run(monitor.project_id, targets, target_type=monitor.target_type)
    return replace(run, monitor_id=monitor.id, metrics=monitor.metrics, **said)
