"""Derived values of an evaluated trace, and its span tree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.trace_content.evaluated_trace import (
    LEVELS_MAX,
    EvaluatedTrace,
    SpanTree,
    final_output_text,
)
from domain.evaluation.trace_content.messages import MessageText
from domain.tracing.span import Span, SpanKind
from domain.tracing.usage import UsageRole
from tests.support.builders.evaluated_traces import chat, json_payload, model, subject, tool
from tests.support.builders.values import at, span, span_id, trace


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


def test_second_report_of_a_call_is_no_other_model_call():
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


def tree(parents: dict[str, str]) -> dict[str, str]:
    """Return labels by name for spans that start in this order; `?` is an unknown parent."""
    ids = {name: span_id() for name in [*parents, "?"]}
    spans = [
        span(id=ids[name], name=name, started_at=at(n), parent_id=ids.get(parent))
        for n, (name, parent) in enumerate(parents.items())
    ]
    return {spans[index].name: label for index, label in SpanTree.from_spans(spans).labelled()}


@pytest.mark.parametrize(
    ("parents", "labels"),
    [
        ({"a": "", "b": "a", "c": "a", "d": ""}, {"a": "s1", "b": "s1.1", "c": "s1.2", "d": "s2"}),
        ({"a": "", "b": "", "c": "a"}, {"a": "s1", "c": "s1.1", "b": "s2"}),
        ({"a": "b", "b": ""}, {"b": "s1", "a": "s1.1"}),
        ({"a": "?"}, {"a": "s1"}),
        ({"a": "a"}, {"a": "s1"}),
        ({"a": "b", "b": "a"}, {"a": "s1", "b": "s1.1"}),
        ({"a": "b", "b": "c", "c": "b"}, {"b": "s1", "a": "s1.1", "c": "s1.2"}),
        ({"a": "c", "b": "a", "c": "b"}, {"a": "s1", "b": "s1.1", "c": "s1.1.1"}),
        ({"a": "c", "b": "d", "c": "b", "d": "c"}, {"b": "s1", "c": "s1.1", "a": "s1.1.1"}),
    ],
)
def test_orphans_are_roots_and_cycles_are_cut_at_their_earliest_span(parents, labels):
    assert tree(parents).items() >= labels.items()
    assert tree(parents).keys() == parents.keys()


@given(st.lists(st.integers(-1, 9), min_size=1, max_size=10))
def test_every_span_has_one_label_for_any_parents(parents):
    ids = [span_id() for _ in range(10)]
    spans = [
        Span(id=ids[n], name="x", started_at=at(n), parent_id=ids[parent] if parent >= 0 else None)
        for n, parent in enumerate(parents)
    ]
    labelled = SpanTree.from_spans(spans).labelled()
    assert sorted(index for index, _ in labelled) == list(range(len(spans)))
    assert len({label for _, label in labelled}) == len(spans)
    position = {index: n for n, (index, _) in enumerate(labelled)}
    label = dict(labelled)
    for index, children in SpanTree.from_spans(spans).children.items():
        assert all(position[index] < position[child] for child in children)
        assert all(label[child].rpartition(".")[0] == label[index] for child in children) or (
            label[index].count(".") >= LEVELS_MAX - 2
        )


@pytest.mark.parametrize("kind", ["chain", "ring", "comb"])
def test_chain_of_20_000_spans_has_short_labels(kind):
    count = 20_000
    ids = [span_id() for _ in range(count)]
    parents = {
        "chain": lambda n: ids[n - 1] if n else None,
        "ring": lambda n: ids[n - 1],
        "comb": lambda n: ids[n - 1 - n % 2] if n else None,
    }[kind]
    spans = [
        Span(id=ids[n], name="x", started_at=at(n), parent_id=parents(n)) for n in range(count)
    ]
    labelled = SpanTree.from_spans(spans).labelled()
    assert len({label for _, label in labelled}) == count
    assert max(len(label) for _, label in labelled) < 60


def test_equal_instants_are_ordered_by_id():
    first, second = sorted([span(), span()], key=lambda one: one.id)
    assert list(EvaluatedTrace(trace(second, first)).spans) == [first, second]
