"""Trace filters and sort orders."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.page import Position
from domain.tracing.query import LATENCY_US_MAX, TraceFilter, TraceSort, fold_case
from domain.tracing.span import SpanStatus
from domain.tracing.trace import Trace, TraceStatus, TraceSummary
from tests.support.builders import strategies
from tests.support.builders.values import NOON, at, prices, span, trace


def stored(*spans, **overrides) -> Trace:
    return trace(*spans, **{"name": "answer-question"} | overrides).settled(prices().price)


OURS = stored(
    span(model="gpt-4o"),
    span(model=""),
    session_id="s",
    user_id="u",
    environment="prod",
    release="1.4",
    tags=("a", "b", "a"),
    ended_at=at(0.0011),
    metadata=b'{"tier":"gold"}',
)


@pytest.mark.parametrize(
    "condition",
    [
        {},
        {"session_id": "s"},
        {"user_id": "u"},
        {"environment": "prod"},
        {"release": "1.4"},
        {"status": TraceStatus.COMPLETED},
        {"tags": ()},
        {"tags": ("b",)},
        {"tags": ("z", "a", "a")},
        {"name": ""},
        {"name": "QUESTION"},
        {"name": "answer-question"},
        {"started_after": NOON},
        {"started_before": at(0.000001)},
        {"model": "gpt-4o"},
        {"model": ""},
        {"has_error": False},
        {"metadata": (("tier", ("gold",)),)},
        {"metadata": (("tier", ("silver", "gold")),)},
    ],
)
def test_matching_traces(condition):
    assert TraceFilter(**condition).matches(OURS)


@pytest.mark.parametrize(
    "condition",
    [
        {"session_id": "S"},
        {"session_id": ""},
        {"user_id": "uu"},
        {"environment": "pro"},
        {"release": "1.40"},
        {"status": TraceStatus.ERROR},
        {"tags": ("A", "", "ab")},
        {"name": "answer_question"},
        {"name": "%"},
        {"name": "answer-question "},
        {"started_after": at(0.000001)},
        {"started_before": NOON},
        {"model": "gpt-4"},
        {"model": "openai/gpt-4o"},
        {"has_error": True},
        {"metadata": (("tier", ()),)},
        {"metadata": (("tier", ("gold",)), ("plan", ("gold",)))},
    ],
)
def test_one_failing_condition_excludes_the_trace(condition):
    assert not TraceFilter(**condition).matches(OURS)
    assert not TraceFilter(**{"user_id": "u", "tags": ("a",)} | condition).matches(OURS)


@pytest.mark.parametrize("field", ["session_id", "user_id", "environment", "release"])
def test_none_differs_from_empty_text(field):
    matching = TraceFilter(**{field: ""})
    assert not matching.matches(stored())
    assert matching.matches(stored(**{field: ""}))


@pytest.mark.parametrize(
    ("name", "part"),
    [("STRASSE", "straße"), ("Ünïcode", "ÜNÏ"), ("a%b_c\\d", "%B_C\\D"), ("ΣΑΣ", "σας")],
)
def test_name_search_is_case_insensitive_and_literal(name, part):
    assert TraceFilter(name=part).matches(stored(name=name))


@given(strategies.texts)
def test_fold_case_is_idempotent(text):
    assert fold_case(fold_case(text)) == fold_case(text)


@given(strategies.instants, strategies.instants, strategies.instants)
def test_adjacent_time_ranges_match_each_trace_once(start, middle, end):
    start, middle, end = sorted((start, middle, end))
    windows = [(start, middle), (middle, end)]
    for instant in (start, middle, end):
        admitted = [
            TraceFilter(started_after=after, started_before=before).matches(
                stored(started_at=instant)
            )
            for after, before in windows
        ]
        assert sum(admitted) == (instant < end and start <= instant)


# --- models, errors, latency -----------------------------------------------------------------


def test_missing_model_differs_from_empty_model():
    assert not TraceFilter(model="").matches(stored(span()))
    assert not TraceFilter(model="").matches(stored())


@pytest.mark.parametrize(
    ("failed", "status", "steps"),
    [
        (True, TraceStatus.ERROR, ()),
        (True, TraceStatus.COMPLETED, (SpanStatus.OK, SpanStatus.ERROR)),
        (True, TraceStatus.RUNNING, (SpanStatus.ERROR,)),
        (False, TraceStatus.RUNNING, (SpanStatus.OK, SpanStatus.UNSET)),
        (False, None, (None,)),
    ],
)
def test_has_error_covers_trace_and_spans(failed, status, steps):
    found = stored(*(span(status=one, error="text alone is none") for one in steps), status=status)
    assert TraceFilter(has_error=failed).matches(found)
    assert not TraceFilter(has_error=not failed).matches(found)


@pytest.mark.parametrize(
    ("low", "high", "admitted"),
    [
        (1.1, None, True),
        (None, 1.1, True),
        (1.1, 1.1, True),
        (1.1001, None, False),
        (None, 1.0999, False),
        (-5.0, 5, True),
        (2, 1, False),
        (0, None, True),
        (None, 0, False),
        (1.7e308, None, False),
        (-1.7e308, 1.7e308, True),
        (math.inf, None, False),
        (-math.inf, math.inf, True),
    ],
)
def test_latency_bounds_are_inclusive_and_decimal(low, high, admitted):
    assert TraceFilter(min_latency_ms=low, max_latency_ms=high).matches(OURS) is admitted


@pytest.mark.parametrize("bounds", [{"min_latency_ms": -1e18}, {"max_latency_ms": 1e18}])
def test_trace_without_latency_matches_no_bounds(bounds):
    assert not TraceFilter(**bounds).matches(stored())


def test_trace_that_ends_before_it_starts_is_in_no_range_of_latencies():
    backwards = stored(ended_at=at(-2))
    assert not TraceFilter(max_latency_ms=-2000).matches(backwards)
    assert not TraceFilter(min_latency_ms=-1e18, max_latency_ms=1e18).matches(backwards)


@given(st.integers(0, 10**6))
def test_displayed_latency_finds_the_trace(microseconds):
    found = stored(ended_at=at(microseconds / 10**6))
    shown = found.latency_ms
    assert TraceFilter(min_latency_ms=shown, max_latency_ms=shown).matches(found)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_latency_bounds_are_bigint_microseconds(low, high):
    found = TraceFilter(min_latency_ms=low, max_latency_ms=high).latency_us
    assert found is not None
    assert all(abs(bound) <= LATENCY_US_MAX < 2**63 for bound in found)
    assert TraceFilter().latency_us is None


# --- metadata --------------------------------------------------------------------------------

METADATA = rb"""{
  "text": "gold", "quoted": "a\"\u00e9\n", "empty": "", "digits": "1",
  "whole": 1, "tenth": 1.0, "power": 1e2, "big": 12345678901234567890, "minus": -0.0,
  "yes": true, "no": false, "none": null, "word": "null",
  "list": [1], "object": {"a": 1}, "a.b": "dotted", "": "no key", "\u00e9": "e",
  "twice": "first", "twice": "last", "gone": "text", "gone": {}
}"""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("text", "gold"), ("quoted", 'a"é\n'), ("empty", ""), ("digits", "1")),
        *(("whole", "1"), ("tenth", "1.0"), ("power", "1e2"), ("minus", "-0.0")),
        *(("big", "12345678901234567890"), ("yes", "true"), ("no", "false"), ("none", "null")),
        *(("word", "null"), ("a.b", "dotted"), ("", "no key"), ("é", "e"), ("twice", "last")),
    ],
)
def test_metadata_matches_scalar_text(key, value):
    found = stored(metadata=METADATA)
    assert TraceFilter(metadata=((key, (value,)),)).matches(found)
    assert TraceFilter(metadata=((key, ("other", value)),)).matches(found)
    assert not TraceFilter(metadata=((key, (f"{value} ",)),)).matches(found)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("text", "GOLD"), ("text", '"gold"'), ("whole", "1.0"), ("tenth", "1"), ("power", "100")),
        *(("yes", "True"), ("none", ""), ("none", "None"), ("absent", "null"), ("absent", "")),
        *(("list", "[1]"), ("list", "1"), ("object", '{"a": 1}'), ("a", "1"), ("object.a", "1")),
        *(("twice", "first"), ("gone", "text"), ("gone", "{}"), ("Text", "gold")),
    ],
)
def test_metadata_does_not_match_other_text(key, value):
    assert not TraceFilter(metadata=((key, (value,)),)).matches(stored(metadata=METADATA))


@given(strategies.objects)
def test_every_scalar_member_finds_its_trace(text):
    found = stored(metadata=text)
    expected = json.loads(text, parse_int=_digits, parse_float=_digits)
    for key, value in expected.items():
        if isinstance(value, dict | list):
            continue
        shown = value if isinstance(value, str) else json.dumps(value)
        assert TraceFilter(metadata=((key, (shown,)),)).matches(found)
        assert not TraceFilter(metadata=((key, (f"{shown}x",)),)).matches(found)


def _digits(digits: str) -> str:
    return digits


# --- sorts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sort", "value", "bare"),
    [
        (TraceSort.STARTED_AT, NOON, NOON),
        (TraceSort.ENDED_AT, at(1.5), None),
        (TraceSort.NAME, "run", "run"),
        (TraceSort.LATENCY, 1_500_000, None),
        (TraceSort.STATUS, "ERROR", "ERROR"),
    ],
)
def test_traces_are_ordered_by_value_and_id(sort, value, bare):
    sent = trace(name="run", status=TraceStatus.ERROR, started_at=NOON)
    ended = TraceSummary.from_trace(replace(sent, ended_at=at(1.5)))
    assert sort.position(ended) == Position(value, ended.id)
    assert sort.position(TraceSummary.from_trace(sent)).value == bare
