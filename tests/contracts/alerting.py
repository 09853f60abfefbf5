"""Alerts, webhooks and what they are sent, in a few words."""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from application.evaluation.alerting import (
    ENDED_AT_ONCE,
    Alert,
    AlertChange,
    Assessed,
    Delivery,
    EndedRun,
    Notice,
    Webhook,
)
from domain.evaluation.alert import AlertRule, AlertState, Figure, Watch
from domain.evaluation.monitor import Monitor
from domain.evaluation.outcome import Outcome
from domain.evaluation.run import EvalRun
from domain.ids import ProjectId
from tests.builders import NOON
from tests.contracts.evaluating import GOOD, METRICS, work_of
from tests.contracts.monitoring import Monitoring, run_of

BODY = b'{"type": "alert.changed"}'


def a_rule(**said: Any) -> AlertRule:
    known: dict[str, Any] = {"metric": METRICS[0], "figure": Figure.SCORE_MEAN, "threshold": 0.5}
    known |= said
    return AlertRule(**{"clear_at": known["threshold"]} | known)


def an_alert(monitor: Monitor, **said: Any) -> Alert:
    known: dict[str, Any] = {
        "id": uuid.uuid4(),
        "project_id": monitor.project_id,
        "monitor_id": monitor.id,
        "rule": a_rule(),
        "watch": Watch(since=NOON),
        "created_at": NOON,
    }
    return Alert(**known | said)


def a_webhook(of: ProjectId, **said: Any) -> Webhook:
    known: dict[str, Any] = {
        "id": uuid.uuid4(),
        "project_id": of,
        "url": "https://example.com/hook",
        "secret": b"\x00\xff" * 16,
        "created_at": NOON,
    }
    return Webhook(**known | said)


def a_delivery(webhook: Webhook, **said: Any) -> Delivery:
    known: dict[str, Any] = {
        "id": uuid.uuid4(),
        "project_id": webhook.project_id,
        "webhook_id": webhook.id,
        "change_id": None,
        "body": BODY,
        "next_attempt_at": NOON,
        "created_at": NOON,
    }
    return Delivery(**known | said)


def turned(ended: EndedRun, alert: Alert, **said: Any) -> Assessed:
    """An alert that raises, and its notice."""
    watch = Watch(state=AlertState.ALERTING, since=NOON, in_a_row=1, value=0.25)
    change = AlertChange(
        **{
            "id": uuid.uuid4(),
            "project_id": alert.project_id,
            "monitor_id": alert.monitor_id,
            "alert_id": alert.id,
            "run_id": ended.run,
            "before": alert.watch.state,
            "after": watch.state,
            "value": watch.value,
            "at": NOON,
        }
        | said
    )
    return Assessed(replace(alert, watch=watch), Notice(change, BODY))


async def ran(
    monitoring: Monitoring, monitor: Monitor, targets: int = 1, outcome: Outcome = GOOD, **said: Any
) -> EvalRun:
    """A run of a monitor that has come to its end."""
    run = run_of(monitor, targets, **said)
    await monitoring.evaluating.begun(run, work_of(run))
    await monitoring.evaluating.finish_all(monitor.project_id, outcome, run.created_at)
    return await monitoring.evaluating.run(run)


def ended(run: EvalRun) -> EndedRun:
    assert run.monitor_id is not None
    at = run.completed_at or NOON
    return EndedRun(run.project_id, run.monitor_id, run.id, run.target_type, at)


async def found_ended(monitoring: Monitoring, of: ProjectId) -> Sequence[EndedRun]:
    """Of all that there are, in turns."""
    found, last = list[EndedRun](), None
    while some := await monitoring.alerts.ended(last):
        assert len(some) <= ENDED_AT_ONCE
        found += [one for one in some if one.project == of]
        last = some[-1]
    return found
