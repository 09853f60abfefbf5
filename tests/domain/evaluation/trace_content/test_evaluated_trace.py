"""Derived values of an evaluated trace, and its span tree."""

import pytest

from domain.evaluation.trace_content.evaluated_trace import (
    EvaluatedTrace,
    final_output_text,
)
from domain.evaluation.trace_content.messages import MessageText
from domain.tracing.span import SpanKind
from domain.tracing.usage import UsageRole
from tests.support.builders.evaluated_traces import chat, json_payload, model, subject, tool
from tests.support.builders.values import at, span, trace


def run(**more):
    return span(
        kind=SpanKind.AGENT, input=json_payload("question"), output=json_payload("answer"), **more
    )


def test_request_and_answer_come_from_the_trace():
    conversation = chat(("user", "one"), ("assistant", "two"), ("user", "three"))
    found = subject(run(), input=conversation, output=chat(("assistant", "four")))
    assert (found.request, found.answer) == (MessageText("three"), MessageText("four"))
    assert final_output_text(found.trace) == "four"


def test_single_root_span_replaces_missing_payloads():
    root = run()
    child_span = tool(parent_id=root.id, given="x", got="y", started_at=at(1))
    found = subject(root, child_span)
    assert (found.request.text, found.answer.text) == ("question", "answer")


@pytest.mark.parametrize("spans", [[tool(given="x")], [model("x")], [run(), run()], []])
def test_request_and_answer_are_empty_otherwise(spans):
    found = subject(*spans)
    assert (found.request.text, found.answer.text) == ("", "")


def test_tool_and_model_calls_are_in_order():
    spans = [tool("b", started_at=at(2)), model(started_at=at(1)), tool("a", started_at=at(-1))]
    found = subject(*spans)
    assert [call.name for call in found.tool_calls] == ["a", "b"]
    assert [one.name for one in found.model_calls] == ["model"]


def test_second_report_of_a_model_call_is_not_counted():
    reports = (
        span(kind=SpanKind.LLM, name="call"),
        span(kind=SpanKind.LLM, name="duplicate", usage_role=UsageRole.DUPLICATE),
        span(kind=SpanKind.LLM, name="rollup", usage_role=UsageRole.ROLLUP),
    )
    found = subject(*reports)
    assert {one.name for one in found.model_calls} == {"call", "rollup"}


def test_recent_outputs_are_the_last_three():
    assert list(subject(earlier=("a", "b", "c", "d")).recent_outputs) == ["b", "c", "d"]
    assert list(subject().recent_outputs) == []


# --- the tree ------------------------------------------------------------------------------


def test_equal_instants_are_ordered_by_id():
    first, second = sorted([span(), span()], key=lambda one: one.id)
    assert list(EvaluatedTrace(trace(second, first)).spans) == [first, second]
