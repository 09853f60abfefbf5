"""Which traces a filter admits."""

from dataclasses import fields

import pytest
from hypothesis import given

from domain.tracing.query import TraceFilter, folded
from domain.tracing.span import Totals
from domain.tracing.trace import TraceStatus, TraceSummary
from tests import strategies
from tests.builders import NOON, at, trace_id


def summary(**said) -> TraceSummary:
    known = {field.name: None for field in fields(TraceSummary)} | {
        "id": trace_id(),
        "name": "answer-question",
        "status": TraceStatus.COMPLETED,
        "started_at": NOON,
        "tags": (),
        "totals": Totals(),
    }
    return TraceSummary(**known | said)


OURS = summary(session_id="s", user_id="u")


@pytest.mark.parametrize(
    "condition",
    [
        {},
        {"session_id": "s"},
        {"user_id": "u"},
        {"status": TraceStatus.COMPLETED},
        {"name": ""},
        {"name": "QUESTION"},
        {"name": "answer-question"},
        {"started_after": NOON},
        {"started_before": at(0.000001)},
    ],
)
def test_admitted(condition):
    assert TraceFilter(**condition).admits(OURS)


@pytest.mark.parametrize(
    "condition",
    [
        {"session_id": "S"},
        {"session_id": ""},
        {"user_id": "uu"},
        {"status": TraceStatus.ERROR},
        {"name": "answer_question"},
        {"name": "%"},
        {"name": "answer-question "},
        {"started_after": at(0.000001)},
        {"started_before": NOON},
    ],
)
def test_not_admitted_and_no_other_condition_makes_up_for_it(condition):
    assert not TraceFilter(**condition).admits(OURS)
    assert not TraceFilter(**{"user_id": "u", "session_id": "s"} | condition).admits(OURS)


def test_no_session_is_not_the_empty_one():
    assert not TraceFilter(session_id="").admits(summary(session_id=None))
    assert TraceFilter(session_id="").admits(summary(session_id=""))


@pytest.mark.parametrize(
    ("name", "part"),
    [("STRASSE", "straße"), ("Ünïcode", "ÜNÏ"), ("a%b_c\\d", "%B_C\\D"), ("ΣΑΣ", "σας")],
)
def test_a_name_is_searched_without_regard_to_case_and_literally(name, part):
    assert TraceFilter(name=part).admits(summary(name=name))


@given(strategies.texts)
def test_case_is_folded_once_for_all(text):
    assert folded(folded(text)) == folded(text)


@given(strategies.instants, strategies.instants, strategies.instants)
def test_windows_that_touch_admit_each_trace_once(start, middle, end):
    start, middle, end = sorted((start, middle, end))
    windows = [(start, middle), (middle, end)]
    for instant in (start, middle, end):
        admitted = [
            TraceFilter(started_after=after, started_before=before).admits(
                summary(started_at=instant)
            )
            for after, before in windows
        ]
        assert sum(admitted) == (instant < end and start <= instant)
