"""The text of a message about an alert, and the formats in which chat services take messages."""

import json
from dataclasses import dataclass
from typing import Any, Final

from domain.evaluation.alerts.alert import AlertChange, AlertFigure, AlertRule, AlertState
from domain.evaluation.alerts.webhook import WebhookFormat
from domain.ids import MonitorId, ProjectId

DISCORD_CHARS_MAX: Final = 2_000  # of a message; Discord refuses longer ones
NAME_CHARS_MAX: Final = 100
_PLACES: Final = 4  # of numbers, as of scores
_PLACES_MAX: Final = 10  # smaller differences are rounding errors to a rule
_FIGURES: Final = {
    AlertFigure.SCORE_MEAN: "the mean score of {metric} is {value}",
    AlertFigure.PASS_RATE: "the pass rate of {metric} is {value}",
    AlertFigure.FAILED_SHARE: "the share of failed evaluations of {metric} is {value}",
    AlertFigure.SKIPPED_SHARE: "the share of skipped evaluations of {metric} is {value}",
    AlertFigure.DROP: "the mean score of {metric} fell by {value} against earlier runs",
    AlertFigure.NO_DATA: "fewer than {least} scores of {metric}",
}
_STATES: Final = {
    AlertState.ALERTING: "ALERTING",
    AlertState.OK: "OK again",
    AlertState.NO_DATA: "NO DATA",
}


@dataclass(frozen=True, slots=True)
class AlertNames:
    """What people call the project and the monitor of an alert."""

    project: str
    monitor: str


def alert_text(change: AlertChange, rule: AlertRule, names: AlertNames, url: str | None) -> str:
    """One line for people: state, monitor, project, figure, limit, coverage, and a link."""
    what = f"{describe_figure(change, rule)}{_coverage(change)}"
    head = f"{_STATES[change.after]}: {_short(names.monitor)} in {_short(names.project)}"
    return f"{head}: {what}" + (f" — {url}" if url else "")


def _coverage(change: AlertChange) -> str:
    """How many evaluations the figure covers: a mean of few scores says less than it seems to."""
    if change.scored is None:
        return ""
    others = ((change.failed, "failed"), (change.skipped, "skipped"))
    return f"; {change.scored} scored" + "".join(f", {n} {what}" for n, what in others if n)


def describe_figure(change: AlertChange, rule: AlertRule) -> str:
    if change.after is AlertState.NO_DATA or change.value is None:
        which = " in the run or in those before" if rule.figure is AlertFigure.DROP else ""
        return f"too few scores of {rule.metric}{which} (the alert needs {rule.samples_min})"
    places = _PLACES
    if change.after is AlertState.ALERTING:
        places = _differing_places(change.value, rule.threshold)
    value = _number(change.value, places)
    text = _FIGURES[rule.figure].format(metric=rule.metric, value=value, least=rule.samples_min)
    if rule.figure is AlertFigure.NO_DATA:
        if not change.value:
            return f"{rule.metric} has enough scores again"
        return text if rule.samples_min > 1 else f"nothing was scored with {rule.metric}"
    side = "below" if rule.figure.is_bad_when_low else "above"
    if change.after is AlertState.ALERTING:
        return f"{text}, {side} {_number(rule.threshold, places)}"
    return f"{text} (alerts {side} {_number(rule.threshold)})"


def monitor_url(base: str | None, project: ProjectId, monitor: MonitorId) -> str | None:
    """The page of a monitor; None if the address of the service isn't known."""
    return None if base is None else f"{base.rstrip('/')}/app/p/{project}/monitors/{monitor}"


def format_body(body: bytes, wanted: WebhookFormat) -> bytes:
    """The message `body` as the receiver takes it.

    Chat services get its text alone, in which nothing that users wrote can mention people or
    contain markup. Sources: Slack's incoming webhooks, Discord's Execute Webhook, and the Adaptive
    Cards of Teams' workflows.
    """
    if wanted is WebhookFormat.STANDARD:
        return body
    text = str(json.loads(body)["text"])
    made: dict[str, Any]
    match wanted:
        case WebhookFormat.SLACK:
            escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            made = {"text": escaped, "mrkdwn": False}
        case WebhookFormat.DISCORD:
            made = {"content": text[:DISCORD_CHARS_MAX], "allowed_mentions": {"parse": []}}
        case WebhookFormat.TEAMS:
            made = {"type": "message", "attachments": [_card(text)]}
    return json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode()


def _card(text: str) -> dict[str, Any]:
    run = {"type": "TextRun", "text": text}  # unlike a TextBlock it isn't Markdown
    return {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "content": {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": [{"type": "RichTextBlock", "inlines": [run]}],
        },
    }


def _short(name: str) -> str:
    printable = " ".join(name.split())
    return printable if len(printable) <= NAME_CHARS_MAX else f"{printable[: NAME_CHARS_MAX - 1]}…"


def _differing_places(value: float, threshold: float) -> int:
    """The fewest decimal places by which the value differs from the threshold that it passed."""
    for places in range(_PLACES, _PLACES_MAX):
        if round(value, places) != round(threshold, places):
            return places
    return _PLACES_MAX


def _number(value: float, places: int = _PLACES) -> str:
    return f"{value:.{places}f}".rstrip("0").rstrip(".")
