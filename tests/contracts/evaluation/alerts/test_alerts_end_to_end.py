"""A monitor finds an agent failing and recovering, and sends signed alerts to a receiver."""

import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from adapters.memory.evaluation.scripted_judge import ScriptedJudge
from adapters.memory.jobs import RecordedJobs
from adapters.webhook_sender import HttpWebhookSender
from application.evaluation.monitors.monitors import MonitorRequest
from application.evaluation.runs.run_rules import RunRequest
from domain.evaluation.alerts.alert import AlertFigure, AlertState
from domain.evaluation.alerts.webhook import format_secret
from domain.evaluation.monitors.monitor import Monitor
from domain.evaluation.runs.run import TargetType
from domain.evaluation.runs.selection import TraceSelection
from domain.ids import MonitorId, ProjectId
from domain.page import PageRequest
from domain.tracing.trace import TraceStatus
from tests.support.builders.evaluated_traces import json_payload
from tests.support.builders.values import trace
from tests.support.fakes.webhook_receivers import receiver, with_status
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.evaluation.alerts import a_rule
from tests.support.fixtures.in_memory_app import World

EARLY = datetime(2021, 3, 1, tzinfo=UTC)  # before anything that other tests have due
GOOD, BAD = TraceStatus.COMPLETED, TraceStatus.ERROR


async def loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@dataclass
class MonitoredAgent:
    """A project whose agent is monitored."""

    world: World
    project: ProjectId
    judge: ScriptedJudge = field(default_factory=ScriptedJudge)

    def __post_init__(self) -> None:
        self.world.now = EARLY
        evaluation = self.world.ports.evaluation
        webhook_sender = HttpWebhookSender(loopback, is_allowed=lambda _: True, allow_private=True)
        alerting = replace(
            evaluation.alerting,
            webhook_sender=webhook_sender,
            allow_private=True,
            public_url="https://pandaprobe.example/",
        )
        ports = replace(evaluation, alerting=alerting, judge=self.judge)
        self.do = self.world.with_ports(evaluation=ports).evaluation
        assert isinstance(ports.jobs, RecordedJobs)
        self.jobs = ports.jobs

    async def create_monitor(
        self, metric: str = "trace_success", model: str | None = None
    ) -> Monitor:
        order = MonitorRequest(
            name="hourly",
            target_type=TargetType.TRACE,
            run=RunRequest(metrics=[metric], model=model),
            selection=TraceSelection(),
            cadence="every_6h",
            only_if_changed=False,  # changes are marked by the database's own clock
        )
        return await self.do.create_monitor(self.project, MonitorId(uuid.uuid4()), order)

    async def put_traces(self, count: int, status: TraceStatus) -> None:
        for _ in range(count):
            made = trace(status=status, started_at=EARLY, ended_at=EARLY + timedelta(seconds=1))
            await self.world.ports.tracing.traces.put(self.project, made)

    async def advance_six_hours(self) -> None:
        """Fires the monitor, runs the jobs, assesses the alerts and sends the messages."""
        self.world.forward(hours=6)
        assert await self.do.run_due_monitors() >= 1  # other tests may have left due monitors
        await self.jobs.done(self.do.run_job)
        await self.do.alerting.evaluate_runs()
        await self.do.alerting.deliver_messages()


@pytest.fixture
def agent(world: World) -> MonitoredAgent:
    return MonitoredAgent(world, project())


