"""Details in the metadata of judged scores."""

import json

import pytest

from domain.evaluation.evidence.builder import build_evidence
from domain.evaluation.evidence.evidence import LISTED_MAX, PARAMETERS_MAX, score_details
from domain.evaluation.metrics.judged_metrics import JUDGED_METRICS
from domain.evaluation.scores.score import json_text
from tests.support.builders.evaluated_traces import model, offering, subject, tool

OFFERED = {"name": "search", "description": "finds flights"}
KEY = "sk-" + "a1B2" * 8
WHOLE = build_evidence(
    subject(
        offering(OFFERED, got="1. search\n2. book"),
        tool("search", {"to": "Oslo", "key": KEY}),
        input="book a flight",
        output="It is booked. " * 100,
    )
)


@pytest.mark.parametrize(
    ("metric", "keys"),
    [
        ("argument_correctness", {"user_input"}),
        ("confidence", set()),
        ("plan_adherence", {"task", "plan"}),
        ("plan_quality", {"task", "plan"}),
        ("step_efficiency", {"task"}),
        ("task_completion", {"task", "outcome"}),
        ("tool_correctness", {"user_input", "tools_called", "available_tools"}),
    ],
)
def test_detail_keys_of_each_metric(metric, keys):
    assert set(score_details(metric, WHOLE)) == keys


def test_detail_values():
    tools = score_details("tool_correctness", WHOLE)
    assert tools == {
        "user_input": "book a flight",
        "tools_called": [{"name": "search", "parameters": {"to": "Oslo", "key": "[secret:1]"}}],
        "available_tools": [OFFERED],
    }
    assert score_details("plan_quality", WHOLE)["plan"] == ["search", "book"]
    outcome = score_details("task_completion", WHOLE)["outcome"]
    assert len(outcome) == 500
    assert outcome.startswith("It is booked. ")


@pytest.mark.parametrize(
    ("given", "reported"),
    [
        (None, {}),
        ("Oslo", "Oslo"),
        ([1, None], [1, None]),
        ("[NaN]", ["NaN"]),
        ({"a": "b" * PARAMETERS_MAX}, '{"a":"' + "b" * (PARAMETERS_MAX - 7) + "…"),
    ],
    ids=["none", "text", "list", "no number", "long"],
)
def test_call_parameters(given, reported):
    [call] = score_details("tool_correctness", build_evidence(subject(tool("t", given))))[
        "tools_called"
    ]
    assert call["parameters"] == reported


@pytest.mark.slow
def test_details_are_bounded_and_storable():
    words = "word " * 1_000
    many = subject(
        offering(*({"name": f"t{n}", "description": words} for n in range(500))),
        model(words),
        *(tool(f"t{n}", {"q": words}, words) for n in range(500)),
        input=words,
        output=words,
    )
    evidence = build_evidence(many)
    for metric in JUDGED_METRICS:
        details = score_details(metric.name, evidence)
        assert len(details.get("tools_called", ())) <= LISTED_MAX, metric.name
        assert len(json.loads(json_text(details))) == len(details), metric.name
        assert len(json_text(details)) < 40_000, metric.name
