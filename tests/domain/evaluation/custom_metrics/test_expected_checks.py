"""Checks that compare with what the item of a dataset expects."""

import json
from dataclasses import replace
from typing import Any

import pytest

from domain.errors import Invalid
from domain.evaluation.custom_metrics.checks import COMPARED_MAX
from domain.evaluation.metrics.metric import DefinitionKind
from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from tests.support.builders.custom_metrics import metric, taken
from tests.support.builders.evaluated_traces import subject, tool

FROM_ITEM = {"expected_from": "item"}


def answering(output: str, expected: Any = None) -> EvaluatedTrace:
    text = None if expected is None else json.dumps(expected).encode()
    return replace(subject(tool("search", {"q": 1}), tool("book"), output=output), expected=text)


def value(kind: str, output: str, expected: Any, **parameters: Any) -> float:
    outcome = taken(kind, answering(output, expected), **FROM_ITEM, **parameters)
    assert isinstance(outcome, Scored), outcome
    return outcome.value


@pytest.mark.parametrize(
    ("kind", "parameters", "output", "expected", "score"),
    [
        ("text_match", {"op": "equals"}, "yes", "yes", 1),
        ("text_match", {"op": "equals"}, "yes.", "yes", 0),
        ("text_match", {"op": "contains"}, "oh yes", "yes", 1),
        ("text_match", {"op": "equals"}, "42", 42, 1),
        ("levenshtein", {}, "sitting", "kitten", 0.5714),
        ("levenshtein", {}, "a" * (COMPARED_MAX + 5), "a" * (COMPARED_MAX + 5), 1),
        ("json_equality", {}, '{"a": [1.0], "b": null}', {"b": None, "a": [1]}, 1),
        ("json_equality", {}, '{"a": [1]}', {"a": [1, 2]}, 0),
        ("json_equality", {}, "no JSON", {"a": 1}, 0),
        ("json_equality", {}, "1", True, 0),
        ("numeric_tolerance", {}, "3.5", 3.5, 1),
        ("numeric_tolerance", {"absolute": 0.5}, "3.1", 3.5, 1),
        ("numeric_tolerance", {"absolute": 0.5}, "2.9", 3.5, 0),
        ("numeric_tolerance", {"absolute": 0.1}, "3.1", 3, 1),  # as doubles, 3.1 - 3 is more
        ("numeric_tolerance", {"absolute": 0.1}, "3.1000001", 3, 0),
        ("numeric_tolerance", {"relative": 0.1}, "0.33", 0.3, 1),
        ("numeric_tolerance", {"absolute": 1e-300}, "1e-300", 0, 1),
        ("numeric_tolerance", {"relative": 0.1}, "-109", -100, 1),
        ("numeric_tolerance", {"relative": 0.1}, "-111", -100, 0),
        ("numeric_tolerance", {"absolute": 1, "relative": 0.5}, "148", 100, 1),
        ("numeric_tolerance", {}, "3", "3", 1),
        ("numeric_tolerance", {}, "about 3", 3, 0),
        ("numeric_tolerance", {}, "NaN", 3, 0),
        ("trajectory_match", {}, "-", ["search", "book"], 1),
        ("trajectory_match", {"mode": "superset"}, "-", ["book"], 1),
        (
            "trajectory_match",
            {"arg_mode": "exact"},
            "-",
            [{"name": "search", "arguments": {"q": 2}}, "book"],
            0.5,
        ),
    ],
)
def test_values(
    kind: str, parameters: dict[str, Any], output: str, expected: Any, score: float
) -> None:
    assert value(kind, output, expected, **parameters) == pytest.approx(score)


def skip_code(outcome: Outcome) -> SkipCode:
    assert isinstance(outcome, Skipped)
    return outcome.code


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("text_match", {"op": "equals"}),
        ("levenshtein", {}),
        ("json_equality", {}),
        ("numeric_tolerance", {}),
        ("trajectory_match", {}),
    ],
)
def test_nothing_expected_is_skipped_and_never_passed(
    kind: str, parameters: dict[str, Any]
) -> None:
    outcome = taken(kind, answering("1"), **FROM_ITEM, **parameters)
    assert skip_code(outcome) is SkipCode.NO_EXPECTED


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("numeric_tolerance", "three"),
        ("numeric_tolerance", True),
        ("trajectory_match", "search"),
        ("trajectory_match", []),
        ("trajectory_match", [{"arguments": {}}]),
        ("trajectory_match", ["a"] * 51),
    ],
)
def test_item_that_expects_something_else_is_skipped(kind: str, expected: Any) -> None:
    outcome = taken(kind, answering("1", expected), **FROM_ITEM)
    assert skip_code(outcome) is SkipCode.NO_EXPECTED


@pytest.mark.parametrize(
    ("kind", "parameters", "field"),
    [
        ("text_match", {"op": "equals", "value": "a", **FROM_ITEM}, "value"),
        ("text_match", {"op": "matches", **FROM_ITEM}, "op"),
        ("text_match", {"op": "equals", "expected_from": "trace"}, "expected_from"),
        ("text_match", {"op": "equals"}, "value"),
        ("levenshtein", {"expected": "a", **FROM_ITEM}, "expected"),
        ("json_equality", {}, "expected"),
        ("numeric_tolerance", {"expected": 1, "relative": 2}, "relative"),
        ("trajectory_match", {"expected": ["a"], **FROM_ITEM}, "expected"),
        ("json_valid", FROM_ITEM, "expected_from"),
    ],
)
def test_mistakes(kind: str, parameters: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        metric(DefinitionKind.MEASURED, {"type": kind, "parameters": parameters})
    assert [one.field for one in refused.value.errors] == [f"definition.parameters.{field}"]


def test_judge_reads_what_is_expected_and_is_not_asked_without_it() -> None:
    anchors = ["no"] * 6
    body = {"criterion": "As expected?", "anchors": anchors, "template": "Right:\n{{expected}}"}
    judged = metric(DefinitionKind.JUDGE, body)
    assert judged.precheck is not None
    outcome = judged.precheck(answering("an answer"))
    assert outcome is not None
    assert skip_code(outcome) is SkipCode.NO_EXPECTED
    assert judged.precheck(answering("an answer", "yes")) is None
