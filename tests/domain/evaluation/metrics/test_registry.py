"""The metric registry: listed metrics, and errors for unknown names."""

import re
from dataclasses import replace

import pytest

from domain.errors import Invalid
from domain.evaluation.custom_metrics.custom_metric import select_metrics
from domain.evaluation.metrics.metric import Category, Direction, EvaluationMethod
from domain.evaluation.metrics.registry import (
    ERRORS_MAX,
    METRIC_REGISTRY,
    compute_metric,
    listed_metrics,
)
from tests.support.builders.evaluated_traces import subject

KNOWN = {
    *("argument_correctness", "coherence", "confidence", "plan_adherence", "plan_quality"),
    *("step_efficiency", "task_completion", "tool_correctness"),
}
MEASURED = {
    *("trace_success", "tool_success_rate", "error_recovery", "tool_loop", "output_degeneration"),
    *("answer_repetition", "untruncated_rate", "tool_name_validity", "tool_args_schema"),
    *("retrieval_hit_rate", "refusal", "trace_hygiene"),
}


def test_listed_metrics():
    traces, sessions = listed_metrics(Category.TRACE), listed_metrics(Category.SESSION)
    assert [one.name for one in traces] == sorted(KNOWN | MEASURED)
    assert [one.name for one in sessions] == [
        *("agent_consistency", "agent_consistency_v2"),
        *("agent_reliability", "agent_reliability_v2"),
        *("outcome_consistency", "session_error_rate", "user_repetition"),
    ]
    assert {one.name for one in traces if one.method is EvaluationMethod.COMPUTED} == MEASURED
    assert set(METRIC_REGISTRY) == KNOWN | MEASURED | {one.name for one in sessions} | {
        "loop_detection"
    }


@pytest.mark.parametrize("metric", METRIC_REGISTRY.values(), ids=lambda metric: metric.name)
def test_every_metric_is_complete(metric):
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*(_v[2-9])?", metric.name)
    assert 20 < len(metric.description) < 80
    assert not metric.description.endswith(".")
    assert metric.threshold == 0.5
    assert (metric.compute is not None) == (metric.method is EvaluationMethod.COMPUTED)
    assert (metric.precheck is not None) == (metric.method is EvaluationMethod.JUDGED)
    assert (metric.direction is Direction.NEUTRAL) == (metric.name == "refusal")
    assert not metric.sees_reasoning or metric.method is EvaluationMethod.JUDGED


def test_metrics_that_see_reasoning():
    assert {one.name for one in METRIC_REGISTRY.values() if one.sees_reasoning} == {
        *("confidence", "plan_adherence", "plan_quality", "step_efficiency")
    }


def test_select_metrics_removes_duplicates_and_keeps_order():
    found = select_metrics(["tool_loop", "coherence", "tool_loop"], Category.TRACE, {})
    assert found.names == ("tool_loop", "coherence")


def test_unknown_names_are_reported_with_index_up_to_a_limit():
    names = ["coherence", "loop_detection", "tool_loop", "x"]
    for some, fields in (
        (names, ["metrics.1", "metrics.3"]),
        ([], ["metrics"]),
        (["x"] * 1_000, [f"metrics.{place}" for place in range(ERRORS_MAX)]),
    ):
        with pytest.raises(Invalid) as raised:
            select_metrics(some, Category.TRACE, {})
        assert [one.field for one in raised.value.errors] == fields


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("loop_detection", Category.TRACE),
        ("agent_reliability", Category.TRACE),
        ("coherence", Category.SESSION),
        ("Coherence", Category.TRACE),
        ("", Category.TRACE),
        ("x" * 10_000, Category.SESSION),
    ],
)
def test_unknown_name_error_lists_known_names(name, category):
    with pytest.raises(Invalid) as problem:
        select_metrics([name], category, {})
    [error] = problem.value.errors
    assert error.field == "metrics.0"
    assert all(metric.name in error.message for metric in listed_metrics(category))
    assert len(error.message) < 1_000


@pytest.mark.parametrize("name", ["coherence", "task_completion", "agent_reliability"])
def test_compute_metric_rejects_other_methods(name):
    with pytest.raises(ValueError, match="is not measured"):
        compute_metric(METRIC_REGISTRY[name], subject())


@pytest.mark.parametrize(
    ("threshold", "value", "success"),
    [(0.5, 0.5, True), (0.5, 0.4999, False), (0, 0.0, True), (0.0, 1.0, True), (1, 0.9999, False)],
)
def test_threshold_is_inclusive_and_may_be_0(threshold, value, success):
    metric = replace(METRIC_REGISTRY["trace_success"], threshold=threshold)
    assert metric.marks(value) == {"threshold": threshold, "success": success}
