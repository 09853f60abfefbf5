"""Contract of all ports with `audit`: the entry is stored with the change, and only then."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from domain.errors import Failure
from domain.identity.audit import OPERATOR, AuditAction, AuditEntry
from domain.ids import AuditEntryId, OrganizationId, ProjectId
from tests.contracts.exports.test_exports import an_export
from tests.support.builders.values import NOON, trace
from tests.support.fixtures.data_plane import DataPlane, fill, project
from tests.support.fixtures.evaluation.alerts import a_rule, a_webhook, an_alert
from tests.support.fixtures.evaluation.evaluation import a_run, work_of
from tests.support.fixtures.evaluation.monitors import a_monitor
from tests.support.fixtures.in_memory_app import World
from tests.support.fixtures.pricing import a_price, a_repricing

type Change = Callable[[AuditEntry], Awaitable[Any]]
"""Makes a change with its entry; a second call changes nothing, and may raise a Failure."""


def an_entry() -> AuditEntry:
    return AuditEntry(
        id=AuditEntryId(uuid.uuid4()),
        organization_id=OrganizationId(uuid.uuid4()),
        at=NOON,
        actor=OPERATOR,
        action=AuditAction.TRACE_DELETED,
        resource_id="x",
    )


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes of a project; each method prepares one."""

    plane: DataPlane
    project: ProjectId

    async def delete_traces(self) -> Change:
        one = trace()
        await fill(self.plane, self.project, one)
        return lambda entry: self.plane.traces.delete(self.project, [one.id], audit=entry)

    async def delete_session(self) -> Change:
        await fill(self.plane, self.project, trace(session_id="s"), trace(session_id="s"))
        return lambda entry: self.plane.sessions.delete(self.project, "s", audit=entry)

    async def create_export(self) -> Change:
        one = an_export(self.project)
        return lambda entry: self.plane.exporting.exports.create(one, audit=entry)

    async def delete_export(self) -> Change:
        one = an_export(self.project)
        await self.plane.exporting.exports.create(one)
        return lambda entry: self.plane.exporting.exports.delete(self.project, one.id, audit=entry)

    async def create_price(self) -> Change:
        one = a_price(self.project)
        return lambda entry: self.plane.pricing.prices.create(one, audit=entry)

    async def delete_price(self) -> Change:
        one = a_price(self.project)
        await self.plane.pricing.prices.create(one)
        return lambda entry: self.plane.pricing.prices.delete(self.project, one.id, audit=entry)

    async def create_repricing(self) -> Change:
        one = a_repricing(self.project)
        return lambda entry: self.plane.pricing.repricings.create(one, audit=entry)

    async def create_monitor(self) -> Change:
        one = a_monitor(self.project)
        return lambda entry: self.plane.evaluation.monitors.create(one, audit=entry)

    async def edit_monitor(self) -> Change:
        one = await self.plane.evaluation.monitors.create(a_monitor(self.project))
        edit = self.plane.evaluation.monitors.edit
        return lambda entry: edit(
            self.project, one.id, lambda known: replace(known, name="another"), audit=entry
        )

    async def delete_monitor(self) -> Change:
        one = await self.plane.evaluation.monitors.create(a_monitor(self.project))
        return lambda entry: self.plane.evaluation.monitors.delete(
            self.project, one.id, audit=entry
        )

    async def create_alert(self) -> Change:
        one = an_alert(await self.plane.evaluation.monitors.create(a_monitor(self.project)))
        return lambda entry: self.plane.evaluation.alerting.alerts.create(one, audit=entry)

    async def change_alert(self) -> Change:
        one = an_alert(await self.plane.evaluation.monitors.create(a_monitor(self.project)))
        alerts, rule = self.plane.evaluation.alerting.alerts, a_rule(threshold=0.25)
        await alerts.create(one)
        return lambda entry: alerts.edit(
            self.project,
            one.monitor_id,
            one.id,
            lambda known: replace(known, rule=rule),
            audit=entry,
        )

    async def delete_alert(self) -> Change:
        one = an_alert(await self.plane.evaluation.monitors.create(a_monitor(self.project)))
        alerts = self.plane.evaluation.alerting.alerts
        await alerts.create(one)
        return lambda entry: alerts.delete(self.project, one.monitor_id, one.id, audit=entry)

    async def create_webhook(self) -> Change:
        one = a_webhook(self.project)
        return lambda entry: self.plane.evaluation.alerting.webhooks.create(one, audit=entry)

    async def delete_webhook(self) -> Change:
        one, webhooks = a_webhook(self.project), self.plane.evaluation.alerting.webhooks
        await webhooks.create(one)
        return lambda entry: webhooks.delete(self.project, one.id, audit=entry)

    async def delete_run(self) -> Change:
        run = a_run(self.project)
        await self.plane.evaluation.runs.create(run, work_of(run))
        delete = self.plane.evaluation.runs.delete
        return lambda entry: delete(self.project, run.id, NOON, with_scores=True, audit=entry)


CHANGES = [name for name in vars(Changes) if name.startswith(("create_", "delete_", "edit_"))]


@pytest.mark.parametrize("name", CHANGES)
async def test_entry_is_stored_with_the_change_and_once(world: World, name: str) -> None:
    async def logged(entry: AuditEntry) -> Sequence[AuditEntry]:
        return await world.ports.identity.directory.audit_entries(entry.organization_id, 0, 10)

    change = await getattr(Changes(DataPlane.from_ports(world.ports), project()), name)()
    first, second = an_entry(), an_entry()
    await change(first)
    [stored] = await logged(first)
    assert (stored.id, stored.sequence) == (first.id, 1)
    if name in {"delete_traces", "delete_session"}:
        assert stored.detail == {"traces": {"delete_traces": "1", "delete_session": "2"}[name]}
    try:
        await change(second)
    except Failure:
        assert name == "delete_run"
    assert await logged(second) == []
