"""Grounding of arguments and answers."""

import pytest
from hypothesis import given

from domain.evaluation.evidence.features import argument_groundings
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from tests.support.builders import strategies
from tests.support.builders.evaluated_traces import chat, model, retrieval, subject, tool
from tests.support.builders.values import prices

ASK = "Refund order W123 of jo@example.org, 1,250 dollars."


@pytest.mark.parametrize(
    ("given_", "share"),
    [
        ({"order": "W123"}, 1.0),
        ({"order": "w123", "mail": "jo@example.org"}, 1.0),
        ({"order": "W999"}, 0.0),
        ({"order": "W123", "amount": 1250}, 1.0),
        ({"order": "W123", "amount": 1260.0}, 0.5),
        ({"items": [{"id": "W123"}, {"id": "X77"}]}, 0.5),
        ({"note": "a sentence of its own", "n": 12, "ok": True, "id": "ab"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_argument_grounding(given_, share):
    assert list(argument_groundings(subject(tool("f", given_), input=ASK))) == [share]


def test_tool_outputs_ground_only_later_calls():
    calls = [tool("f", {"id": "K42"}, {"id": "K43"}), tool("f", {"id": "K43"}, "x")]
    assert list(argument_groundings(subject(*calls))) == [0.0, 1.0]
    found = subject(retrieval(["see K42"]), *calls)
    assert list(argument_groundings(found)) == [1.0, 1.0]


def test_model_inputs_ground_but_outputs_do_not():
    asks = chat(("system", "policy P77"), ("user", "x"))
    spans = [model("I use K42", input=asks), tool("f", {"id": "K42", "policy": "P77"})]
    assert list(argument_groundings(subject(*spans))) == [0.5]
    # Later model inputs contain earlier model outputs.
    later = [tool("f"), model(input="K42"), tool("f", {"id": "K42"})]
    assert list(argument_groundings(subject(*later))) == [None, 0.0]


@given(strategies.traces(spans_max=5))
def test_grounding_is_within_0_and_1(one):
    found = EvaluatedTrace(one.settled(prices().price))
    shares = argument_groundings(found)
    assert len(shares) == len(found.tool_calls)
    assert all(share is None or 0 <= share <= 1 for share in shares)
