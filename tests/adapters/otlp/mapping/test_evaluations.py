"""Evaluations in events, log records and OpenInference's lists."""

import json
from uuid import uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.otlp.mapping.evaluations import evaluations_of
from tests.support.builders.otel import HEX_ID, START_NS, TRACE, event, sent_record, sent_span

NAME = "gen_ai.evaluation.result"


def attributes(**given):
    names = {
        "name": "gen_ai.evaluation.name",
        "score": "gen_ai.evaluation.score.value",
        "label": "gen_ai.evaluation.score.label",
        "explanation": "gen_ai.evaluation.explanation",
        "error": "error.type",
        "response": "gen_ai.response.id",
    }
    return {names[key]: one for key, one in given.items()}


def only(sent):
    [one] = evaluations_of(sent)
    return one


def test_event_is_evaluation_of_its_span():
    given_event = event(NAME, START_NS + 5, **attributes(name="faithful", score=0.75, label="good",
                                                         explanation="because"))  # fmt: skip
    one = only(sent_span(events=[given_event]))
    assert (one.name, one.value, one.is_numeric, one.reason) == (
        "faithful", "0.75", True, "because"
    )  # fmt: skip
    assert (one.span_id, one.response_id, one.session_id) == (HEX_ID, None, None)
    assert one.metadata == {"label": "good"}
    expected = uuid5(TRACE, f"{HEX_ID}, faithful, {START_NS + 5}")
    assert one.score_id(TRACE, one.span_id) == expected


def test_record_is_evaluation_of_span_trace_or_response():
    given = attributes(name="faithful", score=1, response="resp_1")
    of_span = only(sent_record(NAME, given))
    assert (of_span.span_id, of_span.response_id) == (HEX_ID, None)
    of_trace = only(sent_record(NAME, given, span_id=None))
    assert (of_trace.span_id, of_trace.response_id) == (None, "resp_1")
    assert of_trace.score_id(TRACE, None) != of_span.score_id(TRACE, HEX_ID)
    body = only(sent_record(NAME, attributes(score=0), body=attributes(name="faithful", score=1)))
    assert (body.name, body.value) == ("faithful", "0")


@pytest.mark.parametrize(
    ("given", "value", "is_numeric", "metadata"),
    [
        ({"score": 1}, "1", True, {}),
        ({"score": 0.0}, "0", True, {}),
        ({"score": "0.5"}, "0.5", True, {}),
        ({"score": 1e-9}, "0.000000001", True, {}),
        ({"score": 1e-300}, "1e-300", True, {}),
        ({"score": 1e300}, "1e+300", False, {}),
        ({"score": -0.0}, "0", True, {}),
        ({"score": 0.5, "label": "so"}, "0.5", True, {"label": "so"}),
        ({"score": 4.5, "label": "good"}, "good", False, {"score": "4.5"}),
        ({"score": 4.5}, "4.5", False, {}),
        ({"score": -1}, "-1", False, {}),
        ({"label": "good"}, "good", False, {}),
        ({"score": "NaN", "label": "good"}, "good", False, {}),
        ({"score": 0.5, "error": "timeout"}, None, False, {"score": "0.5"}),
        ({"explanation": "no tool was called"}, None, False, {}),
    ],
)
def test_values(given, value, is_numeric, metadata):
    one = only(sent_record(NAME, attributes(name="n", **given)))
    assert (one.value, one.is_numeric, one.metadata) == (value, is_numeric, metadata)
    assert one.error == given.get("error")


@pytest.mark.parametrize(
    "given", [{"score": 1}, {"name": "n"}, {"name": "", "score": 1}, {"name": "n", "score": "x"}]
)
def test_no_evaluation_without_name_or_result(given):
    assert not evaluations_of(sent_record(NAME, attributes(**given)))


def test_other_records_and_spans_have_none():
    assert not evaluations_of(sent_record("gen_ai.choice", attributes(name="n", score=1)))
    assert not evaluations_of(sent_span(attributes(name="n", score=1)))


@pytest.mark.parametrize("singular", ["annotation", "evaluation"])
@pytest.mark.parametrize("scope", ["", "trace.", "session."])
def test_lists_of_openinference(singular, scope):
    before = f"{scope}{singular}s.0.{singular}."
    one = only(
        sent_span(
            {
                f"{before}name": "faithful",
                f"{before}score": 0.5,
                f"{before}label": "so",
                f"{before}explanation": "because",
                f"{before}annotator_kind": "LLM",
                f"{before}identifier": "judge-2",
                f"{scope}{singular}s.1.{singular}.label": "without a name",
                "session.id": "s",
            }
        )
    )
    assert (one.name, one.value, one.reason, one.time_ns) == (
        "faithful", "0.5", "because", START_NS
    )  # fmt: skip
    assert one.metadata == {"label": "so", "annotator_kind": "LLM"}
    assert one.span_id == (HEX_ID if scope == "" else None)
    assert one.session_id == ("s" if scope == "session." else None)
    first = one.score_id(TRACE, one.span_id)
    assert first == uuid5(
        TRACE, f"{one.span_id or one.session_id or ''}, faithful, {START_NS}, judge-2"
    )


def test_result_of_session_needs_session():
    before = "session.annotations.0.annotation."
    assert not evaluations_of(sent_span({f"{before}name": "n", f"{before}score": 1}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
KEYS = st.sampled_from(
    [*attributes(name=1, score=1, label=1, explanation=1, error=1, response=1),
     *(f"annotations.{at}.annotation.{key}" for at in (0, 1) for key in ("name", "score", "label")),
     "trace.evaluations.0.evaluation.name", "annotations.0", "annotations.0.annotation",
     "session.id"]
)  # fmt: skip


@given(st.dictionaries(KEYS, JSON | JSON.map(json.dumps)))
def test_evaluation_without_value_says_why(given):
    sent = sent_span(given, events=[event(NAME, **given)])
    for fragment in (sent, sent_record(NAME, given, body=given)):
        for one in evaluations_of(fragment):
            assert 0 < len(one.name) <= 255
            assert one.value is None or len(one.value) <= 400
            assert one.value is not None or one.error or one.reason
