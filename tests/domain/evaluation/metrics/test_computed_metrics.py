"""Computed metrics: golden values, skips without data, and common properties."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.metrics.computed_metrics import tool_loop
from domain.evaluation.metrics.metric import Category
from domain.evaluation.metrics.registry import (
    METRIC_REGISTRY,
    SPANS_MAX,
    compute_metric,
    listed_metrics,
)
from domain.evaluation.scores.outcome import Scored, SkipCode
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.tracing.span import SpanKind, SpanStatus
from domain.tracing.trace import TraceStatus
from tests.support.builders import strategies
from tests.support.builders.evaluated_traces import chat, model, offering, retrieval, subject, tool
from tests.support.builders.values import at, prices, span, span_id, trace

MEASURED = [metric for metric in listed_metrics(Category.TRACE) if metric.compute is not None]
SENTENCE = "The quick brown fox jumps over the lazy dog near the river bank. "
PROSE = (
    "Paris is the capital of France and its largest city, with a population of more than two "
    "million people in an area of about one hundred square kilometres. Since the seventeenth "
    "century it has been one of the major centres of finance, diplomacy, commerce, culture, "
    "fashion and science in the world. The city is known for its museums and for the river that "
    "runs through its middle, for long avenues lined with trees, and for cafes where people sit "
    "outside whenever the weather lets them. Visitors usually come in spring or early autumn."
)
FAILS = {"status": SpanStatus.ERROR}
DECLARED = {"name": "search", "input_schema": {"properties": {"q": {"type": "string"}}}}


def score(name, *spans, **more):
    return compute_metric(METRIC_REGISTRY[name], subject(*spans, **more))


def loop(calls: str) -> list:
    """One call per letter; capitals always get the same output, small letters a new one."""
    return [
        tool(letter.upper(), {}, "same" if letter.isupper() else f"new {n}")
        for n, letter in enumerate(calls)
    ]


# --- golden values -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "value"),
    [
        ("ABC", 1.0),
        ("AABC", 0.6667),
        ("AAAA", 0.0),
        ("aaaaa", 1.0),
        ("ABABAB", 0.0),
        ("XABABABX", 0.0),
        ("ABABA", 0.4),
        ("ABCABC", 0.5),
        ("AA", 0.5),
        ("AAA", 0.3333),
        ("AB", 1.0),
        ("abababab", 1.0),
    ],
)
def test_tool_loop(calls, value):
    assert score("tool_loop", *loop(calls)).value == value


def test_failed_calls_form_a_loop_sooner():
    failed = [tool("A", {}, "same", **FAILS)] * 3
    unlike = [replace(one, id=span_id()) for one in failed]
    assert score("tool_loop", *unlike).value == 0.0
    mixed = [replace(unlike[0], status=SpanStatus.OK), *unlike[1:]]
    assert score("tool_loop", *mixed).value == 0.3333


def test_six_identical_calls_are_a_loop_not_an_alternation():
    found = score("tool_loop", *loop("AAAAAA"))
    assert (found.value, found.metadata["alternates"]) == (0.0, False)
    assert found.metadata["longest_block"] == 6


@given(st.text("ABC", min_size=2, max_size=14))
def test_tool_loop_is_that_of_its_definition(calls):
    pairs = [first + second for first in "ABC" for second in "ABC" if first != second]
    repeated = 1 - len(set(calls)) / len(calls)
    longest = max(length for one in "ABC" for length in range(15) if one * length in calls)
    value = (
        0.0
        if any(3 * pair in calls for pair in pairs)
        else 1 - max(repeated, min((longest - 1) / 3, 1))
    )
    assert score("tool_loop", *loop(calls)).value == pytest.approx(value, abs=5.1e-5)


def test_polling_tools_do_not_count():
    subject_ = subject(*loop("AAAABC"))
    assert tool_loop(subject_).value == 0.0
    assert tool_loop(subject_, frozenset("A")).value == 1.0
    assert tool_loop(subject_, frozenset("AB")).code is SkipCode.TOO_SHORT


@pytest.mark.parametrize(
    ("name", "spans", "value"),
    [
        ("tool_success_rate", [tool(), tool(**FAILS), tool(got={"error": "x"}), tool()], 0.5),
        ("tool_success_rate", [tool()], 1.0),
        ("error_recovery", [tool("a", **FAILS), tool("b"), tool("a")], 1.0),
        ("error_recovery", [tool("a", **FAILS), tool("b"), tool("b", **FAILS)], 0.0),
        ("error_recovery", [tool("a"), tool("a", **FAILS)], 0.0),
        ("error_recovery", [tool("a", **FAILS), tool("a", **FAILS), tool("a"), tool("a")], 1.0),
        ("tool_name_validity", [offering(DECLARED), tool(), tool("made_up")], 0.5),
        ("tool_args_schema", [offering(DECLARED), tool(given={"q": "x"}), tool(given={})], 1.0),
        ("tool_args_schema", [offering(DECLARED), tool(given={"q": 1}), tool("other")], 0.0),
        ("tool_args_schema", [offering(DECLARED), tool(), tool(given={"z": 1})], 0.0),
        *(
            ("tool_args_schema", [offering(DECLARED), tool(given=given)], 1.0)
            for given in ("{'q': 'x'}", {"args": [], "kwargs": {"q": "x"}}, {"kwargs": {"q": "x"}})
        ),
        ("untruncated_rate", [model({"stop_reason": "max_tokens"}), model()], 0.0),
        ("untruncated_rate", [model({"stop_reason": r}) for r in ("end", "length")], 0.5),
        ("retrieval_hit_rate", [retrieval(["x"]), retrieval([]), retrieval(), retrieval("")], 0.25),
        *(
            ("retrieval_hit_rate", [retrieval(got)], value)
            for got, value in (
                ({"matches": [], "namespace": "docs"}, 0.0),
                ({"matches": [{"id": 1}], "namespace": "docs"}, 1.0),
                ({"results": [], "total": 0}, 0.0),
                ({"text": "Paris"}, 1.0),
                ("[]", 0.0),
                ('{"documents": ["x"]}', 1.0),
                ("Paris", 1.0),
            )
        ),
        ("trace_hygiene", [span()], 0.0),
        ("trace_hygiene", [span(ended_at=at(1))], 1.0),
        ("trace_hygiene", [span(ended_at=at(1), parent_id=span_id())], 0.5),
        ("trace_hygiene", [model(ended_at=at(1), token_usage={"prompt_tokens": 1}), model()], 0.5),
        ("trace_success", [span(**FAILS)], 0.0),
        ("trace_success", [span(parent_id=span_id(), **FAILS)], 0.0),
        ("trace_success", [], 1.0),
    ],
)
def test_share_metrics(name, spans, value):
    assert score(name, *spans).value == value


def test_failed_child_span_does_not_fail_the_run():
    root = span(ended_at=at(1))
    below = span(parent_id=root.id, started_at=at(1), **FAILS)
    assert score("trace_success", root, below).value == 1.0
    assert score("trace_success", root, status=TraceStatus.ERROR).value == 0.0


@pytest.mark.parametrize(
    ("output", "low", "high"),
    [
        (PROSE, 1.0, 1.0),
        ("Paris is the capital of France.", 1.0, 1.0),
        (SENTENCE * 40, 0.0, 0.1),
        ("no " * 11, 0.125, 0.125),
        ("no " * 10, 1.0, 1.0),  # 7 n-grams: too few
        ("a" * 511, 1.0, 1.0),
        ("a" * 600, 0.0, 0.25),
        ("…: -", 0.0, 0.0),
        (chat(("assistant", SENTENCE * 40)), 0.0, 0.1),
    ],
)
def test_output_degeneration(output, low, high):
    assert low <= score("output_degeneration", output=output).value <= high


@pytest.mark.parametrize(
    ("earlier", "value"),
    [
        (("another answer that has nothing in common with it",), 1.0),
        ((PROSE,), 0.0),
        ((PROSE, "x", "y", "z"), 1.0),
        ((PROSE, "", "y"), 0.0),
        ((" ".join(PROSE.split()[:44]),), 0.54),
    ],
)
def test_answer_repetition(earlier, value):
    found = score("answer_repetition", output=PROSE, earlier=earlier)
    assert found.value == pytest.approx(value, abs=0.02)


@pytest.mark.parametrize(
    ("output", "value"),
    [
        ("I'm sorry, but I can’t help with that.", 1.0),
        ("I cannot assist with this request", 1.0),
        ("As an AI language model I can't have opinions.", 1.0),
        ("As an AI language model I can help.", 0.0),
        ("I'm sorry for the delay: here is the list.", 0.0),
        ("Ali can't help with homework, but done.", 0.0),
        ("Es tut mir leid, aber dabei kann ich Ihnen nicht helfen.", 1.0),
        ("Lo siento, no puedo ayudarte con eso.", 1.0),
        ("El pedido está cancelado, y el dinero está en su cuenta.", 0.0),
        ("42", 0.0),
    ],
)
def test_refusal_is_neutral(output, value):
    found = score("refusal", output=output)
    assert found.value == value
    assert not {"success", "threshold"} & found.metadata.keys()


# --- without data --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "spans", "more", "code"),
    [
        ("tool_success_rate", [model()], {}, "no_tool_calls"),
        ("error_recovery", [], {}, "no_failed_calls"),
        ("error_recovery", [tool()], {}, "no_failed_calls"),
        ("tool_loop", [], {}, "too_short"),
        ("tool_loop", [tool()], {}, "too_short"),
        *(("output_degeneration", [], {"output": out}, "empty_output") for out in (None, "", " ")),
        *(
            ("output_degeneration", [], {"output": out}, "structured_output")
            for out in ({"a": 1}, [], '{"a": 1}', chat(("assistant", "[1]")))
        ),
        ("answer_repetition", [], {"output": PROSE}, "no_previous_traces"),
        ("answer_repetition", [], {"output": "one two", "earlier": ("x",)}, "too_short"),
        ("answer_repetition", [], {"earlier": ("x",)}, "too_short"),
        ("answer_repetition", [], {"output": PROSE, "earlier": ("", "…")}, "no_previous_outputs"),
        ("untruncated_rate", [], {}, "no_finish_reasons"),
        ("untruncated_rate", [model("x")], {}, "no_finish_reasons"),
        ("tool_name_validity", [offering(DECLARED)], {}, "no_tool_calls"),
        ("tool_name_validity", [tool()], {}, "no_declared_tools"),
        ("tool_args_schema", [offering(DECLARED)], {}, "no_tool_calls"),
        ("tool_args_schema", [tool(given={})], {}, "no_schemas"),
        ("tool_args_schema", [offering({"name": "search"}), tool(given={})], {}, "no_schemas"),
        *(
            ("tool_args_schema", [offering(DECLARED), tool(given=given)], {}, "no_schemas")
            for given in (None, "x", {"args": ["x"], "kwargs": {}})
        ),
        ("tool_args_schema", [offering(DECLARED), tool("x", {"q": 1})], {}, "no_schemas"),
        ("retrieval_hit_rate", [tool()], {}, "no_retrievals"),
        *(("refusal", [], {"output": output}, "empty_output") for output in (None, "\n")),
        *(
            ("refusal", [], {"output": output}, "unknown_language")
            for output in ("Siwezi kukusaidia na ombi hili.", "Zwölf.", {"total": 1})
        ),
        ("trace_hygiene", [], {}, "no_spans"),
        *(
            ("trace_success", [], {"status": status}, "trace_running")
            for status in (TraceStatus.PENDING, TraceStatus.RUNNING)
        ),
    ],
)
def test_metrics_without_data_are_skipped_with_code(name, spans, more, code):
    outcome = score(name, *spans, **more)
    assert outcome.code == outcome.metadata["code"] == code
    assert outcome.reason.startswith("Skipped: ")


@pytest.mark.parametrize("metric", MEASURED, ids=lambda metric: metric.name)
def test_empty_trace_has_only_trace_success(metric):
    assert isinstance(compute_metric(metric, subject()), Scored) == (metric.name == "trace_success")


def test_too_large_trace_is_skipped():
    many = tuple(span(kind=SpanKind.TOOL) for _ in range(SPANS_MAX + 1))
    for metric in MEASURED:
        assert compute_metric(metric, EvaluatedTrace(trace(*many))).code is SkipCode.TRACE_TOO_LARGE
    fine = EvaluatedTrace(trace(*many[1:]))
    assert compute_metric(METRIC_REGISTRY["tool_success_rate"], fine).value == 1.0


# --- properties ----------------------------------------------------------------------------

some = st.builds(
    lambda one, earlier: EvaluatedTrace(one.settled(prices().price), earlier),
    strategies.traces(spans_max=5),
    st.lists(strategies.texts, max_size=4).map(tuple),
)


@given(some)
def test_score_of_any_trace_is_within_0_and_1(subject_):
    for metric in MEASURED:
        outcome = compute_metric(metric, subject_)
        assert len(outcome.reason) <= 500
        if isinstance(outcome, Scored):
            assert 0 <= outcome.value <= 1
            assert outcome.metadata["judge_kind"] == "measured"
            assert outcome.metadata["fingerprint"] == f"measured/{metric.version}"
            assert outcome.metadata.get("success", outcome.value >= 0.5) == (outcome.value >= 0.5)


@given(some)
def test_missing_data_never_scores_1(subject_):
    kinds = {one.kind for one in subject_.spans}
    needs = {
        "tool_success_rate": SpanKind.TOOL,
        "tool_loop": SpanKind.TOOL,
        "error_recovery": SpanKind.TOOL,
        "tool_name_validity": SpanKind.LLM,
        "tool_args_schema": SpanKind.LLM,
        "untruncated_rate": SpanKind.LLM,
        "retrieval_hit_rate": SpanKind.RETRIEVER,
    }
    for name, kind in needs.items():
        if kind not in kinds:
            found = compute_metric(METRIC_REGISTRY[name], subject_)
            assert not isinstance(found, Scored)
