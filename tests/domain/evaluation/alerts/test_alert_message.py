"""The text of messages, and the formats of chat services."""

import json
import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.alerts.alert import AlertChange, AlertFigure, AlertRule, AlertState
from domain.evaluation.alerts.alert_message import (
    DISCORD_CHARS_MAX,
    NAME_CHARS_MAX,
    AlertNames,
    alert_text,
    format_body,
    monitor_url,
)
from domain.evaluation.alerts.webhook import WebhookFormat
from domain.ids import MonitorId
from tests.support.builders.values import NOON, OURS

MONITOR = MonitorId(uuid.UUID(int=5))
NAMES = AlertNames("shop", "support quality")
OK, ALERTING, NO_DATA = AlertState


def text_of(
    figure: AlertFigure,
    after: AlertState,
    value: float | None,
    names: AlertNames = NAMES,
    counts: tuple[int, int, int] | None = None,
    **limits: int,
) -> str:
    scored, failed, skipped = counts or (None, None, None)
    change = AlertChange(
        id=uuid.UUID(int=1),
        project_id=OURS,
        monitor_id=MONITOR,
        alert_id=uuid.UUID(int=2),
        run_id=None,
        before=OK if after is ALERTING else ALERTING,
        after=after,
        value=value,
        scored=scored,
        failed=failed,
        skipped=skipped,
        at=NOON,
    )
    rule = AlertRule(metric="coherence", figure=figure, threshold=0.7, clear_at=0.7, **limits)
    return alert_text(change, rule, names, None)


@pytest.mark.parametrize(
    ("figure", "after", "value", "said"),
    [
        ("score_mean", ALERTING, 0.61, "the mean score of coherence is 0.61, below 0.7"),
        ("pass_rate", OK, 0.75, "the pass rate of coherence is 0.75 (alerts below 0.7)"),
        ("failed_share", ALERTING, 1.0, "the share of failed evaluations of coherence is 1, above"),
        ("skipped_share", ALERTING, 0.8, "the share of skipped evaluations of coherence is 0.8"),
        ("drop", ALERTING, 0.123456, "the mean score of coherence fell by 0.1235 against earlier"),
        ("no_data", ALERTING, 1.0, "fewer than 5 scores of coherence"),
        ("no_data", OK, 0.0, "coherence has enough scores again"),
        ("score_mean", NO_DATA, None, "too few scores of coherence (the alert needs 5)"),
        ("drop", NO_DATA, None, "too few scores of coherence in the run or in those before (the"),
    ],
)
def test_text_says_figure_value_and_limit(figure, after, value, said):
    text = text_of(AlertFigure(figure), after, value)
    assert " support quality in shop: " in text
    assert said in text


@pytest.mark.parametrize(
    ("counts", "coverage"),
    [
        ((5, 995, 0), "; 5 scored, 995 failed"),
        ((12, 0, 3), "; 12 scored, 3 skipped"),
        ((0, 7, 1), "; 0 scored, 7 failed, 1 skipped"),
    ],
)
def test_text_ends_with_how_many_evaluations_the_figure_covers(counts, coverage):
    assert text_of(AlertFigure.SCORE_MEAN, OK, 0.9, counts=counts).endswith(coverage)


def test_text_says_that_nothing_was_scored_if_one_score_is_enough():
    text = text_of(AlertFigure.NO_DATA, ALERTING, 1.0, samples_min=1)
    assert text.endswith(": nothing was scored with coherence")


@given(st.floats(-8, 0).map(lambda power: 0.7 - 0.7 * 10**power))
def test_text_tells_the_value_from_the_limit_that_it_passed(value):
    text = text_of(AlertFigure.SCORE_MEAN, ALERTING, value)
    [(said, limit)] = re.findall(r" is ([0-9.]+), below ([0-9.]+)", text)
    assert float(said) < float(limit) == 0.7
    assert float(said) == pytest.approx(value, abs=1e-4)


def test_every_figure_and_state_has_a_text():
    for figure in AlertFigure:
        for state in AlertState:
            assert text_of(figure, state, 0.5)


def test_link_needs_the_address_of_the_service():
    assert monitor_url(None, OURS, MONITOR) is None
    expected = f"https://x.example/app/p/{OURS}/monitors/{MONITOR}"
    assert monitor_url("https://x.example/", OURS, MONITOR) == expected


def body_with(text: str) -> bytes:
    return json.dumps({"type": "alert.changed", "data": {}, "text": text}).encode()


def test_standard_body_is_unchanged():
    assert format_body(b"as it is", WebhookFormat.STANDARD) == b"as it is"


def test_slack_gets_text_without_markup():
    made = json.loads(format_body(body_with("<!channel> a & b"), WebhookFormat.SLACK))
    assert made == {"text": "&lt;!channel&gt; a &amp; b", "mrkdwn": False}


def test_discord_gets_content_that_mentions_no_one():
    made = json.loads(format_body(body_with("@everyone " + "x" * 3_000), WebhookFormat.DISCORD))
    assert made["allowed_mentions"] == {"parse": []}
    assert len(made["content"]) == DISCORD_CHARS_MAX


def test_teams_gets_a_card():
    made = json.loads(format_body(body_with("[a](b)"), WebhookFormat.TEAMS))
    [attachment] = made["attachments"]
    assert made["type"] == "message"
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    [block] = attachment["content"]["body"]
    assert block["inlines"] == [{"type": "TextRun", "text": "[a](b)"}]


@given(name=st.text(max_size=300), wanted=st.sampled_from(WebhookFormat))
def test_any_name_gives_one_line_of_valid_json(name, wanted):
    text = text_of(AlertFigure.DROP, ALERTING, 0.5, AlertNames(name, name))
    assert len(text.splitlines()) == 1
    assert len(text) < 4 * NAME_CHARS_MAX
    assert json.loads(format_body(body_with(text), wanted))