async def test_alert_and_recovery_arrive_signed(agent: MonitoredAgent) -> None:
    alerting = agent.do.alerting
    monitor = await agent.create_monitor()
    rule = a_rule(
        metric="trace_success", figure=AlertFigure.PASS_RATE, threshold=0.5, samples_min=3
    )
    alert = await alerting.create_alert(agent.project, monitor.id, uuid.uuid4(), rule)
    async with receiver() as there:
        webhook = await alerting.create_webhook(agent.project, uuid.uuid4(), there.url())

        await agent.put_traces(3, GOOD)
        await agent.advance_six_hours()
        assert there.got == []

        await agent.put_traces(9, BAD)
        await agent.advance_six_hours()
        [message] = there.messages
        assert message["type"] == "alert.changed"
        assert message["data"]["alert_id"] == str(alert.id)
        assert message["data"]["state"] == "ALERTING"
        assert message["data"]["value"] == pytest.approx(0.25)
        url = f"https://pandaprobe.example/app/p/{agent.project}/monitors/{monitor.id}"
        assert message["data"]["url"] == url
        assert message["data"]["monitor_name"] == "hourly"
        assert message["text"].startswith("ALERTING: hourly in ")
        assert message["text"].endswith(
            f": the pass rate of trace_success is 0.25, below 0.5; 12 scored — {url}"
        )

        await agent.advance_six_hours()  # as bad as before, which was sent already
        assert len(there.got) == 1

        there.answer = with_status("503 Busy")
        await agent.put_traces(12, GOOD)
        await agent.advance_six_hours()
        there.answer = with_status("200 OK")
        agent.world.forward(minutes=1)
        await alerting.deliver_messages()
        states = [one["data"]["state"] for one in there.messages]
        assert states == ["ALERTING", "OK", "OK"]

    # Its clock is years back, so a verifier refuses the age of the signature and nothing else.
    secret = format_secret(webhook.secret)
    for _, head, body in there.got:
        signed_at = datetime.fromtimestamp(int(head["webhook-timestamp"]), UTC)
        assert head["webhook-signature"] == Verifier(secret).sign(
            head["webhook-id"], signed_at, body.decode()
        )
    assert there.got[1][1]["webhook-id"] == there.got[2][1]["webhook-id"]
    await assert_lists_match(agent, monitor, webhook.id)


async def assert_lists_match(agent: MonitoredAgent, monitor: Monitor, webhook: Any) -> None:
    """Asserts that the lists show what was sent."""
    alerting = agent.do.alerting
    changes = await alerting.alerts.changes(agent.project, monitor.id, PageRequest())
    assert [(one.before, one.after) for one in changes.items] == [
        (AlertState.ALERTING, AlertState.OK),
        (AlertState.OK, AlertState.ALERTING),
    ]
    runs = await agent.do.monitors.runs(agent.project, monitor.id, PageRequest())
    mended, _, broken, _ = [one.run.id for one in runs.items]
    assert [one.run_id for one in changes.items] == [mended, broken]
    log = await alerting.webhooks.deliveries(agent.project, webhook, PageRequest())
    assert [(one.attempts, one.status) for one in log.items] == [(2, 200), (1, 204)]
    [alert] = await alerting.alerts.by_monitor(agent.project, monitor.id)
    assert alert.watch.state is AlertState.OK


async def test_unchanged_traces_are_not_judged_again(agent: MonitoredAgent) -> None:
    """Neither when the monitor fires again over all matching traces, nor when a trace is resent."""
    monitor = await agent.create_monitor("task_completion", "openai/gpt-4o")
    words = {"input": json_payload("book a flight"), "output": json_payload("It is booked")}
    one = trace(started_at=EARLY, **words)
    await agent.world.ports.tracing.traces.put(agent.project, one)
    await agent.advance_six_hours()
    await agent.world.ports.tracing.traces.put(agent.project, one)
    await agent.world.ports.tracing.traces.put(agent.project, trace(started_at=EARLY, **words))
    await agent.advance_six_hours()
    assert len(agent.judge.asked) == 1
    changed = replace(one, output=json_payload("Nothing is booked"))
    await agent.world.ports.tracing.traces.put(agent.project, changed)
    await agent.advance_six_hours()
    assert len(agent.judge.asked) == 2
    runs = await agent.do.monitors.runs(agent.project, monitor.id, PageRequest())
    assert [(one.tally.evaluated, one.tally.scored) for one in runs.items] == [
        (2, 2),
        (2, 2),
        (1, 1),
    ]
